"""A server that answers as Hugging Face's hub does."""
import base64
import hashlib
import json
import re
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from huggingface_hub import constants

COMMIT = '0' * 40
TOKEN = 'hf_right'
OWNER = 'owner'


class _Handler(BaseHTTPRequestHandler):

    def log_message(self, *args):
        pass

    def answer(self, content, status=200, **headers):
        if not isinstance(content, bytes):
            content = json.dumps(content).encode()
        self.send_response(status)
        headers = {'Content-Length': str(len(content)), **headers}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != 'HEAD':
            self.wfile.write(content)

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get('Content-Length', 0)))
        if self.headers.get('Transfer-Encoding') == 'chunked':
            body = b''
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        lines = [json.loads(line) for line in body.splitlines()]
        if self.headers.get('Authorization') != f'Bearer {TOKEN}':
            return self.answer(dict(error='Invalid credentials'), 401)
        host = f'http://{self.headers["Host"]}'
        if self.path == '/api/repos/create':
            request, = lines
            if request.get('organization') != OWNER:
                return self.answer(dict(error='You have no rights'), 403)
            name = f"{OWNER}/{request['name']}"
            self.server.repositories.setdefault(name, dict())
            self.server.requests.append(request)
            return self.answer(dict(url=f'{host}/{name}'))
        if self.path == '/api/validate-yaml':
            return self.answer(dict(errors=[], warnings=[]))
        name, kind = re.fullmatch(
            '/api/models/([^/]+/[^/]+)/(preupload|commit)/main',
            self.path).groups()
        if kind == 'preupload':
            return self.answer(
                dict(files=[
                    dict(
                        path=file['path'],
                        uploadMode='regular',
                        shouldIgnore=False) for file in lines[0]['files']
                ]))
        for line in lines:
            if line['key'] == 'file':
                file = line['value']
                self.server.repositories[name][
                    file['path']] = base64.b64decode(file['content'])
        self.answer(
            dict(
                success=True,
                commitOid=COMMIT,
                commitUrl=f'{host}/{name}/commit/{COMMIT}'))

    def do_GET(self):
        # The library asks for lists of its own now and then.
        if re.match('/api/(?!models/)', self.path):
            return self.answer(dict(error='Not found'), 404)
        name, _, rest = re.fullmatch(
            r'(?:/api/models)?/([^/]+/[^/?]+)(/|$)(.*)', self.path).groups()
        files = self.server.repositories.get(name)
        self.server.asked.append(self.path)
        if files is None:
            return self.answer(
                dict(error='Repository not found'), 401,
                **{'X-Error-Code': 'RepoNotFound'})
        if rest.startswith('tree/'):
            return self.answer([
                dict(
                    type='file',
                    path=path,
                    size=len(content),
                    oid=hashlib.sha1(content).hexdigest())
                for path, content in files.items()
            ])
        if not rest.startswith('resolve/'):
            return self.answer(
                dict(
                    id=name,
                    sha=COMMIT,
                    siblings=[dict(rfilename=path) for path in files]))
        content = files[rest.split('/', 2)[2]]
        etag = f'"{hashlib.sha1(content).hexdigest()}"'
        self.answer(content, **{'X-Repo-Commit': COMMIT, 'ETag': etag})

    do_HEAD = do_GET


@contextmanager
def serving_hub(folder):
    """Let ``huggingface_hub`` talk to a server, with an empty cache.

    Args:
        folder (Path): For the cache.

    Yields:
        ThreadingHTTPServer: ``repositories``, a dict of files by path for
        each; ``requests`` for repositories, ``asked``, the paths asked for.
    """
    server = ThreadingHTTPServer(('127.0.0.1', 0), _Handler)
    server.repositories, server.requests, server.asked = {}, [], []
    thread = Thread(target=server.serve_forever, args=(0.01, ))
    thread.start()
    try:
        with pytest.MonkeyPatch.context() as patch:
            url = f'http://127.0.0.1:{server.server_port}'
            template = constants.HUGGINGFACE_CO_URL_TEMPLATE
            patch.setattr(constants, 'ENDPOINT', url)
            patch.setattr(constants, 'HUGGINGFACE_CO_URL_TEMPLATE',
                          template.replace('https://huggingface.co', url))
            patch.setattr(constants, 'HF_HUB_CACHE', str(folder / 'hub'))
            patch.setattr(constants, 'HF_TOKEN_PATH', str(folder / 'token'))
            patch.setenv('HF_TOKEN', TOKEN)
            yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

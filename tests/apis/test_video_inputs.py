import http.server
import io
import json
import shutil
import threading
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from unittest import mock

import av
import numpy as np
import pytest
import torch
import yaml
from tiny import save_weights, tiny_config
from videos import write_video

from projects.ila.apis import ILAInferencer, video_inputs
from projects.ila.apis.captions import caption, name_outputs
from projects.ila.apis.video_inputs import list_inputs
from projects.ila.datasets.video_reader import VideoReader


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('inputs')
    write_video(folder / 'a.mp4', 40)
    write_video(folder / 'b.mp4', 25)
    save_weights(tiny_config(), folder / 'tiny.pth')
    return folder


@pytest.fixture(scope='module')
def inferencer(folder):
    return ILAInferencer(
        tiny_config(), folder / 'tiny.pth', show_progress=False)


@pytest.fixture(scope='module')
def url(folder):
    """A server of the folder, and of answers that are no files."""
    # Name, type, stated length, what is sent and how often.
    odd = {
        '/cut.mp4': ('video/mp4', '1000', b'half', 1),
        '/camera': ('multipart/x-mixed-replace', None, b'a' * 2**16, 99),
        '/large.mp4': ('video/mp4', '100000000', b'half', 1),
        '/endless.mp4': ('video/mp4', None, b'a' * 2**16, 99),
        '/slow.mp4': ('video/mp4', '100000', b'half', 99)
    }

    class Handler(http.server.SimpleHTTPRequestHandler):

        def do_GET(self):
            if self.path not in odd:
                return super().do_GET()
            kind, length, part, times = odd[self.path]
            self.send_response(200)
            self.send_header('Content-Type', kind)
            if length:
                self.send_header('Content-Length', length)
            self.end_headers()
            with suppress(OSError):  # Nobody waits for more.
                for _ in range(times):
                    self.wfile.write(part)
                    if 'slow' in self.path:
                        time.sleep(0.02)

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(
        ('127.0.0.1', 0), partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f'http://127.0.0.1:{server.server_port}'
    server.shutdown()
    thread.join()
    server.server_close()


def read_frames(path):
    reader = VideoReader(path.read_bytes())
    return np.stack(
        [image for _, image in reader.iter_frames(range(len(reader)))])


def test_all_kinds_of_inputs_predict_the_same(folder, inferencer, url):
    path = folder / 'a.mp4'
    frames = read_frames(path)
    shutil.copy(path, folder / 'ä b.txt')
    inputs = [
        path, f'{url}/ä b.txt',
        path.as_uri(),
        bytearray(path.read_bytes()), frames,
        frames[..., ::-1].copy()[..., ::-1],
        torch.from_numpy(frames)
    ]
    result = inferencer(inputs, topk=10, batch_size=2)
    assert result['errors'] == []
    names = [x['file'] for x in result['predictions']]
    assert names == [
        str(path), f'{url}/ä b.txt',
        str(path), 'bytes 3', 'array 4', 'array 5', 'array 6'
    ]
    expected = result['predictions'][0]['topk']
    for prediction in result['predictions']:
        for best, own in zip(expected, prediction['topk']):
            assert own == best | dict(
                score=pytest.approx(best['score'], abs=1e-6))
    windows = inferencer(inputs[:4], window=0.5)['predictions']
    assert [x['timeline'] for x in windows] == 4 * [windows[0]['timeline']]
    embeddings = inferencer.embed([path, frames])['embeddings']
    np.testing.assert_allclose(embeddings[0], embeddings[1], atol=1e-5)


@pytest.mark.parametrize('frames', [
    np.zeros((8, 64, 64, 3)),
    np.zeros((64, 64, 3), np.uint8),
    torch.zeros(8, 3, 64, 64, dtype=torch.uint8),
    torch.zeros(8, 64, 64, 3, dtype=torch.bfloat16),
    np.zeros((8, 0, 64, 3), np.uint8), None,
    io.BytesIO()
])
def test_wrong_frames_are_refused(inferencer, frames):
    for inputs in (['a.mp4', frames], frames):
        with pytest.raises(ValueError, match=r'frames must be uint8 \(T'):
            inferencer(inputs)


def test_what_does_not_end_is_refused(inferencer):
    for source in (0, '0', 'rtsp://127.0.0.1/camera'):
        with pytest.raises(ValueError, match='give it to `stream`'):
            inferencer(source)


def test_addresses_that_fail_do_not_lose_the_others(folder, inferencer, url,
                                                    monkeypatch):
    monkeypatch.setattr(video_inputs, 'MAX_BYTES', 2**22)
    monkeypatch.setattr(video_inputs, 'TIMEOUT', 1)
    bad = {
        f'{url}/none.mp4': 'the URL cannot be fetched (HTTP Error 404',
        f'{url}/cut.mp4': 'the URL cannot be fetched (996 bytes are',
        f'{url}/camera': 'the URL cannot be fetched (it is a camera',
        f'{url}/large.mp4': 'the URL cannot be fetched (it has more',
        f'{url}/endless.mp4': 'the URL cannot be fetched (it has more',
        f'{url}/slow.mp4': 'the URL cannot be fetched (fewer than 16',
        'http://127.0.0.1:9/a.mp4': 'the URL cannot be fetched ([Errno',
        'http://127.0.0.1:wrong/a.mp4': 'the URL cannot be fetched (',
    }
    inputs = [
        *bad, folder / 'b.mp4', b'', b'text',
        np.zeros((1, 8, 8, 3), 'u1')
    ]
    result = inferencer(inputs)
    assert [x['file']
            for x in result['predictions']] == [str(inputs[len(bad)])]
    words = [
        *bad.values(), 'the file is empty', 'the content is not that of a',
        'at least two frames are needed'
    ]
    for error, start in zip(result['errors'], words, strict=True):
        assert error['error'].startswith(start)
    error, = inferencer(inputs[-1], window=1)['errors']
    assert 'at least two frames' in error['error']
    error, = inferencer(np.zeros((2, 8, 8, 3), 'u1'), window=1)['errors']
    assert 'no frame rate' in error['error']


def test_readers_of_files_alone(folder):
    cfg = tiny_config()
    cfg.test_dataloader.dataset.pipeline[0].type = 'PyAVInit'
    cfg.test_dataloader.dataset.pipeline[2].type = 'PyAVDecode'
    other = ILAInferencer(cfg, folder / 'tiny.pth', show_progress=False)
    error, = other((folder / 'a.mp4').read_bytes())['errors']
    assert 'reads files only' in error['error']
    assert len(other(folder / 'a.mp4')['predictions']) == 1


def test_files_of_predictions(folder, inferencer, tmp_path, capsys):
    path = tmp_path / 'out/all.json'
    result = inferencer(folder, print_result=True, pred_out_file=path)
    assert json.loads(path.read_text()) == result
    assert capsys.readouterr().out == f'{result}\n'
    # A file name that is not UTF-8, which PyYAML reads as it was.
    odd, path = tmp_path / 'caf\udce9.mp4', tmp_path / 'all.yaml'
    shutil.copy(folder / 'b.mp4', odd)
    result = inferencer(odd, pred_out_file=path)
    assert yaml.safe_load(path.read_text()) == result
    # What cannot be written is told before all else.
    (tmp_path / 'folder.json').mkdir()
    for path in (tmp_path / 'folder.json', tmp_path / 'all.yaml/a.json'):
        with pytest.raises(OSError), mock.patch.object(inferencer, 'run'):
            inferencer(folder, pred_out_file=path)
    for name, datasamples in (('a.txt', False), ('a.json', True)):
        with pytest.raises(ValueError, match=f"'{name}' must end with"):
            inferencer(folder, datasamples, pred_out_file=name)


def test_videos_with_captions(folder, inferencer, tmp_path):
    inputs = [folder / 'a.mp4', read_frames(folder / 'b.mp4')]
    inferencer(inputs, vid_out_dir=tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ['a.mp4', 'array 1.mp4']
    assert read_frames(tmp_path / 'a.mp4').shape == (40, 48, 64, 3)
    with av.open(str(tmp_path / 'a.mp4')) as container:
        assert container.streams.video[0].average_rate == 30


def test_captions_change_with_the_window():
    frames = np.full((10, 120, 160, 3), 99, np.uint8)
    parts = [
        dict(start=start, topk=[dict(score=0.5, name=name)])
        for start, name in ((0, '$a_b$'), (0.4, 'another'), (0.4, 'last'))
    ]
    drawn = np.stack(list(caption(frames, parts, fps=10)))
    assert (drawn[:4] == drawn[0]).all() and (drawn[4:] == drawn[4]).all()
    last = np.stack(list(caption(frames[:1], parts[2:], fps=10)))
    assert (drawn[4] == last[0]).all() and (drawn[0] != drawn[4]).any()
    assert (drawn[:, 30:] == 99).all()
    # The shade halves a pixel; the text is white.
    assert {50, 255} <= set(np.unique(drawn[:, :30]).tolist())


def test_captioned_videos_replace_no_input(tmp_path):
    names = [f'{tmp_path}/a.mp4', 'x/a.mp4', 'y/a.mp4', 'http://b/c.mp4?d=e']
    assert [path.name for path in name_outputs(str(tmp_path), names)
            ] == ['a_2.mp4', 'a_3.mp4', 'a_4.mp4', 'c.mp4']


def test_conventions(folder, inferencer):
    text = repr(inferencer)
    assert f"weights='{folder}/tiny.pth', device='cpu'" in text
    assert 'temporal=TokenAlignment, classes=10' in text
    models = ILAInferencer.list_models()
    assert {'ila_vitb16_k400', 'released/ila_vitb16_k400'} <= set(models)
    assert not any('_base_' in name for name in models)
    released = ILAInferencer.list_models(patterns='released/')
    assert released == [x for x in models if x.startswith('released/')]


def test_inputs_are_listed_once(folder):
    videos = list_inputs([folder, 'none.mp4'])
    assert [Path(video.name).name
            for video in videos] == ['a.mp4', 'b.mp4', 'none.mp4']
    assert list_inputs(videos) == videos

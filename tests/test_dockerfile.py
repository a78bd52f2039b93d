"""What can be checked of the Dockerfile without Docker."""
import re
import subprocess

from commands import ROOT

DOCKERFILE = (ROOT / 'Dockerfile').read_text().replace('\\\n', '')


def test_copied_and_installed_files_exist():
    copied = re.findall(r'^COPY (\S+) \S+$', DOCKERFILE, re.M)
    installed = re.findall(r' -r (\S+)', DOCKERFILE)
    assert copied == ['requirements', '.']
    assert len(installed) == 2
    for name in (*copied, *installed):
        assert (ROOT / name).exists(), name


def test_image_for_cpus_has_no_libraries_of_cuda():
    program, = re.findall(r"sed -i -E '(.*?)' requirements/lock.txt",
                          DOCKERFILE)
    lock = (ROOT / 'requirements/lock.txt').read_text()
    process = subprocess.run(['sed', '-E', program],
                             input=lock,
                             capture_output=True,
                             text=True,
                             check=True)
    removed = {*lock.splitlines()} - {*process.stdout.splitlines()}
    assert not re.search('cuda|nvidia|triton', process.stdout)
    # PyTorch needs all of them on Linux with GPUs only.
    assert all('linux' in line for line in removed)


def test_arguments_in_the_documents():
    text = (ROOT / 'docs/docker.md').read_text()
    names = re.findall(r'--build-arg (\w+)', text)
    assert {*names} == {*re.findall(r'^ARG (\w+)', DOCKERFILE, re.M)}
    workdir, = re.findall('^WORKDIR (.*)', DOCKERFILE, re.M)
    for folder in ('data', 'work_dirs'):
        assert f':{workdir}/{folder}"' in text


def test_image_gets_nothing_that_git_ignores():
    ignored, left_out = ((ROOT / name).read_text().splitlines()
                         for name in ('.gitignore', '.dockerignore'))
    folders = {line.strip('/') for line in ignored if line.endswith('/')}
    patterns = {line for line in ignored if line.endswith(('.pt', '.pth'))}
    assert patterns == {'*.pt', '*.pth'} and 'work_dirs' in folders
    for name in folders | patterns:
        assert name in left_out or f'**/{name}' in left_out, name

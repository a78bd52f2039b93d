import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from html import unescape
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest
from commands import run_tool
from mmengine.config import Config
from tiny import NAMES, TEXT_HEAD, save_weights
from videos import write_barcodes, write_video

from projects.ila.apis import ILAInferencer
from projects.ila.demo.__main__ import parse_args
from projects.ila.demo.results import describe_model
from projects.ila.visualization import load_views

# Importing it takes five seconds, which only this file's tests wait for.
pytestmark = pytest.mark.skipif(
    find_spec('gradio') is None, reason='needs gradio')

ROOT = Path(__file__).resolve().parents[2]
CONFIG = f'''
_base_ = ['{ROOT}/tests/data/tiny_motion.py']
train_dataloader = None
pipeline = [
    dict(type='SafePyAVInit'),
    dict(type='UniformSample', clip_len=4, num_clips=2, test_mode=True),
    dict(type='SafePyAVDecode'),
    dict(type='Resize', scale=(32, 32), keep_ratio=False),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs')
]
val_dataloader = dict(dataset=dict(pipeline=pipeline))
test_dataloader = dict(dataset=dict(pipeline=pipeline))
'''
MODELS = dict(
    linear=dict(),
    text=dict(cls_head=TEXT_HEAD),
    plain=dict(backbone=dict(temporal=None)))


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Models, and videos."""
    folder = tmp_path_factory.mktemp('demo')
    for name, model in MODELS.items():
        path = folder / f'{name}.py'
        path.write_text(f'{CONFIG}\nmodel = {model}\n')
        save_weights(Config.fromfile(path), path.with_suffix('.pth'))
    write_video(folder / 'a.mp4')
    write_barcodes(folder / 'long.mp4', 'libx264', 30, rate=1)
    content = (folder / 'a.mp4').read_bytes() + bytes(4_000_000)
    (folder / 'large.mp4').write_bytes(content)
    (folder / 'broken.mp4').write_bytes(b'no video' * 100)
    return folder


def load(folder, name, classes=None):
    return ILAInferencer(
        folder / f'{name}.py',
        folder / f'{name}.pth',
        'cpu',
        classes,
        show_progress=False)


class Page:
    """A page's functions, called without a browser."""

    def __init__(self, folder, name, cache, **limits):
        from projects.ila.demo.page import build_page
        self.inferencer = load(folder, name)
        self.cache = cache
        self.blocks = build_page(self.inferencer, str(cache), **limits)
        self.functions = {fn.name: fn for fn in self.blocks.fns.values()}

    def find(self, name):
        """Find a component by its ID."""
        component, = (
            block for block in self.blocks.blocks.values()
            if block.elem_id == name)
        return component

    def call(self, name, *args, session='one'):
        request = SimpleNamespace(session_hash=session)
        return self.functions[name].fn(*args, request)

    def run(self, path, names='', t=0, block=0, session='one'):
        """Classify, and give what the outputs show in the end, by name."""
        shown = {}
        for outputs in self.call(
                'run', str(path), names, t, block, session=session):
            shown.update(outputs)
        return {
            component.elem_id or type(component).__name__: value
            for component, value in shown.items()
        }

    def is_ready(self, path):
        """Whether a video can be classified."""
        button = self.find('classify')
        return self.functions['reset'].fn(path)[button].interactive

    def error(self, path, names=''):
        with pytest.warns(UserWarning) as caught:
            shown = self.run(path, names)
        assert shown['scores'] is None
        assert not shown['alignment'].visible
        message, = caught
        return unescape(str(message.message))


@pytest.fixture
def page(folder, tmp_path):

    def make(name='linear', **limits):
        return Page(folder, name, tmp_path, **limits)

    return make


def expected_scores(folder, name, video, classes=None):
    result = load(folder, name, classes)(folder / video)
    return {x['name']: x['score'] for x in result['predictions'][0]['topk']}


def read_picture(path):
    return cv2.imread(path)[..., ::-1]


def test_results_are_those_of_the_inferencer(folder, page):
    page = page()
    shown = page.run(folder / 'a.mp4', t=1)
    assert len(shown['scores']) == 5
    assert shown['scores'] == expected_scores(folder, 'linear', 'a.mp4')
    assert shown['scores'] != expected_scores(folder, 'linear', 'long.mp4')
    assert shown['alignment'].visible
    with av.open(shown['blocks']) as container:
        assert len(list(container.decode(video=0))) == 4  # of one view
    for name in ('all_frames', 'pairs'):
        assert read_picture(shown[name]).size

    # Frames and blocks of the sliders.
    assert page.find('choose_block').maximum == 1
    assert shown['choose_frame'].maximum == 3
    view = shown['State']
    frames = load_views(page.inferencer.cfg.val_dataloader,
                        folder / 'a.mp4')['inputs'][0]
    pictures = {}
    for t in range(4):
        expected = frames[:, t].movedim(0, -1).numpy()
        expected = np.kron(expected, np.ones((21, 21, 1), np.uint8))
        for block in range(2):
            frame, overlay = page.functions['look'].fn(view, t, block)
            assert np.array_equal(read_picture(frame), expected)
            pictures[t, block] = read_picture(overlay)
            assert pictures[t, block].shape == expected.shape
    assert len({picture.tobytes() for picture in pictures.values()}) == 8
    assert np.array_equal(read_picture(shown['overlay']), pictures[1, 0])


def test_without_alignment(folder, page):
    page = page('plain')
    shown = page.run(folder / 'a.mp4')
    assert shown == {'scores': expected_scores(folder, 'plain', 'a.mp4')}
    assert 'no temporal module' in describe_model(page.inferencer)


def test_model_is_described(page):
    linear, text = (
        describe_model(page(x).inferencer) for x in ('linear', 'text'))
    assert linear == ('Model `linear` · `TokenAlignment` in 2 of 2 blocks · '
                      '10 classes · weights `linear.pth`')
    assert '3 classes or your own' in text


def test_other_class_names(folder, page):
    page = page('text')
    video = folder / 'a.mp4'
    texts = {
        '': NAMES,
        'walk, jump ,run': ['walk', 'jump', 'run'],
        'walk,run': ['walk', 'run']
    }
    for text, names in (*texts.items(), ('', NAMES)):
        scores = page.run(video, text)['scores']
        expected = expected_scores(folder, 'text', 'a.mp4', names)
        assert scores == pytest.approx(expected, abs=1e-5)
        assert set(scores) == set(names)
    assert 'class names must be 2 or more' in page.error(video, 'walk')
    assert 'occur twice' in page.error(video, 'walk,walk')
    assert 'is empty' in page.error(video, 'walk,,run')
    assert page.inferencer.classes == NAMES


@pytest.mark.parametrize('name, visible', [('linear', False), ('text', True)])
def test_class_names_need_a_text_tower(page, name, visible):
    assert page(name).find('names').visible == visible


def test_limits(folder, page, monkeypatch):
    """They are those of the page, and come before anything is decoded."""
    page = page(max_seconds=20, max_mb=2)
    page.run(folder / 'a.mp4')  # 2 s
    monkeypatch.setattr(page.inferencer, 'forward', None)
    assert page.error(folder / 'long.mp4') == (
        'long.mp4: the video is 30.0 s long, more than the 20 s allowed; '
        'cut it')
    size = (folder / 'large.mp4').stat().st_size / 1e6
    assert size > 2
    assert page.error(folder / 'large.mp4') == (
        f'large.mp4: the file has {size:.1f} MB, more than the 2 MB '
        'allowed; give a smaller one')
    with pytest.warns(UserWarning, match='30.0 s long'):
        shutil.copy(folder / 'long.mp4', page.cache)
        assert page.call('keep', str(page.cache / 'long.mp4')) is None


def test_broken_video(folder, page):
    page = page()
    path = folder / 'broken.mp4'
    error, = page.inferencer(path)['errors']
    assert page.error(path) == f"broken.mp4: {error['error']}"
    assert '\n' not in error['error']
    assert 'No such file' in page.error(folder / 'none.mp4')


def test_only_one_video_passes_through_the_model(page):
    functions = page().functions
    assert functions['run'].concurrency_limit == 1
    # It neither waits for frames to be drawn nor for uploads.
    assert functions['look'].concurrency_id != functions['run'].concurrency_id


def test_files_of_a_session(folder, page):
    """Only the last ones stay, and none when the page is closed."""
    page = page()

    def list_files():
        return sorted(x.name for x in page.cache.rglob('*') if x.is_file())

    results = [
        'frame_0.png', 'frame_0_block_0.png', 'frames.png', 'overlay.mp4',
        'pairs.png'
    ]
    for name in ('first.mp4', 'second.mp4'):
        upload = str(shutil.copy(folder / 'a.mp4', page.cache / name))
        assert not page.is_ready(upload)
        shown = page.call('keep', upload)
        assert page.is_ready(shown)
        overlay = page.run(shown)['overlay']
        assert list_files() == sorted(
            [*results, name, name.replace('.', '.preview.')])
    assert page.run(shown)['overlay'] != overlay
    page.run(shown, session='two')
    page.call('forget')
    assert list_files() == results
    page.call('forget', session='two')
    page.call('forget', session='../..')
    assert list(page.cache.iterdir()) == []
    assert not page.is_ready(shown)
    # Also after all were removed by somebody else.
    upload = str(shutil.copy(folder / 'a.mp4', folder / 'b.mp4'))
    page.call('keep', upload)
    shutil.rmtree(page.cache)
    page.call('forget')
    upload = str(shutil.copy(folder / 'a.mp4', folder / 'b.mp4'))
    assert page.is_ready(page.call('keep', upload))


def test_cancelled_run_does_not_mix_with_the_next(folder, page, monkeypatch):
    """A thread cannot be stopped, so that it goes on beside the next one."""
    page = page('text')

    def run(names):
        first = next(
            page.call(
                'run', str(folder / 'a.mp4'), names, 0, 0, session=names))
        return first[page.find('scores')]

    expected = {names: run(names) for names in ('walk,jump', 'run,sit,lie')}
    forward, found = page.inferencer.forward, {}

    def wait(batch):
        time.sleep(0.2)  # The other one could change the names.
        return forward(batch)

    monkeypatch.setattr(page.inferencer, 'forward', wait)
    threads = [
        threading.Thread(target=lambda x: found.update({x: run(x)}), args=[x])
        for x in expected
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == expected


def test_videos_are_shown_as_browsers_play_them(folder, page):
    """What the model gets is the upload itself."""
    page = page()
    for name, codec in (('a.mp4', 'mpeg4'), ('long.mp4', 'h264')):
        shutil.copy(folder / name, page.cache)
        shown = page.call('keep', str(page.cache / name))
        with av.open(str(folder / name)) as video, av.open(shown) as preview:
            video, preview = (x.streams.video[0] for x in (video, preview))
            assert video.codec.canonical_name == codec
            assert preview.codec.canonical_name == 'h264'
            assert preview.frames == video.frames
            assert preview.average_rate == video.average_rate
            assert preview.width == video.width
        assert page.run(shown)['scores'] == expected_scores(
            folder, 'linear', name)


def run_command(folder, *options, **kwargs):
    command = [
        sys.executable, '-m', 'projects.ila.demo', folder / 'linear.py',
        folder / 'linear.pth', *options
    ]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, **kwargs)


def test_missing_sample(folder):
    process = run_command(
        folder, '--samples', 'none.mp4', stderr=subprocess.PIPE)
    _, error = process.communicate()
    assert process.returncode == 1
    assert error == ('File not found: none.mp4. Please check its path, which '
                     f'is taken from {ROOT}\n')


def test_config_without_weights(folder):
    """Random ones would be of no use."""
    result = run_tool('-m', 'projects.ila.demo', folder / 'linear.py')
    assert result.returncode == 1
    assert 'linear.py has no `load_from`; give a checkpoint' in result.stderr


@pytest.mark.parametrize('option, value',
                         [('--port', '65536'), ('--port', '-5'),
                          ('--max-mb', 'inf'), ('--max-seconds', 'nan')])
def test_bad_numbers(monkeypatch, capsys, option, value):
    monkeypatch.setattr(sys, 'argv', ['demo', 'a.py', 'a.pth', option, value])
    with pytest.raises(SystemExit):
        parse_args()
    assert f'error: {option} must be' in capsys.readouterr().err


@pytest.fixture
def served(folder, tmp_path):
    """The page in a process of its own: its address and folder."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    process = run_command(
        folder,
        *('--samples', folder / 'a.mp4', '--port', str(port)),
        *('--max-seconds', '20', '--max-mb', '2'),
        stderr=subprocess.DEVNULL,
        env={
            **os.environ, 'TMPDIR': str(tmp_path)
        })
    limit = threading.Timer(120, process.kill)
    limit.start()
    try:
        for line in process.stdout:
            if 'The page is at' in line:
                break
        else:
            pytest.fail('the page did not start')
        limit.cancel()
        yield f'http://127.0.0.1:{port}', tmp_path
    finally:
        limit.cancel()
        process.terminate()
        try:
            process.communicate(timeout=20)
        finally:
            process.kill()
    assert list(tmp_path.glob('ila_demo_*')) == []


@pytest.fixture
def browser(served, tmp_path_factory):
    """Chromium, and then what it leaves behind."""
    webdriver = pytest.importorskip('selenium.webdriver')
    programs = [shutil.which(x) for x in ('chromium', 'chromedriver')]
    if None in programs:
        pytest.skip('needs chromium and chromedriver')
    options = webdriver.ChromeOptions()
    options.binary_location, driver = programs
    for flag in ('headless', 'no-sandbox', 'disable-gpu', 'disable-quic',
                 'no-first-run', 'disable-background-networking',
                 'disable-component-update', 'disable-sync',
                 'use-fake-device-for-media-stream',
                 'use-fake-ui-for-media-stream', 'window-size=1100,1250',
                 f"user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(f'--{flag}')
    options.set_capability('goog:loggingPrefs', dict(performance='ALL'))
    browser = webdriver.Chrome(options,
                               webdriver.ChromeService(executable_path=driver))
    try:
        yield browser
    finally:
        browser.quit()


def wait_for(condition, seconds=30):
    """Wait until a condition is true, and give its value."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.1)
    pytest.fail('waited in vain')


class Visit:
    """The page in a window of a browser.

    Args:
        browser (Chrome): The browser.
        address (str): The page's.
    """

    def __init__(self, browser, address):
        self.browser = browser
        browser.get(address)
        wait_for(lambda: self.find('#classify'))

    def find(self, selector):
        return self.browser.find_elements('css selector', selector)

    def click(self, selector):
        button = wait_for(lambda: self.find(selector))[0]
        self.browser.execute_script('arguments[0].click()', button)

    def upload(self, path):
        if self.find('#video button[aria-label="Clear"]'):
            self.click('#video button[aria-label="Clear"]')
        wait_for(lambda: self.find('#video input[type=file]'))[0].send_keys(
            str(path))

    def wait_for_player(self, part):
        """Wait until a video, whose address has that part, can be played."""
        wait_for(lambda: self.browser.execute_script(
            "const video = document.querySelector('#video video');"
            'return video?.src.includes(arguments[0]) && video.videoWidth',
            part))

    def classify(self):
        self.click('#classify:not([disabled])')
        return wait_for(
            lambda: [x.text for x in self.find('#scores') if '%' in x.text])[0]

    def read_error(self, part=''):
        """Wait until the only message has that part, and close it."""

        def is_shown():
            # It has no text while it fades in.
            texts = [x.text for x in self.find('.toast-body')]
            return len(texts) == 1 and texts[0] and part in texts[0]

        wait_for(is_shown)
        self.click('.toast-close')
        wait_for(lambda: not self.find('.toast-body'))

    def record(self, seconds):
        """Record with the webcam, unless that was too short for the browser.

        Under load it delivers nothing at first.
        """
        self.click('[title="grant webcam access"] button')
        self.click('#video button[aria-label="start recording"]')
        time.sleep(seconds)
        self.click('#video .capture-button')
        wait_for(lambda: self.find('.toast-body, #classify:enabled'))
        if self.find('.toast-body'):
            self.read_error()
            return False
        self.wait_for_player('sample.webm')
        return True

    def move(self, slider, value):
        self.browser.execute_script(
            'const input = document.querySelector(arguments[0]);'
            'input.value = arguments[1];'
            "input.dispatchEvent(new Event('input', {bubbles: true}))",
            f'{slider} input[type=range]', value)

    def width(self):
        """Width of what the page shows, and that of the window."""
        return self.browser.execute_script(
            'return [document.documentElement.scrollWidth, innerWidth]')

    def resize(self, width, height):
        self.browser.execute_cdp_cmd(
            'Emulation.setDeviceMetricsOverride',
            dict(width=width, height=height, deviceScaleFactor=1, mobile=True))


def overlaps(one, other):
    """Whether two elements of a page overlap."""
    one, other = one.rect, other.rect
    return all(one[start] < other[start] +
               other[size] and other[start] < one[start] + one[size]
               for start, size in (('x', 'width'), ('y', 'height')))


def test_in_a_browser(folder, browser, served):
    address, temporary = served
    visit = Visit(browser, address)
    assert not visit.find('#names')
    assert not visit.find('#classify:enabled')
    assert '`' not in visit.find('body')[0].text
    visit.upload(folder / 'a.mp4')
    visit.wait_for_player('a.preview.mp4')
    lines = visit.classify().splitlines()[2:]
    expected = expected_scores(folder, 'linear', 'a.mp4')
    assert lines == [
        part for name, score in expected.items()
        for part in (name, f'{100 * score:.0f}%')
    ]

    def shown():
        return browser.execute_script(
            "const image = document.querySelector('#overlay img');"
            'return image?.naturalWidth && image.src.split("/").pop()')

    assert wait_for(shown) == 'frame_0_block_0.png'
    visit.move('#choose_frame', 2)
    wait_for(lambda: shown() == 'frame_2_block_0.png')
    visit.move('#choose_block', 1)
    wait_for(lambda: shown() == 'frame_2_block_1.png')
    # On a phone nothing is cut off, and labels cover no buttons.
    visit.resize(390, 844)
    assert visit.width() == [390, 390]
    for name in ('#video', '#frame', '#overlay'):
        label, = visit.find(f'{name} label[data-testid="block-label"]')
        assert visit.find(f'{name} button[aria-label]')
        for button in visit.find(f'{name} button[aria-label]'):
            assert not overlaps(label, button)
    visit.resize(1100, 1250)
    visit.click('button[role=tab]:nth-of-type(4)')
    wait_for(lambda: browser.execute_script(
        "return document.querySelector('#blocks video')?.videoWidth"))

    visit.upload(folder / 'broken.mp4')
    visit.read_error('broken.mp4: the content is not that of a video')
    visit.upload(folder / 'long.mp4')
    visit.read_error('the video is 30.0 s long, more than the 20 s')
    visit.upload(folder / 'large.mp4')
    visit.read_error('exceed the maximum allowed size of 2')
    visit.click('#video button[aria-label="Capture from camera"]')
    assert any(visit.record(seconds) for seconds in (1, 3, 9))
    visit.classify()

    log = [
        json.loads(entry['message'])['message']
        for entry in browser.get_log('performance')
    ]
    urls = [
        message['params']['request']['url'] for message in log
        if message['method'] == 'Network.requestWillBeSent'
    ]
    urls = [url for url in urls if url.startswith(('http', 'ws'))]
    assert len(urls) > 10
    assert {url for url in urls if not url.startswith(address)} == set()

    # Another visitor, whose files go with the page.
    browser.switch_to.new_window('tab')
    visit = Visit(browser, address)
    visit.upload(folder / 'a.mp4')
    visit.wait_for_player('a.preview.mp4')

    def uploads():
        # Unlike `rglob` it does not mind folders that are being removed.
        return {
            name
            for folder, _, names in os.walk(temporary)
            if os.path.basename(folder).startswith('upload_') for name in names
        }

    assert uploads() == {'a.mp4', 'a.preview.mp4', 'sample.webm'}
    browser.close()
    wait_for(lambda: uploads() == {'sample.webm'})
    browser.quit()
    wait_for(lambda: not uploads())
    assert not list(temporary.rglob('results_*'))

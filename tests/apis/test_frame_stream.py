import socketserver
import threading
from unittest import mock

import cv2
import numpy as np
import pytest
from tiny import TEXT_HEAD, save_weights, tiny_config
from videos import draw_barcode, moving_noise, read_barcode, write_h264

from projects.ila.apis import ILAInferencer, frame_stream
from projects.ila.apis.frame_stream import open_stream

MODELS = {
    'token': {},
    'released': {
        'temporal.type': 'ReleasedAlignment'
    },
    'late': {
        'layers': [1]
    },
    'none': {
        'temporal': None
    }
}


@pytest.fixture(scope='module', params=MODELS)
def inferencer(request, tmp_path_factory):
    path = tmp_path_factory.mktemp('stream') / 'tiny.pth'
    head = TEXT_HEAD if request.param == 'none' else {}
    cfg = tiny_config(**head)
    if request.param == 'none':
        cfg.model.neck = None
    cfg.merge_from_dict({
        f'model.backbone.{key}': value
        for key, value in MODELS[request.param].items()
    })
    save_weights(cfg, path)
    return ILAInferencer(cfg, path, show_progress=False)


def assert_same(results, timeline):
    for result, part in zip(results, timeline, strict=True):
        assert (result['start'], result['end']) == (part['start'], part['end'])
        for own, best in zip(result['topk'], part['topk'], strict=True):
            assert own['label'] == best['label']
            assert own['score'] == pytest.approx(best['score'], abs=1e-5)


def test_stream_equals_windows(inferencer, tmp_path):
    """Also where the last window is moved back, and of short videos."""
    path = write_h264(tmp_path / 'a.mp4', 25)
    for window, stride in ((0.6, None), (0.3, 0.25), (0.1, 0.6), (9, 1)):
        prediction, = inferencer(
            path, topk=3, window=window, stride=stride
            or 1 / 30)['predictions']
        results = list(inferencer.stream(path, window, stride, topk=3))
        assert_same(results, prediction['timeline'])
    scores = [x['topk'][0]['score'] for x in inferencer.stream(path, 0.5)]
    assert np.std(scores) > 1e-4


def test_each_frame_is_prepared_once(inferencer):
    """And encoded once, in crops of both clips."""
    seen, prepared = [], []
    encode = frame_stream.encode_frames
    prepare = inferencer.reader.prepare_frame
    frames = np.random.default_rng(0).integers(0, 255, (30, 48, 64, 3),
                                               'uint8')

    def count(model, images):
        seen.append(len(images))
        return encode(model, images)

    def count_prepared(frame):
        prepared.append(frame.tobytes())
        return prepare(frame)

    with mock.patch.object(frame_stream, 'encode_frames', count), \
            mock.patch.object(inferencer.reader, 'prepare_frame',
                              count_prepared):
        assert len(list(inferencer.stream(iter(frames), 0.5, fps=40))) == 11
    assert len(prepared) == len(set(prepared)) <= len(frames)
    assert sum(seen) == 3 * len(prepared)


def test_models_that_encode_no_single_frames(inferencer):
    frames = list(moving_noise(12, (64, 48)))
    expected = list(inferencer.stream(iter(frames), 0.4, topk=3))
    # A source may give the same array again and again.
    array = np.zeros_like(frames[0])
    reused = (np.copyto(array, frame) or array for frame in frames)
    assert_same(inferencer.stream(reused, 0.4, topk=3), expected)
    with mock.patch.object(inferencer.reader, 'keeps_frames', False):
        assert_same(inferencer.stream(iter(frames), 0.4, topk=3), expected)


def test_stream_from_an_address():
    """An MJPEG stream, as cameras in a network send it."""

    class Camera(socketserver.StreamRequestHandler):

        def handle(self):
            self.rfile.readline()
            self.wfile.write(b'HTTP/1.0 200 OK\r\nContent-Type: multipart/'
                             b'x-mixed-replace; boundary=frame\r\n\r\n')
            for number in range(30):
                image = cv2.imencode('.jpg', draw_barcode(number))[1]
                self.wfile.write(b'--frame\r\nContent-Type: image/jpeg\r\n'
                                 b'Content-Length: %d\r\n\r\n%s\r\n' %
                                 (len(image), image.tobytes()))

    with socketserver.ThreadingTCPServer(('127.0.0.1', 0), Camera) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            url = f'http://127.0.0.1:{server.server_address[1]}/camera'
            name, fps, frames = open_stream(url, reader=None)
            numbers = [read_barcode(frame) for frame in frames]
        finally:
            server.shutdown()
            thread.join()
    assert (name, fps, numbers) == (url, 25, list(range(30)))


def test_camera(inferencer):
    """OpenCV gives BGR, and no frame when it is pulled out."""
    frames = list(moving_noise(16, (64, 48)))
    with mock.patch.object(cv2, 'VideoCapture') as capture:
        capture.return_value.get.return_value = 30.
        capture.return_value.read.side_effect = [
            (True, frame[..., ::-1].copy()) for frame in frames
        ] + [(False, None)]
        results = list(inferencer.stream(0, 0.5))
    capture.assert_called_once_with(0)
    capture.return_value.release.assert_called_once()
    assert_same(results, list(inferencer.stream(iter(frames), 0.5, fps=30)))


def test_stalled_stream(monkeypatch):
    """OpenCV gives up after a while, as if the stream had ended."""
    monkeypatch.setattr(frame_stream, 'STALLED', -1)
    with mock.patch.object(cv2, 'VideoCapture') as capture:
        capture.return_value.get.return_value = 30.
        capture.return_value.read.return_value = False, None
        _, _, frames = open_stream(0, reader=None)
        with pytest.raises(ValueError, match="'0' gave no frame for 0 s"):
            next(frames)


def test_bad_streams(inferencer, tmp_path):
    frames = np.zeros((5, 48, 64, 3), np.uint8)
    for source, words in (
        ('rtsp://127.0.0.1:9/a', "stream 'rtsp://127.0.0.1:9/a' cannot be"),
        ([frames, frames], '2 videos are not one stream'),
        (iter(frames[:1]), 'has only 1'),
        (iter([frames[0], frames[1, :40]]), 'the frames change their size'),
        (iter(frames.astype(float)), r'frames must be uint8 \(H, W, 3\)'),
    ):
        with pytest.raises(ValueError, match=words):
            list(inferencer.stream(source))
    with pytest.raises(ValueError, match='window must be more than 0'):
        next(inferencer.stream(0, window=0))
    with pytest.raises(FileNotFoundError, match='no video found'):
        next(inferencer.stream(tmp_path / 'none.mp4'))

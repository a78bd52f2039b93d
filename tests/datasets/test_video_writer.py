import av
import cv2
import numpy as np
import pytest

from projects.ila.datasets.video_writer import write_video


def read(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = [
            frame.to_ndarray(format='rgb24')
            for frame in container.decode(stream)
        ]
        return stream.codec_context, stream.average_rate, np.stack(frames)


@pytest.mark.parametrize('height, width', [(48, 64), (49, 65)])
def test_written_video_is_the_given_one(tmp_path, height, width):
    rows, columns = np.mgrid[:height, :width]
    frames = np.stack([
        np.stack([rows * 3, columns * 2, rows * 0 + 20 * t], axis=-1)
        for t in range(5)
    ]).astype(np.uint8)
    write_video(tmp_path / 'a.mp4', frames, 2)
    codec, rate, found = read(tmp_path / 'a.mp4')
    assert codec.name == 'h264'
    assert codec.pix_fmt == 'yuv420p'  # Browsers play no other.
    assert rate == 2
    assert found.shape == (5, 48, 64, 3)
    error = found.astype(int) - frames[:, :48, :64]
    assert abs(error).mean() < 4


@pytest.mark.parametrize('fps', [30000 / 1001, 0.5, 1 / 3600])
def test_any_rate(tmp_path, fps):
    write_video(tmp_path / 'a.mp4', np.zeros((4, 8, 8, 3), np.uint8), fps)
    with av.open(str(tmp_path / 'a.mp4')) as container:
        times = [frame.time for frame in container.decode(video=0)]
    np.testing.assert_allclose(times, np.arange(4) / fps, rtol=1e-4)


def test_videos_that_cannot_be_written(tmp_path):
    for size in ((1, 8), (8, 1)):
        with pytest.raises(ValueError, match='2 x 2 pixels'):
            write_video(tmp_path / 'a.mp4', np.zeros((2, *size, 3), np.uint8),
                        2)
    with pytest.raises(OSError):
        write_video(tmp_path / 'none' / 'a.mp4',
                    np.zeros((2, 8, 8, 3), np.uint8), 2)


def test_opencv_reads_it(tmp_path):
    write_video(tmp_path / 'a.mp4', np.zeros((3, 8, 8, 3), np.uint8), 4)
    reader = cv2.VideoCapture(str(tmp_path / 'a.mp4'))
    assert [reader.read()[0] for _ in range(4)] == [True] * 3 + [False]
    assert reader.get(cv2.CAP_PROP_FPS) == 4

from types import SimpleNamespace

import numpy as np
import pytest
from mmengine.config import Config
from videos import read_barcode, write_barcodes

from projects.ila.apis.clip_reader import ClipReader, find_even_frames
from projects.ila.apis.video_inputs import VideoInput


def make_reader(kind):
    pipeline = [
        dict(type=f'{kind}Init'),
        dict(type='UniformSample', clip_len=4, test_mode=True),
        dict(type=f'{kind}Decode'),
        dict(type='FormatShape', input_format='NCTHW'),
        dict(type='PackActionInputs')
    ]
    return ClipReader(
        Config(dict(test_dataloader=dict(dataset=dict(pipeline=pipeline)))))


def shown_at(times, second):
    """The last frame that begins before."""
    return max(i for i, time in enumerate(times) if time <= second)


@pytest.mark.parametrize('kind', ['SafePyAV', 'SafeDecord'])
def test_windows_are_seconds_where_the_frame_rate_varies(tmp_path, kind):
    ticks = [*range(30), *(30 + 10 * i for i in range(30))]
    times = [tick / 30 for tick in ticks]
    path = write_barcodes(
        tmp_path / 'a.mp4', 'libx264', 60, rate=30, times=ticks)
    reader, video = make_reader(kind), VideoInput(str(path))
    fps, frames = reader.read_all(video)
    assert fps == pytest.approx(59 / times[-1], rel=0.1)
    frames = [*map(read_barcode, frames)]
    assert len(frames) == round(times[-1] * fps) + 1
    assert frames == [
        shown_at(times, (place + 0.5) / fps) for place in range(len(frames))
    ]
    clips = [*reader.read(video, 2., 2.)]
    starts = [clip['data_samples'].start for clip in clips]
    np.testing.assert_allclose(starts[:-1], np.arange(0, 9, 2), atol=0.1)
    for clip in clips:
        images = clip['inputs'][0].permute(1, 2, 3, 0).numpy()
        begin, end = clip['data_samples'].start, clip['data_samples'].end
        for part, image in enumerate(images):
            middle = begin + (part + 0.5) / 4 * (end - begin)
            found = times[read_barcode(image)]
            # A frame may be shown for a third of a second.
            assert middle - 0.5 < found < middle + 0.2


@pytest.mark.parametrize('times', [
    None,
    np.arange(40) / 25,
    np.round(np.arange(40) / 25, 2) + 0.001 * (np.arange(40) % 2),
    np.arange(40) / 25.1,
])
def test_frames_at_an_even_rate_are_all_taken_once(times):
    video = dict(
        total_frames=40,
        avg_fps=25.,
        video_reader=SimpleNamespace(times=times))
    assert find_even_frames(video).tolist() == [*range(40)]
    assert find_even_frames(dict(video, avg_fps=0.)).tolist() == [*range(40)]

import numpy as np

from projects.ila.datasets.transforms import ShuffleFrames


def test_clips_keep_their_frames_in_another_order():
    frames = np.arange(24)
    orders = []
    for name in ('a.mp4', 'a.mp4', 'b.mp4'):
        results = dict(frame_inds=frames, num_clips=3, filename=name)
        orders.append(ShuffleFrames()(results)['frame_inds'])
    for order in orders:
        clips = order.reshape(3, 8)
        assert np.array_equal(np.sort(clips, axis=1), frames.reshape(3, 8))
        assert not np.array_equal(order, frames)
    assert np.array_equal(orders[0], orders[1])
    assert not np.array_equal(orders[0], orders[2])

import os
import shutil
import signal
import struct

import decord
import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.runner import Runner
from videos import write_h264, write_video

from mmaction.registry import DATASETS, TRANSFORMS

DECODERS = ('Decord', 'PyAV')


def make_pipeline(decoder='PyAV', prefix='Safe', **sampling):
    return [
        dict(type=f'{prefix}{decoder}Init'),
        dict(type='UniformSample', clip_len=8, **sampling),
        dict(type=f'{prefix}{decoder}Decode'),
        dict(type='FormatShape', input_format='NCTHW'),
        dict(type='PackActionInputs')
    ]


def decode(decoder, path, indices):
    """Decode frames, and return them with the number of all frames."""
    results = dict(filename=str(path))
    results = TRANSFORMS.build(dict(type=f'Safe{decoder}Init'))(results)
    results['frame_inds'] = np.array(indices)
    results = TRANSFORMS.build(dict(type=f'Safe{decoder}Decode'))(results)
    return np.stack(results['imgs']), results['total_frames']


def build(folder, text, **kwargs):
    """Build a dataset of ``folder/videos`` with the given annotations."""
    ann_file = folder / 'list.txt'
    if text is not None:
        ann_file.write_text(text)
    kwargs = dict(
        ann_file=str(ann_file),
        data_prefix=dict(video=str(folder / 'videos')),
        num_classes=4,
        pipeline=make_pipeline()) | kwargs
    return DATASETS.build(dict(type='ILAVideoDataset', **kwargs))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / 'videos').mkdir()
    write_video(tmp_path / 'videos' / 'a b.mp4')
    return tmp_path


def move_index_to_front(content):
    """Turn ftyp, ..., mdat, moov into ftyp, moov, ..., mdat."""
    moov = content.index(b'moov') - 4
    head, = struct.unpack_from('>I', content)
    body, index = content[head:moov], bytearray(content[moov:])
    offsets = index.index(b'stco') + 8
    count, = struct.unpack_from('>I', index, offsets)
    for place in range(offsets + 4, offsets + 4 + 4 * count, 4):
        offset, = struct.unpack_from('>I', index, place)
        struct.pack_into('>I', index, place, offset + len(index))
    return content[:head] + bytes(index) + body


def set_edit_list(content, start, length):
    """Show ``length`` frames from ``start`` on, at 30 frames per second."""
    content = bytearray(content)
    per_second, = struct.unpack_from('>I', content,
                                     content.index(b'mdhd') + 16)
    struct.pack_into('>Ii', content,
                     content.index(b'elst') + 12, 1000 * length // 30,
                     per_second * start // 30)
    return bytes(content)


def test_annotations(folder):
    dataset = build(folder, 'a b.mp4 3\r\n\n  \na b.mp4  0\n')
    assert len(dataset) == 2
    for index, label in enumerate((3, 0)):
        info = dataset.get_data_info(index)
        assert info['filename'] == str(folder / 'videos' / 'a b.mp4')
        assert info['label'] == label
    # An extension may be left out, as with DecordInit.
    dataset = build(folder, 'a b,3', delimiter=',')
    assert dataset[0]['inputs'].shape == (1, 3, 8, 48, 64)
    # Several labels, as in MMAction2.
    (folder / 'videos' / 'c.mp4').touch()
    dataset = build(folder, 'c.mp4 0 3\na b.mp4 2 1\n', multi_class=True)
    assert dataset.get_data_info(0)['label'].tolist() == [1, 0, 0, 1]
    assert dataset.get_data_info(1)['label'].tolist() == [0, 1, 1, 0]
    assert dataset.get_data_info(1)['filename'].endswith('/a b.mp4')


def test_encodings_of_annotations(folder):
    """What is certain is read, file names as the disk has them."""
    name = os.fsdecode('é'.encode('latin-1'))
    for path in (f'{name} 1.mp4', 'é.mp4'):
        shutil.copy(folder / 'videos/a b.mp4', folder / 'videos' / path)
    ann_file = folder / 'list.txt'
    for encoding in ('utf-8', 'utf-8-sig', 'utf-16'):
        ann_file.write_bytes('é.mp4 1\r\na b.mp4 2\r\n'.encode(encoding))
        dataset = build(folder, None)
        assert [dataset.get_data_info(x)['label'] for x in (0, 1)] == [1, 2]
        assert dataset.get_data_info(0)['filename'].endswith('/é.mp4')
    ann_file.write_bytes('é 1.mp4 1\n'.encode('latin-1'))
    sample = build(folder, None)[0]
    assert sample['data_samples'].filename == str(folder / 'videos' /
                                                  f'{name} 1.mp4')

    ann_file.write_bytes('a b.mp4 1\ncafé.mp4 1\n'.encode('latin-1'))
    with pytest.raises(ValueError) as error:
        build(folder, None)
    assert 'list.txt:2: byte 4 (0xe9) is not UTF-8' in str(error.value)
    ann_file.write_bytes('a b.mp4 1\n'.encode('utf-16-le'))
    with pytest.raises(ValueError, match='list.txt:1: .* without a byte ord'):
        build(folder, None)


@pytest.mark.parametrize('text, kwargs, error, words', [
    (None, dict(ann_file='x://list.txt'), ValueError,
     ("'x://list.txt'", 'cannot be fetched', '`ann_file`')),
    (None, dict(ann_file='/dev/zero'), ValueError,
     ("'/dev/zero' is a folder, a pipe or a device", )),
    (None, {}, FileNotFoundError, ('list.txt', '`ann_file`')),
    ('\n', {}, ValueError, ('list.txt', 'is empty')),
    ('a b.mp4 1\n\na b.mp4', {}, ValueError, ('list.txt:3:', 'a b.mp4')),
    ('a b.mp4 1\na b.mp4,2', {}, ValueError, ('list.txt:2:', 'a b.mp4,2')),
    ('a b.mp4 1\nrun', {}, ValueError, ('list.txt:2:', 'run')),
    ('a b.mp4 1.5', {}, ValueError, ('list.txt:1:', '1.5')),
    (' 1', {}, ValueError, ('list.txt:1:', )),
    ('a b.mp4 3\na b.mp4 4', {}, ValueError, ('list.txt:2:', '4', '[0, 4)')),
    ('a b.mp4 1 2', {}, ValueError, ('list.txt:1:', '2 labels', 'multi_cl')),
    ('a b.mp4 1\nc 1 2', dict(multi_class=True), ValueError,
     ('list.txt:2:', "'c 1' with the labels [2]", "'c' with [1, 2]")),
    ('a b.mp4 0 4', dict(multi_class=True), ValueError,
     ('list.txt:1:', 'label 4 is not in [0, 4)')),
    ('a b.mp4 -1', dict(num_classes=None), ValueError, ('list.txt:1:', '-1')),
    ('x.mp4 1', {}, FileNotFoundError, ('x.mp4', 'list.txt')),
    ('x.mp4 1', dict(data_prefix=dict(video='nowhere')), FileNotFoundError,
     ("'nowhere'", '`data_prefix`')),
    ('a b.mp4 1', dict(data_prefix=dict(img='videos')), ValueError,
     ("data_prefix must be dict(video='...')", "{'img': 'videos'}")),
])
def test_bad_annotations(folder, text, kwargs, error, words):
    with pytest.raises(error) as caught:
        build(folder, text, **kwargs)
    for word in words:
        assert word in str(caught.value)


def broken_files(folder, decoder):
    """Make (name, part of the message) of files that can not be used."""
    videos = folder / 'videos'
    whole = (videos / 'a b.mp4').read_bytes()
    contents = {'.mp4': whole, '-index-first.mp4': move_index_to_front(whole)}
    for fourcc, suffix in (('MJPG', '.avi'), ('VP80', '.webm')):
        path = write_video(videos / f'whole{suffix}', fourcc=fourcc)
        contents[suffix] = path.read_bytes()
    for suffix, content in contents.items():
        name = f'uncut{suffix}'
        (videos / name).write_bytes(content)
        yield name, None
        for percent in (10, 50, 90, 99):
            name = f'{percent}{suffix}'
            (videos / name).write_bytes(content[:len(content) * percent //
                                                100])
            yield name, 'truncated'
    (videos / 'zeros.mp4').write_bytes(whole[:len(whole) // 2].ljust(
        len(whole), b'\0'))
    yield 'zeros.mp4', 'Error'
    # Decord takes the frames behind the end as well, but can not decode them.
    (videos / 'short.mp4').write_bytes(set_edit_list(whole, 0, 30))
    yield 'short.mp4', dict(Decord='decord cannot read the file').get(decoder)
    (videos / 'empty.mp4').touch()
    yield 'empty.mp4', 'Error'
    (videos / 'text.mp4').write_text('no video\n' * 99)
    yield 'text.mp4', 'Error'
    write_video(videos / 'one.mp4', num_frames=1)
    yield 'one.mp4', 'two frames are needed, the video has only 1'
    write_video(videos / 'two.mp4', num_frames=2)
    yield 'two.mp4', None
    yield 'removed.mp4', 'FileNotFoundError'


@pytest.mark.parametrize('decoder', DECODERS)
@pytest.mark.parametrize('test_mode', [False, True])
def test_broken_videos(folder, test_mode, decoder):
    cases = list(broken_files(folder, decoder))
    lines = [f'{name} 0' for name, _ in [('a b.mp4', None)] + cases]
    dataset = build(
        folder,
        '\n'.join(lines),
        test_mode=test_mode,
        pipeline=make_pipeline(decoder))
    for index, (name, words) in enumerate(cases, 1):
        if words is None:
            assert dataset[index]['inputs'].shape == (1, 3, 8, 48, 64), name
            continue
        # Neither hidden behind another video nor anything but a RuntimeError.
        with pytest.raises(RuntimeError) as caught:
            dataset[index]
        assert type(caught.value) is RuntimeError
        message = str(caught.value)
        assert f"'{folder / 'videos' / name}'" in message
        assert words in message, name
        assert f"remove its line from '{folder / 'list.txt'}'" in message


def test_error_leaves_worker(folder):
    (folder / 'videos' / 'text.mp4').write_text('no video')
    dataset = build(folder, 'a b.mp4 0\ntext.mp4 1')
    loader = Runner.build_dataloader(
        dict(
            dataset=dataset,
            batch_size=2,
            num_workers=1,
            sampler=dict(type='DefaultSampler', shuffle=False)))
    with pytest.raises(RuntimeError) as caught:
        next(iter(loader))
    assert f"cannot load video '{folder / 'videos' / 'text.mp4'}'" in str(
        caught.value)


@pytest.mark.parametrize('decoder', DECODERS)
def test_frames_behind_an_edit_list(folder, decoder):
    """Frames before the edit list's start are skipped, the rest is right."""
    path = folder / 'videos' / 'a b.mp4'
    frames = decord.VideoReader(str(path)).get_batch(range(60)).asnumpy()
    path.write_bytes(set_edit_list(path.read_bytes(), 20, 40))
    indices = [0, 7, 3, 39, 7, 20]
    images, total = decode(decoder, path, indices)
    assert total == 40
    # Decord's RGB of this codec is rounded in another way than PyAV's.
    np.testing.assert_allclose(
        images.astype(int),
        frames[np.array(indices) + 20].astype(int),
        atol=decoder == 'PyAV')


def test_good_videos_give_the_frames_of_mmaction(folder):
    """Where decord works, nothing differs from MMAction2's own transforms."""
    batches = []
    for prefix in ('Safe', ''):
        pipeline = make_pipeline('Decord', prefix, test_mode=True)
        dataset = build(folder, 'a b.mp4 2', pipeline=pipeline)
        batches.append(pseudo_collate([dataset[0]]))
    assert batches[0]['data_samples'][0].gt_label.item() == 2
    torch.testing.assert_close(
        batches[0]['inputs'][0], batches[1]['inputs'][0], rtol=0, atol=0)


@pytest.mark.parametrize('suffix', ['.mp4', '.mkv', '.avi'])
def test_decoders_give_the_same_frames_of_h264(tmp_path, suffix):
    """AVI files do not tell where frames in another order belong."""
    path = write_h264(tmp_path / f'video{suffix}')
    for indices in ([3, 40, 3, 59, 0], range(60), [17]):
        images, total = decode('PyAV', path, indices)
        expected, same_total = decode('Decord', path, indices)
        assert total == same_total == 60
        np.testing.assert_array_equal(images, expected)


def test_decoders_turn_rotated_videos(tmp_path):
    """As phones write them, with a matrix instead of turned pixels."""
    path = write_video(tmp_path / 'video.mp4', size=(128, 64))
    content = bytearray(path.read_bytes())
    one = 1 << 16
    struct.pack_into('>9i', content,
                     content.index(b'tkhd') + 44, 0, one, 0, -one, 0, 0,
                     64 * one, 0, 1 << 30)
    path.write_bytes(content)
    images, expected = (
        decode(decoder, path, [0, 31])[0].astype(int) for decoder in DECODERS)
    assert images.shape == (2, 128, 64, 3)
    np.testing.assert_allclose(images, expected, atol=1)


def test_narrow_video_never_gives_a_fourth_channel(folder):
    """Decord 0.6 reads some widths wrong; then it is an error."""
    write_video(folder / 'videos' / 'narrow.mp4', 20, (72, 72))
    try:
        dataset = build(
            folder, 'narrow.mp4 0\n', pipeline=make_pipeline('Decord'))
        shape = dataset[0]['inputs'].shape
    except RuntimeError as error:
        assert 'misreads a width of 72 pixels' in str(error)
    else:
        assert shape == (1, 3, 8, 72, 72)


def damaged(folder, **kwargs):
    """Three whole videos with label 1 and two broken ones with label 3."""
    for index in range(3):
        write_video(folder / 'videos' / f'{index}.mp4', 12)
    for index in (3, 4):
        (folder / 'videos' / f'{index}.mp4').write_text('no video')
    lines = [f'{index}.mp4 {1 if index < 3 else 3}' for index in range(5)]
    return build(folder, '\n'.join(lines), **kwargs)


@pytest.mark.parametrize('num_workers', [0, 2])
def test_broken_videos_are_skipped_and_counted(folder, num_workers):
    dataset = damaged(folder, on_error='skip')
    loader = Runner.build_dataloader(
        dict(
            dataset=dataset,
            batch_size=5,
            num_workers=num_workers,
            sampler=dict(type='DefaultSampler', shuffle=False)))
    for _ in range(2):
        batch, = loader
        samples = batch['data_samples']
        # Another video comes with a label and a name of its own.
        assert [sample.gt_label.item() for sample in samples] == [1] * 5
        names = [sample.filename.rsplit('/')[-1] for sample in samples]
        assert names[:3] == ['0.mp4', '1.mp4', '2.mp4']
        assert set(names[3:]) <= set(names[:3])
    assert loader.dataset.num_errors >= 4


def die(results):
    os.kill(os.getpid(), signal.SIGKILL)


def test_dead_worker_is_reported(folder):
    """As one is that the system kills for its memory."""
    loader = Runner.build_dataloader(
        dict(
            dataset=build(folder, 'a b.mp4 0', pipeline=[die]),
            batch_size=1,
            num_workers=1,
            sampler=dict(type='DefaultSampler', shuffle=False)))
    with pytest.raises(RuntimeError, match='worker.*exited unexpectedly'):
        next(iter(loader))


def test_too_many_broken_videos_stop(folder):
    dataset = damaged(folder, on_error='skip', max_errors=2)
    for _ in range(2):
        dataset.prepare_data(3)
    with pytest.raises(RuntimeError, match='`max_errors=2`'):
        dataset.prepare_data(3)


def test_tests_never_skip(folder):
    dataset = damaged(folder, on_error='skip', test_mode=True)
    with pytest.raises(RuntimeError, match='cannot load video'):
        dataset[3]
    with pytest.raises(ValueError, match="'raise' or 'skip', got 'ignore'"):
        damaged(folder, on_error='ignore')


@pytest.mark.parametrize('labels, multi_class, expected', [
    (['0', '0', '0', '1'], False, [0, 1, 2, 3, 3]),
    (['0', '0 1', '0', '0'], True, [0, 1, 1, 2, 3]),
])
def test_rare_classes_are_repeated(folder, labels, multi_class, expected):
    """Those of a class of share f come ceil(sqrt(0.5 / f)) times."""
    text = ''.join(f'a b.mp4 {label}\n' for label in labels)
    dataset = build(folder, text, multi_class=multi_class)
    balanced = DATASETS.build(
        dict(type='ClassBalancedDataset', dataset=dataset, oversample_thr=0.5))
    assert balanced.repeat_indices == expected

import copy
import itertools
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from reference import load_reference
from tiny import NAMES, TEXT_HEAD, save_weights, tiny_config
from videos import write_h264, write_video

from mmaction.apis import init_recognizer
from mmaction.registry import DATASETS, METRICS, TRANSFORMS
from projects.ila.apis import (ILAInferencer, find_videos, load_released,
                               split_windows)
from projects.ila.apis.loading import find_model_config


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Three videos and the weights of a linear and a text head."""
    folder = tmp_path_factory.mktemp('inferencer')
    for number, frames in ((2, 40), (10, 100), (1, 25)):
        write_video(folder / f'{number}.mp4', frames)
    save_weights(tiny_config(), folder / 'linear.pth')
    save_weights(tiny_config(**TEXT_HEAD), folder / 'text.pth')
    return folder


@pytest.fixture(scope='module')
def inferencer(folder):
    return ILAInferencer(
        tiny_config(), folder / 'linear.pth', show_progress=False)


def predict(cfg, weights, paths):
    """Predict one by one, as the loop of a test does: (videos, classes)."""
    model = init_recognizer(cfg, str(weights), 'cpu')
    ann_file = weights.with_suffix('.txt')
    ann_file.write_text(''.join(f'{path} 0\n' for path in paths))
    dataset = DATASETS.build({
        **cfg.test_dataloader.dataset, 'ann_file':
        str(ann_file)
    })
    with torch.no_grad():
        return torch.stack([
            model.test_step(pseudo_collate([sample]))[0].pred_score
            for sample in dataset
        ])


def scores(parts, num_classes=10):
    """Put scores back into the order of the labels."""
    result = torch.zeros(len(parts), num_classes)
    for row, part in zip(result, parts):
        assert len(part['topk']) == num_classes
        for best in part['topk']:
            row[best['label']] = best['score']
        given = [best['score'] for best in part['topk']]
        assert given == sorted(given, reverse=True)
    return result


def write_frames(path, folder, start=0, end=None, name='frame {}.png'):
    """Save frames of a video as images."""
    results = TRANSFORMS.build(dict(type='SafePyAVInit'))(
        dict(filename=str(path)))
    results['frame_inds'] = np.arange(start, end or results['total_frames'])
    frames = TRANSFORMS.build(dict(type='SafePyAVDecode'))(results)['imgs']
    folder.mkdir(parents=True)
    for number, frame in enumerate(frames, 1):
        cv2.imwrite(str(folder / name.format(number)), frame[..., ::-1])
    return folder


@pytest.mark.parametrize('batch_size', [1, 2])
def test_predictions_are_those_of_a_test(folder, inferencer, batch_size):
    paths = [str(folder / f'{number}.mp4') for number in (1, 2, 10)]
    expected = predict(tiny_config(), folder / 'linear.pth', paths)
    assert (expected[0] - expected[1]).abs().max() > 1e-3
    result = inferencer(folder, batch_size=batch_size, topk=99)
    assert result['errors'] == []
    assert [x['file'] for x in result['predictions']] == paths
    torch.testing.assert_close(scores(result['predictions']), expected)
    torch.testing.assert_close(expected.sum(1), torch.ones(3))
    # Without names, those of a linear head's labels are their numbers.
    best = inferencer(paths[2], topk=2)['predictions'][0]['topk']
    assert [x['label'] for x in best] == expected[2].topk(2)[1].tolist()
    assert [x['name'] for x in best] == [str(x['label']) for x in best]
    samples = inferencer(paths, return_datasamples=True)['predictions']
    torch.testing.assert_close(
        torch.stack([sample.pred_score for sample in samples]), expected)


def test_average_of_scores_is_one_of_probabilities(folder, inferencer):
    other = ILAInferencer(
        tiny_config(average_clips='score'), folder / 'linear.pth')
    assert other(folder) == inferencer(folder)


def test_folder_of_frames_is_its_video(folder, inferencer, tmp_path):
    # In the order of names as texts, frame 10 would come before frame 2.
    frames = write_frames(folder / '2.mp4', tmp_path / 'a' / 'b')
    (frames / 'notes.txt').touch()
    video, images = inferencer([folder / '2.mp4', tmp_path])['predictions']
    assert images['file'] == str(frames)
    assert images['topk'] == video['topk']


def frames_config(**dataset):
    """The config of a model that was trained on folders of frames."""
    cfg = tiny_config()
    pipeline = cfg.test_dataloader.dataset.pipeline
    pipeline[2] = dict(type='mmaction.RawFrameDecode')
    cfg.test_dataloader.dataset = dict(
        type='RawframeDataset', pipeline=pipeline[1:],
        test_mode=True) | dataset
    return cfg


def test_model_of_frames(folder, tmp_path):
    """The scores are those of a test with MMAction2's data set."""
    for number in (2, 10):
        frames = write_frames(
            folder / f'{number}.mp4',
            tmp_path / str(number),
            name='img_{:05}.jpg')
        # As MMAction2 extracts both to one folder.
        cv2.imwrite(str(frames / 'flow_x_00001.jpg'), np.zeros((9, 9, 3)))
    ann_file = tmp_path / 'list.txt'
    ann_file.write_text('2 40 0\n10 100 1\n')
    cfg = frames_config(
        ann_file=str(ann_file), data_prefix=dict(img=str(tmp_path)))
    model = init_recognizer(cfg, str(folder / 'linear.pth'), 'cpu')
    with torch.no_grad():
        expected = torch.stack([
            model.test_step(pseudo_collate([sample]))[0].pred_score
            for sample in DATASETS.build(cfg.test_dataloader.dataset)
        ])
    shutil.copy(folder / '1.mp4', tmp_path)
    inferencer = ILAInferencer(cfg, folder / 'linear.pth')
    result = inferencer([tmp_path, tmp_path / '1.mp4'], topk=10)
    files = [x['file'] for x in result['predictions']]
    assert files == [str(tmp_path / '2'), str(tmp_path / '10')]
    torch.testing.assert_close(
        scores(result['predictions']), expected, rtol=1e-3, atol=1e-4)
    error, = result['errors']
    assert error['file'] == str(tmp_path / '1.mp4')
    assert 'reads folders of frames' in error['error']

    (tmp_path / '2/img_00017.jpg').unlink()
    other = ILAInferencer(
        frames_config(filename_tmpl='{:03}.png'), folder / 'linear.pth')
    for inferencer, words in ((inferencer, "'img_00017.jpg' is missing"),
                              (other, "named like '{:03}.png'")):
        error, = inferencer(tmp_path / '2')['errors']
        assert words in error['error']


@pytest.mark.parametrize(
    'cls_head', [{}, {
        **TEXT_HEAD, 'class_names': NAMES[:1]
    }],
    ids=['linear', 'text'])
def test_scores_of_several_labels(folder, tmp_path, cls_head):
    """They are sigmoids, as in a test, whose metric is MMAction2's."""
    cfg = tiny_config(**cls_head, multi_class=True)
    save_weights(cfg, tmp_path / 'several.pth')
    model = init_recognizer(cfg, str(tmp_path / 'several.pth'), 'cpu')
    num_classes = model.cls_head.num_classes
    paths = [
        shutil.copy(folder / f'{x}.mp4', tmp_path / f'a {x}.mp4')
        for x in (1, 2, 10)
    ]
    labels = [[0], [0, num_classes - 1], [num_classes - 1]]
    (tmp_path / 'list.txt').write_text(''.join(
        f"{path} {' '.join(map(str, x))}\n" for path, x in zip(paths, labels)))
    cfg.test_dataloader.dataset.update(
        ann_file=str(tmp_path / 'list.txt'),
        multi_class=True,
        num_classes=num_classes)
    metric = METRICS.build(
        dict(type='AccMetric', metric_list=('mean_average_precision', )))
    metric.dataset_meta = None
    expected, targets = torch.zeros(3, num_classes), np.zeros((3, num_classes))
    for row, sample in enumerate(DATASETS.build(cfg.test_dataloader.dataset)):
        batch = pseudo_collate([sample])
        with torch.no_grad():
            result, = model.test_step(copy.deepcopy(batch))
            inputs = model.data_preprocessor(batch)['inputs']
            logits = model(inputs)['logits']
        expected[row] = torch.stack([1 / (1 + (-x).exp())
                                     for x in logits]).mean(0)
        torch.testing.assert_close(result.pred_score, expected[row])
        metric.process(None, [result.to_dict()])
        targets[row, labels[row]] = 1
    if num_classes > 1:  # MMAction2's metric takes no fewer.
        precision = metric.evaluate(3)['acc/mean_average_precision']
        naive = [
            average_precision(expected[:, x].numpy(), targets[:, x])
            for x in (0, num_classes - 1)
        ]
        assert precision == pytest.approx(np.mean(naive), abs=1e-6)

    inferencer = ILAInferencer(cfg, tmp_path / 'several.pth')
    predictions = inferencer(paths, topk=num_classes)['predictions']
    torch.testing.assert_close(scores(predictions, num_classes), expected)


def average_precision(scores, targets):
    """The mean of the precisions at each right one, the best first."""
    right = targets[np.argsort(-scores)]
    precisions = np.cumsum(right) / np.arange(1, len(right) + 1)
    return precisions[right == 1].mean()


@pytest.mark.parametrize('write', [write_video, write_h264])
def test_windows_are_videos_of_their_own(inferencer, tmp_path, write):
    path = write(tmp_path / 'a.mp4', 100)
    starts = [0, 24, 48, 70]  # The last one is moved back to frame 100 - 30.
    cut = [
        write_frames(path, tmp_path / 'cut' / str(start), start, start + 30)
        for start in starts
    ]
    result = inferencer(path, batch_size=3, topk=10, window=1, stride=0.8)
    prediction, = result['predictions']
    timeline = prediction['timeline']
    assert prediction['file'] == str(path)
    assert [part['start'] for part in timeline
            ] == pytest.approx([start / 30 for start in starts], abs=1e-3)
    assert [part['end'] for part in timeline
            ] == pytest.approx([(x + 30) / 30 for x in starts], abs=1e-3)
    expected = scores(inferencer(cut, topk=10)['predictions'])
    assert (expected[0] - expected[3]).abs().max() > 1e-3
    torch.testing.assert_close(scores(timeline), expected)
    # One window per video that is not longer.
    whole = inferencer(path, topk=10)['predictions'][0]['topk']
    part, = inferencer(
        path, topk=10, window=99, stride=1)['predictions'][0]['timeline']
    assert part == dict(
        start=0, end=pytest.approx(100 / 30, abs=1e-3)) | dict(topk=whole)


@pytest.mark.parametrize('reader', ['SafeDecord', 'Decord', 'OpenCV', 'PyAV'])
def test_windows_are_read_as_the_config_says(folder, inferencer, tmp_path,
                                             reader):
    """Also by transforms that can be read once; some have no frame rate."""
    cfg = tiny_config()
    for place, kind in ((0, 'Init'), (2, 'Decode')):
        cfg.test_dataloader.dataset.pipeline[place].type = f'{reader}{kind}'
    other = ILAInferencer(cfg, folder / 'linear.pth', show_progress=False)
    path = write_h264(tmp_path / 'a.mp4', 70)
    kwargs = dict(topk=99, window=1, stride=0.6)
    expected = inferencer(path, **kwargs)['predictions'][0]['timeline']
    result = other(path, **kwargs)
    if 'Decord' in reader:
        timeline = result['predictions'][0]['timeline']
        assert [x['start'] for x in timeline] == [x['start'] for x in expected]
        torch.testing.assert_close(
            scores(timeline), scores(expected), rtol=0, atol=1e-2)
    else:
        assert 'does not give `avg_fps`' in result['errors'][0]['error']


def test_what_is_no_file_is_named(inferencer, tmp_path):
    os.mkfifo(tmp_path / 'pipe.mp4')
    (tmp_path / 'link.mp4').symlink_to('nowhere')
    for name, words in (('pipe.mp4', 'it is a pipe'), ('link.mp4',
                                                       'it is a link')):
        for path in (tmp_path / name, tmp_path):
            errors = inferencer(path)['errors']
            assert any(
                x['file'].endswith(name) and x['error'].startswith(words)
                for x in errors)


@pytest.mark.parametrize('num_frames, fps, window, stride', [
    (300, 25, 2, 2),
    (310, 25, 2, 2),
    (299, 29.97, 1.5, 0.5),
    (100, 25, 1, 3),
    (20, 25, 1, 1),
    (9, 10, 0.5, 0.001),
])
def test_split_windows(num_frames, fps, window, stride):
    length = min(round(window * fps), num_frames)
    expected = []
    for number in itertools.count():
        start = round(number * max(stride * fps, 1))
        if number * max(stride * fps, 1) >= num_frames:
            break
        start = min(start, num_frames - length)
        if (start, start + length) not in expected:
            expected.append((start, start + length))
    windows = split_windows(num_frames, fps, window, stride)
    assert windows == expected
    if stride <= window:
        covered = {i for start, end in windows for i in range(start, end)}
        assert covered == set(range(num_frames))


def test_open_vocabulary_is_a_model_with_these_names(folder):
    names = ['riding a bike', 'playing guitar', 'grow', 'sleeping']
    weights = folder / 'text.pth'
    video = str(folder / '10.mp4')
    other = tiny_config(**TEXT_HEAD, num_classes=4)
    other.model.cls_head.class_names = names
    for classes, cfg in ((None, tiny_config(**TEXT_HEAD)), (names, other)):
        expected = predict(cfg, weights, [video])
        inferencer = ILAInferencer(
            tiny_config(**TEXT_HEAD, num_classes=3), weights, classes=classes)
        best = inferencer(video)['predictions'][0]['topk']
        torch.testing.assert_close(
            scores([dict(topk=best)], expected.shape[1]), expected)
        names_of_labels = {x['label']: x['name'] for x in best}
        assert names_of_labels == dict(enumerate(classes or NAMES))
        assert expected.std() > 1e-3
    with pytest.raises(ValueError, match='more than the 77 tokens'):
        inferencer.set_classes(['x ' * 99, 'y'])
    assert inferencer.classes == names
    with pytest.raises(ValueError, match='more than the 77 tokens'):
        ILAInferencer(
            tiny_config(**TEXT_HEAD), weights, classes=['x ' * 99, 'y'])


def test_saved_features_are_not_taken_for_other_names(folder, tmp_path):
    """Neither with the text tower nor, silently, without it."""
    model = init_recognizer(
        tiny_config(**TEXT_HEAD), str(folder / 'text.pth'), 'cpu')
    assert len(model.cls_head.text_features) == 3
    torch.save(model.state_dict(), tmp_path / 'a.pth')
    names = ['sleeping', 'grow', 'riding a bike']
    results = [
        ILAInferencer(tiny_config(**TEXT_HEAD), path,
                      classes=names)(folder / '1.mp4')
        for path in (folder / 'text.pth', tmp_path / 'a.pth')
    ]
    assert results[0] == results[1]
    cfg = tiny_config(**TEXT_HEAD)
    cfg.model.cls_head.text_encoder = None
    own = ILAInferencer(cfg, tmp_path / 'a.pth')
    assert own.classes == NAMES
    with pytest.raises(
            ValueError, match='a.pth: .* without `model.cls_head.text_'):
        ILAInferencer(cfg, tmp_path / 'a.pth', classes=names)


def test_names_of_a_linear_heads_labels(folder, tmp_path):
    names = [f'motion {number}' for number in 'abcdefghij']
    (tmp_path / 'names.txt').write_text('\n'.join(names))
    for classes in (names, str(tmp_path / 'names.txt')):
        inferencer = ILAInferencer(
            tiny_config(), folder / 'linear.pth', classes=classes)
        for best in inferencer(folder / '1.mp4')['predictions'][0]['topk']:
            assert best['name'] == names[best['label']]


def test_heads_of_mmaction2(tmp_path):
    cfg = tiny_config(
        _delete_=True, type='I3DHead', num_classes=10, in_channels=32)
    cfg.model.neck, cfg.model.backbone.out_type = None, 'featmap'
    save_weights(cfg, tmp_path / 'map.pth')
    inferencer = ILAInferencer(cfg, tmp_path / 'map.pth')
    assert not inferencer.open_vocabulary
    for call in (inferencer.set_classes, inferencer.embed_text):
        with pytest.raises(ValueError, match='has no text tower'):
            call(['a', 'b'])


def test_bad_files_do_not_lose_the_others(folder, inferencer, tmp_path):
    whole = (folder / '10.mp4').read_bytes()
    (tmp_path / 'cut.mp4').write_bytes(whole[:len(whole) // 2])
    (tmp_path / 'empty.mp4').touch()
    write_video(tmp_path / 'one.mp4', 1)
    images = write_frames(folder / '1.mp4', tmp_path / 'images', name='{}.jpg')
    for image in images.iterdir():
        image.write_bytes(image.read_bytes()[:-900])
    sizes = write_frames(folder / '1.mp4', tmp_path / 'sizes')
    for number in range(13, 26):
        image = np.zeros((8, 8, 3), np.uint8)
        cv2.imwrite(str(sizes / f'frame {number}.png'), image)
    (tmp_path / 'nothing').mkdir()
    good = [folder / '2.mp4', folder / '1.mp4']
    bad = {
        'cut.mp4': 'the file is truncated',
        'empty.mp4': 'the file is empty',
        'one.mp4': 'at least two frames are needed, the video has only 1',
        'missing.mp4': 'there is no such file',
        'images': f'{images}/3.jpg: the image cannot be read: image file is ',
        'sizes': f'{sizes}/frame 15.png: the image has another size',
        'nothing': 'at least two frames are needed, the video has only 0'
    }
    inputs = [good[0], *(tmp_path / name for name in bad), good[1]]
    result = inferencer(inputs, batch_size=2)
    assert result['predictions'] == inferencer(good)['predictions']
    assert [x['file'] for x in result['errors']
            ] == [str(tmp_path / name) for name in bad]
    for error, start in zip(result['errors'], bad.values()):
        assert error['error'].startswith(start)
        assert '\n' not in error['error']


def test_video_that_breaks_off_has_no_windows(folder, inferencer, tmp_path):
    """Neither those before the damage nor a wrong one after it."""
    whole = (folder / '10.mp4').read_bytes()
    index = whole.index(b'moov') - 4
    damaged = whole[:index * 3 // 4].ljust(index, b'\xff') + whole[index:]
    (tmp_path / 'a.mp4').write_bytes(damaged)
    files = [folder / '2.mp4', tmp_path / 'a.mp4', folder / '1.mp4']
    result = inferencer(files, batch_size=2, window=0.5)
    expected = inferencer(files[::2], window=0.5)
    assert [x['file'] for x in result['errors']] == [str(files[1])]
    assert result['predictions'] == expected['predictions']
    images = write_frames(folder / '1.mp4', tmp_path / 'images')
    for path, window, words in ((images, 1, 'no frame rate'),
                                (files[0], 0.03, 'fewer than 2 frames')):
        error, = inferencer(path, window=window)['errors']
        assert words in error['error']


def test_sizes_are_not_mixed(folder, tmp_path):
    """Those that the model cannot take are errors."""
    cfg = tiny_config()
    del cfg.test_dataloader.dataset.pipeline[4]
    sizes = dict(square=(64, 64), wide=(64, 32), uneven=(64, 48), b=(32, 32))
    paths = [
        write_video(tmp_path / f'{name}.mp4', size=size)
        for name, size in sizes.items()
    ]
    paths.insert(3, tmp_path / 'none.mp4')
    inferencer = ILAInferencer(cfg, folder / 'linear.pth')
    result = inferencer(paths, batch_size=4)
    error, missing = result['errors']
    assert missing['file'] == str(paths.pop(3))
    assert error['file'] == str(paths.pop(2))
    assert error['error'].startswith('patches of 8 pixels do not divide')
    assert [x['file'] for x in result['predictions']] == list(map(str, paths))


def test_find_videos(tmp_path):
    names = [
        'a/v2.mp4', 'a/v10.MKV', 'a/b/c.m4v', 'a/notes.txt', 'a/cover.jpg',
        'a/.hidden.mp4', 'a/.git/d.mp4', 'f/2/1.jpg', 'f/10/1.png',
        'f/2/2.jpg', 'x[1].mp4', 'e/notes.txt'
    ]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    # Circles of links end.
    (tmp_path / 'a/b/up').symlink_to(tmp_path / 'a')
    (tmp_path / 'linked').symlink_to(tmp_path / 'f')

    def find(pattern):
        return [
            path[len(str(tmp_path)) + 1:]
            for path in find_videos(f'{tmp_path}/{pattern}')
        ]

    assert find('a') == ['a/b/c.m4v', 'a/v2.mp4', 'a/v10.MKV']
    assert find('a/*.[mM]*') == ['a/v2.mp4', 'a/v10.MKV']
    assert find('f') == find('f/*') == ['f/2', 'f/10']
    assert find('linked') == ['linked/2', 'linked/10']
    assert {*find('a/**')} >= {
        'a/v2.mp4', 'a/v10.MKV', 'a/b/c.m4v', 'a/cover.jpg', 'a/notes.txt'
    }
    assert find('x[1].mp4') == ['x[1].mp4']
    assert find('a/notes.txt') == ['a/notes.txt']
    assert find('e') == find('none') == find('none*') == []


def test_bad_arguments(folder, inferencer):
    video = folder / '1.mp4'
    for kwargs in (dict(window=-1), dict(window=1,
                                         stride=0), dict(window=float('nan'))):
        with pytest.raises(ValueError, match='must be more than 0'):
            inferencer(video, **kwargs)
    for kwargs in (dict(batch_size=0), dict(topk=0), dict(topk=2.5)):
        with pytest.raises(ValueError, match='must be a whole number above 0'):
            inferencer(video, **kwargs)
    with pytest.raises(ValueError, match='stride needs a window'):
        inferencer(video, stride=1)
    with pytest.raises(FileNotFoundError, match='no video found .*none, .*n*'):
        inferencer([folder / 'none', folder / 'n*'])


def test_bad_models(folder, tmp_path):
    weights = torch.load(folder / 'linear.pth', weights_only=True)
    weights['state_dict'].popitem()
    torch.save(weights, tmp_path / 'less.pth')
    linear, text = tiny_config(), tiny_config(**TEXT_HEAD)
    no_decoder = copy.deepcopy(linear)
    del no_decoder.test_dataloader.dataset.pipeline[2]
    no_test = copy.deepcopy(linear)
    no_test.test_dataloader = None
    for model, file, kwargs, words in (
        (linear, 'linear.pth', dict(classes=NAMES), '`classes` are 3 names'),
        (text, 'text.pth', dict(classes=['grow']), 'must be 2 or more'),
        (text, 'text.pth', dict(classes='none.txt'), "'none.txt' is neither"),
        (text, 'linear.pth', dict(), 'linear.pth: the weights lack'),
        (linear, tmp_path / 'less.pth', dict(), 'less.pth: the weights lack'),
        (linear, 'linear.pth', dict(device='cuda:99'), "device 'cuda:99'"),
        (no_decoder, 'linear.pth', dict(), 'one that decodes a video'),
        (no_test, 'linear.pth', dict(), '`test_dataloader.dataset.pipeline`'),
        (Config(dict(model=dict(type='Recognizer3D'))), None, dict(),
         "'Recognizer3D', not 'ILARecognizer'"),
        ('ila_none', None, dict(), "'ila_none' is neither a config file"),
    ):
        path = None if file is None else folder / file
        with pytest.raises(ValueError, match=words):
            ILAInferencer(model, path, **kwargs)
    with pytest.raises(FileNotFoundError, match="none.pth' does not exist"):
        ILAInferencer(linear, tmp_path / 'none.pth')


def test_config_by_name(folder, tmp_path):
    with pytest.warns(UserWarning, match='weights are random'):
        inferencer = ILAInferencer('ila_motion')
    path = write_video(tmp_path / 'a.mp4', size=(64, 64))
    assert len(inferencer(path, topk=99)['predictions'][0]['topk']) == 10
    expected = inferencer.cfg.model
    file = Path(inferencer.cfg.filename)
    for source in ('ila_motion', str(file), file, inferencer.cfg, expected):
        assert find_model_config(source) == expected


def test_released_weights(tmp_path):
    """As they are, they predict what `load_released` does."""
    info, weights, _, _ = load_reference('k400_tiny_t4_s0')
    torch.save(dict(model=weights), tmp_path / 'released.pth')
    cfg = tiny_config()
    cfg.test_dataloader.dataset.pipeline[3:5] = [
        dict(type='Resize', scale=(64, 64), keep_ratio=False)
    ]
    model = load_released(weights, 'k400', info['class_names'])
    cfg.model.backbone = dict(
        type='ILAVisionTransformer',
        temporal=dict(type='ReleasedAlignment'),
        img_size=64,
        arch=dict(
            embed_dims=128,
            num_layers=3,
            num_heads=2,
            feedforward_channels=512,
            patch_size=16,
            out_channels=64))
    cfg.model.neck.update(embed_dims=64, num_frames=4)
    cfg.model.cls_head = dict(
        type='ILATextHead',
        in_channels=64,
        patch_channels=128,
        class_names='kinetics400',
        text_encoder=dict(layers=2))
    inferencer = ILAInferencer(
        cfg, tmp_path / 'released.pth', classes=info['class_names'])
    path = write_video(tmp_path / 'a.mp4', size=(64, 64))
    best = inferencer(path, topk=8)['predictions'][0]['topk']
    sample = inferencer.pipeline(
        dict(filename=str(path), start_index=0, modality='RGB'))
    with torch.no_grad():
        expected = model.test_step(pseudo_collate([sample]))[0].pred_score
    assert expected.std() > 1e-3
    torch.testing.assert_close(scores([dict(topk=best)], 8)[0], expected)

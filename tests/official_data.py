"""Miniature trees of published data sets, with their official files."""
import json
from itertools import count
from pathlib import Path
from typing import Dict

import cv2
import numpy as np
from videos import write_video

CLASSES = dict(ApplyEyeMakeup=4, HandstandPushups=6, YoYo=5)
DIVES = (['Back', '15som', '05Twis',
          'FREE'], ['Inward', 'Dive', 'NoTwis',
                    'PIKE'], ['Reverse', '2som', '1Twis', 'TUCK'])
GESTURES = 'Swiping Left', 'No gesture', 'Doing other things'
ACTIONS = dict(
    train={
        'AAAAA': 'c092 11.90 21.20;c001 0.00 5.00;c092 1.00 3',
        'BBBBB': '',
        'CCCCC': 'c156 0.00 30.00'
    },
    test={'DDDDD': 'c000 0.00 1.00'})


class Tree:
    """Writes files below a folder; each video has another length."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.lengths = count(10)

    def write(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode())

    def put_video(self, path: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        # OpenCV writes MPEG-4 to AVI as well.
        write_video(file, next(self.lengths))

    def put_frames(self, path: str, num_frames: int) -> None:
        folder = self.root / path
        folder.mkdir(parents=True)
        frame = np.zeros((48, 64, 3), np.uint8)
        for index in range(1, num_frames + 1):
            frame[:, :index] = 200
            cv2.imwrite(str(folder / f'{index:05}.jpg'), frame)


def make_ucf101(root: Path) -> Path:
    tree = Tree(root / 'ucf101')
    tree.write(
        'annotations/classInd.txt',
        ''.join(f'{index} {name}\r\n'
                for index, name in enumerate(CLASSES, 1)))
    paths = {
        # The official names of these files have another capital.
        name: [
            f"{name}/v_{name.replace('standP', 'StandP')}_g{group:02}_c01.avi"
            for group in range(1, number + 1)
        ]
        for name, number in CLASSES.items()
    }
    for path in sum(paths.values(), []):
        tree.put_video(f'videos/{path}')
    for split in (1, 2, 3):
        tree.write(f'annotations/testlist{split:02}.txt',
                   ''.join(f'{x[split - 1]}\r\n' for x in paths.values()))
        tree.write(
            f'annotations/trainlist{split:02}.txt',
            ''.join(f'{path} {index}\r\n'
                    for index, one in enumerate(paths.values(), 1)
                    for path in one if path != one[split - 1]))
    return tree.root


def make_hmdb51(root: Path) -> Path:
    tree = Tree(root / 'hmdb51')
    for name in ('climb_stairs', 'brush_hair', 'climb'):
        videos = [f'#{index}_(a)!_{name}_f_np1.avi' for index in (10, 2, 30)]
        for video in videos:
            tree.put_video(f'videos/{name}/{video}')
        for split in (1, 2, 3):
            tree.write(
                f'annotations/{name}_test_split{split}.txt',
                ''.join(f'{video} {(place + split) % 3} \n'
                        for place, video in enumerate(videos)))
    return tree.root


def make_diving48(root: Path) -> Path:
    tree = Tree(root / 'diving48')
    tree.write('annotations/Diving48_vocab.json', json.dumps(DIVES))
    for part, labels in (('train', (2, 0, 1, 0)), ('test', (1, 0))):
        entries = [
            dict(
                vid_name=f'-{part}_{index:05}',
                label=label,
                start_frame=0,
                end_frame=9) for index, label in enumerate(labels)
        ]
        tree.write(f'annotations/Diving48_V2_{part}.json', json.dumps(entries))
        for entry in entries:
            tree.put_video(f"videos/{entry['vid_name']}.mp4")
    return tree.root


def make_jester(root: Path) -> Path:
    tree = Tree(root / 'jester')
    tree.write('annotations/jester-v1-labels.csv', '\n'.join(GESTURES))
    for part, videos in (('train', {
            '34870': 2,
            '9': 0
    }), ('validation', {
            '100': 1
    })):
        tree.write(
            f'annotations/jester-v1-{part}.csv',
            ''.join(f'{video};{GESTURES[label]}\n'
                    for video, label in videos.items()))
        for video, label in videos.items():
            tree.put_frames(f'rawframes/{video}', 35 + label)
    # MMAction2 reads it as well.
    tree.write('annotations/jester-v1-test.csv', '')
    return tree.root


def make_charades(root: Path) -> Path:
    tree = Tree(root / 'charades')
    tree.write(
        'annotations/Charades_v1_classes.txt',
        ''.join(f'c{index:03} Doing thing {index}\n' for index in range(157)))
    for part, videos in ACTIONS.items():
        tree.write(
            f'annotations/Charades_v1_{part}.csv',
            'id,subject,script,actions,length\n' +
            ''.join(f'{video},X,"One, ""quoted"", person",{actions},30.5\n'
                    for video, actions in videos.items()))
        for video in videos:
            tree.put_video(f'videos/{video}.mp4')
    return tree.root


def make_all(root: Path) -> Dict[str, Path]:
    """Make the trees, and return their folders by name."""
    return dict(
        ucf101=make_ucf101(root),
        hmdb51=make_hmdb51(root),
        diving48=make_diving48(root),
        jester=make_jester(root),
        charades=make_charades(root))

"""Lists of EgoGestAR's test videos, split by who recorded them."""
import re
from pathlib import Path
from typing import Dict, List

# Names of the classes by the gestures in file names, see
# https://github.com/varunj/EgoGestAR.
GESTURES = dict(
    up='swipe up',
    down='swipe down',
    left='swipe left',
    right='swipe right',
    circlecc='circle',
    square='square',
    star='star',
    tick='check mark',
    carret='caret',
    **{'del': 'delete'})
# Clips by recorder. The data set does not name recorders; codec and frame
# rate of the files distinguish five. The clips of a recorder share scenes,
# and one scene of V may be one of M.
RECORDERS = dict(
    M='up 2 16 19-22; down 16 19-22; left 16 19-22; right 5 16 19-22; '
    'circlecc 3 5 6 21; square 16 19-22; star 16 19-22; tick 3 16 19-22; '
    'carret 2 16 19-22; del 16 19-22',
    V='up 1 3-6; down 1-6; left 1-6; right 1-4 6 7; circlecc 1 4 7 9-11 13; '
    'square 1-5 7; star 1-6; tick 1 2 4 6 7; carret 1 3-6; del 1 3-7',
    X='up 17 18; down 17 18; left 17 18; right 17 18; circlecc 2 22; '
    'square 17; tick 17 18; carret 17 18; del 17 18',
    T='up 7 11; down 7 11; left 7 11; right 8 11; circlecc 8 16; '
    'square 6 11; star 7 11; tick 5 11; carret 7 11; del 2 11',
    N='up 13 15; down 13 15; left 13 15; right 13 15; circlecc 18 20; '
    'square 13 15; star 13 15; tick 13 15; carret 13 15; del 13 15')
# Recorders that are held out together.
FOLDS = 'MV', 'X', 'T', 'N'


def list_clips(text: str) -> List[str]:
    """Turn ``'up 2 16-18; down 3'`` into names such as ``'up_2'``."""
    clips = []
    for part in text.split('; '):
        gesture, *ranges = part.split()
        for numbers in ranges:
            first, *last = map(int, numbers.split('-'))
            clips += [
                f'{gesture}_{number}'
                for number in range(first, (last or [first])[0] + 1)
            ]
    return clips


def make_lists(folder: str) -> Dict[str, str]:
    """Make the lists of the videos in EgoGestAR's folder ``testvideo``.

    Returns:
        dict[str, str]: Contents by file name: ``class_names.txt``;
        ``train.txt`` with recorders M, V and X, and ``val.txt`` with T and N;
        for each fold (M with V, X, T and N), a list without and a list with
        only its recorders, such as ``train_without_MV.txt`` and
        ``val_MV.txt``; and ``other.txt``, clips of unknown recorders.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: Videos are missing.
    """
    if not Path(folder).is_dir():
        raise FileNotFoundError(f"there is no folder '{folder}'; give "
                                '`testvideo` of a clone')
    labels = {gesture: number for number, gesture in enumerate(GESTURES)}
    lines = {}
    for path in sorted(Path(folder).glob('*.mp4')):
        name = re.search(r'([a-z]+)_\d+$', path.stem)
        if name and name[1] in labels:
            lines[name[0]] = f'{path.name} {labels[name[1]]}\n'
    recorders = {
        recorder: list_clips(clips)
        for recorder, clips in RECORDERS.items()
    }
    known = [clip for clips in recorders.values() for clip in clips]
    missing = [clip for clip in known if clip not in lines]
    if missing:
        raise ValueError(
            f"{len(missing)} of EgoGestAR's {len(known)} clips "
            f"({', '.join(missing[:3])}) are not in '{folder}'; give the "
            'folder `testvideo` of a whole clone')

    def join(names: str) -> str:
        return ''.join(lines[clip] for name in recorders if name in names
                       for clip in recorders[name])

    lists = dict(train=join('MVX'), val=join('TN'))
    for fold in FOLDS:
        lists[f'train_without_{fold}'] = join(''.join({*recorders} - {*fold}))
        lists[f'val_{fold}'] = join(fold)
    lists['other'] = ''.join(line for clip, line in lines.items()
                             if clip not in known)
    lists['class_names'] = '\n'.join([*GESTURES.values(), ''])
    return {f'{name}.txt': text for name, text in lists.items()}

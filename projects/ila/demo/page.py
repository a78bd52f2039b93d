import os
import shutil
from pathlib import Path
from tempfile import mkdtemp
from typing import Dict, Sequence, Tuple

import gradio as gr

from ..apis import ILAInferencer
from ..datasets.video_reader import VideoReader
from ..visualization import (DrawingStyle, load_views, run_model,
                             write_alignment)

# Only fonts that the machine has: nothing is fetched from elsewhere.
THEME = gr.themes.Soft(
    font=['system-ui', 'sans-serif'], font_mono=['monospace'])


def check_size(path: str, max_mb: float) -> None:
    """Refuse a file that is too large, in megabytes of 10**6 bytes."""
    size = os.path.getsize(path) / 1e6
    if size > max_mb:
        raise ValueError(f'the file has {size:.1f} MB, more than the '
                         f'{max_mb:g} MB allowed; give a smaller one')


def check_length(path: str, max_seconds: float) -> None:
    """Refuse a video that is too long, before it is decoded.

    Files that cannot be opened pass: the inferencer describes their fault.
    """
    try:
        seconds = VideoReader(Path(path).read_bytes()).duration
    except (OSError, ValueError):
        return
    if not seconds:
        raise ValueError('the file does not state how long the video is; '
                         'convert it to MP4')
    if seconds > max_seconds:
        raise ValueError(f'the video is {seconds:.1f} s long, more than the '
                         f'{max_seconds:g} s allowed; cut it')


def classify(inferencer: ILAInferencer, path: str) -> Dict[str, float]:
    """Get the five most probable classes of a video, by their names.

    Raises:
        ValueError: The video cannot be classified.
    """
    result = inferencer(path)
    for error in result['errors']:
        raise ValueError(error['error'])
    topk = result['predictions'][0]['topk']
    return {best['name']: best['score'] for best in topk}


def draw(inferencer: ILAInferencer, path: str,
         folder: str) -> Tuple[str, str, str]:
    """Draw the alignment in the view of the validation pipeline.

    Without such a pipeline it is the first view of the test pipeline.

    Returns:
        tuple[str, str, str]: Files of the overlay, the frames and the pairs
        of frames.
    """
    cfg, model = inferencer.cfg, inferencer.model
    sample = load_views(cfg.get('val_dataloader') or cfg.test_dataloader, path)
    sample['inputs'] = sample['inputs'][:1]
    found = run_model(model, sample)
    title = Path(path).name.encode(errors='backslashreplace').decode()
    frames, pairs, overlay = write_alignment(
        Path(folder), sample, found, DrawingStyle.of(model, title=title))
    return str(overlay), str(frames), str(pairs)


class SessionFiles:
    """A folder for each open page, removed when the page is closed.

    Args:
        folder (str): Where the folders are.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.sessions: Dict[str, str] = {}

    def new_folder(self, session: str, name: str) -> str:
        """Make an empty folder in place of the last one of that name.

        Its path is a new one, since browsers keep what they have loaded.
        """
        if session not in self.sessions:
            self.sessions[session] = mkdtemp(dir=self.folder)
        home = Path(self.sessions[session])
        for old in home.glob(f'{name}_*'):
            shutil.rmtree(old)
        return mkdtemp(prefix=f'{name}_', dir=home)

    def remove(self, session: str) -> None:
        """Remove all files of a page."""
        if session in self.sessions:
            shutil.rmtree(self.sessions.pop(session))


def build_page(inferencer: ILAInferencer,
               folder: str,
               samples: Sequence[str] = (),
               max_seconds: float = 60,
               max_mb: float = 100) -> gr.Blocks:
    """Build a page that classifies videos and shows what is aligned in them.

    Args:
        inferencer (ILAInferencer): With a model that is not compiled. One
            video passes through it at a time.
        folder (str): Gradio's folder of files, ``GRADIO_TEMP_DIR``.
        samples (Sequence[str]): Videos to choose from.
        max_seconds (float): Longer videos are refused.
        max_mb (float): So are larger files, in megabytes.

    Returns:
        gr.Blocks: The page, to be launched with :data:`THEME`.
    """
    own_classes = inferencer.classes
    files = SessionFiles(folder)
    open_vocabulary = inferencer.open_vocabulary

    def keep(path: str, request: gr.Request) -> str:
        """Take an upload into the folder of its page."""
        target = files.new_folder(request.session_hash, 'upload')
        return shutil.move(path, target)

    def forget(request: gr.Request) -> None:
        files.remove(request.session_hash)

    def run(path: str, names: str, request: gr.Request) -> tuple:
        if path is None:
            raise gr.Error('upload a video first', print_exception=False)
        try:
            check_size(path, max_mb)
            check_length(path, max_seconds)
            if open_vocabulary:
                inferencer.set_classes(
                    names.split(',') if names else own_classes)
            scores = classify(inferencer, path)
            results = files.new_folder(request.session_hash, 'results')
            return scores, *draw(inferencer, path, results)
        except (OSError, ValueError) as error:
            raise gr.Error(
                f'{Path(path).name}: {error}',
                duration=None,
                print_exception=False)

    if open_vocabulary:
        info = ('separated by commas; if empty, the '
                f'{len(own_classes)} classes of the model')
    else:
        info = (f'the {len(own_classes)} classes of this model are fixed, '
                'since it has no text tower')
    with gr.Blocks(
            title='ILA',
            analytics_enabled=False,
            # In seconds: how often files are looked at, and their age.
            delete_cache=(60, 3600)) as page:
        gr.Markdown('# Implicit Learnable Alignment\n'
                    'What happens in a video, and what the model aligns from '
                    'frame to frame.')
        with gr.Row():
            with gr.Column():
                video = gr.File(
                    label=f'Video, up to {max_seconds:g} s and {max_mb:g} MB',
                    file_types=['video', '.mkv'],
                    height=140)
                if samples:
                    gr.Examples([[sample] for sample in samples],
                                video,
                                label='Samples',
                                cache_examples=False)
                names = gr.Textbox(
                    label='Class names',
                    info=info,
                    placeholder=', '.join([*own_classes[:2], '...']),
                    interactive=open_vocabulary,
                    elem_id='names')
                button = gr.Button(
                    'Classify', variant='primary', elem_id='classify')
            scores = gr.Label(
                label='Top 5', num_top_classes=5, elem_id='scores')
        with gr.Tab('Overlay'):
            overlay = gr.Video(
                show_label=False,
                height=480,
                autoplay=True,
                loop=True,
                interactive=False,
                elem_id='overlay')
        pictures = []
        for title in ('Frames', 'Pairs of frames'):
            with gr.Tab(title):
                pictures.append(
                    gr.Image(
                        show_label=False, interactive=False, format='png'))
        private = dict(api_visibility='private')
        video.upload(keep, video, video, **private)
        page.unload(forget)
        button.click(
            run, [video, names], [scores, overlay, *pictures],
            concurrency_limit=1,
            **private)
    return page

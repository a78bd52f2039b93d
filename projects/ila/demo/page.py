import shutil
from html import escape
from pathlib import Path
from tempfile import mkdtemp
from threading import Lock
from typing import Iterator, Optional, Sequence

import gradio as gr

from ..apis import ILAInferencer
from ..utils import naming_source
from .files import SessionFiles, check_length, check_size
from .results import View, classify, describe_model

# Only fonts of the machine, so that nothing is fetched from elsewhere.
THEME = gr.themes.Soft(
    font=['system-ui', 'sans-serif'], font_mono=['monospace'])
# Gradio would fetch the program that trims videos from elsewhere. Errors are
# described in messages, and the upload remains usable.
CSS = '''
#frame img, #overlay img { image-rendering: pixelated; }
#video video { max-height: 360px; }
#video button:is([aria-label^="Trim"], [aria-label^="Reset"]),
#video [data-testid="status-tracker"]:has(.error) { display: none; }
'''
# An upload that browsers cannot play is replaced by a converted copy, or a
# message says why not. The player's own message, which comes first, is hidden.
HEAD = '''<script>
addEventListener("error", event => {
    if (event.target.closest?.("#video")) event.stopPropagation();
}, true);
</script>'''
EXPLANATION = (
    'Each block of the network predicts points that two frames share: **○** '
    'marks them in the earlier frame, **×** in the later one. Soft masks '
    'around them, shown as brightness, say how much each patch counts when '
    'the two frames are aligned. Points that follow what moves mean that the '
    'model aligns what moves.')


def build_page(inferencer: ILAInferencer,
               folder: str,
               samples: Sequence[str] = (),
               max_seconds: float = 60,
               max_mb: float = 100) -> gr.Blocks:
    """Build a page that classifies videos and shows their alignment.

    Each visitor has separate files and class names. Videos are queued, since
    the model processes one at a time.

    Args:
        inferencer (ILAInferencer): With a model that is not compiled.
        folder (str): Gradio's folder of files, ``GRADIO_TEMP_DIR``.
        samples (Sequence[str]): Videos to choose from.
        max_seconds (float): Longer videos are refused.
        max_mb (float): Larger files, in megabytes, are refused.

    Returns:
        gr.Blocks: The page, to be launched with :data:`THEME`,
        :data:`CSS` and :data:`HEAD`.

    Raises:
        OSError: A sample does not exist.
        ValueError: A sample cannot be shown.
    """
    own_classes = inferencer.classes
    backbone = inferencer.model.backbone
    layers = backbone.temporal_layers if backbone.alignments else ()
    places = ''
    if [*layers] != [*range(len(layers))]:
        places = f", by its place in {', '.join(map(str, layers))}"
    files = SessionFiles(folder)
    # A cancelled run continues until its next result, in parallel to the next.
    model_lock = Lock()

    def check(path: str) -> None:
        check_size(path, max_mb)
        check_length(path, max_seconds)

    def warn(path: str, error: Exception) -> None:
        # A Gradio error would also mark all outputs.
        gr.Warning(escape(f'{Path(path).name}: {error}'), duration=None)

    def keep(path: str, request: gr.Request) -> Optional[str]:
        """Move an upload to the folder of its page, and show it."""
        try:
            target = files.new_folder(request.session_hash, 'upload')
            path = str(shutil.move(path, target))
            check(path)
            return files.show(path, target)
        except (OSError, ValueError) as error:
            warn(path, error)
            return None

    def forget(request: gr.Request) -> None:
        files.remove(request.session_hash)

    def reset(shown: Optional[str]) -> dict:
        """Clear results when the video changes."""
        return {
            scores: None,
            # Not yet for a new upload: its change to the kept file resets all.
            button: gr.Button(interactive=shown in files),
            section: gr.Column(visible=False),
            view: None
        }

    def run(shown: str, names: str, t: int, block: int,
            request: gr.Request) -> Iterator[dict]:
        path = files.original(shown)
        try:
            check(path)
            with model_lock:
                if inferencer.open_vocabulary:
                    inferencer.set_classes(
                        names.split(',') if names else own_classes)
                found = classify(inferencer, path)
            yield {scores: found}
            if layers:
                results = files.new_folder(request.session_hash, 'results')
                yield from draw(path, results, t, block)
        except (OSError, ValueError) as error:
            warn(path, error)
            yield reset(shown)

    def draw(path: str, results: str, t: int, block: int) -> Iterator[dict]:
        with model_lock:
            found = View.of(inferencer, path, results)
        last = len(found.frames) - 1
        t = min(t, last)
        pictures = found.write_frame(t, layers[block])
        yield {
            view: found,
            section: gr.Column(visible=True),
            number: gr.Slider(maximum=last, value=t),
            **dict(zip(sharp, pictures))
        }
        for output, path in zip(drawings, found.write_drawings()):
            yield {output: path}

    def look(found: Optional[View], t: int, block: int) -> tuple:
        """Show another frame or block."""
        if found is None or not found.folder.exists():
            return gr.skip(), gr.skip()
        return found.write_frame(t, layers[block])

    with gr.Blocks(
            title='ILA',
            analytics_enabled=False,
            # Seconds between checks, and the age at which files are deleted.
            delete_cache=(60, 3600)) as page:
        gr.Markdown(
            '# Implicit Learnable Alignment\n'
            'What happens in a video, and what the model aligns from '
            f'frame to frame. Videos may be up to {max_seconds:g} s '
            f'long and {max_mb:g} MB in size.\n\n{describe_model(inferencer)}')
        with gr.Row():
            with gr.Column():
                video = gr.Video(
                    label='Video',
                    # Left and right distinguish many classes.
                    webcam_options=gr.WebcamOptions(mirror=False),
                    elem_id='video')
                names = gr.Textbox(
                    label='Class names',
                    info='separated by commas; if empty, the '
                    f'{len(own_classes)} classes of the model',
                    placeholder=', '.join([*own_classes[:2], '...']),
                    visible=inferencer.open_vocabulary,
                    elem_id='names')
                button = gr.Button(
                    'Classify',
                    variant='primary',
                    interactive=False,
                    elem_id='classify')
            with gr.Column():
                scores = gr.Label(
                    label='Top 5', num_top_classes=5, elem_id='scores')
                if samples:
                    examples = []
                    for sample in samples:
                        own = mkdtemp(prefix='sample_', dir=folder)
                        with naming_source(sample):
                            examples.append(
                                [files.show(shutil.copy(sample, own), own)])
                    gr.Examples(
                        examples, video, label='Samples', cache_examples=False)
        with gr.Column(visible=False, elem_id='alignment') as section:
            gr.Markdown(f'## What the model aligns\n{EXPLANATION}')
            sharp, drawings = [], []
            with gr.Tab('Frame by frame'):
                with gr.Row():
                    number, block = [
                        gr.Slider(
                            0,
                            max(1, last),
                            0,
                            step=1,
                            label=title + more,
                            buttons=[],
                            visible=last > 0,
                            elem_id=f'choose_{title.lower()}')
                        for title, last, more in (('Frame', 1, ''),
                                                  ('Block', len(layers) - 1,
                                                   places))
                    ]
                with gr.Row():
                    for title in ('Frame', 'Overlay'):
                        sharp.append(
                            gr.Image(
                                label=title,
                                interactive=False,
                                format='png',
                                buttons=['fullscreen'],
                                min_width=150,
                                elem_id=title.lower()))
            for title in ('All frames', 'Pairs'):
                with gr.Tab(title):
                    drawings.append(
                        gr.Image(
                            show_label=False,
                            interactive=False,
                            format='png',
                            buttons=['download', 'fullscreen'],
                            elem_id=title.lower().replace(' ', '_')))
            with gr.Tab('Video'):
                drawings.append(
                    gr.Video(
                        show_label=False,
                        autoplay=True,
                        loop=True,
                        interactive=False,
                        elem_id='blocks'))
        view = gr.State()
        private = dict(api_visibility='private')
        gr.on([video.upload, video.stop_recording], keep, video, video,
              **private)
        page.unload(forget)
        running = button.click(
            run, [video, names, number, block],
            [scores, button, section, view, number, *sharp, *drawings],
            concurrency_limit=1,
            show_progress_on=[scores, *drawings],
            **private)
        video.change(
            reset,
            video, [scores, button, section, view],
            cancels=running,
            show_progress='hidden',
            **private)
        gr.on([number.change, block.change],
              look, [view, number, block],
              sharp,
              show_progress='hidden',
              trigger_mode='always_last',
              **private)
    return page.queue(max_size=32, default_concurrency_limit=8)

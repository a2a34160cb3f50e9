"""The page of ``mmweather ui``, made with Gradio; the slider is that of ``mmweather compare``."""
import html
import os
import tempfile
from pathlib import Path

from mmweather.errors import UserError

# neither usage statistics nor a look for newer versions: what is dropped here is nobody else's business
os.environ.setdefault('GRADIO_ANALYTICS_ENABLED', 'False')

import gradio  # noqa: E402

from mmweather.inference.batch import output_of  # noqa: E402
from mmweather.inference.frames import IMAGE_SUFFIXES  # noqa: E402
from mmweather.inference.restore import AUTO, load_network, restore_video  # noqa: E402
from mmweather.report import compare, render_page  # noqa: E402
from mmweather.zoo import bundled_weights, is_stereo  # noqa: E402

__all__ = ['DETECT', 'build_app', 'methods', 'restore_upload', 'serve']

#: The choice that finds out what is wrong.
DETECT = 'detect'
# what the page holds of a long video: pictures under the slider, measured frames, and seconds to play
_STILLS, _SAMPLES, _SECONDS = 7, 30, 6.
_WIDTH = 960
_VIDEOS = ('.mp4', '.m4v', '.mov', '.mkv', '.webm', '.avi', '.ts')


def methods():
    """What can be chosen.

    Returns:
        list[str]: :data:`DETECT`, and the names of the bundled networks for one view.
    """
    return [DETECT, *(name for name in bundled_weights() if not is_stereo(name))]


def restore_upload(upload, method, folder, progress=None, device=None):
    """Restore an uploaded file.

    Args:
        upload (str | Path): The file.
        method (str): One of :func:`methods`.
        folder (str | Path): Where the result goes.
        progress (Callable[[float, str], None], optional): Called with the share that is done, and what is being done.
            Defaults to None.
        device (str, optional): Where to compute. Defaults to None, which means a GPU if there is one.

    Returns:
        tuple[str, str, Path]: What was found and done, in Markdown; the page with the slider; the result.

    Raises:
        UserError: If the file cannot be read, or no weights ship for the network that would help.
    """
    progress = progress or (lambda share, words: None)
    source, lines = Path(upload), []
    output = output_of(source, Path(tempfile.mkdtemp(dir=folder)))
    progress(0., 'looking at it')
    model = AUTO if method == DETECT else load_network(method)
    summary = restore_video(
        source, output, model, device=device,
        announce=lambda choice: lines.append(str(choice).replace(f'{choice.source}: ', '', 1)),
        progress=lambda done, total: progress(0.9 * done / max(total or done + 1, done), f'frame {done}'))
    if method != DETECT:
        lines.append(method)
    if hasattr(summary, 'fps'):
        lines.append(f'{summary.frames} frame{"s" if summary.frames != 1 else ""} in {summary.seconds:.1f} s on '
                     f'{summary.device}')
    progress(0.9, 'comparing before and after')
    page = render_page(compare(source, output, samples=_SAMPLES, stills=_STILLS), seconds=_SECONDS, width=_WIDTH)
    return '**' + '** · '.join([lines[0], ' · '.join(lines[1:])]).removesuffix(' · '), page, output


def build_app(folder, device=None):
    """Make the page.

    Args:
        folder (str | Path): Where results go; it has to be there as long as the page is served.
        device (str, optional): Where to compute. Defaults to None, which means a GPU if there is one.

    Returns:
        gradio.Blocks: The page, not yet served.
    """

    def restore(upload, method, progress=gradio.Progress()):  # noqa: B008 - how Gradio finds it
        if not upload:
            raise gradio.Error('Drop a video or an image first.', print_exception=False)
        try:
            words, page, output = restore_upload(upload, method, folder,
                                                 lambda share, text: progress(share, desc=text), device)
        except UserError as error:
            raise gradio.Error(str(error), print_exception=False) from error
        # a document of its own, so that its scripts run and its style stays inside
        frame = (f'<iframe title="before and after" srcdoc="{html.escape(page)}" '
                 'style="width: 100%; height: 820px; border: 0"></iframe>')
        return words, frame, gradio.DownloadButton(value=str(output), interactive=True)

    with gradio.Blocks(title='mmweather', analytics_enabled=False, delete_cache=(3600, 86400)) as app:
        gradio.Markdown('# mmweather\nRain, drops, snow, haze and blur removed from a video or an image. Nothing '
                        'leaves this machine.')
        with gradio.Row():
            upload = gradio.File(label='A video or an image', type='filepath', scale=3, height=160,
                                 file_types=[*_VIDEOS, *IMAGE_SUFFIXES])
            with gradio.Column(scale=2):
                method = gradio.Dropdown(methods(), value=DETECT, label='Method',
                                         info='detect: find out what is wrong, leave clean ones alone')
                button = gradio.Button('Restore', variant='primary')
                download = gradio.DownloadButton('Download', interactive=False)
        words, view = gradio.Markdown(elem_id='words'), gradio.HTML()
        # one at a time: each takes all cores
        button.click(restore, [upload, method], [words, view, download], concurrency_limit=1, api_name='restore')
    return app


def serve(host='127.0.0.1', port=None, device=None, opens_browser=False, report=None):
    """Serve the page until it is interrupted.

    Args:
        host (str): Address to listen on; ``'0.0.0.0'`` lets other machines in. Defaults to ``'127.0.0.1'``.
        port (int, optional): Port. Defaults to None, which means the first one from 7860 on that is free.
        device (str, optional): Where to compute. Defaults to None, which means a GPU if there is one.
        opens_browser (bool): Open the page in a browser. Defaults to False.
        report (Callable[[str], None], optional): Called with the address when the page can be opened.

    Raises:
        UserError: If the port is not free.
    """
    # fonts of the system: the page needs no network
    theme = gradio.themes.Default(font=['system-ui', 'sans-serif'], font_mono=['ui-monospace', 'monospace'])
    with tempfile.TemporaryDirectory(prefix='mmweather-ui-') as folder:
        app = build_app(folder, device)
        try:
            _, address, _ = app.launch(
                server_name=host, server_port=port, inbrowser=opens_browser, quiet=True, prevent_thread_lock=True,
                theme=theme, footer_links=[], allowed_paths=[folder])
        except OSError as error:
            raise UserError(f'no page can be served on {host}, port {port or "7860 to 7959"}: choose another --port '
                            'or --host') from error
        try:
            if report:
                report(address)
            app.block_thread()
        finally:
            app.close(verbose=False)

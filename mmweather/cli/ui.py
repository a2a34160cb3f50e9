"""``mmweather ui``: a page in the browser for those who prefer that to a terminal."""
import importlib.util

import click

__all__ = ['command']


@click.command('ui')
@click.option('--host', default='127.0.0.1', show_default=True,
              help='Address to listen on; 0.0.0.0 lets other machines in.')
@click.option('--port', type=click.IntRange(1, 65535), help='Port.  [default: the first free one from 7860 on]')
@click.option('--device', help="Such as 'cuda:0' or 'cpu'; a GPU if there is one.")
@click.option('--open/--no-open', 'opens_browser', default=False, help='Open the page in a browser.')
def command(host, port, device, opens_browser):
    """Drop a video or an image into a page in the browser, see it before and after, and download it.

    Nothing leaves the machine that serves the page. It ends with Ctrl-C.
    """
    from mmweather.errors import UserError
    if importlib.util.find_spec('gradio') is None:
        raise UserError("the page is made with Gradio, which is not installed: pip install 'mmweather[ui]'")
    from mmweather.ui import serve
    serve(host, port, device, opens_browser, lambda address: click.echo(f'open {address} in a browser; Ctrl-C ends it'))

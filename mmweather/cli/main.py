"""The group of commands and what happens to their errors.

A command's module is imported when the command is run, never to list it: ``mmweather --help`` answers at once.
"""
import difflib
import importlib
import sys

import click

from mmweather import __version__
from mmweather.errors import UserError

__all__ = ['cli', 'main']

#: Every command and its line in ``mmweather --help``; its code is ``mmweather.cli.<name>:command``.
COMMANDS = {
    'restore': 'Remove rain and other weather from a video, a folder of frames or an image.',
    'compare': 'Compare before and after: a page to look at, or a video to post.',
    'ui': 'Drop a video or an image into a page in the browser and see it restored.',
    'synth': 'Render scenes and rain on them, or on your own video, to train and test with.',
    'data': 'Check a dataset folder and say what is missing.',
    'export': 'Write a network as ONNX, checked against PyTorch.',
    'train': 'Train a model: tools/train.py with the same options.',
    'test': 'Test a model: tools/test.py with the same options.',
    'doctor': 'Say what is installed, what serves which op, and what is missing for which feature.',
}

#: What the system's libraries are called that opencv-python needs and its headless sibling does not.
_DISPLAY_LIBRARIES = ('libGL', 'libgthread', 'libglib', 'libSM', 'libX', 'libxcb')


class LazyGroup(click.Group):
    """A group that imports a command when it is run.

    Args:
        lazy (dict[str, str]): Names of commands and their help lines.
        room (str): The package with a module of that name for every command.
    """

    def __init__(self, *args, lazy, room, **kwargs):
        super().__init__(*args, **kwargs)
        self.lazy = lazy
        self.room = room

    def list_commands(self, ctx):
        """The commands in the order in which a user meets them."""
        return list(self.lazy)

    def get_command(self, ctx, cmd_name):
        """Imports and returns a command, None if there is none of that name."""
        if cmd_name not in self.lazy:
            return None
        return importlib.import_module(f'{self.room}.{cmd_name}').command

    def resolve_command(self, ctx, args):
        """As in click, with the nearest name for one that does not exist."""
        if args and args[0] not in self.lazy and not args[0].startswith('-'):
            near = difflib.get_close_matches(args[0], self.lazy, n=1)
            hint = f'did you mean {near[0]}?' if near else f'there are {", ".join(self.lazy)}.'
            ctx.fail(f'there is no command {args[0]}; {hint}')
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx, formatter):
        """Writes the list of commands from the table, without importing any."""
        with formatter.section('Commands'):
            formatter.write_dl(list(self.lazy.items()))


@click.group(cls=LazyGroup, lazy=COMMANDS, room='mmweather.cli',
             context_settings={'help_option_names': ['-h', '--help']})
@click.version_option(__version__, '-V', '--version', message='%(prog)s %(version)s')
def cli():
    """See the road again: remove rain, raindrops and other weather from video."""


def main(argv=None):
    """Runs a command and exits.

    Bad usage and a :class:`~mmweather.errors.UserError` end with code 2 and one sentence, an interrupt with code 130.
    Any other exception is a defect of ours and keeps its traceback.

    Args:
        argv (list[str], optional): The arguments. Defaults to those of the process.
    """
    try:
        code = cli.main(args=argv, prog_name='mmweather', standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        # click turns an interrupt into Abort; what was written is whole, since files are renamed when complete.
        _say('interrupted')
        sys.exit(130)
    except UserError as error:
        _say(error)
        sys.exit(error.exit_code)
    except ImportError as error:
        if not any(library in str(error) for library in _DISPLAY_LIBRARIES):
            raise
        _say(f'OpenCV cannot start on a machine without a display ({error}); run: '
             'pip uninstall -y opencv-python && pip install opencv-python-headless')
        sys.exit(UserError.exit_code)
    sys.exit(code if isinstance(code, int) else 0)


def _say(sentence):
    click.echo(f'mmweather: {sentence}', err=True)

"""Progress of everything that takes longer than two seconds, on stderr."""
import time
from contextlib import nullcontext

import click

__all__ = ['Bar', 'Lines', 'progress_on_stderr']


def progress_on_stderr(quiet=False):
    """A context manager that gives a function to call with the frames done and those in all.

    Args:
        quiet (bool): Show nothing. Defaults to False.

    Returns:
        contextmanager: :class:`Bar` on a terminal, :class:`Lines` elsewhere.
    """
    from rich.console import Console
    if quiet:
        return nullcontext(lambda done, total: None)
    console = Console(stderr=True)
    return Bar(console) if console.is_terminal else nullcontext(Lines())


class Bar:
    """A bar with frames per second and time left."""

    def __init__(self, console):
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
        self.bar = Progress(BarColumn(), MofNCompleteColumn(), TextColumn('{task.fields[rate]}'), TextColumn('left'),
                            TimeRemainingColumn(), console=console)
        self.task = self.bar.add_task('restore', total=None, rate='')
        self.start = time.perf_counter()

    def __enter__(self):
        self.bar.start()
        return self

    def __exit__(self, *exception):
        self.bar.stop()

    def __call__(self, done, total):
        rate = done / (time.perf_counter() - self.start)
        self.bar.update(self.task, completed=done, total=None if total is None else max(total, done),
                        rate=f'{rate:.3g} frames/s')


class Lines:
    """A line with the same news every few seconds, for logs.

    Args:
        interval (float): Seconds between two lines. Defaults to 10.
    """

    def __init__(self, interval=10.):
        self.interval = interval
        self.start = self.last = time.perf_counter()

    def __call__(self, done, total):
        now = time.perf_counter()
        if now - self.last < self.interval:
            return
        self.last = now
        rate = done / (now - self.start)
        line = f'{done} frames, {rate:.3g} frames/s'
        if total is not None and total >= done:
            left = round((total - done) / rate)
            line = f'{done}/{total} frames, {rate:.3g} frames/s, {left // 60}:{left % 60:02d} left'
        click.echo(line, err=True)

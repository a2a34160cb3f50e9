"""Many inputs, on one process or on the ranks of ``torchrun`` or Slurm.

Ranks take work from one counter in the store of ``torch.distributed``: first whole inputs, and of a long video the
next few segments, so that nobody waits for the slowest share. They need to see the same folders. Which rank restores
a segment does not change it, so any number of ranks gives the same files. A network that carries a state from frame
to frame has to see a video in order: of such videos each rank restores whole ones.
"""
import json
import os
import subprocess
import time
import traceback
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from mmweather.errors import UserError
from mmweather.inference.files import writing
from mmweather.inference.frames import IMAGE_SUFFIXES
from mmweather.inference.journal import digest_of_network
from mmweather.inference.restore import AUTO, Restoration, check_no_checkpoint, load_network, only_writing
from mmweather.inference.video import VideoSource
from mmweather.version import __version__

__all__ = ['BatchResult', 'World', 'join_world', 'output_of', 'restore_many']

# a day: a rank may be at work on a long video while others wait
_PATIENCE = timedelta(days=1)
# how often a rank takes work from a long video, on average
_SHARES = 4


@dataclass(frozen=True)
class BatchResult:
    """What became of one input.

    Args:
        source (Path): The input.
        summary (str): What was done, or the fault, in a sentence.
        failed (bool): Whether it is the latter.
    """

    source: Path
    summary: str
    failed: bool

    def __str__(self):
        return f'failed: {self.summary}' if self.failed else self.summary


class World:
    """The ranks that share the work, and what they tell each other.

    Args:
        rank (int): Number of this process. Defaults to 0.
        size (int): How many there are. Defaults to 1.
        store (Store, optional): A store of ``torch.distributed``, needed for more than one. Defaults to None.
    """

    def __init__(self, rank=0, size=1, store=None):
        self.rank, self.size, self._store = rank, size, store
        self._counts, self._values = Counter(), {}

    def claim(self, what):
        """Take the next number of a row, which nobody else gets.

        Args:
            what (str): Name of the row.

        Returns:
            int: 0, 1, 2, ...
        """
        if self._store is not None:
            return self._store.add(f'claim/{what}', 1) - 1
        self._counts[what] += 1
        return self._counts[what] - 1

    def tell(self, what, value):
        """Tell all ranks something.

        Args:
            what (str): Its name.
            value (Any): Anything of JSON's types.
        """
        if self._store is not None:
            self._store.set(f'value/{what}', json.dumps(value))
        self._values[what] = value

    def knows(self, what):
        """Whether something has been told, without waiting for it."""
        return what in self._values or (self._store is not None and self._store.check([f'value/{what}']))

    def ask(self, what):
        """Get what was told, waiting until it is."""
        if what not in self._values:
            if self._store is None:
                raise KeyError(what)
            while not self._store.check([f'value/{what}']):
                time.sleep(0.2)
            self._values[what] = json.loads(self._store.get(f'value/{what}'))
        return self._values[what]


    def leave(self):
        """Say that this rank needs nothing any more; rank 0, which keeps the store, waits for all to say so."""
        if self._store is None:
            return
        self._store.add('left', 1)
        while self.rank == 0 and self._store.add('left', 0) < self.size:
            time.sleep(0.2)


def join_world(environment=None):
    """Join the ranks that a launcher has started, or be the only one.

    ``torchrun`` and everything that sets ``RANK``, ``WORLD_SIZE``, ``MASTER_ADDR`` and ``MASTER_PORT`` is understood,
    and Slurm's ``srun`` with more than one task.

    Args:
        environment (dict, optional): Environment variables. Defaults to None, which means those of the process.

    Returns:
        tuple[World, int]: The world, and the rank among those on this machine.
    """
    environment = os.environ if environment is None else environment
    if int(environment.get('WORLD_SIZE', 1)) == 1 and int(environment.get('SLURM_NTASKS', 1)) > 1 \
            and 'SLURM_PROCID' in environment and 'SLURM_STEP_ID' in environment:
        environment.update(_from_slurm(environment))
    size = int(environment.get('WORLD_SIZE', 1))
    if size == 1:
        return World(), int(environment.get('LOCAL_RANK', 0))
    from torch.distributed import rendezvous
    store, rank, size = next(rendezvous('env://', timeout=_PATIENCE))
    return World(rank, size, store), int(environment.get('LOCAL_RANK', 0))


def _from_slurm(environment):
    """What torchrun would have set, from Slurm's variables."""
    master = environment.get('MASTER_ADDR')
    if master is None:
        hosts = subprocess.run(['scontrol', 'show', 'hostnames', environment['SLURM_STEP_NODELIST']],
                               capture_output=True, text=True, check=True).stdout.split()
        master = hosts[0]
    # jobs that share a machine need ports of their own
    port = environment.get('MASTER_PORT', str(20000 + int(environment.get('SLURM_JOB_ID', 0)) % 20000))
    return dict(RANK=environment['SLURM_PROCID'], WORLD_SIZE=environment['SLURM_NTASKS'],
                LOCAL_RANK=environment.get('SLURM_LOCALID', '0'), MASTER_ADDR=master, MASTER_PORT=port)


def output_of(source, folder, suffix=None):
    """Where the result of one of many inputs goes.

    Args:
        source (Path): The input.
        folder (Path): The folder for all results.
        suffix (str, optional): Suffix of videos. Defaults to None, which means the input's own, or ``.mp4`` where
            that cannot be written.

    Returns:
        Path: The output.
    """
    from mmweather.inference.video import VIDEO_SUFFIXES
    if source.is_dir():
        return folder / source.name
    if source.suffix.lower() in IMAGE_SUFFIXES:
        return folder / source.name
    if suffix is None:
        suffix = source.suffix if source.suffix.lower() in VIDEO_SUFFIXES else '.mp4'
    return folder / f'{source.stem}{suffix}'


def restore_many(sources, target, model='vimpnet_tiny', checkpoint=None, *, world=None, progress=None, report=None,
                 suffix=None, announce=None, **options):
    """Restore many inputs; one that fails does not stop the others.

    What an interrupted call had finished is not done again when the same call is repeated.

    Args:
        sources (list[str or Path]): Videos, images and folders of images.
        target (str, Path or list[Path]): The folder where the results go, under the inputs' names, which is made if it
            is not there; or all the outputs.
        model (str or nn.Module): Name in the zoo, or a network; or ``'auto'``, which chooses for each input, see
            :func:`restore_video`. Defaults to ``'vimpnet_tiny'``.
        checkpoint (str or Path, optional): Weights for ``model``, None for the bundled ones. Defaults to None.
        world (World, optional): The ranks that share the work. Defaults to None, which means this process alone.
        progress (Callable[[int, int or None], None], optional): As for :func:`restore_video`. Defaults to None.
        report (Callable[[BatchResult], None], optional): Called on the rank that finished an input. Defaults to None.
        suffix (str, optional): Suffix of videos. Defaults to None, which means the inputs' own where it can be
            written.
        announce (Callable[[Choice], None], optional): Called with what ``'auto'`` chose for an input, on the rank that
            begins with it. Defaults to None.
        options: See :class:`Restoration`.

    Returns:
        list[BatchResult]: One for each input, in order, the same on rank 0 as from one process; other ranks get an
        empty list.

    Raises:
        UserError: If two inputs would get the same output, or the folder cannot be made.
    """
    world = world or World()
    sources = [Path(source) for source in sources]
    if isinstance(target, (str, Path)):
        outputs = [output_of(source, Path(target), suffix) for source in sources]
        with writing(Path(target)):
            Path(target).mkdir(parents=True, exist_ok=True)
    else:
        outputs = [Path(output) for output in target]
    twice = [output for output, count in Counter(outputs).items() if count > 1]
    if twice:
        raise UserError(f'{twice[0]} would be the output of more than one input: rename one or restore them apart')
    networks = _Chosen(checkpoint, announce) if model == AUTO else _TheSame(
        load_network(model, checkpoint) if isinstance(model, (str, Path)) else model)
    batch = _Batch(world, sources, outputs, networks, options, progress, report)
    while (index := world.claim('input')) < len(sources):
        batch.begin(index)
    for index in range(len(sources)):
        batch.help(index)
    if world.rank:
        world.leave()
        return []
    results = [BatchResult(source, *world.ask(f'result/{index}')) for index, source in enumerate(sources)]
    if not any(result.failed for result in results):
        batch.forget()
    world.leave()
    return results


class _TheSame:
    """One network for all inputs.

    Args:
        network (nn.Module): The network.

    Attributes:
        digest (str): Changes if the network does.
    """

    def __init__(self, network):
        # once: it reads all weights
        self.network, self.digest = network, digest_of_network(network)

    def choose(self, source):  # noqa: ARG002
        """The name of the network for an input, None if it is to be left as it is."""
        return 'the same'

    def get(self, name):  # noqa: ARG002
        """A network and its digest."""
        return self.network, self.digest


class _Chosen:
    """For every input the bundled network that helps.

    Args:
        checkpoint (str or Path, optional): Has to be None.
        announce (Callable[[Choice], None], optional): Called with every choice.

    Attributes:
        digest (str): Changes if one of the bundled networks does.
    """

    def __init__(self, checkpoint, announce):
        from mmweather.zoo import bundled_weights
        check_no_checkpoint(checkpoint)
        self._announce, self._loaded = announce, {}
        self.digest = f'{AUTO} {__version__} ' + ' '.join(
            f'{name} {path.stat().st_size} {path.stat().st_mtime_ns}' for name, path in bundled_weights().items())

    def choose(self, source):
        """The name of the network for an input, None if it is to be left as it is."""
        from mmweather.inference.auto import choose
        choice = choose(source)
        if self._announce:
            self._announce(choice)
        return choice.model

    def get(self, name):
        """A network and its digest."""
        if name not in self._loaded:
            network = load_network(name)
            self._loaded[name] = network, digest_of_network(network)
        return self._loaded[name]


class _Batch:
    """The inputs of :func:`restore_many` on one of the ranks."""

    def __init__(self, world, sources, outputs, networks, options, progress, report):
        self.world, self.sources, self.outputs = world, sources, outputs
        self.networks, self.options = networks, options
        self.progress, self.report = progress, report

    def begin(self, index):
        """Open an input, say how it may be shared, and work on it."""
        work = None
        try:
            earlier = self._earlier(index)
            if earlier is not None:
                self._settle(index, earlier, False)
                return
            name = self.networks.choose(self.sources[index])
            if name is None:
                self._pass_through(index)
                return
            self.world.tell(f'network/{index}', name)
            work = self._open(index)
            with work:
                shares = self._shares(work)
                self.world.tell(f'shares/{index}', shares)
                self._take_shares(index, work, shares)
        except Exception as error:  # noqa: BLE001 - whatever one input meets, the others go on
            self._fail(index, error)

    def help(self, index):
        """Work on an input that another rank has opened, if there is something left of it."""
        shares = self.world.ask(f'shares/{index}')
        if len(shares) < 2 or self.world.knows(f'result/{index}'):
            return
        try:
            share = self.world.claim(f'share/{index}')
            if share < len(shares):
                with self._open(index, joins=True) as work:
                    self._take_shares(index, work, shares, share)
        except Exception as error:  # noqa: BLE001 - as above
            self._fail(index, error)

    def forget(self):
        """Remove the notes of what is finished: all is."""
        for output in self.outputs:
            self._note_of(output).unlink(missing_ok=True)

    def _open(self, index, joins=False):
        network, digest = self.networks.get(self.world.ask(f'network/{index}'))
        work = Restoration(self.sources[index], self.outputs[index], network,
                           **{**self.options, 'restart': self.options.get('restart', False) and not joins})
        work.is_shared = self.world.size > 1
        work.network_digest = digest
        return work

    def _pass_through(self, index):
        from mmweather.inference.auto import pass_through
        summary = pass_through(self.sources[index], self.outputs[index], **only_writing(self.options))
        self._note(index)
        self._settle(index, str(summary), False)

    def _shares(self, work):
        """Split an input into runs of segments [first, stop)."""
        count = work.source.index() if isinstance(work.source, VideoSource) else work.source.frame_count
        if self.world.size == 1 or work.needs_state or not count:
            return [[0, None]]
        segments = -(-count // work.segment)
        length = -(-segments // (_SHARES * self.world.size))
        return [[first, min(first + length, segments)] for first in range(0, segments, length)]

    def _take_shares(self, index, work, shares, share=None):
        share = self.world.claim(f'share/{index}') if share is None else share
        while share < len(shares) and not self.world.knows(f'result/{index}'):
            if isinstance(work.source, VideoSource) and shares[share][0]:
                work.source.index()
            work.run(*shares[share], progress=self.progress)
            if self.world.claim(f'done/{index}') == len(shares) - 1:
                summary = work.finish()
                self._note(index)
                self._settle(index, str(summary), False)
            share = self.world.claim(f'share/{index}')

    def _fail(self, index, error):
        self.world.tell(f'shares/{index}', [])
        if isinstance(error, UserError):
            self._settle(index, str(error), True)
        else:
            traceback.print_exception(error)
            self._settle(index, f'{self.sources[index]} met a defect of the program, '
                                f'{type(error).__name__}: {error}', True)

    def _settle(self, index, sentence, failed):
        if self.world.claim(f'settled/{index}') == 0:
            self.world.tell(f'result/{index}', [sentence, failed])
            if not self.world.knows(f'shares/{index}'):
                self.world.tell(f'shares/{index}', [])
            if self.report:
                self.report(BatchResult(self.sources[index], sentence, failed))

    # -- what an earlier, interrupted call has finished ---------------------------------------------------------------

    @staticmethod
    def _note_of(output):
        return output.with_name(f'.{output.name}.done')

    def _note(self, index):
        output = self.outputs[index]
        if len(self.sources) > 1:
            self._note_of(output).write_text(json.dumps(self._state_of(index)))

    def _state_of(self, index):
        """What has to be the same for an output to be taken as finished."""
        states = []
        for path in (self.sources[index], self.outputs[index]):
            files = sorted(path.iterdir()) if path.is_dir() else [path]
            states.append([[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files])
        return [*states, {key: repr(value) for key, value in sorted(self.options.items())}, self.networks.digest]

    def _earlier(self, index):
        """A sentence about an output that an interrupted call has finished, None if there is none."""
        note, output = self._note_of(self.outputs[index]), self.outputs[index]
        if self.options.get('restart') or not note.is_file() or not output.exists():
            return None
        try:
            same = json.loads(note.read_text()) == self._state_of(index)
        except (OSError, ValueError):
            same = False
        return f'{output}: finished by an earlier run' if same else None

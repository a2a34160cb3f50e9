"""Many inputs on one and on several ranks: the same files, nobody stops the others, nothing is done twice."""
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from test_resume import Smear, Weave, assert_same, film  # noqa: F401 - the film is a fixture
from video_fixtures import Darken, ramp_frames, read_video, write_video

from mmweather.cli.main import main
from mmweather.errors import UserError
from mmweather.inference import restore_video
from mmweather.inference.batch import World, _from_slurm, output_of, restore_many

TESTS = Path(__file__).parent
WORKER = """
import sys
sys.path.insert(0, {tests!r})
import torch
torch.set_num_threads(1)
from test_resume import Smear, Weave
from mmweather.inference import restore
restore.load_network = lambda name, *_: dict(weave=Weave, smear=Smear)[name]()
from mmweather.inference import batch
batch.load_network = restore.load_network
from mmweather.cli.main import main
main(sys.argv[1:])
"""


def run_ranks(count, *arguments):
    """Run the command in so many processes, as torchrun starts them: exit codes, and what they printed."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    processes = []
    for rank in range(count):
        environment = {**os.environ, 'RANK': str(rank), 'LOCAL_RANK': str(rank), 'WORLD_SIZE': str(count),
                       'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': str(port), 'OMP_NUM_THREADS': '1',
                       'PYTHONPATH': str(TESTS.parent)}
        processes.append(subprocess.Popen(
            [sys.executable, '-c', WORKER.format(tests=str(TESTS)), *map(str, arguments)], env=environment,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    results = [process.communicate(timeout=300) for process in processes]
    return [process.returncode for process in processes], ''.join(out for out, _ in results), \
        ''.join(errors for _, errors in results)


@pytest.mark.parametrize('count', [2, 3])
def test_any_number_of_ranks_gives_the_same_files_and_a_broken_one_stops_nobody(tmp_path, film, count):  # noqa: F811
    (tmp_path / 'broken.mp4').write_text('no video\n' * 50)
    short = write_video(tmp_path / 'short.mp4', ramp_frames(7), audio='aac')
    restore_video(film, tmp_path / 'film.mp4', Weave(), segment=4)
    restore_video(short, tmp_path / 'shortly.mp4', Weave(), segment=4)
    codes, output, errors = run_ranks(count, 'restore', tmp_path / 'broken.mp4', film, short, '-o',
                                      f'{tmp_path}/out/', '--model', 'weave', '--segment', 4, '-q')
    assert codes == [2] + [0] * (count - 1), errors
    assert 'broken.mp4 is not a video' in errors and 'Traceback' not in errors
    assert_same(tmp_path / 'out' / 'film.mp4', tmp_path / 'film.mp4')
    assert_same(tmp_path / 'out' / 'short.mp4', tmp_path / 'shortly.mp4')
    left = sorted(path.name for path in (tmp_path / 'out').iterdir())
    # what is finished is noted, so that the same command only tries the broken one again
    assert left == ['.film.mp4.done', '.short.mp4.done', 'film.mp4', 'short.mp4']


def test_a_recurrent_network_goes_through_a_video_in_order_on_one_of_the_ranks(tmp_path, film):  # noqa: F811
    restore_video(film, tmp_path / 'alone.mp4', Smear(), segment=10)
    codes, output, errors = run_ranks(2, 'restore', film, '-o', tmp_path / 'out.mp4', '--model', 'smear',
                                      '--segment', 10)
    assert codes == [0, 0], errors
    assert output.count('70 frames') == 1 and '1 of 1 restored' in output
    assert_same(tmp_path / 'out.mp4', tmp_path / 'alone.mp4')


class TwoRanks(World):
    """Two ranks in one process: the second works on what the first leaves."""

    def __init__(self, rank, shared):
        super().__init__(rank, 2)
        self._counts, self._values = shared


def test_a_long_video_is_split_among_ranks(tmp_path, film):  # noqa: F811
    calls = []

    class Counted(Weave):
        def forward(self, clip):
            calls.append(clip.shape[1])
            return super().forward(clip)

    restore_video(film, tmp_path / 'alone.mp4', Counted(), segment=4)
    whole = sum(calls)
    world = TwoRanks(0, (World()._counts, {}))
    shares = []
    claim = world.claim

    def note(what):
        number = claim(what)
        if what.startswith('share'):
            shares.append(number)
        return number

    world.claim = note
    calls.clear()
    results = restore_many([film], [tmp_path / 'out.mp4'], Counted(), world=world, segment=4)
    assert not results[0].failed, results
    # 18 segments in shares of 3, each beginning with the windows that reach into it
    assert shares == list(range(7)) and whole < sum(calls) < 1.6 * whole
    assert_same(tmp_path / 'out.mp4', tmp_path / 'alone.mp4')


def test_one_process_restores_many_and_goes_on_after_a_fault(tmp_path):
    videos = [write_video(tmp_path / f'{index}.mp4', ramp_frames(5)) for index in range(3)]
    videos[1].write_bytes(videos[1].read_bytes()[:-300])
    reports = []
    results = restore_many(videos, tmp_path / 'out', Darken(), report=reports.append)
    assert [result.failed for result in results] == [False, True, False] and reports == results
    assert '1.mp4 is cut off' in str(results[1]) and '5 frames' in str(results[0])
    changed = (tmp_path / 'out' / '0.mp4').stat().st_mtime_ns
    again = restore_many(videos[:1] + [write_video(videos[1], ramp_frames(5))] + videos[2:], tmp_path / 'out', Darken())
    assert 'finished by an earlier run' in again[0].summary and '5 frames' in again[1].summary
    assert (tmp_path / 'out' / '0.mp4').stat().st_mtime_ns == changed
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == ['0.mp4', '1.mp4', '2.mp4']


def test_a_defect_in_one_input_is_shown_and_the_others_go_on(tmp_path, capfd):
    class Picky(Darken):
        def forward(self, clip):
            if clip.shape[1] == 3:
                raise ZeroDivisionError('three')
            return super().forward(clip)

    videos = [write_video(tmp_path / f'{count}.mp4', ramp_frames(count)) for count in (3, 5)]
    results = restore_many(videos, tmp_path / 'out', Picky())
    assert [result.failed for result in results] == [True, False]
    assert 'ZeroDivisionError: three' in results[0].summary and 'Traceback' in capfd.readouterr().err


def test_results_keep_names_and_never_meet(tmp_path):
    assert output_of(Path('a/film.MKV'), Path('out')) == Path('out/film.MKV')
    assert output_of(Path('a/film.avi'), Path('out')) == Path('out/film.mp4')
    assert output_of(Path('a/photo.JPG'), Path('out')) == Path('out/photo.JPG')
    with pytest.raises(UserError, match='more than one input'):
        restore_many(['a/film.avi', 'b/film.mp4'], tmp_path / 'out', Darken())


def test_the_command_ends_with_a_summary(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr('mmweather.inference.batch.load_network', lambda *_: Darken())
    videos = [write_video(tmp_path / f'{index}.mp4', ramp_frames(5)) for index in range(2)]
    with pytest.raises(SystemExit) as end:
        main(['restore', *map(str, videos), str(tmp_path / 'missing.mp4'), '-o', str(tmp_path / 'out')])
    output, errors = capfd.readouterr()
    assert end.value.code == 2 and '2 of 3 restored, 1 failed:' in output
    assert 'missing.mp4 does not exist' in errors.splitlines()[-1]
    # a folder with a slash at its end takes the result of one input under its name, too
    with pytest.raises(SystemExit) as end:
        main(['restore', str(videos[0]), '-o', f'{tmp_path}/one/', '-q'])
    assert end.value.code == 0 and len(read_video(tmp_path / 'one' / '0.mp4')['frames']) == 5


def test_slurm_is_understood(monkeypatch):
    calls = []
    monkeypatch.setattr(subprocess, 'run', lambda command, **_: calls.append(command) or subprocess.CompletedProcess(
        command, 0, stdout='node3\nnode4\n'))
    found = _from_slurm({'SLURM_PROCID': '5', 'SLURM_NTASKS': '8', 'SLURM_LOCALID': '1', 'SLURM_JOB_ID': '20123',
                         'SLURM_STEP_NODELIST': 'node[3-4]'})
    assert found == dict(RANK='5', WORLD_SIZE='8', LOCAL_RANK='1', MASTER_ADDR='node3', MASTER_PORT='20123')
    assert calls == [['scontrol', 'show', 'hostnames', 'node[3-4]']]

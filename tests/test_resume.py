"""Interrupted restorations: the same call goes on, and what comes out is what would have come out anyway."""
import os
import random
import signal
import time
from fractions import Fraction

import cv2
import numpy as np
import pytest
import torch
from video_fixtures import Darken, packets, ramp_frames, read_video, write_video

from mmweather.inference import restore_video
from mmweather.inference.journal import Journal, VideoSegment, packets_of
from mmweather.inference.restore import Restoration
from mmweather.models.temporal import ClipNetwork, RecurrentNetwork


class Weave(ClipNetwork):
    """Mixes each frame with its neighbours in a window, so that the windows' phase matters."""

    window, window_overlap, scene_cuts = 4, 1, True

    def __init__(self):
        super().__init__()
        self.gain = torch.nn.Parameter(torch.tensor(0.5))

    def forward(self, clip):
        return self.gain * clip + (1 - self.gain) * clip.roll(1, dims=1)


class Smear(RecurrentNetwork):
    """An average over all frames so far: no frame is right after a wrong state."""

    lookahead, scene_cuts, tile, tile_overlap = 1, True, 32, 8

    def init_state(self, frames):
        return dict(mean=frames[:, 0], count=1)

    def step(self, frames, state):
        mean = 0.9 * state['mean'] + 0.05 * frames[:, 0] + 0.05 * frames[:, 1]
        return mean, dict(mean=mean, count=state['count'] + 1)


class Interrupted(Exception):
    pass


def stops_after(network, calls):
    """Make a network raise at a call of its."""
    kind = type(network)
    name = 'forward' if isinstance(network, ClipNetwork) else 'step'
    original = getattr(kind, name)

    def limited(self, *arguments):
        self.calls = getattr(self, 'calls', 0) + 1
        if self.calls > calls:
            raise Interrupted
        return original(self, *arguments)

    network.__class__ = type(kind.__name__, (kind, ), {name: limited, '__module__': kind.__module__,
                                                       '__qualname__': kind.__qualname__})
    return network


@pytest.fixture(scope='module')
def film(tmp_path_factory):
    """70 frames of three scenes at odd times, with sound."""
    frames = [255 - frame if 23 <= index < 41 else frame for index, frame in enumerate(ramp_frames(70))]
    times = np.cumsum([1 + index % 3 for index in range(70)]).tolist()
    return write_video(tmp_path_factory.mktemp('film') / 'film.mp4', frames, times=times, time_base=Fraction(1, 60),
                       audio='aac')


def assert_same(path, expected):
    """Frames, times and sound of two videos are the same to the bit."""
    one, other = read_video(path), read_video(expected)
    assert len(one['frames']) == len(other['frames']) and one['times'] == other['times']
    assert all(map(np.array_equal, one['frames'], other['frames']))
    assert one['duration'] == other['duration'] and packets(path) == packets(expected)


@pytest.mark.parametrize(('network', 'kills'), [(Weave, 20), (Smear, 8)])
def test_killed_at_random_moments_the_video_is_the_same_in_the_end(tmp_path, film, network, kills):
    random.seed(1)
    expected, output = tmp_path / 'expected.mp4', tmp_path / 'out.mp4'
    restore_video(film, expected, network(), segment=6)
    folder = Journal(output).folder

    def segments():
        return len(list(folder.glob('segment-??????')))

    progressed = 0
    for _ in range(kills):
        before, more = segments(), random.randint(0, 2)
        child = os.fork()
        if child == 0:
            try:
                restore_video(film, output, network(), segment=6)
            finally:
                os._exit(0)
        deadline = time.monotonic() + 60
        while segments() < before + more and not output.exists():
            assert time.monotonic() < deadline
            time.sleep(0.005)
        time.sleep(random.uniform(0, 0.05))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        progressed += segments() > before
        if output.exists():
            assert_same(output, expected)
            output.unlink()
    restore_video(film, output, network(), segment=6)
    assert progressed > 1
    assert_same(output, expected)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['expected.mp4', 'out.mp4']


@pytest.mark.parametrize('network', [Weave, Smear])
@pytest.mark.parametrize('calls', [9, 14, 22])
def test_an_interruption_anywhere_changes_nothing(tmp_path, film, network, calls):
    restore_video(film, tmp_path / 'expected.mp4', network(), segment=5)
    tiles = 6 if network is Smear else 1
    with pytest.raises(Interrupted):
        restore_video(film, tmp_path / 'out.mp4', stops_after(network(), calls * tiles), segment=5)
    assert not (tmp_path / 'out.mp4').exists()
    summary = restore_video(film, tmp_path / 'out.mp4', network(), segment=5)
    assert summary.resumed >= 5 and summary.resumed + summary.frames == 70
    assert f'after {summary.resumed} of an earlier run' in str(summary)
    assert_same(tmp_path / 'out.mp4', tmp_path / 'expected.mp4')


def interrupted(film, output, **options):
    """Restore about half of the film."""
    with pytest.raises(Interrupted):
        restore_video(film, output, stops_after(Weave(), 12), segment=5, **options)
    assert Journal(output).folder.is_dir()


def test_another_input_network_or_setting_begins_anew(tmp_path, film):
    other = write_video(tmp_path / 'other.mp4', ramp_frames(70))
    heavier = Weave()
    heavier.gain.data += 0.1
    for source, network, options in [
            (other, Weave(), {}), (film, heavier, {}), (film, Weave(), dict(crf=20)), (film, Weave(), dict(window=3)),
            (film, Weave(), dict(precision='bf16')), (film, Weave(), dict(restart=True))]:
        interrupted(film, tmp_path / 'out.mp4')
        assert restore_video(source, tmp_path / 'out.mp4', network, **{'segment': 5, **options}).resumed == 0
    interrupted(film, tmp_path / 'out.mp4')
    assert restore_video(film, tmp_path / 'out.mp4', Weave(), segment=5).resumed > 0


def test_a_damaged_segment_is_restored_once_more(tmp_path, film):
    restore_video(film, tmp_path / 'expected.mp4', Weave(), segment=5)
    interrupted(film, tmp_path / 'out.mp4')
    segments = sorted(Journal(tmp_path / 'out.mp4').folder.glob('segment-??????'))
    data = bytearray(segments[1].read_bytes())
    data[len(data) // 2] ^= 1
    segments[1].write_bytes(data)
    segments[2].write_bytes(segments[2].read_bytes()[:-50])
    summary = restore_video(film, tmp_path / 'out.mp4', Weave(), segment=5)
    assert summary.resumed == 5 * (len(segments) - 2)
    assert_same(tmp_path / 'out.mp4', tmp_path / 'expected.mp4')


def test_a_lost_state_is_found_again_by_going_through_all_frames(tmp_path, film):
    restore_video(film, tmp_path / 'expected.mp4', Smear(), segment=5)
    with pytest.raises(Interrupted):
        restore_video(film, tmp_path / 'out.mp4', stops_after(Smear(), 150), segment=5)
    states = list(Journal(tmp_path / 'out.mp4').folder.glob('state-*'))
    assert len(states) == 1
    states[0].write_bytes(b'')
    assert restore_video(film, tmp_path / 'out.mp4', Smear(), segment=5).resumed > 0
    assert_same(tmp_path / 'out.mp4', tmp_path / 'expected.mp4')


def test_images_that_are_there_are_not_restored_again_unless_they_changed(tmp_path):
    (tmp_path / 'in').mkdir()
    for index, frame in enumerate(ramp_frames(23)):
        cv2.imwrite(str(tmp_path / 'in' / f'{index}.png'), frame)
    restore_video(tmp_path / 'in', tmp_path / 'expected', Weave())
    with pytest.raises(Interrupted):
        restore_video(tmp_path / 'in', tmp_path / 'out', stops_after(Weave(), 5), segment=4)
    cv2.imwrite(str(tmp_path / 'out' / '1.png'), np.zeros((9, 9, 3), np.uint8))
    kept = (tmp_path / 'out' / '6.png').stat().st_mtime_ns
    assert restore_video(tmp_path / 'in', tmp_path / 'out', Weave(), segment=4).resumed == 8
    assert (tmp_path / 'out' / '6.png').stat().st_mtime_ns == kept
    for path in (tmp_path / 'expected').iterdir():
        assert np.array_equal(cv2.imread(str(path)), cv2.imread(str(tmp_path / 'out' / path.name)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ['expected', 'in', 'out']


def test_tiles_that_had_to_become_smaller_stay_small_after_an_interruption(tmp_path, film):
    class Cramped(Darken):
        tile, window_overlap = None, 0

        def forward(self, clip):
            if clip.shape[-1] > 32:
                raise MemoryError
            self.calls = getattr(self, 'calls', 0) + 1
            if self.calls > 60:
                raise Interrupted
            return super().forward(clip)

    with pytest.raises(Interrupted):
        restore_video(film, tmp_path / 'out.mp4', Cramped(), segment=5)
    with Restoration(film, tmp_path / 'out.mp4', Cramped(), segment=5) as work:
        assert work.protocol.tile == 32 and work.finished


def test_decoding_times_of_joined_segments_increase_and_never_pass_the_presentation(tmp_path, film):
    with Restoration(film, tmp_path / 'out.mp4', Weave(), segment=8) as work:
        work.run()
        segments = [Journal(tmp_path / 'out.mp4').segment(index, VideoSegment) for index in range(9)]
        joined = list(packets_of(segments))
    assert len(joined) == 70
    assert all(dts <= pts for _, pts, dts, _, _ in joined)
    assert all(before[2] < after[2] for before, after in zip(joined, joined[1:]))
    assert [index for index, packet in enumerate(joined) if packet[4]] == list(range(0, 70, 8))

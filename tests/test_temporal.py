"""Windows, tiles and steps: every frame once, in order, with the weights that the protocol says."""
import math

import numpy as np
import pytest
import torch
from torch import nn
from video_fixtures import Darken, Step

from mmweather.models.temporal import (
    ClipNetwork,
    ClipProtocol,
    RecurrentNetwork,
    Resume,
    lead_in,
    resolve_protocol,
    restore_clip,
    restore_frames,
)


class Recorder(ClipNetwork):
    """Notes what it is shown and answers with the number of the call."""

    def __init__(self, **attributes):
        super().__init__()
        self.seen = []
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, clip):
        self.seen.append(clip.clone())
        return torch.full_like(clip, float(len(self.seen)))


class Convolve(ClipNetwork):
    """A 3-D convolution that reaches one frame and two pixels, with zeros around the clip."""

    def __init__(self, **attributes):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv3d(3, 3, (3, 5, 5), padding=(1, 2, 2))
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, clip):
        return self.conv(clip.transpose(1, 2)).transpose(1, 2)


def times_of(recorder):
    """The frame numbers that each call saw, for a clip whose frame t has the value t / 100."""
    return [[round(100 * float(frame.mean())) for frame in clip[0]] for clip in recorder.seen]


def counted_clip(length, size=(4, 4)):
    return (torch.arange(length) / 100).view(1, -1, 1, 1, 1).expand(1, length, 3, *size)


@pytest.mark.parametrize('length', range(1, 14))
@pytest.mark.parametrize('protocol', [None, 'published', ClipProtocol(4, 0), ClipProtocol(3, 2), ClipProtocol(1)])
def test_pointwise_network_gives_every_frame_once_and_in_order(length, protocol):
    clip = torch.rand(2, length, 3, 37, 70)
    assert torch.allclose(restore_clip(Darken(), clip, protocol), clip / 2, atol=1e-6)


@pytest.mark.parametrize('length', range(1, 14))
def test_recurrent_network_sees_past_and_future_and_repeats_the_last_frame(length):
    clip = torch.rand(2, length, 3, 11, 9)
    before = torch.cat([clip[:, :1], clip[:, :-1]], dim=1)
    after = torch.cat([clip[:, 1:], clip[:, -1:]], dim=1)
    assert torch.allclose(restore_clip(Step(), clip), (before + clip + after) / 3, atol=1e-6)


def test_lookahead_of_two_gets_current_first():
    class Look(RecurrentNetwork):
        lookahead = 2
        seen = []

        def init_state(self, frames):
            assert frames.shape == (1, 3, 3, 4, 4)
            return 0

        def step(self, frames, state):
            self.seen.append([round(100 * float(frame.mean())) for frame in frames[0]])
            return dict(output=frames[:, 0]), state + 1

    restore_clip(Look(), counted_clip(4))
    assert Look.seen == [[0, 1, 2], [1, 2, 3], [2, 3, 3], [3, 3, 3]]


@pytest.mark.parametrize(('length', 'window', 'overlap', 'expected'), [
    (7, 5, 4, [[0, 1, 2, 3, 4], [1, 2, 3, 4, 5], [2, 3, 4, 5, 6]]),
    (8, 5, 2, [[0, 1, 2, 3, 4], [3, 4, 5, 6, 7]]),
    (9, 5, 2, [[0, 1, 2, 3, 4], [3, 4, 5, 6, 7], [4, 5, 6, 7, 8]]),
    (5, 5, 2, [[0, 1, 2, 3, 4]]),
    (3, 5, 2, [[0, 1, 2]]),
])
def test_windows_start_every_stride_and_the_last_is_anchored_at_the_end(length, window, overlap, expected):
    network = Recorder()
    restore_clip(network, counted_clip(length), ClipProtocol(window, overlap))
    assert times_of(network) == expected


def test_published_windows_are_averaged_over_all_that_cover_a_frame():
    # windows 0-2, 1-3, 2-4 answer 1, 2, 3
    restored = restore_clip(Recorder(), counted_clip(5), ClipProtocol(3, 2, blend='mean'), clamp=False)
    assert restored[0, :, 0, 0, 0].tolist() == pytest.approx([1, 3 / 2, 2, 5 / 2, 3])


def test_crossfaded_windows_fade_linearly_over_their_overlap():
    # windows 0-4 and 3-7 answer 1 and 2; two shared frames lie a third and two thirds of the way
    restored = restore_clip(Recorder(), counted_clip(8), ClipProtocol(5, 2), clamp=False)
    assert restored[0, :, 0, 0, 0].tolist() == pytest.approx([1, 1, 1, 4 / 3, 5 / 3, 2, 2, 2])


def test_published_tiles_drop_their_interior_borders_and_average_the_rest():
    # rows: tiles at 0, 4 and 6 (anchored) of 8 pixels; 2 pixels along interior borders count nothing
    network = Recorder()
    protocol = ClipProtocol(1, 0, tile=8, tile_overlap=4, tile_border=2, blend='mean')
    restored = restore_clip(network, torch.rand(1, 1, 3, 14, 8), protocol, clamp=False)
    assert len(network.seen) == 3
    # tile 1 counts in rows 0-5, tile 2 in rows 6-9, tile 3 in rows 8-13
    expected = [1] * 6 + [2] * 2 + [5 / 2] * 2 + [3] * 4
    assert restored[0, 0, 0, :, 0].tolist() == pytest.approx(expected)
    assert torch.equal(restored[..., :1].expand_as(restored), restored)


def test_published_tiles_of_vimpnet_lie_every_224_pixels_and_end_at_the_border():
    network = Recorder(size_divisor=4)
    frame = torch.arange(1280.).div(2000).expand(1, 1, 3, 256, 1280)
    restore_clip(network, frame, ClipProtocol(5, 4, 256, 32, 16, 'mean'))
    starts = [round(2000 * float(clip[0, 0, 0, 0, 0])) for clip in network.seen]
    assert starts == [0, 224, 448, 672, 896, 1024]
    assert {tuple(clip.shape[-2:]) for clip in network.seen} == {(256, 256)}


def test_crossfaded_tiles_leave_no_step():
    # tiles at 0, 10 and 20 answer 1, 2 and 3; six shared pixels make seven steps of a raised cosine between two
    protocol = ClipProtocol(1, 0, tile=16, tile_overlap=6)
    restored = restore_clip(Recorder(), torch.rand(1, 1, 3, 36, 8), protocol, clamp=False)
    rows = restored[0, 0, 0, :, 0]
    fade = [(1 - math.cos(math.pi * index / 7)) / 2 for index in range(1, 7)]
    expected = [1] * 10 + [1 + part for part in fade] + [2] * 4 + [2 + part for part in fade] + [3] * 10
    assert rows.tolist() == pytest.approx(expected)


def test_crossfaded_tiles_are_as_many_and_as_small_as_need_be():
    # three tiles of at most 16 pixels cover 30, and need no more than 13 for it; published ones keep their size
    for protocol, size_divisor, min_size, expected in [
            (ClipProtocol(tile=16, tile_overlap=4), 1, 1, 13), (ClipProtocol(tile=16, tile_overlap=4), 8, 1, 16),
            (ClipProtocol(tile=16, tile_overlap=4), 1, 14, 14),
            (ClipProtocol(tile=16, tile_overlap=4, blend='mean'), 1, 1, 16)]:
        network = Recorder(size_divisor=size_divisor, min_size=min_size)
        restore_clip(network, torch.rand(1, 1, 3, 30, 16), protocol)
        assert [clip.shape[-2] for clip in network.seen] == [expected] * 3, protocol


@pytest.mark.parametrize('batch', [2, 5, 100])
def test_tiles_go_through_together_and_come_out_as_one_by_one(batch):
    network, clip = Convolve(window=3, size_divisor=4), torch.rand(2, 4, 3, 50, 61)
    alone = restore_clip(network, clip, ClipProtocol(3, 1, tile=24, tile_overlap=8), clamp=False)
    sizes = []
    network.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    together = restore_clip(network, clip, ClipProtocol(3, 1, tile=24, tile_overlap=8, tile_batch=batch), clamp=False)
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
    # 3 x 4 tiles of two videos in each of two windows
    assert sizes[:2] == ([2 * batch, 2 * batch] if batch < 12 else [24, 24]) and sum(sizes) == 48


def test_tiles_that_share_what_is_known_of_the_frame_go_one_by_one():
    class Surveyor(Recorder):
        def survey(self, mean):
            return dict(light=mean(lambda tile: tile.flatten(0, 1)))

        def forward(self, clip, light):
            assert light.shape == (1, 3)
            return super().forward(clip)

    network = Surveyor()
    restore_clip(network, torch.rand(1, 1, 3, 16, 40), ClipProtocol(tile=16, tile_overlap=4, tile_batch=8))
    assert [len(clip) for clip in network.seen] == [1, 1, 1]


def test_convolution_in_windows_and_tiles_equals_the_direct_run_away_from_their_borders():
    # tile borders at least as wide as the network's reach, two pixels, keep its zero padding out of the result
    clip = torch.rand(1, 3, 3, 50, 61)
    network = Convolve(window=3)
    direct = restore_clip(network, clip, clamp=False)
    tiled = restore_clip(network, clip, ClipProtocol(3, 0, tile=24, tile_overlap=8, tile_border=4, blend='mean'),
                         clamp=False)
    faded = restore_clip(network, clip, ClipProtocol(3, 0, tile=24, tile_overlap=8, tile_border=2), clamp=False)
    assert torch.allclose(tiled, direct, atol=1e-5)
    assert torch.allclose(faded, direct, atol=1e-5)


@pytest.mark.parametrize('network', [Darken(), Convolve(window=4, window_overlap=1, size_divisor=8, tile=16,
                                                        tile_overlap=6), Step()])
@pytest.mark.parametrize('protocol', [None, ClipProtocol(3, 1, tile=32, tile_overlap=8)])
def test_restore_frames_gives_the_numbers_of_restore_clip(network, protocol):
    clip = torch.rand(1, 9, 3, 21, 50)
    streamed = torch.stack(list(restore_frames(network, iter(clip[0]), protocol)))
    assert torch.equal(streamed, restore_clip(network, clip, protocol)[0])


def test_uint8_frames_are_scaled():
    frames = torch.randint(0, 256, (3, 3, 8, 8), dtype=torch.uint8)
    restored = list(restore_frames(Darken(), frames))
    assert torch.allclose(torch.stack(restored), frames / 510, atol=1e-6)
    assert restored[0].dtype == torch.float32


def test_stereo_passes_through_clip_and_recurrent_networks():
    clip = torch.rand(1, 4, 2, 3, 21, 40)
    assert torch.allclose(restore_clip(Darken(), clip), clip / 2, atol=1e-6)
    tiled = ClipProtocol(tile=16, tile_overlap=4)
    assert torch.allclose(restore_clip(Step(), clip, tiled), restore_clip(Step(), clip), atol=1e-6)


def test_every_tile_of_a_recurrent_network_has_a_state_of_its_own():
    class Counter(RecurrentNetwork):
        def init_state(self, frames):
            return frames[:, 0]

        def step(self, frames, state):
            return state, state

    clip = torch.rand(1, 3, 3, 20, 20)
    restored = restore_clip(Counter(), clip, ClipProtocol(tile=8, tile_overlap=2))
    assert torch.allclose(restored, clip[:, :1].expand_as(clip), atol=1e-6)


@pytest.mark.parametrize('size', [(1, 1), (3, 5), (13, 16), (33, 17)])
def test_padding_reflects_as_numpy_does_even_where_it_exceeds_the_frame(size):
    network = Recorder(size_divisor=8, min_size=20)
    clip = torch.rand(1, 1, 3, *size)
    assert restore_clip(network, clip).shape == clip.shape
    padded = [math.ceil(max(length, 20) / 8) * 8 for length in size]
    expected = np.pad(clip[0, 0].numpy(), [(0, 0), *((0, to - length) for length, to in zip(size, padded))],
                      mode='reflect')
    assert np.array_equal(network.seen[0][0, 0].numpy(), expected)


def test_result_is_clamped_unless_it_should_not_be():
    clip = torch.rand(1, 2, 3, 4, 4)
    assert restore_clip(Recorder(), clip).max() == 1
    assert restore_clip(Recorder(), clip, clamp=False).max() == 2


def test_streaming_reads_no_further_than_the_next_window_needs():
    read = []

    def frames():
        for index in range(100):
            read.append(index)
            yield torch.zeros(3, 8, 8)

    restored = restore_frames(Darken(), frames())
    for index in range(20):
        next(restored)
        assert len(read) <= index + Darken.window + (Darken.window - Darken.window_overlap)
    restored.close()


def test_network_runs_in_evaluation_mode_and_without_gradients_and_gets_its_mode_back():
    class Check(ClipNetwork):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))

        def forward(self, clip):
            assert not self.training and not torch.is_grad_enabled()
            return clip * self.scale

    network = Check().train()
    restored = list(restore_frames(network, torch.rand(2, 3, 4, 4)))
    assert network.training and not restored[0].requires_grad
    assert torch.is_grad_enabled()


def test_autocast_computes_in_the_type_asked_for():
    network = Convolve()
    clip = torch.rand(1, 1, 3, 16, 16)
    half, full = (restore_clip(network, clip, dtype=dtype, clamp=False) for dtype in (torch.bfloat16, None))
    assert half.dtype == torch.float32
    assert 0 < (half - full).abs().max() < 0.02
    assert torch.equal(half, half.bfloat16().float())


def test_no_frames_give_no_frames():
    assert list(restore_frames(Darken(), iter(()))) == []
    assert list(restore_frames(Step(), iter(()))) == []


@pytest.mark.parametrize(('shapes', 'named'), [
    ([(3, 8, 8), (3, 8, 9)], 'frame 1'), ([(1, 8, 8)], 'frame 0'), ([(8, 8)], 'frame 0'), ([(3, 0, 8)], 'frame 0')])
def test_frames_of_another_shape_are_refused_by_number(shapes, named):
    with pytest.raises(ValueError, match=named):
        list(restore_frames(Darken(), (torch.zeros(shape) for shape in shapes)))


@pytest.mark.parametrize('shape', [(3, 8, 8), (1, 0, 3, 8, 8)])
def test_clips_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r'\(N, T, 3, H, W\)'):
        restore_clip(Darken(), torch.zeros(shape))


@pytest.mark.parametrize('arguments', [
    dict(window=0), dict(window=3, window_overlap=3), dict(tile=16, tile_overlap=16),
    dict(tile=16, tile_overlap=6, tile_border=4), dict(blend='max'), dict(tile_batch=0)])
def test_protocols_that_do_not_cover_are_refused(arguments):
    with pytest.raises(ValueError, match=r'overlap|blend|tile_batch'):
        ClipProtocol(**arguments)


def test_resolving_names_what_is_known():
    with pytest.raises(KeyError, match='published'):
        resolve_protocol(Darken(), 'publisched')
    with pytest.raises(ValueError, match='multiple of 4 and at least 32'):
        resolve_protocol(Darken(), ClipProtocol(tile=30))
    with pytest.raises(TypeError, match='Identity'):
        resolve_protocol(nn.Identity())
    assert resolve_protocol(Darken()) == ClipProtocol(5, 2, 64, 16)


# --- beginning in the middle -----------------------------------------------------------------------------------------

def cut_clip(lengths, size=(16, 20)):
    """Noise around a gray that differs much from scene to scene."""
    levels = [0.2, 0.7, 0.4, 0.9]
    return torch.cat([levels[index % 4] + 0.1 * torch.rand(length, 3, *size)
                      for index, length in enumerate(lengths)])


@pytest.mark.parametrize('protocol', [
    ClipProtocol(5, 2), ClipProtocol(5, 1), ClipProtocol(3, 2, blend='mean'), ClipProtocol(1),
    ClipProtocol(5, 2, scene_cuts=True), ClipProtocol(4, 3, scene_cuts=True)])
def test_windows_from_anywhere_give_the_same_frames_to_the_bit(protocol):
    clip = cut_clip([13, 2, 9, 6])
    network = Convolve()
    whole = list(restore_frames(network, iter(clip), protocol))
    for index in range(len(clip)):
        start, history = lead_in(network, protocol, index)
        assert index - protocol.window - 4 <= start <= index
        frames = restore_frames(network, iter(clip[start - history:]), protocol, resume=Resume(start, history))
        restored = list(frames)[index - start:]
        assert len(restored) == len(clip) - index
        assert all(map(torch.equal, restored, whole[index:]))


@pytest.mark.parametrize('scene_cuts', [False, True])
def test_steps_go_on_from_a_saved_state_to_the_bit(scene_cuts):
    class Remember(Step):
        def step(self, frames, state):
            state = 0.5 * state + 0.5 * frames[:, 0]
            return state, state

    clip, network = cut_clip([13, 1, 9, 6]), Remember()
    protocol = ClipProtocol(scene_cuts=scene_cuts, tile=16, tile_overlap=4)
    whole, states, resume = [], [], Resume()
    for frame in restore_frames(network, iter(clip), protocol, resume=resume):
        whole.append(frame)
        states.append(dict(resume.states))
    for index in range(1, len(clip)):
        start, history = lead_in(network, protocol, index)
        frames = restore_frames(network, iter(clip[start - history:]), protocol,
                                resume=Resume(start, history, dict(states[index - 1])))
        assert start == index and all(map(torch.equal, list(frames), whole[index:]))


def test_a_scene_begins_with_a_window_of_its_own_and_ends_with_a_full_one():
    network = Recorder()
    clip = torch.cat([counted_clip(7), 0.5 + counted_clip(9)], dim=1)
    restore_clip(network, clip, ClipProtocol(4, 1, scene_cuts=True))
    # the second scene is frames 7-15; windows of the grid start at 9 and 12
    assert times_of(network) == [[0, 1, 2, 3], [3, 4, 5, 6], [50, 51, 52, 53], [52, 53, 54, 55], [55, 56, 57, 58]]


def test_a_network_that_steadies_its_results_goes_on_from_a_saved_state():
    class Steady(Convolve):
        def steady(self, clip, output, state):
            level = clip.mean() if state is None else 0.5 * (state + clip.mean())
            return output * level, level

    clip, network, protocol = torch.rand(17, 3, 8, 8), Steady(), ClipProtocol(5, 2)
    whole, states, resume = [], [], Resume()
    for frame in restore_frames(network, iter(clip), protocol, resume=resume):
        whole.append(frame)
        states.append(dict(resume.states))
    for index in range(1, len(clip)):
        start, history = lead_in(network, protocol, index)
        frames = restore_frames(network, iter(clip[start:]), protocol,
                                resume=Resume(start, history, dict(states[index - 1])))
        assert all(map(torch.equal, list(frames)[index - start:], whole[index:]))


# --- too little memory -----------------------------------------------------------------------------------------------

class Cramped(Darken):
    """Has room for so many pixels, from the third call on."""

    room = 40 * 40
    error = MemoryError
    calls = 0

    def forward(self, clip):
        self.calls += 1
        if self.calls > 2 and clip.shape[-1] * clip.shape[-2] > self.room:
            raise self.error('out of memory')
        return super().forward(clip)


@pytest.mark.parametrize('error', [MemoryError, RuntimeError, torch.cuda.OutOfMemoryError])
def test_tiles_are_halved_when_memory_runs_out_and_no_frame_is_lost(error):
    clip, network, told = torch.rand(13, 3, 64, 100), Cramped(), []
    network.error = error
    protocol = ClipProtocol(5, 2)
    restored = list(restore_frames(network, iter(clip), protocol, on_smaller=told.append))
    assert torch.allclose(torch.stack(restored), clip / 2, atol=1e-6)
    assert [protocol.tile for protocol in told] == [52, 32]
    with pytest.raises((MemoryError, RuntimeError)):
        list(restore_frames(Cramped(), iter(clip), protocol))


def test_memory_that_never_suffices_and_other_faults_come_through():
    network = Cramped()
    network.room = 0
    with pytest.raises(MemoryError):
        list(restore_frames(network, iter(torch.rand(13, 3, 64, 64)), on_smaller=[].append))
    network.error, network.calls = TypeError, 0
    with pytest.raises(TypeError):
        list(restore_frames(network, iter(torch.rand(13, 3, 64, 64)), on_smaller=[].append))


def test_recurrent_networks_step_through_the_last_frames_again_in_smaller_tiles():
    class Shift(RecurrentNetwork):
        min_size, tile_overlap, calls = 16, 8, 0

        def init_state(self, frames):
            return frames[:, 0]

        def step(self, frames, state):
            self.calls += 1
            if self.calls > 5 and frames.shape[-1] > 40:
                raise MemoryError
            return state, frames[:, 0]

    clip, told = torch.rand(9, 3, 40, 64), []
    restored = list(restore_frames(Shift(), iter(clip), on_smaller=told.append))
    assert [protocol.tile for protocol in told] == [32]
    # every frame is the one before it, also where the tiles changed
    assert torch.allclose(torch.stack(restored), torch.cat([clip[:1], clip[:-1]]), atol=1e-6)

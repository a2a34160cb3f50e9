"""Restoring whole files: depth, codecs, colour, memory, previews, seams, and how busy the network is."""
import platform
import subprocess
import sys
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from torch import nn
from video_fixtures import FILM, Darken, Identity, Step, packets, ramp_frames, read_video, write_video

from mmweather.cli.main import main
from mmweather.errors import UserError
from mmweather.inference import open_sink, open_source, restore_video
from mmweather.inference.memory import network_memory, suit_memory
from mmweather.inference.preview import degradation_signs, most_degraded
from mmweather.inference.restore import Restoration, load_network
from mmweather.models.temporal import ClipNetwork, ClipProtocol, restore_clip

CPU = torch.device('cpu')


def deep_frames(count, size=(48, 64)):
    """Pictures of ten bits whose levels lie between those of eight."""
    for index in range(count):
        levels = (np.arange(size[0] * size[1]).reshape(size) * 13 + 7 * index) % 1024
        picture = av.VideoFrame(size[1], size[0], 'gbrp10le')
        for plane in picture.planes:
            np.frombuffer(plane, np.uint16).reshape(size[0], -1)[:, :size[1]] = levels
        yield picture


# --- fidelity --------------------------------------------------------------------------------------------------------

def test_ten_bits_stay_ten_bits_from_file_to_file(tmp_path):
    source = write_video(tmp_path / 'in.mkv', deep_frames(5), pix_fmt='gbrp10le', codec='ffv1')
    opened = open_source(source)
    assert opened.depth == 10 and next(opened.full_depth()).dtype == np.uint16
    restore_video(source, tmp_path / 'out.mkv', Identity(), lossless=True)
    assert read_video(tmp_path / 'out.mkv')['format'] == 'gbrp10le'
    for one, other in zip(opened.full_depth(), open_source(tmp_path / 'out.mkv').full_depth()):
        # the same ten bits
        assert np.array_equal(one >> 6, other >> 6)
    for codec in ('h264', 'hevc', 'av1'):
        restore_video(source, tmp_path / 'out.mp4', Identity(), codec=codec)
        assert read_video(tmp_path / 'out.mp4')['format'] == 'yuv420p10le'


@pytest.mark.parametrize(('name', 'codec'), [('out.mkv', 'ffv1'), ('out.mp4', 'h264'), ('out.mkv', 'hevc')])
def test_lossless_video_is_lossless(tmp_path, name, codec):
    source = write_video(tmp_path / 'in.mp4', ramp_frames(7, (37, 51)), pix_fmt='yuv444p')
    restore_video(source, tmp_path / name, Identity(), lossless=True, codec=None if codec == 'ffv1' else codec)
    with av.open(str(tmp_path / name)) as container:
        assert container.streams.video[0].codec_context.name == codec
    assert all(map(np.array_equal, open_source(tmp_path / name), open_source(source)))


@pytest.mark.parametrize('codec', ['h264', 'hevc', 'av1'])
def test_codecs_keep_frames_times_and_sound(tmp_path, codec):
    times = [0, 3, 4, 9, 10, 11, 20]
    source = write_video(tmp_path / 'in.mp4', ramp_frames(7), times=times, time_base=Fraction(1, 90), audio='aac')
    restore_video(source, tmp_path / 'out.mp4', Identity(), codec=codec, segment=3)
    video = read_video(tmp_path / 'out.mp4')
    assert video['times'] == [Fraction(time, 90) for time in times] and packets(tmp_path / 'out.mp4') == packets(source)
    for frame, expected in zip(video['frames'], read_video(source)['frames']):
        assert np.abs(frame.astype(int) - expected).mean() < 3


def test_options_of_codecs_that_do_not_go_together_are_named(tmp_path):
    source = write_video(tmp_path / 'in.mp4', ramp_frames(3, (37, 51)), pix_fmt='yuv444p')
    for options, fault in [(dict(codec='av1', lossless=True), 'lossless AV1'), (dict(codec='av1'), 'even sizes'),
                           (dict(codec='ffv1'), 'FFV1')]:
        with pytest.raises(UserError, match=fault):
            restore_video(source, tmp_path / 'out.mp4', Identity(), **options)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['in.mp4']


@pytest.mark.parametrize(('transfer', 'name'), [(16, 'PQ'), (18, 'HLG')])
def test_hdr_is_refused_in_a_sentence(tmp_path, transfer, name):
    source = write_video(tmp_path / 'in.mp4', ramp_frames(3), tags=dict(color_trc=transfer))
    with pytest.raises(UserError, match=f'HDR video .{name}.*convert it') as caught:
        restore_video(source, tmp_path / 'out.mp4', Identity())
    assert '\n' not in str(caught.value)


def test_frames_are_found_by_their_times_as_by_decoding_all(tmp_path):
    times = np.cumsum([1 + index % 3 for index in range(40)]).tolist()
    for name in ('in.mp4', 'in.mkv', 'in.ts'):
        path = write_video(tmp_path / name, ramp_frames(40), times=times, time_base=Fraction(1, 60))
        whole, found = open_source(path), open_source(path)
        frames = list(whole)
        assert found.index() == 40 and found.times == whole.times and found.durations == whole.durations
        for start in (1, 13, 39):
            assert all(map(np.array_equal, found.full_depth(start), frames[start:]))


# --- seams and windows -----------------------------------------------------------------------------------------------

class Blur(ClipNetwork):
    """Reaches 12 pixels, with zeros around each tile, which is what makes seams."""

    size_divisor, tile_overlap = 4, 32

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.full((3, 1, 25, 25), 1 / 625))

    def forward(self, clip):
        blurred = nn.functional.conv2d(clip.flatten(0, 1), self.weight, padding=12, groups=3)
        return blurred.unflatten(0, clip.shape[:2])


def test_the_error_at_the_borders_of_tiles_is_not_larger_than_elsewhere():
    torch.manual_seed(0)
    clean = nn.functional.interpolate(torch.rand(1, 3, 60, 90), scale_factor=4, mode='bicubic').clamp(0, 1)[None]
    clip = (clean + 0.05 * torch.randn(clean.shape)).clamp(0, 1)
    whole = restore_clip(Blur(), clip)
    tiled = restore_clip(Blur(), clip, ClipProtocol(tile=96, tile_overlap=32, tile_border=4))
    error = (tiled - clean).square().mean((0, 1, 2, 3)).sqrt()
    # six tiles of 88 columns begin every 56, the last at 272, and share 32 or more with the one before
    border = torch.zeros(360, dtype=torch.bool)
    for start in (56, 112, 168, 224, 272):
        border[start:start + 32] = True
    assert error[border].mean() < 1.02 * error[~border][16:-16].mean()
    psnr = [-10 * torch.log10((result - clean).square().mean()) for result in (whole, tiled)]
    assert abs(psnr[0] - psnr[1]) < 0.05


def test_everyday_windows_cost_at_most_three_tenths_more_than_one_pass():
    from mmweather import build_network
    frames = []

    def count(clip):
        frames.append(clip.shape[1])
        return clip

    network = build_network('vimpnet_tiny')
    network.forward = count
    restore_clip(network, torch.rand(1, 101, 3, 64, 64))
    assert 101 <= sum(frames) <= 1.3 * 101


@pytest.fixture(scope='module')
def rainy():
    """Clean and rainy frames (1, 6, 3, H, W) of a scene that nothing was trained on."""
    from mmweather.synthesis import SceneRenderer
    from mmweather.synthesis.rainy import RainOn
    renderer, rain = SceneRenderer('drive', (192, 320), 900_001), RainOn((192, 320), 1)
    views = [renderer.frame(t) for t in range(6)]
    pairs = [[view.frame for view in views], [rain(view.frame, t, view.depth)['lq'] for t, view in enumerate(views)]]
    return [torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)[None].float() / 255 for frames in pairs]


def test_the_bundled_network_gives_the_same_in_tiles_in_everyday_windows_and_in_bfloat16(rainy):
    clean, clip = rainy
    network = load_network('vimpnet_tiny')
    assert network.bfloat16_on_cpu
    assert not network.extract[0].weight.is_contiguous()  # convolutions run in the channels-last format

    def psnr(restored, truth=clean):
        return -10 * torch.log10((restored - truth).square().mean()).item()

    whole = ClipProtocol(5, 1)
    results = {name: restore_clip(network, clip, protocol) for name, protocol in dict(
        whole=whole, tiles=ClipProtocol(5, 1, tile=128, tile_overlap=16, tile_batch=4),
        windows=ClipProtocol(5, 4, blend='mean')).items()}
    half = restore_clip(network, clip, whole, dtype=torch.bfloat16)
    assert psnr(half, results['whole']) > 45 and psnr(half) == pytest.approx(psnr(results['whole']), abs=0.02)
    assert psnr(results['tiles']) == pytest.approx(psnr(results['whole']), abs=0.05)
    assert psnr(results['windows']) == pytest.approx(psnr(results['whole']), abs=0.1)
    assert psnr(results['whole']) > psnr(clip) + 3


def test_the_bundled_deblurring_may_estimate_motion_in_bfloat16(rainy):
    clean, _ = rainy
    network = load_network('pvdnet_tiny')
    assert not network.precise_motion and network.channels_last
    blurred = (clean[:, :-2] + clean[:, 1:-1] + clean[:, 2:]) / 3
    precise, half = (restore_clip(network, blurred, dtype=dtype) for dtype in (None, torch.bfloat16))
    assert (precise - blurred).abs().max() > 0.05
    assert -10 * torch.log10((half - precise).square().mean()) > 50
    network.precise_motion = True
    nearer = restore_clip(network, blurred, dtype=torch.bfloat16)
    assert (nearer - precise).square().mean() < 0.5 * (half - precise).square().mean()


# --- memory ----------------------------------------------------------------------------------------------------------

@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='only glibc is told')
def test_freed_memory_is_kept_for_the_next_tensor_and_returned_on_demand():
    code = """
import sys, torch
from mmweather.inference.memory import keep_freed_memory, return_freed_memory
assert sys.argv[1] == 'default' or keep_freed_memory()
blocks = [torch.ones(10_000_000) for _ in range(3)]
small = torch.ones(1000)
del blocks
if sys.argv[1] == 'returned':
    return_freed_memory()
print(int(open('/proc/self/statm').read().split()[1]) * 4096)
"""
    default, kept, returned = (
        int(subprocess.run([sys.executable, '-c', code, how], check=True, capture_output=True, text=True).stdout)
        for how in ('default', 'kept', 'returned'))
    assert 100e6 < kept - default < 150e6  # the 120 MB are still there
    assert returned - default < 20e6


def test_kept_memory_is_returned_after_every_segment(tmp_path, monkeypatch):
    told = []
    for name in ('keep_freed_memory', 'return_freed_memory'):
        monkeypatch.setattr(f'mmweather.inference.restore.{name}', lambda name=name: told.append(name))
    write_video(tmp_path / 'in.mp4', ramp_frames(25))
    restore_video(tmp_path / 'in.mp4', tmp_path / 'out.mp4', Identity(), device='cpu', segment=10)
    assert told == ['keep_freed_memory', 'return_freed_memory', 'return_freed_memory']


class Hungry(ClipNetwork):
    """Holds a known number of floats for each pixel."""

    window, window_overlap, size_divisor, tile_overlap = 4, 1, 8, 16

    def forward(self, clip):
        return clip.repeat(1, 1, 100, 1, 1)[:, :, :3] * 0.5


def test_memory_is_measured_by_what_is_alive():
    needed = network_memory(Hungry(), 4, (64, 64), CPU)
    assert needed == pytest.approx(4 * 4 * 64 * 64 * 303, rel=0.02)
    assert network_memory(Hungry(), 4, (128, 64), CPU) == pytest.approx(2 * needed, rel=0.01)


def test_tiles_then_windows_are_chosen_for_the_memory_and_named(monkeypatch):
    monkeypatch.setattr('mmweather.inference.memory._resident', lambda: 0)
    size, protocol = (480, 640), ClipProtocol(4, 1)
    whole, note = suit_memory(Hungry(), protocol, size, 10**10, CPU)
    assert whole == protocol and 'windows of 4 frames, whole frames' in note
    tiles, previous = [], None
    for memory in (1.8e9, 6e8, 2e8):
        chosen, note = suit_memory(Hungry(), protocol, size, int(memory), CPU)
        assert f'tiles of {chosen.tile} pixels' in note and chosen.window == 4
        assert previous is None or chosen.tile < previous
        previous = chosen.tile
        tiles.append(chosen.tile)
    fewer, _ = suit_memory(Hungry(), protocol, size, int(1.1e8), CPU)
    assert fewer.window < 4 and fewer.tile <= tiles[-1]
    with pytest.raises(UserError, match='even in the smallest tiles'):
        suit_memory(Hungry(), protocol, size, 10**6, CPU)
    recurrent, note = suit_memory(Step(), ClipProtocol(), size, 10**9, CPU)
    assert recurrent.window == 1 and note.startswith('whole frames')


def test_memory_that_is_free_is_looked_at_only_where_it_could_be_too_little(monkeypatch):
    monkeypatch.setattr('mmweather.inference.memory.network_memory', lambda *_: pytest.fail('measured'))
    assert suit_memory(Hungry(), ClipProtocol(4, 1), (48, 64), None, CPU) == (ClipProtocol(4, 1), None)
    monkeypatch.undo()
    monkeypatch.setattr('mmweather.inference.memory.free_memory', lambda _: 4 * 10**8)
    chosen, note = suit_memory(Hungry(), ClipProtocol(4, 1), (480, 640), None, CPU)
    assert chosen.tile and 'GB of memory' in note


def test_the_choice_is_in_the_summary_and_memory_that_runs_out_drops_no_frame(tmp_path):
    class Cramped(Darken):
        def forward(self, clip):
            if clip.shape[-1] > 32:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")
            return super().forward(clip)

    source = write_video(tmp_path / 'in.mp4', ramp_frames(13))
    summary = restore_video(source, tmp_path / 'out.mp4', Cramped())
    assert 'went on in tiles of 32 pixels because memory ran out' in str(summary)
    after, before = read_video(tmp_path / 'out.mp4')['frames'], read_video(source)['frames']
    assert len(after) == 13
    assert max(np.abs(one - other / 2.).mean() for one, other in zip(after, before)) < 2
    assert 'whole frames for' in str(restore_video(source, tmp_path / 'out.mp4', Identity(), memory=8 * 10**9))


@pytest.mark.parametrize(('text', 'fault'), [('lots', 'no size'), ('0GB', 'no size')])
def test_sizes_and_times_of_the_command_are_read(tmp_path, capfd, text, fault):
    from mmweather.cli.restore import _bytes, _seconds
    assert [_bytes(size) for size in ('4GB', '800 MB', '2GiB', '1.5g', '7')] == [
        4 * 10**9, 8 * 10**8, 2 * 1024**3, 15 * 10**8, 7]
    assert [_seconds(time) for time in ('10s', '1:30', '2.5')] == [10, 90, 2.5]
    with pytest.raises(SystemExit) as end:
        main(['restore', 'in.mp4', '-o', str(tmp_path / 'out.mp4'), '--memory', text])
    assert end.value.code == 2 and fault in capfd.readouterr().err


# --- pace ------------------------------------------------------------------------------------------------------------

def test_the_network_is_busy_while_frames_are_decoded_and_encoded(tmp_path):
    class Slow(Identity):
        def forward(self, clip):
            import time
            time.sleep(0.1)
            return clip

    source = write_video(tmp_path / 'in.mp4', ramp_frames(30))
    summary = restore_video(source, tmp_path / 'out.mp4', Slow())
    assert 0.5 < summary.busy <= 1 and f'network busy {100 * summary.busy:.0f} %' in str(summary)
    # a network that does nothing is not
    assert restore_video(source, tmp_path / 'out.mp4', Identity()).busy < summary.busy


def test_compiling_hands_the_method_back(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(torch, 'compile', lambda function: calls.append(function) or function)
    source = write_video(tmp_path / 'in.mp4', ramp_frames(3))
    for network, name in [(Identity(), 'forward'), (Step(), 'step')]:
        restore_video(source, tmp_path / 'out.mp4', network, compiled=True)
        assert calls.pop().__name__ == name and name not in vars(network)


# --- previews --------------------------------------------------------------------------------------------------------

def textured(size=(96, 128), seed=0):
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 200, (size[0] // 8, size[1] // 8, 3)).repeat(8, 0).repeat(8, 1)
    return blocks.astype(np.uint8)


def test_signs_of_degradation_grow_with_haze_specks_and_blur():
    import cv2
    clean = textured()
    veil, specks, softness = degradation_signs(clean)
    assert degradation_signs((clean * 0.4 + 140).astype(np.uint8))[0] > veil + 0.2
    rainy = clean.copy()
    rainy[::7, ::5] = 255
    assert degradation_signs(rainy)[1] > 1.5 * specks
    assert degradation_signs(cv2.GaussianBlur(clean, (0, 0), 3))[2] > 1.3 * softness


def test_a_preview_is_cut_from_the_most_degraded_part_with_its_sound(tmp_path):
    frames = [(textured() * 0.4 + 140).astype(np.uint8) if 50 <= index < 75 else textured() for index in range(100)]
    source = write_video(tmp_path / 'in.mp4', frames, rate=Fraction(25), audio='aac', tags=dict(gop_size=5))
    moment = most_degraded(open_source(source), 1)
    assert 1.8 <= moment <= 2.2
    summary = restore_video(source, tmp_path / 'out.mp4', Identity(), preview=1)
    video = read_video(tmp_path / 'out.mp4')
    assert summary.frames == len(video['frames']) == 25 and video['times'][0] == 0
    assert f'preview of {float(moment):.1f} s to {float(moment) + 1:.1f} s' in str(summary)
    expected = list(open_source(source))[round(25 * moment):][:25]
    assert max(np.abs(one.astype(int) - other).mean() for one, other in zip(video['frames'], expected)) < 6
    with av.open(str(tmp_path / 'out.mp4')) as container:
        assert not container.streams.audio  # the sound lasts one second only


def test_a_preview_of_the_start_takes_the_sound_of_the_start(tmp_path):
    source = write_video(tmp_path / 'in.mp4', ramp_frames(60), rate=Fraction(25), audio='aac')
    with Restoration(source, tmp_path / 'out.mp4', Identity(), preview=0.4) as work:
        assert (work.source.first, work.source.frame_count) == (0, 10)
        work.run()
        work.finish()
    sound = packets(tmp_path / 'out.mp4')
    assert sound == packets(source)[:len(sound)] and 0.3 < sound[-1][1] < 0.4
    with pytest.raises(UserError, match='no video'):
        (tmp_path / 'frames').mkdir()
        with open_sink(tmp_path / 'frames', None) as sink:
            sink.write(textured())
        restore_video(tmp_path / 'frames', tmp_path / 'out', Identity(), preview=1)
    assert FILM

"""``mmweather compare``: what it measures, the video it writes, and its page in a real browser."""
import json
import math
import re

import av
import cv2
import numpy as np
import pytest
from browser import browser
from click.testing import CliRunner

from mmweather.cli.compare import command
from mmweather.errors import UserError
from mmweather.evaluation import psnr
from mmweather.inference import open_sink, open_source
from mmweather.report import compare, write_video
from mmweather.report.comparison import difference_map

FRAMES, SIZE = 12, (64, 96)


def write(path, frames):
    with open_sink(path, fps=10, lossless=True) as sink:
        for frame in frames:
            sink.write(frame)
    return path


@pytest.fixture(scope='module')
def videos(tmp_path_factory):
    """A texture that pans (truth), with flickering bright noise (input), and with a little of it (output)."""
    folder = tmp_path_factory.mktemp('videos')
    rng = np.random.default_rng(0)
    # gray, since 4:2:0 blurs the colours of fine texture
    texture = cv2.resize(rng.integers(30, 200, (20, 40), dtype=np.uint8), (160, 80), interpolation=cv2.INTER_CUBIC)
    texture = np.repeat(texture[..., None], 3, axis=2)
    truth = [texture[8:8 + SIZE[0], 8 + t:8 + t + SIZE[1]] for t in range(FRAMES)]
    noise = rng.normal(0, 25, (FRAMES, *SIZE, 1))
    bad = [np.clip(frame + noise[t], 0, 255).astype(np.uint8) for t, frame in enumerate(truth)]
    good = [np.clip(frame + 0.2 * noise[t], 0, 255).astype(np.uint8) for t, frame in enumerate(truth)]
    return {name: write(folder / f'{name}.mp4', frames)
            for name, frames in (('input', bad), ('output', good), ('truth', truth))}


@pytest.fixture(scope='module')
def page(videos, tmp_path_factory):
    path = tmp_path_factory.mktemp('page') / 'report.html'
    result = CliRunner().invoke(command, [*map(str, videos.values()), '-o', str(path), '--stills', '4'])
    assert result.exit_code == 0, result.output
    assert 'psnr input' in result.output
    return path


def test_measures(videos):
    found = compare(*videos.values(), stills=3)
    assert found.frame_count == FRAMES and found.indices == list(range(FRAMES)) and found.size == SIZE
    assert [still.index for still in found.stills] == [0, 6, 11]
    frames = {role: list(open_source(path)) for role, path in videos.items()}
    assert found.psnr['input'][5] == pytest.approx(psnr(frames['input'][5], frames['truth'][5]))
    assert min(found.psnr['output']) > max(found.psnr['input']) + 10
    means = found.means()
    assert means['ssim']['output'] > means['ssim']['input']
    # the last frame has no next one
    assert len(found.flicker['input']) == FRAMES and math.isnan(found.flicker['input'][-1])
    assert means['flicker']['input'] > 3 * means['flicker']['output'] > 3 * means['flicker']['truth']


def test_long_videos_are_sampled(videos):
    found = compare(videos['input'], videos['output'], samples=4)
    assert found.indices == [0, 3, 6, 9] and found.frame_count == FRAMES
    assert not found.psnr and len(found.flicker['output']) == 4


def test_single_images(tmp_path):
    image = np.full((40, 50, 3), 90, np.uint8)
    cv2.imwrite(str(tmp_path / 'a.png'), image)
    cv2.imwrite(str(tmp_path / 'b.png'), image + 20)
    found = compare(tmp_path / 'a.png', tmp_path / 'b.png', tmp_path / 'a.png')
    assert found.frame_count == 1 and not found.flicker
    assert found.psnr['output'] == pytest.approx([20 * math.log10(255 / 20)])
    # a page with nothing to play
    assert CliRunner().invoke(command, [str(tmp_path / name) for name in ('a.png', 'b.png')] +
                              ['-o', str(tmp_path / 'p.html')]).exit_code == 0
    assert json.loads(data_of(tmp_path / 'p.html'))['videos'] == {}


def data_of(path):
    return re.search(r'id="data">(.*?)</script>', path.read_text(), re.S)[1].replace('<\\/', '</')


def test_difference_map():
    frame = np.zeros((4, 4, 3), np.uint8)
    other = frame.copy()
    other[0, 0], other[1, 1] = 20, 100
    colours = difference_map(other, frame)
    assert not colours[2:].any()
    assert 0 < colours[0, 0].sum() < colours[1, 1].sum() == 3 * 255


def test_pairs_that_do_not_match_get_one_sentence(videos, tmp_path):
    frames = list(open_source(videos['truth']))
    short = write(tmp_path / 'short.mp4', frames[:5])
    small = write(tmp_path / 'small.mp4', [frame[:32] for frame in frames])
    with pytest.raises(UserError, match='short.mp4 ends after 5 frames, but .*truth.mp4 goes on'):
        compare(videos['truth'], short)
    with pytest.raises(UserError, match='small.mp4 is 96x32, but .*truth.mp4 is 96x64'):
        compare(videos['truth'], small)
    for output, options in (('x.txt', []), ('x.html', ['--video', 'wipe']), ('nowhere/x.html', [])):
        result = CliRunner().invoke(command, [str(videos['input']), str(videos['output']), '-o',
                                              str(tmp_path / output), *options])
        assert isinstance(result.exception, UserError) and output.split('/')[-1] in str(result.exception)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['short.mp4', 'small.mp4']


@pytest.mark.parametrize('layout', ['side', 'wipe', 'strip'])
def test_videos_to_post(videos, tmp_path, layout):
    path = tmp_path / 'post.mp4'
    write_video(videos, path, layout, crf=4, labels=False)
    frames = list(open_source(path))
    first = {role: next(iter(open_source(video))).astype(float) for role, video in videos.items()}
    assert len(frames) == FRAMES and open_source(path).fps == 10
    width = SIZE[1]

    def alike(part, role, columns):
        return np.abs(part.astype(float) - first[role][:, columns]).mean() < 6

    if layout == 'side':
        assert frames[0].shape == (SIZE[0], 3 * width, 3)
        assert all(alike(frames[0][:, place * width:(place + 1) * width], role, slice(None))
                   for place, role in enumerate(videos))
    elif layout == 'strip':
        assert alike(frames[0][:, :28], 'input', slice(0, 28)) and alike(frames[0][:, 68:], 'truth', slice(68, None))
    else:
        # the line begins at a tenth of the width and wanders to the right
        assert alike(frames[0][:, 16:], 'output', slice(16, None))
        assert not alike(frames[-1][:, 12:30], 'output', slice(12, 30))


def test_labels_are_drawn(videos, tmp_path):
    write_video(videos, tmp_path / 'a.mp4', 'side')
    write_video(videos, tmp_path / 'b.mp4', 'side', labels=False)
    labelled, plain = (next(iter(open_source(tmp_path / name))).astype(int) for name in ('a.mp4', 'b.mp4'))
    apart = np.abs(labelled - plain).mean(axis=2)
    assert apart[-24:].max() > 100 and apart[:24].max() < 30


def test_page_holds_all_it_shows(page):
    text = page.read_text()
    assert not re.search(r'(src|href)\s*=\s*"(?!data:)', text) and 'http' not in text.replace('http-equiv', '')
    document = json.loads(data_of(page))
    assert len(document['stills']) == 4 and set(document['videos']) == {'input', 'output', 'truth'}
    assert set(document['stills'][0]['pictures']) == {'input', 'output', 'truth', 'error', 'change'}
    assert len(document['curves']['psnr']['output']) == FRAMES and document['curves']['flicker']['input'][-1] is None


def test_page_in_a_browser(page, tmp_path):
    with browser(tmp_path / 'profile') as window:
        window.open(page.as_uri())
        window.wait('[...document.images].every(image => image.complete && image.naturalWidth === 96)')
        box = window.run("(() => { const r = document.querySelector('.stage').getBoundingClientRect();"
                         " return [r.left, r.top, r.width, r.height]; })()")
        left, top, width, height = box
        middle = top + height / 2

        def cut():
            return float(window.run("document.querySelector('.stage').style.getPropertyValue('--cut')").rstrip('%'))

        assert cut() == 50
        window.drag((left + 0.5 * width, middle), (left + 0.2 * width, middle))
        assert cut() == pytest.approx(20, abs=1)
        visible = window.run("getComputedStyle(document.querySelector('.stage .over')).clipPath")
        assert re.match(r'inset\(0px (calc\(80|80)', visible.replace('calc(100% - 20', 'calc(80'))
        # another still, and another picture of it
        before = window.run("document.querySelector('.stage .under').src")
        window.run("(() => { const p = document.querySelector('input[aria-label=frame]'); p.value = 0;"
                   " p.dispatchEvent(new Event('input')); })()")
        assert window.run("document.getElementById('frame-number').textContent") == 'frame 0'
        first = window.run("document.querySelector('.stage .under').src")
        assert first != before
        window.run("(() => { const s = document.querySelector('select[aria-label=\"right picture\"]');"
                   " s.value = 'error'; s.dispatchEvent(new Event('change')); })()")
        assert window.run("document.querySelector('.stage .under').src") != first
        # both videos play, in step
        window.run("document.getElementById('play').click()")
        window.wait("[...document.querySelectorAll('video')].every(video => video.currentTime > 0.3)")
        apart = window.run("(() => { const [a, b] = document.querySelectorAll('video');"
                           " return Math.abs(a.currentTime - b.currentTime); })()")
        assert apart < 0.2
        assert window.run("document.querySelectorAll('#charts svg').length") == 3
        assert window.run("document.querySelectorAll('#means td').length") == 12
        assert window.complaints == []


def test_videos_in_the_page_play_anywhere(page, tmp_path):
    import base64
    document = json.loads(data_of(page))
    (tmp_path / 'v.mp4').write_bytes(base64.b64decode(document['videos']['input'].split(',')[1]))
    with av.open(str(tmp_path / 'v.mp4')) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ('h264', 'yuv420p')

"""``mmweather ui``: what it makes of uploads, and its page in a real browser."""
import importlib.util
import sys
import threading
import time

import cv2
import numpy as np
import pytest
from browser import browser
from video_fixtures import Darken, write_video

from mmweather.cli import main as cli_main
from mmweather.errors import UserError
from mmweather.inference import open_source
from mmweather.inference.detection import Detection

has_gradio = importlib.util.find_spec('gradio') is not None
needs_gradio = pytest.mark.skipif(not has_gradio, reason="Gradio is not installed: pip install 'mmweather[ui]'")


def test_without_gradio_one_sentence_and_code_two(monkeypatch, capfd):
    monkeypatch.setitem(sys.modules, 'gradio', None)
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(SystemExit) as end:
        cli_main.main(['ui'])
    error = capfd.readouterr().err
    assert end.value.code == 2 and "pip install 'mmweather[ui]'" in error and len(error.splitlines()) == 1


@pytest.fixture
def uploads(tmp_path, monkeypatch):
    """A photograph and a film of five frames; both are found to be rainy, and networks half the brightness."""
    monkeypatch.setattr('mmweather.inference.auto.detect', lambda source: Detection('rain', 0.97, {}))
    for module in ('inference.restore', 'ui.app'):
        monkeypatch.setattr(f'mmweather.{module}.load_network', lambda *_: Darken())
    rng = np.random.default_rng(0)
    frames = [cv2.resize(rng.integers(40, 220, (12, 16, 3), np.uint8), (96, 64)) for _ in range(5)]
    cv2.imwrite(str(tmp_path / 'photo.png'), frames[0])
    return tmp_path / 'photo.png', write_video(tmp_path / 'film.mp4', frames)


@needs_gradio
def test_uploads_are_restored_compared_and_explained(uploads, tmp_path):
    from mmweather.ui import restore_upload
    from mmweather.ui.app import methods
    assert methods()[:1] == ['detect'] and 'vimpnet_tiny' in methods()
    photo, film = uploads
    shares = []
    words, page, output = restore_upload(photo, 'detect', tmp_path, lambda share, text: shares.append(share))
    assert words.startswith('**rain, 97 % sure, so vimpnet_tiny restores it** · 1 frame in ')
    assert output.name == 'photo.png' and output != photo and shares == sorted(shares)
    assert np.abs(cv2.imread(str(output)) - cv2.imread(str(photo)) / 2.).max() <= 1
    assert 'class: \'stage\'' in page and 'photo.png' in page
    words, _, output = restore_upload(film, 'vimpnet_tiny', tmp_path)
    assert words.startswith('**vimpnet_tiny** · 5 frames in ') and open_source(output).frame_count == 5
    (tmp_path / 'text.mp4').write_text('no video')
    with pytest.raises(UserError, match='not a video'):
        restore_upload(tmp_path / 'text.mp4', 'vimpnet_tiny', tmp_path)


@needs_gradio
def test_what_is_clean_is_handed_back(uploads, tmp_path, monkeypatch):
    from mmweather.ui import restore_upload
    monkeypatch.setattr('mmweather.inference.auto.detect', lambda source: Detection('clean', 0.9, {}))
    words, page, output = restore_upload(uploads[0], 'detect', tmp_path)
    assert words == '**clean, 90 % sure, so it stays as it is**' and 'stage' in page
    assert output.read_bytes() == uploads[0].read_bytes()


@needs_gradio
def test_the_page_in_a_browser(uploads, tmp_path, monkeypatch):
    from mmweather.ui import app as ui
    address, ready, ending = [], threading.Event(), threading.Event()
    monkeypatch.setattr(ui.gradio.Blocks, 'block_thread', lambda self: ending.wait())
    server = threading.Thread(target=ui.serve, kwargs=dict(report=lambda url: (address.append(url), ready.set())))
    server.start()
    try:
        assert ready.wait(120)
        with browser(tmp_path / 'profile') as window:
            window.open(address[0])
            window.wait("document.querySelector('input[type=file]')", 120)
            for path, frames in zip(uploads, ('1 frame in', '5 frames in')):
                upload(window, path)
                click(window, 'Restore')
                window.wait(f"document.body.textContent.includes('{frames}')", 120)
                inside = "document.querySelector('iframe').contentDocument"
                window.wait(f"{inside} && {inside}.querySelector('.stage img')?.naturalWidth === 96 && "
                            f"{inside}.getElementById('title').textContent.includes('{path.name}')", 60)
                assert 'rain, 97 % sure' in window.run("document.querySelector('#words').textContent")
                # the slider moves the border
                slider = f"{inside}.querySelector('.stage input')"
                window.run(f"(() => {{ const s = {slider}; s.value = 20; s.dispatchEvent(new Event('input')); }})()")
                assert window.run(f"{inside}.querySelector('.stage').style.getPropertyValue('--cut')") == '20%'
                # and what the button downloads is the result
                folder = tmp_path / f'downloads_{path.stem}'
                window.call('Page.setDownloadBehavior', behavior='allow', downloadPath=str(folder))
                click(window, 'Download')
                end = time.monotonic() + 60
                while not (folder / path.name).is_file():
                    assert time.monotonic() < end, list(folder.parent.iterdir())
                    time.sleep(0.1)
                darker, before = (next(iter(open_source(file))).mean()
                                  for file in (folder / path.name, path))
                assert darker == pytest.approx(before / 2, abs=2)
            window.picture(tmp_path / 'page.png')
            foreign = window.run("performance.getEntriesByType('resource').map(r => r.name)"
                                 ".filter(name => !name.startsWith(location.origin) && !name.startsWith('data:') "
                                 "&& !name.startsWith('blob:'))")
            assert foreign == []
    finally:
        ending.set()
        server.join(60)
    assert not server.is_alive()


def click(window, words):
    """Presses the button that says so."""
    window.run(f"[...document.querySelectorAll('button')].find(b => b.textContent.trim() === '{words}').click()")


def upload(window, path):
    """Hands a file to the page, in place of the one that is there."""
    window.run("document.querySelector('button[aria-label*=lear], button[aria-label*=emove]')?.click()")
    window.wait("document.querySelector('input[type=file]')")
    root = window.call('DOM.getDocument')['root']['nodeId']
    node = window.call('DOM.querySelector', nodeId=root, selector='input[type=file]')['nodeId']
    window.call('DOM.setFileInputFiles', nodeId=node, files=[str(path)])
    window.wait(f"document.body.textContent.includes('{path.stem}')")

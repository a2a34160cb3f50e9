"""Naming the weather: the bundled classifier on scenes it has never seen, whatever they come as."""
import cv2
import numpy as np
import pytest
import torch

import mmweather
from mmweather.errors import UserError
from mmweather.inference import open_sink
from mmweather.inference.detection import Detection, choose_model, detect
from mmweather.models.classifier import WeatherClassifier, load_classifier
from mmweather.synthesis import SceneRenderer, degrade
from mmweather.synthesis.blur import BlurOn
from mmweather.synthesis.rainy import RainOn
from mmweather.synthesis.snow import SnowOn

SIZE = (240, 432)


@pytest.fixture(scope='module')
def views():
    """Clean frames of scenes that were not trained on, with depth and flow to the next frame."""
    views = [SceneRenderer(kind, SIZE, seed).frame(20) for kind, seed in (('drive', 930_001), ('walk', 930_002),
                                                                          ('drive', 930_003), ('walk', 930_004))]
    return [(view.frame, view.depth, view.flow_forward) for view in views]


def weather(name, frame, depth, flow, seed):
    """A frame in the default weather of the synthesis."""
    if name in ('rain', 'drops'):
        return RainOn(SIZE, seed, streaks=name == 'rain')(frame, 3, depth)['lq']
    if name == 'snow':
        return SnowOn(SIZE, seed)(frame, 3, depth)['lq']
    if name == 'haze':
        return degrade(frame, depth, 'haze', seed + 1).lq
    return BlurOn(SIZE, seed)(frame, 3, -flow, flow)['lq'] if name == 'blur' else frame


@pytest.mark.parametrize('name', [name for name in WeatherClassifier.classes if name != 'drops'])
def test_default_weather_on_unseen_scenes_is_named(views, name):
    found = detect([weather(name, *view, seed) for seed, view in enumerate(views)])
    assert found.name == name and found.confidence > 0.5


def test_drops_alone_show_but_are_never_taken_for_other_weather(views):
    # they change little: 31 dB are left of these frames, and to be taken for clean does no harm
    found = detect([weather('drops', *view, seed) for seed, view in enumerate(views)])
    clean = detect([view[0] for view in views])
    assert found.name in ('drops', 'clean')
    assert found.probabilities['drops'] > 5 * clean.probabilities['drops']


def test_many_frames_that_agree_are_surer_than_one_but_not_as_if_each_were_new(views):
    rainy = weather('rain', *views[0], 0)
    once, often = detect(rainy).probabilities, detect([rainy] * 4).probabilities
    odds = [np.log(found['rain'] / found['clean']) for found in (once, often)]
    assert odds[1] == pytest.approx(2 * odds[0], rel=0.01)


def test_the_bundled_network_is_as_small_as_it_says():
    network = load_classifier()
    parameters = sum(parameter.numel() for parameter in network.parameters())
    assert parameters == 11_398 <= 300_000
    assert not network.training and next(network.parameters()).dtype == torch.float32


def test_probabilities_are_those_of_all_classes_and_ranked(views):
    found = mmweather.detect(views[0][0])
    assert isinstance(found, Detection) and set(found.probabilities) == set(WeatherClassifier.classes)
    values = list(found.probabilities.values())
    assert sum(values) == pytest.approx(1) and values == sorted(values, reverse=True)
    assert found.confidence == values[0] and found.name == next(iter(found.probabilities))


def test_frames_files_and_folders_are_judged_alike(views, tmp_path):
    rainy = [weather('rain', *view, seed) for seed, view in enumerate(views)]
    (tmp_path / 'frames').mkdir()
    for number, frame in enumerate(rainy):
        cv2.imwrite(str(tmp_path / 'frames' / f'{number}.png'), frame[..., ::-1])
    with open_sink(tmp_path / 'rain.mkv', fps=25, lossless=True) as sink:
        for frame in rainy:
            sink.write(frame)
    expected = detect(np.stack(rainy)).probabilities
    for source in (tmp_path / 'frames', str(tmp_path / 'rain.mkv')):
        assert detect(source).probabilities == pytest.approx(expected, abs=0.02)
    assert detect(tmp_path / 'frames/2.png').probabilities == pytest.approx(detect(rainy[2]).probabilities, abs=1e-6)


def test_long_videos_are_judged_by_a_few_frames_of_their_beginning(monkeypatch):
    class Film:
        frame_count, taken = 100_000, 0

        def __iter__(self):
            for _ in range(self.frame_count):
                self.taken += 1
                yield np.zeros((32, 32, 3), np.uint8)

    class Judge(WeatherClassifier):
        judged = 0

        def forward(self, images):
            self.judged += len(images)
            return super().forward(images)

    film, judge = Film(), Judge().eval()
    monkeypatch.setattr('mmweather.inference.open_source', lambda path: film, raising=False)
    detect('film.mp4', network=judge)
    assert judge.judged == 8 and film.taken <= 240


@pytest.mark.parametrize('size', [(1, 1), (31, 700), (720, 1280), (101, 97)])
def test_any_size_will_do(size):
    found = detect(np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8))
    assert sum(found.probabilities.values()) == pytest.approx(1)


def test_what_cannot_be_judged_is_refused(tmp_path):
    with pytest.raises(UserError, match='does not exist'):
        detect(tmp_path / 'nothing.mp4')
    with pytest.raises(ValueError, match='no frames'):
        detect([])
    with pytest.raises(ValueError, match='uint8 RGB'):
        detect(np.zeros((4, 8, 8, 1), np.uint8))
    with pytest.raises(ValueError, match='at least 1'):
        detect(tmp_path, frames=0)


def test_the_model_follows_from_a_confident_detection():
    chosen = {name: choose_model(Detection(name, 0.9, {})) for name in WeatherClassifier.classes}
    assert chosen == dict(rain='vimpnet_tiny', drops='vimpnet_tiny', snow='svdnet_tiny', haze='cid_tiny',
                          blur='pvdnet_tiny', clean=None)
    assert choose_model(Detection('rain', 0.4, {})) is None
    assert choose_model(Detection('rain', 0.4, {}), least=0.3) == 'vimpnet_tiny'


def test_the_network_takes_pictures_of_different_sizes_alike():
    # mean and spread over the picture: twice the same picture side by side is judged as once
    network = WeatherClassifier().eval()
    image = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        once, twice = network(image), network(torch.cat([image, image], dim=3))
    torch.testing.assert_close(once, twice, atol=0.02, rtol=0.1)

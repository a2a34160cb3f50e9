"""Datasets of single images: the right pairs, domains that are what they say, mixtures that keep their weights."""
import json

import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate

from mmweather.cli.main import main
from mmweather.datasets import PairedImages, SyntheticDomains, UnlabelledImages, WeightedMixture
from mmweather.engine.samplers import ResumableSampler
from mmweather.errors import UserError
from mmweather.models.data_preprocessor import ClipDataPreprocessor
from mmweather.registry import DATASETS
from mmweather.synthesis import DOMAINS

PACK = [dict(type='PackClip')]


def write(path, value=None, size=(40, 48)):
    """Write an image whose red says which one it is and whose other channels say where a pixel is."""
    row, column = np.mgrid[:size[0], :size[1]]
    image = np.stack([np.full(size, value), row, column], axis=-1).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image[..., ::-1])


@pytest.fixture
def reside(tmp_path):
    """Two clear images, three hazy versions of one and two of the other."""
    for name, value in (('0001', 10), ('12', 20)):
        write(tmp_path / 'clear' / f'{name}.png', value)
    for name, value in (('0001_0.8_0.2', 11), ('0001_1_0.1', 12), ('0001', 13), ('12_2', 21), ('12_10', 22)):
        write(tmp_path / 'hazy' / f'{name}.png', value)
    return tmp_path


@pytest.fixture
def domains(tmp_path):
    """Arguments of a small synthetic dataset."""
    return dict(scenes=2, scene_frames=2, scene_size=(64, 96), crop_size=48, cache_dir=str(tmp_path / 'cache'))


# -------------------------------------------------------------------------------------------------------------- pairs


def test_hazy_images_find_their_clear_one(reside):
    dataset = PairedImages(str(reside), test_mode=True)
    found = {sample['names'][0]: (int(sample['lq'][0, 0, 0, 0]), int(sample['gt'][0, 0, 0, 0]))
             for sample in (dataset[index] for index in range(len(dataset)))}
    assert found == {'0001.png': (13, 10), '0001_0.8_0.2.png': (11, 10), '0001_1_0.1.png': (12, 10),
                     '12_2.png': (21, 20), '12_10.png': (22, 20)}
    # in natural order
    assert list(found)[-2:] == ['12_2.png', '12_10.png']


def test_the_longest_name_wins_and_other_folders_are_found(tmp_path):
    for name in ('a', 'a_1'):
        write(tmp_path / 'train/gt' / f'{name}.png', len(name))
    write(tmp_path / 'train/lq/a_1_0.5.png', 9)
    sample = PairedImages(str(tmp_path), split='train', test_mode=True)[0]
    assert sample['gt'][0, 0, 0, 0] == 3
    write(tmp_path / 'foggy/x.png', 1)
    write(tmp_path / 'sunny/x.png', 2)
    sample = PairedImages(str(tmp_path), data_prefix=dict(lq='foggy', gt='sunny'), test_mode=True)[0]
    assert (sample['lq'][0, 0, 0, 0], sample['gt'][0, 0, 0, 0]) == (1, 2)


def test_crops_and_flips_are_the_same_for_both_and_follow_the_draw(reside):
    dataset = PairedImages(str(reside), crop_size=16, pipeline=PACK)
    corners = set()
    for draw in range(30):
        sample = dataset[(1, draw)]
        lq, gt = sample['inputs'], sample['data_samples'].gt
        assert lq.shape == gt.shape == (1, 3, 16, 16)
        torch.testing.assert_close(lq[:, 1:], gt[:, 1:], rtol=0, atol=0)
        corners.add((int(lq[0, 1, 0, 0]), int(lq[0, 2, 0, 0]), bool(lq[0, 2, 0, 0] < lq[0, 2, 0, 1])))
        torch.testing.assert_close(dataset[(1, draw)]['inputs'], lq, rtol=0, atol=0)
    assert len(corners) > 20 and {mirrored for _, _, mirrored in corners} == {True, False}


def test_images_below_the_crop_are_scaled_up(tmp_path):
    write(tmp_path / 'x.png', 50, size=(20, 30))
    assert UnlabelledImages(str(tmp_path), crop_size=64)[(0, 0)]['lq'].shape == (1, 64, 64, 3)


def test_labels_name_pairs_and_domains(reside):
    labels = [dict(lq='12_2.png', gt='0001.png', domain='night'), dict(lq='0001.png', gt='0001.png', domain='sand')]
    (reside / 'labels.jsonl').write_text(''.join(json.dumps(label) + '\n' for label in labels))
    dataset = PairedImages(str(reside), test_mode=True, pipeline=PACK)
    samples = {sample.names[0]: sample for sample in (dataset[index]['data_samples'] for index in range(5))}
    assert samples['12_2.png'].gt[0, 0, 0, 0] == 10 and DOMAINS[samples['12_2.png'].domain] == 'night'
    assert DOMAINS[samples['0001.png'].domain] == 'sand' and samples['12_10.png'].domain == -1
    assert all(sample.labelled for sample in samples.values())
    (reside / 'labels.jsonl').write_text('{"lq": "12_2.png"}\n')
    with pytest.raises(UserError, match='no label in line 1'):
        PairedImages(str(reside))


@pytest.mark.parametrize(('damage', 'sentence'), [
    (lambda root: (root / 'clear/12.png').unlink(), 'has no clear version'),
    (lambda root: (root / 'clear').rename(root / 'sunny'), r'expected the folders hazy/ and clear/ or'),
    (lambda root: write(root / 'clear/12.png', 20, size=(40, 44)), 'is 48x40 but .* is 44x40'),
    (lambda root: (root / 'hazy/12_2.png').write_bytes(b'x'), 'is damaged or no image'),
])
def test_a_fault_is_said_in_one_sentence(reside, damage, sentence):
    damage(reside)
    with pytest.raises(UserError, match=sentence):
        dataset = PairedImages(str(reside), test_mode=True)
        [dataset[index] for index in range(len(dataset))]


def test_data_check_knows_pairs_of_images(reside, capsys):
    def check(*words):
        with pytest.raises(SystemExit) as end:
            main(['data', 'check', str(reside), '--dataset', 'PairedImages', *words])
        return end.value.code, capsys.readouterr()

    code, said = check()
    assert code == 0 and 'Nothing to mend' in said.out and 'hazy/clear' in said.out
    write(reside / 'clear/orphan.png', 1)
    (reside / 'clear/12.png').unlink()
    write(reside / 'hazy/0001_1_0.1.png', 12, size=(30, 48))
    whole = (reside / 'hazy/0001.png').read_bytes()
    (reside / 'hazy/0001.png').write_bytes(whole[:len(whole) // 2])
    code, said = check('--json')
    assert code == 2
    problems = {(problem['kind'], problem['path'].rpartition('/')[2]) for problem in json.loads(said.out)['problems']}
    assert problems == {('missing', '12_2.png'), ('missing', '12_10.png'), ('extra', 'orphan.png'),
                        ('size', '0001_1_0.1.png'), ('unreadable', '0001.png')}


# --------------------------------------------------------------------------------------------------------- unlabelled


def test_unlabelled_images_are_found_in_subfolders_and_say_what_they_are(tmp_path):
    write(tmp_path / 'x.png', 1)
    write(tmp_path / 'trip/y.png', 2)
    test = UnlabelledImages(str(tmp_path), test_mode=True, pipeline=PACK)
    samples = [test[index] for index in range(len(test))]
    assert [sample['data_samples'].key for sample in samples] == ['x.png', 'trip/y.png']
    assert samples[0]['inputs'].shape == (1, 3, 40, 48)
    assert not samples[0]['data_samples'].labelled and 'gt' not in samples[0]['data_samples']
    (tmp_path / 'empty').mkdir()
    with pytest.raises(UserError, match='holds no images'):
        UnlabelledImages(str(tmp_path / 'empty'))


# ----------------------------------------------------------------------------------------------------------- synthetic


def test_synthetic_samples_are_reproducible_and_hazy(domains):
    dataset = SyntheticDomains(**domains, clean_share=0.0, pipeline=PACK)
    found = set()
    for draw in range(40):
        sample = dataset[(0, draw)]['data_samples']
        assert sample.labelled and sample.gt.shape == (1, 3, 48, 48)
        found.add(DOMAINS[sample.domain])
    assert found == set(DOMAINS)
    first, again = (SyntheticDomains(**domains, pipeline=PACK)[(0, 9)] for _ in range(2))
    torch.testing.assert_close(first['inputs'], again['inputs'], rtol=0, atol=0)
    assert (first['inputs'] != first['data_samples'].gt).any()


def test_only_the_wanted_domains_and_clear_images_in_their_share(domains):
    dataset = SyntheticDomains(**domains, domains=['sand', 'noisy'], clean_share=0.3)
    samples = [dataset[(0, draw)] for draw in range(60)]
    clear = [sample for sample in samples if sample['domain'] == -1]
    assert 8 < len(clear) < 30 and all((sample['lq'] == sample['gt']).all() for sample in clear)
    assert {DOMAINS[sample['domain']] for sample in samples if sample['domain'] >= 0} == {'sand', 'noisy'}
    with pytest.raises(ValueError, match='there is no fog'):
        SyntheticDomains(**domains, domains=['fog'])


def test_testing_goes_through_every_source_in_every_domain(domains):
    dataset = SyntheticDomains(**domains, test_mode=True)
    samples = [dataset[index] for index in range(len(dataset))]
    assert [sample['video'] for sample in samples] == [
        f'{domain}/{scene}' for scene in ('drive0', 'walk1') for domain in DOMAINS]
    assert samples[0]['gt'].shape == (1, 64, 96, 3)
    np.testing.assert_array_equal(dataset[3]['lq'], samples[3]['lq'])


def test_photographs_serve_alone_and_beside_scenes(domains, tmp_path):
    write(tmp_path / 'photos/p.png', 77, size=(60, 80))
    alone = SyntheticDomains(**dict(domains, scenes=0), images=str(tmp_path / 'photos'), augment=False)
    assert all(alone[(0, draw)]['gt'][0, 0, 0, 0] == 77 for draw in range(5))
    mixed = SyntheticDomains(**domains, images=str(tmp_path / 'photos'), scene_share=0.7)
    share = np.mean([mixed[(0, draw)]['video'].endswith('photographs') for draw in range(150)])
    assert 0.18 < share < 0.42
    with pytest.raises(UserError, match='smaller than crops of 64'):
        SyntheticDomains(**dict(domains, scenes=0, crop_size=64), images=str(tmp_path / 'photos'))
    with pytest.raises(ValueError, match='at least one clean video or one scene'):
        SyntheticDomains(**dict(domains, scenes=0))


def test_crops_see_as_much_of_the_frame_as_the_scale_says(tmp_path):
    write(tmp_path / 'p.png', 77, size=(40, 48))

    def heights(**scales):
        dataset = SyntheticDomains(scenes=0, images=str(tmp_path), crop_size=20, augment=False, **scales)
        rows = [dataset[(0, draw)]['gt'][0, :, 0, 1].astype(int) for draw in range(20)]
        return [row[-1] - row[0] + 1 for row in rows]

    # averaged over two rows each, the first and the last lie a row further in
    assert set(heights(max_scale=0.5)) == {39}
    assert min(heights()) < 26 and max(heights(min_scale=1.0)) == 20


def test_hues_vary_and_grey_stays_grey():
    image = np.full((2, 2, 3), 90, np.uint8)
    image[0] = 160, 60, 40
    found = [SyntheticDomains.vary_hue(image, np.random.default_rng(seed)) for seed in range(6)]
    assert all((made[1] == 90).all() for made in found)
    assert {int(made[0, 0].argmax()) for made in found} == {0, 1, 2}
    # as bright as before
    assert all(abs(int(made[0, 0].sum()) - 260) < 4 for made in found)


def test_exact_depth_is_cached_with_the_frames(domains, tmp_path):
    SyntheticDomains(**domains)
    files = {path.name: path.stat().st_mtime_ns for path in (tmp_path / 'cache').iterdir()}
    assert sum('_depth_' in name for name in files) == 2 and len(files) == 4
    SyntheticDomains(**domains)
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / 'cache').iterdir()} == files


# -------------------------------------------------------------------------------------------------------------- mixture


def test_a_mixture_keeps_its_weights_and_is_reproducible(domains, tmp_path):
    write(tmp_path / 'real/x.png', 1, size=(60, 60))
    mixture = DATASETS.build(dict(
        type='WeightedMixture', weights=[3, 1], seed=5, datasets=[
            dict(type='SyntheticDomains', **domains, pipeline=PACK),
            dict(type='UnlabelledImages', data_root=str(tmp_path / 'real'), crop_size=48, pipeline=PACK)]))
    assert len(mixture) == 1001 and mixture.metainfo['domains'] == DOMAINS
    draws = [draw for _, draw in zip(range(200), ResumableSampler(mixture))]
    labelled = [mixture[draw]['data_samples'].labelled for draw in draws]
    assert 0.65 < np.mean(labelled) < 0.85
    # a resumed training goes on with the samples it would have had
    resumed = ResumableSampler(mixture)
    resumed.skip_batches(50, 2)
    for draw, (expected, _) in zip(resumed, zip(draws[100:105], range(5))):
        assert draw == expected
        torch.testing.assert_close(mixture[draw]['inputs'], mixture[expected]['inputs'], rtol=0, atol=0)
    # samples of both kinds make one batch
    batch = ClipDataPreprocessor()(pseudo_collate([mixture[draw] for draw in draws[:8]]), training=True)
    assert batch['inputs'].shape == batch['data_samples']['gt'].shape == (8, 1, 3, 48, 48)


def test_a_dataset_of_weight_zero_is_never_drawn(tmp_path):
    for number in range(3):
        write(tmp_path / str(number) / 'x.png', number)
    datasets = [dict(type='UnlabelledImages', data_root=str(tmp_path / str(number)), crop_size=8)
                for number in range(3)]
    mixture = WeightedMixture(datasets, weights=[0, 1, 0])
    assert {int(mixture[(0, draw)]['lq'][0, 0, 0, 0]) for draw in range(30)} == {1}
    for weights in ([1, 1], [0, 0, 0], [1, -1, 1]):
        with pytest.raises(ValueError, match='one number of at least 0 for each of 3 datasets'):
            WeightedMixture(datasets, weights=weights)

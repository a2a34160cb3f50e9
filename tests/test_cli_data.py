"""``mmweather data``: what is wrong with a dataset folder, in words, as JSON and as exit code."""
import json
import os
import shutil

import cv2
import pytest
from vrds_fixtures import TEST, TRAIN, pixels, write_frame, write_split

from mmweather.cli.main import main


@pytest.fixture
def vrds(tmp_path):
    """A whole folder: two training videos, one test video."""
    root = write_split(tmp_path / 'VRDS', TRAIN)
    return write_split(root, TEST, videos=('031',))


@pytest.fixture
def call(capsys, monkeypatch):
    """Runs ``mmweather data ...``: exit code, stdout, stderr."""
    monkeypatch.setenv('COLUMNS', '200')

    def run(*arguments):
        with pytest.raises(SystemExit) as exit:
            main(['data', *map(str, arguments)])
        captured = capsys.readouterr()
        return exit.value.code, captured.out, captured.err

    return run


def check(call, root, *options):
    """The report as JSON, with the exit code."""
    code, out, err = call('check', '--dataset', 'vrds', '--json', root, *options)
    return code, json.loads(out), err


def found(report):
    """Kinds and places of the problems."""
    return {(problem['kind'], os.path.relpath(problem['path'], report['root'])) for problem in report['problems']}


def test_whole_folder_is_counted(vrds, call):
    code, report, err = check(call, vrds)
    assert code == 0 and report['ok'] and not report['problems'] and not err
    rows = {(row['split'], row['key']): row for row in report['table']}
    assert list(rows) == [('train', key) for key in ('lq', 'gt', 'mask', 'drop', 'streak')] + [
        ('test', 'lq'), ('test', 'gt')]
    assert rows['train', 'mask'] == dict(split='train', layout='published', key='mask', folder='01drop/<video>',
                                         videos=2, frames=14, sizes={'36x24': 14})
    assert rows['test', 'gt']['videos'] == 1 and rows['test', 'gt']['folder'] == 'testgt/<video>'


def test_table_for_people(vrds, call):
    code, out, err = call('check', '--dataset', 'VRDS', vrds)
    assert code == 0 and not err
    line = next(line for line in out.splitlines() if '01drop/<video>' in line)
    assert line.replace('│', ' ').split() == ['train', 'mask', '01drop/<video>', '2', '14', '36x24']
    assert 'Nothing to mend.' in out


def unlink(*paths):
    return lambda root: [(root / path).unlink() for path in paths]


def every(folders, *parts):
    return [f'{folder}/{"/".join(parts)}' for folder in folders.values()]


DAMAGES = {
    'a frame is missing in one key': (unlink('drop/001/00000003.png'), {('missing', 'drop/001/00000003.png')}),
    'a frame is missing in the rainy one': (unlink('lq/001/00000003.png'), {('missing', 'lq/001/00000003.png')}),
    'a test frame is missing': (unlink('testgt/031/00000006.png'), {('missing', 'testgt/031/00000006.png')}),
    'a folder is missing': (lambda root: shutil.rmtree(root / 'gt/002'), {('missing', 'gt/002')}),
    'a key is missing': (lambda root: shutil.rmtree(root / 'mstreak'),
                         {('missing', 'mstreak/001'), ('missing', 'mstreak/002')}),
    'a folder is empty': (lambda root: [path.unlink() for path in root.glob('gt/002/*')], {('missing', 'gt/002')}),
    'a frame is in one key only': (lambda root: write_frame(root / 'gt/001/00000007.png', pixels('gt', 0, 7)),
                                   {('extra', 'gt/001/00000007.png')}),
    'a frame is there twice': (lambda root: write_frame(root / 'gt/001/00000002.jpg', pixels('gt', 0, 2)),
                               {('extra', 'gt/001/00000002.png')}),
    'a frame is empty': (lambda root: (root / 'gt/001/00000002.png').write_bytes(b''),
                         {('unreadable', 'gt/001/00000002.png')}),
    'a frame is no image': (lambda root: (root / 'gt/001/00000002.png').write_text('<html>404</html>'),
                            {('unreadable', 'gt/001/00000002.png')}),
    'a frame is truncated': (lambda root: os.truncate(root / 'gt/001/00000002.png', 80),
                             {('unreadable', 'gt/001/00000002.png')}),
    'a link leads nowhere': (lambda root: ((root / 'gt/001/00000002.png').unlink(),
                                           (root / 'gt/001/00000002.png').symlink_to('gone.png')),
                             {('unreadable', 'gt/001/00000002.png')}),
    'a frame has another size': (lambda root: write_frame(root / 'lq/002/00000004.png', pixels('lq', 1, 4, (24, 30))),
                                 {('size', 'lq/002/00000004.png')}),
    'a frame is missing everywhere': (unlink(*every(TRAIN, '001', '00000003.png')), {('gap', 'lq/001')}),
}


@pytest.mark.parametrize('damage', DAMAGES)
def test_damage_is_found_and_nothing_else(vrds, call, damage):
    harm, expected = DAMAGES[damage]
    harm(vrds)
    code, report, err = check(call, vrds)
    assert found(report) == expected
    assert code == 2 and not report['ok']
    assert err.count('\n') == 1 and str(vrds) in err
    assert all(problem['text'] and problem['fix'] for problem in report['problems'])


def test_last_frames_missing_in_most_keys_are_extra_in_the_rest(vrds, call):
    """The majority decides what belongs to a video: three of five keys end at frame 5."""
    unlink(*every(dict(a='lq', b='gt', c='drop'), '001', '00000006.png'))(vrds)
    assert found(check(call, vrds)[1]) == {('extra', '01drop/001/00000006.png'), ('extra', 'mstreak/001/00000006.png')}


def test_deep_check_decodes_what_looks_whole(vrds, call):
    path = vrds / 'gt/001/00000002.png'
    data = bytearray(path.read_bytes())
    data[60:-30] = bytes(len(data) - 90)  # header and end stay
    path.write_bytes(data)
    assert check(call, vrds)[0] == 0
    code, report, _ = check(call, vrds, '--deep')
    assert code == 2 and found(report) == {('unreadable', 'gt/001/00000002.png')}


def test_problems_are_listed_with_what_to_do_and_the_rest_counted(vrds, call):
    for path in vrds.glob('gt/*/*.png'):
        path.write_bytes(b'')
    code, out, err = call('check', '--dataset', 'vrds', vrds)
    assert code == 2
    assert 'unreadable: replace it from the original archive' in out
    assert f'  {vrds}/gt/001/00000000.png: the file is empty\n' in out
    assert out.count('the file is empty') == 10 and 'and 4 more; --json lists all' in out
    assert err == f'mmweather: {vrds} has 14 problems (14 unreadable): mend what is listed above and check again\n'


def test_half_a_dataset_is_fine_unless_the_other_half_is_asked_for(vrds, call):
    for folder in TEST.values():
        shutil.rmtree(vrds / folder)
    code, report, _ = check(call, vrds)
    assert code == 0 and report['splits_absent'] == ['test']
    code, out, err = call('check', '--dataset', 'vrds', '--split', 'test', vrds)
    assert code == 2 and not out
    assert 'holds no VRDS test split (looked for testlq/<video> or test/lq/<video>): download VRDS from' in err


def test_rainmamba_layout_is_checked_by_its_own_folders(tmp_path, call):
    write_split(tmp_path, TRAIN, videos=('001',))
    write_split(tmp_path, dict(lq='test/lq', gt='test/gt'), videos=('031',))
    (tmp_path / 'test/gt/031/00000002.png').unlink()
    code, report, _ = check(call, tmp_path)
    assert found(report) == {('missing', 'test/gt/031/00000002.png')}
    assert {row['layout'] for row in report['table'] if row['split'] == 'test'} == {'RainMamba'}


@pytest.mark.parametrize(('folder', 'message'), [
    ('other', 'holds no VRDS train split (looked for lq/<video>): download VRDS from https://'),
    ('.', 'VRDS does: give that folder'),
    ('nowhere', 'is no folder: give the root folder of VRDS'),
])
def test_folder_that_is_no_vrds(vrds, call, folder, message):
    (vrds.parent / 'other').mkdir()
    code, out, err = call('check', '--dataset', 'vrds', vrds.parent / folder if folder != '.' else vrds.parent)
    assert code == 2 and message in err and err.count('\n') == 1 and not out


def test_unknown_dataset_names_the_known_ones(tmp_path, call):
    code, _, err = call('check', '--dataset', 'imagenet', tmp_path)
    assert code == 2 and 'there is no dataset imagenet; choose one of' in err and 'vrds' in err


def test_cache_is_written_checked_and_its_faults_found(vrds, tmp_path, call):
    cache = tmp_path / 'cache'
    code, out, _ = call('cache', '--dataset', 'vrds', vrds, cache)
    assert code == 0 and f'10 arrays written; read them with data_root={cache}' in out
    code, report, _ = check(call, cache)
    assert code == 0 and report['table'][0]['frames'] == 14
    os.truncate(cache / 'drop' / '001.npy', 2000)
    (cache / 'gt' / '002.txt').write_text('one.png\n')
    code, report, _ = check(call, cache)
    assert code == 2
    assert {place for kind, place in found(report) if kind == 'unreadable'} == {'drop/001.npy', 'gt/002.npy'}


def test_checker_reads_gray_masks_as_they_are(vrds, call):
    """A mask saved as RGB is as good as a gray one: both are read as gray."""
    for path in vrds.glob('01drop/*/*.png'):
        cv2.imwrite(str(path), cv2.imread(str(path)))
    assert check(call, vrds, '--deep')[0] == 0

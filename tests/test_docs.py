"""What README and book tell people to type: it runs, or where it needs what a test has not, it names what is there."""
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(path for path in [ROOT / 'README.md', *(ROOT / 'docs').rglob('*.md')]
               if not {'_build', '_generated'} & set(path.parts))
#: Their commands are run from top to bottom; those of the others are checked for what they name.
RUN = ('first_restoration', 'gallery', 'train', 'datasets', 'metrics', 'ablations')
#: What a command may be that only runs where its own setting is.
ENVIRONMENT = ('cd', 'jupyter', 'make', 'mim', 'pip', 'tensorboard')


def blocks(path, language):
    """The fenced blocks of a page in a language."""
    return re.findall(rf'^[ ]*```{language}\n(.*?)^[ ]*```', path.read_text(encoding='utf-8'), re.M | re.S)


def commands(path):
    """The shell commands of a page, as (command, comment)."""
    for block in blocks(path, 'bash'):
        for line in block.replace('\\\n', ' ').splitlines():
            command, _, comment = line.strip().partition('  #') if '  #' in line else line.strip().partition(' # ')
            if command.strip() and not command.startswith('#'):
                yield command.strip(), comment.strip()


def page(name):
    return next(path for path in PAGES if path.stem == name)


def ids(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize('path', PAGES, ids=ids)
def test_files_that_a_page_names_are_there(path):
    named = re.findall(r'(?<![\w/.$-])((?:configs|tools|tests|docs|requirements|mmweather)/[\w/.-]*\w\.\w+)',
                       path.read_text(encoding='utf-8'))
    assert [name for name in named if not (ROOT / name).exists() and not name.startswith('docs/_')] == []


@pytest.mark.parametrize('path', PAGES, ids=ids)
def test_commands_name_programs_configs_and_options_that_are_there(path):
    for command, _ in commands(path):
        words = shlex.split(command)
        while words and re.match(r'^[A-Z_]+=', words[0]):
            words.pop(0)
        if not words or words[0] in ENVIRONMENT:
            if words and words[0] == 'make':
                targets = [word for word in words[1:] if '=' not in word]
                assert all(re.search(rf'^{target}:', (ROOT / 'Makefile').read_text(), re.M) for target in targets)
            continue
        source = source_of(words, command)
        for word in words:
            option = re.match(r'^--[a-z][\w-]+', word)
            if option and source is not None:
                negated = option[0].replace('--no-', '--')
                assert option[0] in source or negated in source, f'{command}: there is no option {option[0]}'
        for word in words:
            if word.startswith('configs/') and '*' not in word:
                assert (ROOT / word).is_file(), f'{command}: there is no {word}'


def source_of(words, command):
    """The text in which a command's options are defined; None for a program of somebody else's."""
    engine = (ROOT / 'mmweather/engine/run.py').read_text()
    if words[0] == 'mmweather':
        room = ROOT / 'mmweather/cli'
        module = room / f'{words[1]}.py'
        assert module.is_file(), f'{command}: there is no command {words[1]}'
        return engine if words[1] in ('train', 'test') else ''.join(p.read_text() for p in sorted(room.rglob('*.py')))
    script = next((word for word in words if word.startswith('tools/')), None)
    if script is None:
        return None
    assert (ROOT / script).is_file(), f'{command}: there is no {script}'
    is_runner = re.search(r'(train|test)\.(py|sh)$', script)
    return engine if is_runner else (ROOT / script).read_text()


@pytest.mark.parametrize('name', RUN)
def test_the_commands_of_a_page_run(name, tmp_path):
    for folder in ('tools', 'configs', 'mmweather'):
        (tmp_path / folder).symlink_to(ROOT / folder)
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'MMWEATHER_CACHE': str(tmp_path / 'cache'),
                   'PATH': os.pathsep.join((str(bin_folder(tmp_path)), os.environ['PATH']))}
    count = 0
    for command, comment in commands(page(name)):
        if 'needs' in comment or command.startswith(ENVIRONMENT):
            continue
        if not (tmp_path / 'rainy.mp4').exists() and 'restore rainy.mp4' in command:
            continue
        if name == 'metrics' and 'work_dirs' in command:
            write_result(tmp_path / 'work_dirs/first/vrds.json')
        if name in ('datasets', 'ablations') and ('data check' in command or 'run_ablation' in command):
            # the page assumes what another page, or a command further down, has made
            run('mmweather synth rain scene:drive --layout vrds --videos 1 --test-videos 1 --frames 5 --size 96x64 '
                '-o data/VRDS --quiet', tmp_path, environment)
        done = run(command, tmp_path, environment)
        expected = 2 if 'exit code 2' in comment else 0
        assert done.returncode == expected, f'{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}'
        if name == 'datasets' and 'data check' in command:
            shutil.rmtree(tmp_path / 'data/VRDS')  # the page makes its own further down
        count += 1
    assert count


def run(command, folder, environment):
    return subprocess.run(command, shell=True, cwd=folder, env=environment, capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, check=False, timeout=600)


def bin_folder(tmp_path):
    """Puts ``mmweather`` and ``python`` of the running interpreter first on the path."""
    folder = tmp_path / 'bin'
    folder.mkdir()
    for name, module in (('python', ''), ('mmweather', '-m mmweather ')):
        script = folder / name
        script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {module}"$@"\n')
        script.chmod(0o755)
    return folder


def write_result(path):
    from mmweather.evaluation.metric import RestorationMetric, summarise
    path.parent.mkdir(parents=True, exist_ok=True)
    metric = RestorationMetric('vrds', save_json=str(path), lpips=False)
    metric._write(summarise({'0': {'0.png': dict(PSNR=30.0, SSIM=0.9)}}, 'vrds'))


@pytest.mark.parametrize('path', [path for path in PAGES if blocks(path, 'python')], ids=ids)
def test_python_of_a_page_runs_and_configs_are_read(path, tmp_path, monkeypatch):
    from mmengine import Config

    import mmweather  # noqa: F401  without it MMEngine does not know 'mmweather::'
    monkeypatch.chdir(tmp_path)
    scope = {}
    for number, block in enumerate(blocks(path, 'python')):
        block = re.sub(r'^  ', '', block, flags=re.M) if block.startswith('  ') else block
        if re.search(r'^(import|from) ', block, re.M) or 'class ' in block:
            if 'published' in block or '.mp4' in block:
                compile(block, f'{path.name}, block {number}', 'exec')
                continue
            exec(compile(block, f'{path.name}, block {number}', 'exec'), scope)
            continue
        if 'mmweather.mmagic' in block or 'mmagic.' in block:
            compile(block, f'{path.name}, block {number}', 'exec')
            continue
        config = tmp_path / f'block_{number}.py'
        config.write_text(block)
        assert len(Config.fromfile(config)) > 0


def test_the_notebook_runs_from_top_to_bottom(tmp_path):
    nbformat = pytest.importorskip('nbformat', reason='make docs')
    nbclient = pytest.importorskip('nbclient', reason='make docs')
    notebook = nbformat.read(ROOT / 'docs/notebooks/first_steps.ipynb', as_version=4)
    # what is in the repository has no outputs, so that a change of it can be read
    assert all(not cell.get('outputs') for cell in notebook.cells)
    environment = dict(os.environ)
    os.environ['PYTHONPATH'] = str(ROOT)
    try:
        nbclient.NotebookClient(notebook, timeout=300, resources=dict(metadata=dict(path=str(tmp_path)))).execute()
    finally:
        os.environ.clear()
        os.environ.update(environment)
    printed = ''.join(output.get('text', '') for cell in notebook.cells for output in cell.get('outputs', []))
    assert re.search(r'vrds/PSNR [\d.]+ dB before', printed)

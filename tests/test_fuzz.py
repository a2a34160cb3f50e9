"""Damaged files: each ends in a result or in one sentence; ``tools/fuzz_restore.py`` tries many more."""
import importlib.util

import pytest


@pytest.fixture
def fuzzer(root):
    """The script as a module."""
    spec = importlib.util.spec_from_file_location('fuzz_restore', root / 'tools' / 'fuzz_restore.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_damaged_files_end_in_a_result_or_one_sentence(fuzzer, tmp_path):
    ends, wrong = fuzzer.fuzz(26, 7, tmp_path, timeout=60)
    assert not wrong, [(end, path.with_suffix('.log').read_text()) for end, path in wrong]
    assert ends['result'] and ends['sentence'] and sum(ends.values()) == 26

"""A run says that kernels have yet to be compiled, once, and only where there is work to do."""

import io

import numpy as np
import pytest
from numba import njit
from rich.console import Console

from curation.progress import Progress


@pytest.fixture
def shown(tmp_path, monkeypatch):
    """What a run with `committed` of two tasks prints when it begins two steps."""

    def run(committed):
        monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
        console = Console(file=io.StringIO(), width=200)
        progress = Progress(console)
        for name in ("one", "two"):
            progress.step(name, tasks=2, committed=committed, bytes_in=0)
        return console.file.getvalue().count("not compiled yet")

    return run


def test_a_run_says_that_kernels_are_not_compiled_yet(shown):
    assert shown(committed=0) == 1
    assert shown(committed=2) == 0


def test_a_run_says_nothing_where_they_are(shown, tmp_path, monkeypatch):
    monkeypatch.setattr("numba.core.config.CACHE_DIR", str(tmp_path))
    assert njit(cache=True)(_twice)(np.arange(3)).tolist() == [0, 2, 4]
    assert shown(committed=0) == 0


def _twice(x):
    return 2 * x

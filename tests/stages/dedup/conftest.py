"""Barriers over shards in memory (`run_barrier(barrier, shards, batch_rows=..., shuffle=...)`), and crawls to index."""

import barrier_in_memory
import pytest
from crawls import Place, pages_and_copies


@pytest.fixture
def run_barrier():
    return barrier_in_memory.run


@pytest.fixture(scope="module")
def texts():
    return pages_and_copies(5)


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path, str(tmp_path / "index"))


@pytest.fixture
def three(place, texts):
    """Three crawls, not yet run."""
    for name, part in zip("abc", (texts[:120], texts[120:200], texts[200:]), strict=True):
        place.write(name, part)
    return place

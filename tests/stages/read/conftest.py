"""A WARC file given as bytes, read."""

import pytest
from warc_archives import read_path


@pytest.fixture
def read(tmp_path):
    """Read bytes as a file, whole or in splits of some bytes each, into one table with what the reader said."""

    def run(data, suffix=".warc.gz", split=None, rows=1000, size=1 << 26, **keys):
        path = tmp_path / f"file{suffix}"
        path.write_bytes(data)
        return read_path(str(path), split, rows, size, **keys)

    return run

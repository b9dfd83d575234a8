"""What every test may use: a builder of document tables, and quiet threads."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_AUTH_MODE", "disabled")

import pyarrow as pa
import pytest
from hypothesis import settings

from curation.documents import CORE, column_type, document_id

# In CI the same examples every time: a run must not fail for luck. Elsewhere every run searches anew.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")


@pytest.fixture
def documents():
    """Build a table of documents from texts: `documents(["one", "two"], language=["eng_Latn", "fra_Latn"])`."""

    def build(texts, **columns):
        n = len(texts)
        values = {
            "id": [document_id("test", "test.txt", i) for i in range(n)],
            "text": texts,
            "url": [f"https://example.org/{i}" for i in range(n)],
            "source": ["test"] * n,
            "file": ["test.txt"] * n,
            "position": list(range(n)),
        } | columns
        types = {name: column_type(name) for name in values if name in CORE or name in columns}
        return pa.table({name: pa.array(v, types[name]) for name, v in values.items()})

    return build


@pytest.fixture
def make_folder(tmp_path, monkeypatch):
    """Write a folder of packed rows: `make_folder("stage1", length=64, parts=3)`; returns its path and its rows."""
    from stages.pack.shards import write_folder
    from tests import packed_rows

    monkeypatch.setattr("stages.pack.shards.GROUP_TOKENS", 512)  # row groups of a few rows, so that there are many

    def build(name, length=64, parts=3, count=60, seed=1, folder=None, tokenizer=packed_rows.TOKENIZER):
        parts = [
            packed_rows.packed(packed_rows.documents(count + 7 * i, seed + i, tokenizer), length, tokenizer.eod_id)
            for i in range(parts)
        ]
        path = folder or str(tmp_path / name)
        write_folder(path, name, tokenizer, length, parts)
        return path, pa.concat_tables(parts)

    return build

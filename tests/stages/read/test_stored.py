"""A storage that fails is no damaged file: the task fails, for every reader, and no row says otherwise."""

import gzip
import json

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFile
from made_up_shards import made_up
from test_pdf import archive
from test_read_code import pack

from curation.errors import StorageError
from curation.stage import InputFile, Split
from stages.read.code import ReadCode
from stages.read.jsonl import ReadJsonl
from stages.read.parquet import ReadParquet
from stages.read.pdf import ReadPdf
from stages.read.tokens import ReadTokens
from stages.read.warc import ReadWarc


def packed(folder):
    return gzip.compress(b"\n".join(json.dumps({"text": f"page {i}"}).encode() for i in range(50_000)))


def rows(folder):
    texts = [f"{i * 7919 % 10007} " * 50 for i in range(5000)]
    pq.write_table(pa.table({"text": texts}), folder / "a", row_group_size=500)
    return (folder / "a").read_bytes()


def package(kind):
    def make(folder):
        pack(folder / "a", kind)
        return (folder / "a").read_bytes()

    return make


def papers(folder):
    archive(folder / "a", "w:gz")
    return (folder / "a").read_bytes()


CASES = {
    "a.jsonl.gz": (ReadJsonl(), packed),
    "a.parquet": (ReadParquet(), rows),
    "a-1.tar.gz": (ReadCode(), package("tar")),
    "a-1.zip": (ReadCode(), package("zip")),
    "papers.tar.gz": (ReadPdf(), papers),
    "a.warc.gz": (ReadWarc(), packed),
}


def outcomes(reader, name, data):
    file = InputFile(f"memory://stored/{name}", name, len(data), "1")
    return list(reader.read(Split(file, "web", 1, 0, len(data)), 100, 1 << 20))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("good_reads", [0, 1, 3])
def test_a_connection_that_breaks_is_no_damage(tmp_path, monkeypatch, name, good_reads):
    reader, make = CASES[name]
    data = make(tmp_path)
    fs = fsspec.filesystem("memory")
    fs.pipe_file(f"/stored/{name}", data)
    assert outcomes(reader, name, data)
    reads, read = 0, MemoryFile.read

    def flaky(self, size=-1):
        nonlocal reads
        reads += 1
        if reads > good_reads:
            raise OSError("connection reset")
        return read(self, min(size, 2000) if size > 0 else size)

    with monkeypatch.context() as patch:
        # Shorter reads than asked for, as sockets give them; then none.
        patch.setattr(MemoryFile, "read", flaky)
        patch.setattr(MemoryFile, "readinto", lambda self, b: pytest.fail("not by way of read"), raising=False)
        with pytest.raises(StorageError, match="connection reset"):
            outcomes(reader, name, data)
    fs.rm(f"/stored/{name}")
    with pytest.raises((StorageError, FileNotFoundError)):  # also in a split that is not the first
        outcomes(reader, name, data)


def test_labels_that_cannot_be_fetched_are_not_null(tmp_path, monkeypatch, token_shards):
    tokens = made_up(300, 1)
    path = token_shards(tmp_path / "t.parquet", tokens.drop_columns(["domain"]), group=70)
    fs = fsspec.filesystem("memory")
    fs.pipe_file("/stored/tokens/0.parquet", path.read_bytes())
    pq.write_table(pa.table({"id": tokens["doc_id"], "domain": tokens["domain"]}), tmp_path / "d.parquet")
    fs.pipe_file("/stored/documents/0.parquet", (tmp_path / "d.parquet").read_bytes())
    data, reader = path.read_bytes(), ReadTokens(labels=["domain"])
    (first, *_) = outcomes(reader, "tokens/0.parquet", data)
    assert first.docs["domain"].to_pylist() == tokens["domain"].to_pylist()[: first.docs.num_rows]
    opened = type(fs).open

    def flaky(self, name, *arguments, **keys):
        if "documents" in name:
            raise OSError("connection reset")
        return opened(self, name, *arguments, **keys)

    with monkeypatch.context() as patch:
        patch.setattr(type(fs), "open", flaky)
        with pytest.raises(StorageError, match="connection reset"):
            outcomes(reader, "tokens/0.parquet", data)
    fs.rm("/stored/documents/0.parquet")
    assert outcomes(reader, "tokens/0.parquet", data)[0].docs["domain"].null_count == 70

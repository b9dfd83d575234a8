"""Exports hold the shards' tokens, in order, with documents ending where they end.

Each format is read twice: here, from its description alone, and in `test_export_readers.py` by the trainer's own code.
"""

import csv
import gzip
import json
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from curation import cli
from curation.errors import ConfigError, CurationError
from stages.pack.export import export
from stages.tokenize.tokenize import Tokenize
from tests.packed_rows import TOKENIZER

SMALL = replace(TOKENIZER, name="small", vocab_size=1_000, eod_id=999)
TEXTS = ["One.", "", "二つ目の文書です。" * 40, "three three three", None, "<|endoftext|> is text here"]


def read_nanotron(folder, name, dtype):
    """Ids, ends of documents, and which tokens are predicted (or None)."""
    ids = np.fromfile(folder / f"{name}.ds", dtype)
    loss = folder / f"{name}.ds.loss"
    return ids, np.fromfile(folder / f"{name}.ds.index", "<u8"), np.fromfile(loss, "?") if loss.exists() else None


def read_olmo(folder, name, dtype):
    with gzip.open(folder / f"{name}.csv.gz", "rt") as file:
        rows = [(int(start), int(end)) for start, end, _ in csv.reader(file)]
    assert [start for start, _ in rows] == [0, *[end for _, end in rows[:-1]]]
    mask = folder / "label_mask" / f"{name}.npy"
    predicted = np.fromfile(mask, "?") if mask.exists() else None
    return np.fromfile(folder / f"{name}.npy", dtype), np.array([end for _, end in rows]), predicted


def read_megatron(folder, name, dtype):
    data = (folder / f"{name}.idx").read_bytes()
    magic, version, code, sequences, documents = struct.unpack_from("<9sQBQQ", data)
    assert (magic, version) == (b"MMIDIDX\0\0", 1)
    dtype = {4: "<i4", 8: "<u2"}[code]
    assert documents == sequences + 1
    lens = np.frombuffer(data, "<i4", sequences, 34)
    offsets = np.frombuffer(data, "<i8", sequences, 34 + 4 * sequences)
    firsts = np.frombuffer(data, "<i8", documents, 34 + 12 * sequences)
    assert len(data) == 34 + 12 * sequences + 8 * documents
    assert firsts.tolist() == list(range(documents))
    ids = np.fromfile(folder / f"{name}.bin", dtype)
    itemsize = np.dtype(dtype).itemsize
    parts = [ids[o // itemsize : o // itemsize + n] for o, n in zip(offsets, lens, strict=True)]
    return np.concatenate(parts), np.cumsum(lens), None


READERS = {"nanotron": read_nanotron, "olmo": read_olmo, "megatron": read_megatron}


def pieces_of(table, length):
    """Flat ids, ends of pieces and of padding, and which tokens are predicted, of packed rows, by hand."""
    ends, predicted = [], []
    for i, lens in enumerate(table["doc_lens"].to_pylist()):
        for size in lens:
            ends.append((ends[-1] if ends else 0) + size)
            predicted += [False, *[True] * (size - 1)]
        if padding := (i + 1) * length - len(predicted):
            ends.append(ends[-1] + padding)
            predicted += [False] * padding
    return np.concatenate(table["input_ids"].to_pylist()), ends, predicted


@pytest.mark.parametrize("tokenizer", [TOKENIZER, SMALL], ids=["uint32", "uint16"])
@pytest.mark.parametrize("to", READERS)
def test_packed_rows(make_folder, tmp_path, to, tokenizer):
    folder, table = make_folder("packed", tokenizer=tokenizer)
    done = export(folder, to, str(tmp_path / "out"))
    first = 0
    for file in json.loads((Path(folder) / "_manifest.json").read_text())["files"]:
        ids, ends, predicted = pieces_of(table.slice(first, file["rows"]), 64)
        first += file["rows"]
        name = file["path"].removesuffix(".parquet")
        got = READERS[to](tmp_path / "out", name, "<u2" if tokenizer is SMALL else "<u4")
        assert np.array_equal(got[0], ids)
        if to == "megatron":
            assert got[1].tolist() == list(range(64, len(ids) + 1, 64))  # a sequence is a row
        else:
            assert got[1].tolist() == ends
            assert got[2].tolist() == predicted
    assert (done.rows, done.tokens, done.sequence_length) == (table.num_rows, table.num_rows * 64, 64)
    assert done.dtype == {"megatron": "int32"}.get(to, "uint32") if tokenizer is TOKENIZER else done.dtype == "uint16"
    assert json.loads((tmp_path / "out" / "_export.json").read_text())["files"] == done.files
    assert all((tmp_path / "out" / name).exists() for name in done.files)


@pytest.fixture
def token_shards(tmp_path, documents):
    """Two files as the stage `tokenize` writes them."""
    stage, folder = Tokenize(), tmp_path / "tokens"
    folder.mkdir()
    tables = []
    for i in range(2):
        texts = TEXTS if i == 0 else TEXTS[::-1]
        table = (
            stage(documents(texts))
            .select(["input_ids", "n_tokens", "id"])
            .rename_columns(["input_ids", "n_tokens", "doc_id"])
        )
        about = stage.outputs()[0].metadata
        pq.write_table(table.replace_schema_metadata(about), folder / f"part-{i:05d}.parquet", row_group_size=2)
        tables.append(table)
    return folder, tables


@pytest.mark.parametrize("to", READERS)
def test_token_shards(token_shards, tmp_path, to):
    folder, tables = token_shards
    done = export(str(folder), to, str(tmp_path / "out"))
    for i, table in enumerate(tables):
        ids, ends, predicted = READERS[to](tmp_path / "out", f"part-{i:05d}", "<u4")
        documents = np.split(ids, ends[:-1].astype(int))
        assert [d.tolist() for d in documents] == [[*d, 151_643] for d in table["input_ids"].to_pylist() if d]
        assert predicted is None
    assert (done.pieces, done.empty_documents, done.sequence_length) == (8, 4, None)
    if to == "olmo":
        with gzip.open(tmp_path / "out" / "part-00000.csv.gz", "rt") as file:
            names = [name for _, _, name in csv.reader(file)]
        kept = tables[0].filter(pc.greater(tables[0]["n_tokens"], 0))
        assert names == kept["doc_id"].to_pylist()


def test_nanotron_metadata(make_folder, tmp_path):
    folder, table = make_folder("packed", parts=1)
    export(folder, "nanotron", str(tmp_path / "out"), "Qwen/Qwen3-8B")
    lines = (tmp_path / "out" / "part-00000.ds.metadata").read_text().split("\n")
    assert lines[:2] == ["Qwen/Qwen3-8B|4", str(table.num_rows * 64)]


def test_parquet_for_hugging_face(make_folder, token_shards, tmp_path):
    folder, table = make_folder("packed", parts=1)
    export(folder, "hf", str(tmp_path / "rows"))
    got = pq.read_table(tmp_path / "rows" / "part-00000.parquet")
    _, ends, predicted = pieces_of(table, 64)
    flat = np.concatenate(table["input_ids"].to_pylist())
    assert got["input_ids"].to_pylist() == table["input_ids"].to_pylist()
    assert np.concatenate(got["labels"].to_pylist()).tolist() == np.where(predicted, flat, -100).tolist()
    assert np.cumsum(got["seq_lengths"].combine_chunks().flatten()).tolist() == ends
    assert [sum(lens) for lens in got["seq_lengths"].to_pylist()] == [64] * table.num_rows
    starts = np.concatenate([[0], ends[:-1]])
    positions = np.concatenate(got["position_ids"].to_pylist())
    assert np.flatnonzero(positions == 0).tolist() == starts.tolist()

    export(str(token_shards[0]), "hf", str(tmp_path / "documents"))
    got = pq.read_table(tmp_path / "documents" / "part-00001.parquet")
    assert got["input_ids"].to_pylist() == [[*d, 151_643] for d in token_shards[1][1]["input_ids"].to_pylist() if d]


def test_the_same_shards_give_the_same_bytes(make_folder, tmp_path):
    folder, _ = make_folder("packed")
    for to in ("nanotron", "olmo", "megatron", "hf"):
        for name in "ab":
            export(folder, to, str(tmp_path / name / to))
        files = sorted(f for f in (tmp_path / "a" / to).rglob("*") if f.is_file() and f.name != "_export.json")
        assert files
        assert all(
            f.read_bytes() == (tmp_path / "b" / to / f.relative_to(tmp_path / "a" / to)).read_bytes() for f in files
        )


def test_from_url_to_url(make_folder, tmp_path):
    import fsspec

    folder, _ = make_folder("packed", folder="memory://exported/packed")
    export(folder, "nanotron", "memory://exported/nanotron")
    export(folder, "nanotron", str(tmp_path / "out"))
    remote = fsspec.filesystem("memory").cat_file("/exported/nanotron/part-00001.ds")
    assert remote == (tmp_path / "out" / "part-00001.ds").read_bytes()


def test_mistakes_are_told_in_one_line(make_folder, tmp_path, token_shards):
    folder, table = make_folder("packed", parts=1)
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").touch()
    (tmp_path / "plain").mkdir()
    pq.write_table(pa.table({"input_ids": [[1]]}), tmp_path / "plain" / "a.parquet")
    for source, out, message in (
        (folder, "used", "expected an empty folder"),
        (str(tmp_path / "used"), "out", "has no parquet file"),
        (str(tmp_path / "nowhere"), "out", "has no parquet file"),
        (str(tmp_path / "plain"), "out", "not a token shard: it has no metadata `tokenizer`"),
    ):
        with pytest.raises(ConfigError, match=message) as caught:
            export(source, "olmo", str(tmp_path / out))
        assert "\n" not in str(caught.value)
    about = {"tokenizer": "other", "tokenizer_sha256": "1", "vocab_size": "9", "eod_id": "8"}
    other = pq.read_table(token_shards[0] / "part-00000.parquet").replace_schema_metadata(about)
    pq.write_table(other, token_shards[0] / "part-00002.parquet")
    with pytest.raises(ConfigError, match="part-00002.parquet: made with another tokenizer"):
        export(str(token_shards[0]), "olmo", str(tmp_path / "out"))
    # One id changed, and the file whole.
    ids = table["input_ids"].to_pylist()
    ids[0][0] += 1
    changed = table.set_column(0, table.schema.field(0), pa.array(ids, table.schema.field(0).type))
    pq.write_table(changed, Path(folder) / "part-00000.parquet")
    with pytest.raises(CurationError, match="its ids are not those of the manifest"):
        export(folder, "olmo", str(tmp_path / "altered"))
    assert not (tmp_path / "altered" / "_export.json").exists()


def test_command(make_folder, tmp_path):
    folder, table = make_folder("packed")
    done = CliRunner().invoke(cli.app, ["shards", "export", folder, "--to", "megatron", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert f"{table.num_rows * 64:,} tokens, {table.num_rows:,} rows of 64, 6 files" in done.output
    assert f'IndexedDataset("{tmp_path / "out"}/part-00000")' in done.output
    assert CliRunner().invoke(cli.app, ["shards", "export", folder, "--to", "tar", "x"]).exit_code == 2

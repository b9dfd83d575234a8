"""Shards: bytes that do not depend on batches, manifests that vouch only for what is there."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation import corpus as corpus_module
from curation.corpus import Manifest, ShardWriter, commit, committed, manifest_name, verify
from curation.errors import CorruptFile
from curation.exchange import NO_ROWS, ExchangeFiles, SidecarFiles, write_exchange, write_sidecar
from curation.stage import Output
from curation.storage import Storage

SCHEMA = pa.schema([("id", pa.string()), ("text", pa.large_string()), ("n_tokens", pa.int32())])


def written(tmp_path, name, table, cuts, output=None):
    writer = ShardWriter(Storage(str(tmp_path)), name, SCHEMA, output)
    for start, end in zip([0, *cuts], [*cuts, table.num_rows], strict=True):
        writer.write(table.slice(start, end - start))
    about = writer.finish()
    with open(writer.aside, "rb") as file:
        return about, file.read()


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 400), min_size=1, max_size=60),
    cuts=st.lists(st.integers(0, 60), max_size=6),
    limit=st.integers(1, 2000),
)
def test_a_shard_depends_on_its_rows_alone(tmp_path_factory, sizes, cuts, limit):
    tmp_path = tmp_path_factory.mktemp("shards")
    table = pa.table(
        [[str(i) for i in range(len(sizes))], ["x" * n for n in sizes], sizes],
        schema=SCHEMA,
    )
    cuts = sorted(min(c, len(sizes)) for c in cuts)
    old, corpus_module.GROUP_BYTES = corpus_module.GROUP_BYTES, limit
    try:
        for output in (None, Output("tokens", group_by="n_tokens", group_size=limit)):
            whole, in_parts = (written(tmp_path, n, table, c, output) for n, c in (("a", []), ("b", cuts)))
            assert whole[1] == in_parts[1]
            assert whole[0]["xxh128"] == in_parts[0]["xxh128"] and whole[0]["rows"] == len(sizes)
            assert pq.read_table(pa.BufferReader(whole[1])).equals(table)
    finally:
        corpus_module.GROUP_BYTES = old


def test_row_groups_hold_about_a_million_tokens(tmp_path):
    lengths = np.random.default_rng(0).integers(1, 100_000, 200)
    table = pa.table([[str(n) for n in lengths], ["x"] * 200, lengths], schema=SCHEMA)
    _, data = written(tmp_path, "t", table, [7, 50], Output("tokens", group_by="n_tokens", metadata={"eod_id": "1"}))
    file = pq.ParquetFile(pa.BufferReader(data))
    sums = [sum(file.read_row_group(g)["n_tokens"].to_pylist()) for g in range(file.num_row_groups)]
    assert all(1 << 20 <= n < (1 << 20) + 100_000 for n in sums[:-1])
    assert file.schema_arrow.metadata[b"eod_id"] == b"1"


def test_a_manifest_vouches_for_its_bytes_only(tmp_path):
    storage = Storage(str(tmp_path))

    def make(fingerprint, text):
        writer = ShardWriter(storage, "documents/a.parquet", SCHEMA)
        writer.write(pa.table([["1"], [text], [1]], schema=SCHEMA))
        about = writer.finish()
        commit(storage, Manifest("map0/a", fingerprint, {"shard": about}), [(writer.aside, writer.name)])

    make("one", "first")
    assert committed(storage, "map0/a", "one") and not committed(storage, "map0/a", "two")
    make("two", "second, and longer")
    assert committed(storage, "map0/a", "two") and not committed(storage, "map0/a", "one")
    manifest = committed(storage, "map0/a", "two")
    assert verify(storage, manifest) == []
    path = tmp_path / "documents" / "a.parquet"
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(data)
    assert verify(storage, manifest) == ["documents/a.parquet"]
    path.unlink()
    assert committed(storage, "map0/a", "two") is None
    (tmp_path / manifest_name("map0/a")).write_bytes(b'{"task": ')
    assert committed(storage, "map0/a", "two") is None


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 50)), max_size=80), st.integers(1, 5))
def test_an_exchange_gives_back_every_row_in_order(tmp_path_factory, pairs, files):
    tmp_path = tmp_path_factory.mktemp("exchange")
    storage = Storage(str(tmp_path))
    sources, parts = [], [pairs[i::files] for i in range(files)]
    for i, part in enumerate(parts):
        rows = pa.table(
            {"partition": pa.array([p for p, _ in part], pa.int32()), "row": pa.array([r for _, r in part], pa.int64())}
        )
        with open(tmp_path / f"{i}.arrow", "wb") as file:
            sources.append((f"{i}.arrow", write_exchange(file, rows)))
    exchange = ExchangeFiles(storage, sources)
    for partition in range(6):
        got = exchange.partition(partition)
        expected = [r for part in parts for r in sorted(r for p, r in part if p == partition)]
        assert got["row"].to_pylist() == expected
    assert ExchangeFiles(storage, []).partition(0).num_rows == 0


def test_an_exchange_without_rows_and_a_sidecar(tmp_path):
    with open(tmp_path / "e.arrow", "wb") as file:
        assert [entry[:2] for entry in write_exchange(file, NO_ROWS)] == [[-1, 0]]
    with open(tmp_path / "s.arrow", "wb") as file:
        write_sidecar(file, [pa.table({"x": [0, 1, 2]}), pa.table({"x": [3, 4]})])
    sidecars = SidecarFiles(Storage(str(tmp_path)), ["s.arrow"])
    assert sidecars.rows(0, np.array([1, 4]), ["x"])["x"].to_pylist() == [1, 4] and sidecars.shards() == 1


def test_a_changed_byte_is_found_wherever_it_is(tmp_path):
    storage = Storage(str(tmp_path))
    rows = pa.table({"partition": pa.array([0, 1] * 300, pa.int32()), "id": [f"document {i}" for i in range(600)]})
    exchange, sidecar = tmp_path / "e.arrow", tmp_path / "s.arrow"
    with open(exchange, "wb") as file:
        index = write_exchange(file, rows)
    with open(sidecar, "wb") as file:
        write_sidecar(file, [rows])

    def read():
        parts = ExchangeFiles(storage, [("e.arrow", index)])
        return [parts.partition(i).to_pylist() for i in (0, 1)], SidecarFiles(storage, ["s.arrow"]).rows(
            0, np.arange(600), ["partition", "id"]
        )

    whole = read()
    assert whole[1] == rows
    changes = 0
    for path, end in ((exchange, 8), (sidecar, 0)):  # the last 8 bytes of an exchange end the stream: nobody reads them
        data = path.read_bytes()
        for at in [*range(0, len(data) - end, 331), len(data) - end - 1]:
            changed = bytearray(data)
            changed[at] ^= 4
            path.write_bytes(changed)
            try:
                assert read() == whole  # the 8 bytes that end the stream, in the middle of a sidecar
            except CorruptFile as error:
                changes += 1
                assert error.name == path.name
        path.write_bytes(data[: len(data) // 2])
        with pytest.raises(CorruptFile, match=path.name):
            read()
        path.unlink()
        with pytest.raises(CorruptFile, match=path.name):
            read()
        path.write_bytes(data)
    assert changes > 50
    assert read() == whole

"""The files through which a barrier's rows are shuffled, and the rows it keeps beside each shard.

A task writes one exchange file: its rows grouped by partition, one Arrow record batch a partition, so that a reader
fetches the partition it needs without touching the rest. One file a task, not one a task and partition: a thousand
shards and a thousand partitions are a thousand files, not a million. Rows of a partition keep the order of their
documents, whatever the batches were, so the files are the same bytes in every run.

Both kinds of file are Arrow's streaming format, written so that the bytes of each record batch are known by place
and by hash. A reader checks the hash of the very bytes it is about to parse: a disk that lies costs the task that wrote
the file, which is run again, and never a wrong verdict. Checking costs 0.1 ms a megabyte.

Trade-off: exchange files are compressed with LZ4, which halves what addresses and ids take and leaves hashes as they
are; sidecars, which are read a few rows at a time, are not.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash

from curation.corpus import Manifest, hash_file
from curation.errors import ContractError, CorruptFile
from curation.stage import Shuffled, Sidecars
from curation.storage import Storage

#: An exchange without rows.
NO_ROWS = pa.table({"partition": pa.array([], pa.int32())})
#: In an exchange's index, the number under which the message stands that holds the schema.
SCHEMA = -1
#: Bytes of a sidecar that are read, and checked, together, about: some rows, as many in each batch of a file.
SIDECAR_BYTES = 1 << 17
#: Files a reader keeps open; the usual limit of a process is 1,024.
_MOST_OPEN = 500


class _Counted:
    """A file to write to that knows where it is, and the hash of what was written since `cut`."""

    def __init__(self, file: Any):
        self._file, self.closed = file, False
        self.at = self._start = 0
        self._hash = xxhash.xxh3_64()

    def write(self, data: Any) -> int:
        view = memoryview(data)
        self._file.write(view)
        self._hash.update(view)
        self.at += view.nbytes
        return view.nbytes

    def flush(self) -> None:
        """Left to the file itself."""

    def cut(self) -> tuple[int, int, str]:
        """Where the bytes since the last call begin, how many they are, and their xxh64."""
        part = self._start, self.at - self._start, self._hash.hexdigest()
        self._start = self.at
        self._hash.reset()
        return part


def _write(
    file: _Counted, schema: pa.Schema, batches: Iterable[pa.RecordBatch], compression: str | None
) -> list[tuple[int, int, str]]:
    """Write a stream; (offset, length, xxh64) of the schema and then of each batch."""
    message = schema.serialize()
    file.write(message)
    parts = [file.cut()]
    options = pa.ipc.IpcWriteOptions(compression=compression)
    for batch in batches:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, schema, options=options) as writer:
            writer.write_batch(batch)
        whole = sink.getvalue()  # the schema, the batch, and the end of a stream of 8 bytes
        file.write(whole[message.size : whole.size - 8])
        parts.append(file.cut())
    file.write(b"\xff\xff\xff\xff\0\0\0\0")
    return parts


def _plain(table: pa.Table) -> pa.Table:
    """The table without dictionaries: they would be messages of their own."""
    for i, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            table = table.set_column(i, field.name, table[i].cast(field.type.value_type))
    return table


def grouped(rows: pa.Table) -> tuple[pa.Table, list[tuple[int, int, int]]]:
    """Rows ordered by partition, then document; and (partition, start, count) of each partition that has any."""
    if "partition" not in rows.column_names:
        raise ContractError("returned rows without the int32 column 'partition'")
    partition = rows["partition"].to_numpy()
    keys = (rows["row"].to_numpy(), partition) if "row" in rows.column_names else (partition,)
    order = np.lexsort(keys)
    values, starts, counts = np.unique(partition[order], return_index=True, return_counts=True)
    parts = list(zip(values.tolist(), starts.tolist(), counts.tolist(), strict=True))
    return _plain(rows).take(pa.array(order)).combine_chunks(), parts


def write_exchange(file: Any, rows: pa.Table) -> list[list[Any]]:
    """Write the rows; returns [partition, rows, xxh64, offset, length] of the schema and of each record batch."""
    table, parts = grouped(rows)
    table = table.drop_columns(["partition"])  # a batch is a partition: 4 bytes a row that say nothing
    batches = (
        pa.concat_tables([table.slice(start, count)]).combine_chunks().to_batches()[0] for _, start, count in parts
    )
    numbers = [(SCHEMA, 0), *((partition, count) for partition, _, count in parts)]
    places = _write(_Counted(file), table.schema, batches, "lz4")
    return [
        [partition, count, digest, offset, length]
        for (partition, count), (offset, length, digest) in zip(numbers, places, strict=True)
    ]


@contextmanager
def arrow_file(storage: Storage, name: str, asides: list[tuple[str | None, str]]) -> Iterator[tuple[Any, dict]]:
    """A file to write Arrow data to, and its description, which is filled in when the block ends.

    On a local disk it is written aside and appended to `asides`, for the task's commit to move in place.
    """
    about: dict[str, Any] = {"name": name, "rows": 0}
    aside = storage.pending(name) if storage.local else None
    asides.append((aside, name))
    with open(aside, "wb") if aside else storage.fs.open(storage.path(name), "wb") as file:
        yield file, about
        if aside:
            file.flush()
            os.fsync(file.fileno())
    with open(aside, "rb") if aside else storage.open(name) as file:
        about["bytes"], about["xxh128"] = hash_file(file)


def write_sidecar(file: Any, tables: Sequence[pa.Table]) -> None:
    """Write a shard's sidecar rows, in document order, and after them where each batch of them lies."""
    table = _plain(pa.concat_tables(tables)).combine_chunks()
    rows = max(1, min(SIDECAR_BYTES * table.num_rows // max(table.nbytes, 1), 4096))
    counted = _Counted(file)
    places = _write(
        counted,
        table.schema,
        (
            pa.concat_tables([table.slice(i, rows)]).combine_chunks().to_batches()[0]
            for i in range(0, table.num_rows, rows)
        ),
        None,
    )
    index = np.array([(o, n, int(digest, 16)) for o, n, digest in places] + [(rows, 0, 0)], "<u8").tobytes()
    counted.write(index)
    counted.write(np.array([len(index), xxhash.xxh3_64_intdigest(index)], "<u8").tobytes())


class _Files:
    """Parts of files, checked against their hashes; files stay open, the last `_MOST_OPEN` of them."""

    def __init__(self, storage: Storage):
        self._storage = storage
        self._maps: dict[str, pa.Buffer] = {}

    def _map(self, name: str) -> pa.Buffer:
        if name not in self._maps:
            if len(self._maps) >= _MOST_OPEN:
                self._maps.pop(next(iter(self._maps)))
            with pa.memory_map(self._storage.path(name)) as source:
                self._maps[name] = source.read_buffer()
        return self._maps[name]

    def size(self, name: str) -> int:
        """Bytes of a file; 0 if it is missing."""
        return self._storage.size(name) or 0

    def part(self, name: str, offset: int, length: int) -> pa.Buffer:
        """Bytes of a file as they are; fewer where it ends before."""
        try:
            if self._storage.local:
                return self._map(name)[offset : offset + length]
            path = self._storage.path(name)
            return pa.py_buffer(self._storage.fs.cat_file(path, start=offset, end=offset + length))
        except (FileNotFoundError, pa.ArrowInvalid) as error:  # the latter for an empty file
            raise CorruptFile(name) from error

    def checked(self, name: str, offset: int, length: int, digest: int) -> pa.Buffer:
        """The bytes of one message. CorruptFile if they are not those that were written."""
        buffer = self.part(name, offset, length)
        if buffer.size != length or xxhash.xxh3_64_intdigest(buffer) != digest:
            raise CorruptFile(name)
        return buffer


class ExchangeFiles:
    """The exchange files a task reads from.

    sources: (name, index) of each file, in the order its rows are to come. An index may leave out partitions that are
    not asked for.
    """

    def __init__(self, storage: Storage, sources: Sequence[tuple[str, list]]):
        self._files = _Files(storage)
        self._places: dict[int, list[tuple[str, list]]] = {}
        self._schemas: dict[str, list] = {}
        self._read: dict[str, pa.Schema] = {}
        for name, index in sources:
            for entry in index:
                if entry[0] == SCHEMA:
                    self._schemas[name] = entry
                else:
                    self._places.setdefault(entry[0], []).append((name, entry))
        self._first = sources[0][0] if sources else None

    def _message(self, name: str, entry: list) -> pa.Buffer:
        _, _, digest, offset, length = entry
        return self._files.checked(name, offset, length, int(digest, 16))

    def _schema(self, name: str) -> pa.Schema:
        """A file's schema. Files of one barrier have the same, so it is read once, not for each batch."""
        digest = self._schemas[name][2]
        if digest not in self._read:
            self._read[digest] = pa.ipc.read_schema(self._message(name, self._schemas[name]))
        return self._read[digest]

    def partition(self, number: int) -> pa.Table:
        """All rows of a partition; without any, an empty table, with the columns of the first file if there is one.

        CorruptFile if a file does not hold what was written there.
        """
        batches = [
            pa.ipc.read_record_batch(self._message(name, entry), self._schema(name))
            for name, entry in self._places.get(number, [])
        ]
        if batches:
            return pa.Table.from_batches(batches)
        return self._schema(self._first).empty_table() if self._first else pa.table({})


class SidecarFiles(Sidecars):
    """The sidecars of a barrier's shards, read where they lie, a few batches of rows at a time."""

    def __init__(self, storage: Storage, names: Sequence[str | None]):
        self._files, self._names = _Files(storage), names
        self._indices: dict[str, tuple[pa.Schema, np.ndarray, int]] = {}

    def shards(self) -> int:
        return len(self._names)

    def _index(self, name: str) -> tuple[pa.Schema, np.ndarray, int]:
        """Schema of a file; offset, length and hash of each batch (uint64, shape (batches, 3)); rows in a batch."""
        if name not in self._indices:
            size = self._files.size(name)
            tail = self._files.part(name, size - 16, 16) if size > 16 else b""
            if len(tail) != 16:
                raise CorruptFile(name)
            length, digest = np.frombuffer(tail, "<u8").tolist()
            if length > size - 16 or length % 24 or not length:
                raise CorruptFile(name)
            places = np.frombuffer(self._files.checked(name, size - 16 - length, length, digest), "<u8").reshape(-1, 3)
            schema = pa.ipc.read_schema(self._files.checked(name, *places[0].tolist()))
            if len(self._indices) >= _MOST_OPEN:
                self._indices.pop(next(iter(self._indices)))
            self._indices[name] = schema, places[1:-1], int(places[-1, 0])
        return self._indices[name]

    def rows(self, shard: int, rows: np.ndarray, columns: Sequence[str]) -> pa.Table:
        """CorruptFile if the file does not hold what was written there."""
        name = self._names[shard]
        if name is None:
            raise IndexError(f"shard {shard} has no sidecar")
        schema, places, size = self._index(name)
        batch = rows // size
        needed = np.unique(batch)
        batches = [
            pa.ipc.read_record_batch(self._files.checked(name, *places[i].tolist()), schema).select(list(columns))
            for i in needed.tolist()
        ]
        # Where the batches that were read begin, once put together; only the last one of a file may be short
        found = np.searchsorted(needed, batch) * size + rows % size
        if not batches:
            return schema.empty_table().select(list(columns))
        return pa.Table.from_batches(batches).combine_chunks().take(pa.array(found))

    def table(self, shard: int) -> pa.Table:
        name = self._names[shard]
        if name is None:
            return pa.table({})
        schema, places, _ = self._index(name)
        batches = [pa.ipc.read_record_batch(self._files.checked(name, *place), schema) for place in places.tolist()]
        return pa.Table.from_batches(batches, schema)


class ShuffledFiles(Shuffled):
    """The files of a barrier, from the manifests of its scatter tasks and of its last gather round."""

    def __init__(self, storage: Storage, shards: Sequence[Manifest], last: Sequence[Manifest]):
        self.url = storage.url
        self._rows = ExchangeFiles(storage, _sources(shards))
        self._verdicts = ExchangeFiles(storage, _sources(last))
        self._partitions = sorted({part[0] for m in shards for part in m.partitions.get("exchange", [])} - {SCHEMA})
        self.sizes = [m.rows for m in shards]
        self.sidecars = SidecarFiles(storage, [m.files.get("sidecar", {}).get("name") for m in shards])
        of_shards = [m.files["sidecar" if "sidecar" in m.files else "exchange"]["xxh128"] for m in shards]
        # Of the verdicts the rows only: how partitions were put together into tasks and files says nothing.
        parts = [part for m in last for part in m.partitions.get("exchange", []) if part[0] != SCHEMA]
        of_verdicts = sorted(part[:3] for part in parts)
        self.digest = xxhash.xxh3_128_hexdigest(json.dumps([of_shards, of_verdicts]).encode())

    def partitions(self) -> list[int]:
        return self._partitions

    def rows(self, partition: int) -> pa.Table:
        return self._rows.partition(partition)

    def verdicts(self, shard: int) -> pa.Table:
        return self._verdicts.partition(shard)


def _sources(manifests: Sequence[Manifest]) -> list[tuple[str, list]]:
    return [(m.files["exchange"]["name"], m.partitions["exchange"]) for m in manifests if "exchange" in m.files]

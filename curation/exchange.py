"""The files through which a barrier's rows are shuffled, and the rows it keeps beside each shard.

A task writes one exchange file: its rows grouped by partition, one Arrow record batch a partition, so that a reader
fetches the partition it needs without touching the rest. One file a task, not one a task and partition: a thousand
shards and a thousand partitions are a thousand files, not a million. Rows of a partition keep the order of their
documents, whatever the batches were, so the files are the same bytes in every run.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash

from curation.corpus import hash_file
from curation.errors import ContractError
from curation.stage import Sidecars
from curation.storage import Storage

#: An exchange without rows.
NO_ROWS = pa.table({"partition": pa.array([], pa.int32())})


def grouped(rows: pa.Table) -> tuple[pa.Table, list[tuple[int, int, int]]]:
    """Rows ordered by partition, then document; and (partition, start, count) of each partition that has any."""
    if "partition" not in rows.column_names:
        raise ContractError("returned rows without the int32 column 'partition'")
    partition = rows["partition"].to_numpy()
    keys = (rows["row"].to_numpy(), partition) if "row" in rows.column_names else (partition,)
    order = np.lexsort(keys)
    values, starts, counts = np.unique(partition[order], return_index=True, return_counts=True)
    parts = list(zip(values.tolist(), starts.tolist(), counts.tolist(), strict=True))
    return rows.take(pa.array(order)).combine_chunks(), parts


def write_exchange(file: Any, rows: pa.Table) -> list[list[Any]]:
    """Write the rows to an Arrow IPC file; returns [partition, rows, xxh64] of each record batch, in order."""
    table, parts = grouped(rows)
    table = table.drop_columns(["partition"])  # a batch is a partition: 4 bytes a row that say nothing
    index = []
    with pa.ipc.new_file(file, table.schema) as writer:
        for partition, start, count in parts:
            batch = pa.concat_tables([table.slice(start, count)]).combine_chunks().to_batches()[0]
            writer.write_batch(batch)
            # The slice serialised alone, so that the hash sees these rows and not the buffers they are cut from.
            index.append([partition, count, xxhash.xxh3_64_hexdigest(batch.serialize())])
    return index


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
    """Write a shard's sidecar rows, in document order, to an Arrow IPC file."""
    table = pa.concat_tables(tables).combine_chunks()
    with pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


def _open(storage: Storage, name: str) -> pa.ipc.RecordBatchFileReader:
    source = pa.memory_map(storage.path(name)) if storage.local else storage.open(name)
    return pa.ipc.open_file(source)


class ExchangeFiles:
    """The exchange files a task reads from, each opened once (0.4 ms) however many partitions are asked for.

    sources: (name, index) of each file, in the order its rows are to come.
    """

    def __init__(self, storage: Storage, sources: Sequence[tuple[str, list]]):
        self._storage = storage
        self._places: dict[int, list[tuple[str, int]]] = {}
        for name, index in sources:
            for i, (partition, *_) in enumerate(index):
                self._places.setdefault(partition, []).append((name, i))
        self._first = sources[0][0] if sources else None
        self._opened: dict[str, pa.ipc.RecordBatchFileReader] = {}

    def _file(self, name: str) -> pa.ipc.RecordBatchFileReader:
        if name not in self._opened:
            if len(self._opened) >= 500:  # below the usual limit of 1,024 open files
                self._opened.pop(next(iter(self._opened)))
            self._opened[name] = _open(self._storage, name)
        return self._opened[name]

    def partition(self, number: int) -> pa.Table:
        """All rows of a partition; without any, an empty table, with the columns of the first file if there is one."""
        batches = [self._file(name).get_batch(i) for name, i in self._places.get(number, [])]
        if batches:
            return pa.Table.from_batches(batches)
        return self._file(self._first).schema.empty_table() if self._first else pa.table({})


class SidecarFiles(Sidecars):
    """The sidecars of a barrier's shards, read where they lie."""

    def __init__(self, storage: Storage, names: Sequence[str | None]):
        self._storage, self._names = storage, names

    def shards(self) -> int:
        return len(self._names)

    def rows(self, shard: int, rows: np.ndarray) -> pa.Table:
        name = self._names[shard]
        if name is None:
            raise IndexError(f"shard {shard} has no sidecar")
        return _open(self._storage, name).read_all().take(pa.array(rows))

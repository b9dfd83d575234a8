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


def read_partition(
    storage: Storage, sources: Sequence[tuple[str, Sequence[Sequence[Any]]]], partition: int
) -> pa.Table:
    """All rows of a partition from exchange files `(name, index)`, in that order of files; empty if none has any."""
    batches, schema = [], pa.schema([])
    for name, index in sources:
        file = _open(storage, name)
        schema = file.schema
        batches += [file.get_batch(i) for i, (value, *_) in enumerate(index) if value == partition]
    return pa.Table.from_batches(batches, None if batches else schema)


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

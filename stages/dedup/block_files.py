"""Sorted Arrow files in a folder anywhere, read a checked block at a time.

An index outlives the runs that wrote it and may lie on any disk or object store, so what is read back is not trusted:
each file is an Arrow IPC file (any Arrow reader opens it) of record batches of a fixed number of rows, and whoever
holds its description has the smallest and largest sort key and the xxh3-64 of every batch. A look-up reads the blocks
that can hold its keys and no others, and checks each before it uses it. Trade-off: a block is serialised again to be
checked, which costs about as much as copying it; a damaged block is found in the only moment that matters.

The sort key is the first column. Names show whole content only, as in a run's folder.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash

from curation.errors import CurationError
from curation.storage import PENDING, Storage


class Folder(Storage):
    """A folder that several commands may write to at once."""

    def names(self, folder: str = "") -> list[str]:
        """Names of all whole files below a folder, sorted; empty if it does not exist."""
        return [name for name in super().names(folder) if not name.endswith(PENDING)]

    def remove_all(self, folder: str) -> None:
        """Remove a folder and what is in it, if it is there."""
        with suppress(FileNotFoundError):
            self.fs.rm(self.path(folder), recursive=True)

    def create(self, name: str, content: bytes) -> None:
        """Write a file that must not exist: of two who try at once, one gets a FileExistsError."""
        if not self.local:
            if self.fs.exists(self.path(name)):
                raise FileExistsError(self.path(name))
            try:
                self.fs.pipe_file(self.path(name), content, mode="create")
            except (NotImplementedError, TypeError):  # a filesystem without conditional writes: the check has to do
                self.fs.pipe_file(self.path(name), content)
            return
        aside = self.pending(name)
        try:
            with open(aside, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.link(aside, self.path(name))
        finally:
            with suppress(FileNotFoundError):
                os.unlink(aside)


class BlockWriter:
    """Writes rows, sorted by the first column and given in any portions, as blocks of `block_rows` rows."""

    def __init__(self, file: Any, name: str, schema: pa.Schema, block_rows: int):
        self._name, self._schema, self._block_rows = name, schema, block_rows
        self._writer = pa.ipc.new_file(file, schema)
        self._held: list[pa.Table] = []
        self._rows = 0
        self._blocks: list[list[Any]] = []

    def write(self, table: pa.Table) -> None:
        """Add rows, the first of which does not sort before the last one so far."""
        self._held.append(table)
        self._rows += table.num_rows
        if self._rows >= self._block_rows:
            self._flush(self._rows - self._rows % self._block_rows)

    def _flush(self, rows: int) -> None:
        table = pa.concat_tables(self._held).combine_chunks()
        for start in range(0, rows, self._block_rows):
            # put together anew, so that a batch and its checksum hold these rows and not the buffers they are cut from
            part = pa.concat_tables([table.slice(start, min(self._block_rows, rows - start))]).combine_chunks()
            batch = part.to_batches()[0]
            self._writer.write_batch(batch)
            key = batch.column(0)
            digest = xxhash.xxh3_64_hexdigest(batch.serialize())
            self._blocks.append([batch.num_rows, key[0].as_py(), key[-1].as_py(), digest])
        self._held, self._rows = [table.slice(rows)], self._rows - rows

    def finish(self) -> dict[str, Any]:
        """Write what is left and describe the file: name, rows and blocks [rows, first key, last key, xxh3-64]."""
        if self._rows:
            self._flush(self._rows)
        self._writer.close()
        return {"name": self._name, "rows": sum(block[0] for block in self._blocks), "blocks": self._blocks}


class BlockFile:
    """A file that `BlockWriter` wrote, by its description. CurationError for a block that is missing or damaged.

    advice: what the user can do about damage; part of that error.
    """

    def __init__(self, folder: Folder, about: dict[str, Any], schema: pa.Schema, advice: str):
        self._folder, self._about, self._schema, self._advice = folder, about, schema, advice
        blocks = about["blocks"]
        kind = schema.field(0).type.to_pandas_dtype()
        self.rows = int(about["rows"])
        self._first = np.array([block[1] for block in blocks], kind)
        self._last = np.array([block[2] for block in blocks], kind)
        self._reader: pa.ipc.RecordBatchFileReader | None = None

    def __len__(self) -> int:
        return len(self._first)

    def _open(self) -> pa.ipc.RecordBatchFileReader:
        if self._reader is None:
            path = self._folder.path(self._about["name"])
            try:
                source = pa.memory_map(path) if self._folder.local else self._folder.fs.open(path, "rb")
                reader = pa.ipc.open_file(source)
                if reader.schema != self._schema or reader.num_record_batches != len(self):
                    raise pa.ArrowInvalid("other columns or another number of blocks than were written")
            except FileNotFoundError as error:
                raise CurationError(f"{path} is missing; {self._advice}") from error
            except (pa.ArrowException, OSError) as error:
                raise CurationError(f"{path} is damaged ({error}); {self._advice}") from error
            self._reader = reader
        return self._reader

    def block(self, i: int) -> pa.Table:
        """The rows of block `i`, checked."""
        rows, _, _, digest = self._about["blocks"][i]
        reader = self._open()
        try:
            batch = reader.get_batch(i)
            if batch.num_rows != rows or xxhash.xxh3_64_hexdigest(batch.serialize()) != digest:
                raise pa.ArrowInvalid("its checksum is not that of what was written")
        except (pa.ArrowException, OSError) as error:
            path = self._folder.path(self._about["name"])
            raise CurationError(f"{path}: block {i} of {len(self)} is damaged ({error}); {self._advice}") from error
        return pa.Table.from_batches([batch])

    def blocks(self) -> Iterator[pa.Table]:
        """All rows, block by block."""
        self._open()
        return (self.block(i) for i in range(len(self)))

    def between(self, low: Any, high: Any) -> Iterator[pa.Table]:
        """The blocks that may hold keys from `low` to `high`, both included."""
        start, end = np.searchsorted(self._last, low), np.searchsorted(self._first, high, side="right")
        return (self.block(i) for i in range(int(start), int(end)))

    def blocks_with(self, keys: np.ndarray) -> list[int]:
        """The numbers of the blocks that may hold one of the keys (increasing)."""
        begin, end = np.searchsorted(keys, self._first), np.searchsorted(keys, self._last, side="right")
        return np.flatnonzero(begin < end).tolist()

    def take(self, keys: np.ndarray) -> pa.Table:
        """The rows with the keys (increasing) that are there, for a file in which no key comes twice."""
        found = []
        block = np.searchsorted(self._last, keys)
        for i in np.unique(block[block < len(self)]).tolist():
            table = self.block(i)
            have = table.column(0).to_numpy()
            at = np.searchsorted(have, keys[block == i])
            at = at[have[np.minimum(at, len(have) - 1)] == keys[block == i]]
            if len(at):
                found.append(table.take(pa.array(at)))
        return pa.concat_tables(found) if found else self._schema.empty_table()

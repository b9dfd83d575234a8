"""Reads token shards that earlier runs wrote, without their token ids: counts, labels, and where the ids lie.

Mixing a corpus means reading the labels of all of it and the ids of what is drawn. Parquet keeps columns apart, so the
ids, 99 % of the bytes, stay where they are until documents are packed.

A run moves ids to `tokens/` and leaves every other column in `documents/`, file by file and row by row. A label that
the token shard does not carry is therefore taken from the file of the same name there; ids are compared, so that a
folder of another run is noticed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from curation.documents import CORE, column_type
from curation.errors import ConfigError, CurationError, StorageError
from curation.stage import InputFile, Outcome, Reader, Split
from stages.pack.token_files import identity
from stages.read.parquet import alias_type, first_byte, listed_type, unreadable
from stages.read.stored import open_stored

_COUNTS = ("n_tokens", "n_bytes", "token_file")


class ReadTokens(Reader, name="read_tokens"):
    """Reads the folders `tokens/` of earlier runs: a document for each row, with its counts and labels, no text.

    `labels` names the columns to keep: columns that the project knows (`[language, domain]`), or others with their
    Arrow types (`{topic: string}`). They are read from the token shards, or where those lack them from `documents/`
    beside `tokens/`. A column that neither has is null.

    The files' ids must have been made by `tokenizer`; a file made by another one stops the run. What cannot be read
    fails as one record: a file that is no parquet or lacks a column; a row group that is damaged, or whose documents
    in `documents/` are not of the same run.
    """

    split_mb: int = Field(
        16, ge=1, description="most of one file that a task reads, MiB as stored; 16 are 12 million tokens"
    )
    tokenizer: str = Field("qwen3", description="name of the tokenizer, as the files' metadata say it")
    labels: list[str] | dict[str, str] = Field(["language"], description="columns to keep")

    def adds(self) -> dict[str, pa.DataType]:
        counts = {name: column_type(name) for name in _COUNTS}
        if isinstance(self.labels, dict):
            return counts | {name: alias_type(name, kind) for name, kind in self.labels.items()}
        return counts | {name: listed_type(name) for name in self.labels}

    def check(self) -> None:
        core = [name for name in self.labels if name in CORE or name in _COUNTS]
        if core:
            raise ConfigError(f"read_tokens: every document has '{core[0]}' anyway; take it out of `labels`")
        self.adds()

    def splittable(self, file: InputFile) -> bool:
        return True

    def read(self, split: Split, batch_rows: int, batch_bytes: int) -> Iterator[Outcome]:
        path = split.file.path
        try:
            with open_stored(path) as file:
                parquet = pq.ParquetFile(file)
                schema = parquet.schema_arrow
                missing = [name for name in ("input_ids", "n_tokens", "doc_id") if name not in schema.names]
                if missing:
                    raise ValueError(f"no token shard: it has no column '{missing[0]}'")
                made_by = identity(schema, path)
                if made_by["name"] != self.tokenizer:
                    raise CurationError(
                        f"{path}: its ids are of the tokenizer '{made_by['name']}', not '{self.tokenizer}'; "
                        "tokenize all inputs alike, or say `tokenizer` in read_tokens"
                    )
                yield from self._rows(split, parquet, batch_rows)
        except (OSError, pa.ArrowException, ValueError) as error:
            if split.index == 0:  # every split meets it; one says so
                yield unreadable(split, self.adds(), 0, str(error))

    def _rows(self, split: Split, parquet: pq.ParquetFile, batch_rows: int) -> Iterator[Outcome]:
        """The row groups that start in the split."""
        names = set(parquet.schema_arrow.names)
        wanted = [name for name in self.adds() if name not in _COUNTS]
        here = ["doc_id", "n_tokens", *(n for n in ("n_bytes", "url", *wanted) if n in names)]
        beside = [name for name in wanted if name not in names]
        row = 0
        with _Beside(split.file.path, beside) as documents:
            for group in range(parquet.num_row_groups):
                about = parquet.metadata.row_group(group)
                if split.start <= first_byte(about) < split.end:
                    try:
                        table = parquet.read_row_group(group, columns=here)
                        docs = self._documents(split, row, documents.added_to(table, row))
                    except (OSError, pa.ArrowException, ValueError) as error:
                        last = row + about.num_rows - 1
                        yield unreadable(split, self.adds(), row, f"rows cannot be read: {row} to {last}: {error}")
                    else:
                        for start in range(0, docs.num_rows, batch_rows):
                            yield Outcome(docs.slice(start, batch_rows))
                row += about.num_rows

    def _documents(self, split: Split, row: int, part: pa.Table) -> pa.Table:
        n = part.num_rows
        types = {name: column.type for name, column in CORE.items()} | self.adds()
        values: dict[str, Any] = {name: part[name] for name in part.column_names} | {
            "id": part["doc_id"],
            "source": pa.repeat(split.source, n),
            "file": pa.repeat(split.file.name, n),
            "position": pa.array(np.arange(row, row + n)),
            "token_file": pa.repeat(split.file.path, n),
        }
        columns = {
            name: values[name].cast(kind) if name in values else pa.nulls(n, kind) for name, kind in types.items()
        }
        return pa.table(columns)


class _Beside:
    """Columns of the file in `documents/` that belongs to a token shard; none if there is no such file."""

    def __init__(self, path: str, columns: list[str]):
        self._path = re.sub(r"(^|/)tokens/([^/]*)$", r"\1documents/\2", path)
        self._columns = columns
        self._handle: Any = None
        self._parquet: pq.ParquetFile | None = None

    def __enter__(self) -> _Beside:
        if self._columns and "/documents/" in self._path:
            try:
                self._handle = open_stored(self._path)
            except StorageError as error:
                if not isinstance(error.__cause__, FileNotFoundError):
                    raise
                return self
            self._parquet = pq.ParquetFile(self._handle)
            self._columns = [c for c in self._columns if c in self._parquet.schema_arrow.names]
        return self

    def __exit__(self, *_: object) -> None:
        if self._handle is not None:
            self._handle.close()

    def added_to(self, table: pa.Table, row: int) -> pa.Table:
        """The table, whose first row is row `row` of the shard, with the columns. ValueError if ids differ."""
        if self._parquet is None or not self._columns:
            return table
        parts, at, end = [], 0, row + table.num_rows
        for group in range(self._parquet.num_row_groups):
            n = self._parquet.metadata.row_group(group).num_rows
            if at < end and at + n > row:
                some = self._parquet.read_row_group(group, columns=["id", *self._columns])
                first = max(row - at, 0)
                parts.append(some.slice(first, min(end - at, n) - first))
            at += n
        found = pa.concat_tables(parts) if parts else None
        if found is None or not found["id"].combine_chunks().equals(table["doc_id"].combine_chunks().cast(pa.string())):
            raise ValueError(f"{self._path} does not hold the documents of this token shard")
        for name in self._columns:
            table = table.append_column(name, found[name])
        return table

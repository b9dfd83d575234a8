"""Reads documents from parquet: the corpora of others, and those that a run has written.

A task reads the row groups whose first byte lies in its part of the file, so a file is cut by its size alone, before
anybody has opened it, and no row group is read twice. Within a row group rows come in batches of bounded size.

Trade-off: parquet is compressed column by column, so what is broken is broken for a row group: one damaged byte
costs the rows of its group from there on (one failed record says which), where in JSON lines it costs one line.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import Field

from curation.documents import COLUMNS, CORE, document_id
from curation.errors import ConfigError
from curation.stage import InputFile, Outcome, Reader, Split
from stages.read.stored import open_stored


class ReadParquet(Reader, name="read_parquet"):
    """Reads documents from parquet files: every row is one, its text in the column `text`.

    `columns` names what else to keep: columns that the project knows (`[date, language]`; `curation stages` shows
    which stage adds which), or others with their Arrow types (`{score: float, licence: string}`). A column that a file
    lacks is null there. Ids are made from the file's name and the row's number unless `id` names a column of unique
    strings; where that one is null they are, too.

    A row without text comes as a document without text. What cannot be read fails as one record: a file that is no
    parquet or whose columns have the wrong types, or the rest of a row group that is damaged.
    """

    text: str = Field("text", description="column of the text")
    url: str = Field("url", description="column of the address, if there is one")
    id: str | None = Field(None, description="column of unique ids to keep, such as `id` of an earlier run")
    source: str | None = Field(None, description="column that names each document's source, instead of the input")
    columns: list[str] | dict[str, str] = Field([], description="more columns to keep")

    def adds(self) -> dict[str, pa.DataType]:
        if isinstance(self.columns, dict):
            return {name: alias_type(name, kind) for name, kind in self.columns.items()}
        return {name: listed_type(name) for name in self.columns}

    def check(self) -> None:
        core = [name for name in self.adds() if name in CORE]
        if core:
            raise ConfigError(f"read_parquet: '{core[0]}' is a column every document has; it has a key of its own")

    def splittable(self, file: InputFile) -> bool:
        return True

    def read(self, split: Split, batch_rows: int, batch_bytes: int) -> Iterator[Outcome]:
        try:
            with open_stored(split.file.path) as file:
                parquet = pq.ParquetFile(file)
                names = self._names(parquet.schema_arrow)
                yield from self._groups(split, parquet, names, batch_rows, batch_bytes)
        except (OSError, pa.ArrowException, ValueError) as error:
            if split.index == 0:  # every split meets it; one says so
                yield unreadable(split, self.adds(), 0, str(error))

    def _names(self, schema: pa.Schema) -> dict[str, str]:
        """Column of a document -> column of the file. ValueError if there is no column of text."""
        if self.text not in schema.names:
            near = ", ".join(schema.names[:20])
            raise ValueError(f"no column '{self.text}' (key `text` of read_parquet); the file has {near}")
        kind = schema.field(self.text).type
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
            raise ValueError(f"column '{self.text}' is {kind}, not text")
        wanted: dict[str, str | None] = {"id": self.id, "text": self.text, "url": self.url, "source": self.source}
        wanted |= {name: name for name in self.adds()}
        return {name: column for name, column in wanted.items() if column and column in schema.names}

    def _groups(
        self, split: Split, parquet: pq.ParquetFile, names: dict[str, str], batch_rows: int, batch_bytes: int
    ) -> Iterator[Outcome]:
        """The row groups that start in the split."""
        row = 0
        for group in range(parquet.num_row_groups):
            about = parquet.metadata.row_group(group)
            start = first_byte(about)
            end, done = row + about.num_rows, row
            if split.start <= start < split.end:
                try:
                    for part in parquet.iter_batches(batch_rows, [group], columns=list(dict.fromkeys(names.values()))):
                        table = self._documents(split, done, pa.table(part), names)
                        done += part.num_rows
                        yield from _bounded(table, batch_bytes)
                except (OSError, pa.ArrowException, ValueError) as error:
                    what = f"rows cannot be read: row group {group}, rows {done} to {end - 1}: {error}"
                    yield unreadable(split, self.adds(), done, what)
            row = end

    def _documents(self, split: Split, row: int, part: pa.Table, names: dict[str, str]) -> pa.Table:
        """Documents of some rows of the file, the first of them `row`."""
        n = part.num_rows
        positions = np.arange(row, row + n)
        types = {name: column.type for name, column in CORE.items()} | self.adds()
        columns: dict[str, Any] = {
            name: part[names[name]].cast(kind) if name in names else pa.nulls(n, kind) for name, kind in types.items()
        }
        columns["file"], columns["position"] = pa.repeat(split.file.name, n), positions
        columns["source"] = pc.fill_null(columns["source"], split.source)
        if columns["id"].null_count:
            made = [document_id(split.source, split.file.name, position) for position in positions.tolist()]
            columns["id"] = pc.coalesce(columns["id"], pa.array(made, pa.string()))
        return pa.table({name: columns[name] for name in types}, schema=pa.schema(list(types.items())))


def unreadable(split: Split, columns: dict[str, pa.DataType], row: int, error: str) -> Outcome:
    """One failed record that stands for what could not be read, from row `row` of the file on; columns: those beside
    the core ones."""
    types = {name: column.type for name, column in CORE.items()} | columns
    values = {
        "id": document_id(split.source, split.file.name, f"unreadable {row}"),
        "source": split.source,
        "file": split.file.name,
        "position": row,
    }
    table = pa.table({name: pa.array([values.get(name)], kind) for name, kind in types.items()})
    return Outcome(table, failed=pa.array([error.replace("\n", " ")[:300]]))


def first_byte(group: Any) -> int:
    """Where the data of a row group begins in the file; 0 for one without columns."""
    places = []
    for i in range(group.num_columns):
        column = group.column(i)
        places.append(min(filter(None, (column.dictionary_page_offset, column.data_page_offset)), default=0))
    return min(places, default=0)


def _bounded(table: pa.Table, batch_bytes: int) -> Iterator[Outcome]:
    """The table in parts of about `batch_bytes`, one document at least."""
    ends = np.cumsum(pc.fill_null(pc.binary_length(table["text"]), 0).to_numpy().astype(np.int64) + 64)
    start = 0
    while start < table.num_rows:
        base = int(ends[start - 1]) if start else 0
        end = max(int(np.searchsorted(ends, base + batch_bytes, side="right")), start + 1)
        yield Outcome(table.slice(start, end - start))
        start = end


def listed_type(name: str) -> pa.DataType:
    if name not in COLUMNS:
        raise ConfigError(
            f"read_parquet: the project knows no column '{name}'; give its type: `columns: {{{name}: string}}`"
        )
    return COLUMNS[name].type


def alias_type(name: str, kind: str) -> pa.DataType:
    try:
        return pa.type_for_alias(kind)
    except ValueError as error:
        raise ConfigError(f"read_parquet: column '{name}': '{kind}' is no Arrow type (string, float, int64)") from error

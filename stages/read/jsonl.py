"""Reads documents from JSON lines, plain or compressed, so that corpora made elsewhere can enter a pipeline.

A plain file is cut at byte offsets: a task owns the lines that start in its range. A compressed one is read by a
single task. Python's own parser is used line by line, about 100 MB/s: a faster one that parses blocks would lose
the block around a broken line, and a broken line must cost one line.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import fsspec
import pyarrow as pa
from pydantic import Field

from curation.documents import CORE, document_id
from curation.stage import InputFile, Outcome, Reader, Split


def _type(alias: str) -> pa.DataType:
    """An Arrow type by its name, also `list<name>`. ValueError if there is none."""
    if alias.startswith("list<") and alias.endswith(">"):
        return pa.list_(_type(alias[5:-1]))
    return pa.type_for_alias(alias)


class ReadJsonl(Reader, name="read_jsonl"):
    """Reads JSON lines (`.jsonl`, also `.gz`, `.zst`, `.xz`, `.bz2`).

    Every line is an object with the document's text under `text`. A line that is not one fails and goes to
    quarantine with its byte offset; the lines around it are read.
    """

    text: str = Field("text", description="Key of the text.")
    url: str = Field("url", description="Key of the address, if there is one.")
    columns: dict[str, str] = Field(
        {},
        description="More keys to read as columns: name -> type (`string`, `float`, `int64`, `bool`, `list<float>`).",
    )

    def adds(self) -> dict[str, pa.DataType]:
        return {name: _type(kind) for name, kind in self.columns.items()}

    def check(self) -> None:
        self.adds()

    def splittable(self, file: InputFile) -> bool:
        return not file.name.endswith((".gz", ".zst", ".xz", ".bz2"))

    def _lines(self, split: Split) -> Iterator[tuple[int, bytes]]:
        """(byte offset, line) of the lines that start in the split, without empty ones."""
        whole = not self.splittable(split.file)
        with fsspec.open(split.file.path, "rb", compression="infer" if whole else None) as file:
            position = 0 if whole else split.start
            if position:
                file.seek(position - 1)
                position += len(file.readline()) - 1  # the line that runs into the split belongs to the one before
            while whole or position < split.end:
                line = file.readline()
                if not line:
                    return
                if line.strip():
                    yield position, line
                position += len(line)

    def read(self, split: Split, batch_rows: int, batch_bytes: int) -> Iterator[Outcome]:
        kinds = self.adds()
        rows: list[dict[str, Any]] = []
        errors: list[str | None] = []
        size = 0
        for position, line in self._lines(split):
            row: dict[str, Any] = {
                "id": document_id(split.source, split.file.name, position),
                "source": split.source,
                "file": split.file.name,
                "position": position,
            }
            error = None
            try:
                data = json.loads(line)
                if not isinstance(data, dict) or not isinstance(data.get(self.text), str):
                    raise ValueError(f"no string under the key '{self.text}'")
                data[self.text].encode()  # a lone surrogate (\ud800) is no text
                row |= {"text": data[self.text], "url": data.get(self.url)}
                for name, kind in kinds.items():
                    row[name] = pa.scalar(data.get(name), kind).as_py()
            except (ValueError, TypeError, pa.ArrowException) as problem:
                error = f"line at byte {position}: {problem}"
            rows.append(row)
            errors.append(error)
            size += len(line)
            if len(rows) >= batch_rows or size >= batch_bytes:
                yield self._outcome(rows, errors, kinds)
                rows, errors, size = [], [], 0
        if rows:
            yield self._outcome(rows, errors, kinds)

    def _outcome(self, rows: list[dict], errors: list[str | None], kinds: dict[str, pa.DataType]) -> Outcome:
        types = {name: column.type for name, column in CORE.items()} | kinds
        table = pa.table({name: pa.array([row.get(name) for row in rows], kind) for name, kind in types.items()})
        return Outcome(table, failed=pa.array(errors, pa.string()))

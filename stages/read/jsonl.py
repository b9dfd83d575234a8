"""Reads documents from JSON lines, plain or compressed, so that corpora made elsewhere can enter a pipeline.

A plain file is cut at byte offsets: a task owns the lines that start in its range. A compressed one is read by a
single task. Python's own parser is used line by line, about 100 MB/s: a faster one that parses blocks would lose
the block around a broken line, and a broken line must cost one line.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
from pydantic import Field

from curation.documents import CORE, document_id
from curation.errors import error_text
from curation.stage import InputFile, Outcome, Reader, Split
from stages.read.stored import DAMAGE, PACKED, decompressed


def _type(alias: str) -> pa.DataType:
    """An Arrow type by its name, also `list<name>`. ValueError if there is none."""
    if alias.startswith("list<") and alias.endswith(">"):
        return pa.list_(_type(alias[5:-1]))
    return pa.type_for_alias(alias)


def _skip_line(file: Any, most: int | None = None) -> int:
    """Read to the end of the line, in pieces, or about so many bytes; how many it were."""
    length = 0
    while (most is None or length < most) and (piece := file.readline(1 << 20)):
        length += len(piece)
        if piece.endswith(b"\n"):
            break
    return length


class ReadJsonl(Reader, name="read_jsonl"):
    """Reads JSON lines (`.jsonl`, also `.gz`, `.zst`, `.xz`, `.bz2`).

    Every line is an object with the document's text under `text`. A line that is not one, or is longer than
    `max_line_mb`, fails and goes to quarantine with its byte offset; the lines around it are read. Where a compressed
    file is damaged or cut off, one record fails in place of the rest.
    """

    text: str = Field("text", description="Key of the text.")
    url: str = Field("url", description="Key of the address, if there is one.")
    max_line_mb: int = Field(256, ge=1, le=2000, description="Longer lines fail, unread: they may be anything.")
    columns: dict[str, str] = Field(
        {},
        description="More keys to read as columns: name -> type (`string`, `float`, `int64`, `bool`, `list<float>`).",
    )

    def adds(self) -> dict[str, pa.DataType]:
        return {name: _type(kind) for name, kind in self.columns.items()}

    def check(self) -> None:
        self.adds()

    def splittable(self, file: InputFile) -> bool:
        return not file.name.lower().endswith(PACKED)

    def _lines(self, split: Split) -> Iterator[tuple[int, bytes | None]]:
        """(byte offset, line) of the lines that start in the split, without empty ones; null for one too long."""
        whole, limit = not self.splittable(split.file), self.max_line_mb << 20
        with decompressed(split.file.path) as file:
            position = 0 if whole else split.start
            if position:
                file.seek(position - 1)
                # The line that runs into the split belongs to the one before.
                position += _skip_line(file, split.end - position + 1) - 1
            while whole or position < split.end:
                line = file.readline(limit + 1)
                if not line:
                    return
                length = len(line)
                if length > limit and not line.endswith(b"\n"):
                    length += _skip_line(file)
                    yield position, None
                elif line.strip():
                    yield position, line
                position += length

    def read(self, split: Split, batch_rows: int, batch_bytes: int) -> Iterator[Outcome]:
        kinds = self.adds()
        rows: list[dict[str, Any]] = []
        errors: list[str | None] = []
        size = 0
        for position, line, broken in self._until_broken(split):
            key = f"unreadable {position}" if broken else position
            row: dict[str, Any] = {
                "id": document_id(split.source, split.file.name, key),
                "source": split.source,
                "file": split.file.name,
                "position": position,
            }
            error = broken
            if line is not None:
                error = self._parse(line, row, kinds)
                size += len(line)
            elif not broken:
                error = f"the line is longer than max_line_mb {self.max_line_mb}"
            rows.append(row)
            errors.append(f"{error} (byte {position})" if error else None)
            if len(rows) >= batch_rows or size >= batch_bytes:
                yield self._outcome(rows, errors, kinds)
                rows, errors, size = [], [], 0
        if rows:
            yield self._outcome(rows, errors, kinds)

    def _until_broken(self, split: Split) -> Iterator[tuple[int, bytes | None, str | None]]:
        """(byte offset, line, null) of each line, and where the file breaks off (offset behind the last, null, why)."""
        end = 0
        try:
            for position, line in self._lines(split):
                end = position + len(line or b"")
                yield position, line, None
        except DAMAGE as error:
            yield end, None, f"the file breaks off: {error_text(error, 200)}"

    def _parse(self, line: bytes, row: dict[str, Any], kinds: dict[str, pa.DataType]) -> str | None:
        """Fill in a row from its line; what is wrong with the line, if something is."""
        try:
            data = json.loads(line)
        except (ValueError, RecursionError) as error:
            return f"no JSON: {error_text(error, 200)}"
        if not isinstance(data, dict) or not isinstance(data.get(self.text), str):
            return f"no string under the key '{self.text}'"
        try:
            data[self.text].encode()
        except UnicodeEncodeError as error:  # a lone surrogate (\ud800) is no text
            return f"no text: {error_text(error, 200)}"
        found = {"text": data[self.text]}
        for name, kind in ({"url": pa.string()} | kinds).items():
            key = self.url if name == "url" else name
            value = data.get(key)
            try:
                plain = value is None or (kind == pa.string() and isinstance(value, str) and value.isascii())
                found[name] = value if plain else pa.scalar(value, kind).as_py()
            except (ValueError, TypeError, OverflowError, pa.ArrowException) as error:
                return f"the key '{key}' is no {kind}: {error_text(error, 200)}"
        row |= found
        return None

    def _outcome(self, rows: list[dict], errors: list[str | None], kinds: dict[str, pa.DataType]) -> Outcome:
        types = {name: column.type for name, column in CORE.items()} | kinds
        table = pa.table({name: pa.array([row.get(name) for row in rows], kind) for name, kind in types.items()})
        return Outcome(table, failed=pa.array(errors, pa.string()))

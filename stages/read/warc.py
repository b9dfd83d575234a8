"""Reads web archives: every record that can be a page becomes a document, every other record says why not.

This is the first stage of a web pipeline and sees every byte of a crawl, so it must be quick, must not be stopped by
anything a broken file holds, and must account for each record. The work is in the modules beside this one:
`warc_members` (where do records start), `warc_records` and `arc_records` on a `warc_stream` (what belongs to a
record), `http_payload` and `charset` (what does its payload say). Here the records become rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from curation.documents import CORE, column_type, document_id
from curation.stage import InputFile, Outcome, Reader, Split

HTML_TYPES = frozenset({"text/html", "application/xhtml+xml"})
#: Types that servers send for anything: the payload itself decides.
VAGUE_TYPES = frozenset(
    {
        "",
        "*/*",
        "application/octet-stream",
        "application/unknown",
        "application/x-unknown-content-type",
        "application/xml",
        "content/unknown",
        "text/xml",
        "unk",
        "unknown",
        "unknown/unknown",
    }
)
_FAMILIES = frozenset({"audio", "font", "image", "text", "video"})
_COLUMNS = {
    "html": ("html", "mime", "charset", "truncated", "date"),
    "pdf": ("content", "mime", "truncated", "date"),
}

#: How far from a page's start `<html>` and from its end `</html>` are looked for, bytes.
_EDGE = 16384
_OPENED = re.compile(rb"<html[\s>]", re.IGNORECASE)
_CLOSED = re.compile(rb"</(?:html|body)\s*>", re.IGNORECASE)


class ReadWarc(Reader, name="read_warc"):
    """Reads WARC files (`.warc`, `.warc.gz`, `.warc.zst`) and ARC files (`.arc`, `.arc.gz`, versions 1 and 2) from any
    file system that fsspec knows.

    Documents are the `response` and `resource` records whose payload is an HTML page fetched with a 2xx status. They
    get the columns `html` (decoded from the page's character encoding, with HTTP transfer and content encodings
    undone), `mime`, `charset`, `date` and `truncated`; `text` is null until an extraction stage has filled it.

    `truncated` says why a page is incomplete: the archive's own `WARC-Truncated` (`length`, `time`, `disconnect`,
    `unspecified`), `short_payload` (fewer bytes than the record's header declares) or `html_unclosed` (the page opens
    `<html>` and closes neither that nor `<body>` at its end). Such pages are kept.

    With `keep: pdf` the documents are the PDF files instead: undecoded in `content`, for `extract_pdf`, with `mime`,
    `date` and `truncated` (also `pdf_cut`: the file lacks its end).

    Drop reasons: `http_404`, `http_301` … (any status but 2xx), `mime_image`, `mime_audio`, `mime_video`, `mime_font`,
    `mime_pdf`, `mime_html`, `mime_text`, `mime_other` (not what `keep` asks for; the detail is the media type),
    `empty_payload`, `too_large` (over `max_record_mb`). Records of other types are not documents and are counted in the
    metrics only (`records_request`, `records_revisit` …).

    A file may be broken in any way: whatever cannot be read becomes a failed row with the error, the offset and the
    number of bytes skipped, and reading goes on at the next record. Files compressed with lz4 are not read.
    """

    keep: Literal["html", "pdf"] = Field(
        "html",
        description="what becomes a document: `html` pages, or `pdf` files, undecoded in the column `content`",
    )
    max_record_mb: float = Field(
        32.0, gt=0, description="MiB; larger records, stored or decoded, are dropped (`too_large`)"
    )

    def adds(self) -> dict[str, pa.DataType]:
        return {name: column_type(name) for name in _COLUMNS[self.keep]}

    def splittable(self, file: InputFile) -> bool:
        return True

    def read(self, split: Split, batch_rows: int, batch_bytes: int) -> Iterator[Outcome]:
        import fsspec

        from stages.read.warc_members import StoredFile
        from stages.read.warc_records import Damage, read_records

        limit = int(self.max_record_mb * (1 << 20))
        fs, path = fsspec.core.url_to_fs(split.file.path)
        rows = _Rows(split, self.keep)
        with fs.open(path, "rb") as file:
            stored = StoredFile(file, split.file.size)
            for item in read_records(stored, split.file.name, split.start, split.end, limit):
                if isinstance(item, Damage):
                    self.metrics.count("damaged_regions")
                    rows.damage(item)
                else:
                    self.metrics.count(f"records_{item.kind or 'unknown'}")
                    rows.record(item, limit)
                if len(rows) >= batch_rows or rows.bytes >= batch_bytes:
                    yield self._outcome(rows)
                    rows = _Rows(split, self.keep)
        if len(rows):
            yield self._outcome(rows)

    def _outcome(self, rows: _Rows) -> Outcome:
        outcome = rows.outcome()
        for name in {"charset", "truncated"} & set(outcome.docs.column_names):
            self.metrics.count_values(name, outcome.docs[name].drop_null())
        return outcome


class _Rows:
    """The rows of one batch, as they are collected."""

    def __init__(self, split: Split, keep: Literal["html", "pdf"]) -> None:
        self.split = split
        self.keep = keep
        self.bytes = 0
        self.values: dict[str, list[Any]] = {
            name: [] for name in ("id", "url", "position", *_COLUMNS[keep], "dropped", "failed", "detail")
        }

    def __len__(self) -> int:
        return len(self.values["id"])

    def add(self, key: int | str, position: int, **values: Any) -> None:
        values["id"] = document_id(self.split.source, self.split.file.name, key)
        values["position"] = position
        for name, column in self.values.items():
            column.append(values.get(name))

    def damage(self, damage: Any) -> None:
        error = f"{damage.error} (at byte {damage.offset}, {damage.size} bytes skipped)"
        self.add(damage.key, damage.offset, url=_url(damage.fields), failed=error)

    def record(self, record: Any, limit: int) -> None:
        """Add the row of a record, if its type is one that can be a document."""
        from stages.read import http_payload
        from stages.read.charset import to_utf8
        from stages.read.pdf_sniff import is_cut
        from stages.read.warc_records import DOCUMENT_TYPES

        if record.kind not in DOCUMENT_TYPES:
            return None
        fields = record.fields
        row: dict[str, Any] = {"url": _url(fields), "date": _seconds(fields.get("warc-date", ""))}
        row["truncated"] = fields.get("warc-truncated", "").lower() or ("short_payload" if record.short else None)

        def drop(reason: str, detail: str | None = None) -> None:
            self.add(record.key, record.offset, **row, dropped=reason, detail=detail)

        if record.block is None:
            return drop("too_large", f"{record.size} bytes")
        content_type = fields.get("content-type", "")
        payload, http = record.block, None
        if record.kind == "response" and "http" in (http_payload.media_type(content_type) or "http"):
            http = http_payload.parse_response(record.block)
            if http is None and not record.block.strip():
                return drop("empty_payload")
            if http is None:
                return self.add(record.key, record.offset, **row, failed="no HTTP status line")
            content_type = http.fields.get("content-type", "")
        row["mime"] = declared = http_payload.media_type(content_type) or None
        if http is not None:
            if not 200 <= http.status < 300:
                return drop(f"http_{http.status}")
            try:
                payload, cut = http_payload.decode_body(http, limit)
            except http_payload.PayloadError as error:
                return self.add(record.key, record.offset, **row, failed=str(error))
            except http_payload.PayloadTooLarge:
                return drop("too_large", "once its content encoding is undone")
            if cut and row["truncated"] is None:
                row["truncated"] = "short_payload"
        mime = _judge(payload, declared or "", http_payload.media_type(fields.get("warc-identified-payload-type", "")))
        if not payload.strip():
            return drop("empty_payload")
        if self.keep == "pdf":
            if mime is None or _mime_reason(mime) != "mime_pdf":
                return drop("mime_html" if mime is None else _mime_reason(mime), mime)
            if row["truncated"] is None and is_cut(payload):
                row["truncated"] = "pdf_cut"
            self.bytes += len(payload)
            return self.add(record.key, record.offset, **row, content=payload)
        if mime is not None:
            return drop(_mime_reason(mime), mime)
        html, charset = to_utf8(payload, http_payload.charset_label(content_type))
        if row["truncated"] is None and _unclosed(html):
            row["truncated"] = "html_unclosed"
        self.bytes += len(payload)
        return self.add(record.key, record.offset, **row, html=html, charset=charset)

    def outcome(self) -> Outcome:
        n = len(self)
        core = {"source": self.split.source, "file": self.split.file.name, "text": None}
        columns = {
            name: pa.array([core[name]] * n if name in core else self.values[name], column_type(name))
            for name in (*CORE, *_COLUMNS[self.keep])
            if name != "html"
        }
        if self.keep == "html":
            columns["html"] = _pages(self.values["html"])
        says = {name: pa.array(self.values[name], pa.string()) for name in ("dropped", "failed", "detail")}
        return Outcome(pa.table(columns), **says)


def _pages(pages: list[bytes | None]) -> pa.Array:
    """A large_string array of UTF-8. Joining takes a fifth of the time of `pa.array`, which grows as it goes."""
    offsets = np.zeros(len(pages) + 1, np.int64)
    np.cumsum([len(page or b"") for page in pages], out=offsets[1:])
    valid = pa.array([page is not None for page in pages], pa.bool_()).buffers()[1] if None in pages else None
    data = pa.py_buffer(b"".join([page for page in pages if page is not None]))
    return pa.Array.from_buffers(pa.large_string(), len(pages), [valid, pa.py_buffer(offsets), data])


def _judge(payload: bytes, declared: str, identified: str) -> str | None:
    """None if a payload is an HTML page, else the media type it is taken for.

    The archive's own finding (`WARC-Identified-Payload-Type`) counts more than what the server said.
    """
    from stages.read.http_payload import looks_like_html, magic_type

    proven = magic_type(payload)
    if proven:
        return proven
    said = identified if identified not in VAGUE_TYPES else declared
    if said in HTML_TYPES:
        return None
    if said in VAGUE_TYPES and looks_like_html(payload):
        return None
    return said or "unknown"


def _mime_reason(mime: str) -> str:
    family, _, kind = mime.partition("/")
    if kind == "pdf":
        return "mime_pdf"
    return f"mime_{family}" if family in _FAMILIES else "mime_other"


def _unclosed(html: bytes) -> bool:
    return _OPENED.search(html, 0, _EDGE) is not None and _CLOSED.search(html, max(0, len(html) - _EDGE)) is None


def _url(fields: dict[str, str]) -> str | None:
    # Old versions of wget write the address in angle brackets.
    return fields.get("warc-target-uri", "").strip("<>") or None


def _seconds(date: str) -> int | None:
    """Seconds since 1970 of a WARC-Date, or None if it cannot be read."""
    try:
        when = datetime.fromisoformat(date)
        return int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        return None

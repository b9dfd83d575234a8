"""Takes the HTTP message inside a WARC record apart: status, media type, charset, and the payload decoded.

Crawlers store bodies as they came over the wire, already decoded with the old headers left in place, or half of
each. So an encoding that a header declares is undone if the bytes bear it out; if they cannot be decoded but are
plainly HTML as they stand, they are taken as they stand. Anything else that cannot be decoded is an error.
"""

from __future__ import annotations

import io
import re
import zlib
from dataclasses import dataclass

from stages.read.warc_records import parse_fields

_STATUS = re.compile(rb"\s*(?:HTTP(?:/\d(?:\.\d)?)?|ICY)[ \t]+(\d{3})\b", re.IGNORECASE)
_HEADER_END = re.compile(rb"\r?\n\r?\n")
_CHARSET = re.compile(r"charset\s*=\s*[\"']?\s*([^\s\"';,]+)", re.IGNORECASE)
_CHUNK_SIZE = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]*)?\r?\n")
_HTML = re.compile(rb"<(?:!doctype\s+html|html|head|body|title|meta|script|link|style|div|table|p|h1)\b", re.IGNORECASE)
_HEADER_LIMIT = 1 << 16  # bytes of an HTTP header that are looked at; servers accept and send 8 to 64 KiB
# What a payload is whatever the server says (WHATWG MIME Sniffing, section 6).
_MAGIC = (
    (b"%PDF-", "application/pdf"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"PK\x03\x04", "application/zip"),
    (b"\x1f\x8b\x08", "application/gzip"),
    (b"wOFF", "font/woff"),
    (b"wOF2", "font/woff2"),
    (b"OggS", "application/ogg"),
    (b"Rar!\x1a\x07", "application/vnd.rar"),
    (b"%!PS-Adobe-", "application/postscript"),
)


class PayloadError(Exception):
    """The payload's content or transfer encoding cannot be undone."""


class PayloadTooLarge(Exception):
    """The decoded payload is larger than the limit."""


@dataclass
class Response:
    """An HTTP response: `status`, header `fields` (names in lower case) and `body` as stored."""

    status: int
    fields: dict[str, str]
    body: bytes


def parse_response(block: bytes) -> Response | None:
    """The HTTP response in a record's block, or None if it does not start with a status line."""
    status = _STATUS.match(block)
    if status is None:
        return None
    ends = _HEADER_END.search(block)
    if ends is None:  # nothing but a header
        return Response(int(status[1]), parse_fields(block[:_HEADER_LIMIT]), b"")
    return Response(int(status[1]), parse_fields(block[: min(ends.start(), _HEADER_LIMIT)]), block[ends.end() :])


def media_type(content_type: str) -> str:
    """`Text/HTML; charset=x` -> `text/html`; empty if there is none."""
    return content_type.split(";", 1)[0].split(",", 1)[0].strip().lower()


def charset_label(content_type: str) -> str | None:
    """The charset parameter of a Content-Type header, as written."""
    match = _CHARSET.search(content_type[:500])
    return match[1] if match else None


def looks_like_html(payload: bytes) -> bool:
    """Whether a payload starts as an HTML page does, behind comments and an XML declaration."""
    head = payload[:4096].removeprefix(b"\xef\xbb\xbf").lstrip()
    while head.startswith((b"<!--", b"<?xml")):
        end = b"-->" if head.startswith(b"<!--") else b">"
        head = head.partition(end)[2].lstrip()
    return _HTML.match(head) is not None


def magic_type(payload: bytes) -> str | None:
    """The media type that the first bytes of a payload prove, or None."""
    for magic, mime in _MAGIC:
        if payload.startswith(magic):
            return mime
    return None


def decode_body(response: Response, limit: int) -> tuple[bytes, bool]:
    """The body with its transfer and content encodings undone, and whether it ends too early.

    Raises PayloadError if that cannot be done, PayloadTooLarge past `limit` bytes.
    """
    body, cut = response.body, False
    try:
        if "chunked" in response.fields.get("transfer-encoding", "").lower():
            body, cut = _dechunk(body)
        for coding in reversed(response.fields.get("content-encoding", "").lower().split(",")):
            body, early = _decode(body, coding.strip(), limit)
            cut = cut or early
    except (zlib.error, OSError) as error:
        if not looks_like_html(body):
            raise PayloadError(f"{response.fields.get('content-encoding')}: {error}") from None
    if len(body) > limit:
        raise PayloadTooLarge
    return body, cut


def _dechunk(body: bytes) -> tuple[bytes, bool]:
    """A body without its chunk headers (RFC 9112, 7.1); the body itself if it has none."""
    chunks: list[bytes] = []
    at = 0
    while (head := _CHUNK_SIZE.match(body, at)) is not None:
        size = int(head[1], 16)
        if size == 0:
            return b"".join(chunks), False
        chunks.append(body[head.end() : head.end() + size])
        at = head.end() + size
        at += 2 if body[at : at + 2] == b"\r\n" else 1 if body[at : at + 1] == b"\n" else 0
    if not chunks:
        return body, False
    if at < len(body):  # what looked like a chunk was text, or the chunks are broken: keep what there is
        chunks.append(body[at:])
    return b"".join(chunks), True


def _decode(body: bytes, coding: str, limit: int) -> tuple[bytes, bool]:
    """One content encoding undone. Raises zlib.error or OSError."""
    if not body or coding in ("", "identity", "none", "utf-8"):
        return body, False
    if coding in ("gzip", "x-gzip", "deflate"):
        if coding != "deflate" and not body.startswith(b"\x1f\x8b"):
            raise OSError("not gzip data")
        try:
            return _inflate(body, zlib.MAX_WBITS | 32, limit)
        except zlib.error:
            if coding != "deflate":
                raise
            return _inflate(body, -zlib.MAX_WBITS, limit)  # servers that send deflate without the zlib header
    if coding in ("br", "zstd"):
        from fastwarc.stream_io import BrotliReader, ZstdReader

        reader = (BrotliReader if coding == "br" else ZstdReader)(io.BytesIO(body))
        pieces: list[bytes] = []
        try:
            while piece := reader.read(1 << 20):
                pieces.append(piece)
                if sum(map(len, pieces)) > limit:
                    raise PayloadTooLarge
        except OSError:
            if not pieces:
                raise
            return b"".join(pieces), True
        return b"".join(pieces), False
    raise OSError(f"unknown content encoding {coding!r}")


def _inflate(body: bytes, window: int, limit: int) -> tuple[bytes, bool]:
    pieces: list[bytes] = []
    while body:
        decoder = zlib.decompressobj(window)
        try:
            pieces.append(decoder.decompress(body, limit + 1))
        except zlib.error:
            if not pieces:
                raise
            return b"".join(pieces), False  # padding behind the data
        if sum(map(len, pieces)) > limit:
            raise PayloadTooLarge
        if not decoder.eof:
            return b"".join(pieces), True
        body = decoder.unused_data
    return b"".join(pieces), False

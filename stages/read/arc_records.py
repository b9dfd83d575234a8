"""Turns the bytes of an ARC file, the archive format before WARC, into records.

An ARC record is one line (address, IP address, time, media type, length; version 2 has five more fields between), as
many bytes as the length says, and a line feed (Burner and Kahle, Arc File Format, Internet Archive 1996). The bytes
are the server's answer, status line and all. There is no mark like `WARC/1.0` that a record starts with, so what tells
a start is the shape of the whole line.

Everything else is as for WARC files, and by the same code: members are found behind damage, any cut into ranges gives
the same records, a length is believed if a record or the end follows it, and no break costs more than its record.
Fields get the names that WARC gives them, so that what follows need not know which of the two it reads.

The trade-off: these few lines instead of warcio, which stops at the first damage and at a file that is one gzip stream.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from stages.read.warc_members import Gzip
from stages.read.warc_records import DOCUMENT_TYPES, Damage, Record, end_of, find_in, skip_newlines
from stages.read.warc_stream import Stream

LINE_LIMIT = 4096  # bytes of a record's first line
_HEAD = 1024  # decompressed bytes of a member that are looked at to see whether a record starts there

_TAIL = rb" ([0-9A-Fa-f.:]{3,45}) (\d{8,17}) ([^\r\n]{0,800}? )?(\d{1,18})[ ]?\r?\n"
#: Schemes that crawlers wrote; with any scheme, `ttp://` would start a record too.
_SCHEME = rb"(?:https?|ftp|dns|filedesc|whois|nntp|news|gopher|mailto|rtsp|mms|file|urn|data|metadata|warcinfo|about):"
_LINE = re.compile(rb"(" + _SCHEME + rb"[^\r\n]{1,3000}?)" + _TAIL, re.IGNORECASE)
_NEXT = re.compile(rb"\n(?=" + _SCHEME + rb"[^\r\n ]{1,2000}" + _TAIL + rb")", re.IGNORECASE)
_ADDRESS = re.compile(rb"\r?\n\s*" + _SCHEME + rb"\S", re.IGNORECASE)
_SCHEMES = b"http: https: ftp: dns: filedesc:"


def begins(head: bytes) -> bool:
    """Whether decompressed bytes are the beginning of an ARC record."""
    return _LINE.match(head.lstrip(b"\r\n")) is not None


class ArcGzip(Gzip):
    """Gzip members that hold ARC records."""

    holds = "an ARC"
    head_length = _HEAD

    def begins(self, head: bytes) -> bool:
        return begins(head)


def _fields(line: re.Match[bytes]) -> dict[str, str]:
    url, address, date, kind, length = (value.decode("utf-8", "replace") if value else "" for value in line.groups())
    scheme = url.partition(":")[0].lower()
    fields = {
        "warc-type": {"filedesc": "filedesc", "http": "response", "https": "response"}.get(scheme, "resource"),
        "warc-target-uri": url,
        "warc-ip-address": address,
        "warc-date": f"{date[:4]}-{date[4:6]}-{date[6:8]}",
        "content-length": length,
    }
    if len(date) >= 12:
        fields["warc-date"] += f"T{date[8:10]}:{date[10:12]}:{date[12:14] or '00'}Z"
    if fields["warc-type"] == "resource":
        fields["content-type"] = kind.split(" ")[0]
    return fields


def arc_records(stream: Stream, limit: int, start: int = 0) -> Iterator[Record | Damage]:
    """The records of a stream; `offset` is that in the stream, `ordinal` 0. Blocks before `start` are not read.

    Raises Broken where the stream cannot be decompressed. If the stored file ends early, `stream.cut` says so.
    """
    at = 0
    distrust = False  # a block over the limit has turned out to be a lie: look for the next record at once
    while True:
        at = skip_newlines(stream, at)
        stream.forget(at)
        head = stream.peek(at, LINE_LIMIT)
        if not head:
            return
        line = _LINE.match(head)
        if line is None:
            after = find_in(stream, at, _NEXT, 0, LINE_LIMIT)
            if after is None:
                after = end_of(stream, at)
                if stream.cut is not None:
                    return  # the caller reports it, once
            yield Damage(at, after - at, "no ARC record header", 0)
            at = after
            continue
        fields = _fields(line)
        begin, length = at + line.end(), int(line[5])
        wanted = at >= start and fields["warc-type"] in DOCUMENT_TYPES
        stop, after = begin + length, -1
        if not (distrust and length > limit):
            if not length:
                whole = True
            elif wanted and length <= limit:
                whole = stream.need(begin, length) == length
            else:
                whole = stream.need(stop - 1, 1) == 1
            if whole and _ends_at(stream, stop):
                after = stop
        short = False
        if after < 0:
            found = find_in(stream, begin - 1, _NEXT, limit, LINE_LIMIT)
            after = end_of(stream, begin) if found is None else max(found, begin)
            distrust = distrust or length > limit
            short, stop = after < stop, after
            if short and found is None and stop > begin and stream.peek(stop - 1, 1) == b"\n":
                stop -= 1  # the record's end
            if not short:
                error = f"the length {length} cannot be: the next record starts {stop - begin} bytes after the header"
                yield Damage(at, stop - at, error, 0, fields)
                at = after
                continue
        size = stop - begin
        block = stream.peek(begin, size) if wanted and size <= limit else None
        yield Record(at, 0, fields, block, size, short)
        at = after


def _ends_at(stream: Stream, at: int) -> bool:
    """Whether a block can end at `at`: a line feed at the end of a member, another record or the end follows."""
    tail = stream.peek(at, LINE_LIMIT, cross=False)
    rest = tail.lstrip(b"\r\n")
    if tail and not rest:
        return True
    if not rest:
        tail = stream.peek(at, LINE_LIMIT)
        rest = tail.lstrip(b"\r\n")
    if not rest or _LINE.match(rest) or _ADDRESS.match(tail):  # the rest of the line is that record's trouble
        return True
    return len(rest) < 9 and rest in _SCHEMES  # a file that ends in the next record's line

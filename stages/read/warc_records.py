"""Turns the bytes of a WARC file into records, and says what it could not read and how much that was.

A WARC record is a header, a blank line, and as many bytes as `Content-Length` says (ISO 28500, section 4). Real
archives break each part of that: files are cut, members are corrupt, lengths lie, headers are garbage. The rule
here is that no break costs more than the record it is in. Whatever cannot be read ends in a `Damage` that names the
place, the size and the error, and reading goes on at the next place where a record starts.

A declared length is believed if a record or the end follows it. If not, the next record's header decides: a length
that reaches past it is cut there and the record is marked short; a length that ends before it makes the record
`Damage`, since nobody can say which bytes are its own.

Any cut of a file into ranges gives the same records, damage and offsets as reading it whole. In a compressed file a
range owns the members that start in it and any damage right behind one of them. An uncompressed file has nothing to
tell a record from a payload that quotes one, so every range hops from header to header from the file's start.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from stages.read.warc_members import CHUNK, GZIP, PIECE, Broken, Codec, PlainMember, StoredFile, Zstd
from stages.read.warc_stream import Stream

HEADER_LIMIT = 1 << 16  # bytes of a WARC header; longer ones are damage

_HEADER_END = re.compile(rb"\r?\n\r?\n")
_START = re.compile(rb"WARC/\d\.\d+\r?\n")
# A record behind other bytes: its first header field must be there too, or a page about WARC files would be one.
_NEXT = re.compile(rb"WARC/\d\.\d+\r?\n(?=(?:WARC|Content)-[A-Za-z-]{2,40}:)", re.IGNORECASE)
_NEXT_AFTER_BLOCK = re.compile(rb"\r?\n\r?\n(?=WARC/\d\.\d+\r?\n(?:WARC|Content)-[A-Za-z-]{2,40}:)", re.IGNORECASE)
_PATTERN_LIMIT = 128  # bytes; the longest match of the two patterns above

#: Finds the records of a stream; takes the stream, the limit, and where the records that matter start.
Parse = Callable[..., Iterator["Record | Damage"]]
#: Record types whose block may be a document. The others are told apart, counted, and not kept.
DOCUMENT_TYPES = frozenset({"response", "resource"})


@dataclass
class Record:
    """A WARC record.

    offset: where it starts in the stored file; for a compressed one, where its member starts.
    ordinal: how many records came before it in that member.
    fields: its header, names in lower case.
    block: its content, None if the type is not a document or the block is larger than the limit.
    size: bytes of the block. short: whether that is less than `Content-Length` says.
    """

    offset: int
    ordinal: int
    fields: dict[str, str]
    block: bytes | None
    size: int
    short: bool = False

    @property
    def kind(self) -> str:
        """The record type, lower case; empty if the header has none."""
        return self.fields.get("warc-type", "").lower()

    @property
    def key(self) -> int | str:
        """What tells the record from every other in the file, whatever the split."""
        return f"{self.offset}.{self.ordinal}" if self.ordinal else self.offset


@dataclass
class Damage:
    """A region that holds no readable record.

    offset: where it starts in the stored file; inside a member that goes on behind it, where that member starts.
    size: bytes that were skipped, as stored, or as decompressed if `ordinal` is set.
    """

    offset: int
    size: int
    error: str
    ordinal: int | None = None
    fields: dict[str, str] = field(default_factory=dict)

    @property
    def key(self) -> int | str:
        """What tells the region from every record and other region in the file."""
        return f"{self.offset}!" if self.ordinal is None else f"{self.offset}.{self.ordinal}!"


def parse_fields(header: bytes) -> dict[str, str]:
    """Header lines as a mapping, names in lower case. Continued lines are joined; of equal names the last counts."""
    fields: dict[str, str] = {}
    name = ""
    for line in header.split(b"\n"):
        if line[:1] in (b" ", b"\t"):
            if name:
                fields[name] += " " + line.strip().decode("utf-8", "replace")
            continue
        key, colon, value = line.partition(b":")
        name = key.strip().decode("latin-1").lower() if colon else ""
        if name:
            fields[name] = value.strip().decode("utf-8", "replace")
    return fields


def read_records(file: StoredFile, name: str, start: int, end: int, limit: int) -> Iterator[Record | Damage]:
    """The records that start in bytes [start, end) of a WARC or ARC file, and the damage there, in file order.

    Blocks of more than `limit` bytes are skipped. The compression is told by the first bytes, else by the name.
    """
    from stages.read.arc_records import ArcGzip, arc_records

    head = file.at(0, 8)
    if not head:
        if start == 0:
            yield Damage(0, 0, "the file is empty")
    elif head[:3] == GZIP.magic or (name.endswith(".gz") and not head.startswith(b"WARC/")):
        arc = GZIP.head(file, 0).startswith(b"filedesc:") or name.endswith(".arc.gz")
        yield from _compressed(file, ArcGzip() if arc else GZIP, arc_records if arc else _records, start, end, limit)
    elif head[:4] == Zstd.magic or head[1:4] == b"\x2a\x4d\x18" or name.endswith((".zst", ".zstd")):
        yield from _compressed(file, Zstd.of(file), _records, start, end, limit)
    elif head[:4] == b"\x04\x22\x4d\x18":
        if start == 0:
            yield Damage(0, file.size, "lz4 files are not read")
    else:
        arc = head.startswith(b"filedesc") or name.endswith(".arc")
        yield from _plain(file, arc_records if arc else _records, start, end, limit)


def _compressed(
    file: StoredFile, codec: Codec, parse: Parse, start: int, end: int, limit: int
) -> Iterator[Record | Damage]:
    found: int | None = 0 if start == 0 else codec.find(file, start, end)
    if found is None:
        return
    at = found
    end = min(end, file.size)
    while True:
        at = codec.skip(file, at)
        if at >= file.size:
            return
        if not codec.starts(file, at):
            # Damage behind a member belongs to the task that has read the member, even if it lies behind `end`.
            after = codec.find(file, at + 1, file.size) or file.size
            yield Damage(at, after - at, f"no {codec.name} member with {codec.holds} record starts here")
            at = after
            continue
        if at >= end:
            return
        member_start, ordinal = at, 0
        stream = Stream(lambda _, p=member_start: (codec.open(file, p), 0))  # type: ignore[misc]
        error: Broken | None = None
        try:
            for item in parse(stream, limit):
                item.offset, item.ordinal = member_start, ordinal
                ordinal += 1
                yield item
        except Broken as broken:
            error = broken
        if error is None and stream.cut is None:
            at = stream.member.position
            continue
        # Look for the next record right behind this one's start: a corrupt member may have eaten its successors.
        after = codec.find(file, at + 1, file.size) or file.size
        begin = stream.member.piece_start if ordinal and at < stream.member.piece_start < after else at
        where = f" after {ordinal} records of the member at {at}" if ordinal else ""
        yield Damage(begin, after - begin, f"{stream.cut or error}{where}")
        at = after


def _plain(file: StoredFile, parse: Parse, start: int, end: int, limit: int) -> Iterator[Record | Damage]:
    def reopen(offset: int) -> tuple[PlainMember, int]:
        # Small reads while only hopping over records that belong to other tasks.
        return PlainMember(file, offset, 1 << 13 if offset < start else PIECE), offset

    empty = True
    for item in parse(Stream(reopen, seekable=True), limit, start):
        empty = False
        if item.offset >= end:
            return
        if item.offset >= start:
            item.ordinal = 0 if isinstance(item, Record) else None
            yield item
    if empty and start == 0:
        yield Damage(0, file.size, "the file is empty but for line ends")


def _records(stream: Stream, limit: int, start: int = 0) -> Iterator[Record | Damage]:
    """The records of a stream; `offset` is that in the stream, `ordinal` 0. Blocks before `start` are not read.

    Raises Broken where the stream cannot be decompressed. If the stored file ends early, `stream.cut` says so.
    """
    at = 0
    distrust = False  # a block over the limit has turned out to be a lie: look for the next record at once
    while True:
        at = skip_newlines(stream, at)
        stream.forget(at)
        head = stream.peek(at, 1024)
        if not head:
            return
        ends = _HEADER_END.search(head)
        if ends is None and len(head) == 1024:
            head = stream.peek(at, HEADER_LIMIT)
            ends = _HEADER_END.search(head)
        if _START.match(head) is None or ends is None:
            after = find_in(stream, at + 1, _NEXT, 0)
            if after is None:
                after = end_of(stream, at)
                if stream.cut is not None:
                    return  # the caller reports it, once
            error = "an unfinished WARC record header" if _START.match(head) else "no WARC record header"
            yield Damage(at, after - at, error, 0)
            at = after
            continue
        fields = parse_fields(head[: ends.start()])
        begin = at + ends.end()
        declared = fields.get("content-length", "")
        length = int(declared) if declared.isascii() and declared.isdigit() and len(declared) < 19 else -1
        wanted = at >= start and fields.get("warc-type", "").lower() in DOCUMENT_TYPES
        stop, after, short = begin, -1, False
        if length >= 0 and not (distrust and length > limit):
            stop = begin + length
            if not length:
                whole = True
            elif wanted and length <= limit:
                whole = stream.need(begin, length) == length
            else:  # skip it
                whole = stream.need(stop - 1, 1) == 1
            if whole and _ends_at(stream, stop):
                after = stop
        if after < 0:
            found = find_in(stream, at + ends.start(), _NEXT_AFTER_BLOCK, limit)
            after = stop = end_of(stream, begin) if found is None else max(found, begin)
            distrust = distrust or length > limit
            short = stop < begin + length
            if short and found is None and stop - begin >= 4 and stream.peek(stop - 4, 4) == b"\r\n\r\n":
                stop -= 4  # the record's end
            if not short:
                said = "a Content-Length" if length < 0 else f"Content-Length {declared}"
                error = f"{said} that cannot be: the next record starts {stop - begin} bytes after the header"
                yield Damage(at, stop - at, error, 0, fields)
                at = after
                continue
        size = stop - begin
        block = stream.peek(begin, size) if wanted and size <= limit else None
        yield Record(at, 0, fields, block, size, short)
        at = after


def skip_newlines(stream: Stream, at: int) -> int:
    while True:
        data = stream.peek(at, 16, cross=False) or stream.peek(at, 16)
        rest = data.lstrip(b"\r\n")
        at += len(data) - len(rest)
        if rest or not data:
            return at


def _ends_at(stream: Stream, at: int) -> bool:
    """Whether a block can end at `at`: a record's end, another record or the end of the stream follows.

    Looks no further than the current member if that suffices: what is wrong in the next must not cost this record.
    """
    for cross in (False, True):
        tail = stream.peek(at, 16, cross)
        if tail.startswith(b"\r\n\r\n"):
            return True
        rest = tail.lstrip(b"\r\n")
        if rest:
            return rest.startswith(b"WARC/"[: len(rest)])
    return True


def find_in(
    stream: Stream, at: int, pattern: re.Pattern[bytes], keep: int, longest: int = _PATTERN_LIMIT
) -> int | None:
    """Where `pattern` matches first at or behind `at`, or None. Keeps `keep` bytes behind `at` in the window.

    longest: bytes that a match takes at most.
    """
    begin = at
    while True:
        data = stream.peek(at, CHUNK)
        match = pattern.search(data)
        if match is not None:
            return at + match.start()
        if len(data) < CHUNK:
            return None
        at += len(data) - longest
        if at - begin > keep:
            stream.forget(at)


def end_of(stream: Stream, at: int) -> int:
    """The stream's length, read to its end from `at` on."""
    while n := stream.need(at, PIECE):
        at += n
    return at

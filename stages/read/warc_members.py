"""Finds the gzip members and zstd frames of a stored archive, one after another, also behind damage.

A WARC file is normally compressed record by record, so that a reader can start at any record. That only helps if
the reader can find a record's start in the middle of the file, and if one flipped bit costs one record and not the
rest of a gigabyte. Both come down to one question about an offset: does a WARC record start here? It does if the
codec's magic number stands here and what it decompresses to begins with `WARC/`. The answer depends on the bytes
that follow and on nothing before them, so every task that looks, from wherever it starts, finds the same records.

The trade-off: decompression goes through the standard library's zlib, which tells exactly where a member ends and
checks its CRC, at 1.7 times the time of FastWARC's reader, which after an error raises the same error for ever.
That is 0.03 ms a record, of the 4 ms that its extraction takes.

A `.warc.gz` that is itself stored inside a record without further compression shows the same bytes as real records;
a task that starts inside it takes them for records. No reader that starts in the middle of a file can tell.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any, Protocol

from curation.errors import StorageError

PIECE = 1 << 16  # bytes given to the decompressor at a time
PRODUCT = 1 << 22  # bytes taken from it at a time, at most: bounds what a decompression bomb can do
CHUNK = 1 << 20  # bytes read from the file at a time


class Broken(Exception):
    """The data cannot be decompressed any further. `cut` says that the file ended too early."""

    def __init__(self, message: str, cut: bool = False) -> None:
        super().__init__(message)
        self.cut = cut


class StoredFile:
    """Reads a seekable binary file at any offset, through one chunk that it keeps."""

    def __init__(self, file: Any, size: int) -> None:
        self.size = size
        self._file = file
        self._chunk = b""
        self._start = 0
        self._head: tuple[object, bytes] = (None, b"")

    def at(self, offset: int, length: int, ahead: int = CHUNK) -> bytes:
        """The bytes [offset, offset + length), fewer only where the file ends; `ahead` bytes are read if need be.

        Raises StorageError, which unlike OSError no decompressor raises or swallows.
        """
        begin = offset - self._start
        if begin >= 0 and begin + length <= len(self._chunk):
            return self._chunk[begin : begin + length]
        length = max(0, min(length, self.size - offset))
        if not length:
            return b""
        try:
            self._file.seek(offset)
            chunk = self._file.read(max(length, ahead))
            while len(chunk) < length and (more := self._file.read(length - len(chunk))):
                chunk += more
        except Exception as error:
            raise StorageError(f"cannot read at byte {offset}: {type(error).__name__}: {error}") from error
        self._chunk, self._start = chunk, offset
        return chunk[:length]

    def head(self, offset: int, find: Callable[[StoredFile, int], bytes]) -> bytes:
        """`find(self, offset)`, remembered: it is asked at a member's end, and again at the next one's start."""
        if self._head[0] != (offset, find):
            self._head = (offset, find), find(self, offset)
        return self._head[1]


class Member(Protocol):
    """What a record stream is read from: decompressed bytes in pieces."""

    #: Offset in the stored file behind what has been read.
    position: int
    #: Offset of the last piece of stored data that was given to the decompressor.
    piece_start: int

    def piece(self) -> bytes:
        """The next bytes; none at the end of the member. Raises Broken."""

    def resume(self) -> bool:
        """At the end of a member: go on in the next one, if that does not start with a record of its own."""


class PlainMember:
    """The bytes of an uncompressed file from `position` on."""

    def __init__(self, file: StoredFile, position: int, length: int = PIECE) -> None:
        self.position = self.piece_start = position
        self._file = file
        self._length = length

    def piece(self) -> bytes:
        data = self._file.at(self.position, self._length, CHUNK if self._length == PIECE else self._length)
        self.piece_start = self.position
        self.position += len(data)
        return data

    def resume(self) -> bool:
        return False


class GzipMember:
    """A gzip member, and those behind it that continue its records (block gzip, `cat` of cut pieces)."""

    def __init__(self, file: StoredFile, position: int, codec: Codec) -> None:
        self.position = self.piece_start = position
        self._file = file
        self._codec = codec
        self._decoder = zlib.decompressobj(zlib.MAX_WBITS | 16)

    def piece(self) -> bytes:
        while not self._decoder.eof:
            stored = self._decoder.unconsumed_tail
            if not stored:
                self.piece_start = self.position
                stored = self._file.at(self.position, PIECE)
                self.position += len(stored)
            try:
                data = self._decoder.decompress(stored, PRODUCT)
            except zlib.error as error:
                raise Broken(f"gzip: {error}") from None
            if self._decoder.eof:
                self.position -= len(self._decoder.unused_data)
            if data:
                return data
            if not stored:
                raise Broken("the file ends inside a gzip member", cut=True)
        return b""

    def resume(self) -> bool:
        if not self._decoder.eof or not self._codec.continues(self._file, self.position):
            return False
        self._decoder = zlib.decompressobj(zlib.MAX_WBITS | 16)
        return True


class _Frame:
    """The stored bytes of one zstd frame, as a file that is read once from its start to its end.

    The end is found by walking over the block headers (RFC 8878, 3.1.1).
    """

    def __init__(self, file: StoredFile, position: int) -> None:
        self.position = position
        self.cut = False
        self._begin = position
        self._file = file
        self._pending = self._header()
        self._last = False

    def _take(self, length: int) -> bytes:
        data = self._file.at(self.position, length)
        self.position += len(data)
        self.cut = self.cut or len(data) < length
        return data

    def _header(self) -> bytes:
        head = self._take(5)
        if len(head) < 5:
            return head
        flags = head[4]
        single, dictionary, content = flags >> 5 & 1, flags & 3, flags >> 6
        self._checksum = flags >> 2 & 1
        length = (1 - single) + (0, 1, 2, 4)[dictionary] + (single, 2, 4, 8)[content]
        return head + self._take(length)

    def _block(self) -> bytes:
        head = self._take(3)
        if len(head) < 3:
            return head
        word = int.from_bytes(head, "little")
        self._last = bool(word & 1)
        kind, size = word >> 1 & 3, word >> 3
        if kind == 3:
            raise Broken("zstd: reserved block type")
        return head + self._take(1 if kind == 1 else size) + (self._take(4) if self._last and self._checksum else b"")

    def read(self, size: int = -1) -> bytes:
        if not self._pending and not self._last and not self.cut:
            self._pending = self._block()
        if size < 0:
            size = len(self._pending)
        data, self._pending = self._pending[:size], self._pending[size:]
        return data

    def tell(self) -> int:
        return self.position - len(self._pending) - self._begin

    def seek(self, offset: int, whence: int = 0) -> int:
        raise io.UnsupportedOperation("seek")

    def close(self) -> None:
        pass


class ZstdMember:
    """A zstd frame, and those behind it that continue its records."""

    def __init__(self, file: StoredFile, position: int, dictionary: bytes | None) -> None:
        self.position = self.piece_start = position
        self._file = file
        self._dictionary = dictionary
        self._open()

    def _open(self) -> None:
        from fastwarc.stream_io import ZstdReader

        self._begin = self.position
        self._frame = _Frame(self._file, self.position)
        self._reader = ZstdReader(self._frame, dictionary=self._dictionary)
        self._delivered = 0
        self._error: Exception | None = None
        self._ended = False

    def piece(self) -> bytes:
        if self._ended:
            return b""
        self.piece_start = self._frame.position
        data = b""
        try:
            if self._error is None:
                data = self._reader.read(PIECE)
        except (OSError, Broken) as error:
            self._error = error
            data = self._rescue()
        self._delivered += len(data)
        if not data and (self._frame.cut or self._error is not None):
            cut = self._frame.cut
            raise Broken("the file ends inside a zstd frame" if cut else f"zstd: {self._error}", cut)
        self._ended = not data
        self.position = self._frame.position
        return data

    def _rescue(self) -> bytes:
        """What the reader had decompressed when it met an error: it drops that, so read it again, byte by byte."""
        from fastwarc.stream_io import ZstdReader

        reader = ZstdReader(_Frame(self._file, self._begin), dictionary=self._dictionary)
        pieces: list[bytes] = []
        try:
            skip = self._delivered
            while skip > 0:
                skip -= len(reader.read(min(skip, PIECE)))
            while data := reader.read(1):
                pieces.append(data)
        except (OSError, Broken):
            pass
        return b"".join(pieces)

    def resume(self) -> bool:
        codec = Zstd(self._dictionary)
        position = codec.skip(self._file, self.position)
        if not self._ended or not codec.continues(self._file, position):
            return False
        self.position = position
        self._open()
        return True


def begins(head: bytes) -> bool:
    """Whether decompressed bytes are the beginning of a WARC record."""
    return head.lstrip(b"\r\n").startswith(b"WARC/")


class Codec:
    """How one compression marks where its members start."""

    name = ""
    magic = b""
    holds = "a WARC"
    head_length = 64  # decompressed bytes that tell whether a record starts

    def begins(self, head: bytes) -> bool:
        """Whether decompressed bytes are the beginning of a record."""
        return begins(head)

    def head(self, file: StoredFile, offset: int) -> bytes:
        """The first decompressed bytes of the member at `offset`, at most `head_length`; empty if there is none."""
        raise NotImplementedError

    def open(self, file: StoredFile, offset: int) -> Member:
        """The member at `offset`."""
        raise NotImplementedError

    def skip(self, file: StoredFile, offset: int) -> int:
        """`offset`, or the end of what stands there by the format's rules without being data."""
        return offset

    def starts(self, file: StoredFile, offset: int) -> bool:
        """Whether a member whose first bytes are a WARC record starts at `offset`."""
        return self.begins(file.head(offset, self.head))

    def continues(self, file: StoredFile, offset: int) -> bool:
        """Whether a member that starts in the middle of a record, or of something else, starts at `offset`."""
        head = file.head(offset, self.head)
        return bool(head) and not self.begins(head)

    def find(self, file: StoredFile, start: int, end: int) -> int | None:
        """The first offset in [start, end) at which a WARC record starts, or None."""
        while start < end:
            chunk = file.at(start, min(CHUNK, end - start + len(self.magic) - 1))
            if not chunk:
                return None
            at = chunk.find(self.magic)
            while at >= 0:
                if start + at < end and self.starts(file, start + at):
                    return start + at
                at = chunk.find(self.magic, at + 1)
            start += max(1, len(chunk) - len(self.magic) + 1)
        return None


class Gzip(Codec):
    name = "gzip"
    magic = b"\x1f\x8b\x08"

    def head(self, file: StoredFile, offset: int) -> bytes:
        stored = file.at(offset, 1024)
        if not stored.startswith(self.magic) or len(stored) < 18 or stored[3] & 0xE0:
            return b""
        for length in (1024, 1 << 17):  # the header's own fields can take 64 KiB and more
            decoder = zlib.decompressobj(zlib.MAX_WBITS | 16)
            try:
                data = decoder.decompress(stored if length == 1024 else file.at(offset, length), self.head_length)
            except zlib.error:
                return b""
            if data:
                return data
        return b""

    def open(self, file: StoredFile, offset: int) -> Member:
        return GzipMember(file, offset, self)


class Zstd(Codec):
    name = "zstd"
    magic = b"\x28\xb5\x2f\xfd"

    def __init__(self, dictionary: bytes | None = None) -> None:
        self.dictionary = dictionary

    @classmethod
    def of(cls, file: StoredFile) -> Zstd:
        """The codec for a file, with the dictionary that its first, skippable frame may hold (magic 0x184D2A5D)."""
        from fastwarc.stream_io import ZstdReader

        head = file.at(0, 8)
        if len(head) < 8 or head[:4] != b"\x5d\x2a\x4d\x18":
            return cls()
        dictionary = file.at(8, min(struct.unpack("<I", head[4:])[0], 64 << 20))
        if dictionary.startswith(cls.magic):
            try:
                dictionary = ZstdReader(io.BytesIO(dictionary)).read(64 << 20)
            except OSError:
                return cls()
        return cls(dictionary)

    def head(self, file: StoredFile, offset: int) -> bytes:
        if file.at(offset, 4) != self.magic:
            return b""
        try:
            return ZstdMember(file, offset, self.dictionary).piece()[:64]
        except Broken:
            return b""

    def open(self, file: StoredFile, offset: int) -> Member:
        return ZstdMember(file, offset, self.dictionary)

    def skip(self, file: StoredFile, offset: int) -> int:
        while True:
            head = file.at(offset, 8)
            if len(head) < 8 or head[0] & 0xF0 != 0x50 or head[1:4] != b"\x2a\x4d\x18":
                return offset
            length = 8 + struct.unpack("<I", head[4:])[0]
            if offset + length > file.size:
                return offset
            offset += length


GZIP = Gzip()

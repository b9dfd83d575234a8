"""A window over the decompressed bytes of an archive, in which records are looked for.

A parser of records must look ahead (does another record follow?), pass over blocks that are too large to hold, and go
back when a length turns out to be a lie. The window holds what lies between, and no more than a record of it. Going
back behind its start means decompressing the member again, which costs time only where an archive is broken.
"""

from __future__ import annotations

from collections.abc import Callable

from stages.read.warc_members import Broken, Member

Reopen = Callable[[int], tuple[Member, int]]


class Stream:
    """A window that moves forward over a member's decompressed bytes, and back at the cost of starting over.

    `reopen(offset)` gives a member to read from and the stream offset of its first byte, which is at most `offset`.
    """

    def __init__(self, reopen: Reopen, seekable: bool = False, offset: int = 0) -> None:
        self._reopen = reopen
        self._seekable = seekable
        self.member, self._base = reopen(offset)
        self._buffer = bytearray()
        #: Set when the stored file ended inside the member: the stream then ends where the file does.
        self.cut: Broken | None = None

    def need(self, offset: int, length: int, cross: bool = True) -> int:
        """Bring [offset, offset + length) into the window; returns how many of these bytes exist.

        With `cross=False`, those behind the end of the current member are not looked for. Raises Broken.
        """
        have = self._base + len(self._buffer)
        if offset < self._base or (self._seekable and offset > have):
            self.member, self._base = self._reopen(offset)
            self._buffer.clear()
            self.cut = None
            have = self._base
        while have < offset + length:
            try:
                piece = b"" if self.cut else self.member.piece()
            except Broken as error:
                if not error.cut:
                    raise
                self.cut, piece = error, b""
            if not piece:
                if self.cut or not cross or not self.member.resume():
                    break
                continue
            if have <= offset:  # nothing in the window is asked for
                self._base = have
                self._buffer.clear()
            self._buffer += piece
            have += len(piece)
        return max(0, min(length, have - offset))

    def peek(self, offset: int, length: int, cross: bool = True) -> bytes:
        """The bytes [offset, offset + length), as far as they exist; `cross` as for `need`. Raises Broken."""
        length = self.need(offset, length, cross)
        begin = offset - self._base
        return bytes(memoryview(self._buffer)[begin : begin + length])

    def forget(self, offset: int) -> None:
        """Drop what lies before `offset` from the window."""
        if offset > self._base:
            gone = min(offset - self._base, len(self._buffer))
            del self._buffer[:gone]
            self._base += gone

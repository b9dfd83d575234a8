"""An input file in storage, opened so that a storage that fails is told from a file that is damaged.

Decompressors and parsers raise OSError for damaged content, and some swallow it; filesystems raise it for a lost
connection. Taken for damage, a moment without network would put a whole file into quarantine, and the run would be
called complete. So whatever goes wrong between the storage and the first byte decoded becomes a `StorageError`: the
task fails, nothing of it is committed, and the next run reads the file again. It costs one copy of the bytes.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from curation.errors import StorageError, error_text

#: What decompressors and parsers raise for content that is damaged or cut off. A StorageError is none of these.
DAMAGE = (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError)
#: Bytes read from storage at least; a line or a member's head are smaller.
BUFFER = 1 << 18


class _Raw(io.RawIOBase):
    """A binary file whose errors are StorageError."""

    def __init__(self, file: Any, path: str):
        self._file, self._path = file, path

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return bool(self._file.seekable())

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._file.read(len(buffer))
        except Exception as error:
            raise StorageError(f"{self._path} cannot be read: {error_text(error)}") from error
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._file.seek(offset, whence))  # touches no storage; before the start it is the parser's mistake

    def tell(self) -> int:
        return int(self._file.tell())

    def close(self) -> None:
        if not self.closed:
            with suppress(Exception):  # nothing was written to it
                self._file.close()
        super().close()


def open_stored(path: str) -> io.BufferedReader:
    """A file at a local path or an fsspec URL, to read. StorageError if it cannot be opened, or read later on."""
    import fsspec

    try:
        fs, name = fsspec.core.url_to_fs(path)
        file = fs.open(name, "rb")
    except Exception as error:
        raise StorageError(f"{path} cannot be opened: {error_text(error)}") from error
    return io.BufferedReader(_Raw(file, path), BUFFER)


class _Zstd(io.RawIOBase):
    """All zstd frames of a file, one after another; EOFError where it ends inside of one.

    The library's own stream reader stops after the first frame unless it is told otherwise, and takes a file that is
    cut off for one that ends.
    """

    def __init__(self, file: io.BufferedReader):
        import zstandard

        self._file, self._new = file, zstandard.ZstdDecompressor().decompressobj
        self._frame: Any = None
        self._rest, self._out = b"", memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        import zstandard

        while not self._out:
            packed = self._rest or self._file.read(1 << 16)
            self._rest = b""
            if not packed:
                if self._frame is not None:
                    raise EOFError("the file ends inside a zstd frame")
                return 0
            if self._frame is None:
                self._frame = self._new()
            try:
                self._out = memoryview(self._frame.decompress(packed))
            except zstandard.ZstdError as error:
                raise OSError(str(error)) from error
            if self._frame.eof:
                self._rest, self._frame = self._frame.unused_data, None
        size = min(len(buffer), len(self._out))
        buffer[:size], self._out = self._out[:size], self._out[size:]
        return size


_UNPACK: dict[str, Callable[[Any], Any]] = {
    ".gz": lambda file: gzip.GzipFile(fileobj=file),
    ".bz2": bz2.BZ2File,
    ".xz": lzma.LZMAFile,
    ".zst": _Zstd,
}
#: Endings of the names of files that `decompressed` unpacks.
PACKED = tuple(_UNPACK)


@contextmanager
def decompressed(path: str) -> Iterator[io.BufferedReader]:
    """The content of a file, unpacked as its name says (`PACKED`); all frames or members of it.

    One of DAMAGE where the content is damaged or cut off; StorageError as above.
    """
    with open_stored(path) as file:
        unpack = next((unpack for suffix, unpack in _UNPACK.items() if path.lower().endswith(suffix)), None)
        yield io.BufferedReader(unpack(file), BUFFER) if unpack else file

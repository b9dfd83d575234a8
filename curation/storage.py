"""Files of a run, on local disk or behind any fsspec URL, written so that a name only ever shows whole content.

On a local disk a file is written aside, synced, and moved in place. An object store has no rename, but shows an
object only once its upload is complete, so there the final name is written directly: same promise, other means.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO

import fsspec
from fsspec.implementations.local import LocalFileSystem

#: Suffix of files that are being written, so that no pattern for shards matches them; leftovers of killed tasks are
#: recognised by it.
PENDING = ".pending"


class Storage:
    """A folder at a local path or an fsspec URL. Names are relative to it and use `/`."""

    def __init__(self, url: str):
        self.url = url
        self.fs, root = fsspec.core.url_to_fs(os.path.expanduser(url) if "://" not in url else url)
        self.root = root.rstrip("/")
        self.local = isinstance(self.fs, LocalFileSystem)

    def path(self, name: str = "") -> str:
        """Full path of a name, as the filesystem takes it."""
        return f"{self.root}/{name}" if name else self.root

    @contextmanager
    def write(self, name: str) -> Iterator[BinaryIO]:
        """A file handle; the name shows the content when the block ends without an exception, and not before."""
        if not self.local:
            handle = self.fs.open(self.path(name), "wb")
            try:
                yield handle
            except BaseException:
                if hasattr(handle, "discard"):
                    handle.discard()
                raise
            handle.close()
            return
        aside = self.pending(name)
        try:
            with open(aside, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(aside, self.path(name))
        except BaseException:
            if os.path.exists(aside):
                os.unlink(aside)
            raise

    def pending(self, name: str) -> str:
        """A fresh local path beside `name` to write to before moving it in place."""
        folder, _, base = self.path(name).rpartition("/")
        os.makedirs(folder, exist_ok=True)
        return f"{folder}/.{base}.{uuid.uuid4().hex[:12]}{PENDING}"

    def open(self, name: str) -> BinaryIO:
        """A handle to read a file."""
        return self.fs.open(self.path(name), "rb")

    def read(self, name: str) -> bytes:
        """The whole content of a file. FileNotFoundError if there is none."""
        return self.fs.cat_file(self.path(name))

    def write_json(self, name: str, data: Any, indent: int | None = None) -> None:
        """Write JSON; with an indent for people, without it eight times as fast."""
        with self.write(name) as file:
            file.write(json.dumps(data, indent=indent, ensure_ascii=False).encode())

    def read_json(self, name: str) -> Any:
        """Parsed JSON, or None if the file is missing or not whole, or the folder is a file."""
        try:
            return json.loads(self.read(name))
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None

    def exists(self, name: str = "") -> bool:
        """Whether there is a file or folder of this name."""
        return self.fs.exists(self.path(name))

    def size(self, name: str) -> int | None:
        """Bytes of a file, or None if it is missing."""
        try:
            return int(self.fs.size(self.path(name)))
        except FileNotFoundError:
            return None

    def names(self, folder: str = "") -> list[str]:
        """Names of all files below a folder, sorted; empty if it does not exist."""
        if not self.local:
            self.fs.invalidate_cache()
        if not self.exists(folder):
            return []
        return sorted(p[len(self.root) + 1 :] for p in self.fs.find(self.path(folder)))

    def remove(self, name: str) -> None:
        """Remove a file if it is there."""
        with suppress(FileNotFoundError):
            self.fs.rm_file(self.path(name))

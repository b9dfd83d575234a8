"""The files in a package: tar and zip archives (source distributions, wheels, jars), git bundles, or one plain file.

Each is read to the end in its own order, a file at a time. A bundle is unpacked by git itself into a bare repository in
a temporary folder, where nothing of it can be run, and the files of its main branch are read from there.

Trade-off: a compressed archive is read twice, first for its licence files, which may stand at its end, then for the
rest. Holding all files until the licence is known would be quicker, and would take the memory of the largest package.
"""

from __future__ import annotations

import re
import struct
import subprocess
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO

from curation.errors import error_text
from stages.read.stored import DAMAGE
from stages.read.tar_end import check_end

TAR = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".crate", ".gem")
ZIP = (".zip", ".whl", ".jar", ".egg", ".nupkg")
BUNDLE = (".bundle",)


#: RuntimeError: a password is wanted; NotImplementedError: a method of packing that zipfile does not know.
_DAMAGE = (tarfile.TarError, zipfile.BadZipFile, struct.error, RuntimeError, NotImplementedError, *DAMAGE)


class BrokenArchive(Exception):
    """What an archive ends in, and after how many bytes or files."""

    def __init__(self, what: str, position: int):
        super().__init__(what)
        self.position = position


class BrokenMember(Exception):
    """A file of an archive that cannot be read, while those behind it may be."""


@dataclass(frozen=True)
class Member:
    """A file of a package. `read()` gives its bytes; BrokenArchive or BrokenMember if it cannot. position: where it
    starts in the archive, or its number."""

    path: str
    size: int
    position: int
    read: Callable[[], bytes]


def is_archive(name: str) -> bool:
    """Whether a file of this name is a package of files."""
    return name.lower().endswith((*TAR, *ZIP, *BUNDLE))


def package_name(name: str) -> str:
    """A package's file name without folders and what says how it is packed: `requests-2.32.3`."""
    base = PurePosixPath(name).name
    for suffix in sorted((*TAR, *ZIP, *BUNDLE), key=len, reverse=True):
        if base.lower().endswith(suffix):
            base = base[: -len(suffix)]
            break
    return re.sub(r"-(?:py|cp|pp)[\w.]*-\w+-[\w.]+$", "", base)  # a wheel's tags


def members(name: str, path: str, open_file: Callable[[], IO[bytes]]) -> Iterator[Member]:
    """The files in a package of this name (and local path, for bundles), links and folders left out. BrokenArchive
    where it ends too early."""
    lower = name.lower()
    if lower.endswith(BUNDLE):
        yield from _of_bundle(path, open_file)
    elif lower.endswith(ZIP):
        yield from _of_zip(open_file)
    else:
        yield from _of_tar(open_file)


def _of_tar(open_file: Callable[[], IO[bytes]]) -> Iterator[Member]:
    at = 0
    try:
        with open_file() as file, tarfile.open(fileobj=file, mode="r:*") as archive:
            for info in archive:
                at = info.offset
                if not info.isfile():
                    continue

                def read(info: tarfile.TarInfo = info) -> bytes:
                    try:
                        stream = archive.extractfile(info)
                        data = stream.read() if stream is not None else b""
                        if len(data) < info.size:
                            raise tarfile.ReadError("the archive ends inside a file")
                    except _DAMAGE as error:
                        raise BrokenArchive(error_text(error), info.offset) from error
                    return data

                yield Member(info.name, info.size, info.offset, read)
                archive.members = []  # type: ignore[attr-defined]  # all seen so far: it would grow
            at = archive.offset
            check_end(archive, file)
    except _DAMAGE as error:
        raise BrokenArchive(error_text(error), at) from error


def _of_zip(open_file: Callable[[], IO[bytes]]) -> Iterator[Member]:
    at = 0
    try:
        with open_file() as file, zipfile.ZipFile(file) as archive:
            for info in archive.infolist():
                at = info.header_offset
                if info.is_dir() or (info.external_attr >> 28) == 0xA:  # 0xA: a symbolic link
                    continue

                def read(info: zipfile.ZipInfo = info) -> bytes:
                    try:
                        return archive.read(info)
                    except _DAMAGE as error:
                        raise BrokenMember(error_text(error)) from error

                yield Member(info.filename, info.file_size, at, read)
    except _DAMAGE as error:
        raise BrokenArchive(error_text(error), at) from error


def _git(folder: str, *arguments: str, input: bytes | None = None) -> bytes:
    clean = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "GIT_CONFIG_NOSYSTEM": "1",
        "HOME": folder,
        "GIT_TERMINAL_PROMPT": "0",
    }
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, env=clean, input=input, capture_output=True, timeout=600)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BrokenArchive(f"git cannot read the bundle: {error}", 0) from error
    if done.returncode:
        raise BrokenArchive(f"git: {done.stderr.decode('utf-8', 'replace').strip()[-150:]}", 0)
    return done.stdout


def _of_bundle(path: str, open_file: Callable[[], IO[bytes]]) -> Iterator[Member]:
    with tempfile.TemporaryDirectory(prefix="bundle-") as folder:
        local = f"{folder}/packed.bundle"
        with open_file() as file, open(local, "wb") as target:
            while block := file.read(1 << 20):
                target.write(block)
        listed_heads = _git(folder, "bundle", "list-heads", local).decode().splitlines()
        heads = {name: commit for commit, _, name in (line.partition(" ") for line in listed_heads)}
        if not heads:
            raise BrokenArchive("the bundle has no branch", 0)
        chosen = next((n for n in ("HEAD", "refs/heads/main", "refs/heads/master") if n in heads), sorted(heads)[0])
        commit = heads[chosen]
        _git(folder, "init", "-q", "--bare", "repository")
        repository = f"{folder}/repository"
        _git(repository, "fetch", "-q", local, f"{chosen}:refs/heads/packed")
        listed = _git(repository, "ls-tree", "-r", "-z", "--long", commit).split(b"\0")
        for number, line in enumerate(filter(None, listed)):
            facts, name = line.split(b"\t", 1)
            mode, kind, digest, size = facts.split()
            if kind != b"blob" or mode == b"120000":
                continue

            def read(digest: bytes = digest) -> bytes:
                return _git(repository, "cat-file", "blob", digest.decode())

            yield Member(name.decode("utf-8", "replace"), int(size), number, read)

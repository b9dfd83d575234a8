"""Keeps every answer that was paid for, so that a run that is killed, resumed or repeated never pays twice.

An answer is found by the digest of the model's identity and the request. Each process appends to a file of its own in
a shared folder and reads everybody's: there is nothing to lock, on no filesystem, and a process can be killed in the
middle of a record. A record carries a checksum; a torn one is passed over, and so costs one answer. Records are read in
full once, when a process opens the cache; after that only what has been added.

Trade-off: each process holds an index of all answers, about 200 bytes each. A million labelled documents cost 200 MB;
for rewriting on a larger scale, give every part of the corpus a cache folder of its own.
"""

from __future__ import annotations

import os
import struct
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import xxhash

#: A record: this header, then the answer. Magic, bytes of the answer, key, tokens in, tokens out, xxh64 of the rest.
_HEADER = struct.Struct("<4sI16sIIQ")
_MAGIC = b"ANS1"
_LARGEST = 64 << 20


def _checksum(length: int, key: bytes, tokens_in: int, tokens_out: int, payload: bytes) -> int:
    return xxhash.xxh3_64_intdigest(struct.pack("<I16sII", length, key, tokens_in, tokens_out) + payload)


def key_of(*parts: str) -> bytes:
    """xxh128 of the parts, 16 bytes."""
    return xxhash.xxh3_128_digest("\0".join(parts).encode("utf-8", "surrogatepass"))


@dataclass
class AnswerCache:
    """Answers by key, in the folder `folder` (local, or mounted on all nodes). Safe for any number of processes."""

    folder: Path
    tokens: int = 0  # paid so far, in and out, by every process that shares the folder
    _index: dict[bytes, tuple[Path, int, int]] = field(default_factory=dict)
    _read: dict[Path, int] = field(default_factory=dict)  # file -> bytes seen
    _own: Path | None = None
    _handle: int = -1

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.refresh()

    def __len__(self) -> int:
        return len(self._index)

    def refresh(self) -> None:
        """Take in what other processes have added."""
        for file in sorted(self.folder.glob("*.answers")):
            if file != self._own and file.stat().st_size > self._read.get(file, 0):
                self._scan(file)

    def _scan(self, file: Path) -> None:
        start = self._read.get(file, 0)
        with file.open("rb") as handle:
            handle.seek(start)
            data = handle.read()
        at = end = 0
        while (at := data.find(_MAGIC, at)) >= 0:
            size = self._take(file, data, at, start)
            if size:
                at += size
                end = at
            else:  # torn by a kill, or still being written: go on with the next record that is whole
                at += 1
        self._read[file] = start + end

    def _take(self, file: Path, data: bytes, at: int, start: int) -> int:
        """Note the record at `at`; its size, or 0 if it is not whole."""
        if at + _HEADER.size > len(data):
            return 0
        _, length, key, tokens_in, tokens_out, checksum = _HEADER.unpack_from(data, at)
        begin = at + _HEADER.size
        if length > _LARGEST or begin + length > len(data):
            return 0
        if _checksum(length, key, tokens_in, tokens_out, data[begin : begin + length]) != checksum:
            return 0
        self._index.setdefault(key, (file, start + begin, length))
        self.tokens += tokens_in + tokens_out
        return _HEADER.size + length

    def get(self, key: bytes) -> bytes | None:
        """The answer, or None."""
        place = self._index.get(key)
        if place is None:
            return None
        file, offset, length = place
        with file.open("rb") as handle:
            handle.seek(offset)
            return handle.read(length)

    def put(self, key: bytes, answer: bytes, tokens_in: int, tokens_out: int) -> None:
        """Keep an answer. It is on its way to the disk when this returns, and survives the death of the process."""
        if self._own is None:
            self._own = self.folder / f"{os.uname().nodename}-{os.getpid()}-{uuid.uuid4().hex[:8]}.answers"
            self._handle = os.open(self._own, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            self._read[self._own] = 0
        assert self._own is not None
        checksum = _checksum(len(answer), key, tokens_in, tokens_out, answer)
        record = _HEADER.pack(_MAGIC, len(answer), key, tokens_in, tokens_out, checksum) + answer
        begin = self._read[self._own]
        written = os.write(self._handle, record)
        self._read[self._own] = begin + written
        self.tokens += tokens_in + tokens_out
        if written == len(record):  # a full disk cuts it short: then the answer is used, and not kept
            self._index.setdefault(key, (self._own, begin + _HEADER.size, len(answer)))

    def close(self) -> None:
        """Close the file this process writes."""
        if self._handle >= 0:
            os.close(self._handle)
        self._handle, self._own = -1, None

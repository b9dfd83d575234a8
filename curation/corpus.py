"""A corpus is a folder of parquet shards and their manifests; this module writes shards and commits tasks.

A shard task writes all its files aside, moves them in place, and then writes its manifest. A task is done if and
only if its manifest is there, has the fingerprint the plan expects, and the files it lists have the size it says.
Before the first file is moved the manifest of an older version is removed, so at no moment does a manifest vouch
for bytes it has not seen: kill it anywhere and a rerun finds either everything or nothing of the task.

The bytes of a shard depend on its rows alone. Batches arrive in any size, so the writer cuts row groups by its own
count of rows and bytes, never where a batch happened to end.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash

from curation.errors import CorruptFile
from curation.stage import Output
from curation.storage import PENDING, Storage

#: Version of the files this engine writes; part of every fingerprint.
FORMAT = 2
#: Bytes of variable-length data after which a row group ends. 8 MiB keeps a writer below 50 MB of memory.
GROUP_BYTES = 8 << 20


def row_weights(table: pa.Table) -> np.ndarray:
    """Bytes that each row takes, about: its strings and lists, and 64 for the rest. Shape (rows,), int64."""
    weights = np.full(table.num_rows, 64, dtype=np.int64)
    for column in table.columns:
        kind = column.type
        if pa.types.is_large_string(kind) or pa.types.is_string(kind) or pa.types.is_large_binary(kind):
            weights += pc.fill_null(pc.binary_length(column), 0).to_numpy().astype(np.int64)
        elif pa.types.is_list(kind):
            weights += 4 * pc.fill_null(pc.list_value_length(column), 0).to_numpy().astype(np.int64)
    return weights


class ShardWriter:
    """Writes one parquet file whose bytes depend on its rows, not on the batches they came in.

    path: local path, or name in `storage` for object stores. Nothing shows under the final name before `commit`.
    """

    def __init__(self, storage: Storage, name: str, schema: pa.Schema, output: Output | None = None):
        self.storage, self.name = storage, name
        self.output = output or Output(folder="")
        metadata = {k.encode(): v.encode() for k, v in self.output.metadata.items()}
        self.schema = schema.with_metadata(metadata or None)
        self.rows = 0
        self._held: list[pa.Table] = []
        self._weight = 0
        self._limit = self.output.group_size if self.output.group_by else GROUP_BYTES
        if storage.local:
            self.aside: str | None = storage.pending(name)
            self._file = open(self.aside, "wb")  # noqa: SIM115  (closed in finish or abort)
        else:
            self.aside = None
            self._file = storage.fs.open(storage.path(name), "wb")
        plain = set(self.output.plain)
        self._writer = pq.ParquetWriter(
            self._file,
            self.schema,
            compression="zstd",
            compression_level=1 if plain else 3,
            use_dictionary=[f.name for f in schema if f.name not in plain and not pa.types.is_floating(f.type)],
            write_statistics=[f.name for f in schema if f.name in ("id", "url", "n_tokens", "stage", "reason")],
            write_page_checksum=True,  # a reader that asks for it sees a flipped bit, which zstd lets pass
        )

    def _weights(self, table: pa.Table) -> np.ndarray:
        if self.output.group_by:
            column = table[self.output.group_by]
            if pa.types.is_list(column.type):
                column = pc.list_value_length(column)
            return pc.fill_null(column, 0).to_numpy().astype(np.int64)
        return row_weights(table)

    def write(self, table: pa.Table) -> None:
        """Add rows. Columns are put in the order of the schema; a column the table lacks is null."""
        if not table.num_rows:
            return
        table = conform(table, self.schema)
        ends = np.cumsum(self._weights(table)) + self._weight
        start = 0
        while start < table.num_rows:
            # A group ends with the row that reaches the limit: a rule on rows, blind to batches.
            cut = int(np.searchsorted(ends, self._limit))
            if cut >= table.num_rows:
                self._held.append(table.slice(start))
                self._weight = int(ends[-1])
                break
            self._held.append(table.slice(start, cut + 1 - start))
            self._flush()
            ends, start = ends - ends[cut], cut + 1
        self.rows += table.num_rows

    def _flush(self) -> None:
        if self._held:
            table = pa.concat_tables(self._held).combine_chunks()
            self._writer.write_table(table, row_group_size=max(1, table.num_rows))
        self._held, self._weight = [], 0

    def finish(self) -> dict[str, Any]:
        """Close the file (still aside) and describe it: name, rows, bytes, xxh128."""
        self._flush()
        self._writer.close()
        if self.storage.local:
            assert self.aside is not None
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            with open(self.aside, "rb") as file:
                size, digest = hash_file(file)
        else:
            self._file.close()
            with self.storage.open(self.name) as file:
                size, digest = hash_file(file)
        return {"name": self.name, "rows": self.rows, "bytes": size, "xxh128": digest}

    def abort(self) -> None:
        """Drop what was written."""
        self._held = []
        finished = self._file.closed
        with suppress(Exception):  # closing writes a footer, which may be what failed (a full disk)
            self._writer.close()
        if self.storage.local:
            with suppress(OSError):  # it is closed all the same
                self._file.close()
            if self.aside and os.path.exists(self.aside):
                os.unlink(self.aside)
        elif not finished and hasattr(self._file, "discard"):
            self._file.discard()


def conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table with exactly the columns of the schema, in its order; missing ones are null."""
    columns = [
        table[f.name].cast(f.type) if f.name in table.column_names else pa.nulls(table.num_rows, f.type) for f in schema
    ]
    return pa.table(columns, schema=schema)


def hash_file(file: Any) -> tuple[int, str]:
    """Bytes and xxh128 of what is left to read of a file."""
    digest, size = xxhash.xxh3_128(), 0
    while block := file.read(1 << 20):
        digest.update(block)
        size += len(block)
    return size, digest.hexdigest()


@dataclass
class Manifest:
    """What one committed task did. `files` maps a folder to the file written there."""

    task: str
    fingerprint: str
    files: dict[str, dict[str, Any]]
    accounts: list[dict[str, Any]] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)
    partitions: dict[str, list[Any]] = field(default_factory=dict)
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    rss_mb: float = 0.0
    format: int = FORMAT

    @property
    def digest(self) -> str:
        """Identifies the content of the task's files; what stands downstream of it depends on this."""
        parts = [f"{k}={v['xxh128']}" for k, v in sorted(self.files.items())]
        return xxhash.xxh3_128_hexdigest("\n".join([self.fingerprint, *parts]).encode())

    @property
    def rows(self) -> int:
        """Rows of the task's shard of documents."""
        return self.files["shard"]["rows"] if "shard" in self.files else 0


def manifest_name(task: str) -> str:
    """Where a task's manifest lies in the run's folder."""
    return f"work/manifests/{task}.json"


def committed(storage: Storage, task: str, fingerprint: str) -> Manifest | None:
    """The task's manifest if the task is done: right fingerprint, every file there with the size it says."""
    data = storage.read_json(manifest_name(task))
    if not isinstance(data, dict) or data.get("fingerprint") != fingerprint or data.get("format") != FORMAT:
        return None
    try:
        manifest = Manifest(**data)
    except TypeError:
        return None
    for file in manifest.files.values():
        if storage.size(file["name"]) != file["bytes"]:
            return None
    return manifest


def commit(storage: Storage, manifest: Manifest, asides: Sequence[tuple[str | None, str]]) -> None:
    """Move the files (`aside` path, final name) in place and write the manifest: the task is done after this."""
    name = manifest_name(manifest.task)
    old = storage.read_json(name)
    if isinstance(old, dict) and (old.get("fingerprint"), old.get("files")) != (manifest.fingerprint, manifest.files):
        storage.remove(name)
        for file in old.get("files", {}).values():
            if file["name"] not in {new["name"] for new in manifest.files.values()}:
                storage.remove(file["name"])
    folders = set()
    for aside, final in asides:
        if aside is not None:
            os.replace(aside, storage.path(final))
            folders.add(os.path.dirname(storage.path(final)))
    for folder in folders:  # the renames themselves must survive a power cut before the manifest may
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    storage.write_json(name, manifest.__dict__)


def checked_file(storage: Storage, name: str, xxh128: str) -> pa.NativeFile:
    """A file of an earlier task, to read. CorruptFile if its content is not what was committed.

    Hashing takes a tenth of a millisecond a megabyte, a hundredth of what reading parquet takes.
    """
    try:
        path = storage.path(name)
        buffer = pa.memory_map(path).read_buffer() if storage.local else pa.py_buffer(storage.read(name))
    except (FileNotFoundError, pa.ArrowInvalid) as error:
        raise CorruptFile(name) from error
    if xxhash.xxh3_128_hexdigest(buffer) != xxh128:
        raise CorruptFile(name)
    return pa.BufferReader(buffer)


def verify(storage: Storage, manifest: Manifest) -> list[str]:
    """Names of the task's files whose content is not what was committed (full read)."""
    bad = []
    for file in manifest.files.values():
        try:
            with storage.open(file["name"]) as handle:
                if hash_file(handle) != (file["bytes"], file["xxh128"]):
                    bad.append(file["name"])
        except OSError:
            bad.append(file["name"])
    return bad


def sweep_pending(storage: Storage) -> int:
    """Remove files that killed tasks left unfinished; returns how many."""
    if not storage.local:
        return 0
    left = [name for name in storage.names() if name.endswith(PENDING)]
    for name in left:
        storage.remove(name)
    return len(left)


class Corpus:
    """The shards of one folder of a run, in plan order, as the manifests list them (never by globbing).

    for batch in Corpus("out/web").batches(columns=["text"]): ...
    """

    def __init__(self, run: str, folder: str = "documents"):
        self.storage = Storage(run)
        info = self.storage.read_json("run.json")
        if info is None:
            raise FileNotFoundError(f"{run}: not a run's folder (it has no run.json)")
        self.folder = folder
        self.files: list[dict[str, Any]] = info.get("files", {}).get(folder, [])

    def __len__(self) -> int:
        return sum(file["rows"] for file in self.files)

    def shards(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """One table per shard."""
        for file in self.files:
            with self.storage.open(file["name"]) as handle:
                yield pq.read_table(handle, columns=list(columns) if columns else None)

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """One table per row group: bounded memory whatever the shard's size."""
        for file in self.files:
            with self.storage.open(file["name"]) as handle:
                parquet = pq.ParquetFile(handle)
                for group in range(parquet.num_row_groups):
                    yield parquet.read_row_group(group, columns=list(columns) if columns else None)

    def table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Everything in one table."""
        tables = list(self.shards(columns))
        return pa.concat_tables(tables, promote_options="permissive") if tables else pa.table({})

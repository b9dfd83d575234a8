"""Reads a folder of packed rows as a trainer needs it: any row group, at any time, from a local disk or a URL.

The folder's manifest is believed only as far as it agrees with the files: their list and sizes when the folder is
opened, the columns, rows and row groups of a file when it is first read, the shape of every row group that is decoded,
and the checksums that parquet keeps of its pages. A difference stops the training with one line; what it cannot see,
`curation shards verify` counts again.

Trade-off: files are opened anew for every read. Opening costs 0.1 ms on a local disk and one request in an object
store, and so the reader holds no handle that a forked worker or another thread could disturb; only footers are kept.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from curation.errors import ConfigError, CurationError

MANIFEST = "_manifest.json"
#: Version of the manifest and columns that this reader knows.
VERSION = 1
#: Requests under way at once, for footers and row groups of a folder that is not local.
_REQUESTS = 16


@dataclass(frozen=True)
class RowGroup:
    """A decoded row group: ids int32 [rows, L]; the lengths of row i's pieces are lens[starts[i]:starts[i + 1]]."""

    ids: np.ndarray
    lens: np.ndarray
    starts: np.ndarray


def tokenizer_sha256(tokenizer: str) -> str:
    """SHA-256 of a tokenizer: of the `tokenizer.json` (or `.json.xz`, decompressed) at a path, or given as hex.

    ConfigError if it is neither.
    """
    if re.fullmatch(r"[0-9a-f]{64}", tokenizer):
        return tokenizer
    try:
        data = Path(tokenizer).read_bytes()
        return hashlib.sha256(lzma.decompress(data) if tokenizer.endswith(".xz") else data).hexdigest()
    except (OSError, lzma.LZMAError) as error:
        raise ConfigError(
            f"tokenizer '{tokenizer}': expected a SHA-256 or the path of a tokenizer.json: {error}"
        ) from error


class PackFolder:
    """A folder of packed rows. Row groups are numbered through all files, in the manifest's order.

    url: local path or fsspec URL. ConfigError if it is no such folder, or its files are not those of its manifest.
    group_rows: int64, rows of each row group. Public facts of the manifest: stage, sequence_length, eod_id, pad_id,
    tokenizer (name, sha256, vocab_size), rows, tokens, digest (SHA-256 of the manifest).
    """

    def __init__(self, url: str):
        self.url = os.path.expanduser(url) if "://" not in url else url.rstrip("/")
        fs, root = fsspec.core.url_to_fs(self.url)
        self.local = isinstance(fs, LocalFileSystem)
        try:
            text = fs.cat_file(f"{root}/{MANIFEST}")
        except (FileNotFoundError, NotADirectoryError) as error:
            raise ConfigError(f"{url}: not a folder of packed rows: it has no {MANIFEST}") from error
        self.digest = hashlib.sha256(text).hexdigest()
        try:
            self._read_manifest(json.loads(text))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(
                f"{url}/{MANIFEST}: expected a manifest of packed rows, version {VERSION}: {error!r}"
            ) from error
        self._footers: dict[int, pq.FileMetaData] = {}
        self._check_files(fs, root)
        per_file = self._rows_of_groups()
        self._first_group = np.cumsum([0, *map(len, per_file)])
        self.group_rows = np.concatenate([np.empty(0, np.int64), *per_file])

    def _read_manifest(self, data: dict[str, Any]) -> None:
        if data["format"] != "packed" or data["version"] != VERSION:
            raise ValueError(f"format '{data['format']}', version {data['version']}")
        self.stage, self.sequence_length = str(data["stage"]), int(data["sequence_length"])
        self.eod_id, self.pad_id = int(data["eod_id"]), int(data["pad_id"])
        self.tokenizer: dict[str, Any] = data["tokenizer"]
        self.tokenizer["sha256"], self.tokenizer["vocab_size"]
        self.rows, self.tokens = int(data["rows"]), int(data["tokens"])
        self._files: list[dict[str, Any]] = [f for f in data["files"] if f["rows"]]
        self._uniform = data.get("row_group_rows")
        if sum(f["rows"] for f in self._files) != self.rows or not self.rows:
            raise ValueError(f"its files have {sum(f['rows'] for f in self._files)} rows, it says {self.rows}")

    def _wrong(self, what: str) -> ConfigError:
        return ConfigError(f"{self.url}: {what}; make the folder again, or take a whole copy of it")

    def _path(self, file: int) -> str:
        return f"{self.url}/{self._files[file]['path']}"

    def _check_files(self, fs: Any, root: str) -> None:
        """One listing: every file of the manifest is there, in its size, and no part that it does not know."""
        root = root.rstrip("/")
        fs.invalidate_cache()
        there = {path[len(root) + 1 :]: info["size"] for path, info in fs.find(root, detail=True).items()}
        for file in self._files:
            size = there.pop(file["path"], None)
            if size is None:
                raise self._wrong(f"{file['path']} is missing")
            if size != file.get("bytes", size):
                raise self._wrong(f"{file['path']} has {size:,} bytes, the manifest says {file['bytes']:,}")
        strangers = sorted(name for name in there if name.endswith(".parquet") and "/" not in name)
        if strangers:
            raise self._wrong(f"the manifest does not know {strangers[0]}")

    def _rows_of_groups(self) -> list[np.ndarray]:
        """Rows of each row group of each file: from the manifest where it tells, else from the footers."""
        if self._uniform:
            sizes = []
            for file in self._files:
                whole, rest = divmod(file["rows"], self._uniform)
                sizes.append(np.array([self._uniform] * whole + ([rest] if rest else []), np.int64))
            return sizes
        with ThreadPoolExecutor(1 if self.local else _REQUESTS) as pool:
            return list(pool.map(lambda i: _group_rows(self._footer(i)), range(len(self._files))))

    def _open(self, file: int, footer: pq.FileMetaData | None = None) -> pq.ParquetFile:
        path = self._path(file)
        if self.local:
            path = path.removeprefix("file://")
            return pq.ParquetFile(path, metadata=footer, page_checksum_verification=True)
        fs, name = fsspec.core.url_to_fs(path)
        # Two column chunks in a row of a hundred: read-ahead would fetch what is not asked for.
        handle = fs.open(name, "rb", cache_type="none")
        return pq.ParquetFile(handle, metadata=footer, pre_buffer=True, page_checksum_verification=True)

    def _footer(self, file: int) -> pq.FileMetaData:
        """Footer of a file, checked against the manifest when it is first read."""
        if file not in self._footers:
            name, rows = self._files[file]["path"], self._files[file]["rows"]
            try:
                with self._open(file) as parquet:
                    found, schema = parquet.metadata, parquet.schema_arrow
            except (OSError, pa.ArrowInvalid) as error:
                raise self._wrong(f"{name} cannot be read: {error}") from error
            for column in ("input_ids", "doc_lens"):
                kind = schema.field(column).type if column in schema.names else None
                if not (isinstance(kind, pa.ListType) and kind.value_type == pa.int32()):
                    raise self._wrong(f"{name} has no column '{column}' of int32 lists")
            if found.num_rows != rows:
                raise self._wrong(f"{name} has {found.num_rows:,} rows, the manifest says {rows:,}")
            if self._uniform and (_group_rows(found)[:-1] != self._uniform).any():
                raise self._wrong(f"{name} has row groups of other sizes than the manifest's {self._uniform:,} rows")
            self._footers[file] = found
        return self._footers[file]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_footers": {}}  # footers cannot be pickled, and are read again where needed

    def read(self, groups: list[int], columns: tuple[str, ...] = ("input_ids", "doc_lens")) -> dict[int, pa.Table]:
        """Row groups as tables, by their number. CurationError if one cannot be read.

        From a URL several files are read at once, because the time goes into waiting.
        """
        by_file: dict[int, list[int]] = {}
        for group in groups:
            by_file.setdefault(int(np.searchsorted(self._first_group, group, side="right")) - 1, []).append(group)

        def read_file(file: int) -> dict[int, pa.Table]:
            first = int(self._first_group[file])
            try:
                with self._open(file, self._footer(file)) as parquet:
                    return {
                        g: parquet.read_row_group(g - first, columns=list(columns), use_threads=False)
                        for g in by_file[file]
                    }
            except (OSError, pa.ArrowInvalid) as error:
                raise CurationError(f"{self._path(file)}: a row group cannot be read: {error}") from error

        if self.local or len(by_file) == 1:
            found = [read_file(file) for file in by_file]
        else:
            with ThreadPoolExecutor(_REQUESTS) as pool:
                found = list(pool.map(read_file, by_file))
        return {group: table for tables in found for group, table in tables.items()}

    def decode(self, groups: list[int]) -> dict[int, RowGroup]:
        """Row groups as numpy arrays, by their number. CurationError if a row is not of the manifest's length."""
        return {group: self._decoded(group, table) for group, table in self.read(groups).items()}

    def _decoded(self, group: int, table: pa.Table) -> RowGroup:
        # One chunk, unless the file is remarkable; combine_chunks() would copy it all the same.
        columns = [table.column(name) for name in ("input_ids", "doc_lens")]
        ids, lens = (column.chunk(0) if column.num_chunks == 1 else column.combine_chunks() for column in columns)
        length = self.sequence_length
        if not pc.all(pc.equal(pc.list_value_length(ids), length)).as_py():
            file = int(np.searchsorted(self._first_group, group, side="right")) - 1
            raise CurationError(f"{self._path(file)}: a row is not {length:,} tokens long, as the manifest says")
        starts = lens.offsets.to_numpy()
        return RowGroup(ids.flatten().to_numpy().reshape(-1, length), lens.flatten().to_numpy(), starts - starts[0])


def _group_rows(footer: pq.FileMetaData) -> np.ndarray:
    return np.array([footer.row_group(i).num_rows for i in range(footer.num_row_groups)], np.int64)

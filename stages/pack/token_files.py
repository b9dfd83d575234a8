"""Reads token ids where they lie: rows of token shards, a row group at a time.

Mixing decides by counts and labels; the ids themselves, a hundred times as many bytes, are read once, when documents
are sent to the windows they are packed in. Documents of a batch are consecutive rows of a file, nearly always, so the
row group that was read last serves the next batch, too.
"""

from __future__ import annotations

import json
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curation.errors import CurationError, ResourceUnavailable

#: What a token shard's footer must say; stages/tokenize writes it.
IDENTITY = ("tokenizer", "tokenizer_sha256", "vocab_size", "eod_id")


def identity(schema: pa.Schema, path: str) -> dict[str, Any]:
    """Who made the ids of a token shard: name, sha256, vocab_size, eod_id. CurationError if its footer does not say."""
    about = {key.decode(): value.decode() for key, value in (schema.metadata or {}).items()}
    missing = [key for key in IDENTITY if key not in about]
    if missing:
        raise CurationError(f"{path}: no token shard: its footer lacks `{missing[0]}`, which the stage tokenize writes")
    return {
        "name": about["tokenizer"],
        "sha256": about["tokenizer_sha256"],
        "vocab_size": int(about["vocab_size"]),
        "eod_id": int(about["eod_id"]),
    }


class TokenFiles:
    """Token ids by file and row. Keeps the file and the row group that were read last."""

    def __init__(self) -> None:
        self._path = ""
        self._file: pq.ParquetFile | None = None
        self._starts = np.zeros(1, np.int64)
        self._group = -1
        self._ids: pa.Array | None = None
        self._identity = ""

    def _open(self, path: str) -> pq.ParquetFile:
        if self._file is None or path != self._path:
            self.close()
            self._file = pq.ParquetFile(fsspec.open(path, "rb").open())
            about = self._file.metadata
            sizes = [about.row_group(i).num_rows for i in range(about.num_row_groups)]
            self._starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
            self._path, self._group = path, -1
            self._identity = json.dumps(identity(self._file.schema_arrow, path))
        return self._file

    def identity(self, path: str) -> str:
        """`identity` of a file, as JSON."""
        self._open(path)
        return self._identity

    def ids(self, path: str, rows: np.ndarray) -> pa.ChunkedArray:
        """Token ids (list<int32>) of some rows of a file, in their order.

        ResourceUnavailable if the file cannot be read: no document is to blame, and the run can be started again.
        """
        try:
            file = self._open(path)
            groups = np.searchsorted(self._starts, rows, side="right") - 1
            cuts = np.flatnonzero(np.diff(groups)) + 1
            parts = []
            for some in np.split(np.arange(len(rows)), cuts) if len(rows) else []:
                group = int(groups[some[0]])
                if group != self._group or self._ids is None:
                    self._ids = file.read_row_group(group, columns=["input_ids"])["input_ids"].combine_chunks()
                    self._group = group
                places = rows[some] - self._starts[group]
                if len(places) == places[-1] - places[0] + 1:  # consecutive: no copy
                    parts.append(self._ids.slice(int(places[0]), len(places)))
                else:
                    parts.append(self._ids.take(pa.array(places)))
        except (OSError, pa.ArrowException, IndexError) as error:
            raise ResourceUnavailable(f"{path}: its token ids cannot be read: {error}") from error
        return pa.chunked_array(parts, type=parts[0].type if parts else pa.list_(pa.int32()))

    def of_documents(self, docs: pa.Table) -> pa.ChunkedArray:
        """Token ids of documents (large_list<int32>) with the columns `token_file` and `position`, in their order."""
        parts: list[pa.Array] = []
        paths = docs["token_file"].combine_chunks().dictionary_encode()
        rows, codes = docs["position"].to_numpy(), paths.indices.to_numpy()
        cuts = np.flatnonzero(np.diff(codes)) + 1
        for some in np.split(np.arange(len(codes)), cuts) if len(codes) else []:
            path = paths.dictionary[int(codes[some[0]])].as_py()
            parts += self.ids(path, rows[some]).chunks
        kind = pa.large_list(pa.int32())
        return pa.chunked_array([pc.cast(part, kind) for part in parts], type=kind)

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close(force=True)
        self._file, self._ids, self._path = None, None, ""

"""Rewrites shards for trainers that do not read parquet, token for token.

A folder of packed rows is exported as it is packed: each row stays a window of the trainer (nanotron's are one token
longer than its sequence length, see `how_to_read`). A folder of tokenized documents becomes documents one after
another, each with the end-of-document id that shards leave out; the trainer cuts them as it likes. Documents without
tokens are left out.

Trade-off: one output file for each shard, written row group by row group, so that memory stays at one row group and a
file can be traced to its shard. What is exported is a copy without labels: parquet stays the thing to keep.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, BinaryIO

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from curation.errors import ConfigError, CurationError
from stages.pack.shards import MANIFEST, read_manifest
from stages.pack.trainer_formats import FORMATS, Chunk, Origin, how_to_read

#: What is written last; a folder without it is not a whole export.
FACTS = "_export.json"


@dataclass
class Exported:
    """What an export wrote. pieces: documents, or parts of them in packed rows; tokens: with padding and ends of
    documents; read_by: the trainer's call."""

    format: str
    source: str
    tokenizer: dict[str, Any]
    sequence_length: int | None
    eod_id: int
    pad_id: int
    dtype: str
    rows: int = 0
    pieces: int = 0
    tokens: int = 0
    empty_documents: int = 0
    files: list[str] = field(default_factory=list)
    read_by: str = ""


@dataclass(frozen=True)
class _Source:
    """A folder to export: its files with their checksums ("" if none is known), and what the manifest would say."""

    url: str
    files: list[tuple[str, str]]
    sequence_length: int
    tokenizer: dict[str, Any]
    pad_id: int


def _open_source(url: str) -> _Source:
    fs, root = fsspec.core.url_to_fs(url)
    root = root.rstrip("/")
    if fs.exists(f"{root}/{MANIFEST}"):
        manifest = read_manifest(url)
        files = [(file["path"], file["xxh64"]) for file in manifest.files]
        return _Source(url, files, manifest.sequence_length, manifest.tokenizer, manifest.pad_id)
    paths = sorted(path for path in fs.find(root) if path.endswith(".parquet")) if fs.exists(root) else []
    if not paths:
        raise ConfigError(f"{url}: expected a folder of packed rows or of token shards; it has no parquet file")
    identities = []
    for path in paths:
        with fs.open(path, "rb") as file:
            identities.append(_identity(pq.read_schema(file), f"{url}/{path[len(root) + 1 :]}"))
        if identities[-1] != identities[0]:
            raise ConfigError(f"{url}/{path[len(root) + 1 :]}: made with another tokenizer than {paths[0]}")
    names = [(path[len(root) + 1 :], "") for path in paths]
    return _Source(url, names, 0, identities[0], identities[0]["eod_id"])


def _identity(schema: pa.Schema, path: str) -> dict[str, Any]:
    about = {key.decode(): value.decode() for key, value in (schema.metadata or {}).items()}
    keys = {"tokenizer": "name", "tokenizer_sha256": "sha256", "vocab_size": "vocab_size", "eod_id": "eod_id"}
    missing = [key for key in keys if key not in about]
    if missing or "input_ids" not in schema.names:
        what = f"metadata `{missing[0]}`" if missing else "column `input_ids`"
        raise ConfigError(f"{path}: not a token shard: it has no {what}, which the stage `tokenize` writes")
    return {name: int(about[key]) if key in ("vocab_size", "eod_id") else about[key] for key, name in keys.items()}


def _packed_chunk(table: pa.Table, source: _Source, path: str) -> Chunk:
    ids, lens, names = (table[name].combine_chunks() for name in ("input_ids", "doc_lens", "doc_ids"))
    flat, sizes = ids.flatten().to_numpy(), lens.flatten().to_numpy().astype(np.int64)
    ends_of_rows = lens.offsets.to_numpy().astype(np.int64)
    ends_of_rows = ends_of_rows - ends_of_rows[0]
    before = np.concatenate([[0], np.cumsum(sizes)])[ends_of_rows]
    padding = source.sequence_length - np.diff(before)
    if len(flat) != table.num_rows * source.sequence_length or (padding < 0).any():
        raise CurationError(f"{path}: its rows are not of {source.sequence_length:,} tokens, as the manifest says")
    padded = np.flatnonzero(padding)
    at = ends_of_rows[1:][padded]
    all_sizes = np.insert(sizes, at, padding[padded])
    all_names = np.insert(names.flatten().to_numpy(zero_copy_only=False).astype(object), at, "")
    starts = np.cumsum(all_sizes) - all_sizes
    is_padding = np.zeros(len(all_sizes), bool)
    is_padding[at + np.arange(len(at))] = True
    predicted = ~np.repeat(is_padding, all_sizes)
    predicted[starts] = False
    return Chunk(flat, all_sizes, pa.array(all_names, pa.string()), source.sequence_length, predicted)


def _documents_chunk(table: pa.Table, source: _Source) -> tuple[Chunk, int]:
    """The documents of a row group, each with its end; and how many had no tokens."""
    ids = table["input_ids"].combine_chunks()
    key = "doc_id" if "doc_id" in table.column_names else "id"
    lens = np.diff(ids.offsets.to_numpy()).astype(np.int64)
    some = np.flatnonzero(lens)
    names = table[key].combine_chunks().cast(pa.string()).take(pa.array(some))
    ends = np.cumsum(lens[some] + 1)
    flat = np.full(int(ends[-1]) if len(ends) else 0, source.tokenizer["eod_id"], np.int32)
    keep = np.ones(len(flat), bool)
    keep[ends - 1] = False
    flat[keep] = ids.flatten().to_numpy()
    return Chunk(flat, lens[some] + 1, names), int(len(lens) - len(some))


def _chunks(source: _Source, name: str, checksum: str) -> Iterator[tuple[Chunk, int]]:
    """A shard's row groups, and the documents without tokens in each. CurationError at its end if it was altered."""
    path, digest = f"{source.url.rstrip('/')}/{name}", xxhash.xxh64()
    try:
        with fsspec.open(path, "rb") as handle:
            parquet = pq.ParquetFile(handle, page_checksum_verification=True)
            for group in range(parquet.num_row_groups):
                if source.sequence_length:
                    table = parquet.read_row_group(group, columns=["input_ids", "doc_lens", "doc_ids"])
                    chunk = _packed_chunk(table, source, path)
                    digest.update(np.ascontiguousarray(chunk.ids, "<i4").data)
                    yield chunk, 0
                else:
                    names = [n for n in ("input_ids", "doc_id", "id") if n in parquet.schema_arrow.names]
                    yield _documents_chunk(parquet.read_row_group(group, columns=names), source)
    except (OSError, pa.ArrowInvalid, KeyError) as error:
        raise CurationError(f"{path}: cannot be read: {error}") from error
    if checksum and digest.hexdigest() != checksum:
        raise CurationError(
            f"{path}: its ids are not those of the manifest (xxh64 {digest.hexdigest()}, not {checksum})"
        )


def export(folder: str, to: str, out: str, tokenizer_name: str = "") -> Exported:
    """Write a folder of packed rows, or of token shards, in a trainer's format.

    to: a name of `FORMATS`. out: folder or URL, which must be empty. tokenizer_name: what nanotron's metadata calls the
    tokenizer (it loads it by that name); default: the shards' own name. ConfigError for a folder that is neither, or an
    `out` that is not empty; CurationError if a shard is damaged: what was written until then has no `_export.json`.
    """
    if to not in FORMATS:
        raise ConfigError(f"--to {to}: expected one of {', '.join(FORMATS)}")
    source = _open_source(folder)
    fs, root = fsspec.core.url_to_fs(out)
    root = root.rstrip("/")
    if fs.exists(root) and fs.find(root):
        raise ConfigError(f"{out}: expected an empty folder to export to; it has {len(fs.find(root))} files")

    def open_file(name: str) -> BinaryIO:
        fs.makedirs(f"{root}/{name}".rpartition("/")[0], exist_ok=True)
        return fs.open(f"{root}/{name}", "wb")

    who = source.tokenizer
    vocab_size, eod_id = int(who["vocab_size"]), int(who["eod_id"])
    dtype = FORMATS[to].dtype(vocab_size).name if to != "hf" else "int32"
    done = Exported(to, folder, who, source.sequence_length or None, eod_id, source.pad_id, dtype)
    origin = Origin(tokenizer_name or str(who["name"]), vocab_size)
    for path, checksum in source.files:
        name = path.removesuffix(".parquet").replace("/", "_")
        writer = FORMATS[to](name, origin, open_file)
        try:
            for chunk, empty in _chunks(source, path, checksum):
                writer.add(chunk)
                done.tokens += len(chunk.ids)
                done.pieces += int((chunk.names.to_numpy(zero_copy_only=False) != "").sum())
                done.rows += len(chunk.ids) // chunk.row_length if chunk.row_length else len(chunk.lens)
                done.empty_documents += empty
        except BaseException:
            writer.abort()
            raise
        writer.close()
        done.files += writer.files
    done.read_by = how_to_read(to, source.sequence_length, vocab_size, eod_id, source.pad_id, out)
    with open_file(FACTS) as file:
        file.write((json.dumps(asdict(done), indent=1, ensure_ascii=False) + "\n").encode())
    return done

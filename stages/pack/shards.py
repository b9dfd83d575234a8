"""The packed product: a folder of training rows for one stage of training, and the manifest that vouches for it.

One parquet row is one training row of exactly `sequence_length` token ids. What a row is made of stands beside it: the
length of each piece (for attention masks and positions), the document it comes from, and where in that document it
starts, so that anybody can count again that each token is there exactly as often as the plan says.

    packed/<stage>/part-00000.parquet    rows, already shuffled
    packed/<stage>/_manifest.json        counts and checksums; a reader refuses a folder that does not agree with it

Trade-off: `doc_ids` repeats 32 characters for every piece, about 0.3 bits a token after compression. That is the price
for a folder which can be checked and traced without the run that made it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
from fsspec.implementations.local import LocalFileSystem

from curation.errors import CurationError

#: Version of the columns and of the manifest.
VERSION = 1
MANIFEST = "_manifest.json"
#: Tokens in a row group, about: the grain at which a loader seeks.
GROUP_TOKENS = 1 << 20


def _list(kind: pa.DataType) -> pa.DataType:
    return pa.list_(pa.field("element", kind, nullable=False))


#: Columns of a part.
SCHEMA = pa.schema(
    [
        pa.field("input_ids", _list(pa.int32()), nullable=False, metadata={"meaning": "token ids, a whole row"}),
        pa.field(
            "doc_lens",
            _list(pa.int32()),
            nullable=False,
            metadata={"meaning": "tokens of each piece in the row, end of document included; the rest is padding"},
        ),
        pa.field("doc_ids", _list(pa.string()), nullable=False, metadata={"meaning": "document of each piece"}),
        pa.field(
            "doc_starts",
            _list(pa.int32()),
            nullable=False,
            metadata={"meaning": "token of that document at which the piece starts"},
        ),
    ]
)


@dataclass(frozen=True)
class TokenizerIdentity:
    """What made the ids; two folders can be mixed only if it is equal."""

    name: str
    sha256: str
    vocab_size: int
    eod_id: int


@dataclass
class Part:
    """One file of a folder: `tokens` without padding, `xxh64` of the values of `input_ids` as little-endian int32."""

    path: str
    rows: int
    tokens: int
    pieces: int
    xxh64: str


@dataclass
class PackedManifest:
    """The content of `_manifest.json`. `documents` counts copies: a document that is there twice counts twice.

    `length_histogram`: documents by their length with end of document, {"4096": n} for 4,096 to 8,191 tokens.
    `shares`: rows of the mixture's plan (see stages/mix), empty where the folder was made without one.
    """

    stage: str
    sequence_length: int
    eod_id: int
    pad_id: int
    tokenizer: dict[str, Any]
    rows: int = 0
    tokens: int = 0
    padding: int = 0
    documents: int = 0
    cut_documents: int = 0
    length_histogram: dict[str, int] = field(default_factory=dict)
    shares: list[dict[str, Any]] = field(default_factory=list)
    files: list[dict[str, Any]] = field(default_factory=list)
    run: str = ""
    format: str = "packed"
    version: int = VERSION

    def to_json(self) -> str:
        """The text of the file, keys in the order above."""
        data = asdict(self)
        head = {"format": data.pop("format"), "version": data.pop("version")}
        return json.dumps(head | data, indent=1, ensure_ascii=False) + "\n"


def packed_table(
    ids: np.ndarray,
    sequence_length: int,
    row_pieces: np.ndarray,
    doc_lens: np.ndarray,
    doc_ids: pa.Array,
    doc_starts: np.ndarray,
) -> pa.Table:
    """A table of packed rows from flat arrays.

    ids: int32, shape (rows * sequence_length,), padding filled in; row_pieces: pieces of each row, shape (rows,);
    doc_lens, doc_ids, doc_starts: one entry per piece, in row order.
    """
    rows = len(row_pieces)
    if len(ids) != rows * sequence_length:
        raise ValueError(f"{len(ids)} ids do not make {rows} rows of {sequence_length}")
    if len(ids) >= 1 << 31:
        raise ValueError(f"a part of {len(ids)} tokens does not fit an Arrow list array; use smaller windows")
    ends = pa.array(np.arange(rows + 1, dtype=np.int64) * sequence_length, pa.int32())
    pieces = pa.array(np.concatenate([[0], np.cumsum(row_pieces)]), pa.int32())
    columns = [
        (ends, pa.array(ids, pa.int32())),
        (pieces, pa.array(doc_lens, pa.int32())),
        (pieces, doc_ids),
        (pieces, pa.array(doc_starts, pa.int32())),
    ]
    arrays = [pa.ListArray.from_arrays(o, v, type=f.type) for (o, v), f in zip(columns, SCHEMA, strict=True)]
    return pa.table(arrays, schema=SCHEMA)


def ids_digest(ids: np.ndarray) -> str:
    """XXH64 (seed 0) of token ids as little-endian int32."""
    return xxhash.xxh64_hexdigest(np.ascontiguousarray(ids, "<i4").data)


def length_histogram(lengths: np.ndarray) -> dict[str, int]:
    """Counts of document lengths (with end of document) by the power of two at or below them."""
    if not len(lengths):
        return {}
    powers, counts = np.unique(np.log2(lengths).astype(np.int64), return_counts=True)
    return {str(1 << p): n for p, n in zip(powers.tolist(), counts.tolist(), strict=True)}


def write_part(path: str, table: pa.Table) -> Part:
    """Write one part outside a run (`path`: local or fsspec URL; its folder must exist) and describe it."""
    length = len(table["input_ids"][0]) if table.num_rows else 1
    with (
        fsspec.open(path, "wb") as file,
        pq.ParquetWriter(
            file,
            SCHEMA,
            compression="zstd",
            compression_level=1,
            use_dictionary=["doc_ids"],
            write_page_checksum=True,
        ) as writer,
    ):
        writer.write_table(table.cast(SCHEMA), row_group_size=max(1, GROUP_TOKENS // length))
    return describe(path.rpartition("/")[2], table)


def describe(name: str, table: pa.Table) -> Part:
    """What the manifest says of a part."""
    ids, lens = (table[c].combine_chunks() for c in ("input_ids", "doc_lens"))
    lengths = lens.flatten().to_numpy()
    digest = ids_digest(ids.flatten().to_numpy())
    return Part(name, table.num_rows, int(lengths.sum(dtype=np.int64)), len(lengths), digest)


def write_manifest(folder: str, manifest: PackedManifest) -> None:
    """Write `_manifest.json` into a folder; last, because it vouches for the parts."""
    fs, root = fsspec.core.url_to_fs(folder)
    name, content = f"{root.rstrip('/')}/{MANIFEST}", manifest.to_json().encode()
    if not isinstance(fs, LocalFileSystem):
        fs.pipe_file(name, content)  # an object store shows an object only once it is whole
        return
    aside = f"{root.rstrip('/')}/.{MANIFEST}.pending"
    with open(aside, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, name)


def read_manifest(folder: str) -> PackedManifest:
    """The manifest of a folder. CurationError if there is none, or none that this version reads."""
    fs, root = fsspec.core.url_to_fs(folder)
    name = f"{root.rstrip('/')}/{MANIFEST}"
    try:
        data = json.loads(fs.cat_file(name))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CurationError(f"{folder}: no folder of packed rows (it has no {MANIFEST})") from error
    except ValueError as error:
        raise CurationError(f"{folder}/{MANIFEST}: not JSON: {error}") from error
    if not isinstance(data, dict) or data.get("format") != "packed" or data.get("version") != VERSION:
        raise CurationError(f"{folder}/{MANIFEST}: expected format 'packed', version {VERSION}")
    try:
        return PackedManifest(**data)
    except TypeError as error:
        raise CurationError(f"{folder}/{MANIFEST}: {error}") from error


def write_folder(
    folder: str,
    stage: str,
    tokenizer: TokenizerIdentity,
    sequence_length: int,
    tables: Sequence[pa.Table],
    run: str = "",
) -> PackedManifest:
    """Write a whole folder from tables of packed rows, a part each. For tests and for rows packed elsewhere."""
    fs, root = fsspec.core.url_to_fs(folder)
    fs.makedirs(root, exist_ok=True)
    manifest = PackedManifest(stage, sequence_length, tokenizer.eod_id, tokenizer.eod_id, asdict(tokenizer), run=run)
    whole: list[np.ndarray] = []  # lengths of documents, from the pieces that end them
    for i, table in enumerate(tables):
        part = write_part(f"{folder.rstrip('/')}/part-{i:05d}.parquet", table)
        manifest.files.append(asdict(part))
        manifest.rows += part.rows
        manifest.tokens += part.tokens
        ids, lens, starts = (table[c].combine_chunks() for c in ("input_ids", "doc_lens", "doc_starts"))
        lengths = lens.flatten().to_numpy().astype(np.int64)
        row = np.repeat(np.arange(len(lens)), np.diff(lens.offsets.to_numpy()))
        before = np.concatenate([[0], np.cumsum(lengths)])  # tokens in earlier pieces, padding left out
        last = before[1:] - before[lens.offsets.to_numpy()[:-1]][row] + row * sequence_length - 1
        begins, ends = starts.flatten().to_numpy() == 0, ids.flatten().to_numpy()[last] == tokenizer.eod_id
        manifest.documents += int(begins.sum())
        manifest.cut_documents += int((begins & ~ends).sum())
        whole.append((starts.flatten().to_numpy() + lengths)[ends])
    manifest.padding = manifest.rows * sequence_length - manifest.tokens
    manifest.length_histogram = length_histogram(np.concatenate(whole)) if whole else {}
    write_manifest(folder, manifest)
    return manifest


def read_parts(folder: str, manifest: PackedManifest, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """The parts of a folder in the manifest's order, a row group at a time."""
    for file in manifest.files:
        with fsspec.open(f"{folder.rstrip('/')}/{file['path']}", "rb") as handle:
            parquet = pq.ParquetFile(handle)
            for group in range(parquet.num_row_groups):
                yield parquet.read_row_group(group, columns=list(columns) if columns else None)

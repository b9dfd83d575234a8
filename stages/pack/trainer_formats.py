"""The files that trainers read, written from their descriptions: what stands in them, byte by byte.

All but Hugging Face's are one flat array of ids with the ends of documents beside it:

    nanotron   NAME.ds            ids, uint16 or uint32, little endian
               NAME.ds.index      end of each document in tokens, uint64
               NAME.ds.loss       packed rows only: one byte a token, 0 where it is not to be predicted
               NAME.ds.metadata   three lines: tokenizer|bytes per id; tokens; tokens for people
    OLMo-core  NAME.npy           ids, uint16 or uint32; raw, without a numpy header
               NAME.csv.gz        start,end,id of each document
               label_mask/NAME.npy  packed rows only: one byte a token, as above
    Megatron   NAME.bin           ids, uint16 or int32
               NAME.idx           `MMIDIDX\\0\\0`, version 1 (u64), code of the type (u8), number of sequences (u64), of
                                  documents + 1 (u64); lengths (i32), byte offsets (i64), first sequence of each
                                  document and their number (i64)
    hf         NAME.parquet       packed rows: input_ids, position_ids, labels (not shifted), seq_lengths; documents:
                                  input_ids, id

Trade-off: a document is ended by its id in all of them, but only `.ds.index`, `.csv.gz` and parquet say where a piece
that was cut ends. Megatron finds documents by the end-of-document id, so a packed row is one of its sequences: cut
pieces end where rows end.
"""

from __future__ import annotations

import gzip
import io
import struct
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

#: Label of a token that is not to be predicted, as torch and transformers have it.
IGNORED = -100


@dataclass(frozen=True)
class Chunk:
    """Some consecutive tokens of a file, ends of documents included.

    ids: int32 [n]. lens: int64, tokens of each document or piece of one, and of each row's padding; they sum to n.
    names: id of each document, "" for padding. row_length: of packed rows, n is a multiple of it; 0 for documents.
    predicted: bool [n], false on padding and on the first token of every piece; None for whole documents.
    """

    ids: np.ndarray
    lens: np.ndarray
    names: pa.Array
    row_length: int = 0
    predicted: np.ndarray | None = None


@dataclass(frozen=True)
class Origin:
    """What a format needs to know of the shards: the tokenizer's name and the size of its vocabulary."""

    tokenizer: str
    vocab_size: int


#: Opens a file to write by its name in the folder.
Opener = Callable[[str], BinaryIO]


class Writer:
    """Writes the files of one shard. `close` must be called, and completes them."""

    def __init__(self, name: str, origin: Origin, open_file: Opener):
        self.name, self.origin, self._open = name, origin, open_file
        self.files: list[str] = []
        self._stack = ExitStack()

    def _file(self, name: str) -> BinaryIO:
        self.files.append(name)
        return self._stack.enter_context(self._open(name))

    @staticmethod
    def dtype(vocab_size: int) -> np.dtype:
        """Type of an id on disk: the smallest that holds the vocabulary."""
        return np.dtype("<u2" if vocab_size <= 1 << 16 else "<u4")

    def add(self, chunk: Chunk) -> None:
        raise NotImplementedError

    def close(self) -> None:
        self._stack.close()

    def abort(self) -> None:
        """Let go of the files after an error."""
        self._stack.close()


class Nanotron(Writer):
    """Files of datatrove's tokenizer, which nanotron reads through datatrove's dataset."""

    def __init__(self, name: str, origin: Origin, open_file: Opener):
        super().__init__(name, origin, open_file)
        self._ids = self._file(f"{name}.ds")
        self._index = self._file(f"{name}.ds.index")
        self._loss: BinaryIO | None = None
        self._tokens = 0

    def add(self, chunk: Chunk) -> None:
        self._ids.write(chunk.ids.astype(self.dtype(self.origin.vocab_size)).tobytes())
        self._index.write((np.cumsum(chunk.lens) + self._tokens).astype("<u8").tobytes())
        if chunk.predicted is not None:
            self._loss = self._loss or self._file(f"{self.name}.ds.loss")
            self._loss.write(chunk.predicted.tobytes())
        self._tokens += len(chunk.ids)

    def close(self) -> None:
        size = self.dtype(self.origin.vocab_size).itemsize
        lines = (f"{self.origin.tokenizer}|{size}", str(self._tokens), f"{self._tokens / 1e9:.3f} GT")
        self._file(f"{self.name}.ds.metadata").write("\n".join(lines).encode())
        super().close()


class Olmo(Writer):
    """Arrays and document indices as the Dolma toolkit writes them for OLMo-core."""

    def __init__(self, name: str, origin: Origin, open_file: Opener):
        super().__init__(name, origin, open_file)
        self._ids = self._file(f"{name}.npy")
        # No time stamp: the same shards, the same bytes.
        packed = gzip.GzipFile("", "wb", 1, self._file(f"{name}.csv.gz"), mtime=0)
        self._index = self._stack.enter_context(io.TextIOWrapper(packed, "utf-8", newline=""))
        self._mask: BinaryIO | None = None
        self._tokens = 0

    def add(self, chunk: Chunk) -> None:
        self._ids.write(chunk.ids.astype(self.dtype(self.origin.vocab_size)).tobytes())
        ends = (np.cumsum(chunk.lens) + self._tokens).tolist()
        rows = zip([self._tokens, *ends[:-1]], ends, chunk.names.to_pylist(), strict=True)
        self._index.write("".join(f"{start},{end},{name}\n" for start, end, name in rows))
        if chunk.predicted is not None:
            self._mask = self._mask or self._file(f"label_mask/{self.name}.npy")
            self._mask.write(chunk.predicted.tobytes())
        self._tokens += len(chunk.ids)


class Megatron(Writer):
    """Megatron-LM's indexed dataset: a sequence for each packed row, or for each document."""

    #: Codes of types in the index.
    _CODES = {"<u2": 8, "<i4": 4}  # noqa: RUF012

    def __init__(self, name: str, origin: Origin, open_file: Opener):
        super().__init__(name, origin, open_file)
        self._ids = self._file(f"{name}.bin")
        self._lens: list[np.ndarray] = []

    @staticmethod
    def dtype(vocab_size: int) -> np.dtype:
        """As Megatron chooses it, from the size of the vocabulary."""
        return np.dtype("<u2" if vocab_size < 65_500 else "<i4")

    def add(self, chunk: Chunk) -> None:
        self._ids.write(chunk.ids.astype(self.dtype(self.origin.vocab_size)).tobytes())
        rows = np.full(len(chunk.ids) // chunk.row_length, chunk.row_length) if chunk.row_length else chunk.lens
        self._lens.append(rows.astype("<i4"))

    def close(self) -> None:
        kind = self.dtype(self.origin.vocab_size)
        lens = np.concatenate([np.empty(0, "<i4"), *self._lens])
        offsets = (np.cumsum(lens, dtype=np.int64) - lens) * kind.itemsize
        index = self._file(f"{self.name}.idx")
        index.write(b"MMIDIDX\0\0")
        index.write(struct.pack("<QBQQ", 1, self._CODES[kind.str], len(lens), len(lens) + 1))
        for array in (lens, offsets.astype("<i8"), np.arange(len(lens) + 1, dtype="<i8")):
            index.write(array.tobytes())
        super().close()


_IDS = pa.list_(pa.field("element", pa.int32(), nullable=False))


class HuggingFace(Writer):
    """Parquet that `load_dataset` reads, with the columns that transformers' and TRL's collators know."""

    PACKED = pa.schema(
        [pa.field(name, _IDS, nullable=False) for name in ("input_ids", "position_ids", "labels", "seq_lengths")]
    )
    DOCUMENTS = pa.schema([pa.field("input_ids", _IDS, nullable=False), pa.field("id", pa.string())])

    def __init__(self, name: str, origin: Origin, open_file: Opener):
        super().__init__(name, origin, open_file)
        self._target = self._file(f"{name}.parquet")
        self._writer: pq.ParquetWriter | None = None

    def _write(self, table: pa.Table) -> None:
        if self._writer is None:
            self._writer = pq.ParquetWriter(
                self._target, table.schema, compression="zstd", compression_level=1, use_dictionary=False
            )
        self._writer.write_table(table)

    def add(self, chunk: Chunk) -> None:
        if chunk.predicted is None:
            ids = pa.ListArray.from_arrays(_offsets(chunk.lens), pa.array(chunk.ids), type=_IDS)
            self._write(pa.table([ids, chunk.names], schema=self.DOCUMENTS))
            return
        ends = np.cumsum(chunk.lens)
        positions = np.arange(len(chunk.ids)) - np.repeat(ends - chunk.lens, chunk.lens)
        labels = np.where(chunk.predicted, chunk.ids, IGNORED)
        rows = np.arange(0, len(chunk.ids) + 1, chunk.row_length)
        pieces = np.concatenate([[0], np.searchsorted(ends, rows[1:]) + 1])  # every row's end is a piece's end
        columns = [(rows, chunk.ids), (rows, positions), (rows, labels), (pieces, chunk.lens)]
        arrays = [
            pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(values, pa.int32()), type=_IDS)
            for offsets, values in columns
        ]
        self._write(pa.table(arrays, schema=self.PACKED))

    def close(self) -> None:
        if self._writer is None:
            self._write(self.DOCUMENTS.empty_table())
        assert self._writer is not None
        self._writer.close()
        super().close()


def _offsets(lens: np.ndarray) -> pa.Array:
    return pa.array(np.concatenate([[0], np.cumsum(lens)]), pa.int32())


FORMATS: dict[str, type[Writer]] = {"nanotron": Nanotron, "olmo": Olmo, "megatron": Megatron, "hf": HuggingFace}


def how_to_read(to: str, row_length: int, vocab_size: int, eod_id: int, pad_id: int, out: str) -> str:
    """The call by which the trainer's own code reads the folder."""
    dtype = FORMATS[to].dtype(vocab_size)
    length: Any = row_length or "..."
    if to == "nanotron":
        # Its windows are one longer than its sequences, so that the last token has a label.
        window = row_length - 1 if row_length else "..."
        return (
            f'DatatroveFolderDataset("{out}", seq_len={window}, filename_pattern="*.ds", token_size={dtype.itemsize})'
        )
    if to == "olmo":
        masks = f', label_mask_paths=sorted(glob("{out}/label_mask/*.npy"))' if row_length else ""
        return (
            f'NumpyFSLDataset(*sorted(glob("{out}/*.npy")), sequence_length={length}, dtype=np.{dtype.name}, '
            f"eos_token_id={eod_id}, pad_token_id={pad_id}, vocab_size={vocab_size}{masks})"
        )
    if to == "megatron":
        return f'IndexedDataset("{out}/part-00000")  # a prefix; sequence length {length}'
    return f'load_dataset("parquet", data_files="{out}/*.parquet")'

"""Loss on documents that are not trained on, in bits per byte, by domain and language.

Bits per byte is the one loss that can be compared across tokenizers, vocabularies and languages: the code length of
the text under the model, over its bytes in UTF-8. Each token but a document's first is predicted with what precedes
it in the document, up to the length of a row; a long document is cut into pieces that overlap by one token, so that
no token is lost. The bytes of the first token are counted and its bits are not: the same for every model.

Documents come from token shards (`tokens/` of a run), not from packed rows, because those know the documents' labels
and bytes. Which ones is decided by a hash of their ids: the same for every model, whatever the files are called.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
import torch.distributed as dist

from curation.errors import ConfigError
from training.models import IGNORED, LanguageModel
from training.vocabulary import IdMap


@dataclass
class HeldOut:
    """Documents to judge a model by. ids[i]: int32 token ids of document i, without end; n_bytes[i]: of its text."""

    names: list[str]
    ids: list[np.ndarray]
    n_bytes: np.ndarray
    labels: dict[str, list[str]]
    eod_id: int
    tokenizer_sha256: str


def hash_of(name: str) -> int:
    """By which documents are chosen: 64 bits of their id."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big")


def read(folder: str, documents: int, by: Sequence[str] = ()) -> HeldOut:
    """The `documents` of a folder of token shards whose ids hash lowest, and have more than one token.

    ConfigError if it is no such folder, has no such column, or its files were made by different tokenizers.
    """
    fs, root = fsspec.core.url_to_fs(folder)
    files = sorted(name for name in fs.find(root) if name.endswith(".parquet"))
    if not files:
        raise ConfigError(f"{folder}: no parquet files; expected token shards, as a run writes them to tokens/")
    facts, found = set(), []
    for i, name in enumerate(files):
        with fs.open(name, "rb") as handle:
            parquet = pq.ParquetFile(handle)
            about = parquet.schema_arrow.metadata or {}
            facts.add((about.get(b"tokenizer_sha256"), about.get(b"eod_id")))
            missing = [c for c in ("doc_id", "n_bytes", "n_tokens", *by) if c not in parquet.schema_arrow.names]
            if missing or None in next(iter(facts)):
                raise ConfigError(f"{name}: not a token shard with the column '{(missing or ['input_ids'])[0]}'")
            table = parquet.read(columns=["doc_id", "n_tokens"])
        rows = np.flatnonzero(table["n_tokens"].to_numpy() > 1)
        ids = table["doc_id"].take(rows).to_pylist()
        found += [(hash_of(id_), id_, i, row) for id_, row in zip(ids, rows.tolist(), strict=True)]
    if len(facts) > 1:
        raise ConfigError(f"{folder}: its files were made by different tokenizers")
    chosen = sorted(found)[:documents]
    sha256, eod = facts.pop()
    assert eod is not None and sha256 is not None
    held = HeldOut([], [], np.empty(0, np.int64), {c: [] for c in by}, int(eod), sha256.decode())
    n_bytes = []
    for i in sorted({c[2] for c in chosen}):
        some = sorted(c[3] for c in chosen if c[2] == i)
        with fs.open(files[i], "rb") as handle:
            table = pq.read_table(handle, columns=["doc_id", "input_ids", "n_bytes", *by]).take(pa.array(some))
        held.names += table["doc_id"].to_pylist()
        held.ids += [row.values.to_numpy() for row in table["input_ids"]]
        n_bytes += table["n_bytes"].to_pylist()
        for column in by:
            held.labels[column] += pc.fill_null(table[column].cast(pa.string()), "").to_pylist()
    held.n_bytes = np.array(n_bytes, np.int64)
    return held


@dataclass
class Rows:
    """Held-out documents laid out in rows of one length. document: int64 [rows, length], whose token stands at each
    place, -1 for padding; tail: float32 [rows, length], nats of naming rare ids."""

    ids: np.ndarray
    positions: np.ndarray
    labels: np.ndarray
    document: np.ndarray
    tail: np.ndarray


def lay_out(held: HeldOut, length: int, id_map: IdMap | None = None) -> Rows:
    """First-fit, longest piece first. Pieces of one document overlap by a token, which is predicted once."""
    pieces = []  # (document, first token, end)
    for i, ids in enumerate(held.ids):
        pieces += [(i, s, min(s + length, len(ids))) for s in range(0, max(len(ids) - 1, 1), length - 1)]
    rows: list[list[tuple[int, int, int]]] = []
    free: list[int] = []
    for piece in sorted(pieces, key=lambda p: (p[1] - p[2], p[0], p[1])):
        n = piece[2] - piece[1]
        at = next((r for r, left in enumerate(free) if left >= n), None)
        if at is None:
            rows.append([])
            free.append(length)
            at = len(rows) - 1
        rows[at].append(piece)
        free[at] -= n
    shape = (len(rows), length)
    out = Rows(
        np.full(shape, held.eod_id, np.int64),
        np.zeros(shape, np.int64),
        np.full(shape, IGNORED, np.int64),
        np.full(shape, -1, np.int64),
        np.zeros(shape, np.float32),
    )
    for r, row in enumerate(rows):
        at = 0
        for i, start, end in row:
            part, place = held.ids[i][start:end].astype(np.int64), slice(at, at + end - start)
            out.ids[r, place] = part
            out.positions[r, place] = np.arange(end - start)
            out.labels[r, place.start + 1 : place.stop] = part[1:]
            out.document[r, place] = i
            if id_map is not None:
                out.tail[r, place.start + 1 : place.stop] = id_map.rare_nats[part[1:]]
            at = place.stop
        out.positions[r, at:] = np.arange(length - at)
    if id_map is not None:
        out.labels = np.where(out.labels == IGNORED, IGNORED, id_map.to_new[np.maximum(out.labels, 0)])
        out.ids = id_map.to_new[out.ids]
    return out


@torch.no_grad()
def document_nats(
    model: LanguageModel, held: HeldOut, length: int, id_map: IdMap | None = None, rows_at_once: int = 8
) -> np.ndarray:
    """Nats of each document under the model, float64 [documents]. All ranks must call it, and get the same."""
    rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    device = next(model.parameters()).device
    rows = lay_out(held, length, id_map)
    per_rank = -(-len(rows.ids) // world)  # as many on each rank: every forward pass is one of all ranks
    mine = np.arange(rank * per_rank, (rank + 1) * per_rank)
    counts = mine < len(rows.ids)
    mine = np.minimum(mine, len(rows.ids) - 1)
    nats = torch.zeros(len(held.ids), dtype=torch.float64)
    was_training = model.training
    model.eval()
    for start in range(0, per_rank, rows_at_once):
        some = mine[start : start + rows_at_once]
        ids, positions, labels = (torch.from_numpy(a[some]).to(device) for a in (rows.ids, rows.positions, rows.labels))
        losses = model.token_losses(ids, positions, labels).double().cpu() + torch.from_numpy(rows.tail[some])[:, 1:]
        document = torch.from_numpy(rows.document[some])[:, 1:]
        here = (labels[:, 1:].cpu() != IGNORED) & torch.from_numpy(counts[start : start + rows_at_once])[:, None]
        nats.index_add_(0, document[here], losses[here])
    model.train(was_training)
    if world > 1:
        nats = nats.to(device)
        dist.all_reduce(nats)
    return nats.cpu().numpy()


def bits_per_byte(nats: np.ndarray, held: HeldOut) -> dict[str, Any]:
    """`{"all": …, "language": {"fra_Latn": …}, …}`: over all documents, and over those of each label."""

    def ratio(mask: np.ndarray) -> float:
        return float(nats[mask].sum() / math.log(2) / max(held.n_bytes[mask].sum(), 1))

    result: dict[str, Any] = {"all": ratio(np.ones(len(nats), bool))}
    for column, values in held.labels.items():
        array = np.array(values)
        result[column] = {value: ratio(array == value) for value in sorted(set(values))}
    return result

"""Proxy runs: models of a million parameters, trained in minutes on chosen documents, to decide a question about data.

What a proxy must be is comparable. All runs of a question share the map of ids (the most frequent of all the data
together), the held-out documents, the number of steps and their batch; a seed decides weights and order, so that two
runs of one seed differ in the data alone. Judged is the loss in bits per byte.

Trade-off: one process, no FSDP, no checkpoints, and rows that are cut where they end instead of packed by best fit: a
proxy that is lost is trained again. The documents of a proxy stay in memory, as int32.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import fsspec
import numpy as np
import pyarrow.parquet as pq
import torch
from pydantic import Field

from curation.errors import ConfigError, CurationError
from training import held_out
from training.balance import GlobalBalance
from training.config import Schedule
from training.held_out import HeldOut
from training.laws import step_law
from training.models import IGNORED, LanguageModel, build, parameters, shape
from training.near_copies import NearCopies
from training.schedule import factor
from training.strict import Strict
from training.vocabulary import IdMap


class Proxy(Strict):
    """What all runs of a question have in common."""

    model: str = "proxy-qwen3"
    """A name of `training.models.SHAPES`."""
    vocabulary: int = Field(default=8192, ge=2)
    """Ids to keep, the most frequent of all data."""
    length: int = Field(default=512, ge=8)
    """Tokens of a row."""
    batch_rows: int = Field(default=16, ge=1)
    """Rows of a step."""
    tokens: int = Field(default=2_000_000, ge=1)
    """Tokens of a run, rounded down to whole steps."""
    learning_rate: float | None = Field(default=None, gt=0)
    """Highest rate. Default: StepLaw, cut to 0.01."""
    held_out: int = Field(default=512, ge=1)
    """Documents to judge by, at most."""

    @property
    def steps(self) -> int:
        """Optimizer steps of a run. ConfigError if the tokens do not fill ten."""
        steps = self.tokens // (self.length * self.batch_rows)
        if steps < 10:
            raise ConfigError(f"{self.tokens:,} tokens are too few: {steps} steps of {self.batch_rows} x {self.length}")
        return steps


@dataclass
class Corpus:
    """Token ids of documents, one after another, each with its end: ids int32, starts int64 (one more than names)."""

    names: list[str]
    ids: np.ndarray
    starts: np.ndarray
    vocab_size: int
    eod_id: int
    tokenizer_sha256: str

    @property
    def tokens(self) -> int:
        """Tokens, ends of documents included."""
        return len(self.ids)

    def counts(self) -> np.ndarray:
        """How often each id occurs, int64 [vocabulary]."""
        return np.bincount(self.ids, minlength=self.vocab_size)

    def only(self, keep: np.ndarray) -> Corpus:
        """The documents where `keep` is true."""
        lengths = np.diff(self.starts)
        kept_starts = np.concatenate([[0], np.cumsum(lengths[keep])])
        return Corpus(
            [n for n, k in zip(self.names, keep, strict=True) if k],
            self.ids[np.repeat(keep, lengths)],
            kept_starts,
            self.vocab_size,
            self.eod_id,
            self.tokenizer_sha256,
        )


def read_corpus(folder: str, most_tokens: int | None = None, by: str | None = None) -> dict[str, Corpus]:
    """Token shards as one corpus, `{"": corpus}`, or as one for each value of the column `by`.

    most_tokens: stop reading a value's documents after so many (files in the order of their names). ConfigError if it
    is no folder of token shards, or one without that column.
    """
    fs, root = fsspec.core.url_to_fs(folder)
    files = sorted(name for name in fs.find(root) if name.endswith(".parquet"))
    if not files:
        raise ConfigError(f"{folder}: no parquet files; expected token shards, as a run writes them to tokens/")
    names: dict[str, list[str]] = {}
    parts: dict[str, list[np.ndarray]] = {}
    read: dict[str, int] = {}
    facts: tuple[int, int, str] | None = None
    for name in files:
        with fs.open(name, "rb") as handle:
            parquet = pq.ParquetFile(handle)
            about = parquet.schema_arrow.metadata or {}
            if b"eod_id" not in about or (by and by not in parquet.schema_arrow.names):
                raise ConfigError(f"{name}: not a token shard" + (f" with the column '{by}'" if by else ""))
            here = int(about[b"vocab_size"]), int(about[b"eod_id"]), about[b"tokenizer_sha256"].decode()
            if facts not in (None, here):
                raise ConfigError(f"{folder}: its files were made by different tokenizers")
            facts = here
            for batch in parquet.iter_batches(1024, columns=["doc_id", "input_ids", *([by] if by else [])]):
                values = batch[by].to_pylist() if by else [""] * batch.num_rows
                for id_, row, value in zip(batch["doc_id"].to_pylist(), batch["input_ids"], values, strict=True):
                    key = str(value or "")
                    if len(row.values) and (most_tokens is None or read.get(key, 0) < most_tokens):
                        read[key] = read.get(key, 0) + len(row.values) + 1
                        names.setdefault(key, []).append(id_)
                        parts.setdefault(key, []).append(np.append(row.values.to_numpy(), facts[1]).astype(np.int32))
    if facts is None or not parts:
        raise ConfigError(f"{folder}: its documents have no tokens")
    return {
        key: Corpus(names[key], np.concatenate(docs), np.cumsum([0, *map(len, docs)]), *facts)
        for key, docs in sorted(parts.items())
    }


def supply(folder: str, by: str | None = None) -> dict[str, int]:
    """Tokens of a folder of token shards, ends of documents included: `{"": n}`, or for each value of a column."""
    fs, root = fsspec.core.url_to_fs(folder)
    sums: dict[str, int] = {}
    for name in sorted(n for n in fs.find(root) if n.endswith(".parquet")):
        with fs.open(name, "rb") as handle:
            table = pq.read_table(handle, columns=["n_tokens", *([by] if by else [])])
        values = table[by].to_pylist() if by else [""] * table.num_rows
        counts = table["n_tokens"].to_numpy() + 1
        for value in set(values):
            key = str(value or "")
            sums[key] = sums.get(key, 0) + int(counts[np.array([v == value for v in values], bool)].sum())
    return sums


def common_ids(corpora: Sequence[Corpus], size: int) -> IdMap | None:
    """The map that all runs of a question share, or None if the tokenizer has no more ids than that.

    ConfigError if the corpora were tokenized differently.
    """
    first = corpora[0]
    if any((c.tokenizer_sha256, c.eod_id) != (first.tokenizer_sha256, first.eod_id) for c in corpora):
        raise ConfigError("the corpora were made by different tokenizers; tokenize them alike to compare them")
    if size >= first.vocab_size:
        return None
    # Each corpus counts alike, however large it is: a map that favours one would favour its runs.
    counts = np.sum([c.counts() / c.tokens for c in corpora], axis=0)
    return IdMap.fit((counts * 1e9).astype(np.int64), size, first.eod_id)


def _stream(corpus: Corpus, tokens: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """So many tokens of the documents in random order, epoch after epoch; and each token's position in its document."""
    ids, positions, have = [], [], 0
    lengths = np.diff(corpus.starts)
    while have < tokens:
        order = rng.permutation(len(lengths))
        upto = np.searchsorted(np.cumsum(lengths[order]), tokens - have) + 1
        chosen = order[:upto]
        sizes = lengths[chosen]
        within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        ids.append(corpus.ids[within + np.repeat(corpus.starts[chosen], sizes)])
        positions.append(within)
        have += len(within)
    return np.concatenate(ids)[:tokens], np.concatenate(positions)[:tokens]


def rows_of(
    corpora: Mapping[str, Corpus], weights: Mapping[str, float], rows: int, length: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """ids (int32) and positions (int64), [rows, length], of a run: each corpus has its share of the rows to within one,
    and gives its documents in an order of its own."""
    names = sorted(corpora)
    share = np.array([weights.get(name, 0.0) for name in names])
    exact = np.cumsum(share) / share.sum() * rows
    counts = np.diff(np.round(exact).astype(int), prepend=0)
    ids, positions = [], []
    for i, (name, count) in enumerate(zip(names, counts.tolist(), strict=True)):
        if not count:
            continue
        part, within = _stream(corpora[name], count * length, np.random.default_rng([seed, i]))
        within = within.reshape(count, length)
        # A document that was cut goes on as one of its own: no row knows what stood in another.
        first = np.maximum.accumulate(np.where(within == 0, np.arange(length), 0), 1)
        ids.append(part.reshape(count, length))
        positions.append(np.arange(length) - first)
    order = np.random.default_rng([seed, len(names)]).permutation(rows)
    return np.concatenate(ids)[order], np.concatenate(positions)[order]


def train_proxy(
    settings: Proxy, corpora: Mapping[str, Corpus], weights: Mapping[str, float], id_map: IdMap | None, seed: int
) -> LanguageModel:
    """A model trained on this mixture. Same arguments, same model."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    some = next(iter(corpora.values()))
    model = build(shape(settings.model, vocabulary=id_map.size if id_map else some.vocab_size), seed).to(device)
    steps = settings.steps
    tokens = steps * settings.batch_rows * settings.length
    rate = settings.learning_rate or step_law(parameters(model.shape)[2], tokens)[0].value
    matrices = [w for w in model.parameters() if w.ndim > 1]
    others = [w for w in model.parameters() if w.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}], lr=rate, betas=(0.9, 0.95)
    )
    schedule = Schedule(shape="cosine", warmup=0.05, final=0.1, decay=0.2)
    balance = GlobalBalance(model)
    ids, positions = rows_of(corpora, weights, steps * settings.batch_rows, settings.length, seed)
    for step in range(steps):
        part = slice(step * settings.batch_rows, (step + 1) * settings.batch_rows)
        old = ids[part].astype(np.int64)
        batch = torch.from_numpy(id_map.to_new[old] if id_map else old).to(device)
        places = torch.from_numpy(positions[part]).to(device)
        labels = torch.where(places == 0, IGNORED, batch)
        with balance.recording():
            nats = model(batch, places, labels)
        loss = nats / max((labels[:, 1:] != IGNORED).sum().item(), 1)
        if balance.layers:
            loss = loss + 0.008 * balance.loss(balance.counts())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = rate * factor(schedule, step, steps)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    if not math.isfinite(loss.item()):
        raise CurationError(f"a proxy run diverged (seed {seed}); take a smaller learning_rate than {rate:.3g}")
    return model


def proxy_nats(
    settings: Proxy,
    corpora: Mapping[str, Corpus],
    weights: Mapping[str, float],
    id_map: IdMap | None,
    held: HeldOut,
    seed: int,
) -> np.ndarray:
    """Train a proxy and return the nats of each held-out document, float64."""
    model = train_proxy(settings, corpora, weights, id_map, seed)
    return held_out.document_nats(model, held, settings.length, id_map, settings.batch_rows)


def apart_from(corpus: Corpus, held: HeldOut) -> Corpus:
    """The corpus without the held-out documents and near copies of them (`near_copies.py`)."""
    copies = NearCopies(held.ids).found(corpus.ids, corpus.starts[:-1], corpus.starts[1:] - 1)  # ends left out
    names = set(held.names)
    keep = ~copies & np.array([name not in names for name in corpus.names], bool)
    if not keep.any():
        raise ConfigError("every document is held out, or a copy of one that is; give other held-out text")
    return corpus.only(keep)

"""Corpora made from one raw pool: which trains the better model?

    python benchmarks/outcome.py FIRST SECOND [MORE ...] --gold FOLDER [--seeds 5] [-p tokens=2000000 ...]

The folders are what two or more recipes made of the same pages: the raw text, datatrove's FineWeb recipe, this
project's pipeline (`outcome_corpora.py` makes these three). Each holds token shards (`out/web/tokens`), or documents:
parquet with a column `text`, or JSON lines (`.jsonl`, `.jsonl.gz`, what datatrove writes) with a key `text`; texts are
tokenized here, with Qwen3's tokenizer. `--gold` is text of the kind one wants, cleaned by hand or from elsewhere, in
either form; it is never trained on, nor are near copies of it. `--by COLUMN` of the gold text gives the differences
for each of its values, too.

Each seed trains one proxy for each corpus, from the same weights, at equal tokens and steps, and all are judged in
bits per byte of the gold text. The test is paired over seeds and documents (`training/compare.py`). Equal tokens, not
equal pages: a recipe that keeps less repeats more, which is part of what is judged; how often is printed. Last lines,
for each pair: `outcome FIRST SECOND difference low high p`, the difference being the second's bits per byte minus the
first's.
"""

from __future__ import annotations

import sys
from pathlib import Path

# Python puts this script's folder first on its path, where tokenize.py hides the library module of that name.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]

import argparse
import gzip
import json
from collections.abc import Iterator
from itertools import combinations, islice, pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curation.errors import CurationError
from stages.tokenize.engine import Tokenizer
from stages.tokenize.prepared import load
from training import held_out
from training.ablate import sentence
from training.compare import judge, paired
from training.config import keys
from training.held_out import HeldOut
from training.proxy import Corpus, Proxy, read_corpus

BATCH = 512
EOD = "<|endoftext|>"
#: Gold documents with one value of `--by`, below which nothing is said of it.
FEW = 8


def files(folder: str) -> list[Path]:
    """Parquet and JSON lines files of a folder, at any depth."""
    found = [p for p in sorted(Path(folder).rglob("*")) if p.name.endswith((".parquet", ".jsonl", ".jsonl.gz"))]
    if not found:
        raise CurationError(f"{folder}: no parquet or JSON lines files")
    return found


def are_tokens(folder: str) -> bool:
    """Whether a folder holds token shards."""
    first = files(folder)[0]
    return first.suffix == ".parquet" and "input_ids" in pq.read_schema(first).names


def texts(folder: str, by: str | None = None) -> Iterator[tuple[str, str, str]]:
    """(id, text, value of the column `by`) of each document; where there is no id, file and row."""
    for file in files(folder):
        if file.suffix == ".parquet":
            names = pq.read_schema(file).names
            if by and by not in names:
                raise CurationError(f"{file}: has no column '{by}'")
            columns = [c for c in ("id", "text", by) if c in names]
            at = 0
            for batch in pq.ParquetFile(file).iter_batches(BATCH, columns=columns):
                for i, row in enumerate(batch.to_pylist(), at):
                    yield str(row.get("id") or f"{file.name}:{i}"), row["text"] or "", str(row.get(by) or "")
                at += batch.num_rows
            continue
        with gzip.open(file, "rt") if file.suffix == ".gz" else file.open(encoding="utf-8") as handle:
            for i, line in enumerate(handle):
                row = json.loads(line)
                yield str(row.get("id") or f"{file.name}:{i}"), row.get("text") or "", str(row.get(by) or "")


def tokenized(folder: str, by: str | None = None) -> tuple[Corpus, np.ndarray, list[str]]:
    """A folder of documents as a corpus; the bytes of each text, and its value of the column `by`."""
    prepared, identity = load("qwen3", EOD)
    tokenizer = Tokenizer(prepared)
    names: list[str] = []
    ids: list[np.ndarray] = []
    sizes: list[int] = []
    values: list[str] = []
    source = (row for row in texts(folder, by) if row[1])
    while batch := list(islice(source, BATCH)):
        flat, offsets, _ = tokenizer.encode(pa.array([text for _, text, _ in batch], pa.large_string()))
        names += [name for name, _, _ in batch]
        sizes += [len(text.encode()) for _, text, _ in batch]
        values += [value for _, _, value in batch]
        ids += [np.append(flat[a:b], identity.eod_id) for a, b in pairwise(offsets)]
    starts = np.concatenate([[0], np.cumsum([len(i) for i in ids])])
    flat = np.concatenate(ids).astype(np.int32)
    return Corpus(names, flat, starts, identity.vocab_size, identity.eod_id, identity.sha256), np.array(sizes), values


def corpus(folder: str) -> Corpus:
    """A folder of token shards or of documents, as token ids."""
    return read_corpus(folder)[""] if are_tokens(folder) else tokenized(folder)[0]


def gold(folder: str, documents: int, by: str | None) -> HeldOut:
    """The gold text, at most so many documents: those whose ids hash lowest."""
    if are_tokens(folder):
        return held_out.read(folder, documents, [by] if by else [])
    made, sizes, values = tokenized(folder, by)
    long_enough = np.flatnonzero(np.diff(made.starts) > 2).tolist()
    chosen = sorted(long_enough, key=lambda i: held_out.hash_of(made.names[i]))[:documents]
    ids = [made.ids[made.starts[i] : made.starts[i + 1] - 1] for i in chosen]
    labels = {by: [values[i] for i in chosen]} if by else {}
    return HeldOut([made.names[i] for i in chosen], ids, sizes[chosen], labels, made.eod_id, made.tokenizer_sha256)


def report(folders: list[str], nats: np.ndarray, judged: HeldOut) -> None:
    """Print each corpus's bits per byte, and for each pair the difference and its interval."""
    parts = [("", np.ones(len(judged.names), bool))]
    for column, values in judged.labels.items():
        parts += [(f"{column} {v or 'unknown'}", np.array(values) == v) for v in sorted(set(values))]
    pairs = list(combinations(range(len(folders)), 2))
    for part, chosen in reversed(parts):
        if chosen.sum() < FEW:
            print(f"{part}: {chosen.sum()} documents are too few")
            continue
        n_bytes = judged.n_bytes[chosen]
        results = [paired(nats[a][:, chosen], nats[b][:, chosen], n_bytes) for a, b in pairs]
        if part:
            print(f"{part}: {chosen.sum()} documents, {n_bytes.sum():,} bytes")
        for (a, b), result in zip(pairs, results, strict=True):
            print("  " * bool(part) + sentence(f"{folders[b]} instead of {folders[a]}", result))
        if not part:
            for (a, b), r in zip(pairs, results, strict=True):
                print(f"outcome {folders[a]} {folders[b]} {r.difference:+.5f} {r.low:+.5f} {r.high:+.5f} {r.p:.3g}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", metavar="CORPUS", nargs="+", help="two or more")
    parser.add_argument("--gold", required=True)
    parser.add_argument("--by", help="column of the gold text whose values are judged apart, too")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("-p", "--proxy", action="append", default=[], help="key=value of the proxy")
    options = parser.parse_args()
    if len(options.folders) < 2:
        parser.error("give two corpora or more")
    try:
        settings = keys(Proxy, options.proxy, "-p")
        judged = gold(options.gold, settings.held_out, options.by)
        print(f"judged by {len(judged.names):,} documents, {judged.n_bytes.sum():,} bytes", flush=True)
        corpora = [corpus(folder) for folder in options.folders]
        nats = judge(corpora, judged, settings, options.seeds, lambda line: print(line, flush=True))
        report(options.folders, nats, judged)
    except CurationError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()

"""Two corpora made from one raw pool: which trains the better model?

    python benchmarks/outcome.py FIRST SECOND --gold FOLDER [--seeds 5] [-p tokens=2000000] [-p model=proxy-qwen3]

FIRST and SECOND are what two recipes made of the same pages: the raw text, datatrove's FineWeb recipe, this project's
pipeline. Each folder holds token shards (`out/web/tokens`), or documents: parquet with a column `text`, or JSON lines
(`.jsonl`, `.jsonl.gz`, what datatrove writes) with a key `text`; texts are tokenized here, with Qwen3's tokenizer.
`--gold` is text of the kind one wants, cleaned by hand or from elsewhere, in either form; it is never trained on, nor
are near copies of it.

Each seed trains a pair of proxies from the same weights, at equal tokens and steps, and both are judged in bits per
byte of the gold text. The test is paired over seeds and documents (`training/compare.py`). Equal tokens, not equal
pages: a recipe that keeps less repeats more, which is part of what is judged; how often is printed. Last line:
`outcome FIRST SECOND difference low high p`, the difference being the second's bits per byte minus the first's.
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
from itertools import islice, pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curation.errors import CurationError
from stages.tokenize.engine import Tokenizer
from stages.tokenize.prepared import load
from training import held_out
from training.ablate import sentence
from training.compare import compare
from training.config import keys
from training.held_out import HeldOut
from training.proxy import Corpus, Proxy, read_corpus

BATCH = 512
EOD = "<|endoftext|>"


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


def texts(folder: str) -> Iterator[tuple[str, str]]:
    """(id, text) of each document; where there is no id, file and row."""
    for file in files(folder):
        if file.suffix == ".parquet":
            names = pq.read_schema(file).names
            for batch in pq.ParquetFile(file).iter_batches(BATCH, columns=[c for c in ("id", "text") if c in names]):
                for i, row in enumerate(batch.to_pylist()):
                    yield str(row.get("id") or f"{file.name}:{i}"), row["text"] or ""
            continue
        with gzip.open(file, "rt") if file.suffix == ".gz" else file.open(encoding="utf-8") as handle:
            for i, line in enumerate(handle):
                row = json.loads(line)
                yield str(row.get("id") or f"{file.name}:{i}"), row.get("text") or ""


def tokenized(folder: str) -> tuple[Corpus, np.ndarray]:
    """A folder of documents as a corpus, and the bytes of each text."""
    prepared, identity = load("qwen3", EOD)
    tokenizer = Tokenizer(prepared)
    names: list[str] = []
    ids: list[np.ndarray] = []
    sizes: list[int] = []
    source = ((name, text) for name, text in texts(folder) if text)
    while batch := list(islice(source, BATCH)):
        flat, offsets, _ = tokenizer.encode(pa.array([text for _, text in batch], pa.large_string()))
        names += [name for name, _ in batch]
        sizes += [len(text.encode()) for _, text in batch]
        ids += [np.append(flat[a:b], identity.eod_id) for a, b in pairwise(offsets)]
    starts = np.concatenate([[0], np.cumsum([len(i) for i in ids])])
    flat = np.concatenate(ids).astype(np.int32)
    return Corpus(names, flat, starts, identity.vocab_size, identity.eod_id, identity.sha256), np.array(sizes)


def corpus(folder: str) -> Corpus:
    """A folder of token shards or of documents, as token ids."""
    return read_corpus(folder)[""] if are_tokens(folder) else tokenized(folder)[0]


def gold(folder: str, documents: int) -> HeldOut:
    """The gold text, at most so many documents: those whose ids hash lowest."""
    if are_tokens(folder):
        return held_out.read(folder, documents)
    made, sizes = tokenized(folder)
    long_enough = np.flatnonzero(np.diff(made.starts) > 2).tolist()
    chosen = sorted(long_enough, key=lambda i: held_out.hash_of(made.names[i]))[:documents]
    ids = [made.ids[made.starts[i] : made.starts[i + 1] - 1] for i in chosen]
    return HeldOut([made.names[i] for i in chosen], ids, sizes[chosen], {}, made.eod_id, made.tokenizer_sha256)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first")
    parser.add_argument("second")
    parser.add_argument("--gold", required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("-p", "--proxy", action="append", default=[], help="key=value of the proxy")
    options = parser.parse_args()
    try:
        settings = keys(Proxy, options.proxy, "-p")
        judged = gold(options.gold, settings.held_out)
        print(f"judged by {len(judged.names):,} documents, {judged.n_bytes.sum():,} bytes")
        result = compare(corpus(options.first), corpus(options.second), judged, settings, options.seeds, print)
    except CurationError as error:
        sys.exit(f"error: {error}")
    print(sentence(f"{options.second} instead of {options.first}", result))
    numbers = f"{result.difference:+.5f} {result.low:+.5f} {result.high:+.5f} {result.p:.3g}"
    print(f"outcome {options.first} {options.second} {numbers}")


if __name__ == "__main__":
    main()

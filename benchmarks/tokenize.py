"""Speed of the stage `tokenize` beside Hugging Face `tokenizers`, on one core, as a ratio of CPU seconds.

    python benchmarks/tokenize.py                 # the Python library's own sources
    python benchmarks/tokenize.py --data FOLDER   # parquet files with a column `text`

Ours is the whole stage, Arrow table in, Arrow table out, with the sampled check against the reference; theirs is
`encode_batch_fast` on lists of strings made beforehand. Both get the same batches. Every round has new documents,
because both have caches that know a text they have seen; the first round warms them and is not counted. The ids must
be equal, or the benchmark fails. Last line: `ratio tokenize_vs_hf N`.
"""

import sys
from pathlib import Path

# This file is called `tokenize`, and so is a module of Python that others import: take this folder off the path.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]

import argparse
import os
import sysconfig
import time

for variable in ("RAYON_NUM_THREADS", "FASTOKENS_BPE_THREADS", "OMP_NUM_THREADS"):
    os.environ[variable] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tokenizers import Tokenizer

from stages.tokenize.tokenize import Tokenize
from stages.tokenize.tokenizer_file import read_definition, text_only

#: Documents per call, as the engine's default.
BATCH = 256


def texts_of(folder: str | None) -> pa.Array:
    """The texts to encode, large_string, in an order that mixes sources."""
    if folder is None:
        files = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
        files += sorted(Path(sysconfig.get_path("stdlib")).glob("*/*.py"))
        texts = pa.array([file.read_text(errors="replace") for file in files], pa.large_string())
    else:
        tables = []
        for file in sorted(Path(folder).rglob("*.parquet")):
            if "text" in pq.read_schema(file).names:
                tables.append(pq.read_table(file, columns=["text"])["text"].cast(pa.large_string()))
        if not tables:
            raise SystemExit(f"no parquet file with a column 'text' under {folder}")
        texts = pa.chunked_array([chunk for table in tables for chunk in table.chunks]).combine_chunks()
    texts = texts.filter(pc.greater(pc.fill_null(pc.binary_length(texts), 0), 0))
    return texts.take(pa.array(np.random.default_rng(0).permutation(len(texts))))


def rounds_of(texts: pa.Array, count: int, megabytes: float) -> list[list[pa.Table]]:
    """`count` rounds of batches, about `megabytes` each, no document twice."""
    ends = np.cumsum(pc.binary_length(texts).to_numpy())
    size = min(megabytes * 1e6, ends[-1] / count)
    ids = pa.array([f"{i:032x}" for i in range(len(texts))])
    table = pa.table({"id": ids, "text": texts})
    rounds = []
    for i in range(count):
        start, end = np.searchsorted(ends, [i * size, (i + 1) * size])
        rounds.append([table.slice(at, min(BATCH, end - at)) for at in range(start, end, BATCH)])
    return rounds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", metavar="FOLDER", help="parquet files with a column `text`")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mb", type=float, default=3.0, help="megabytes of text per round")
    options = parser.parse_args()

    stage = Tokenize()
    stage.setup()
    theirs = Tokenizer.from_str(text_only(read_definition("qwen3")[0]))

    def ours_on(batches: list[pa.Table]) -> tuple[float, list[pa.Table]]:
        began = time.process_time()
        result = [stage(batch) for batch in batches]
        return time.process_time() - began, result

    def theirs_on(lists: list[list[str]]) -> tuple[float, list]:
        began = time.process_time()
        result = [theirs.encode_batch_fast(texts, add_special_tokens=False) for texts in lists]
        return time.process_time() - began, result

    total = np.zeros(2)
    for i, batches in enumerate(rounds_of(texts_of(options.data), options.rounds + 1, options.mb)):
        lists = [batch["text"].to_pylist() for batch in batches]
        if i % 2:
            (theirs_s, expected), (ours_s, got) = theirs_on(lists), ours_on(batches)
        else:
            (ours_s, got), (theirs_s, expected) = ours_on(batches), theirs_on(lists)
        for table, encodings in zip(got, expected, strict=True):
            if table["input_ids"].to_pylist() != [encoding.ids for encoding in encodings]:
                raise SystemExit("the ids differ from those of the reference")
        size = sum(pc.sum(table["n_bytes"]).as_py() for table in got) / 1e6
        note = " (not counted)" if i == 0 else ""
        print(f"round {i}: {size:.1f} MB, ours {size / ours_s:.1f} MB/s, hf {size / theirs_s:.2f} MB/s{note}")
        if i:
            total += (ours_s, theirs_s)
    counters = stage.metrics.counters
    print(f"checked {counters['tokenizer_checked']} documents, {counters['warning_tokenizer_mismatch']} differed")
    print(f"ratio tokenize_vs_hf {total[1] / total[0]:.1f}")


if __name__ == "__main__":
    main()

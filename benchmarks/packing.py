"""Best-fit packing beside TRL's, on one core, as a ratio of CPU seconds.

    pip install trl                                 # the peer; any environment that also has this project's libraries
    python benchmarks/packing.py                    # made-up documents with the lengths of web pages
    python benchmarks/packing.py --tokens FOLDER    # token shards of a run

Both get the same Arrow table of token ids, cut documents at the row's length, and give an Arrow table of rows. Ours
ends each document with an id, pads, shuffles rows and the pieces in them, and notes where each piece comes from; TRL's
(`pack_dataset(strategy="bfd_split")`, its function for one table) does none of that, so it gets documents with the end
in place. The numbers of rows must be the same, or the benchmark fails; so must those of a window of 20,000 documents
and first fit, which may not use fewer.

`packing_vs_trl` compares the decision which piece goes into which row: all of TRL's function but the copying of ids,
which is measured by giving it documents of the same lengths whose ids take no room (a list of nulls). Ours is
measured without copying likewise. `packing_with_ids_vs_trl` is the whole of both.
"""

from __future__ import annotations

import sys
from pathlib import Path

# A file beside this one is called `tokenize`, and so is a module of Python that others import.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]

import argparse
import time
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stages.pack.best_fit import best_fit, fill_gaps, split
from stages.pack.window import lay_out, pack_window

EOD = 151643
#: So much padding that no document is cut to fill a gap: TRL cuts none.
LOOSE = 0.99


def documents(folder: str | None, count: int) -> pa.Array:
    """Token ids of `count` documents, list<int32>, without ends."""
    if folder is not None:
        tables = [pq.read_table(file, columns=["input_ids"]) for file in sorted(Path(folder).rglob("*.parquet"))]
        column = pa.concat_tables(tables)["input_ids"].combine_chunks()
        return column.slice(0, count)
    rng = np.random.default_rng(0)
    lengths = np.clip(np.exp(rng.normal(np.log(550), 1.1, count)), 16, 400_000).astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(rng.integers(0, EOD, offsets[-1]).astype(np.int32)))


def with_ends(ids: pa.Array) -> pa.Array:
    """The documents with the end of document as a last id."""
    ends = ids.offsets.to_numpy()[1:]
    values = np.insert(ids.values.to_numpy(), ends, EOD)
    return pa.ListArray.from_arrays(
        pa.array((ids.offsets.to_numpy() + np.arange(len(ids) + 1)).astype(np.int32)), pa.array(values, pa.int32())
    )


def timed(function: Any, *arguments: Any) -> tuple[float, Any]:
    began = time.process_time()
    result = function(*arguments)
    return time.process_time() - began, result


def first_fit(lengths: np.ndarray, capacity: int) -> int:
    """Rows that first fit uses, pieces as they come."""
    free = np.full(len(lengths), capacity)
    for length in lengths.tolist():
        free[np.argmax(free >= length)] -= length
    return int((free < capacity).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", metavar="FOLDER", help="token shards, instead of made-up documents")
    parser.add_argument("--documents", type=int, default=50_000)
    parser.add_argument("--lengths", type=int, nargs="+", default=[2048, 4096, 32768])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    try:
        import trl
        from trl.data_utils import _pack_bfd
    except ImportError as error:
        raise SystemExit(f"the peer is missing ({error}): pip install trl") from error

    ids = documents(options.tokens, options.documents)
    lengths = (np.diff(ids.offsets.to_numpy()) + 1).astype(np.int32)
    names = pa.array([f"{i:032x}" for i in range(len(ids))])
    values, offsets = ids.values.to_numpy(), ids.offsets.to_numpy().astype(np.int64)
    ended = with_ends(ids)
    theirs_ids = pa.table({"input_ids": ended})
    theirs_none = pa.table({"input_ids": pa.ListArray.from_arrays(ended.offsets, pa.nulls(len(ended.values)))})
    print(f"{len(ids):,} documents, {lengths.sum():,} tokens, TRL {trl.__version__}")
    print(f"{'row':>6} {'rows':>7} {'padding':>8} {'ours':>8} {'TRL':>8} {'ratio':>6}   with ids: ours, TRL, ratio")

    total = np.zeros(4)
    for capacity in options.lengths:
        lay_out(lengths, capacity, LOOSE, 0)
        best = np.full(4, np.inf)
        for round in range(options.rounds):
            pairs = [
                (0, lambda c=capacity: decided(lengths, c)),
                (1, lambda c=capacity: _pack_bfd(theirs_none, c, "split")),
                (2, lambda c=capacity: pack_window(values, offsets[:-1], offsets[1:], names, c, EOD, LOOSE, 0)[0]),
                (3, lambda c=capacity: _pack_bfd(theirs_ids, c, "split")),
            ]
            results: dict[int, Any] = {}
            for place, function in pairs if round % 2 else reversed(pairs):
                seconds, results[place] = timed(function)
                best[place] = min(best[place], seconds)
            rows = [results[0], results[1].num_rows, results[2].num_rows, results[3].num_rows]
            if len(set(rows)) > 1:
                raise SystemExit(f"numbers of rows differ: {rows}")
        padding = 1 - lengths.sum() / (rows[0] * capacity)
        window = split(lengths[:20_000], capacity)[2]
        if best_fit(window, capacity)[1] > first_fit(window, capacity):
            raise SystemExit("first fit used fewer rows")
        total += best
        print(
            f"{capacity:6} {rows[0]:7,} {padding:8.3%} {best[0]:7.4f}s {best[1]:7.3f}s {best[1] / best[0]:6.1f}"
            f"   {best[2]:.3f}s {best[3]:.3f}s {best[3] / best[2]:.1f}"
        )
    rng = np.random.default_rng(1)
    long = np.concatenate([rng.integers(16384, 32768, 6000), rng.integers(4096, 16384, 4000)])
    document, start, length = split(long, 32768)
    bins, count = best_fit(length, 32768)
    filled = fill_gaps(document, start, length, bins, count, 32768, 0.0008)
    print(
        f"documents of 4,096 to 32,768 tokens in rows of 32,768: padding {1 - long.sum() / (count * 32768):.2%}; "
        f"{(np.bincount(filled[0]) > 1).mean():.1%} of them cut: "
        f"{1 - long.sum() / (len(np.unique(filled[3])) * 32768):.3%}"
    )
    print(f"ratio packing_with_ids_vs_trl {total[3] / total[2]:.1f}")
    print(f"ratio packing_vs_trl {total[1] / total[0]:.1f}")


def decided(lengths: np.ndarray, capacity: int) -> int:
    """The whole layout, shuffled; its number of rows. Padding is left as best fit leaves it, as TRL does."""
    return len(lay_out(lengths, capacity, LOOSE, 0).row_pieces)


if __name__ == "__main__":
    main()

"""The benchmark items to keep out of a corpus, in one parquet file that `curation decontaminate index` writes.

The file holds the items' texts, not their hashes: ten thousand items are hashed in a second when a worker starts, and
what a matched item says can be shown beside the document. It is written offline and its content is part of a run's
fingerprint.

Prose is cut into words as deduplication does it (`stages/dedup/words.py`: no case, no accents, no punctuation), but a
digit stays the digit it is: the numbers are half of a mathematical problem. Programs are cut into tokens
(`stages/dedup/code_tokens.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curation.errors import ConfigError
from stages.dedup.code_tokens import code_tokens
from stages.dedup.word_windows import find_words
from stages.dedup.words import fold_table, text_buffers
from stages.filter.benchmark_formats import Part
from stages.filter.item_overlap import Seeds, build_seeds
from stages.filter.words_and_tokens import hashes_of

#: Words of a seed, and the fewest words of an item that can be told from what is said everywhere.
WIDTH = {"text": 3, "code": 5}
FEWEST = {"text": 8, "code": 40}
SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("benchmark", "item", "part", "kind")] + [("text", pa.large_string())]
)


def words_and_places(
    texts: pa.Array | pa.ChunkedArray, kind: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Hashes of words, the bytes where each begins and ends in its text, and where each text's words begin."""
    if kind == "code":
        return code_tokens(texts)
    data, offsets = text_buffers(texts)
    room = int(offsets[-1] - offsets[0]) + 1
    hashes, begins, ends = np.empty(room, np.uint64), np.empty(room, np.int64), np.empty(room, np.int64)
    starts = np.zeros(len(offsets), np.int64)
    find_words(data, offsets, fold_table(False), hashes, begins, ends, starts)
    n = starts[-1]
    return hashes[:n], begins[:n], ends[:n], starts


@dataclass
class Built:
    """What went into an index: counts of parts by benchmark, part and kind, and of those left out by reason."""

    kept: Counter = field(default_factory=Counter)
    left_out: Counter = field(default_factory=Counter)


def write_index(parts: Iterable[Part], path: str) -> Built:
    """Write the parts that can be looked for. Those too short to mean this item alone are left out, and repetitions."""
    import fsspec

    parts = list(parts)
    built = Built()
    keep = []
    seen: set[tuple[str, bytes]] = set()
    for kind in WIDTH:
        some = [p for p in parts if p.kind == kind]
        words, starts = hashes_of(pa.array([p.text for p in some], pa.large_string()), kind == "code")
        for i, part in enumerate(some):
            own = words[starts[i] : starts[i + 1]]
            key = (kind, own.tobytes())
            reason = "too_short" if len(own) < FEWEST[kind] else "repeated" if key in seen else ""
            if reason:
                built.left_out[part.benchmark, reason] += 1
                continue
            seen.add(key)
            keep.append(part)
            built.kept[part.benchmark, part.part, kind] += 1
    if not keep:
        raise ConfigError(f"nothing to index: all {len(parts)} parts are too short or repeat another")
    columns = {name: [getattr(p, name) for p in keep] for name in SCHEMA.names}
    with fsspec.open(path, "wb") as file:
        pq.write_table(pa.table(columns, SCHEMA), file, compression="zstd")
    return built


@dataclass(frozen=True)
class Benchmarks:
    """An index as a worker holds it: the items of each kind, perhaps none of one, and their seeds."""

    items: dict[str, pa.Table]
    seeds: dict[str, Seeds]


def load_index(path: str, parts: Iterable[str]) -> Benchmarks:
    """Read an index, the given parts of its items. ConfigError if it is none."""
    import fsspec

    try:
        with fsspec.open(path, "rb") as file:
            table = pq.read_table(file)
        if table.schema.names != SCHEMA.names:
            raise ValueError(f"columns {table.schema.names}")
    except (OSError, ValueError, pa.ArrowException) as error:
        raise ConfigError(
            f"{path} is no index of benchmarks: {error}; write one with `curation decontaminate index`"
        ) from error
    items, seeds = {}, {}
    wanted = set(parts)
    for kind, width in WIDTH.items():
        rows = [
            p in wanted and k == kind for p, k in zip(table["part"].to_pylist(), table["kind"].to_pylist(), strict=True)
        ]
        items[kind] = table.filter(pa.array(rows, pa.bool_())).combine_chunks()
        seeds[kind] = build_seeds(*hashes_of(items[kind]["text"], kind == "code"), width)
    return Benchmarks(items, seeds)

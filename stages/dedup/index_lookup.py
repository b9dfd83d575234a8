"""What an index knows of documents that are not in it: which of its documents share a band with them.

For a crawl the keys of a partition and the index are merged: both are sorted, so a look-up is one pass over the part of
the index with these keys (16 bytes a key and band). For a text it is a block per band and segment.

A bucket can hold a million documents; what is asked for is its first and its last. That is what a run over everything
at once would compare a later document with (`clusters.candidate_edges`), so adding a crawl finds the same pairs.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import pyarrow as pa
from numba import njit

from stages.dedup.block_files import BlockFile
from stages.dedup.index import DOCUMENTS, Index, sketches_schema


@njit(nogil=True, cache=True)
def _shared(keys, wanted, out):
    """Set out[i] where keys[i] is one of `wanted`; both increasing."""
    j = 0
    for i in range(keys.size):
        while j < wanted.size and wanted[j] < keys[i]:
            j += 1
        out[i] = j < wanted.size and wanted[j] == keys[i]


def rows_with(
    index: Index, keys: np.ndarray, kind: Literal["keys", "members", "links"] = "keys"
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of one file of every segment with one of the keys (uint64, increasing): keys and numbers, sorted. What is
    not visible is left out, but for links, which tie others though the documents they are named by are gone."""
    found, numbers = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
    for segment in index.segments() if len(keys) else []:
        file: BlockFile = getattr(segment, kind)
        for i in file.blocks_with(keys):
            block = file.block(i)
            have = block["key"].to_numpy()
            mask = np.empty(len(have), bool)
            _shared(have, keys, mask)
            number = block["number"].to_numpy()[mask]
            visible = index.visible(number) if kind != "links" else slice(None)
            found.append(have[mask][visible])
            numbers.append(number[visible])
    key, number = np.concatenate(found), np.concatenate(numbers)
    order = np.lexsort((number, key))
    return key[order], number[order]


def ends_of_buckets(key: np.ndarray, number: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of rows sorted by key and number, the first and the last with each key (one where they are the same)."""
    new = np.ones(len(key), bool)
    new[1:] = key[1:] != key[:-1]
    final = np.ones(len(key), bool)
    final[:-1] = new[1:]
    ends = new | final
    return key[ends], number[ends]


def keepers(index: Index, numbers: np.ndarray) -> np.ndarray:
    """For each number (increasing) that of the document that stayed for it, itself if it did; -1 if that is gone."""
    result = np.full(len(numbers), -1, np.int64)
    rows = documents(index, numbers)
    at = np.searchsorted(numbers, rows["number"].to_numpy())
    keeper = rows["keeper"].to_numpy()
    result[at] = np.where(index.visible(keeper), keeper, -1)
    return result


def components_of(index: Index, numbers: np.ndarray) -> np.ndarray:
    """Name of the component of each document (numbers, increasing): the smallest of all that are tied together."""
    rows = documents(index, numbers)
    component = numbers.copy()
    component[np.searchsorted(numbers, rows["number"].to_numpy())] = rows["component"].to_numpy()
    known, name = _tied(index, np.unique(component))
    return name[np.searchsorted(known, component)]


def _tied(index: Index, components: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All components that later crawls have tied to the given ones, those included (increasing), and their names."""
    from stages.dedup import clusters

    known = new = components
    a, b = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    while len(new):
        key, number = rows_with(index, new.astype(np.uint64), "links")
        a.append(key.astype(np.int64))
        b.append(number)
        new = np.setdiff1d(number, known)
        known = np.union1d(known, new)
    i, j = np.searchsorted(known, np.concatenate(a)), np.searchsorted(known, np.concatenate(b))
    return known, known[clusters.components(len(known), i, j)]


def members(index: Index, names: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Documents that stayed of the components `names` (increasing), all that is tied to them included: component and
    number, sorted, each once."""
    known, name = _tied(index, names)
    component, number = rows_with(index, known.astype(np.uint64), "members")
    # A document that was alone when it was added is in no list; it is its component's first.
    rows = documents(index, known)
    alone = rows["number"].to_numpy()[rows["number"].to_numpy() == rows["keeper"].to_numpy()]
    alone = alone[index.visible(alone)]
    component, number = np.concatenate([component.astype(np.int64), alone]), np.concatenate([number, alone])
    component = name[np.searchsorted(known, component)]
    pairs = np.unique(np.stack([component, number], axis=1), axis=0)
    pairs = pairs[np.isin(pairs[:, 0], names)]
    return pairs[:, 0], pairs[:, 1]


def documents(index: Index, numbers: np.ndarray) -> pa.Table:
    """Rows `DOCUMENTS` of the numbers (increasing) that are there."""
    parts = [segment.documents.take(_within(numbers, segment.start, segment.end)) for segment in index.segments()]
    return pa.concat_tables([DOCUMENTS.empty_table(), *parts])


def sketches(index: Index, numbers: np.ndarray) -> np.ndarray:
    """Sketches of documents (numbers, increasing): uint8, shape (n, size). KeyError if one is not there."""
    size = index.parameters.sketch
    parts = [segment.sketches.take(_within(numbers, segment.start, segment.end)) for segment in index.segments()]
    table = pa.concat_tables([sketches_schema(size).empty_table(), *parts])
    if table.num_rows != len(numbers):
        raise KeyError(f"index {index.url}: no sketch of {len(numbers) - table.num_rows} documents")
    return sketch_bytes(table["sketch"], size)


def sketch_bytes(column: pa.ChunkedArray, size: int) -> np.ndarray:
    """Sketches of a column as uint8, shape (n, size)."""
    whole = column.combine_chunks()
    data = np.frombuffer(whole.buffers()[1] or b"", np.uint8)
    return data[whole.offset * size : (whole.offset + len(whole)) * size].reshape(len(whole), size)


def _within(numbers: np.ndarray, start: int, end: int) -> np.ndarray:
    return numbers[np.searchsorted(numbers, start) : np.searchsorted(numbers, end)]


#: Rows of a bucket that a query looks at. A bucket of more is a template; its first documents speak for it.
_BUCKET_ROWS = 1_000


def matches(index: Index, keys: np.ndarray, sketch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Documents that stayed and share a band with a document, or stand for one that does: numbers and Jaccard indices.

    keys: its band keys (uint64, any order); sketch: uint8, shape (size,). The most alike come first.
    """
    from stages.dedup.signatures import resemblances

    key, number = rows_with(index, np.unique(keys))
    start = np.searchsorted(key, key)
    number = np.unique(number[np.arange(len(key)) - start < _BUCKET_ROWS])
    keeper = keepers(index, number)
    keeper = np.unique(keeper[keeper >= 0])
    n = len(keeper)
    both = np.concatenate([sketches(index, keeper), sketch[None, :]])
    jaccard = resemblances(both, np.arange(n), np.full(n, n))
    order = np.argsort(-jaccard, kind="stable")
    return keeper[order], jaccard[order]


def described(index: Index, numbers: list[int]) -> list[dict[str, str]]:
    """Id, url, source and crawl of documents, in the order of the numbers."""
    rows = {row["number"]: row for row in documents(index, np.unique(np.array(numbers, np.int64))).to_pylist()}
    crawls = index.crawls
    starts = [crawl.start for crawl in crawls]
    return [
        {name: rows[number][name] or "" for name in ("id", "url", "source")}
        | {"crawl": crawls[int(np.searchsorted(starts, number, side="right")) - 1].name}
        for number in numbers
    ]

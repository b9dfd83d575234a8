"""From equal keys to clusters: buckets by one sort, candidate edges, a keeper for each document, connected components.

Grouping billions of band keys is the part of MinHash that outgrows a machine, so it must cost little per key. Each
key shares a uint64 with its row's index and the pair is sorted as one number: sorting plain integers runs at 70 M a
second on one core, 6 times an argsort and 20 times a group-by. The bits of the key that do not fit are compared
afterwards, in the few runs with two rows or more.

Trade-off: a bucket of n documents gives up to 2 n - 3 edges (to its first document, and from each to the next), not
n (n - 1) / 2. Pairs that only a full comparison would meet are missed, which matters little because alike documents
share several buckets; in return a bucket of a million copies costs a million steps.
"""

from __future__ import annotations

import numpy as np
from numba import njit


def first_with_equal_key(high: np.ndarray, low: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Group rows by the 128-bit key (`high`, `low`: uint64, evenly spread bits).

    Returns two int64 arrays: for each row the smallest row with its key (itself if there is none before it), and the
    largest smaller row with its key, or -1.
    """
    n = len(high)
    first = np.arange(n, dtype=np.int64)
    previous = np.full(n, -1, np.int64)
    if n > 1:
        bits = np.uint64(int(n - 1).bit_length())
        packed = (high << bits) | np.arange(n, dtype=np.uint64)
        packed.sort()
        _walk_runs(packed, bits, high, low, first, previous)
    return first, previous


@njit(nogil=True, cache=True)
def _walk_runs(packed, bits, high, low, first, previous):
    mask = (np.uint64(1) << bits) - np.uint64(1)
    n = packed.size
    i = 0
    while i < n:
        j = i + 1
        while j < n and packed[j] >> bits == packed[i] >> bits:
            j += 1
        # Rows of a run agree on 64 - bits bits of the key. Those that disagree elsewhere wait for another pass.
        waiting = j - i
        begin = i
        while waiting > 1:
            lead = np.int64(packed[begin] & mask)
            last = lead
            missed = 0
            for k in range(begin + 1, begin + waiting):
                row = np.int64(packed[k] & mask)
                if high[row] == high[lead] and low[row] == low[lead]:
                    first[row] = lead
                    previous[row] = last
                    last = row
                else:
                    packed[begin + 1 + missed] = packed[k]
                    missed += 1
            begin += 1
            waiting = missed
        i = j


def candidate_edges(first: np.ndarray, previous: np.ndarray, document: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of documents that share a key: each with the first of its bucket and with the one before it.

    `first` and `previous` are what `first_with_equal_key` gives, `document` holds non-decreasing numbers (int64), one
    per row. Returns (a, b), a < b element by element, sorted, each pair once.
    """
    place = np.cumsum(np.diff(document, prepend=document[:1]) != 0)  # rows of a document share it
    member = np.flatnonzero(previous >= 0)
    chained = member[previous[member] != first[member]]
    i, j = _distinct(
        np.concatenate([place[first[member]], place[previous[chained]]]),
        np.concatenate([place[member], place[chained]]),
    )
    numbers = document[np.flatnonzero(np.diff(place, prepend=-1))]
    return numbers[i[i != j]], numbers[j[i != j]]


def distinct_edges(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A graph from its edges (a, b), int64: its nodes, sorted, and its edges as pairs (i, j) of indices into them,
    sorted, each once."""
    nodes, index = np.unique(np.concatenate([a, b]), return_inverse=True)
    return nodes, *_distinct(index[: len(a)], index[len(a) :])


def _distinct(i: np.ndarray, j: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The pairs (i, j) of numbers below 2^32, sorted, each once."""
    if len(i) and max(int(i.max()), int(j.max())) >> 32:
        raise OverflowError("more than 2^32 documents in one partition of band keys")
    packed = (i.astype(np.uint64) << np.uint64(32)) | j.astype(np.uint64)
    packed.sort()
    packed = packed[np.diff(packed, prepend=~packed[:1]) != 0]
    return (packed >> np.uint64(32)).astype(np.int64), (packed & np.uint64(0xFFFFFFFF)).astype(np.int64)


def bucket_sizes(first: np.ndarray) -> np.ndarray:
    """Sizes of the buckets with two rows or more; `first` is what `first_with_equal_key` gives."""
    sizes = np.bincount(first)
    return sizes[sizes > 1]


def neighbours(n: int, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Undirected edges as adjacency lists: the neighbours of i are `targets[starts[i] : starts[i + 1]]`."""
    source = np.concatenate([a, b])
    target = np.concatenate([b, a])
    order = np.argsort(source, kind="stable")
    starts = np.zeros(n + 1, np.int64)
    np.cumsum(np.bincount(source, minlength=n), out=starts[1:])
    return starts, target[order]


@njit(nogil=True, cache=True)
def _find(parent, x):
    while parent[x] != x:
        parent[x] = parent[parent[x]]
        x = parent[x]
    return x


@njit(nogil=True, cache=True)
def components(n, a, b):
    """Smallest member of the connected component of each of `n` nodes under the edges (a, b).

    The smaller root always wins, so the result depends on the edges alone, not on their order.
    """
    parent = np.arange(n)
    for i in range(a.size):
        x = _find(parent, a[i])
        y = _find(parent, b[i])
        if x < y:
            parent[y] = x
        elif y < x:
            parent[x] = y
    for i in range(n):
        parent[i] = _find(parent, i)
    return parent

"""From equal keys to clusters: buckets by a hash table, candidate edges, a keeper for each document, components.

Grouping billions of band keys is the part of MinHash that outgrows a machine, so it must cost little per key. Most
keys are alone, and nobody needs them in order: a hash table that fits the cache says which row had a key first. Rows
are dealt by other bits of the key into chunks small enough for that. On one core this groups 110 M rows a second of
10^4 and 15 M of 5 x 10^6, 2 to 3 times as many as sorting them as plain integers, which beats argsort and group-by.

Trade-off: a bucket of n documents gives up to 2 n - 3 edges (to its first document, and from each to the next), not
n (n - 1) / 2. Pairs that only a full comparison would meet are missed, which matters little because alike documents
share several buckets; in return a bucket of a million copies costs a million steps.
"""

from __future__ import annotations

import numpy as np
from numba import njit

#: Rows that share a hash table, about; its slots (4 bytes, twice as many) and their keys stay in the L2 cache.
_CHUNK = 1 << 15


def first_with_equal_key(high: np.ndarray, low: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Group rows by the 128-bit key (`high`, `low`: uint64, evenly spread bits).

    Returns two int64 arrays: for each row the smallest row with its key (itself if there is none before it), and the
    largest smaller row with its key, or -1.
    """
    first = np.arange(len(high))
    previous = np.full(len(high), -1, np.int64)
    bits = min((len(high) // _CHUNK).bit_length(), 11)  # dealing into more than 2^11 chunks at once would thrash
    _group(high, low, 1 << bits, first, previous)
    return first, previous


@njit(nogil=True, cache=True)
def _group(high, low, chunks, first, previous):
    n = high.size
    shift = np.uint64(36)  # neither the bits that chose the partition nor those that choose the slot
    mask = np.uint64(chunks - 1)
    starts = np.zeros(chunks + 1, np.int64)
    for i in range(n):
        starts[((high[i] >> shift) & mask) + np.uint64(1)] += 1
    largest = 0
    for chunk in range(chunks):
        largest = max(largest, starts[chunk + 1])
        starts[chunk + 1] += starts[chunk]
    row = np.empty(n, np.int64)
    key = np.empty(n, np.uint64)
    free = starts[:-1].copy()
    for i in range(n):
        chunk = (high[i] >> shift) & mask
        row[free[chunk]] = i
        key[free[chunk]] = high[i]
        free[chunk] += 1

    slots = 2
    while slots < 2 * largest:
        slots *= 2
    table = np.empty(slots, np.int32)  # number in the chunk of the first row with a key
    last = np.empty(largest, np.int32)  # for such a row, the last one so far with its key
    for chunk in range(chunks):
        table[:] = -1
        begin = starts[chunk]
        for i in range(starts[chunk + 1] - begin):
            at = begin + i
            slot = key[at] & np.uint64(slots - 1)
            while True:
                lead = table[slot]
                if lead < 0:
                    table[slot] = i
                    last[i] = i
                    break
                if key[begin + lead] == key[at] and low[row[begin + lead]] == low[row[at]]:
                    first[row[at]] = row[begin + lead]
                    previous[row[at]] = row[begin + last[lead]]
                    last[lead] = i
                    break
                slot = (slot + np.uint64(1)) & np.uint64(slots - 1)


def candidate_edges(first: np.ndarray, previous: np.ndarray, document: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of documents that share a key: each with the first of its bucket and with the one before it.

    `first` and `previous` are what `first_with_equal_key` gives, `document` holds non-decreasing numbers (int64), one
    per row. Returns (a, b), a < b element by element, sorted, each pair once.
    """
    member = np.flatnonzero(previous >= 0)
    chained = member[previous[member] != first[member]]
    a = document[np.concatenate([first[member], previous[chained]])]
    b = document[np.concatenate([member, chained])]
    nodes, i, j = distinct_edges(a[a != b], b[a != b])
    return nodes[i], nodes[j]


def distinct_edges(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A graph from its edges (a, b), int64: its nodes, sorted, and its edges as pairs (i, j) of indices into them,
    sorted, each once. OverflowError beyond 2^32 nodes."""
    nodes, index = np.unique(np.concatenate([a, b]), return_inverse=True)
    if len(nodes) >> 32:
        raise OverflowError("more than 2^32 documents have a candidate in one partition")
    packed = (index[: len(a)].astype(np.uint64) << np.uint64(32)) | index[len(a) :].astype(np.uint64)
    packed.sort()
    packed = packed[np.diff(packed, prepend=~packed[:1]) != 0]
    return nodes, (packed >> np.uint64(32)).astype(np.int64), (packed & np.uint64(0xFFFFFFFF)).astype(np.int64)


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

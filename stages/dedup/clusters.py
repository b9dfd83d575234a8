"""From equal keys to clusters: buckets by a hash table, candidate edges, spanning forests, components.

Grouping billions of band keys is the part of MinHash that outgrows a machine, so it must cost little per key. Most
keys are alone, and nobody needs them in order: a hash table that fits the cache says which row had a key first. Rows
are dealt by other bits of the key into chunks small enough for that. On one core this groups 110 M rows a second of
10^4 and 15 M of 5 x 10^6, 2 to 4 times as many as sorting them as plain integers, which beats argsort and group-by.

Components need no graph in one place: each task gives a spanning forest of the edges it has verified, and the union
of the forests has the components of all edges. The smallest number in a component names it, so that names do not
depend on the order of anything.

Trade-off: a bucket of n documents gives up to 2 n - 3 edges (to its first document, and from each to the next), not
n (n - 1) / 2. Pairs that only a full comparison would meet are missed, which matters little because alike documents
share several buckets; in return a bucket of a million copies costs a million steps.
"""

from __future__ import annotations

import numpy as np
from numba import njit

#: Rows that share a hash table, about; its slots (4 bytes, twice as many) and their keys stay near the L1 cache.
_CHUNK = 1 << 13


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


@njit(nogil=True, cache=True)
def _pairs(first, previous, document, a, b):
    """Pairs of documents of rows with an equal key, into `a` and `b`; how many there are."""
    count = 0
    for i in range(document.size):
        if previous[i] >= 0:
            here = document[i]
            lead = document[first[i]]
            last = document[previous[i]]
            if lead != here:
                a[count] = lead
                b[count] = here
                count += 1
            if last != lead and last != here:
                a[count] = last
                b[count] = here
                count += 1
    return count


def candidate_edges(first: np.ndarray, previous: np.ndarray, document: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of documents that share a key: each with the first of its bucket and with the one before it.

    `first` and `previous` are what `first_with_equal_key` gives, `document` holds non-decreasing numbers (int64), one
    per row. Returns (a, b), a < b element by element. Documents with several equal keys come several times: sorting
    them out here costs more than it saves, because the keys of a pair mostly lie in different partitions.
    """
    most = 2 * int(np.count_nonzero(previous >= 0))
    a, b = np.empty(most, np.int64), np.empty(most, np.int64)
    count = _pairs(first, previous, document, a, b)
    return a[:count], b[:count]


def bucket_sizes(first: np.ndarray) -> np.ndarray:
    """Sizes of the buckets with two rows or more; `first` is what `first_with_equal_key` gives."""
    sizes = np.bincount(first)
    return sizes[sizes > 1]


def _unpack(packed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct ones of packed pairs, sorted, as two int64 arrays. Sorts `packed`."""
    packed.sort()
    keep = np.ones(len(packed), bool)
    keep[1:] = packed[1:] != packed[:-1]
    packed = packed[keep]
    return (packed >> np.uint64(32)).view(np.int64), (packed & np.uint64(0xFFFFFFFF)).view(np.int64)


def distinct(values: np.ndarray) -> np.ndarray:
    """Distinct values, increasing."""
    values = np.sort(values)
    keep = np.ones(len(values), bool)
    keep[1:] = values[1:] != values[:-1]
    return values[keep]


def places(nodes: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Index of each value in `nodes` (increasing, distinct, and holding all of them), int64."""
    span = int(nodes[-1] - nodes[0]) + 1 if len(nodes) else 0
    if span > 8 * len(values) + 65536:
        return np.searchsorted(nodes, values)
    table = np.empty(span, np.int64)  # numbers close together, as those of one shard are: no search
    table[nodes - nodes[0] if span else nodes] = np.arange(len(nodes))
    return table[values - nodes[0]] if span else table


def distinct_edges(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A graph from its edges (a, b), int64: its nodes, sorted, and its edges as pairs (i, j) of indices into them,
    sorted, each once. OverflowError beyond 2^32 nodes."""
    nodes = distinct(np.concatenate([a, b]))
    if len(nodes) >> 32:
        raise OverflowError("more than 2^32 documents have a candidate in one partition")
    i, j = places(nodes, a), places(nodes, b)
    packed = (i.view(np.uint64) << np.uint64(32)) | j.view(np.uint64)
    return nodes, *_unpack(packed)


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


def spanning_forest(nodes: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As few edges as hold together what the edges (a, b), indices into `nodes`, do: each node with the smallest one
    of its component. One edge per node at most, however many came in."""
    first = components(len(nodes), a, b)
    member = np.flatnonzero(first != np.arange(len(nodes)))
    return nodes[first[member]], nodes[member]

"""Best-fit decreasing: which pieces of documents share a training row, so that next to nothing is padding.

Pieces are taken from the longest to the shortest, and each goes into the row with the least free space that still
holds it. Both steps need no sorting: lengths are integers up to the row's length, so a counting sort orders the
pieces, and the rows lie in stacks by their free space. Which stack is the next that is not empty is read off a bitmap
of three levels, 64 bits to a word: three words for any row of up to 262,144 tokens, where a segment tree takes 2 x 17
steps. The work per piece is constant, and no object is made.

On web-like lengths (median 550 tokens, 2 % to 22 % longer than a row) a window of 20,000 documents leaves 0.01 % to
0.1 % of its rows empty. On long documents it cannot: two of more than half a row never share one. `fill_gaps` then
dissolves the emptiest rows and cuts their documents into the gaps of the others, no more of them than it takes to
come below the padding asked for.

Trade-off: a document longer than a row is cut at the row's length, and what is left of it is a piece like any other.
Cutting elsewhere would fill rows no better and take the context from its longest part.

Source: Ding et al. 2024, "Fewer Truncations Improve Language Modeling" (2404.10830), section 3.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

#: Pieces shorter than this are not made to fill a gap, tokens.
LEAST_FRAGMENT = 16


def _trailing_zeros(typingctx: Any, word: Any) -> Any:
    """Place of the lowest 1 in a uint64 that is not 0: one machine instruction."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), generate


_lowest_bit: Any = intrinsic(_trailing_zeros)


@njit(nogil=True, cache=True)
def _next(low, middle, high, space):
    """The smallest index >= `space` whose bit is set in `low`, or -1. `middle` and `high` sum up words below them."""
    word = space >> 6
    left = low[word] >> np.uint64(space & 63)
    if left:
        return space + _lowest_bit(left)
    word += 1
    if word >= low.size:
        return np.int64(-1)
    group = word >> 6
    left = middle[group] >> np.uint64(word & 63)
    if left:
        word += _lowest_bit(left)
    else:
        group += 1
        if group >= middle.size:
            return np.int64(-1)
        block = group >> 6
        left = high[block] >> np.uint64(group & 63)
        if left:
            group += _lowest_bit(left)
        else:
            block += 1
            while block < high.size and high[block] == 0:
                block += 1
            if block >= high.size:
                return np.int64(-1)
            group = (block << 6) + _lowest_bit(high[block])
        word = (group << 6) + _lowest_bit(middle[group])
    return (word << 6) + _lowest_bit(low[word])


@njit(nogil=True, cache=True)
def best_fit(lengths, capacity):
    """Pack pieces into bins of `capacity`. `lengths`: int32, each 1 to `capacity`.

    Returns the bin of each piece (int32, shape (pieces,)) and the number of bins. Equal lengths are taken in the order
    they come in.
    """
    n = lengths.size
    starts = np.zeros(capacity + 2, np.int64)
    for i in range(n):
        starts[capacity - lengths[i] + 1] += 1
    for i in range(1, capacity + 2):
        starts[i] += starts[i - 1]
    order = np.empty(n, np.int32)
    for i in range(n):
        place = capacity - lengths[i]
        order[starts[place]] = i
        starts[place] += 1

    one = np.uint64(1)
    top = np.full(capacity + 1, -1, np.int32)  # by free space: the bin on top of the stack
    below = np.empty(n, np.int32)  # the bin below it
    low = np.zeros((capacity >> 6) + 1, np.uint64)
    middle = np.zeros((low.size >> 6) + 1, np.uint64)
    high = np.zeros((middle.size >> 6) + 1, np.uint64)
    result = np.empty(n, np.int32)
    bins = 0
    for k in range(n):
        i = order[k]
        length = np.int64(lengths[i])
        space = _next(low, middle, high, length)
        if space < 0:
            chosen = np.int32(bins)
            bins += 1
            space = np.int64(capacity)
        else:
            chosen = top[space]
            top[space] = below[chosen]
            if top[space] < 0:
                word = space >> 6
                low[word] &= ~(one << np.uint64(space & 63))
                if low[word] == 0:
                    middle[word >> 6] &= ~(one << np.uint64(word & 63))
                    if middle[word >> 6] == 0:
                        high[word >> 12] &= ~(one << np.uint64((word >> 6) & 63))
        result[i] = chosen
        rest = space - length
        if rest > 0:
            below[chosen] = top[rest]
            top[rest] = chosen
            word = rest >> 6
            low[word] |= one << np.uint64(rest & 63)
            middle[word >> 6] |= one << np.uint64(word & 63)
            high[word >> 12] |= one << np.uint64((word >> 6) & 63)
    return result, bins


@njit(nogil=True, cache=True)
def split(lengths, capacity):
    """Cut documents at `capacity`. Returns (document, start, length) of each piece, int32, in document order."""
    count = 0
    for i in range(lengths.size):
        count += (lengths[i] + capacity - 1) // capacity
    document, start, length = np.empty(count, np.int32), np.empty(count, np.int32), np.empty(count, np.int32)
    k = 0
    for i in range(lengths.size):
        at = np.int64(0)
        while at < lengths[i]:
            document[k] = i
            start[k] = at
            length[k] = min(lengths[i] - at, capacity)
            at += length[k]
            k += 1
    return document, start, length


@njit(nogil=True, cache=True)
def _refill(document, start, length, bin_of, free, dissolved, capacity, least):
    """Cut the pieces of dissolved bins into the gaps of the others, the largest gap first; what is left over opens new
    bins. Returns the pieces (document, start, length, bin) anew; numbers of dissolved bins are not used again."""
    n = document.size
    bins = free.size
    loose = np.empty(n, np.int64)
    m = 0
    for i in range(n):
        if dissolved[bin_of[i]]:
            loose[m] = i
            m += 1
    loose = loose[:m]
    loose = loose[np.argsort(-length[loose], kind="mergesort")]  # long pieces into large gaps: fewer are cut
    open_bins = np.flatnonzero(~dissolved)
    gaps = open_bins[np.argsort(-free[open_bins], kind="mergesort")]
    size = n + gaps.size + m + 1
    to_document, to_start = np.empty(size, np.int32), np.empty(size, np.int32)
    to_length, to_bin = np.empty(size, np.int32), np.empty(size, np.int32)
    k = 0
    for i in range(n):
        if not dissolved[bin_of[i]]:
            to_document[k], to_start[k], to_length[k], to_bin[k] = document[i], start[i], length[i], bin_of[i]
            k += 1
    gap = 0
    here = np.int64(-1)
    space = np.int64(0)
    for j in range(m):
        i = loose[j]
        at, left = np.int64(start[i]), np.int64(length[i])
        while left > 0:
            if space == 0 or (space < least and space < left):  # too small to be worth a cut: it stays padding
                if gap < gaps.size and free[gaps[gap]] >= least:
                    here, space = gaps[gap], np.int64(free[gaps[gap]])
                    gap += 1
                else:
                    here, space = np.int64(bins), np.int64(capacity)
                    bins += 1
            take = min(space, left)
            to_document[k], to_start[k], to_length[k], to_bin[k] = document[i], at, take, here
            k += 1
            at += take
            left -= take
            space -= take
    return to_document[:k], to_start[:k], to_length[:k], to_bin[:k]


def fill_gaps(
    document: np.ndarray,
    start: np.ndarray,
    length: np.ndarray,
    bin_of: np.ndarray,
    bins: int,
    capacity: int,
    max_padding: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Bring the padding down to `max_padding` (a share of all tokens) by cutting documents, as few as that takes.

    Takes and returns pieces as (document, start, length, bin), int32. The emptiest bins are dissolved, as many as are
    too many, and their pieces cut into the gaps of the rest. Never fewer bins than the tokens need.
    """
    total = int(length.sum(dtype=np.int64))
    fewest = max(-(-total // capacity), int(total / (capacity * (1 - max_padding))))
    if bins <= fewest:
        return document, start, length, bin_of
    free = capacity - np.bincount(bin_of, weights=length, minlength=bins).astype(np.int64)
    dissolved = np.zeros(bins, bool)
    dissolved[np.argsort(-free, kind="stable")[: bins - fewest]] = True
    return _refill(document, start, length, bin_of, free, dissolved, capacity, LEAST_FRAGMENT)

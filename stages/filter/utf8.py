"""Code points, white space, line boundaries and hashes of UTF-8 bytes, for compiled kernels.

The reference implementations of the rules use `str.splitlines`, `str.strip` and `str.isspace`; which of their
characters count (a form feed ends a line, a no-break space is white) decides verdicts on real pages, so these mean
the same here.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from stages.filter.characters import SPACE

NEWLINE, RETURN, ZERO_WIDTH_SPACE = 0x0A, 0x0D, 0x200B
HASH_BASIS = np.uint64(0xCBF29CE484222325)
HASH_PRIME = np.uint64(0x9E3779B97F4A7C15)
U1, U2, U3, U4, U5, U6, U7, U8 = (np.uint64(i) for i in range(1, 9))


@njit(nogil=True, cache=True)
def hash_bytes(data, start, end):
    """64-bit hash of data[start:end], eight bytes at a time, with the finalizer of MurmurHash3.

    Equal hashes are taken for equal texts. Among the 10**5 n-grams of a long document two differ and collide with
    probability 3 in 10**10. Unsigned places spare numba's test for negative ones; the eight bytes then become one load
    (60 bytes: 9 ns for 35).
    """
    i = np.uint64(start)
    stop = np.uint64(end)
    h = HASH_BASIS ^ (stop - i)
    while i + U8 <= stop:
        v = np.uint64(data[i]) | np.uint64(data[i + U1]) << U8
        v |= np.uint64(data[i + U2]) << np.uint64(16) | np.uint64(data[i + U3]) << np.uint64(24)
        v |= np.uint64(data[i + U4]) << np.uint64(32) | np.uint64(data[i + U5]) << np.uint64(40)
        v |= np.uint64(data[i + U6]) << np.uint64(48) | np.uint64(data[i + U7]) << np.uint64(56)
        h = (h ^ v) * HASH_PRIME
        h ^= h >> np.uint64(32)
        i += U8
    v = np.uint64(0)
    shift = np.uint64(0)
    while i < stop:
        v |= np.uint64(data[i]) << shift
        shift += U8
        i += U1
    h = (h ^ v) * HASH_PRIME
    h = (h ^ (h >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    h = (h ^ (h >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return h ^ (h >> np.uint64(33))


@njit(nogil=True, cache=True, inline="always")
def code_point(data, i, end):
    """(code point, bytes it takes) at data[i], i < end; the replacement character where data is not UTF-8."""
    b = np.int64(data[i])
    if b < 0x80:
        return b, 1
    if b < 0xC0 or b >= 0xF5 or i + 1 + (b >= 0xE0) + (b >= 0xF0) >= end:
        return 0xFFFD, 1
    if b < 0xE0:
        return ((b & 0x1F) << 6) | (np.int64(data[i + 1]) & 0x3F), 2
    if b < 0xF0:
        return ((b & 0x0F) << 12) | ((np.int64(data[i + 1]) & 0x3F) << 6) | (np.int64(data[i + 2]) & 0x3F), 3
    c = ((b & 0x07) << 18) | ((np.int64(data[i + 1]) & 0x3F) << 12)
    c |= ((np.int64(data[i + 2]) & 0x3F) << 6) | (np.int64(data[i + 3]) & 0x3F)
    return min(c, 0x10FFFF), 4


@njit(nogil=True, cache=True)
def length(data, start, end):
    """Code points of data[start:end]."""
    n = 0
    for i in range(start, end):
        n += data[i] & 0xC0 != 0x80
    return n


@njit(nogil=True, cache=True)
def longest(offsets):
    """Bytes of the longest document between consecutive offsets."""
    size = 0
    for i in range(len(offsets) - 1):
        size = max(size, offsets[i + 1] - offsets[i])
    return size


@njit(nogil=True, cache=True)
def is_white(c, table):
    """`str.isspace` of a code point."""
    return table[c] & SPACE and c != ZERO_WIDTH_SPACE


@njit(nogil=True, cache=True)
def strip(data, start, end, table):
    """Bounds of data[start:end] without white space at its ends, as `str.strip`."""
    while start < end:
        c, width = code_point(data, start, end)
        if not is_white(c, table):
            break
        start += width
    while end > start:
        i = last_character(data, start, end)
        if not is_white(code_point(data, i, end)[0], table):
            break
        end = i
    return start, end


@njit(nogil=True, cache=True)
def last_character(data, start, end):
    """Where the last code point of data[start:end] starts; the range is not empty."""
    i = end - 1
    while i > start and data[i] & 0xC0 == 0x80:
        i -= 1
    return i


@njit(nogil=True, cache=True)
def line_break(data, i, end):
    """Bytes of the line boundary at i (as `str.splitlines` knows them), 0 if there is none."""
    b = data[i]
    if b == RETURN:
        return 2 if i + 1 < end and data[i + 1] == NEWLINE else 1
    if b <= 0x1E:
        return 1 if (b >= NEWLINE and b <= RETURN) or b >= 0x1C else 0
    if b == 0xC2:
        return 2 if i + 1 < end and data[i + 1] == 0x85 else 0
    if b == 0xE2:
        return 3 if i + 2 < end and data[i + 1] == 0x80 and data[i + 2] | 1 == 0xA9 else 0
    return 0

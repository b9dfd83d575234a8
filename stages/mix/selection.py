"""Which documents a rate takes, and how often: systematic sampling in exact arithmetic.

A document has a place u in [0, 1), a hash of its id. Reading goes round and round: by the time the stages so far have
read its stratum A times over, and the next one reads it r times more, a document has been met at every n + u in
[A, A + r). So a stage gives it floor(r) or ceil(r) copies, the stages together floor or ceil of the sum, and no
document comes a second time before all of its stratum have come once.

Numbers are integers in units of 2^-32, so the plan and the workers, who count alone, cannot disagree.

Hashes are random, so reading to r takes only about r of the tokens: with heavy-tailed lengths some percent off. The
plan knows the tokens at each of 65,536 places, and `settle` moves the rates of a group until what is really taken is
nearest to what was planned.
"""

from __future__ import annotations

import numpy as np
from numba import njit

#: Units of a rate of 1, as a power of two, and places a document can have.
ONE = 32
PLACES = 16


@njit(nogil=True, cache=True, inline="always")
def _met(place, start, end):
    """Times a document is met in [start, end): units of 2^-ONE; `place`: 0 to 2^PLACES - 1."""
    u = (np.int64(place) << (ONE - PLACES)) + (np.int64(1) << (ONE - PLACES - 1))
    return -((u - end) >> ONE) + ((u - start) >> ONE)


@njit(nogil=True, cache=True)
def copies(place, start, end):
    """How many times each document is taken. place: uint16; start, end: int64; all of one shape. Returns int32."""
    result = np.empty(place.size, np.int32)
    for i in range(place.size):
        result[i] = _met(place[i], start[i], end[i])
    return result


@njit(nogil=True, cache=True)
def _taken(stratum, place, size, first, last, start, rate, factor, cap):
    """Amount that the entries [first, last) give at `factor` times their rates."""
    total = 0.0
    for i in range(first, last):
        s = stratum[i]
        step = np.int64(min(rate[s] * factor, cap) * (1 << ONE))
        total += size[i] * _met(place[i], start[s], start[s] + step)
    return total


@njit(nogil=True, cache=True)
def settle(stratum, place, size, group_starts, start, rate, cap):
    """Ends of what a stage reads of each stratum: int64, `start` plus its rate in units of 2^-ONE.

    stratum, place, size: entries, in order of their groups; group_starts: where each group begins, and the end of the
    last; start: where the stages before have stopped, per stratum; rate: per stratum. Groups are settled one after
    another, and what one of them misses, for it takes whole documents, is made good by the next.
    """
    end = start.copy()
    owed = 0.0
    for g in range(group_starts.size - 1):
        first, last = group_starts[g], group_starts[g + 1]
        aim = 0.0
        largest = 0.0
        for i in range(first, last):
            aim += size[i] * rate[stratum[i]]
            largest = max(largest, size[i])
        if aim <= 0.0:
            continue
        aim += owed
        low, high = 0.0, 1.0
        at_one = _taken(stratum, place, size, first, last, start, rate, 1.0, cap)
        best, error = 1.0, abs(at_one - aim)
        if at_one < aim:
            for _ in range(40):
                low, high = high, high * 2.0
                if _taken(stratum, place, size, first, last, start, rate, high, cap) >= aim:
                    break
        for _ in range(60):
            if error == 0.0:
                break
            middle = (low + high) / 2
            if middle in (low, high):
                break
            amount = _taken(stratum, place, size, first, last, start, rate, middle, cap)
            off = abs(amount - aim)
            if off < error:
                best, error = middle, off
            if amount < aim:
                low = middle
            else:
                high = middle
        got = 0.0
        for i in range(first, last):
            s = stratum[i]
            end[s] = start[s] + np.int64(min(rate[s] * best, cap) * (1 << ONE))
            got += size[i] * _met(place[i], start[s], end[s])
        owed = min(max(aim - got, -largest), largest)
    return end

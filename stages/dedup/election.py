"""Who stands for whom in a component of near duplicates: one document after another, by direct comparison.

A component hangs together by pairs, and its ends may have nothing in common: of 12,575 pages of documentation, one in
six that transitive closure removes has a Jaccard index below 0.7 with the page kept for it. So the documents of a
component are taken in order, those to keep first. Each is compared with those of the component that have stayed so
far, goes to the one it resembles most (the earlier of equals), and stays if it resembles none enough.

Comparing with every keeper, not only with the candidates that banding met, finds pairs that banding missed, and needs
the members of a component alone, no edges: what travels is one pair of addresses per document. In a large component
the comparisons would grow with the square of the keepers. There, keepers are found by an index of their sketches: 64
bands of 8 bytes, one of which is equal with probability 1 - (1 - J^8)^64, 0.976 at J = 0.7 and 0.99999 at 0.8.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from stages.dedup.signatures import resemblance

#: Documents in a component from which on keepers are found by the index.
LARGE = 1024
_BAND = 8  # bytes
_MIX = np.uint64(0x9E3779B97F4A7C15)


@njit(nogil=True, cache=True)
def _better(sketches, document, other, place, best, most):
    """Whether `other` is a better keeper than `best`, and how much `document` resembles it."""
    found = resemblance(sketches, document, other)
    return found > most or (found == most and (best == document or place[other] < place[best])), found


@njit(nogil=True, cache=True)
def _slot(bands, document, band, mask):
    return ((bands[document, band] ^ (np.uint64(band) * _MIX)) * _MIX >> np.uint64(24)) & mask


@njit(nogil=True, cache=True)
def elect(order, starts, sketches, least, large, settled, keeper, jaccard):
    """Give each document a keeper: itself, or one of its component that it resembles by at least `least`.

    order: the documents (rows of `sketches`) by component, in each those to keep first; component c is
    `order[starts[c] : starts[c + 1]]`. large: size from which on the index is used. settled: which documents stay
    whatever they resemble; they come before the others of their component. keeper (int64) and jaccard
    (float64; 1 for those that stay) have one entry per document.
    """
    n = order.size
    place = np.empty(n, np.int64)
    for i in range(n):
        place[order[i]] = i
    bands = sketches.view(np.uint64)
    width = bands.shape[1]
    compared = np.full(n, -1, np.int64)
    keepers = np.empty(n, np.int64)
    for c in range(starts.size - 1):
        begin = starts[c]
        size = starts[c + 1] - begin
        count = 0
        indexed = size >= large
        slots = 1
        while indexed and slots < 4 * size:
            slots *= 2
        mask = np.uint64(slots - 1)
        head = np.full(slots, -1, np.int64)  # the last entry of each slot; entry = keeper's number x bands + band
        before = np.empty(size * width if indexed else 0, np.int64)  # the entry before it in its slot
        for i in range(begin, begin + size):
            document = order[i]
            best = document
            most = least
            if settled[document]:
                pass
            elif indexed:
                for band in range(width):
                    if bands[document, band] == 0:
                        continue
                    entry = head[_slot(bands, document, band, mask)]
                    while entry >= 0:
                        other = keepers[entry // width]
                        if compared[other] != i:
                            compared[other] = i
                            better, found = _better(sketches, document, other, place, best, most)
                            if better:
                                best = other
                                most = found
                        entry = before[entry]
            else:
                for k in range(count):
                    better, found = _better(sketches, document, keepers[k], place, best, most)
                    if better:
                        best = keepers[k]
                        most = found
            keeper[document] = best
            jaccard[document] = most if best != document else 1.0
            if best == document:
                keepers[count] = document
                if indexed:
                    for band in range(width):
                        if bands[document, band] != 0:
                            slot = _slot(bands, document, band, mask)
                            before[count * width + band] = head[slot]
                            head[slot] = count * width + band
                count += 1

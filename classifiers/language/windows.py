"""Reads documents in windows: the script of each, its words, and the network's probabilities for it.

A page is rarely one text. It opens with a menu, quotes English in the middle, or holds the same notice in six
languages. One answer from its beginning hides that, and reading all of a book costs as much as a book. So up to
eight windows of some 700 bytes are read, evenly spread; each is judged in the script most of its bytes are in.

Letters are weighed by their bytes in UTF-8. A Chinese character says about as much as three Latin letters and takes
three bytes, a Cyrillic letter takes two and is rarely met by chance: by bytes, a Russian page with program code in it
stays Russian.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from classifiers.language.features import MARK, SKIPPED, fold, n_grams
from classifiers.language.network import MOST, ROOM

#: Bytes of a window, and most windows of a document. Shorter documents are read whole.
WINDOW, WINDOWS = 700, 8


@njit(nogil=True, cache=True)
def _boundary(data, i, end):  # type: ignore[no-untyped-def]
    """The first place from `i` on where a word may begin: after a space within 64 bytes, else at a character."""
    for j in range(i, min(i + 64, end)):
        if data[j] == 0x20 or data[j] == 0x0A:
            return j + 1
    while i < end and data[i] & 0xC0 == 0x80:
        i += 1
    return i


@njit(nogil=True, cache=True)
def _weigh(data, start, end, symbol, weight):  # type: ignore[no-untyped-def]
    """Add the bytes of the letters of data[start:end] to weight[script]. Returns (letters and marks, characters that
    are not white space)."""
    letters = 0
    visible = 0
    i = start
    while i < end:
        byte = data[i]
        if byte < 0x80:
            i += 1
            visible += byte > 0x20
            kind = symbol[byte]
            if kind:
                letters += 1
                weight[kind] += 1
            continue
        if byte >= 0xF0:
            code, length = np.int64(byte & 0x07), 4
        elif byte >= 0xE0:
            code, length = np.int64(byte & 0x0F), 3
        else:
            code, length = np.int64(byte & 0x1F), 2
        for k in range(i + 1, min(i + length, end)):
            code = (code << 6) | np.int64(data[k] & 0x3F)
        i += length
        visible += 1
        kind = symbol[code] if code < len(symbol) else 0
        if kind == MARK:
            letters += 1
        elif kind != 0 and kind != SKIPPED:
            letters += 1
            weight[kind] += length
    return letters, visible


@njit(nogil=True, cache=True)
def read(  # type: ignore[no-untyped-def]
    data, starts, symbol, lower, merged, ranges, index, vectors, scales, weights, answers, probabilities, shares, counts
):
    """Judge texts. Per text: probabilities float32 (texts, L + 1), mean over its windows, the last column for scripts
    without labels; shares float32 (texts, A), how much of its letters lies in windows with each answer; counts int64
    (texts, 2), letters and visible characters of the windows. All are added to; give zeros.

    merged: uint8 (256,), symbol number -> script number (kana count as Han). answers: int32 (L + 1,), the answer each
    label stands for. The rest are the arrays of `Weights`.
    """
    folded = np.empty(ROOM, np.uint8)
    rows = np.empty(MOST, np.int32)
    dimensions = weights.shape[0]
    hidden = np.empty(dimensions, np.float32)
    labels = weights.shape[1]
    part = np.zeros(labels, np.float32)
    weight = np.zeros(256, np.int64)
    buckets = len(index)
    for text in range(len(starts) - 1):
        begin, end = starts[text], starts[text + 1]
        size = end - begin
        count = min(max(1, (size + WINDOW - 1) // WINDOW), WINDOWS)
        stride = size / count
        length = stride if count < WINDOWS else min(stride, np.float64(WINDOW))
        total = np.float32(0)
        for w in range(count):
            low = begin + np.int64(w * stride)
            high = begin + np.int64(w * stride + length) if w + 1 < count or length < stride else end
            if w:
                low = _boundary(data, low, end)
            if high < end:
                high = _boundary(data, high, end)
            weight[:] = 0
            letters, visible = _weigh(data, low, high, symbol, weight)
            counts[text, 0] += letters
            counts[text, 1] += visible
            script = 0
            for s in range(1, 254):
                if merged[s] != s:
                    weight[merged[s]] += weight[s]
                    weight[s] = 0
            for s in range(1, 254):
                if weight[s] > weight[script]:
                    script = s
            mass = np.float32(weight[script])
            if mass == 0:
                continue
            first, last = ranges[script]
            total += mass
            if last - first < 2:
                label = first if last > first else labels
                probabilities[text, label] += mass
                shares[text, answers[label]] += mass
                continue
            n, _ = fold(data, low, high, script, symbol, lower, folded)
            n = n_grams(folded, 0, n, buckets, rows)
            hidden[:] = 0
            used = 0
            for k in range(n):
                row = index[rows[k]]
                if row >= 0:
                    used += 1
                    scale = scales[row]
                    vector = vectors[row]
                    for d in range(dimensions):
                        hidden[d] += scale * vector[d]
            part[first:last] = 0
            for d in range(dimensions):
                value = hidden[d] / np.float32(max(used, 1))
                column = weights[d, first:last]
                for i in range(last - first):
                    part[first + i] += value * column[i]
            highest = part[first]
            best = first
            for i in range(first, last):
                if part[i] > highest:
                    highest = part[i]
                    best = i
            norm = np.float32(0)
            for i in range(first, last):
                part[i] = np.exp(part[i] - highest)
                norm += part[i]
            for i in range(first, last):
                probabilities[text, i] += part[i] * (mass / norm)
            shares[text, answers[best]] += mass
        if total > 0:
            for i in range(labels + 1):
                probabilities[text, i] /= total
            for i in range(shares.shape[1]):
                shares[text, i] /= total

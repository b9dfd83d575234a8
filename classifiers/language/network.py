"""The network: the mean of n-gram vectors, and a softmax over the labels of the text's script.

This is fastText's supervised model (Joulin et al. 2016, arXiv 1607.01759) with two differences. The labels of other
scripts take no part in the softmax, neither in training nor in use: what the script settles need not be learned, and
65 Latin languages share the whole capacity. And training is sequential and draws from a seeded generator of its own,
so that the same data gives the same model; fastText's threads write over each other, and its matrices start from
memory it has not filled.

Labels are ordered by script, so that a script's labels are a range. Shapes: B buckets, D dimensions, L labels;
`vectors` float32 (B, D), `weights` float32 (D, L).

Trade-off: one thread. 2.5 million passes over a sentence take two to three minutes; fastText needs eight of CPU time.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from classifiers.language.features import fold, n_grams

#: Bytes of folded text and n-grams that one reading takes in at most.
ROOM, MOST = 8192, 16384


@njit(nogil=True, cache=True)
def _random(state):  # type: ignore[no-untyped-def]
    """The next number of a xorshift64* generator, 0 to 1; `state` is uint64 (1,)."""
    x = state[0]
    x ^= x >> np.uint64(12)
    x ^= x << np.uint64(25)
    x ^= x >> np.uint64(27)
    state[0] = x
    return np.float64((x * np.uint64(2685821657736338717)) >> np.uint64(11)) / 9007199254740992.0


@njit(nogil=True, cache=True)
def softmax(vectors, rows, n, weights, first, last, hidden, scores):  # type: ignore[no-untyped-def]
    """Probabilities of labels first..last-1 for n rows of `vectors`, written to scores[first:last]; `hidden` (D,) is
    the mean vector."""
    dimensions = len(hidden)
    hidden[:] = 0
    for k in range(n):
        row = vectors[rows[k]]
        for d in range(dimensions):
            hidden[d] += row[d]
    part = scores[first:last]
    part[:] = 0
    for d in range(dimensions):
        hidden[d] /= np.float32(n)
        value = hidden[d]
        column = weights[d, first:last]
        for i in range(last - first):
            part[i] += value * column[i]
    part -= part.max()
    total = np.float32(0)
    for i in range(last - first):
        part[i] = np.exp(part[i])
        total += part[i]
    part /= total


@njit(nogil=True, cache=True)
def _fragment(folded, n, fragments, state):  # type: ignore[no-untyped-def]
    """(start, end) of all of the text or, with probability `fragments`, of 1 to 12 words of it."""
    if _random(state) >= fragments:
        return 0, n
    words = 0
    for i in range(n):
        words += folded[i] == 0x3C
    take = 1 + int(_random(state) * 12)
    if take >= words:
        return 0, n
    begin = int(_random(state) * (words - take + 1))
    word = -1
    start = 0
    for i in range(n):
        if folded[i] == 0x3C:
            word += 1
            if word == begin:
                start = i
            if word == begin + take:
                return start, i
    return start, n


@njit(nogil=True, cache=True)
def train(data, starts, order, labels, ranges, script_of, symbol, lower, vectors, weights, rate, fragments, state):  # type: ignore[no-untyped-def]
    """Go through the texts `order` once, with a learning rate that falls evenly from rate[0] to rate[1]. Changes
    `vectors` and `weights`; returns the mean loss (nats).

    labels: int32, one a text. ranges: int32 (L, 2), the labels of each label's script. script_of: uint8 (L,), the
    number of each label's script in the table of symbols.
    """
    buckets, dimensions = vectors.shape
    folded = np.empty(ROOM, np.uint8)
    rows = np.empty(MOST, np.int32)
    hidden = np.empty(dimensions, np.float32)
    gradient = np.empty(dimensions, np.float32)
    scores = np.zeros(weights.shape[1], np.float32)
    loss = 0.0
    for step in range(len(order)):
        text = order[step]
        label = labels[text]
        first, last = ranges[label]
        n, _ = fold(data, starts[text], starts[text + 1], script_of[label], symbol, lower, folded)
        begin, end = _fragment(folded, n, fragments, state)
        n = n_grams(folded, begin, end, buckets, rows)
        if n == 0:
            continue
        softmax(vectors, rows, n, weights, first, last, hidden, scores)
        loss -= np.log(scores[label] + 1e-9)
        alpha = np.float32(rate[0] + (rate[1] - rate[0]) * step / len(order))
        part = scores[first:last]
        for i in range(last - first):
            part[i] = -part[i]
        scores[label] += np.float32(1)
        for d in range(dimensions):
            column = weights[d, first:last]
            step_d = alpha * hidden[d]
            total = np.float32(0)
            for i in range(last - first):
                total += part[i] * column[i]
                column[i] += step_d * part[i]
            gradient[d] = total * alpha / np.float32(n)
        for k in range(n):
            row = vectors[rows[k]]
            for d in range(dimensions):
                row[d] += gradient[d]
    return loss / max(len(order), 1)

"""MinHash signatures straight from Arrow text: 112 minima over the hashed word 5-grams of each document.

The slow part of MinHash as usually written is not the permutations but what comes before them: building n-grams as
Python strings and hashing them one by one. Here a document goes from UTF-8 bytes to its signature in one kernel:
word hashes (`words.py`), n-gram hashes as sums of products, minima. About half of the time is spent in finding words,
a quarter in the permutations.

Two trade-offs, both measured. Hashes are 32 bits wide: 64 bits cost 1.5 times as much and estimate no better (the
error stays within 1.1 of the binomial's). And the permutations are full ones, a x + b mod 2^32 with a odd: sketches
that need one permutation only (densified one-permutation hashing, C-MinHash) would save less than a fifth of the
whole.

Source: A. Broder, On the resemblance and containment of documents, 1997; banding: J. Leskovec, A. Rajaraman,
J. Ullman, Mining of Massive Datasets, section 3.4.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from stages.dedup.words import word_hashes

_BASE = 0x2545F4914F6CDD1D  # odd; n-gram hash = sum of word hashes times powers of it
_MIX1, _MIX2 = np.uint64(0xD6E8FEB86659FD93), np.uint64(0x9E3779B97F4A7C15)


def splitmix64(seed: int, count: int) -> np.ndarray:
    """The first `count` numbers (uint64) of the SplitMix64 generator (Steele et al. 2014), the same for ever."""
    with np.errstate(over="ignore"):
        z = np.uint64(seed & (2**64 - 1)) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def permutations(count: int, seed: int) -> np.ndarray:
    """Factors (odd) and summands of `count` permutations of the 32-bit numbers; uint32, shape (2, count)."""
    numbers = (splitmix64(seed, 2 * count) >> np.uint64(32)).astype(np.uint32).reshape(2, count)
    numbers[0] |= np.uint32(1)
    return numbers


def powers(ngram: int) -> np.ndarray:
    """Factors of the n words of an n-gram, uint64."""
    return np.array([pow(_BASE, ngram - 1 - i, 2**64) for i in range(ngram)], np.uint64)


@njit(nogil=True, cache=True)
def shingle_hashes(words, count, factors, scratch, out):
    """32-bit hashes of the n-grams of `count` word hashes into `out`; returns their number.

    One pass per word of the n-gram, each without a dependency from one n-gram to the next: a rolling hash saves
    multiplications but waits for each of them in turn, and takes twice as long.
    """
    n = factors.size
    grams = count - n + 1
    if grams <= 0:
        return 0
    if n == 5:
        f0, f1, f2, f3 = factors[0], factors[1], factors[2], factors[3]
        for i in range(grams):
            scratch[i] = words[i] * f0 + words[i + 1] * f1 + words[i + 2] * f2 + words[i + 3] * f3 + words[i + 4]
    else:
        for i in range(grams):
            scratch[i] = words[i] * factors[0]
        for j in range(1, n):
            for i in range(grams):
                scratch[i] += words[i + j] * factors[j]
    for i in range(grams):
        h = scratch[i]
        h ^= h >> np.uint64(32)
        h *= _MIX1
        h ^= h >> np.uint64(29)
        h *= _MIX2
        out[i] = np.uint32(h >> np.uint64(32))
    return grams


@njit(nogil=True, cache=True)
def minima(shingles, count, permutations, out):
    """Smallest value of each permutation over `count` shingle hashes, into `out` (uint32, one per permutation)."""
    factors = permutations[0]
    summands = permutations[1]
    size = factors.size
    j = 0
    while j + 4 <= size:  # four minima in registers for one load of the shingle
        a0, a1, a2, a3 = factors[j], factors[j + 1], factors[j + 2], factors[j + 3]
        b0, b1, b2, b3 = summands[j], summands[j + 1], summands[j + 2], summands[j + 3]
        m0 = np.uint32(0xFFFFFFFF)
        m1 = m0
        m2 = m0
        m3 = m0
        for i in range(count):
            x = shingles[i]
            m0 = min(m0, np.uint32(a0 * x + b0))
            m1 = min(m1, np.uint32(a1 * x + b1))
            m2 = min(m2, np.uint32(a2 * x + b2))
            m3 = min(m3, np.uint32(a3 * x + b3))
        out[j], out[j + 1], out[j + 2], out[j + 3] = m0, m1, m2, m3
        j += 4
    while j < size:
        m = np.uint32(0xFFFFFFFF)
        for i in range(count):
            m = min(m, np.uint32(factors[j] * shingles[i] + summands[j]))
        out[j] = m
        j += 1


@njit(nogil=True, cache=True)
def signatures(data, offsets, table, factors, permutations, out, lengths):
    """Signature of each document (rows of `out`, uint32) and its number of words (`lengths`, int32).

    A document of fewer words than an n-gram has no shingle; its signature is all ones. Scratch: 20 bytes for each
    byte of the longest document.
    """
    longest = 0
    for d in range(offsets.size - 1):
        longest = max(longest, offsets[d + 1] - offsets[d])
    words = np.empty(longest + 1, np.uint64)
    scratch = np.empty(longest + 1, np.uint64)
    shingles = np.empty(longest + 1, np.uint32)
    for d in range(offsets.size - 1):
        count = word_hashes(data, offsets[d], offsets[d + 1], table, words)
        lengths[d] = count
        grams = shingle_hashes(words, count, factors, scratch, shingles)
        minima(shingles, grams, permutations, out[d])


@njit(nogil=True, cache=True)
def band_keys(signatures, bands):
    """One key per document and band (uint64, shape (n, bands)); documents equal in all rows of a band share its key.

    The number of the band is part of the key, so that all bands can be sorted together.
    """
    n, size = signatures.shape
    rows = size // bands
    keys = np.empty((n, bands), np.uint64)
    for d in range(n):
        for band in range(bands):
            h = np.uint64(band + 1) * _MIX2
            for j in range(band * rows, (band + 1) * rows):
                h = (h ^ np.uint64(signatures[d, j])) * _MIX1
                h ^= h >> np.uint64(32)
            h *= _MIX2
            keys[d, band] = h ^ (h >> np.uint64(32))
    return keys


@njit(nogil=True, cache=True)
def agreement(signatures, i, j):
    """In how many places two signatures agree. Divided by their length, an unbiased estimate of the Jaccard index."""
    count = 0
    for k in range(signatures.shape[1]):
        count += signatures[i, k] == signatures[j, k]
    return count


@njit(nogil=True, cache=True)
def elect(order, starts, targets, signatures, least, keeper, agreed):
    """Give each document a keeper, itself or one that its signature agrees with in at least `least` places.

    Documents are taken in the order `order` (keepers first). One is compared with every neighbour that was taken
    before it and stayed, and with the keepers of those that did not; it goes to the one it agrees with most, the
    earliest of equals, and stays if none agrees enough. So a chain of ever more different documents is cut wherever
    its end no longer resembles the document that would stand for it. The work is one comparison per edge at most.

    keeper (int64) and agreed (int32) have one entry per document.
    """
    n = order.size
    rank = np.empty(n, np.int64)
    for i in range(n):
        rank[order[i]] = i
    compared = np.full(n, -1, np.int64)
    for i in range(n):
        document = order[i]
        best = -1
        most = least - 1
        for k in range(starts[document], starts[document + 1]):
            other = targets[k]
            if rank[other] >= i:
                continue
            other = keeper[other]
            if compared[other] == i:
                continue
            compared[other] = i
            count = agreement(signatures, document, other)
            if count > most or (count == most and best >= 0 and rank[other] < rank[best]):
                most = count
                best = other
        keeper[document] = best if best >= 0 else document
        agreed[document] = most if best >= 0 else signatures.shape[1]


@njit(nogil=True, cache=True)
def agreements(signatures, a, b):
    """`agreement` of each pair (a[i], b[i]); int32."""
    result = np.empty(a.size, np.int32)
    for i in range(a.size):
        result[i] = agreement(signatures, a[i], b[i])
    return result

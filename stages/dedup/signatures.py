"""MinHash signatures and sketches straight from Arrow text, over the hashed word 5-grams of each document.

The slow part of MinHash as usually written is not the permutations but what comes before them: building n-grams as
Python strings and hashing them one by one. Here a batch goes from UTF-8 bytes to its signatures in two kernels: word
hashes (`words.py`); then n-gram hashes as sums of products, minima and sketches. About half of the time is spent in
finding words, a quarter in the permutations. Two kernels and not one, because Numba caches compiled code by file: a
kernel that calls into another file would go on running that file's old code after a change.

Two trade-offs, both measured. Hashes are 32 bits wide: 64 bits cost 1.5 times as much and estimate no better (the
error stays within 1.1 of the binomial's). And the permutations are full ones, a x + b mod 2^32 with a odd: sketches
that need one permutation only (densified one-permutation hashing, C-MinHash) would save less than a fifth of the
whole.

The signature finds candidates and is then thrown away. What decides about a pair is a sketch of 512 bytes: the
shingle hashes are dealt into 512 bins, and of the smallest in each bin one byte is kept. Two such sketches estimate a
Jaccard index of 0.7 with a standard error of 0.015, the 112 values of the signature (448 bytes) with 0.04: there are
more draws, and of a page with about as many shingles as bins most are compared, not sampled.

Sources: A. Broder, On the resemblance and containment of documents, 1997; banding: J. Leskovec, A. Rajaraman,
J. Ullman, Mining of Massive Datasets, section 3.4; sketch: P. Li, A. Owen, C. Zhang, One permutation hashing, 2012,
with the one byte per value of P. Li, A. C. Koenig, b-bit minwise hashing, 2010.
"""

from __future__ import annotations

import numpy as np
from numba import njit

_BASE = 0x2545F4914F6CDD1D  # odd; n-gram hash = sum of word hashes times powers of it
#: Bytes of a sketch, a power of two. A byte is 0 for an empty bin, else one of 255 fingerprints.
SKETCH = 512
_SKETCH_SHIFT = np.uint32(32 - (SKETCH.bit_length() - 1))

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
def sketch(shingles, count, smallest, out):
    """One byte (`out`, uint8) per bin: 0, or a fingerprint of the smallest shingle hash in it (`smallest`: scratch)."""
    smallest[:] = np.uint32(0xFFFFFFFF)
    for i in range(count):
        h = shingles[i]
        bin = h >> _SKETCH_SHIFT
        smallest[bin] = min(smallest[bin], h)
    for bin in range(SKETCH):
        h = np.uint32(smallest[bin] * np.uint32(0x9E3779B1)) >> np.uint32(24)
        out[bin] = 0 if smallest[bin] == np.uint32(0xFFFFFFFF) else max(h, 1)


@njit(nogil=True, cache=True)
def signatures(words, starts, factors, permutations, out, sketches):
    """Signature (rows of `out`, uint32) and sketch (rows of `sketches`, uint8) of each document.

    The word hashes of document i are `words[starts[i] : starts[i + 1]]`. A document of fewer words than an n-gram has
    no shingle; its signature is all ones and its sketch all zeros.
    """
    longest = 0
    for d in range(starts.size - 1):
        longest = max(longest, starts[d + 1] - starts[d])
    scratch = np.empty(longest, np.uint64)
    shingles = np.empty(longest, np.uint32)
    smallest = np.empty(SKETCH, np.uint32)
    for d in range(starts.size - 1):
        begin = starts[d]
        count = shingle_hashes(words[begin : starts[d + 1]], starts[d + 1] - begin, factors, scratch, shingles)
        minima(shingles, count, permutations, out[d])
        sketch(shingles, count, smallest, sketches[d])


@njit(nogil=True, cache=True)
def band_keys(signatures, bands):
    """One key per document and band (uint64, shape (n, bands)); documents equal in all rows of a band share its key.

    The number of the band is part of the key, so that all bands can be sorted together. A key is a sum of products,
    none of which waits for another.
    """
    n, size = signatures.shape
    rows = size // bands
    factors = np.empty(rows, np.uint64)
    factor = _MIX2
    for j in range(rows):
        factor = factor * _MIX1
        factors[j] = factor
    keys = np.empty((n, bands), np.uint64)
    for d in range(n):
        for band in range(bands):
            h = np.uint64(band + 1) * _MIX2
            for j in range(rows):
                h += np.uint64(signatures[d, band * rows + j]) * factors[j]
            h ^= h >> np.uint64(32)
            h *= _MIX1
            h ^= h >> np.uint64(29)
            h *= _MIX2
            keys[d, band] = h ^ (h >> np.uint64(32))
    return keys


@njit(nogil=True, cache=True)
def resemblance(sketches, i, j):
    """Jaccard index of two documents (rows of `sketches`), estimated without bias; 0 if both are empty.

    A bin that is filled for either document is a draw from the union of their shingles, one that holds the same in
    both a draw from the intersection. Of the bins where fingerprints differ, 1 in 254 more would have differed but
    for chance; they are taken off.
    """
    same, different, filled = np.int32(0), np.int32(0), np.int32(0)
    for k in range(sketches.shape[1]):
        x = sketches[i, k]
        y = sketches[j, k]
        filled += np.int32((x | y) != 0)
        same += np.int32((x == y) & (x != 0))
        different += np.int32((x != y) & (x != 0) & (y != 0))
    if 254 * same <= different:
        return 0.0
    return (254 * same - different) / (254 * filled)


@njit(nogil=True, cache=True)
def resemblances(sketches, a, b):
    """`resemblance` of each pair (a[i], b[i]); float64."""
    result = np.empty(a.size, np.float64)
    for i in range(a.size):
        result[i] = resemblance(sketches, a[i], b[i])
    return result

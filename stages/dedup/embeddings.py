"""Cosines that are the same to the last bit on every machine: embeddings as whole numbers, and k-means over them.

A matrix product of floats depends on the order of its sums, which depends on the library, the CPU, the number of
threads and the shape of the block. A document whose cosine lies at the threshold would come and go with them. So each
vector is scaled to length 4,000 or so and rounded to whole numbers. All partial sums of a product of two are then whole
numbers below 2^24 (Cauchy-Schwarz), which float32 holds exactly: the fastest matrix product there is, and exact in any
order. Trade-off: the cosine of two documents is off by up to 0.0003, a tenth of what bfloat16 models leave open.

Clusters are those of spherical k-means (Dhillon and Modha 2001): centroids are sums of whole numbers, scaled again.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numba import njit

#: Rows of a matrix product at once; bounds scratch memory.
_BLOCK = 4096


def scale(dimensions: int) -> float:
    """Length that vectors are scaled to. Rounding lengthens one by up to sqrt(d) / 2, and 4,096 must not be passed."""
    return 4095.0 - 0.5 * float(np.sqrt(dimensions))


def quantized(column: pa.Array | pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vectors of a list column, scaled and rounded: int16 values one after another, where each vector begins (int64,
    one more than there are rows), and which rows hold a vector with a direction (bool).

    A null, an empty list, one with a null in it, and a vector that is zero or not finite have none, and no values.
    """
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if pa.types.is_fixed_size_list(column.type):
        column = column.cast(pa.large_list(column.type.value_type))
    lengths = column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    flat = column.flatten().cast(pa.float64(), safe=False)
    values = flat.fill_null(np.nan).to_numpy(zero_copy_only=False)
    starts = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=starts[1:])
    out, ends = np.empty(len(values), np.int16), np.zeros(len(lengths) + 1, np.int64)
    values = np.ascontiguousarray(values)
    _quantize(values, starts, out, ends)
    return out[: ends[-1]], ends, np.diff(ends) > 0


@njit(nogil=True, cache=True)
def _quantize(values, starts, out, ends):
    at = 0
    for row in range(starts.size - 1):
        largest = 0.0
        finite = True
        for i in range(starts[row], starts[row + 1]):
            finite &= np.isfinite(values[i])
            largest = max(largest, abs(values[i]))
        if finite and largest > 0:
            squares = 0.0
            for i in range(starts[row], starts[row + 1]):
                squares += (values[i] / largest) ** 2
            size = starts[row + 1] - starts[row]
            factor = (4095.0 - 0.5 * np.sqrt(size)) / np.sqrt(squares)
            for i in range(starts[row], starts[row + 1]):
                out[at] = np.rint(values[i] / largest * factor)
                at += 1
        ends[row + 1] = at


def lengths(vectors: np.ndarray) -> np.ndarray:
    """Euclidean lengths of quantized vectors (int16, shape (n, d)); float64."""
    return np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.int64).astype(np.float64))


def nearest(vectors: np.ndarray, centroids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The centroid with the largest dot product for each vector, the first of equals (int64), and that product."""
    which, product = np.empty(len(vectors), np.int64), np.empty(len(vectors), np.float32)
    turned = centroids.astype(np.float32).T
    for start in range(0, len(vectors), _BLOCK):
        found = vectors[start : start + _BLOCK].astype(np.float32) @ turned
        best = found.argmax(axis=1)
        which[start : start + _BLOCK] = best
        product[start : start + _BLOCK] = found[np.arange(len(found)), best]
    return which, product


@njit(nogil=True, cache=True)
def _sums(vectors, which, out):
    for i in range(vectors.shape[0]):
        for j in range(vectors.shape[1]):
            out[which[i], j] += vectors[i, j]


def kmeans(vectors: np.ndarray, clusters: int, iterations: int) -> np.ndarray:
    """Centroids (int16, shape (clusters, d)) of spherical k-means over quantized vectors, begun at the first ones.

    The vectors should come in random order. It ends early when nothing moves. A cluster that loses all its members
    keeps its centroid.
    """
    centroids = vectors[:clusters].copy()
    size = scale(vectors.shape[1])
    for _ in range(iterations):
        which, _ = nearest(vectors, centroids)
        sums = np.zeros(centroids.shape, np.int64)
        _sums(vectors, which, sums)
        norms = np.sqrt(np.einsum("ij,ij->i", sums, sums, dtype=np.float64))
        moved = centroids.copy()
        some = norms > 0
        moved[some] = np.rint(sums[some] * (size / norms[some])[:, None]).astype(np.int16)
        if np.array_equal(moved, centroids):
            break
        centroids = moved
    return centroids


def elect(vectors: np.ndarray, least: float) -> tuple[np.ndarray, np.ndarray]:
    """Give each vector a keeper (int64): the most similar of those before it that stay, if their cosine is at least
    `least`, the first of equals; else itself. And that cosine (float64; 1 for those that stay).

    vectors: quantized, in the order of preference, shape (n, d). Memory: those that stay, as float32.
    """
    n = len(vectors)
    keeper, cosine = np.arange(n), np.ones(n)
    norms = lengths(vectors)
    stay = np.empty(vectors.shape, np.float32)
    place = np.empty(n, np.int64)
    count = 0
    for start in range(0, n, _BLOCK // 4):
        block = vectors[start : start + _BLOCK // 4].astype(np.float32)
        size = len(block)
        best, most = np.full(size, -1, np.int64), np.full(size, -np.inf)
        for first in range(0, count, _BLOCK):
            those = place[first : min(first + _BLOCK, count)]
            found = (block @ stay[first : first + len(those)].T) / (norms[start : start + size, None] * norms[those])
            at = found.argmax(axis=1)
            value = found[np.arange(size), at]
            better = value > most
            best[better], most[better] = those[at[better]], value[better]
        within = (block @ block.T) / (norms[start : start + size, None] * norms[start : start + size])
        _elect_within(within, start, least, best, most)
        gone = best >= 0
        keeper[start : start + size] = np.where(gone, best, np.arange(start, start + size))
        cosine[start : start + size] = np.where(gone, np.minimum(most, 1.0), 1.0)
        new = np.flatnonzero(~gone)
        stay[count : count + len(new)] = block[new]
        place[count : count + len(new)] = start + new
        count += len(new)
    return keeper, cosine


@njit(nogil=True, cache=True)
def _elect_within(within, start, least, best, most):
    """Go through a block in order: `best` and `most` of those that stay become -1 and 1."""
    for i in range(within.shape[0]):
        for j in range(i):
            if best[j] < 0 and within[i, j] > most[i]:
                most[i] = within[i, j]
                best[i] = start + j
        if most[i] < least:
            best[i] = -1

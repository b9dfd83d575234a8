"""Random numbers that belong to a document, so that no order of documents, batches or workers can change a draw.

Every draw is a hash of the document's id and of a seed. Further draws of the same document come from the first by
`scramble`, one multiplication chain over an array, instead of hashing its id again.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import xxhash

_MASK = (1 << 64) - 1


def draws(ids: pa.Array | pa.ChunkedArray, seed: int) -> np.ndarray:
    """64 random bits for each id, uint64. xxh3 of the id; ids must not be null."""
    seed &= _MASK
    hashes = [xxhash.xxh3_64_intdigest(id, seed=seed) for id in ids.cast(pa.binary()).to_pylist()]
    return np.array(hashes, np.uint64)


def scramble(values: np.ndarray, seed: int) -> np.ndarray:
    """64 other random bits for each value, uint64: the finalizer of splitmix64 over the value and the seed.

    Source: Steele, Lea and Flood 2014, "Fast Splittable Pseudorandom Number Generators", figure 16.
    """
    with np.errstate(over="ignore"):
        x = values.astype(np.uint64) + np.uint64((seed * 0x9E3779B97F4A7C15 + 0x9E3779B97F4A7C15) & _MASK)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))

"""A smaller vocabulary for proxy runs: ids re-mapped to the most frequent, without losing count of the bits.

A model of a million parameters under Qwen's 151,936 rows would spend 30 times its own arithmetic in the head. With
the 8,192 most frequent ids it does not, but then losses per token mean another thing than before. So losses are told
in bits per byte of the original text, as a code that a decoder could read: a rare token costs its predicted id
"rare", and then the logarithm of its frequency among the rare tokens where the map was made. The second part depends
on the map alone: models are comparable if they share a map, and are told apart by what they predict.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from curation.errors import ConfigError


class IdMap:
    """old id -> new id. The last new id stands for all rare ones; the end of document is always kept.

    to_new: int64 [old vocabulary]. rare_nats: float32 [old vocabulary], what it costs to say which rare id it is; 0
    for the others. digest: hex, of the map.
    """

    def __init__(self, to_new: np.ndarray, rare_nats: np.ndarray):
        self.to_new, self.rare_nats = to_new, rare_nats
        self.digest = hashlib.sha256(to_new.tobytes() + rare_nats.tobytes()).hexdigest()[:16]

    @property
    def size(self) -> int:
        """New ids."""
        return int(self.to_new.max()) + 1

    @classmethod
    def fit(cls, counts: np.ndarray, size: int, eod_id: int) -> IdMap:
        """Keep the `size` - 1 most frequent ids. counts: int64, how often each old id occurs."""
        if not 2 <= size <= len(counts):
            raise ConfigError(f"vocabulary: expected 2 to {len(counts):,} ids, not {size:,}")
        ranked = counts.astype(np.float64)
        ranked[eod_id] = np.inf
        kept = np.sort(np.argsort(-ranked, kind="stable")[: size - 1])
        to_new = np.full(len(counts), size - 1, np.int64)
        to_new[kept] = np.arange(size - 1)
        rare = np.ones(len(counts), bool)
        rare[kept] = False
        # Half a count for each: an id that the sample lacks can still be named, and the shares sum to 1.
        share = (counts + 0.5)[rare] / (counts + 0.5)[rare].sum()
        nats = np.zeros(len(counts), np.float32)
        nats[rare] = -np.log(share)
        return cls(to_new, nats)

    def save(self, path: Path) -> None:
        """Write as .npz, whole or not at all."""
        aside = path.with_name(path.name + ".pending.npz")
        np.savez_compressed(aside, to_new=self.to_new, rare_nats=self.rare_nats)
        aside.replace(path)

    @classmethod
    def load(cls, path: Path) -> IdMap:
        """Read what `save` wrote."""
        with np.load(path) as data:
            return cls(data["to_new"], data["rare_nats"])

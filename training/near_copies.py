"""Finds near copies of held-out documents in token ids, so that no model is judged by what it was trained on.

A text is a near copy when a fifth of its windows of 16 tokens stand in held-out text. Without this a corpus that was
not deduplicated wins every comparison, by knowing the answers. Each text is judged by itself, so nothing has to be
read beforehand and the answer is the same on any number of ranks. Trade-off: 64-bit hashes in memory, 8 bytes a token
of held-out text, and copies are found by their words only; a paraphrase is no copy.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

#: Tokens of a window, and the share of a text's windows that must stand in held-out text to make it a copy.
WINDOW, COPIED = 16, 0.2
_FACTORS = np.random.default_rng(0).integers(1, 1 << 63, WINDOW, dtype=np.uint64) | np.uint64(1)


def _windows(ids: np.ndarray) -> np.ndarray:
    """A 64-bit hash of each window of 16 tokens, uint64; of the whole where it is shorter."""
    size = min(WINDOW, len(ids))
    values = (ids.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    values ^= values >> np.uint64(29)
    hashes = np.zeros(len(ids) - size + 1, np.uint64)
    for k in range(size):
        hashes += values[k : k + len(hashes)] * _FACTORS[k]
    return hashes


class NearCopies:
    """Knows the windows of held-out documents, given as token ids without end."""

    def __init__(self, held_out: Sequence[np.ndarray]):
        self._known = np.unique(np.concatenate([_windows(ids) for ids in held_out] or [np.empty(0, np.uint64)]))

    def found(self, ids: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """Which texts are near copies, bool [texts]. Text i is ids[starts[i]:ends[i]], without end of document; one
        of fewer than 16 tokens is none."""
        if not len(self._known):
            return np.zeros(len(starts), bool)
        hashes = _windows(ids)
        place = np.minimum(np.searchsorted(self._known, hashes), len(self._known) - 1)
        seen = np.concatenate([[0], np.cumsum(self._known[place] == hashes)])
        first = np.minimum(starts, len(hashes))
        last = np.clip(ends - WINDOW + 1, first, len(hashes))
        return seen[last] - seen[first] >= COPIED * np.maximum(last - first, 1)

"""Says which row stands at which place of the training, by computing it: nothing is drawn, stored or counted up.

A run must be able to stop at any step and go on with another number of processes, so the row at a place depends on the
seed and the place alone. And a row costs the decoding of its whole row group (a million tokens, 10 ms), so places that
are near in time must be near on disk. Both come from a permutation in two levels: in each epoch the row groups are
permuted, `window` of them in a row form a window, and the rows of a window are permuted among themselves. Memory is one
number per row group and one per row of a window, never one per row of the corpus.

Trade-off: rows move only within their window, which is enough because the rows on disk are in random order already;
what remains to be done is to give every epoch an order of its own and to mix files. A permutation of all rows (a
Feistel network would give it without storing it) would decode 256 rows for each row used.

Sources are mixed by rounding, not by chance: of the first n rows a source of share w has given n*w, to within one or
two. Every batch has the mix, and no place needs the places before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1

#: Shares are fractions of 2**28: exact to 4e-9, with room in an int64 for 2**35 rows (140 trillion tokens of 4,096).
_SHARE_BITS = 28


def _scramble(values: np.ndarray) -> np.ndarray:
    """The finalizer of SplitMix64 (Steele et al. 2014): a bijection of uint64, so that no two keys tie."""
    z = values.copy()
    z ^= z >> np.uint64(30)
    z *= np.uint64(0xBF58476D1CE4E5B9)
    z ^= z >> np.uint64(27)
    z *= np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return z


def _key(*parts: int) -> np.uint64:
    state = 0
    for part in parts:
        state = int(_scramble(np.array([(state + _GOLDEN + part) & _MASK], np.uint64))[0])
    return np.uint64(state)


def permutation(n: int, *key: int) -> np.ndarray:
    """A permutation of range(n), int64, that depends on the key alone.

    Own arithmetic instead of numpy's generator, whose stream may change between versions: a run that goes on after an
    upgrade must go on with the same rows.
    """
    with np.errstate(over="ignore"):
        numbers = np.arange(n, dtype=np.uint64) * np.uint64(_GOLDEN) + _key(*key)
        return np.argsort(_scramble(numbers), kind="stable")


class Order:
    """The order in which the rows of one source are read, epoch after epoch, without end.

    group_rows: rows of each row group, in the order they lie on disk. window: row groups whose rows are mixed.
    """

    def __init__(self, group_rows: Sequence[int] | np.ndarray, seed: int, window: int):
        self._sizes = np.asarray(group_rows, np.int64)
        self._seed, self._window = seed, window
        self.rows = int(self._sizes.sum())
        # Two epochs, because a batch may hold the end of one and the start of the next.
        self._epoch = lru_cache(maxsize=2)(self._make_epoch)
        self._in_window = lru_cache(maxsize=4)(self._make_window)

    def __reduce__(self) -> tuple:
        return type(self), (self._sizes, self._seed, self._window)

    def _make_epoch(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Row groups in the order of the epoch, and the places at which they start, one more than groups."""
        order = permutation(len(self._sizes), self._seed, epoch)
        return order, np.concatenate([[0], np.cumsum(self._sizes[order])])

    def _make_window(self, epoch: int, window: int) -> tuple[np.ndarray, np.ndarray]:
        """Row group and row at each place of a window."""
        order, starts = self._epoch(epoch)
        first, end = window * self._window, min((window + 1) * self._window, len(order))
        bounds = starts[first : end + 1] - starts[first]
        moved = permutation(int(bounds[-1]), self._seed, epoch, window)
        at = np.searchsorted(bounds, moved, side="right") - 1
        return order[first + at], moved - bounds[at]

    def locate(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The row group, and the row in it, at each of these places (ascending, int64, 0 and more)."""
        groups, rows = np.empty_like(places), np.empty_like(places)
        epochs, within = np.divmod(places, self.rows)
        for epoch in np.unique(epochs).tolist():
            starts = self._epoch(epoch)[1][:: self._window]
            here = np.flatnonzero(epochs == epoch)
            windows = np.searchsorted(starts, within[here], side="right") - 1
            for window in np.unique(windows).tolist():
                chosen = here[windows == window]
                offset = within[chosen] - starts[window]
                in_group, in_row = self._in_window(epoch, window)
                groups[chosen], rows[chosen] = in_group[offset], in_row[offset]
        return groups, rows

    def touched(self, places: np.ndarray) -> set[int]:
        """The row groups of all windows that these places lie in: what is worth keeping in memory."""
        found: set[int] = set()
        epochs, within = np.divmod(places, self.rows)
        for epoch in np.unique(epochs).tolist():
            order, starts = self._epoch(epoch)
            windows = np.searchsorted(starts[:: self._window], within[epochs == epoch], side="right") - 1
            for window in np.unique(windows).tolist():
                found.update(order[window * self._window : (window + 1) * self._window].tolist())
        return found


class Interleave:
    """Which source gives the row at a place, and how many rows that source has given before.

    shares: positive numbers, one a source; only their ratios count. Each source is split off what the ones before it
    leave, by rounding; the last takes what remains.
    """

    def __init__(self, shares: Sequence[float]):
        left = np.cumsum(np.asarray(shares, float)[::-1])[::-1]
        self._parts = [round(share / rest * (1 << _SHARE_BITS)) for share, rest in zip(shares, left, strict=True)][:-1]

    def given(self, places: np.ndarray) -> np.ndarray:
        """Rows that each source has given before each place: int64 [sources, places]; columns sum to the places."""
        rest, counts = places, []
        for part in self._parts:
            counts.append((rest * part + (1 << (_SHARE_BITS - 1))) >> _SHARE_BITS)
            rest = rest - counts[-1]
        return np.stack([*counts, rest])

    def at(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The source at each place (int64), and the place in that source's own order."""
        before = self.given(places)
        sources = np.argmax(self.given(places + 1) - before, axis=0)
        return sources, np.take_along_axis(before, sources[None], axis=0)[0]

"""How many bands of how many values: the shape of MinHash's curve, chosen for a threshold.

With b bands of r values a pair of Jaccard index J becomes a candidate with probability 1 - (1 - J^r)^b. A threshold
picks the b and r that lie best around it: least area under the curve before it (false candidates) plus area over the
curve after it (missed pairs). datasketch's `MinHashLSH` and gaoya use this rule too, so that the same threshold and
number of permutations give the same bands everywhere.

Source: E. Zhu et al., datasketch, `MinHashLSH`, weights 0.5 and 0.5; the curve: J. Leskovec, A. Rajaraman, J. Ullman,
Mining of Massive Datasets, section 3.4.2.
"""

from __future__ import annotations

import numpy as np

#: Points of the curve on either side of the threshold.
_POINTS = 2048


def candidate_probability(jaccard: float | np.ndarray, bands: int, rows: int) -> float | np.ndarray:
    """Chance that two documents of this Jaccard index agree in all values of one band."""
    return 1 - (1 - jaccard**rows) ** bands


def optimal_bands(threshold: float, permutations: int) -> tuple[int, int]:
    """Bands and rows, of at most `permutations` values together, whose curve errs least around `threshold`."""
    middle = (np.arange(_POINTS) + 0.5) / _POINTS
    below, above = middle * threshold, threshold + middle * (1 - threshold)
    best, least = (1, 1), np.inf
    for rows in range(1, permutations + 1):
        bands = np.arange(1, permutations // rows + 1)[:, None]
        wrong = np.mean(1 - (1 - below**rows) ** bands, axis=1) * threshold
        missed = np.mean((1 - above**rows) ** bands, axis=1) * (1 - threshold)
        error = wrong + missed
        here = int(np.argmin(error))
        if error[here] < least:
            best, least = (here + 1, rows), float(error[here])
    return best

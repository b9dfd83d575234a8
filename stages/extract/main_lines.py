"""Tells the main text of a page from its surroundings, line by line, by a small model trained on human gold text.

resiliparse's rule for main content looks at tags and class names, and so fails whole: on 4 % of pages it throws nearly
everything away, on others it keeps the lists of links around an article. This model looks at every line of the visible
text (`line_features`) and at where it stands in the page's elements (`places`), and knows what a rule would keep.

The model is two sets of boosted regression trees (Friedman 2001) made by `train_main_lines`. The first looks at each
line; the second at what the first said of the lines around it, of the page, and of blocks of the same make (stacking,
Wolpert 1992): main text stands together.

The trade-off: a line is kept or left out as a whole, and the trees cost as much as parsing the page. On 401 pages,
without the fallback of `html`, F1 is .888 on pages that the model was not trained on, and .854 on data sets of which it
saw no page (resiliparse .829). More kinds of pages would help more than a larger model. With resiliparse's rule in
place of that of `places`, at two fifths more time: .886 and .848; with a first draft of our own, .880 and .836.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numba import njit

from stages.extract.boosted_trees import read_trees, score
from stages.extract.line_features import CHARS, MAIN, MAKE_AT, OWN, Lines, sums

MODEL = Path(__file__).with_name("main_lines.json.xz")

#: Weight of the rule beside the trees. With the fallback, F1 on unseen pages of known sets and on unseen sets:
#: 0 .889, .856; 0.1 .894, .860; 0.2 .895, .865; 0.3 .890, .866; 0.4 .878, .864.
TRUST = 0.2

SECOND_FEATURES = OWN + 27


@njit(nogil=True, cache=True)
def _around(features: np.ndarray, p: np.ndarray, chars: np.ndarray, expected: float, least: float) -> np.ndarray:
    n = len(p)
    out = np.zeros((n, SECOND_FEATURES), np.float32)
    cs, ps, gs = sums(chars), sums(p), sums(p * chars)
    total, gained = cs[n] + 1e-9, gs[n] + 1e-9
    highest = p.max() if n else 0.0
    make = features[:, MAKE_AT] * 1e3 + features[:, MAKE_AT + 1] * 7 + features[:, MAKE_AT + 2] * 1e5
    order = np.argsort(make)
    k = 0
    while k < n:
        j = k
        of_make = probability = certain = 0.0
        while j < n and make[order[j]] == make[order[k]]:
            of_make += chars[order[j]]
            certain += chars[order[j]] * p[order[j]]
            probability += p[order[j]]
            j += 1
        for m in range(k, j):
            row = out[order[m], OWN + 22 :]
            row[0], row[1], row[2] = certain / (of_make + 1e-9), probability / (j - k), of_make / total
        k = j
    before = after = 0.0
    for k in range(n):
        row = out[k]
        for c in range(OWN):
            row[c] = features[k, c]
        c = OWN
        row[c] = p[k]
        c += 1
        for d in (1, -1, 2, -2, 3, -3):
            row[c] = p[k - d] if 0 <= k - d < n else -1
            c += 1
        for size in (2, 5, 15, 50):
            a, b = max(k - size, 0), min(k + size + 1, n)
            row[c], row[c + 1] = (gs[b] - gs[a]) / (cs[b] - cs[a] + 1e-9), (ps[b] - ps[a]) / (b - a)
            c += 2
        row[c], row[c + 1], row[c + 2] = gained / total, highest, ps[n] / n
        row[c + 3], row[c + 4] = gs[k + 1] / gained, chars[k] * p[k] / gained
        row[c + 5], row[c + 6] = expected, p[k] / least
        before = max(before, p[k])
        row[c + 10] = before
    for k in range(n - 1, -1, -1):
        after = max(after, p[k])
        out[k, SECOND_FEATURES - 1] = after
    return out


def look_around(lines: Lines, probability: np.ndarray) -> np.ndarray:
    """What the second set of trees looks at: float32, (lines, SECOND_FEATURES)."""
    chars = lines.features[:, CHARS].astype(np.float64)
    keep, expected = choose(probability, chars)
    least = float(probability[keep].min()) if keep.any() else 1.0
    return _around(lines.features, probability, chars, expected, max(least, 1e-9))


def probabilities(lines: Lines) -> np.ndarray:
    """For each line the probability that it is main text, 0 to 1."""
    first, second = read_trees(MODEL)
    alone = 1 / (1 + np.exp(-score(lines.features, *first)))
    return blend(lines, 1 / (1 + np.exp(-score(look_around(lines, alone), *second))))


def blend(lines: Lines, probability: np.ndarray) -> np.ndarray:
    """The trees' probabilities drawn a little to the verdict of the rule, which was not trained on these pages."""
    return (1 - TRUST) * probability + TRUST * (0.15 + 0.7 * lines.features[:, MAIN])


def choose(probability: np.ndarray, chars: np.ndarray) -> tuple[np.ndarray, float]:
    """The lines with which the expected F1 by characters is highest, as a boolean array, and that F1, 0 to 1.

    Where every line is doubtful, as in listings, this keeps lines of lower probability than where some are certain:
    against the best fixed limit it adds .003 to the F1. It takes for the expected F1 the ratio of expectations (Ye et
    al. 2012).
    """
    if not len(probability):
        return np.zeros(0, bool), 0.0
    order = np.argsort(-probability, kind="stable")
    gained = np.cumsum((probability * chars)[order])
    f1 = 2 * gained / (np.cumsum(chars[order]) + gained[-1])
    best = int(f1.argmax())
    return probability >= probability[order[best]], float(f1[best])

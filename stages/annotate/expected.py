"""Scores finer than a digit: the mean of 0 to 5 by the probabilities the model gave each digit where it wrote one.

A model that wavers between 2 and 3 writes one of them; its probabilities say how it wavers. The mean separates
documents that share a digit, which is what a threshold or a ranking needs (G-Eval, arXiv 2303.16634, section 2).

Trade-off: servers give the probabilities of the most probable tokens alone, before the schema is applied; what digits
are not among them counts as nothing, and the rest is scaled to sum to one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from classifiers.quality.dimensions import DIMENSIONS
from stages.llm.request import Answer


def expected_scores(answer: Answer, names: Sequence[str]) -> dict[str, float]:
    """The mean of each score dimension among `names`, 0 to 5. One whose digit cannot be found among the tokens is
    left out: its written digit stands."""
    starts, text = [], ""
    for token, _ in answer.tokens:
        starts.append(len(text))
        text += token
    result: dict[str, float] = {}
    for name in names:
        if not DIMENSIONS[name].is_score:
            continue
        match = re.search(rf'"{name}"\s*:\s*([0-5])', text)
        if match is None:
            continue
        at = match.start(1)
        i = max(k for k, start in enumerate(starts) if start <= at)
        token, top = answer.tokens[i]
        before, after = token[: at - starts[i]], token[at - starts[i] + 1 :]
        weights = [0.0] * 6
        for other, logprob in top:
            digit = other[len(before) : len(other) - len(after)]
            if other.startswith(before) and other.endswith(after) and digit in ("0", "1", "2", "3", "4", "5"):
                weights[int(digit)] += math.exp(logprob)
        if sum(weights) > 0:
            result[name] = sum(i * w for i, w in enumerate(weights)) / sum(weights)
    return result

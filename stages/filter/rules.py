"""From statistics and limits to verdicts: the part that the rule filters share.

A rule compares one number of a document with one limit. A document goes for the first rule it breaks, in the order
the reference implementation has them, and the limit is part of the record: `top_2_gram`, `0.31 > 0.2`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from curation.stage import Outcome


class Rule(NamedTuple):
    """One rule over a batch; arrays have one entry per document.

    A document breaks it if its value is above (`most`) or below (`least`) the limit. A limit of 0 or less turns the
    rule off for that document.
    """

    reason: str
    value: np.ndarray
    most: np.ndarray | None = None
    least: np.ndarray | None = None

    def broken(self) -> np.ndarray:
        """bool per document."""
        if self.most is not None:
            return (self.value > self.most) & (self.most > 0)
        assert self.least is not None
        return (self.value < self.least) & (self.least > 0)

    def describe(self, row: int) -> str:
        """Value and limit of a document, four significant digits."""
        if self.most is not None:
            return f"{self.value[row]:.4g} > {self.most[row]:.4g}"
        assert self.least is not None
        return f"{self.value[row]:.4g} < {self.least[row]:.4g}"


def verdicts(docs: pa.Table, rules: list[Rule], empty: np.ndarray | None = None) -> Outcome:
    """Drop each document for the first rule it breaks; before that, as `empty` where `empty` is True."""
    first = np.full(docs.num_rows, -1, np.int32)
    if empty is not None:
        first[empty] = len(rules)
    for i, rule in enumerate(rules):
        first[(first < 0) & rule.broken()] = i
    dropped = pa.array([*(rule.reason for rule in rules), "empty"], pa.string()).take(pa.array(first, mask=first < 0))
    detail = [rules[i].describe(row) if 0 <= i < len(rules) else None for row, i in enumerate(first.tolist())]
    return Outcome(docs, dropped=dropped, detail=pa.array(detail, pa.string()))


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole per document; 0 where both are 0."""
    return part / np.maximum(whole, 1)


def add_statistics(docs: pa.Table, statistics: dict[str, np.ndarray], prefix: str) -> pa.Table:
    """Add every statistic as a column `<prefix>_<name>`."""
    for name, values in statistics.items():
        docs = docs.append_column(f"{prefix}_{name}", pa.array(values))
    return docs

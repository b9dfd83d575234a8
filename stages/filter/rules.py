"""From statistics and limits to verdicts: the part that the rule filters share.

A rule compares one number of a document with one limit. A document goes for the first rule it breaks, in the order
the reference implementation has them, and the limit is part of the record: `top_2_gram`, `0.31 > 0.2`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from pydantic import Field, TypeAdapter, field_validator

from curation.stage import Filter, Outcome
from stages.filter.languages import LANGUAGES_FILE, RuleLanguages, row_of


class RuleFilter(Filter):
    """A filter whose limits differ by language."""

    per_language: bool = Field(True, description="Use FineWeb-2's values for the document's `language`")
    never_stricter_than_english: bool = Field(
        True, description="Where FineWeb-2 has a stricter share for a language than English has, use English's"
    )
    overrides: dict[str, dict[str, Any]] = Field(
        {}, description="Values by language that replace the table's, as `deu_Latn: {key of this stage: value}`"
    )
    keep_statistics: bool = Field(False, description="Add what the rules count as columns")

    @field_validator("overrides")
    @classmethod
    def keys_exist(cls, value: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        known = sorted(set(cls.model_fields) - set(RuleFilter.model_fields))
        for language, row in value.items():
            if unknown := sorted(set(row) - set(known)):
                raise ValueError(f"{language}: {', '.join(unknown)} is no limit of this stage; {', '.join(known)} are")
        types: dict[str, Any] = {key: cls.model_fields[key].annotation for key in known}
        return {
            language: {key: TypeAdapter(types[key]).validate_python(row[key]) for key in row}
            for language, row in value.items()
        }

    def languages(self, docs: pa.Table) -> RuleLanguages:
        """The languages of a batch with their limits."""
        return RuleLanguages.of(docs, self.per_language, self.overrides, self.never_stricter_than_english)

    def limits_of(self, language: str) -> dict[str, Any]:
        """The limits of one language that are not this stage's keys."""
        return row_of(language, self.per_language, self.overrides, self.never_stricter_than_english)

    def needs(self) -> tuple[str, ...]:
        return ("text", "language") if self.per_language else ("text",)

    def files(self) -> Sequence[str]:
        return [str(LANGUAGES_FILE)] if self.per_language else []


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

"""Keeps documents by the value of a column: the filter for labels, whoever made them.

Labels are columns and what is done about them is a decision of its own, made in YAML where it can be read and changed
without labelling anything again.
"""

from __future__ import annotations

from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from curation.documents import COLUMNS
from curation.errors import ConfigError
from curation.stage import Filter, reasons


class KeepWhere(Filter, name="keep_where"):
    """Keeps the documents whose `column` is in a range, or is one of some values.

    All conditions that are given must hold. Drop reasons, in this order, after the column's name: `_missing` (null),
    `_low`, `_high` and `_not_selected`. Several conditions on several columns are several stages.

        - keep_where: {column: educational_value, min: 2.5}
        - keep_where: {column: document_type, except: [boilerplate, listing]}
    """

    column: str = Field(description="column to decide by")
    min: float | None = Field(None, description="smallest value to keep")
    max: float | None = Field(None, description="largest value to keep")
    only: list[str | int | bool] | None = Field(None, description="values to keep")
    except_: list[str | int | bool] | None = Field(None, alias="except", description="values to drop")
    missing: Literal["keep", "drop"] = Field("drop", description="what becomes of documents where the column is null")

    def needs(self) -> tuple[str, ...]:
        return (self.column,)

    def check(self) -> None:
        if self.min is None and self.max is None and self.only is None and self.except_ is None:
            raise ConfigError("keep_where needs a condition: min, max, only or except")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ConfigError(f"min {self.min:g} is larger than max {self.max:g}: every document would be dropped")
        if self.column in COLUMNS and (self.min is not None or self.max is not None):
            kind = COLUMNS[self.column].type
            if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
                raise ConfigError(f"'{self.column}' holds {kind}, which has no min or max; use only or except")

    def thresholds(self) -> dict[str, dict[str, float]]:
        return {self.column: {k: v for k, v in (("min", self.min), ("max", self.max)) if v is not None}}

    def __call__(self, docs: pa.Table) -> pa.Array:
        column = docs[self.column]
        tests = {"missing": pc.is_null(column)} if self.missing == "drop" else {}
        if self.min is not None:
            tests["low"] = pc.less(column, self.min)
        if self.max is not None:
            tests["high"] = pc.greater(column, self.max)
        if self.only is not None or self.except_ is not None:
            text = column.cast(pa.string())
            wrong = pc.and_(pc.is_valid(text), False)
            if self.only is not None:
                wrong = pc.or_(wrong, pc.invert(pc.is_in(text, _strings(self.only))))
            if self.except_ is not None:
                wrong = pc.or_(wrong, pc.is_in(text, _strings(self.except_)))
            tests["not_selected"] = pc.and_(wrong, pc.is_valid(text))
        return reasons(docs, **{f"{self.column}_{name}": test for name, test in tests.items()})


def _strings(values: list[str | int | bool]) -> pa.Array:
    """The values as Arrow writes them as strings."""
    return pa.array([str(v).lower() if isinstance(v, bool) else str(v) for v in values], pa.string())

"""Which document of a cluster stays, and among which documents copies are looked for: keys of every dedup stage.

A preference is one integer per document, larger for the one to keep, whatever it is made from: a date, a quality, the
place of its source in a list. Ties go to the first in the order of the inputs, so every choice is the same for any
number of workers. A scope is one 64-bit hash per document of the columns it is looked for within; it is mixed into the
keys that documents are grouped by, so documents of different scopes never meet, at no cost.

Trade-off: clusters within a scope are blind to copies across scopes (a page in two dumps stays twice), which is what
one asks for by setting it: FineWeb deduplicates per dump, FineWeb-2 per language.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from curation.errors import ConfigError
from curation.stage import Barrier

_LEAST = np.iinfo(np.int64).min
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


class KeepsOne(Barrier):
    """A dedup stage: of documents that are taken for copies of each other one stays."""

    keep: Literal["first", "longest", "newest", "highest", "source"] = Field(
        "first",
        description="which document stays: the `first` in the order of the inputs; the `longest`; the `newest` by its "
        "`date`; the one with the `highest` value in the column `quality`; the one whose `source` comes first in "
        "`sources`. The first of equals",
    )
    quality: str = Field("quality", min_length=1, description="with `keep: highest`, the column, which holds numbers")
    sources: list[str] = Field([], description="with `keep: source`, sources from the most to the least wanted")
    within: list[str] = Field(
        [], description="only documents with equal values in these columns are compared (`language`, `source`)"
    )

    def check(self) -> None:
        if self.keep == "source" and not self.sources:
            raise ConfigError(f"{self.stage_name}: 'keep: source' needs 'sources', a list of source names in order")
        if len(set(self.sources)) < len(self.sources):
            raise ConfigError(f"{self.stage_name}: 'sources' names a source twice")

    def chosen_by(self) -> tuple[str, ...]:
        """Columns that the choice of the keeper and the scope need."""
        column = {"longest": ("text",), "newest": ("date",), "highest": (self.quality,), "source": ("source",)}
        return (*column.get(self.keep, ()), *self.within)

    def preferences(self, docs: pa.Table) -> np.ndarray:
        """int64 per document, larger for the one to keep; a document whose value is missing comes last."""
        if self.keep == "first":
            return np.zeros(docs.num_rows, np.int64)
        if self.keep == "longest":
            return pc.fill_null(pc.utf8_length(docs["text"]), 0).to_numpy().astype(np.int64)
        if self.keep == "newest":
            seconds = pc.cast(docs["date"], pa.timestamp("s", tz="UTC")).cast(pa.int64())
            return pc.fill_null(seconds, _LEAST).to_numpy()
        if self.keep == "highest":
            return _ordered(pc.fill_null(docs[self.quality].cast(pa.float64()), np.nan).to_numpy())
        place = pc.index_in(docs["source"], value_set=pa.array(self.sources, pa.string()))
        return -pc.fill_null(place, len(self.sources)).to_numpy().astype(np.int64)

    def scope_hashes(self, docs: pa.Table) -> np.ndarray | None:
        """uint64 per document, equal for those with equal values in the columns `within`; None for the whole corpus."""
        if not self.within:
            return None
        from xxhash import xxh3_64_intdigest

        scopes = np.zeros(docs.num_rows, np.uint64)
        for name in self.within:
            values = docs[name].combine_chunks().dictionary_encode(null_encoding="encode")
            each = [xxh3_64_intdigest(f"{name}={value!r}") for value in values.dictionary.to_pylist()]
            scopes = (scopes ^ np.array(each, np.uint64)[values.indices.to_numpy()]) * _MULTIPLIER
            scopes ^= scopes >> np.uint64(32)
        return scopes


def _ordered(numbers: np.ndarray) -> np.ndarray:
    """float64 as int64 in the same order; NaN as the least."""
    bits = (numbers + 0.0).view(np.int64)  # -0.0 + 0.0 is 0.0
    bits = bits ^ ((bits >> np.int64(63)) & np.iinfo(np.int64).max)
    return np.where(np.isnan(numbers), _LEAST, bits)


def best_with_equal_key(
    high: np.ndarray, low: np.ndarray, address: np.ndarray, preference: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """For each row, of the rows with its key (`high`, `low`: uint64): the one to keep, and the first. int64 indices.

    address: increasing, int64. preference: larger for the one to keep; None keeps the first.
    """
    from stages.dedup.clusters import first_with_equal_key

    first, _ = first_with_equal_key(high, low)
    if preference is None:
        return first, first
    order = np.lexsort((address, ~preference))  # ~x orders as -x does, and has a value for the least integer too
    best = np.empty(len(order), np.int64)
    best[order] = order[first_with_equal_key(high[order], low[order])[0]]
    return best, first

"""Decides what becomes of unsafe documents: a policy in YAML, apart from whoever judged them.

What a corpus should not hold depends on what it is for: a model that must recognise hate has to have read some. So a
label never drops a document by itself, and a policy may drop a category, keep it with its label, or keep a share.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from pydantic import Field

from classifiers.quality.dimensions import DIMENSIONS
from curation.errors import ConfigError
from curation.stage import Filter, reasons


class SafetyPolicy(Filter, name="safety_policy"):
    """Drops, keeps or thins out documents by their safety label, category by category.

    `policy` maps a category of `safety` (see `annotate_quality`) to `drop`, to `keep` (the label is the tag), or to the
    share of its documents to keep, 0 to 1, drawn by their ids. Categories it does not name are kept, and so are
    documents without a label, unless `unlabelled: drop`. `column` may be any other column of categories.

    Drop reasons: `unsafe_CATEGORY`, `unsafe_CATEGORY_downsampled` and `safety_unlabelled`.
    """

    policy: dict[str, Literal["drop", "keep"] | Annotated[float, Field(ge=0, le=1)]] = Field(
        description="category -> `drop`, `keep`, or the share to keep (`{sexual: drop, violence: 0.1}`)"
    )
    column: str = Field("safety", description="column with the categories")
    unlabelled: Literal["keep", "drop"] = Field("keep", description="what becomes of documents without a label")

    def needs(self) -> tuple[str, ...]:
        return (self.column,)

    def check(self) -> None:
        unknown = [c for c in self.policy if c not in DIMENSIONS["safety"].values]
        if self.column == "safety" and unknown:
            raise ConfigError(f"unknown categories {unknown}; there are {', '.join(DIMENSIONS['safety'].values[1:])}")  # type: ignore[arg-type]

    def __call__(self, docs: pa.Table) -> pa.Array:
        labels = docs[self.column]
        tests: dict[str, pa.ChunkedArray | np.ndarray] = {}
        for category, what in self.policy.items():
            if what == "keep":
                continue
            own = pc.fill_null(pc.equal(labels, category), False).to_numpy(zero_copy_only=False)
            if what == "drop":
                tests[f"unsafe_{category}"] = own
                continue
            gone = own.copy()
            for row in np.flatnonzero(own).tolist():
                draw = xxhash.xxh3_64_intdigest(docs["id"][row].as_py(), seed=self.seed & (2**64 - 1))
                gone[row] = draw / 2**64 >= what
            tests[f"unsafe_{category}_downsampled"] = gone
        if self.unlabelled == "drop":
            tests["safety_unlabelled"] = pc.is_null(labels)
        self.metrics.count_values(self.column, labels)
        return reasons(docs, **tests)

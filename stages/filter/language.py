"""Keeps the documents of chosen languages, and of those the ones whose language is certain enough.

Language identification is wrong most often where it is least sure, and how sure it is differs by language: a
threshold that suits Bulgarian (0.9) would drop nearly all Danish (0.3), whose neighbours write almost the same words.
So the threshold can be one number, or FineWeb-2's number for each language.

Trade-off: FineWeb-2's numbers were fitted to another model's scores than those of the model shipped here.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from curation.errors import ConfigError
from curation.stage import Filter, reasons


class FilterLanguage(Filter, name="filter_language"):
    """Keeps documents of the selected languages whose `language_score` is high enough.

    Runs after `identify_language`. Drop reasons, in this order: `language_not_selected`, and `language_score_low`.

    `min_score: per_language` takes each language's threshold from FineWeb-2 (arXiv 2506.20920), 0.30 to 0.90, and
    FineWeb's 0.65 for English (arXiv 2406.17557, section 3.3). These were fitted to the scores of GlotLID (English:
    lid.176): with another model they keep more, or less, of a language than FineWeb-2 did, so look at the report's
    counts by language before you rely on them.
    """

    languages: list[str] | Literal["all"] = Field(
        "all", description="codes to keep (`[fra_Latn, deu_Latn]`), or `all` for every identified language"
    )
    min_score: Annotated[float, Field(ge=0, le=1)] | Literal["per_language"] = Field(
        0.0, description="smallest `language_score` to keep, or `per_language` for FineWeb-2's thresholds"
    )
    und: Literal["keep", "drop"] = Field(
        "drop", description="what becomes of documents of no known language; kept ones pass whatever their score"
    )

    def needs(self) -> tuple[str, ...]:
        return ("language", "language_score")

    def check(self) -> None:
        from classifiers.language.model import languages

        for code in self.languages if self.languages != "all" else ():
            if code not in languages():
                near = difflib.get_close_matches(code, languages(), n=1)
                hint = f"; did you mean '{near[0]}'?" if near else ""
                raise ConfigError(f"'{code}' is not one of the {len(languages())} language codes{hint}")
        if self.languages == []:
            raise ConfigError("`languages` is empty, which would drop every document")

    def files(self) -> Sequence[str]:
        from stages.filter.languages import LANGUAGES_FILE

        return [str(LANGUAGES_FILE)] if self.min_score == "per_language" else []

    def _thresholds(self, codes: pa.Array) -> pa.Array | float:
        """The smallest score to keep, by document."""
        if self.min_score != "per_language":
            return self.min_score
        from stages.filter.languages import language_parameters

        parameters = language_parameters()
        encoded = codes.dictionary_encode()
        by_code = [
            float(parameters[code]["language_score"]) if code in parameters else 0.0
            for code in encoded.dictionary.to_pylist()
        ]
        return pa.array(by_code, pa.float64()).take(encoded.indices)

    def __call__(self, docs: pa.Table) -> pa.Array:
        codes = pc.fill_null(docs["language"], "und").combine_chunks()
        scores = pc.fill_null(docs["language_score"], 0.0).combine_chunks().cast(pa.float64())
        unknown = pc.equal(codes, "und")
        if self.languages == "all":
            selected = pa.array(np.ones(len(codes), bool))
        else:
            selected = pc.is_in(codes, pa.array(self.languages, pa.string()))
        selected = pc.if_else(unknown, self.und == "keep", selected)
        low = pc.and_not(pc.less(scores, self._thresholds(codes)), unknown)
        return reasons(docs, language_not_selected=pc.invert(selected), language_score_low=low)

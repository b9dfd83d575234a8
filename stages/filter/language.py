"""Keeps the documents of chosen languages, and of those the ones whose language is certain enough.

Language identification is wrong most often where it is least sure, and how sure it is differs by language: a
threshold that suits Bulgarian (0.9) would drop nearly all Danish (0.3), whose neighbours write almost the same words.
So the threshold can be one number, or a number for each language: the one that 98 % of held-out sentences of the
language pass with the shipped model, or FineWeb-2's.

Trade-off: thresholds by language hold for the model they were fitted to, and no other.
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

    Runs after `identify_language`. Drop reasons, in this order: `no_language` (`zxx`: tables, code, broken encodings),
    `language_not_selected`, `language_score_low`, and `language_mixed` (too small a share in its language).

    A code of a group (`ara_Arab`, `fas_Arab`, `hbs_Latn`) selects all of its varieties and the documents whose variety
    is unclear; a code of a variety (`ary_Arab`) selects those alone that are clearly of it.

    `min_score: per_language` takes each language's threshold from the shipped model's held-out text: 98 % of its
    sentences pass. `min_score: fineweb2` takes FineWeb-2's thresholds (arXiv 2506.20920), 0.30 to 0.90, and FineWeb's
    0.65 for English (arXiv 2406.17557, section 3.3), which were fitted to the scores of GlotLID (English: lid.176).
    """

    languages: list[str] | Literal["all"] = Field(
        "all", description="codes to keep (`[fra_Latn, ara_Arab]`), or `all` for every identified language"
    )
    min_score: Annotated[float, Field(ge=0, le=1)] | Literal["per_language", "fineweb2"] = Field(
        0.0, description="smallest `language_score` to keep, or whose thresholds by language to use"
    )
    min_share: float = Field(
        0.0, ge=0, le=1, description="smallest `language_share` to keep; 1 drops all that are mixed"
    )
    und: Literal["keep", "drop"] = Field(
        "drop", description="what becomes of documents of no known language; kept ones pass whatever their score"
    )
    zxx: Literal["keep", "drop"] = Field("drop", description="what becomes of documents that are no language")

    def needs(self) -> tuple[str, ...]:
        return ("language", "language_score", *(("language_share",) if self.min_share else ()))

    def check(self) -> None:
        from classifiers.language.labels import groups, languages

        known = [*languages(), *(code for code in groups() if code not in languages())]
        for code in self.languages if self.languages != "all" else ():
            if code not in known:
                near = difflib.get_close_matches(code, known, n=1)
                hint = f"; did you mean '{near[0]}'?" if near else ""
                raise ConfigError(f"'{code}' is not one of the {len(languages())} language codes{hint}")
        if self.languages == []:
            raise ConfigError("`languages` is empty, which would drop every document")

    def files(self) -> Sequence[str]:
        if self.min_score == "fineweb2":
            from stages.filter.languages import LANGUAGES_FILE

            return [str(LANGUAGES_FILE)]
        if self.min_score == "per_language":
            from classifiers.language.limits import SHIPPED_LIMITS

            return [str(SHIPPED_LIMITS)]
        return []

    def thresholds(self) -> dict[str, dict[str, float]]:
        one = isinstance(self.min_score, float) and self.min_score > 0
        return {"language_score": {"min_score": float(self.min_score)}} if one else {}

    def thresholds_of(self, language: str) -> dict[str, dict[str, float]]:
        if language in ("und", "zxx"):  # they pass or go whatever their score
            return {}
        limit = self._least_scores([language])[0]
        return {"language_score": {"min_score": limit}} if limit > 0 else {}

    def _least_scores(self, codes: list[str]) -> list[float]:
        """The smallest score to keep, by language."""
        if not isinstance(self.min_score, str):
            return [self.min_score] * len(codes)
        from classifiers.language.labels import STANDARD, group_of

        if self.min_score == "per_language":
            from classifiers.language.limits import SHIPPED_LIMITS, Limits

            least = Limits.load(SHIPPED_LIMITS).score
        else:
            from stages.filter.languages import language_parameters

            least = {code: float(row["language_score"]) for code, row in language_parameters().items()}
        return [least.get(code, least.get(STANDARD.get(code, code), least.get(group_of(code), 0.0))) for code in codes]

    def _thresholds(self, codes: pa.Array) -> pa.Array | float:
        """The smallest score to keep, by document."""
        if not isinstance(self.min_score, str):
            return self.min_score
        encoded = codes.dictionary_encode()
        return pa.array(self._least_scores(encoded.dictionary.to_pylist()), pa.float64()).take(encoded.indices)

    def _selected(self, codes: pa.Array) -> np.ndarray:
        """bool per document: its language is one of those asked for."""
        if self.languages == "all":
            return np.ones(len(codes), bool)
        from classifiers.language.labels import groups

        wanted = {member for code in self.languages for member in (code, *groups().get(code, ()))}
        return pc.is_in(codes, pa.array(sorted(wanted), pa.string())).to_numpy(zero_copy_only=False)

    def __call__(self, docs: pa.Table) -> pa.Array:
        codes = pc.fill_null(docs["language"], "und").combine_chunks()
        scores = pc.fill_null(docs["language_score"], 0.0).combine_chunks().cast(pa.float64())
        unknown = pc.equal(codes, "und").to_numpy(zero_copy_only=False)
        nothing = pc.equal(codes, "zxx").to_numpy(zero_copy_only=False)
        either = unknown | nothing
        selected = np.where(unknown, self.und == "keep", nothing | self._selected(codes))
        low = pc.less(scores, self._thresholds(codes)).to_numpy(zero_copy_only=False) & ~either
        tests = {
            "no_language": nothing & (self.zxx == "drop"),
            "language_not_selected": ~selected,
            "language_score_low": low,
        }
        if self.min_share:
            share = pc.fill_null(docs["language_share"], 1.0).to_numpy(zero_copy_only=False)
            tests["language_mixed"] = (share < np.float32(self.min_share)) & ~either
        return reasons(docs, **tests)

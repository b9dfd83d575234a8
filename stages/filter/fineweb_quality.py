"""Drop lists, menus and pages of repeated lines (the rules FineWeb found to help beyond Gopher's and C4's).

FineWeb chose them by training small models: of some fifty candidate statistics, these cut the least text for the
gain (Penedo et al. 2024, arXiv 2406.17557, section 3.4).
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from pydantic import Field

from curation.stage import Outcome
from stages.filter.rules import Rule, RuleFilter, add_statistics, ratio, verdicts

STATISTICS = ["lines", "ended_lines", "short_lines", "dup_line_characters", "newlines", "line_characters", "words"]


class FineWebQuality(RuleFilter, name="fineweb_quality"):
    """Drops documents that are lists rather than sentences.

    Reasons, in the order they are tried: `empty` (nothing but white space); `line_punct_ratio` (share of lines that
    end with the end of a sentence, in any script); `short_line_ratio` (share of short lines); `char_dup_ratio`
    (share of characters in lines that occurred before); `list_ratio` (line breaks per word).

    The defaults are FineWeb's for English (Penedo et al. 2024, arXiv 2406.17557), which hold for languages without a
    row too. With `per_language` the others use FineWeb-2's limits, which turn `short_line_ratio` off and allow 10 %
    of repeated characters. A limit of 0 turns a rule off.
    """

    line_punct_thr: float = Field(0.12, description="Smallest share of lines that end with the end of a sentence")
    line_punct_exclude_zero: bool = Field(False, description="Keep documents in which no line ends so")
    short_line_thr: float = Field(0.67, description="Largest share of short lines")
    short_line_length: int = Field(30, description="A line of at most so many characters is short")
    char_duplicates_ratio: float = Field(0.01, description="Largest share of characters in lines that occurred before")
    new_line_ratio: float = Field(0.3, description="Most line breaks per word")

    def adds(self) -> dict[str, pa.DataType]:
        return {f"fineweb_{name}": pa.int64() for name in STATISTICS} if self.keep_statistics else {}

    def setup(self) -> None:
        from stages.filter.text_statistics import Texts, line_statistics

        line_statistics(Texts.of(pa.array(["compile"])), np.zeros(1, np.int64), self.short_line_length)

    def __call__(self, docs: pa.Table) -> Outcome:
        from stages.filter.text_statistics import Texts, line_statistics

        languages = self.languages(docs)
        s = line_statistics(Texts.of(docs["text"]), languages.habits(), self.short_line_length)

        def limit(name: str) -> np.ndarray:
            return languages.values(name, getattr(self, name))

        ended = ratio(s["ended_lines"], s["lines"])
        ended_limit = limit("line_punct_thr")
        if self.line_punct_exclude_zero:
            ended_limit = np.where(ended == 0, 0.0, ended_limit)
        rules = [
            Rule("line_punct_ratio", ended, least=ended_limit),
            Rule("short_line_ratio", ratio(s["short_lines"], s["lines"]), most=limit("short_line_thr")),
            Rule(
                "char_dup_ratio",
                ratio(s["dup_line_characters"], s["line_characters"]),
                most=limit("char_duplicates_ratio"),
            ),
            Rule("list_ratio", ratio(s["newlines"], s["words"]), most=limit("new_line_ratio")),
        ]
        if self.keep_statistics:
            docs = add_statistics(docs, s, "fineweb")
        return verdicts(docs, rules, empty=s["lines"] == 0)

"""Drop documents that repeat themselves: lines, paragraphs and word n-grams (Gopher, table A1).

Repetition is the mark of templates, spam and broken extraction, and a model trained on it repeats itself. The rules
look for it at every grain, so they are the costliest of the text rules; `repetition.py` says how they are counted.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field, field_validator

from curation.stage import Outcome
from stages.filter.rules import Rule, RuleFilter, add_statistics, ratio, verdicts

TOP_N_GRAMS = {2: 0.20, 3: 0.18, 4: 0.16}
DUP_N_GRAMS = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}
STATISTICS = (
    ["characters", "paragraphs", "dup_paragraphs", "dup_paragraph_characters", "lines", "dup_lines"]
    + ["dup_line_characters"]
    + [f"top_{n}_gram_characters" for n in TOP_N_GRAMS]
    + [f"dup_{n}_gram_characters" for n in DUP_N_GRAMS]
)


class GopherRepetition(RuleFilter, name="gopher_repetition"):
    """Drops documents in which lines, paragraphs or word n-grams repeat too much.

    Reasons, in the order they are tried: `empty`; `dup_paragraph_fraction` and `dup_paragraph_char_fraction` (share
    of paragraphs that occurred before, and of the text's characters in them); `dup_line_fraction` and
    `dup_line_char_fraction`; `top_2_gram` to `top_4_gram` (share of characters in the most frequent n-gram);
    `dup_5_gram` to `dup_10_gram` (share of characters in n-grams that occurred before, overlaps counted once).

    The defaults are Gopher's (Rae et al. 2021, arXiv 2112.11446, table A1), which hold for English and for languages
    without a row. With `per_language` the others use FineWeb-2's limits, which turn the two paragraph rules and
    `dup_line_char_fraction` off. A limit of 0 turns a rule off.
    """

    dup_para_frac: float = Field(0.30, description="Largest share of paragraphs that occurred before in the document")
    dup_para_char_frac: float = Field(0.20, description="Largest share of characters in such paragraphs")
    dup_line_frac: float = Field(0.30, description="Largest share of lines that occurred before in the document")
    dup_line_char_frac: float = Field(0.20, description="Largest share of characters in such lines")
    top_n_grams: dict[int, float] = Field(
        TOP_N_GRAMS, description="For n from 2 to 4, largest share of characters in the most frequent n-gram of words"
    )
    dup_n_grams: dict[int, float] = Field(
        DUP_N_GRAMS, description="For n from 5 to 10, largest share of characters in n-grams that occurred before"
    )

    @field_validator("top_n_grams", "dup_n_grams")
    @classmethod
    def known_sizes(cls, value: dict[int, float], info: Any) -> dict[int, float]:
        known = TOP_N_GRAMS if info.field_name == "top_n_grams" else DUP_N_GRAMS
        if unknown := sorted(set(value) - set(known)):
            raise ValueError(f"n-grams of {unknown} words are not counted, only {min(known)} to {max(known)}")
        return value

    def adds(self) -> dict[str, pa.DataType]:
        return {f"repetition_{name}": pa.int64() for name in STATISTICS} if self.keep_statistics else {}

    def setup(self) -> None:
        from stages.filter.text_statistics import Texts, repetition_statistics

        repetition_statistics(Texts.of(pa.array(["compile"])), np.zeros(1, np.int64))

    def __call__(self, docs: pa.Table) -> Outcome:
        from stages.filter.text_statistics import Texts, repetition_statistics

        languages = self.languages(docs)
        s = repetition_statistics(Texts.of(docs["text"]), languages.habits())
        size = s["characters"]
        rules = [
            Rule(reason, ratio(s[part], size if whole == "characters" else s[whole]), languages.values(key, default))
            for reason, part, whole, key, default in (
                ("dup_paragraph_fraction", "dup_paragraphs", "paragraphs", "dup_para_frac", self.dup_para_frac),
                (
                    "dup_paragraph_char_fraction",
                    "dup_paragraph_characters",
                    "characters",
                    "dup_para_char_frac",
                    self.dup_para_char_frac,
                ),
                ("dup_line_fraction", "dup_lines", "lines", "dup_line_frac", self.dup_line_frac),
                (
                    "dup_line_char_fraction",
                    "dup_line_characters",
                    "characters",
                    "dup_line_char_frac",
                    self.dup_line_char_frac,
                ),
            )
        ]
        for n in TOP_N_GRAMS:
            limit = languages.n_gram_values("top_n_grams", n, self.top_n_grams)
            rules.append(Rule(f"top_{n}_gram", ratio(s[f"top_{n}_gram_characters"], size), limit))
        for n in DUP_N_GRAMS:
            limit = languages.n_gram_values("dup_n_grams", n, self.dup_n_grams)
            rules.append(Rule(f"dup_{n}_gram", ratio(s[f"dup_{n}_gram_characters"], size), limit))
        if self.keep_statistics:
            docs = add_statistics(docs, s, "repetition")
        return verdicts(docs, rules, empty=size == 0)

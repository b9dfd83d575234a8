"""Drop documents that do not look like prose: length, word length, symbols, bullets, stop words (Gopher).

The rules are cheap and blunt. They take out word lists, menus, price tables and text in another language than it was
taken for; they also take out poems, code and short answers, so they are for web pages and not for every source.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from curation.stage import Outcome
from stages.filter.rules import Rule, RuleFilter, add_statistics, ratio, verdicts

STOP_WORDS = ["the", "be", "to", "of", "and", "that", "have", "with"]
STATISTICS = ["words", "plain_words", "plain_characters", "alphabetic_words", "stop_words"]
STATISTICS += ["hashes", "ellipses", "lines", "bullet_lines", "ellipsis_lines"]
#: Bins of the histograms `words` and `mean_word_length`.
WORD_EDGES = (25, 50, 100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 51_200, 100_000)
LENGTH_EDGES = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 20)


class GopherQuality(RuleFilter, name="gopher_quality"):
    """Drops documents that are too short or long, or made of something other than sentences.

    Reasons, in the order they are tried: `gopher_too_few_words`, `gopher_too_many_words` (words that are not
    punctuation alone); `gopher_words_too_short`, `gopher_words_too_long` (their mean length in characters);
    `gopher_too_many_hashes`, `gopher_too_many_ellipses` (per word); `gopher_too_many_bullets` (share of lines that
    start with `-` or a bullet), `gopher_too_many_ellipsis_lines` (share that end in an ellipsis);
    `gopher_too_few_alphabetic_words` (share of words with a letter); `gopher_too_few_stop_words` (different ones).

    The defaults are Gopher's (Rae et al. 2021, arXiv 2112.11446, appendix A.1.1), which hold for English. With
    `per_language` other languages use FineWeb-2's bounds and stop words; a language without a row, and `und`, is held
    to the English bounds, but not to English stop words. How words are counted is in `stages/filter/README.md`. A
    limit of 0 turns a rule off.
    """

    min_doc_words: int = Field(50, description="Smallest number of words, punctuation not counted")
    max_doc_words: int = Field(100_000, description="Largest number of words, punctuation not counted")
    min_avg_word_length: float = Field(3, description="Smallest mean word length, characters")
    max_avg_word_length: float = Field(10, description="Largest mean word length, characters")
    max_symbol_word_ratio: float = Field(0.1, description="Most `#` per word, and most ellipses per word")
    max_bullet_lines_ratio: float = Field(0.9, description="Largest share of lines that start with a bullet")
    max_ellipsis_lines_ratio: float = Field(0.3, description="Largest share of lines that end in an ellipsis")
    max_non_alpha_words_ratio: float = Field(
        0.8, description="Smallest share of words with a letter (the name is datatrove's and FineWeb-2's)"
    )
    count_punctuation: bool = Field(
        True,
        description="Count punctuation marks as words in the share of words with a letter, as datatrove does; without "
        "them 0.8 spares documentation and dialogue",
    )
    min_stop_words: int = Field(2, description="Smallest number of different stop words")
    stopwords: list[str] = Field(STOP_WORDS, description="Stop words for documents without a row of their own")

    def adds(self) -> dict[str, pa.DataType]:
        return {f"quality_{name}": pa.int64() for name in STATISTICS} if self.keep_statistics else {}

    def thresholds(self) -> dict[str, dict[str, float]]:
        return self._thresholds({})

    def thresholds_of(self, language: str) -> dict[str, dict[str, float]]:
        return self._thresholds(self.limits_of(language))

    def _thresholds(self, row: dict[str, Any]) -> dict[str, dict[str, float]]:
        def limits(*keys: str) -> dict[str, float]:
            return {key: limit for key in keys if (limit := row.get(key, getattr(self, key))) > 0}

        return {
            "words": limits("min_doc_words", "max_doc_words"),
            "mean_word_length": limits("min_avg_word_length", "max_avg_word_length"),
        }

    def setup(self) -> None:
        from stages.filter.text_statistics import Texts, quality_statistics, stop_word_tables

        zero = np.zeros(1, np.int32)
        quality_statistics(Texts.of(pa.array(["compile"])), zero.astype(np.int64), *stop_word_tables([[]]), zero)

    def __call__(self, docs: pa.Table) -> Outcome:
        from stages.filter.text_statistics import Texts, quality_statistics, stop_word_tables
        from stages.filter.words import stop_word_hashes

        languages = self.languages(docs)
        lists = [
            stop_word_hashes(tuple(row.get("stopwords", self.stopwords)), code)
            for code, row in zip(languages.codes, languages.rows, strict=True)
        ]
        tables, numbers = stop_word_tables(lists)
        s = quality_statistics(Texts.of(docs["text"]), languages.habits(), tables, numbers, languages.index)

        def limit(name: str) -> np.ndarray:
            return languages.values(name, getattr(self, name))

        plain = s["plain_words"]
        mean_length = ratio(s["plain_characters"], plain)
        self.metrics.observe("words", plain, WORD_EDGES)
        self.metrics.observe("mean_word_length", mean_length, LENGTH_EDGES)
        symbols = limit("max_symbol_word_ratio")
        rules = [
            Rule("gopher_too_few_words", plain, least=limit("min_doc_words")),
            Rule("gopher_too_many_words", plain, most=limit("max_doc_words")),
            Rule("gopher_words_too_short", mean_length, least=limit("min_avg_word_length")),
            Rule("gopher_words_too_long", mean_length, most=limit("max_avg_word_length")),
            Rule("gopher_too_many_hashes", ratio(s["hashes"], s["words"]), most=symbols),
            Rule("gopher_too_many_ellipses", ratio(s["ellipses"], s["words"]), most=symbols),
            Rule(
                "gopher_too_many_bullets",
                ratio(s["bullet_lines"], s["lines"]),
                most=limit("max_bullet_lines_ratio"),
            ),
            Rule(
                "gopher_too_many_ellipsis_lines",
                ratio(s["ellipsis_lines"], s["lines"]),
                most=limit("max_ellipsis_lines_ratio"),
            ),
            Rule(
                "gopher_too_few_alphabetic_words",
                ratio(s["alphabetic_words"], s["words"] if self.count_punctuation else plain),
                least=limit("max_non_alpha_words_ratio"),
            ),
            Rule("gopher_too_few_stop_words", s["stop_words"], least=limit("min_stop_words")),
        ]
        if self.keep_statistics:
            docs = add_statistics(docs, s, "quality")
        return verdicts(docs, rules)

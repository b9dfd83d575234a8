"""Rule parameters by language, as FineWeb-2 published them, for the languages of Qwen3.

A rule tuned on English drops most of other languages: German words are longer than English ones, Thai lines do not
end in a full stop, Tamil shares none of the eight English stop words. FineWeb-2 (arXiv 2506.20920) derived the
thresholds of each language from the distribution of the statistic in reference corpora of that language. They are
data, so they lie in `languages.json`, one language per line; `compile_languages.py` makes that file from the
configuration folder of FineWeb-2's repository.

Trade-off: values were derived with FineWeb-2's own word splitters. Ours differ where theirs need a dictionary or a
neural model (Korean, Chinese, Japanese, Thai, Lao, Khmer, Burmese and a few more; see `words.py`), so the values fit
those languages less tightly than the others.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from classifiers.language.labels import STANDARD
from stages.filter.word_habits import word_habits

LANGUAGES_FILE = Path(__file__).with_name("languages.json")

#: What FineWeb-2 sets for all languages alike: the rules it turns off (0, or 999 for a ratio that cannot exceed 1)
#: and the ones it loosens, against the English values (fineweb-2-pipeline.py, step 5). It leaves the C4 rules out.
FINEWEB2_SETTINGS: dict[str, float] = {
    "dup_para_frac": 0.0,
    "dup_line_char_frac": 0.0,
    "dup_para_char_frac": 0.0,
    "short_line_thr": 999.0,
    "char_duplicates_ratio": 0.1,
}

#: A row may be looser than English, not stricter: the largest value a smallest share may have, and the smallest a
#: largest share may have, at English's published limits. FineWeb-2 took each limit from one corpus a language, and
#: where that was small or made by bots it fell among the ordinary documents of the language: 0.972 of Tok Pisin's words
#: would need a letter, 0.905 of Khmer's, though punctuation marks count as words. What English is allowed is no ground
#: to drop text in any other language. Lengths of words and stop words do differ by language and have no bound.
AT_MOST: dict[str, float] = {"max_non_alpha_words_ratio": 0.8, "line_punct_thr": 0.12}
AT_LEAST: dict[str, float] = {"dup_line_frac": 0.3, "new_line_ratio": 0.3}
AT_LEAST_N_GRAMS: dict[str, dict[int, float]] = {
    "top_n_grams": {2: 0.20, 3: 0.18, 4: 0.16},
    "dup_n_grams": {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10},
}

#: For a language without a row, and for `und`: English stop words say nothing there. The other English limits hold.
UNKNOWN_SETTINGS: dict[str, float] = {"min_stop_words": 0}


@cache
def language_parameters() -> dict[str, dict[str, Any]]:
    """The rows of `languages.json`: language code (`fra_Latn`) -> parameter -> value.

    Every row has `from` (the FineWeb-2 code its values were derived for, which differs from the row's own code where
    two share a row) and `language_score` (smallest language probability to keep a document, 0 to 1). All but English
    have, for Gopher repetition, `dup_line_frac`, `top_n_grams` and `dup_n_grams` (lists of [n, largest fraction]);
    for Gopher quality, `min_avg_word_length`, `max_avg_word_length` (code points), `max_non_alpha_words_ratio` (the
    smallest share of words with a letter: FineWeb-2 kept datatrove's misleading name) and `stopwords`; for FineWeb
    quality, `line_punct_thr` and `new_line_ratio`. English uses the published values, which are the defaults of the
    filters. A threshold of 0 or -1 turns its rule off.
    """
    return json.loads(LANGUAGES_FILE.read_text(encoding="utf-8"))


def no_stricter_than_english(row: dict[str, Any]) -> dict[str, Any]:
    """A language's row with every limit on a share at least as loose as the one published for English."""
    bounded = dict(row)
    for name, most in AT_MOST.items():
        if name in row:
            bounded[name] = min(row[name], most)
    for name, least in AT_LEAST.items():
        if row.get(name, 0) > 0:  # 0 and -1 turn a rule off
            bounded[name] = max(row[name], least)
    for name, limits in AT_LEAST_N_GRAMS.items():
        if name in row:
            bounded[name] = [[n, max(value, limits[n]) if value > 0 else value] for n, value in row[name]]
    return bounded


def row_of(code: str, per_language: bool, overrides: dict[str, dict[str, Any]], bounded: bool) -> dict[str, Any]:
    """The parameters of a language that are not the filter's defaults; `RuleLanguages.of` says what the rest means."""
    row: dict[str, Any] = {}
    known = STANDARD.get(code, code)  # where only the group is known, its standard variety's values hold
    if per_language and code != "eng_Latn":
        table = language_parameters()
        row = FINEWEB2_SETTINGS | table[known] if known in table else UNKNOWN_SETTINGS
        row = no_stricter_than_english(row) if bounded else row
    return row | overrides.get(code, overrides.get(known, {}))


@dataclass(frozen=True)
class RuleLanguages:
    """The languages of a batch and the rule parameters of each.

    codes: the languages that occur, `und` for none; index: int32, the place in `codes` of each document's language;
    rows: the parameters of each of `codes`; where one is missing the filter's default holds, as for all of English.
    """

    codes: list[str]
    index: np.ndarray
    rows: list[dict[str, Any]]

    @classmethod
    def of(
        cls, docs: pa.Table, per_language: bool, overrides: dict[str, dict[str, Any]], bounded: bool = True
    ) -> RuleLanguages:
        """Read the column `language` if there is one; without `per_language` it decides only how words are cut.

        bounded: hold no language to a stricter share than English.
        """
        if "language" not in docs.column_names:
            return cls(["und"], np.zeros(docs.num_rows, np.int32), [overrides.get("und", {})])
        column = docs["language"].combine_chunks().fill_null("und").dictionary_encode()
        codes = column.dictionary.to_pylist()
        rows = [row_of(code, per_language, overrides, bounded) for code in codes]
        return cls(codes, column.indices.to_numpy(zero_copy_only=False).astype(np.int32), rows)

    def values(self, name: str, default: float) -> np.ndarray:
        """float64 per document: the parameter `name` of its language."""
        return np.array([row.get(name, default) for row in self.rows] or [default], np.float64)[self.index]

    def n_gram_values(self, name: str, n: int, default: dict[int, float]) -> np.ndarray:
        """float64 per document: the largest fraction for n-grams; 0 (off) if the language names none for this n."""
        values = [dict(row[name]).get(n, 0.0) if name in row else default.get(n, 0.0) for row in self.rows]
        return np.array(values or [0.0], np.float64)[self.index]

    def habits(self) -> np.ndarray:
        """int64 per document: how its language treats apostrophes and hyphens (`word_habits.py`)."""
        return np.array([word_habits(code) for code in self.codes] or [0], np.int64)[self.index]

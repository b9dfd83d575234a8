"""Remove lines that are not sentences, and drop documents left with too few of them (C4's cleaning rules).

C4 is the only one of the rule families that changes the text: menus, cookie notices and half sentences go, what is
left reads as prose. What it costs is known too: the rule on terminal punctuation alone removes about a third of web
text, which is why FineWeb turned it off (`filter_no_terminal_punct: false`).
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from pydantic import Field

from curation.stage import Filter, Outcome
from stages.filter.languages import RuleLanguages

STATISTICS = ("lines", "lines_removed", "sentences")


class C4Quality(Filter, name="c4_quality"):
    """Removes lines and drops documents by the rules of C4 (Raffel et al. 2020, JMLR 21/140, section 2.2).

    Lines are removed, and counted as `lines_removed=...` in the metrics, for: `too_long_word`;
    `no_terminal_punctuation` (last character none of `. ? ! " '`, or an ellipsis); `too_few_words`; `javascript`;
    `policy` (terms of use, cookies). Citation marks like `[12]` and `[edit]` are taken out of the lines that stay.

    Documents are dropped for: `lorem_ipsum`; `curly_bracket`; `too_few_sentences` (after lines were removed); `empty`
    (no line was left and sentences are not counted). A dropped document keeps its text as it was.

    The phrases and marks are English, and FineWeb-2 left the rules out for all other languages: with `per_language`
    documents of another `language` pass unchanged. A number of 0 or less turns its rule off.
    """

    remove_citations: bool = Field(True, description="Take `[12]`, `[edit]` and `[citation needed]` out of lines")
    filter_no_terminal_punct: bool = Field(True, description="Remove lines without terminal punctuation")
    min_num_sentences: int = Field(5, description="Drop documents left with fewer sentences")
    min_words_per_line: int = Field(3, description="Remove lines of fewer words (between spaces)")
    max_word_length: int = Field(1000, description="Remove lines with a longer word, characters")
    filter_lorem_ipsum: bool = Field(True, description="Drop documents with the filler text `lorem ipsum`")
    filter_javascript: bool = Field(True, description="Remove lines that mention javascript")
    filter_curly_bracket: bool = Field(True, description="Drop documents with `{`, which C4 takes for code")
    filter_policy: bool = Field(True, description="Remove lines about cookies, privacy policy and terms of use")
    per_language: bool = Field(True, description="Leave documents alone whose `language` is not `eng_Latn`")
    keep_statistics: bool = Field(False, description="Add the counts as columns `c4_...`")

    def needs(self) -> tuple[str, ...]:
        return ("text", "language") if self.per_language else ("text",)

    def adds(self) -> dict[str, pa.DataType]:
        counts = {f"c4_{name}": pa.int64() for name in STATISTICS} if self.keep_statistics else {}
        return {"text": pa.large_string()} | counts

    def setup(self) -> None:
        self._filter_lines(pa.array(["compile"]), np.zeros(1, np.int64), np.ones(1, np.bool_))

    def _filter_lines(
        self, column: pa.Array | pa.ChunkedArray, habits: np.ndarray, applies: np.ndarray
    ) -> tuple[np.ndarray, ...]:
        """The kernel's result for the documents where `applies`, with this stage's settings."""
        from stages.filter.characters import character_table
        from stages.filter.line_rules import HAS_CURLY, HAS_JAVASCRIPT, HAS_LOREM, HAS_POLICY, filter_lines
        from stages.filter.text_statistics import Texts

        texts = Texts.of(column)
        phrases = (
            HAS_LOREM * self.filter_lorem_ipsum
            | HAS_JAVASCRIPT * self.filter_javascript
            | HAS_CURLY * self.filter_curly_bracket
            | HAS_POLICY * self.filter_policy
        )
        return filter_lines(
            texts.data,
            texts.offsets,
            character_table(),
            habits,
            applies,
            self.max_word_length,
            self.remove_citations,
            self.filter_no_terminal_punct,
            self.min_words_per_line,
            self.min_num_sentences,
            phrases,
        )

    def __call__(self, docs: pa.Table) -> Outcome:
        from stages.filter.line_rules import DOCUMENT_REASONS, LINE_REASONS

        languages = RuleLanguages.of(docs, self.per_language, {})
        english = np.array([code == "eng_Latn" or not self.per_language for code in languages.codes] or [True])
        applies = english[languages.index]
        data, offsets, verdict, sentences, lines = self._filter_lines(docs["text"], languages.habits(), applies)
        total, removed = lines[0], lines[1:]
        self.metrics.count("lines", total.sum())
        for reason, count in zip(LINE_REASONS, removed.sum(axis=1).tolist(), strict=True):
            if count:
                self.metrics.count(f"lines_removed={reason}", count)

        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data)]
        text = pa.Array.from_buffers(pa.large_string(), docs.num_rows, buffers)
        left_empty = applies & (verdict == 0) & (np.diff(offsets) == 0)
        place = np.where(left_empty, len(DOCUMENT_REASONS), verdict.astype(np.int32) - 1)
        names = pa.array([*DOCUMENT_REASONS, "empty"], pa.string())
        gone = removed.sum(axis=0)
        detail = [
            f"{s} < {self.min_num_sentences}, {g} of {n} lines removed" if v == 3 else None
            for v, s, g, n in zip(verdict.tolist(), sentences.tolist(), gone.tolist(), total.tolist(), strict=True)
        ]
        docs = docs.set_column(docs.column_names.index("text"), "text", text)
        if self.keep_statistics:
            for name, values in zip(STATISTICS, (total, gone, sentences), strict=True):
                docs = docs.append_column(f"c4_{name}", pa.array(values))
        dropped = names.take(pa.array(place, mask=place < 0))
        return Outcome(docs, dropped=dropped, detail=pa.array(detail, pa.string()))

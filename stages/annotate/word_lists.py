"""Finds the words of lists in texts: a first pass for safety that costs microseconds, before any model is asked.

A list is a file per language with a term on each line, the form in which the usual ones come (LDNOOBW, "List of Dirty,
Naughty, Obscene, and Otherwise Bad Words", which C4 used: arXiv 1910.10683, section 2.2). All terms of a language go
into one Aho-Corasick automaton, which reads a text once, whatever their number.

Trade-off: a word is not a deed. Lists drop medicine, law and the speech of minorities with the rest (Dodge et al. 2021,
arXiv 2104.08758, section 5.3), so this stage counts, and what to do about it is said elsewhere. No list comes with the
project: the usual ones hold one view of what is bad, and a user should know which.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, PrivateAttr

from curation.documents import column_type
from curation.errors import ConfigError
from curation.stage import Stage

#: Scripts without spaces between words: a term counts wherever it stands.
_UNSPACED = ("zho", "yue", "jpn", "tha", "lao", "khm", "mya")
#: Codes of lists' file names (ISO 639-1) for languages whose code here is ISO 639-3.
_SHORT = {
    "ar": "arb",
    "cs": "ces",
    "da": "dan",
    "de": "deu",
    "en": "eng",
    "es": "spa",
    "fa": "pes",
    "fi": "fin",
    "fr": "fra",
    "hi": "hin",
    "hu": "hun",
    "it": "ita",
    "ja": "jpn",
    "ko": "kor",
    "nl": "nld",
    "no": "nob",
    "pl": "pol",
    "pt": "por",
    "ru": "rus",
    "sv": "swe",
    "th": "tha",
    "tr": "tur",
    "uk": "ukr",
    "vi": "vie",
    "zh": "zho",
}


class MatchWordLists(Stage, name="match_word_lists"):
    """Counts the terms of word lists in each document, in the list of its language. Nothing is dropped.

    Adds `listed_words`, the number of places where a term of the list stands (null where there is no list for the
    document's language), and `listed_share`, their share of all words (of all characters, for scripts without
    spaces). `keep_where: {column: listed_share, max: 0.01, missing: keep}` is a filter on it.

    `lists` is a folder of files named by language, `en`, `en.txt` or `eng.txt`, one term a line; terms are compared
    without regard to case, and as whole words. LDNOOBW (CC BY 4.0) has this form; state in your datasheet which list
    was used.
    """

    lists: str = Field(description="folder with a file of terms per language")

    _automata: dict[str, Any] = PrivateAttr(default_factory=dict)

    def needs(self) -> tuple[str, ...]:
        return ("text", "language")

    def adds(self) -> dict[str, pa.DataType]:
        return {name: column_type(name) for name in ("listed_words", "listed_share")}

    def _files(self) -> dict[str, Path]:
        """ISO 639-3 code -> file."""
        found = {}
        for file in sorted(Path(self.lists).expanduser().iterdir()):
            if file.is_file() and file.suffix in ("", ".txt") and re.fullmatch(r"[a-z]{2,3}", file.stem):
                found[_SHORT.get(file.stem, file.stem)] = file
        return found

    def check(self) -> None:
        if not Path(self.lists).expanduser().is_dir():
            raise ConfigError(f"lists '{self.lists}' is not a folder")
        if not self._files():
            raise ConfigError(f"lists '{self.lists}' holds no file named by a language (en, en.txt, eng.txt)")

    def files(self) -> Sequence[str]:
        return [str(file) for file in self._files().values()]

    def setup(self) -> None:
        import ahocorasick

        for code, file in self._files().items():
            automaton = ahocorasick.Automaton()
            terms = {line.strip().casefold() for line in file.read_text(encoding="utf-8").splitlines()}
            for term in terms - {""}:
                automaton.add_word(term, len(term))
            if len(automaton):
                automaton.make_automaton()
                self._automata[code] = automaton

    def __call__(self, docs: pa.Table) -> pa.Table:
        if not self._automata:
            self.setup()
        counts: list[int | None] = []
        shares: list[float | None] = []
        for text, language in zip(docs["text"].to_pylist(), docs["language"].to_pylist(), strict=True):
            code = (language or "").split("_")[0]
            automaton = self._automata.get("zho" if code == "yue" and "yue" not in self._automata else code)
            if automaton is None or text is None:
                counts.append(None)
                shares.append(None)
                continue
            folded = text.casefold()
            whole = code not in _UNSPACED
            places = [(end - size + 1, end + 1) for end, size in automaton.iter(folded)]
            found = [(a, b) for a, b in places if not whole or _is_word(folded, a, b)]
            counts.append(len(found))
            total = len(folded.split()) if whole else len(folded)
            weight = len(found) if whole else sum(b - a for a, b in found)
            shares.append(min(1.0, weight / max(1, total)))
        columns = {"listed_words": pa.array(counts, pa.int32()), "listed_share": pa.array(shares, pa.float32())}
        self.metrics.count("documents_with_listed_words", sum(bool(n) for n in counts))
        self.metrics.count("documents_without_a_list", pc.sum(pc.is_null(columns["listed_words"])).as_py() or 0)
        for name, values in columns.items():
            place = docs.schema.get_field_index(name)
            docs = docs.append_column(name, values) if place < 0 else docs.set_column(place, name, values)
        return docs


def _is_word(text: str, start: int, end: int) -> bool:
    """Whether text[start:end] neither begins nor ends within a word."""
    before = start > 0 and (text[start - 1].isalnum() or text[start - 1] == "_")
    after = end < len(text) and (text[end].isalnum() or text[end] == "_")
    return not before and not after

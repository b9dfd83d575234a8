"""Removes cookie notices, consent buttons and the fixed lines of menus and footers, in some fifty languages.

Most of a page's frame is gone after extraction, and what a site repeats on its pages goes with `drop_repeated_lines`.
What stays is the line of which every site has one: the consent banner, "Skip to content", "All rights reserved". C4
removes a line that mentions cookies anywhere, in English, and with it what is written about cookies; here a line must
be such a phrase from its first to its last letter, or begin like a banner, so that prose is left alone.

The phrases are data (`boilerplate_lines.json`, written for this project). RE2 looks for all of them in one pass.

Trade-off: lists find what is on them. A banner worded in another way stays; a new phrase is a line in the data file,
or a key of the stage.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, field_validator

from curation.stage import Outcome, Stage, reasons

PHRASES_FILE = Path(__file__).with_name("boilerplate_lines.json")
#: Longest line that goes for its beginning: a banner is a few sentences, an article about cookies is not one line.
_LONGEST = 600
#: Thai, Lao, Myanmar, Khmer, kana, Han.
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")


class DropBoilerplateLines(Stage, name="drop_boilerplate_lines"):
    """Removes lines from the text that are a known phrase of a page's frame, or begin like a cookie banner.

    A line goes as a whole if nothing but the phrase, digits, punctuation and symbols stands in it ("» Skip to content",
    "© 2024. All rights reserved."), or if it begins with the beginning of a banner ("We use cookies", "Diese Website
    verwendet Cookies") and has at most 600 characters. Case does not count. Lines indented by a tab or four spaces are
    code and stay. Text without such lines is not touched. Languages are not told apart: every document is searched for
    the phrases of all, because banners are often not in the language of the page.

    Drop reason: `only_boilerplate_lines` (nothing but white space would remain; the document keeps its text). Counts
    of documents that stay: `documents_changed`, `lines_removed=begin` and `lines_removed=whole`.

    Source: C4's policy and javascript rules (Raffel et al. 2020, JMLR 21/140, section 2.2), narrowed to whole lines
    and carried over to other languages.
    """

    begin: list[str] = Field([], description="more beginnings of lines to remove; `*` at the end: within a word too")
    whole: list[str] = Field([], description="more lines to remove")

    @field_validator("begin", "whole")
    @classmethod
    def has_letters(cls, phrases: list[str]) -> list[str]:
        for phrase in phrases:
            if not any(character.isalpha() for character in phrase) or "\n" in phrase:
                raise ValueError(f"'{phrase}' is no phrase of one line")
        return phrases

    def adds(self) -> dict[str, pa.DataType]:
        return {"text": pa.large_string()}

    def files(self) -> Sequence[str]:
        return [str(PHRASES_FILE)]

    def setup(self) -> None:
        self(pa.table({"text": pa.array(["All rights reserved"], pa.large_string())}))
        self.metrics.counters.clear()

    def __call__(self, docs: pa.Table) -> Outcome:
        patterns = line_patterns(tuple(self.begin), tuple(self.whole))
        text = docs["text"].combine_chunks().cast(pa.large_string())
        start, nothing = pa.scalar("\n", text.type), pa.scalar("", text.type)
        framed = pc.binary_join_element_wise(start, pc.utf8_lower(text), nothing)
        found = pc.fill_null(pc.match_substring_regex(framed, patterns["any"]), False)
        if not pc.any(found).as_py():
            return Outcome(docs)
        before = text.filter(found)
        after = before
        removed = {}
        for kind in ("begin", "whole"):
            removed[kind] = pc.count_substring_regex(after, patterns[kind])
            after = pc.replace_substring_regex(after, patterns[kind], "")
        left = pc.match_substring_regex(after, r"\S")
        changed = pc.and_(left, pc.not_equal(before, after))
        for kind, counts in removed.items():
            if n := pc.sum(counts.filter(changed)).as_py():
                self.metrics.count(f"lines_removed={kind}", n)
        self.metrics.count("documents_changed", pc.sum(changed).as_py() or 0)
        emptied = pc.replace_with_mask(
            pa.array([False] * len(text)), found, pc.and_(pc.invert(left), pc.not_equal(before, after))
        )
        after = pc.if_else(left, after, before)
        docs = docs.set_column(docs.schema.get_field_index("text"), "text", pc.replace_with_mask(text, found, after))
        return Outcome(docs, dropped=reasons(docs, only_boilerplate_lines=emptied))


@cache
def line_patterns(begin: tuple[str, ...] = (), whole: tuple[str, ...] = ()) -> dict[str, str]:
    """RE2 patterns: `begin` and `whole`, the lines to remove with their line ends, and `any`, whether there may be one
    in a text in lower case with a newline before it."""
    phrases = json.loads(PHRASES_FILE.read_text(encoding="utf-8"))
    own = {"begin": begin, "whole": whole}
    lists = {kind: sorted({p for group in phrases[kind].values() for p in group} | set(own[kind])) for kind in own}
    # Up to three spaces, then what may stand before a phrase: bullets, arrows, quotes, a copyright sign. No number: "1.
    # Privacy policy" is the heading of a text. Listed, for the class of all symbols is ten times slower.
    symbols = r"!-/:-@\[-`{-~©®«»‹›“”„•·–—…←↑→▲►▶✓✔×"
    lead = rf" {{0,3}}(?:[{symbols}][ {symbols}]*)?"
    words = {kind: "|".join(map(_escaped, phrases)) for kind, phrases in lists.items()}
    # The phrase must end where a word ends, but in scripts without spaces, and where the list says that it goes on.
    open_ = "|".join(_escaped(phrase) for phrase in lists["begin"] if phrase.endswith("*") or _UNSPACED.search(phrase))
    ended = rf"(?:{words['begin']})(?:[^\pL\pM\n][^\n]{{0,{_LONGEST}}})?"
    long = rf"(?im)^{lead}(?:{ended}|(?:{open_})[^\n]{{0,{_LONGEST}}})(?:\n|\z)"
    alone = rf"(?im)^{lead}(?:{words['whole']})[^\pL\pM\n]*(?:\n|\z)"
    # Asked of every text, so without what costs RE2 its fast path: case, `^`, and the tails.
    return {"begin": long, "whole": alone, "any": rf"\n{lead}(?:{words['begin']}|{words['whole']})"}


def _escaped(phrase: str) -> str:
    """A phrase as RE2 text in which any run of spaces stands for a space, and apostrophes are all alike."""
    words = [
        "".join(c if c.isalnum() or ord(c) > 127 else f"\\{c}" for c in word)
        for word in phrase.lower().rstrip("*").split()
    ]
    return " +".join(words).replace("\\'", "['’]")

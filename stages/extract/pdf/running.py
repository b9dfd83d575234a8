"""Finds what a document repeats at the head and foot of its pages: running titles, page numbers, stamps.

Left in, such lines cut sentences in two at every page, and repetition filters throw the document away for them. Two
signs tell them: they come again at the same height on other pages with the same words (digits counting as equal), and
they stand apart from the text. The first alone would take the head of a table that goes on over pages, which is no
loss; the second alone would take the last line of a chapter. Lines larger than the text are headings and stay. A number
by itself at the very edge is a page number where such numbers count up with the pages, or where it stands apart.

On a single page nothing repeats: there only numbers with a word that means page are taken.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

#: Share of a page's height, at its head and at its foot, where running lines are looked for.
BAND = 0.14
#: Pages on which a line must come again, in documents of up to five pages and in longer ones.
_FEW, _MORE = 2, 3
#: Points by which the height of a line may differ between pages, as a share of the page's height.
_LEVEL = 0.006
_DIGITS = re.compile(r"\d+")
_EDGE_ROMAN = re.compile(r"^[ivxlc]{1,7}\s|\s[ivxlc]{1,7}$")
_PAGE_WORDS = (
    "page|pages|pag|pág|página|páginas|pagina|pagine|seite|seiten|s|p|pp|sida|side|sivu|strona|str|strana|stránka|strani|"
    "stran|oldal|sayfa|halaman|hal|trang|стр|страница|сторінка|σελίδα|σελ|עמוד|صفحة|صفحه|ページ|頁|页|第|쪽|페이지|पृष्ठ|หน้า"
)
_OF_WORDS = "of|de|von|sur|di|van|av|af|z|ze|из|з|od|dari|中的|/|\\||-|–|από|מתוך|من|از|का"
_NUMBER = r"(?:\d{1,4}|[ivxlc]{1,7})"
#: A number that says it is that of a page: `Page 3`, `3 / 12`, `- 3 -`, `第 3 页`.
_SAYS_PAGE = re.compile(
    rf"[^\w$€£¥%]*(?:(?:{_PAGE_WORDS})\W{{0,3}}{_NUMBER}(?:\W{{0,3}}(?:{_OF_WORDS})?\W{{0,3}}\d{{1,4}})?(?:\s?[页頁쪽]|ページ)?"
    rf"|\d{{1,4}}\s?(?:/|of|von|de|sur|di|из)\s?\d{{1,4}}|[-–—]\s?{_NUMBER}\s?[-–—]|{_NUMBER}\s?(?:页|頁|쪽|ページ))\W*",
    re.IGNORECASE,
)
_LONE_NUMBER = re.compile(r"[\W_]*(\d{1,4}|[ivxlc]{1,7})[\W_]*", re.IGNORECASE)


@dataclass(frozen=True)
class EdgeLine:
    """A line near the head or foot of a page.

    page: number of the page. level: its middle, as a share of the page's height. text: its words. rank: how many lines
    stand between it and the edge. apart: whether more than the usual space divides it, and the lines beyond it, from
    the text.
    """

    page: int
    level: float
    text: str
    rank: int
    apart: bool

    @property
    def head(self) -> bool:
        """Whether it stands at the head of the page."""
        return self.level < 0.5


def running_lines(lines: Sequence[EdgeLine], pages: int) -> set[int]:
    """The lines (by place in the sequence) that are no part of the text, of a document of so many pages."""
    found = {i for i, line in enumerate(lines) if line.rank <= 1 and _SAYS_PAGE.fullmatch(line.text)}
    needed = _FEW if pages <= 5 else _MORE
    alike: dict[tuple[bool, str], list[int]] = defaultdict(list)
    numbers: dict[bool, list[tuple[int, int, int]]] = defaultdict(list)
    for i, line in enumerate(lines):
        number = _LONE_NUMBER.fullmatch(line.text)
        if number:
            value = int(number[1]) if number[1].isdecimal() else _roman(number[1].lower())
            if value and line.rank <= 1:
                numbers[line.head].append((i, line.page, value))
        else:
            key = _EDGE_ROMAN.sub("0", _DIGITS.sub("0", line.text)).casefold().replace(" ", "")
            if any(c.isalpha() for c in key):
                alike[line.head, key].append(i)
    for group in alike.values():
        found.update(_at_one_level([i for i in group if i not in found], lines, needed))
    for lone in numbers.values():
        # Numbers that count up as the pages do: the same difference between number and page on several pages.
        offsets: dict[int, list[int]] = defaultdict(list)
        for i, page, value in lone:
            offsets[value - page].append(i)
        for members in offsets.values():
            if len({lines[i].page for i in members}) >= needed:
                found.update(members)
        found.update(i for i, _, _ in lone if lines[i].rank == 0 and lines[i].apart)
    return found


def _at_one_level(group: list[int], lines: Sequence[EdgeLine], needed: int) -> set[int]:
    """The lines of a group with equal words that recur at one height on enough pages."""
    group.sort(key=lambda i: lines[i].level)
    found: set[int] = set()
    begin = 0
    for end in range(1, len(group) + 1):
        if end < len(group) and lines[group[end]].level - lines[group[end - 1]].level <= _LEVEL:
            continue
        members = group[begin:end]
        begin = end
        where = {lines[i].page for i in members}
        # Lines that do not stand apart from the text may be the text of forms or slides: they must recur more often.
        close = sum(not lines[i].apart for i in members) > len(members) / 2
        if len(where) >= (2 * needed if close else needed):
            found.update(members)
    return found


def _roman(text: str) -> int:
    """The value of a roman numeral in small letters, 0 if it is none."""
    values = [{"i": 1, "v": 5, "x": 10, "l": 50, "c": 100}.get(letter, 0) for letter in text]
    if not all(values):
        return 0
    return sum(-v if v < max(values[i + 1 :], default=0) else v for i, v in enumerate(values))

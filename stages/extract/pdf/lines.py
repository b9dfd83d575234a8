"""The lines of a page in reading order, each with what decides how it follows the one before.

Words are arrays here (`columns`, `paragraphs`); Python handles lines, of which a page has some forty.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from stages.extract.pdf.columns import make_lines, reading_order
from stages.extract.pdf.hyphens import ends_cut
from stages.extract.pdf.paragraphs import (
    BULLET,
    CELL,
    DIGIT,
    HYPHEN,
    LOWER,
    OPEN,
    OTHER,
    PARAGRAPH,
    PART,
    TERMINAL,
    UNCASED,
    UNSPACED,
    UPPER,
    line_breaks,
    measure_lines,
    table_rows,
    word_gaps,
)
from stages.extract.pdf.upright import UNSPACED_LETTER, Upright

_WIDE = re.compile("[\u2e80-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uff60]")
_BULLETS = frozenset("•‣◦▪▫■□●○◆◇►▸▹➢➤✓✔∙·⁃❖★☆*–—\uf0b7\uf0a7\uf0d8\uf076\uf0fc")
_NUMBERED = re.compile(r"(?:\(?(?:\d{1,3}|[a-zA-Z]|[ivx]{1,5})[.)]|\[\d{1,3}\]|\d{1,2}(?:\.\d{1,2}){1,3}\.?)$")
_TERMINAL = frozenset('.!?:;…。！？：；」』）)]”’"»॥।؟۔։።')
_LEADERS = re.compile(r"\s*(?:[.·…_‥]\s?){4,}\s*")
CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\ufe00-\ufe0d\ufffe\uffff\ufeff\ue000-\uf8ff]")
_NOTE = 0.93  # times the median height of words, below which lines at the end of a column are footnotes


@dataclass
class Line:
    """A line of the text. break_: how it follows the one before; full: whether it runs to the edge of its column;
    fixed: whether it is set in a font of fixed width; note: whether it is part of a footnote."""

    text: str
    break_: int
    full: bool
    begins: int
    ends: int
    height: float
    fixed: bool
    note: bool = False


def page_lines(page: Upright) -> list[Line]:
    """The lines of a page in reading order."""
    n = len(page.words)
    if not n:
        return []
    x0, y0, x1, y1 = np.ascontiguousarray(page.boxes)
    words = page.words
    weight = np.fromiter(map(len, words), np.int32, n)
    none = np.zeros(n, bool)
    firsts, lasts = none, none
    if page.unspaced:
        firsts = np.fromiter((UNSPACED_LETTER.match(word) is not None for word in words), bool, n)
        lasts = np.fromiter((UNSPACED_LETTER.match(word[-1]) is not None for word in words), bool, n)
        weight = np.fromiter((len(word) + len(_WIDE.findall(word)) for word in words), np.int32, n)
    order, part = reading_order(x0, y0, x1, y1, weight, page.em, page.drawn)
    drawn = np.arange(n, dtype=np.int64) if page.drawn else np.empty(0, np.int64)
    line_of = make_lines(order, part, x0, y0, x1, y1, page.em, drawn)
    starts, measures, parts = measure_lines(order, line_of, part, x0, y0, x1, y1, weight, page.mono)
    gaps = word_gaps(order, starts, measures, x0, x1, firsts, lasts, page.em)
    rows = table_rows(order, starts, measures, parts, gaps, x0, x1, page.em)
    texts, leaders = [], np.zeros(len(parts), bool)
    sorted_words = [words[i] for i in order.tolist()]
    spacing = gaps.tolist()
    bounds = starts.tolist()
    plain = gaps <= 1
    plain[starts[:-1]] = True
    lefts = _part_edges(measures, parts)
    for i, (a, b) in enumerate(pairwise(bounds)):
        if not page.unspaced and plain[a:b].all():
            text = " ".join(sorted_words[a:b])
        else:
            pieces = [sorted_words[a]]
            for k in range(a + 1, b):
                pieces.append("\t" if spacing[k] == CELL else " " * spacing[k])
                pieces.append(sorted_words[k])
            text = "".join(pieces)
        if measures[i, 4] > 0:
            text = " " * min(40, round(max(0.0, measures[i, 0] - lefts[i]) / measures[i, 4])) + text
        elif "...." in text or ". . ." in text or "…" in text:
            text, leaders[i] = _shorten_leaders(text)
        texts.append(text)
    begins = np.fromiter((_begins(text) for text in texts), np.int8, len(texts))
    ends = np.fromiter((_ends(text) for text in texts), np.int8, len(texts))
    breaks, full = line_breaks(measures, parts, rows, leaders, begins, ends, page.em, page.drawn, page.width)
    notes = _footnotes(measures, parts, begins, breaks, page)
    return [
        Line(CONTROL.sub("", text) if not text.isprintable() else text, *rest)
        for text, *rest in zip(
            texts,
            breaks.tolist(),
            full.tolist(),
            begins.tolist(),
            ends.tolist(),
            measures[:, 3].tolist(),
            (measures[:, 4] > 0).tolist(),
            notes.tolist(),
            strict=True,
        )
    ]


def _footnotes(
    measures: np.ndarray, parts: np.ndarray, begins: np.ndarray, breaks: np.ndarray, page: Upright
) -> np.ndarray:
    """Lines of footnotes, bool (m,): the small ones that a column ends with, from the first that begins with a mark."""
    notes = np.zeros(len(parts), bool)
    small = measures[:, 3] < _NOTE * page.em
    if not small.any() or small.mean() > 0.6:
        return notes
    ends = np.flatnonzero(np.diff(parts, append=-1))
    for end in ends.tolist():
        begin = end + 1
        while begin > 0 and small[begin - 1] and parts[begin - 1] == parts[end]:
            begin -= 1
        low = measures[begin:, 2].min(initial=np.inf) > 0.4 * page.height
        while begin <= end and not (begins[begin] in (DIGIT, BULLET, OTHER) and breaks[begin] in (PARAGRAPH, PART)):
            begin += 1
        notes[begin : end + 1] = low
    return notes


def _part_edges(measures: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """The left edge of the part that each line belongs to."""
    edges = np.full(int(parts.max()) + 1, np.inf)
    np.minimum.at(edges, parts, measures[:, 0])
    return edges[parts]


def _shorten_leaders(text: str) -> tuple[str, bool]:
    """A line of a table of contents without its dots: title, tabulator, page number."""
    short = _LEADERS.sub("\t", text)
    return (short.strip("\t"), True) if short != text else (text, False)


def _begins(text: str) -> int:
    first = text[:1]
    if first in _BULLETS or (len(text) > 3 and _NUMBERED.match(text.split(" ", 1)[0])):
        return BULLET
    if first.islower():
        return LOWER
    if first.isupper():
        return UPPER
    if first.isdigit():
        return DIGIT
    if first.isalpha():
        return UNSPACED if UNSPACED_LETTER.match(first) else UNCASED
    return UNSPACED if first and UNSPACED_LETTER.match(first) else OTHER


def _ends(text: str) -> int:
    if text[-1:] in _TERMINAL:
        return TERMINAL
    return HYPHEN if ends_cut(text) else OPEN

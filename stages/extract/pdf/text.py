"""Pages of words in, the text of the document out: columns in order, running lines gone, paragraphs whole.

The document is looked at as a whole twice: for the lines it repeats on its pages, and for the words it uses, which
decide about hyphens. Everything else is done page by page on arrays (`columns`, `paragraphs`); Python handles lines,
of which a page has some forty.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from stages.extract.pdf.columns import make_lines, reading_order
from stages.extract.pdf.hyphens import ends_cut, join_cut, vocabulary
from stages.extract.pdf.page import MONO, PageText
from stages.extract.pdf.paragraphs import (
    BULLET,
    CELL,
    CONTINUES,
    DIGIT,
    HYPHEN,
    LOWER,
    NEW_LINE,
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
from stages.extract.pdf.running import BAND, EdgeLine, running_lines

# Scripts written without spaces between words: Thai, Lao, Myanmar, Khmer, Kana, Han, and the punctuation of the last.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u30ff\u31c0-\u31ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef"
    "\U0001b000-\U0001b16f\U00020000-\U0003ffff"
)
_ANY_UNSPACED = re.compile(f"[{_UNSPACED}]")
_WIDE = re.compile("[\u2e80-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uff60]")
_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")
_BULLETS = frozenset("•‣◦▪▫■□●○◆◇►▸▹➢➤✓✔∙·⁃❖★☆*–—\uf0b7\uf0a7\uf0d8\uf076\uf0fc")
_NUMBERED = re.compile(r"(?:\(?(?:\d{1,3}|[a-zA-Z]|[ivx]{1,5})[.)]|\[\d{1,3}\]|\d{1,2}(?:\.\d{1,2}){1,3}\.?)$")
_TERMINAL = frozenset('.!?:;…。！？：；」』）)]”’"»॥।؟۔։።')
_LEADERS = re.compile(r"\s*(?:[.·…_‥]\s?){4,}\s*")
_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\ufe00-\ufe0d\ufffe\uffff\ufeff\ue000-\uf8ff]")
_STRAY_TURN = 80  # characters of words in another direction than the page's, below which they are left out
_STACKED = 0.5  # share of characters standing under the one before, from which a page is vertical
_HEADING = 1.25  # times the median height of words, from which a line is a heading
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


@dataclass
class Upright:
    """The words of a page turned so that lines run from left to right and follow from top to bottom.

    boxes: float64 (4, n). drawn: whether words of a line keep the order of the content stream.
    """

    page: int
    words: list[str]
    boxes: np.ndarray
    mono: np.ndarray
    width: float
    height: float
    drawn: bool
    unspaced: bool
    em: float = 0.0

    def __post_init__(self) -> None:
        if len(self.words):
            self.em = max(float(np.median(self.boxes[3] - self.boxes[1])), 1e-3)

    def select(self, mask: np.ndarray) -> Upright:
        """The page with only the words of a mask."""
        words = [self.words[i] for i in np.flatnonzero(mask).tolist()]
        boxes, mono = self.boxes[:, mask], self.mono[mask]
        return Upright(self.page, words, boxes, mono, self.width, self.height, self.drawn, self.unspaced)


@dataclass
class Composed:
    """The text of a document, and where each page starts in it, in characters."""

    text: str
    offsets: list[int] = field(default_factory=list)


def is_right_to_left(words: Sequence[str]) -> bool:
    """Whether most letters belong to a script that is written from the right."""
    text = "".join(words)
    return not text.isascii() and len(_RIGHT_TO_LEFT.findall(text)) > 0.5 * sum(map(str.isalpha, text))


def compose(pages: Sequence[PageText], drop_running: bool = True) -> Composed:
    """The text of a document's pages, in which every word of them is to be kept."""
    upright = [part for page in pages for part in (_upright(page),)]
    if drop_running:
        upright = _without_running_lines(upright)
    lines = [_lines(page) for page in upright]
    words = vocabulary(line.text for page in lines for line in page)
    return _join(lines, words)


def _upright(page: PageText) -> Upright:
    """Turn a page's words to the direction of most of them; leave the few that run in another out."""
    n = len(page.words)
    boxes = page.boxes.T.astype(np.float64)
    words = page.words
    sizes = np.fromiter(map(len, words), np.int64, n)
    width, height = page.width, page.height
    turns = page.turns
    text = "".join(words)
    unspaced = not text.isascii() and _ANY_UNSPACED.search(text) is not None
    vertical = unspaced and _is_vertical(boxes, sizes, turns)
    mono = page.flags & MONO > 0
    if vertical:
        turn = 1  # characters stand upright one under another, as turned lines do
    else:
        counts = np.bincount(turns, weights=sizes, minlength=4) if n else np.zeros(4)
        turn = int(counts.argmax())
        others = turns != turn
        if others.any() and sizes[others].sum() < _STRAY_TURN:
            keep = ~others
            boxes, mono = boxes[:, keep], mono[keep]
            words = [words[i] for i in np.flatnonzero(keep).tolist()]
    x0, y0, x1, y1 = boxes
    if turn == 1:
        boxes, width, height = np.array((y0, width - x1, y1, width - x0)), height, width
    elif turn == 2:
        boxes = np.array((width - x1, height - y1, width - x0, height - y0))
    elif turn == 3:
        boxes, width, height = np.array((height - y1, x0, height - y0, x1)), height, width
    drawn = not vertical and is_right_to_left(words)
    upright = Upright(page.number, list(words), boxes, mono, width, height, drawn, unspaced)
    return upright if not len(words) else upright.select(~_overprinted(upright))


def _is_vertical(boxes: np.ndarray, sizes: np.ndarray, turns: np.ndarray) -> bool:
    """Whether most characters stand under the one drawn before, in a page of East Asian text."""
    if len(sizes) < 2:
        return False
    x0, y0, x1, y1 = boxes
    side = np.maximum(x1 - x0, 1e-6)
    under = (np.abs((x0 + x1)[1:] - (x0 + x1)[:-1]) < 0.6 * np.minimum(side[1:], side[:-1])) & (
        np.abs(y0[1:] - y1[:-1]) < 0.8 * side[1:]
    )
    stacked = np.zeros(len(sizes), bool)
    stacked[1:] |= under & (sizes[1:] == 1)
    stacked[:-1] |= under & (sizes[:-1] == 1)
    stacked |= (turns == 1) | ((y1 - y0 > 1.8 * side) & (sizes > 1))
    return bool(sizes[stacked].sum() > _STACKED * sizes.sum())


def _overprinted(page: Upright) -> np.ndarray:
    """Words that are drawn a second time on the same place, which some writers take for bold type."""
    x0, y0 = page.boxes[:2]
    codes = np.fromiter(map(hash, page.words), np.int64, len(page.words))
    order = np.lexsort((np.round(x0 / page.em), np.round(y0 / page.em), codes))
    again = np.zeros(len(order), bool)
    near = 0.15 * page.em
    for step in (1, 2):  # rounding may put another word between two that are alike
        a, b = order[:-step], order[step:]
        same = (codes[a] == codes[b]) & (np.abs(x0[a] - x0[b]) < near) & (np.abs(y0[a] - y0[b]) < near)
        again[np.maximum(a[same], b[same])] = True
    return again


def _without_running_lines(pages: list[Upright]) -> list[Upright]:
    """The pages without running titles and page numbers."""
    edges: list[EdgeLine] = []
    members: list[tuple[int, np.ndarray]] = []
    for at, page in enumerate(pages):
        if page.words:
            for edge, mask in _edge_lines(page):
                edges.append(edge)
                members.append((at, mask))
    gone: dict[int, np.ndarray] = {}
    for i in running_lines(edges, sum(bool(page.words) for page in pages)):
        at, rows = members[i]
        mask = gone.setdefault(at, np.ones(len(pages[at].words), bool))
        mask[rows] = False
    return [page.select(gone[at]) if at in gone else page for at, page in enumerate(pages)]


def _edge_lines(page: Upright) -> list[tuple[EdgeLine, np.ndarray]]:
    """The lines in the bands at the head and foot of a page, with the words each consists of."""
    _, y0, _, y1 = page.boxes
    found = []
    body = (y0 >= BAND * page.height) & (y1 <= (1 - BAND) * page.height)
    for head in (True, False):
        band = y1 < BAND * page.height if head else y0 > (1 - BAND) * page.height
        rows = np.flatnonzero(band)
        if not len(rows):
            continue
        x, top, right, bottom = page.boxes[:, rows]
        order = np.arange(len(rows))
        part = np.zeros(len(rows), np.int32)
        drawn = order.astype(np.int64) if page.drawn else np.empty(0, np.int64)
        line = make_lines(order, part, x, top, right, bottom, page.em, drawn)
        starts = np.flatnonzero(np.diff(line, prepend=-1))
        groups = [rows[order[a:b]] for a, b in zip(starts, [*starts[1:].tolist(), len(order)], strict=True)]
        if not head:
            groups.reverse()
        # Heights of the lines from the edge inwards, and of the first line of the text behind them.
        middles = [float((y0[g] + y1[g]).mean() / 2) for g in groups]
        rest = y0[body].min() + page.em / 2 if head and body.any() else None
        rest = y1[body].max() - page.em / 2 if not head and body.any() else rest
        gaps = [abs(b - a) for a, b in zip(middles, [*middles[1:], rest if rest is not None else np.inf], strict=False)]
        apart_from = max((i for i, gap in enumerate(gaps) if gap > 1.9 * page.em and i < 4), default=-1)
        for rank, group in enumerate(groups):
            text = " ".join([page.words[i] for i in group.tolist()])
            level = middles[rank] / page.height
            # What is larger than the text is a heading: `Part 1`, `Part 2` on the slides of a talk.
            large = float((y1[group] - y0[group]).max()) > _HEADING * page.em
            if len(text) <= 200 and not large:
                found.append((EdgeLine(page.page, level, text, rank, rank <= apart_from), group))
    return found


def _lines(page: Upright) -> list[Line]:
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
        firsts = np.fromiter((_ANY_UNSPACED.match(word) is not None for word in words), bool, n)
        lasts = np.fromiter((_ANY_UNSPACED.match(word[-1]) is not None for word in words), bool, n)
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
        Line(_CONTROL.sub("", text) if not text.isprintable() else text, *rest)
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
        return UNSPACED if _ANY_UNSPACED.match(first) else UNCASED
    return UNSPACED if first and _ANY_UNSPACED.match(first) else OTHER


def _ends(text: str) -> int:
    if text[-1:] in _TERMINAL:
        return TERMINAL
    return HYPHEN if ends_cut(text) else OPEN


def _join(pages: Sequence[Sequence[Line]], words: Counter[str]) -> Composed:
    """Lines to paragraphs, also over the ends of columns and pages."""
    done: list[str] = []  # finished pieces
    length = 0  # of what is finished
    current: list[str] = []  # pieces of the paragraph at work, to be joined as they are
    size = 0
    before: Line | None = None
    notes: list[str] = []  # footnotes that wait for the paragraph to end
    offsets = []
    for page in pages:
        first = True
        for line in page:
            if not line.text.strip():
                continue
            if line.note:
                _add_note(notes, line, words)
                continue
            goes_on = line.break_ == CONTINUES or (line.break_ == PART and before is not None and _flows(before, line))
            if before is None or not goes_on:
                if before is not None:
                    separator = "\n" if line.break_ == NEW_LINE and not notes else "\n\n"
                    done += [*current, *("\n\n" + note for note in notes), separator]
                    length += size + sum(len(note) + 2 for note in notes) + len(separator)
                    notes.clear()
                current, size = [], 0
                piece = line.text if line.fixed else line.text.lstrip()
                at = length
            else:
                last, text = current[-1], line.text.lstrip()
                if line.begins != BULLET and ends_cut(last):
                    joined = join_cut(last, text, words)
                    # What was written stays in its piece, so that the page's start can be told.
                    cut = len(joined) - len(text)
                    current[-1], piece = joined[:cut], joined[cut:]
                    size += len(current[-1]) - len(last)
                else:
                    piece = text if _touch(last[-1:], text[:1]) else " " + text
                at = length + size + len(piece) - len(text)
            if first:
                offsets.append(at)
                first = False
            current.append(piece)
            size += len(piece)
            before = line
        if first:
            offsets.append(-1)
    current += ["\n\n" * bool(current or i) + note for i, note in enumerate(notes)]
    text = "".join([*done, *current])
    for i in range(len(offsets) - 1, -1, -1):  # a page without text starts where the next one does
        if offsets[i] < 0:
            offsets[i] = offsets[i + 1] if i + 1 < len(offsets) else len(text)
    return Composed(text, offsets)


def _add_note(notes: list[str], line: Line, words: Counter[str]) -> None:
    """Add a line to the footnotes that are collected."""
    text = line.text.lstrip()
    if not notes or line.break_ != CONTINUES:
        notes.append(text)
    elif ends_cut(notes[-1]):
        notes[-1] = join_cut(notes[-1], text, words)
    else:
        notes[-1] += text if _touch(notes[-1][-1:], text[:1]) else " " + text


def _flows(before: Line, line: Line) -> bool:
    """Whether the first line of a column goes on with the sentence that the column before left open."""
    if before.fixed or line.fixed or line.begins == BULLET or before.ends == TERMINAL:
        return False
    if max(before.height, line.height) > 1.18 * min(before.height, line.height):
        return False
    if before.ends == HYPHEN or line.begins == LOWER:
        return before.full or line.begins == LOWER
    return before.full and line.begins in (UNCASED, UNSPACED)


def _touch(last: str, first: str) -> bool:
    """Whether two lines are put together without a space: both edges are of scripts that are written without."""
    return bool(last and first and _ANY_UNSPACED.match(last) and _ANY_UNSPACED.match(first))


def clean_title(title: str | None) -> str | None:
    """A title from the metadata on one line; null where it is none but the name of a file or a placeholder."""
    title = " ".join(_CONTROL.sub("", unicodedata.normalize("NFC", title or "")).split())
    if len(title) < 3 or not any(c.isalpha() for c in title) or "\ufffd" in title:
        return None
    if re.fullmatch(
        r"(?i)(untitled|document\d*|microsoft word - .*|.*\.(docx?|pdf|tex|indd|dvi|qxd|pptx?|xlsx?|rtf))", title
    ):
        return None
    return title

"""Pages of words in, the text of the document out: columns in order, running lines gone, paragraphs whole.

The document is looked at as a whole twice: for the lines it repeats on its pages, and for the words it uses, which
decide about hyphens. Everything else is done page by page (`upright`, `lines`).
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from stages.extract.pdf.columns import make_lines
from stages.extract.pdf.hyphens import ends_cut, join_cut, vocabulary
from stages.extract.pdf.lines import CONTROL, Line, page_lines
from stages.extract.pdf.page import PageText
from stages.extract.pdf.paragraphs import (
    BULLET,
    CONTINUES,
    HYPHEN,
    LOWER,
    NEW_LINE,
    PART,
    TERMINAL,
    UNCASED,
    UNSPACED,
)
from stages.extract.pdf.running import BAND, EdgeLine, running_lines
from stages.extract.pdf.upright import UNSPACED_LETTER, Upright, turn_upright

_HEADING = 1.25  # times the median height of words, from which a line is a heading


@dataclass
class Composed:
    """The text of a document, and where each page starts in it, in characters."""

    text: str
    offsets: list[int] = field(default_factory=list)


def compose(pages: Sequence[PageText], drop_running: bool = True) -> Composed:
    """The text of a document's pages, in which every word of them is to be kept."""
    upright = [turn_upright(page) for page in pages]
    if drop_running:
        upright = _without_running_lines(upright)
    lines = [page_lines(page) for page in upright]
    words = vocabulary(line.text for page in lines for line in page)
    return _join(lines, words)


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
    return bool(last and first and UNSPACED_LETTER.match(last) and UNSPACED_LETTER.match(first))


def clean_title(title: str | None) -> str | None:
    """A title from the metadata on one line; null where it is none but the name of a file or a placeholder."""
    title = " ".join(CONTROL.sub("", unicodedata.normalize("NFC", title or "")).split())
    if len(title) < 3 or not any(c.isalpha() for c in title) or "\ufffd" in title:
        return None
    if re.fullmatch(
        r"(?i)(untitled|document\d*|microsoft word - .*|.*\.(docx?|pdf|tex|indd|dvi|qxd|pptx?|xlsx?|rtf))", title
    ):
        return None
    return title

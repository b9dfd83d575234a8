"""A page turned so that its lines run from left to right and follow from top to bottom, whatever way it was written.

Columns and lines are worked out once, for such pages: turned tables, vertical Japanese and pages scanned on their side
need no rules of their own. What is printed twice on one place is taken out here as well.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stages.extract.pdf.page import MONO, PageText

# Scripts written without spaces between words: Thai, Lao, Myanmar, Khmer, Kana, Han, and the punctuation of the last.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u30ff\u31c0-\u31ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef"
    "\U0001b000-\U0001b16f\U00020000-\U0003ffff"
)
UNSPACED_LETTER = re.compile(f"[{_UNSPACED}]")
_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")
_STRAY_TURN = 80  # characters of words in another direction than the page's, below which they are left out
_STACKED = 0.5  # share of characters standing under the one before, from which a page is vertical


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


def is_right_to_left(words: Sequence[str]) -> bool:
    """Whether most letters belong to a script that is written from the right."""
    text = "".join(words)
    return not text.isascii() and len(_RIGHT_TO_LEFT.findall(text)) > 0.5 * sum(map(str.isalpha, text))


def turn_upright(page: PageText) -> Upright:
    """Turn a page's words to the direction of most of them; leave the few that run in another out."""
    n = len(page.words)
    boxes = page.boxes.T.astype(np.float64)
    words = page.words
    sizes = np.fromiter(map(len, words), np.int64, n)
    width, height = page.width, page.height
    turns = page.turns
    text = "".join(words)
    unspaced = not text.isascii() and UNSPACED_LETTER.search(text) is not None
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

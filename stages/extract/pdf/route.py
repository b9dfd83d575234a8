"""Decides for each page whether its text layer is its text, or a picture has to be read.

Reading a page's picture costs 500 to 3,000 times what its text layer costs, so the decision is made page by page: of
a report of 200 pages with two scanned annexes, two pages are read from pictures and not 200.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from stages.extract.pdf.legibility import Legibility
from stages.extract.pdf.page import BROKEN, ENOUGH, HIDDEN, UNSEEN, PageText

TEXT, HIDDEN_TEXT, EMPTY, FAILED = "text", "hidden", "empty", "failed"
#: Reasons for which a page is to be read from its picture.
NEEDS_PICTURE = ("scan", "outlines", "no_unicode", "wrong_characters", "bad_hidden_text")

#: Share of the page that images cover, from which it may be a scan; below which a page without text is empty.
SCAN, SPECK = 0.5, 0.02
#: Outlines from which a page without text holds drawn letters.
OUTLINES = 60
#: Share of visible words with characters the font gives no Unicode for.
NO_UNICODE = 0.1
#: Probability of being words, below which a page's text, or its hidden layer, is taken for garbage. A layer is held to
#: more: it was made by a program that guesses, and there is a picture to read instead. Of Han and Kana the model is
#: less sure: they have too many pairs to have seen them all.
LEGIBLE, LEGIBLE_LAYER, LEGIBLE_UNSPACED = 0.3, 0.5, 0.1
_UNSPACED = re.compile("[\u2e80-\u30ff\u3400-\u9fff\uf900-\ufaff]")
_BETWEEN = re.compile("(?<=[\u2e80-\u30ff\u3400-\u9fff\uf900-\ufaff]) ")


@dataclass(frozen=True)
class Route:
    """How a page is to be read: its status so far, why, and which of its words are its text, bool (n,)."""

    status: str
    reason: str | None
    words: np.ndarray


def route(page: PageText, legibility: Legibility) -> Route:
    """The route of a page, by what it shows and hides, and by whether that makes words."""
    nothing = np.zeros(len(page.words), bool)
    if page.error:
        return Route(FAILED, page.error, nothing)
    sizes = np.fromiter(map(len, page.words), np.int64, len(page.words))
    seen = page.flags & (HIDDEN | UNSEEN) == 0
    hidden = (page.flags & HIDDEN > 0) & (page.flags & UNSEEN == 0)
    shown, layer = int(sizes[seen].sum()), int(sizes[hidden].sum())
    scan = page.images >= SCAN
    if not shown and not layer:
        if page.images >= SPECK:
            return Route(FAILED, "scan", nothing)
        return Route(FAILED, "outlines", nothing) if page.paths >= OUTLINES else Route(EMPTY, None, nothing)
    if scan and layer > shown:
        if not _legible(page, seen | hidden, legibility, LEGIBLE_LAYER):
            return Route(FAILED, "bad_hidden_text", nothing)
        return Route(HIDDEN_TEXT, "scan", seen | hidden)
    if scan and shown < ENOUGH:  # a stamp, a page number, a library's notice
        return Route(FAILED, "scan", nothing)
    broken = page.flags & BROKEN > 0
    if sizes[seen & broken].sum() > NO_UNICODE * shown:
        return Route(FAILED, "no_unicode", nothing)
    if not shown:
        return Route(EMPTY, "only_hidden_text", nothing)
    if not _legible(page, seen, legibility, LEGIBLE):
        return Route(FAILED, "wrong_characters", nothing)
    return Route(TEXT, None, seen)


def _legible(page: PageText, words: np.ndarray, legibility: Legibility, needed: float) -> bool:
    """Whether the words of a mask are text."""
    text = " ".join([page.words[i] for i in np.flatnonzero(words).tolist()])
    if not text.isascii() and len(_UNSPACED.findall(text)) > 0.2 * len(text.replace(" ", "")):
        text, needed = _BETWEEN.sub("", text), LEGIBLE_UNSPACED
    return legibility.of(text) >= needed

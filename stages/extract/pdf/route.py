"""Decides for each page whether its text layer is its text, or a picture has to be read.

Reading a page's picture costs 500 to 3,000 times what its text layer costs, so the decision is made page by page: of
a report of 200 pages with two scanned annexes, two pages are read from pictures and not 200.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stages.extract.pdf.page import BROKEN, HIDDEN, UNSEEN, PageText

TEXT, HIDDEN_TEXT, EMPTY, FAILED = "text", "hidden", "empty", "failed"
#: Reasons for which a page is to be read from its picture.
NEEDS_PICTURE = ("scan", "outlines", "no_unicode", "wrong_characters", "bad_hidden_text")

#: Share of the page that images cover, from which it may be a scan; below which a page without text is empty.
SCAN, SPECK = 0.5, 0.02
#: Visible characters that a scan may have: a stamp, a page number, a library's notice.
STAMP = 150
#: Outlines from which a page without text holds drawn letters.
OUTLINES = 60
#: Share of visible words with characters the font gives no Unicode for.
NO_UNICODE = 0.1


@dataclass(frozen=True)
class Route:
    """How a page is to be read: its status so far, why, and which of its words are its text, bool (n,)."""

    status: str
    reason: str | None
    words: np.ndarray


def route(page: PageText) -> Route:
    """The route of a page, by what it shows and hides."""
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
        return Route(HIDDEN_TEXT, None, seen | hidden)
    if scan and shown < STAMP:
        return Route(FAILED, "scan", nothing)
    broken = page.flags & BROKEN > 0
    if sizes[seen & broken].sum() > NO_UNICODE * shown:
        return Route(FAILED, "no_unicode", nothing)
    if not shown:
        return Route(EMPTY, "only_hidden_text", nothing)
    return Route(TEXT, None, seen)

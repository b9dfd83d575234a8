"""What an engine says of one page: words with their boxes, and what it met that is no text.

The form that every backend fills in, so that columns, running headers and routing are worked out once for all of
them. Words and not characters: a page has some 400 of them, and no rule here looks inside a word's box. All values
are plain arrays, for a page crosses a pipe from the process that the engine runs in.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

HIDDEN = 1  # drawn in no colour (render mode 3), fully transparent, or in the font OCR programs hide text with
UNSEEN = 2  # drawn, but not to be seen: in the colour of what lies behind it, or off the page
BROKEN = 4  # holds characters the font gives no Unicode for
MONO = 8  # set in a font of fixed width: program code

#: TeX's fonts of before 2000 name no Unicode; engines then give their codes, where ligatures lie among the control
#: characters (encodings OT1 and T1).
LIGATURES = str.maketrans(
    dict(zip("\x0b\x0c\r\x0e\x0f\x1b\x1c\x1d\x1e\x1f", ("ff", "fi", "fl", "ffi", "ffl") * 2, strict=True))
)

#: Visible characters from which a page is text whatever images lie behind it, if it hides fewer; backends need not look
#: for images there.
ENOUGH = 150


@dataclass
class PageText:
    """The words of a page in the order of its content stream.

    number: counted from 0. width, height: in points, before the page is turned for display.
    boxes: float32 (n, 4): left, top, right, bottom, origin at the top left.
    words: n strings without white space. lines: int32 (n,), the line that the engine put the word in.
    turns: uint8 (n,), quarter turns clockwise that the word's writing direction is off the page's. flags: uint8 (n,).
    images: share of the page that images cover, 0 to 1. paths: number of filled outlines. Both are 0 where the backend
    did not look (see ENOUGH).
    error: why the page could not be read; null if it was.
    """

    number: int
    width: float = 0.0
    height: float = 0.0
    boxes: np.ndarray = field(default_factory=lambda: np.empty((0, 4), np.float32))
    words: list[str] = field(default_factory=list)
    lines: np.ndarray = field(default_factory=lambda: np.empty(0, np.int32))
    turns: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint8))
    flags: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint8))
    images: float = 0.0
    paths: int = 0
    error: str | None = None

    def keep(self, mask: np.ndarray) -> PageText:
        """The page with only the words of a boolean mask."""
        if mask.all():
            return self
        return PageText(
            self.number,
            self.width,
            self.height,
            self.boxes[mask],
            [self.words[i] for i in np.flatnonzero(mask).tolist()],
            self.lines[mask],
            self.turns[mask],
            self.flags[mask],
            self.images,
            self.paths,
            self.error,
        )


@dataclass
class Opened:
    """What an engine says of a document before any page is read.

    pages: number of pages. title: as the document's metadata has it. repaired: whether its cross-reference table had
    to be rebuilt. problem: why it cannot be read (`encrypted`, `broken`), null if it can.
    """

    pages: int = 0
    title: str | None = None
    repaired: bool = False
    problem: str | None = None
    detail: str | None = None

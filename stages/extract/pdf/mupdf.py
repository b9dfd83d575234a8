"""Reads pages with MuPDF. PyMuPDF is licensed under the AGPL; this is the one module that imports it.

MuPDF is the fastest engine that gives words with boxes, and copes with the most damage. Three of its habits matter.
`TEXT_CID_FOR_UNKNOWN_UNICODE`, on by default, turns a font without a Unicode map into plausible garbage; off, the
same page is U+FFFD throughout, which can be told. `sort=True` interleaves columns and takes ten times as long: the
order here is worked out from the boxes (`columns`). And it has no notion of what can be seen: text in white is
looked up in the page's pixels, which are rendered for pages that have any.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from curation.errors import error_text
from stages.extract.pdf.page import BROKEN, ENOUGH, HIDDEN, LIGATURES, MONO, UNSEEN, Opened, PageText
from stages.extract.pdf.visible import PROBE_SIDE, WHITE, shows

_LIGATURE = re.compile("[\x0b-\x0f\x1b-\x1f]")
_SPACES = re.compile("[ \t\n\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+")
_DRAWN = 16 | 32  # character flags: filled, stroked
_FIXED = 8  # font flag: fixed width
_HIDING_FONTS = ("GlyphLessFont", "HiddenHorzOCR", "InvisibleOCR")


class Document:
    """A document opened by MuPDF."""

    def __init__(self, content: bytes, password: str = "") -> None:
        import pymupdf

        pymupdf.TOOLS.mupdf_display_errors(False)
        pymupdf.TOOLS.mupdf_display_warnings(False)
        self._pdf: Any = None
        self.opened = Opened()
        self._flags = pymupdf.TEXT_PRESERVE_WHITESPACE | pymupdf.TEXT_MEDIABOX_CLIP
        try:
            document = pymupdf.open(stream=content, filetype="pdf")
        except Exception as error:
            self.opened = Opened(problem="broken", detail=error_text(error, 200))
            return
        if not document.is_pdf:
            self.opened = Opened(problem="not_pdf")
            return
        if document.needs_pass and not document.authenticate(password):
            self.opened = Opened(problem="encrypted")
            return
        try:
            pages = document.page_count
            title = (document.metadata or {}).get("title") or None
        except Exception as error:
            self.opened = Opened(problem="broken", detail=error_text(error, 200))
            return
        self._pdf = document
        self.opened = Opened(pages, title, bool(document.is_repaired), None if pages else "no_pages")

    def page(self, number: int) -> PageText:
        """The words of a page. A page that the engine cannot read comes back with its error."""
        try:
            return self._page(number)
        except MemoryError:
            raise
        except Exception as error:
            return PageText(number, error=error_text(error, 200))

    def _page(self, number: int) -> PageText:
        page = self._pdf.load_page(number)
        if page.rotation:
            page.set_rotation(0)  # lines run as the text does, however the page is shown
        text = page.get_textpage(self._flags)
        spans = text.extractDICT()
        rows = _with_ligatures(text.extractWORDS(), spans)
        width, height = page.rect.width, page.rect.height
        if not rows:
            images, paths = _marks(page, width, height)
            return PageText(number, width, height, images=images, paths=paths)
        left, top, right, bottom, words, block, line, _ = zip(*rows, strict=True)
        boxes = np.array((left, top, right, bottom), np.float32).T.copy()
        lines = np.array(block, np.int64) * (1 << 16) + np.array(line, np.int64)
        turns, flags, white = _spans(spans, boxes, lines)
        flags[[i for i, word in enumerate(words) if "\ufffd" in word]] |= BROKEN
        off = (boxes[:, 2] <= 0) | (boxes[:, 0] >= width) | (boxes[:, 3] <= 0) | (boxes[:, 1] >= height)
        flags[off] |= UNSEEN
        white &= ~off
        if white.any():
            flags[np.flatnonzero(white)[~shows(*_grey(page, PROBE_SIDE), boxes[white])]] |= UNSEEN
        # The page is interpreted a second time for its images, 1.5 ms, only where they could be the page.
        sizes = np.fromiter(map(len, words), np.int64, len(words))
        plain = int(sizes[flags & (HIDDEN | UNSEEN | BROKEN) == 0].sum())
        images, paths = (0.0, 0) if plain > max(ENOUGH, int(sizes.sum()) - plain) else _marks(page, width, height)
        _, lines = np.unique(lines, return_inverse=True)
        return PageText(number, width, height, boxes, list(words), lines.astype(np.int32), turns, flags, images, paths)

    def render(self, number: int, longest_side: int, turns: int = 0) -> tuple[int, int, bytes]:
        """A page in grey levels: width and height in pixels, and one byte a pixel.

        The scale is chosen before anything is drawn, so a page of any size costs at most `longest_side` squared.
        """
        grey, _ = _grey(self._pdf.load_page(number), longest_side, turns)
        return grey.shape[1], grey.shape[0], grey.tobytes()


def _grey(page: Any, longest_side: int, turns: int = 0) -> tuple[np.ndarray, float]:
    """Grey levels (height, width) of a page, and pixels per point."""
    import pymupdf

    scale = longest_side / max(page.rect.width, page.rect.height, 1.0)
    matrix = pymupdf.Matrix(scale, scale).prerotate(90 * turns)
    pixels = page.get_pixmap(matrix=matrix, colorspace=pymupdf.csGRAY, alpha=False)
    grey = np.frombuffer(pixels.samples_mv, np.uint8).reshape(pixels.height, pixels.stride)
    return np.ascontiguousarray(grey[:, : pixels.width]), scale


def _spans(page: dict[str, Any], boxes: np.ndarray, lines: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Turns, flags and whiteness of words, from the spans of the lines they stand in."""
    turns = np.zeros(len(lines), np.uint8)
    flags = np.zeros(len(lines), np.uint8)
    white = np.zeros(len(lines), bool)
    for block in page["blocks"]:
        for i, line in enumerate(block.get("lines", ())):
            odd = [span for span in line["spans"] if _kind(span)]
            x, y = line["dir"]
            turn = 0 if x > abs(y) else 1 if y >= abs(x) else 3 if -y >= abs(x) else 2
            if not odd and not turn:
                continue
            mine = np.flatnonzero(lines == block["number"] * (1 << 16) + i)
            turns[mine] = turn if not line["wmode"] else 0
            for span in odd:
                left, top, right, bottom = span["bbox"]
                x, y = (boxes[mine, 0] + boxes[mine, 2]) / 2, (boxes[mine, 1] + boxes[mine, 3]) / 2
                inside = mine[(x >= left) & (x <= right) & (y >= top) & (y <= bottom)]
                kind = _kind(span)
                flags[inside] |= kind & ~UNSEEN
                white[inside] = kind & UNSEEN > 0
    return turns, flags, white


def _with_ligatures(rows: list[tuple], page: dict[str, Any]) -> list[tuple]:
    """The words, with ligatures that the engine took for white space put back and their words made whole."""
    broken: dict[tuple[int, int], list[str]] = {}
    for block in page["blocks"]:
        for i, line in enumerate(block.get("lines", ())):
            if not all(span["text"].isprintable() for span in line["spans"]):
                text = "".join(span["text"] for span in line["spans"])
                if _LIGATURE.search(text):
                    broken[block["number"], i] = [part for part in _SPACES.split(text) if part]
    if not broken:
        return rows
    result: list[tuple] = []
    pieces: list[str] = []  # of the line at work, still to come
    current, rest = (-1, -1), ""
    for row in rows:
        place = row[5:7]
        if place not in broken:
            result.append(row)
            continue
        if place != current:
            current, pieces, rest = place, broken[place].copy(), ""
        if rest:  # the row goes on with the word before it
            before = result[-1]
            box = (min(before[0], row[0]), min(before[1], row[1]), max(before[2], row[2]), max(before[3], row[3]))
            result[-1] = (*box, *before[4:])
            rest = rest[len(row[4]) :]
            continue
        whole = pieces.pop(0) if pieces else row[4]
        result.append((*row[:4], whole.translate(LIGATURES), *row[5:]))
        rest = _LIGATURE.sub("", whole)[len(row[4]) :]
    return result


def _kind(span: dict[str, Any]) -> int:
    """Flags of a span; UNSEEN means white, to be looked up in the pixels."""
    kind = MONO if span["flags"] & _FIXED else 0
    if not span["char_flags"] & _DRAWN or span["alpha"] == 0 or span["font"] in _HIDING_FONTS:
        return kind | HIDDEN
    colour = span["color"]
    return kind | (UNSEEN if min(colour >> 16 & 255, colour >> 8 & 255, colour & 255) >= WHITE else 0)


def _marks(page: Any, width: float, height: float) -> tuple[float, int]:
    """Share of the page that images cover, and the number of filled outlines.

    Scans come in strips, so boxes are counted on a grid and not added up.
    """
    grid = np.zeros((32, 32), bool)
    paths = 0
    for kind, (left, top, right, bottom) in page.get_bboxlog():
        if kind == "fill-path":
            paths += 1
        elif kind in ("fill-image", "fill-imgmask", "clip-imgmask"):
            x0, x1 = round(32 * max(left, 0) / width), round(32 * min(right, width) / width)
            y0, y1 = round(32 * max(top, 0) / height), round(32 * min(bottom, height) / height)
            if x1 > x0 and y1 > y0:
                grid[y0:y1, x0:x1] = True
    return float(grid.mean()), paths

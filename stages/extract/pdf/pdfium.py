"""Reads pages with PDFium (pypdfium2, BSD-3-Clause and Apache-2.0): the permissive engine, and the one for Hebrew
and Arabic, whose text it gives in the order in which it is read.

PDFium speaks of characters, one call each, and a page has thousands. So the text is asked for as a whole, cut at its
white space, and only the first and last character of each word are asked for their boxes: 1 ms a page instead of 7.
"""

from __future__ import annotations

import ctypes
import re
from typing import Any

import numpy as np

from curation.errors import error_text
from stages.extract.pdf.page import BROKEN, HIDDEN, LIGATURES, UNSEEN, Opened, PageText
from stages.extract.pdf.visible import PROBE_SIDE, WHITE, shows

_WORD = re.compile("[^ \t\r\n\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+")
_NEW_LINE = re.compile(r"[\r\n]")
_MOST_OBJECTS = 20_000  # page objects that are looked at for images
_INVISIBLE = (3, 7)  # text render modes: neither filled nor stroked
_ERRORS = {3: "broken", 4: "encrypted", 5: "encrypted"}  # FPDF_ERR_FORMAT, _PASSWORD, _SECURITY


class Document:
    """A document opened by PDFium."""

    def __init__(self, content: bytes, password: str = "") -> None:
        import pypdfium2
        import pypdfium2.raw as raw

        self.opened = Opened()
        self._pdf: Any = None
        self._raw = raw
        try:
            self._pdf = pypdfium2.PdfDocument(content, password=password or None)
            pages = len(self._pdf)
            title = self._pdf.get_metadata_value("Title") or None
        except pypdfium2.PdfiumError as error:
            problem = _ERRORS.get(getattr(error, "err_code", None) or 3, "broken")
            self.opened = Opened(problem=problem, detail=str(error).replace("\n", " ")[:200])
            return
        self.opened = Opened(pages, title, False, None if pages else "no_pages")

    def page(self, number: int) -> PageText:
        """The words of a page. A page that the engine cannot read comes back with its error."""
        try:
            return self._page(number)
        except MemoryError:
            raise
        except Exception as error:
            return PageText(number, error=error_text(error, 200))

    def _page(self, number: int) -> PageText:
        raw = self._raw
        page = self._pdf[number]
        page.set_rotation(0)  # lines run as the text does, however the page is shown
        text = page.get_textpage()
        try:
            width, height = page.get_size()
            origin, _, _, above = page.get_bbox()
            images, paths = self._marks(page, origin, above, width, height)
            characters = text.get_text_range(errors="replace")
            words, marks = [], []
            line, last = 0, 0
            box = raw.FS_RECTF()
            colour = [ctypes.c_uint() for _ in range(4)]
            for match in _WORD.finditer(characters):
                if _NEW_LINE.search(characters, last, match.start()):
                    line += 1
                last = match.end()
                word = match[0].replace("\ufffe", "-").replace("\x02", "-").translate(LIGATURES).strip("\0")
                if not word:
                    continue
                begin = raw.FPDFText_GetCharIndexFromTextIndex(text, match.start())
                end = raw.FPDFText_GetCharIndexFromTextIndex(text, match.end() - 1)
                corners = []
                for index in (begin, end):
                    if raw.FPDFText_GetLooseCharBox(text, index, box):
                        corners.append((box.left, box.top, box.right, box.bottom))
                if not corners:
                    continue
                flag = 0
                drawn = raw.FPDFText_GetTextObject(text, begin)
                if drawn and raw.FPDFTextObj_GetTextRenderMode(drawn) in _INVISIBLE:
                    flag |= HIDDEN
                elif raw.FPDFText_GetFillColor(text, begin, *colour):
                    if colour[3].value == 0:
                        flag |= HIDDEN
                    elif min(part.value for part in colour[:3]) >= WHITE:
                        flag |= UNSEEN
                if "\ufffd" in word:
                    flag |= BROKEN
                angle = raw.FPDFText_GetCharAngle(text, begin)
                turn = round(-angle / (np.pi / 2)) % 4 if angle >= 0 else 0
                left, top, right, bottom = zip(*corners, strict=True)
                words.append(word)
                box_ = (min(left) - origin, above - max(top), max(right) - origin, above - min(bottom))
                marks.append((*box_, line, turn, flag))
        finally:
            text.close()
        if not words:
            return PageText(number, width, height, images=images, paths=paths)
        columns = np.array(marks, np.float64)
        boxes = columns[:, :4].astype(np.float32)
        flags = columns[:, 6].astype(np.uint8)
        off = (boxes[:, 2] <= 0) | (boxes[:, 0] >= width) | (boxes[:, 3] <= 0) | (boxes[:, 1] >= height)
        white = np.flatnonzero((flags & UNSEEN > 0) & ~off)
        if len(white):
            flags[white[shows(*_grey(page, PROBE_SIDE), boxes[white])]] &= ~np.uint8(UNSEEN)
        flags[off] |= UNSEEN
        lines, turns = columns[:, 4].astype(np.int32), columns[:, 5].astype(np.uint8)
        return PageText(number, width, height, boxes, words, lines, turns, flags, images, paths)

    def _marks(self, page: Any, origin: float, above: float, width: float, height: float) -> tuple[float, int]:
        """Share of the page that images cover, on a grid, and the number of paths among the objects looked at."""
        raw = self._raw
        grid = np.zeros((32, 32), bool)
        paths = 0
        left, bottom, right, top = (ctypes.c_float() for _ in range(4))
        for i in range(min(raw.FPDFPage_CountObjects(page), _MOST_OBJECTS)):
            thing = raw.FPDFPage_GetObject(page, i)
            kind = raw.FPDFPageObj_GetType(thing)
            if kind == raw.FPDF_PAGEOBJ_PATH:
                paths += 1
            elif kind == raw.FPDF_PAGEOBJ_IMAGE or (kind == raw.FPDF_PAGEOBJ_FORM and self._holds_image(thing)):
                if not raw.FPDFPageObj_GetBounds(thing, left, bottom, right, top):
                    continue
                x0, x1 = (max(0, round(32 * (x.value - origin) / width)) for x in (left, right))
                y0, y1 = (max(0, round(32 * (above - y.value) / height)) for y in (top, bottom))
                grid[y0:y1, x0:x1] = True
        return float(grid.mean()), paths

    def _holds_image(self, form: Any) -> bool:
        raw = self._raw
        return any(
            raw.FPDFPageObj_GetType(raw.FPDFFormObj_GetObject(form, i)) == raw.FPDF_PAGEOBJ_IMAGE
            for i in range(min(raw.FPDFFormObj_CountObjects(form), 100))
        )

    def render(self, number: int, longest_side: int, turns: int = 0) -> tuple[int, int, bytes]:
        """A page in grey levels: width and height in pixels, and one byte a pixel.

        The scale is chosen before anything is drawn, so a page of any size costs at most `longest_side` squared.
        """
        grey, _ = _grey(self._pdf[number], longest_side, turns)
        return grey.shape[1], grey.shape[0], grey.tobytes()


def _grey(page: Any, longest_side: int, turns: int = 0) -> tuple[np.ndarray, float]:
    """Grey levels (height, width) of a page, and pixels per point."""
    scale = longest_side / max(*page.get_size(), 1.0)
    bitmap = page.render(scale=scale, rotation=90 * turns, grayscale=True)
    grey = np.array(bitmap.to_numpy())
    return np.ascontiguousarray(grey[:, :, 0] if grey.ndim == 3 else grey), scale

"""Writes chosen lines of a page as plain text or as Markdown.

Plain text has a line for every paragraph, heading, item and table row (cells between tabulators); items begin with a
bullet, preformatted text is kept to the character. Markdown marks headings, fences code, and writes rows of cells
between bars with a rule under the first. Links, images and emphasis are left out of both: their words stay.

The trade-off: the lines come from resiliparse's reduced HTML, which has forgotten the numbers of numbered lists and
the emphasis; what is left can be written in one pass over the chosen bytes.
"""

from __future__ import annotations

import re
from html import unescape

import numpy as np
from numba import njit

from stages.extract.line_features import CHARS, CODE, H1, ITEM, MAIN, TABLE, Lines

#: Probability of code that lies in what the rule of `places` takes for main text.
SURE = 0.95

#: Least probability of a table that lies there. From 0 to 0.6 the F1 stays the same; cells are worth having.
LIKELY = 0.6

_TAG = re.compile("<[^<>]*>|[\U000f0000-\U0010ffff]")  # and marks (`marks`)
_MARKS = re.compile("[\U000f0000-\U0010ffff]+")
_BEFORE_PRE = re.compile(r"[ \t]*(?=<pre)")
_CELLS = re.compile(r"[ \xa0]*\t[\s\xa0]*")


def without_marks(text: str) -> str:
    """Text without the marks that `marks` puts into a page."""
    return _MARKS.sub("", text)


@njit(nogil=True, cache=True)
def _without_tags(
    page: np.ndarray, start: np.ndarray, end: np.ndarray, chosen: np.ndarray, out: np.ndarray, indents: np.ndarray
) -> int:
    """Write the chosen lines without tags and marks, a NUL between any two, and note how many spaces each begins with.
    Returns the length of the output."""
    to = 0
    for k in range(len(chosen)):
        at, stop = start[chosen[k]], end[chosen[k]]
        first = at
        while first < stop and page[first] == 32:
            first += 1
        indents[k] = first - at
        if k:
            out[to] = 0
            to += 1
        while at < stop:
            byte = page[at]
            if byte == 60:
                behind = at + 1
                while behind < stop and page[behind] != 62 and page[behind] != 60:
                    behind += 1
                if behind < stop and page[behind] == 62:
                    at = behind + 1
                    continue
            elif byte >= 0xF3 and (byte > 0xF3 or (at + 1 < stop and page[at + 1] >= 0xB0)):
                at += 4
                continue
            elif byte == 0:
                at += 1
                continue
            out[to] = byte
            to += 1
            at += 1
    return to


def render(page: bytes, lines: Lines, keep: np.ndarray, markdown: bool) -> str:
    """The lines of reduced HTML for which the boolean array `keep` is true."""
    chosen = np.flatnonzero(keep)
    if not len(chosen):
        return ""
    buffer, indents = np.empty(len(page) + len(chosen), np.uint8), np.empty(len(chosen), np.int64)
    length = _without_tags(np.frombuffer(page, np.uint8), lines.start, lines.end, chosen, buffer, indents)
    texts = buffer[:length].tobytes().decode("utf-8", "replace")
    if "&" in texts:
        texts = unescape(texts)
    begins, ends, kinds = lines.start[chosen].tolist(), lines.end[chosen].tolist(), lines.kind[chosen].tolist()
    spaces = indents.tolist()
    out: list[str] = []
    last, before, behind = -1, -1, 0  # number, kind and end of the line written last
    for i, (k, text) in enumerate(zip(chosen.tolist(), texts.split("\0"), strict=True)):
        kind = kinds[i]
        starts = False
        if kind == CODE:
            raw = page[begins[i] : ends[i]].decode("utf-8", "replace")
            starts = before != CODE or last != k - 1 or "<pre" in raw
        if out:
            if markdown and before == CODE and (kind != CODE or starts):
                out.append("\n```")
            items = kind == before == ITEM  # tags of inner lists may lie between two items
            adjacent = last == k - 1 and (items or begins[i] - behind <= 1)
            out.append("\n" if adjacent and not starts and not kind >= H1 else "\n\n")
        if kind == CODE:
            if starts and (block := _BEFORE_PRE.match(raw)):  # a table cell's tabulators
                text = unescape(_TAG.sub("", raw[block.end() :]))
            text = text.rstrip("\n") if "</pre" in raw else text
            out.append(f"```\n{text}" if markdown and starts else text)
        elif kind == TABLE:
            cells = _CELLS.sub("\t", text.strip())
            if markdown:
                row = cells.replace("|", "\\|").split("\t")
                out.append(f"| {' | '.join(row)} |")
                if before != TABLE or last != k - 1:
                    out.append("\n|" + " --- |" * len(row))
            else:
                out.append(cells)
        elif kind == ITEM:
            out.append(" " * max(spaces[i] - 2, 0) + ("- " if markdown else "• ") + text.strip())
        else:
            out.append("#" * (kind - H1 + 1) + " " + text.strip() if markdown and kind >= H1 else text.strip())
        last, before, behind = k, kind, ends[i]
    if markdown and before == CODE:
        out.append("\n```")
    return "".join(out)


@njit(nogil=True, cache=True)
def _whole(
    kind: np.ndarray, start: np.ndarray, end: np.ndarray, chars: np.ndarray, main: np.ndarray, out: np.ndarray
) -> None:
    k, n = 0, len(out)
    while k < n:
        last = k + 1
        if kind[k] == CODE or kind[k] == TABLE:
            while last < n and kind[last] == kind[k] and start[last] - end[last - 1] <= 1:
                last += 1
            size = likely = kept = 0.0
            for j in range(k, last):
                size += chars[j]
                likely += chars[j] * out[j]
                kept += chars[j] * main[j]
            likely /= size
            if kept > 0.5 * size:
                likely = max(likely, SURE if kind[k] == CODE else LIKELY)
            for j in range(k, last):
                out[j] = likely
        k = last


def whole_blocks(lines: Lines, probability: np.ndarray) -> np.ndarray:
    """Probabilities in which the lines of one block of code, or of one table, share their mean by characters: half a
    block is worth less than none. Code and tables that the rule keeps count as main text."""
    out = probability.astype(np.float64)
    _whole(lines.kind, lines.start, lines.end, lines.features[:, CHARS], lines.features[:, MAIN], out)
    return out

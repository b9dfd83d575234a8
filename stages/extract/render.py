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

from stages.extract.main_lines import CHARS, CODE, H1, ITEM, MAIN, TABLE, Lines

#: Probability of code that lies in what resiliparse takes for main text.
SURE = 0.95

#: Least probability of a table that lies there. From 0 to 0.6 the F1 stays the same; cells are worth having.
LIKELY = 0.6

_TAG = re.compile("<[^<>]*>|[\U000f0000-\U0010ffff]")  # and marks (`places`)
_MARKS = re.compile("[\U000f0000-\U0010ffff]+")
_BEFORE_PRE = re.compile(r"[ \t]*(?=<pre)")
_CELLS = re.compile(r"[ \xa0]*\t[\s\xa0]*")


def without_marks(text: str) -> str:
    """Text without the marks that `places` puts into a page."""
    return _MARKS.sub("", text)


def render(page: bytes, lines: Lines, keep: np.ndarray, markdown: bool) -> str:
    """The lines of reduced HTML for which the boolean array `keep` is true."""
    out: list[str] = []
    last, before = -1, -1  # number and kind of the line written last
    begins, ends, kinds = lines.start.tolist(), lines.end.tolist(), lines.kind.tolist()
    for k in np.flatnonzero(keep).tolist():
        kind = kinds[k]
        raw = page[begins[k] : ends[k]].decode("utf-8", "replace")
        text = _TAG.sub("", raw)
        if "&" in text:
            text = unescape(text)
        starts = kind == CODE and (before != CODE or last != k - 1 or "<pre" in raw)
        if out:
            if markdown and before == CODE and (kind != CODE or starts):
                out.append("\n```")
            items = kind == before == ITEM  # tags of inner lists may lie between two items
            adjacent = last == k - 1 and (items or begins[k] - ends[last] <= 1)
            out.append("\n" if adjacent and not (starts and kind == CODE) and not kind >= H1 else "\n\n")
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
            indent = max(len(raw) - len(raw.lstrip(" ")) - 2, 0)
            out.append(" " * indent + ("- " if markdown else "• ") + text.strip())
        else:
            out.append("#" * (kind - H1 + 1) + " " + text.strip() if markdown and kind >= H1 else text.strip())
        last, before = k, kind
    if markdown and before == CODE:
        out.append("\n```")
    return "".join(out)


def whole_blocks(lines: Lines, probability: np.ndarray) -> np.ndarray:
    """Probabilities in which the lines of one block of code, or of one table, share their mean by characters: half a
    block is worth less than none. Code and tables that resiliparse's rule keeps count as main text."""
    out = probability.copy()
    k, n = 0, len(out)
    while k < n:
        end = k + 1
        kind = lines.kind[k]
        if kind in (CODE, TABLE):
            while end < n and lines.kind[end] == kind and lines.start[end] - lines.end[end - 1] <= 1:
                end += 1
            chars = lines.features[k:end, CHARS]
            out[k:end] = np.average(probability[k:end], weights=chars)
            if np.average(lines.features[k:end, MAIN], weights=chars) > 0.5:
                out[k:end] = np.maximum(out[k:end], SURE if kind == CODE else LIKELY)
        k = end
    return out

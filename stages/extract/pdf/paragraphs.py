"""Tells where a paragraph ends, which lines are rows of a table, and what stands between two words of a line.

A PDF has no paragraphs, only lines at places. What a reader sees as a paragraph shows in distances: more space above,
an indent or its opposite, a last line that ends early, another type size. All of them are measured against what is
usual in the same part of the page (its median line pitch, its edges), because leading and indents differ from
document to document and no constant fits two of them.
"""

from __future__ import annotations

import numpy as np
from numba import njit

# How a line follows the one before it.
CONTINUES, NEW_LINE, PARAGRAPH, PART = 0, 1, 2, 3
# What a line starts with, and ends with.
OTHER, LOWER, UPPER, DIGIT, UNCASED, UNSPACED, BULLET = 0, 1, 2, 3, 4, 5, 6
OPEN, TERMINAL, HYPHEN = 0, 1, 2
#: What stands before a word: so many spaces, or the end of a table cell.
CELL = 255

_CELL_GAP = 1.3  # ems between two words that make two cells of them, if other rows have them too
_ROW_GAP = 0.7  # ems between two words of a line that is a row for other reasons
_ALIGNED = 0.6  # ems by which the edges of cells under each other may differ
_MORE_SPACE = 1.3  # times the usual pitch
_OTHER_SIZE = 1.18  # times the height of the line before


@njit(nogil=True, cache=True)
def measure_lines(order, line_of, part, x0, y0, x1, y1, weight, mono):
    """Where lines start in the order, and their measures.

    mono: bool (n,), whether a word is set in a font of fixed width; weight: characters of a word.

    Returns starts, int64 (m + 1,); measures, float64 (m, 5): left, right, middle, height of the words (mean by
    characters), width of a character if all words are of fixed width, else 0; parts, int32 (m,).
    """
    n = len(order)
    m = line_of[n - 1] + 1 if n else 0
    starts = np.zeros(m + 1, np.int64)
    measures = np.zeros((m, 5))
    parts = np.zeros(m, np.int32)
    i = 0
    for line in range(m):
        starts[line] = i
        parts[line] = part[i]
        left, right, top, height, characters, inked = 1e30, -1e30, 0.0, 0.0, 0, 0.0
        fixed = True
        while i < n and line_of[i] == line:
            word = order[i]
            left, right = min(left, x0[word]), max(right, x1[word])
            height += weight[word] * (y1[word] - y0[word])
            top += weight[word] * (y1[word] + y0[word]) / 2
            inked += x1[word] - x0[word]
            characters += weight[word]
            fixed = fixed and mono[word]
            i += 1
        characters = max(characters, 1)
        measures[line] = (left, right, top / characters, height / characters, inked / characters if fixed else 0.0)
    starts[m] = i
    return starts, measures, parts


@njit(nogil=True, cache=True)
def word_gaps(order, starts, measures, x0, x1, unspaced_first, unspaced_last, em):
    """What stands before each word of a line, uint8 (n,) by place in the order: so many spaces, or CELL where the gap
    is as wide as between two cells.

    unspaced_first, unspaced_last: bool (n,), whether a word begins and ends with a character of a script that is
    written without spaces.
    """
    gaps = np.zeros(len(order), np.uint8)
    for line in range(len(starts) - 1):
        for i in range(starts[line] + 1, starts[line + 1]):
            a, b = order[i - 1], order[i]
            gap = max(x0[b] - x1[a], x0[a] - x1[b])
            if measures[line, 4] > 0:
                gaps[i] = min(60, max(1, int(gap / measures[line, 4] + 0.5)))
            elif gap > _CELL_GAP * em:
                gaps[i] = CELL
            elif unspaced_last[a] and unspaced_first[b]:
                gaps[i] = gap > 0.35 * em
            elif unspaced_last[a] or unspaced_first[b]:
                gaps[i] = gap > 0.12 * em
            else:
                gaps[i] = 1
    return gaps


@njit(nogil=True, cache=True)
def table_rows(order, starts, measures, parts, gaps, x0, x1, em):
    """Which lines are rows of a table, bool (m,): two or more cells, and a neighbour with cells under or above them.

    In a row, smaller gaps part cells as well. The gaps of lines that are no rows become single spaces.
    """
    m = len(starts) - 1
    rows = np.zeros(m, np.bool_)
    for line in range(m - 1):
        if parts[line] != parts[line + 1] or measures[line + 1, 2] - measures[line, 2] > 4 * em:
            continue
        aligned = 0
        for i in range(starts[line] + 1, starts[line + 1]):
            if gaps[i] != CELL:
                continue
            for j in range(starts[line + 1] + 1, starts[line + 2]):
                if gaps[j] != CELL:
                    continue
                left = abs(x0[order[i]] - x0[order[j]]) < _ALIGNED * em
                right = abs(x1[order[i]] - x1[order[j]]) < _ALIGNED * em
                centre = abs(x0[order[i]] + x1[order[i]] - x0[order[j]] - x1[order[j]]) < _ALIGNED * em
                if left or right or centre:
                    aligned += 1
                    break
        if aligned:
            rows[line] = rows[line + 1] = True
    for line in range(m):
        for i in range(starts[line] + 1, starts[line + 1]):
            if not rows[line] and gaps[i] == CELL:
                gaps[i] = 1
            elif rows[line] and max(x0[order[i]] - x1[order[i - 1]], x0[order[i - 1]] - x1[order[i]]) > _ROW_GAP * em:
                gaps[i] = CELL
    return rows


@njit(nogil=True, cache=True)
def line_breaks(measures, parts, rows, leaders, begins, ends, em, mirrored, width):
    """How each line follows the one before, uint8 (m,), and whether it runs to the edge of its part, bool (m,).

    rows: whether a line is a row of a table. leaders: whether it has dots that lead to a page number.
    begins, ends: what the lines begin and end with. mirrored: whether lines start at the right; width: of the page.
    """
    m = len(parts)
    breaks = np.zeros(m, np.uint8)
    full = np.zeros(m, np.bool_)
    left = np.empty(m)
    right = np.empty(m)
    for i in range(m):
        left[i] = width - measures[i, 1] if mirrored else measures[i, 0]
        right[i] = width - measures[i, 0] if mirrored else measures[i, 1]
    usual = 1.25 * em
    s = 0
    while s < m:
        e = s
        while e < m and parts[e] == parts[s]:
            e += 1
        edge = np.sort(right[s:e])[min(e - s - 1, int(0.9 * (e - s)))]
        start = left[s:e].min()
        if e - s >= 4:
            pitches = np.sort(measures[s + 1 : e, 2] - measures[s : e - 1, 2])
            usual = pitches[int(0.4 * len(pitches))]
        at_start = 0
        for i in range(s, e):
            at_start += left[i] - start < 0.5 * em
            full[i] = right[i] > edge - 1.0 * em
        indents = 2 * at_start >= e - s
        breaks[s] = PART
        for i in range(s + 1, e):
            pitch = measures[i, 2] - measures[i - 1, 2]
            taller, smaller = max(measures[i, 3], measures[i - 1, 3]), min(measures[i, 3], measures[i - 1, 3])
            short = edge - right[i - 1]
            indented, indented_before = left[i] - start > 0.7 * em, left[i - 1] - start > 0.7 * em
            if pitch > _MORE_SPACE * usual + 0.1 * em:
                breaks[i] = PARAGRAPH
            elif (
                rows[i]
                or leaders[i]
                or (measures[i, 4] > 0 and measures[i - 1, 4] > 0)
                or rows[i - 1]
                or leaders[i - 1]
                or (measures[i, 4] > 0) != (measures[i - 1, 4] > 0)
            ):
                breaks[i] = NEW_LINE
            elif taller > _OTHER_SIZE * smaller:
                breaks[i] = PARAGRAPH
            elif begins[i] == BULLET:
                breaks[i] = NEW_LINE
            elif ends[i - 1] == HYPHEN:
                breaks[i] = CONTINUES
            elif (
                (indents and indented and (not indented_before or ends[i - 1] == TERMINAL) and begins[i] != LOWER)
                or (not indents and not indented and indented_before and begins[i] != LOWER)
                or (begins[i] == UNSPACED and short > 1.5 * em and ends[i - 1] == TERMINAL)
            ):
                breaks[i] = PARAGRAPH
            elif short > 0.3 * (edge - start) and (begins[i] != LOWER or ends[i - 1] == TERMINAL):
                breaks[i] = NEW_LINE if ends[i - 1] != TERMINAL else PARAGRAPH
        s = e
    return breaks, full

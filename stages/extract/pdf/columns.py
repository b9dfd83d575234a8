"""Works out the order in which the words of a page are read: columns first, then lines.

Engines give words in the order in which they were drawn, and many writers draw a two-column page row by row; the
text then jumps between columns on every line. The boxes tell better. A page is cut by the rule of the recursive XY-cut
(Nagy and Seth 1984), at word level: where rows of words leave the same gutter free over several rows, the page is cut
above, at the gutter, and below, and each part is treated alike. Gutters are looked for on a grid of rows and narrow
bins, so that a title or figure across both columns ends a gutter and does not hide it (as in Breuel's 2002 search for
white rectangles).

The danger is a table: its columns are not to be read one by one. Two sides are columns of text only if on both the rows
are filled with words, as prose is and cells are not; the thresholds are shares of widths, not of points, so that they
hold for any size of page.

Everything here is compiled and sees boxes only. Words that run in another direction are the caller's to take out.
"""

from __future__ import annotations

import numpy as np
from numba import njit

#: A gutter is at least this wide, in ems (median word heights; a word's box is about 1.2 times the type size).
GUTTER = 0.6
FREE = 3  # quarters of it that must be free: any gutter of that width leaves as many, wherever the grid lies
#: Rows that must have words on both sides of a gutter, and for one that is narrower than `WIDE` ems.
ROWS, ROWS_NARROW, WIDE = 4, 6, 1.0
#: Or as many rows, where the gutter is wide and rows have so many characters: the last lines of an article.
ROWS_LONG, LONG = 2, 25.0
#: Characters on each side; wide ones (Han, Kana, Hangul) count twice.
CHARACTERS = 50
#: Characters of a side's rows, on average; share of a side's width that its rows span; share of rows that is ink.
ROW_CHARACTERS, FILLED, INK = 11.0, 0.3, 0.62
_DEPTH = 4096  # parts that may wait to be cut


@njit(nogil=True, cache=True)
def _rows(order, low, high, y0, y1, em, row_of):
    """Number the rows of words order[low:high], from the top; words in a row overlap in height. Returns the count.

    order[low:high] is put in order of height; row_of[i] is the row of word i.
    """
    part = order[low:high]
    middle = np.empty(high - low, np.float64)
    for i in range(high - low):
        middle[i] = (y0[part[i]] + y1[part[i]]) / 2
    ranks = np.argsort(middle, kind="mergesort")
    order[low:high] = part[ranks].copy()
    row, bottom = -1, -1e30
    for i in range(low, high):
        word = order[i]
        shrink = 0.2 * (y1[word] - y0[word])
        if y0[word] + shrink >= bottom:
            row += 1
            bottom = y1[word] - shrink
        else:
            # A glyph of several lines' height must not bind them together.
            bottom = max(bottom, min(y1[word] - shrink, y0[word] + 1.5 * em))
        row_of[word] = row
    return row + 1


@njit(nogil=True, cache=True)
def _is_prose(order, low, high, x0, y0, x1, y1, weight, em):
    """Whether the words order[low:high] of one side of a gutter, sorted from the top, are rows of prose."""
    begin, end = 1e30, -1e30
    characters = 0
    for i in range(low, high):
        word = order[i]
        begin, end = min(begin, x0[word]), max(end, x1[word])
        characters += weight[word]
    if characters < CHARACTERS or end <= begin:
        return False
    rows, spans, ink = 0, 0.0, 0.0
    i = low
    while i < high:
        # The rows of this side alone: those of both sides may have been taken for one where they are not level.
        middle = (y0[order[i]] + y1[order[i]]) / 2
        row_begin, row_end = 1e30, -1e30
        while i < high and (y0[order[i]] + y1[order[i]]) / 2 - middle < 0.5 * em:
            word = order[i]
            row_begin, row_end = min(row_begin, x0[word]), max(row_end, x1[word])
            ink += x1[word] - x0[word] + 0.25 * em
            i += 1
        rows += 1
        spans += row_end - row_begin
    return (
        characters / rows >= ROW_CHARACTERS and spans / rows >= FILLED * (end - begin) and ink >= INK * max(spans, 1e-9)
    )


@njit(nogil=True, cache=True)
def _gutter(order, low, high, x0, y0, x1, y1, weight, row_of, rows, em):
    """The longest gutter in a part: (first row, row behind the last, its middle), or a first row of -1."""
    begin, end = 1e30, -1e30
    for i in range(low, high):
        begin, end = min(begin, x0[order[i]]), max(end, x1[order[i]])
    step = 0.25 * GUTTER * em
    bins = min(int((end - begin) / step) + 1, 2000)
    best_first, best_last, best_x, best_score = -1, -1, 0.0, 0.0
    if bins < 20:
        return best_first, best_last, best_x
    step = max(step, (end - begin) / bins)
    covered = np.zeros((rows, bins), np.bool_)
    first = np.full(rows, bins, np.int32)
    last = np.full(rows, -1, np.int32)
    # Rows that are not level in two columns run into one; so rows count by their height.
    top_of = np.full(rows, 1e30)
    bottom_of = np.full(rows, -1e30)
    for i in range(low, high):
        word = order[i]
        b0 = min(bins - 1, max(0, int((x0[word] - begin) / step)))
        b1 = min(bins - 1, max(b0, int((x1[word] - begin) / step)))
        row = row_of[word]
        top_of[row], bottom_of[row] = min(top_of[row], y0[word]), max(bottom_of[row], y1[word])
        for b in range(b0, b1 + 1):
            covered[row, b] = True
        first[row], last[row] = min(first[row], b0), max(last[row], b1)
    for b in range(1, bins - FREE):
        row = 0
        while row < rows:
            # A run of rows that leave the bins from b on free, and the height of those with words on both sides.
            top, score = row, 0.0
            while row < rows:
                free = True
                for k in range(FREE):
                    if covered[row, b + k]:
                        free = False
                        break
                if not free:
                    break
                if first[row] < b and last[row] >= b + FREE:
                    score += bottom_of[row] - top_of[row]
                row += 1
            if score > best_score:
                edge = b + FREE  # how wide the gutter is over these rows
                while edge < bins:
                    free = True
                    for r in range(top, row):
                        if covered[r, edge]:
                            free = False
                            break
                    if not free:
                        break
                    edge += 1
                x = begin + (b + edge) / 2 * step
                width = (edge - b) * step
                if _parts(order, low, high, x0, y0, x1, y1, weight, row_of, em, top, row, x, width):
                    best_score, best_first, best_last, best_x = score, top, row, x
            row += 1
    return best_first, best_last, best_x


@njit(nogil=True, cache=True)
def _parts(order, low, high, x0, y0, x1, y1, weight, row_of, em, top, bottom_row, x, width):
    """Whether the gutter at x, of this width, parts the words of rows [top, bottom_row) into two columns of prose."""
    sides = np.empty((2, high - low), np.int64)
    count = np.zeros(2, np.int64)
    for i in range(low, high):
        word = order[i]
        if top <= row_of[word] < bottom_row:
            side = 0 if (x0[word] + x1[word]) / 2 < x else 1
            sides[side, count[side]] = word
            count[side] += 1
    wide = width >= WIDE * em
    for side in range(2):
        lines, bottom, characters = 0, -1e30, 0
        for i in range(count[side]):
            word = sides[side, i]
            characters += weight[word]
            middle = (y0[word] + y1[word]) / 2
            if middle - bottom > 0.5 * em:
                lines += 1
                bottom = middle
        needed = ROWS if wide else ROWS_NARROW
        if wide and characters >= LONG * lines:
            needed = ROWS_LONG
        if lines < needed:
            return False
        if not _is_prose(sides[side], 0, count[side], x0, y0, x1, y1, weight, em):
            return False
    return True


@njit(nogil=True, cache=True)
def reading_order(x0, y0, x1, y1, weight, em, right_to_left):
    """The order in which words are read, and the part of the page each belongs to.

    x0, y0, x1, y1: float64 (n,), boxes with the origin at the top left. weight: int32 (n,), characters.
    em: median height of a box. right_to_left: whether columns follow each other from the right.

    Returns order, int64 (n,), and part, int32 (n,), by place in the order: parts are read one after another, and the
    words of a part are in no order that matters yet.
    """
    n = len(x0)
    order = np.arange(n)
    part = np.zeros(n, np.int32)
    row_of = np.zeros(n, np.int32)
    buffer = np.empty(n, np.int64)
    lows = np.empty(_DEPTH, np.int64)
    highs = np.empty(_DEPTH, np.int64)
    lows[0], highs[0] = 0, n
    waiting, parts = 1, 0
    while waiting:
        waiting -= 1
        low, high = lows[waiting], highs[waiting]
        if low >= high:
            continue
        first, last, x = -1, -1, 0.0
        if high - low >= 12 and waiting + 5 < _DEPTH:
            rows = _rows(order, low, high, y0, y1, em, row_of)
            first, last, x = _gutter(order, low, high, x0, y0, x1, y1, weight, row_of, rows, em)
        if first < 0:
            for i in range(low, high):
                part[i] = parts
            parts += 1
            continue
        # Above, left, right, below; put on the stack the other way round.
        sizes = np.zeros(4, np.int64)
        at = np.zeros(4, np.int64)
        for turn in range(2):
            for i in range(low, high):
                word = order[i]
                if row_of[word] < first:
                    group = 0
                elif row_of[word] >= last:
                    group = 3
                else:
                    group = 1 if ((x0[word] + x1[word]) / 2 < x) != right_to_left else 2
                if turn == 0:
                    sizes[group] += 1
                else:
                    buffer[at[group]] = word
                    at[group] += 1
            if turn == 0:
                at[0] = low
                for group in range(1, 4):
                    at[group] = at[group - 1] + sizes[group - 1]
        order[low:high] = buffer[low:high]
        for group in range(3, -1, -1):
            if sizes[group]:
                lows[waiting] = at[group] - sizes[group]
                highs[waiting] = at[group]
                waiting += 1
    return order, part


@njit(nogil=True, cache=True)
def make_lines(order, part, x0, y0, x1, y1, em, as_drawn):
    """Put the words of each part in lines, from top to bottom, and the words of a line in order.

    order, part: as from `reading_order`; order is changed in place. as_drawn: int64 (n,), a word's place in the content
    stream where words of a line keep that order (right to left), else an empty array: they then go from left to right.

    Returns line, int32 (n,), by place in the order: the number of the line, counted over all parts.
    """
    n = len(order)
    line_of = np.zeros(n, np.int32)
    line = -1
    low = 0
    while low < n:
        high = low
        while high < n and part[high] == part[low]:
            high += 1
        middles = np.empty(high - low, np.float64)
        for i in range(low, high):
            middles[i - low] = (y0[order[i]] + y1[order[i]]) / 2
        ranks = np.argsort(middles, kind="mergesort")
        order[low:high] = order[low:high][ranks].copy()
        start = low
        while start < high:
            # A line is a run of words whose middles lie within half a line's height of the tallest ordinary word.
            top = order[start]
            height = min(max(y1[top] - y0[top], 0.5 * em), 1.5 * em)
            centre = (y0[top] + y1[top]) / 2
            end = start + 1
            while end < high:
                word = order[end]
                own = min(max(y1[word] - y0[word], 0.5 * em), 1.5 * em)
                if (y0[word] + y1[word]) / 2 - centre > 0.45 * max(height, own):
                    break
                if own > height:  # a footnote mark came first: the words set the line
                    height, centre = own, (y0[word] + y1[word]) / 2
                end += 1
            line += 1
            keys = np.empty(end - start, np.float64)
            for i in range(start, end):
                keys[i - start] = as_drawn[order[i]] if len(as_drawn) else x0[order[i]]
                line_of[i] = line
            order[start:end] = order[start:end][np.argsort(keys, kind="mergesort")].copy()
            start = end
        low = high
    return line_of

"""Compiled passes over lines of text: which line it is, whatever its digits and punctuation, and the text without some.

A line is compared by one 64-bit hash of what `words.py` folds it to: its words in lower case, without accents, one
boundary between two words, and every run of digits as one zero, so that "3 comments" is "12 Comments." The hash is
salted with the scope (the host) the line is counted in: one number says both, and one sort brings equal ones together.

Not every line is hashed. Lines within fenced code (CommonMark 0.31, section 4.5) and indented code (a tab or four
spaces, section 4.4) are code, where a repeated line is no accident; a line with fewer than two letters ("}", "1.2.3",
"* * *") says nothing by itself; a long one is a paragraph.

Trade-off: the lines of a document are hashed a second time when they are removed, which only documents with something
to remove pay for; the alternative is to keep 8 bytes and a place for each line of the corpus. At 64 bits, of 10^12
lines some 30,000 pairs share a hash; a line is harmed only if its twin is one that its own host repeats.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from stages.dedup.words import PLACE, SEVERAL, decode

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_START = np.uint64(0x51ED270B7A2F4C91)
_SHIFT = np.uint64(29)
_FINAL = np.uint64(0xFF51AFD7ED558CCD)

NEWLINE, SPACE, TAB, RETURN, BACKTICK, TILDE, ZERO = 10, 32, 9, 13, 0x60, 0x7E, 0x30

#: What a line is to the rewriting pass.
OWN, BLANK, REPEATED = 0, 1, 2


@njit(nogil=True, cache=True)
def line_hash(data, start, end, table, scope, max_characters):
    """Hash of the line data[start:end], or 0 if it has fewer than two letters or more than `max_characters`."""
    if end - start > 4 * max_characters:
        return np.uint64(0)
    h = _START
    letters = 0
    characters = 0
    boundary = False
    after_digit = False
    some = False
    i = start
    while i < end:
        characters += 1
        if data[i] < 128:
            folded = table[data[i]]
            i += 1
        else:
            code, i = decode(data, i, end)
            folded = table[code]
        if folded == 1:
            continue
        if folded == 0:
            boundary = True
            after_digit = False
            continue
        own = folded >> np.uint32(31)
        if (boundary or own) and some:
            h = (h ^ np.uint64(SPACE)) * _MULTIPLIER
            h ^= h >> _SHIFT
        boundary = own != 0
        if folded == ZERO:
            if after_digit:
                continue
            after_digit = True
        else:
            after_digit = False
            if folded >= 128 or (folded >= 97 and folded <= 122):
                letters += 1
        some = True
        if not own and folded >= SEVERAL:
            place = folded & PLACE
            while table[place] != 0:
                h = (h ^ np.uint64(table[place])) * _MULTIPLIER
                h ^= h >> _SHIFT
                letters += 1
                place += np.uint32(1)
            letters -= 1
            continue
        h = (h ^ np.uint64(folded)) * _MULTIPLIER
        h ^= h >> _SHIFT
    if letters < 2 or characters > max_characters:
        return np.uint64(0)
    h = (h ^ scope) * _FINAL
    h ^= h >> np.uint64(32)
    h *= _MULTIPLIER
    h ^= h >> _SHIFT
    return h if h != np.uint64(0) else np.uint64(1)


@njit(nogil=True, cache=True, inline="always")
def line_end(data, i, end):
    """Where the line at `i` ends: the next newline, or the end of the text."""
    while i < end and data[i] != NEWLINE:
        i += 1
    return i


@njit(nogil=True, cache=True)
def is_blank(data, start, end):
    """Whether a line has nothing but ASCII white space."""
    for i in range(start, end):  # noqa: SIM110 - numba does not compile all() over a generator
        if data[i] != SPACE and not (data[i] >= TAB and data[i] <= RETURN):
            return False
    return True


@njit(nogil=True, cache=True)
def fence(data, start, end, opened):
    """The code fence that is open after this line, and whether the line belongs to code.

    opened: 0 outside of code, else the length of the opening fence, negative if it is of tildes.
    """
    i = start
    while i < end and i - start < 4 and data[i] == SPACE:
        i += 1
    indent = i - start
    mark = data[i] if i < end else 0
    length = 0
    if indent < 4 and mark in (BACKTICK, TILDE):
        while i < end and data[i] == mark:
            i += 1
            length += 1
    if opened == 0:
        if length >= 3:
            # A fence of backticks has none after it: ```x``` is code within a line.
            for j in range(i, end):
                if mark == BACKTICK and data[j] == BACKTICK:
                    return 0, False
            return (length if mark == BACKTICK else -length), True
        return 0, indent == 4 or (i < end and data[i] == TAB)
    if length >= abs(opened) and (opened > 0) == (mark == BACKTICK) and is_blank(data, i, end):
        return 0, True
    return opened, True


@njit(nogil=True, cache=True)
def distinct_lines(data, offsets, scopes, table, max_characters, hashes, starts):
    """Distinct line hashes of each text, increasing, into `hashes`; `starts[d]` is where those of text d begin.

    data, offsets: Arrow's buffers. scopes: uint64 per text. `hashes` must have room for every line.
    """
    count = 0
    for d in range(offsets.size - 1):
        first = count
        opened = 0
        i = offsets[d]
        end = offsets[d + 1]
        while i < end:
            stop = line_end(data, i, end)
            opened, is_code = fence(data, i, stop, opened)
            if not is_code and stop > i:
                h = line_hash(data, i, stop, table, scopes[d], max_characters)
                if h != np.uint64(0):
                    hashes[count] = h
                    count += 1
            i = stop + 1
        if count > first + 1:
            hashes[first:count].sort()
            last = first
            for j in range(first + 1, count):
                if hashes[j] != hashes[last]:
                    last += 1
                    hashes[last] = hashes[j]
            count = last + 1
        starts[d + 1] = count


@njit(nogil=True, cache=True)
def count_newlines(data, start, end):
    """Newlines in data[start:end]."""
    count = 0
    for i in range(start, end):
        count += data[i] == NEWLINE
    return count


@njit(nogil=True, cache=True)
def _classify(data, start, end, table, scope, max_characters, remove, kinds, ends):
    """OWN, BLANK or REPEATED for each line of a text, and where it ends; the number of lines."""
    opened = 0
    count = 0
    i = start
    while i <= end:
        stop = line_end(data, i, end)
        opened, is_code = fence(data, i, stop, opened)
        kind = OWN
        if is_blank(data, i, stop):
            kind = OWN if opened != 0 else BLANK
        elif not is_code:
            h = line_hash(data, i, stop, table, scope, max_characters)
            place = np.searchsorted(remove, h)
            if place < remove.size and remove[place] == h:
                kind = REPEATED
        kinds[count] = kind
        ends[count] = stop
        count += 1
        i = stop + 1
    return count


@njit(nogil=True, cache=True)
def _spare_short_runs(kinds, count, min_run, margin):
    """Make lines OWN again that stand, fewer than `min_run` together, after more than `margin` lines of the text's own
    and before more than `margin` of them."""
    after = 0
    for k in range(count):
        after += kinds[k] == OWN
    before = 0
    k = 0
    while k < count:
        if kinds[k] == OWN:
            before += 1
            after -= 1
        if kinds[k] != REPEATED:
            k += 1
            continue
        first = k
        run = 0
        while k < count and kinds[k] != OWN:
            run += kinds[k] == REPEATED
            k += 1
        if before > margin and after > margin and run < min_run:
            for j in range(first, k):
                if kinds[j] == REPEATED:
                    kinds[j] = OWN


@njit(nogil=True, cache=True)
def _write(data, start, kinds, ends, count, out, at):
    """Copy a text without its REPEATED lines; returns where it ends in `out`, and how many lines were left out.

    Where lines go, the longest run of blank lines around them stays; before the first line and after the last, none.
    """
    begin = at
    removed = 0
    written = False  # a line of the text, or blank ones that stood before it all
    gap = start  # where the blank lines since the last line that was written begin
    cut = False  # whether a line was left out since
    blanks = 0
    longest = 0
    i = start
    for k in range(count):
        stop = ends[k]
        if kinds[k] == BLANK:
            blanks += 1
            longest = max(longest, blanks)
        elif kinds[k] == REPEATED:
            cut = True
            blanks = 0
            removed += 1
        else:
            first = i
            if not cut:
                first = gap
            elif written:
                for _ in range(longest):
                    out[at] = NEWLINE
                    at += 1
            if written:
                out[at] = NEWLINE
                at += 1
            for j in range(first, stop):
                out[at] = data[j]
                at += 1
            written = True
            gap = stop + 1
            cut = False
            blanks = 0
            longest = 0
        i = stop + 1
    if not cut and gap <= ends[count - 1]:  # blank lines at the end, where nothing was left out
        if written:
            out[at] = NEWLINE
            at += 1
        for j in range(gap, ends[count - 1]):
            out[at] = data[j]
            at += 1
    return (at, removed) if removed else (begin, 0)


@njit(nogil=True, cache=True)
def remove_lines(data, offsets, scopes, table, max_characters, min_run, margin, remove, starts, out, ends, removed):
    """Write the texts again without the lines whose hashes are `remove[starts[d] : starts[d + 1]]` (increasing).

    out: as many bytes as the texts have. ends: where each text ends in it. removed: lines taken out of each. A text
    from which no line goes is copied as it is.
    """
    at = 0
    kinds = np.empty(1024, np.uint8)
    places = np.empty(1024, np.int64)
    for d in range(offsets.size - 1):
        start = offsets[d]
        end = offsets[d + 1]
        lines = 0
        if starts[d + 1] > starts[d] and end > start:
            most = count_newlines(data, start, end) + 1
            if most > kinds.size:
                kinds = np.empty(2 * most, np.uint8)
                places = np.empty(2 * most, np.int64)
            mine = remove[starts[d] : starts[d + 1]]
            count = _classify(data, start, end, table, scopes[d], max_characters, mine, kinds, places)
            _spare_short_runs(kinds, count, min_run, margin)
            to, lines = _write(data, start, kinds, places, count, out, at)
        if lines:
            at = to
        else:
            out[at : at + end - start] = data[start:end]
            at += end - start
        removed[d] = lines
        ends[d] = at


@njit(nogil=True, cache=True)
def host_hashes(data, offsets, out):
    """Hash of the host (with a port that is not the usual one) of each canonical URL; 0 for an empty one."""
    for d in range(offsets.size - 1):
        i = offsets[d]
        end = offsets[d + 1]
        out[d] = 0
        if i == end:
            continue
        for j in range(i, end - 2):  # ftp://host
            if data[j] == 0x2F:
                break
            if data[j] == 0x3A and data[j + 1] == 0x2F and data[j + 2] == 0x2F:
                i = j + 3
                break
        h = _START
        while i < end and data[i] != 0x2F and data[i] != 0x3F and data[i] != 0x23:
            h = (h ^ np.uint64(data[i])) * _MULTIPLIER
            h ^= h >> _SHIFT
            i += 1
        out[d] = h if h != np.uint64(0) else np.uint64(1)

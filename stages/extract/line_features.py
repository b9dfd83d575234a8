"""Reads the lines of a page's visible text, and what the model of `main_lines` looks at to tell main text.

Lines are read from resiliparse's reduced HTML of the whole page (`minimal_html`), which tells headings, items, tables
and code apart. Of each line count its length, links, punctuation, kind and position, whether a rule takes it for main
content, the same of its neighbours and of windows around it, what the page is like, and where the text stands in the
page's elements (`places`). Features speak of characters and places, never of the words of a text, so that they mean the
same in every language.

The trade-off: one pass over the bytes and no tree, so a line is what resiliparse puts on one.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from stages.extract.html_tags import wrapped
from stages.extract.marks import FIRST
from stages.extract.places import MAKE, PLACE_FEATURES

# What a line is.
TEXT, PARAGRAPH, ITEM, IN_LIST, CODE, TABLE, H1 = range(7)  # H1 + 1 is a second-level heading, and so on

# Columns of the lines' own features. MAIN is how much of the line the rule keeps, 0 to 1.
(
    _KIND,
    CHARS,
    _WORDS,
    _LINKED,
    _LINKS,
    _PUNCTUATION,
    _ENDS,
    _DIGITS,
    _UPPER,
    MAIN,
    _REPEATED,
    _PLACE,
    _PLACE_LINES,
    _NESTED,
    _PER_WORD,
    _WORD_LENGTH,
) = range(16)
OWN = 16
_NEIGHBOURS = (1, -1, 2, -2)
_SHARED = (_KIND, CHARS, _LINKED, _PUNCTUATION, MAIN)
_WINDOWS = (3, 8, 20)
PLACED = OWN + len(_NEIGHBOURS) * len(_SHARED) + 5 * len(_WINDOWS) + 6 + 8  # from here on what `places` knows
FEATURES = PLACED + PLACE_FEATURES
MAKE_AT = PLACED + MAKE  # how much text stands in blocks of the same make


class Lines(NamedTuple):
    """The lines of a page's reduced HTML that show something."""

    start: np.ndarray  # int64, bytes
    end: np.ndarray  # int64, bytes
    kind: np.ndarray  # int64, TEXT to H1 + 5
    features: np.ndarray  # float32, (lines, FEATURES)


@njit(nogil=True, cache=True)
def _tag(page: np.ndarray, at: int) -> tuple[int, int, bool]:
    """Where the tag at `at` ends, its name as a number of up to four letters, and whether it closes; (at, 0, _) if
    it is none."""
    i = at + 1
    closing = i < len(page) and page[i] == 47
    i += closing
    name = 0
    while i < len(page) and (97 <= page[i] <= 122 or 48 <= page[i] <= 57):
        name = (name << 8 | page[i]) & 0xFFFFFFFF
        i += 1
    if name == 0:
        return at, 0, closing
    quote = False
    while i < len(page) and (quote or page[i] != 62):
        quote ^= page[i] == 34
        i += 1
    return min(i + 1, len(page)), name, closing


@njit(nogil=True, cache=True)
def _mix(digest: int, byte: int) -> int:
    return wrapped(digest ^ byte, 1099511628211, 0) & 0x7FFFFFFFFFFFFFFF


@njit(nogil=True, cache=True)
def _in_digest(byte: int) -> bool:
    """Letters, digits and everything outside of ASCII; punctuation is written differently in the two renderings."""
    return byte >= 128 or 48 <= byte <= 57 or 65 <= byte <= 90 or 97 <= byte <= 122


@njit(nogil=True, cache=True)
def _entity(page: np.ndarray, at: int) -> int:
    """Length of the character reference at `at`, 1 if there is none. Only what the rendering escapes."""
    for i in range(at + 1, min(at + 7, len(page))):
        if page[i] == 59:
            return i - at + 1
        if not 97 <= page[i] <= 122:
            return 1
    return 1


@njit(nogil=True, cache=True)
def _mark(page: np.ndarray, at: int) -> int:
    """The number of the mark at `at` (`marks`), -1 if there is none. Marks are four bytes long."""
    if (page[at] == 0xF3 and at + 3 < len(page) and page[at + 1] >= 0xB0) or (page[at] == 0xF4 and at + 3 < len(page)):
        bits = (page[at] & 7) << 18 | (page[at + 1] & 63) << 12 | (page[at + 2] & 63) << 6 | page[at + 3] & 63
        return bits - FIRST
    return -1


@njit(nogil=True, cache=True)
def _marks(text: np.ndarray, kept: np.ndarray) -> int:
    """Note the pieces of text whose marks are in an extractor's output, and count its characters."""
    chars = at = 0
    while at < len(text):
        byte = text[at]
        number = _mark(text, at) if byte >= 0xF3 else -1
        if number >= 0:
            if number < len(kept):
                kept[number] = True
            at += 4
            continue
        chars += byte > 32 and byte & 0xC0 != 0x80
        at += 1
    return chars


@njit(nogil=True, cache=True)
def _read(
    page: np.ndarray, kept: np.ndarray, own: np.ndarray, spans: np.ndarray, hashes: np.ndarray, pieces: np.ndarray
) -> int:
    """Own features, bytes, hashes and main pieces of the lines of a page in reduced HTML; how many there are."""
    n, i, length = 0, 0, len(page)
    nested, in_code, in_link, waiting = 0, False, False, -1
    piece, of_main = -1, False
    while i < length:
        begin, kind, tab, linked, links = i, -1, False, 0, 0
        chars = words = punctuation = digits = upper = main = of_piece = most = 0
        in_word, ends = False, False
        digest, longest = 1469598103934665603, piece
        code = in_code
        while i < length and page[i] != 10:
            byte = page[i]
            if byte == 60:
                end, name, closing = _tag(page, i)
                if name:
                    if name == 0x61:  # a
                        in_link = not closing
                        links += in_link
                    elif name in (0x756C, 0x6F6C):  # ul, ol
                        nested += -1 if closing else 1
                    elif name == 0x707265:  # pre
                        in_code = not closing
                        code = True
                    elif not closing and name == 0x70:
                        kind = PARAGRAPH if kind < 0 else kind
                    elif name == 0x6C69:
                        kind = kind if closing else ITEM
                    elif 0x6831 <= name <= 0x6836:
                        kind = kind if closing else H1 + name - 0x6831
                    i = end
                    continue
            if byte >= 0xF3:
                number = _mark(page, i)
                if number >= 0:
                    piece, of_piece = number, 0
                    of_main = number < len(kept) and kept[number]
                    i += 4
                    continue
            step = 1
            if byte == 38:
                step = _entity(page, i)
            if byte in (32, 9, 13) or (byte == 0xC2 and i + 1 < length and page[i + 1] == 0xA0):
                tab |= byte == 9 and chars > 0
                in_word = False
                i += 2 if byte == 0xC2 else 1
                continue
            if byte & 0xC0 != 0x80:  # the first byte of a character
                chars += 1
                linked += in_link
                main += of_main
                of_piece += 1
                if of_piece > most:
                    most, longest = of_piece, piece
                words += not in_word
                in_word = True
                wide = byte == 0xE3 and i + 2 < length and page[i + 1] == 0x80 and page[i + 2] in (0x81, 0x82)
                if byte == 0xEF and i + 2 < length and page[i + 1] == 0xBC:
                    wide = page[i + 2] in (0x81, 0x8C, 0x9A, 0x9B, 0x9F)
                full = byte in (46, 33, 63) or wide
                punctuation += full or byte in (44, 58, 59)
                ends = full or byte in (34, 58) or (byte == 0xE2 and i + 2 < length and page[i + 2] in (0x9D, 0xA6))
                digits += 48 <= byte <= 57
                upper += 65 <= byte <= 90
            if step == 1 and _in_digest(byte):
                digest = _mix(digest, byte)
            i += step
        if kind < 0:
            kind = waiting
        waiting = -1
        if chars:
            if code:
                kind = CODE
            elif kind < 0:
                kind = TABLE if tab else IN_LIST if nested > 0 else TEXT
            row = own[n]
            row[_KIND], row[CHARS], row[_WORDS], row[_LINKS] = kind, chars, words, links
            row[_LINKED], row[MAIN] = linked / chars, main / chars
            row[_PUNCTUATION], row[_ENDS] = punctuation, ends
            row[_DIGITS], row[_UPPER], row[_NESTED] = digits / chars, upper / chars, nested
            row[_PER_WORD], row[_WORD_LENGTH] = punctuation / words, chars / words
            spans[n, 0], spans[n, 1], hashes[n], pieces[n] = begin, i, digest, longest
            n += 1
        elif not code:  # the block's text begins on the next line
            waiting = kind
        elif in_code and n:  # a blank line of code belongs to it; it is written with the line before
            spans[n - 1, 1] = i
        i += 1
    return n


@njit(nogil=True, cache=True)
def _count(hashes: np.ndarray, n: int, own: np.ndarray) -> None:
    """How often each line occurs."""
    order = np.argsort(hashes[:n])
    k = 0
    while k < n:
        j = k
        while j < n and hashes[order[j]] == hashes[order[k]]:
            j += 1
        for m in range(k, j):
            own[order[m], _REPEATED] = j - k
        k = j


@njit(nogil=True, cache=True)
def sums(values: np.ndarray) -> np.ndarray:
    out = np.zeros(len(values) + 1, np.float64)
    for k in range(len(values)):
        out[k + 1] = out[k] + values[k]
    return out


@njit(nogil=True, cache=True)
def _context(own: np.ndarray, n: int, pieces: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Own features with those of the neighbours, of windows around the line, of the page, and of the line's place."""
    out = np.zeros((n, FEATURES), np.float32)
    if n == 0:
        return out
    chars = own[:n, CHARS].astype(np.float64)
    words = chars * (1 - own[:n, _LINKED])
    all_chars, all_words = chars.sum(), words.sum() + 1e-9
    cs, ws = sums(chars), sums(words)
    ms, ps = sums(chars * own[:n, MAIN]), sums(own[:n, _PUNCTUATION].astype(np.float64))
    ls = sums(np.minimum(chars, 2000.0))
    long = (own[:n, _PUNCTUATION] >= 2) & (own[:n, _LINKED] < 0.3) & (chars > 60)
    first_h1, first_main, last_main = -1, -1, -1
    paragraphs = items = 0.0
    for k in range(n):
        if own[k, _KIND] == H1 and first_h1 < 0:
            first_h1 = k
        if own[k, MAIN] > 0.5:
            first_main = k if first_main < 0 else first_main
            last_main = k
        paragraphs += chars[k] * (own[k, _KIND] == PARAGRAPH)
        items += own[k, _KIND] == ITEM
    long_before, long_after = -1000, np.full(n, 999)
    nearest = -1
    for k in range(n - 1, -1, -1):
        if long[k]:
            nearest = k
        long_after[k] = nearest - k if nearest >= 0 else 999
    page = (
        ms[n] / all_chars,
        all_chars,
        paragraphs / all_chars,
        items / n,
        float(n),
        all_words / all_chars,
        long.mean(),
        (chars * long).sum() / all_chars,
    )
    for k in range(n):
        row = out[k]
        for c in range(OWN):
            row[c] = own[k, c]
        row[_PLACE], row[_PLACE_LINES] = cs[k] / all_chars, k / n
        c = OWN
        for d in _NEIGHBOURS:
            for column in _SHARED:
                row[c] = own[k - d, column] if 0 <= k - d < n else -1
                c += 1
        for size in _WINDOWS:
            a, b = max(k - size, 0), min(k + size + 1, n)
            total = cs[b] - cs[a] + 1e-9
            row[c], row[c + 1] = ws[b] - ws[a], (ws[b] - ws[a]) / total
            row[c + 2], row[c + 3] = (ms[b] - ms[a]) / total, (ps[b] - ps[a]) / total
            row[c + 4] = (ls[b] - ls[a]) / (2 * size + 1)
            c += 5
        row[c] = ws[k + 1] / all_words
        row[c + 1] = min(k - long_before, 999)
        row[c + 2] = long_after[k]
        row[c + 3] = k - first_h1 if first_h1 >= 0 else -999
        row[c + 4] = k - first_main if first_main >= 0 else -999
        row[c + 5] = last_main - k if first_main >= 0 else -999
        c += 6
        for value in page:
            row[c] = value
            c += 1
        if 0 <= pieces[k] < len(places):
            for j in range(PLACE_FEATURES):
                row[c + j] = places[pieces[k], j]
        if long[k]:
            long_before = k
    return out


def kept_pieces(main: bytes, pieces: int) -> tuple[np.ndarray, int]:
    """Which of a page's pieces of text, as a boolean array, are in an extractor's output, made from the page with
    marks; and the output's characters."""
    kept = np.zeros(pieces, np.bool_)
    return kept, _marks(np.frombuffer(main, np.uint8), kept)


def read_lines(page: bytes, kept: np.ndarray, places: np.ndarray) -> Lines:
    """The lines of a page in reduced HTML and what the model looks at.

    page: made from a page with marks. kept, bool, (pieces,): what a rule takes for main content. places, float32,
    (pieces, PLACE_FEATURES): where the pieces stand.
    """
    most = page.count(b"\n") + 1
    own, spans = np.zeros((most, OWN), np.float32), np.zeros((most, 2), np.int64)
    hashes, pieces = np.zeros(most, np.int64), np.zeros(most, np.int64)
    n = _read(np.frombuffer(page, np.uint8), kept, own, spans, hashes, pieces)
    own, spans = own[:n], spans[:n]
    _count(hashes, n, own)
    features = _context(own, n, pieces, places)
    return Lines(spans[:, 0], spans[:, 1], own[:, _KIND].astype(np.int64), features)

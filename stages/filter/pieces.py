"""Cut a piece of text without white space into words: spaCy's rules for punctuation, as kernels on code points.

A piece is given as arrays of its code points and their flags (`characters.py`); the result is where its words end.
Words follow each other without a gap. The order of the rules is spaCy's: what opens the piece is split off, then what
closes it, and only then is the rest looked at from inside; so `(see` is two words and `f(x)` is `f(x` and `)`.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from stages.filter.characters import (
    APOSTROPHE,
    CLOSING,
    DIGIT,
    HYPHEN,
    ICON,
    LETTER,
    LOWER,
    MARK,
    OPENING,
    QUOTE,
    SCRIPT_MASK,
    UPPER,
)
from stages.filter.syllables import unspaced_word_end
from stages.filter.word_habits import (
    ARTICLE_HYPHEN,
    CONTRACTIONS,
    ELISION,
    EVERY_MARK,
    HYPHEN_JOINS,
    ORDINAL_DOT,
    POSSESSIVE_JOINS,
)

WORD_CHARACTERS = LETTER | UPPER | LOWER | MARK | DIGIT
UNIT_NAMES = "km m dm cm mm ha nm yd in ft kg g mg t lb oz kmh mph hPa Pa mbar mb MB kb KB gb GB tb TB T G M K am pm"
EMOTICON_NAMES = ":) (: =) (= :] [: [= =] ;) (; :( ): =( ]= =[ :* :> :} ''"
#: Units that are a word of their own behind a number, the ASCII ones of spaCy's; bytes packed last letter first.
UNITS = tuple(int.from_bytes(unit[::-1].encode(), "big") for unit in UNIT_NAMES.split())
EMOTICONS = tuple((ord(name[0]), ord(name[1])) for name in EMOTICON_NAMES.split())
CANNOT = tuple(b"cannot")
DOT, PLUS, COMMA, MINUS, SLASH, COLON, QUESTION, AT, HASH, PERCENT, DOLLAR = (ord(c) for c in ".+,-/:?@#%$")
SMALL_S = ord("s")


@njit(nogil=True, cache=True)
def is_address(points, flags, lo, hi):
    """Whether characters lo:hi are a URL, a host name or an e-mail address: `[scheme://][user@]host.tld[/path]`."""
    i = lo
    while i < hi and flags[i] & (LETTER | DIGIT):
        i += 1
    if i > lo and i + 3 < hi and points[i] == COLON and points[i + 1] == SLASH and points[i + 2] == SLASH:
        lo = i + 3
    for i in range(lo, hi):
        if points[i] == AT:
            lo = i + 1
            break
        if points[i] == SLASH:
            break
    dot = -1
    i = lo
    while i < hi:
        if points[i] == DOT:
            if i == lo or not flags[i - 1] & (LETTER | DIGIT):
                return False
            dot = i
        elif not (flags[i] & (LETTER | DIGIT) or points[i] == MINUS or points[i] == 95):
            break
        i += 1
    if dot < 0 or i - dot < 3:
        return False
    for j in range(dot + 1, i):
        if not flags[j] & LOWER:
            return False
    return i == hi or points[i] == SLASH or points[i] == QUESTION or points[i] == HASH or points[i] == COLON


@njit(nogil=True, cache=True)
def contraction_start(points, flags, lo, hi):
    """Where the second word of a contraction such as `don't` or `we'll` starts in lo:hi; hi if it is none."""
    k = hi - 2
    while k > lo and k >= hi - 3:
        if flags[k] & APOSTROPHE:
            a = points[k + 1] | 32
            if hi - k == 2:
                if a == 116 and k - 1 > lo and points[k - 1] | 32 == 110:  # n't
                    return k - 1
                if a == 109 or a == 100:  # 'm 'd
                    return k
            else:
                b = points[k + 2] | 32
                if (a == 114 and b == 101) or (a == 118 and b == 101) or (a == 108 and b == 108):  # 're 've 'll
                    return k
            return hi
        k -= 1
    return hi


@njit(nogil=True, cache=True)
def unit_start(points, flags, lo, hi):
    """Where the unit starts that ends lo:hi right after a digit (`10km`, `5pm`); hi if there is none."""
    k = hi - 1
    packed = 0
    while k > lo and k >= hi - 4 and not flags[k] & DIGIT:
        packed = (packed << 8) | min(points[k], 255)
        k -= 1
    if not flags[k] & DIGIT or k == hi - 1:
        return hi
    for unit in UNITS:
        if unit == packed:
            return k + 1
    return hi


@njit(nogil=True, cache=True)
def is_cannot(points, lo, hi):
    """Whether lo:hi is `cannot`, two words by spaCy's count."""
    same = True
    for k in range(hi - lo):
        same = same and points[lo + k] | 32 == CANNOT[k]
    return same


@njit(nogil=True, cache=True)
def is_emoticon(first, second):
    """Whether two characters are an emoticon such as `:)`, which is one word. By spaCy's list `):` is one as well."""
    found = False
    for a, b in EMOTICONS:
        found = found or (first == a and second == b)
    return found


@njit(nogil=True, cache=True)
def ends_inside(flags, i, habits):
    """Whether the character i between two letters ends a word it is part of: `l'` in `l'homme`, `il-` in `il-kelb`."""
    if not (flags[i - 1] & LETTER and flags[i + 1] & LETTER):
        return False
    if flags[i] & APOSTROPHE:
        return habits & ELISION != 0
    return flags[i] & HYPHEN and habits & ARTICLE_HYPHEN != 0


@njit(nogil=True, cache=True)
def cuts_here(points, flags, i, habits):
    """Whether the character i, with one before and one behind it, is a word of its own there (an infix)."""
    f = flags[i]
    if f & ICON or points[i] == 0x2026:
        return True
    before = flags[i - 1]
    after = flags[i + 1]
    c = points[i]
    if c == DOT:
        return bool(before & (LOWER | QUOTE) and after & (UPPER | QUOTE))
    if c == COMMA:
        return bool(before & (LETTER | MARK) and after & LETTER)
    if f & HYPHEN and before & (LETTER | MARK | DIGIT) and after & LETTER:
        return not habits & HYPHEN_JOINS
    if c in (COLON, SLASH, 60, 61, 62):  # : / < = >
        return bool(before & (LETTER | MARK | DIGIT) and after & LETTER)
    if c in (PLUS, MINUS, 42, 94):  # + - * ^
        return bool(before & DIGIT and (after & DIGIT or points[i + 1] == MINUS))
    return False


@njit(nogil=True, cache=True)
def cut_piece(points, flags, m, seen, habits, cuts):
    """Cut the m characters of a piece without white space; seen: all their flags. Fills `cuts` with the ends of the
    words, from first to last, and returns how many there are. Words follow each other without a gap."""
    if seen & SCRIPT_MASK or habits & EVERY_MARK:
        return cut_unspaced(points, flags, m, cuts)
    if not seen & ~np.uint32(WORD_CHARACTERS) and not (seen & DIGIT and seen & LETTER) and m != len(CANNOT):
        cuts[0] = m
        return 1
    n = 0
    lo = 0
    while lo < m:  # split off the start
        c = points[lo]
        if c == DOT and lo + 1 < m and points[lo + 1] == DOT:
            while lo < m and points[lo] == DOT:
                lo += 1
        elif flags[lo] & OPENING or (c == PLUS and lo + 1 < m and not flags[lo + 1] & DIGIT):
            lo += 1
        else:
            break
        cuts[n] = lo
        n += 1
    if lo == m:
        return n

    # Split off the end, the last first: these cuts wait at the far end of `cuts`.
    hi = m
    back = len(cuts)
    while hi > lo:
        k = closing_start(points, flags, lo, hi, seen, habits)
        if k == hi:
            break
        back -= 1
        cuts[back] = hi
        hi = k
    if lo < hi:
        n = cut_core(points, flags, lo, hi, seen, habits, cuts, n)
    while back < len(cuts):
        cuts[n] = cuts[back]
        n += 1
        back += 1
    return n


@njit(nogil=True, cache=True)
def closing_start(points, flags, lo, hi, seen, habits):
    """Where the word starts that is split off the end of lo:hi; hi if there is none."""
    c = points[hi - 1]
    f = flags[hi - 1]
    if c == DOT:
        if hi - 1 == lo:
            return hi
        if points[hi - 2] == DOT:
            while hi > lo and points[hi - 1] == DOT:
                hi -= 1
            return hi
        before = flags[hi - 2]
        if before & LETTER and (hi - 2 == lo or points[hi - 3] == DOT):
            return hi  # J. and U.S.
        if before & DIGIT and habits & ORDINAL_DOT:
            return hi
        after_capitals = before & UPPER and flags[hi - 3] & UPPER
        if after_capitals or before & (LOWER | DIGIT | CLOSING) or points[hi - 2] in (PERCENT, PLUS, MINUS):
            return hi - 1
        return hi
    if f & CLOSING:
        return hi - 1
    if hi - 1 > lo:
        if c | 32 == SMALL_S and hi - 2 > lo and flags[hi - 2] & APOSTROPHE:
            return hi if habits & POSSESSIVE_JOINS else hi - 2
        if c in (PERCENT, PLUS, DOLLAR) and flags[hi - 2] & DIGIT:
            return hi - 1
        if f & LETTER and seen & DIGIT:
            return unit_start(points, flags, lo, hi)
    return hi


@njit(nogil=True, cache=True)
def cut_core(points, flags, lo, hi, seen, habits, cuts, n):
    """Cut what is left of a piece once its ends are split off, lo:hi; returns n, the number of cuts, afterwards."""
    if seen & np.uint32(~WORD_CHARACTERS) and not is_address(points, flags, lo, hi):
        end = hi
        if seen & APOSTROPHE and habits & CONTRACTIONS:
            end = contraction_start(points, flags, lo, hi)
        k = lo + 1
        while k < hi - 1:
            after = k
            if points[k] == DOT and points[k + 1] == DOT:
                while after < hi and points[after] == DOT:
                    after += 1
            elif ends_inside(flags, k, habits):
                k += 1
                lo = k
                cuts[n] = k
                n += 1
                continue
            elif cuts_here(points, flags, k, habits):
                after = k + 1
            else:
                k += 1
                continue
            if k > lo:
                cuts[n] = k
                n += 1
            cuts[n] = after
            n += 1
            k = after
            lo = after
        if lo < end < hi:
            cuts[n] = end
            n += 1
            lo = end
    if hi - lo == len(CANNOT) and habits & CONTRACTIONS and is_cannot(points, lo, hi):
        cuts[n] = lo + 3
        n += 1
    if lo < hi:
        cuts[n] = hi
        n += 1
    return n


@njit(nogil=True, cache=True)
def cut_unspaced(points, flags, m, cuts):
    """As `cut_piece`, for a piece with characters of a script that does not put spaces between words, and for languages
    in which every punctuation character is a word."""
    n = 0
    a = 0
    while a < m:
        b, rest = unspaced_word_end(points, flags, a, m)
        cuts[n] = b
        n += 1
        if rest > b:
            cuts[n] = rest
            n += 1
        a = rest
    return n

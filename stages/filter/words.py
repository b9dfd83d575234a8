"""Cut text into words, in compiled code on UTF-8 bytes, for rules that count them.

The thresholds of the Gopher, C4 and FineWeb rules were set with datatrove's splitters: spaCy for most languages,
dictionaries or neural models for some. spaCy's rules are good but cost 40 ms a page; the others need gigabytes of
packages. What the rules need of a splitter is that the same text gives about the same number of words, that a comma
is a word of its own, and that a repeated phrase is cut the same way each time. That is had for 0.02 ms a page:

1. White space ends a word.
2. Punctuation is split off both ends of what stands between spaces, one character at a time, an ellipsis whole. The
   full stop of `U.S.`, `e.g.` and `J.` stays.
3. Inside, words are cut at hyphens, `/`, `:`, `=`, `<`, `>` and commas between letters, at emoji, and at a full stop
   between a small and a capital letter (`end.Next`). URLs and e-mail addresses stay whole.
4. `it's`, `we'll` and `don't` are two words (`do` + `n't`). In languages with elision (`ELISION`) an apostrophe ends
   the word before it: `l'` + `homme`.
5. Scripts without spaces, and Korean, are cut by rules of the script (`syllables.py`).

1 to 4 are spaCy's rules without most of its 1,300 exceptions (`Mr.`, `and/or`, `:-)`); the result is compared with
spaCy's in `README.md`. 5 is coarser than what FineWeb-2 used and is stated there by script.
"""

from __future__ import annotations

from functools import cache

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
    PUNCTUATION,
    QUOTE,
    SCRIPT_MASK,
    SENTENCE_END,
    SPACE,
    SYMBOL,
    UPPER,
    character_table,
)
from stages.filter.syllables import unspaced_word_end
from stages.filter.utf8 import code_point, hash_bytes

#: What a word is, as bits of its `kind`.
HAS_LETTER = 1  # has a letter (`str.isalpha`)
NOT_SYMBOL = 2  # has a character outside SYMBOL
ENDS_SENTENCE = 4  # is one sentence-ending character
ALL_PUNCTUATION = 8

#: Languages whose splitter in datatrove cuts after an apostrophe between letters.
ELISION = frozenset(
    ["cat_Latn", "fra_Latn", "fur_Latn", "ita_Latn", "lij_Latn", "lmo_Latn", "ltz_Latn", "scn_Latn", "vec_Latn"]
)

WORD_CHARACTERS = LETTER | UPPER | LOWER | MARK | DIGIT
#: Units that are a word of their own behind a number, as spaCy has them: the ASCII ones, packed last letter first.
UNITS = tuple(
    sum(ord(char) << (8 * (len(unit) - 1 - i)) for i, char in enumerate(reversed(unit)))
    for unit in (
        "km m dm cm mm ha nm yd in ft kg g mg t lb oz kmh mph hPa Pa mbar mb MB kb KB gb GB tb TB T G M K am pm".split()
    )
)
CANNOT = tuple(b"cannot")
EMOTICONS = tuple((ord(a), ord(b)) for a, b in ":) (: =) (= :] [: [= =] ;) (; :( ): =( ]= =[ :* :> :}".split())
DOT, PLUS, COMMA, MINUS, SLASH, COLON, QUESTION, AT, HASH = (ord(c) for c in ".+,-/:?@#")


@njit(nogil=True, cache=True)
def scratch(size):
    """Arrays that `split_words` needs for documents of up to `size` bytes.

    First the characters of the piece at hand (code points, flags, byte offsets, starts of the words split off its
    end), then the words: start and end byte, length in code points, hash, kind. Pages never written cost nothing.
    """
    return (
        np.empty(size + 1, np.int32),
        np.empty(size + 1, np.uint32),
        np.empty(size + 1, np.int64),
        np.empty(size + 1, np.int32),
        np.empty(size + 1, np.int64),
        np.empty(size + 1, np.int64),
        np.empty(size + 1, np.int32),
        np.empty(size + 1, np.uint64),
        np.empty(size + 1, np.uint8),
    )


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
    if hi - lo != 6:
        return False
    for k in range(6):
        if points[lo + k] | 32 != CANNOT[k]:
            return False
    return True


@njit(nogil=True, cache=True)
def is_emoticon(first, second):
    """Whether two characters are an emoticon such as `:)`, which is one word. By spaCy's list `):` is one as well."""
    for a, b in EMOTICONS:
        if first == a and second == b:
            return True
    return False


@njit(nogil=True, cache=True)
def cuts_here(points, flags, i, lo, hi):
    """Whether the character i, inside lo:hi, is a word of its own there (an infix)."""
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
        return True
    if c in (COLON, SLASH, 60, 61, 62):  # : / < = >
        return bool(before & (LETTER | MARK | DIGIT) and after & LETTER)
    if c in (PLUS, MINUS, 42, 94):  # + - * ^
        return bool(before & DIGIT and (after & DIGIT or points[i + 1] == MINUS))
    return False


@njit(nogil=True, cache=True)
def split_words(data, start, end, table, elision, room):
    """Cut data[start:end] into words; they are left in the last five arrays of `room`.

    data: uint8 buffer, UTF-8. table: `character_table()`. elision: whether `l'homme` is two words. room: `scratch(size)`
    with size >= end - start. Returns the number of words.
    """
    points, flags, offsets, tails, starts, ends, lengths, hashes, kinds = room
    n = 0
    i = start
    while i < end:
        c, width = code_point(data, i, end)
        if table[c] & SPACE:
            i += width
            continue

        # The piece up to the next white space.
        m = 0
        seen = np.uint32(0)
        while i < end:
            c, width = code_point(data, i, end)
            f = table[c]
            if f & SPACE:
                break
            points[m] = c
            flags[m] = f
            offsets[m] = i
            seen |= f
            m += 1
            i += width
        offsets[m] = i

        lo = 0
        hi = m
        n_tails = 0
        whole = not seen & ~np.uint32(WORD_CHARACTERS) and not (seen & DIGIT and seen & LETTER)
        unspaced = seen & SCRIPT_MASK
        if not whole and not unspaced:
            while lo < hi:  # split off the start
                c = points[lo]
                a = lo
                if c == DOT and lo + 1 < hi and points[lo + 1] == DOT:
                    while lo < hi and points[lo] == DOT:
                        lo += 1
                elif flags[lo] & OPENING or (c == PLUS and lo + 1 < hi and not flags[lo + 1] & DIGIT):
                    lo += 1
                else:
                    break
                n = add_word(data, flags, offsets, a, lo, starts, ends, lengths, hashes, kinds, n)
            while hi > lo:  # and off the end, the last first
                c = points[hi - 1]
                f = flags[hi - 1]
                if c == DOT:
                    if hi - 1 == lo:
                        break
                    if points[hi - 2] == DOT:
                        while hi > lo and points[hi - 1] == DOT:
                            hi -= 1
                    else:
                        before = flags[hi - 2]
                        if before & LETTER and (hi - 2 == lo or points[hi - 3] == DOT):
                            break  # J. and U.S.
                        after_capitals = before & UPPER and flags[hi - 3] & UPPER
                        if not (after_capitals or before & (LOWER | DIGIT | CLOSING) or points[hi - 2] in (37, 43, 45)):
                            break
                        hi -= 1
                elif f & CLOSING:
                    hi -= 1
                elif c | 32 == 115 and hi - 2 > lo and flags[hi - 2] & APOSTROPHE:  # 's
                    hi -= 2
                elif c in (36, 37, PLUS) and hi - 1 > lo and flags[hi - 2] & DIGIT:  # 5$ 5% 18+
                    hi -= 1
                elif f & LETTER and seen & DIGIT:
                    k = unit_start(points, flags, lo, hi)
                    if k == hi:
                        break
                    hi = k
                else:
                    break
                tails[n_tails] = hi
                n_tails += 1

        if lo < hi:
            if unspaced:
                a = lo
                while a < hi:
                    b, rest = unspaced_word_end(points, flags, a, hi)
                    n = add_word(data, flags, offsets, a, b, starts, ends, lengths, hashes, kinds, n)
                    if rest > b:
                        n = add_word(data, flags, offsets, b, rest, starts, ends, lengths, hashes, kinds, n)
                    a = rest
            elif whole or not is_address(points, flags, lo, hi):
                cut = hi
                if not whole:
                    if seen & APOSTROPHE and not elision:
                        cut = contraction_start(points, flags, lo, hi)
                    a = lo
                    k = lo + 1
                    while k < hi - 1:
                        if points[k] == DOT and points[k + 1] == DOT:
                            b = k
                            while b < hi and points[b] == DOT:
                                b += 1
                        elif elision and flags[k] & APOSTROPHE and flags[k - 1] & LETTER and flags[k + 1] & LETTER:
                            n = add_word(data, flags, offsets, a, k + 1, starts, ends, lengths, hashes, kinds, n)
                            k += 1
                            a = k
                            continue
                        elif cuts_here(points, flags, k, lo, hi):
                            b = k + 1
                        else:
                            k += 1
                            continue
                        if k > a:
                            n = add_word(data, flags, offsets, a, k, starts, ends, lengths, hashes, kinds, n)
                        n = add_word(data, flags, offsets, k, b, starts, ends, lengths, hashes, kinds, n)
                        k = b
                        a = b
                    lo = a
                if cut < hi and cut > lo:
                    n = add_word(data, flags, offsets, lo, cut, starts, ends, lengths, hashes, kinds, n)
                    lo = cut
                if is_cannot(points, lo, hi):
                    n = add_word(data, flags, offsets, lo, lo + 3, starts, ends, lengths, hashes, kinds, n)
                    lo += 3
                if lo < hi:
                    n = add_word(data, flags, offsets, lo, hi, starts, ends, lengths, hashes, kinds, n)
            else:
                n = add_word(data, flags, offsets, lo, hi, starts, ends, lengths, hashes, kinds, n)

        for k in range(n_tails - 1, -1, -1):
            b = m if k == 0 else tails[k - 1]
            n = add_word(data, flags, offsets, tails[k], b, starts, ends, lengths, hashes, kinds, n)
    return n


@njit(nogil=True, cache=True)
def add_word(data, flags, offsets, a, b, starts, ends, lengths, hashes, kinds, n):
    """Append the characters a:b of the piece at hand as word n; returns n + 1."""
    seen = np.uint32(0)
    common = ~np.uint32(0)
    for k in range(a, b):
        seen |= flags[k]
        common &= flags[k]
    if b - a == 1 and common & SYMBOL and n > 0 and lengths[n - 1] == 1 and ends[n - 1] == offsets[a]:
        if is_emoticon(data[ends[n - 1] - 1], data[offsets[a]]):
            ends[n - 1] = offsets[b]
            lengths[n - 1] = 2
            hashes[n - 1] = hash_bytes(data, starts[n - 1], ends[n - 1])
            kinds[n - 1] = kinds[n - 1] & ALL_PUNCTUATION if common & PUNCTUATION else 0
            return n
    kind = 0
    if seen & LETTER:
        kind |= HAS_LETTER
    if not common & SYMBOL:
        kind |= NOT_SYMBOL
    if common & SENTENCE_END and b - a == 1:
        kind |= ENDS_SENTENCE
    if common & PUNCTUATION:
        kind |= ALL_PUNCTUATION
    starts[n] = offsets[a]
    ends[n] = offsets[b]
    lengths[n] = b - a
    hashes[n] = hash_bytes(data, offsets[a], offsets[b])
    kinds[n] = kind
    return n + 1


def words(text: str, language: str = "und") -> list[str]:
    """The words of a text as the rules count them. For inspection and tests; the rules never make such a list."""
    data = np.frombuffer(text.encode("utf-8"), np.uint8)
    room = scratch(len(data))
    n = split_words(data, 0, len(data), character_table(), language in ELISION, room)
    raw = data.tobytes()
    return [raw[a:b].decode("utf-8") for a, b in zip(room[4][:n].tolist(), room[5][:n].tolist(), strict=True)]


def word_hash(word: str) -> int:
    """The hash that `split_words` gives to a word."""
    data = np.frombuffer(word.encode("utf-8"), np.uint8)
    return int(hash_bytes(data, 0, len(data)))


@cache
def stop_word_hashes(stop_words: tuple[str, ...], language: str) -> list[list[int]]:
    """For each different stop word the hashes it may be met under.

    A list made with another splitter holds words ours never gives (`il-`, `ta'`): they also count without the
    punctuation that ours splits off.
    """
    lists = []
    for stop_word in dict.fromkeys(stop_words):
        plain = [word for word in words(stop_word, language) if any(char.isalnum() for char in word)]
        forms = {stop_word, plain[0]} if len(plain) == 1 else {stop_word}
        lists.append([word_hash(form) for form in sorted(forms)])
    return lists

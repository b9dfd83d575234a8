"""What the language model sees of a text: its words, folded, cut into character n-grams, and hashed to rows of a table.

One compiled pass reads UTF-8 bytes, drops everything that is no letter (digits, punctuation, markup say nothing of a
language and differ by source), lower-cases, and leaves out words of other scripts than the one the text is judged in:
an English name in a Greek page says nothing about Greek. A second pass hashes n-grams of 2 to 5 characters of each
word between its boundaries `<` and `>`. Both are fastText's features to the bit (FNV-1a over signed bytes; Bojanowski
et al. 2017, arXiv 1607.04606, section 3.2), so a model made here can be written as a fastText file, and fastText
itself can judge our kernels.

Trade-off: no features of whole words longer than three letters and no word order. They gain little for languages
that differ in their endings, and cost a vocabulary.
"""

from __future__ import annotations

import unicodedata
from functools import cache

import numpy as np
from numba import njit

from classifiers.language.script import letter_scripts

SHORTEST, LONGEST = 2, 5

#: Values of the symbol table beside script numbers.
MARK, SKIPPED = 254, 255

#: Code points from here on are Han (or have no lower case), so the table of lower case ends here.
_CASED = 0x20000

#: Soft hyphen, joiner, and the marks of direction: invisible, and no boundary of words.
_INVISIBLE = (0xAD, 0x200D, 0x200E, 0x200F, 0x2060, 0xFEFF, *range(0xFE00, 0xFE10))


@cache
def symbols() -> np.ndarray:
    """uint8 per code point: 0 ends a word, MARK belongs to the letter before it, SKIPPED is passed over, and any other
    value is 1 + the place of the letter's script in `scripts()`."""
    table = letter_scripts().copy()
    for code in range(0x300, 0x1F000):
        if table[code] == 0 and unicodedata.category(chr(code))[0] == "M":
            table[code] = MARK
    table[list(_INVISIBLE)] = SKIPPED
    return table


@cache
def lower_case() -> np.ndarray:
    """int32 per code point: its lower case, if that is one code point, else itself."""
    table = np.arange(_CASED, dtype=np.int32)
    for code in range(_CASED):
        lower = chr(code).lower()
        if len(lower) == 1:
            table[code] = ord(lower)
    table[0x130] = ord("i")  # İ, which Python lowers to two code points
    return table


@njit(nogil=True, cache=True)
def fold(data, start, end, script, symbol, lower, out):  # type: ignore[no-untyped-def]
    """Write the words of data[start:end] that are in `script` (its number in `symbols`; 0 for any) to `out` as
    `<word><word>…`, lower case, UTF-8. The script of a word is that of its first letter. Stops when `out` is full.
    Returns (bytes written, letters of those words)."""
    n = 0
    letters = 0
    room = len(out) - 8
    inside = False  # in a word
    wanted = False  # and it is written
    i = start
    while i < end and n < room:
        byte = data[i]
        if byte < 0x80:
            code, more = np.int64(byte), 0
        elif byte >= 0xF0:
            code, more = np.int64(byte & 0x07), 3
        elif byte >= 0xE0:
            code, more = np.int64(byte & 0x0F), 2
        else:
            code, more = np.int64(byte & 0x1F), 1
        i += 1
        while more > 0 and i < end:
            code = (code << 6) | np.int64(data[i] & 0x3F)
            i += 1
            more -= 1
        kind = symbol[code] if code < len(symbol) else 0
        if kind == SKIPPED:
            continue
        if kind == 0 or (kind == MARK and not inside):
            if inside and wanted:
                out[n] = 0x3E
                n += 1
            inside = False
            continue
        if not inside:
            inside = True
            wanted = script == 0 or kind == script
            if wanted:
                out[n] = 0x3C
                n += 1
        if not wanted:
            continue
        if kind != MARK:
            letters += 1
        if code < len(lower):
            code = np.int64(lower[code])
        if code < 0x80:
            out[n] = code
            n += 1
        elif code < 0x800:
            out[n] = 0xC0 | (code >> 6)
            out[n + 1] = 0x80 | (code & 0x3F)
            n += 2
        elif code < 0x10000:
            out[n] = 0xE0 | (code >> 12)
            out[n + 1] = 0x80 | ((code >> 6) & 0x3F)
            out[n + 2] = 0x80 | (code & 0x3F)
            n += 3
        else:
            out[n] = 0xF0 | (code >> 18)
            out[n + 1] = 0x80 | ((code >> 12) & 0x3F)
            out[n + 2] = 0x80 | ((code >> 6) & 0x3F)
            out[n + 3] = 0x80 | (code & 0x3F)
            n += 4
    if inside and wanted:
        out[n] = 0x3E
        n += 1
    return n, letters


@njit(nogil=True, cache=True)
def n_grams(folded, start, end, buckets, out):  # type: ignore[no-untyped-def]
    """Write the bucket of each n-gram of folded[start:end] to `out` (int32), in order; returns how many, at most
    len(out)."""
    found = 0
    for i in range(start, end):
        if folded[i] & 0xC0 == 0x80:
            continue
        h = np.uint32(2166136261)
        length = 0
        j = i
        while length < LONGEST and j < end:
            last = folded[j]
            h = np.uint32((h ^ (np.uint32(last) | np.uint32(0xFFFFFF00 if last >= 0x80 else 0))) * np.uint32(16777619))
            j += 1
            while j < end and folded[j] & 0xC0 == 0x80:
                h = np.uint32((h ^ (np.uint32(folded[j]) | np.uint32(0xFFFFFF00))) * np.uint32(16777619))
                j += 1
            length += 1
            if length >= SHORTEST:
                if found == len(out):
                    return found
                out[found] = np.int32(h % np.uint32(buckets))
                found += 1
            if last == 0x3E:
                break
    return found

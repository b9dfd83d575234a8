"""Words without a tokenizer: one table lookup per character splits and normalises text in any script.

Deduplication asks whether two texts say the same words, whatever their case, accents, punctuation and spacing. The
usual way there, Python's `lower()`, a regex for punctuation, Unicode decomposition for accents and one word tokenizer
per language, costs far more than all hashing after it. Here a table of one uint32 per code point answers all of it:

    0                 separator: punctuation, symbols, white space, unassigned
    1                 skipped as if it were not there: combining marks, soft hyphens, zero-width joiners
    otherwise         a letter or digit of a word: lower case, without accents, half-width, decimal digits as ASCII
    otherwise | 2^31  the same, and the character is a word of its own
    place | 2^30      several letters ("ß", "ﬁ", "ﻻ" and 500 more): they stand in the table from `place` on, then 0

Scripts written without spaces between words (Han, Kana, Thai, Lao, Khmer, Myanmar) have the last kind, so that no
segmenter is needed: with words split at white space alone, fewer than half of the Chinese and Japanese document pairs
of Jaccard 0.8 to 0.9 are found, with a word per character 98 % are.

Case is folded by way of capitals, so that a text meets itself in capitals: "ß" is "ss", the Turkish "ı" is "i", the
final "ς" is "σ". Letters drawn differently (ligatures and Arabic forms as PDF files have them, mathematical alphabets)
are the letters that they draw.

Trade-off: a table knows no context. A letter is folded to its decomposition without the marks, so kana lose their
voicing marks as Latin letters lose accents; text in decomposed Hangul does not meet composed Hangul; and marks that
carry vowels in Indic scripts are skipped too, as they are by the usual "strip Mn" normalisation. Fine for telling
copies apart, not for linguistics. The table follows the Unicode version of the running Python.

The kernels read Arrow's large_string buffers, UTF-8 as it lies there. Invalid UTF-8 gives some words, never a read
outside the text.
"""

from __future__ import annotations

import itertools
import unicodedata
from functools import cache
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numba import njit

SEPARATOR, SKIP, SEVERAL, WORD_OF_ITS_OWN = 0, 1, 1 << 30, 1 << 31

#: Where, of an entry with `SEVERAL`, its letters stand; and the letter, of one without.
PLACE = np.uint32(SEVERAL - 1)

_CODE_POINTS = 0x110000

#: Scripts without spaces between words: [first, last] code points.
_UNSPACED = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x3005, 0x3007),  # ideographic iteration mark, closing mark, zero
    (0x3040, 0x312F),  # Hiragana, Katakana, Bopomofo
    (0x31A0, 0x31FF),  # Bopomofo and Katakana extensions, strokes
    (0x3400, 0x4DBF),  # Han extension A
    (0x4E00, 0x9FFF),  # Han
    (0xA9E0, 0xA9FF),  # Myanmar extension B
    (0xAA60, 0xAA7F),  # Myanmar extension A
    (0xF900, 0xFAFF),  # Han compatibility
    (0x1AFF0, 0x1B16F),  # Kana extensions
    (0x20000, 0x3FFFF),  # Han extensions B and later
)

_SKIPPED = ("Mn", "Me", "Cf")

# Multipliers of the word hash: 2^64 / golden ratio, and a seed without structure.
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_START = np.uint64(0x51ED270B7A2F4C91)


def fold(character: str, fold_digits: bool = True) -> str | None:
    """The letters or the digit that a character is read as: none if it is skipped, None if it separates words.

    With `fold_digits` every decimal digit counts as 0 (12 May = 31 May).
    """
    category = unicodedata.category(character)
    if category in _SKIPPED:
        return ""
    if category[0] not in "LN" and category != "Mc" and character != "_":
        return None
    if category == "Nd":
        return "0" if fold_digits else str(unicodedata.decimal(character))
    if "\uac00" <= character <= "\ud7a3":  # a Hangul syllable stays whole
        return character
    if category[0] == "N" or character == "_":
        return character.lower()
    letters = _unmarked("NFD", _unmarked("NFKD", character).upper().casefold())
    words = any(unicodedata.category(c)[0] != "L" and unicodedata.category(c) != "Mc" for c in letters)
    long = len(letters.encode()) >= 3 * len(character.encode())  # see `normalize`: no room for it and a space
    if words or long or (len(letters) > 1 and any(map(_is_unspaced, letters))):
        return _unmarked("NFD", character.lower())[:1]
    return letters


def _unmarked(form: Literal["NFD", "NFKD"], text: str) -> str:
    """Decomposed, without marks."""
    return "".join(c for c in unicodedata.normalize(form, text) if unicodedata.category(c) not in _SKIPPED)


def _is_unspaced(character: str) -> bool:
    return any(first <= ord(character) <= last for first, last in _UNSPACED)


@cache
def fold_table(fold_digits: bool = True) -> np.ndarray:
    """The table: uint32, one entry per code point up to U+10FFFF (most of it never touched), then the letters of
    those that are several. Takes 0.2 s to build."""
    table = np.zeros(_CODE_POINTS, np.uint32)
    several: list[int] = []
    ranges = (range(0x3400), range(0xA000, 0xAC00), range(0xD7A4, 0xD800), range(0xF900, 0x20000))
    for code in (*itertools.chain(*ranges), *range(0x2F800, 0x2FA20), *range(0xE0000, 0xE01F0)):
        letters = fold(chr(code), fold_digits)
        if letters is None:
            continue
        if len(letters) < 2:
            own = WORD_OF_ITS_OWN if letters and _is_unspaced(letters) else 0
            table[code] = ord(letters) | own if letters else SKIP
        else:
            table[code] = SEVERAL | (_CODE_POINTS + len(several))
            several += [*map(ord, letters), 0]
    # Han ideographs and Hangul syllables, two thirds of all: letters that fold to themselves
    for first, last, own in ((0x3400, 0xA000, True), (0xAC00, 0xD7A4, False), (0x20000, 0x2F800, True)):
        _letters(table, first, last, WORD_OF_ITS_OWN if own else 0)
    _letters(table, 0x2FA20, 0x33480, WORD_OF_ITS_OWN)
    table = np.concatenate([table, np.array(several, np.uint32)])
    table.flags.writeable = False
    return table


def _letters(table: np.ndarray, first: int, last: int, flag: int) -> None:
    """Fill table[first:last] where every letter is folded to itself and all else separates (0x4DC0: hexagrams)."""
    category = unicodedata.category
    codes = np.arange(first, last, dtype=np.uint32)
    letters = np.fromiter((category(chr(code))[0] == "L" for code in range(first, last)), bool, last - first)
    table[first:last] = np.where(letters, codes | np.uint32(flag), 0)


def text_buffers(text: pa.Array | pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """UTF-8 bytes (uint8) and offsets (int64, one more than there are texts) of a column; a null reads as empty."""
    if isinstance(text, pa.ChunkedArray):
        text = text.combine_chunks()
    if text.type != pa.large_string():
        text = text.cast(pa.large_string())
    if text.null_count:
        text = pc.fill_null(text, "")
    _, offsets, data = text.buffers()
    if not len(text):
        return np.zeros(0, np.uint8), np.zeros(1, np.int64)
    starts = np.frombuffer(offsets, np.int64)[text.offset : text.offset + len(text) + 1]
    return (np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8)), starts


@njit(nogil=True, cache=True, inline="always")
def decode(data, i, end):
    """Code point of the UTF-8 sequence at `i`, which is not ASCII, and where the next one starts."""
    byte = data[i]
    if byte < 0xE0:
        size = 2
    elif byte < 0xF0:
        size = 3
    else:
        size = 4
    if i + size > end:
        return 0xFFFD, end
    if size == 2:
        code = ((byte & 31) << 6) | (data[i + 1] & 63)
    elif size == 3:
        code = ((byte & 15) << 12) | ((data[i + 1] & 63) << 6) | (data[i + 2] & 63)
    else:
        code = ((byte & 7) << 18) | ((data[i + 1] & 63) << 12) | ((data[i + 2] & 63) << 6) | (data[i + 3] & 63)
        if code > 0x10FFFF:
            code = 0xFFFD
    return code, i + size


def word_hashes(text: pa.Array | pa.ChunkedArray, table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of the words of each text (uint64, one after another), and where each text's begin (int64, one more
    than there are texts)."""
    data, offsets = text_buffers(text)
    # A text of n bytes has at most n words, and the kernel writes one slot beyond the last word.
    hashes = np.empty(int(offsets[-1] - offsets[0]) + 1, np.uint64)
    starts = np.zeros(len(offsets), np.int64)
    hash_words(data, offsets, table, hashes, starts)
    return hashes[: starts[-1]], starts


@njit(nogil=True, cache=True)
def hash_words(data, offsets, table, out, starts):
    """`word_hashes` of the texts `data[offsets[i] : offsets[i + 1]]`, into `out` and `starts`."""
    count = 0
    for text in range(offsets.size - 1):
        count = _hash_words_of_one(data, offsets[text], offsets[text + 1], table, out, count)
        starts[text + 1] = count


@njit(nogil=True, cache=True)
def _hash_words_of_one(data, start, end, table, out, count):
    h = _START
    inside = 0
    i = start
    while i < end:
        byte = data[i]
        if byte < 128:
            # No branch on word boundaries, which no predictor can guess: the slot is written at every byte, and only
            # a boundary moves on to the next one.
            i += 1
            folded = table[byte]
            letter = 1 if folded != 0 else 0
            longer = (h ^ np.uint64(folded)) * _MULTIPLIER
            longer ^= longer >> np.uint64(47)
            out[count] = h
            count += inside & (1 - letter)
            h = longer if letter else _START
            inside = letter
        else:
            code, i = decode(data, i, end)
            folded = table[code]
            if folded == 1:
                continue
            if folded != 0 and folded < SEVERAL:
                h = (h ^ np.uint64(folded)) * _MULTIPLIER
                h ^= h >> np.uint64(47)
                inside = 1
            elif folded == 0 or folded >> np.uint32(31):
                if inside:
                    out[count] = h
                    count += 1
                    h = _START
                    inside = 0
                if folded:
                    out[count] = (_START ^ np.uint64(folded)) * _MULTIPLIER
                    count += 1
            else:
                place = folded & PLACE
                while table[place] != 0:
                    h = (h ^ np.uint64(table[place])) * _MULTIPLIER
                    h ^= h >> np.uint64(47)
                    place += np.uint32(1)
                inside = 1
    if inside:
        out[count] = h
        count += 1
    return count


@njit(nogil=True, cache=True)
def _encode(code, out, at):
    """Write a code point to out[at:] as UTF-8; where it ends."""
    if code < 0x80:
        out[at] = code
        return at + 1
    if code < 0x800:
        out[at] = 0xC0 | (code >> 6)
        out[at + 1] = 0x80 | (code & 63)
        return at + 2
    if code < 0x10000:
        out[at] = 0xE0 | (code >> 12)
        out[at + 1] = 0x80 | ((code >> 6) & 63)
        out[at + 2] = 0x80 | (code & 63)
        return at + 3
    out[at] = 0xF0 | (code >> 18)
    out[at + 1] = 0x80 | ((code >> 12) & 63)
    out[at + 2] = 0x80 | ((code >> 6) & 63)
    out[at + 3] = 0x80 | (code & 63)
    return at + 4


@njit(nogil=True, cache=True)
def _normalize(data, offsets, table, out, ends):
    at = 0
    for d in range(offsets.size - 1):
        begin = at
        i = offsets[d]
        end = offsets[d + 1]
        boundary = False
        while i < end:
            if data[i] < 128:
                folded = table[data[i]]
                i += 1
            else:
                code, i = decode(data, i, end)
                folded = table[code]
            if folded == 1:
                continue
            own = folded >> np.uint32(31)
            if folded == 0:
                boundary = True
                continue
            if (boundary or own) and at > begin:
                out[at] = 32
                at += 1
            boundary = own != 0
            if own or folded < SEVERAL:
                at = _encode(folded & PLACE, out, at)
            else:
                place = folded & PLACE
                while table[place] != 0:
                    at = _encode(table[place], out, at)
                    place += np.uint32(1)
        ends[d] = at
    return at


def normalize(text: pa.Array | pa.ChunkedArray, table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The folded words of each text, one space between two words: UTF-8 bytes and offsets, as `text_buffers` gives.

    Equal bytes mean equal words in equal order. A text without words gives no bytes.
    """
    data, offsets = text_buffers(text)
    # A two-byte capital may have a three-byte small letter, a word of its own adds a space, and the three bytes of the
    # ligature "Allah" become eight and a space: never more than three times as much. Hence 3, and one space a text.
    out = np.empty(3 * int(offsets[-1] - offsets[0]) + len(offsets), np.uint8)
    ends = np.zeros(len(offsets), np.int64)
    _normalize(data, offsets, table, out, ends[1:])
    return out, ends

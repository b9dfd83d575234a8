"""Arrow text columns in, integer statistics per document out: what the Gopher and FineWeb rules compare.

Each function takes the text column and returns numpy arrays with one entry per document; kernels run on the UTF-8
buffers without making a Python object. Lengths are in code points (`len` of a Python string), as in the papers.

Trade-off: every rule family cuts the text into words itself, which is half of the work of the repetition rules. A
cache of the words would be missed where it counts: a filter's survivors are a new table, and C4 changes the text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numba import njit

from stages.filter.characters import SENTENCE_END, character_table
from stages.filter.repetition import count_repetition
from stages.filter.utf8 import NEWLINE, code_point, hash_bytes, last_character, length, line_break, longest, strip
from stages.filter.words import HAS_LETTER, NOT_SYMBOL, scratch, split_words

DOT, HASH, MINUS = 0x2E, 0x23, 0x2D
BULLET, ELLIPSIS = 0x2022, 0x2026
#: Slots of a stop word table; four times the longest list, so that a probe is one look.
STOP_SLOTS = 256


@dataclass(frozen=True)
class Texts:
    """A text column as its UTF-8 buffer. data: uint8; offsets: int64, one more than documents; null is empty."""

    data: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of(cls, column: pa.ChunkedArray | pa.Array) -> Texts:
        array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        array = array.cast(pa.large_string())
        if array.null_count:
            array = pc.fill_null(array, "")
        _, offsets, data = array.buffers()
        if len(array) == 0 or data is None or data.size == 0:
            return cls(readable(b"\0", np.uint8), readable(bytes(8 * len(array) + 8), np.int64))
        bounds = readable(offsets, np.int64)[array.offset : array.offset + len(array) + 1]
        return cls(readable(data, np.uint8), bounds)


def readable(buffer: Any, kind: Any) -> np.ndarray:
    """A buffer as an array that cannot be written, whoever made it: numba compiles writable ones anew, for 10 s."""
    array: np.ndarray = np.frombuffer(buffer, kind)
    array.flags.writeable = False
    return array


def repetition_statistics(texts: Texts, habits: np.ndarray) -> dict[str, np.ndarray]:
    """Counts for the repetition rules (Gopher, arXiv 2112.11446, table A1).

    habits: int64 per document, `word_habits` of its language.

    `characters`; `paragraphs`, `dup_paragraphs`, `dup_paragraph_characters` (those of paragraphs seen before), the same
    for lines; `top_n_gram_characters` for n = 2 to 4 (length of the most frequent n-gram, spaces included, times its
    count); `dup_n_gram_characters` for n = 5 to 10 (characters of n-grams seen before, without overlap).
    """
    names = ["characters", "paragraphs", "dup_paragraphs", "dup_paragraph_characters"]
    names += ["lines", "dup_lines", "dup_line_characters"]
    names += [f"top_{n}_gram_characters" for n in range(2, 5)] + [f"dup_{n}_gram_characters" for n in range(5, 11)]
    counts = count_repetition(texts.data, texts.offsets, character_table(), habits)
    return dict(zip(names, counts, strict=True))


def quality_statistics(
    texts: Texts, habits: np.ndarray, stop_tables: np.ndarray, stop_numbers: np.ndarray, language: np.ndarray
) -> dict[str, np.ndarray]:
    """Counts for the Gopher quality rules (arXiv 2112.11446, appendix A.1.1).

    stop_tables, stop_numbers: what `stop_word_tables` made; language: int32, the table of each document.
    `words`, `alphabetic_words` (with a letter), `plain_words` (not punctuation alone) and their `plain_characters`,
    `hashes`, `ellipses`, `lines`, `bullet_lines`, `ellipsis_lines`, `stop_words` (different ones).
    """
    names = ["words", "plain_words", "plain_characters", "alphabetic_words", "stop_words"]
    names += ["hashes", "ellipses", "lines", "bullet_lines", "ellipsis_lines"]
    table = character_table()
    counts = count_quality(texts.data, texts.offsets, table, habits, stop_tables, stop_numbers, language)
    return dict(zip(names, counts, strict=True))


def line_statistics(texts: Texts, habits: np.ndarray, short_line: int) -> dict[str, np.ndarray]:
    """Counts for the FineWeb rules (arXiv 2406.17557, section 3.4 and appendix); lines of white space do not count.

    `lines`, `ended_lines` (last character ends a sentence), `short_lines` (at most `short_line` code points),
    `dup_line_characters`, `newlines`, `line_characters` (all but newlines), `words`.
    """
    names = ["lines", "ended_lines", "short_lines", "dup_line_characters", "newlines", "line_characters", "words"]
    counts = count_lines(texts.data, texts.offsets, character_table(), habits, short_line)
    return dict(zip(names, counts, strict=True))


def stop_word_tables(lists: list[list[list[int]]]) -> tuple[np.ndarray, np.ndarray]:
    """Open-addressing tables for `quality_statistics`.

    lists: per language, per stop word, the hashes it is known by. Returns uint64 keys (0 is free) and uint8 numbers
    of the stop word, both of shape (languages, STOP_SLOTS). ValueError if a language has more than 64 stop words.
    """
    tables = np.zeros((max(len(lists), 1), STOP_SLOTS), np.uint64)
    numbers = np.zeros(tables.shape, np.uint8)
    for row, stop_words in enumerate(lists):
        if len(stop_words) > 64:
            raise ValueError(f"at most 64 stop words per language, not {len(stop_words)}")
        for number, hashes in enumerate(stop_words):
            for key in hashes:
                slot = key % STOP_SLOTS
                while tables[row, slot] not in (0, key):
                    slot = (slot + 1) % STOP_SLOTS
                tables[row, slot] = key
                numbers[row, slot] = number
    return tables, numbers


@njit(nogil=True, cache=True)
def count_quality(data, offsets, table, habits, stop_tables, stop_numbers, language):
    """The kernel of `quality_statistics`: int64 array of shape (10, documents)."""
    n_docs = len(offsets) - 1
    out = np.zeros((10, n_docs), np.int64)
    room = scratch(longest(offsets))
    lengths, hashes, kinds = room[6], room[7], room[8]
    for d in range(n_docs):
        start, end = offsets[d], offsets[d + 1]
        n = split_words(data, start, end, table, habits[d], room)
        keys = stop_tables[language[d]]
        found = np.uint64(0)
        plain, characters, alphabetic = 0, 0, 0
        for i in range(n):
            if kinds[i] & NOT_SYMBOL:
                plain += 1
                characters += lengths[i]
            alphabetic += kinds[i] & HAS_LETTER
            slot = hashes[i] % np.uint64(STOP_SLOTS)
            while keys[slot] != 0:
                if keys[slot] == hashes[i]:
                    found |= np.uint64(1) << np.uint64(stop_numbers[language[d], slot])
                    break
                slot = (slot + np.uint64(1)) % np.uint64(STOP_SLOTS)
        out[0, d], out[1, d], out[2, d], out[3, d] = n, plain, characters, alphabetic
        while found:
            found &= found - np.uint64(1)
            out[4, d] += 1

        line = start
        i = start
        while i < end:
            b = data[i]
            if b == HASH:
                out[5, d] += 1
            elif i + 2 < end and (
                (b == DOT and data[i + 1] == DOT and data[i + 2] == DOT)
                or (b == 0xE2 and data[i + 1] == 0x80 and data[i + 2] == 0xA6)
            ):
                out[6, d] += 1
                i += 3
                continue
            if b <= 0x1E or b == 0xC2 or b == 0xE2:
                width = line_break(data, i, end)
                if width:
                    count_marks(data, line, i, table, out, d)
                    i += width
                    line = i
                    continue
            i += 1
        if line < end:
            count_marks(data, line, end, table, out, d)
    return out


@njit(nogil=True, cache=True)
def count_marks(data, start, end, table, out, d):
    """Count a line, and whether it starts with a bullet and ends with an ellipsis."""
    out[7, d] += 1
    start, end = strip(data, start, end, table)
    if start == end:
        return
    first = code_point(data, start, end)[0]
    if first in (BULLET, MINUS):
        out[8, d] += 1
    last = code_point(data, last_character(data, start, end), end)[0]
    dots = end - start >= 3 and data[end - 1] == DOT and data[end - 2] == DOT and data[end - 3] == DOT
    if last == ELLIPSIS or dots:
        out[9, d] += 1


@njit(nogil=True, cache=True)
def count_lines(data, offsets, table, habits, short_line):
    """The kernel of `line_statistics`: int64 array of shape (7, documents)."""
    n_docs = len(offsets) - 1
    out = np.zeros((7, n_docs), np.int64)
    room = scratch(longest(offsets))
    keys = np.empty(1 << 10, np.uint64)
    stamps = np.zeros(1 << 10, np.int64)
    for d in range(n_docs):
        start, end = offsets[d], offsets[d + 1]
        newlines = 0
        for i in range(start, end):
            newlines += data[i] == NEWLINE
        while len(keys) < 2 * (newlines + 1):
            keys = np.empty(2 * len(keys), np.uint64)
            stamps = np.zeros(len(keys), np.int64)
        mask = np.uint64(len(keys) - 1)
        line = start
        for i in range(start, end + 1):
            if i < end and data[i] != NEWLINE:
                continue
            characters = length(data, line, i)
            out[5, d] += characters
            a, b = strip(data, line, i, table)
            if a < b:
                out[0, d] += 1
                out[1, d] += (table[code_point(data, last_character(data, line, i), i)[0]] & SENTENCE_END) != 0
                out[2, d] += characters <= short_line
                key = hash_bytes(data, line, i)
                slot = key & mask
                while stamps[slot] == d + 1 and keys[slot] != key:
                    slot = (slot + np.uint64(1)) & mask
                if stamps[slot] == d + 1:
                    out[3, d] += characters
                else:
                    stamps[slot] = d + 1
                    keys[slot] = key
            line = i + 1
        out[4, d] = newlines
        out[6, d] = split_words(data, start, end, table, habits[d], room)
    return out

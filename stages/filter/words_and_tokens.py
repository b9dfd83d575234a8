"""Cuts texts into words and into code tokens in one pass over their bytes, for the search of benchmark items.

A word is what deduplication takes for one (`stages/dedup/words.py`: no case, no accents, digits as they are), a token
what `stages/dedup/code_tokens.py` does. In ASCII a word and a name of a program are the same letters, so one hash
serves for both, and a sign is a token besides. Only from a byte outside ASCII to the next separator the two differ
(an accent, a quotation mark), and there each is hashed for itself.

The hash of a word turns and adds a value a letter, 3 cycles a byte where the multiplications of `words.py` take 7: two
passes with those were 34 of 85 microseconds for a document of 4 kB. It mixes less, but hashes here are only compared,
and multiplied before a place in a table follows from them.

Trade-off: hashes are of this module alone, and equal only to each other; nothing keeps them in a file.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pyarrow as pa
from numba import njit

from stages.dedup.words import PLACE, SEVERAL, decode, fold_table, text_buffers

_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_BYTE = np.uint64(1 << 33)  # a byte of a name outside ASCII
_SIGN = np.uint64(1 << 34)  # a sign, a token of its own
_NONE, _ONE = np.uint64(0), np.uint64(1)


@njit(nogil=True, cache=True, inline="always")
def _value(code):
    """What a letter adds to a hash: 64 bits without structure, never 0 (Steele et al. 2014, SplitMix)."""
    z = np.uint64(code) * _FIRST
    z = (z ^ (z >> np.uint64(30))) * _FIRST
    z = (z ^ (z >> np.uint64(27))) * _SECOND
    return (z ^ (z >> np.uint64(31))) | _ONE


@njit(nogil=True, cache=True, inline="always")
def _longer(h, value):
    return ((h << np.uint64(5)) | (h >> np.uint64(59))) + value


@cache
def byte_values() -> np.ndarray:
    """Row 0: what each byte adds to the hash of a word or name, 0 if it separates them; those beyond ASCII are of names
    only. Row 1: the hash of the sign that the byte is, else 0. uint64."""
    values = np.zeros((2, 256), np.uint64)
    fold = fold_table(False)
    for byte in range(128):
        if fold[byte]:
            values[0, byte] = _value(fold[byte])
        elif byte > 32 and byte != 127:
            values[1, byte] = _value(_SIGN | np.uint64(ord('"') if chr(byte) in "'`" else byte))
    for byte in range(128, 256):
        values[0, byte] = _value(_BYTE | np.uint64(byte))
    values.flags.writeable = False
    return values


@njit(nogil=True, cache=True)
def cut(data, begin, end, fold, values, words, tokens):
    """Hashes of the words and the code tokens of data[begin:end] into `words` and `tokens` (uint64, with room for one
    more than there are bytes); how many of each (uint64).

    fold: `fold_table(False)`. values: `byte_values()`.
    """
    # Places are unsigned: a signed one numba would test for being negative, at each byte (14 microseconds against 9
    # for a text of 4 kB).
    n = _NONE
    m = _NONE
    h = _NONE
    inside = _NONE
    i = np.uint64(begin)
    stop = np.uint64(end)
    while i < stop:
        byte = data[i]
        if byte < 128:
            # No branch on the boundaries of words, which no predictor can guess: the slots are written at every byte,
            # and only a boundary moves on to the next ones.
            i += _ONE
            value = values[0, byte]
            sign = values[1, byte]
            letter = _ONE if value != 0 else _NONE
            longer = _longer(h, value)
            done = inside & (letter ^ _ONE)
            words[n] = h
            n += done
            tokens[m] = h
            m += done
            tokens[m] = sign
            m += _ONE if sign != 0 else _NONE
            h = longer if letter else _NONE
            inside = letter
        else:
            i, n, m = _cut_beyond_ascii(data, i, stop, fold, values, words, tokens, n, m, h, inside)
            h = _NONE
            inside = _NONE
    if inside:
        words[n] = h
        n += _ONE
        tokens[m] = h
        m += _ONE
    return n, m


@njit(nogil=True, cache=True)
def _cut_beyond_ascii(data, i, stop, fold, values, words, tokens, n, m, h, inside):
    """`cut` from the first byte that is not ASCII to the next separator that is: where that stands, and n, m.

    h: hash of what stands before, if that is `inside` a word.
    """
    name = h
    while i < stop:
        byte = data[i]
        if byte < 128:
            value = values[0, byte]
            if value == 0:
                break
            h = _longer(h, value)
            name = _longer(name, value)
            inside = _ONE
            i += _ONE
            continue
        code, after = decode(data, i, stop)
        after = np.uint64(after)
        while i < after:
            name = _longer(name, values[0, data[i]])
            i += _ONE
        folded = fold[code]
        if folded == 1:
            continue
        if folded != 0 and folded < SEVERAL:
            h = _longer(h, _value(folded))
            inside = _ONE
        elif folded == 0 or folded >> np.uint32(31):
            if inside:
                words[n] = h
                n += _ONE
                h = _NONE
                inside = _NONE
            if folded:
                words[n] = _value(folded)
                n += _ONE
        else:
            place = folded & PLACE
            while fold[place] != 0:
                h = _longer(h, _value(fold[place]))
                place += np.uint32(1)
            inside = _ONE
    if inside:
        words[n] = h
        n += _ONE
    tokens[m] = name  # a byte beyond ASCII is part of a name, so there is one
    return i, n, m + _ONE


@njit(nogil=True, cache=True)
def _cut_all(data, offsets, fold, values, code, out, starts):
    most = 0
    for d in range(offsets.size - 1):
        most = max(most, offsets[d + 1] - offsets[d])
    words = np.empty(most + 1, np.uint64)
    tokens = np.empty(most + 1, np.uint64)
    at = _NONE
    for d in range(offsets.size - 1):
        n, m = cut(data, offsets[d], offsets[d + 1], fold, values, words, tokens)
        size = m if code else n
        out[at : at + size] = tokens[:size] if code else words[:size]
        at += size
        starts[d + 1] = at


def hashes_of(texts: pa.Array | pa.ChunkedArray, code: bool) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of the words, or with `code` of the tokens, of each text (uint64, one after another), and where each
    text's begin (int64, one more than there are texts)."""
    data, offsets = text_buffers(texts)
    out = np.empty(int(offsets[-1] - offsets[0]), np.uint64)
    starts = np.zeros(len(offsets), np.int64)
    _cut_all(data, offsets, fold_table(False), byte_values(), code, out, starts)
    return out[: starts[-1]], starts

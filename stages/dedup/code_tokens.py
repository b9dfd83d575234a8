"""Cuts programs into tokens that hold in every language: names, numbers, and each sign by itself.

A program's signs are half of what it says, and its layout is little of it. So an operator or bracket is a token of its
own, and white space, the case of letters and the kind of quotes do not count. No lexer of any language is asked: what
two copies of a program share, they share in these tokens too.

Trade-off: `==` is two tokens, and a comment's words are tokens like others.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pyarrow as pa
from numba import njit

from stages.dedup.words import text_buffers

_START = np.uint64(0x51ED270B7A2F4C91)
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_SIGN = 256


@cache
def _table() -> np.ndarray:
    """Byte -> 0 between tokens, its folded value within a name or number, that and 256 if it is a token by itself."""
    table = np.zeros(256, np.uint16)
    for byte in range(33, 127):
        character = chr(byte)
        if character.isalnum() or character == "_":
            table[byte] = ord(character.lower())
        else:
            table[byte] = (ord('"') if character in "'`" else byte) | _SIGN
    table[128:] = np.arange(128, 256)  # parts of a letter of another script
    table.flags.writeable = False
    return table


@njit(nogil=True, cache=True)
def _tokens(data, offsets, table, hashes, begins, ends, starts):
    count = 0
    for d in range(offsets.size - 1):
        base = offsets[d]
        end = offsets[d + 1]
        h = _START
        inside = False
        for i in range(base, end):
            value = table[data[i]]
            if inside and (value == 0 or value >= 256):
                hashes[count] = h
                ends[count] = i - base
                count += 1
                h = _START
                inside = False
            if value == 0:
                continue
            if not inside:
                begins[count] = i - base
            h = (h ^ np.uint64(value)) * _MULTIPLIER
            h ^= h >> np.uint64(47)
            if value >= 256:
                hashes[count] = h
                ends[count] = i + 1 - base
                count += 1
                h = _START
            else:
                inside = True
        if inside:
            hashes[count] = h
            ends[count] = end - base
            count += 1
        starts[d + 1] = count


def code_tokens(text: pa.Array | pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Hashes (uint64) of the tokens of each text, the bytes (int64) where each begins and ends in its text, and where
    each text's tokens begin (int64, one more than texts)."""
    data, offsets = text_buffers(text)
    room = int(offsets[-1] - offsets[0])
    hashes, begins, ends = np.empty(room, np.uint64), np.empty(room, np.int64), np.empty(room, np.int64)
    starts = np.zeros(len(offsets), np.int64)
    _tokens(data, offsets, _table(), hashes, begins, ends, starts)
    n = starts[-1]
    return hashes[:n], begins[:n], ends[:n], starts

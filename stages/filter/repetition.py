"""Count repeated paragraphs, lines and word n-grams of documents: the kernel of the repetition rules.

Written down as in the paper, the nine n-gram rules walk over all words nine times and store every n-gram each time.
But an n-gram can only be a repeated one if the (n-1)-gram that starts there is repeated. So n goes up one at a time
and only the places whose n-gram occurred twice are looked at again for n + 1: in running text that leaves one place
in three after n = 2 and one in twenty after n = 4, and the result is the same. n-grams are compared by 64-bit hashes.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from stages.filter.utf8 import NEWLINE, hash_bytes, length, longest, strip
from stages.filter.words import scratch, split_words

GRAM_FACTOR = np.uint64(0xD6E8FEB86659FD93)
SLOT_FACTOR = np.uint64(0x9E3779B97F4A7C15)


@njit(nogil=True, cache=True)
def slot_bits(n):
    """Bits of a table for n entries that is at most half full."""
    bits = 4
    while (1 << bits) < 2 * n:
        bits += 1
    return bits


@njit(nogil=True, cache=True)
def count_duplicates(data, start, end, least, keys, stamps, stamp, most):
    """Split data[start:end] at runs of `least` or more newlines; (pieces, pieces seen before, their code points)."""
    bits = np.uint64(64 - slot_bits(most))
    mask = (np.uint64(1) << (np.uint64(64) - bits)) - np.uint64(1)
    pieces, duplicates, characters = 0, 0, 0
    piece = start
    i = start
    while i <= end:
        run = i
        while run < end and data[run] == NEWLINE:
            run += 1
        if i < end and run - i < least:
            i = max(run, i + 1)
            continue
        pieces += 1
        key = hash_bytes(data, piece, i)
        slot = (key * SLOT_FACTOR) >> bits
        while stamps[slot] == stamp and keys[slot] != key:
            slot = (slot + np.uint64(1)) & mask
        if stamps[slot] == stamp:
            duplicates += 1
            characters += length(data, piece, i)
        else:
            stamps[slot] = stamp
            keys[slot] = key
        if i == end:
            break
        piece = run
        i = run
    return pieces, duplicates, characters


@njit(nogil=True, cache=True)
def count_repetition(data, offsets, table, habits):
    """The kernel of `repetition_statistics`: int64 array of shape (16, documents)."""
    n_docs = len(offsets) - 1
    out = np.zeros((16, n_docs), np.int64)
    size = longest(offsets)
    room = scratch(size)
    lengths, hashes = room[6], room[7]
    ahead = np.empty(size + 2, np.int64)  # code points before each word
    places = np.empty(size + 1, np.int32)  # where an n-gram may be a repeated one
    grams = np.empty(size + 1, np.uint64)  # its hash
    slots = np.empty(size + 1, np.int64)  # where the table has it
    capacity = 1 << 12
    keys = np.empty(capacity, np.uint64)
    counts = np.empty(capacity, np.int32)
    firsts = np.empty(capacity, np.int32)
    stamps = np.zeros(capacity, np.int64)  # an entry is valid if it bears the number of the current table
    seen = np.zeros(capacity, np.int64)
    stamp = 0
    for d in range(n_docs):
        start, end = offsets[d], offsets[d + 1]
        if start == end:
            continue
        n = split_words(data, start, end, table, habits[d], room)
        newlines = 0
        for i in range(start, end):
            newlines += data[i] == NEWLINE
        needed = 1 << slot_bits(max(n, newlines + 1))
        if needed > capacity:
            capacity = needed
            keys = np.empty(capacity, np.uint64)
            counts = np.empty(capacity, np.int32)
            firsts = np.empty(capacity, np.int32)
            stamps = np.zeros(capacity, np.int64)
            seen = np.zeros(capacity, np.int64)

        out[0, d] = length(data, start, end)
        a, b = strip(data, start, end, table)
        stamp += 1
        out[1, d], out[2, d], out[3, d] = count_duplicates(data, a, b, 2, keys, stamps, stamp, newlines + 1)
        stamp += 1
        out[4, d], out[5, d], out[6, d] = count_duplicates(data, start, end, 1, keys, stamps, stamp, newlines + 1)

        ahead[0] = 0
        for i in range(n):
            ahead[i + 1] = ahead[i] + lengths[i]
            places[i] = i
            grams[i] = hashes[i]
        n_places = n
        for size_n in range(2, 11):
            # Add a word to the n-grams that may still be repeated, and count them.
            stamp += 1
            bits = np.uint64(64 - slot_bits(n_places))
            mask = (np.uint64(1) << (np.uint64(64) - bits)) - np.uint64(1)
            best, best_first = 1, 0
            kept = 0
            for k in range(n_places):
                i = places[k]
                if i + size_n > n:
                    break
                gram = grams[k] * GRAM_FACTOR + hashes[i + size_n - 1]
                slot = (gram * SLOT_FACTOR) >> bits
                while stamps[slot] == stamp and keys[slot] != gram:
                    slot = (slot + np.uint64(1)) & mask
                if stamps[slot] != stamp:
                    stamps[slot] = stamp
                    keys[slot] = gram
                    counts[slot] = 1
                    firsts[slot] = i
                else:
                    counts[slot] += 1
                    if counts[slot] > best or (counts[slot] == best and firsts[slot] < best_first):
                        best, best_first = counts[slot], firsts[slot]
                places[kept] = i
                grams[kept] = gram
                slots[kept] = slot
                kept += 1
            if size_n <= 4:
                if n >= size_n:
                    gram_length = ahead[best_first + size_n] - ahead[best_first] + size_n - 1
                    out[5 + size_n, d] = gram_length * best
            elif best > 1:
                free = 0  # first word after the last duplicate
                duplicate_characters = 0
                for k in range(kept):
                    i = places[k]
                    if i < free:
                        continue
                    if seen[slots[k]] == stamp:
                        duplicate_characters += ahead[i + size_n] - ahead[i]
                        free = i + size_n
                    else:
                        seen[slots[k]] = stamp
                out[5 + size_n, d] = duplicate_characters
            n_places = 0
            for k in range(kept):
                if counts[slots[k]] > 1:
                    places[n_places] = places[k]
                    grams[n_places] = grams[k]
                    n_places += 1
    return out

"""Compiled passes over the words of texts: where they stand, hashes of runs of them, which runs to look at, and cuts.

Whether any run of 50 words occurs twice in a corpus can be answered without a row for every word of it. Winnowing
(Schleimer, Wilkerson, Aiken 2003) chooses, of every 25 shorter runs in a row, the one with the least hash. Any run of
50 words holds 25 runs of 26, so wherever it stands the same one of them is chosen. Only where a chosen run occurs
twice need runs of 50 be compared: 1 in 13 words gives a row, and the answer is the same.

Trade-off: a run that repeats itself (a table of zeros) has equal hashes; the last of them is chosen, which the words
alone decide, and then every word gives a row.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from stages.dedup.words import PLACE, SEVERAL, decode

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_START = np.uint64(0x51ED270B7A2F4C91)
_BASE = np.uint64(0x2545F4914F6CDD1D)
_MIX = np.uint64(0xD6E8FEB86659FD93)


@njit(nogil=True, cache=True)
def find_words(data, offsets, table, hashes, begins, ends, starts):
    """Words of the texts `data[offsets[d] : offsets[d + 1]]`, as `words.py` folds them.

    hashes (uint64), begins and ends (int64: bytes from the text's start) have room for a word a byte; the words of
    text d are `starts[d]` to `starts[d + 1]`.
    """
    count = 0
    for d in range(offsets.size - 1):
        base = offsets[d]
        end = offsets[d + 1]
        i = base
        h = _START
        inside = False
        while i < end:
            at = i
            if data[i] < 128:
                folded = table[data[i]]
                i += 1
            else:
                code, i = decode(data, i, end)
                folded = table[code]
            if folded == 1:
                if inside:
                    ends[count] = i - base
                continue
            own = folded >> np.uint32(31)
            if inside and (folded == 0 or own):
                hashes[count] = h
                count += 1
                h = _START
                inside = False
            if folded == 0:
                continue
            if not inside:
                begins[count] = at - base
            ends[count] = i - base
            if not own and folded >= SEVERAL:
                place = folded & PLACE
                while table[place] != 0:
                    h = (h ^ np.uint64(table[place])) * _MULTIPLIER
                    h ^= h >> np.uint64(47)
                    place += np.uint32(1)
                inside = True
                continue
            h = (h ^ np.uint64(folded)) * _MULTIPLIER
            if own:
                hashes[count] = h
                count += 1
                h = _START
            else:
                h ^= h >> np.uint64(47)
                inside = True
        if inside:
            hashes[count] = h
            count += 1
        starts[d + 1] = count


@njit(nogil=True, cache=True)
def run_hashes(words, length, out):
    """Hash (uint64) of each run of `length` words; their number. `words` are hashes of 32 bits or more."""
    n = words.size - length + 1
    if n <= 0:
        return 0
    top = np.uint64(1)
    for _ in range(length - 1):
        top = top * _BASE
    h = np.uint64(0)
    for i in range(length):
        h = h * _BASE + np.uint64(words[i])
    for i in range(n):
        x = h ^ (h >> np.uint64(32))
        x *= _MIX
        x ^= x >> np.uint64(29)
        x *= _MULTIPLIER
        out[i] = x ^ (x >> np.uint64(32))
        if i + 1 < n:
            h = (h - np.uint64(words[i]) * top) * _BASE + np.uint64(words[i + length])
    return n


@njit(nogil=True, cache=True)
def winnow(hashes, count, window, out):
    """Indices (int64) of the least hash, the last of equal ones, of every `window` hashes in a row; their number."""
    found = 0
    best = -1
    for last in range(window - 1, count):
        first = last - window + 1
        if best < first:
            best = first
            for i in range(first + 1, last + 1):
                if hashes[i] <= hashes[best]:
                    best = i
            out[found] = best
            found += 1
        elif hashes[last] <= hashes[best]:
            best = last
            out[found] = best
            found += 1
    return found


@njit(nogil=True, cache=True)
def chosen_runs(words, starts, length, window, hashes, texts, places):
    """Winnowed runs of `length` words of each text that has a window of them: hash, text and first word of each."""
    longest = 0
    for d in range(starts.size - 1):
        longest = max(longest, starts[d + 1] - starts[d])
    scratch = np.empty(longest, np.uint64)
    index = np.empty(longest, np.int64)
    count = 0
    for d in range(starts.size - 1):
        n = run_hashes(words[starts[d] : starts[d + 1]], length, scratch)
        found = winnow(scratch, n, window, index)
        for i in range(found):
            hashes[count] = scratch[index[i]]
            texts[count] = d
            places[count] = index[i]
            count += 1
    return count


@njit(nogil=True, cache=True)
def runs_around(words, starts, length, reach, text, place, hashes, texts, places):
    """Hashes of the runs of `length` words that begin up to `reach` words before one of the given places, or there.

    text, place: texts (indices into `starts`) and words in them, sorted. Each run is given once, in order, with its
    text and first word; their number.
    """
    longest = 0
    for d in range(starts.size - 1):
        longest = max(longest, starts[d + 1] - starts[d])
    scratch = np.empty(longest, np.uint64)
    count = 0
    before = -1
    n = 0
    done = 0
    for i in range(text.size):
        d = text[i]
        if d != before:
            n = run_hashes(words[starts[d] : starts[d + 1]], length, scratch)
            before = d
            done = 0
        for at in range(max(done, place[i] - reach), min(n, place[i] + 1)):
            hashes[count] = scratch[at]
            texts[count] = d
            places[count] = at
            count += 1
        done = max(done, min(n, place[i] + 1))
    return count


@njit(nogil=True, cache=True)
def cut_runs(data, offsets, begins, ends, starts, length, text, place, out, to, removed):
    """Write each text again without the runs of `length` words that begin at the given places.

    text, place: as for `runs_around`. out: as many bytes as the texts have; to: where each text ends in it; removed:
    words taken out of each. With the words goes what stands between them, and after them up to the next word, unless
    the line ends there: then the text goes on with the end of that line.
    """
    at = 0
    k = 0
    for d in range(offsets.size - 1):
        base = offsets[d]
        size = offsets[d + 1] - base
        copied = 0
        while k < text.size and text[k] == d:
            first = place[k]
            last = first + length
            k += 1
            while k < text.size and text[k] == d and place[k] <= last:
                last = place[k] + length
                k += 1
            removed[d] += last - first
            for i in range(copied, begins[starts[d] + first]):
                out[at] = data[base + i]
                at += 1
            copied = ends[starts[d] + last - 1]
            following = begins[starts[d] + last] if starts[d] + last < starts[d + 1] else size
            while copied < following and data[base + copied] != 10:
                copied += 1
        for i in range(copied, size):
            out[at] = data[base + i]
            at += 1
        to[d] = at

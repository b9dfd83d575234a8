"""Cut text into words, in compiled code on UTF-8 bytes, for rules that count them.

The thresholds of the Gopher, C4 and FineWeb rules were set with datatrove's splitters: spaCy for most languages,
dictionaries or neural models for some. spaCy's rules are good but cost 13 ms a page of 5 kB; the others need
gigabytes of packages. What the rules need of a splitter is that the same text gives about the same number of words,
that a comma is a word of its own, and that a repeated phrase is cut the same way each time. That is had for 0.05 ms:

1. White space ends a word.
2. Punctuation is split off both ends of what stands between spaces, one character at a time, an ellipsis whole. The
   full stop of `U.S.`, `e.g.` and `J.` stays.
3. Inside, words are cut at hyphens, `/`, `:`, `=`, `<`, `>` and commas between letters, at emoji, and at a full stop
   between a small and a capital letter (`end.Next`). URLs and e-mail addresses stay whole.
4. `it's`, `we'll` and `don't` are two words (`do` + `n't`) in English, `l'homme` in French; languages differ in what
   they do with apostrophes and hyphens, and `word_habits.py` says how.
5. Scripts without spaces, and Korean, are cut by rules of the script (`syllables.py`).

1 to 4 are spaCy's rules without most of its 1,300 exceptions (`Mr.`, `and/or`, `:-)`); the result is compared with
spaCy's in `README.md`. 5 is coarser than what FineWeb-2 used and is stated there by script.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numba import njit

from stages.filter.characters import (
    LETTER,
    PUNCTUATION,
    SENTENCE_END,
    SPACE,
    SYMBOL,
    character_table,
)
from stages.filter.pieces import cut_piece, is_cannot, is_emoticon
from stages.filter.utf8 import code_point, hash_bytes
from stages.filter.word_habits import CONTRACTIONS, word_habits

#: What a word is, as bits of its `kind`.
HAS_LETTER = 1  # has a letter (`str.isalpha`)
NOT_SYMBOL = 2  # has a character outside SYMBOL
ENDS_SENTENCE = 4  # is one sentence-ending character
ALL_PUNCTUATION = 8

#: What may follow a plain word at once, and a character that is none of it.
PLAIN_MARKS = tuple(b".,;:!?")
NO_MARK = 0x20


@njit(nogil=True, cache=True)
def scratch(size):
    """Arrays that `split_words` needs for documents of up to `size` bytes.

    First the characters of the piece at hand (code points, flags, byte offsets, ends of its words), then the words:
    start and end byte, length in code points, hash, kind. Pages never written cost nothing.
    """
    return (
        np.empty(size + 1, np.int32),
        np.empty(size + 1, np.uint32),
        np.empty(size + 1, np.int64),
        np.empty(2 * size + 2, np.int32),
        np.empty(size + 1, np.int64),
        np.empty(size + 1, np.int64),
        np.empty(size + 1, np.int32),
        np.empty(size + 1, np.uint64),
        np.empty(size + 1, np.uint8),
    )


@njit(nogil=True, cache=True)
def split_words(data, start, end, table, habits, room):
    """Cut data[start:end] into words; they are left in the last five arrays of `room`.

    data: uint8 buffer, UTF-8. table: `character_table()`. habits: of the language
    (`word_habits.py`). room:
    `scratch(size)` with size >= end - start. Returns the number of words.
    """
    points, flags, offsets, cuts, starts, ends, lengths, hashes, kinds = room
    n = 0
    i = start
    while i < end:
        # Most pieces are ASCII letters, perhaps with a comma or full stop, and need no other look.
        j = i
        while j < end and data[j] < 0x80 and table[data[j]] & LETTER:
            j += 1
        if j > i + 1:
            stop = j
            mark = data[j] if j < end else NO_MARK
            if mark in PLAIN_MARKS and data[j - 1] >= 0x61:
                stop = j + 1
            plain = stop == end or (data[stop] < 0x80 and table[data[stop]] & SPACE)
            if plain and not (j - i == 6 and habits & CONTRACTIONS and is_cannot(data, i, j)):
                starts[n] = i
                ends[n] = j
                lengths[n] = j - i
                hashes[n] = hash_bytes(data, i, j)
                kinds[n] = HAS_LETTER | NOT_SYMBOL
                n += 1
                if stop > j:
                    starts[n] = j
                    ends[n] = stop
                    lengths[n] = 1
                    hashes[n] = hash_bytes(data, j, stop)
                    kinds[n] = ALL_PUNCTUATION | (ENDS_SENTENCE if table[mark] & SENTENCE_END else 0)
                    n += 1
                i = stop + 1
                continue

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
        n_cuts = cut_piece(points, flags, m, seen, habits, cuts)
        a = 0
        for k in range(n_cuts):
            b = cuts[k]
            some = np.uint32(0)
            every = ~np.uint32(0)
            for j in range(a, b):
                some |= flags[j]
                every &= flags[j]
            word_start = offsets[a]
            word_end = offsets[b]
            kind = ALL_PUNCTUATION if every & PUNCTUATION else 0
            merge = False
            if b - a == 1 and every & SYMBOL:
                if k > 0 and ends[n - 1] == word_start and lengths[n - 1] == 1:
                    merge = is_emoticon(data[word_start - 1], data[word_start])
                if every & SENTENCE_END:
                    kind |= ENDS_SENTENCE
            if merge:
                n -= 1
                word_start = starts[n]
                kind &= kinds[n] & ALL_PUNCTUATION
                lengths[n] = 2
            else:
                lengths[n] = b - a
            if some & LETTER:
                kind |= HAS_LETTER
            if not every & SYMBOL:
                kind |= NOT_SYMBOL
            starts[n] = word_start
            ends[n] = word_end
            hashes[n] = hash_bytes(data, word_start, word_end)
            kinds[n] = kind
            n += 1
            a = b
    return n


def words(text: str, language: str = "und") -> list[str]:
    """The words of a text as the rules count them. For inspection and tests; the rules never make such a list."""
    data = np.frombuffer(text.encode("utf-8"), np.uint8)
    room = scratch(len(data))
    n = split_words(data, 0, len(data), character_table(), word_habits(language), room)
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

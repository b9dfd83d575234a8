"""C4's rules for lines: the kernel that writes the text again without the lines that break one.

The rules look for fixed phrases, so a line is read byte by byte once, and the phrases are compared only where their
first letter stands. Sentences are counted only until there are enough of them: five of the first lines settle it.

Trade-off: phrases are found whatever the case of their ASCII letters. `str.lower`, which the reference
implementation uses, also maps the Kelvin sign to k; a page that writes "cookie policy" with it is not recognised.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from stages.filter.characters import DIGIT
from stages.filter.utf8 import NEWLINE, code_point, is_white, line_break, longest, strip
from stages.filter.words import ALL_PUNCTUATION, ENDS_SENTENCE, scratch, split_words

OPEN, CLOSE, CURLY, DOT = 0x5B, 0x5D, 0x7B, 0x2E
LOREM_IPSUM = b"lorem ipsum"
JAVASCRIPT = b"javascript"
POLICY = (b"terms of use", b"privacy policy", b"cookie policy", b"uses cookies", b"use of cookies", b"use cookies")
CITATIONS = (b"edit]", b"citation needed]")

#: Why a line is removed, in the order the rules are tried.
LINE_REASONS = ("too_long_word", "no_terminal_punctuation", "too_few_words", "javascript", "policy")
#: Why a document is dropped: verdict 1, 2 and 3 of `filter_lines`.
DOCUMENT_REASONS = ("lorem_ipsum", "curly_bracket", "too_few_sentences")
HAS_LOREM, HAS_JAVASCRIPT, HAS_CURLY, HAS_POLICY = 1, 2, 4, 8


@njit(nogil=True, cache=True)
def matches(data, i, end, phrase):
    """Whether data[i:end] starts with an ASCII phrase in small letters, whatever the case in data."""
    if i + len(phrase) > end:
        return False
    for j in range(len(phrase)):
        b = data[i + j]
        if b >= 0x41 and b <= 0x5A:
            b |= 0x20
        if b != phrase[j]:
            return False
    return True


@njit(nogil=True, cache=True)
def phrases_in(data, start, end):
    """Bits for the phrases found in data[start:end]."""
    found = 0
    for i in range(start, end):
        b = data[i]
        if b == CURLY:
            found |= HAS_CURLY
            continue
        b |= 0x20
        if b == 0x6C:  # l
            if matches(data, i, end, LOREM_IPSUM):
                found |= HAS_LOREM
        elif b == 0x6A:  # j
            if matches(data, i, end, JAVASCRIPT):
                found |= HAS_JAVASCRIPT
        elif (
            (b == 0x74 and matches(data, i, end, POLICY[0]))
            or (b == 0x70 and matches(data, i, end, POLICY[1]))
            or (b == 0x63 and matches(data, i, end, POLICY[2]))
            or (
                b == 0x75
                and (
                    matches(data, i, end, POLICY[3])
                    or matches(data, i, end, POLICY[4])
                    or matches(data, i, end, POLICY[5])
                )
            )
        ):
            found |= HAS_POLICY
    return found


@njit(nogil=True, cache=True)
def citation_end(data, i, end, table):
    """End of the citation mark that starts at the bracket i (`[12]`, `[]`, `[edit]`, `[citation needed]`), or i."""
    j = i + 1
    while j < end:
        c, width = code_point(data, j, end)
        if c == CLOSE:
            return j + 1
        if not table[c] & DIGIT:
            break
        j += width
    for k in range(2):
        phrase = CITATIONS[0] if k == 0 else CITATIONS[1]
        same = i + 1 + len(phrase) <= end
        j = 0
        while same and j < len(phrase):
            same = data[i + 1 + j] == phrase[j]
            j += 1
        if same:
            return i + 1 + len(phrase)
    return i


@njit(nogil=True, cache=True)
def copy_line(data, start, end, out, at, table, remove_citations):
    """Copy a line to out[at:], without citation marks if asked to; returns where it ends there."""
    i = start
    while i < end:
        if remove_citations and data[i] == OPEN:
            after = citation_end(data, i, end, table)
            if after > i:
                i = after
                continue
        out[at] = data[i]
        at += 1
        i += 1
    return at


@njit(nogil=True, cache=True)
def ends_well(data, start, end):
    """Whether a line ends with a terminal punctuation mark and not with three full stops."""
    if start == end:
        return False
    b = data[end - 1]
    if b == DOT:
        return not (end - start >= 3 and data[end - 2] == DOT and data[end - 3] == DOT)
    return b == 0x3F or b == 0x21 or b == 0x22 or b == 0x27  # ? ! " '


@njit(nogil=True, cache=True)
def measure_words(data, start, end, table):
    """(words between white space, code points of the longest) of a line."""
    n, most, current = 0, 0, 0
    i = start
    while i < end:
        c, width = code_point(data, i, end)
        if is_white(c, table):
            current = 0
        else:
            n += current == 0
            current += 1
            most = max(most, current)
        i += width
    return n, most


@njit(nogil=True, cache=True)
def count_sentences(data, start, end, table, habits, room):
    """Sentences of a line: a new one starts at the first word after a sentence end and the punctuation behind it."""
    n = split_words(data, start, end, table, habits, room)
    kinds = room[8]
    sentences = min(n, 1)
    ended = False
    for i in range(n):
        if kinds[i] & ENDS_SENTENCE:
            ended = True
        elif ended and not kinds[i] & ALL_PUNCTUATION:
            sentences += 1
            ended = False
    return sentences


@njit(nogil=True, cache=True)
def filter_lines(
    data,
    offsets,
    table,
    habits,
    applies,
    max_word_length,
    remove_citations,
    terminal_punctuation,
    min_words,
    min_sentences,
    phrases,
):
    """Apply the rules to every document d with applies[d]; others, and dropped ones, keep their text.

    phrases: bits of the phrases that count; a limit of 0 turns its rule off. Returns the new text (uint8 buffer and
    int64 offsets), the verdict per document (uint8: 0 keep, else 1 + place in DOCUMENT_REASONS), the sentences
    counted (enough of them if there are more) and lines per document (int64 array: all lines, then those removed by
    reason).
    """
    n_docs = len(offsets) - 1
    out = np.empty(offsets[n_docs] - offsets[0] + 1, np.uint8)
    out_offsets = np.zeros(n_docs + 1, np.int64)
    verdict = np.zeros(n_docs, np.uint8)
    sentences = np.zeros(n_docs, np.int64)
    lines = np.zeros((1 + len(LINE_REASONS), n_docs), np.int64)
    room = scratch(longest(offsets))
    for d in range(n_docs):
        start, end = offsets[d], offsets[d + 1]
        base = out_offsets[d]
        at = base
        i = start
        while applies[d] and i < end and verdict[d] == 0:
            stop = i
            width = 0
            while stop < end:
                b = data[stop]
                if b <= 0x1E or b == 0xC2 or b == 0xE2:
                    width = line_break(data, stop, end)
                    if width:
                        break
                stop += 1
            a, b = strip(data, i, stop, table)
            i = stop + width
            lines[0, d] += 1
            n_words, longest_word = measure_words(data, a, b, table)
            if max_word_length > 0 and longest_word > max_word_length:
                lines[1, d] += 1
                continue
            line = at + 1 if at > base else at
            line_end = copy_line(data, a, b, out, line, table, remove_citations)
            if terminal_punctuation and not ends_well(out, line, line_end):
                lines[2, d] += 1
                continue
            if n_words < min_words:
                lines[3, d] += 1
                continue
            found = phrases_in(out, line, line_end) & phrases
            if found & HAS_LOREM:
                verdict[d] = 1
            elif found & HAS_JAVASCRIPT:
                lines[4, d] += 1
            elif found & HAS_CURLY:
                verdict[d] = 2
            elif found & HAS_POLICY:
                lines[5, d] += 1
            else:
                if sentences[d] < min_sentences:
                    sentences[d] += count_sentences(out, line, line_end, table, habits[d], room)
                if line > at:
                    out[at] = NEWLINE
                at = line_end
        if applies[d] and verdict[d] == 0:
            if sentences[d] < min_sentences:
                verdict[d] = 3
            else:
                a, b = strip(out, base, at, table)
                for k in range(a, b):
                    out[base + k - a] = out[k]
                at = base + b - a
        if not applies[d] or verdict[d] != 0:
            for k in range(start, end):
                out[base + k - start] = data[k]
            at = base + end - start
        out_offsets[d + 1] = at
    return out, out_offsets, verdict, sentences, lines

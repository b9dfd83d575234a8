"""Puts words together that a line end has cut in two.

`exam-` and `ple` are one word, `well-` and `known` are two. No list of words serves every language and subject; the
document itself does: what it writes in the middle of lines is how it writes. Where it says nothing, the hyphen goes,
for of the hyphens at line ends in justified text nine in ten are the typesetter's.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

SOFT = "\u00ad"
_HYPHENS = "-\u2010" + SOFT
_WORD = re.compile(r"\w+(?:[-\u2010]\w+)*")
_LAST = re.compile(r"([^\W\d_]+(?:[-\u2010][^\W\d_]+)*)[-\u2010\u00ad]$")
_FIRST = re.compile(r"[^\W\d_]+(?:[-\u2010][^\W\d_]+)*")
#: How often both halves must stand alone in the document for a hyphen between them to stay.
_ALONE = 2


def vocabulary(lines: Iterable[str]) -> Counter[str]:
    """How often each word stands within a line, in small letters. A line's last word counts only if it is whole."""
    words: Counter[str] = Counter()
    for line in lines:
        found = _WORD.findall(line.lower())
        words.update(found[:-1] if line[-1:] in _HYPHENS else found)
    return words


def ends_cut(line: str) -> bool:
    """Whether a line ends in a hyphen that may have cut a word."""
    return line[-1:] in _HYPHENS and len(line) > 1 and line[-2].isalnum()


def join_cut(line: str, following: str, words: Counter[str]) -> str:
    """A line that ends in a hyphen, and the one after it, as one string."""
    soft = line.endswith(SOFT)
    last, first = _LAST.search(line), _FIRST.match(following)
    if first is None or last is None:
        # Numbers (`2019-` `2020`), or a dash: nothing was cut.
        return (line + following) if following[:1].isalnum() and line[-2:-1].isalnum() else f"{line} {following}"
    head, tail = last[1].lower(), first[0].lower()
    if soft:
        return line[:-1] + following
    if not following[0].islower() and following[0].lower() != following[0]:
        return line + following  # `Anglo-` `Saxon`
    whole, compound = words[head + tail], words[f"{head}-{tail}"] + words[f"{head}\u2010{tail}"]
    if whole == compound == 0 and "-" not in head and len(head) > 2 and len(tail) > 2:
        compound = words[head] >= _ALONE and words[tail] >= _ALONE
    return (line if compound > whole else line[:-1]) + following

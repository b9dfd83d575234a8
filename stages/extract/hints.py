"""Tells in one pass which of a few words a page's source holds, so that most pages are spared the search for the rest.

Formulas and code blocks are rewritten in the source by patterns, each of which is announced by some word (`<pre`,
`katex`, `alt="\\`). Asking for the words one by one reads every page twenty times, 1.2 ms of 150 kB. One pass looks
each pair of bytes up in a table and compares a word only where the rarest of its pairs stands: a tenth of that.

The trade-off: words are told exactly as written here, in one case.
"""

from __future__ import annotations

import numpy as np
from numba import njit

#: Words, each with the pair of its letters that is rarest in 80 web pages: on one byte of 90 a pair of any word.
_PAIRS = {
    # stages/extract/code.py
    "<pre": "<p", "<td": "<t", "<figure": "<f", "code-block": "od", '<code class="': "<c", "hljs-ln": "lj",
    "js-file-line-container": "js", "crayon-table": "yo",
    # stages/extract/formulas.py
    "<math": "<m", "<mjx-container": "jx", 'type="math/': "h/", "type='math/": "'m", "type=math/": "=m", "katex": "ka",
    "mwe-math-element": "mw", "MathJax": "hJ", "mjx-chtml": "jx", "data-tex": "a-", "data-latex": "-l",
    "data-math": "-m", "hurmet-tex": "hu", "data-xpm-latex": "pm", "data-equation-content": "eq", 'alt="\\': '"\\',
    'alt="$': '"$', "math": "ma", "atex": "ex", "tex=": "x=", "eeimg": "mg", 'tex"': 'x"', "math/tex": "h/",
}  # fmt: skip
WORDS = tuple(_PAIRS)
_BITS = {word: 1 << k for k, word in enumerate(WORDS)}

_LENGTHS = np.array([len(word) for word in WORDS])
_LETTERS = np.zeros((len(WORDS), _LENGTHS.max()), np.uint8)
_OFFSETS = np.array([word.index(pair) for word, pair in _PAIRS.items()])
#: For every pair of bytes the words that are found by it, as bits.
_FOUND_BY = np.zeros(65536, np.int64)
for _k, (_word, _pair) in enumerate(_PAIRS.items()):
    _LETTERS[_k, : len(_word)] = np.frombuffer(_word.encode(), np.uint8)
    _FOUND_BY[ord(_pair[0]) << 8 | ord(_pair[1])] |= 1 << _k
#: The pairs alone, a byte each: the table of bits takes 512 kB, more than the caches near the core hold.
_RARE = _FOUND_BY != 0


@njit(nogil=True, cache=True)
def _scan(
    page: np.ndarray,
    rare: np.ndarray,
    found_by: np.ndarray,
    offsets: np.ndarray,
    letters: np.ndarray,
    lengths: np.ndarray,
) -> int:
    found = 0
    pair = 0
    for at in range(len(page)):
        pair = (pair << 8 | page[at]) & 0xFFFF
        if not rare[pair]:
            continue
        left = found_by[pair] & ~found
        word = 0
        while left:
            if left & 1:
                begin = at - 1 - offsets[word]
                if begin >= 0 and begin + lengths[word] <= len(page):
                    k = 0
                    while k < lengths[word] and page[begin + k] == letters[word, k]:
                        k += 1
                    if k == lengths[word]:
                        found |= 1 << word
            left >>= 1
            word += 1
    return found


class Hints:
    """Which of `WORDS` a page holds."""

    def __init__(self, page: str | bytes):
        """page: its source, as UTF-8 if bytes."""
        source = page.encode("utf-8", "replace") if isinstance(page, str) else page
        self._found = _scan(np.frombuffer(source, np.uint8), _RARE, _FOUND_BY, _OFFSETS, _LETTERS, _LENGTHS)

    def any(self, *words: str) -> bool:
        """Whether the page holds one of these. KeyError for a word that is not in `WORDS`."""
        return any(self._found & _BITS[word] for word in words)

"""Finds the tags of a page that can hold its metadata, in one pass over the bytes.

Two dozen words have to be looked for. Searching the page for each takes 0.05 to 0.1 ms a word on a page of 150 kB,
all of them more than a tenth of what the extraction takes. So one kernel walks from tag to tag and looks inside of
those few kinds that can matter, for all words at once: it compares every four bytes with a table.

The trade-off: a comment or script that quotes a tag is taken for the tag, as nothing here knows where one begins.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

META, TIME, SCRIPT, LINK, SPAN, HTML = range(1, 7)
#: Most bytes of a tag, and most tags of a kind that are noted.
LENGTH, MOST = 3000, 100


class Tag(NamedTuple):
    """A tag of one of the kinds above; `page[start:end]` is it without its closing bracket."""

    kind: int
    start: int
    end: int


def _key(word: str) -> int:
    """The first four letters of a word as the kernel sees them: as one number, upper and lower case alike."""
    key = 0
    for byte in word.encode()[:4]:
        key = key << 8 | (byte | 32)
    return key


#: For each kind, the words of which its tag must have one, and the marks of the first four letters of each.
_WORDS = {
    META: ("date", "publish", "time", "issued", "created", "modified", "right", "license", "licence", "stmo", "_name"),
    TIME: ("date",),
    SCRIPT: ("ld+json",),
    LINK: ("license", "licence", "ivecommons"),
    SPAN: ("date",),
}
_NAMES = np.array([_key(name) for name in ("meta", "time", "scri", "span", "html", "link", "area", "lice", "cc:l")])
_META, _TIME, _SCRI, _SPAN, _HTML, _LINK, _AREA, _LICE, _CC = _NAMES.tolist()
_A = ord("a")


def _table() -> tuple[np.ndarray, np.ndarray]:
    """Bits of the kinds that look for a key, and the keys, by a hash of the key in 12 bits."""
    kinds, keys = np.zeros(4096, np.uint8), np.zeros(4096, np.int64)
    for kind, words in _WORDS.items():
        for key in map(_key, words):
            place = (key * 0x9E3779B1 >> 18) & 4095
            assert keys[place] in (0, key), "two words of one hash: choose another multiplier"
            keys[place] = key
            kinds[place] |= 1 << kind
    return kinds, keys


_KINDS, _KEYS = _table()


@njit(nogil=True, cache=True)
def _kind(page: np.ndarray, at: int) -> int:
    """The kind of the tag whose name starts at `at`; 0 if it is none of those that are looked into."""
    first = page[at] | 32
    if first == _A and page[at + 1] <= 32:
        return LINK
    if first not in (109, 116, 115, 104, 108, 97, 99):  # m t s h l a c
        return 0
    name = 0
    for k in range(4):
        name = name << 8 | (page[at + k] | 32)
    if name == _META:
        return META
    if name == _TIME and page[at + 4] <= 32:
        return TIME
    if name == _SCRI:
        return SCRIPT
    if name == _SPAN and page[at + 4] <= 32:
        return SPAN
    if name == _HTML and page[at + 4] <= 32:
        return HTML
    return LINK if name in (_LINK, _AREA, _LICE, _CC) else 0


@njit(nogil=True, cache=True)
def _find(page: np.ndarray, words: np.ndarray, kinds: np.ndarray, keys: np.ndarray, out: np.ndarray) -> int:
    """Write kind, start and end of the tags to `out`; returns how many there are. `words`: the page, 8 bytes each."""
    ones, tops, brackets = np.uint64(0x0101010101010101), np.uint64(0x8080808080808080), np.uint64(0x3C3C3C3C3C3C3C3C)
    counts = np.zeros(8, np.int64)
    found, at, n = 0, 0, len(page) - 6
    while at < n:
        if page[at] != 60:
            at += 1
            while at & 7 == 0 and at < n:  # eight bytes at once: none is zero once `<` is taken off them
                word = words[at >> 3] ^ brackets
                if (word - ones) & ~word & tops:
                    break
                at += 8
            continue
        start = at
        at += 1
        kind = _kind(page, at)
        if kind == 0 or counts[kind] >= MOST:
            continue
        bit = 1 << kind
        wanted = kind == HTML
        key = 0
        last = min(start + LENGTH, len(page))
        while at < last and page[at] != 62 and page[at] != 60:
            key = (key << 8 | (page[at] | 32)) & 0xFFFFFFFF
            if not wanted:
                place = (key * 0x9E3779B1 >> 18) & 4095
                wanted = kinds[place] & bit != 0 and keys[place] == key
            at += 1
        if wanted and at < last and page[at] == 62:
            out[found, 0], out[found, 1], out[found, 2] = kind, start, at
            found += 1
            counts[kind] += 1
    return found


def find_tags(page: np.ndarray) -> list[Tag]:
    """The tags of a page (uint8, UTF-8) that may hold metadata, in the page's order, at most `MOST` of each kind."""
    page = page.view()
    page.flags.writeable = False  # numba would compile once for writable and once for read-only arrays
    words = page[: len(page) & ~7].view(np.uint64)
    out = np.empty((MOST * 6, 3), np.int64)
    return [Tag(*row) for row in out[: _find(page, words, _KINDS, _KEYS, out)].tolist()]

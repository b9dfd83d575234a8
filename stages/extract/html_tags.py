"""Reads the tags of an HTML page from its bytes: names, numbers of attributes, and what each element is in HTML.

The names are those of the HTML standard's tree construction (WHATWG HTML, 13.2.6), which treats most of them in one of
ten ways. A name becomes a number, so that the loops that follow compare numbers and not strings.
"""

from __future__ import annotations

import numpy as np
from numba import njit

# What a start tag or end tag does to the stack. A name can have several.
VOID = 1  # never on the stack
IGNORED = 2  # html, head, body: there is one of each, whatever the page says
RAW = 4  # its content is text up to its end tag
SPECIAL = 8  # an end tag of an ordinary element does not close it
CLOSES_P = 16  # its start closes an open paragraph
FORMATTING = 32  # opened again behind a block that has closed it
SCOPE = 64  # end tags and paragraphs do not look beyond it
MARKER = 128  # formatting elements do not reach into it or out of it
BLOCK_END = 256  # its end tag closes everything in it, special or not
BREAKOUT = 512  # its start ends SVG and MathML, in which other HTML elements are none

_KINDS: dict[int, str] = {
    VOID: "area base basefont bgsound br col embed frame hr img input keygen link meta param source track wbr",
    IGNORED: "html head body frameset",
    RAW: "script style xmp iframe noembed noframes textarea title plaintext",
    SPECIAL: "address applet area article aside base basefont bgsound blockquote body br button caption center col"
    " colgroup dd details dir div dl dt embed fieldset figcaption figure footer form frame frameset h1 h2 h3 h4 h5 h6"
    " head header hgroup hr html iframe img input keygen li link listing main marquee menu meta nav noembed noframes"
    " noscript object ol p param plaintext pre script search section select source style summary table tbody td"
    " template textarea tfoot th thead title tr track ul wbr xmp",
    CLOSES_P: "address article aside blockquote center details dialog dir div dl fieldset figcaption figure footer"
    " header hgroup main menu nav ol p search section summary ul h1 h2 h3 h4 h5 h6 pre listing form li dd dt plaintext"
    " hr table xmp",
    FORMATTING: "a b big code em font i nobr s small strike strong tt u",
    SCOPE: "applet caption html table td th marquee object template",
    MARKER: "applet caption td th marquee object template",
    BLOCK_END: "address applet article aside blockquote button caption center details dialog dir div dl fieldset"
    " figcaption figure footer form header hgroup li dd dt listing main marquee menu nav object ol p pre search section"
    " select summary table tbody td tfoot th thead tr template ul h1 h2 h3 h4 h5 h6",
    BREAKOUT: "b big blockquote body br center code dd div dl dt em embed h1 h2 h3 h4 h5 h6 head hr i img li"
    " listing menu meta nobr ol p pre ruby s small span strong strike sub sup table tt u ul var",
}


def pack(name: str) -> int:
    """A tag name as the scan sees it: up to 8 lower-case letters as a number, longer ones hashed."""
    word = 0
    for letter in name.encode():
        word = (word * (256 if len(name) <= 8 else 1099511628211) + letter) & 0xFFFFFFFFFFFFFFFF
    return word - (1 << 64) if word >> 63 else word


def hash_table(entries: dict[int, int], slots: int) -> tuple[np.ndarray, np.ndarray]:
    """Keys other than 0 and their values as a table for `find`, with linear probing. `slots` is a power of two and at
    least twice the number of entries."""
    keys, values = np.zeros(slots, np.int64), np.zeros(slots, np.int64)
    for key, value in entries.items():
        slot = (key ^ (key >> 17)) & (slots - 1)
        while keys[slot]:
            slot = (slot + 1) & (slots - 1)
        keys[slot], values[slot] = key, value
    return keys, values


@njit(nogil=True, cache=True)
def find(keys: np.ndarray, values: np.ndarray, key: int) -> int:
    """The value of a key in a hash table; 0 if it is not there."""
    slot = (key ^ (key >> 17)) & (len(keys) - 1)
    while keys[slot]:
        if keys[slot] == key:
            return values[slot]
        slot = (slot + 1) & (len(keys) - 1)
    return 0


def _kinds() -> dict[int, int]:
    out: dict[int, int] = {}
    for bit, names in _KINDS.items():
        for name in names.split():
            out[pack(name)] = out.get(pack(name), 0) | bit
    return out


_KIND_KEYS, _KIND_BITS = hash_table(_kinds(), 512)


@njit(nogil=True, cache=True)
def kind_of(name: int) -> int:
    """The kinds of a packed name, added up; 0 for an ordinary element."""
    return find(_KIND_KEYS, _KIND_BITS, name)


@njit(nogil=True, cache=True)
def is_space(byte: int) -> bool:
    """Whether a byte is white space in HTML."""
    return byte == 32 or (9 <= byte <= 13 and byte != 11)


@njit(nogil=True, cache=True)
def wrapped(digest: int, factor: int, byte: int) -> int:
    """digest * factor + byte, modulo 2^64. The compiler takes it that signed numbers never overflow: hashes made of
    them came out otherwise in a process that had compiled a kernel than in one that had loaded it."""
    return int(np.int64(np.uint64(digest) * np.uint64(factor) + np.uint64(byte)))


@njit(nogil=True, cache=True)
def read_name(page: np.ndarray, at: int) -> tuple[int, int]:
    """The packed tag name that starts at `at`, and where it ends."""
    end = at
    while end < len(page) and not is_space(page[end]) and page[end] != 62 and page[end] != 47:
        end += 1
    factor = 256 if end - at <= 8 else 1099511628211
    name = 0
    for k in range(at, end):
        name = wrapped(name, factor, page[k] | 32 if 65 <= page[k] <= 90 else page[k])
    return name, end


@njit(nogil=True, cache=True)
def read_attribute(page: np.ndarray, at: int) -> tuple[int, int, int, int]:
    """The attribute that starts at `at`: where its name ends, where its value starts and ends, without quotation marks,
    and where it ends with them, which may be behind the page's end. Without a value all four are the name's end.
    """
    n, end = len(page), at
    while end < n and not is_space(page[end]) and page[end] != 62 and page[end] != 47:
        if page[end] == 61 and end > at:
            break
        end += 1
    name_end = end
    while end < n and is_space(page[end]):
        end += 1
    if end >= n or page[end] != 61:
        return name_end, name_end, name_end, name_end
    end += 1
    while end < n and is_space(page[end]):
        end += 1
    if end < n and (page[end] == 34 or page[end] == 39):
        value = end + 1
        end = value
        while end < n and page[end] != page[value - 1]:
            end += 1
        return name_end, value, end, end + 1
    value = end
    while end < n and not is_space(page[end]) and page[end] != 62:
        end += 1
    return name_end, value, end, end


@njit(nogil=True, cache=True)
def read_attributes(page: np.ndarray, at: int, name: int, hashed: bool) -> tuple[int, int, int, bool]:
    """From behind a tag's name on: how many attributes, if wanted a hash of all the tag (else the name), where the tag
    ends, and whether in `/>`.

    The end is that behind `>`; it lies behind the page's end if the page ends inside the tag.
    """
    n = len(page)
    attributes, tag, slash = 0, name, False
    while at < n and page[at] != 62:
        if is_space(page[at]) or page[at] == 47:
            slash = page[at] == 47
            at += 1
            continue
        slash = False
        attributes += 1
        name_end, value, value_end, end = read_attribute(page, at)
        if hashed:
            tag = _hashed(page, value, value_end, _hashed(page, at, name_end, tag))
        at = end
    return attributes, tag, at + 1, slash


@njit(nogil=True, cache=True)
def _hashed(page: np.ndarray, at: int, end: int, digest: int) -> int:
    for k in range(at, end):
        digest = wrapped(digest, 1099511628211, page[k])
    return digest


@njit(nogil=True, cache=True)
def skip_markup(page: np.ndarray, at: int) -> int:
    """From behind `<` or `</` on, where no name follows: the end of a comment or declaration; `at` if it is text."""
    n = len(page)
    if at >= n:
        return n
    if page[at] == 33 and at + 2 < n and page[at + 1] == 45 and page[at + 2] == 45:
        at += 3
        while at < n and not (page[at] == 62 and page[at - 1] == 45 and (page[at - 2] == 45 or page[at - 2] == 33)):
            at += 1
        return at + 1
    if page[at] == 33 or page[at] == 63 or page[at - 1] == 47:
        while at < n and page[at] != 62:
            at += 1
        return at + 1
    return at


@njit(nogil=True, cache=True)
def raw_end(page: np.ndarray, at: int, begin: int, end: int) -> int:
    """Where the text of a raw element ends, whose name is page[begin:end]: at its end tag or at the page's end."""
    n, length = len(page), end - begin
    while at + length + 2 <= n:
        if page[at] == 60 and page[at + 1] == 47:
            k = 0
            while k < length and (page[at + 2 + k] | 32) == (page[begin + k] | 32):
                k += 1
            after = page[at + 2 + length] if at + 2 + length < n else 62
            if k == length and (is_space(after) or after == 47 or after == 62):
                return at
        at += 1
    return n


@njit(nogil=True, cache=True)
def skip_tag(page: np.ndarray, at: int) -> int:
    """From within a tag without attributes: behind its end, or the page's."""
    while at < len(page) and page[at] != 62:
        at += 1
    return min(at + 1, len(page))

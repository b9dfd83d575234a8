"""A tag's attributes: what they say of the element, and those a parser or an extractor reads copied to the marked page.

One pass over a tag does both, because attributes are half of a page's bytes: class names that hide an element or name
its part of the page are looked up where they stand, and nearly all else is left behind.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from stages.extract.class_names import FAMILIES, name_bits
from stages.extract.html_tags import find, hash_table, is_space, pack, read_attribute, wrapped

# What is done with an attribute.
_NAMES_PART, _CLASS, _STYLES, _HIDES, _COPIED = 1, 2, 4, 8, 16
_DONE = {"class": _NAMES_PART | _CLASS, "id": _NAMES_PART, "role": _NAMES_PART, "itemprop": _NAMES_PART,
         "data-testid": _NAMES_PART, "style": _STYLES, "hidden": _HIDES}  # fmt: skip
#: Attributes that the parser reads where it builds the tree, and with them those that resiliparse's rule reads. All
#: others (addresses, drawings, handlers) are left out.
_OF_PARSER = ("type", "color", "face", "size", "encoding")
_OF_RULE = ("class", "id", "role", "hidden", "style", "rel", "aria-hidden", "aria-expanded", "data-ad",
            "data-advertisement", "data-text-ad", "itemprop", "data-testid", "open")  # fmt: skip
_LONGEST = max(map(len, _DONE | dict.fromkeys(_OF_PARSER + _OF_RULE)))
_HIDDEN_BIT = 1 << FAMILIES.index("hidden")


def _attribute_table(copied: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    done = _DONE | {name: _DONE.get(name, 0) | _COPIED for name in copied}
    return hash_table({pack(name): what for name, what in done.items()}, 128)


FOR_PARSER, FOR_RULE = _attribute_table(_OF_PARSER), _attribute_table(_OF_PARSER + _OF_RULE)


@njit(nogil=True, cache=True)
def _hides(page: np.ndarray, at: int, end: int) -> bool:
    """Whether a style, page[at:end], says `display:none`."""
    for k in range(at, end - 11):
        if page[k] == 100 and page[k + 7] == 58:  # d, colon
            none = k + 8 + (page[k + 8] == 32)
            if page[none] == 110 and page[none + 1] == 111 and page[none + 2] == 110:
                return True
    return False


@njit(nogil=True, cache=True)
def copy_attributes(
    page: np.ndarray, at: int, out: np.ndarray, to: int, keys: np.ndarray, values: np.ndarray
) -> tuple[int, int, int, int]:
    """Read a tag's attributes from behind its name on, and copy those of which the table says so, and the tag's end.

    Where the tag ends, which is behind the page's end if the page ends inside of it; where the copy does; the families
    of what the attributes say; a hash of the class.
    """
    n, slash, bits, shape = len(page), False, 0, 0
    while at < n and page[at] != 62:
        if is_space(page[at]) or page[at] == 47:
            slash = page[at] == 47
            at += 1
            continue
        slash = False
        begin = at
        name_end, value, value_end, at = read_attribute(page, begin)
        what = 0
        if name_end - begin <= _LONGEST:
            name, factor = 0, 256 if name_end - begin <= 8 else 1099511628211
            for k in range(begin, name_end):
                name = wrapped(name, factor, page[k] | 32)
            what = find(keys, values, name)
        if what & _NAMES_PART:
            bits |= name_bits(page, value, min(value_end, value + 400))
        if what & _CLASS:
            for k in range(value, min(value_end, value + 200)):
                if not 48 <= page[k] <= 57:  # numbers tell items from their like
                    shape = wrapped(shape, 1099511628211, page[k])
        if what & _HIDES or (what & _STYLES and _hides(page, value, value_end)):
            bits |= _HIDDEN_BIT
        if what & _COPIED:
            out[to] = 32
            to += 1
            for k in range(begin, min(at, n)):
                out[to] = page[k]
                to += 1
    if slash:
        out[to], out[to + 1] = 32, 47
        to += 2
    if at < n:
        out[to] = 62
        to += 1
    return at + 1, to, bits, shape

"""Puts a mark, one private character, before each piece of text in a page's source, and notes in which elements it is.

Where a text stands in its page says most of what it is (`places`), and nothing of that is left in what an extractor
writes. The marks come through parser and extractor, and say of every line of the output which pieces of the page it was
made from.

The marked page leaves out what nobody reads of it: most attributes, what scripts and comments hold and, for the model,
elements that show nothing or only change the look of words. So it is less than half as long, and parser and extractor
take half of the time.

The trade-off: the elements' nesting is estimated from the source by a stack with the closings that HTML implies most
often (paragraphs, items, cells), a pass of half a millisecond. A walk over the parsed tree would be exact, and cost
more than the extraction itself.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from stages.extract.class_names import FAMILIES
from stages.extract.html_tags import (
    RAW,
    VOID,
    find,
    hash_table,
    kind_of,
    pack,
    raw_end,
    read_name,
    skip_markup,
    skip_tag,
    wrapped,
)
from stages.extract.mark_attributes import copy_attributes

#: Families of class names that elements belong to by their own names.
_TAGS = {
    "main": "main",
    "article": "article",
    "nav": "nav menu",
    "header": "header",
    "footer": "footer",
    "side": "aside",
    "form": "form fieldset label",
    "button": "button summary",
    "figure": "figure figcaption caption",
    "dialog": "dialog",
    "meta": "time",
    "title": "h1",
    "code": "code pre",
}
#: Elements that count as a place of their own.
PLACES = ("p", "li", "td", "table", "blockquote", "section", "h2", "h3", "h4", "dd", "strong", "b", "a", "address")
#: Ways in which an element can stand out: families of names, and kinds of elements; a bit each.
WAYS = len(FAMILIES) + len(PLACES)
_INLINE = (
    "a abbr acronym b bdi bdo big cite code data del dfn em font i ins kbd label mark nobr q rb rp rt ruby s samp small"
    " span strike strong sub sup time tt u var wbr button"
)
#: The first mark. Marks are written as UTF-8, four bytes each.
FIRST = 0xF0000
MOST = 0x10FFFD - FIRST
FAR = 12  # levels beyond which an element around a text does not count

_P, _LI, _DD, _DT, _TD, _TH, _TR, _OPTION, _TABLE, _UL, _OL, _DL = map(
    pack, ("p", "li", "dd", "dt", "td", "th", "tr", "option", "table", "ul", "ol", "dl")
)
_A, _NOSCRIPT, _SVG, _MATH, _SCRIPT, _STYLE_SHEET = map(pack, ("a", "noscript", "svg", "math", "script", "style"))
_CLOSING_P = tuple(
    pack(name)
    for name in (
        "div p ul ol dl table section article aside header footer nav pre blockquote h1 h2 h3 h4 h5 h6".split()  # noqa: SIM905
    )
)


#: Elements that show nothing here, and those that only change the look of words.
_IDLE_NAMES = "img input meta link source track span b i em strong font u small big s strike"
IS_INLINE, _IDLE = 1 << 62, 1 << 61


def _tags() -> dict[int, int]:
    out: dict[int, int] = {}
    for family, names in _TAGS.items():
        for name in names.split():
            out[pack(name)] = 1 << FAMILIES.index(family)
    for k, name in enumerate(PLACES):
        out[pack(name)] = out.get(pack(name), 0) | 1 << len(FAMILIES) + k
    for name in _INLINE.split():
        out[pack(name)] = out.get(pack(name), 0) | IS_INLINE
    for name in _IDLE_NAMES.split():
        out[pack(name)] = out.get(pack(name), 0) | _IDLE
    return out


_TAG_KEYS, _TAG_BITS = hash_table(_tags(), 256)

# Columns of the elements' numbers, and of their sums.
PARENT, NAME, BLOCK, SHAPE, DEPTH, WAY = range(6)
CHARS, LINKED, MARKS, SCORE, TEXTS = range(5)
# Elements in which a text is a link's, is shown only where there are no scripts, or is no HTML.
_LINK, _SPARE, _FOREIGN = range(3)


@njit(nogil=True, cache=True)
def _closed_by(stack: np.ndarray, top: int, name: int) -> int:
    """How many open elements the start of an element leaves."""
    if name in (_LI, _DD, _DT, _TD, _TH, _TR, _OPTION):
        for k in range(top - 1, max(top - 12, 0), -1):
            other = stack[k, 1]
            if other == name or (name in (_DD, _DT) and other in (_DD, _DT)):
                return k
            if name in (_TD, _TH, _TR) and other in (_TD, _TH):
                if name != _TR:
                    return k
            elif other == _TABLE or (name == _LI and other in (_UL, _OL)) or (name in (_DD, _DT) and other == _DL):
                break
    elif name in _CLOSING_P:
        for k in range(top - 1, max(top - 6, 0), -1):
            if stack[k, 1] == _P:
                return k
            if not find(_TAG_KEYS, _TAG_BITS, stack[k, 1]) & IS_INLINE:
                break
    return top


@njit(nogil=True, cache=True)
def _holds_comment(page: np.ndarray, at: int, end: int) -> bool:
    for k in range(at, end - 3):
        if page[k] == 60 and page[k + 1] == 33 and page[k + 2] == 45 and page[k + 3] == 45:
            return True
    return False


@njit(nogil=True, cache=True)
def _inside(name: int) -> int:
    """Which number of open elements counts this one; -1 if none."""
    if name == _A:
        return _LINK
    if name == _NOSCRIPT:
        return _SPARE
    return _FOREIGN if name in (_SVG, _MATH) else -1


@njit(nogil=True, cache=True)
def _leave(stack: np.ndarray, top: int, keep: int, within: np.ndarray) -> int:
    """Close the open elements from `keep` on; how many are left."""
    for k in range(keep, top):
        inside = _inside(stack[k, 1])
        if inside >= 0:
            within[inside] -= 1
    return min(top, keep)


@njit(nogil=True, cache=True)
def walk(
    page: np.ndarray,
    out: np.ndarray,
    elements: np.ndarray,
    near: np.ndarray,
    sums: np.ndarray,
    pieces: np.ndarray,
    attributes: tuple[np.ndarray, np.ndarray],
    slim: bool,
) -> tuple[int, int, int, int]:
    """Write the marked page; fill the elements' and pieces' numbers.

    attributes: which of them are read and copied, as a hash table. slim: leave out elements that show nothing and those
    that only change the look of words. Returned are the lengths of the output, elements and pieces, and the number of
    characters that are shown only where there are no scripts.
    """
    n, most = len(page), len(elements)
    stack = np.zeros((2000, 2), np.int64)  # element, name
    top, made, texts, at, to = 1, 1, 0, 0, 0
    near[0, :] = FAR
    fresh, unscripted, link, behind_link = True, 0, -1, 0
    within = np.zeros(3, np.int64)
    while at < n:
        if page[at] != 60:
            element = stack[top - 1, 0]
            chars = marks = 0
            while at < n and page[at] != 60:
                byte = page[at]
                if byte <= 32:
                    out[to] = byte
                    to += 1
                    at += 1
                    continue
                if byte == 38 and fresh and at + 6 <= n and page[at + 1] == 110 and page[at + 2] == 98:  # &nbsp;
                    for k in range(6):
                        out[to + k] = page[at + k]
                    to += 6
                    at += 6
                    continue
                if byte == 0xC2 and at + 1 < n and page[at + 1] == 0xA0:
                    out[to], out[to + 1] = 0xC2, 0xA0
                    to += 2
                    at += 2
                    continue
                if (byte == 0xF3 and at + 1 < n and page[at + 1] >= 0xB0) or byte == 0xF4:  # the page's private ones
                    at += min(4, n - at)
                    continue
                if fresh and texts < len(pieces):
                    mark = FIRST + texts
                    out[to] = 0xF0 | mark >> 18
                    out[to + 1] = 0x80 | mark >> 12 & 63
                    out[to + 2] = 0x80 | mark >> 6 & 63
                    out[to + 3] = 0x80 | mark & 63
                    to += 4
                    pieces[texts] = element
                    texts += 1
                    sums[element, TEXTS] += 1
                    fresh = False
                if byte & 0xC0 != 0x80:
                    chars += 1
                    wide = byte == 0xE3 and at + 2 < n and page[at + 1] == 0x80 and page[at + 2] in (0x81, 0x82)
                    marks += byte in (44, 46, 33, 63, 59) or wide
                out[to] = byte
                to += 1
                at += 1
            sums[element, CHARS] += chars
            sums[element, MARKS] += marks
            if within[_LINK] > 0:
                sums[element, LINKED] += chars
            if within[_SPARE] > 0:
                unscripted += chars
            continue
        begin = at
        at += 1
        closing = at < n and page[at] == 47
        at += closing
        if at >= n or not 97 <= (page[at] | 32) <= 122:
            at = min(skip_markup(page, at), n)
            comment = at - begin >= 7 and page[begin + 1] == 33 and page[begin + 2] == 45 and page[begin + 3] == 45
            if comment and slim:
                continue
            for k in range(begin, begin + 4 if comment else at):
                out[to] = page[k]
                to += 1
            if comment:
                out[to], out[to + 1], out[to + 2] = 45, 45, 62
                to += 3
            continue
        fresh = True
        name_at, start = at, to
        name, end = read_name(page, at)
        for k in range(begin, end):
            out[to] = page[k]
            to += 1
        written = to
        at, to, bits, shape = copy_attributes(page, end, out, to, attributes[0], attributes[1])
        kind = kind_of(name)
        tag = find(_TAG_KEYS, _TAG_BITS, name)
        if slim and tag & _IDLE and within[_FOREIGN] == 0 and at <= n:
            to = start
        elif closing:
            out[written] = 62
            to = written + (at <= n)
        if name == _A and slim and at <= n:
            if not closing:
                link, behind_link = start, to
            elif link >= 0:  # resiliparse does not write the end of a link that holds nothing
                last = start
                while last > behind_link and out[last - 1] <= 32:
                    last -= 1
                if last == behind_link:
                    to = link + (start > behind_link)
                    if start > behind_link:
                        out[link] = 32
                link = -1
        if closing:
            if not kind & VOID:
                for k in range(top - 1, max(top - 40, 0), -1):
                    if stack[k, 1] == name:
                        keep = k
                        break
                else:
                    keep = top
                top = _leave(stack, top, keep, within)
        elif kind & RAW and at <= n:
            behind = at
            at = raw_end(page, at, name_at, end)
            # A script that quotes a comment may end elsewhere. resiliparse's rule counts style sheets in the body.
            idle = name == _SCRIPT or (name == _STYLE_SHEET and (slim or (made <= 3 and not texts)))
            if not idle or page[behind - 2] == 47 or at == n or _holds_comment(page, behind, at):
                for k in range(behind, at):
                    out[to] = page[k]
                    to += 1
            elif slim:
                to = start
                at = skip_tag(page, at)
        elif not kind & VOID:
            keep = _closed_by(stack, top, name)
            top = _leave(stack, top, keep, within)
            if top < len(stack) and made < most:
                parent = stack[top - 1, 0]
                bits |= tag
                for c in range(WAYS):
                    near[made, c] = 0 if bits >> c & 1 else min(near[parent, c] + 1, FAR)
                elements[made, PARENT], elements[made, NAME] = parent, name
                elements[made, BLOCK] = elements[parent, BLOCK] if tag & IS_INLINE else made
                elements[made, SHAPE] = wrapped(shape, 31, name)
                elements[made, DEPTH] = elements[parent, DEPTH] + 1
                elements[made, WAY] = bits
                stack[top, 0], stack[top, 1] = made, name
                top += 1
                inside = _inside(name)
                if inside >= 0:
                    within[inside] += 1
                made += 1
    return to, made, texts, unscripted

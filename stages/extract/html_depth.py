"""Estimates how deep the tree of an HTML page will be, from its bytes, before any parser sees it.

HTML parsers and extractors take time quadratic in the nesting depth: 100,000 nested `<div>`, a megabyte, hold
resiliparse for minutes, and a page of 90 kB whose 4,000 `<font>` are never closed becomes a tree of 3 GB. Counting
open and close tags does not find such pages, since HTML closes most elements by itself: a page of 5,000 table rows
may never close a cell, and `</x>` that closes nothing would hide a `<div>` each. So this scan keeps the stack of open
elements as the HTML standard's tree construction does (WHATWG HTML, 13.2.6), without building anything: which end
tags are ignored, which start tags close a paragraph, item, cell or link, which formatting elements are opened again
in every new paragraph. On ordinary pages its depth equals the parser's to within a few levels.

The trade-off: it leaves out what does not change the order of magnitude (misnested formatting, text in tables, HTML
inside SVG), and so stays a single pass at some 300 MB/s.
"""

from __future__ import annotations

from typing import NamedTuple

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
}


def _pack(name: str) -> int:
    """A tag name as the scan sees it: up to 8 lower-case letters as a number, longer ones hashed."""
    word = 0
    for letter in name.encode():
        word = (word * (256 if len(name) <= 8 else 1099511628211) + letter) & 0xFFFFFFFFFFFFFFFF
    return word - (1 << 64) if word >> 63 else word


_SLOTS = 512


def _table() -> tuple[np.ndarray, np.ndarray]:
    """Packed names and their kinds, as a hash table with linear probing."""
    kinds: dict[int, int] = {}
    for bit, names in _KINDS.items():
        for name in names.split():
            kinds[_pack(name)] = kinds.get(_pack(name), 0) | bit
    keys, values = np.zeros(_SLOTS, np.int64), np.zeros(_SLOTS, np.int32)
    for key, kind in kinds.items():
        slot = (key ^ (key >> 17)) & (_SLOTS - 1)
        while keys[slot]:
            slot = (slot + 1) & (_SLOTS - 1)
        keys[slot], values[slot] = key, kind
    return keys, values


_KEYS, _VALUES = _table()

_P, _LI, _DD, _DT, _A, _NOBR, _BUTTON, _FORM, _SELECT = map(
    _pack, ("p", "li", "dd", "dt", "a", "nobr", "button", "form", "select")
)
_TABLE, _TR, _TD, _TH, _TBODY, _THEAD, _TFOOT, _CAPTION, _COLGROUP, _TEMPLATE = map(
    _pack, ("table", "tr", "td", "th", "tbody", "thead", "tfoot", "caption", "colgroup", "template")
)
_OPTION, _OPTGROUP, _RB, _RT, _RP, _RTC, _SVG, _MATH, _DIV, _ADDRESS, _UL, _OL = map(
    _pack, ("option", "optgroup", "rb", "rt", "rp", "rtc", "svg", "math", "div", "address", "ul", "ol")
)
_H1, _H6 = _pack("h1"), _pack("h6")
_PLAINTEXT = _pack("plaintext")


class PageShape(NamedTuple):
    """What the scan found. Where it stopped at a limit, the numbers are those up to there."""

    depth: int  # elements, the deepest nesting
    tags: int  # start tags
    attributes: int  # the most on one tag
    text: int  # characters outside of tags, scripts and comments that are not white space; references as written


@njit(nogil=True, cache=True, inline="always")
def _space(c: int) -> bool:
    return c == 32 or (9 <= c <= 13 and c != 11)


@njit(nogil=True, cache=True)
def _kind(name: int) -> int:
    slot = (name ^ (name >> 17)) & (_SLOTS - 1)
    while _KEYS[slot]:
        if _KEYS[slot] == name:
            return _VALUES[slot]
        slot = (slot + 1) & (_SLOTS - 1)
    return 0


@njit(nogil=True, cache=True)
def _raw_end(page: np.ndarray, at: int, begin: int, end: int) -> int:
    """Where the text of the raw element with the name page[begin:end] ends: at its end tag, or at the page's end."""
    n, length = len(page), end - begin
    while at + length + 2 <= n:
        if page[at] == 60 and page[at + 1] == 47:
            same = True
            for k in range(length):
                if (page[at + 2 + k] | 32) != (page[begin + k] | 32):
                    same = False
                    break
            after = page[at + 2 + length] if at + 2 + length < n else 62
            if same and (_space(after) or after == 47 or after == 62):
                return at
        at += 1
    return n


@njit(nogil=True, cache=True)
def _scan(page: np.ndarray, max_depth: int, max_attributes: int) -> tuple[int, int, int, int]:
    n = len(page)
    names = np.empty(max_depth + 8, np.int64)  # the stack of open elements, and the kind of each
    kinds = np.empty(max_depth + 8, np.int32)
    formats = np.empty(max_depth + 8, np.int64)  # active formatting elements; 0 is a marker
    tags_of = np.empty(max_depth + 8, np.int64)  # hash of the tag with its attributes, of each of these
    top = others = active = live = foreign = 0  # sizes; `others` are open and not formatting, `live` are no markers
    depth = tags = most = text = 0
    at = 0
    while at < n:
        if page[at] != 60:
            text += page[at] > 32 and page[at] & 0xC0 != 0x80
            at += 1
            continue
        at += 1
        if at >= n:
            break
        c = page[at]
        closing = c == 47
        if closing:
            at += 1
            c = page[at] if at < n else 0
        if not 97 <= (c | 32) <= 122:
            if c == 33 and not closing and at + 2 < n and page[at + 1] == 45 and page[at + 2] == 45:
                at += 3
                if at < n and page[at] == 62:  # <!-->
                    continue
                while at < n and not (page[at] == 62 and page[at - 1] == 45 and page[at - 2] == 45):
                    at += 1
            elif c == 33 or c == 63 or closing:
                while at < n and page[at] != 62:
                    at += 1
            continue
        begin = at
        while at < n and not _space(page[at]) and page[at] != 62 and page[at] != 47:
            at += 1
        end = at
        name = 0
        for k in range(begin, end):
            letter = page[k] | 32 if 65 <= page[k] <= 90 else page[k]
            name = name * (256 if end - begin <= 8 else 1099511628211) + letter
        # Attributes
        attributes = 0
        tag = name
        slash = False
        while at < n and page[at] != 62:
            if _space(page[at]) or page[at] == 47:
                slash = page[at] == 47
                at += 1
                continue
            slash = False
            attributes += 1
            while at < n and not _space(page[at]) and page[at] != 62 and page[at] != 47 and page[at] != 61:
                tag = tag * 1099511628211 + page[at]
                at += 1
            value = at
            while value < n and _space(page[value]):
                value += 1
            if value < n and page[value] == 61:
                at = value + 1
                while at < n and _space(page[at]):
                    at += 1
                if at < n and (page[at] == 34 or page[at] == 39):
                    quote = page[at]
                    at += 1
                    while at < n and page[at] != quote:
                        tag = tag * 1099511628211 + page[at]
                        at += 1
                    at += 1
                else:
                    while at < n and not _space(page[at]) and page[at] != 62:
                        tag = tag * 1099511628211 + page[at]
                        at += 1
        at += 1
        if at > n:
            break  # a tag that the page's end cuts off is not one
        kind = _kind(name)
        if closing:
            if kind & (VOID | IGNORED):
                continue
            keep = -1  # the stack's new size
            drop = -1  # or the one entry to take out of it
            if kind & FORMATTING:
                for k in range(active - 1, -1, -1):
                    if formats[k] == 0:
                        break
                    if formats[k] == name:
                        for j in range(k, active - 1):
                            formats[j] = formats[j + 1]
                            tags_of[j] = tags_of[j + 1]
                        active -= 1
                        live -= 1
                        break
                special = False
                for k in range(top - 1, -1, -1):
                    if names[k] == name:
                        if special:
                            drop = k
                        else:
                            keep = k
                        break
                    if kinds[k] & SCOPE:
                        break
                    special = special or (kinds[k] & SPECIAL) != 0
            elif kind & BLOCK_END:
                heading = _H1 <= name <= _H6
                tabular = name in (_TABLE, _TR) or kind & MARKER != 0 or name == _TBODY
                tabular = tabular or name in (_THEAD, _TFOOT)
                for k in range(top - 1, -1, -1):
                    if names[k] == name or (heading and _H1 <= names[k] <= _H6):
                        keep = k
                        break
                    if tabular:
                        if names[k] == _TEMPLATE or (names[k] == _TABLE and name != _TABLE):
                            break
                    elif kinds[k] & SCOPE or (name == _LI and (names[k] == _UL or names[k] == _OL)):
                        break
            else:
                for k in range(top - 1, -1, -1):
                    if names[k] == name:
                        keep = k
                        break
                    if kinds[k] & SPECIAL:
                        break
            if drop >= 0:
                for j in range(drop, top - 1):
                    names[j] = names[j + 1]
                    kinds[j] = kinds[j + 1]
                top -= 1
            keep = keep if keep >= 0 else top
        else:
            tags += 1
            if attributes > most:
                most = attributes
                if most > max_attributes:
                    break
            keep = top
            if kind & IGNORED:
                continue
            # What this start tag closes.
            if kind & CLOSES_P:
                if name in (_LI, _DD, _DT):
                    for k in range(keep - 1, -1, -1):
                        if names[k] == name or (name != _LI and (names[k] == _DD or names[k] == _DT)):
                            keep = k
                            break
                        if kinds[k] & SPECIAL and names[k] != _ADDRESS and names[k] != _DIV and names[k] != _P:
                            break
                for k in range(keep - 1, -1, -1):
                    if names[k] == _P:
                        keep = k
                        break
                    if kinds[k] & SCOPE or names[k] == _BUTTON:
                        break
                if _H1 <= name <= _H6 and keep > 0 and _H1 <= names[keep - 1] <= _H6:
                    keep -= 1
            elif name in (_BUTTON, _SELECT):
                for k in range(keep - 1, -1, -1):
                    if names[k] == name:
                        keep = k
                        break
                    if kinds[k] & SCOPE:
                        break
            elif name in (_OPTION, _OPTGROUP):
                if keep > 0 and names[keep - 1] == _OPTION:
                    keep -= 1
                if name == _OPTGROUP and keep > 0 and names[keep - 1] == _OPTGROUP:
                    keep -= 1
            elif name in (_RB, _RT, _RP, _RTC):
                while keep > 0 and (names[keep - 1] == _RB or names[keep - 1] == _RT or names[keep - 1] == _RP):
                    keep -= 1
            elif name in (_A, _NOBR):
                for k in range(active - 1, -1, -1):
                    if formats[k] == 0:
                        break
                    if formats[k] == name:
                        for j in range(k, active - 1):
                            formats[j] = formats[j + 1]
                            tags_of[j] = tags_of[j + 1]
                        active -= 1
                        live -= 1
                        break
                for k in range(top - 1, -1, -1):
                    if names[k] == name:
                        for j in range(k, top - 1):
                            names[j] = names[j + 1]
                            kinds[j] = kinds[j + 1]
                        top -= 1
                        keep = top
                        break
                    if kinds[k] & SCOPE:
                        break
            # Rows, cells and the like: they close everything down to their table, and are nothing outside of one.
            level = 0
            if name in (_TD, _TH):
                level = 3
            elif name == _TR:
                level = 2
            elif name in (_TBODY, _THEAD, _TFOOT, _CAPTION, _COLGROUP):
                level = 1
            if level or name == _TABLE:
                inside = -1
                for k in range(keep - 1, -1, -1):
                    if names[k] == _TABLE or names[k] == _TEMPLATE:
                        inside = k
                        break
                    if level == 3 and names[k] == _TR:
                        inside = k
                        break
                    if level >= 2 and (names[k] == _TBODY or names[k] == _THEAD or names[k] == _TFOOT):
                        inside = k
                        break
                    if level == 0 and kinds[k] & SCOPE:
                        break
                if level == 0:
                    if inside >= 0 and names[inside] == _TABLE:
                        keep = inside
                elif inside < 0:
                    continue
                else:
                    keep = inside + 1
            if name == _FORM:
                open_form = False
                for k in range(keep):
                    open_form = open_form or names[k] == _FORM
                if open_form:
                    continue
        # Take off what is closed.
        while top > keep:
            top -= 1
            if not kinds[top] & FORMATTING:
                others -= 1
            if kinds[top] & MARKER:
                while active > 0:
                    active -= 1
                    if formats[active] == 0:
                        break
                    live -= 1
            if names[top] == _SVG or names[top] == _MATH:
                foreign -= 1
        if closing or kind & VOID or (slash and (foreign > 0 or name in (_SVG, _MATH))):
            continue
        if kind & RAW and foreign == 0:
            if name == _PLAINTEXT:
                break
            at = _raw_end(page, at, begin, end)
            continue
        names[top] = name
        kinds[top] = kind
        top += 1
        if kind & FORMATTING:
            # Of formatting elements that are equal, three are remembered (the "Noah's Ark clause").
            equal = 0
            first = -1
            for k in range(active - 1, -1, -1):
                if formats[k] == 0:
                    break
                if tags_of[k] == tag:
                    equal += 1
                    first = k
            if equal >= 3:
                for j in range(first, active - 1):
                    formats[j] = formats[j + 1]
                    tags_of[j] = tags_of[j + 1]
                active -= 1
                live -= 1
            formats[active] = name
            tags_of[active] = tag
            active += 1
            live += 1
        else:
            others += 1
            if kind & MARKER:
                formats[active] = 0
                tags_of[active] = 0
                active += 1
            if name in (_SVG, _MATH):
                foreign += 1
        depth = max(depth, top, others + live)
        if depth >= max_depth or active >= max_depth:
            break
    return depth, tags, most, text


def page_shape(page: np.ndarray, max_depth: int, max_attributes: int) -> PageShape:
    """The shape of a page's tree, from its UTF-8 bytes (uint8). The scan stops where a limit is reached."""
    page = page.view()
    page.flags.writeable = False  # numba would compile the scan once for writable and once for read-only arrays
    return PageShape(*_scan(page, max_depth, max_attributes))

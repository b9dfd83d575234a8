"""Says of every piece of text in a page where it stands: in what elements, under which names, beside how much text.

What tells an article from its surroundings best is the structure that its author gave the page: the classes and roles
of the elements around a text (`class_names`), how much text and how many links its block and the blocks around that
hold, and how much text stands in blocks of the same make. From the same numbers follows a rule for main content that
knows what names mean without having been trained: what is called a menu or a footer is none, unless it holds much of
the page's plain text.

The trade-off: resiliparse's rule looks at more, and doubles the time of an extraction. Alone, as lines of more than
half main content, ours has an F1 of .838 on 401 pages, resiliparse's .821. Its shares were chosen on the same pages.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from stages.extract.class_names import families
from stages.extract.html_tags import wrapped
from stages.extract.mark_attributes import FOR_PARSER, FOR_RULE
from stages.extract.marks import (
    BLOCK,
    CHARS,
    DEPTH,
    LINKED,
    MARKS,
    MOST,
    PARENT,
    SCORE,
    SHAPE,
    TEXTS,
    WAY,
    WAYS,
    walk,
)

_LEVELS = 5  # blocks around a text, from the innermost on, that are measured
MAKE = WAYS + 2  # three columns: number of blocks of the same make, their mean length, their share of links
PLACE_FEATURES = MAKE + 3 + 4 * _LEVELS + 3


#: How much of a page's plain text elements may hold that are no main content by these families of names: boxes laid
#: over the page, its frame, and what may be part of an article. From half of these shares to twice of them the rule's
#: own F1 stays within .816 and .838 (resiliparse's rule: .821).
_OVERLAY, OVERLAY = families("consent dialog"), 0.5
_FRAME, FRAME = families("nav path footer share ad side"), 0.2
_EXTRA, EXTRA = families("hidden edge related form button meta comment header"), 0.05
_CONTENT = families("content article main")
#: A block is a list of links if less than this share of its characters, and less than this number, are outside of them.
PLAIN, FEW = 0.4, 300


class Places(NamedTuple):
    """A page with a mark before every piece of text, and where each piece stands."""

    page: bytes
    features: np.ndarray  # float32, (pieces, PLACE_FEATURES)
    main: np.ndarray  # bool, pieces that the rule takes for main content
    unscripted: int  # characters that are shown only where there are no scripts


@njit(nogil=True, cache=True)
def _main_elements(
    elements: np.ndarray, total: np.ndarray, made: int, makes: np.ndarray, order: np.ndarray
) -> np.ndarray:
    """Elements that may hold main content: not those that are named otherwise, if all of their make hold little of the
    page's plain text (outside of links); not blocks of links; and not what is in them."""
    keep, alike = np.ones(made, np.bool_), np.zeros(made, np.float64)
    k = 0
    while k < made:
        j, plain = k, 0.0
        while j < made and makes[order[j]] == makes[order[k]]:
            plain += total[order[j], CHARS] - total[order[j], LINKED]
            j += 1
        for m in range(k, j):
            alike[order[m]] = plain
        k = j
    everything = total[0, CHARS] - total[0, LINKED] + 1e-9
    for k in range(1, made):
        chars, way, share = total[k, CHARS], elements[k, WAY], alike[k] / everything
        named = not way & _CONTENT and (
            (way & _OVERLAY and share < OVERLAY) or (way & _FRAME and share < FRAME) or (way & _EXTRA and share < EXTRA)
        )
        plain = chars - total[k, LINKED]
        links = elements[k, BLOCK] == k and plain < FEW and plain < PLAIN * chars
        keep[k] = keep[elements[k, PARENT]] and not named and not links
    return keep


@njit(nogil=True, cache=True)
def _describe(
    elements: np.ndarray, near: np.ndarray, own: np.ndarray, made: int, pieces: np.ndarray, texts: int
) -> tuple[np.ndarray, np.ndarray]:
    """The features of every piece of text, and whether it is main content."""
    features = np.zeros((texts, PLACE_FEATURES), np.float32)
    total = own[:made].copy()
    # What long texts are worth goes to the block around theirs, and half of it to the one around that.
    for k in range(made):
        block = elements[k, BLOCK]
        plain = own[k, CHARS] - own[k, LINKED]
        if plain > 25:
            worth = 1 + own[k, MARKS] + min(plain / 100, 3.0)
            up = elements[elements[block, PARENT], BLOCK]
            total[up, SCORE] += worth
            up = elements[elements[up, PARENT], BLOCK]
            total[up, SCORE] += worth / 2
    for k in range(made - 1, 0, -1):
        parent = elements[k, PARENT]
        for c in (CHARS, LINKED, MARKS, TEXTS):
            total[parent, c] += total[k, c]
    all_chars = total[0, CHARS] + 1e-9
    best = 1e-9
    for k in range(made):
        total[k, SCORE] *= 1 - total[k, LINKED] / (total[k, CHARS] + 1e-9)
        best = max(best, total[k, SCORE])
    # Elements of the same make
    makes = np.zeros(made, np.int64)
    for k in range(made):
        up = elements[elements[k, PARENT], BLOCK]
        makes[k] = wrapped(elements[k, SHAPE], 1099511628211, elements[up, SHAPE])
    order = np.argsort(makes)
    keep = _main_elements(elements, total, made, makes, order)
    main = np.zeros(texts, np.bool_)
    alike = np.zeros((made, 3), np.float64)
    k = 0
    while k < made:
        j = k
        count = chars = linked = 0.0
        while j < made and makes[order[j]] == makes[order[k]]:
            block = order[j]
            if elements[block, BLOCK] == block:
                count += 1
                chars += total[block, CHARS]
                linked += total[block, LINKED]
            j += 1
        for m in range(k, j):
            alike[order[m], 0], alike[order[m], 1] = count, chars / (count + 1e-9)
            alike[order[m], 2] = linked / (chars + 1e-9)
        k = j
    for t in range(texts):
        element = pieces[t]
        row = features[t]
        main[t] = keep[element]
        for c in range(WAYS):
            row[c] = near[element, c]
        c = WAYS
        block = elements[element, BLOCK]
        row[c], row[c + 1] = elements[element, DEPTH], elements[element, DEPTH] - elements[block, DEPTH]
        c += 2
        row[c], row[c + 1], row[c + 2] = alike[block, 0], alike[block, 1], alike[block, 2]
        c += 3
        at, top_score, own_score, distance = block, 0.0, 0.0, 99
        for level in range(60):
            if level < _LEVELS:
                chars = total[at, CHARS]
                row[c] = chars if level < 2 else chars / all_chars
                row[c + 1] = total[at, LINKED] / (chars + 1e-9)
                row[c + 2] = total[at, MARKS] / (chars + 1e-9)
                row[c + 3] = chars / (total[at, TEXTS] + 1e-9)
                c += 4
            score = total[at, SCORE] / best
            if level < 3:
                own_score = max(own_score, score)
            if score > top_score:
                top_score, distance = score, level
            if at == 0:
                break
            at = elements[elements[at, PARENT], BLOCK]
        c = WAYS + 5 + 4 * _LEVELS
        row[c], row[c + 1], row[c + 2] = top_score, own_score, distance
    return features, main


def mark(source: bytes, for_rule: bool = False) -> Places:
    """A page's source, UTF-8, with marks before its pieces of text, and what is known of the pieces' places.

    What nobody reads is left out; `for_rule` keeps what resiliparse's rule for main content reads.
    """
    page = np.frombuffer(source, np.uint8)
    tags = source.count(b"<") + 2
    out = np.empty(2 * len(page) + 6 * tags, np.uint8)
    elements, near = np.zeros((tags, 6), np.int64), np.empty((tags, WAYS), np.int8)
    sums, pieces = np.zeros((tags, 5), np.float64), np.zeros(min(tags, MOST), np.int64)
    attributes = FOR_RULE if for_rule else FOR_PARSER
    length, made, texts, unscripted = walk(page, out, elements, near, sums, pieces, attributes, not for_rule)
    features, main = _describe(elements, near, sums, made, pieces, texts)
    return Places(out[:length].tobytes(), features, main, unscripted)

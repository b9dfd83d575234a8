"""Says of every piece of text in a page where it stands: in what elements, under which names, beside how much text.

What tells an article from its surroundings best is the structure that its author gave the page: the classes and roles
of the elements around a text (`nav`, `post-body`, `site-footer`), how much text and how many links its block and the
blocks around that hold, and how much text stands in blocks of the same make. Nothing of that is left in an extractor's
output. So the page's source gets a mark, one private character, before every piece of text; the marks come
through parser and extractor, and say of every line of the output which pieces of the page it was made from.

The marked page leaves out what nobody reads of it: most attributes, and what scripts and comments hold. So it is less
than half as long, and the parser takes two thirds of the time.

The trade-off: the elements' nesting is estimated from the source by a stack with the closings that HTML implies most
often (paragraphs, items, cells), a pass of half a millisecond. A walk over the parsed tree would be exact, and cost
more than the extraction itself. Class names are English by the habit of the trade, also on pages in other languages;
where they are not, the counts remain.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from stages.extract.html_tags import (
    RAW,
    VOID,
    is_space,
    kind_of,
    pack,
    raw_end,
    read_name,
    skip_markup,
    wrapped,
)

#: Names of classes, ids, roles and item properties, cut into words, by what they say of the text inside.
_WORDS = {
    "content": "content contents articlebody entrycontent postcontent maincontent bodytext text richtext markdown prose"
    " wysiwyg copy readable bodycopy storybody postbody entry wiki mw parser output rte cms block_content bodycontent",
    "article": "article story hentry blogpost blog post posts postid single news",
    "main": "main primary page document documentation docs documentwrapper center middle",
    "nav": "nav navbar navigation menu menus menubar submenu dropdown tabs tablist tab toolbar topnav subnav sidenav"
    " megamenu hamburger skip jump sitemap toc toctree mainmenu navi navlinks navbox",
    "path": "breadcrumb breadcrumbs crumb crumbs pager pagination paging pages prevnext paginate pagenav pagenavi",
    "header": "header masthead banner topbar head logo hd siteheader pageheader brand branding top",
    "footer": "footer foot footnav ft colophon copyright legal contentinfo bottom sitefooter pagefooter disclaimer",
    "side": "sidebar aside side rail secondary complementary widget widgets sidecol rightcol leftcol right left gutter",
    "comment": "comment comments commentlist commenttext disqus respond responses reply replies discussion feedback"
    " livefyre commentary",
    "thread": "thread topic message messages msg forum postcontainer answer answers question questioner bbcode cooked"
    " phorum viewtopic postrow",
    "related": "related recommended recommendation recommendations recirc more similar popular trending latest recent"
    " suggest suggested suggestions teaser teasers card cards promo outbrain taboola readmore next previous featured"
    " mostread most also morefrom stories explore",
    "share": "share sharing sharebar social socials facebook twitter linkedin pinterest whatsapp follow subscribe"
    " newsletter signup email print addthis addtoany rss like likes",
    "button": "button btn buttons cta action actions click control controls toggle expand collapse icon icons link"
    " links",
    "ad": "ad ads advert adverts advertisement advertising adsense sponsor sponsored sponsors dfp adslot adbox gpt",
    "meta": "meta metadata byline author authors date time timestamp published datetime posted dateline info credit"
    " credits details views count counter stats status label labels badge",
    "person": "bio avatar user username userinfo profile member poster signature rank joined about contributor",
    "tag": "tag tags tagcloud category categories cat cats keywords topics filed taxonomy",
    "hidden": "cookie cookies consent gdpr ccpa modal popup overlay dialog notice alert paywall toast hidden hide sr"
    " visually screenreader offscreen invisible tooltip lightbox cmp onetrust noprint none popover interstitial",
    "form": "form search searchbox login signin register input filter filters sort select cart checkout basket account"
    " wishlist contact",
    "product": "product products price prices pricing sku shop store variant buy stock offer",
    "describe": "description desc describe spec specs specification specifications feature features attributes"
    " overview summary detail productdescription technical",
    "review": "review reviews rating ratings testimonial testimonials stars reviewbody vote votes score",
    "title": "title titles heading headline headings subtitle subheading subhead entrytitle posttitle pagetitle name",
    "intro": "intro introduction lead lede deck abstract excerpt standfirst dek subheadline hero",
    "figure": "caption captions figure figcaption image images img photo photos gallery slider carousel slideshow media"
    " video videos player thumbnail thumb thumbnails picture slick swiper",
    "list": "list lists listing listings grid results result item items row feed archive loop collection",
    "note": "reference references footnote footnotes citation citations notes reflist bibliography sources endnotes",
    "code": "code highlight codehilite sourcecode snippet syntax prettyprint linenums",
}
FAMILIES = tuple(_WORDS)
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
    "hidden": "dialog",
    "meta": "time",
    "title": "h1",
    "code": "code pre",
}
#: Elements that count as a place of their own.
PLACES = ("p", "li", "td", "table", "blockquote", "section", "h2", "h3", "h4", "dd", "strong", "b", "a", "address")
_ALL = len(FAMILIES) + len(PLACES)
_INLINE = (
    "a abbr acronym b bdi bdo big cite code data del dfn em font i ins kbd label mark nobr q rb rp rt ruby s samp small"
    " span strike strong sub sup time tt u var wbr button"
)
_LEVELS = 5  # blocks around a text, from the innermost on, that are measured
MAKE = _ALL + 2  # three columns: number of blocks of the same make, their mean length, their share of links
PLACE_FEATURES = MAKE + 3 + 4 * _LEVELS + 3

#: The first mark. Marks are written as UTF-8, four bytes each.
FIRST = 0xF0000
MOST = 0x10FFFD - FIRST
_FAR = 12  # levels beyond which an element around a text does not count

_READ = tuple(map(pack, ("class", "id", "role", "itemprop", "data-testid")))
_P, _LI, _DD, _DT, _TD, _TH, _TR, _OPTION, _TABLE, _UL, _OL, _DL = map(
    pack, ("p", "li", "dd", "dt", "td", "th", "tr", "option", "table", "ul", "ol", "dl")
)
_A, _H1 = pack("a"), pack("h1")
_CLOSING_P = tuple(
    pack(name)
    for name in (
        "div p ul ol dl table section article aside header footer nav pre blockquote h1 h2 h3 h4 h5 h6".split()  # noqa: SIM905
    )
)


def _hash(word: str) -> int:
    digest = 0
    for letter in word.encode():
        digest = (digest * 1099511628211 + letter) & 0xFFFFFFFFFFFFFFFF
    digest = digest or 1
    return digest - (1 << 64) if digest >> 63 else digest


def _hash_table(entries: dict[int, int], slots: int) -> tuple[np.ndarray, np.ndarray]:
    keys, values = np.zeros(slots, np.int64), np.zeros(slots, np.int64)
    for key, value in entries.items():
        slot = (key ^ (key >> 17)) & (slots - 1)
        while keys[slot]:
            slot = (slot + 1) & (slots - 1)
        keys[slot], values[slot] = key, value
    return keys, values


def _words() -> dict[int, int]:
    out: dict[int, int] = {}
    for k, words in enumerate(_WORDS.values()):
        for word in words.split():
            out[_hash(word)] = out.get(_hash(word), 0) | 1 << k
    return out


def _tags() -> dict[int, int]:
    out: dict[int, int] = {}
    for family, names in _TAGS.items():
        for name in names.split():
            out[pack(name)] = 1 << FAMILIES.index(family)
    for k, name in enumerate(PLACES):
        out[pack(name)] = out.get(pack(name), 0) | 1 << len(FAMILIES) + k
    for name in _INLINE.split():
        out[pack(name)] = out.get(pack(name), 0) | 1 << 62
    return out


#: Attributes that are read here, by the parser where it builds the tree, or by resiliparse's rule. All others
#: (addresses, drawings, handlers) and what scripts and comments hold, three fifths of an average page, are left out.
_KEPT = ("class", "id", "role", "itemprop", "data-testid", "hidden", "style", "rel", "aria-hidden", "aria-expanded",
         "data-ad", "data-advertisement", "data-text-ad", "type", "open", "color", "face", "size",
         "encoding")  # fmt: skip
_LONGEST = max(map(len, _KEPT))
_KEPT_KEYS, _KEPT_VALUES = _hash_table({pack(name): 1 for name in _KEPT}, 128)
_SCRIPT, _STYLE_SHEET = pack("script"), pack("style")
_WORD_KEYS, _WORD_BITS = _hash_table(_words(), 2048)
_TAG_KEYS, _TAG_BITS = _hash_table(_tags(), 256)
_IS_INLINE = 1 << 62


class Places(NamedTuple):
    """A page with a mark before every piece of text, and where each piece stands."""

    page: bytes
    features: np.ndarray  # float32, (pieces, PLACE_FEATURES)


@njit(nogil=True, cache=True)
def _find(keys: np.ndarray, values: np.ndarray, key: int) -> int:
    slot = (key ^ (key >> 17)) & (len(keys) - 1)
    while keys[slot]:
        if keys[slot] == key:
            return values[slot]
        slot = (slot + 1) & (len(keys) - 1)
    return 0


@njit(nogil=True, cache=True)
def _name_bits(page: np.ndarray, at: int, end: int) -> int:
    """The families of the words in page[at:end]. Words end at what is no letter and before capitals; a compound
    (`commentlist`) counts for the known words of four letters and more that it is made of."""
    bits = 0
    while at < end:
        if not 97 <= page[at] | 32 <= 122:
            at += 1
            continue
        stop = at + 1
        while stop < end and 97 <= page[stop] | 32 <= 122 and not (page[stop] <= 90 and page[stop - 1] >= 97):
            stop += 1
        while at < stop:
            digest, found, known = 0, 0, at
            for k in range(at, min(stop, at + 24)):
                digest = wrapped(digest, 1099511628211, page[k] | 32)
                if k - at >= 3 or k + 1 == stop:
                    value = _find(_WORD_KEYS, _WORD_BITS, digest)
                    if value:
                        found, known = value, k + 1
            if not found:
                break
            bits |= found
            at = known
            if stop - at < 4:
                break
        at = stop
    return bits


@njit(nogil=True, cache=True)
def _attributes(page: np.ndarray, at: int, end: int) -> tuple[int, int]:
    """Of a tag's attributes page[at:end]: the families of its names, and a hash of its class."""
    bits, shape = 0, 0
    while at < end:
        if is_space(page[at]) or page[at] == 47:
            at += 1
            continue
        begin = at
        while at < end and not is_space(page[at]) and page[at] != 61 and page[at] != 62 and page[at] != 47:
            at += 1
        length = at - begin
        if length == 0:
            at += 1
            continue
        factor = 256 if length <= 8 else 1099511628211
        name = 0
        for k in range(begin, at):
            name = wrapped(name, factor, page[k] | 32)
        value = at
        while value < end and is_space(page[value]):
            value += 1
        if value >= end or page[value] != 61:
            if name == _HIDDEN:
                bits |= _HIDDEN_BIT
            continue
        at = value + 1
        while at < end and is_space(page[at]):
            at += 1
        if at >= end:
            break
        quote = page[at] if page[at] == 34 or page[at] == 39 else 0
        begin = at + (quote > 0)
        at = begin
        while at < end and (page[at] != quote if quote else not is_space(page[at]) and page[at] != 62):
            at += 1
        stop = at
        at += 1
        for k in range(len(_READ)):
            if name == _READ[k]:
                bits |= _name_bits(page, begin, min(stop, begin + 400))
                if k == 0:
                    for j in range(begin, min(stop, begin + 200)):
                        if not 48 <= page[j] <= 57:  # numbers tell items from their like
                            shape = wrapped(shape, 1099511628211, page[j])
        if name == _STYLE:
            for j in range(begin, stop - 11):
                if page[j] == 100 and page[j + 7] == 58:  # d, colon
                    none = j + 8 + (page[j + 8] == 32)
                    if page[none] == 110 and page[none + 1] == 111 and page[none + 2] == 110:
                        bits |= _HIDDEN_BIT  # display:none
    return bits, shape


_HIDDEN, _STYLE = pack("hidden"), pack("style")
_HIDDEN_BIT = 1 << FAMILIES.index("hidden")

# Columns of the elements' numbers.
_PARENT, _NAME, _BLOCK, _SHAPE, _DEPTH = range(5)
_CHARS, _LINKED, _MARKS, _SCORE, _TEXTS = range(5)


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
            if not _find(_TAG_KEYS, _TAG_BITS, stack[k, 1]) & _IS_INLINE:
                break
    return top


@njit(nogil=True, cache=True)
def _copy_attributes(page: np.ndarray, at: int, out: np.ndarray, to: int) -> tuple[int, int]:
    """Copy the attributes that somebody reads, from behind a tag's name on, and the tag's end.

    Where the tag ends, which is behind the page's end if the page ends inside of it, and where the copy does.
    """
    n, slash = len(page), False
    while at < n and page[at] != 62:
        if is_space(page[at]) or page[at] == 47:
            slash = page[at] == 47
            at += 1
            continue
        slash = False
        begin = at
        while (
            at < n and not is_space(page[at]) and page[at] != 62 and page[at] != 47 and (page[at] != 61 or at == begin)
        ):
            at += 1
        length = at - begin
        name = 0
        if length <= _LONGEST:
            factor = 256 if length <= 8 else 1099511628211
            for k in range(begin, at):
                name = wrapped(name, factor, page[k] | 32)
        stop = at
        while at < n and is_space(page[at]):
            at += 1
        if at < n and page[at] == 61:
            at += 1
            while at < n and is_space(page[at]):
                at += 1
            if at < n and (page[at] == 34 or page[at] == 39):
                quote = page[at]
                at += 1
                while at < n and page[at] != quote:
                    at += 1
                at += 1
            else:
                while at < n and not is_space(page[at]) and page[at] != 62:
                    at += 1
            stop = min(at, n)
        if name and _find(_KEPT_KEYS, _KEPT_VALUES, name):
            out[to] = 32
            to += 1
            for k in range(begin, stop):
                out[to] = page[k]
                to += 1
    if slash:
        out[to], out[to + 1] = 32, 47
        to += 2
    if at < n:
        out[to] = 62
        to += 1
    return at + 1, to


@njit(nogil=True, cache=True)
def _holds_comment(page: np.ndarray, at: int, end: int) -> bool:
    for k in range(at, end - 3):
        if page[k] == 60 and page[k + 1] == 33 and page[k + 2] == 45 and page[k + 3] == 45:
            return True
    return False


@njit(nogil=True, cache=True)
def _walk(
    page: np.ndarray, out: np.ndarray, elements: np.ndarray, near: np.ndarray, sums: np.ndarray, pieces: np.ndarray
) -> tuple[int, int, int]:
    """Write the marked page; fill the elements' and pieces' numbers. Lengths of the output, elements and pieces."""
    n, most = len(page), len(elements)
    stack = np.zeros((2000, 2), np.int64)  # element, name
    top, made, texts, at, to = 1, 1, 0, 0, 0
    near[0, :] = _FAR
    fresh, in_link = True, 0
    while at < n:
        byte = page[at]
        if byte != 60:
            if (byte == 0xF3 and at + 1 < n and page[at + 1] >= 0xB0) or byte == 0xF4:  # private characters of the page
                at += min(4, n - at)
                continue
            if byte > 32:
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
                element = stack[top - 1, 0]
                if fresh and texts < len(pieces):
                    mark = FIRST + texts
                    out[to] = 0xF0 | mark >> 18
                    out[to + 1] = 0x80 | mark >> 12 & 63
                    out[to + 2] = 0x80 | mark >> 6 & 63
                    out[to + 3] = 0x80 | mark & 63
                    to += 4
                    pieces[texts] = element
                    texts += 1
                    sums[element, _TEXTS] += 1
                    fresh = False
                if byte & 0xC0 != 0x80:
                    sums[element, _CHARS] += 1
                    sums[element, _LINKED] += in_link > 0
                    wide = byte == 0xE3 and at + 2 < n and page[at + 1] == 0x80 and page[at + 2] in (0x81, 0x82)
                    sums[element, _MARKS] += byte in (44, 46, 33, 63, 59) or wide
            out[to] = byte
            to += 1
            at += 1
            continue
        begin = at
        at += 1
        closing = at < n and page[at] == 47
        at += closing
        if at >= n or not 97 <= (page[at] | 32) <= 122:
            at = min(skip_markup(page, at), n)
            comment = at - begin >= 7 and page[begin + 1] == 33 and page[begin + 2] == 45 and page[begin + 3] == 45
            for k in range(begin, begin + 4 if comment else at):
                out[to] = page[k]
                to += 1
            if comment:
                out[to], out[to + 1], out[to + 2] = 45, 45, 62
                to += 3
            continue
        fresh = True
        name_at = at
        name, end = read_name(page, at)
        for k in range(begin, end):
            out[to] = page[k]
            to += 1
        written = to
        at, to = _copy_attributes(page, end, out, to)
        kind = kind_of(name)
        if closing:
            out[written] = 62
            to = written + (at <= n)
            if not kind & VOID:
                for k in range(top - 1, max(top - 40, 0), -1):
                    if stack[k, 1] == name:
                        while top > k:
                            top -= 1
                            in_link -= stack[top, 1] == _A and in_link > 0
                        break
        elif kind & RAW and at <= n:
            behind = at
            at = raw_end(page, at, name_at, end)
            # The rule counts style sheets in the body as text. A script that quotes a comment may end elsewhere.
            idle = name == _SCRIPT or (name == _STYLE_SHEET and made <= 3 and not texts)
            if not idle or page[behind - 2] == 47 or at == n or _holds_comment(page, behind, at):
                for k in range(behind, at):
                    out[to] = page[k]
                    to += 1
        elif not kind & VOID:
            keep = _closed_by(stack, top, name)
            while top > keep:
                top -= 1
                in_link -= stack[top, 1] == _A and in_link > 0
            if top < len(stack) and made < most:
                parent = stack[top - 1, 0]
                bits, shape = _attributes(out, written, to - 1)
                tag = _find(_TAG_KEYS, _TAG_BITS, name)
                bits |= tag
                for c in range(_ALL):
                    near[made, c] = 0 if bits >> c & 1 else min(near[parent, c] + 1, _FAR)
                elements[made, _PARENT], elements[made, _NAME] = parent, name
                elements[made, _BLOCK] = elements[parent, _BLOCK] if tag & _IS_INLINE else made
                elements[made, _SHAPE] = wrapped(shape, 31, name)
                elements[made, _DEPTH] = elements[parent, _DEPTH] + 1
                stack[top, 0], stack[top, 1] = made, name
                top += 1
                in_link += name == _A
                made += 1
    return to, made, texts


@njit(nogil=True, cache=True)
def _describe(
    elements: np.ndarray, near: np.ndarray, own: np.ndarray, made: int, pieces: np.ndarray, texts: int
) -> np.ndarray:
    """The features of every piece of text."""
    features = np.zeros((texts, PLACE_FEATURES), np.float32)
    total = own[:made].copy()
    # What long texts are worth goes to the block around theirs, and half of it to the one around that.
    for k in range(made):
        block = elements[k, _BLOCK]
        plain = own[k, _CHARS] - own[k, _LINKED]
        if plain > 25:
            worth = 1 + own[k, _MARKS] + min(plain / 100, 3.0)
            up = elements[elements[block, _PARENT], _BLOCK]
            total[up, _SCORE] += worth
            up = elements[elements[up, _PARENT], _BLOCK]
            total[up, _SCORE] += worth / 2
    for k in range(made - 1, 0, -1):
        parent = elements[k, _PARENT]
        for c in (_CHARS, _LINKED, _MARKS, _TEXTS):
            total[parent, c] += total[k, c]
    all_chars = total[0, _CHARS] + 1e-9
    best = 1e-9
    for k in range(made):
        total[k, _SCORE] *= 1 - total[k, _LINKED] / (total[k, _CHARS] + 1e-9)
        best = max(best, total[k, _SCORE])
    # Texts in blocks of the same make
    makes = np.zeros(made, np.int64)
    for k in range(made):
        if elements[k, _BLOCK] == k:
            up = elements[elements[k, _PARENT], _BLOCK]
            makes[k] = wrapped(elements[k, _SHAPE], 1099511628211, elements[up, _SHAPE])
    order = np.argsort(makes)
    alike = np.zeros((made, 3), np.float64)
    k = 0
    while k < made:
        j = k
        count = chars = linked = 0.0
        while j < made and makes[order[j]] == makes[order[k]]:
            block = order[j]
            if elements[block, _BLOCK] == block:
                count += 1
                chars += total[block, _CHARS]
                linked += total[block, _LINKED]
            j += 1
        for m in range(k, j):
            alike[order[m], 0], alike[order[m], 1] = count, chars / (count + 1e-9)
            alike[order[m], 2] = linked / (chars + 1e-9)
        k = j
    for t in range(texts):
        element = pieces[t]
        row = features[t]
        for c in range(_ALL):
            row[c] = near[element, c]
        c = _ALL
        block = elements[element, _BLOCK]
        row[c], row[c + 1] = elements[element, _DEPTH], elements[element, _DEPTH] - elements[block, _DEPTH]
        c += 2
        row[c], row[c + 1], row[c + 2] = alike[block, 0], alike[block, 1], alike[block, 2]
        c += 3
        at, top_score, own_score, distance = block, 0.0, 0.0, 99
        for level in range(60):
            if level < _LEVELS:
                chars = total[at, _CHARS]
                row[c] = chars if level < 2 else chars / all_chars
                row[c + 1] = total[at, _LINKED] / (chars + 1e-9)
                row[c + 2] = total[at, _MARKS] / (chars + 1e-9)
                row[c + 3] = chars / (total[at, _TEXTS] + 1e-9)
                c += 4
            score = total[at, _SCORE] / best
            if level < 3:
                own_score = max(own_score, score)
            if score > top_score:
                top_score, distance = score, level
            if at == 0:
                break
            at = elements[elements[at, _PARENT], _BLOCK]
        c = _ALL + 5 + 4 * _LEVELS
        row[c], row[c + 1], row[c + 2] = top_score, own_score, distance
    return features


def mark(source: bytes) -> Places:
    """A page's source, UTF-8, with marks before its pieces of text and without what nobody reads, and what is known of
    the pieces' places."""
    page = np.frombuffer(source, np.uint8)
    tags = source.count(b"<") + 2
    out = np.empty(2 * len(page) + 6 * tags, np.uint8)
    elements, near = np.zeros((tags, 5), np.int64), np.empty((tags, _ALL), np.int8)
    sums, pieces = np.zeros((tags, 5), np.float64), np.zeros(min(tags, MOST), np.int64)
    length, made, texts = _walk(page, out, elements, near, sums, pieces)
    return Places(out[:length].tobytes(), _describe(elements, near, sums, made, pieces, texts))

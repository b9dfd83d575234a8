"""Knows what the names of classes, ids and roles say of the text inside: `nav`, `post-body`, `site-footer`.

Authors and publishing systems name the parts of a page by some four hundred words, cut and joined in all ways. Each
word belongs to one or more of some thirty families; a name counts for the families of the words it is made of. A
family is a bit, so that what a name says is a number.

The trade-off: the words are English by the habit of the trade, also on pages in other languages; no word of a page's
text is among them, only names that its author gave to parts of it.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from stages.extract.html_tags import find, hash_table, wrapped

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
    "side": "sidebar aside side rail secondary complementary widget widgets sidecol rightcol leftcol",
    "edge": "right left gutter",
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
    "hidden": "hidden hide sr visually screenreader offscreen invisible noprint none",
    "consent": "cookie cookies consent gdpr ccpa cmp onetrust paywall",
    "dialog": "modal popup overlay dialog notice alert toast tooltip lightbox popover interstitial",
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


def _hash(word: str) -> int:
    digest = 0
    for letter in word.encode():
        digest = (digest * 1099511628211 + letter) & 0xFFFFFFFFFFFFFFFF
    digest = digest or 1
    return digest - (1 << 64) if digest >> 63 else digest


def _bits() -> dict[int, int]:
    out: dict[int, int] = {}
    for k, words in enumerate(_WORDS.values()):
        for word in words.split():
            out[_hash(word)] = out.get(_hash(word), 0) | 1 << k
    return out


_KEYS, _BITS = hash_table(_bits(), 2048)


@njit(nogil=True, cache=True)
def name_bits(page: np.ndarray, at: int, end: int) -> int:
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
                    value = find(_KEYS, _BITS, digest)
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


def families(names: str) -> int:
    """The bits of some families."""
    return sum(1 << FAMILIES.index(name) for name in names.split())

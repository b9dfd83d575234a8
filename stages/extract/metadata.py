"""Reads what a page says of itself beside its text: when it was published, under which licence, in which language.

The page is gone after extraction, and dates and licences cannot be told from the text, so they are taken here. Each
is stated in several places, by several vocabularies, and often wrongly (the date of a comment, the licence of an
image). The order of trust, each with what speaks for it:

Dates. `json-ld` (a statement with a type: it says whose date it is; only that of an article or page counts, and none
if several articles are listed), `opengraph` (`article:published_time`: one a page, written by the publishing system),
`meta` (`citation_date`, `dc.date` and the like: one a page, but `date` can be any), `microdata`
(`itemprop=datePublished`: comments and related pages have it too), `time` (a `<time datetime>` marked as that of
publication, else the first if no other day is named: no vocabulary says what it is), `url` (`/2014/06/17/`: only a
custom). Where 401 pages have two of these, they name the same day: 48 of 48 for `json-ld` and `opengraph`,
17 of 18 for `json-ld` and `meta`, 17 of 17 for `json-ld` and `microdata`, 29 of 32 for `json-ld` and `time`.

Licences. `rel` (`rel=license`, made for this), `json-ld` (as for dates: an image's licence has another type), `meta`
(`dc.rights`), `link` (a link to a Creative Commons licence: may speak of an image). If places of the same kind name
different licences, the page's is unknown.

The trade-off: only the tags and scripts that a scan for a few words names (`metadata_tags`) are read, without a parser:
what a comment or a script merely quotes is taken for real.
"""

from __future__ import annotations

import json
import re
from datetime import date, timedelta
from html import unescape
from typing import Any, NamedTuple

import numpy as np

from stages.extract.dates import PRINT, WEB, date_of_address, read_date
from stages.extract.license import agreed, license_of

# Bounds, so that no page makes this slow: characters of a script, how many are read, and nodes of their data.
SCRIPT_LENGTH, SCRIPTS, NODES = 200_000, 20, 2000

_ATTRIBUTE = re.compile(
    r"([a-zA-Z][\w:.-]{0,40})\s{0,5}=\s{0,5}(?:\"([^\"]{0,2000})\"|'([^']{0,2000})'|([^\s\"'>]{1,2000}))"
)
_LANGUAGE = re.compile(r"[a-z]{2,3}(?:-[a-z0-9]{2,8}){0,3}", re.ASCII)
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ufffe\uffff\ud800-\udfff]")
_MARKED = re.compile(r"(?:^|\s)licen[sc]e(?:\s|$)", re.IGNORECASE)
_SPACE = re.compile(r"\s+")
_PUBLICATION = re.compile(r"\bpubdate\b|publish|entry-date|post-?date|posted|dt-published|\bdate-?pub", re.IGNORECASE)
_IN_BROKEN = {
    name: re.compile(rf"\"{name}\"\s{{0,9}}:\s{{0,9}}\"([^\"\\]{{4,64}})\"")
    for name in ("datePublished", "dateModified")
}

_OPENGRAPH = {
    "article:published_time",
    "og:article:published_time",
    "og:published_time",
    "og:pubdate",
    "article:published",
}
_MODIFIED_META = {
    "article:modified_time": WEB, "og:article:modified_time": WEB, "og:updated_time": WEB, "og:modified_time": WEB,
    "article:modified": WEB, "last-modified": WEB, "lastmod": WEB, "dcterms.modified": WEB, "dc.date.modified": WEB,
}  # fmt: skip
#: Names of <meta> with a date of publication: their order of trust, and the first year believed of each.
_PUBLISHED_META = {name: (rank, first) for rank, (name, first) in enumerate({
    "citation_publication_date": PRINT, "citation_online_date": WEB, "citation_date": PRINT, "dcterms.issued": PRINT,
    "dc.date.issued": PRINT, "dcterms.date": PRINT, "dc.date": PRINT, "dc.date.created": PRINT,
    "dcterms.created": PRINT, "parsely-pub-date": WEB, "sailthru.date": WEB,
    "cxenseparse:recs:publishtime": WEB, "datepublished": WEB,
    "date.published": WEB, "publication_date": WEB, "publicationdate": WEB, "publish_date": WEB, "publishdate": WEB,
    "publish-date": WEB, "pubdate": WEB, "pub_date": WEB, "date_published": WEB, "article.published": WEB, "date": WEB,
}.items())}  # fmt: skip
_RIGHTS_META = {
    "dc.rights",
    "dcterms.rights",
    "dcterms.license",
    "dc.rights.license",
    "license",
    "rights",
    "dc.license",
}

#: Types of JSON-LD whose dates and licences are not those of the page they stand in.
_PARTS = {
    "ImageObject", "VideoObject", "AudioObject", "MediaObject", "Comment", "Answer", "WebSite", "Product", "Person",
    "Organization", "ItemList", "BreadcrumbList", "Review", "UserReview", "Offer", "Event",
}  # fmt: skip
_MAIN = re.compile(r"(?:Article|Posting|Report|Recipe|Question|Dataset|HowTo|Thesis|Chapter|Book)$")


class Metadata(NamedTuple):
    """What a page says of itself; None for what it does not say. The names are those of the columns."""

    published: date | None = None
    published_source: str | None = None
    modified: date | None = None
    license: str | None = None
    license_source: str | None = None
    html_language: str | None = None
    site_name: str | None = None


class _Found:
    """What has been found so far, by place."""

    def __init__(self) -> None:
        self.published: dict[str, date] = {}
        self.modified: dict[str, date] = {}
        self.licenses: dict[str, set[str]] = {}
        self.items: set[date] = set()  # days of publication in microdata
        self.marked: dict[str, date] = {}
        self.rank = len(_PUBLISHED_META)  # of the <meta> whose date is in `published`
        self.site_name: str | None = None

    def license(self, place: str, value: str) -> None:
        if (name := license_of(value)) is not None:
            self.licenses.setdefault(place, set()).add(name)


def read_metadata(page: bytes, url: str | None = None, fetched: date | None = None) -> Metadata:
    """What a page's source (UTF-8) says of it. Never raises for what a page may hold.

    url: its address, read for a date if nothing else gives one.
    fetched: the day it was fetched; a page published later than the day after is not believed.
    """
    from stages.extract.metadata_tags import HTML, LINK, META, SCRIPT, SPAN, TIME, find_tags

    found = _Found()
    times: list[str] = []
    scripts: list[str] = []
    language = None
    for kind, start, end in find_tags(np.frombuffer(page, np.uint8)):
        tag = page[start:end].decode("utf-8", "replace")
        if kind == META:
            _read_meta(_attributes(tag), found)
        elif kind == SPAN:
            _read_item(_attributes(tag), found)
        elif kind == TIME:
            times.append(tag)
        elif kind == LINK:
            _read_link(tag, found)
        elif kind == SCRIPT and len(scripts) < SCRIPTS:
            close = page.find(b"</script", end, end + SCRIPT_LENGTH)
            if close > 0:
                scripts.append(page[end + 1 : close].decode("utf-8", "replace"))
        elif kind == HTML and language is None:
            language = _language(_attributes(tag))
    _read_times(times, found)
    _read_scripts(scripts, found)
    if len(found.items) == 1:
        found.published["microdata"] = found.items.pop()
    if not found.published and url and (day := date_of_address(url)):
        found.published["url"] = day

    latest = fetched + timedelta(days=1) if fetched and fetched < date.max else date.max
    published, source = _first(found.published, ("json-ld", "opengraph", "meta", "microdata", "time", "url"), latest)
    modified, _ = _first(found.modified, ("json-ld", "meta", "microdata"), latest)
    if modified and published and modified < published:
        modified = None
    place = next((place for place in ("rel", "json-ld", "meta", "link") if place in found.licenses), None)
    name = agreed(found.licenses[place]) if place else None
    return Metadata(published, source, modified, name, name and place, language, found.site_name)


def _first(dates: dict[str, date], order: tuple[str, ...], latest: date) -> tuple[date | None, str | None]:
    for place in order:
        if place in dates and dates[place] <= latest:
            return dates[place], place
    return None, None


def _attributes(tag: str) -> dict[str, str]:
    """The attributes of a tag, names in lower case; the first of equal names counts."""
    result: dict[str, str] = {}
    for name, double, single, bare in _ATTRIBUTE.findall(tag):
        value = double or single or bare
        result.setdefault(name.lower(), unescape(value) if "&" in value else value)
    return result


def _read_meta(attributes: dict[str, str], found: _Found) -> None:
    value = attributes.get("content", "")
    if "itemprop" in attributes:
        _read_item(attributes, found)
    name = (attributes.get("property") or attributes.get("name") or attributes.get("http-equiv") or "").lower()
    if not value or not name:
        return
    name = name.replace("dc:", "dc.").replace("dcterms:", "dcterms.")
    if name in _OPENGRAPH:
        _note(found.published, "opengraph", value, WEB)
    elif name in _MODIFIED_META:
        _note(found.modified, "meta", value, WEB)
    elif name in _PUBLISHED_META:
        rank, first = _PUBLISHED_META[name]
        if rank < found.rank and (day := read_date(value, first)):
            found.published["meta"], found.rank = day, rank
    elif name in _RIGHTS_META:
        found.license("meta", value)
    elif name == "og:site_name" and found.site_name is None:
        found.site_name = _SPACE.sub(" ", _CONTROL.sub(" ", value)).strip()[:200] or None


def _read_item(attributes: dict[str, str], found: _Found) -> None:
    """A tag with microdata. If several name different days of publication, none counts."""
    names = attributes.get("itemprop", "").split()
    value = attributes.get("content") or attributes.get("datetime") or ""
    if "datePublished" in names and (day := read_date(value)):
        found.items.add(day)
    if "dateModified" in names:
        _note(found.modified, "microdata", value, WEB)


def _note(dates: dict[str, date], place: str, value: str, first: int) -> None:
    """Keep the first date that can be read."""
    if place not in dates and (day := read_date(value, first)):
        dates[place] = day


def _read_scripts(scripts: list[str], found: _Found) -> None:
    """The JSON-LD of a page."""
    main: list[dict[str, Any]] = []
    others: list[dict[str, Any]] = []
    broken = []
    for script in scripts:
        if "datePublished" in script or "dateModified" in script or '"license"' in script:
            try:
                _sort(json.loads(script, strict=False), main, others)
            except (ValueError, RecursionError):
                broken.append(script)
    for key, dates in (("datePublished", found.published), ("dateModified", found.modified)):
        for nodes in (main, others):
            values = (read_date(v) for node in nodes if isinstance(v := node.get(key), str))
            days = {day for day in values if day}
            if len(days) == 1:
                dates["json-ld"] = days.pop()
            if days or "json-ld" in dates:
                break
        for script in broken:
            if value := _IN_BROKEN[key].search(script):
                _note(dates, "json-ld", value[1], WEB)
    for node in (*main, *others):
        value = node.get("license")
        for each in value if isinstance(value, list) else [value]:
            said = (each.get("url") or each.get("@id") or each.get("name")) if isinstance(each, dict) else each
            if isinstance(said, str):
                found.license("json-ld", said)


def _sort(data: Any, main: list[dict[str, Any]], others: list[dict[str, Any]]) -> None:
    """The nodes that can be the page or its main content: articles and the like, and others."""
    todo, seen = [data], 0
    while todo and seen < NODES:
        node = todo.pop()
        seen += 1
        if isinstance(node, list):
            todo += node
        elif isinstance(node, dict):
            kind = node.get("@type")
            kinds = [k for k in (kind if isinstance(kind, list) else [kind]) if isinstance(k, str)]
            kinds = [k.rpartition("/")[2] for k in kinds]
            todo += [node[key] for key in ("@graph", "mainEntity", "mainEntityOfPage") if key in node]
            if any(_MAIN.search(k) for k in kinds):
                main.append(node)
            elif not any(k in _PARTS for k in kinds):
                others.append(node)


def _read_times(tags: list[str], found: _Found) -> None:
    """The <time> that is marked as that of publication, or the day that all of them name."""
    days: list[date] = []
    for tag in tags:
        attributes = _attributes(tag)
        if "itemprop" in attributes:
            _read_item(attributes, found)
        if day := read_date(attributes.get("datetime", "")):
            days.append(day)
            if _PUBLICATION.search(tag):
                _note(found.marked, "time", attributes["datetime"], WEB)
    if "time" in found.marked:
        found.published["time"] = found.marked["time"]
    elif days and len(set(days)) == 1:
        found.published["time"] = days[0]


def _read_link(tag: str, found: _Found) -> None:
    """A link to a licence, if it is one; marked as the page's licence, or not."""
    attributes = _attributes(tag)
    if tag.startswith(("<license", "<cc:license", "<License")):  # RDF in a comment
        found.license("rel", attributes.get("rdf:resource") or attributes.get("rdf:about", ""))
    elif _MARKED.search(attributes.get("rel", "")):
        found.license("rel", attributes.get("href", ""))
    elif "creativecommons.org/" in tag:
        found.license("link", attributes.get("href", ""))


def _language(attributes: dict[str, str]) -> str | None:
    """What <html> declares: a language tag, lower case."""
    value = (attributes.get("lang") or attributes.get("xml:lang") or "").strip().lower().replace("_", "-")
    return value if _LANGUAGE.fullmatch(value) else None

"""Dates, licences and language of pages, as real publishing systems write them, and as nobody should."""

from datetime import date

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.extract.dates import date_of_address, read_date
from stages.extract.html import ExtractHtml
from stages.extract.license import license_of
from stages.extract.metadata import Metadata, read_metadata
from stages.extract.metadata_tags import HTML, LENGTH, LINK, META, MOST, SCRIPT, TIME, find_tags

DAY = date(2014, 6, 17)


def said(html, url=None, fetched=None):
    return read_metadata(html.encode("utf-8", "replace"), url, fetched)


PUBLISHED = {
    "json-ld": '<script type="application/ld+json">{"@type": "NewsArticle", "datePublished": "2014-06-17T08:00:00+02:00"}'
    "</script>",
    "json-ld graph": '<script type=application/ld+json>{"@graph": [{"@type": "WebSite"}, {"@type": ["WebPage"], '
    '"datePublished": "2014-06-17"}, {"@type": "Person", "datePublished": "1999-01-01"}]}</script>',
    "json-ld main entity": '<script type="application/ld+json">[{"@type": "QAPage", "mainEntity": {"@type": "Question", '
    '"datePublished": "2014-06-17", "suggestedAnswer": [{"@type": "Answer", "datePublished": "2015-01-01"}]}}]</script>',
    "json-ld broken": '<script type="application/ld+json">{"@type": "Article", "datePublished": "2014-06-17",, }</script>',
    "opengraph": '<meta property="article:published_time" content="2014-06-17T23:59:59Z" />',
    "opengraph, attributes in another order": "<META content='2014-06-17' property='article:published_time'>",
    "meta": '<meta name="DC.date.issued" content="2014-06-17"><meta name=date content=2019-01-01>',
    "meta of a paper": '<meta name="citation_publication_date" content="2014/06/17">',
    "meta with reference": '<meta name="pubdate" content="2014&#45;06&#45;17">',
    "microdata": '<span itemprop="datePublished" content="2014-06-17">last week</span>',
    "microdata of <time>": '<time itemprop="datePublished" datetime="2014-06-17">last week</time>',
    "time": '<time class="entry-date published" datetime="2014-06-17">x</time><time datetime="2020-01-01">',
    "time, the only day": '<TIME DATETIME="2014-06-17 10:00">x</TIME><time datetime="2014-06-17">y</time>',
}


@pytest.mark.parametrize("place", PUBLISHED)
def test_published(place):
    found = said(f"<html><head>{PUBLISHED[place]}</head><body><p>words, dated 2001-01-01</body></html>")
    assert (found.published, found.published_source) == (DAY, place.partition(",")[0].split()[0])


def test_order_of_trust():
    place = "https://example.org/2014/06/17/title"
    assert said("<p>words", place).published_source == "url"
    everything = (
        PUBLISHED["time"] + PUBLISHED["meta"].replace("06-17", "06-18") + PUBLISHED["opengraph"].replace("17T", "19T")
    )
    assert said(PUBLISHED["time"], place).published_source == "time"
    assert said(everything).published == date(2014, 6, 19)
    assert said(everything + PUBLISHED["json-ld"]).published == DAY


@pytest.mark.parametrize(
    "html",
    [
        '<script type="application/ld+json">[{"@type": "Article", "datePublished": "2014-06-17"}, {"@type": "Article", '
        '"datePublished": "2014-06-19"}]</script>',  # a list of articles
        '<script type="application/ld+json">{"@type": "ImageObject", "datePublished": "2014-06-17"}</script>',
        '<time datetime="2014-06-17">x</time><time datetime="2014-06-19">y</time>',  # of comments
        '<span itemprop="datePublished" content="2014-06-17"></span><span itemprop="datePublished" content="2014-06-19">',
        '<meta name="description" content="On the date 2014-06-17">',
        '<p datetime="2014-06-17">',
    ],
)
def test_dates_that_may_be_others(html):
    assert said(html) == Metadata()


def test_modified():
    html = PUBLISHED["opengraph"] + '<meta property="article:modified_time" content="{}">'
    assert said(html.format("2015-01-02")).modified == date(2015, 1, 2)
    assert said(html.format("2013-01-02")).modified is None  # before it was published


def test_a_page_is_not_published_after_it_was_fetched():
    assert said(PUBLISHED["opengraph"], fetched=date(2014, 6, 16)).published == DAY  # time zones
    assert said(PUBLISHED["opengraph"], fetched=date(2014, 6, 15)).published is None
    assert said(
        PUBLISHED["opengraph"] + PUBLISHED["meta"].replace("2014", "2010"), fetched=date(2014, 1, 1)
    ).published == date(2010, 6, 17)


@pytest.mark.parametrize(
    ("value", "day"),
    [
        ("2014-06-17T10:20:30.123+09:00", DAY),
        ("  2014-6-17 ", DAY),
        ("2014/06/17", DAY),
        ("20140617", DAY),
        ("20140617T101112Z", DAY),
        ("2014-06", date(2014, 6, 1)),
        ("2014", date(2014, 1, 1)),
        ("Tue, 17 Jun 2014 10:00:00 GMT", DAY),
        ("Tue Jun 17 2014", None),
        ("June 17, 2014", DAY),
        ("17 Sept 2014", date(2014, 9, 17)),
        ("17.06.2014", DAY),
        ("06.07.2014", date(2014, 7, 6)),
        ("17/06/2014", DAY),
        ("06/17/2014", DAY),
        ("06/07/2014", None),  # June or July
        ("06/06/2014", date(2014, 6, 6)),
        ("1402999200", DAY),
        ("1402999200000", DAY),
        ("1970-01-01", None),
        ("0001-01-01T00:00:00", None),
        ("9999-12-31", None),
        ("2014-02-30", None),
        ("2014-06-177", None),
        ("２０１４-06-17", None),
        ("yesterday", None),
        ("", None),
        ("2014-06-17" + "0" * 10_000, None),
    ],
)
def test_read_date(value, day):
    assert read_date(value) == day


def test_print_is_older_than_the_web():
    assert said('<meta name="citation_date" content="1905/06/30">').published == date(1905, 6, 30)
    assert said('<meta property="article:published_time" content="1905-06-30">').published is None


@pytest.mark.parametrize(
    ("url", "day"),
    [
        ("https://example.org/2014/06/17/title.html", DAY),
        ("https://example.org/news/2014/6/title", date(2014, 6, 1)),
        ("https://example.org/blog/2014-06-17-title/", DAY),
        ("https://example.org/2014/06/17", DAY),
        ("https://example.org/products/2014/117/x", None),
        ("https://example.org/?from=/2014/06/17/", None),
        ("https://example.org/report-2014-06", None),
        ("https://example.org/2014", None),
        ("", None),
    ],
)
def test_date_of_address(url, day):
    found = date_of_address(url)
    assert found == day


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("https://creativecommons.org/licenses/by-sa/4.0/", "cc-by-sa-4.0"),
        ("//creativecommons.org/licenses/by-sa/4.0/deed.en", "cc-by-sa-4.0"),
        ("http://www.creativecommons.org/licenses/by-nc-nd/3.0/de/deed.de", "cc-by-nc-nd-3.0-de"),
        ("http://creativecommons.org/licenses/by-nd-nc/1.0/", "cc-by-nc-nd-1.0"),
        ("http://creativecommons.org/licenses/by/3.0/igo/", "cc-by-3.0-igo"),
        ("https://creativecommons.org/licenses/by/", "cc-by"),
        ("https://creativecommons.org/publicdomain/zero/1.0/", "cc0-1.0"),
        ("https://creativecommons.org/publicdomain/mark/1.0/", "cc-pdm-1.0"),
        ("https://creativecommons.org/licenses/", None),
        ("https://creativecommons.org/licenses/sampling+/1.0/", None),
        ("CC BY-SA 4.0", "cc-by-sa-4.0"),
        ("CC-BY-NC 2.5", "cc-by-nc-2.5"),
        ("cc0", "cc0-1.0"),
        ("Creative Commons Attribution-NonCommercial-ShareAlike 4.0 International", "cc-by-nc-sa-4.0"),
        ("Attribution 4.0", None),
        ("http://www.gnu.org/copyleft/fdl.html", "gfdl"),
        ("https://www.gnu.org/licenses/gpl-3.0.html", "gpl-3.0"),
        ("https://opensource.org/licenses/MIT", "mit"),
        ("https://www.apache.org/licenses/LICENSE-2.0", "apache-2.0"),
        ("https://opendatacommons.org/licenses/odbl/1-0/", "odbl-1.0"),
        ("http://www.nationalarchives.gov.uk/doc/open-government-licence/version/3/", "ogl-uk-3.0"),
        ("javascript:alert('creativecommons')", None),
        ("https://example.org/terms", None),
        ("All rights reserved", None),
        ("success by design", None),
        ("x" * 10_000 + "CC BY 4.0", None),
    ],
)
def test_license_of(value, name):
    assert license_of(value) == name


BY, SA = "https://creativecommons.org/licenses/by/4.0/", "https://creativecommons.org/licenses/by-sa/4.0/"


@pytest.mark.parametrize(
    ("html", "name", "place"),
    [
        (f'<a rel="license" href="{BY}">CC</a><a href="{SA}">photo</a>', "cc-by-4.0", "rel"),
        (f'<A HREF="{BY}" REL="nofollow license">CC</A>', "cc-by-4.0", "rel"),
        (f"<link rel=license href={BY}>", "cc-by-4.0", "rel"),
        (f'<a rel="license" href="{BY}">x</a><a rel="license" href="{SA}">y</a>', None, None),
        (f'<!-- <rdf:RDF><License rdf:about="{BY}" /></rdf:RDF> --><p>', "cc-by-4.0", "rel"),
        (f'<script type="application/ld+json">{{"@type":"Article","license":"{BY}"}}</script>', "cc-by-4.0", "json-ld"),
        (f'<script type="application/ld+json">{{"@type":"ImageObject","license":"{BY}"}}</script>', None, None),
        ('<script type="application/ld+json">{"@type":"Dataset","license":[{"@id":"https://x/"},{"url":"%s"}]}</script>' % BY,
         "cc-by-4.0", "json-ld"),
        ('<meta name="dc.rights" content="CC BY 4.0">', "cc-by-4.0", "meta"),
        ('<meta name="dcterms.rights" content="Copyright 2014 Example">', None, None),
        (f'<a href="{BY}"><img src="https://i.creativecommons.org/l/by/4.0/88x31.png"></a>', "cc-by-4.0", "link"),
        (f'<a href="{BY}">x</a><a href="https://creativecommons.org/licenses/by/">y</a>', "cc-by-4.0", "link"),
        (f'<a href="{BY}">photo</a><a href="{SA}">photo</a>', None, None),
        ('<a rel="license" href="/terms">Terms</a>', None, None),
        ('<a rel="license" href="javascript:void(0)">Terms</a>', None, None),
        (f"<script>var link = '{BY}'</script>", None, None),
    ],
)  # fmt: skip
def test_license(html, name, place):
    found = said(html)
    assert (found.license, found.license_source) == (name, place)


def test_language_and_site_name():
    found = said(
        '<!DOCTYPE html>\n<HTML class="x" LANG="pt_BR"><meta property="og:site_name" content="A &amp;\n B\x07">'
    )
    assert (found.html_language, found.site_name) == ("pt-br", "A & B")
    for value in ("", "{{lang}}", "javascript:1", "e" * 3000, "en\x00"):
        assert said(f'<html lang="{value}"><p>').html_language is None


HOSTILE = (
    "<meta property=\"article:published_time\" content='" + "2" * 10_000 + "'>",
    '<meta name="date" content="9999-99-99"><time datetime="99999999999999">',
    '<script type="application/ld+json">' + '{"@graph":[' * 50_000 + "</script>",
    '<script type="application/ld+json">{"@type":"Article","datePublished":' + "9" * 5000 + "}</script>",
    '<script type="application/ld+json">{"@type":{"a":1},"datePublished":["2014"],"license":{"url":{}}}</script>',
    '<script type="application/ld+json">{"@type":"Article","datePublished":"\ud800\x00","license":null}</script>',
    '<script type="application/ld+json">[' + '{"@type":"Article","datePublished":"x"},' * 9000 + "1]</script>",
    '<script type="application/ld+json">"never closed datePublished',
    "<meta " + "name=date " * 5000 + ">",
    "<meta name=date content=" * 5000,
    "<meta name=date content=2014" + "a" * 10_000,
    "<time datetime=2014>" * 50_000,
    '<a rel="license" href="https://creativecommons.org/licenses/' + "by-" * 5000 + '">',
    "<html lang" * 1000,
    "<a " + "licence=" * 300 + ">",
    "<", "<m", "<meta", "<html lang=en",
)  # fmt: skip


@pytest.mark.parametrize("html", HOSTILE)
def test_hostile_values_are_null(html):
    found = said(html)
    assert found.published in (None, date(2014, 1, 1)) and found.modified is None and found.license is None
    assert found._replace(published=None, published_source=None) == Metadata()


@given(
    st.lists(
        st.sampled_from(
            ["<meta ", "<time ", "<a ", "<html ", "<script ", "<span ", ">", "content=", "name=", "date", '"', "'", "2014-06-17",
             "datetime=", "itemprop=", "datePublished", "rel=license", "href=", BY, "type=application/ld+json>", "{", "}", "[",
             '"@type":', '"Article"', ":", ",", "</script>", "lang=", "en", "\x00", "é", "&#x110000;", " "]
        ) | st.text(max_size=4),
        max_size=40,
    )
)  # fmt: skip
def test_any_tangle_gives_columns(parts):
    found = said("".join(parts))
    for name, value in found._asdict().items():
        pa.array([value], ExtractHtml().adds()[name])


def test_tags_are_found_and_bounded():
    page = (
        b"<HTML lang=en><meta name=viewport><META name=Date x><metal date><link rel=License><a href=x><time datetime=1>"
    )
    page += b'<script src="date"><script type="application/ld+json">{}</script>'
    found = [(tag.kind, page[tag.start : tag.end]) for tag in find_tags(np.frombuffer(page, np.uint8))]
    assert [kind for kind, _ in found] == [HTML, META, META, LINK, TIME, SCRIPT]
    assert found[1][1] == b"<META name=Date x"
    many = np.frombuffer(b"<time datetime=1>" * 1000 + b"<meta date" + b"x" * LENGTH + b"><meta date>", np.uint8)
    assert [tag.kind for tag in find_tags(many)] == [TIME] * MOST + [META]


def test_columns_of_the_stage():
    page = (
        f"<html lang=en><head><title>Title</title>{PUBLISHED['opengraph']}</head><body><p>{'Some words of text. ' * 20}"
    )
    docs = pa.table(
        {
            "id": ["a", "b", "c"],
            "url": ["https://example.org/x", "https://example.org/2014/06/17/x", None],
            "text": pa.nulls(3, pa.large_string()),
            "html": pa.array([page, page.replace("2014", "2024"), None], pa.large_string()),
            "date": pa.array([1_500_000_000] * 3, pa.timestamp("s", "UTC")),
        }
    )
    stage = ExtractHtml()
    stage.setup()
    got = stage(docs).docs
    assert got["published"].to_pylist() == [DAY, None, None]  # what the page itself says is not believed
    assert got["published_source"].to_pylist() == ["opengraph", None, None]
    assert got["html_language"].to_pylist() == ["en", "en", None]
    assert got["extractor"].to_pylist() == ["lines", "lines", None]
    assert stage.metrics.counters["published_source=opengraph"] == 1

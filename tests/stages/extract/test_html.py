"""Extraction of main text: what is kept of a page, and that no page is too hostile."""

import re

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.html import HTMLTree

from curation.documents import part_id
from stages.extract.html import ExtractHtml, clean, distinct, reduced_html
from stages.extract.html_depth import page_shape
from stages.extract.places import mark
from stages.extract.render import without_marks

PARAGRAPHS = [
    "Harvesting rain water begins at the roof, where gutters lead the first and dirtiest water to a diverter before "
    "the rest of it reaches the tank that stands in the shade of the house.",
    "A tank of two thousand litres carries a household of four through three weeks without rain, provided that the "
    "garden is watered in the evening and the washing machine waits for a full load.",
    "Filters have to be rinsed once a month. In autumn, when leaves fall, look at them every week, since a blocked "
    "filter sends the water over the edge of the gutter and down the wall.",
]
ARTICLE = (
    "<!DOCTYPE html><html><head><title> Rain\n water </title><style>p { color: red }</style></head><body>"
    "<nav><ul><li><a href='/'>Home</a></li><li><a href='/shop'>Shop</a></li><li><a href='/in'>Log in</a></li></ul></nav>"
    "<div id='page'><div class='wrap'><div id='main'><article><h1>Rain water</h1>"
    + "".join(f"<p>{p}</p>" for p in PARAGRAPHS)
    + "<ul><li>Clean the gutters in spring and in autumn.</li><li>Check the filter once a month.</li></ul>"
    + "<pre>def litres(mm, area):\n    if mm &lt; 0:\n        raise ValueError\n    return mm * area\n</pre>"
    "<table><tr><th>Month</th><th>Rain</th></tr><tr><td>May</td><td>61 mm</td></tr></table>"
    "</article></div></div></div><footer>Copyright 2024 Example. <a href='/privacy'>Privacy</a></footer>"
    "<script>document.write('never shown')</script></body></html>"
)


@pytest.fixture(scope="module")
def extract():
    made = {}

    def run(*pages, **keys):
        key = tuple(sorted(keys.items()))
        if key not in made:
            made[key] = ExtractHtml(**keys)
            made[key].setup()
        outcomes = [made[key](table([page])) for page in pages]
        assert all("html" not in outcome.docs.column_names for outcome in outcomes)
        rows = [outcome.docs.to_pylist()[0] | {"dropped": outcome.dropped[0].as_py()} for outcome in outcomes]
        return rows if len(rows) > 1 else rows[0]

    return run


def table(pages):
    return pa.table(
        {
            "id": [str(i) for i in range(len(pages))],
            "text": pa.nulls(len(pages), pa.large_string()),
            "html": pa.array(pages, pa.large_string()),
        }
    )


def test_main_text_without_boilerplate(extract):
    row = extract(ARTICLE)
    assert row["dropped"] is None
    assert row["title"] == "Rain water"
    lines = row["text"].split("\n")
    for paragraph in PARAGRAPHS:
        assert paragraph in lines
    for boilerplate in ("Log in", "Privacy", "color: red", "never shown"):
        assert boilerplate not in row["text"]


def test_code_keeps_its_lines_and_indentation(extract):
    code = "def litres(mm, area):\n    if mm < 0:\n        raise ValueError\n    return mm * area"
    assert code in extract(ARTICLE)["text"]


def test_items_and_rows_are_lines(extract):
    lines = [line.split() for line in extract(ARTICLE)["text"].split("\n")]
    assert ["May", "61", "mm"] in lines
    assert any(line[-6:] == ["Check", "the", "filter", "once", "a", "month."] for line in lines)


def test_trafilatura_as_engine(extract):
    row = extract(ARTICLE, engine="trafilatura")
    assert all(paragraph in row["text"] for paragraph in PARAGRAPHS)
    assert "Log in" not in row["text"]
    assert row["title"] == "Rain water"


def test_pages_in_many_scripts(extract):
    for text in (
        "Все люди рождаются свободными. " * 9,
        "すべての人間は、生まれながらにして自由である。" * 9,
        "يولد جميع الناس أحرارا. " * 9,
    ):
        assert text.strip() in extract(f"<html><body><article><p>{text}</p></article></body></html>")["text"]


# A page on which resiliparse keeps next to nothing: it takes what is called a comment or a sidebar for one.
COLLAPSING = (
    "<html><body><div class='sidebar'>"
    + "".join(f"<p>{p} {p[::-1]}</p>" for p in PARAGRAPHS)
    + "</div><main><p>Short.</p></main></body></html>"
)


def test_the_model_takes_over_where_the_rule_leaves_little(extract):
    alone = extract(COLLAPSING, engine="resiliparse", fallback="none")["text"] or ""
    assert PARAGRAPHS[0] not in alone
    assert PARAGRAPHS[0] in extract(COLLAPSING, engine="resiliparse")["text"]
    stage = ExtractHtml(engine="resiliparse")
    stage.setup()
    stage(table([ARTICLE]))
    assert not stage.metrics.counters
    stage(table([COLLAPSING]))
    assert stage.metrics.counters["collapsed"] == 1


def test_markdown_by_every_engine(extract):
    for engine in ("lines", "resiliparse", "trafilatura"):
        text = extract(ARTICLE, engine=engine, format="markdown")["text"]
        assert "\n- Clean the gutters in spring and in autumn.\n" in text, engine
        assert "```\ndef litres(mm, area):\n    if mm < 0:\n        raise ValueError" in text, engine
        assert "| Month | Rain |" in text, engine
        assert "Log in" not in text, engine


def test_what_the_parser_is_spared_changes_nothing_that_it_shows():
    """Most attributes, scripts and comments are left out of the marked page; where a script ends as a comment, or a
    style sheet may count as text, they stay."""
    page = (
        "<!DOCTYPE html><html><head><title>T</title><style>p{color:red}</style></head><body class=a onload='x>y'>"
        "<!-- <p>no --><a href=/x?a=b class='nav'id=n>one</a><script>if (a<b) {'</p>'}</script>"
        "<script>'<!-- <script>' + '</scr' + 'ipt>' </script> --></script><img src=/a.png alt=\"a>b\"/>two<br/>"
        "<div hidden data-x=1>three</div><svg><path d='M0'/></svg> four<svg><style/></svg><font color=red>five<p title='<!--'>six"
    )
    marked = mark(page.encode(), for_rule=True).page.decode()
    assert all(word not in marked for word in ("href", "alt", "onload", "a<b", "M0", "<p>no"))
    assert all(word in marked for word in ("class='nav'", "id=n", "hidden", "color=red", "<title>"))
    whole, spared = HTMLTree.parse(page), HTMLTree.parse(marked)
    for options in ({"main_content": True}, {"preserve_formatting": "minimal_html"}):
        assert without_marks(extract_plain_text(spared, **options, alt_texts=False)) == extract_plain_text(
            whole, **options, alt_texts=False
        )
    for_model = mark(page.encode()).page.decode()
    assert all(word not in for_model for word in ("class", "hidden", "<script>if", "<img", "<style>p", "<p>no"))
    assert "<title>" in for_model
    shown = [shown_lines(reduced_html(HTMLTree.parse(source))) for source in (page, without_marks(for_model))]
    assert shown[0] == shown[1]


def shown_lines(reduced):
    """The words of each line of reduced HTML that has some."""
    return [words for line in reduced.split("\n") if (words := re.sub("<[^>]*>", "", line).split())]


def test_private_characters_of_a_page_do_not_stay_and_marks_are_not_seen(extract):
    for engine in ("lines", "resiliparse"):
        text = extract(ARTICLE.replace("Rain", "\U000f0003Rain\U0010fffd &#xF0005;"), engine=engine, format="markdown")[
            "text"
        ]
        assert "Rain" in text
        assert max(text) < "\U000f0000"


def test_any_batch_gives_what_single_pages_give():
    stage = ExtractHtml()
    stage.setup()
    pages = [ARTICLE, None, "", COLLAPSING, "<div>" * 5000, "plain words", ARTICLE.replace("Rain", "Snow")]
    whole = stage(table(pages))
    single = [stage(table(pages).slice(i, 1)) for i in range(len(pages))]
    assert whole.docs.equals(pa.concat_tables([o.docs for o in single]).combine_chunks()) or (
        whole.docs.to_pylist() == [row for o in single for row in o.docs.to_pylist()]
    )
    assert whole.dropped.to_pylist() == [o.dropped[0].as_py() for o in single]
    assert whole.dropped.to_pylist() == [None, "no_html", "no_html", None, "page_too_deep", None, None]


def test_trafilatura_does_not_remember_other_pages(extract):
    first = extract(ARTICLE, engine="trafilatura")["text"]
    extract(*[ARTICLE.replace("Rain", f"Rain{i}") for i in range(6)], engine="trafilatura")
    assert extract(ARTICLE, engine="trafilatura")["text"] == first


def test_union_keeps_two_texts_of_a_page():
    """Texts of the same words, and such as a doubtful engine leaves, are not doubled."""
    plain = "<html><body><article>" + "".join(f"<p>{p}</p>" for p in PARAGRAPHS) + "</article></body></html>"
    ended = ARTICLE.replace("</article>", "<div class='tags'>water, house</div></article>")
    pages = [ended, None, plain, COLLAPSING, "<p>" * 20]
    for engine, other in (("resiliparse", "trafilatura"), ("lines", "trafilatura"), ("trafilatura", "resiliparse")):
        alone, both = ExtractHtml(engine=engine), ExtractHtml(engine=engine, union=True)
        alone.setup()
        both.setup()
        one, two = alone(table(pages)), both(table(pages))
        assert two.dropped.equals(one.dropped)
        rows, added = two.docs.to_pylist(), two.added.to_pylist()
        assert [row["extractor"] for row in rows][:3] == [engine, None, engine]
        assert [row["text"] for row in rows][:3] == [row["text"] for row in one.docs.to_pylist()][:3]
        for row, at in zip(added, two.added_behind.tolist(), strict=True):
            same = {name: rows[at][name] for name in ("id", "text", "extractor")}
            assert row | same == rows[at] and row["text"] != rows[at]["text"]
            assert row["id"] == part_id(str(at), row["extractor"])
        if engine != "lines":  # the model may choose the very words of trafilatura
            assert two.added_behind[0] == 0 and added[0]["extractor"] == other
            assert added[0]["text"] == ExtractHtml(engine=other)(table([ended])).docs["text"][0].as_py()
        if engine == "resiliparse":  # what the collapsed rule leaves is not worth a document: the model's text is
            assert two.added_behind.tolist() == [0, 3] and rows[3]["extractor"] == "lines"
            assert PARAGRAPHS[0] in rows[3]["text"] and added[1]["extractor"] == "trafilatura"


def test_distinct():
    same = [("a", "• One, two\n\n• three"), ("b", "One two\nthree"), ("c", ""), ("d", "One three")]
    assert distinct(same) == [("a", "• One, two\n\n• three"), ("d", "One three")]
    assert distinct([("a", " \x00\n"), ("b", "words")]) == [("b", "words")]
    assert distinct([("a", "—"), ("b", "")]) == [("a", "—")]
    assert distinct([]) == []


# --- hostile and broken pages


def test_pages_that_must_not_be_parsed(extract):
    for page, reason in (
        (None, "no_html"),
        ("", "no_html"),
        ("  \n\t ", "no_text"),
        ("<html><head></head><body></body></html>", "no_text"),
        ("<script>alert(1)</script>", "no_text"),
        ("<div>" * 100_000, "page_too_deep"),
        ("<div></x>" * 50_000, "page_too_deep"),
        ("<table><tr><td>" * 5000, "page_too_deep"),
        ("<svg>" + "<g>" * 5000, "page_too_deep"),
        ("".join(f"<p><font size={i}>" for i in range(4000)), "page_too_deep"),
        ("<p>" + "".join(f"<font size={i}>" for i in range(900)) + "<p>x" * 100_000, "too_many_elements"),
        ("<p " + " ".join(f"a{i}=1" for i in range(50_000)) + ">text", "too_many_attributes"),
        ("<br>" * 1_000_100, "too_many_elements"),
        ("<p>" + "x" * 10_500_000, "page_too_large"),
    ):
        assert extract(page)["dropped"] == reason, page and page[:60]


def test_limits_are_keys(extract):
    assert extract("<div>" * 20 + "words", max_depth=30)["dropped"] is None
    assert extract("<div>" * 40 + "words", max_depth=30)["dropped"] == "page_too_deep"
    assert extract(ARTICLE, max_mb=0.001)["dropped"] == "page_too_large"
    assert extract("<p a b c d e f g h i j k>x", max_attributes=10)["dropped"] == "too_many_attributes"
    with pytest.raises(ValueError, match="max_depth"):
        ExtractHtml(max_depth=100_000)


def test_large_but_ordinary_pages_pass(extract):
    for page in (
        "".join(f"<p>Paragraph number {i} about something else." for i in range(30_000)),  # none is closed
        "<table>" + "".join(f"<tr><td><font color=red>cell {i}<td><b>of row {i}" for i in range(4000)),
        "<ul>" + "".join(f"<li><span>item {i}" for i in range(4000)),
        "<dl>" + "".join(f"<dt>term {i}<dd><p>meaning {i}<i>" for i in range(3000)),
        "<div>" + "".join(f"<a name=a{i}>anchor {i} " for i in range(4000)),
        "<p>" + "<b>bold<p>" * 4000,
        "<svg>" + "<path d='M0 0'/>" * 4000 + "</svg><p>words",
        "<p>words<!-- " + "<div>" * 9000 + " --><script>" + "'<div>'" * 9000 + "</script>",
        "<p>words</p>" + "<div></div>" * 9000 + "</div>" * 9000,
    ):
        assert extract(page)["dropped"] in (None, "no_text"), page[:60]
        assert page_shape(np.frombuffer(page.encode(), np.uint8), 1000, 1000, 10**6).depth < 20


def test_deep_pages_do_not_go_to_trafilatura(extract):
    """lxml returns nothing from a depth of 255 on."""
    page = "<div>" * 300 + "".join(f"<p>{p}</p>" for p in PARAGRAPHS)
    for engine in ("resiliparse", "trafilatura"):
        assert PARAGRAPHS[1] in extract(page, engine=engine)["text"]
    stage = ExtractHtml(engine="trafilatura")
    stage.setup()
    stage(table([page]))
    assert stage.metrics.counters == {"not_for_trafilatura": 1}


def test_odd_characters(extract):
    row = extract("<title>a\x07b</title><p>one\0two\x07 three&#xD800;four&#0;five\x85six &amp; seven\ud7ff</p>")
    assert row["text"] == "onetwo three\ufffdfour\ufffdfivesix & seven\ud7ff"
    assert row["title"] == "ab"


def test_text_without_tags(extract):
    assert extract("Only words,\nno tags at all.")["text"].split() == ["Only", "words,", "no", "tags", "at", "all."]


def test_clean():
    assert clean("a  \r\nb\t\n\n\n\n\n\nc\rd\x00\x1fe\x7f\u0085\ufffef \xa0\n\n") == "a\nb\n\n\nc\ndef"
    assert clean("\n\n    indented\n        more\n") == "    indented\n        more"
    assert clean("tab\tkept") == "tab\tkept"
    assert clean(" \n \n") == ""


def test_clean_is_linear_in_runs_of_blanks():
    assert len(clean("a" + " " * 3_000_000 + "b" + "\n \n" * 300_000)) == 3_000_002


@given(st.text(max_size=200))
def test_clean_twice_is_clean_once(text):
    once = clean(text)
    assert clean(once) == once
    assert not set(once) & {"\r", "\0", "\x0b", "\x7f"}

"""Where a text stands in its page: names of elements, marks, and the rule for main content."""

import json
import lzma

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from resiliparse.parse.html import HTMLTree

from stages.extract.boosted_trees import read_trees, score
from stages.extract.class_names import FAMILIES, name_bits
from stages.extract.html import ExtractHtml, reduced_html
from stages.extract.html_tags import find, hash_table
from stages.extract.line_features import FEATURES
from stages.extract.main_lines import MODEL, SECOND_FEATURES
from stages.extract.marks import FIRST
from stages.extract.places import mark

WORDS = "The harbour was rebuilt after the flood, and the boats came back in spring. "


def main_words(page):
    """The words of a page's pieces of text that the rule takes for main content."""
    places = mark(page.encode())
    pieces = {}
    number = -1
    for char in places.page.decode():
        if char >= chr(FIRST):
            number = ord(char) - FIRST
        elif char == "<":
            number = -1
        elif number >= 0:
            pieces[number] = pieces.get(number, "") + char
    return " ".join(text for k, text in sorted(pieces.items()) if places.main[k]).split()


@pytest.mark.parametrize(
    ("name", "families"),
    [
        ("post-content", {"article", "content"}),
        ("siteFooter main", {"footer", "main"}),
        ("commentlist item-list", {"comment", "list"}),
        ("sidebarwidget", {"side"}),
        ("navigationally", {"nav"}),
        ("x1 __ 42", set()),
    ],
)
def test_names(name, families):
    bits = name_bits(np.frombuffer(name.encode(), np.uint8), 0, len(name))
    assert {family for k, family in enumerate(FAMILIES) if bits >> k & 1} == families


@pytest.mark.parametrize(
    "around",
    [
        "<nav>{}</nav>",
        "<aside>{}</aside>",
        "<div class='site-footer'>{}</div>",
        "<div id=CookieConsent>{}</div>",
        "<section role=dialog>{}</section>",
        "<div style='display: none'>{}</div>",
        "<div hidden>{}</div>",
        "<ul><li><a href=/1>{}</a></li><li><a href=/2>two</a></li></ul>",
    ],
)
def test_what_is_named_otherwise_is_no_main_content(around):
    page = f"<body><h1>Harbour</h1><article>{WORDS * 20}</article>{around.format('elsewhere')}</body>"
    assert main_words(page) == ["Harbour", *(WORDS * 20).split()]


def test_what_holds_most_of_the_text_is_main_content_under_any_name():
    page = f"<body><nav>here</nav><div class='sidebar right'>{WORDS * 20}</div></body>"
    assert main_words(page) == (WORDS * 20).split()
    # so it is if many elements of one make hold it
    page = "<body><nav>here</nav>" + "".join(f"<div class='widget w{k}'>{WORDS}</div>" for k in range(20)) + "</body>"
    assert main_words(page) == (WORDS * 20).split()


def test_links_that_hold_nothing_do_not_make_links_of_what_follows():
    page = "<p><a href=/x><img src=a.png></a> words <a href=/y> </a>and <a href=/z>more</a></p>"
    places = mark(page.encode())
    assert places.page.count(b"<a") == places.page.count(b"</a>") == 1
    assert reduced_html(HTMLTree.parse_from_bytes(places.page, "utf-8")).split("</p>")[0].endswith("</a>")


def test_text_for_those_without_scripts_is_counted():
    assert mark(b"<p>one</p><noscript><p>two <b>and</b></p></noscript><p>three</p>").unscripted == len("twoand")
    page = f"<body><div id=app>Wait.</div><noscript><div role=main id=main-outlet class=wrap><h1>Topic</h1><div class=post><p>{WORDS * 9}</p></div></div></noscript></body>"
    stage = ExtractHtml(fallback="none")
    stage.setup()
    out = stage(pa.table({"text": pa.nulls(1, pa.large_string()), "html": pa.array([page], pa.large_string())}))
    assert WORDS.strip() in out.docs["text"][0].as_py()


@given(st.dictionaries(st.integers(-(2**63), 2**63 - 1).filter(bool), st.integers(1, 2**40), max_size=60))
@settings(deadline=None)
def test_the_hash_table_is_a_dictionary(entries):
    keys, values = hash_table(entries, 128)
    for key in [*entries, 5, -5, 2**62]:
        assert find(keys, values, key) == entries.get(key, 0)


def test_the_trees_by_walking_one_after_the_other():
    with lzma.open(MODEL, "rt") as file:
        sets = json.load(file)
    for trees, made, columns in zip(sets, read_trees(MODEL), (FEATURES, SECOND_FEATURES), strict=True):
        rows = np.random.default_rng(0).normal(0, 20, (13, columns)).astype(np.float32)
        expected = []
        for row in rows:
            total = 0.0
            for node in trees["roots"]:
                while (feature := trees["feature"][node]) >= 0:
                    node = trees["left"][node] + (row[feature] > np.float32(trees["limit"][node]))
                total += trees["value"][node]
            expected.append(total)
        assert score(rows, *made) == pytest.approx(expected, abs=1e-4)

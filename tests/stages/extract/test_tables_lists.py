"""Main text line by line: tables, lists, headings and code as text and as Markdown, and what the model may do."""

import re

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from resiliparse.parse.html import HTMLTree

from stages.extract.html import ExtractHtml, by_resiliparse, reduced_html
from stages.extract.line_features import (
    CHARS,
    CODE,
    FEATURES,
    H1,
    ITEM,
    MAIN,
    PARAGRAPH,
    TABLE,
    kept_pieces,
    read_lines,
)
from stages.extract.main_lines import choose, probabilities
from stages.extract.places import PLACE_FEATURES, mark
from stages.extract.render import render, whole_blocks

NO_PLACES = np.zeros((0, PLACE_FEATURES), np.float32)
NOTHING = np.zeros(0, bool)

PAGE = (
    "<html><body><h1>Tea &amp; time</h1><p>Water for <b>green</b> tea must not boil: 1 &lt; 2, it is said, and so on.</p>"
    "<h2>Kinds</h2><ul><li>green<ul><li>sencha</li></ul></li><li>black</li></ul>"
    "<table><tr><th>Kind</th><th>Degrees</th></tr><tr><td>green</td><td>70 | 80</td></tr></table>"
    "<pre>if hot:\n    wait()\n\npour()</pre><p>The end <a href='/x'>of it</a>.</p></body></html>"
)


def read(page):
    """The reduced HTML of a page, with marks, and its lines."""
    places = mark(page.encode())
    tree = HTMLTree.parse_from_bytes(places.page, "utf-8")
    reduced = reduced_html(tree).encode()
    return reduced, read_lines(reduced, places.main, places.features)


def rendered(page, markdown):
    reduced, lines = read(page)
    return render(reduced, lines, np.ones(len(lines.kind), bool), markdown)


def test_as_text():
    assert rendered(PAGE, False) == (
        "Tea & time\n\nWater for green tea must not boil: 1 < 2, it is said, and so on.\n\nKinds\n\n• green\n  • sencha\n"
        "• black\n\nKind\tDegrees\ngreen\t70 | 80\n\nif hot:\n    wait()\n\npour()\n\nThe end of it."
    )


def test_as_markdown():
    text = rendered(PAGE, True)
    for part in (
        "# Tea & time\n",
        "\n## Kinds\n",
        "\n- green\n  - sencha\n- black\n",
        "| Kind | Degrees |\n| --- | --- |\n| green | 70 \\| 80 |",
        "\n```\nif hot:\n    wait()\n\npour()\n```\n",
        "\nThe end of it.",
    ):
        assert part in text


def test_kinds_and_features():
    marked = mark(PAGE.encode())
    reduced = reduced_html(HTMLTree.parse_from_bytes(marked.page, "utf-8"))
    shown = [line for line in reduced.split("\n") if "Tea" in line or "end" in line]
    text = re.sub("<[^>]*>", "", "\n".join(shown)).replace("&amp;", "&").encode()
    kept, chars = kept_pieces(text, len(marked.features))
    assert chars == len("Tea&timeTheendofit.")
    lines = read_lines(reduced.encode(), kept, marked.features)
    kinds = lines.kind.tolist()
    assert kinds == [H1, PARAGRAPH, H1 + 1, ITEM, ITEM, ITEM, TABLE, TABLE, CODE, CODE, CODE, PARAGRAPH]
    assert lines.features.shape == (len(kinds), FEATURES)
    assert lines.features[0, CHARS] == len("Tea&time")
    assert lines.features[:, MAIN].tolist() == [1, *[0] * 10, 1]


def test_links_over_several_lines():
    page = b'<ul>\n  <li><a href="/a">\nFirst page\n</a></li>\n  <li>no link</li>\n</ul>'
    lines = read_lines(page, NOTHING, NO_PLACES)
    assert lines.kind.tolist() == [ITEM, ITEM]
    assert lines.features[:, 3].tolist() == [1, 0]


def test_choice_has_the_highest_expected_f1():
    generator = np.random.default_rng(1)
    for _ in range(50):
        p, size = generator.random(12), generator.integers(1, 50, 12).astype(float)
        keep, expected = choose(p, size)
        all_choices = (np.arange(1 << 12)[:, None] >> np.arange(12) & 1).astype(bool)
        f1 = 2 * (all_choices * p * size).sum(1) / ((all_choices * size).sum(1) + (p * size).sum())
        assert expected == pytest.approx(f1.max())
        assert 2 * (keep * p * size).sum() / ((keep * size).sum() + (p * size).sum()) == pytest.approx(f1.max())
    assert choose(np.zeros(0), np.zeros(0))[1] == 0


def test_blocks_are_kept_or_left_out_whole():
    lines = read_lines(b"<p>a</p>\n<pre>x = 1\n\ny = 2</pre>\n<p>b</p>", NOTHING, NO_PLACES)
    out = whole_blocks(lines, np.array([0.1, 0.9, 0.5, 0.2]))
    assert out.tolist() == pytest.approx([0.1, 0.7, 0.7, 0.2])


def test_shallow_lists_are_kept():
    items = "".join(f"<li>Item number {i} says something of its own, and ends in a full stop.</li>" for i in range(20))
    page = f"<html><body><h1>A list</h1><p>{'These are the items of the list. ' * 5}</p><ul>{items}</ul></body></html>"
    stage = ExtractHtml(engine="lines")
    stage.setup()
    out = stage(pa.table({"text": pa.nulls(1, pa.large_string()), "html": pa.array([page], pa.large_string())}))
    text = out.docs["text"][0].as_py()
    assert all(f"Item number {i} " in text for i in range(15))  # the model doubts what a page ends with
    assert "Item number 3 " not in by_resiliparse(HTMLTree.parse(page))


def test_every_score_is_a_probability():
    p = probabilities(read(PAGE)[1])
    assert ((p > 0) & (p < 1)).all()


tags = [
    "<p>",
    "</p>",
    "<ul>",
    "</ul>",
    "<li>",
    "</li>",
    "<pre>",
    "</pre>",
    "\n",
    '<a href="x">',
    "</a>",
    "\t",
    "<h2>",
    "&lt;",
]


@settings(deadline=None)
@given(st.lists(st.sampled_from(tags) | st.text("ab .é。", max_size=6), max_size=40))
def test_no_visible_character_is_lost(parts):
    page = "".join(parts)
    lines = read_lines(page.encode(), NOTHING, NO_PLACES)
    shown = page
    for tag in tags:
        shown = shown.replace(tag, "<" if tag == "&lt;" else " ") if "<" in tag or tag == "&lt;" else shown
    text = render(page.encode(), lines, np.ones(len(lines.kind), bool), False)
    assert "".join(text.replace("•", "").split()) == "".join(shown.split())
    assert int(lines.features[:, CHARS].sum()) == len("".join(shown.split()))


@given(st.binary(max_size=300))
def test_any_bytes_are_read(page):
    lines = read_lines(page, kept_pieces(page, 5)[0], NO_PLACES)
    assert (lines.start < lines.end).all()
    assert np.isfinite(lines.features).all()


def test_any_batch_gives_what_single_pages_give():
    pages = [PAGE, None, "<p>one</p>", PAGE.replace("tea", "coffee")]
    table = pa.table({"text": pa.nulls(4, pa.large_string()), "html": pa.array(pages, pa.large_string())})
    for form in ("text", "markdown"):
        stage = ExtractHtml(engine="lines", format=form)
        stage.setup()
        single = [stage(table.slice(i, 1)).docs["text"][0].as_py() for i in range(4)]
        assert stage(table).docs["text"].to_pylist() == single

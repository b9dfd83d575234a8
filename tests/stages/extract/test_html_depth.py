"""The shape of a page, scanned, against the tree that the parser makes of it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from resiliparse.parse.html import HTMLTree
from test_html import ARTICLE, COLLAPSING

from stages.extract.html_depth import page_shape

TAGS = [
    "p",
    "div",
    "span",
    "b",
    "i",
    "font",
    "a",
    "li",
    "ul",
    "ol",
    "table",
    "tr",
    "td",
    "th",
    "tbody",
    "dl",
    "dd",
    "dt",
    "h1",
    "h2",
    "section",
    "center",
    "em",
    "br",
    "img",
    "svg",
    "path",
    "option",
    "select",
    "button",
    "form",
    "x-y",
    "caption",
    "nobr",
    "pre",
    "ruby",
    "rt",
    "title",
    "style",
]


def depth_of_tree(page):
    """The deepest level of the parser's tree below <html>, counting elements and text."""
    node, depth, deepest = HTMLTree.parse(page).document, 0, 0
    while node is not None:
        deepest = max(deepest, depth)
        if node.first_child is not None:
            node, depth = node.first_child, depth + 1
            continue
        while node is not None and node.next is None:
            node, depth = node.parent, depth - 1
        node = node.next if node is not None else None
    return deepest - 2


def estimate(page):
    return page_shape(np.frombuffer(page.encode(), np.uint8), 4000, 4000, 10**7)


@settings(max_examples=150, deadline=None, derandomize=True)  # true of nearly all tangles, not a theorem
@given(
    st.lists(
        st.tuples(
            st.sampled_from(TAGS),
            st.sampled_from(["<{}>", "<{}>x", "</{}>", "<{} a=1>", "<{} b=\"<p>\" c='>'>", "<{}/>"]),
        ),
        min_size=1,
        max_size=6,
    ),
    st.integers(1, 60),
)
def test_depth_is_never_far_below_the_parsers(tags, times):
    page = "".join(form.format(tag) for tag, form in tags) * times
    assert 2 * estimate(page).depth + 6 >= depth_of_tree(page)


@pytest.mark.parametrize("page", [ARTICLE, COLLAPSING, "<p>a<p>b<ul><li>c<li>d<ul><li>e</ul></ul><table><td>f<td>g"])
def test_depth_of_ordinary_pages_is_the_parsers(page):
    assert abs(estimate(page).depth - depth_of_tree(page)) <= 2


@pytest.mark.parametrize(
    ("page", "attributes", "text"),
    [
        ("", 0, 0),
        ("<", 0, 0),
        ("a < b", 0, 2),
        ("<p class=x id='a > b' data-y=\"<q>\" checked>é &amp; z</p>", 4, 7),
        ("<p\n\ta=1\n\tb = 2/>x", 2, 1),
        ("<!-- <p a b c> -->x<!doctype html><?php <p a b>?>y<!-->z", 0, 5),
        ("<script a>if (a < b) '<p a b c>'</script >x", 1, 1),
        ("<p a b", 0, 0),
        ("<p a='b", 0, 0),
    ],
)
def test_attributes_and_text_are_counted(page, attributes, text):
    shape = estimate(page)
    assert (shape.attributes, shape.text) == (attributes, text)


@given(st.binary(max_size=400))
def test_the_scan_takes_any_bytes(page):
    shape = page_shape(np.frombuffer(page, np.uint8), 50, 50, 1000)
    assert 0 <= shape.depth <= 60


@given(
    st.lists(
        st.sampled_from(["<b>", "<i x>", "<p>", "</b>", "<td>", "<table>", "<a>", "<div>", "x", "<button>", "</p>"]),
        max_size=400,
    )
)
def test_the_scan_stops_at_its_limits(parts):
    """The kernel does not check bounds; whatever the page, it must stay within what it has allocated."""
    shape = page_shape(np.frombuffer("".join(parts).encode(), np.uint8), 10, 10, 100)
    assert shape.depth <= 10 + 4

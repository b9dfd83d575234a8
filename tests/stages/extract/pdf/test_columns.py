"""Words of pages with a known order, shuffled, must come back in it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.extract.pdf.page import PageText
from stages.extract.pdf.text import compose

SENTENCE = [
    "Columns",
    "are",
    "read",
    "one",
    "after",
    "another",
    "and",
    "never",
    "row",
    "by",
    "row",
    "because",
    "a",
    "sentence",
    "that",
    "begins",
    "in",
    "one",
    "of",
    "them",
    "goes",
    "on",
    "below",
    "and",
    "not",
    "beside",
    "it",
    "which",
    "every",
    "reader",
    "knows",
    "and",
    "few",
    "programs",
    "do",
]


def lay_out(words, left, top, width, leading=14.0, size=12.0, seed=0):
    """Boxes of words set as a justified column; returns (boxes, bottom)."""
    rng = np.random.default_rng(seed)
    boxes, line, x = [], 0, 0.0
    rows: list[list[tuple[int, float, float]]] = [[]]
    for i, word in enumerate(words):
        w = 5.5 * len(word) + float(rng.uniform(0, 1))
        if x + w > width:
            rows.append([])
            x, line = 0.0, line + 1
        rows[-1].append((i, x, w))
        x += w + 3.5
    for line, row in enumerate(rows):
        free = width - (row[-1][1] + row[-1][2]) if line < len(rows) - 1 else 0.0
        for k, (_, x, w) in enumerate(row):
            shift = free * k / max(1, len(row) - 1)
            y = top + leading * line
            boxes.append((left + x + shift, y, left + x + shift + w, y + size))
    return boxes, top + leading * len(rows)


def page(parts, rng, width=595.0, height=842.0, drawn_by_row=True):
    """A page of (words, boxes), drawn row by row across the parts, or shuffled."""
    words = [w for ws, _ in parts for w in ws]
    boxes = np.array([b for _, bs in parts for b in bs], np.float32)
    order = np.lexsort((boxes[:, 0], np.round(boxes[:, 1]))) if drawn_by_row else rng.permutation(len(words))
    n = len(words)
    zeros = np.zeros(n, np.uint8)
    return PageText(0, width, height, boxes[order], [words[i] for i in order], zeros.astype(np.int32), zeros, zeros)


def text_of(pages):
    return compose(pages).text.split()


@settings(max_examples=25, deadline=None)
@given(
    columns=st.integers(2, 3),
    gap=st.floats(0.9, 4.0),
    size=st.sampled_from([6.0, 10.0, 12.0, 40.0]),
    shift=st.floats(0, 0.9),
    by_row=st.booleans(),
    seed=st.integers(0, 99),
)
def test_columns_are_read_one_after_another(columns, gap, size, shift, by_row, seed):
    rng = np.random.default_rng(seed)
    scale = size / 12
    width = (520 - (columns - 1) * gap * 12) / columns
    parts = []
    for c in range(columns):
        words = [f"{w}{c}" for w in rng.permutation(SENTENCE * 5)]
        boxes, _ = lay_out(words, 40 + c * (width + gap * 12), 100 + shift * 14 * c, width, seed=seed)
        parts.append((words, [tuple(v * scale for v in b) for b in boxes]))
    found = text_of([page(parts, rng, 600 * scale, 1600 * scale, by_row)])
    assert found == [w for ws, _ in parts for w in ws]


def test_a_title_across_both_columns_comes_first_and_a_figure_across_parts_them():
    rng = np.random.default_rng(1)
    title = ["A", "Title", "That", "Stands", "Above", "Both", "Of", "The", "Columns", "And", "Crosses", "The", "Gutter"]
    caption = [
        "Figure",
        "1",
        "shows",
        "what",
        "stands",
        "between",
        "the",
        "two",
        "halves",
        "of",
        "the",
        "page",
        "and",
        "across",
        "the",
        "gutter",
    ]
    parts = [(title, lay_out(title, 60, 100, 480)[0])]
    y = 140
    for half in "ab":
        bottoms = []
        for side in range(2):
            words = [f"{w}{half}{side}" for w in SENTENCE * 3]
            boxes, bottom = lay_out(words, 40 + 270 * side, y, 245)
            parts.append((words, boxes))
            bottoms.append(bottom)
        y = max(bottoms) + 20
        if half == "a":
            parts.append((caption, lay_out(caption, 60, y, 480)[0]))
            y += 50
    assert text_of([page(parts, rng)]) == [w for ws, _ in parts for w in ws]


def test_cells_of_a_table_stay_in_their_row():
    rows = [("Item", "Count", "Share"), *((f"Part {i}", f"{i * 37}", f"{i * 1.7:.1f}") for i in range(1, 15))]
    words, boxes = [], []
    for r, row in enumerate(rows):
        for c, cell in enumerate(row):
            x = 60 + 130 * c
            for word in cell.split():
                words.append(word)
                boxes.append((x, 200 + 15 * r, x + 6 * len(word), 212 + 15 * r))
                x += 6 * len(word) + 3
    lines = compose([page([(words, boxes)], np.random.default_rng(0))]).text.split("\n")
    assert lines == ["\t".join(row) for row in rows]


@pytest.mark.parametrize("turn", [1, 2, 3])
def test_a_page_on_its_side_is_read_as_if_it_stood(turn):
    words = SENTENCE * 6
    boxes = np.array(lay_out(words, 60, 100, 400)[0], np.float32)
    x0, y0, x1, y1 = boxes.T
    w, h = 595.0, 842.0
    if turn == 1:  # written downwards: what was to the right is below
        boxes, size = np.array([h - y1, x0, h - y0, x1]).T, (h, w)
    elif turn == 2:
        boxes, size = np.array([w - x1, h - y1, w - x0, h - y0]).T, (w, h)
    else:
        boxes, size = np.array([y0, w - x1, y1, w - x0]).T, (h, w)
    n = len(words)
    turns = np.full(n, turn, np.uint8)
    zeros = np.zeros(n, np.uint8)
    turned = PageText(0, *size, boxes.astype(np.float32), words, zeros.astype(np.int32), turns, zeros)
    assert text_of([turned]) == words


def test_vertical_japanese_runs_down_and_from_the_right():
    text = "最新の内容と設定は毎日更新されます。古い文書は倉庫に保管され、必要なときに取り出すことができます。"
    per_column, words, boxes = 20, [], []
    for i, c in enumerate(text * 4):
        column, row = divmod(i, per_column)
        x, y = 500 - 22 * column, 80 + 12 * row
        words.append(c)
        boxes.append((x, y, x + 12, y + 12))
    n = len(words)
    zeros = np.zeros(n, np.uint8)
    vertical = PageText(0, 595, 842, np.array(boxes, np.float32), words, zeros.astype(np.int32), zeros, zeros)
    assert compose([vertical]).text.replace("\n", "") == text * 4


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.floats(-50, 700, width=32), st.floats(-50, 900, width=32), st.floats(0, 300, width=32),
            st.floats(0, 60, width=32), st.text(st.characters(blacklist_categories=["Z", "C"]), min_size=1, max_size=9),
        ),
        max_size=80,
    )
)  # fmt: skip
def test_no_word_is_lost_or_invented_whatever_the_boxes(items):
    boxes = np.array([(x, y, x + w, y + h) for x, y, w, h, _ in items], np.float32).reshape(-1, 4)
    words = [f"{i}§{word}" for i, (*_, word) in enumerate(items)]  # no two alike: nothing counts as printed twice
    zeros = np.zeros(len(words), np.uint8)
    made = PageText(0, 595, 842, boxes, words, zeros.astype(np.int32), zeros, zeros)
    text = compose([made], drop_running=False).text
    assert sorted(text.count(f"{i}§") >= 1 for i in range(len(words))) == [True] * len(words)

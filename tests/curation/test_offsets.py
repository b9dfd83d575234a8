"""Offsets into a text that stages rewrite."""

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.documents import column_type
from curation.offsets import carry_offsets, follow

LINES = st.lists(st.text("abc ", max_size=6), min_size=1, max_size=8)


def test_changes_before_and_behind_an_offset():
    before = "write to a@b.example now\n\nsecond page\n\nthird"
    offsets = [0, before.index("second"), before.index("third")]
    after = before.replace("a@b.example", "someone")
    assert [after[o:][:6] for o in follow(before, after, offsets)] == ["write ", "second", "third"]
    inside = [before.index("now"), before.index("to")]
    assert [after[o:][:3] for o in follow(before, after, inside)] == ["now", "to "]


def test_lines_that_are_dropped():
    before = "one\ncookie policy\ntwo\nthree\nfour"
    after = "one\ntwo\nfour"
    offsets = [before.index(word) for word in ("one", "cookie", "two", "three", "four")]
    assert [after[o:].split("\n")[0] for o in follow(before, after, offsets)] == ["one", "two", "two", "four", "four"]


@settings(deadline=None)
@given(LINES, st.data())
def test_offsets_of_lines_that_stay_point_at_them(lines, data):
    lines = [f"{i}{line}" for i, line in enumerate(lines)]
    keep = data.draw(st.lists(st.booleans(), min_size=len(lines), max_size=len(lines)))
    before, after = "\n".join(lines), "\n".join(line for line, k in zip(lines, keep, strict=True) if k)
    starts = [sum(len(line) + 1 for line in lines[:i]) for i in range(len(lines))]
    moved = follow(before + "\n", after + "\n" if after else "", starts)
    assert moved == sorted(moved)
    for line, kept, at in zip(lines, keep, moved, strict=True):
        assert not kept or after[at:].split("\n")[0] == line


def test_columns_follow_the_text_of_a_stage_that_declares_it(documents):
    docs = documents(["a b\nc", None, "same"])
    offsets = pa.array([[0, 4], None, [0]], column_type("page_offsets"))
    docs = docs.append_column("page_offsets", offsets)
    text = pa.array(["abcd b\nc", None, "same"], pa.large_string())
    after = docs.set_column(docs.schema.get_field_index("text"), "text", text)
    assert carry_offsets(docs, after, {"text": pa.large_string()})["page_offsets"].to_pylist() == [[0, 7], None, [0]]
    assert carry_offsets(docs, after, {})["page_offsets"].to_pylist() == [[0, 4], None, [0]]

"""A model's repairs of a text, behind gates."""

import itertools

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.documents import column_type
from stages.extract.pdf.refine import RefineText, cut, numbers_kept, replaced, runs

FIRST = "The commit tee met on Tuesday, 12 May 1998, and read the minutes of the last meeting to all 34 members."
SECOND = "Journal of Minutes 7\nIt then voted on the budget of 2,500 crowns, which was accepted with 30 votes to 4."
REPAIRED = FIRST.replace("commit tee", "committee")


@pytest.fixture
def refine(documents, tmp_path):
    from stub_server import StubServer

    def run(answers, texts=(f"{FIRST}\n\n{SECOND}",), offsets=None, **keys):
        docs = documents(list(texts))
        pages = offsets or [[0, len(FIRST) + 2]] * len(texts)
        docs = docs.append_column("page_offsets", pa.array(pages, column_type("page_offsets")))
        with StubServer(lambda n, body: answers(body["messages"][-1]["content"])) as server:
            stage = RefineText(server=server.url, cache=str(tmp_path / "answers"), **keys)
            outcome = stage(docs)
        return outcome, stage.metrics.counters

    return run


def test_a_repair_is_kept_beside_the_old_text_and_pages_stay_where_they_start(refine):
    outcome, counts = refine(lambda user: REPAIRED if "commit tee" in user else SECOND.partition("\n")[2])
    (row,) = outcome.docs.to_pylist()
    assert row["text"] == f"{REPAIRED}\n\n{SECOND.partition(chr(10))[2]}"
    assert row["unrefined_text"] == f"{FIRST}\n\n{SECOND}" and row["refined_by"] == "stub@1"
    assert row["text"][row["page_offsets"][1] :].startswith("It then voted")
    assert counts["accepted"] == 2 and row["refined_share"] == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(
    ("answer", "gate"),
    [
        ("The committee met.", "length"),
        (FIRST + " It was the longest meeting of the year, as everybody in the room agreed afterwards.", "length"),
        ("Der Ausschuss trat am Dienstag, dem 12 Mai 1998, zusammen und las das Protokoll der Sitzung mit 34 vor.", "containment"),
        (FIRST.replace("1998", "1989"), "numbers"),
        (FIRST.replace("34 members", "members"), "numbers"),
    ],
)  # fmt: skip
def test_what_is_no_repair_changes_nothing(refine, answer, gate):
    outcome, counts = refine(lambda user: answer, texts=[FIRST], offsets=[[0]])
    (row,) = outcome.docs.to_pylist()
    assert row["text"] == FIRST and row["unrefined_text"] is None and row["refined_by"] is None
    assert counts == counts | {f"refused={gate}": 1}


def test_null_texts_and_refused_requests(refine):
    from aiohttp import web

    for keep in ("keep", "quarantine"):
        outcome, _ = refine(
            lambda user: web.json_response({}, status=400),
            texts=[FIRST, None, ""],
            offsets=[[0], None, [0]],
            unanswered=keep,
        )
        assert outcome.docs["text"].to_pylist() == [FIRST, None, ""]
        assert (outcome.failed[0].as_py() is not None) == (keep == "quarantine")


def test_hyphens_that_are_undone_do_not_count_against_a_repair():
    assert runs("one two three four exam-\nple six seven") == runs("one two three four example six seven")
    assert numbers_kept("1 2 3 4", "2 3") == 0.5 and numbers_kept("1", "1 2") is None and numbers_kept("", "") == 1


@settings(deadline=None)
@given(st.text("ab c\n.", max_size=400), st.lists(st.integers(0, 400), max_size=5), st.integers(20, 90))
def test_stretches_cover_what_they_say_and_offsets_follow(text, offsets, size):
    offsets = sorted(min(offset, len(text)) for offset in offsets)
    chunks = cut(0, text, offsets, size)
    assert all(text[c.begin : c.end] == c.text and 0 < len(c.text) <= size for c in chunks)
    assert all(a.end <= b.begin for a, b in itertools.pairwise(chunks))
    parts = [(chunk, chunk.text.upper() + "!!") for chunk in chunks]
    new, moved = replaced(text, offsets, parts)
    assert new.replace("!!", "").lower() == text.lower()
    for offset, place in zip(offsets, moved, strict=True):
        assert new[place:].replace("!!", "").lower() == text[offset:].lower()

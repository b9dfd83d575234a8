"""Repeated passages against plain Python: every run of words that stands before goes, and nothing else."""

import itertools
import re
from pydoc_data.topics import topics

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.dedup.substrings import DropRepeatedSubstrings
from stages.dedup.word_windows import chosen_runs, find_words, run_hashes
from stages.dedup.words import fold_table, text_buffers, word_hashes


def words_of(text):
    return re.findall(r"\w+", (text or "").lower())


def left_by_python(texts, length):
    """For each text whether each of its words stays, by the manual page."""
    first, result = {}, []
    for number, text in enumerate(texts):
        words = words_of(text)
        keep = [True] * len(words)
        for i in range(len(words) - length + 1):
            run = tuple(words[i : i + length])
            document, place = first.setdefault(run, (number, i))
            if document != number or i - place >= length:
                keep[i : i + length] = [False] * length
        result.append([w for w, k in zip(words, keep, strict=True) if k])
    return result


def as_tables(documents, texts, cuts=()):
    table = documents(texts)
    edges = [0, *cuts, len(texts)]
    return [table.slice(a, b - a) for a, b in itertools.pairwise(edges)]


def texts_after(outcomes):
    """Texts, with those of dropped documents as they were, and reasons."""
    docs = pa.concat_tables([o.docs for o in outcomes])
    return docs["text"].to_pylist(), [r for o in outcomes for r in o.dropped.to_pylist()]


word = st.sampled_from(["a", "b", "c", "d", "Ee", "é"])
passage = st.lists(word, min_size=6, max_size=14)


@settings(deadline=None, max_examples=40)
@given(st.data(), st.lists(passage, min_size=1, max_size=3), st.integers(4, 9))
def test_words_that_stay_are_those_plain_python_leaves(data, passages, length):
    from barrier_in_memory import run

    part = st.one_of(st.lists(word, max_size=12), st.sampled_from(passages))
    texts = data.draw(
        st.lists(st.lists(part, max_size=4).map(lambda p: " ".join(itertools.chain(*p))), min_size=1, max_size=6)
    )
    texts = [t.replace("é", "e") for t in texts]
    stage = DropRepeatedSubstrings(min_words=length, min_characters=1, shuffle_partitions=3)
    table = pa.table({"id": [str(i) for i in range(len(texts))], "text": pa.array(texts, pa.large_string())})
    cut = data.draw(st.integers(0, len(texts)))
    shards = [part for part in (table.slice(0, cut), table.slice(cut)) if part.num_rows]
    got, reasons = texts_after(run(stage, shards, 2, np.random.default_rng(0))[0])
    for text, reason, before, expected in zip(got, reasons, texts, left_by_python(texts, length), strict=True):
        if reason:
            assert not expected and reason == "only_repeated_substrings" and text == before
        else:
            assert words_of(text) == expected


def test_a_notice_goes_from_all_pages_but_the_first(documents, run_barrier):
    notice = " ".join(topics["lambda"].split()[:60])
    pages = [topics[name][:3000] for name in ("if", "while", "class", "function")]
    texts = [
        pages[0] + "\n\n" + notice + "\n",
        pages[1],
        "A title\n\n" + notice.upper().replace(" ", "  ") + ".\nMore of the page.\n" + pages[2],
        notice[: len(notice) // 2] + " and then it goes on otherwise. " + pages[3],
        None,
        "",
    ]
    stage = DropRepeatedSubstrings()
    got, reasons = texts_after(run_barrier(stage, as_tables(documents, texts, (2,)), 2)[0])
    assert reasons == [None] * 6
    assert got[2] == "A title\n\n\nMore of the page.\n" + pages[2]
    assert [got[i] for i in (0, 1, 3, 4, 5)] == [texts[i] for i in (0, 1, 3, 4, 5)]
    assert stage.metrics.counters == {
        "documents_changed": 1,
        "words_removed": len(words_of(notice)),
        "characters_removed": got_less(texts, got),
    }


def got_less(before, after):
    return sum(len(b or "") - len(a or "") for b, a in zip(before, after, strict=True))


def test_a_page_of_nothing_else_is_dropped_as_it_was(documents, run_barrier):
    page = topics["operator-summary"]
    copy = "Copy: " + page + " End."
    got, reasons = texts_after(run_barrier(DropRepeatedSubstrings(), as_tables(documents, [page, copy], (1,)))[0])
    assert got == [page, copy] and reasons == [None, "only_repeated_substrings"]


def test_result_does_not_depend_on_shards_or_batches(documents, run_barrier):
    rng = np.random.default_rng(4)
    pages = [topics[name] for name in sorted(topics)][:60]
    quotes = [" ".join(p.split()[20 : 20 + rng.integers(40, 90)]) for p in pages]
    texts = [p + "\n" + quotes[rng.integers(60)] + "\n" + quotes[rng.integers(60)] for p in pages]
    seen = []
    for cuts, batch, parts in [((), 1000, 64), ((1, 30), 7, 1), ((10, 11, 12, 50), 3, 5)]:
        stage = DropRepeatedSubstrings(shuffle_partitions=parts)
        outcomes, _ = run_barrier(stage, as_tables(documents, texts, cuts), batch, np.random.default_rng(batch))
        seen.append((texts_after(outcomes), stage.metrics.to_json()))
    assert seen[0] == seen[1] == seen[2]
    (after, _), metrics = seen[0]
    assert [words_of(t) for t in after] != [words_of(t) for t in texts]
    expected = left_by_python(texts, 50)
    assert [words_of(t) for t, r in zip(*seen[0][0], strict=True) if r is None] == [
        e for e, r in zip(expected, seen[0][0][1], strict=True) if r is None
    ]
    assert metrics["counters"]["documents_changed"] > 5


@settings(deadline=None)
@given(st.lists(st.text(max_size=40), max_size=5))
def test_words_are_those_that_minhash_sees_and_stand_where_they_say(texts):
    data, offsets = text_buffers(pa.array(texts, pa.large_string()))
    most = int(offsets[-1] - offsets[0]) + 1
    hashes, begins, ends = np.zeros(most, np.uint64), np.zeros(most, np.int64), np.zeros(most, np.int64)
    starts = np.zeros(len(offsets), np.int64)
    table = fold_table(False)
    find_words(data, offsets, table, hashes, begins, ends, starts)
    expected, at = word_hashes(pa.array(texts, pa.large_string()), table)
    assert starts.tolist() == at.tolist()
    for number, text in enumerate(texts):
        raw = text.encode()
        for i in range(starts[number], starts[number + 1]):
            alone, _ = word_hashes(pa.array([raw[begins[i] : ends[i]].decode()], pa.large_string()), table)
            assert alone.tolist() == [hashes[i]] == [expected[i]]


@settings(deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.integers(1, 5), st.integers(1, 6))
def test_winnowing_chooses_the_same_run_in_every_window_of_equal_words(words, length, window):
    words = np.array(words, np.uint32)
    starts = np.array([0, len(words)])
    hashes, texts, places = (np.zeros(len(words), kind) for kind in (np.uint64, np.int64, np.int32))
    n = chosen_runs(words, starts, length, window, hashes, texts, places)
    every = np.zeros(len(words), np.uint64)
    count = run_hashes(words, length, every)
    by_run = {}
    for i in range(count):
        assert by_run.setdefault(tuple(words[i : i + length].tolist()), every[i]) == every[i]
    assert len(set(by_run.values())) == len(by_run)
    expected = {max(range(i, i + window), key=lambda j: (-int(every[j]), j)) for i in range(count - window + 1)}
    assert places[:n].tolist() == sorted(expected) and hashes[:n].tolist() == [every[i] for i in sorted(expected)]


@pytest.mark.parametrize("length", [4, 5, 50])
def test_short_runs_fill_a_window(length):
    stage = DropRepeatedSubstrings(min_words=length)
    assert stage._short + stage._window - 1 == length

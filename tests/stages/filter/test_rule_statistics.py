"""Counts of repeated lines and n-grams against the plain walk over all of them."""

import numpy as np
import pyarrow as pa
from datatrove.pipeline.filters.gopher_repetition_filter import (
    find_all_duplicate,
    find_duplicates,
    find_top_duplicate,
    get_n_grams,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.filter.repetition import count_repetition
from stages.filter.text_statistics import Texts, quality_statistics, repetition_statistics, stop_word_tables
from stages.filter.words import stop_word_hashes, words


def repetition(texts):
    s = repetition_statistics(Texts.of(pa.array(texts, pa.large_string())), np.zeros(len(texts), np.int64))
    return [{name: int(values[i]) for name, values in s.items()} for i in range(len(texts))]


# Few different words, so that n-grams of every size repeat and overlap; many, so that most occur once.
REPETITIVE = st.lists(st.sampled_from(["ab", "c", "d\u00e9f", "\u4e2d"]), max_size=90).map(" ".join)
SPARSE = st.lists(st.integers(0, 40).map(lambda i: "w" * (i % 5 + 1) + chr(97 + i % 26)), max_size=120).map(" ".join)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(REPETITIVE, SPARSE), min_size=1, max_size=4))
def test_n_grams_are_counted_as_by_walking_over_all_of_them(texts):
    for text, found in zip(texts, repetition(texts), strict=True):
        split = words(text)
        for n in (2, 3, 4):
            n_grams = get_n_grams(split, n)
            assert found[f"top_{n}_gram_characters"] == (find_top_duplicate(n_grams) if n_grams else 0)
        for n in range(5, 11):
            assert found[f"dup_{n}_gram_characters"] == find_all_duplicate(split, n)


@settings(max_examples=150, deadline=None)
@given(st.text(st.sampled_from("a\u00e9\n\n\n \t"), max_size=60))
def test_lines_and_paragraphs_are_counted_as_by_regular_expressions(text):
    import re

    found = repetition([text])[0]
    if not text:
        return
    paragraphs, lines = re.split(r"\n{2,}", text.strip()), re.split(r"\n+", text)
    assert (found["paragraphs"], found["lines"], found["characters"]) == (len(paragraphs), len(lines), len(text))
    assert (found["dup_paragraphs"], found["dup_paragraph_characters"]) == find_duplicates(paragraphs)
    assert (found["dup_lines"], found["dup_line_characters"]) == find_duplicates(lines)


def test_a_document_of_100800_words_is_counted_in_full():
    text = " ".join(f"w{i % 50400}" for i in range(100_800))  # 50,400 is a multiple of 5 to 10
    found = repetition([text, "short one"])[0]
    half = sum(len(word) for word in text.split()) // 2
    assert {found[f"dup_{n}_gram_characters"] for n in range(5, 11)} == {half}
    assert found["top_2_gram_characters"] == 2 * len("w0 w1")


def test_stop_words_are_counted_once_each_and_by_language():
    lists = [stop_word_hashes(("the", "of"), "eng_Latn"), stop_word_hashes(("der", "die", "und"), "deu_Latn")]
    tables, numbers = stop_word_tables(lists)
    texts = Texts.of(pa.array(["the the of, die", "the of und die der die"], pa.large_string()))
    language = np.array([0, 1], np.int32)
    found = quality_statistics(texts, np.zeros(2, np.int64), tables, numbers, language)
    assert found["stop_words"].tolist() == [2, 3]


def test_marks_of_lines_are_counted():
    text = "\u2022 one\n  - two...\r\n#three\u2026 \n\nfour... five...."
    found = quality_statistics(
        Texts.of(pa.array([text], pa.large_string())),
        np.zeros(1, np.int64),
        *stop_word_tables([[]]),
        np.zeros(1, np.int32),
    )
    counts = {name: int(values[0]) for name, values in found.items()}
    assert counts["lines"] == len(text.splitlines()) == 5
    assert (counts["bullet_lines"], counts["ellipsis_lines"], counts["hashes"]) == (2, 3, 1)
    assert counts["ellipses"] == text.count("...") + text.count("\u2026") == 4


def test_kernels_are_compiled_once_whatever_the_buffers():
    """Arrow buffers may be writable (another stage's numpy array) or not, and a batch may be without any text."""
    written = pa.Array.from_buffers(
        pa.large_string(),
        1,
        [None, pa.py_buffer(np.array([0, 3])), pa.py_buffer(np.frombuffer(b"a b", np.uint8).copy())],
    )
    for column in (written, pa.array(["a b"]), pa.array([None, ""], pa.large_string()), pa.array([], pa.string())):
        repetition_statistics(Texts.of(column), np.zeros(len(column), np.int64))
    assert len(count_repetition.signatures) == 1

"""Words as the rules count them: against spaCy's results, Unicode's properties and the scripts' own rules."""

import sys
import unicodedata

import numpy as np
import pyarrow as pa
import pytest
from datatrove.utils.text import PUNCTUATION_SET, TERMINAL_PUNCTUATION
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.filter.characters import DIGIT, LETTER, SENTENCE_END, SPACE, SYMBOL, character_table
from stages.filter.languages import language_parameters
from stages.filter.text_statistics import Texts, line_statistics, quality_statistics, repetition_statistics
from stages.filter.utf8 import hash_bytes, line_break, strip
from stages.filter.word_habits import LANGUAGES, word_habits
from stages.filter.words import stop_word_hashes, word_hash, words


def flagged(flag):
    return {chr(c) for c in np.flatnonzero(character_table() & flag)}


def test_character_lists_are_those_of_the_reference_implementation():
    assert flagged(SYMBOL) == PUNCTUATION_SET
    assert flagged(SENTENCE_END) == TERMINAL_PUNCTUATION


def test_character_classes_are_those_of_python():
    every = [chr(c) for c in range(sys.maxunicode + 1)]
    assert flagged(SPACE) == {c for c in every if c.isspace()} | {"\u200b"}
    assert flagged(LETTER) == {c for c in every if c.isalpha()}
    assert flagged(DIGIT) == {c for c in every if unicodedata.category(c) == "Nd"}


# What spacy.blank("en"), version 3.8, gives for these texts.
SPACY_ENGLISH = {
    'Hello, world! (see "foo.bar")': 'Hello|,|world|!|(|see|"|foo.bar|"|)',
    "It's U.S. law, e.g. J. Doe at 5 p.m. today.": "It|'s|U.S.|law|,|e.g.|J.|Doe|at|5|p.m.|today|.",
    "I don't think we'll say you're late; he'd know they've left.": (
        "I|do|n't|think|we|'ll|say|you|'re|late|;|he|'d|know|they|'ve|left|."
    ),
    "You cannot run 10km in 5pm heat, 3rd place": "You|can|not|run|10|km|in|5|pm|heat|,|3rd|place",
    "state-of-the-art and/x or 2-3 a\u2014b \u00abx\u00bb": "state|-|of|-|the|-|art|and|/|x|or|2|-|3|a|\u2014|b|\u00ab|x|\u00bb",
    "$5.00, 5% of 1,000,000 at 12:30": "$|5.00|,|5|%|of|1,000,000|at|12:30",
    "#tag @me foo_bar func() x=1 -foo --bar C++": "#|tag|@me|foo_bar|func|(|)|x=1|-foo|--bar|C++",
    "wait... what\u2026 end.Next word..two": "wait|...|what|\u2026|end|.|Next|word|..|two",
    "see http://a-b.com/c?d=e-f, www.x.org and me@example.org.": (
        "see|http://a-b.com/c?d=e-f|,|www.x.org|and|me@example.org|."
    ),
    "rock'n'roll by O'Brien at 5 o'clock": "rock'n'roll|by|O'Brien|at|5|o'clock",
    "[1] {x} <b> | a|b /usr/bin": "[|1|]|{|x|}|<|b|>|||a\\|b|/usr|/|bin",
    "so :) or :( it is": "so|:)|or|:(|it|is",
}


@pytest.mark.parametrize("text", SPACY_ENGLISH)
def test_english_is_cut_as_spacy_cuts_it(text):
    expected = SPACY_ENGLISH[text].replace("\\|", "\0").replace("|||", "|\1|").split("|")
    expected = [word.replace("\0", "|").replace("\1", "|") for word in expected]
    assert words(text, "eng_Latn") == expected


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("fra_Latn", "L'homme qu'il d\u2019abord", ["L'", "homme", "qu'", "il", "d\u2019", "abord"]),
        ("uzn_Latn", "o'zbek", ["o'zbek"]),
        ("swe_Latn", "e-post", ["e-post"]),
        ("eng_Latn", "e-post", ["e", "-", "post"]),
        ("mlt_Latn", "il-kelb", ["il-", "kelb"]),
        ("nld_Latn", "pagina's", ["pagina's"]),
        ("deu_Latn", "am 3. Mai.", ["am", "3.", "Mai", "."]),
        (
            "hin_Deva",
            "\u092f\u0939 \u0939\u0948\u0964(\u0915)",
            ["\u092f\u0939", "\u0939\u0948", "\u0964", "(", "\u0915", ")"],
        ),
        (
            "rus_Cyrl",
            "\u0438\u0437-\u0437\u0430 \u00ab\u0434\u043e\u043c\u0430\u00bb.",
            ["\u0438\u0437", "-", "\u0437\u0430", "\u00ab", "\u0434\u043e\u043c\u0430", "\u00bb", "."],
        ),
        (
            "zho_Hans",
            "\u6211\u5728\u4e2d\u56fd\u7684\u5317\u4eac\u3002",
            ["\u6211", "\u5728", "\u4e2d\u56fd", "\u7684", "\u5317\u4eac", "\u3002"],
        ),
        (
            "jpn_Jpan",
            "\u65e5\u672c\u306e\u30b3\u30f3\u30d4\u30e5\u30fc\u30bf\u306f3.5%",
            ["\u65e5\u672c", "\u306e", "\u30b3\u30f3\u30d4\u30e5\u30fc\u30bf", "\u306f", "3.5", "%"],
        ),
        (
            "kor_Hang",
            "\ud55c\uad6d\uc5b4\ub97c \ud588\ub2e4.",
            ["\ud55c\uad6d\uc5b4", "\ub97c", "\ud588", "\ub2e4", "."],
        ),
        (
            "tha_Thai",
            "\u0e04\u0e19\u0e43\u0e19\u0e01\u0e23\u0e38\u0e07\u0e40\u0e1b\u0e47\u0e19",
            ["\u0e04\u0e19", "\u0e43\u0e19", "\u0e01\u0e23\u0e38\u0e07", "\u0e40\u0e1b\u0e47\u0e19"],
        ),
        (
            "khm_Khmr",
            "\u1794\u17d2\u179a\u1787\u17b6\u1787\u1793\u1798\u17b6\u1793",
            ["\u1794\u17d2\u179a", "\u1787\u17b6\u1787\u1793", "\u1798\u17b6\u1793"],
        ),
        # Burmese syllables are exact: myan-ma-naing-ngan, with one stacked consonant in another word.
        (
            "mya_Mymr",
            "\u1019\u103c\u1014\u103a\u1019\u102c\u1014\u102d\u102f\u1004\u103a\u1004\u1036",
            ["\u1019\u103c\u1014\u103a", "\u1019\u102c", "\u1014\u102d\u102f\u1004\u103a", "\u1004\u1036"],
        ),
    ],
)
def test_words_of_other_languages(language, text, expected):
    assert words(text, language) == expected


MIXED = st.text(
    st.sampled_from(
        list("abcXYZ019 .,'-\u2019:/@#%$()\n\t&=+?!\"")
        + list(
            "\u00e9\u0301\u0434\u042f\u05d0\u0627\u0915\u094d\u093e\u0e01\u0e32\u0e48\u0e40\u0e43\u0e2d\u1780\u17d2\u17b6\u1000\u103a\u1039\u4e2d\u7684\u56fd\u306e\u3042\u30ab\u30fc\ud55c\ub294"
        )
        + list("\u200b\u00a0\u3002\U0001f600\U00020000\ufe0f")
    ),
    max_size=60,
)
SPACES = flagged(SPACE)


@settings(max_examples=300, deadline=None)
@given(
    MIXED, st.sampled_from(["und", "eng_Latn", "fra_Latn", "swe_Latn", "mlt_Latn", "hin_Deva", "nld_Latn", "deu_Latn"])
)
def test_words_are_the_text_without_its_white_space(text, language):
    found = words(text, language)
    assert "".join(found) == "".join(c for c in text if c not in SPACES)
    assert all(found)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40))
def test_white_space_and_line_boundaries_are_those_of_python(text):
    data = np.frombuffer((text + " ").encode("utf-8", "replace"), np.uint8)
    text = data.tobytes().decode()
    a, b = strip(data, 0, len(data), character_table())
    assert data[a:b].tobytes().decode() == text.strip()
    lines, start, i = [], 0, 0
    while i < len(data):
        width = line_break(data, i, len(data))
        if width:
            lines.append(data[start:i].tobytes().decode())
            start = i + width
        i += max(width, 1)
    assert lines + [data[start:].tobytes().decode()] * (start < len(data)) == text.splitlines()


@settings(deadline=None)
@given(st.binary(max_size=40), st.binary(max_size=40))
def test_hashes_differ_where_bytes_differ(one, two):
    a, b = (np.frombuffer(x + b"|", np.uint8) for x in (one, two))
    assert (hash_bytes(a, 0, len(one)) == hash_bytes(b, 0, len(two))) == (one == two)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=30), min_size=1, max_size=4))
def test_broken_utf8_is_read_within_its_bounds(pieces):
    """A parquet file may hold bytes that are not UTF-8: a result, the same each time, and no crash."""
    data = np.frombuffer(b"".join(pieces) or b"\xf0", np.uint8)
    offsets = np.cumsum([0, *map(len, pieces)]).astype(np.int64)
    offsets.flags.writeable = False
    texts = Texts(data, offsets)
    habits = np.zeros(len(pieces), np.int64)
    stop = (np.zeros((1, 256), np.uint64), np.zeros((1, 256), np.uint8), np.zeros(len(pieces), np.int32))
    for _ in range(2):
        first = [
            repetition_statistics(texts, habits),
            quality_statistics(texts, habits, *stop),
            line_statistics(texts, habits, 30),
        ]
        second = [
            repetition_statistics(texts, habits),
            quality_statistics(texts, habits, *stop),
            line_statistics(texts, habits, 30),
        ]
        for one, two in zip(first, second, strict=True):
            assert all(np.array_equal(one[name], two[name]) for name in one)


def test_habits_name_languages_of_the_table():
    known = {code.split("_")[0] for code in language_parameters()} | {"und"}
    assert {code for codes in LANGUAGES.values() for code in codes.split()} <= known
    assert word_habits("und") == word_habits("eng_Latn") != word_habits("fra_Latn")


def test_stop_words_of_other_splitters_are_found_without_their_punctuation():
    assert [word_hash("ta'"), word_hash("ta")] in [
        sorted_by(h, "ta'", "ta") for h in stop_word_hashes(("ta'",), "mlt_Latn")
    ]
    assert stop_word_hashes(("the", "the"), "eng_Latn") == [[word_hash("the")]]


def sorted_by(hashes, *forms):
    assert set(hashes) == {word_hash(form) for form in forms}
    return [word_hash(form) for form in forms]


def test_sliced_and_chunked_columns_give_their_own_rows():
    column = pa.chunked_array(
        [pa.array(["one two", None], pa.large_string()), pa.array(["x", "three, four"])[1:].cast(pa.large_string())]
    )
    texts = Texts.of(column)
    assert line_statistics(texts, np.zeros(3, np.int64), 30)["words"].tolist() == [2, 0, 3]

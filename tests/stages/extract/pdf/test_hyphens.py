"""Words cut at line ends."""

import pytest

from stages.extract.pdf.hyphens import ends_cut, join_cut, vocabulary

WORDS = vocabulary(
    [
        "a well-known example of a well-known rule",
        "information for the information desk",
        "a long term is a term and long is long",
        "cut at the end-",
    ]
)


@pytest.mark.parametrize(
    ("line", "following", "joined"),
    [
        ("an exam-", "ple of", "an example of"),  # unknown: the typesetter's hyphen
        ("the infor-", "mation desk", "the information desk"),
        ("a well-", "known rule", "a well-known rule"),  # the document writes it so
        ("a long-", "term loan", "a long-term loan"),  # both halves are words of the document
        ("Anglo-", "Saxon", "Anglo-Saxon"),
        ("2019-", "2020", "2019-2020"),
        ("soft\u00ad", "ly", "softly"),
        ("Donau\u2010", "dampfer", "Donaudampfer"),
        ("état-", "major", "étatmajor"),
    ],
)
def test_a_hyphen_goes_unless_the_document_writes_it(line, following, joined):
    assert ends_cut(line)
    assert join_cut(line, following, WORDS) == joined


def test_a_dash_is_no_hyphen():
    assert not ends_cut("so it was -")
    assert not ends_cut("-")


def test_a_cut_word_is_no_word_of_the_document():
    assert WORDS["end"] == 0 and WORDS["information"] == 2

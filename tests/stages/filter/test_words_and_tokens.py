"""Words and code tokens of one pass are those that the two cutters of `stages/dedup` find, each in a pass of its own."""

from itertools import pairwise

import pyarrow as pa
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stages.dedup.code_tokens import code_tokens
from stages.dedup.words import fold_table, word_hashes
from stages.filter.words_and_tokens import hashes_of

PIECES = st.one_of(
    st.sampled_from(["the", "The", "x_1", "naïve", "naive", "12", "１２", "ß", "SS", "Ж", "и", "a" * 70, "😀", "½"]),
    st.sampled_from(["ﬁ", "é", "e\u0301", "\u0301", "\u200d", "日本", "ไทย", "ﷲ", "“", "”"]),
    st.sampled_from(["", " ", "\n", "\t", "\x00", "\x7f", "==", "'", '"', "`", "(", ")."]),
)
TEXTS = st.lists(st.one_of(st.text(max_size=40), st.lists(PIECES, max_size=30).map("".join)), max_size=6)


def column(texts):
    return pa.array(texts, pa.large_string())


def numbered(hashes):
    """Each hash by the order in which it was first met: two lists are equal if the same places have the same word."""
    order = {}
    return [order.setdefault(h, len(order)) for h in hashes.tolist()]


@given(TEXTS)
@settings(max_examples=300, deadline=None)
@example(["naïve “x_1”(naïve)", "é=é", "e\u0301 é E", "x日本x x", "", "日", "a" * 64, "a" * 128, "b" * 64])
@example([None, "ﬁx fix", "ﷲ", "x\u0301= x"])
def test_the_same_words_and_tokens_stand_at_the_same_places(texts):
    words, starts = hashes_of(column(texts), code=False)
    expected, expected_starts = word_hashes(column(texts), fold_table(False))
    assert starts.tolist() == expected_starts.tolist() and numbered(words) == numbered(expected)
    tokens, starts = hashes_of(column(texts), code=True)
    expected, _, _, expected_starts = code_tokens(column(texts))
    assert starts.tolist() == expected_starts.tolist() and numbered(tokens) == numbered(expected)


def test_a_word_has_the_same_hash_in_every_text_and_batch():
    parts = ["naïve", "x = “naïve”", "NAIVE (x)"]
    together, starts = hashes_of(column(parts), code=False)
    single = [hashes_of(column([text]), code=False)[0].tolist() for text in parts]
    assert [together[a:b].tolist() for a, b in pairwise(starts)] == single
    assert single[0][0] == single[1][1] == single[2][0]
    sliced = column(["before", *parts, "after"]).slice(1, 3)
    assert hashes_of(sliced, code=False)[0].tolist() == together.tolist()

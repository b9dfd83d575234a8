"""The fold table: words of real sentences in many scripts, and the kernels against plain Python."""

import itertools
import re
import unicodedata

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.dedup.words import fold_table, hash_words, normalize, text_buffers, word_hashes

UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u312f\u31a0-\u31ff\u3400-\u4dbf"
UNSPACED += "\u4e00-\u9fff\U00020000-\U0003ffff"


def words(text, fold_digits=False):
    """What `normalize` gives for one text, as a list of words."""
    data, ends = normalize(pa.array([text], pa.large_string()), fold_table(fold_digits))
    return data[: ends[1]].tobytes().decode().split()


def hashes(texts):
    """One array of word hashes per text."""
    found, starts = word_hashes(pa.array(texts, pa.large_string()), fold_table(False))
    return [found[a:b] for a, b in itertools.pairwise(starts)]


def words_in_python(text):
    """The rule in plain Python, for texts without spacing marks, wide forms and Hangul."""
    text = "".join(c for c in text if unicodedata.category(c) not in ("Mn", "Me", "Cf"))
    found = re.findall(f"[{UNSPACED}]|[^\\W{UNSPACED}]+", text)
    return ["".join(_fold(c) for c in word) for word in found]


def _fold(c):
    return str(unicodedata.decimal(c)) if c.isdecimal() else unicodedata.normalize("NFD", c.lower())[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The QUICK-brown fox's 2nd jump, in 1999.", "the quick brown fox s 2nd jump in 1999"),
        ("Über Ångström, naïve façade: Łódź & Šiauliai", "uber angstrom naive facade łodz siauliai"),
        ("İstanbul'da ışık", "istanbul da ısık"),
        ("Все счастливые семьи похожи — ёлка", "все счастливые семьи похожи елка"),
        ("Ὦ ξεῖν᾽, ἀγγέλλειν ΛΑΚΕΔΑΙΜΟΝΊΟΙΣ", "ω ξειν αγγελλειν λακεδαιμονιοισ"),
        ("السَّلَامُ عَلَيْكُمْ ١٢٣", "السلام عليكم 123"),
        ("בְּרֵאשִׁית בָּרָא", "בראשית ברא"),
        ("हिन्दी में लिखा", "हिनदी म लिखा"),
        ("道可道，非常道。", "道 可 道 非 常 道"),
        ("ﾄﾞﾅｳ川 ＡＢＣ１２", "ト ナ ウ 川 abc12"),
        ("吾輩は猫である。Web版", "吾 輩 は 猫 て あ る web 版"),
        ("나는 학교에 간다", "나는 학교에 간다"),
        ("สวัสดี ครับ", "ส ว ส ด ค ร บ"),
        ("soft\u00adhyphen zero\u200bwidth \ufeffbom", "softhyphen zerowidth bom"),
        ("snake_case(x) != 3.14 + naïve²", "snake_case x 3 14 naive²"),
        ("𝐀 𠀀𪜀 🙂🙂", "𝐀 𠀀 𪜀"),
        ("ห้อง ๑๒๓", "ห อ ง 123"),
        ("***  --- 🙂", ""),
        ("", ""),
    ],
)
def test_words_of_many_scripts(text, expected):
    assert words(text) == expected.split()


def test_digits_are_told_apart_or_not():
    assert words("12 May 2024 ٣") == ["12", "may", "2024", "3"]
    assert words("12 May 2024 ٣", fold_digits=True) == ["00", "may", "0000", "0"]


letters = st.sampled_from(
    "aZéÅß_09٣ \n\t.,;-(«…\u00a0\u00ad\u200d\u0301жЁЩΣάאء漢字中文カなไทยขကខ〆𠮷"  # one to four bytes, all kinds
)


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.text(letters, max_size=40), max_size=5))
def test_kernels_agree_with_plain_python(texts):
    expected = [words_in_python(text) for text in texts]
    data, ends = normalize(pa.array(texts, pa.large_string()), fold_table(False))
    got = [data[ends[i] : ends[i + 1]].tobytes().decode() for i in range(len(texts))]
    assert got == [" ".join(w) for w in expected]
    # Hashes: as many as words, and equal exactly where words are.
    found = hashes(texts)
    assert [len(h) for h in found] == [len(w) for w in expected]
    pairs = {(w, int(h)) for ws, hs in zip(expected, found, strict=True) for w, h in zip(ws, hs, strict=True)}
    assert len(pairs) == len({w for w, _ in pairs}) == len({h for _, h in pairs})


@settings(deadline=None)  # the first call compiles
@given(st.text(max_size=60))
def test_normalized_text_is_its_own_normal_form(text):
    once = " ".join(words(text))
    assert " ".join(words(once)) == once


def test_folding_twice_changes_no_character():
    for fold_digits in (False, True):
        table = fold_table(fold_digits)
        letters = table[table > 1]
        assert len(letters) > 130_000
        assert (table[letters & 0x7FFFFFFF] == letters).all()


@settings(deadline=None)  # the first call compiles
@given(st.binary(max_size=30), st.binary(min_size=4, max_size=4))
def test_invalid_utf8_is_read_within_its_bounds(content, after):
    table = fold_table(False)
    found = []
    for tail in (after, bytes(4)):
        data = np.frombuffer(content + tail, np.uint8)
        out = np.zeros(len(content) + 2, np.uint64)
        starts = np.zeros(2, np.int64)
        hash_words(data, np.array([0, len(content)]), table, out, starts)
        assert starts[1] <= len(content) and out[-1] == 0
        found.append(out[: starts[1]].tolist())
    assert found[0] == found[1]


def test_slices_chunks_and_nulls_read_like_whole_columns():
    texts = ["alpha beta", None, "", "gamma", "δέλτα έψιλον", "六 七"]
    column = pa.array(texts, pa.large_string())
    chunked = pa.chunked_array([column.slice(0, 2), column.slice(2)]).slice(1, 4)
    for variant in (column.slice(1, 4), chunked, column.cast(pa.string()).slice(1, 4)):
        data, ends = normalize(variant, fold_table(False))
        got = [data[a:b].tobytes().decode() for a, b in itertools.pairwise(ends)]
        assert got == ["", "", "gamma", "δελτα εψιλον"]
    assert text_buffers(pa.chunked_array([], pa.large_string()))[1].tolist() == [0]

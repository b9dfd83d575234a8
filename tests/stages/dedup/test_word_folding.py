"""The fold table: words of real sentences in many scripts, and the kernels against plain Python."""

import itertools
import re
import sys
import unicodedata
from unicodedata import category

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.dedup.repeated_lines import line_hash
from stages.dedup.word_windows import find_words
from stages.dedup.words import fold, fold_table, hash_words, normalize, text_buffers, word_hashes

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
    if c.isdecimal():
        return str(unicodedata.decimal(c))
    return "".join(b for b in unicodedata.normalize("NFKD", c).upper().casefold() if not unicodedata.combining(b))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The QUICK-brown fox's 2nd jump, in 1999.", "the quick brown fox s 2nd jump in 1999"),
        ("Über Ångström, naïve façade: Łódź & Šiauliai", "uber angstrom naive facade łodz siauliai"),
        ("İstanbul'da ışık", "istanbul da isik"),
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
        ("𝐀 𠀀𪜀 🙂🙂", "a 𠀀 𪜀"),
        ("Straße, STRASSE; oﬃce \ufefbﬂow ﬀ", "strasse strasse office لاflow ff"),
        ("ﷲ ﺎﻟﺴﻼﻡ ﷺ", "الله السلام ﷺ"),
        ("ὁ λόγος ΛΌΓΟΣ ſo µm", "ο λογοσ λογοσ so μm"),
        ("\u0995\u09cb \u0995\u09c7\u09be", "\u0995\u09c7\u09be \u0995\u09c7\u09be"),
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
    "aZéÅß_09٣ıςﬁﻻﷲ \n\t.,;-(«…\u00a0\u00ad\u200d\u0301жЁЩΣάאء漢字中文カなไทยขကខ〆𠮷"  # one to four bytes, all kinds
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
        entries, behind = table[: sys.maxunicode + 1], table[sys.maxunicode + 1 :]
        letters = entries[(entries > 1) & ((entries >> 30) != 1)]
        assert len(letters) > 130_000
        assert (table[letters & 0x3FFFFFFF] == letters).all()
        assert (table[behind[behind > 0]] == behind[behind > 0]).all()


def test_case_and_composition_of_no_character_matter():
    """Every character, in capitals, small letters, composed and decomposed, is read as the same letters."""
    iota = "\u0345"  # written below a vowel it is a mark and skipped; in capitals it is a letter
    for code in itertools.chain(range(0xAC00), range(0xE000, sys.maxunicode + 1)):
        character = chr(code)
        decomposed = unicodedata.normalize("NFD", character)
        if category(character) == "So" or iota in decomposed:  # musical notes, which are composed of marks
            continue
        for other in (character.upper(), character.lower(), character.casefold(), decomposed):
            if other != character:
                assert "".join(fold(c) or "" for c in other) == (fold(character) or ""), (character, other)


@pytest.mark.parametrize(
    "text",
    [
        "Kılavuz sayfası yardımcıları için bir arayüz, İstanbul",
        "Der große Fußballspieler weiß, daß Maße heißen",
        "Ο Οδυσσεύς έφυγε από την Ιθάκη για τους πολέμους της Τροίας",
        "Ծնունդ և մահ, գիր և դպրություն",
    ],
)
def test_a_text_in_capitals_is_the_same_text(text):
    small, capitals = hashes([text, text.upper()])
    assert small.tolist() == capitals.tolist()


def test_all_kernels_read_several_letters_in_one_alike():
    text = pa.array(["oﬃce Straße ß aﬀ", "OFFICE STRASSE SS AFF"], pa.large_string())
    table = fold_table(False)
    data, offsets = text_buffers(text)
    expected, starts = word_hashes(text, table)
    found, begins, ends = np.empty(99, np.uint64), np.empty(99, np.int64), np.empty(99, np.int64)
    places = np.zeros(3, np.int64)
    find_words(data, offsets, table, found, begins, ends, places)
    assert places.tolist() == starts.tolist() == [0, 4, 8]
    assert found[:8].tolist() == expected.tolist() and (expected[:4] == expected[4:]).all()
    first = text[0].as_py().encode()
    assert [first[a:b].decode() for a, b in zip(begins[:4], ends[:4], strict=True)] == ["oﬃce", "Straße", "ß", "aﬀ"]
    one, other = (line_hash(data, offsets[i], offsets[i + 1], table, np.uint64(7), 99) for i in (0, 1))
    assert one == other != 0
    assert line_hash(*text_buffers(pa.array(["1 ß 2"]))[:1], 0, 6, table, np.uint64(7), 99) != 0  # two letters


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

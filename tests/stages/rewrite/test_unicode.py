"""fix_unicode: ftfy alone and Python's unicodedata are the oracles for what may be skipped and what comes out."""

import unicodedata

import ftfy
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from ftfy.badness import is_bad
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stages.rewrite.unicode import FixUnicode, composable_pattern, mojibake_pattern

STAGE = FixUnicode()
STAGE.setup()


def fixed(text, **config):
    stage = FixUnicode(**config) if config else STAGE
    return stage(pa.table({"text": pa.array([text], pa.large_string())}))["text"][0].as_py()


SENTENCES = [
    "Ça m’étonne: « déjà vu » coûte 5 €, naïf — œuvre.",
    "Größe, Übermut und Straße: „schön“ für 10 °C.",
    "El niño preguntó: ¿cuántos años?",
    "Příliš žluťoučký kůň úpěl ďábelské ódy.",
    "Съешь же ещё этих мягких французских булок.",
    "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία.",
    "Pijamalı hasta yağız şoföre çabucak güvendi — “evet”.",
    "すべての人間は、生まれながらにして自由である。",
    "دل‌خوش می‌شوم",
]


@pytest.mark.parametrize("sentence", SENTENCES)
def test_text_read_with_the_wrong_encoding_is_read_again(sentence):
    assert fixed(sentence) == sentence
    wrong = sentence.encode().decode("latin-1")
    assert wrong != sentence and fixed(wrong) == sentence
    assert fixed("fine\n" + wrong + "\nfine") == f"fine\n{sentence}\nfine"


def test_common_damage():
    assert fixed("FranÃ§ois â€œquotedâ€\x9d donâ€™t MÃ¼nchen") == "François “quoted” don’t München"
    assert fixed("the dog\x92s \x93tail\x94") == "the dog’s “tail”"
    assert fixed("e\u00ad\u0301") == "é"
    assert fixed("dés-\x9cuvre Ã©té\x92s") == "dés-œuvre été’s"
    assert fixed("a\r\nb\rc\x0bd\x0cf\u2028g\u2029h\n") == "a\nb\nc\nd\nf\ng\nh\n"
    assert fixed("e\x85f") == "e…f", "read as Windows-1252; with mojibake off it is a line end"
    assert fixed("e\x85f", mojibake=False) == "e\nf"
    assert fixed("\x1b[1;31merror\x1b[0m: no\x00t\x07 found\x7f") == "error: not found"
    assert (
        fixed("\ufeffauto\u00admatic\u2060 a\u200bb \u202eevil\u202c \u200fx\u2066y\u2069\ufffc")
        == "automatic ab evil xy"
    )
    assert fixed("12\u00a0345\u202f€ a\u2009b") == "12 345 € a b"
    assert fixed("cafe\u0301 \u1112\u1161\u11ab \u212b") == "café 한 Å"


@pytest.mark.parametrize(
    "text",
    [
        "می‌خواهم",  # ZWNJ in Persian
        "क्‍ष র‍্য",  # ZWJ in Devanagari and Bengali
        "👩‍💻 👨‍👩‍👧 ❤️ 🏴󠁧󠁢󠁥󠁮󠁧󠁿",  # emoji of several parts
        "ភាសា​ខ្មែរ ภาษา​ไทย ພາສາ​ລາວ མི་​བོད",  # zero-width spaces that part words
        "全角　スペース、ＡＢＣ１２３",
        "“curly” ‘quotes’ ﬁne ﬂow … — ½ ™ № ｱｲｳ",
        "ＰＤＦ \ue000 ☃ 𝒳²",
        "tabs\tand\nnewlines\n",
        "x ≤ y × 2° ± «ß» ÀÉÎ Ω",
        "à 300 °C, Â, Ã, 5 × 6",
    ],
)
def test_what_is_meant_stays(text):
    assert fixed(text) == text


def test_steps_can_be_switched_off():
    text = "\x1b[1mFranÃ§ois\r\ncafe\u0301\u00ad\u00a0!"
    steps = ("terminal", "mojibake", "line_ends", "nfc", "invisible", "spaces")
    assert fixed(text, **dict.fromkeys(steps, False)) == text
    for step, expected in {
        "terminal": "FranÃ§ois\r\ncafe\u0301\u00ad\u00a0!",
        "mojibake": "\x1b[1mFrançois\r\ncafe\u0301\u00ad\u00a0!",
        "line_ends": "\x1b[1mFranÃ§ois\ncafe\u0301\u00ad\u00a0!",
        "nfc": "\x1b[1mFranÃ§ois\r\ncafé\u00ad\u00a0!",
        "invisible": "[1mFranÃ§ois\r\ncafe\u0301\u00a0!",
        "spaces": "\x1b[1mFranÃ§ois\r\ncafe\u0301\u00ad !",
    }.items():
        assert fixed(text, **dict.fromkeys(steps, False) | {step: True}) == expected


MOJIBAKE = st.text(
    st.sampled_from("abcZ .,\n\t  ÃÂâ€™œŒ¡¿°×²ØÙåÐÎ‚Ä√≈вЂВГāβΓ–…\x80\x9d\x92\u3000\u2003éαж│░ﬁ文١_"), max_size=14
)


@settings(max_examples=300, deadline=None)
@given(MOJIBAKE)
@example("Ã ")
@example("\nÂ b")
def test_no_text_that_ftfy_would_repair_is_skipped(text):
    found = pc.match_substring_regex(pa.array([text]), mojibake_pattern())[0].as_py()
    assert found >= any(is_bad(line) for line in text.split("\n"))
    alone = dict.fromkeys(("terminal", "line_ends", "nfc", "invisible", "spaces"), False)
    assert fixed(text, **alone) == ftfy.fix_text(text, STAGE._ftfy)


def test_the_pattern_is_as_narrow_as_that_of_ftfy():
    lines = [sentence.encode().decode(encoding, "ignore") for sentence in SENTENCES for encoding in ("utf-8", "cp1252")]
    lines += [chr(c) + chr(d) + "a" for c in range(0xA0, 0x180, 3) for d in range(0xA0, 0x2200, 37)]
    found = pc.match_substring_regex(pa.array(lines), mojibake_pattern()).to_pylist()
    assert found == [is_bad(line) for line in lines]
    assert 0 < sum(found) < len(found)


@settings(max_examples=500)
@given(st.text(max_size=20))
def test_normalization_is_that_of_unicodedata(text):
    # Python and Arrow know different Unicode versions: only characters that both know are compared
    text = "".join(c for c in text if unicodedata.category(c) != "Cn")
    alone = dict.fromkeys(("terminal", "mojibake", "line_ends", "invisible", "spaces"), False)
    assert fixed(text, **alone) == unicodedata.normalize("NFC", text)


def test_every_character_that_nfc_changes_is_found():
    characters = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    changed = [c for c in characters if not unicodedata.is_normalized("NFC", c)]
    assert len(changed) > 1000
    assert pc.all(pc.match_substring_regex(pa.array(changed), composable_pattern())).as_py()
    decomposed = [unicodedata.normalize("NFD", c) for c in characters if unicodedata.normalize("NFD", c) != c]
    composable = [d for d in decomposed if unicodedata.normalize("NFC", d) != d]
    assert pc.all(pc.match_substring_regex(pa.array(composable), composable_pattern())).as_py()
    composed = pa.array(["Plain ASCII, é, ü, ß, 文字, Привет, 한글, かな, नमन"])
    assert not pc.match_substring_regex(composed, composable_pattern())[0].as_py(), "ordinary text is not normalised"


@settings(max_examples=300)
@given(
    st.text(
        st.one_of(st.characters(codec="utf-8"), st.sampled_from("\r\n\x1b[1m\u200b\u200cก\u00ad\u00a0")), max_size=20
    )
)
def test_invisible_and_spaces_leave_nothing_to_do(text):
    config = {"mojibake": False}
    once = fixed(text, **config)
    assert not any(c in once for c in "\r\x0b\x0c\x85\u2028\u2029\u00a0\u202f\u00ad\ufeff\u202e\x00\x7f")
    assert fixed(once, **config) == once


TEXTS = ["plain", None, "", "FranÃ§ois\r\n", "cafe\u0301", "a\u00adb\u00a0c", "\ufeff", "\x1b[0m\x1b[1m"]


def test_changed_documents_are_counted(documents):
    stage = FixUnicode()
    docs = documents(TEXTS)
    result = stage(docs)
    assert result["text"].to_pylist() == ["plain", None, "", "François\n", "café", "ab c", "", ""]
    assert stage.metrics.counters == {
        "documents_terminal": 1,
        "documents_mojibake": 1,
        "documents_line_ends": 1,
        "documents_nfc": 1,
        "documents_invisible": 2,
        "documents_spaces": 1,
        "documents_repaired": 5,
    }
    assert result.drop_columns("text").equals(docs.drop_columns("text"))
    assert result.schema.field("text").type == pa.large_string()


def test_same_result_for_any_batch_split(documents):
    docs = documents([*TEXTS, *SENTENCES, *[s.encode().decode("latin-1") for s in SENTENCES]])
    whole_stage, stage = FixUnicode(), FixUnicode()
    whole = whole_stage(docs)
    parts = pa.concat_tables([stage(docs.slice(i, 3)) for i in range(0, docs.num_rows, 3)])
    assert parts["text"].to_pylist() == whole["text"].to_pylist()
    assert stage.metrics.counters == whole_stage.metrics.counters
    assert stage(docs.slice(0, 0)).num_rows == 0

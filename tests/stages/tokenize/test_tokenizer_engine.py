"""The adapter must give the ids that Qwen3's own file gives under Hugging Face `tokenizers`, whatever engine runs."""

import json
import os
import unicodedata
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import regex
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.tokenize import engine
from stages.tokenize.engine import Reference, Tokenizer, first_difference
from stages.tokenize.prepared import Prepared, load
from stages.tokenize.probes import PROBES
from stages.tokenize.tokenizer_file import control_tokens, text_only

# One plain sentence each, written for this test: 26 scripts.
SENTENCES = [
    "The river rose two metres overnight, and the mill's wheel hasn't turned since.",
    "Вчера мы ехали поездом до Твери и пили чай из стаканов.",
    "Το πλοίο φεύγει στις οκτώ το πρωί από τον Πειραιά.",
    "Գնացքը ժամանում է երեկոյան ժամը յոթին:",
    "მატარებელი საღამოს შვიდ საათზე ჩამოდის.",
    "הרכבת מגיעה בשעה שבע בערב, וְהַיֶּלֶד מחכה.",
    "يصل القطار في الساعة السابعة مساءً إلى المحطّة.",
    "ٹرین شام سات بجے پہنچتی ہے۔",
    "रेलगाड़ी शाम सात बजे पहुँचती है।",
    "ট্রেনটি সন্ধ্যা সাতটায় পৌঁছায়।",
    "ਗੱਡੀ ਸ਼ਾਮ ਨੂੰ ਸੱਤ ਵਜੇ ਪਹੁੰਚਦੀ ਹੈ।",
    "ટ્રેન સાંજે સાત વાગ્યે પહોંચે છે.",
    "ଟ୍ରେନ ସନ୍ଧ୍ୟା ସାତଟାରେ ପହଞ୍ଚେ।",
    "ரயில் மாலை ஏழு மணிக்கு வருகிறது.",
    "రైలు సాయంత్రం ఏడు గంటలకు వస్తుంది.",
    "ರೈಲು ಸಂಜೆ ಏಳು ಗಂಟೆಗೆ ಬರುತ್ತದೆ.",
    "തീവണ്ടി വൈകിട്ട് ഏഴു മണിക്ക് എത്തും.",
    "දුම්රිය සවස හතට ළඟා වේ.",
    "รถไฟมาถึงเวลาหนึ่งทุ่มตรง",
    "ລົດໄຟມາຮອດຕອນເຈັດໂມງແລງ",
    "ရထားသည် ညနေ ခုနစ်နာရီတွင် ရောက်သည်။",
    "រថភ្លើងមកដល់ម៉ោងប្រាំពីរល្ងាច។",
    "རི་ལི་དགོང་དྲོ་ཆུ་ཚོད་བདུན་པར་འབྱོར།",
    "火车晚上七点到站，月台上一个人也没有。",
    "電車は夜の七時に着き、ホームには誰もいなかった。ｶﾞ",
    "기차는 저녁 일곱 시에 도착한다.",
    "ባቡሩ ማታ አንድ ሰዓት ላይ ይደርሳል።",
    "ᏗᎦᎵᎢᏍᏗ ᏓᎩᎶᏍᎦ",
]


@pytest.fixture(scope="module")
def untouched(definition):
    """Qwen3's file as it was published, under the library that defines it."""
    return tokenizers.Tokenizer.from_str(json.dumps(definition))


@pytest.fixture(scope="module")
def textbook(definition):
    """Byte-level BPE as the papers tell it, in Python, from the file's merges alone: an oracle with no library in it
    (Sennrich et al. 2016, arXiv 1508.07909, section 3.2; bytes as in GPT-2)."""
    ranks = {tuple(pair): rank for rank, pair in enumerate(definition["model"]["merges"])}
    vocabulary = definition["model"]["vocab"]
    pattern = regex.compile(definition["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"])
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in visible]
    letter = {byte: chr(byte) for byte in visible} | {byte: chr(256 + i) for i, byte in enumerate(hidden)}

    def encode(text):
        ids = []
        for word in pattern.findall(unicodedata.normalize("NFC", text)):
            parts = [letter[byte] for byte in word.encode()]
            while True:
                pairs = [(ranks.get(pair, len(ranks)), i) for i, pair in enumerate(pairwise(parts))]
                rank, i = min(pairs, default=(len(ranks), 0))
                if rank == len(ranks):
                    break
                parts[i : i + 2] = [parts[i] + parts[i + 1]]
            ids += [vocabulary[part] for part in parts]
        return ids

    return encode


def rows(ids, offsets):
    return [ids[a:b].tolist() for a, b in pairwise(offsets)]


def ids_of(tokenizer, texts):
    ids, offsets, failed = tokenizer.encode(pa.array(texts, pa.large_string()))
    assert failed == 0
    assert ids.dtype == np.int32 and offsets.dtype == np.int64
    return rows(ids, offsets)


def published(untouched, texts):
    return [e.ids for e in untouched.encode_batch(texts, add_special_tokens=False)]


def test_real_text_gets_the_published_ids(qwen, untouched):
    files = sorted(Path(os.__file__).parent.glob("*.py"))[:60]
    texts = [file.read_text(encoding="utf-8")[:20_000] for file in files]
    texts = [text for text in texts if "<|" not in text]
    texts += SENTENCES + [unicodedata.normalize("NFD", s) for s in SENTENCES]
    texts += [" ".join(SENTENCES), "\n\n".join(SENTENCES * 30)]  # the second is beyond 64 KiB
    assert qwen.engine.startswith("fastokens")
    assert ids_of(qwen, texts) == published(untouched, texts)


def test_known_ids(qwen):
    assert ids_of(qwen, ["Hello, world!"]) == [[9707, 11, 1879, 0]]


def test_the_textbook_algorithm_agrees(qwen, textbook):
    texts = SENTENCES + [unicodedata.normalize("NFD", s) for s in SENTENCES]
    texts += [text for text in PROBES if len(text) < 200]
    assert ids_of(qwen, texts) == [textbook(text) for text in texts]


_ASSIGNED = st.characters(exclude_categories=["Cs", "Cn"])
_TEXT = st.one_of(
    st.text(_ASSIGNED, max_size=60),
    st.text(st.sampled_from("aAsStTreEvmldſ'’ \n\r\t\u00a0\u3000.,!1²"), max_size=60),
    st.lists(
        st.sampled_from([*SENTENCES, "<|im_end|>", "</think>", "e\u0301", "\u0323\u0301", "👩‍👧", "\r\n", "  "])
    ).map("".join),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(_TEXT, max_size=6))
def test_any_text_gets_the_textbook_ids(qwen, textbook, texts):
    assert ids_of(qwen, texts) == [textbook(text) for text in texts]


@pytest.mark.parametrize(
    "unit", ["a", "ab", " ", "\n", " \n", "=", "7", "的", "ก", "a\u0301", "👍", "\u1112\u1161\u11ab"]
)
def test_long_runs_are_encoded_whole(qwen, untouched, unit):
    text = unit * (120_000 // len(unit.encode()))
    assert ids_of(qwen, [text, text[:-1]]) == published(untouched, [text, text[:-1]])


def test_no_text_becomes_a_control_id(qwen, definition, untouched, textbook):
    controls = control_tokens(definition)
    assert len(controls) == 26 and min(controls.values()) == 151_643
    texts = [*controls, "".join(controls), *(f"see {token} here" for token in controls)]
    # The published file does turn every one of them into its id; this is what must not happen.
    assert published(untouched, list(controls)) == [[i] for i in controls.values()]
    got = ids_of(qwen, texts)
    assert max(max(ids) for ids in got) < 151_643
    assert got == [textbook(text) for text in texts]


def test_null_and_empty_texts(qwen):
    ids, offsets, _ = qwen.encode(pa.array([None, "", "a b", None], pa.large_string()))
    assert offsets.tolist() == [0, 0, 0, 2, 2] and len(ids) == 2
    ids, offsets, _ = qwen.encode(pa.array([], pa.large_string()))
    assert offsets.tolist() == [0] and len(ids) == 0


def test_reference_engine_gives_the_same_ids(definition, qwen):
    reference = Tokenizer(definition, "hf")
    assert reference.engine.startswith("tokenizers") and reference.fallback is None
    assert ids_of(reference, SENTENCES) == ids_of(qwen, SENTENCES)


# A fast engine can be wrong in many ways. Each of these must be seen at load.


class WithoutNormalizer(Reference):
    """Forgets NFC: right on nearly every text of the web."""

    def __init__(self, definition):
        super().__init__(json.dumps(json.loads(definition) | {"normalizer": None}))


class WithControlTokens(Reference):
    """Recognizes one control token, as every encoder does by default."""

    def __init__(self, definition):
        super().__init__(definition)
        self._tokenizer.add_special_tokens(["<|user|>"])


class LosesTheLast(Reference):
    """Loses the last id of a batch."""

    def encode(self, texts):
        ids, offsets = super().encode(texts)
        return ids[:-1], np.minimum(offsets, len(ids) - 1)


class WrongFromCache(Reference):
    """Right the first time, wrong from its cache."""

    def encode(self, texts):
        ids, offsets = super().encode(texts)
        self.seen = getattr(self, "seen", 0) + 1
        return (ids if self.seen == 1 else ids[::-1].copy()), offsets


class FewerTexts(Reference):
    """Skips empty texts."""

    def encode(self, texts):
        return super().encode([text for text in texts if text])


class CannotLoad:
    """Does not know this kind of tokenizer."""

    def __init__(self, definition):
        raise ValueError("unsupported model type")


class PanicException(BaseException):
    """What a panic in Rust looks like from Python."""


class Panics(Reference):
    """Panics on some text."""

    def encode(self, texts):
        raise PanicException("index out of bounds")


BROKEN = [WithoutNormalizer, WithControlTokens, LosesTheLast, WrongFromCache, FewerTexts, CannotLoad, Panics]


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_engine_is_refused_loudly(small_definition, monkeypatch, capsys, broken):
    monkeypatch.setattr(engine, "Fastokens", broken)
    tokenizer = Tokenizer(small_definition)
    assert tokenizer.fallback and tokenizer.engine.startswith("tokenizers")
    assert "warning" in (said := capsys.readouterr().err) and tokenizer.fallback in said
    assert ids_of(tokenizer, SENTENCES) == ids_of(Tokenizer(small_definition, "hf"), SENTENCES)


def test_a_sound_engine_is_not_refused(small_definition, monkeypatch, capsys):
    monkeypatch.setattr(engine, "Fastokens", Reference)
    assert Tokenizer(small_definition).fallback is None
    assert capsys.readouterr().err == ""


def test_a_broken_engine_is_an_error_if_it_was_asked_for(small_definition, monkeypatch):
    monkeypatch.setattr(engine, "Fastokens", WithoutNormalizer)
    with pytest.raises(RuntimeError, match="expected"):
        Tokenizer(small_definition, "fastokens")


def test_an_interrupt_is_not_taken_for_a_failure(small_definition, monkeypatch):
    class Interrupted(Reference):
        def encode(self, texts):
            raise KeyboardInterrupt

    monkeypatch.setattr(engine, "Fastokens", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        Tokenizer(small_definition)


def test_the_difference_is_named(small_definition):
    plain = text_only(small_definition)
    probes = ["plain", "e\u0301"]
    prepared = Prepared(lambda: plain, probes, *Reference(plain).encode(probes))
    difference = first_difference(WithoutNormalizer(plain), prepared)
    assert difference.startswith("'e\\u0301' gave")


def test_a_text_the_engine_gives_up_on_goes_to_the_reference(small_definition, monkeypatch):
    class GivesUp(Reference):
        def encode(self, texts):
            if any("Тверь" in text for text in texts):
                raise PanicException("no")
            return super().encode(texts)

    monkeypatch.setattr(engine, "Fastokens", GivesUp)
    tokenizer = Tokenizer(small_definition)
    assert tokenizer.fallback is None
    texts = ["one", "в Тверь", "", "two"]
    ids, offsets, failed = tokenizer.encode(pa.array(texts))
    assert failed == 1
    assert rows(ids, offsets) == ids_of(Tokenizer(small_definition, "hf"), texts)


def test_correct_replaces_only_what_is_wrong(qwen):
    texts = pa.array(["one two", "", None, "three four five", "six"])
    ids, offsets, _ = qwen.encode(texts)
    broken = ids.copy()
    broken[offsets[3]] += 1
    same, none = qwen.correct(texts, np.arange(5), (ids, offsets))
    assert none == 0 and same[0] is ids
    unseen, none = qwen.correct(texts, np.array([0, 4]), (broken, offsets))
    assert none == 0 and unseen[0] is broken
    (right, starts), wrong = qwen.correct(texts, np.arange(5), (broken, offsets))
    assert wrong == 1 and right.tolist() == ids.tolist() and starts.tolist() == offsets.tolist()


def test_what_is_prepared_once_is_the_same_from_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made, who = load("qwen3", "<|endoftext|>")
    [folder] = (tmp_path / "curation" / "tokenizers").iterdir()
    assert sorted(file.name for file in folder.iterdir()) == ["facts.json", "ids", "starts", "text_only.json"]
    monkeypatch.setattr("stages.tokenize.prepared.read_definition", lambda *_: pytest.fail("the cache was not used"))
    again, same = load("qwen3", "<|endoftext|>")
    assert (same, again.probes, again.definition()) == (who, made.probes, made.definition())
    assert np.array_equal(again.ids, made.ids) and np.array_equal(again.starts, made.starts)
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name in ("ids", "text_only.json", "facts.json"):  # damaged: made again
        (folder / name).write_bytes((folder / name).read_bytes()[:-8])
        repaired, _ = load("qwen3", "<|endoftext|>")
        assert np.array_equal(repaired.ids, made.ids) and repaired.definition() == made.definition()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "no" / "folder"))
    (tmp_path / "no").write_text("a file where the cache's folder would be")
    assert np.array_equal(load("qwen3", "<|endoftext|>")[0].ids, made.ids)

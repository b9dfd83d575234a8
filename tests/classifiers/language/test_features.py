"""The features of the language model, against a slow reading of their definition and against fastText itself."""

import unicodedata

import fasttext
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from classifiers.language.features import LONGEST, SHORTEST, fold, lower_case, n_grams, symbols
from classifiers.language.script import scripts
from classifiers.language.training import Examples, Settings, fit, ordered, utf8
from classifiers.language.weights import Weights

TEXT = st.text(st.characters(max_codepoint=0x2FFFF, exclude_categories=["Cs"]), max_size=60)


def folded(text, script=0):
    data, starts = utf8([text])
    out = np.empty(4096, np.uint8)
    n, letters = fold(data, starts[0], starts[1], script, symbols(), lower_case(), out)
    return bytes(out[:n]).decode(), letters


@settings(deadline=None)  # the first call compiles
@given(TEXT)
def test_words_are_letters_and_their_marks_in_lower_case(text):
    found, letters = folded(text)
    assert found.count("<") == found.count(">")
    words = [word for word in found.replace("<", " ").replace(">", " ").split(" ") if word]
    assert letters == sum(unicodedata.category(c)[0] != "M" for c in "".join(words))
    for word in words:
        assert unicodedata.category(word[0])[0] not in "NPSZ", word
        assert word == "".join(c.lower() if len(c.lower()) == 1 else c for c in word)


def test_words_of_other_scripts_are_left_out():
    text = "Η Google ανακοίνωσε 3 νέα προϊόντα."
    assert folded(text)[0] == "<η><google><ανακοίνωσε><νέα><προϊόντα>"
    assert folded(text, scripts().index("Grek") + 1)[0] == "<η><ανακοίνωσε><νέα><προϊόντα>"
    assert folded("co\u00adop\u200berative")[0] == "<coop><erative>"  # a soft hyphen joins, a zero-width space parts


def slow_n_grams(word, buckets):
    found = []
    for start in range(len(word)):
        for length in range(SHORTEST, LONGEST + 1):
            if start + length > len(word):
                break
            h = 2166136261
            for byte in word[start : start + length].encode():
                h = ((h ^ (byte | 0xFFFFFF00 if byte > 127 else byte)) * 16777619) & 0xFFFFFFFF
            found.append(h % buckets)
    return found


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.text(st.characters(categories=["L"]), min_size=1, max_size=9), max_size=5))
def test_n_grams_are_those_of_the_definition(words):
    text = "".join(f"<{word}>" for word in words)
    out = np.empty(2048, np.int32)
    data = np.frombuffer(text.encode(), np.uint8)
    n = n_grams(data, 0, len(data), 5003, out)
    assert out[:n].tolist() == [bucket for word in words for bucket in slow_n_grams(f"<{word}>", 5003)]


def test_fasttext_gives_the_same_answers(tmp_path):
    # The same network, computed by fastText from the same words: an oracle for hashing, mean and softmax at once.
    sentences = {
        "fra_Latn": "nul ne sera soumis à la torture ni à des peines ou traitements cruels inhumains ou dégradants",
        "fin_Latn": "jokaisella on oikeus ilman minkäänlaista syrjintää samaan palkkaan samasta työstä",
        "vie_Latn": "mọi người đều có quyền tự do họp hành và tham gia hiệp hội một cách hoà bình",
        "tur_Latn": "bu hak ve hürriyetler hiçbir veçhile birleşmiş milletlerin amaç ve prensiplerine aykırı",
    }
    texts, labels = list(sentences.values()), np.array(list(sentences), object)
    examples = Examples.of(texts, labels, ordered(set(labels)))
    plan = Settings(dimensions=8, buckets=1 << 12, epochs=3, least=300, most=300)
    network = fit(examples, plan, seed=3)
    everything = np.ones(plan.buckets, np.int64)
    weights = Weights.quantized(network.names, network.vectors, network.weights, everything, plan.buckets)
    weights.to_fasttext(tmp_path / "model.bin")
    other = fasttext.load_model(str(tmp_path / "model.bin"))
    pieces = [" ".join(text.split()[i : i + 4]) for text in texts for i in range(8)]
    found, probabilities = other.predict(pieces, k=4)
    ours = network.predict(Examples.of(pieces, np.array([network.names[0]] * len(pieces), object), network.names))
    for of_text, scores, own in zip(found, probabilities, ours, strict=True):
        by_name = dict(zip(of_text, scores, strict=True))
        theirs = [by_name[f"__label__{name}"] for name in network.names]
        assert np.abs(np.array(theirs) - own).max() < 0.03  # ours is in float32, the file in 8 bits
        assert network.names[int(own.argmax())] == of_text[0].removeprefix("__label__")

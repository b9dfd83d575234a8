"""Faults of rewriting, each found by its name; faithful texts pass."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.rewrite.gates import STYLES, copied, find_fault, names, numbers

ORIGINAL = (
    "The Debian project was founded by Ian Murdock on 16 August 1993. By 2021 its archive held 59,551 packages for "
    "nine architectures. Releases are named after characters of the film Toy Story; version 11 is called Bullseye. "
    "The project is governed by a constitution and a leader who is elected every year."
)
GOOD = (
    "Debian is a project that Ian Murdock began on 16 August 1993. Its archive had grown to 59551 packages by 2021, "
    "built for nine architectures. Each release takes its name from a character in Toy Story, as Bullseye, version 11, "
    "does. A constitution rules the project, whose leader is chosen in a yearly election."
)


def fault(rewritten, original=ORIGINAL, style="wikipedia", language="eng_Latn", **keys):
    return find_fault(original, rewritten, STYLES[style], language, **keys)


def test_a_faithful_text_passes():
    assert fault(GOOD) is None
    assert fault("- Ian Murdock founded Debian on 16 August 1993.\n- Bullseye is version 11.", style="notes") is None


@pytest.mark.parametrize(
    ("rewritten", "name"),
    [
        ("I'm sorry, but I can't help with that. " + GOOD, "refusal"),
        ("As an AI language model, I do not have opinions. " + GOOD, "refusal"),
        ("很抱歉，我无法满足您的要求。" + GOOD, "refusal"),
        ("Sure! " + GOOD, "preamble"),
        ("Here is the rewritten document:\n\n" + GOOD, "preamble"),
        (GOOD + "\n</document>", "prompt_leak"),
        (GOOD[:80], "too_short"),
        (GOOD * 3, "too_long"),
        (GOOD.replace("59551", "60000"), "numbers_added"),
        (GOOD.replace("1993", "the nineties").replace("16 ", "").replace("59551 ", "many "), "numbers_lost"),
        (GOOD.replace("Ian Murdock", "Linus Torvalds").replace("Toy Story", "Star Wars"), "names_added"),
        (ORIGINAL + " It goes on.", "copied"),
    ],
)
def test_each_fault_has_its_name(rewritten, name):
    assert fault(rewritten) == name


def test_a_sentence_of_the_prompt_and_another_language_are_faults():
    prompt = "You rewrite documents for a text corpus. Use only what the document says and add no facts of your own."
    assert fault(GOOD + " Use only what the document says and add no facts of your own.", instruction=prompt) == (
        "prompt_leak"
    )
    assert fault(GOOD, language_of=lambda text: "fra_Latn") == "language_changed"
    assert fault(GOOD, language_of=lambda text: "und") is None
    assert fault(GOOD, language="und", language_of=lambda text: "fra_Latn") is None


def test_numbers_are_compared_by_value():
    assert numbers("1,234.5 and 1.234.567 and ٣٤ and 3,5") == {"1234.5", "1234567", "34", "3.5"}
    assert numbers("1. First\n2) Second\n- 3: third, in 1999.") == {"1999"}
    assert numbers("版本11，共59,551个") == {"11", "59551"}


def test_names_by_capitals_but_not_where_all_nouns_have_one():
    assert names("The film Toy Story. Then GNU and OpenBSD. Plain words.", "eng_Latn") == {
        "toy",
        "story",
        "gnu",
        "openbsd",
    }
    assert names("Das Haus und der Hund.", "deu_Latn") == set()
    assert names("内核 Linux 与 GNU 工具。", "zho_Hans") == {"linux", "gnu"}


@given(st.text(max_size=300), st.text(max_size=300))
def test_any_text_is_judged_without_an_error(original, rewritten):
    assert 0 <= copied(original, rewritten) <= 1
    for style in STYLES:
        find_fault(original, rewritten, STYLES[style], "und", "An instruction of a few words.")


@given(st.text(min_size=60, max_size=300))
def test_a_text_lacks_nothing_of_itself(text):
    found = fault(text, original=text, language="und")
    assert found in (None, "copied")

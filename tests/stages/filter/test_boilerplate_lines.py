"""Cookie notices and the fixed lines of a page's frame go; prose about them, headings and code stay, byte for byte."""

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from stages.filter.boilerplate_lines import PHRASES_FILE, DropBoilerplateLines

PAGE = """Skip to content
How tides work
The moon pulls on the sea. We use cookies to picture the two bulges: bake one, and bend it.
» Print this page «
Cookie policy has changed browsers since 2011, and this article says how.
1. Privacy policy
    accept all
© 2024 — All rights reserved.
We use cookies to improve your experience. Read more in our cookie policy."""

LEFT = """How tides work
The moon pulls on the sea. We use cookies to picture the two bulges: bake one, and bend it.
Cookie policy has changed browsers since 2011, and this article says how.
1. Privacy policy
    accept all
© 2024 — All rights reserved.
"""


def texts(outcome):
    return outcome.docs["text"].to_pylist()


def test_the_frame_goes_and_the_article_stays(documents):
    stage = DropBoilerplateLines()
    outcome = stage(documents([PAGE, "No such line.", "", None]))
    # the copyright line has a number before the phrase: not on the list, and so not touched
    assert texts(outcome) == [LEFT, "No such line.", "", None]
    assert outcome.dropped.null_count == 4
    assert stage.metrics.counters == {"lines_removed=begin": 1, "lines_removed=whole": 2, "documents_changed": 1}


@pytest.mark.parametrize(
    "line",
    [
        "Diese Website verwendet Cookies, um Ihnen den besten Service zu bieten.",
        "ALLE COOKIES AKZEPTIEREN",
        "• Politique de confidentialité",
        "Conditions d’utilisation",
        "Этот сайт использует файлы cookie. Продолжая, вы соглашаетесь.",
        "当サイトではCookieを使用しています。",
        "我们使用 Cookie 来改善您的体验。",
        "개인정보 처리방침",
        "جميع الحقوق محفوظة",
        "ΠΟΛΙΤΙΚΉ ΑΠΟΡΡΉΤΟΥ",
        "Tüm hakları saklıdır.",
        "เว็บไซต์นี้ใช้คุกกี้เพื่อเพิ่มประสิทธิภาพ",
        "Bu sitede çerezler kullanılmaktadır.",
    ],
)
def test_many_languages_whatever_the_language_of_the_page(documents, line):
    docs = documents([f"Kept.\n{line}\nKept too.", line])
    outcome = DropBoilerplateLines()(docs)
    assert texts(outcome) == ["Kept.\nKept too.", line]
    assert outcome.dropped.to_pylist() == [None, "only_boilerplate_lines"]


def test_a_long_line_is_no_banner(documents):
    for word in ("We use cookiesheets.", "Cookie policymakers", "Skip to contents page"):
        assert texts(DropBoilerplateLines()(documents([word]))) == [word]
    essay = "We use cookies " + "and they use us. " * 40
    assert texts(DropBoilerplateLines()(documents([essay]))) == [essay]


def test_own_phrases(documents):
    stage = DropBoilerplateLines(whole=["Jump up!"], begin=["Posted in (misc)"])
    assert texts(stage(documents(["Text\njump up! ^\nPosted in (misc), 3 replies\nEnd"]))) == ["Text\nEnd"]
    with pytest.raises(ValidationError, match="no phrase"):
        DropBoilerplateLines(whole=["..."])


def test_every_phrase_of_the_list_is_found(documents):
    phrases = json.loads(PHRASES_FILE.read_text(encoding="utf-8"))
    for kind, tail in (("begin", ", and so on."), ("whole", " !")):
        for language, group in phrases[kind].items():
            lines = [phrase.rstrip("*") + tail for phrase in group]
            outcome = DropBoilerplateLines()(documents([f"a\n{line}\nb" for line in lines]))
            assert set(texts(outcome)) == {"a\nb"}, (kind, language)


LINES = st.sampled_from(["", "Prose about terms of use.", "Terms of use", "We use cookies.", "\tcookie policy", "x"])


@settings(deadline=None, max_examples=60)
@given(st.lists(LINES, max_size=8))
def test_against_one_line_at_a_time(documents_from, lines):
    """The oracle looks at each line by itself, and knows only these lines."""
    text = "\n".join(lines)
    kept = [line for line in lines if line not in ("Terms of use", "We use cookies.")]
    outcome = DropBoilerplateLines()(documents_from([text]))
    if kept == lines:
        assert texts(outcome) == [text]
    elif not re.search(r"\S", "\n".join(kept)):
        assert outcome.dropped.to_pylist() == ["only_boilerplate_lines"] and texts(outcome) == [text]
    else:
        assert texts(outcome)[0].split("\n") in (kept, [*kept, ""])


@pytest.fixture(scope="module")
def documents_from():
    import pyarrow as pa

    return lambda texts: pa.table({"text": pa.array(texts, pa.large_string())})

"""The same verdicts as datatrove's filters, document by document, when both cut words alike.

datatrove's own code is the oracle: it runs here with a splitter that gives our words, so that what is compared is the
rules. Texts are the language reference that Python ships, its module documentation and source, and documents put
together from their lines and from lines that break a rule.
"""

import inspect
import pydoc_data.topics
import random
import re
import textwrap

import pyarrow as pa
import pytest
from datatrove.data import Document
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)
from datatrove.utils.text import TERMINAL_PUNCTUATION
from datatrove.utils.word_tokenizers import WordTokenizer
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.filter.c4_quality import C4Quality
from stages.filter.fineweb_quality import FineWebQuality
from stages.filter.gopher_quality import GopherQuality
from stages.filter.gopher_repetition import GopherRepetition
from stages.filter.languages import FINEWEB2_SETTINGS, language_parameters
from stages.filter.words import words

REASONS = {
    "dup_para_frac": "dup_paragraph_fraction",
    "dup_para_char_frac": "dup_paragraph_char_fraction",
    "dup_line_frac": "dup_line_fraction",
    "dup_line_char_frac": "dup_line_char_fraction",
    "gopher_short_doc": "gopher_too_few_words",
    "gopher_long_doc": "gopher_too_many_words",
    "gopher_below_avg_threshold": "gopher_words_too_short",
    "gopher_above_avg_threshold": "gopher_words_too_long",
    "gopher_too_many_ellipsis": "gopher_too_many_ellipses",
    "gopher_too_many_end_ellipsis": "gopher_too_many_ellipsis_lines",
    "gopher_below_alpha_threshold": "gopher_too_few_alphabetic_words",
    "gopher_enough_stop_words": "gopher_too_few_stop_words",
}


class OurWords(WordTokenizer):
    """Our words for datatrove; sentences from them as spaCy's sentencizer makes them, in its own terms."""

    def word_tokenize(self, text):
        return words(text, self.language)

    def sent_tokenize(self, text):
        return [text[a:b] for a, b in self.span_tokenize(text)]

    def span_tokenize(self, text):
        starts, at, ended = [0], 0, False
        for word in words(text, self.language):
            at = text.index(word, at)
            punctuation = re.fullmatch(r"[^\w\s$+<=>^`|~°©®№→×]+|_+", word) is not None
            if ended and not punctuation and word not in TERMINAL_PUNCTUATION:
                starts.append(at)
                ended = False
            ended = ended or word in TERMINAL_PUNCTUATION
            at += len(word)
        return list(zip(starts, [*starts[1:], len(text)], strict=True))


def theirs(datatrove_filter, text):
    """(reason or None, text) that datatrove gives a document."""
    document = Document(text=text, id="")
    result = datatrove_filter.filter(document)
    if result is True:
        return None, document.text
    reason = re.sub(r"duplicated_(\d+)_n_grams", r"dup_\1_gram", result[1])
    return REASONS.get(reason, reason), text


def check(ours, datatrove_filter, texts, language=None):
    columns = {"text": pa.array(texts, pa.large_string())}
    if language:
        columns["language"] = pa.array([language] * len(texts))
    outcome = ours(pa.table(columns))
    expected = [theirs(datatrove_filter, text) for text in texts]
    assert outcome.dropped.to_pylist() == [reason for reason, _ in expected]
    assert outcome.docs["text"].to_pylist() == [text for _, text in expected]
    return {reason for reason, _ in expected}


TOPICS = [text for text in pydoc_data.topics.topics.values() if len(text) > 200]
SOURCES = [inspect.getsource(module) for module in (random, re, textwrap)]
LINES = [
    *[line for text in TOPICS[:20] for line in text.split("\n") if line.strip()][:400],
    "Please enable JavaScript to see this page.",
    "By using this site you agree to the Terms of Use.",
    "This site uses cookies!",
    "Lorem ipsum dolor sit amet, consectetur adipiscing elit.",
    "if (a) { return b; }",
    "The city has two rivers.[12] It lies on the sea.[citation needed]",
    "He said it was late. She left! Why? Nobody knows...",
    "Read more...",
    "and so on\u2026",
    "- first point",
    "\u2022 second point of the list",
    "# heading # another",
    "\u00a0\u3000",
    "",
    "12.5 % of 3,000",
    "M\u00fcnchen liegt an der Isar, n\u00f6rdlich der Alpen.",
    "\u4e2d\u56fd\u4eba\u6c11\u7684\u751f\u6d3b\u6c34\u5e73\u5728\u63d0\u9ad8\u3002",
    "\u0986\u09ae\u09bf \u09ac\u09be\u0982\u09b2\u09be\u09df \u0997\u09be\u09a8 \u0997\u09be\u0987\u0964",
    "it is the one and only way to have that with you \u2013 don't you think so?",
    "x" * 1001 + " is a long word.",
    "\ttabbed\x0bline\x85with\u2028every\u2029boundary.\r",
]
DOCUMENTS = st.builds(
    lambda lines, separators, copies: "".join(
        line + separators[i % len(separators)] for i, line in enumerate(lines * copies)
    ),
    st.lists(st.sampled_from(LINES), min_size=1, max_size=14),
    st.lists(st.sampled_from(["\n", "\n", "\n\n", "\n\n\n", " ", "\r\n"]), min_size=1, max_size=5),
    st.sampled_from([1, 1, 1, 2, 3]),
)

und = OurWords("und")
PAIRS = {
    "repetition": (GopherRepetition(per_language=False), GopherRepetitionFilter(language=und)),
    "quality": (GopherQuality(per_language=False), GopherQualityFilter(language=und)),
    "c4": (C4Quality(per_language=False), C4QualityFilter(language=und)),
    "c4_as_fineweb": (
        C4Quality(per_language=False, filter_no_terminal_punct=False),
        C4QualityFilter(filter_no_terminal_punct=False, language=und),
    ),
    "fineweb": (FineWebQuality(per_language=False), FineWebQualityFilter(language=und)),
    "strict_quality": (
        GopherQuality(per_language=False, min_doc_words=1, max_bullet_lines_ratio=0.1, max_ellipsis_lines_ratio=0.1),
        GopherQualityFilter(min_doc_words=1, max_bullet_lines_ratio=0.1, max_ellipsis_lines_ratio=0.1, language=und),
    ),
    "loose_fineweb": (
        FineWebQuality(per_language=False, line_punct_exclude_zero=True, short_line_thr=999, char_duplicates_ratio=0.2),
        FineWebQualityFilter(line_punct_exclude_zero=True, short_line_thr=999, char_duplicates_ratio=0.2, language=und),
    ),
}


@pytest.mark.parametrize("pair", PAIRS)
def test_same_verdicts_on_documentation_and_source(pair):
    pieces = [text[i : i + 1500] for text in TOPICS[::3] for i in range(0, len(text), 1500)]
    reasons = check(*PAIRS[pair], TOPICS[::3] + pieces[:60] + SOURCES)
    assert len(reasons) > 1, "the texts must break some rules and keep others"


@pytest.mark.parametrize("pair", PAIRS)
@settings(max_examples=40, deadline=None)
@given(st.lists(DOCUMENTS, min_size=1, max_size=8))
def test_same_verdicts_on_composed_documents(pair, texts):
    check(*PAIRS[pair], texts)


@pytest.mark.parametrize("language", ["deu_Latn", "fra_Latn", "hin_Deva", "jpn_Jpan", "tha_Thai", "spa_Latn"])
def test_same_verdicts_with_the_limits_of_a_language(language):
    row = language_parameters()[language]
    splitter = OurWords(language)
    texts = ["\n".join(LINES[i : i + 40]) for i in range(0, len(LINES), 40)]
    texts += ["\n".join(LINES[-21:]), *SOURCES]
    check(
        GopherRepetition(never_stricter_than_english=False),
        GopherRepetitionFilter(
            dup_para_frac=0,
            dup_line_char_frac=0,
            dup_para_char_frac=0,
            dup_line_frac=row["dup_line_frac"],
            top_n_grams=row["top_n_grams"],
            dup_n_grams=row["dup_n_grams"],
            language=splitter,
        ),
        texts,
        language,
    )
    check(
        GopherQuality(never_stricter_than_english=False),
        GopherQualityFilter(
            max_avg_word_length=row["max_avg_word_length"],
            min_avg_word_length=row["min_avg_word_length"],
            stop_words=row["stopwords"],
            max_non_alpha_words_ratio=row["max_non_alpha_words_ratio"],
            min_stop_words=2,
            language=splitter,
        ),
        texts,
        language,
    )
    check(
        FineWebQuality(never_stricter_than_english=False),
        FineWebQualityFilter(
            short_line_thr=FINEWEB2_SETTINGS["short_line_thr"],
            char_duplicates_ratio=FINEWEB2_SETTINGS["char_duplicates_ratio"],
            line_punct_thr=row["line_punct_thr"],
            new_line_ratio=row["new_line_ratio"],
            language=splitter,
        ),
        texts,
        language,
    )

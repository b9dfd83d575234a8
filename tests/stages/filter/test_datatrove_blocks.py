"""datatrove: real blocks of datatrove as stages, beside themselves run by datatrove."""

import importlib.util

import pyarrow as pa
import pytest
from datatrove.data import Document
from datatrove.pipeline.filters import C4ParagraphFilter, RegexFilter, URLFilter
from datatrove.pipeline.filters.base_filter import BaseFilter
from datatrove.pipeline.formatters import FTFYFormatter, PIIFormatter, SymbolLinesFormatter
from datatrove.pipeline.formatters.base import BaseFormatter

from curation.errors import ConfigError
from stages.filter.datatrove import Datatrove

pytestmark = pytest.mark.filterwarnings("ignore:The 'registered_domain'")

TEXTS = [
    "A page about rivers.\n\n****\n\nThe Danube flows to the Black Sea, two thousand kilometres from its source.",
    "Write to jane@example.org or john@example.org; FranÃ§ois knows.",
    "lorem ipsum",
    "\n\n".join(f"Paragraph {i} is long enough to count, with some words about nothing much at all, as paragraphs "
                "in real documents do when somebody has to fill two hundred characters; it goes on and on, and then "
                "comes to its end." for i in range(3)),
]  # fmt: skip


def run_by_datatrove(block, docs):
    """Texts of the documents that datatrove's own runner lets through, by id."""
    documents = [
        Document(text=row["text"] or "", id=row["id"], metadata={"url": row["url"]}) for row in docs.to_pylist()
    ]
    return {document.id: document.text for document in block.run(iter(documents))}


@pytest.mark.parametrize(
    ("config", "block"),
    [
        ({"block": "RegexFilter", "regex_exp": "lorem"}, RegexFilter("lorem")),
        ({"block": "C4ParagraphFilter"}, C4ParagraphFilter()),
        ({"block": "URLFilter", "use_integrated_lists": False, "banned_words": ["bad"]},
         URLFilter(use_integrated_lists=False, banned_words=["bad"])),
        ({"block": "SymbolLinesFormatter", "replace_char": "-"}, SymbolLinesFormatter(replace_char="-")),
        ({"block": "FTFYFormatter"}, FTFYFormatter()),
        ({"block": "PIIFormatter", "email_replacement": "<E>"}, PIIFormatter(email_replacement="<E>")),
        ({"block": "datatrove.pipeline.filters.regex_filter.RegexFilter", "regex_exp": "Danube"}, RegexFilter("Danube")),
    ],
)  # fmt: skip
def test_same_as_in_datatrove(config, block, documents):
    docs = documents(TEXTS, url=["http://a.org/good", "http://a.org/bad", "http://a.org/", "http://b.org/"])
    stage = Datatrove(**config)
    stage.check()
    outcome = stage(docs)
    kept = outcome.docs.filter(pa.compute.is_null(outcome.dropped))
    expected = run_by_datatrove(block, docs)
    assert dict(zip(kept["id"].to_pylist(), kept["text"].to_pylist(), strict=True)) == expected
    assert outcome.failed.null_count == docs.num_rows
    dropped = docs.num_rows - len(expected)
    changed = sum(expected.get(i, t) != t for i, t in zip(docs["id"].to_pylist(), TEXTS, strict=True))
    assert dropped + changed > 0, "the block does something to these texts"
    assert outcome.docs.drop_columns("text").equals(docs.drop_columns("text"))


def test_reasons(documents):
    docs = documents(TEXTS[:2], url=["http://a.org/bad", "http://a.org/good"])
    words = Datatrove(block="URLFilter", use_integrated_lists=False, banned_words=["bad"])
    assert words(docs).dropped.to_pylist() == ["hard_blacklisted", None]
    assert Datatrove(block="RegexFilter", regex_exp="jane")(docs).dropped.to_pylist() == [None, "regex_filter"]


class Fussy(BaseFilter):
    """Raises on some documents, drops some, rewrites some, and looks at the metadata."""

    def __init__(self, word: str, least: int = 0):
        super().__init__()
        self.word, self.least = word, least

    def filter(self, doc):
        if "raise" in doc.text:
            raise KeyError("no such thing")
        doc.text = doc.text.replace(self.word, "")
        return bool(doc.metadata["url"]) and doc.metadata["position"] >= self.least


class Surrogates(BaseFormatter):
    def format(self, text):
        return text.replace("x", "\ud800")


PATH = f"{__name__}.Fussy"


def test_a_document_that_raises_fails_alone(documents):
    docs = documents(["one two", "raise", None, "two", ""], url=["u", "u", "u", None, "u"])
    stage = Datatrove(block=PATH, word="two")
    stage.check()
    outcome = stage(docs)
    assert outcome.docs["text"].to_pylist() == ["one ", "raise", None, "two", ""]
    assert outcome.dropped.to_pylist() == [None, None, None, "fussy", None]
    assert outcome.failed.to_pylist() == [None, "KeyError: 'no such thing'", None, None, None]
    assert stage.metrics.counters == {"documents_changed": 1}
    broken = Datatrove(block=f"{__name__}.Surrogates")(documents(["fox", "dog", None]))
    assert [error and error.split(":")[0] for error in broken.failed.to_pylist()] == ["UnicodeEncodeError", None, None]
    assert broken.docs["text"].to_pylist() == ["fox", "dog", None]


def test_same_result_for_any_batch_split(documents):
    docs = documents(TEXTS * 3)
    for config in ({"block": "PIIFormatter"}, {"block": "C4ParagraphFilter"}, {"block": PATH, "word": "a", "least": 5}):
        stage = Datatrove(**config)
        whole = Datatrove(**config)(docs)
        parts = [stage(docs.slice(i, 5)) for i in range(0, docs.num_rows, 5)]
        assert pa.concat_tables([part.docs for part in parts])["text"].to_pylist() == whole.docs["text"].to_pylist()
        assert pa.concat_arrays([part.dropped for part in parts]).equals(whole.dropped)
    assert Datatrove(block="PIIFormatter")(docs.slice(0, 0)).docs.num_rows == 0


def test_arguments_are_part_of_the_configuration():
    one, other = (Datatrove(block="RegexFilter", regex_exp=e).model_dump() for e in ("a", "b"))
    assert one == {"block": "RegexFilter", "regex_exp": "a"} and one != other


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"block": "GopherQuality"}, "did you mean 'GopherQualityFilter'"),
        ({"block": "regexfilter"}, "did you mean 'RegexFilter'"),
        ({"block": "no_such_package.Filter"}, "no_such_package"),
        ({"block": "datatrove.data.Document"}, "not a filter or formatter of datatrove.data"),
        ({"block": "datatrove.pipeline.filters.base_filter.BaseFilter"}, "abstract"),
        ({"block": "RegexFilter"}, "needs the argument 'regex_exp'"),
        ({"block": "RegexFilter", "regex": "a"}, "no argument 'regex'; did you mean 'regex_exp'"),
        ({"block": "RegexFilter", "regex_exp": "("}, "cannot be made"),
        ({"block": "RegexFilter", "regex_exp": "a", "exclusion_writer": 1}, "no argument 'exclusion_writer'"),
        ({"block": "GopherQualityFilter", "min_doc_words": "fifty"}, "'min_doc_words' is 'fifty', expected int"),
        ({"block": "GopherQualityFilter", "language": "klingon"}, "cannot split words of 'klingon'"),
        ({"block": "SamplerFilter", "rate": 0.5}, "depends on batches"),
        ({"block": "LambdaFilter", "filter_function": "x"}, "Python function"),
        ({"block": PATH, "word": 3}, "'word' is 3, expected"),
    ],
)
def test_mistakes_in_the_configuration_are_told(config, message):
    with pytest.raises(ConfigError) as error:
        Datatrove(**config).check()
    assert message in str(error.value)


def test_a_missing_tokenizer_is_told_before_the_run(documents):
    stage = Datatrove(block="GopherQualityFilter", min_doc_words=5)
    if importlib.util.find_spec("spacy") is None:
        with pytest.raises(ConfigError, match="spacy"):
            stage.check()
    else:
        stage.check()
        assert stage(documents(TEXTS)).dropped.to_pylist()[2] == "gopher_short_doc"

"""Pages on which extractors hang, go silent or raise: each keeps its text or is dropped for its reason, quickly.

What other extractors do with them: lxml's return nothing from a depth of 255 or behind a script of 10 MB; trafilatura
takes 25 s for 100,000 links and 40 s for 500,000 line breaks; resiliparse takes minutes for 100,000 nested elements and
cannot be interrupted.
"""

import time

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from curation.chain import Chain
from curation.documents import COLUMNS, CORE
from curation.sandbox import Sandbox
from curation.stage import Outcome, Stage
from stages.extract.html import ExtractHtml

SCHEMA = pa.schema([(n, c.type) for n, c in CORE.items()] + [(n, pa.string()) for n in ("stage", "reason", "detail")])
SENTENCE = "Number {} of the sentences that make this page a long one, each of them unlike the others."


def sentences(n):
    return [SENTENCE.format(k) for k in range(n)]


class Source(Stage):
    """Stands in the reader's place."""

    def __call__(self, docs):
        return docs


class Hurried(ExtractHtml):
    """The same stage with less time."""

    limit_s = 1.0


def table(pages):
    columns = {name: pa.nulls(len(pages), column.type) for name, column in CORE.items()}
    columns |= {"id": pa.array([str(i) for i in range(len(pages))]), "html": pa.array(pages, pa.large_string())}
    return pa.table(columns)


@pytest.fixture(scope="module")
def through():
    """Take pages through the stage, in the child process that the engine runs it in."""
    boxes = {}

    def run(*pages, **keys):
        key = tuple(sorted(keys.items()))
        if key not in boxes:
            chain = Chain(["source", "extract_html"], [Source(), ExtractHtml(**keys)], dropped_schema=SCHEMA)
            boxes[key] = Sandbox(chain, 1500)
        result = boxes[key].run(Outcome(table(list(pages))), first=0)
        assert boxes[key].deaths == 0 and not result.failed.num_rows
        fates = dict(zip(result.dropped["id"].to_pylist(), result.dropped["reason"].to_pylist(), strict=True))
        fates |= dict(zip(result.docs["id"].to_pylist(), result.docs["text"].to_pylist(), strict=True))
        found = [fates[str(i)] for i in range(len(pages))]
        return found if len(found) > 1 else found[0]

    yield run
    for box in boxes.values():
        box.close()


LARGE = {
    "2 MB of paragraphs": lambda: "".join(f"<p>{s}</p>" for s in sentences(20_000)),
    "200,000 unclosed paragraphs": lambda: "".join(f"<p>word{i} " for i in range(200_000)),
    "500,000 line breaks": lambda: "<p>" + "".join(f"word{i}<br><br>" for i in range(250_000)),
    "100,000 links": lambda: "<p>words before</p>" + "".join(f"<a href=/{i}>word{i}</a> " for i in range(100_000)),
    "1,000 nested divs": lambda: "<div>" * 900 + "".join(f"<p>{s}</p>" for s in sentences(20)),
    "a depth of 260": lambda: "<div>" * 260 + "".join(f"<p>{s}</p>" for s in sentences(20)),
}


@pytest.mark.parametrize("kind", LARGE)
def test_large_pages_keep_their_text(through, kind):
    page = f"<html><body><article>{LARGE[kind]()}</article></body></html>"
    text = through(page)
    wanted = SENTENCE.format(19) if SENTENCE[11:40] in page else "word19999" if "links" not in kind else "words before"
    assert wanted in text


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["resiliparse", "trafilatura"])
def test_ten_megabytes_of_script_or_of_one_word(through, engine):
    """Larger than what lxml takes: such pages never go there."""
    body = "".join(f"<p>{s}</p>" for s in sentences(20))
    script = (
        f"<html><head><script>{'var a = 1;' * 1_050_000}</script></head><body><article>{body}</article></body></html>"
    )
    node = f"<html><body><article>{body}<p>{'word ' * 2_100_000}</p></article></body></html>"
    assert len(script) > 10_500_000 and len(node) > 10_500_000
    for page in (script, node):
        assert SENTENCE.format(19) in through(page, max_mb=20, engine=engine)
        assert through(page, engine=engine) == "page_too_large"


def test_dropped_before_they_are_parsed(through):
    pages = {
        "<div>" * 8000 + "words": "page_too_deep",
        "<div>" * 100_000 + "words": "page_too_deep",
        "<p " + " ".join(f"a{i}=1" for i in range(50_000)) + ">words": "too_many_attributes",
        "".join(f"<p>{s}</p>" for s in sentences(200_000)): "page_too_large",  # 20 MB
        "<br>" * 1_000_100: "too_many_elements",
        "": "no_html",
        " \n\t": "no_text",
        "\x00": "no_text",
    }
    began = time.process_time()
    assert through(*pages) == list(pages.values())
    assert time.process_time() - began < 60  # what one of them takes a parser; a bound, not a measure


def test_odd_text(through):
    nul, control, surrogate, plain = through(
        "<p>one\0two</p>", "<p>one\x01\x02\x7f two\x1b</p>", "<p>one &#xD83D; two &#55357;</p>", "Plain words, no tags."
    )
    assert (nul, control, plain) == ("onetwo", "one two", "Plain words, no tags.")
    assert surrogate == "one \ufffd two \ufffd"


@pytest.mark.parametrize("parts", [["<p>one ", "\ud83d", " two</p>"]])
def test_a_lone_surrogate_never_reaches_a_page(parts):
    """It is no UTF-8, so Arrow takes no such string: the reader's decoding has to have replaced it."""
    from stages.read.charset import to_utf8

    payload = "".join(parts).encode("utf-8", "surrogatepass")
    with pytest.raises(UnicodeEncodeError):
        pa.array(["".join(parts)], pa.large_string())
    text = bytes(to_utf8(payload, "utf-8")[0]).decode()
    assert text.startswith("<p>one ") and text.endswith(" two</p>") and "\ud83d" not in text


@pytest.mark.slow
def test_a_page_that_holds_the_parser_costs_one_page():
    """resiliparse keeps the interpreter's lock: only the death of its process ends it."""
    good = "<html><body><article>" + "".join(f"<p>{s}</p>" for s in sentences(5)) + "</article></body></html>"
    bad = "<body>" + "<div>" * 3900 + "".join(f"<p>{s}<div></div>" for s in sentences(60_000))
    pages = [good] * 4 + [bad] + [good] * 4
    chain = Chain(["source", "extract_html"], [Source(), Hurried(max_depth=4000)], dropped_schema=SCHEMA)
    box = Sandbox(chain, 4000)
    try:
        result = box.run(Outcome(table(pages)), first=0)
    finally:
        box.close()
    assert result.docs["id"].to_pylist() == [str(i) for i in range(9) if i != 4]
    assert result.failed["id"].to_pylist() == ["4"]
    assert result.failed["reason"].to_pylist() == ["timeout: more than 1 CPU seconds"]
    assert box.deaths == 1
    assert pc.all(pc.match_substring(result.docs["text"], SENTENCE.format(4))).as_py()
    assert set(COLUMNS) >= set(result.docs.column_names)

"""Pages read from pictures, by a stub server that goes wrong in the ways of models and servers, page by page."""

import base64
import shutil
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from aiohttp import web

pymupdf = pytest.importorskip("pymupdf")

from curation.documents import column_type  # noqa: E402
from curation.errors import ConfigError  # noqa: E402
from stages.extract.pdf.engine import Engine  # noqa: E402
from stages.extract.pdf.extract import ExtractPdf  # noqa: E402
from stages.extract.pdf.page_answer import page_answer, repeats  # noqa: E402
from stages.extract.pdf.page_image import is_blank, png  # noqa: E402
from stages.extract.pdf.transcribe import TranscribePages, insert  # noqa: E402
from stages.llm.request import Answer, AnswerError  # noqa: E402

WORDS = "The committee met on Tuesday and read the minutes of the last meeting, page number {}."


def scan(*pages):
    """A PDF of pictures of pages: a page for each text, blank for None."""
    document = pymupdf.open()
    for text in pages:
        drawn = pymupdf.open()
        page = drawn.new_page(width=300, height=400)
        if text:
            page.insert_textbox(pymupdf.Rect(30, 30, 280, 380), text, fontsize=14)
        pixels = page.get_pixmap(dpi=100, colorspace=pymupdf.csGRAY)
        document.new_page(width=300, height=400).insert_image(pymupdf.Rect(0, 0, 300, 400), pixmap=pixels)
    return document.tobytes()


def mixed():
    """Text, a scan, text."""
    document = pymupdf.open("pdf", scan("between", "at the end"))
    page = document.new_page(0, width=300, height=400)
    page.insert_textbox(pymupdf.Rect(30, 30, 280, 380), WORDS.format("one"), fontsize=12)
    return document.tobytes()


@pytest.fixture(scope="module")
def extract():
    stage = ExtractPdf(for_pictures=True)
    stage.setup()
    yield stage
    stage._engine.close()


@pytest.fixture
def run(extract, documents, tmp_path):
    """Extract and transcribe documents; gives the rows with what became of them."""

    def go(contents, **keys):
        docs = documents([None] * len(contents))
        docs = docs.append_column("content", pa.array(contents, column_type("content")))
        stage = TranscribePages(longest_side=300, max_in_flight=1, cache=str(tmp_path / "answers"), **keys)
        stage.check()
        stage.setup()
        outcome = stage(extract(docs).docs)
        stage._engine.close()
        rows = outcome.docs.to_pylist()
        for row, dropped, failed in zip(rows, outcome.dropped.to_pylist(), outcome.failed.to_pylist(), strict=True):
            row |= {"dropped": dropped, "failed": failed}
            assert len(row["page_status"]) == len(row["page_reason"]) == len(row["page_offsets"]) == row["n_pages"]
        assert "content" not in outcome.docs.column_names
        return rows, stage

    return go


class Pages:
    """Answers for the stub by page, in the order in which pages are first seen, and by how often each was asked about."""

    def __init__(self, *answers):
        self.answers, self.seen, self.asks, self.temperatures = answers, {}, Counter(), []

    def __call__(self, n, body):
        image = body["messages"][-1]["content"][0]["image_url"]["url"]
        assert base64.b64decode(image.partition(",")[2]).startswith(b"\x89PNG")
        page = self.seen.setdefault(image, len(self.seen))
        ask = self.asks[page]
        self.asks[page] += 1
        self.temperatures.append((page, body["temperature"]))
        answers = self.answers[page]
        return answers if isinstance(answers, str) else answers[min(ask, len(answers) - 1)](body)


def says(text, finish="stop"):
    from stub_server import completion

    return lambda body: web.json_response(completion(text, body, finish))


def status(code):
    return lambda body: web.json_response({"error": "no"}, status=code)


def test_every_failure_ends_in_a_status(run):
    from stub_server import StubServer

    good = [WORDS.format(i) for i in range(9)]
    answers = Pages(
        good[0],
        [says("cut in the middle of", "length"), says(good[1])],
        [says("the same line again and again\n" * 30), says("ab" * 400), says(good[2])],
        [says(""), says("I'm sorry, but I can't help with that."), says(good[3])],
        [status(500), status(503), says(good[4])],
        [says("```markdown\n" + good[5] + "\n```")],
        "null",
        [says("same words all over, no end\n" * 40)],
        [status(400)],
        [says("xqzvj wkpqx zzvbn qwxzk jjqpx vvkzq xqzwk pqjxz kkvqz xwqpz jqvzx " * 3)],
    )
    with StubServer(answers) as server:
        rows, stage = run([scan(*(f"Page {i}" for i in range(10)))], server=server.url, max_asks=3)
    row = rows[0]
    assert row["page_status"] == ["vlm"] * 6 + ["empty"] + ["failed"] * 3
    assert row["page_reason"][:6] == ["scan"] * 6
    assert row["page_reason"][6] == "vlm"
    assert [why.split(":")[0] for why in row["page_reason"][7:]] == ["vlm"] * 3
    assert (
        "repetition" in row["page_reason"][7] and "400" in row["page_reason"][8] and "no words" in row["page_reason"][9]
    )
    assert row["text"] == "\n\n".join(good[:6])
    assert [row["text"][o:][: len(good[0])] for o in row["page_offsets"][:6]] == good[:6]
    assert [t for page, t in answers.temperatures if page == 2] == [0.0, 0.1, 0.3]  # the ladder
    assert answers.asks[7] == 3 and answers.asks[8] == 1
    assert row["failed"] is None and row["dropped"] is None
    assert stage.metrics.counters["pages_vlm"] == 6 and stage.metrics.counters["pages_failed"] == 3


def test_a_turned_page_is_turned_once(run):
    from stub_server import StubServer

    # Both pages as they are, then both pages turned.
    answers = Pages("rotate: 90", "rotate: 180", WORDS.format(1), "rotate: 90")
    with StubServer(answers) as server:
        rows, _ = run([scan("Page one", "Page two")], server=server.url)
    assert rows[0]["page_status"] == ["vlm", "failed"]
    assert rows[0]["page_reason"] == ["scan", "vlm: turned twice"]
    assert len(answers.seen) == 4


def test_blank_pages_are_not_asked_about_and_slow_answers_end(run):
    from stub_server import StubServer

    with StubServer(lambda n, body: 30.0) as server:
        rows, _ = run([scan(None, None)], server=server.url)
        assert not server.requests
        assert rows[0]["dropped"] == "no_text" and rows[0]["page_reason"] == ["blank", "blank"]
    answers = Pages([lambda body: 30.0], WORDS.format(2))
    with StubServer(answers) as server:
        rows, _ = run([scan("slow", "quick")], server=server.url, timeout_s=0.4, retries=1, patience_s=2, max_asks=2)
    assert rows[0]["page_status"] == ["failed", "vlm"] and "time-out" in rows[0]["page_reason"][0]


def test_a_transcribed_page_stands_between_its_neighbours(run):
    from stub_server import StubServer

    with StubServer(Pages(WORDS.format("two"), WORDS.format("three"))) as server:
        rows, _ = run([mixed(), scan(None)], server=server.url)
    assert rows[0]["text"].split("\n\n") == [WORDS.format(n) for n in ("one", "two", "three")]
    assert rows[0]["page_status"] == ["text", "vlm", "vlm"]
    assert rows[1]["dropped"] == "no_text"


def test_a_document_without_any_answer_is_quarantined_or_kept(run):
    from stub_server import StubServer

    for keep in ("quarantine", "keep"):
        with StubServer(Pages([status(400)])) as server:
            rows, _ = run([scan("one")], server=server.url, unanswered=keep)
        assert (rows[0]["failed"] is not None) == (keep == "quarantine")
        assert rows[0]["dropped"] is None and rows[0]["page_status"] == ["failed"]


def test_texts_go_where_their_pages_start():
    text, offsets = insert("first\n\nthird", [0, 7, 7], {1: "second"})
    assert text == "first\n\nsecond\n\nthird"
    assert [text[o:].split("\n")[0] for o in offsets] == ["first", "second", "third"]
    assert insert("", [0, 0, 0], {0: "a", 2: "c"}) == ("a\n\nc", [0, 3, 3])
    assert insert("x", [0], {}) == ("x", [0])


@pytest.mark.parametrize("backend", ["pymupdf", "pdfium"])
def test_pictures_are_turned_clockwise_and_never_larger_than_asked(backend):
    document = pymupdf.open()
    page = document.new_page(width=200_000, height=100_000)
    page.draw_rect(pymupdf.Rect(0, 0, 40_000, 40_000), fill=(0, 0, 0))  # at the top left
    engine = Engine()
    for turns, corner in ((0, (0, 0)), (1, (0, 1)), (2, (1, 1)), (3, (1, 0))):
        width, height, grey = engine.render(backend, document.tobytes(), 0, 200, turns)
        assert max(width, height) <= 202 and (width > height) == (turns % 2 == 0)
        pixels = np.frombuffer(grey, np.uint8).reshape(height, width)
        at = {
            (y, x): pixels[(height - 4) * y + 2 * (1 - y), (width - 4) * x + 2 * (1 - x)]
            for y in (0, 1)
            for x in (0, 1)
        }
        assert [place for place, value in at.items() if value < 128] == [corner]
        assert pymupdf.Pixmap(png(width, height, grey)).samples == grey
    engine.close()


def test_specks_and_the_shadow_of_an_edge_are_no_ink():
    page = np.full((400, 300), 235, np.uint8)
    page[:, :5] = 30
    page[100, 100] = page[301, 77] = 0
    assert is_blank(300, 400, page.tobytes())
    page[200, 100:180] = 40
    assert not is_blank(300, 400, page.tobytes())
    assert not is_blank(300, 400, (255 - page).tobytes())


def test_html_of_a_document_parser_becomes_text(extract):
    html = '<html><body><h2 data-bbox="1 2 3 4">Minutes</h2><p data-bbox="5 6 7 8">The committee met on Tuesday and '
    html += "read the minutes.</p><table><tr><td>Item</td><td>Count</td></tr></table></body></html>"
    accept = page_answer("qwenvl_html", extract._legibility)
    text = accept(None, Answer(html, "stop", 1, 1)).text
    assert "Minutes" in text and "The committee met" in text and "<" not in text and "bbox" not in text
    with pytest.raises(AnswerError):
        accept(None, Answer(html, "length", 1, 1))


def test_tables_and_verse_are_no_repetition():
    assert not repeats("\n".join(f"| Item {i} | {i * 7} | yes |" for i in range(60)))
    assert not repeats("row, row, row your boat\n" * 3 + "merrily down the stream")
    assert repeats("It is what it is, and it is so.\n" * 5)
    assert repeats("words " + "and so on and " * 40)


def test_tesseract_must_be_there_if_it_is_asked_for(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(ConfigError, match="not installed"):
        TranscribePages(ocr="tesseract").check()
    with pytest.raises(ConfigError, match="vision_model"):
        TranscribePages(vision_model=False).check()


@pytest.mark.skipif(shutil.which("tesseract") is None, reason="tesseract is not installed")
def test_tesseract_reads_what_no_model_reads(run):
    rows, _ = run([scan("Minutes of the meeting")], vision_model=False, ocr="tesseract")
    assert rows[0]["page_status"] == ["ocr"] and "meeting" in rows[0]["text"]

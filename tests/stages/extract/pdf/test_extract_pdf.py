"""The stage on real files: the samples, and files made to hang, crash or fool an engine."""

from pathlib import Path

import hostile_files as hostile
import psutil
import pyarrow as pa
import pytest

from curation.documents import column_type
from stages.extract.pdf.extract import ExtractPdf

EXAMPLES = Path(__file__).resolve().parents[4] / "examples" / "pdf"
BACKENDS = ["pymupdf", "pdfium"]


@pytest.fixture(scope="module")
def stages():
    pytest.importorskip("pymupdf")
    made = {}
    for backend in BACKENDS:
        made[backend] = ExtractPdf(backend=backend, page_s=1.5, document_s=8, memory_mb=512, for_pictures=True)
        made[backend].setup()
    yield made
    for stage in made.values():
        stage._engine.close()


@pytest.fixture
def extract(stages, documents):
    def run(content, backend="pymupdf"):
        docs = documents([None])
        docs = docs.append_column("content", pa.array([content], column_type("content")))
        outcome = stages[backend](docs)
        row = outcome.docs.to_pylist()[0]
        return row | {"dropped": outcome.dropped[0].as_py(), "failed": outcome.failed[0].as_py()}

    return run


def example(name):
    return (EXAMPLES / f"{name}.pdf").read_bytes()


@pytest.mark.parametrize("backend", BACKENDS)
def test_columns_drawn_row_by_row_are_read_in_order(extract, backend):
    row = extract(example("two-columns"), backend)
    text = row["text"]
    assert row["title"] == "Notes on Curation"
    assert row["page_status"] == ["text", "text"] and row["page_reason"] == [None, None]
    assert "Notes on Curation, volume" not in text
    order = [
        "The one sentence",
        "Who may import whom",
        "It is pure: same table",
        "Commit.",
        "ends in under 2 s without starting Ray",
    ]
    places = [text.find(words) for words in order]
    assert -1 not in places and places == sorted(places)
    assert "- " not in text.replace(" -- ", "").replace(" - ", "")  # no word is left cut
    first, second = row["page_offsets"]
    assert first == 0 and text[second - 1].isspace()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_scan_among_pages_of_text_is_told_and_table_rows_are_lines(extract, backend):
    row = extract(example("report-with-scan"), backend)
    assert row["page_status"] == ["text", "failed", "text"]
    assert row["page_reason"] == [None, "scan", None]
    assert "gopher_quality\t307\t226\t81\t0\n" in row["text"]
    assert row["text"][row["page_offsets"][2] :].startswith("What the sample run keeps")


@pytest.mark.parametrize("backend", BACKENDS)
def test_hebrew_is_in_reading_order(extract, backend):
    text = extract(example("hebrew"), backend)["text"]
    assert text.startswith("כל בני האדם נולדו בני חורין ושווים בערכם ובזכויותיהם.")
    assert text.endswith("ללא כל הגבלה מטעמי גזע.")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"\0\0\n", "empty"),
        (b"<html><body>404</body></html>", "html"),
        (b"GIF89a....", "not_pdf"),
        (b"%PDF-1.4\n", "header_only"),
        (b"%PDF-1.4\n" + bytes(range(256)) * 40, "truncated"),
        (None, "no_pdf"),
        (hostile.of_pages(b""), "no_text"),
        (hostile.of_pages(b"")[:-90], None),
    ],
)
@pytest.mark.parametrize("backend", BACKENDS)
def test_what_is_no_text_says_why(extract, content, reason, backend):
    row = extract(content, backend)
    assert row["failed"] is None
    assert row["dropped"] in ((reason,) if reason else ("truncated", "no_text"))


@pytest.mark.parametrize("backend", BACKENDS)
def test_encrypted_and_cut_files_are_told_apart(extract, backend):
    assert extract(example("encrypted"), backend)["dropped"] == "encrypted"
    cut = extract(example("cut-short"), backend)  # MuPDF saves what is left of it
    assert cut["dropped"] == "truncated" or (cut["text"] and backend == "pymupdf")
    assert extract(b"junk before the header\n" + example("two-columns"), backend)["dropped"] is None


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_page_that_hangs_costs_that_page(stages, extract, backend):
    row = extract(hostile.bomb(2, 2), backend)
    assert row["page_status"] == ["text", "text", "failed", "text", "text"]
    assert row["page_reason"][2].split(":")[0] in ("timeout", "memory", "crashed")
    assert row["text"].split("\n\n") == ["Page 0 before it", "Page 1 before it", "Page 0 after it", "Page 1 after it"]
    again = extract(example("hebrew"), backend)
    assert again["page_status"] == ["text"]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "make", [hostile.drawing_itself, hostile.loop, lambda: hostile.inflated(600), lambda: hostile.deep(100_000)]
)
def test_hostile_files_end_with_a_reason_within_their_limits(stages, extract, make, backend):
    engine = stages[backend]._engine
    used = engine.cpu_s
    row = extract(make(), backend)
    assert row["dropped"] or row["failed"] or row["text"]
    assert engine.cpu_s - used < 8 + 3
    if engine._process is not None:
        assert psutil.Process(engine._process.pid).memory_info().rss < 800 << 20


def test_a_document_that_hangs_on_every_page_is_given_up(extract):
    forms = [b"/F%d Do " % (i + 1) * 10 for i in range(9)] + [hostile.text(b"x")]
    row = extract(hostile.of_pages(*[b"/F0 Do " * 10] * 30, forms=forms))
    assert row["n_pages"] == 30 == len(row["page_status"])
    assert set(row["page_reason"]) == {"timeout", "document_timeout"}
    assert row["failed"] == "timeout (no page could be read)"


def test_text_that_cannot_be_seen_goes_and_white_on_black_stays(extract):
    page = (
        b"q 0 g 50 600 500 40 re f Q 1 g " + hostile.text(b"White on black", 612) + b" 0 g " + hostile.text(b"Plain text", 700)
        + b" 1 g " + hostile.text(b"White on white", 500) + b" 0 g 3 Tr " + hostile.text(b"Transparent", 400)
        + b" 0 Tr BT /T 12 Tf -900 300 Td (Off the page) Tj ET"
    )  # fmt: skip
    for backend in BACKENDS:
        assert extract(hostile.of_pages(page), backend)["text"].split("\n\n") == ["Plain text", "White on black"]


def test_letters_that_spell_nothing_are_told(extract):
    import string

    text = " ".join(Path(__file__).parents[4].joinpath("docs/design.md").read_text(encoding="utf-8").split()[:300])
    text = "".join(c for c in text if c.isascii() and c not in "()\\")
    wrong = text.translate(
        str.maketrans(string.ascii_lowercase, string.ascii_lowercase[7:] + string.ascii_lowercase[:7])
    )
    for shown, status in ((text, "text"), (wrong, "failed")):
        lines = [shown[i : i + 70].encode() for i in range(0, len(shown), 70)]
        page = b" ".join(hostile.text(line, 780 - 14 * i) for i, line in enumerate(lines))
        row = extract(hostile.of_pages(page))
        assert row["page_status"] == [status]
        assert row["page_reason"] == [None if status == "text" else "wrong_characters"]


def test_results_do_not_depend_on_what_was_read_before(extract):
    first = extract(example("report-with-scan"))
    extract(hostile.bomb())
    assert extract(example("report-with-scan")) == first

"""Pages read from their pictures by a real vLLM server on the CPU, which serves a Qwen2.5-VL of random weights.

Everything is real but what the model says: pages are rendered, sent, cut into patches and seen by the model, and what
comes back is judged. Left alone it writes noise, and every page fails with its reason; held to a list of answers it
chooses one by what it sees, and every page ends as that answer says.
"""

from collections import Counter

import pytest
from pyarrow import dataset
from vllm_server import NEEDS_VLLM, ROOT, build_model, carry_out, execute, served

from curation.config import load_pipeline
from curation.corpus import Corpus
from stages.extract.pdf.route import NEEDS_PICTURE

pymupdf = pytest.importorskip("pymupdf")

pytestmark = NEEDS_VLLM

SENTENCE = "The committee met on Tuesday and read the minutes of the last meeting, which were approved."
MINUTES = (
    "The members of the committee met on Tuesday afternoon in the small hall of the library and read the minutes of the "
    "last meeting, which were approved without changes. The treasurer gave an account of the money that was spent on the "
    "repair of the roof and said that enough is left for new windows. A long discussion followed about the trees along "
    "the road, some of which are old and lean towards the houses. It was agreed to ask a gardener for advice before "
    "anything is cut. The next meeting will be held on the first Tuesday of the month, and all neighbours are invited."
)
ANSWERS = [SENTENCE, "null", "rotate: 90"]
SCANS, PAGES = 6, 3


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """The state file of `curation serve`, once the model answers."""
    tokenizer = ROOT / "stages" / "tokenize" / "qwen3.tokenizer.json.xz"
    model = build_model("tiny_qwen2_5_vl.py", tmp_path_factory.mktemp("models"), tokenizer)
    options = ["--max-model-len", "4096", "--max-num-seqs", "8", "--limit-mm-per-prompt", '{"image": 1, "video": 0}']
    with served(model, tmp_path_factory.mktemp("service"), *options) as state:
        yield state


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """A folder with PDFs of three scanned pages each, no two alike, and one of a page of text and a scanned one."""
    folder = tmp_path_factory.mktemp("scans")
    for number in range(SCANS):
        pages = [
            f"Report {number}, page {page}. " + f"Item {number * 7 + page} was seen. " * 12 for page in range(PAGES)
        ]
        scan(pages).save(folder / f"scan-{number}.pdf")
    mixed = scan(["Between the pages of text. " * 6])
    mixed.new_page(0, width=300, height=400).insert_textbox((30, 30, 280, 380), SENTENCE, fontsize=12)
    mixed.save(folder / "mixed.pdf")
    return folder


def scan(pages):
    """A PDF of pictures of pages with these texts."""
    document = pymupdf.open()
    for text in pages:
        drawn = pymupdf.open()
        page = drawn.new_page(width=300, height=400)
        page.insert_textbox((30, 30, 280, 380), text, fontsize=14)
        pixels = page.get_pixmap(dpi=100, colorspace=pymupdf.csGRAY)
        document.new_page(width=300, height=400).insert_image((0, 0, 300, 400), pixmap=pixels)
    return document


def transcribe(tmp_path, name, scans, service, **keys):
    """Documents after `transcribe_pages`, those it dropped, and its account."""
    keys = {"server": str(service), "longest_side": 448, "max_in_flight": 8, "patience_s": 300, "timeout_s": 200} | keys
    stages = ["read_pdf", {"extract_pdf": {"for_pictures": True}}, {"transcribe_pages": keys}]
    account = carry_out(tmp_path, name, scans, stages, max_failure_rate=1)["transcribe_pages"]
    return Corpus(str(tmp_path / name)).table().to_pylist(), account


def test_noise_fails_page_by_page_and_no_document_is_lost(service, scans, tmp_path):
    docs, account = transcribe(tmp_path, "noise", scans, service, max_tokens=16, max_asks=2, prompt="qwenvl_html")
    counters = account["metrics"]["counters"]
    assert counters["pages_failed"] == SCANS * PAGES + 1 and counters["requests_sent"] == 2 * counters["pages_failed"]
    assert sum(account["failed"].values()) == SCANS  # in quarantine, with the reason; the mixed one keeps its text
    assert [(d["page_status"], d["text"].split()) for d in docs] == [(["text", "failed"], SENTENCE.split())]
    assert docs[0]["page_reason"][1].startswith("vlm: unusable answer: cut short")


def test_every_page_ends_as_the_models_answer_says(service, scans, tmp_path):
    choice = {"structured_outputs": {"choice": ANSWERS}}
    docs, account = transcribe(tmp_path, "choice", scans, service, max_tokens=64, parameters=choice)
    counters = account["metrics"]["counters"]
    ends = {status: counters.get(f"pages_{status}", 0) for status in ("vlm", "empty", "failed")}
    assert sum(ends.values()) == SCANS * PAGES + 1
    assert counters.get("failed_vlm", 0) == ends["failed"]  # turned twice, nothing else
    assert counters["tokens_in"] / counters["answers"] > 192  # a page of 336 by 448 pixels is 12 x 16 tokens
    assert len(docs) + sum(account["dropped"].values()) + sum(account["failed"].values()) == SCANS + 1
    shown = Counter(status for row in docs for status in row["page_status"])
    assert shown["vlm"] == ends["vlm"] and shown["text"] == 1
    for row in docs:
        for status, reason in zip(row["page_status"], row["page_reason"], strict=True):
            assert status == "text" or reason == {"vlm": "scan", "empty": "vlm", "failed": "vlm: turned twice"}[status]
        assert row["text"].count(SENTENCE[:40]) == row["page_status"].count("vlm") + row["page_status"].count("text")


def test_the_pipeline_pdf_pictures_ends_in_tokens(service, tmp_path):
    # Of random weights, it spells a text with more tokens than it needs.
    sets = [f"transcribe_pages.server={service}", "transcribe_pages.max_tokens=1024", "max_failure_rate=1"]
    sets.append(f"transcribe_pages.parameters={{structured_outputs: {{choice: ['{MINUTES}']}}}}")
    pipeline = load_pipeline("pdf_pictures", str(ROOT / "pipelines.yaml"), sets=sets, output=str(tmp_path / "out"))
    accounts = execute(pipeline)
    needed = sum(
        n
        for name, n in accounts["extract_pdf"]["metrics"]["counters"].items()
        if name.removeprefix("pages_") in NEEDS_PICTURE
    )
    assert needed >= 1 == accounts["transcribe_pages"]["metrics"]["counters"]["pages_vlm"]
    # The document of the example is kept or dropped by the rules for text, as its other pages decide: it has the page.
    rows = [*Corpus(str(tmp_path / "out")).table().to_pylist(), *dropped(tmp_path / "out")]
    assert len(rows) == len(list((ROOT / "examples" / "pdf").glob("*.pdf")))
    read = [row for row in rows if "vlm" in (row["page_status"] or ())]
    assert [(row["page_status"], MINUTES in row["text"]) for row in read] == [(["text", "vlm", "text"], True)]


def dropped(folder):
    """The rows of documents that a run dropped."""
    return dataset.dataset(sorted(map(str, (folder / "dropped").rglob("*.parquet")))).to_table().to_pylist()

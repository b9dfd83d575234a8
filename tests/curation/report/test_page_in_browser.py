"""The report in headless Chromium: charts are drawn, the filters filter, nothing of a document runs, no request leaves.

Needs the extra `browser` and a Chromium or Chrome on the PATH (or named by $CHROMIUM): `make test-browser`.
"""

import os
import shutil
from pathlib import Path

import pytest

from curation.corpus import Corpus

pytestmark = pytest.mark.browser

FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
FLAGS += ["--disable-component-update", "--disable-quic"]
HOSTILE = [
    "spam <script>window.pwned = 1</script>",
    "spam <img src=x onerror='window.pwned = 2'><svg onload='window.pwned = 3'>",
    "spam </script><script>window.pwned = 4</script>",
    "spam </pre></div><style>body { display: none }</style><iframe src='https://example.org/'></iframe>",
    "spam \u202egnirts desrever\u202c \u2066isolated\u2069 \u2028 line \x00\x1b[31m",
    "spam {{ 7 * 7 }} {% raw %} <!-- <link rel=stylesheet href=//example.org/a.css>",
    "spam " + "x" * 1_000_000,
]


@pytest.fixture(scope="session")
def chromium():
    from playwright.sync_api import sync_playwright

    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    path = os.environ.get("CHROMIUM") or next((p for n in names if (p := shutil.which(n))), None)
    assert path, "no Chromium on the PATH; install one (Debian: apt-get install chromium) or set CHROMIUM"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium):
    """Opens a page from disk; returns it with what it logged and asked for, and takes care that it asked for nothing."""
    contexts = []

    def open_page(path, width=1200, scheme="light"):
        context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.said, page.asked = [], []
        page.on("console", lambda message: page.said.append(message.text))
        page.on("pageerror", lambda error: page.said.append(str(error)))
        page.on("dialog", lambda dialog: page.said.append(f"dialog {dialog.message}"))
        page.on("request", lambda request: page.asked.append(request.url))
        page.goto(Path(path).resolve().as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture
def sample(web_run):
    return Path(web_run, "report.html")


def texts(page, selector):
    return page.eval_on_selector_all(selector, "nodes => nodes.map(n => n.textContent)")


def visible(page, selector):
    return page.eval_on_selector_all(selector, "nodes => nodes.filter(n => n.checkVisibility()).length")


@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (390, "dark")])
def test_the_charts_are_drawn_and_nothing_is_asked_for(opened, sample, width, scheme):
    page = opened(sample, width, scheme)
    assert page.asked == [sample.resolve().as_uri()]
    assert page.said == []
    labels = " ".join(texts(page, "#flow svg text"))
    assert "gopher_quality" in labels and "337" in labels and f"{len(Corpus(str(sample.parent)))}" in labels
    for box in page.query_selector_all(".chart"):
        assert box.query_selector_all("svg path"), box.get_attribute("id")
    limits = " ".join(texts(page, "#histograms svg text"))
    assert "100k" in limits and "0.7" in limits  # max_doc_words, min_jaccard
    assert page.evaluate("document.documentElement.scrollWidth") <= width  # nothing sticks out on a phone
    ink, paper = page.evaluate(
        "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
    )
    shade = [sum(map(int, c[4:-1].split(","))) for c in (ink, paper)]
    assert (shade[0] < shade[1]) == (scheme == "light")


def test_the_filters(opened, sample):
    page = opened(sample)
    everything = visible(page, "#reasons details")
    page.select_option("#language", "spa_Latn")
    assert texts(page, "#language-table tr:not(.hidden) td:first-child") == ["spa_Latn"]
    assert 0 < visible(page, "#reasons details") < everything
    shown = page.eval_on_selector_all(
        "#reasons .sample", "nodes => nodes.filter(n => n.checkVisibility()).map(n => n.dataset.language)"
    )
    assert shown and set(shown) == {"spa_Latn"}
    labels = " ".join(texts(page, "#flow svg text"))
    assert "gopher_quality" in labels and "read_warc" not in labels  # the funnel of that language alone
    page.select_option("#language", "")
    page.select_option("#stage", "minhash_dedup")
    assert visible(page, "#reasons details") == 1
    page.select_option("#stage", "")
    page.fill("#search", "curly_bracket")
    assert visible(page, "#reasons details") == 1 and visible(page, "#reasons .sample") >= 5
    page.fill("#search", "no sample has these words")
    assert visible(page, "#reasons details") == 0 and visible(page, "#nothing") == 1
    page.fill("#search", "")
    assert visible(page, "#reasons details") == everything
    assert page.said == []


def test_limits_of_the_language_that_is_chosen(opened, sample):
    from curation.report import facts
    from curation.stats import read_stats
    from stages.filter.gopher_quality import GopherQuality

    page = opened(sample)
    box = page.query_selector("#histograms div[data-stage=gopher_quality]:has(h3:text('mean_word_length'))")

    def drawn():
        return box.eval_on_selector_all("svg text", "nodes => nodes.map(n => n.textContent)")

    most = facts.limits(read_stats(str(sample.parent)), "mean_word_length")["ranges"][
        "gopher_quality.max_avg_word_length"
    ]
    band = f"{most[0]:g} – {most[1]:g}"
    assert most[0] < most[1] and band in drawn()
    assert f"max_avg_word_length {band}" in box.query_selector(".note").text_content()
    page.select_option("#language", "deu_Latn")
    most = GopherQuality().thresholds_of("deu_Latn")["mean_word_length"]["max_avg_word_length"]
    assert f"{most:g}" in drawn() and band not in drawn()
    assert f"max_avg_word_length {most:g}" in box.query_selector(".note").text_content()
    page.select_option("#language", "eng_Latn")
    assert "max_avg_word_length 10," in box.query_selector(".note").text_content() and "10" in drawn()
    assert page.said == []


@pytest.mark.parametrize("width", [1200, 390])
def test_where_nothing_is_lost_one_flow_is_drawn(opened, corpus, pipeline, run, tmp_path, width):
    from curation.report.page import write_report

    corpus("a.jsonl", ["one", "two", "three"])
    run(pipeline(["stages_at_fault:Length"]))
    page = opened(write_report(str(tmp_path / "out")), width)
    assert sorted(" ".join(texts(page, "#flow svg text")).split()) == ["3", "3", "in", "kept"]
    box = page.query_selector("#flow").bounding_box()
    spans = [node.bounding_box() for node in page.query_selector_all("#flow svg path, #flow svg text")]
    assert box["height"] < 300
    for span in spans:
        assert box["x"] - 1 <= span["x"] and span["x"] + span["width"] <= box["x"] + box["width"] + 1
        assert box["y"] - 1 <= span["y"] and span["y"] + span["height"] <= box["y"] + box["height"] + 1
    long = "width" if width > 704 else "height"
    assert max(span[long] for span in spans) > 0.5 * box[long]  # the flow goes from one end to the other
    assert page.said == []


def test_nothing_of_a_document_runs(opened, corpus, pipeline, run, tmp_path):
    from curation.report.page import write_report

    corpus("a.jsonl", ["kept", *HOSTILE])
    run(pipeline([{"stages_at_fault:DropWord": {"word": "spam"}}, "stages_at_fault:Length"]))
    page = opened(write_report(str(tmp_path / "out")))
    page.click("#reasons summary")
    page.fill("#search", "pwned")
    assert visible(page, "#reasons .sample") == 3
    page.fill("#search", "")
    assert page.evaluate("window.pwned") is None
    assert page.said == [] and len(page.asked) == 1
    assert page.query_selector_all("iframe, img, link, form[action], a[href^='javascript']") == []
    samples = texts(page, "#reasons pre")
    assert len(samples) == len(HOSTILE)
    assert samples[0] == HOSTILE[0] and "⟨U+202E⟩gnirts desrever" in samples[4] and "{{ 7 * 7 }}" in samples[5]
    assert len(samples[6]) < 700 and samples[6].endswith("… (1,000,005 characters)")
    assert os.path.getsize(tmp_path / "out" / "report.html") < 1_400_000
    assert page.evaluate("getComputedStyle(document.body).display") == "block"


def test_a_script_that_is_not_ours_is_refused(opened, sample, tmp_path):
    """The policy itself: were a document's script ever to get into the page, it would not run."""
    broken = tmp_path / "broken.html"
    text = sample.read_text(encoding="utf-8")
    broken.write_text(
        text.replace("<main>", "<main><script>window.pwned=1</script><img src='https://example.org/x.png'>")
    )
    page = opened(broken)
    assert page.evaluate("window.pwned") is None
    assert len(page.said) == 2 and all("Content Security Policy" in line for line in page.said)
    assert texts(page, "#flow svg text")  # and ours still does


def test_two_runs_side_by_side(opened, sample, tmp_path):
    from curation.report.compare import compared_page, merged_page

    run = str(sample.parent)
    path = tmp_path / "compare.html"
    path.write_text(compared_page(run, run), encoding="utf-8")
    page = opened(path)
    assert page.said == [] and len(page.asked) == 1
    assert "gopher_quality" in texts(page, "#stages td:first-child")
    path.write_text(merged_page([run, run]), encoding="utf-8")
    page = opened(path)
    assert "674" in " ".join(texts(page, "#flow svg text")) and page.said == []

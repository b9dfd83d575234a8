"""The report without a browser: what its page holds, what it reads, and that it never makes a run fail."""

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from curation import cli
from curation.report import facts, samples
from curation.report.compare import comparison, merge
from curation.report.page import assets, render, write_report
from curation.report.samples import chosen_files, readable
from curation.stats import Stats, read_stats
from curation.storage import Storage

STAGES = ["stages_at_fault:Length", {"stages_at_fault:DropWord": {"word": "spam"}}, "stages_at_fault:FirstOfEachLetter"]


@pytest.fixture
def done(corpus, pipeline, run, tmp_path):
    corpus("a.jsonl", ["alpha", "beta", "gamma", "apple", *(f"spam {i}" for i in range(30))])
    run(pipeline(STAGES, breakdown=["letter"]))
    return str(tmp_path / "out")


def test_ten_samples_a_reason_and_the_total(done):
    text = Path(write_report(done)).read_text(encoding="utf-8")
    details = re.search(
        r'<details data-stage="stages_at_fault:DropWord" data-reason="has_word">.*?</details>', text, re.S
    )
    assert details[0].count("<pre") == 10 and '<span class="n">30</span>' in details[0]


def test_the_page_reads_a_bounded_number_of_files(done, monkeypatch):
    files = [{"name": f"dropped/{step}-a-{i:04d}.parquet", "rows": 1} for step in (0, 1, 12) for i in range(1000)]
    chosen = chosen_files(files)
    assert len(chosen) == 3 * samples.FILES and len(set(chosen)) == len(chosen)
    assert {name[8:].partition("-")[0] for name in chosen} == {"0", "1", "12"}
    assert chosen[1] != files[1]["name"]  # spread over the run, not its beginning
    stats = read_stats(done)
    opened, real = [], Storage.open
    monkeypatch.setattr(Storage, "open", lambda self, name: opened.append(name) or real(self, name))
    one = stats.info["files"]["dropped"][0]
    stats.info["files"]["dropped"] = [one] * 5000
    samples.documents_by_reason(Storage(done), stats)
    assert len(opened) <= samples.FILES


def test_manifests_are_not_needed(done):
    import shutil

    shutil.rmtree(Path(done, "work"))
    assert "has_word" in Path(write_report(done)).read_text(encoding="utf-8")


def test_a_run_whose_report_cannot_be_written_has_not_failed(corpus, pipeline, tmp_path, monkeypatch):
    corpus("a.jsonl", ["alpha", "beta"])
    pipeline(["stages_at_fault:Length"])

    def broken(*_):
        raise RuntimeError("no page today")

    monkeypatch.setattr("curation.report.page.write_report", broken)
    said = []
    monkeypatch.setattr(cli.err, "print", lambda *words, **_: said.append(" ".join(map(str, words))))
    result = CliRunner().invoke(cli.app, ["run", "test", "-c", str(tmp_path / "pipelines.yaml"), "--inline"])
    assert result.exit_code == 0 and "2 documents kept" in result.output
    assert any("report.html was not written (RuntimeError: no page today)" in line for line in said)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (None, ""),
        ("plain\r\n\ttext", "plain\n\ttext"),
        ("a\u202eb\u2066c\u0000\u001b[1m", "a⟨U+202E⟩b⟨U+2066⟩c⟨U+0000⟩⟨U+001B⟩[1m"),
        ("می\u200cخواهم क्\u200dष", "می\u200cخواهم क्\u200dष"),  # joiners are spelling, not tricks
        ("x" * 700, "x" * 600 + "… (700 characters)"),
        ("\ud800", "⟨U+D800⟩"),
    ],
)
def test_what_cannot_be_seen_is_spelled_out(given, shown):
    assert readable(given) == shown


def test_the_policy_allows_no_script_but_ours():
    policy = assets()["policy"]
    scripts = re.search(r"script-src ([^;]*)", policy)[1]
    assert re.fullmatch(r"'sha256-[\w+/=]+' 'sha256-[\w+/=]+'", scripts)
    assert policy.startswith("default-src 'none';") and "unsafe-eval" not in policy
    assert assets()["echarts_version"] == "6.1.0"


def test_reasons_and_stage_names_are_escaped(done):
    stats = read_stats(done)
    stats.accounts[2].dropped["</script><b>"] = 5
    page = render("<i>title</i>", stats, samples.read_samples(Storage(done), stats))
    assert "<b>&" not in page and "</script><b>" not in page and "<i>title" not in page
    assert "&lt;/script&gt;&lt;b&gt;" in page and "\\u003c/script\\u003e\\u003cb\\u003e" in page


def test_limits_by_language(web_run):
    """Each language has the limits its documents were held to; over all, what they span."""
    from stages.filter.gopher_quality import GopherQuality

    stats = read_stats(web_run)
    drawn = next(h for h in facts.histograms(stats) if h["name"] == "mean_word_length")
    most = "gopher_quality.max_avg_word_length"
    own = {
        code: GopherQuality().thresholds_of(code)["mean_word_length"]["max_avg_word_length"]
        for code in stats.breakdown()["language"]
    }
    assert {code: row[most] for code, row in drawn["by_language"].items()}.items() <= own.items()
    assert own["deu_Latn"] == drawn["by_language"]["deu_Latn"][most] != 10 == drawn["limits"][most]
    assert "eng_Latn" not in drawn["by_language"]
    assert drawn["ranges"][most] == (min(own.values()), max(own.values()))
    alike = next(h for h in facts.histograms(stats) if h["name"] == "words")
    assert alike["by_language"] == {} and alike["ranges"]["gopher_quality.max_doc_words"] == (100_000, 100_000)


def test_limits_of_a_run_that_did_not_count_languages(done):
    stats = read_stats(done)
    stats.info["thresholds"] = {"a": {"length": {"min": 2.0, "off": 0.0}}, "b": {"length": {"max": 9.0}}}
    found = facts.limits(stats, "length")
    assert found["ranges"] == {"a.min": (2.0, 2.0), "b.max": (9.0, 9.0)} and found["by_language"] == {}


def test_runs_add_up_and_compare(done, corpus, pipeline, run, tmp_path):
    corpus("a.jsonl", ["alpha", "beta", "spam", "gamma"])
    other = str(tmp_path / "other")
    run(pipeline(STAGES, breakdown=["letter"], output=other))
    stats, found, rows = merge([done, other])
    assert stats.records == 38 and stats.kept == 6 and len(rows) == 2
    assert [a.rows_in for a in stats.funnel] == [38, 38, 38, 7]
    assert stats.info["status"] == "complete"
    assert len(found.by_reason["stages_at_fault:DropWord", "has_word"]) == samples.SAMPLES
    compared = comparison(read_stats(done), read_stats(other))
    drop = next(r for r in compared["reasons"] if r["reason"] == "has_word")
    assert [side["n"] for side in drop["sides"]] == [30, 1]
    assert drop["sides"][1]["share"] == 0.25
    assert [row["key"] for row in compared["differences"]] == ["output"]


def test_runs_with_other_stages_do_not_add_up(done, pipeline, run, tmp_path):
    other = str(tmp_path / "other")
    run(pipeline(STAGES[:2], output=other))
    with pytest.raises(cli.ConfigError, match="has other stages than"):
        merge([done, other])
    compared = comparison(read_stats(done), read_stats(other))
    assert [row["sides"][1] for row in compared["stages"]][-1] is None
    for arguments in (["report", done, "--compare"], ["report", done, other, done, "--compare"]):
        with pytest.raises(cli.ConfigError, match="--compare takes two runs"):
            CliRunner().invoke(cli.app, arguments, catch_exceptions=False)


def test_a_host_that_is_no_address_is_left_out(tmp_path):
    storage = Storage(str(tmp_path))
    urls = ["https://a.example/x", "https://a.example/y", "http://[broken", None, "no url", "https://b.example"]
    (tmp_path / "documents").mkdir()
    pq.write_table(pa.table({"url": urls}), tmp_path / "documents" / "00000.parquet")

    some = Stats({"files": {"documents": [{"name": "documents/00000.parquet", "rows": 6}]}}, [])
    assert samples.hosts(storage, some) == ({"a.example": [2, 0, 0], "b.example": [1, 0, 0]}, (6, 6))

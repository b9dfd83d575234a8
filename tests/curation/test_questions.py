"""Questions to a finished run: stats, why, report, plan, verify; asked as a user asks them, from the command line."""

import json
import re
from pathlib import Path

import pytest
from run_results import folder_bytes
from typer.testing import CliRunner

from curation import cli

STAGES = ["stages_at_fault:Length", {"stages_at_fault:DropWord": {"word": "spam"}}, "stages_at_fault:FirstOfEachLetter"]
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)> \u202e spam"


@pytest.fixture
def done(corpus, pipeline, run, tmp_path):
    corpus("a.jsonl", ["alpha", "beta", HOSTILE, "gamma", "apple", "another"])
    run(pipeline(STAGES, breakdown=["letter"]))
    from curation.report.page import write_report

    write_report(str(tmp_path / "out"))
    return str(tmp_path / "out")


def ask(*arguments):
    result = CliRunner().invoke(cli.app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_stats(done):
    text = ask("stats", done)
    assert re.search(r"stages_at_fault:DropWord +6 +5 +1 +0 +83.3%", text)
    assert re.search(r"has_word +1", text) and re.search(r"same_letter +2", text)
    data = json.loads(ask("stats", done, "--json"))
    assert (data["records"], data["kept"], data["status"]) == (6, 3, "complete")
    assert data["breakdown"]["letter"]["a"] == {"in": 3, "dropped": 2, "failed": 0, "kept": 1}
    assert [s["stage"] for s in data["stages"]][-1] == "stages_at_fault:FirstOfEachLetter"


def test_stats_by_a_column_is_a_funnel_per_value(done):
    text = ask("stats", done, "--by", "letter")
    assert re.search(r"letter +in +\S*FirstOfEachLetter +kept of in +most went for", text)
    assert re.search(r"^a +3 +1 +33.3% +same_letter 2", text, re.M)
    data = json.loads(ask("stats", done, "--by", "letter", "--json"))
    assert data["a"]["in"] == 3
    assert data["a"]["stages"]["stages_at_fault:FirstOfEachLetter"] == {"kept": 1, "same_letter": 2}
    for row in data.values():  # each stage is given what the one before kept
        entered = row["in"]
        for fates in row["stages"].values():
            assert sum(fates.values()) == entered
            entered = fates["kept"]
    with pytest.raises(cli.ConfigError, match="nothing by 'colour'; it has letter"):
        CliRunner().invoke(cli.app, ["stats", done, "--by", "colour"], catch_exceptions=False)


def test_why_by_url_and_by_id(done):
    kept = ask("why", done, "https://a.jsonl/0")
    assert "kept, in documents/" in kept and kept.count("kept") == 5
    identity = re.search(r"id: (\w{32})", kept)[1]
    assert ask("why", done, identity) == kept
    gone = ask("why", done, "https://a.jsonl/4")
    assert re.search(rf"FirstOfEachLetter +dropped +same_letter +kept={identity}", gone)
    assert re.search(r"FirstOfEachLetter +not reached", ask("why", done, "https://a.jsonl/2"))


def test_why_of_an_unknown_url_names_the_nearest(done):
    with pytest.raises(
        cli.CurationError, match=r"no document .* 'https://a.jsonl/77'.*nearest url is https://a.jsonl/\d"
    ):
        CliRunner().invoke(cli.app, ["why", done, "https://a.jsonl/77"], catch_exceptions=False)


def test_the_report_shows_documents_as_text(done):
    page = Path(done, "report.html").read_text(encoding="utf-8")
    assert "DropWord" in page and "same_letter" in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script>alert" not in page and "<img src=x" not in page and "http-equiv" in page


def test_plan_says_what_is_committed(done, tmp_path, corpus):
    config = str(tmp_path / "pipelines.yaml")
    text = ask("plan", "test", "-c", config)
    assert re.search(r"read_jsonl … stages_at_fault:FirstOfEachLetter .* 1 +1\n", text)
    corpus("b.jsonl", ["new"])
    before = folder_bytes(done)
    text = ask("plan", "test", "-c", config)
    assert re.search(r"read_jsonl … .* 2 +1\n", text) and re.search(r"gather 1 .* \? +\?", text)
    assert folder_bytes(done) == before


def test_verify_reads_everything_again(done):
    assert "as they were committed" in ask("verify", done)
    victim = Path(done, "documents/00000.parquet")
    data = bytearray(victim.read_bytes())
    data[50] ^= 1
    victim.write_bytes(data)
    with pytest.raises(cli.CurationError, match=r"1 files are missing or changed, the first: documents/00000.parquet"):
        CliRunner().invoke(cli.app, ["verify", done], catch_exceptions=False)

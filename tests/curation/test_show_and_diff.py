"""Questions to all rows of a run: what is shown and counted is what the parquet files hold."""

import json
from collections import Counter
from pathlib import Path

import pyarrow.compute as pc
import pytest
from conftest import run_web
from typer.testing import CliRunner

from curation import cli
from curation.corpus import Corpus
from curation.diff import difference
from curation.errors import CurationError
from curation.show import matches


def ask(*arguments):
    result = CliRunner().invoke(cli.app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """The same input with one rule looser and one stricter."""
    out = tmp_path_factory.mktemp("other") / "out"
    return run_web(out, "gopher_quality.count_punctuation=false", "minhash_dedup.min_jaccard=0.9")


def of_language(run, folder, code):
    table = Corpus(run, folder).table()
    return table.filter(pc.equal(table["language"], code))


def test_how_many_tokens_of_a_language_were_kept_and_why_the_rest_went(web_run):
    """The question of the README, asked three ways."""
    kept, gone = of_language(web_run, "documents", "spa_Latn"), of_language(web_run, "dropped", "spa_Latn")
    tokens = pc.sum(kept["n_tokens"]).as_py()
    line = next(line for line in ask("stats", web_run, "--by", "language").splitlines() if line.startswith("spa_Latn"))
    most = pc.mode(gone["reason"].dictionary_encode().combine_chunks().indices)[0]["count"].as_py()
    assert f"{tokens:,}" in line and f"gopher_too_few_alphabetic_words {most}" in line
    totals, reasons, rows = matches(web_run, "language = 'spa_Latn' and dropped", 20)
    assert reasons == Counter(gone["reason"].to_pylist()) and next(iter(reasons.values())) == most
    assert totals == {"dropped": gone.num_rows} and len(rows) == gone.num_rows > 1
    assert sorted(r["id"] for r in rows) == sorted(gone["id"].to_pylist())
    assert matches(web_run, "language = 'spa_Latn'", 0) == (
        {"dropped": gone.num_rows, "kept": kept.num_rows, "tokens": tokens},
        reasons,
        [],
    )


def test_show_prints_what_stopped_a_document_and_its_text(web_run):
    text = ask("show", web_run, "--where", "reason = 'curly_bracket'", "-n", "3", "--characters", "60")
    assert text.count("dropped by c4_quality: curly_bracket") == 3
    n = Corpus(web_run, "dropped").table(["reason"])["reason"].to_pylist().count("curly_bracket")
    assert f"3 of {n} documents shown: {n} dropped\nwent for: curly_bracket {n}\n" in text and n > 3
    assert "went for" not in ask("show", web_run, "-w", "kept", "-n", "0")
    assert ", others " in ask("show", web_run, "-n", "0").splitlines()[-1]
    rows = [json.loads(line) for line in ask("show", web_run, "-w", "kept", "-n", "2", "--json").splitlines()]
    assert [row["fate"] for row in rows] == ["kept", "kept"] and all(row["text"] and row["url"] for row in rows)
    assert "title: " in ask("show", web_run, "-w", "title is not null", "-n", "1", "--columns", "title,date")


def test_a_document_cannot_garble_the_terminal(corpus, pipeline, run, tmp_path):
    corpus("a.jsonl", ["\x1b[2J\x1b]0;title\x07 [bold]markup[/bold] \u202egnirts"])
    run(pipeline(["stages_at_fault:Length"]))
    text = ask("show", str(tmp_path / "out"))
    assert "\x1b" not in text and "\u202e" not in text
    assert "⟨U+001B⟩[2J" in text and "[bold]markup[/bold]" in text


@pytest.mark.parametrize(
    ("where", "said"),
    [
        (
            "languag = 'x'",
            r"--where \"languag = 'x'\": Referenced column \"languag\" not found.*Candidate.*\"language\"",
        ),
        ("kept and (", "syntax error"),
        ("n_tokens > 'many'", "Could not convert string 'many'"),
    ],
)
def test_a_mistake_in_the_condition_is_one_line(web_run, where, said):
    with pytest.raises(cli.ConfigError, match=said) as error:
        CliRunner().invoke(cli.app, ["show", web_run, "--where", where], catch_exceptions=False)
    assert "\n" not in str(error.value)
    with pytest.raises(cli.ConfigError, match="no column 'colour'; it has id"):
        CliRunner().invoke(cli.app, ["show", web_run, "--columns", "colour"], catch_exceptions=False)


def fates(run):
    """id -> where a document ended, by reading the files."""
    found = {}
    for folder in ("documents", "dropped"):
        for row in Corpus(run, folder).table().to_pylist():
            assert row["id"] not in found
            found[row["id"]] = f"{row['stage']}: {row['reason']}" if folder == "dropped" else "kept"
    return found


def test_diff_says_what_became_of_every_document(web_run, other):
    a, b = fates(web_run), fates(other)
    assert a.keys() == b.keys() and len(a) == 337
    found = difference(web_run, other, text=True, most=100)
    gained = {i for i in a if a[i] != "kept" and b[i] == "kept"}
    lost = {i for i in a if a[i] == "kept" and b[i] != "kept"}
    moved = {i for i in a if a[i] != b[i]} - gained - lost
    assert (found.totals["gained"], found.totals["lost"], found.totals["moved"]) == (len(gained), len(lost), len(moved))
    assert found.totals["same"] == 337 - len(gained | lost | moved) and len(gained) > 5 and len(moved) > 5
    assert {row["id"] for row in found.examples["gained"]} == gained
    assert sum(way["n"] for way in found.ways) == len(gained | lost | moved)
    text = ask("diff", web_run, other)
    assert (
        f"gained {len(gained):>12}".split() == next(x for x in text.splitlines() if x.startswith("gained")).split()[:2]
    )
    assert "gopher_quality: gopher_too_few_alphabetic_words  kept" in text
    assert json.loads(ask("diff", web_run, other, "--json"))["totals"]["gained"] == len(gained)


def test_a_run_that_stopped_can_be_asked_what_it_lost(corpus, pipeline, run, tmp_path):
    """The error of a run that fails for too many failures names the folder that holds them; so must the questions."""
    corpus("a.jsonl", ["spam spam", "eggs", "raise bacon"])
    with pytest.raises(CurationError, match="quarantine holds them"):
        run(
            pipeline(
                ["stages_at_fault:Length", {"stages_at_fault:DropWord": {"word": "spam"}}, "stages_at_fault:Fails"]
            )
        )
    out = str(tmp_path / "out")
    totals, reasons, _ = matches(out, "true", 9)
    assert totals == {"kept": 1, "dropped": 1, "failed": 1, "tokens": 0} and reasons["has_word"] == 1
    assert "1 failed" in ask("show", out, "--where", "failed")
    ask("report", out)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "has_word" in page and "cannot take: raise bacon" in page


def test_diff_of_other_inputs_failures_and_texts(corpus, pipeline, run, tmp_path):
    corpus("a.jsonl", ["one", "two", "raise 1", "spam"])
    run(pipeline(["stages_at_fault:Fails"], max_failure_rate=1))
    first = str(tmp_path / "out")
    corpus("b.jsonl", ["new"])
    stages = ["stages_at_fault:Upper", {"stages_at_fault:DropWord": {"word": "RAISE"}}]
    second = str(tmp_path / "other")
    run(pipeline(stages, output=second))
    found = difference(first, second, text=True)
    assert found.totals == {
        "gained": 0, "lost": 0, "moved": 1, "changed": 3, "only_a": 0, "only_b": 1, "same": 0,
    }  # fmt: skip
    moved = found.examples["moved"][0]
    assert moved["a"] == "stages_at_fault:Fails: ValueError" and moved["b"] == "stages_at_fault:DropWord: has_word"
    assert difference(first, second).totals["same"] == 3


def test_a_run_on_an_object_store(web_run):
    """Rows are read through fsspec: here from memory."""
    import os

    import fsspec

    fs = fsspec.filesystem("memory")
    for folder, _, files in os.walk(web_run):
        for name in files:
            path = os.path.join(folder, name)
            if "work" not in path:
                fs.pipe(f"/run/{os.path.relpath(path, web_run)}", Path(path).read_bytes())
    assert (
        matches("memory:///run", "dropped", 2)[0]
        == matches(web_run, "dropped", 2)[0]
        == {"dropped": len(Corpus(web_run, "dropped"))}
    )

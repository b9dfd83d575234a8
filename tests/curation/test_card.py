"""The dataset card and the Croissant file of real runs; Croissant judged by the standard's own reader."""

import itertools
import json
import warnings
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from curation import cli
from curation.card import write_card
from curation.corpus import Corpus
from curation.stats import read_stats


@pytest.fixture
def judged():
    """Open a Croissant file; what its validation says must be nothing."""
    mlcroissant = pytest.importorskip("mlcroissant")

    def open_file(path):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = mlcroissant.Dataset(jsonld=str(path))
        assert not dataset.metadata.issues.errors and not dataset.metadata.issues.warnings
        return dataset

    return open_file


def metadata(run):
    text = Path(run, "README.md").read_text(encoding="utf-8")
    head, body = text.removeprefix("---\n").split("\n---\n", 1)
    return yaml.safe_load(head), body


def test_the_card_of_a_run(web_run):
    head, body = metadata(web_run)  # a run writes it by itself
    assert (
        head["license"] == "other"
        and head["size_categories"] == ["n<1K"]
        and head["task_categories"] == ["text-generation"]
    )
    assert {"fra", "eng", "jpn", "arb"} <= set(head["language"]) and "und" not in head["language"]
    assert [c["data_files"] for c in head["configs"]] == ["documents/*.parquet", "tokens/*.parquet"]
    stats = read_stats(web_run)
    assert f"{stats.kept} documents, {stats.tokens():,} tokens" in body and stats.tokens() > 100_000
    english = stats.tokens_by("language")["eng_Latn"]
    assert f"| `eng_Latn` | {stats.breakdown()['language']['eng_Latn']['kept']} | {english:,} |" in body
    rule = next(a for a in stats.funnel if a.stage == "gopher_quality")
    n = rule.dropped["gopher_too_few_alphabetic_words"]
    assert f"| `gopher_quality` | {rule.rows_in} | {rule.kept} | `gopher_too_few_alphabetic_words` {n}" in body
    assert "## Licences" in body and "debian-docs.warc.gz" in body
    assert "| `text` | `large_string` | the document's text" in body


def test_croissant_is_valid_and_reads_the_documents(web_run, judged):
    dataset = judged(Path(web_run, "croissant.json"))
    texts = Corpus(web_run).table(["text"])["text"].to_pylist()
    read = [row["documents/text"].decode() for row in itertools.islice(dataset.records("documents"), 5)]
    assert read == texts[:5]


def test_several_shards_a_name_and_a_licence(corpus, pipeline, run, tmp_path, judged):
    for i in range(3):
        corpus(f"{i}.jsonl", [f"text {i} {j}" for j in range(4)])
    run(pipeline(["stages_at_fault:Length"]))
    out = str(tmp_path / "out")
    result = CliRunner().invoke(cli.app, ["card", out, "--title", "Tiny texts", "--license", "CC0-1.0"])
    assert result.exit_code == 0 and "croissant.json" in result.output
    head, body = metadata(out)
    assert (head["pretty_name"], head["license"]) == ("Tiny texts", "cc0-1.0") and "language" not in head
    assert "The licence of the whole: cc0-1.0." in body
    dataset = judged(tmp_path / "out" / "croissant.json")
    data = json.loads((tmp_path / "out" / "croissant.json").read_text())
    assert len([o for o in data["distribution"] if o["@type"] == "cr:FileObject"]) == 3
    assert dataset.metadata.name == "Tiny texts"
    expected = [text.encode() for text in Corpus(out).table(["text"])["text"].to_pylist()]
    assert [row["documents/text"] for row in dataset.records("documents")] == expected and len(expected) == 12


def test_the_records_of_shards_too_many_to_be_named(corpus, pipeline, run, tmp_path, judged, monkeypatch):
    """The folder stands for them, and nothing but `documents/` is read."""
    monkeypatch.setattr("curation.card._HASHED_BYTES", 10)
    corpus("a.jsonl", ["one", "two"])
    corpus("b.jsonl", ["three"])
    run(pipeline(["stages_at_fault:Length", {"stages_at_fault:DropWord": {"word": "two"}}]))
    out = tmp_path / "out"
    assert len(list((out / "documents").iterdir())) == 2 and list((out / "dropped").iterdir())
    write_card(str(out))
    data = json.loads((out / "croissant.json").read_text())
    assert [o["@type"] for o in data["distribution"]] == ["cr:FileSet"]
    monkeypatch.chdir(out)  # also by a relative path
    rows = list(judged("croissant.json").records("documents"))
    assert sorted((row["documents/text"], row["documents/length"]) for row in rows) == [(b"one", 3), (b"three", 5)]


def test_what_strangers_wrote_stays_text(corpus, pipeline, run, tmp_path):
    corpus("a.jsonl", ["x", "y"])
    run(pipeline(["stages_at_fault:Length"]))
    storage = tmp_path / "out" / "run.json"
    info = json.loads(storage.read_text())
    info["stages"][1]["dropped"] = {"a`|<script>alert(1)</script>\n# title": 3}
    storage.write_text(json.dumps(info))
    write_card(str(tmp_path / "out"))
    body = metadata(str(tmp_path / "out"))[1]
    assert "`a'\\|<script>alert(1)</script> # title` 3" in body and "\n# title" not in body

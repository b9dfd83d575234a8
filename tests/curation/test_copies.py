"""Questions to the removed documents of a run."""

import random

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from curation.cli import app
from curation.copies import Copies
from curation.why import explain


@pytest.fixture
def deduplicated(corpus, pipeline, run, tmp_path):
    """A run in which b is an exact copy of a, and a, which is longer than c, is a near copy that c was kept for."""
    rng = random.Random(1)
    words = [f"word{i}" for i in range(900)]
    page = [rng.choice(words) for _ in range(200)]
    texts = [" ".join([*page[:-1], "other"]), " ".join(page), " ".join(page), " ".join(page).upper()]
    texts += [" ".join(rng.choice(words) for _ in range(100)) for _ in range(5)]
    corpus("a.jsonl", texts)
    run(pipeline(["exact_dedup", "minhash_dedup"]))
    return tmp_path / "out"


def test_where_a_removed_document_is_now(deduplicated):
    (copy,) = explain(str(deduplicated), "https://a.jsonl/3")
    assert copy.fate == "dropped" and [row["kind"] for row in copy.way] == ["exact", "minhash"]
    assert [row["kept_url"] for row in copy.way] == ["https://a.jsonl/1", "https://a.jsonl/0"]
    assert copy.way[0]["jaccard"] == 1 and 0.9 < copy.way[1]["jaccard"] < 1
    (kept,) = explain(str(deduplicated), copy.way[-1]["kept_id"])
    assert kept.fate == "kept" and kept.way == []
    assert [row["url"] for row in kept.copies] == ["https://a.jsonl/1"]
    (middle,) = explain(str(deduplicated), "https://a.jsonl/1")
    assert sorted(row["url"] for row in middle.copies) == ["https://a.jsonl/2", "https://a.jsonl/3"]
    assert [row["duplicates"] for row in pq.read_table(deduplicated / "documents").to_pylist()] == [4, 1, 1, 1, 1, 1]


def test_largest_clusters(deduplicated):
    copies = Copies(str(deduplicated))
    exact, near = copies.largest(5)
    assert (exact["kind"], exact["removed"], exact["kept_url"]) == ("exact", 2, "https://a.jsonl/1")
    assert (near["kind"], near["removed"]) == ("minhash", 1)
    assert copies.largest(1) == [exact] and copies.chains(5) == []


def test_the_command_line_shows_them(deduplicated):
    shown = CliRunner().invoke(app, ["why", str(deduplicated), "https://a.jsonl/3"])
    assert shown.exit_code == 0
    assert "https://a.jsonl/1 (exact, Jaccard 1.00)" in shown.output
    assert "https://a.jsonl/0 (minhash, Jaccard 0.9" in shown.output
    stats = CliRunner().invoke(app, ["stats", str(deduplicated), "--clusters", "3"])
    assert "largest clusters" in stats.output and "https://a.jsonl/1" in stats.output


def test_a_run_without_duplicates(corpus, pipeline, run, tmp_path):
    corpus("a.jsonl", ["one", "two"])
    run(pipeline([]))
    copies = Copies(str(tmp_path / "out"))
    assert copies.largest(3) == copies.chains(3) == copies.way("x") == copies.removed_for("x") == []

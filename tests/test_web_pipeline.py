"""The web pipeline over the sample archive, held against what is known of each of its records."""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from curation.stats import read_stats

ROOT = Path(__file__).resolve().parents[1]
TRUTH = [json.loads(line) for line in (ROOT / "tests/data/debian-docs.truth.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("web") / "out"
    command = [sys.executable, "-m", "curation", "run", "web", "--inline", "--output", str(out)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def fates(run):
    """url -> (folder, stage, reason, truncated)."""
    found = {}
    for folder in ("documents", "dropped", "quarantine"):
        if (run / folder).exists():
            for row in pq.read_table(run / folder).to_pylist():
                assert row["url"] not in found, f"{row['url']} ended twice"
                found[row["url"]] = (folder, row.get("stage"), row.get("reason"), row["truncated"])
    return found


def test_every_record_ends_in_exactly_one_place(fates):
    assert set(fates) == {record["url"] for record in TRUTH} and len(TRUTH) == 337


def test_images_errors_and_truncated_pages_are_told_apart(fates):
    by_kind = {kind: Counter(fates[r["url"]][:3] for r in TRUTH if r["kind"] == kind) for kind in ("image", "error")}
    assert by_kind["image"] == {("dropped", "read_warc", "mime_image"): 8}
    assert by_kind["error"] == {("dropped", "read_warc", "http_404"): 8}
    for record in TRUTH:
        truncated = fates[record["url"]][3]
        assert (truncated == "html_unclosed") == (record["kind"] == "truncated"), record["url"]


@pytest.mark.parametrize(("kind", "most_missed"), [("exact_dup", 0), ("near_dup", 1)])
def test_planted_copies_are_found(fates, kind, most_missed):
    # A copy and its page are the same source file; at most one of them may be kept.
    pages = {record["src"]: record["url"] for record in TRUTH if record["kind"] == "page"}
    pairs = [(r["url"], pages[r["src"]]) for r in TRUTH if r["kind"] == kind and r["src"] in pages]
    assert len(pairs) >= 10
    both = [pair for pair in pairs if fates[pair[0]][0] == fates[pair[1]][0] == "documents"]
    assert len(both) <= most_missed, both
    found = [pair for pair in pairs if {fates[url][1] for url in pair} & {"exact_dedup", "minhash_dedup", "dedup_urls"}]
    assert len(found) >= 5  # the others fell to a quality rule, copy and page alike


def test_the_table_of_duplicates_names_who_was_kept(run):
    kept = set(pq.read_table(run / "documents", columns=["id"])["id"].to_pylist())
    dropped = pq.read_table(run / "dropped").to_pylist()
    rows = pq.read_table(run / "duplicates").to_pylist()
    gone = {r["id"] for r in dropped if r["reason"] in ("exact_duplicate", "near_duplicate", "duplicate_url")}
    assert {r["id"] for r in rows} == gone
    # Who was kept by one dedup can fall to the next, never to nothing.
    assert {r["kept_id"] for r in rows} <= kept | gone
    assert all(r["jaccard"] >= 0.7 for r in rows if r["kind"] == "minhash")


def test_tokens_are_those_of_the_documents(run):
    documents = {r["id"]: r for r in pq.read_table(run / "documents").to_pylist()}
    tokens = pq.read_table(run / "tokens")
    assert tokens["doc_id"].to_pylist() == list(documents)
    assert "input_ids" not in next(iter(documents.values()))
    for row in tokens.slice(0, 50).to_pylist():
        assert row["n_tokens"] == len(row["input_ids"]) > 0
        assert row["n_bytes"] == len(documents[row["doc_id"]]["text"].encode())


def test_languages_are_labelled_and_counted(run):
    info = json.loads((run / "run.json").read_text())
    stage = next(s for s in info["stages"] if s["stage"] == "identify_language")
    values = {k.split("=")[1] for k in stage["breakdown"]}
    assert {"eng_Latn", "jpn_Jpan", "rus_Cyrl", "pes_Arab", "zho_Hans"} <= values and len(values) >= 20
    assert sum(stage["breakdown"][k]["kept"] for k in stage["breakdown"]) == stage["kept"]


def test_the_readme_shows_what_is_printed(run):
    text = (ROOT / "README.md").read_text()
    stats = read_stats(str(run))
    for account in stats.funnel:
        numbers = (account.rows_in, account.kept, sum(account.dropped.values()), sum(account.failed.values()))
        assert re.search(rf"^{account.stage} +{' +'.join(map(str, numbers))}$", text, re.M), (account.stage, numbers)
    assert f"{stats.records} records in, {stats.kept} documents kept, {stats.tokens():,} tokens" in text

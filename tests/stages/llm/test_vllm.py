"""A real vLLM server on the CPU with a real small model labels and rewrites documents of the sample, and is killed.

What a model of 135 M parameters says of a document is worth nothing; that its answers hold to the schema, are paid once
and survive its server is what is tested. The model is SmolLM2-135M-Instruct.
"""

import json
import os
import signal
import threading
import time

import pytest
from vllm_server import NEEDS_VLLM, ROOT, carry_out

from classifiers.quality.dimensions import DIMENSIONS
from curation.corpus import Corpus
from stages.llm.client import Client

READ = {"read_parquet": {"id": "id", "columns": ["language", "sampled"]}}

pytestmark = NEEDS_VLLM


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """Documents of the sample with their languages, some fifty of them `sampled`: extracted once for all tests."""
    folder = tmp_path_factory.mktemp("sample")
    stages = ["read_warc", "extract_html", "identify_language"]
    stages.append({"sample_strata": {"per_stratum": 2, "lengths": [3000]}})
    carry_out(folder, "sample", ROOT / "examples" / "debian-docs.warc.gz", stages)
    return folder / "sample" / "documents"


def test_the_model_is_known_by_its_digest(service):
    about = json.loads(service.read_text())
    client = Client(str(service))
    assert client.identify().name == about["exact_name"] == f"smollm2@{about['digest']}"
    client.close()
    assert about["replicas"][0]["state"] == "ready" and about["vllm"].startswith("0.")


def test_fifty_documents_are_labelled_though_the_server_is_killed(service, sample, tmp_path):
    keys = {
        "server": str(service),
        "only": "sampled",
        "window_characters": 500,
        "max_windows": 1,
        "scores": "expected",
        "patience_s": 400,
        "max_in_flight": 16,
        "cache": str(tmp_path / "answers"),
    }
    paid = tmp_path / "answers"

    def kill():
        while sum(f.stat().st_size for f in paid.glob("*.answers")) < 20_000:
            time.sleep(0.1)
        os.kill(json.loads(service.read_text())["replicas"][0]["pid"], signal.SIGKILL)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    accounts = carry_out(tmp_path, "labels", sample, [READ, {"annotate_quality": keys}])
    killer.join(1)
    assert not killer.is_alive() and json.loads(service.read_text())["replicas"][0]["restarts"] == 1
    counters = accounts["annotate_quality"]["metrics"]["counters"]
    labelled = counters["documents_labelled"]
    assert labelled >= 50 and accounts["annotate_quality"]["failed"] == {}
    assert counters["answers"] == labelled and counters["unusable_answers"] == 0  # JSON of the schema, every time
    assert counters["requests_retried"] > 0
    docs = Corpus(str(tmp_path / "labels")).table().to_pylist()
    for row in docs:
        assert (row["labelled_by"] is not None) == row["sampled"]
        for name, dimension in DIMENSIONS.items():
            if row["sampled"]:
                assert 0 <= row[name] <= 5 if dimension.is_score else row[name] in dimension.values
    assert any(row["educational_value"] % 1 for row in docs if row["sampled"])  # means, not digits
    # Again, from what was paid for: the same labels, nothing sent.
    again = carry_out(tmp_path, "again", sample, [READ, {"annotate_quality": keys}])
    assert again["annotate_quality"]["metrics"]["counters"]["requests_sent"] == 0
    assert Corpus(str(tmp_path / "again")).table().to_pylist() == docs


def test_fifty_documents_are_rewritten_and_of_the_others_it_is_said_why_not(service, sample, tmp_path):
    # So small a model ends no text by itself: the server holds it to a sentence or two, and keeps it from repeating.
    held = {"structured_outputs": {"regex": r"[^<>{}\n]{40,220}[.。]"}, "repetition_penalty": 1.1}
    keys = {
        "server": str(service),
        "styles": ["notes", "knowledge_list"],
        "each": "all",
        "parameters": held,
        "max_tokens": 96,
        "max_asks": 1,
        "max_in_flight": 16,
        "min_characters": 300,
        "passage_characters": 1200,
        "max_passages": 1,
    }
    stages = [READ, {"rewrite_with_model": keys}]
    accounts = carry_out(tmp_path, "rewritten", sample, stages, breakdown=["rewrite_style"])
    account = accounts["rewrite_with_model"]
    counters = account["metrics"]["counters"]
    rewritten = sum(n for name, n in counters.items() if name.startswith("rewritten="))
    given_up = sum(n for name, n in counters.items() if name.startswith("given_up="))
    docs = Corpus(str(tmp_path / "rewritten")).table()
    texts = dict(zip(docs["id"].to_pylist(), docs["text"].to_pylist(), strict=True))
    originals = [row["text"] or "" for row in docs.to_pylist() if row["rewritten_from"] is None]
    assert rewritten + given_up == 2 * sum(300 <= len(text) <= 1200 for text in originals)
    assert rewritten >= 50
    assert account["added"] == rewritten == docs.num_rows - docs["rewritten_from"].null_count
    for row in docs.to_pylist():
        if row["rewritten_from"]:
            assert row["text"].endswith((".", "。")) and len(row["text"]) <= len(texts[row["rewritten_from"]]) * 1.2
            assert row["rewritten_by"] == json.loads(service.read_text())["exact_name"]

"""A real vLLM server on the CPU with a real small model labels and rewrites documents of the sample, and is killed.

Needs a Python with vLLM, named by VLLM_PYTHON (`make test-llm` makes one). What a model of 135 M parameters says of a
document is worth nothing; that its answers hold to the schema, are paid once and survive its server is what is tested.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml

from classifiers.quality.dimensions import DIMENSIONS
from curation.config import load_pipeline
from curation.corpus import Corpus
from curation.executor import Inline
from curation.plan import make_plan
from curation.run import Run
from curation.storage import Storage

PYTHON = os.environ.get("VLLM_PYTHON", "")
ROOT = Path(__file__).resolve().parents[3]
SAMPLE = {"sample_strata": {"per_stratum": 2, "lengths": [3000]}}

pytestmark = [
    pytest.mark.llm,
    pytest.mark.skipif(not PYTHON, reason="VLLM_PYTHON names no Python with vLLM; `make test-llm` makes one"),
]


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """The state file of `curation serve`, once the model answers."""
    models = Path(os.environ.get("VLLM_TEST_MODELS") or tmp_path_factory.mktemp("models"))
    folder = models / "smollm2"
    here = Path(__file__).parent
    quiet = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    subprocess.run([PYTHON, str(here / "smollm2.py"), str(folder)], check=True, env=quiet)
    state = tmp_path_factory.mktemp("service") / "service.json"
    command = [sys.executable, "-m", "curation", "serve", str(folder), "--python", PYTHON, "--port", "8761"]
    command += ["--state", str(state), "--", "--max-model-len", "2048", "--max-num-seqs", "16"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=quiet)
    for line in process.stdout:
        if "ready at" in line:
            break
    assert process.poll() is None, "curation serve ended"
    yield state
    process.terminate()
    assert process.wait(30) == 0
    process.stdout.close()
    ended = json.loads(state.read_text())
    assert [r["state"] for r in ended["replicas"]] == ["stopped"]


def carry_out(tmp_path, name, stages, **settings):
    """Run a pipeline over the sample; the result's accounts by stage."""
    config = {
        "input": str(ROOT / "examples" / "debian-docs.warc.gz"),
        "output": str(tmp_path / name),
        "max_failure_rate": 0,
        "stages": ["read_warc", "extract_html", "identify_language", *stages],
    }
    (tmp_path / "pipelines.yaml").write_text(yaml.safe_dump({"pipelines": {"test": config | settings}}))
    plan = make_plan(load_pipeline("test", str(tmp_path / "pipelines.yaml")))
    url = plan.pipeline.settings.output
    result = Run(plan, Inline(url), Storage(url)).execute()
    return {account["stage"]: account for account in result.info["stages"]}


def test_the_model_is_known_by_its_digest(service):
    from stages.llm.client import Client

    about = json.loads(service.read_text())
    client = Client(str(service))
    assert client.identify().name == about["exact_name"] == f"smollm2@{about['digest']}"
    client.close()
    assert about["replicas"][0]["state"] == "ready" and about["vllm"].startswith("0.")


def test_fifty_documents_are_labelled_though_the_server_is_killed(service, tmp_path):
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
    url = json.loads(service.read_text())["replicas"][0]["url"]
    paid = tmp_path / "answers"

    def kill():
        while sum(f.stat().st_size for f in paid.glob("*.answers")) < 20_000:
            time.sleep(0.1)
        os.kill(json.loads(service.read_text())["replicas"][0]["pid"], signal.SIGKILL)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    accounts = carry_out(tmp_path, "labels", [SAMPLE, {"annotate_quality": keys}])
    assert not killer.is_alive() and url
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
    again = carry_out(tmp_path, "again", [SAMPLE, {"annotate_quality": keys}])
    assert again["annotate_quality"]["metrics"]["counters"]["requests_sent"] == 0
    assert Corpus(str(tmp_path / "again")).table().to_pylist() == docs


def test_fifty_documents_are_rewritten_or_it_is_said_why_not(service, tmp_path):
    keys = {
        "server": str(service),
        "styles": ["notes", "knowledge_list"],
        "max_tokens": 96,
        "max_asks": 1,
        "max_in_flight": 16,
        "min_characters": 300,
        "passage_characters": 1500,
        "max_passages": 1,
        "share": 0.75,
    }
    accounts = carry_out(tmp_path, "rewritten", [{"rewrite_with_model": keys}], breakdown=["rewrite_style"])
    account = accounts["rewrite_with_model"]
    counters = account["metrics"]["counters"]
    rewritten = sum(n for name, n in counters.items() if name.startswith("rewritten="))
    given_up = sum(n for name, n in counters.items() if name.startswith("given_up="))
    docs = Corpus(str(tmp_path / "rewritten")).table()
    assert rewritten + given_up >= 50
    assert account["added"] == rewritten == docs.num_rows - docs["rewritten_from"].null_count

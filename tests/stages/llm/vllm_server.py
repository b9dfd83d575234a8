"""Real vLLM servers for tests: small models, served by `curation serve` as a user serves them, and runs that ask them.

Needs a Python with vLLM, named by VLLM_PYTHON (`make test-llm` makes one). Models are built where VLLM_MODELS says, once.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml

from curation.config import load_pipeline
from curation.executor import Inline
from curation.plan import make_plan
from curation.run import Run
from curation.storage import Storage

PYTHON = os.environ.get("VLLM_PYTHON", "")
ROOT = Path(__file__).resolve().parents[3]
NEEDS_VLLM = [
    pytest.mark.llm,
    pytest.mark.skipif(not PYTHON, reason="VLLM_PYTHON names no Python with vLLM; `make test-llm` makes one"),
]
#: Seconds for a server to answer: 30 on an idle machine, 150 on one with four times as much to do as it has cores.
_START_S = 600
_QUIET = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}


def build_model(script, folder, *arguments):
    """The folder of a model that a script of this folder writes, unless it is there."""
    folder = Path(os.environ.get("VLLM_MODELS") or folder) / Path(script).stem
    if not (folder / "config.json").exists():
        command = [PYTHON, str(Path(__file__).with_name(script)), str(folder), *map(str, arguments)]
        subprocess.run(command, check=True, env=os.environ | _QUIET)
    return folder


@contextlib.contextmanager
def served(model, folder, *options):
    """The state file of `curation serve`, once the model answers; options are vLLM's."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    state = folder / "service.json"
    command = [sys.executable, "-m", "curation", "serve", str(model), "--python", PYTHON, "--port", str(port)]
    command += ["--state", str(state), "--", *options]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=os.environ | _QUIET)
    limit = threading.Timer(_START_S, process.kill)  # a server that hangs must not hold the tests
    limit.start()
    try:
        for line in process.stdout:
            if "ready at" in line:
                break
        limit.cancel()
        assert process.poll() is None, "curation serve ended"
        yield state
        process.terminate()
        assert process.wait(30) == 0
        assert [r["state"] for r in json.loads(state.read_text())["replicas"]] == ["stopped"]
    finally:
        limit.cancel()
        process.kill()
        process.wait()
        process.stdout.close()


def carry_out(folder, name, source, stages, **settings):
    """Run a pipeline; the accounts of its stages by their names. Its output is `folder / name`."""
    config = {"input": str(source), "output": str(folder / name), "max_failure_rate": 0, "stages": stages} | settings
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump({"pipelines": {"test": config}}))
    return execute(load_pipeline("test", str(file)))


def execute(pipeline):
    """Run a pipeline as loaded; the accounts of its stages by their names."""
    plan = make_plan(pipeline)
    url = plan.pipeline.settings.output
    result = Run(plan, Inline(url), Storage(url)).execute()
    return {account["stage"]: account for account in result.info["stages"]}

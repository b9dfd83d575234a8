"""Replicas that Ray places: each with GPUs of its own, found by clients, and put elsewhere when they die.

The GPUs are numbers that Ray counts and vLLM is a stub by that name; what is tested is who starts where, and who knows.
"""

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from stub_server import HERE
from typer.testing import CliRunner

from curation.cli import app
from curation.errors import ConfigError
from stages.llm.client import Client
from stages.llm.request import Request, plain_answer

VLLM = f"""
import argparse, sys, time
sys.path.insert(0, {HERE!r})
from stub_server import StubServer
options = argparse.ArgumentParser()
options.add_argument("--served-model-name", nargs=2)
options.add_argument("--host")
options.add_argument("--port", type=int)
options = options.parse_known_args()[0]
with StubServer(names=options.served_model_name, host=options.host, port=options.port):
    time.sleep(600)
"""


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.1)
    raise AssertionError("waited in vain")


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """The address of a Ray of this machine with three GPUs to give, whose Python has a stub by the name of vLLM."""
    ray = pytest.importorskip("ray")
    package = tmp_path / "site" / "vllm" / "entrypoints" / "openai"
    package.mkdir(parents=True)
    (package / "api_server.py").write_text(VLLM)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "site"), os.getcwd()]))
    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    ray.init(address="local", num_cpus=4, num_gpus=3, include_dashboard=False, logging_level="ERROR")
    yield ray.get_runtime_context().gcs_address
    ray.shutdown()


@pytest.fixture
def serve(cluster, tmp_path):
    """Start `curation serve --ray` of a model; gives its process and a function that reads its state."""
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    state = tmp_path / "service.json"
    started = []

    def start(*options):
        command = [sys.executable, "-m", "curation", "serve", str(model), "--ray", "--address", cluster]
        command += ["--state", str(state), *options]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
        return started[-1], lambda: json.loads(state.read_text())["replicas"] if state.exists() else []

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def ask(client, text):
    return client.ask([Request("Say.", f"<document>\n{text}\n</document>")], plain_answer)[0].value


def test_replicas_get_gpus_of_their_own_and_another_address_when_they_die(serve, tmp_path):
    process, read = serve("--replicas", "3")
    wait_for(lambda: [r["state"] for r in read()] == ["ready"] * 3)
    first = read()
    assert {psutil.Process(r["pid"]).environ()["CUDA_VISIBLE_DEVICES"] for r in first} == {"0", "1", "2"}
    client = Client(str(tmp_path / "service.json"), patience_s=30)
    assert ask(client, "one") == "In other words: one"
    for replica in first:
        os.kill(replica["pid"], signal.SIGKILL)
    # The client knew three addresses, none of which anybody listens at any more.
    assert ask(client, "two") == "In other words: two"
    wait_for(lambda: [(r["state"], r["restarts"]) for r in read()] == [("ready", 1)] * 3)
    second = read()
    assert not {r["url"] for r in first} & {r["url"] for r in second}
    assert {psutil.Process(r["pid"]).environ()["CUDA_VISIBLE_DEVICES"] for r in second} == {"0", "1", "2"}
    client.close()
    process.terminate()
    assert process.wait(60) == 0
    assert [r["state"] for r in read()] == ["stopped"] * 3
    assert not any(psutil.pid_exists(r["pid"]) for r in second)


@pytest.mark.slow
def test_a_replica_without_a_place_waits_and_no_server_outlives_a_killed_supervisor(serve):
    process, read = serve("--replicas", "2", "--tensor-parallel", "2")  # three GPUs are one too few
    wait_for(lambda: sorted(r["state"] for r in read()) == ["ready", "waiting"])
    pid = next(r["pid"] for r in read() if r["state"] == "ready")
    assert psutil.Process(pid).environ()["CUDA_VISIBLE_DEVICES"].count(",") == 1
    process.kill()
    wait_for(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


def test_what_a_node_refuses_ends_the_command(serve):
    process, _ = serve("--python", "/no/python")
    assert process.wait(60) == 1
    assert process.stdout.read().splitlines()[-1] == "error: --python /no/python: No such file or directory"


def test_there_must_be_a_cluster(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    result = CliRunner().invoke(app, ["serve", str(tmp_path), "--address", "x"])
    assert isinstance(result.exception, ConfigError) and "give --ray" in str(result.exception)

"""Runs on a real local Ray: same bytes as in this process, workers that die, a job submitted to a cluster."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time

import psutil
import pytest
from run_results import folder_bytes

from curation.errors import CurationError
from curation.executor import OnRay

STAGES = ["stages_at_fault:Length", "stages_at_fault:FirstOfEachLetter", "stages_at_fault:Upper"]


def fill(corpus, files=4, lines=200):
    rng = random.Random(0)
    for i in range(files):
        corpus(f"{i}.jsonl", [f"{rng.choice('abcdefghijkl')}{rng.random()} word {j}" for j in range(lines)])


def test_workers_give_the_bytes_of_this_process(corpus, pipeline, run, tmp_path):
    fill(corpus)
    run(pipeline(STAGES))
    other = pipeline(STAGES, output=str(tmp_path / "ray"))
    result = run(other, OnRay(str(tmp_path / "ray"), workers=2))
    assert result.info["status"] == "complete"
    assert folder_bytes(tmp_path / "out") == folder_bytes(tmp_path / "ray")


def test_hostile_documents_on_workers(corpus, pipeline, run, tmp_path):
    fill(corpus, files=2)
    corpus("bad.jsonl", ["one", "please hang", "two", "please crash", "three"] + ["more"] * 500)
    plan = pipeline(["stages_at_fault:HangsAlone"])
    result = run(plan, OnRay(plan.pipeline.settings.output, workers=2))
    account = next(a for a in result.info["stages"] if a["stage"].endswith("HangsAlone"))
    assert account["failed"] == {"crashed": 1, "timeout": 1}
    assert account["kept"] == account["rows_in"] - 2 == 903


def test_a_reader_that_kills_its_worker_ends_the_run_but_not_the_others(corpus, pipeline, run, tmp_path):
    fill(corpus, files=3)
    corpus("poison.jsonl", ["x"])
    plan = pipeline(["stages_at_fault:Length"])
    import stages_at_fault

    reader = stages_at_fault.PoisonedReader()
    plan.pipeline.stages[0] = reader
    plan.segments[0].stages[0] = reader
    with pytest.raises(CurationError, match="1 of 4 tasks failed .*poison.*worker died 5 times"):
        run(plan, OnRay(plan.pipeline.settings.output, workers=2))
    assert len(list((tmp_path / "out" / "documents").glob("*.parquet"))) == 3


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture
def cluster(tmp_path):
    """A Ray head with a dashboard, as a cluster's operator would start it; yields (gcs address, job address)."""
    gcs, dashboard = free_port(), free_port()
    binaries = os.path.dirname(sys.executable)
    env = os.environ | {"RAY_AUTH_MODE": "disabled", "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}"}
    head = subprocess.Popen(
        [f"{binaries}/ray", "start", "--head", "--block", f"--port={gcs}", f"--dashboard-port={dashboard}",
         "--num-cpus=2", "--object-store-memory=200000000", "--disable-usage-stats", "--include-dashboard=true",
         f"--temp-dir={tempdir()}"],
        env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        wait_for_port(dashboard)
        yield f"127.0.0.1:{gcs}", f"http://127.0.0.1:{dashboard}", env
    finally:
        for process in [*psutil.Process(head.pid).children(recursive=True), psutil.Process(head.pid)]:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        head.wait()


def tempdir():
    """Ray's sockets need a short path."""
    import tempfile

    return tempfile.mkdtemp(prefix="ray-", dir="/tmp")


def wait_for_port(port, seconds=120):
    for _ in range(seconds * 5):
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise TimeoutError("the Ray head did not come up")


@pytest.mark.slow
def test_a_submitted_job(cluster, corpus, pipeline, run, tmp_path):
    fill(corpus)
    run(pipeline(STAGES))
    _, address, env = cluster
    work = tmp_path / "submitted"
    work.mkdir()
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    subprocess.run(["cp", "-r", f"{root}/curation", f"{root}/stages", f"{root}/classifiers", work], check=True)
    subprocess.run(["cp", f"{root}/tests/curation/stages_at_fault.py", tmp_path / "pipelines.yaml", work], check=True)

    def submit(*arguments):
        for _ in range(30):
            done = subprocess.run(
                [f"{os.path.dirname(sys.executable)}/ray", "job", "submit", "--address", address, "--working-dir", ".",
                 "--", "python", "-m", "curation", "run", "test", *arguments],
                cwd=work, env=env, capture_output=True, text=True, timeout=400, check=False,
            )  # fmt: skip
            if "No available agent" not in done.stdout + done.stderr:  # Ray's own agent starts late on a busy machine
                break
            time.sleep(2)
        return done

    refused = submit("--output", "out/relative")
    assert refused.returncode and "give an absolute path" in refused.stdout + refused.stderr
    done = submit("--output", str(tmp_path / "job"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert folder_bytes(tmp_path / "job") == folder_bytes(tmp_path / "out")


def test_sigterm_stops_and_a_rerun_goes_on(corpus, pipeline, run, tmp_path):
    fill(corpus, files=30, lines=50)
    plan = pipeline(["stages_at_fault:Slow"])
    assert plan
    command = [
        sys.executable,
        "-m",
        "curation",
        "run",
        "test",
        "-c",
        str(tmp_path / "pipelines.yaml"),
        "--workers",
        "2",
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    manifests = tmp_path / "out" / "work" / "manifests" / "map0"
    watchdog = threading.Timer(120, process.kill)
    watchdog.start()
    while process.poll() is None and (not manifests.exists() or len(list(manifests.glob("*.json"))) < 3):
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate()
    watchdog.cancel()
    assert process.returncode == 130 and "the same command goes on" in errors
    assert json.loads((tmp_path / "out" / "run.json").read_text())["status"] == "interrupted"
    result = run(pipeline(["stages_at_fault:Slow"]))
    assert 3 <= result.skipped < 30 and result.executed == 30 - result.skipped


def test_a_rerun_with_nothing_to_do_starts_no_ray(corpus, pipeline, run, tmp_path):
    fill(corpus, files=2)
    run(pipeline(STAGES))
    executor = OnRay(str(tmp_path / "out"), workers=2)
    assert run(pipeline(STAGES), executor).executed == 0
    assert executor._ray is None


LOST_NODE = """
import sys, threading, time
from pathlib import Path
from ray.cluster_utils import Cluster
from curation.config import load_pipeline
from curation.executor import OnRay
from curation.plan import make_plan
from curation.run import Run
from curation.storage import Storage

config, out = sys.argv[1:]
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": 100_000_000})
nodes = [cluster.add_node(num_cpus=1, object_store_memory=100_000_000) for _ in range(2)]
cluster.wait_for_nodes()

def lose():
    while len(list(Path(out).glob("work/manifests/map0/*.json"))) < 4:
        time.sleep(0.05)
    cluster.remove_node(nodes[0], allow_graceful=False)
    print("LOST", flush=True)

threading.Thread(target=lose, daemon=True).start()
plan = make_plan(load_pipeline("test", config, output=out))
result = Run(plan, OnRay(out, address=cluster.address), Storage(out)).execute()
print("DONE", result.info["status"], flush=True)
cluster.shutdown()
"""


@pytest.mark.slow
def test_a_node_that_is_lost(corpus, pipeline, run, tmp_path):
    fill(corpus, files=16, lines=50)
    stages = ["stages_at_fault:Slow", *STAGES]
    run(pipeline(stages))
    done = subprocess.run(
        [sys.executable, "-c", LOST_NODE, str(tmp_path / "pipelines.yaml"), str(tmp_path / "cluster")],
        capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip
    assert "LOST" in done.stdout and "DONE complete" in done.stdout, done.stdout + done.stderr
    assert folder_bytes(tmp_path / "cluster") == folder_bytes(tmp_path / "out")

"""A cluster of several nodes on this machine: a submitted job, a node that is killed, what a task asks for, metrics."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import yaml
from run_results import folder_bytes
from test_ray import STAGES, fill, free_port, wait_for_port

from curation.config import load_pipeline
from curation.errors import ConfigError
from curation.executor import OnRay, task_options
from curation.plan import GatherTask, make_plan

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
ENV = os.environ | {
    "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
    "OMP_NUM_THREADS": "1",
}  # fmt: skip


class Nodes:
    """`ray start` several times on this machine: a head without CPUs and workers of one CPU each."""

    def __init__(self):
        self.gcs, self.dashboard = free_port(), free_port()
        self.folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
        self.processes = []
        self.metrics = []

    def start(self, *options):
        self.metrics.append(free_port())
        ports = [
            f"--metrics-export-port={self.metrics[-1]}", f"--dashboard-agent-listen-port={free_port()}",
            f"--dashboard-agent-grpc-port={free_port()}", f"--runtime-env-agent-port={free_port()}",
        ]  # fmt: skip
        command = [str(BIN / "ray"), "start", "--block", "--disable-usage-stats", "--object-store-memory=100000000"]
        with open(Path(self.folder) / f"start-{len(self.processes)}.log", "wb") as log:
            process = subprocess.Popen(
                [*command, *ports, *options], env=ENV, stdout=log, stderr=log, start_new_session=True
            )  # fmt: skip
        self.processes.append(process)
        return process

    def head(self, cpus=0):
        self.start(
            "--head", f"--port={self.gcs}", f"--dashboard-port={self.dashboard}", f"--num-cpus={cpus}",
            "--include-dashboard=true", f"--temp-dir={self.folder}",
        )  # fmt: skip
        wait_for_port(self.dashboard)
        self.wait_until_up()

    def worker(self):
        process = self.start(f"--address=127.0.0.1:{self.gcs}", "--num-cpus=1")
        self.wait_until_up()
        return process

    def kill(self, process):
        """As a power cut does: every process of the node at once."""
        below = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
        for one in below:
            try:
                one.kill()
            except psutil.NoSuchProcess:
                continue
        process.wait()

    def wait_until_up(self):
        """One after the other: two nodes that start at once may choose the same names for their sockets."""
        count = len(self.processes)
        for _ in range(240):
            done = subprocess.run(
                [str(BIN / "ray"), "list", "nodes", "--address", f"http://127.0.0.1:{self.dashboard}", "--format", "yaml",
                 "--filter", "state=ALIVE"],
                env=ENV, capture_output=True, text=True, check=False,
            )  # fmt: skip
            found = yaml.safe_load(done.stdout) if done.returncode == 0 else None
            if isinstance(found, list) and len(found) >= count:  # with no node at all it is a sentence
                return
            for number, process in enumerate(self.processes):
                assert process.poll() is None, (Path(self.folder) / f"start-{number}.log").read_text()
            time.sleep(0.5)
        raise TimeoutError(f"{count} nodes did not come up: {done.stdout}{done.stderr}")


@pytest.fixture
def nodes():
    made = Nodes()
    yield made
    for process in made.processes:
        if process.poll() is None:
            made.kill(process)
    shutil.rmtree(made.folder, ignore_errors=True)


@pytest.mark.slow
def test_a_node_that_dies_in_the_middle_of_a_job_changes_no_byte(nodes, tmp_path, corpus, pipeline, run):
    rng = random.Random(1)
    for i in range(16):
        corpus(f"{i}.jsonl", [f"{rng.choice('abcdefghijkl')}{rng.random()} word {j}" for j in range(40)])
    slow = ["stages_at_fault:Slow", *STAGES]
    run(pipeline(slow))
    nodes.head()
    first, second = nodes.worker(), nodes.worker()
    work = tmp_path / "submitted"
    work.mkdir()
    for name in ("curation", "stages", "classifiers"):
        shutil.copytree(ROOT / name, work / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "tests" / "curation" / "stages_at_fault.py", work)
    shutil.copy(tmp_path / "pipelines.yaml", work)
    address = f"http://127.0.0.1:{nodes.dashboard}"
    for _ in range(30):
        job = subprocess.Popen(
            [str(BIN / "ray"), "job", "submit", "--address", address, "--working-dir", ".", "--", "python", "-m", "curation",
             "run", "test", "--output", str(tmp_path / "job")],
            cwd=work, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        manifests = tmp_path / "job" / "work" / "manifests" / "map0"
        while job.poll() is None and len(list(manifests.glob("*.json")) if manifests.exists() else []) < 3:
            time.sleep(0.05)
        if job.poll() is None or "No available agent" not in job.stdout.read():
            break
        time.sleep(2)  # Ray's own agent starts late on a busy machine
    assert job.poll() is None, "the job ended before it could be disturbed"
    before = len(list(manifests.glob("*.json")))
    nodes.kill(first)
    output, _ = job.communicate(timeout=400)
    assert job.returncode == 0, output
    assert 3 <= before < 16  # it was in the middle of it
    assert folder_bytes(tmp_path / "job") == folder_bytes(tmp_path / "out")
    assert second.poll() is None


@pytest.mark.slow
def test_metrics_for_prometheus(nodes, tmp_path, corpus, pipeline, run):
    nodes.head(cpus=1)
    fill(corpus, files=3)
    plan = pipeline(["stages_at_fault:Length", {"stages_at_fault:DropWord": {"word": "word 1"}}])
    executor = OnRay(plan.pipeline.settings.output, address=f"127.0.0.1:{nodes.gcs}")
    executor_close, executor.close = executor.close, lambda: None  # as long as the driver lives its metrics are shown
    os.environ["RAY_AUTH_MODE"] = "disabled"
    try:
        info = run(plan, executor).info
        kept = next(a for a in info["stages"] if a["stage"].endswith("DropWord"))["kept"]
        wanted = r'ray_curation_documents(?:_total)?\{[^}]*fate="kept"[^}]*stage="stages_at_fault:DropWord"[^}]*\} ([\d.e+]+)'
        for _ in range(60):
            with urllib.request.urlopen(f"http://127.0.0.1:{nodes.metrics[0]}/metrics") as answer:
                text = answer.read().decode()
            if found := re.search(wanted, text):
                break
            time.sleep(1)
        assert found and float(found[1]) == kept
        assert re.search(r'ray_curation_tasks_done(?:_total)?\{[^}]*end="committed"[^}]*\} 3', text)
    finally:
        executor_close()


def test_a_task_asks_for_the_most_that_a_stage_of_it_needs(corpus, pipeline):
    fill(corpus, files=2)
    wanted = {
        "stages_at_fault:Length": {"num_gpus": 0.5, "memory_mb": 3000},
        "stages_at_fault:FirstOfEachLetter": {"num_cpus": 2, "memory_mb": 1000},
        "stages_at_fault:Upper": {"memory_mb": 500, "fast_disk": 1},
    }
    plan = pipeline(STAGES, resources=wanted)
    first = plan.first_tasks[0]
    assert task_options(plan, first) == {"num_cpus": 2, "num_gpus": 0.5, "memory": 3000 << 20}
    gather = GatherTask("gather0.0/00000", 0, 0, "", (0,), (), ())
    assert task_options(plan, gather) == {"num_cpus": 2, "memory": 1000 << 20}
    last = type(first)("map1/00000", 1, 0, "")
    assert task_options(plan, last) == {"num_cpus": 2, "memory": 1000 << 20, "resources": {"fast_disk": 1}}
    assert plan.fingerprint == pipeline(STAGES).fingerprint  # it says where tasks run, not what they do
    assert task_options(pipeline(STAGES), first) == {"num_cpus": 1.0}


def test_resources_of_a_stage_that_is_not_there(corpus, pipeline):
    with pytest.raises(ConfigError, match=r"pipelines.yaml:\d+: resources: the pipeline has no stage 'lenght'"):
        pipeline(STAGES, resources={"lenght": {"num_cpus": 2}})
    with pytest.raises(ConfigError, match="greater than or equal to 0"):
        pipeline(STAGES, resources={"read_jsonl": {"num_cpus": -1}})


def test_the_manifest_for_kubernetes():
    """It cannot be run here; what can be checked is that it names what exists."""
    job = yaml.safe_load((ROOT / "examples" / "cluster" / "rayjob.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    spec = job["spec"]
    import ray

    assert spec["rayClusterSpec"]["rayVersion"] == ray.__version__
    assert spec["rayClusterSpec"]["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    words = spec["entrypoint"].split()
    assert words[:4] == ["python", "-m", "curation", "run"]
    assert load_pipeline(words[4], str(ROOT / "pipelines.yaml"), inputs=["x"])
    for group in [spec["rayClusterSpec"]["headGroupSpec"], *spec["rayClusterSpec"]["workerGroupSpecs"]]:
        pod = group["template"]["spec"]
        mounts = {mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
        assert mounts == {volume["name"] for volume in pod["volumes"]}
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())


@pytest.mark.slow
def test_the_slurm_script_with_stand_ins_for_slurm(tmp_path, corpus, pipeline, run):
    """`srun` and `scontrol` are replaced by ones that run things here; everything else is the script."""
    fill(corpus, files=3)
    run(pipeline(STAGES))
    stand_ins = tmp_path / "bin"
    stand_ins.mkdir()
    (stand_ins / "scontrol").write_text("#!/bin/bash\necho node1\n")
    (stand_ins / "srun").write_text(
        '#!/bin/bash\nwhile [[ $1 == -* ]]; do [[ $1 == -w ]] && shift; shift; done\nexec "$@"\n'
    )
    for file in stand_ins.iterdir():
        file.chmod(0o755)
    venv = tmp_path / "venv" / "bin"
    venv.mkdir(parents=True)
    (venv / "activate").write_text("")
    env = ENV | {
        "PATH": f"{stand_ins}{os.pathsep}{ENV['PATH']}", "VENV": str(venv.parent), "SLURM_JOB_NODELIST": "node1",
        "SLURM_CPUS_PER_TASK": "2", "RAY_PORT": str(free_port()), "RAY_TMPDIR": tempfile.mkdtemp(prefix="ray-", dir="/tmp"),
    }  # fmt: skip
    command = [
        "bash",
        str(ROOT / "examples" / "cluster" / "curation.slurm"),
        "test",
        "-c",
        str(tmp_path / "pipelines.yaml"),
    ]
    log = tmp_path / "log"
    with open(log, "wb") as file:
        process = subprocess.Popen(
            [*command, "--output", str(tmp_path / "job")],
            cwd=ROOT,
            env=env,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
        try:
            assert process.wait(timeout=400) == 0, log.read_text()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # Ray's head, if it is still there
    assert folder_bytes(tmp_path / "job") == folder_bytes(tmp_path / "out")
    assert load_pipeline("test", str(tmp_path / "pipelines.yaml")) and make_plan

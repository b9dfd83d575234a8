"""Kill anything at any moment: the final bytes are those of an undisturbed run.

Twenty runs of the web pipeline over the sample archive. In each a worker, the child that runs the stages, the
driver, or the whole session gets SIGKILL at a random moment; then the same command is given again. Workers and
batch sizes differ from run to run.
"""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from run_results import folder_bytes

from curation.corpus import Manifest, verify
from curation.storage import Storage

ROOT = Path(__file__).resolve().parents[1]
VICTIMS = ("worker", "child", "driver", "session")
ROUNDS = 20

pytestmark = pytest.mark.slow


def command(out, *more):
    return [sys.executable, "-m", "curation", "run", "web", "--output", str(out), *more]


def start(out, log, *more):
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command(out, *more), cwd=ROOT, env=env, stdout=log, stderr=log, start_new_session=True)


def below(process):
    """The processes below one, with their command lines; those that end meanwhile are left out."""
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            found.append((child, " ".join(child.cmdline())))
        except psutil.Error:
            continue
    return found


def victims(process, kind):
    if kind == "driver":
        return [psutil.Process(process.pid)]
    if kind == "session":
        return [psutil.Process(process.pid), *(p for p, _ in below(process))]
    word = "curation.sandbox" if kind == "child" else "ray::attempt"
    return [p for p, line in below(process) if word in line][:1]


def kill(processes):
    for process in processes:
        try:
            process.kill()
        except psutil.Error:
            continue


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed") / "web"
    subprocess.run(command(out, "--inline"), cwd=ROOT, check=True, capture_output=True)
    found = folder_bytes(out)
    assert {name.split("/")[0] for name in found} == {"documents", "dropped", "tokens", "duplicates"}
    return found


@pytest.mark.parametrize("number", range(ROUNDS))
def test_a_kill_changes_nothing(number, undisturbed, tmp_path):
    rng = random.Random(number)
    kind = VICTIMS[number % len(VICTIMS)]
    options = ["--workers", str(rng.choice([1, 2, 4])), "--set", f"batch_rows={rng.choice([3, 40, 256])}"]
    out = tmp_path / "web"
    with open(tmp_path / "log", "wb") as log:
        process = start(out, log, *options)
        leftovers = []
        try:
            while process.poll() is None and not any("curation.sandbox" in line for _, line in below(process)):
                time.sleep(0.05)
            # From the moment the first worker sets its stages up to about the end of the run.
            time.sleep(rng.uniform(0, 12))
            leftovers = [p for p, _ in below(process)] if process.poll() is None else []
            hit = victims(process, kind) if process.poll() is None else []
            kill(hit)
            code = process.wait(timeout=300)
            if kind in ("worker", "child"):
                assert code == 0, (tmp_path / "log").read_text()
        finally:
            kill([p for p in leftovers if "curation" in _line(p)])  # a driver's orphans would die by themselves
            if process.poll() is None:
                process.kill()
        # Whatever stands under a final name by now is whole.
        for path in (out / "work" / "manifests").rglob("*.json") if (out / "work").exists() else ():
            manifest = Storage(str(out)).read_json(str(path.relative_to(out)))
            assert manifest and verify(Storage(str(out)), Manifest(**manifest)) == []
        again = start(out, log, *options)
        assert again.wait(timeout=300) == 0, (tmp_path / "log").read_text()
        kill([p for p in leftovers if p.is_running()])
    assert folder_bytes(out) == undisturbed
    assert not list(out.rglob("*.pending"))


def _line(process):
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""

"""A kill in every step of deduplication: before a task's files are moved in place, and between them and the manifest.

The random kills of `test_kill.py` rarely hit a gather round, which is short. Here a run ends itself by SIGKILL at a
given point of a given step, and the same command is given again.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from run_results import folder_bytes

from curation.config import load_pipeline
from curation.executor import Inline
from curation.plan import make_plan
from curation.run import Run
from curation.storage import Storage

ROOT = Path(__file__).resolve().parents[1]
STAGES = ["read_jsonl", "exact_dedup", "minhash_dedup", {"drop_repeated_substrings": {"min_characters": 20}}]
#: scatter, gathers and apply of each of the three barriers
STEPS = ["map0", "gather0.0", "map1"]
STEPS += [f"gather1.{i}" for i in range(4)] + ["map2"] + [f"gather2.{i}" for i in range(3)] + ["map3"]

pytestmark = pytest.mark.slow

#: Runs `curation`, and kills this process where the arguments say.
KILLER = """
import os, signal, sys
from curation import corpus, task
from curation.storage import Storage

step, moment = sys.argv[1:3]
sys.argv[1:3] = []
commit, write_json = task.commit, Storage.write_json

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def killing_commit(storage, manifest, asides):
    if moment == "before" and manifest.task.startswith(step + "/"):
        die()
    commit(storage, manifest, asides)

def killing_write(self, name, data, indent=None):
    if moment == "between" and name.startswith(f"work/manifests/{step}/"):
        die()
    write_json(self, name, data, indent)

task.commit = killing_commit
Storage.write_json = killing_write
from curation.cli import main
main()
"""


def killed_run(folder, *killer):
    script = ["-c", KILLER, *killer]
    command = [sys.executable, *script, "run", "copies", "--inline", "-c", str(folder / "pipelines.yaml")]
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)


def whole_run(folder):
    plan = make_plan(load_pipeline("copies", str(folder / "pipelines.yaml")))
    url = plan.pipeline.settings.output
    Run(plan, Inline(url), Storage(url)).execute()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A folder with inputs and a config, and the result of a run without a kill."""
    folder = tmp_path_factory.mktemp("copies")
    rng = random.Random(2)
    words = [f"word{i}" for i in range(700)]
    passage = [rng.choice(words) for _ in range(70)]
    texts = []
    for i in range(60):
        page = [rng.choice(words) for _ in range(150)]
        texts.append(" ".join(page))
        if i % 4 == 0:
            texts.append(texts[-1].upper())
        if i % 3 == 0:
            page[rng.randrange(150)] = "other"
            texts.append(" ".join(page))
        if i % 5 == 0:
            texts.append(" ".join([*(rng.choice(words) for _ in range(120)), *passage]))
    rng.shuffle(texts)
    (folder / "input").mkdir()
    for i in range(3):
        lines = [
            json.dumps({"text": text, "url": f"https://example.org/{i}/{n}"}) for n, text in enumerate(texts[i::3])
        ]
        (folder / "input" / f"{i}.jsonl").write_text("\n".join(lines))
    config = {"input": str(folder / "input" / "*.jsonl"), "output": str(folder / "out"), "stages": STAGES}
    (folder / "pipelines.yaml").write_text(yaml.safe_dump({"pipelines": {"copies": config}}))
    whole_run(folder)
    found = folder_bytes(folder / "out")
    assert {name.split("/")[0] for name in found} == {"documents", "dropped", "duplicates"}
    run = json.loads((folder / "out" / "run.json").read_text())
    assert all(sum(s["dropped"].values()) > 5 for s in run["stages"] if s["stage"] in ("exact_dedup", "minhash_dedup"))
    changed = next(s for s in run["stages"] if s["stage"] == "drop_repeated_substrings")
    assert changed["metrics"]["counters"]["documents_changed"] > 5
    steps = {path.parent.name for path in (folder / "out" / "work" / "manifests").rglob("*.json")}
    assert steps == set(STEPS)
    shutil.rmtree(folder / "out")
    return folder, found


@pytest.mark.parametrize("moment", ["before", "between"])
@pytest.mark.parametrize("step", STEPS)
def test_a_kill_in_a_step_changes_nothing(undisturbed, step, moment):
    folder, expected = undisturbed
    shutil.rmtree(folder / "out", ignore_errors=True)
    killed = killed_run(folder, step, moment)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not list((folder / "out" / "work" / "manifests" / step).glob("*.json"))
    whole_run(folder)
    assert folder_bytes(folder / "out") == expected
    assert not list((folder / "out").rglob("*.pending"))

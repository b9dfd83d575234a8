"""Trainings of several ranks: torchrun, Ray Train, other numbers of ranks, and a rank that is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train`")

from sharded_weights import digests  # isort: skip
from training.config import load
from training.logs import losses, read_log
from training.loop import train
from training.models import build, parameters, shape

ROOT = Path(__file__).resolve().parents[2]


def torchrun(ranks, *command, **variables):
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    done = subprocess.run([*launcher, *command], cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def train_on(ranks, path):
    return torchrun(ranks, "-m", "curation", "train", str(path))


class Stop(Exception):
    pass


def test_other_numbers_of_ranks_go_on_with_the_same_losses(corpus):
    # 10 rows on 3 ranks: some have four, some three.
    stages = corpus().read_text()
    import yaml

    stages = yaml.safe_load(stages)["stages"]
    stages[0]["batch_rows"] = 10
    whole, cut = corpus("whole.yaml", stages=stages), corpus("cut.yaml", stages=stages)
    train(load(whole), lambda line: None)

    def die(line):
        if "a 7/12" in line:
            raise Stop

    with pytest.raises(Stop):
        train(load(cut, ["log_every=1"]), die)
    said = train_on(3, cut)
    assert "going on at step 5 of 12" in said and "3 ranks on cpu" in said
    expected, found = losses(load(whole).output), losses(load(cut).output)
    assert len(found) == 12
    np.testing.assert_allclose(list(found.values()), list(expected.values()), rtol=5e-5)
    # Experts are balanced over all ranks: three of them see what one saw.
    uneven = [[x["balance"] for x in read_log(load(p).output) if "loss" in x] for p in (whole, cut)]
    np.testing.assert_allclose(uneven[1], uneven[0], rtol=1e-3)


MODELS = [
    {"name": "tiny-qwen2", "vocabulary": 513},
    {"name": "tiny-qwen3-moe", "vocabulary": 513, "tied": False},
    # 206 MB, of which each layer has 13; last, because what is loaded at the first use counts as memory, too.
    {"name": "tiny-qwen3", "hidden": 512, "layers": 16, "feed_forward": 1024, "heads": 16, "head_dim": 64, "kv_heads": 8, "vocabulary": 1025, "tied": False},
]  # fmt: skip


def test_ranks_begin_with_the_weights_of_one_and_never_hold_them_all(tmp_path):
    # Freed tensors go back to the system: by default glibc soon keeps blocks below 32 MB, and 12 runs peaked at 114 to
    # 155 MB; so they peak at 112 to 115, which is half of the weights and one layer.
    script = str(Path(__file__).with_name("sharded_weights.py"))
    torchrun(2, script, str(tmp_path), json.dumps(MODELS), MALLOC_MMAP_THRESHOLD_="65536")
    ranks = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    for settings, found in zip(MODELS, zip(*ranks, strict=True), strict=True):
        chosen = shape(**settings)
        alone = digests(build(chosen, 7))
        assert found[0]["digests"] == alone and found[1]["digests"] == alone
        matrices = [name for name in alone if "norm" not in name and "bias" not in name]
        assert len({alone[name] for name in matrices}) == len(matrices), "no two have the same numbers"
        whole = 4 * parameters(chosen)[0] / 1e6
        assert sum(rank["local_mb"] for rank in found) == pytest.approx(whole, rel=0.01)
    assert whole > 200 and all(rank["peak_mb"] < 0.75 * whole for rank in found), [rank["peak_mb"] for rank in found]


@pytest.mark.slow
def test_a_killed_rank_is_started_again_and_ends_as_if_nothing_had_been(corpus, tmp_path):
    stages = [
        {"name": "a", "data": str(corpus().parent / "packs" / "a"), "steps": 40, "batch_rows": 8, "learning_rate": 0.01}
    ]
    # Relative to where the command is given, which is not where workers run.
    path = corpus("killed.yaml", stages=[stages[0] | {"data": "packs/a"}], workers=2)
    output = Path(load(path).output)
    undisturbed = corpus("undisturbed.yaml", stages=stages, workers=2)
    command = [sys.executable, "-m", "curation", "train"]
    quiet = {"cwd": tmp_path, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    running = subprocess.Popen(
        [*command, str(path)], **quiet, env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    )
    try:
        end, killed = time.monotonic() + 900, None  # on a busy machine workers take minutes to start
        while time.monotonic() < end and killed is None and running.poll() is None:
            time.sleep(0.02)
            if max(losses(output), default=0) >= 8:
                ranks = next(line["ranks"] for line in read_log(output) if line.get("event") == "start")
                killed = psutil.Process(ranks[1]["pid"])
                killed.send_signal(signal.SIGKILL)
        said, _ = running.communicate(timeout=900)
    finally:
        running.kill()
    assert killed is not None and running.returncode == 0, said[-3000:]
    starts = [line for line in read_log(output) if line.get("event") == "start"]
    assert len(starts) == 2 and starts[1]["step"] >= 5
    train_on(2, undisturbed)
    assert losses(output) == losses(load(undisturbed).output)


def test_a_mistake_in_the_data_is_told_before_any_worker_starts(corpus, tmp_path):
    path = corpus("two.yaml", workers=2)
    done = subprocess.run(
        [sys.executable, "-m", "curation", "train", str(path), "--set", f"stages.0.data={tmp_path}/none"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and "not a folder of packed rows" in done.stderr and "Traceback" not in done.stderr

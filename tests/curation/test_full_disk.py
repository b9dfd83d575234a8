"""A disk that is full: one line, nothing torn, and the run goes on when there is room."""

import os
import random
import subprocess
import sys

import pyarrow.parquet as pq
import pytest
from run_results import folder_bytes
from test_run import STAGES, texts

from curation.errors import CurationError


@pytest.fixture
def small_disk(tmp_path):
    """Mounts a disk of so many kB as the output folder; called again, gives it another size."""
    if os.geteuid() != 0 or sys.platform != "linux":
        pytest.skip("needs root to mount a small disk")
    disk = tmp_path / "out"
    disk.mkdir()

    def mount(kb):
        again = "remount," if disk.is_mount() else ""
        command = ["mount", "-t", "tmpfs", "-o", f"{again}size={kb}k", "tmpfs", str(disk)]
        if subprocess.run(command, check=False).returncode:
            pytest.skip("mounting is not permitted here")
        return disk

    yield mount
    subprocess.run(["umount", "-l", disk], check=False)


def test_a_full_disk(corpus, pipeline, run, tmp_path, small_disk):
    rng = random.Random(0)
    noise = [" ".join(f"{rng.getrandbits(64):x}" for _ in range(200)) for _ in range(400)]  # does not compress
    for i in range(4):
        corpus(f"{i}.jsonl", noise[i::4])
    disk = small_disk(700)
    with pytest.raises(CurationError, match="No space left on device"):
        run(pipeline(["stages_at_fault:Upper"]))
    for file in disk.rglob("*.parquet"):
        pq.read_table(file)  # what stands under a final name is whole
    assert not list(disk.rglob("*.pending"))
    small_disk(50_000)  # the user makes room
    assert run(pipeline(["stages_at_fault:Upper"])).info["status"] == "complete"
    run(pipeline(["stages_at_fault:Upper"], output=str(tmp_path / "clean")))
    assert folder_bytes(disk) == folder_bytes(tmp_path / "clean")


@pytest.mark.parametrize(("kb", "where"), [(4, "output '.*/out'"), (8, "")])
def test_a_disk_that_is_full_before_anything_is_committed(corpus, pipeline, run, small_disk, kb, where):
    # A page is the lock's; what is left holds no run.json, or one, but not the task's files.
    corpus("a.jsonl", texts(20))
    disk = small_disk(kb)
    with pytest.raises(CurationError, match=f"{where}.*No space left on device"):
        run(pipeline(STAGES))
    assert not list(disk.rglob("*.pending"))
    small_disk(50_000)
    assert run(pipeline(STAGES)).info["status"] == "complete"

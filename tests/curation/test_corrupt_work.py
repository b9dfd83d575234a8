"""Files between tasks whose bytes change after they were committed: they are found, made again, and nothing else is."""

import json
import random
import shutil

import pytest

from curation.corpus import Manifest, manifest_name
from curation.errors import CurationError
from curation.storage import Storage

FOLDERS = ("documents", "dropped", "duplicates")


def pages(n):
    """Some pages, every third of them with a near copy."""
    rng = random.Random(5)
    words = [f"word{i}" for i in range(500)]
    texts = []
    for i in range(n):
        page = [rng.choice(words) for _ in range(120)]
        texts.append(" ".join(page))
        if i % 3 == 0:
            page[rng.randrange(120)] = "other"
            texts.append(" ".join(page))
    rng.shuffle(texts)
    return texts


def results(out):
    return {
        str(p.relative_to(out)): p.read_bytes() for folder in FOLDERS for p in sorted((out / folder).rglob("*.parquet"))
    }


def manifests(out):
    return {p: Manifest(**json.loads(p.read_text())) for p in (out / "work" / "manifests").rglob("*.json")}


def steps(out):
    """The steps of the run in order: map0, gather0.0, ..., map1."""
    names = {manifest.task.split("/")[0] for manifest in manifests(out).values()}
    return sorted(names, key=lambda name: (name.removeprefix("gather").removeprefix("map"), name))


def damaged_runs(out):
    """Every kind of file that a later step reads: (step, kind)."""
    order = steps(out)
    kinds = {(m.task.split("/")[0], kind) for m in manifests(out).values() for kind in m.files}
    return sorted(
        (step, kind) for step, kind in kinds if step != order[-1] and kind in ("shard", "exchange", "sidecar")
    )


@pytest.mark.parametrize("damage", ["changed", "gone"])
def test_changed_work_files_are_made_again(corpus, pipeline, run, tmp_path, damage):
    texts = pages(40)
    corpus("a.jsonl", texts[:30])
    corpus("b.jsonl", texts[30:])
    plan = pipeline(["exact_dedup", "minhash_dedup"])
    run(plan)
    out = tmp_path / "out"
    expected = results(out)
    assert len(expected) >= 3
    whole = shutil.copytree(out, tmp_path / "whole")
    order = steps(out)
    tried = damaged_runs(out)
    assert {kind for _, kind in tried} == {"shard", "exchange", "sidecar"}
    assert len(tried) == 2 * 2 + 1 + 1 + plan.segments[1].scatters.rounds()
    for step, kind in tried:
        shutil.rmtree(out)
        shutil.copytree(whole, out)
        for path, manifest in manifests(out).items():
            if order.index(manifest.task.split("/")[0]) > order.index(step):
                path.unlink()
        storage = Storage(str(out))
        victim = next(m for m in manifests(out).values() if m.task.startswith(f"{step}/") and kind in m.files)
        path = out / victim.files[kind]["name"]
        data = bytearray(path.read_bytes())
        for at in range(0, len(data), 50):
            data[at] ^= 1
        if damage == "changed":
            path.write_bytes(data)
        else:
            path.unlink()
        assert storage.exists(manifest_name(victim.task))
        run(plan)
        assert results(out) == expected, (step, kind)
        assert not list(out.rglob("*.pending"))


def test_storage_that_goes_on_changing_bytes_ends_the_run(corpus, pipeline, run, tmp_path, monkeypatch):
    corpus("a.jsonl", pages(10))
    from curation import task as task_module

    commit = task_module.commit

    def lying(storage, manifest, asides):
        commit(storage, manifest, asides)
        if "exchange" in manifest.files:
            path = tmp_path / "out" / manifest.files["exchange"]["name"]
            data = bytearray(path.read_bytes())
            data[5] ^= 1
            path.write_bytes(data)

    monkeypatch.setattr(task_module, "commit", lying)
    with pytest.raises(CurationError, match="exchange.arrow does not hold what was written there.*check the storage"):
        run(pipeline(["exact_dedup"]))

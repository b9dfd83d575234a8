"""Runs end to end in this process: accounting, resume, changed inputs and configs, and every way to fail."""

import json
import os
import random

import pyarrow.parquet as pq
import pytest
from run_results import folder_bytes

from curation.corpus import Corpus
from curation.errors import ConfigError, CurationError
from curation.executor import Inline
from curation.lock import Lock
from curation.run import Run
from curation.stats import read_stats
from curation.storage import Storage
from curation.task import run_task
from curation.why import explain

WORDS = ["alpha", "beta", "gamma", "delta", "spam", "eta", "theta"]
STAGES = ["stages_at_fault:Length", {"stages_at_fault:DropWord": {"word": "spam"}}]
WITH_BARRIER = [*STAGES, "stages_at_fault:FirstOfEachLetter", "stages_at_fault:Upper"]


def texts(n, seed=0):
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randint(1, 9))) + f" {i}" for i in range(n)]


def read(folder, column):
    return [v for f in sorted(os.listdir(folder)) for v in pq.read_table(folder / f)[column].to_pylist()]


def test_every_record_ends_in_one_place(corpus, pipeline, run, tmp_path):
    corpus("a.jsonl", texts(500))
    corpus("b.jsonl", texts(300, seed=1))
    run(pipeline(STAGES))
    out = tmp_path / "out"
    kept, dropped = read(out / "documents", "id"), read(out / "dropped", "id")
    assert len(kept) + len(dropped) == 800 == len(set(kept) | set(dropped))
    assert not any("spam" in t for t in read(out / "documents", "text"))
    assert all("spam" in t for t in read(out / "dropped", "text"))
    assert set(read(out / "dropped", "reason")) == {"has_word"}
    assert len(Corpus(str(out))) == len(kept) == Corpus(str(out)).table(["id"]).num_rows


def test_a_rerun_does_nothing(corpus, pipeline, run, tmp_path):
    corpus("a.jsonl", texts(50))
    first = run(pipeline(WITH_BARRIER))
    before = folder_bytes(tmp_path / "out")
    again = run(pipeline(WITH_BARRIER))
    assert first.executed and not again.executed
    assert again.skipped == first.executed
    assert again.info == first.info and folder_bytes(tmp_path / "out") == before


@pytest.mark.parametrize("sets", [["batch_rows=1"], ["batch_rows=7"], ["batch_mb=1", "batch_rows=100000"]])
def test_bytes_do_not_depend_on_batches(corpus, pipeline, run, tmp_path, sets):
    for i in range(3):
        corpus(f"{i}.jsonl", texts(200, seed=i))
    run(pipeline(WITH_BARRIER))
    run(pipeline(WITH_BARRIER, sets=[*sets, f"output={tmp_path / 'other'}"]))
    assert folder_bytes(tmp_path / "out") == folder_bytes(tmp_path / "other")


def test_a_barrier_sees_the_whole_corpus(corpus, pipeline, run, tmp_path):
    for i in range(3):
        corpus(f"{i}.jsonl", texts(100, seed=i))
    run(pipeline(WITH_BARRIER))
    kept = read(tmp_path / "out" / "documents", "text")
    assert sorted(t[0] for t in kept) == sorted({w[0].upper() for w in WORDS if w != "spam"})
    # The keeper is the first in the order of the inputs.
    first = next(t for t in texts(100, seed=0) if t.startswith("t") and "spam" not in t)
    assert first.upper() in kept
    row = explain(str(tmp_path / "out"), "https://2.jsonl/5")[0]
    assert row.fate == "dropped" and row.verdicts[-1].verdict == "not reached"


def test_funnel_and_breakdown_add_up(corpus, pipeline, run, tmp_path):
    corpus("a.jsonl", texts(400))
    run(pipeline(WITH_BARRIER, breakdown=["letter"]))
    stats = read_stats(str(tmp_path / "out"))
    accounts = {a.stage: a for a in stats.funnel}
    assert accounts["read_jsonl"].rows_in == 400
    for before, after in zip(stats.funnel, stats.funnel[1:], strict=False):
        assert before.kept == after.rows_in
    values = stats.breakdown()["letter"]
    assert sum(row["in"] for row in values.values()) == accounts["stages_at_fault:FirstOfEachLetter"].rows_in
    assert sum(row["kept"] for row in values.values()) == stats.kept


def test_added_changed_and_removed_inputs(corpus, pipeline, run, tmp_path):
    corpus("a.jsonl", texts(100))
    corpus("b.jsonl", texts(100, seed=1))
    run(pipeline(STAGES))
    before = folder_bytes(tmp_path / "out")
    corpus("0-first.jsonl", texts(10, seed=2))
    added = run(pipeline(STAGES))
    assert (added.executed, added.skipped) == (1, 2)
    after = folder_bytes(tmp_path / "out")
    assert before.items() <= after.items() and len(after) == len(before) + 2
    path = corpus("b.jsonl", texts(90, seed=3))
    changed = run(pipeline(STAGES))
    assert (changed.executed, changed.skipped) == (1, 2)
    path.unlink()
    run(pipeline(STAGES))
    assert len(read_stats(str(tmp_path / "out")).info["files"]["documents"]) == 2
    assert not [n for n in folder_bytes(tmp_path / "out") if "/b-" in n]


def test_a_changed_config_recomputes(corpus, pipeline, run, tmp_path):
    corpus("a.jsonl", texts(100))
    run(pipeline(STAGES))
    result = run(pipeline([STAGES[0], {"stages_at_fault:DropWord": {"word": "eta"}}]))
    assert result.executed == 1
    assert all("eta" in t for t in read(tmp_path / "out" / "dropped", "text"))
    run(pipeline(STAGES))
    assert all("spam" in t for t in read(tmp_path / "out" / "dropped", "text"))


def test_a_stop_between_files_and_manifest(corpus, pipeline, run, tmp_path, monkeypatch):
    for i in range(4):
        corpus(f"{i}.jsonl", texts(50, seed=i))
    run(pipeline(WITH_BARRIER, output=str(tmp_path / "clean")))
    plan = pipeline(WITH_BARRIER)
    calls = []
    write_json = Storage.write_json

    def stops(self, name, data, indent=None):
        if "manifests" in name:
            calls.append(name)
            if len(calls) == 3:
                raise KeyboardInterrupt
        write_json(self, name, data, indent)

    monkeypatch.setattr(Storage, "write_json", stops)
    with pytest.raises(KeyboardInterrupt):
        run(plan)
    monkeypatch.undo()
    assert read_stats(str(tmp_path / "out")).info["status"] == "interrupted"
    result = run(pipeline(WITH_BARRIER))
    assert result.skipped == 2
    assert folder_bytes(tmp_path / "out") == folder_bytes(tmp_path / "clean")


@pytest.mark.parametrize("damage", ["torn manifest", "no manifest", "torn data", "no data"])
def test_damage_is_found_and_mended(corpus, pipeline, run, tmp_path, damage):
    for i in range(3):
        corpus(f"{i}.jsonl", texts(50, seed=i))
    run(pipeline(STAGES))
    before = folder_bytes(tmp_path / "out")
    kind, what = damage.split()
    files = (tmp_path / "out" / ("work/manifests/map0" if what == "manifest" else "documents")).iterdir()
    victim = sorted(files)[1]
    victim.unlink() if kind == "no" else victim.write_bytes(victim.read_bytes()[:-20])
    result = run(pipeline(STAGES))
    assert result.executed == 1 and folder_bytes(tmp_path / "out") == before


def test_one_bad_document_is_quarantined(corpus, pipeline, run, tmp_path):
    corpus("a.jsonl", [*texts(150), "please raise this", *texts(150, seed=1)])
    run(pipeline(["stages_at_fault:Fails"]))
    rows = pq.read_table(tmp_path / "out" / "quarantine").to_pylist()
    assert [(r["stage"], r["position"] > 0, r["reason"]) for r in rows] == [
        ("stages_at_fault:Fails", True, "ValueError: cannot take: please raise this")
    ]
    account = read_stats(str(tmp_path / "out")).accounts[1]
    assert (account.rows_in, account.kept, account.failed) == (301, 300, {"ValueError": 1})
    # What a stage recorded before it raised is not counted twice.
    assert account.metrics.counters == {"seen": 300}


ECHOES = ["a word", "echo! mute", "an echo!!", "spam echo!", "last"]


def test_documents_that_a_stage_adds(corpus, pipeline, run, tmp_path):
    """They stand behind their own, pass through what follows like any other, and are in the books and the barrier."""
    corpus("a.jsonl", [*ECHOES, "raise echo!", *texts(40), "an echo!"])
    corpus("b.jsonl", ECHOES)
    stages = ["stages_at_fault:Echoes", {"stages_at_fault:DropWord": {"word": "SPAM"}}, "stages_at_fault:Length"]
    barrier = ["stages_at_fault:FirstOfEachLetter"]
    whole = None
    for sets in (["batch_rows=1000"], ["batch_rows=1"], ["batch_rows=3"]):
        run(pipeline([*stages], output=str(tmp_path / "out"), sets=sets, max_failure_rate=0.5))
        found = Corpus(str(tmp_path / "out")).table()
        assert found["text"].to_pylist()[:5] == ["a word", "ECHO! MUTE 0", "an echo!!", "AN ECHO!! 0", "AN ECHO!! 1"]
        assert len(set(found["id"].to_pylist())) == found.num_rows
        info = json.loads((tmp_path / "out/run.json").read_text())
        echoes, words = info["stages"][1:3]
        assert (echoes["rows_in"], echoes["added"], echoes["kept"]) == (52, 9, 58)
        assert (echoes["dropped"], echoes["failed"]) == ({"muted": 2}, {"ValueError": 1})
        assert (words["rows_in"], words["dropped"]) == (58, {"has_word": 2})
        assert echoes["metrics"]["counters"] == {"seen": 51}
        whole = whole or folder_bytes(tmp_path / "out")
        assert folder_bytes(tmp_path / "out") == whole
    lost = Corpus(str(tmp_path / "out"), "dropped").table()["text"].to_pylist()
    assert lost == ["echo! mute", "SPAM ECHO! 0"] * 2

    run(pipeline([*stages[:1], *barrier, *stages[2:]], output=str(tmp_path / "both"), max_failure_rate=0.5))
    kept = Corpus(str(tmp_path / "both")).table()["text"].to_pylist()
    assert kept[:4] == ["a word", "ECHO! MUTE 0", "AN ECHO!! 0", "spam echo!"]
    explained = explain(str(tmp_path / "both"), "https://a.jsonl/2")
    assert [e.document["text"] for e in explained] == ["AN ECHO!! 0", "an echo!!", "AN ECHO!! 1"]


def test_too_many_failures_stop_the_run_and_are_tried_again(corpus, pipeline, run, tmp_path, monkeypatch):
    corpus("a.jsonl", [*texts(20), "raise"])
    with pytest.raises(
        CurationError, match=r"stage 'stages_at_fault:Fails' failed for 1 of 21 .* max_failure_rate 1.0%"
    ):
        run(pipeline(["stages_at_fault:Fails"]))
    assert read_stats(str(tmp_path / "out")).info["status"] == "failed"
    import stages_at_fault

    monkeypatch.setattr(stages_at_fault.Fails, "__call__", lambda self, docs: docs)  # the service is back
    assert run(pipeline(["stages_at_fault:Fails"])).executed == 1
    assert read_stats(str(tmp_path / "out")).kept == 21
    assert not list((tmp_path / "out").glob("quarantine/*"))


def test_a_stage_broken_for_all_documents(corpus, pipeline, run):
    corpus("a.jsonl", texts(300))
    with pytest.raises(
        CurationError, match="'stages_at_fault:FailsAlways' failed for 300 of 300 .*most often: RuntimeError"
    ):
        run(pipeline(["stages_at_fault:FailsAlways"]))


@pytest.mark.parametrize(
    ("stage", "problem"),
    [
        ("LosesRows", "was given 9 documents and returned 8"),
        ("SwapsRows", "changed the ids, or the order"),
        ("SneaksColumn", "returned the column 'sneaked'"),
        ("WrongType", "declares 'length' as int32 but returned int64"),
        ("AddsTwice", "added documents whose ids are null or not their own"),
        ("AddsNowhere", "added 1 documents without naming the row of each"),
    ],
)
def test_a_stage_that_breaks_its_contract_fails_the_run(corpus, pipeline, run, stage, problem):
    corpus("a.jsonl", texts(9))
    with pytest.raises(CurationError, match=problem):
        run(pipeline([f"stages_at_fault:{stage}"]))


def test_a_stage_that_cannot_be_set_up(corpus, pipeline, run):
    corpus("a.jsonl", texts(9))
    with pytest.raises(CurationError, match=r"'stages_at_fault:SetupFails' could not be set up: OSError: model.bin"):
        run(pipeline(["stages_at_fault:SetupFails"]))


def test_a_result_of_nothing_is_a_failure(corpus, pipeline, run):
    corpus("a.jsonl", ["spam"] * 5)
    with pytest.raises(CurationError, match=r"kept no document: most went in stage .*DropWord' \(5 for 'has_word'\)"):
        run(pipeline(STAGES))


def test_an_empty_input_is_a_failure(corpus, pipeline, run, tmp_path):
    corpus("a.jsonl", [])
    with pytest.raises(CurationError, match="the input holds no records"):
        run(pipeline(WITH_BARRIER))


def test_an_optional_input_may_be_missing(corpus, pipeline, run, tmp_path):
    there, absent = str(corpus("a.jsonl", ["one", "two"])), str(tmp_path / "absent.jsonl")
    inputs = [{"source": "a", "files": [there]}, {"source": "b", "files": [absent], "optional": True}]
    plan = pipeline(["stages_at_fault:Length"], input=inputs)
    run(plan)
    assert plan.inputs.absent == [absent]
    assert len(Corpus(plan.pipeline.settings.output)) == 2
    with pytest.raises(ConfigError, match="none of the inputs .*absent.jsonl' matches a file"):
        run(pipeline(["stages_at_fault:Length"], input=inputs[1:]))


def test_an_input_that_cannot_be_read(corpus, pipeline, run, tmp_path):
    corpus("a.jsonl", texts(20))
    path = corpus("b.jsonl", texts(20, seed=1))
    plan = pipeline(STAGES)
    _ = plan.first_tasks
    path.unlink()
    with pytest.raises(
        CurationError, match=r"1 of 2 tasks failed .*b-.*b.jsonl cannot be opened: FileNotFoundError"
    ) as no:
        run(plan)
    assert "Traceback" not in str(no.value)
    # The other task is committed, and the run goes on when the file is back.
    corpus("b.jsonl", texts(20, seed=1))
    assert run(pipeline(STAGES)).skipped == 1


def test_two_runs_in_one_folder(corpus, pipeline, run, tmp_path):
    corpus("a.jsonl", texts(20))
    plan = pipeline(STAGES)
    with Lock(Storage(str(tmp_path / "out"))), pytest.raises(ConfigError, match="another run is at work"):
        run(plan)
    # A lock whose owner is gone is no lock.
    (tmp_path / "out" / "run.lock").write_text(
        json.dumps({"host": os.uname().nodename, "pid": 2**22 + 1, "started": 1.0, "beat": 0})
    )
    assert run(plan).executed == 1
    assert not (tmp_path / "out" / "run.lock").exists()


def test_a_foreign_folder_is_left_alone(corpus, pipeline, run, tmp_path):
    corpus("a.jsonl", texts(20))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("x")
    with pytest.raises(ConfigError, match="not a run's folder"):
        run(pipeline(STAGES))
    assert (tmp_path / "out" / "thesis.tex").exists()


def test_leftovers_of_killed_tasks_are_swept(corpus, pipeline, run, tmp_path):
    corpus("a.jsonl", texts(20))
    run(pipeline(STAGES))
    (tmp_path / "out" / "documents" / ".x.parquet.123.pending").write_bytes(b"half")
    run(pipeline(STAGES))
    assert not list((tmp_path / "out").rglob("*.pending"))


def test_the_same_task_twice_at_once_commits_once(corpus, pipeline, run, tmp_path):
    corpus("a.jsonl", texts(20))
    plan = pipeline(STAGES)
    url = plan.pipeline.settings.output
    one = run_task(plan, plan.first_tasks[0], url, inline=True)
    two = run_task(plan, plan.first_tasks[0], url, inline=True)
    assert one.digest == two.digest
    assert Run(plan, Inline(url), Storage(url)).execute().executed == 0


def test_other_filesystems(corpus, pipeline, run, tmp_path):
    import fsspec

    memory = fsspec.filesystem("memory")
    lines = corpus("a.jsonl", texts(100)).read_bytes()
    memory.pipe("/input/a.jsonl", lines)
    run(pipeline(WITH_BARRIER))
    run(pipeline(WITH_BARRIER, output="memory://out", inputs=["memory://input/*.jsonl"]))
    files = {p[len("/out/") :]: memory.cat_file(p) for p in memory.find("/out/documents")}
    assert files == {f"documents/{p.name}": p.read_bytes() for p in (tmp_path / "out" / "documents").iterdir()}
    again = run(pipeline(WITH_BARRIER, output="memory://out", inputs=["memory://input/*.jsonl"]))
    assert not again.executed
    memory.rm("/out", recursive=True)


def test_a_second_file_of_the_same_name(corpus, pipeline, run, tmp_path):
    corpus("a.jsonl", texts(10))
    other = tmp_path / "elsewhere" / "a.jsonl"
    other.parent.mkdir()
    other.write_bytes((tmp_path / "input" / "a.jsonl").read_bytes())
    run(pipeline(STAGES, inputs=[str(tmp_path / "input" / "a.jsonl"), str(other)]))
    ids = read(tmp_path / "out" / "documents", "id") + read(tmp_path / "out" / "dropped", "id")
    assert len(ids) == len(set(ids)) == 20

"""A server that is gone stops a run without blaming a document; a run's own folder; verdicts on whole shards."""

import pytest
from run_results import folder_bytes
from stages_at_fault import NeedsServer, WaitsForServer
from test_sandbox import sandbox

from curation.corpus import Corpus
from curation.errors import ResourceUnavailable
from curation.executor import OnRay
from curation.stage import Outcome


@pytest.mark.parametrize("on_ray", [False, True])
def test_a_run_whose_server_is_gone_keeps_what_is_committed_and_goes_on_later(corpus, pipeline, run, tmp_path, on_ray):
    corpus("a.jsonl", ["one", "two"])
    corpus("b.jsonl", ["three", "please call", "four"])
    state = tmp_path / "server"
    stage = {"stages_at_fault:NeedsServer": {"state": str(state)}}
    plan = pipeline([stage])
    url = plan.pipeline.settings.output
    state.write_text("down")
    with pytest.raises(Exception, match="NeedsServer': the server does not answer"):
        run(plan, OnRay(url, workers=1) if on_ray else None)
    assert not (tmp_path / "out" / "quarantine").exists()
    done = len(list((tmp_path / "out" / "documents").glob("*.parquet")))  # on Ray the other may not have been begun
    assert done == 1 or (on_ray and done == 0)
    state.write_text("up")
    result = run(pipeline([stage]))
    assert (result.executed, result.skipped, len(Corpus(url))) == (2 - done, done, 5)


def test_a_stage_without_its_server_is_not_called_with_parts_of_the_batch(documents, tmp_path):
    (tmp_path / "server").write_text("down")
    box = sandbox(NeedsServer(state=str(tmp_path / "server")))
    try:
        with pytest.raises(ResourceUnavailable, match="does not answer"):
            box.run(Outcome(documents(["one", "call", "two"])), first=0)
        (tmp_path / "server").write_text("up")
        assert box.run(Outcome(documents(["one", "call", "two"])), first=0).docs.num_rows == 3
    finally:
        box.close()


def test_a_stage_may_wait_longer_than_its_cpu_limit(documents):
    box = sandbox(WaitsForServer())
    try:
        assert box.run(Outcome(documents(["one"])), first=0).failed.num_rows == 0
    finally:
        box.close()


def test_a_stage_has_a_folder_of_the_run_that_says_nothing_of_its_results(corpus, pipeline, tmp_path):
    corpus("a.jsonl", ["one"])
    here = pipeline(["stages_at_fault:Length"])
    there = pipeline(["stages_at_fault:Length"], output=str(tmp_path / "other"))
    assert here.pipeline.stages[1].folder == f"{tmp_path}/out/work/stages/stages_at_fault:Length"
    assert here.fingerprint == there.fingerprint


@pytest.mark.parametrize("sets", [[], ["batch_rows=1"]])
def test_a_verdict_on_a_shard_comes_with_every_batch_of_it(corpus, pipeline, run, tmp_path, sets):
    corpus("a.jsonl", [f"one {i}" for i in range(30)])
    corpus("b.jsonl", ["two"])
    stages = ["stages_at_fault:DropWord", "stages_at_fault:CountsShards"]
    run(pipeline(stages, sets=sets))
    documents = Corpus(str(tmp_path / "out")).table(["documents"])
    assert set(documents["documents"].to_pylist()) == {31}
    first = folder_bytes(tmp_path / "out")
    run(pipeline(stages, sets=["batch_rows=7"], output=str(tmp_path / "again")))
    assert {k: v for k, v in first.items() if "documents" in k} == {
        k: v for k, v in folder_bytes(tmp_path / "again").items() if "documents" in k
    }

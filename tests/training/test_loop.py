"""Trainings in this process: they learn, go on where they stopped, and log what happened."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train`")

from small_languages import documents, token_shards  # isort: skip
from training.config import load
from training.logs import losses, read_log
from training.loop import Trainer, train
from training.ranks import join


def run(path, *sets):
    said = []
    train(load(path, sets), said.append)
    return said


def test_a_training_learns_and_says_so_per_language(corpus):
    path = corpus(evaluation={"data": str(corpus().parent / "tokens"), "every": 6, "by": ["language"]})
    said = run(path)
    output = load(path).output
    curve = losses(output)
    assert list(curve) == list(range(12)) and curve[11] < curve[0] - 1
    judged = [line["bits_per_byte"] for line in read_log(output) if line.get("event") == "evaluation"]
    assert len(judged) == 3 and judged[-1]["all"] < judged[0]["all"]
    assert set(judged[0]["language"]) == {"one", "two"}
    assert any("loss" in line for line in said)
    facts = json.loads((corpus().parent / "training" / "training.json").read_text())
    assert facts["stages"][0]["steps"] == 12
    assert "<svg" in (corpus().parent / "training" / "curves.html").read_text()


class Stop(Exception):
    pass


def test_a_training_that_died_goes_on_to_the_same_losses(corpus):
    whole, cut = corpus("whole.yaml"), corpus("cut.yaml")
    run(whole, "log_every=1")

    def die(line):
        if "a 8/12" in line:
            raise Stop

    with pytest.raises(Stop):
        train(load(cut, ["log_every=1"]), die)
    assert len(losses(load(cut).output)) == 8
    said = run(cut)
    assert "going on at step 5 of 12" in said[0]
    assert losses(load(cut).output) == losses(load(whole).output)
    assert "going on at step 12 of 12" in run(cut)[0]


def test_micro_batches_change_nothing_but_memory(corpus):
    run(corpus("whole.yaml"))
    run(corpus("parts.yaml"), "micro_rows=3", "recompute=true")
    whole, parts = (losses(corpus(name).parent / name.removesuffix(".yaml")) for name in ("whole.yaml", "parts.yaml"))
    np.testing.assert_allclose(list(parts.values()), list(whole.values()), rtol=2e-5)


def test_stages_change_length_and_base_and_go_on_at_the_rate(corpus):
    path = corpus()
    packs = path.parent / "packs"
    stages = [
        {"name": "one", "data": str(packs / "a"), "steps": 4, "batch_rows": 8, "learning_rate": 0.01, "schedule": {"shape": "constant"}},
        {"name": "two", "data": [{"folder": str(packs / "a"), "share": 3}, {"folder": str(packs / "a"), "share": 1}], "tokens": 2048, "batch_rows": 8, "schedule": {"final": 0.1}},
        {"name": "long", "data": str(packs / "b"), "steps": 3, "batch_rows": 4, "rope_theta": 1e6, "schedule": {"shape": "linear", "final": 0}},
    ]  # fmt: skip
    run(corpus("stages.yaml", stages=stages, precision="bf16"))
    lines = [line for line in read_log(path.parent / "stages") if "loss" in line]
    assert [line["stage"] for line in lines] == ["one"] * 4 + ["two"] * 4 + ["long"] * 3
    rates = [line["learning_rate"] for line in lines]
    assert rates[:4] == [0.01] * 4
    assert rates[7] == pytest.approx(0.001) and rates[8] < rates[7] and rates[10] == 0
    facts = json.loads((path.parent / "stages" / "training.json").read_text())
    assert [(s["length"], s["rope_theta"]) for s in facts["stages"]] == [(64, 1e4), (64, 1e4), (128, 1e6)]


def test_a_smaller_vocabulary_still_counts_all_bits(corpus):
    data = str(corpus().parent / "tokens")
    path = corpus(
        "small.yaml",
        model="tiny-qwen3",
        vocabulary=24,
        evaluation={"data": data, "every": 12},
    )
    run(path)
    judged = [line["bits_per_byte"] for line in read_log(path.parent / "small") if line.get("event") == "evaluation"]
    full = corpus("full.yaml", model={"name": "tiny-qwen3", "vocabulary": 512}, evaluation={"data": data, "every": 12})
    run(full)
    exact = [line["bits_per_byte"] for line in read_log(full.parent / "full") if line.get("event") == "evaluation"]
    # About 60 ids are in use. Rare ones cost their frequency, which is more than a model of them would charge.
    assert judged[-1]["all"] < judged[0]["all"]
    assert exact[-1]["all"] * 0.8 < judged[-1]["all"] < exact[0]["all"]


def test_documents_judged_by_are_not_trained_on(corpus):
    """The held-out shards name documents that the packed rows hold, too."""
    path = corpus()
    shards = pq.read_table(path.parent / "tokens" / "one.parquet")
    names = pa.array([f"a-{i}" for i in range(shards.num_rows)])
    same = shards.set_column(shards.schema.get_field_index("doc_id"), "doc_id", names)
    (path.parent / "same").mkdir()
    pq.write_table(same.replace_schema_metadata(shards.schema.metadata), path.parent / "same" / "part.parquet")

    def labels(**evaluation):
        evaluation = {"data": str(path.parent / "same"), "documents": 12, "by": []} | evaluation
        trainer = Trainer(load(corpus("hidden.yaml", evaluation=evaluation)), join(), lambda line: None)
        return trainer, torch.cat([part for step in range(12) for _, _, part, _ in trainer._micro_batches(step)])

    _, everything = labels(exclude=False)
    trainer, left = labels()
    hidden = torch.zeros_like(left, dtype=torch.bool)
    for row, pieces in enumerate(pieces for step in range(12) for pieces in trainer.plan.data.documents(step)):
        at = 0
        for name, _, tokens in pieces:
            hidden[row, at : at + tokens] = name in trainer.hidden
            at += tokens
    assert len(trainer.hidden) == 12 and hidden.any() and not hidden.all()
    assert (left[hidden] == -100).all() and torch.equal(left[~hidden], everything[~hidden])
    assert (everything[hidden] != -100).any()


def test_near_copies_of_documents_judged_by_are_not_trained_on_either(corpus):
    """The held-out shards hold documents of the packed rows under other names, with a token in fifty changed."""
    path = corpus()
    docs = documents(120, 1, 0) + documents(120, 2, 0)
    docs = [docs[i] for i in np.random.default_rng(0).permutation(len(docs))]  # as the fixture packs them: a-0, a-1, …
    chosen = sorted(range(len(docs)), key=lambda i: -len(docs[i]))[:20]
    changed = [np.where(np.arange(len(docs[i])) % 50 == 20, 500, docs[i]) for i in chosen]
    token_shards(path.parent / "like", {"one": changed})
    evaluation = {"data": str(path.parent / "like"), "documents": 20, "by": []}
    trainer = Trainer(load(corpus("hidden.yaml", evaluation=evaluation)), join(), lambda line: None)
    open_ = Trainer(load(corpus("open.yaml", evaluation=evaluation | {"exclude": False})), join(), lambda line: None)

    def windows(ids):
        return [tuple(ids[i : i + 16]) for i in range(len(ids) - 15)]

    known = {window for ids in changed for window in windows(ids)}
    copied, whole = 0, 0
    for step in range(12):
        left, everything = (torch.cat([part for _, _, part, _ in t._micro_batches(step)]) for t in (trainer, open_))
        for row, pieces in enumerate(trainer.plan.data.documents(step)):
            at = 0
            for name, start, tokens in pieces:
                some = windows(docs[int(name.removeprefix("a-"))][start : start + tokens])
                copy = bool(some) and sum(window in known for window in some) / len(some) >= 0.2
                here = slice(at, at + tokens)
                expected = torch.full_like(left[row, here], -100) if copy else everything[row, here]
                assert torch.equal(left[row, here], expected), (name, start, tokens)
                copied, whole, at = copied + copy, whole + 1, at + tokens
    assert 20 <= copied < whole / 2

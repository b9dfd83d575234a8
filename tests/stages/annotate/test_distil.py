"""A teacher behind a server, a sample by strata, a student, a labelled corpus: in one run, whatever its batches."""

import json

import numpy as np
import pytest
import yaml
from stub_server import RULES, StubServer

from classifiers.quality.student import Student, Training
from curation.config import load_pipeline
from curation.corpus import Corpus
from curation.errors import ConfigError, CurationError
from curation.executor import Inline
from curation.plan import make_plan
from curation.run import Run
from curation.storage import Storage
from stages.annotate.sample import SampleStrata
from stages.annotate.score import ScoreQuality

#: Words that keep company with the word a rule of the teacher goes by: what a student can pick up.
COMPANY = {
    "theorem": "proof lemma algebra integral",
    "kernel": "process memory scheduler driver",
    "recipe": "oven butter flour onion",
    "casino": "bonus jackpot slots win",
}


LEARNT = ["educational_value", "domain", "safety"]


def texts(n, seed=0):
    rng = np.random.default_rng(seed)
    for i in range(n):
        topic = str(rng.choice(list(COMPANY), p=[0.2, 0.4, 0.3, 0.1]))
        words = [*rng.choice(COMPANY[topic].split(), 12), topic, *rng.choice(["the", "of", "and", "with", "for"], 12)]
        rng.shuffle(words)
        yield " ".join(words) + f" {i}."


def plan(tmp_path, server, name="out", **settings):
    stages = [
        "read_jsonl",
        {"sample_strata": {"per_stratum": 60, "by": ["source"], "lengths": [150]}},
        {
            "annotate_quality": {
                "server": server.url,
                "only": "sampled",
                "cache": str(tmp_path / "answers"),
                "dimensions": LEARNT,
            }
        },
        {"distil_quality": {"min_labelled": 50, "epochs": 15, "folds": 2, "buckets": 1000, "dimensions": LEARNT}},
        {"keep_where": {"column": "safety", "only": ["safe"]}},
    ]
    config = {"input": str(tmp_path / "*.jsonl"), "output": str(tmp_path / name), "stages": stages} | settings
    (tmp_path / "pipelines.yaml").write_text(yaml.safe_dump({"pipelines": {"test": config}}))
    return make_plan(load_pipeline("test", str(tmp_path / "pipelines.yaml")))


def carry_out(made):
    url = made.pipeline.settings.output
    return Run(made, Inline(url), Storage(url)).execute()


@pytest.fixture
def corpus(tmp_path):
    for k in range(3):
        lines = [json.dumps({"text": text}) for text in texts(100, seed=k)]
        (tmp_path / f"{k}.jsonl").write_text("\n".join(lines))


def test_teacher_to_student_to_corpus_in_one_run(corpus, tmp_path):
    with StubServer() as server:
        result = carry_out(plan(tmp_path, server))
        asked = len(server.requests)
        again = carry_out(plan(tmp_path, server, name="again", batch_rows=11))
        assert len(server.requests) == asked  # the other run shares the answers
    out = tmp_path / "out"
    docs = Corpus(str(out)).table()
    lost = Corpus(str(out), "dropped").table()
    assert docs.num_rows + lost.num_rows == 300
    assert all(by.startswith("student@") for by in docs["labelled_by"].to_pylist())
    taught = Corpus(str(out), "teacher_labels").table()
    assert taught.num_rows == asked == 60 * len(set(taught["id"].to_pylist())) // 60
    assert set(taught["labelled_by"].to_pylist()) == {"stub@1"}
    # The student says of documents that the teacher never saw what the teacher would have said.
    unseen = [r for r in [*docs.to_pylist(), *lost.to_pylist()] if r["id"] not in set(taught["id"].to_pylist())]
    assert len(unseen) > 100
    right = 0
    for row in unseen:
        word = next(word for word in RULES if word in row["text"])
        right += row["domain"] == RULES[word].get("domain", "mathematics")
    assert right / len(unseen) > 0.9
    # And the report says so beforehand, from labelled documents alone.
    rows = {(r["dimension"], r["language"]): r for r in Corpus(str(out), "agreement").table().to_pylist()}
    domain = rows["domain", "all"]
    assert domain["documents"] == taught.num_rows and domain["gain"] > 0.2 and domain["accuracy"] > 0.8
    assert rows["educational_value", "und"]["spearman"] > 0.4
    assert set(lost["reason"].to_pylist()) == {"safety_not_selected"}
    gathered = next(a for a in result.info["stages"] if a["stage"] == "distil_quality:gather")
    assert gathered["metrics"]["counters"]["labelled_documents"] == taught.num_rows
    # Batches change nothing.
    for name in ("documents", "teacher_labels", "agreement"):
        first, second = (Corpus(str(tmp_path / run), name).table() for run in ("out", "again"))
        assert first.equals(second)
    assert again.info["status"] == "complete"
    # The student labels other corpora.
    folder = next((out / "work" / "stages" / "distil_quality").glob("student-*"))
    assert {f.name for f in folder.iterdir()} == {"student.bin", "student.json", "agreement.json", "agreement.md"}
    assert Student.load(folder).teacher == "stub@1"
    stage = ScoreQuality(model=str(folder))
    stage.check()
    scored = stage(docs.select(["id", "text"]))
    assert scored["labelled_by"].to_pylist() == docs["labelled_by"].to_pylist()
    assert scored["educational_value"].to_pylist() == docs["educational_value"].to_pylist()


def test_too_few_labels_stop_the_run_with_advice(corpus, tmp_path):
    with StubServer() as server:
        made = plan(tmp_path, server)
        made.pipeline.stages[3].min_labelled = 1000
        with pytest.raises(CurationError, match="fewer than min_labelled 1000; label more"):
            carry_out(made)


def test_strata_are_sampled_alike_and_the_sample_grows_without_changing(documents, tmp_path):
    n = 400
    rng = np.random.default_rng(0)
    language = rng.choice(["eng_Latn", "fra_Latn", "wol_Latn"], n, p=[0.9, 0.08, 0.02]).tolist()
    sizes = rng.choice([100, 5000], n).tolist()
    docs = documents(["x" * s for s in sizes], language=language)

    def sample(per_stratum, **keys):
        stage = SampleStrata(per_stratum=per_stratum, **keys)
        rows = stage.scatter(docs, 0, 0)
        chosen = []
        for partition in range(16):
            part = rows.filter(np.equal(rows["partition"].to_numpy(), partition)).drop_columns(["partition"])
            chosen += stage.gather(0, partition, part, None)["row"].to_pylist()
        return set(chosen)

    five, ten = sample(5), sample(10)
    assert five < ten
    for chosen, most in ((five, 5), (ten, 10)):
        counts = {}
        for row in range(n):
            key = (language[row], sizes[row])
            counts.setdefault(key, [0, 0])
            counts[key][0] += 1
            counts[key][1] += row in chosen
        assert all(taken == min(most, there) for there, taken in counts.values())
    # Active selection: where the student is least sure.
    unsure = rng.random(n)
    docs = documents(["x" * s for s in sizes], language=language, label_uncertainty=unsure.tolist())
    active = sample(5, prefer="label_uncertainty")
    for key in {(a, b) for a, b in zip(language, sizes, strict=True)}:
        own = [i for i in range(n) if (language[i], sizes[i]) == key]
        best = sorted(own, key=lambda i: -np.float32(unsure[i]))[:5]
        assert set(best) == active & set(own)


def test_documents_without_text_are_not_labelled(tmp_path, documents):
    (tmp_path / "student").mkdir()
    with pytest.raises(ConfigError, match="not a student's folder"):
        ScoreQuality(model=str(tmp_path / "student")).check()
    student = Student.train(
        ["a b", "c d"],
        {"field": ["stem", "other"]},
        Training(epochs=1),
    )
    student.save(tmp_path / "student")
    docs = ScoreQuality(model=str(tmp_path / "student"))(documents([None, "", " \n", "a b"]))
    assert docs["field"].null_count == 3 and docs["label_uncertainty"].null_count == 3

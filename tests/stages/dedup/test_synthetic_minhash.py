"""A model that repeats itself is found out, by what it asks alone: against itself, and against what exists."""

import json
import random
import re
import sys
from pathlib import Path

import pyarrow.compute as pc
import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parents[1] / "llm"))
from stub_server import StubServer

from curation.config import load_pipeline
from curation.corpus import Corpus
from curation.executor import Inline
from curation.plan import make_plan
from curation.run import Run
from curation.storage import Storage
from stages.dedup.synthetic_minhash import MinhashDedupSynthetic

NAMES = ["Amara", "Bilal", "Chen", "Dora", "Emeka", "Farah", "Goran", "Hana", "Ines", "Jonas", "Kofi", "Lena"]
#: Twelve problems that have few words in common, of 21 to 35 words.
PROBLEMS = [
    "A baker fills {a} trays with {b} rolls each before dawn, then burns {c} of them while feeding the cat. How many good rolls does {n} carry to the counter?",
    "{n} reads {a} pages of a novel every evening for {b} evenings, and on Sunday morning another {c} pages in bed. How far has the reader come?",
    "The ferry to the island takes {a} cars on each of its {b} crossings; {c} cars stayed on the quay. How many vehicles had come to the harbour, asks {n}?",
    "In an orchard stand {a} rows of {b} pear trees. A storm fells {c} trunks along the western fence. Count for {n} what is still upright afterwards.",
    "{n} saves {a} coins a week during {b} weeks and finds {c} more under the sofa cushions. What sum lies in the jar at the end of that time?",
    "A tiler lays {a} stones in each of {b} lines across the kitchen floor and keeps {c} spare ones in a box for {n}. What number was ordered?",
    "Every bus of the line has {a} seats. When {b} full buses leave the stadium, {c} fans still wait with {n}. What crowd saw the match?",
    "{n} knits {a} scarves out of {b} balls of wool apiece, after which {c} balls remain in the basket. How much wool was bought at the fair?",
    "A printer makes {a} booklets an hour. Working {b} hours without pause it spoils {c} copies. Tell {n} the number of booklets fit for sale.",
    "For the wedding {n} sets {a} round tables with {b} chairs; a further {c} chairs line the wall for musicians. How many people could sit down?",
    "A swimmer crosses the pool {a} times at {b} strokes a length, resting once after {c} strokes more. How often did the arms of {n} turn?",
    "The school of {n} orders {a} crates holding {b} bottles of juice, and {c} bottles arrive broken on the lorry. How many can the pupils drink?",
]
NOUNS = ["baker", "novel", "ferry", "orchard", "coins"]  # one of each of the first problems
SOLUTIONS = [
    "Multiply first, then look at the rest. This gives {v}.",
    "We take the product of the two numbers and treat the third as told, whence the result {v}.",
    "Step by step: groups times size, and after that the odd ones. The answer is {v}.",
]


def problem(rng, which):
    """One telling of problem `which`: other numbers and name, sometimes a word more. (problem, solution)."""
    a, b, c = rng.randint(2, 40), rng.randint(7, 2000), rng.randint(2, 19)
    text = PROBLEMS[which].format(a=a, b=b, c=c, n=rng.choice(NAMES))
    if rng.random() < 0.5:
        words = text.split()
        words.insert(rng.randrange(len(words)), rng.choice(["then", "usually", "exactly"]))
        text = " ".join(words)
    return text, rng.choice(SOLUTIONS).format(v=a * b + c)


def item(text, solution):
    return json.dumps({"problem": text, "solution": solution, "answer": "1"})


def test_a_problem_told_again_goes_whatever_its_solution_says(documents, run_barrier):
    rng = random.Random(2)
    told = [(which, *problem(rng, which)) for which in rng.choices(range(12), k=300)]
    docs = documents(
        [f"{text}\n\n{solution}\n" for _, text, solution in told],
        synthetic_kind=["math_problem"] * 300,
        synthetic_item=[item(text, solution) for _, text, solution in told],
    )
    outcomes, _ = run_barrier(MinhashDedupSynthetic(), [docs.slice(0, 100), docs.slice(100)], batch_rows=37)
    kept = [told[i][0] for i, reason in enumerate(o for out in outcomes for o in out.dropped.to_pylist()) if not reason]
    assert set(kept) == set(range(12)) and len(kept) <= 14  # one of each; a twelfth of 0.92 is let through now and then
    counts = [n for out in outcomes for n in out.docs.filter(pc.is_null(out.dropped))["duplicates"].to_pylist()]
    assert sum(counts) == 300  # every one that went is counted on the one that stayed
    first = {}
    for i, (which, _, _) in enumerate(told):
        first.setdefault(which, i)
    reasons = [r for out in outcomes for r in out.dropped.to_pylist()]
    assert all(reasons[i] is None for i in first.values())


def test_the_part_that_asks_is_compared_and_of_other_documents_the_text(documents):
    docs = documents(
        ["p\n\ns", "task\n\ncode", "question\n\nanswer", "plain", "broken", None],
        synthetic_kind=["math_problem", "code_exercise", "question_answer", None, "math_problem", None],
        synthetic_item=['{"problem": "p"}', '{"task": "task"}', '{"question": "question"}', None, "{", None],
    )
    stage = MinhashDedupSynthetic()
    assert stage.compared(docs).to_pylist() == ["p", "task", "question\n\nanswer", "plain", "broken", None]
    assert stage.compared(docs.slice(2, 2)).to_pylist() == ["question\n\nanswer", "plain"]
    assert stage.compared(docs.select(["text"])).to_pylist() == docs["text"].to_pylist()
    prices = documents(["1,250.50 for 7, 12."])
    assert stage.compared(prices).to_pylist() == ["0 for 0, 0."]
    assert MinhashDedupSynthetic(fold_digits=False).compared(prices).to_pylist() == prices["text"].to_pylist()


class Repeats:
    """A model that knows `known` problems and tells them over and over, rightly."""

    def __init__(self, known):
        self.known = known

    def __call__(self, n, body):
        rng = random.Random(f"{body['seed']} {body['messages'][1]['content'][:300]}")
        keys = sorted(body["response_format"]["json_schema"]["schema"]["properties"])
        user = body["messages"][1]["content"]
        if keys == ["answer", "problem", "solution"]:
            text, solution = problem(rng, rng.randrange(self.known))
            return json.dumps({"problem": text, "solution": solution, "answer": re.findall(r"\d+", solution)[-1]})
        a, b, c = map(int, re.findall(r"\d+", user)[:3])
        value = a * b + c
        program = {"program": f"print({a} * {b} + {c})"}
        return json.dumps(
            program if keys == ["program"] else {"reasoning": "Multiply, then add.", "answer": str(value)}
        )


def run(folder, name, stages, rows):
    (folder / f"{name}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in rows))
    config = {"input": str(folder / f"{name}.jsonl"), "output": str(folder / name), "stages": ["read_jsonl", *stages]}
    (folder / "pipelines.yaml").write_text(yaml.safe_dump({"pipelines": {"test": config}}))
    plan = make_plan(load_pipeline("test", str(folder / "pipelines.yaml")))
    Run(plan, Inline(config["output"]), Storage(config["output"])).execute()
    return Corpus(config["output"]).table(), Corpus(config["output"], "dropped").table()


def test_a_model_that_repeats_itself_over_runs_and_an_existing_collection(tmp_path):
    """The stages of the pipeline `math`, twice, after a collection that holds one of the model's problems."""
    pytest.importorskip("math_verify")
    index = str(tmp_path / "index")
    existing = problem(random.Random(1), 3)[0]
    known = {"minhash_dedup_synthetic": {"index": index, "crawl": "known"}}
    kept, _ = run(tmp_path, "known", [known], [existing, "Other words altogether."])
    assert kept.num_rows == 2
    collection = kept["id"][0].as_py()
    seed = "Interest is computed by multiplication of a whole by a fraction of it. " * 4
    for name, problems, new in (("first", 4, {0, 1, 2}), ("second", 5, {4})):
        with StubServer(Repeats(problems)) as server:
            keys = {"server": server.url, "cache": str(tmp_path / name / "answers"), "solves": 2, "per_document": 4}
            stages = [
                {"synthesize": keys | {"originals": "drop"}},
                *(["verify_synthetic"] if name == "first" else []),
                {"minhash_dedup_synthetic": {"index": index, "crawl": name}},
            ]
            kept, lost = run(tmp_path, name, stages, [f"{name} {i}. {seed}" for i in range(3)])
        told = [i for i, noun in enumerate(NOUNS) for text in kept["text"].to_pylist() if noun in text]
        assert sorted(told) == sorted(new)  # one of each that neither the collection nor an earlier run has
        near = lost.filter(pc.equal(lost["reason"], "near_duplicate"))
        assert near.num_rows == 12 - len(new) and lost.num_rows == near.num_rows + 3  # and the seeds
        assert any(f"kept={collection}" in detail for detail in near["detail"].to_pylist())

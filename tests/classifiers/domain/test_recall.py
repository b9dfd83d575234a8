"""Recall of a domain from a corpus in which it is known which documents are of it."""

import random

import numpy as np
import pyarrow as pa
import pytest

from classifiers.domain.recall import hosts_of_domain
from classifiers.domain.rules import RULES, points

ALGEBRA = [
    "Let $x^2 + {a}x = {b}$; then the quadratic equation has the roots $\\frac{{-{a}}}{{2}}$.",
    "The theorem says that the polynomial of degree {a} has at most {a} roots, by the lemma above.",
    "We compute the integral ∫ of the function and the derivative, with f(x) = {a}x^2 - {b}.",
    "A matrix of rank {a} has a determinant; its eigenvalues are the roots of the equation λ = {b}.",
]
SUBTLE = [
    "The pupils add the two numbers and divide by {a} to share the sum among {b} children.",
    "Each number in the row is twice the one before, and the sum of the first {a} numbers is asked.",
    "To find the unknown number one subtracts {a} from both sides and divides by the coefficient.",
    "The equation y = {a}x + {b} is solved when the unknown number stands alone on one side.",
]
OTHER = [
    "The harbour of the town was built in 18{a} and has two long piers for fishing boats.",
    "Boil {a} eggs, chop the onions and fry them in butter until they are golden.",
    "The council met on Monday to discuss the budget for the {b} new bus stops.",
    "Our team won {a} games this season, and the coach praised the young players.",
    "Install the package and restart the service after {a} seconds.",
]


def text(rng, kind):
    sentences = {
        "plain": ALGEBRA + SUBTLE[:1],
        "subtle": [*SUBTLE, *SUBTLE, *SUBTLE[:3], *SUBTLE[:2], OTHER[rng.randrange(5)]],
        "other": OTHER,
    }[kind]
    return " ".join(rng.choice(sentences).format(a=rng.randint(2, 99), b=rng.randint(2, 99)) for _ in range(12))


@pytest.fixture(scope="module")
def corpus():
    rng = random.Random(3)
    kinds = ["plain"] * 120 + ["subtle"] * 150 + ["other"] * 900
    rng.shuffle(kinds)
    hosts = [
        "math.example.org" if k != "other" and rng.random() < 0.6 else f"site{rng.randrange(40)}.example.org"
        for k in kinds
    ]
    return kinds, [text(rng, kind) for kind in kinds], [f"https://{h}/{i}" for i, h in enumerate(hosts)]


def run(stage, docs, shards):
    """The barrier over shards cut as asked, put together again."""
    parts = [docs.slice(a, b - a) for a, b in zip(shards, [*shards[1:], docs.num_rows], strict=True)]
    rows = pa.concat_tables([stage.scatter(part, i, 0) for i, part in enumerate(parts)])
    verdicts = stage.gather(0, 0, rows.drop_columns("partition"), None)
    outcomes = []
    for i, part in enumerate(parts):
        mine = verdicts.filter(pa.compute.equal(verdicts["partition"], i)).drop_columns("partition").sort_by("row")
        outcomes.append(stage.apply(part, mine))
    return pa.concat_tables([o.docs for o in outcomes]), outcomes


@pytest.fixture
def stage(tmp_path):
    from stages.annotate.recall import RecallDomain

    def build(**keys):
        made = RecallDomain(domain="math", **keys)
        made.check()
        made._folder = str(tmp_path)
        return made

    return build


def test_the_domain_is_found_beyond_its_seeds_in_nested_rounds(stage, documents, corpus):
    kinds, texts, urls = corpus
    docs = documents(texts, url=urls)
    made = stage(others="drop")
    seeds, _ = made._checked(docs)
    truth = np.array([kind != "other" for kind in kinds])
    assert seeds.sum() < truth.sum() * 0.7 and not (seeds & ~truth).any()
    result, outcomes = run(made, docs, [0, 400, 900])
    rounds = np.array(result["recall_round"].to_pylist())
    told = [o.outputs["recall_rounds"] for o in outcomes if o.outputs]
    assert len(told) == 1
    measured = told[0].to_pylist()
    assert [r["passed"] for r in measured] == sorted({r["passed"] for r in measured}, reverse=True)
    for r in measured:
        assert (rounds >= r["number"]).sum() == r["passed"]
    found = np.array([by is not None for by in result["recalled_by"].to_pylist()])
    assert (found & truth).sum() >= 0.85 * truth.sum()
    assert (found & ~truth).sum() <= 0.05 * found.sum()
    assert (found & truth).sum() > seeds.sum() * 1.2
    dropped = np.concatenate([o.dropped.to_numpy(zero_copy_only=False) != None for o in outcomes])  # noqa: E711
    assert (dropped == ~found).all()


def test_shards_do_not_matter(stage, documents, corpus):
    _, texts, urls = corpus
    docs = documents(texts[:600], url=urls[:600])
    one, _ = run(stage(others="keep"), docs, [0])
    many, _ = run(stage(others="keep"), docs, [0, 100, 101, 500])
    assert one.select(["id", "recall_round", "recalled_by"]).equals(many.select(["id", "recall_round", "recalled_by"]))


def test_labels_of_a_model_tell_seeds_and_decide(stage, documents, corpus):
    kinds, texts, urls = corpus
    labels = [("mathematics" if k != "other" else "food") if i % 3 == 0 else None for i, k in enumerate(kinds)]
    docs = documents(texts, url=urls, domain=labels)
    result, _ = run(stage(others="keep", seed_column="domain", seed_values=["mathematics"]), docs, [0])
    found = np.array([by is not None for by in result["recalled_by"].to_pylist()])
    truth = np.array([kind != "other" for kind in kinds])
    assert (found & truth).sum() >= 0.85 * truth.sum() and (found & ~truth).sum() <= 0.1 * found.sum()


def test_too_few_seeds_stop_the_run(stage, documents):
    from curation.errors import ConfigError, CurationError

    with pytest.raises(CurationError, match="0 seeds of 'math' in 30 documents"):
        run(stage(), documents(["A harbour. " * 20] * 30), [0])
    with pytest.raises(ConfigError, match="no domain 'poetry'"):
        stage().model_copy(update={"domain": "poetry"}).check()


def test_hosts_by_their_statistics():
    hosts = ["a"] * 10 + ["b"] * 10 + ["c"] * 3 + [""] * 20
    found = np.array([1] * 6 + [0] * 4 + [1] * 2 + [0] * 8 + [1] * 3 + [1] * 20, bool)
    assert hosts_of_domain(hosts, found, 10, 0.5) == ["a"]


def test_rules_tell_formulas_and_programs_from_prose():
    code = "def area(w, h):\n    return w * h\n\nimport os\nThe function `area_of` takes the parameters w and h.\n" * 5
    texts = pa.array([text(random.Random(1), k) for k in ("plain", "other")] + [code, "", None], pa.large_string())
    math, programs = points(RULES["math"], texts), points(RULES["code-text"], texts)
    assert math[0] > RULES["math"].seed and math[1] == 0 and programs[2] > RULES["code-text"].seed
    assert programs[1] < RULES["code-text"].accept and math[3] == programs[4] == 0

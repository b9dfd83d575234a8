"""Proxy runs and comparisons: rows of a mixture, held-out documents kept apart, intervals against simulated truth."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train`")

from small_languages import EOD, documents, token_shards  # isort: skip
from curation.errors import ConfigError
from training import held_out
from training.compare import compare, paired
from training.proxy import Proxy, apart_from, common_ids, read_corpus, rows_of, train_proxy

SMALL = Proxy(model="tiny-qwen3", vocabulary=512, length=64, batch_rows=8, tokens=15_000, learning_rate=0.01)


@pytest.fixture
def corpora(tmp_path):
    folder = token_shards(tmp_path / "tokens", {"one": documents(60, 1, 0), "two": documents(30, 2, 0)})
    return read_corpus(folder, by="language")


def test_rows_have_the_mixtures_shares_and_documents_begin_at_0(corpora):
    ids, positions = rows_of(corpora, {"one": 0.25, "two": 0.75}, 40, 64, seed=3)
    of_one = np.isin(ids, range(10, 20)).any(1)  # tokens that only language one has
    assert ids.shape == (40, 64) and of_one.sum() == 10
    starts = positions == 0
    assert starts[:, 0].all()
    np.testing.assert_array_equal(starts[:, 1:], ids[:, :-1] == EOD)
    np.testing.assert_array_equal(positions[:, 1:][~starts[:, 1:]], positions[:, :-1][~starts[:, 1:]] + 1)
    again = rows_of(corpora, {"one": 0.25, "two": 0.75}, 40, 64, seed=3)
    assert (again[0] == ids).all() and (rows_of(corpora, {"one": 1}, 40, 64, 3)[0] != ids).any()


def test_a_corpus_is_read_whole_before_any_of_it_comes_again(corpora):
    one = corpora["one"]
    ids, _ = rows_of({"one": one}, {"one": 1}, 2 * one.tokens // 64, 64, seed=0)
    first = ids  # rows are shuffled: counts of ids over two epochs are those of the corpus, twice
    np.testing.assert_allclose(np.bincount(first.ravel(), minlength=512), 2 * one.counts(), atol=64)


def test_held_out_documents_and_their_copies_are_not_trained_on(tmp_path):
    docs = documents(40, 1, 0, longest=120)
    chosen = max(range(40), key=lambda i: len(docs[i]))
    copy = docs[chosen].copy()
    copy[len(copy) // 2] = 500  # a token changed: no exact copy, but nearly all windows are the same
    folder = token_shards(tmp_path / "tokens", {"one": [*docs, copy]})
    held = held_out.read(folder, 5)
    held.names, held.ids = [f"one-{chosen}"], [docs[chosen]]
    left = apart_from(read_corpus(folder)[""], held)
    assert set(left.names) == {f"one-{i}" for i in range(40)} - {f"one-{chosen}"}
    assert left.tokens == sum(len(d) + 1 for i, d in enumerate(docs) if i != chosen)


def test_the_same_seed_is_the_same_model_and_another_is_not(corpora):
    ids = common_ids(list(corpora.values()), 512)
    models = [train_proxy(SMALL, corpora, {"one": 1}, ids, seed).state_dict() for seed in (0, 0, 1)]
    name = "inner.model.layers.0.mlp.up_proj.weight"
    assert torch.equal(models[0][name], models[1][name]) and not torch.equal(models[0][name], models[2][name])


def test_intervals_hold_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(0)
    n_bytes = rng.integers(100, 5000, 60)
    truth, inside = 0.01, 0
    for _ in range(400):
        documents_differ = rng.normal(0, 0.02, 60)
        seeds_differ = rng.normal(0, 0.004, 5)
        base = np.outer(np.ones(5), n_bytes) * rng.normal(1.5, 0.1, 60)
        change = (truth + documents_differ[None] + seeds_differ[:, None]) * n_bytes * np.log(2)
        result = paired(base, base + change, n_bytes)
        inside += result.low <= truth <= result.high
    assert inside / 400 >= 0.94  # a little too wide, as the module says


def test_the_better_corpus_is_told_from_the_worse(corpora, tmp_path):
    held = held_out.read(token_shards(tmp_path / "gold", {"gold": documents(20, 2, 7)}), 20)
    said = []
    result = compare(corpora["one"], corpora["two"], held, SMALL, 3, said.append)
    assert result.verdict == "better" and result.p < 0.01 and len(said) == 5
    mirror = compare(corpora["two"], corpora["one"], held, SMALL, 3, said.append)
    assert mirror.difference == pytest.approx(-result.difference) and mirror.verdict == "worse"


def test_too_little_is_refused(corpora):
    with pytest.raises(ConfigError, match="too few"):
        _ = Proxy(tokens=1000).steps
    with pytest.raises(ConfigError, match="at least two"):
        paired(np.ones((1, 4)), np.ones((1, 4)), np.ones(4))

import numpy as np
import pyarrow as pa
import pytest

from stages.mix.rates import fit, unimax
from stages.mix.recipe import Recipe
from stages.mix.strata import Strata


def strata_of(sources, languages, weights=None, buckets=None):
    n = len(sources)
    weight = np.ones(n) if weights is None else np.asarray(weights, float)
    places = {} if buckets is None else {"s": np.asarray(buckets)}
    return Strata({"source": pa.array(sources), "language": pa.array(languages)}, places, {"s": weight})


def recipe(**keys):
    return Recipe(**({"name": "s", "sequence_length": 8} | keys))


SOURCES = ["web", "web", "web", "pdf", "pdf", "pdf"]
LANGUAGES = ["eng", "fra", "tam", "eng", "fra", "tam"]
SIZE = np.array([800.0, 150, 30, 300, 60, 5])


def test_unimax_is_uniform_until_the_small_ones_run_out():
    # By hand: budget 90 over 4; the smallest gives 2 x 5, the next 2 x 10; 60 are left for two: 30 each
    assert unimax(np.array([100.0, 10, 1000, 5]), 90, 2) * 90 == pytest.approx([30, 20, 30, 10])
    supply = np.random.default_rng(0).lognormal(3, 2, 119)
    shares = unimax(supply, supply.sum() / 10, 4) * supply.sum() / 10
    assert shares.sum() == pytest.approx(supply.sum() / 10)
    capped = shares < shares.max() * (1 - 1e-12)
    assert shares[capped] == pytest.approx(4 * supply[capped])


def test_two_rules_hold_at_once():
    wanted = recipe(
        budget=200,
        max_epochs=4,
        shares=[{"column": "source", "ratios": {"web": 3, "pdf": 1}}, {"column": "language", "temperature": 2}],
    )
    found = fit(wanted, strata_of(SOURCES, LANGUAGES), SIZE, 1.0)
    amount = found.rate * SIZE
    assert amount.sum() == pytest.approx(200)
    assert amount[:3].sum() == pytest.approx(150, rel=1e-5)
    flat = np.sqrt([1100, 210, 35])
    for i in range(3):
        assert amount[[i, i + 3]].sum() == pytest.approx(200 * flat[i] / flat.sum(), rel=1e-5)
    assert [m.label for m in found.margins] == ["source", "language"]
    # Of all tables with these margins, the one whose odds ratios are those of the supply
    odds = amount.reshape(2, 3) / SIZE.reshape(2, 3)
    assert odds[0, 0] * odds[1, 1] / (odds[0, 1] * odds[1, 0]) == pytest.approx(1, rel=1e-4)


def test_no_stratum_is_read_more_often_than_allowed_and_others_take_over():
    wanted = recipe(budget=1000, max_epochs=2, shares=[{"column": "source", "ratios": {"web": 1, "pdf": 1}}])
    found = fit(wanted, strata_of(SOURCES, LANGUAGES), SIZE, 1.0)
    assert found.rate.max() <= 2
    amount = found.rate * SIZE
    assert amount[3:].sum() == pytest.approx(500)
    scarce = recipe(budget=1500, max_epochs=2, shares=[{"column": "source", "ratios": {"web": 1, "pdf": 3}}])
    found = fit(scarce, strata_of(SOURCES, LANGUAGES), SIZE, 1.0)
    assert (found.rate * SIZE)[3:].sum() == pytest.approx(730)  # all of it, twice
    assert found.total == pytest.approx(1500)
    assert found.margins[0].asked == pytest.approx([0.75, 0.25])
    assert found.margins[0].planned == pytest.approx([730 / 1500, 770 / 1500])
    shrunk = fit(scarce.model_copy(update={"when_short": "shrink"}), strata_of(SOURCES, LANGUAGES), SIZE, 1.0)
    assert shrunk.total == pytest.approx(730 / 0.75)
    assert shrunk.margins[0].planned == pytest.approx([0.75, 0.25])


def test_weights_decide_within_a_value_and_zero_is_never_drawn():
    weights = [4, 1, 1, 1, 0, 1]
    wanted = recipe(budget=100, shares=[{"column": "source", "ratios": {"web": 1, "pdf": 1}}])
    rate = fit(wanted, strata_of(SOURCES, LANGUAGES, weights), SIZE, 1.0).rate
    assert rate[0] / rate[1] == pytest.approx(4) and rate[4] == 0
    assert (rate * SIZE)[:3].sum() == pytest.approx(50)


def test_values_without_a_share_are_out_and_missing_ones_are_told():
    wanted = recipe(budget=100, shares=[{"column": "language", "ratios": {"eng": 1, "deu": 1}}])
    found = fit(wanted, strata_of(SOURCES, LANGUAGES), SIZE, 1.0)
    assert (found.rate > 0).tolist() == [True, False, False, True, False, False]
    assert found.margins[0].missing == ["deu"]
    rest = recipe(budget=100, shares=[{"column": "language", "ratios": {"eng": 1}, "others": 1}])
    amount = fit(rest, strata_of(SOURCES, LANGUAGES), SIZE, 1.0).rate * SIZE
    assert amount[[0, 3]].sum() == pytest.approx(50)
    assert amount[[1, 4]].sum() / amount[[2, 5]].sum() == pytest.approx(210 / 35)


def test_documents_outside_all_lengths_are_out():
    wanted = recipe(shares=[{"lengths": [{"from": 10, "to": 20, "share": 25}, {"from": 20, "share": 75}]}], budget=100)
    found = fit(wanted, strata_of(SOURCES, LANGUAGES, buckets=[-1, 0, 1, -1, 0, 1]), SIZE, 1.0)
    amount = found.rate * SIZE
    assert amount[[0, 3]].sum() == 0
    assert amount[[2, 5]].sum() == pytest.approx(75) and amount[[1, 4]].sum() == pytest.approx(25)
    assert found.margins[0].names == ["10-19", "20-"]


def test_without_rules_or_budget_everything_is_read_once():
    assert fit(recipe(), strata_of(SOURCES, LANGUAGES), SIZE, 1.0).rate == pytest.approx(np.ones(6))


def test_budgets_and_rules_are_read_as_people_write_them():
    assert recipe(budget="30T").budget == 3e13 and recipe(budget="0.5B").budget == 5e8 and recipe(budget=7).budget == 7
    for bad in (
        {"budget": "many"},
        {"shares": [{"column": "a", "lengths": [{"share": 1}]}]},
        {"shares": [{"column": "a", "unimax": 1, "temperature": 2}]},
        {"shares": [{"lengths": [{"from": 1, "share": 1}, {"from": 5, "share": 1}]}]},
        {"shares": [{"column": "a"}, {"column": "a"}]},
        {"weight": "import os"},
        {"weight": "open('x')"},
        {"name": "../x"},
    ):
        with pytest.raises(ValueError):
            recipe(**bad)

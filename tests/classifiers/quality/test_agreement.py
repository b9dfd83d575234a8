"""The numbers of the agreement report, against values worked out by hand and against plain definitions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from classifiers.quality.agreement import calibration_error, cross_validate, kappa, ranks, spearman
from classifiers.quality.student import Training

classes = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=60)


def test_ranks_of_ties_and_a_correlation_from_a_textbook():
    assert ranks(np.array([10, 20, 20, 5])).tolist() == [2, 3.5, 3.5, 1]
    # Ten pupils' IQ and hours of television (Wikipedia's example): -29/165.
    iq = [106, 100, 86, 101, 99, 103, 97, 113, 112, 110]
    hours = [7, 27, 2, 50, 28, 29, 20, 12, 6, 17]
    assert spearman(np.array(iq), np.array(hours)) == pytest.approx(-29 / 165)


def test_kappa_from_a_textbook():
    # Two readers of 50 grants: both yes 20, both no 15, A alone 5, B alone 10: observed 0.7, by chance 0.5.
    a = np.array([1] * 25 + [0] * 25)
    b = np.array([1] * 20 + [0] * 5 + [1] * 10 + [0] * 15)
    assert kappa(a, b, 2) == pytest.approx(0.4)


@given(classes)
def test_quadratic_kappa_is_its_definition(pairs):
    a, b = (np.array(x) for x in zip(*pairs, strict=True))
    observed = sum((x - y) ** 2 for x, y in pairs) / len(pairs)
    chance = sum((x - y) ** 2 for x in a for y in b) / len(pairs) ** 2
    assert kappa(a, b, 6, quadratic=True) == pytest.approx(1 - observed / chance if chance else 1.0)


@given(classes)
def test_spearman_is_the_correlation_of_ranks(pairs):
    a, b = (np.array(x, float) for x in zip(*pairs, strict=True))
    if len(set(a)) > 1 and len(set(b)) > 1:
        slow = [sum((y < x) + 0.5 * (y == x) for y in v) for v in (a, b) for x in v]
        expected = np.corrcoef(slow[: len(a)], slow[len(a) :])[0, 1]
        assert spearman(a, b) == pytest.approx(expected)
    else:
        assert spearman(a, b) == 0


def test_calibration_error_of_an_honest_and_a_boastful_judge():
    right = np.array([True] * 7 + [False] * 3)
    assert calibration_error(np.full(10, 0.7), right) == pytest.approx(0)
    assert calibration_error(np.full(10, 0.99), right) == pytest.approx(0.29)


def test_a_student_that_can_learn_nothing_has_no_gain():
    rng = np.random.default_rng(0)
    lines = [" ".join(rng.choice(list("abcdefgh"), 20)) for _ in range(200)]
    labels = {"field": rng.choice(["stem", "business"], 200).tolist()}
    draws = rng.integers(0, 2**63, 200)
    report = cross_validate(lines, labels, ["eng_Latn"] * 200, draws, Training(epochs=3))
    row = report.row("field")
    assert abs(row.gain) < 0.15 and abs(row.kappa) < 0.2 and row.documents == 200
    assert sum(n for said in report.confusions["field"].values() for n in said.values()) == 200

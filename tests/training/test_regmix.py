"""RegMix: mixtures that are drawn, and optima that are planted, under noise and under caps."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("lightgbm", reason="needs the extra `train`")

from curation.errors import ConfigError, CurationError
from training.regmix import draw_mixtures, fit, under

DOMAINS = ["web", "code", "books", "forum"]
PRIOR = {"web": 0.7, "code": 0.1, "books": 0.15, "forum": 0.05}


def planted(shares, weights, k, floor=0.6, power=0.25):
    """Losses of parts that each learn from one domain by a power law, which neither regression has as its form."""
    return floor + k * (0.02 + shares) ** -power


def optimum(weights, k, power=0.25, caps=None):
    """By brute force over a fine grid of mixtures."""
    rng = np.random.default_rng(1)
    grid = rng.dirichlet(np.ones(4), 400_000)
    if caps is not None:
        grid = grid[(grid <= caps).all(1)]
    losses = planted(grid, weights, k, power=power) @ weights
    return grid[np.argmin(losses)], losses.min()


@pytest.mark.parametrize(("kind", "runs"), [("log_linear", 24), ("auto", 48), ("lightgbm", 256)])
def test_a_planted_optimum_is_recovered(kind, runs):
    weights, k = np.array([0.2, 0.5, 0.25, 0.05]), np.array([0.8, 1.2, 0.9, 0.3])
    shares = draw_mixtures(np.array(list(PRIOR.values())), runs, seed=0)
    losses = planted(shares, weights, k) + np.random.default_rng(2).normal(0, 0.005, (runs, 4))
    found = fit(DOMAINS, shares, losses, PRIOR, kind, weights)
    best, least = optimum(weights, k)
    at = planted(np.array([list(found.shares.values())]), weights, k)[0] @ weights
    own = planted(np.array([list(PRIOR.values())]), weights, k)[0] @ weights
    assert at - least < 0.15 * (own - least), "of what is to be gained, 85 % are gained"
    assert abs(np.array(list(found.shares.values())) - best).max() < 0.22
    assert found.shares["code"] == max(found.shares.values())
    assert found.rank > 0.8 and not found.caution and found.loss < found.prior_loss


def test_a_cap_is_kept_and_its_share_goes_where_it_helps():
    weights, k = np.array([0.2, 0.5, 0.25, 0.05]), np.array([0.8, 1.2, 0.9, 0.3])
    caps = {"code": 0.2}
    limit = np.array([1, 0.2, 1, 1])
    shares = draw_mixtures(np.array(list(PRIOR.values())), 32, 0, limit)
    losses = planted(shares, weights, k)
    found = fit(DOMAINS, shares, losses, PRIOR, "log_linear", weights, caps)
    _, least = optimum(weights, k, caps=limit)
    assert found.shares["code"] == pytest.approx(0.2, abs=1e-6)
    assert planted(np.array([list(found.shares.values())]), weights, k)[0] @ weights == pytest.approx(least, abs=0.015)


def test_noise_is_not_taken_for_knowledge():
    shares = draw_mixtures(np.array(list(PRIOR.values())), 24, 0)
    losses = np.random.default_rng(0).normal(1, 0.01, (24, 1))
    assert "hardly better" in fit(DOMAINS, shares, losses, PRIOR).caution


@given(
    st.lists(st.floats(0.001, 1), min_size=2, max_size=12),
    st.lists(st.floats(0.01, 1), min_size=12, max_size=12),
    st.integers(0, 99),
)
def test_mixtures_sum_to_one_under_their_caps(prior, caps, seed):
    prior, caps = np.array(prior) / sum(prior), np.array(caps[: len(prior)])
    if caps.sum() < 1:
        with pytest.raises(ConfigError, match="can supply"):
            draw_mixtures(prior, 8, seed, caps)
        return
    drawn = draw_mixtures(prior, 8, seed, caps)
    assert np.allclose(drawn.sum(1), 1) and (drawn >= 0).all()
    assert (drawn <= np.minimum(caps, 1) + 1e-6).all()


def test_what_is_under_its_cap_stays():
    shares = np.array([[0.5, 0.3, 0.2]])
    assert (under(shares, np.array([0.6, 0.6, 0.6])) == shares).all()
    np.testing.assert_allclose(under(shares, np.array([0.4, 1, 1])), [[0.4, 0.36, 0.24]])


def test_too_few_runs_are_refused():
    shares = draw_mixtures(np.ones(4) / 4, 6, 0)
    with pytest.raises(CurationError, match="6 runs are too few for 4 domains: 8"):
        fit(DOMAINS, shares, shares, PRIOR)

"""Which shares of the domains train the best model: RegMix (Liu et al. 2024, arXiv 2407.01492), from few small runs.

Mixtures are drawn around the domains' own sizes, each trains a proxy, and a regression learns from them what loss any
mixture would have; its minimum, under what the domains can supply, is the answer. The loss is that of held-out text
one names oneself, by parts with weights. Every part gets a regression of its own:

    log_linear   loss = c + exp(t . shares): Data Mixing Laws (arXiv 2403.16952). Convex, so that a sum of several has
                 its minimum inside, found by a solver; few numbers to learn, so few runs are enough.
    lightgbm     trees over shares, RegMix's own choice. No assumption, many runs. Its minimum is the mean of the 100
                 best of 100,000 drawn mixtures.

`auto` takes the one that predicts runs it has not seen with the smaller error, part by part of the runs left out.

Trade-off: ranks of mixtures carry over from proxies to larger models better than losses do, and nothing here proves
that they do for yours. The answer says how good the regression is; where it is no better than the runs' own spread,
it says that too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from curation.errors import ConfigError, CurationError

#: Concentrations of the Dirichlet distributions that mixtures come from, as factors of the prior: RegMix's range.
_STRENGTHS = (0.1, 5.0)
_CANDIDATES = 100_000
_BEST = 100
_FOLDS = 5


def draw_mixtures(
    prior: np.ndarray, count: int, seed: int | Sequence[int], caps: np.ndarray | None = None
) -> np.ndarray:
    """Shares of domains, float64 [count, domains], each row summing to 1 and below `caps` where there are some.

    prior: shares to draw around. ConfigError if the caps leave no mixture.
    """
    rng, domains = np.random.default_rng(seed), len(prior)
    caps = np.ones(domains) if caps is None else np.minimum(caps, 1.0)
    if caps.sum() < 1 - 1e-9:
        raise ConfigError(f"the domains can supply {caps.sum():.1%} of the tokens; allow more epochs, or fewer tokens")
    # RegMix flattens the prior so that small domains are tried in more than traces.
    flat = prior**0.5 / (prior**0.5).sum()
    strengths = np.exp(rng.uniform(math.log(_STRENGTHS[0]), math.log(_STRENGTHS[1]), count)) * domains
    raw = rng.standard_gamma(np.maximum(strengths[:, None] * flat, 1e-3)) + 1e-12
    return under(raw / raw.sum(1, keepdims=True), caps)


def under(shares: np.ndarray, caps: np.ndarray) -> np.ndarray:
    """Shares with what is above the caps given to the other domains, in proportion. [n, domains]."""
    shares = shares.copy()
    for _ in range(len(caps)):
        over = np.maximum(shares - caps, 0)
        if over.max() < 1e-12:
            break
        shares = np.minimum(shares, caps)
        room = np.where(shares < caps - 1e-12, shares + 1e-12, 0.0)
        shares += over.sum(1, keepdims=True) * room / room.sum(1, keepdims=True).clip(1e-300)
    return np.minimum(shares, caps) / np.minimum(shares, caps).sum(1, keepdims=True)


class LogLinear:
    """loss = c + exp(t . shares), one number c and one t a domain."""

    name = "log_linear"

    def fit(self, shares: np.ndarray, loss: np.ndarray) -> LogLinear:
        """shares [runs, domains], loss [runs]."""
        from scipy.optimize import least_squares

        spread = max(float(np.ptp(loss)), 1e-9)
        best = None
        for below in (0.1, 0.5, 2.0, 8.0):  # start values for c, below the smallest loss
            c = loss.min() - below * spread
            t, *_ = np.linalg.lstsq(shares, np.log(loss - c), rcond=None)

            def residual(x: np.ndarray) -> np.ndarray:
                return (x[0] + np.exp(np.clip(shares @ x[1:], -50, 50)) - loss) / spread

            # A pinch of ridge: with few runs a domain that hardly varied must not get an arbitrary slope.
            found = least_squares(
                lambda x: np.concatenate([residual(x), 1e-3 * (x[1:] - x[1:].mean())]), [c, *t], loss="soft_l1"
            )
            if best is None or found.cost < best.cost:
                best = found
        assert best is not None
        self._c, self._t = float(best.x[0]), best.x[1:]
        return self

    def predict(self, shares: np.ndarray) -> np.ndarray:
        """Losses of mixtures."""
        return self._c + np.exp(np.clip(shares @ self._t, -50, 50))


class Trees:
    """Gradient-boosted trees over shares."""

    name = "lightgbm"

    def fit(self, shares: np.ndarray, loss: np.ndarray) -> Trees:
        """shares [runs, domains], loss [runs]."""
        import lightgbm

        settings = {
            "objective": "regression",
            "learning_rate": 0.03,
            "num_leaves": 8,
            "min_data_in_leaf": max(2, len(loss) // 20),
            "num_threads": 1,
            "deterministic": True,
            "seed": 0,
            "verbosity": -1,
        }
        data = lightgbm.Dataset(shares, loss, params={"verbosity": -1})
        self._model = lightgbm.train(settings, data, num_boost_round=300)
        return self

    def predict(self, shares: np.ndarray) -> np.ndarray:
        """Losses of mixtures."""
        return np.asarray(self._model.predict(shares, num_threads=1))


_KINDS: dict[str, Callable[[], Any]] = {"log_linear": LogLinear, "lightgbm": Trees}


@dataclass(frozen=True)
class Fit:
    """Which mixture a regression takes to be best: shares by domain. loss: predicted there; prior_loss: at the domains'
    own sizes. error: root mean square on runs left out of the fit, of the objective; spread: standard deviation of the
    runs' losses, which is the error of knowing nothing; rank: Spearman's correlation on runs left out."""

    kind: str
    shares: dict[str, float]
    loss: float
    prior_loss: float
    error: float
    spread: float
    rank: float

    @property
    def caution(self) -> str:
        """Why the answer may be worth nothing; empty if it may be used."""
        if self.error > 0.7 * self.spread:
            return (
                f"the regression predicts runs it has not seen hardly better than their mean does (error "
                f"{self.error:.4f}, spread {self.spread:.4f}): train more runs, or longer ones"
            )
        return ""


def _left_out(kind: str, shares: np.ndarray, losses: np.ndarray) -> np.ndarray:
    """Predictions of each run by regressions that have not seen it, [runs, parts]."""
    folds = np.arange(len(shares)) % min(_FOLDS, len(shares))
    predicted = np.empty_like(losses)
    for fold in np.unique(folds):
        rest = folds != fold
        for part in range(losses.shape[1]):
            predicted[~rest, part] = _KINDS[kind]().fit(shares[rest], losses[rest, part]).predict(shares[~rest])
    return predicted


def fit(
    domains: Sequence[str],
    shares: np.ndarray,
    losses: np.ndarray,
    prior: Mapping[str, float],
    kind: str = "auto",
    weights: np.ndarray | None = None,
    caps: Mapping[str, float] | None = None,
    seed: int = 0,
) -> Fit:
    """The best mixture after runs. shares: [runs, domains]; losses: [runs, parts] of the held-out text; weights: of the
    parts in the objective, which is their weighted mean; caps: largest shares that the domains can supply.

    CurationError for fewer than 8 runs or 2 more than domains; ConfigError for caps that leave nothing.
    """
    from scipy.optimize import minimize
    from scipy.stats import spearmanr

    needed = max(8, len(domains) + 2)
    if len(shares) < needed:
        raise CurationError(f"{len(shares)} runs are too few for {len(domains)} domains: {needed} are the least")
    weights = np.ones(losses.shape[1]) if weights is None else weights
    weights = weights / weights.sum()
    limit = np.array([min((caps or {}).get(d, 1.0), 1.0) for d in domains])
    start = np.array([prior[d] for d in domains])
    start = start / start.sum()
    objective = losses @ weights
    found = {}
    for name in [kind] if kind != "auto" else list(_KINDS):
        predicted = _left_out(name, shares, losses) @ weights
        found[name] = float(np.sqrt(np.mean((predicted - objective) ** 2))), predicted
    chosen = min(found, key=lambda name: found[name][0])
    error, predicted = found[chosen]
    models = [_KINDS[chosen]().fit(shares, losses[:, part]) for part in range(losses.shape[1])]

    def value(at: np.ndarray) -> np.ndarray:
        return sum(w * model.predict(np.atleast_2d(at)) for w, model in zip(weights, models, strict=True))

    # Only where runs have been: inside the range of shares that each domain was tried with.
    low, high = shares.min(0), np.minimum(shares.max(0), limit)
    candidates = draw_mixtures(start, _CANDIDATES, seed, limit)
    candidates = candidates[((candidates >= low - 1e-9) & (candidates <= high + 1e-9)).all(1)]
    tried = under(shares, limit)
    candidates = np.concatenate([candidates, tried, under(start[None], limit)])
    best = candidates[np.argsort(value(candidates), kind="stable")[:_BEST]].mean(0)
    if chosen == "log_linear":
        solved = minimize(
            lambda at: float(value(at)[0]),
            best,
            method="SLSQP",
            bounds=list(zip(np.minimum(low, high), high, strict=True)),
            constraints={"type": "eq", "fun": lambda at: at.sum() - 1},
        )
        if solved.success and value(solved.x)[0] <= value(best)[0]:
            best = np.clip(solved.x, 0, 1) / np.clip(solved.x, 0, 1).sum()
    rank = float(spearmanr(predicted, objective).statistic)
    return Fit(
        chosen,
        dict(zip(domains, map(float, best), strict=True)),
        float(value(best)[0]),
        float(value(start)[0]),
        error,
        float(objective.std(ddof=1)),
        rank,
    )

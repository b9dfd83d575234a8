"""Laws that tell learning rate, batch and loss from model size and tokens: the published one, and those of own runs.

The default is StepLaw (arXiv 2503.04715), fitted on 3,700 models, dense and mixtures of experts:
learning rate 1.79 N^-0.713 D^0.307, batch 0.58 D^0.571 tokens, with N the parameters without embeddings and D the
tokens. A power law is right where it was fitted and silent about where it was not, so every answer here comes with
the range behind it: outside, `predict` raises unless it is told to extrapolate, and then says so.

Trade-off: a fit is least squares in logarithms, which needs no start values and no optimizer, and weighs a relative
error the same everywhere; it cannot fit an irreducible loss. `LossLaw` can (Chinchilla's form, arXiv 2203.15556,
section 3.3): its exponents are searched on a grid and then refined, and the other three numbers solved for.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from curation.errors import ConfigError


@dataclass(frozen=True)
class Advice:
    """A number, and why it may not be trusted (empty if it may)."""

    value: float
    caution: str = ""


#: Where StepLaw is taken without a word: a box inside the sizes it was fitted on.
STEP_LAW_RANGE = {"parameters": (60e6, 1.1e9), "tokens": (2e9, 100e9)}
#: Above this the law's learning rate is cut off: for models far below its range it asks for more than trains.
HIGHEST_RATE = 1e-2


def _outside(values: Mapping[str, float], ranges: Mapping[str, tuple[float, float]]) -> str:
    """In words, which values lie outside their range; 1 % is not outside."""
    out = [
        f"{name} {value:.3g} (fitted on {ranges[name][0]:.3g} to {ranges[name][1]:.3g})"
        for name, value in values.items()
        if not ranges[name][0] * 0.99 <= value <= ranges[name][1] * 1.01
    ]
    return "outside the range of the fit: " + ", ".join(out) if out else ""


def step_law(parameters: float, tokens: float) -> tuple[Advice, Advice]:
    """Learning rate, and batch in tokens. parameters: without embeddings; tokens: of the whole training."""
    caution = _outside({"parameters": parameters, "tokens": tokens}, STEP_LAW_RANGE)
    rate = 1.79 * parameters**-0.713 * tokens**0.307
    if rate > HIGHEST_RATE:
        caution += f"; learning rate {rate:.3g} cut to {HIGHEST_RATE:g}"
        rate = HIGHEST_RATE
    return Advice(rate, caution.lstrip("; ")), Advice(0.58 * tokens**0.571, caution.split(";")[0])


@dataclass(frozen=True)
class PowerLaw:
    """y = factor * product of x_i ** exponent_i, as fitted on own runs.

    error: root mean square of the fit's error in log y, e.g. 0.02 for 2 %. ranges: of each x in the fit.
    """

    factor: float
    exponents: dict[str, float]
    ranges: dict[str, tuple[float, float]]
    error: float

    @classmethod
    def fit(cls, inputs: Mapping[str, Sequence[float]], output: Sequence[float]) -> PowerLaw:
        """Least squares in logarithms. inputs: name -> one positive number a run; output: one a run.

        ConfigError if the runs do not determine the exponents: too few, or inputs that did not vary on their own.
        """
        names = list(inputs)
        columns = [np.log(np.asarray(inputs[name], float)) for name in names]
        y = np.log(np.asarray(output, float))
        if not all(np.isfinite(c).all() for c in [*columns, y]):
            raise ConfigError("a power law needs positive numbers from every run")
        design = np.stack([np.ones_like(y), *columns], 1)
        centred = design[:, 1:] - design[:, 1:].mean(0)
        if len(y) < len(names) + 2 or np.linalg.matrix_rank(centred, tol=1e-3) < len(names):
            raise ConfigError(
                f"{len(y)} runs do not determine a power law in {', '.join(names)}: "
                f"at least {len(names) + 2} are needed, and each of these must vary on its own"
            )
        solution, *_ = np.linalg.lstsq(design, y, rcond=None)
        error = float(np.sqrt(np.mean((design @ solution - y) ** 2)))
        ranges = {name: (float(min(inputs[name])), float(max(inputs[name]))) for name in names}
        return cls(math.exp(solution[0]), dict(zip(names, map(float, solution[1:]), strict=True)), ranges, error)

    def predict(self, extrapolate: bool = False, **inputs: float) -> Advice:
        """y at these inputs. ConfigError outside the runs' range, unless told to extrapolate."""
        caution = _outside(inputs, self.ranges)
        if caution and not extrapolate:
            raise ConfigError(f"{caution}; train runs there, or ask to extrapolate")
        value = self.factor * math.prod(inputs[name] ** e for name, e in self.exponents.items())
        return Advice(value, caution)


@dataclass(frozen=True)
class LossLaw:
    """loss = floor + a / parameters**alpha + b / tokens**beta, as fitted on own runs."""

    floor: float
    a: float
    alpha: float
    b: float
    beta: float
    ranges: dict[str, tuple[float, float]]
    error: float

    @classmethod
    def fit(cls, parameters: Sequence[float], tokens: Sequence[float], loss: Sequence[float]) -> LossLaw:
        """Least squares over runs. ConfigError below six runs, three sizes or three numbers of tokens."""
        n, d, y = (np.asarray(x, float) for x in (parameters, tokens, loss))
        if len(y) < 6 or len(set(n)) < 3 or len(set(d)) < 3:
            raise ConfigError("a loss law needs at least six runs, of three sizes and three numbers of tokens")
        n0, d0 = np.exp(np.log(n).mean()), np.exp(np.log(d).mean())  # so that the columns have one scale

        def solve(alpha: float, beta: float) -> tuple[float, np.ndarray]:
            design = np.stack([np.ones_like(y), (n / n0) ** -alpha, (d / d0) ** -beta], 1)
            solution, *_ = np.linalg.lstsq(design, y, rcond=None)
            solution = np.maximum(solution, 0)
            return float(np.mean((design @ solution - y) ** 2)), solution

        centre, width = (0.5, 0.5), 0.48
        for _ in range(12):  # a grid of 17 x 17 around the best so far, each a third as wide
            steps = np.linspace(-width, width, 17)
            grid = [(max(centre[0] + i, 0.01), max(centre[1] + j, 0.01)) for i, j in itertools.product(steps, steps)]
            centre = min(grid, key=lambda at: solve(*at)[0])
            width /= 3
        error, (floor, a, b) = solve(*centre)
        alpha, beta = centre
        ranges = {"parameters": (float(n.min()), float(n.max())), "tokens": (float(d.min()), float(d.max()))}
        return cls(float(floor), float(a * n0**alpha), alpha, float(b * d0**beta), beta, ranges, math.sqrt(error))

    def predict(self, parameters: float, tokens: float, extrapolate: bool = False) -> Advice:
        """The loss of such a run. ConfigError outside the runs' range, unless told to extrapolate."""
        caution = _outside({"parameters": parameters, "tokens": tokens}, self.ranges)
        if caution and not extrapolate:
            raise ConfigError(f"{caution}; train runs there, or ask to extrapolate")
        return Advice(self.floor + self.a / parameters**self.alpha + self.b / tokens**self.beta, caution)

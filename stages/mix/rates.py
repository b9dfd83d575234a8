"""From rules to rates: how many times each stratum is read, so that all shares of a recipe hold at once.

Each rule says what share each value of a column has. Several rules together say what all margins of a table are, and
the table itself is found by iterative proportional fitting (Deming and Stephan 1940): of all mixtures with these
margins it is the one nearest to the supply, weighted as the recipe weights it. No stratum is read more than
`max_epochs` times; where that binds, the others of its value take more.

Shares that cannot be had are told, not hidden: `asked` is what the recipe says of the values that exist, `planned`
what the fitted rates come to.

Trade-off: where rules contradict each other under the cap (all long documents are in one language, and both have a
share), fitting ends with the first rule met and the others as near as the last pass left them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from stages.mix.recipe import Recipe, Shares
from stages.mix.strata import Strata

#: Passes over the rules, at most, and the share of the budget to which margins must be met.
_PASSES, _EXACT = 500, 1e-7


@dataclass
class Margin:
    """One rule over the strata: `value` is each stratum's value (-1: none that has a share), `asked` and `planned` the
    share of each of `names`; `missing` names that the recipe gives a share and the corpus does not have."""

    label: str
    names: list[str]
    value: np.ndarray
    asked: np.ndarray
    planned: np.ndarray
    missing: list[str] = field(default_factory=list)


@dataclass
class Fit:
    """Rates of a recipe. `rate`: times each stratum is read, float64; `total`: amount planned, `wanted`: amount asked
    for, in the recipe's unit."""

    rate: np.ndarray
    margins: list[Margin]
    total: float
    wanted: float


def unimax(supply: np.ndarray, budget: float, epochs: float) -> np.ndarray:
    """The share of each language: as equal as can be, none of them more than `epochs` times its supply.

    Source: UniMax (Chung et al. 2023, 2304.09151), algorithm 1.
    """
    amount = np.zeros(len(supply))
    left = budget
    order = np.argsort(supply, kind="stable")
    for rank, i in enumerate(order):
        amount[i] = min(left / (len(order) - rank), epochs * supply[i])
        left -= amount[i]
    return amount / amount.sum() if amount.sum() > 0 else amount


def _values(rule: Shares, recipe: Recipe, strata: Strata) -> tuple[list[str], np.ndarray]:
    """Names of a rule's values, and the number of each stratum's value among them (-1 for none)."""
    if rule.lengths is not None:
        return [bucket.name for bucket in rule.lengths], strata.buckets[recipe.name]
    assert rule.column is not None
    encoded = strata.labels[rule.column].dictionary_encode()
    found = encoded.dictionary.to_pylist()
    names = sorted(found)
    place = np.array([names.index(name) for name in found], np.int64)
    return names, place[encoded.indices.to_numpy()] if len(found) else np.zeros(0, np.int64)


def _asked(rule: Shares, names: list[str], supply: np.ndarray, budget: float, recipe: Recipe) -> np.ndarray:
    """Shares of a rule's values, by what there is of each."""
    there = supply > 0
    if rule.lengths is not None:
        shares = np.array([bucket.share for bucket in rule.lengths])
    elif rule.ratios is not None:
        shares = np.array([rule.ratios.get(name, 0.0) for name in names])
        if rule.others is not None:
            rest = np.array([name not in rule.ratios for name in names]) & there
            if rest.any():
                shares[rest] = rule.others * supply[rest] / supply[rest].sum()
    elif rule.temperature is not None:
        shares = np.where(there, supply, 0.0) ** (1 / rule.temperature)
    else:
        shares = unimax(supply, budget, rule.unimax if rule.unimax is not None else recipe.max_epochs)
    shares = np.where(there, shares, 0.0)
    return shares / shares.sum() if shares.sum() > 0 else shares


def _allot(asked: np.ndarray, capacity: np.ndarray, total: float) -> np.ndarray:
    """Amounts in proportion to `asked`, none above its capacity, `total` in all as far as there is room."""
    amount = np.zeros(len(asked))
    open_ = asked > 0
    left = total
    while open_.any() and left > 0:
        part = left * asked / asked[open_].sum()
        full = open_ & (part >= capacity)
        if not full.any():
            amount[open_] = part[open_]
            break
        amount[full] = capacity[full]
        left = total - amount.sum()
        open_ &= ~full
    return amount


def fit(recipe: Recipe, strata: Strata, size: np.ndarray, scale: float) -> Fit:
    """Rates of a recipe over strata of these sizes (in its unit, float64); budgets are multiplied by `scale`."""
    weight = strata.weights[recipe.name].copy()
    weight[size <= 0] = 0.0
    values = [_values(rule, recipe, strata) for rule in recipe.shares]
    for rule, (names, value) in zip(recipe.shares, values, strict=True):
        weight[value < 0] = 0.0
        if rule.ratios is not None:  # values without a share are out before supply is counted
            shares = np.array([rule.ratios.get(n, 0.0 if rule.others is None else 1.0) for n in names] or [0.0])
            weight[(value >= 0) & (shares[value] <= 0)] = 0.0
    there = weight > 0
    room = np.where(there, size, 0.0) * recipe.max_epochs
    supply_all = float(size[there].sum())
    wanted = recipe.budget * scale if recipe.budget is not None else supply_all
    total = min(wanted, float(room.sum()))
    margins, supplies = [], []
    for rule, (names, value) in zip(recipe.shares, values, strict=True):
        supply = np.bincount(value[there], weights=size[there], minlength=len(names))
        asked = _asked(rule, names, supply, total, recipe)
        named = list(rule.ratios or {}) if rule.lengths is None else names
        missing = [n for n in named if n not in names or supply[names.index(n)] <= 0]
        margins.append(Margin(rule.label, names, value, asked, asked.copy(), missing))
        supplies.append(supply)
        some = asked > 0
        if recipe.when_short == "shrink" and some.any():
            total = min(total, float((recipe.max_epochs * supply[some] / asked[some]).min()))
    targets = [_allot(m.asked, recipe.max_epochs * s, total) for m, s in zip(margins, supplies, strict=True)]
    if targets:
        total = min(total, *(float(t.sum()) for t in targets))
    rate = _fitted(weight, size, [m.value for m in margins], targets, total, recipe.max_epochs)
    amount = rate * size
    for margin in margins:
        inside = margin.value >= 0
        planned = np.bincount(margin.value[inside], weights=amount[inside], minlength=len(margin.names))
        margin.planned = planned / planned.sum() if planned.sum() > 0 else planned
    return Fit(rate, margins, float(amount.sum()), wanted)


def _fitted(
    weight: np.ndarray, size: np.ndarray, values: list[np.ndarray], targets: list[np.ndarray], total: float, cap: float
) -> np.ndarray:
    """Rates in proportion to the weights, at most `cap`, whose margins are the targets."""
    rate = weight.copy()
    if not (rate > 0).any() or total <= 0:
        return np.zeros(len(weight))
    rules = list(zip(values, targets, strict=True)) or [(np.zeros(len(weight), np.int64), np.array([total]))]
    for value, target in rules:
        zero = target <= 0
        rate[(value < 0) | zero[value]] = 0.0
    for _ in range(_PASSES):
        worst = 0.0
        for value, target in reversed(rules):  # the first rule has the last word
            inside = rate > 0
            now = np.bincount(value[inside], weights=(size * np.minimum(rate, cap))[inside], minlength=len(target))
            worst = max(worst, float(np.abs(now - target).max()) / total)
            rate = _rescaled(rate, size, value, target, cap)
        if worst < _EXACT:
            break
    return np.minimum(rate, cap)


def _rescaled(rate: np.ndarray, size: np.ndarray, value: np.ndarray, target: np.ndarray, cap: float) -> np.ndarray:
    """Rates multiplied by a factor per value, so that with the cap each value comes to its target if it can."""
    inside = rate > 0
    index, part, mass = value[inside], rate[inside], size[inside]
    capped = np.zeros(len(part), bool)
    factor = np.ones(len(target))
    while True:
        held = np.bincount(index[capped], weights=mass[capped] * cap, minlength=len(target))
        free = np.bincount(index[~capped], weights=(mass * part)[~capped], minlength=len(target))
        need = np.maximum(target - held, 0.0)
        factor = np.where(free > 0, need / np.where(free > 0, free, 1.0), factor)
        now = capped | (part * factor[index] >= cap)
        if (now == capped).all():
            break
        capped = now
    result = rate.copy()
    result[inside] = np.clip(part * factor[index], 1e-12, 1e12)
    return result

"""The plan of a mixture: what is there, what each recipe takes of it, and what that comes to.

It is made in one place from sums, never from documents: tokens, bytes and documents of each stratum at each of 65,536
places. Workers then decide for each document alone, and get exactly what is counted here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages.mix.rates import Fit, fit
from stages.mix.recipe import Recipe
from stages.mix.report import REPORT, report_rows
from stages.mix.selection import copies, settle
from stages.mix.strata import describe

#: What a worker needs of the plan: for each stratum and recipe where reading starts and ends.
READINGS = pa.schema([("key", pa.string()), ("start", pa.list_(pa.int64())), ("end", pa.list_(pa.int64()))])

_UNITS = ("documents", "tokens", "bytes")


@dataclass
class MixturePlan:
    """readings: table of `READINGS`; report: table of `REPORT`; totals: per recipe what is drawn, {unit: amount};
    fits: what was planned, per recipe; reached: what was asked for and could not be had, in words."""

    readings: pa.Table
    report: pa.Table
    totals: list[dict[str, int]]
    fits: list[Fit]


def make_plan(entries: pa.Table, recipes: Sequence[Recipe], scale: float = 1.0) -> MixturePlan:
    """Plan a mixture. `entries`: sums with the columns key, place (uint16), documents, tokens, bytes; in any order,
    each (key, place) once."""
    encoded = entries["key"].combine_chunks().dictionary_encode()
    by_name = pc.sort_indices(encoded.dictionary).to_numpy()
    rank = np.empty(len(by_name), np.int64)
    rank[by_name] = np.arange(len(by_name))
    names = encoded.dictionary.take(pa.array(by_name))
    stratum = rank[encoded.indices.to_numpy()] if len(rank) else np.zeros(0, np.int64)
    place = entries["place"].to_numpy().astype(np.uint16)
    order = np.lexsort((place, stratum))
    stratum, place = stratum[order], place[order]
    amounts = {unit: entries[unit].to_numpy().astype(np.int64)[order] for unit in _UNITS}
    supply = {unit: np.bincount(stratum, weights=a, minlength=len(names)) for unit, a in amounts.items()}

    strata = describe(names, recipes)
    start = np.zeros(len(names), np.int64)
    starts, ends, fits, totals = [], [], [], []
    report: list[dict[str, Any]] = []
    for recipe in recipes:
        found = fit(recipe, strata, supply[recipe.unit], scale)
        group = _groups(found, len(names))
        by_group = np.lexsort((place, stratum, group[stratum]))
        ordered = group[stratum][by_group]
        cuts = np.concatenate([[0], np.flatnonzero(np.diff(ordered)) + 1, [len(ordered)]])
        size = amounts[recipe.unit][by_group].astype(np.float64)
        end = settle(stratum[by_group], place[by_group], size, cuts, start, found.rate, recipe.max_epochs)
        times = copies(place, start[stratum], end[stratum]).astype(np.int64)
        drawn = {unit: np.bincount(stratum, weights=a * times, minlength=len(names)) for unit, a in amounts.items()}
        totals.append({unit: int(d.sum()) for unit, d in drawn.items()})
        report += report_rows(recipe, found, supply, drawn)
        starts.append(start)
        ends.append(end)
        fits.append(found)
        start = end
    readings = pa.table(
        [
            names.cast(pa.string()),
            *(
                pa.ListArray.from_arrays(
                    pa.array(np.arange(len(names) + 1) * len(recipes), pa.int32()), pa.array(np.stack(x, 1).ravel())
                )
                for x in (starts, ends)
            ),
        ],
        schema=READINGS,
    )
    return MixturePlan(readings, pa.Table.from_pylist(report, REPORT), totals, fits)


def _groups(found: Fit, n: int) -> np.ndarray:
    """Number of each stratum's combination of values, the first rule's first."""
    group = np.zeros(n, np.int64)
    for margin in found.margins:
        group = group * (len(margin.names) + 1) + margin.value + 1
    return group

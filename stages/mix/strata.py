"""Strata: documents that no rule of any recipe tells apart. What a plan is made from is their sizes.

A stratum is a combination of label values, ranges of length and steps of weight. A document's weight is rounded to one
of 32 steps an octave (2.2 %), so that a plan needs to know how many documents have which weight, and not each of them.

The key of a stratum is a string, its parts joined by an unprintable character, so that it means the same in every
shard. `describe` takes it apart again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages.mix.expression import Expression
from stages.mix.recipe import Recipe

#: Steps of a weight in an octave.
STEPS = 32
#: Weights beyond 2 ** 20, or below 2 ** -20, are taken for those.
_OCTAVES = 20
_BETWEEN = "\x1f"
#: As a weight's step: never drawn.
_NEVER = "-"


def label_columns(recipes: Sequence[Recipe]) -> list[str]:
    """Columns whose values have shares in any of the recipes."""
    return sorted({rule.column for recipe in recipes for rule in recipe.shares if rule.column is not None})


def _lengths(recipe: Recipe) -> list[tuple[int, int]] | None:
    """[from, to) of a recipe's ranges of length, or None."""
    for rule in recipe.shares:
        if rule.lengths is not None:
            return [(bucket.from_, bucket.to or 1 << 62) for bucket in rule.lengths]
    return None


def keys(docs: pa.Table, recipes: Sequence[Recipe], lengths: np.ndarray) -> tuple[pa.Array, dict[str, int]]:
    """Key of each document's stratum (string), and per recipe how many documents have no weight (null or NaN).

    lengths: tokens of each document with its end, int64. ValueError if an expression does not fit the columns.
    """
    n = docs.num_rows
    parts: list[pa.Array | pa.ChunkedArray] = []
    weightless: dict[str, int] = {}
    for column in label_columns(recipes):
        parts.append(pc.replace_substring(pc.fill_null(docs[column].cast(pa.string()), ""), _BETWEEN, " "))
    for recipe in recipes:
        ranges = _lengths(recipe)
        if ranges is not None:
            edges = np.array([low for low, _ in ranges])
            place = np.searchsorted(edges, lengths, side="right") - 1
            inside = (place >= 0) & (lengths < np.array([high for _, high in ranges])[place])
            parts.append(pa.array(np.where(inside, place, -1)).cast(pa.string()))
        steps, without = _steps(docs, recipe, n)
        if steps is not None:
            parts.append(steps)
        if without:
            weightless[recipe.name] = without
    if not parts:
        return pa.repeat("", n), weightless
    joined = pc.binary_join_element_wise(*parts, pa.scalar(_BETWEEN))
    return (joined.combine_chunks() if isinstance(joined, pa.ChunkedArray) else joined), weightless


def _steps(docs: pa.Table, recipe: Recipe, n: int) -> tuple[pa.Array | None, int]:
    """Step of each document's weight as a string, or None where the recipe has no expression."""
    if recipe.weight is None and recipe.where is None:
        return None, 0
    never, without = np.zeros(n, bool), 0
    if recipe.where is not None:
        chosen = Expression(recipe.where)(docs)
        never |= ~pc.fill_null(chosen.cast(pa.bool_()), False).to_numpy(zero_copy_only=False)
    steps = np.zeros(n, np.int64)
    if recipe.weight is not None:
        weights = Expression(recipe.weight)(docs).cast(pa.float64())
        values = pc.fill_null(weights, np.nan).to_numpy(zero_copy_only=False)
        without = int((np.isnan(values) & ~never).sum())
        never |= ~(values > 0)
        limited = np.clip(np.where(never, 1.0, values), 2.0**-_OCTAVES, 2.0**_OCTAVES)
        steps = np.rint(np.log2(limited) * STEPS).astype(np.int64)
    text = pa.array(steps).cast(pa.string())
    return pc.if_else(pa.array(never), _NEVER, text), without


@dataclass(frozen=True)
class Strata:
    """What the keys of strata say. Arrays have one entry per stratum, in the order of the keys.

    labels: column -> values (string array); buckets: recipe -> number of the range of length, or -1 for none of them;
    weights: recipe -> weight, 0 where it is never drawn.
    """

    labels: dict[str, pa.Array]
    buckets: dict[str, np.ndarray]
    weights: dict[str, np.ndarray]


def describe(names: pa.Array, recipes: Sequence[Recipe]) -> Strata:
    """Take keys apart."""
    n = len(names)
    fields = pc.split_pattern(names, _BETWEEN)
    width = len(fields[0]) if n else 0
    table = np.array(fields.flatten().to_pylist(), object).reshape(n, width) if n else np.empty((0, 0), object)
    at = 0
    labels: dict[str, pa.Array] = {}
    buckets: dict[str, np.ndarray] = {}
    weights: dict[str, np.ndarray] = {}
    for column in label_columns(recipes):
        labels[column] = pa.array(table[:, at] if n else [], pa.string())
        at += 1
    for recipe in recipes:
        if _lengths(recipe) is not None:
            buckets[recipe.name] = table[:, at].astype(np.int64) if n else np.zeros(0, np.int64)
            at += 1
        weight = np.ones(n)
        if recipe.weight is not None or recipe.where is not None:
            steps = table[:, at] if n else np.empty(0, object)
            never = steps == _NEVER
            weight = np.where(never, 0.0, 2.0 ** (np.where(never, "0", steps).astype(np.float64) / STEPS))
            at += 1
        weights[recipe.name] = weight
    return Strata(labels, buckets, weights)

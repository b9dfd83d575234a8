"""Evaluates sets of boosted regression trees (Friedman 2001) that are kept as arrays of numbers in a file.

A library for it would be a large dependency for two hundred lines a page. Here all lines walk a tree at once, and as
many steps as it is deep, so that no step waits for the outcome of another.
"""

from __future__ import annotations

import json
import lzma
from functools import cache
from pathlib import Path

import numpy as np
from numba import njit

#: Roots, depths, nodes, limits and values of a set of trees, as `score` takes them.
Trees = tuple[np.ndarray, ...]


@njit(nogil=True, cache=True)
def _step(row: np.ndarray, at: np.uint64, nodes: np.ndarray, limit: np.ndarray) -> np.uint64:
    """The child of a node to which a line goes."""
    node = np.uint64(nodes[at])
    return (node >> np.uint64(8)) + np.uint64(row[node & np.uint64(255)] > limit[at])


@njit(nogil=True, cache=True)
def score(
    rows: np.ndarray, roots: np.ndarray, depths: np.ndarray, nodes: np.ndarray, limit: np.ndarray, value: np.ndarray
) -> np.ndarray:
    """Sum of the trees' values. A node is its left child's number in the upper bits and its feature in the lower eight;
    its right child follows its left one. A leaf is its own left child, with a limit that nothing exceeds.

    So all lines take as many steps as the tree is deep, eight of them at a time, and no step waits for a guess of the
    last one's outcome: three times as fast as stopping at leaves. Numbers without a sign spare numba the look for
    negative ones.
    """
    n = len(rows)
    out = np.zeros(n, np.float64)
    for tree in range(len(roots)):  # a tree's nodes stay in the first cache
        root, depth = np.uint64(roots[tree]), depths[tree]
        for k in range(0, n - 7, 8):
            a = b = c = d = e = f = g = h = root
            for _ in range(depth):
                a = _step(rows[k], a, nodes, limit)
                b = _step(rows[k + 1], b, nodes, limit)
                c = _step(rows[k + 2], c, nodes, limit)
                d = _step(rows[k + 3], d, nodes, limit)
                e = _step(rows[k + 4], e, nodes, limit)
                f = _step(rows[k + 5], f, nodes, limit)
                g = _step(rows[k + 6], g, nodes, limit)
                h = _step(rows[k + 7], h, nodes, limit)
            out[k] += value[a]
            out[k + 1] += value[b]
            out[k + 2] += value[c]
            out[k + 3] += value[d]
            out[k + 4] += value[e]
            out[k + 5] += value[f]
            out[k + 6] += value[g]
            out[k + 7] += value[h]
        for k in range(n - n % 8, n):
            a = root
            for _ in range(depth):
                a = _step(rows[k], a, nodes, limit)
            out[k] += value[a]
    return out


@cache
def read_trees(path: Path) -> tuple[Trees, ...]:
    """The sets of trees in a file that `train_main_lines` has written."""
    with lzma.open(path, "rt", encoding="ascii") as file:
        sets = json.load(file)
    return tuple(_arrays(trees) for trees in sets)


def _arrays(model: dict[str, list[float]]) -> Trees:
    """A set of trees as `score` takes it; in the file a leaf's feature is -1."""
    roots, left = np.array(model["roots"], np.int32), np.array(model["left"], np.int32)
    feature, limit = np.array(model["feature"], np.int16), np.array(model["limit"], np.float32)
    leaf = feature < 0
    left[leaf] = np.flatnonzero(leaf)
    feature[leaf], limit[leaf] = 0, np.inf
    depths, level = np.zeros(len(roots), np.int32), roots[:, None]
    while len(level := np.unique(level)):
        level = level[~leaf[level]]
        depths[np.unique(np.searchsorted(roots, level, side="right") - 1)] += 1
        level = np.concatenate([left[level], left[level] + 1])
    nodes = (left.astype(np.uint32) << 8) | feature.astype(np.uint32)
    return roots, depths, nodes, limit, np.array(model["value"], np.float32)

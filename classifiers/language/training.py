"""Fits the network: the sample of each epoch, the order, the seeds.

Languages have between 87 and 6,000 sentences. Left as they are the large ones would win every doubt; made equal, the
thin ones would be learned by heart. Each epoch draws each language between `least` and `most` times, in an order of
its own; a language of few sentences repeats them. Interface messages are the most numerous source and the least like
pages, so where a language has enough of others they make up at most a third.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numba import njit

from classifiers.language.features import fold, lower_case, n_grams, symbols
from classifiers.language.network import MOST, ROOM, softmax, train
from classifiers.language.script import scripts
from classifiers.language.weights import network_script, script_ranges


@dataclass(frozen=True)
class Examples:
    """Texts with labels: `labels` are places in `names`; `share` is the most of a source in a language's epoch."""

    data: np.ndarray  # uint8, the texts' UTF-8
    starts: np.ndarray  # int64 (texts + 1,)
    labels: np.ndarray  # int32
    names: tuple[str, ...]

    @classmethod
    def of(cls, texts: list[str] | np.ndarray, labels: np.ndarray, names: tuple[str, ...] | None = None) -> Examples:
        """`labels` are strings (`fra_Latn`); `names` is by default all that occur, those of one script together."""
        names = names or ordered(set(labels.tolist()))
        place = {name: i for i, name in enumerate(names)}
        numbers = np.array([place[label] for label in labels], np.int32)
        return cls(*utf8(texts), numbers, names)


def ordered(names: set[str]) -> tuple[str, ...]:
    """Labels in the order the network wants: by script."""
    return tuple(sorted(names, key=lambda name: (network_script(name.rsplit("_", 1)[1]), name)))


def utf8(texts: list[str] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(bytes, starts) of texts, read-only."""
    array = pa.array(texts, pa.large_string())
    _, offsets, data = array.buffers()
    return np.frombuffer(data or b"", np.uint8), np.frombuffer(offsets, np.int64)[: len(array) + 1]


@dataclass(frozen=True)
class Settings:
    """Of the recipe: see `recipe.toml`."""

    dimensions: int = 32
    buckets: int = 1 << 20
    epochs: int = 6
    learning_rate: float = 0.8
    fragments: float = 0.35
    least: int = 1500
    most: int = 4000


@dataclass(frozen=True)
class Network:
    """A network as trained, in float32: `vectors` (B, D), `weights` (D, L)."""

    names: tuple[str, ...]
    vectors: np.ndarray
    weights: np.ndarray

    def predict(self, examples: Examples) -> np.ndarray:
        """float32 (texts, L): probabilities of labels of the script of each text's own label."""
        result = np.zeros((len(examples.labels), len(self.names)), np.float32)
        ranges, numbers = label_ranges(self.names)
        _predict(
            examples.data, examples.starts, ranges[examples.labels], numbers[examples.labels], symbols(), lower_case(),
            self.vectors, self.weights, result,
        )  # fmt: skip
        return result


def label_ranges(names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """(int32 (L, 2), the labels of each label's script; uint8 (L,), the number of its script)."""
    numbers = np.array([scripts().index(network_script(name.rsplit("_", 1)[1])) + 1 for name in names], np.uint8)
    return script_ranges(names)[numbers], numbers


@njit(nogil=True, cache=True)
def _predict(data, starts, ranges, numbers, symbol, lower, vectors, weights, result):  # type: ignore[no-untyped-def]
    folded = np.empty(ROOM, np.uint8)
    rows = np.empty(MOST, np.int32)
    hidden = np.empty(vectors.shape[1], np.float32)
    for text in range(len(starts) - 1):
        n, _ = fold(data, starts[text], starts[text + 1], numbers[text], symbol, lower, folded)
        n = n_grams(folded, 0, n, len(vectors), rows)
        if n:
            softmax(vectors, rows, n, weights, ranges[text, 0], ranges[text, 1], hidden, result[text])


@njit(nogil=True, cache=True)
def _uses(data, starts, numbers, symbol, lower, uses):  # type: ignore[no-untyped-def]
    folded = np.empty(ROOM, np.uint8)
    rows = np.empty(MOST, np.int32)
    for text in range(len(starts) - 1):
        n, _ = fold(data, starts[text], starts[text + 1], numbers[text], symbol, lower, folded)
        n = n_grams(folded, 0, n, len(uses), rows)
        for k in range(n):
            uses[rows[k]] += 1


def count_uses(examples: Examples, buckets: int) -> np.ndarray:
    """int64 (B,): how often the texts use each bucket."""
    uses = np.zeros(buckets, np.int64)
    _, numbers = label_ranges(examples.names)
    _uses(examples.data, examples.starts, numbers[examples.labels], symbols(), lower_case(), uses)
    return uses


def draw(rows: np.ndarray, least: int, most: int, rng: np.random.Generator) -> np.ndarray:
    """`rows` in random order, repeated up to `least`, at most `most` of them."""
    n = min(max(len(rows), least), most)
    rounds = [rng.permutation(rows) for _ in range(-(-n // len(rows)))]
    return np.concatenate(rounds)[:n]


def fit(
    examples: Examples,
    settings: Settings,
    seed: int,
    quotas: dict[str, tuple[int, int]] | None = None,
    shy: np.ndarray | None = None,
) -> Network:
    """Train a network. `quotas`: (least, most) of single labels; `shy`: mask of texts that are to make up at most a
    third of their label's sample where there are enough others."""
    rng = np.random.default_rng(seed)
    ranges, numbers = label_ranges(examples.names)
    vectors = (rng.random((settings.buckets, settings.dimensions), np.float32) * 2 - 1) / settings.dimensions
    weights = np.zeros((settings.dimensions, len(examples.names)), np.float32)
    state = np.array([seed + 0x9E3779B97F4A7C15], np.uint64)
    order = np.argsort(examples.labels, kind="stable")
    by_label = np.split(order, np.searchsorted(examples.labels[order], np.arange(1, len(examples.names))))
    for epoch in range(settings.epochs):
        drawn = []
        for name, rows in zip(examples.names, by_label, strict=True):
            if len(rows) == 0 or np.ptp(ranges[examples.names.index(name)]) < 2:
                continue  # nothing to learn where a script has one label
            least, most = (quotas or {}).get(name, (settings.least, settings.most))
            if shy is not None and shy[rows].any() and not shy[rows].all():
                others = rows[~shy[rows]]
                take = max(least - len(others), min(most, len(others)) // 2)
                rows = np.concatenate([others, rng.permutation(rows[shy[rows]])[:take]])
            drawn.append(draw(rows, least, most, rng))
        sample = rng.permutation(np.concatenate(drawn)) if drawn else np.zeros(0, np.int64)
        rate = settings.learning_rate * (1 - np.array([epoch, epoch + 1]) / settings.epochs)
        train(
            examples.data, examples.starts, sample, examples.labels, ranges, numbers, symbols(), lower_case(),
            vectors, weights, rate, settings.fragments, state,
        )  # fmt: skip
    return Network(examples.names, vectors, weights)

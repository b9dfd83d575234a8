"""Counters and histograms that stages record, merged over batches, shards and runs.

The numbers must be the same for any batch split and any number of workers, so everything here is an integer
count: a histogram has fixed edges that its stage chooses, never edges fitted to the batch at hand. Merging is
addition, and addition does not care about order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


@dataclass
class Histogram:
    """Counts of values in the bins [edges[i], edges[i+1]), with one open bin before the first and after the last."""

    edges: tuple[float, ...]
    counts: list[int]

    def merge(self, other: Histogram) -> None:
        if self.edges != other.edges:
            raise ValueError(f"histograms with different edges cannot be merged: {self.edges} and {other.edges}")
        self.counts = [a + b for a, b in zip(self.counts, other.counts, strict=True)]


@dataclass
class Metrics:
    """What one stage recorded. `counters` maps a name, or `name=value` for a count per value, to an integer."""

    counters: dict[str, int] = field(default_factory=dict)
    histograms: dict[str, Histogram] = field(default_factory=dict)

    def count(self, name: str, n: int = 1) -> None:
        """Add `n` to a counter."""
        self.counters[name] = self.counters.get(name, 0) + int(n)

    def count_values(self, name: str, values: pa.Array | pa.ChunkedArray) -> None:
        """Count the documents per value of a column, as `name=value`; null is counted as `name=`."""
        for pair in pc.value_counts(values):
            value = pair["values"].as_py()
            self.count(f"{name}={'' if value is None else value}", pair["counts"].as_py())

    def compare(self, group: str, name: str, planned: int, realised: int) -> None:
        """Count what was planned for one of a group and what came of it; shown as shares of the group."""
        self.count(f"planned|{group}|{name}", planned)
        self.count(f"realised|{group}|{name}", realised)

    def observe(self, name: str, values: np.ndarray | pa.Array | pa.ChunkedArray, edges: Sequence[float]) -> None:
        """Add values to a histogram with fixed, increasing `edges`; nulls and NaN are left out."""
        if isinstance(values, pa.Array | pa.ChunkedArray):
            values = pc.drop_null(values).to_numpy()
        values = values[~np.isnan(values)] if values.dtype.kind == "f" else values
        bins = np.searchsorted(np.asarray(edges), values, side="right")
        new = Histogram(tuple(float(e) for e in edges), np.bincount(bins, minlength=len(edges) + 1).tolist())
        if name in self.histograms:
            self.histograms[name].merge(new)
        else:
            self.histograms[name] = new

    def merge(self, other: Metrics) -> None:
        """Add everything another batch, shard or run recorded."""
        for name, n in other.counters.items():
            self.count(name, n)
        for name, histogram in other.histograms.items():
            if name in self.histograms:
                self.histograms[name].merge(histogram)
            else:
                self.histograms[name] = Histogram(histogram.edges, list(histogram.counts))

    def to_json(self) -> dict:
        """Plain dictionaries for a manifest, keys sorted."""
        return {
            "counters": dict(sorted(self.counters.items())),
            "histograms": {
                name: {"edges": list(h.edges), "counts": h.counts} for name, h in sorted(self.histograms.items())
            },
        }

    @classmethod
    def from_json(cls, data: dict) -> Metrics:
        """The inverse of `to_json`."""
        return cls(
            dict(data.get("counters", {})),
            {k: Histogram(tuple(h["edges"]), list(h["counts"])) for k, h in data.get("histograms", {}).items()},
        )

"""Whether one corpus trains better models than another: paired proxies, and an interval that can be trusted.

Both corpora train a model for each seed, at equal tokens, and the models of a seed start alike. What is compared is
the difference in bits per byte on the same held-out documents. Two things make it uncertain: other seeds would have
given other differences, and so would other documents. Both enter the standard error (the second over documents, since
tokens of one document are not independent); the interval is Student's with seeds - 1 degrees of freedom, because the
variance between seeds is estimated from so few.

Trade-off: the two are added as if seeds and documents did not interact, which counts the seeds' noise within documents
twice. The interval is a little too wide for it, on the safe side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from curation.errors import ConfigError
from training.held_out import HeldOut
from training.proxy import Corpus, Proxy, apart_from, common_ids, proxy_nats


@dataclass(frozen=True)
class Comparison:
    """Bits per byte of models of two corpora, `first` and `second`: float64 [seeds]. difference: second - first; below
    0 the second trains better models. low, high: of the 95 % interval; p: of the paired test against no difference."""

    first: np.ndarray
    second: np.ndarray
    difference: float
    low: float
    high: float
    p: float

    @property
    def verdict(self) -> str:
        """`better`, `worse` (the second than the first), or `no difference found`."""
        return "better" if self.high < 0 else "worse" if self.low > 0 else "no difference found"


def paired(first: np.ndarray, second: np.ndarray, n_bytes: np.ndarray) -> Comparison:
    """Compare nats of documents under the models of two corpora, float64 [seeds, documents]; n_bytes of the documents.

    ConfigError below two seeds or documents.
    """
    from scipy import stats

    seeds, documents = first.shape
    if seeds < 2 or documents < 2:
        raise ConfigError(f"{seeds} seeds and {documents} documents: at least two of each are needed to compare")
    bits = (second - first) / math.log(2)
    per_seed = bits.sum(1) / n_bytes.sum()
    mean = float(per_seed.mean())
    of_seeds = per_seed.var(ddof=1) / seeds
    residuals = bits.mean(0) - mean * n_bytes  # of the ratio of sums, document by document
    of_documents = documents / (documents - 1) * (residuals**2).sum() / n_bytes.sum() ** 2
    error = math.sqrt(of_seeds + of_documents)
    half = float(stats.t.ppf(0.975, seeds - 1)) * error
    p = float(2 * stats.t.sf(abs(mean) / error, seeds - 1)) if error else 1.0
    both = [nats.sum(1) / n_bytes.sum() / math.log(2) for nats in (first, second)]
    return Comparison(both[0], both[1], mean, mean - half, mean + half, p)


def judge(
    corpora: Sequence[Corpus], held: HeldOut, settings: Proxy, seeds: int, say: Callable[[str], None]
) -> np.ndarray:
    """Nats of each held-out document under proxies of each corpus, float64 [corpora, seeds, documents].

    The corpora share the map of ids, and lose the held-out documents and copies of them before any is trained on.
    """
    apart = [apart_from(corpus, held) for corpus in corpora]
    for i, (before, left) in enumerate(zip(corpora, apart, strict=True), 1):
        size = f"{len(left.names):,} documents, {left.tokens:,} tokens ({left.tokens / settings.tokens:.2f} of a run)"
        say(f"corpus {i}: {size}; {len(before.names) - len(left.names):,} held out, or copies of those")
    id_map = common_ids(apart, settings.vocabulary)
    nats: list[list[np.ndarray]] = [[] for _ in apart]
    for seed in range(seeds):
        for i, corpus in enumerate(apart):
            nats[i].append(proxy_nats(settings, {"": corpus}, {"": 1.0}, id_map, held, seed))
        bits = [n[-1].sum() / held.n_bytes.sum() / math.log(2) for n in nats]
        more = ", ".join(f"{b - bits[0]:+.4f}" for b in bits[1:])
        say(f"seed {seed + 1} of {seeds}: {' and '.join(f'{b:.4f}' for b in bits)} bits per byte, {more}")
    return np.array(nats)


def compare(
    first: Corpus, second: Corpus, held: HeldOut, settings: Proxy, seeds: int, say: Callable[[str], None]
) -> Comparison:
    """Train `seeds` pairs of proxies on the corpora, without held-out documents and copies of them, and compare."""
    nats = judge((first, second), held, settings, seeds, say)
    return paired(nats[0], nats[1], held.n_bytes)

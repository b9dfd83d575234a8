"""The trained network as a file: the n-gram vectors that matter, in 8 bits, and what the numbers stand for.

A million float32 vectors are 128 MB; a repository wants a few. Most vectors say little: those of n-grams that are
rare, or frequent everywhere, lie near zero. The longest are kept, times how often they are used, each as 8-bit integers
with one scale. Keeping an eighth of them changes 1.4 % of the answers on held-out sentences. fastText's product
quantization packs tighter, and costs three quarters of the speed, because every use has to look codes up; 8-bit
integers are used as they are.

The file is a numpy `.npz`, the same bytes for the same numbers: `np.load` reads it, and nothing in it is code.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from classifiers.language.features import LONGEST, SHORTEST
from classifiers.language.script import scripts

#: Scripts whose text is judged by its characters, and which therefore are one to the network: Han with kana.
HAN = "Hani"


def network_script(script: str) -> str:
    """The script a label's text has for the network: Japanese and both forms of Chinese are `Hani`."""
    return HAN if script in ("Jpan", "Hans", "Hant") else "Hang" if script == "Kore" else script


@dataclass(frozen=True)
class Weights:
    """A trained network of L labels, K kept vectors of D dimensions and B buckets.

    labels: L labels (`fra_Latn`, `x-ha_Latn` for languages outside, `zxx_Latn`), those of one script together.
    kept: int32 (K,), the buckets whose vectors are kept, increasing. vectors: int8 (K, D), to be multiplied by
    scales: float32 (K,). weights: float32 (D, L).
    """

    labels: tuple[str, ...]
    buckets: int
    kept: np.ndarray
    vectors: np.ndarray
    scales: np.ndarray
    weights: np.ndarray

    @cached_property
    def ranges(self) -> np.ndarray:
        """int32 (number of scripts + 1, 2): first and one past the last label of each script, by its number in the
        table of symbols (0 is no script)."""
        return script_ranges(self.labels)

    @cached_property
    def index(self) -> np.ndarray:
        """int32 (B,): the row of `vectors` for each bucket, -1 if it is not kept."""
        index = np.full(self.buckets, -1, np.int32)
        index[self.kept] = np.arange(len(self.kept), dtype=np.int32)
        return index

    @classmethod
    def quantized(
        cls, labels: tuple[str, ...], vectors: np.ndarray, weights: np.ndarray, uses: np.ndarray, keep: int
    ) -> Weights:
        """Keep the `keep` vectors (float32 (B, D)) that matter most. `uses`: how often training met each bucket."""
        matter = np.linalg.norm(vectors, axis=1) * np.sqrt(uses)
        kept = np.sort(np.argsort(-matter, kind="stable")[: min(keep, int((uses > 0).sum()))]).astype(np.int32)
        scales = (np.abs(vectors[kept]).max(axis=1) / 127).astype(np.float16).astype(np.float32)
        scales[scales == 0] = 1
        small = np.clip(np.rint(vectors[kept] / scales[:, None]), -127, 127).astype(np.int8)
        return cls(labels, len(vectors), kept, small, scales, weights.astype(np.float16).astype(np.float32))

    def save(self, path: str | Path) -> None:
        """Write the `.npz`."""
        np.savez_compressed(
            path,
            labels=np.array("\n".join(self.labels)),
            buckets=np.int64(self.buckets),
            kept=np.diff(self.kept, prepend=0),
            vectors=self.vectors,
            scales=self.scales.astype(np.float16),
            weights=self.weights.astype(np.float16),
        )

    @classmethod
    def load(cls, path: str | Path) -> Weights:
        """Read an `.npz`. ValueError if it is none of ours."""
        try:
            with np.load(path, allow_pickle=False) as file:
                kept = np.cumsum(file["kept"], dtype=np.int32)
                labels = tuple(str(file["labels"]).split("\n"))
                scales, weights = file["scales"].astype(np.float32), file["weights"].astype(np.float32)
                return cls(labels, int(file["buckets"]), kept, file["vectors"], scales, weights)
        except (KeyError, OSError, ValueError) as error:
            raise ValueError(f"{path} is not a language model made by `curation classifiers train language`") from error

    def to_fasttext(self, path: str | Path) -> None:
        """Write the model as a fastText `.bin`, for any program that reads those. It has no script gate, no limits, and
        expects text without digits and punctuation, lower case."""
        dimensions = self.weights.shape[0]
        dense = np.zeros((self.buckets, dimensions), np.float32)
        dense[self.kept] = self.vectors * self.scales[:, None]
        with open(path, "wb") as file:
            file.write(struct.pack("<ii", 793712314, 12))
            # dim, ws, epoch, minCount, neg, wordNgrams, loss softmax, model supervised, bucket, minn, maxn, rate, t
            arguments = (dimensions, 5, 1, 1, 5, 1, 3, 3, self.buckets, SHORTEST, LONGEST, 100)
            file.write(struct.pack("<12id", *arguments, 1e-4))
            file.write(struct.pack("<iiiqq", len(self.labels), 0, len(self.labels), 1, -1))
            for label in self.labels:
                file.write(f"__label__{label}".encode() + b"\0" + struct.pack("<qb", 1, 1))
            for matrix in (dense, np.ascontiguousarray(self.weights.T)):
                file.write(struct.pack("<?qq", False, *matrix.shape) + matrix.tobytes())


def script_ranges(labels: tuple[str, ...]) -> np.ndarray:
    """See `Weights.ranges`. ValueError if labels of one script do not stand together."""
    ranges = np.zeros((len(scripts()) + 1, 2), np.int32)
    of = [network_script(label.rsplit("_", 1)[1]) for label in labels]
    for script in set(of):
        first, count = of.index(script), of.count(script)
        if of[first : first + count] != [script] * count:
            raise ValueError(f"the labels of {script} do not stand together")
        ranges[scripts().index(script) + 1] = first, first + count
    return ranges

"""Tells whether a page's characters make words of any language.

The garbage that structure cannot show: a font whose ToUnicode map is wrong gives clean letters that spell nothing, and
a bad OCR program hides a layer of near-words under a scan. No router measured for this project catches either. A linear
model on hashed runs of one to four characters does; `train_legibility` makes it, and says how often it is wrong on
sentences it has not seen. A score of language identification would not do: it finds a rare language for any string of
letters.

On such sentences in 117 languages, below 0.3: no page of text, and of pages damaged in five ways 81 %, 71 % and 57 %
with more than 400, 100 to 400 and less than 100 characters. Most of what is missed is Han and Kana.
"""

from __future__ import annotations

import lzma
import re
from pathlib import Path

import numpy as np
from numba import njit

MODEL = Path(__file__).with_name("legibility.xz")
#: The model: so many weights, one byte each, in units of 1 / SCALE; the first is the bias.
BUCKETS = 1 << 18
SCALE = 8.0
LONGEST_RUN = 4
#: Characters of a page that are looked at, in equal parts from its beginning, middle and end.
SAMPLE = 2400
#: Letters below which a page's characters say nothing.
FEWEST = 40

_DIGITS = re.compile(r"\d+")
_SPACE = re.compile(r"\s+")


def folded(text: str) -> np.ndarray:
    """Code points, uint32, of a text as the model sees it: small letters, runs of digits as one 0, white space as
    single spaces, with a space around it."""
    plain = _SPACE.sub(" ", _DIGITS.sub("0", text.lower())).strip()
    return np.frombuffer(f" {plain} ".encode("utf-32-le", "replace"), np.uint32)


@njit(nogil=True, cache=True)
def buckets(points):
    """The bucket of each run of 1 to 4 code points, int32 (m,)."""
    found = np.empty(LONGEST_RUN * len(points), np.int32)
    m = 0
    for i in range(len(points)):
        value = np.uint64(1469598103934665603)
        for k in range(min(LONGEST_RUN, len(points) - i)):
            value = (value ^ np.uint64(points[i + k])) * np.uint64(1099511628211)
            if k == 0 and points[i] == 32:
                continue
            mixed = value ^ (value >> np.uint64(29))
            found[m] = np.int32(1 + mixed % np.uint64(BUCKETS - 1))
            m += 1
            if k > 0 and points[i + k] == 32:
                break  # no run goes on behind a word
    return found[:m]


@njit(nogil=True, cache=True)
def log_odds(points, weights):
    """Log-odds, in units of 1 / SCALE, that code points are text: the bias and the mean weight of their runs."""
    runs = buckets(points)
    if not len(runs):
        return 0.0
    total = 0.0
    for run in runs:
        total += weights[run]
    return weights[0] + total / len(runs)


class Legibility:
    """The model. `Legibility.load().of(text)` gives the probability that it is text of some language."""

    def __init__(self, weights: np.ndarray) -> None:
        self._weights = weights.astype(np.float32)

    @classmethod
    def load(cls, path: str | Path = MODEL) -> Legibility:
        """Load a model file."""
        model = cls(np.frombuffer(lzma.decompress(Path(path).read_bytes()), np.int8))
        model.of("compiles the kernel with a text of more than forty letters")
        return model

    def of(self, text: str) -> float:
        """Probability that a text is made of words; 1 for one with too few letters to say."""
        text = sample(text)
        if sum(map(str.isalpha, text)) < FEWEST:
            return 1.0
        return float(1 / (1 + np.exp(-log_odds(folded(text), self._weights) / SCALE)))


def sample(text: str) -> str:
    """At most `SAMPLE` characters of a text, from three places."""
    if len(text) <= SAMPLE:
        return text
    part = SAMPLE // 3
    middle = len(text) // 2
    return f"{text[:part]} {text[middle - part // 2 : middle + part // 2]} {text[-part:]}"

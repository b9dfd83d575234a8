"""Cleans labelled sentences: what is written in another script, said twice, or contradicted by the other sources.

Collections that grew by hand hold mistakes in whole runs: a folder of Slovenian that is Slovak, interface messages
nobody translated. One source cannot find its own mistakes, the others can: a model is trained without it, and its
rows that this model is sure are another language are dropped. Only languages that other sources know are judged so
(else everything in a language of one source would be contradicted), and neighbours in one group never contradict
each other.

The same models tell how well each source is predicted by the others, before anything is dropped.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from classifiers.language.labels import group_of, languages
from classifiers.language.script import count_letters
from classifiers.language.training import Examples, Settings, fit

#: A language is judged by other sources if those have at least this many sentences of it.
_ENOUGH = 200

#: Where more than this share of a source's rows of one language is contradicted, the rest is not believed in doubt:
#: there a row goes if another language is merely likelier than not. (Four in ten of Tatoeba's Slovenian are Slovak.)
_UNRELIABLE = 0.25

#: Small and quick: it must know what a language looks like, not tell neighbours apart.
_JUDGE = Settings(dimensions=16, buckets=1 << 19, epochs=3, least=500, most=2500)


@dataclass
class Cleaned:
    """Which rows stay, and for each language how many there were and how many went for which reason."""

    stays: np.ndarray
    counts: dict[str, Counter[str]] = field(default_factory=dict)
    #: source -> share of its rows (of languages that others know) for which a model without it names their group.
    agreement: dict[str, float] = field(default_factory=dict)

    def drop(self, rows: np.ndarray, codes: np.ndarray, reason: str) -> None:
        """Drop rows (a mask over all)."""
        rows = rows & self.stays
        for code, n in Counter(codes[rows].tolist()).items():
            self.counts[code][reason] += n
        self.stays &= ~rows


def in_script(texts: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Whether most letters of each text are of its language's script, and Chinese is in its form."""
    letters = count_letters(pa.array(texts, pa.large_string()))
    total = letters.total()
    right = np.zeros(len(texts), bool)
    for code in set(codes):
        script = languages()[code].script
        rows = codes == code
        right |= rows & (2 * letters.of(script) > total)
        if script == "Hans":
            right &= ~rows | (letters.simplified >= letters.traditional)
        elif script == "Hant":
            right &= ~rows | (letters.traditional >= letters.simplified)
        elif script == "Jpan":
            right &= ~rows | letters.is_japanese()
    return right


def clean(texts: np.ndarray, codes: np.ndarray, sources: np.ndarray, sure: float, seed: int) -> Cleaned:
    """Judge rows; `texts`, `codes`, `sources` are object arrays of strings. `sure`: the probability at which another
    language contradicts a row."""
    result = Cleaned(np.ones(len(texts), bool), {code: Counter(n) for code, n in _sizes(codes).items()})
    result.drop(~in_script(texts, codes), codes, "other_script")
    first: dict[str, int] = {}
    shared: set[str] = set()
    repeated = np.zeros(len(texts), bool)
    keys = [" ".join(unicodedata.normalize("NFC", text).lower().split()) for text in texts]
    for i, key in enumerate(keys):
        j = first.setdefault(key, i)
        repeated[i] = j != i and codes[j] == codes[i]
        if group_of(codes[j]) != group_of(codes[i]):
            shared.add(key)
    result.drop(np.array([key in shared for key in keys]), codes, "in_two_languages")
    result.drop(repeated, codes, "repeated")
    contradicted = np.zeros(len(texts), bool)
    for source in sorted(set(sources)):
        contradicted |= _contradicted(result, texts, codes, sources == source, source, sure, seed)
    result.drop(contradicted, codes, "contradicted")
    for code, n in _sizes(codes[result.stays]).items():
        result.counts[code]["kept"] = n["rows"]
    return result


def _sizes(codes: np.ndarray) -> dict[str, dict[str, int]]:
    return {code: {"rows": n} for code, n in Counter(codes.tolist()).items()}


def _contradicted(
    result: Cleaned, texts: np.ndarray, codes: np.ndarray, own: np.ndarray, source: str, sure: float, seed: int
) -> np.ndarray:
    """Mask of the rows of one source (mask `own`) that a model of the others is sure are in another group."""
    others = result.stays & ~own
    enough = {code for code, n in Counter(codes[others].tolist()).items() if n >= _ENOUGH}
    judged = np.flatnonzero(result.stays & own & np.isin(codes, list(enough)))
    mask = np.zeros(len(texts), bool)
    if not len(judged):
        return mask
    network = fit(Examples.of(texts[others], codes[others]), _JUDGE, seed)
    found = network.predict(Examples.of(texts[judged], codes[judged], network.names))
    best, probability = found.argmax(axis=1), found.max(axis=1)
    group = np.array([group_of(name) for name in network.names], object)
    other = (found.sum(axis=1) > 0) & (group[best] != np.array([group_of(code) for code in codes[judged]], object))
    result.agreement[source] = float(1 - other.mean())
    certain = other & (probability > sure)
    for code in set(codes[judged][certain]):
        mine = codes[judged] == code
        if certain[mine].mean() > _UNRELIABLE:
            certain |= mine & other & (probability > 0.5)
    mask[judged] = certain
    return mask

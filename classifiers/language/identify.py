"""Says what language documents are in: script gate, network, characters of Chinese, limits, and the two answers.

In this order. The script of each window limits the labels (`windows.py`); Greek or Korean need no model. Chinese and
Japanese are told apart by their characters (`script.py`), which know Cantonese better than any model. What remains is
judged by the network, and its probabilities are held against limits that held-out text of each language set:

- a document is `und` if the probability that it is in some language outside the 119 exceeds the limit of the language
  it looks most like. The limit is the 99.5 % quantile of that probability on real text of the language, and as short
  text is doubtful by nature, at least that on real text of its length. A guess at low probability is `und` too.
- it is `zxx`, no language, if the network says so, or if hardly any of its characters are letters.
- a variety (Moroccan Arabic, Bosnian) is named if it has its share of the group's probability; else the group is.

Trade-off: the limits are a promise about text like the held-out text. Chat, dialects and poetry pass them less often.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from classifiers.language.features import lower_case, symbols
from classifiers.language.labels import NO_LANGUAGE, UNKNOWN, group_of, groups, languages
from classifiers.language.limits import LENGTHS, LIMITS, SHIPPED_LIMITS, Limits
from classifiers.language.script import Letters, count_letters, scripts
from classifiers.language.weights import HAN, Weights, network_script
from classifiers.language.windows import read

#: The model that comes with the project.
SHIPPED = SHIPPED_LIMITS.parent
WEIGHTS = "weights.npz"

#: Fewer letters (and marks) than this share of the visible characters, and a text is a table or a drawing.
_LETTERS = 0.25

#: A guess is no answer: below this probability of the best group a text is `und`, and below the second if it has fewer
#: letters than `_SHORT`. The macro-F1 of held-out sentences and fragments is the better for both, that of documents the
#: same; at 0.5 for long text, documents that are half Malay and half Indonesian by their look would be lost.
_LEAST, _LEAST_SHORT, _SHORT = 0.4, 0.65, 15

#: A language is listed in `languages` if this share of a document is in it.
_LISTED = 0.1


class Identified(NamedTuple):
    """What n texts are in. Codes are those of `labels.tsv`, `und` or `zxx`."""

    languages: pa.Array  # string: one of the 119, else its group if the variety is unclear, else `und` or `zxx`
    groups: pa.Array  # string: the group, `und` or `zxx`
    scores: np.ndarray  # float32: probability of the group, 0 to 1; of `und` and `zxx` where these are the answer
    margins: np.ndarray  # float32: share of the group's probability that its likeliest variety has; 1 where it is alone
    shares: np.ndarray  # float32: share of the letters read that lie in windows of this group
    parts: (
        pa.Array
    )  # list<struct<language: string, share: float>>: groups with at least 10 % of the letters, most first
    labels: pa.Array  # string: the likeliest label of the network, also of languages outside (`x-ha_Latn`); may be null
    scripts: pa.Array  # string: ISO 15924, see `Letters.majority`


class Identifier:
    """A trained model with its limits. `Identifier.load()` gives the one shipped."""

    def __init__(self, weights: Weights, limits: Limits) -> None:
        self.weights, self.limits = weights, limits
        self._answers = [*groups(), UNKNOWN, NO_LANGUAGE, HAN]
        place = {answer: i for i, answer in enumerate(self._answers)}
        outside = place[UNKNOWN]
        answers = [place.get(_answer(label), outside) for label in weights.labels] + [outside]
        self._answer_of = np.array(answers, np.int32)
        self._merged = np.arange(256, dtype=np.uint8)
        for part in ("Hira", "Kana"):
            self._merged[scripts().index(part) + 1] = scripts().index(HAN) + 1
        self._outside_limit = np.array([limits.outside.get(group, 0.5) for group in groups()])
        members = [(place[lang.group], code) for code, lang in languages().items() if len(groups()[lang.group]) > 1]
        labels = {label: i for i, label in enumerate(weights.labels)}
        self._members = [(group, code, labels[code]) for group, code in members if code in labels]

    @classmethod
    def load(cls, folder: str | Path = SHIPPED) -> Identifier:
        """Load a folder that `curation classifiers train language` wrote. ValueError if it is none."""
        try:
            return cls(Weights.load(Path(folder) / WEIGHTS), Limits.load(Path(folder) / LIMITS))
        except OSError as error:
            raise ValueError(f"{folder} does not hold {WEIGHTS} and {LIMITS}") from error

    @cached_property
    def _tables(self) -> tuple[np.ndarray, ...]:
        tables = (
            symbols(), lower_case(), self._merged, self.weights.ranges, self.weights.index, self.weights.vectors,
            self.weights.scales, self.weights.weights, self._answer_of,
        )  # fmt: skip
        for table in tables:  # numba would compile once more for arrays that happen to be writable
            table.setflags(write=False)
        return tables

    def read(self, texts: pa.Array | pa.ChunkedArray) -> Reading:
        """Judge texts (string or large_string; null counts as empty)."""
        if isinstance(texts, pa.ChunkedArray):
            texts = texts.combine_chunks()
        if texts.null_count:
            texts = pc.fill_null(texts, "")
        texts = texts.cast(pa.large_string())
        n = len(texts)
        probabilities = np.zeros((n, len(self.weights.labels) + 1), np.float32)
        shares = np.zeros((n, len(self._answers)), np.float32)
        counts = np.zeros((n, 2), np.int64)
        if n:
            _, offsets, data = texts.buffers()
            starts = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + n + 1]
            bytes_ = np.frombuffer(data or b"", np.uint8)
            for view in (starts, bytes_):
                view.setflags(write=False)
            read(bytes_, starts, *self._tables, probabilities, shares, counts)  # type: ignore[call-arg]
        return Reading(probabilities, shares, counts, count_letters(texts))

    def answers(self, texts: pa.Array | pa.ChunkedArray) -> tuple[np.ndarray, Reading]:
        """float32 (texts, groups + 2): probabilities of the groups in their order, of `und` and of `zxx`; and what they
        come from."""
        reading = self.read(texts)
        by_answer = reading.by_answer(self._answer_of, len(self._answers))
        han = len(self._answers) - 1
        code = chinese_or_japanese(reading.letters)
        for answer in ("jpn_Jpan", "zho_Hans", "zhx_Hant"):
            place = self._answers.index(answer)
            for table in (by_answer, reading.shares):
                table[:, place] += np.where([group_of(c) == answer for c in code], table[:, han], 0)
        by_answer[:, han] = reading.shares[:, han] = 0
        return by_answer[:, :han], reading

    def identify(self, texts: pa.Array | pa.ChunkedArray) -> Identified:
        """What each text is in."""
        by_answer, reading = self.answers(texts)
        rows = np.arange(len(by_answer))
        n_groups = len(groups())
        best = by_answer[:, :n_groups].argmax(axis=1)
        unknown, nothing = by_answer[:, n_groups], by_answer[:, n_groups + 1]
        score = by_answer[rows, best]
        visible, letters = reading.counts[:, 1], reading.counts[:, 0]
        no_language = (visible > 0) & ((letters < _LETTERS * visible) | (nothing > np.maximum(score, unknown)))
        least = np.where(letters < _SHORT, _LEAST_SHORT, _LEAST)
        is_unknown = ~no_language & ((score < least) | (unknown > self._limit(best, letters)))
        answer = np.where(no_language, n_groups + 1, np.where(is_unknown, n_groups, best))
        names = np.array(self._answers, object)
        group_codes = names[answer]
        margins = np.ones(len(rows), np.float32)
        fine = group_codes.copy()
        self._varieties(reading, group_codes, fine, margins)
        score = np.where(no_language, np.where(nothing > 0, nothing, 1), np.where(is_unknown, unknown, score))
        score = np.where(visible == 0, 0, score).astype(np.float32)
        label_places = reading.probabilities.argmax(axis=1)
        label_names = np.array([*self.weights.labels, None], object)[label_places]
        return Identified(
            pa.array(fine, pa.string()),
            pa.array(group_codes, pa.string()),
            np.clip(score, 0, 1),
            margins,
            np.clip(reading.shares[rows, answer], 0, 1),
            _parts(reading.shares, names),
            pa.array(label_names, pa.string(), mask=reading.probabilities.max(axis=1, initial=0) == 0),
            reading.letters.majority(),
        )

    def _limit(self, best: np.ndarray, letters: np.ndarray) -> np.ndarray:
        """The most outside probability allowed, by text."""
        limit = self._outside_limit[best]
        by_length = np.array([*self.limits.lengths, 0.0])[np.searchsorted(LENGTHS, letters, side="right")]
        return np.maximum(limit, by_length)

    def _varieties(self, reading: Reading, group_codes: np.ndarray, fine: np.ndarray, margins: np.ndarray) -> None:
        """Fill in the varieties of groups of several, and their margins."""
        for group, members in groups().items():
            rows = np.flatnonzero(group_codes == group)
            if len(members) == 1 or not len(rows):
                continue
            if group == "zhx_Hant":
                fine[rows] = chinese_or_japanese(reading.letters)[rows]
                continue
            places = [label for _, code, label in self._members if code in members]
            codes = [code for _, code, label in self._members if code in members]
            if not places:
                continue
            own = reading.probabilities[rows][:, places]
            first = own.argmax(axis=1)
            margins[rows] = own.max(axis=1) / np.maximum(own.sum(axis=1), 1e-9)
            least = np.array([self.limits.margin.get(code, 0.0) for code in codes])[first]
            named = margins[rows] >= least
            fine[rows[named]] = np.array(codes, object)[first[named]]


@dataclass(frozen=True)
class Reading:
    """Arrays of `windows.read`, and the letters of the whole texts."""

    probabilities: np.ndarray
    shares: np.ndarray
    counts: np.ndarray
    letters: Letters

    def by_answer(self, answer_of: np.ndarray, answers: int) -> np.ndarray:
        """float32 (texts, answers): probabilities, summed by what labels stand for."""
        order = np.argsort(answer_of, kind="stable")
        present, firsts = np.unique(answer_of[order], return_index=True)
        result = np.zeros((len(self.probabilities), answers), np.float32)
        if len(self.probabilities):
            result[:, present] = np.add.reduceat(self.probabilities[:, order], firsts, axis=1)
        return result


def _answer(label: str) -> str:
    """What a label of the network stands for: a group, `zxx`, all Han writing, or `und`."""
    if label.startswith(NO_LANGUAGE):
        return NO_LANGUAGE
    if network_script(label.rsplit("_", 1)[1]) == HAN:
        return HAN
    return group_of(label) if label in languages() else UNKNOWN


#: Chinese text is Cantonese if at least this share of its Han characters is of a kind that only Cantonese uses. In
#: Cantonese sentences of NTREX-128 it is 9 % on average; below 2 % the text rather quotes some.
_CANTONESE_SHARE = 0.02


def chinese_or_japanese(letters: Letters, japanese: bool = True) -> np.ndarray:
    """For each text of Han characters `jpn_Jpan` (unless told that it is none), `yue_Hant`, `zho_Hant` or, also where
    no character decides, `zho_Hans`."""
    cantonese = (letters.cantonese > 0) & (letters.cantonese >= _CANTONESE_SHARE * letters.of("Hani"))
    form = np.where(letters.han_form() == "Hant", "zho_Hant", "zho_Hans")
    chinese = np.where(cantonese, "yue_Hant", form)
    return np.where(letters.is_japanese() & japanese, "jpn_Jpan", chinese).astype(object)


PARTS = pa.list_(pa.struct([("language", pa.string()), ("share", pa.float32())]))


def _parts(shares: np.ndarray, names: np.ndarray) -> pa.Array:
    """See `Identified.parts`."""
    text, answer = np.nonzero(shares >= _LISTED)
    share = shares[text, answer]
    order = np.lexsort((answer, -share, text))
    text, answer, share = text[order], answer[order], share[order]
    offsets = np.searchsorted(text, np.arange(len(shares) + 1)).astype(np.int32)
    values = pa.StructArray.from_arrays([pa.array(names[answer], pa.string()), pa.array(share)], ["language", "share"])
    return pa.ListArray.from_arrays(pa.array(offsets), values).cast(PARTS)

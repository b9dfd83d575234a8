"""How well a student agrees with its teacher, on documents it was not trained on, per dimension and language.

The teacher is the truth here, so a number says what is lost by asking the student instead, not how good the labels are.
Every number stands beside that of the laziest student, which always says what the teacher said most often in that
language: a student that does not beat it has learnt nothing.

Scores: Spearman's rank correlation, and Cohen's kappa with quadratic weights (Cohen 1968), of whole points. Categories:
Cohen's kappa (Cohen 1960). Calibration: the mean distance between confidence and accuracy in ten bins (Guo et al. 2017,
arXiv 1706.04599, section 3).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from classifiers.quality.dimensions import DIMENSIONS, Dimension
from classifiers.quality.student import Student, Training, _class

#: Name of the row that holds all languages together.
ALL = "all"


@dataclass(frozen=True)
class Agreement:
    """One dimension in one language. accuracy, majority: share of documents where the student, or the most frequent
    value of the other folds, is the teacher's. mean_error, majority_error: mean distance in points, of scores."""

    dimension: str
    language: str
    documents: int
    accuracy: float
    majority: float
    gain: float
    kappa: float
    spearman: float | None
    mean_error: float | None
    majority_error: float | None
    calibration_error: float


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1, equal values with the mean of theirs."""
    _, where, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return ((ends - counts + 1 + ends) / 2)[where]


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Rank correlation; 0 where one side never varies."""
    x, y = ranks(a), ranks(b)
    x, y = x - x.mean(), y - y.mean()
    norm = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / norm if norm else 0.0


def kappa(truth: np.ndarray, said: np.ndarray, classes: int, quadratic: bool = False) -> float:
    """Cohen's kappa of class numbers; 1 for perfect agreement also where there is but one class."""
    table = np.zeros((classes, classes))
    np.add.at(table, (truth, said), 1)
    table /= max(1, len(truth))
    expected = np.outer(table.sum(axis=1), table.sum(axis=0))
    i = np.arange(classes)
    weights = (i[:, None] - i[None, :]) ** 2.0 if quadratic else 1.0 - np.eye(classes)
    chance = float((weights * expected).sum())
    return 1.0 - float((weights * table).sum()) / chance if chance else 1.0


def calibration_error(confidence: np.ndarray, right: np.ndarray, bins: int = 10) -> float:
    """Expected calibration error, 0 to 1."""
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    counts = np.bincount(place, minlength=bins)
    gaps = np.abs(np.bincount(place, confidence, bins) - np.bincount(place, right, bins))
    return float(gaps.sum() / max(1, counts.sum()))


def confusion(truth: np.ndarray, said: np.ndarray, dimension: Dimension) -> dict[str, dict[str, int]]:
    """Teacher's value -> student's value -> documents, without zeros."""
    table: dict[str, dict[str, int]] = {}
    for (t, s), n in zip(*np.unique(np.stack([truth, said], 1), axis=0, return_counts=True), strict=True):
        table.setdefault(str(dimension.values[t]), {})[str(dimension.values[s])] = int(n)
    return table


@dataclass(frozen=True)
class Report:
    """Agreement per dimension and language (`rows`), and confusion per dimension over all languages."""

    rows: list[Agreement]
    confusions: dict[str, dict[str, dict[str, int]]]
    folds: int

    def row(self, dimension: str, language: str = ALL) -> Agreement:
        """The agreement of one dimension in one language. KeyError if there is none."""
        for row in self.rows:
            if (row.dimension, row.language) == (dimension, language):
                return row
        raise KeyError((dimension, language))

    def to_json(self) -> dict[str, Any]:
        """Plain dictionaries."""
        return {"folds": self.folds, "agreement": [asdict(row) for row in self.rows], "confusion": self.confusions}

    def to_markdown(self) -> str:
        """A table for people."""
        lines = [
            f"Student against teacher on documents it was not trained on ({self.folds} folds). `gain` is accuracy",
            "above that of always saying the teacher's most frequent value of that language.",
            "",
            "| dimension | language | n | accuracy | majority | gain | kappa | Spearman | error | miscalibration |",
            "|" + "---|" * 10,
        ]
        for r in self.rows:
            rho = "" if r.spearman is None else f"{r.spearman:.2f}"
            error = "" if r.mean_error is None else f"{r.mean_error:.2f} ({r.majority_error:.2f})"
            lines.append(
                f"| {r.dimension} | {r.language} | {r.documents} | {r.accuracy:.3f} | {r.majority:.3f} | {r.gain:+.3f} "
                f"| {r.kappa:.2f} | {rho} | {error} | {r.calibration_error:.3f} |"
            )
        return "\n".join([*lines, ""])


def cross_validate(
    lines: Sequence[str],
    labels: Mapping[str, Sequence[Any]],
    languages: Sequence[str | None],
    draws: np.ndarray,
    training: Training,
    folds: int = 5,
) -> Report:
    """Train `folds` students, each on the documents of the other folds, and compare what they say of their own.

    draws: a number per document by which it falls into a fold; equal texts should have equal numbers.
    """
    n = len(lines)
    fold = (draws % folds).astype(int)
    truth = {name: np.array([_number(name, v) for v in values], int) for name, values in labels.items()}
    said = {name: np.zeros(n, int) for name in labels}
    confidence = {name: np.zeros(n) for name in labels}
    points = {name: np.zeros(n) for name in labels if DIMENSIONS[name].is_score}
    lazy = {name: np.zeros(n, int) for name in labels}
    code = np.array([language or "und" for language in languages], dtype=object)
    for k in range(folds):
        test, rest = np.flatnonzero(fold == k), np.flatnonzero(fold != k)
        if not len(test) or not len(rest):
            continue
        part = {name: [values[i] for i in rest.tolist()] for name, values in labels.items()}
        student = Student.train([lines[i] for i in rest.tolist()], part, training)
        found = student.probabilities([lines[i] for i in test.tolist()])
        for name, (first, end) in student._spans.items():
            own = found[:, first:end]
            said[name][test] = own.argmax(axis=1)
            confidence[name][test] = own.max(axis=1)
            if name in points:
                points[name][test] = own @ np.arange(end - first)
                said[name][test] = np.floor(points[name][test] + 0.5).astype(int)
            lazy[name][test] = _majority(truth[name], code, rest, test)
    rows, confusions = [], {}
    for name in labels:
        dimension = DIMENSIONS[name]
        confusions[name] = confusion(truth[name], said[name], dimension)
        for language in [ALL, *sorted(set(code.tolist()))]:
            some = (np.arange(n) if language == ALL else np.flatnonzero(code == language)).tolist()
            t, s, m = truth[name][some], said[name][some], lazy[name][some]
            right = t == s
            score = dimension.is_score
            exact = np.array([float(labels[name][i]) for i in some]) if score else t
            rows.append(
                Agreement(
                    name,
                    language,
                    len(some),
                    float(right.mean()),
                    float((t == m).mean()),
                    float(right.mean() - (t == m).mean()),
                    kappa(t, s, len(dimension.values), quadratic=score),
                    spearman(exact, points[name][some]) if score else None,
                    float(np.abs(exact - points[name][some]).mean()) if score else None,
                    float(np.abs(exact - m).mean()) if score else None,
                    calibration_error(confidence[name][some], right),
                )
            )
    return Report(rows, confusions, folds)


def _number(name: str, value: Any) -> int:
    """The place of a value among those of its dimension."""
    return DIMENSIONS[name].values.index(_class(name, value))


def _majority(truth: np.ndarray, code: np.ndarray, rest: np.ndarray, test: np.ndarray) -> np.ndarray:
    """For each document of `test` the most frequent value in its language among `rest`, or among all of them."""
    overall = int(np.bincount(truth[rest]).argmax())
    by_language = {}
    for language in set(code[test].tolist()):
        own = truth[rest[code[rest] == language]]
        by_language[language] = int(np.bincount(own).argmax()) if len(own) else overall
    return np.array([by_language[language] for language in code[test]], int)

"""Limits per language, fitted on held-out text: from when on a document is `und`, a variety is named, a score is low.

They lie in `limits.tsv` beside the model's weights, because they mean something for that model alone.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from classifiers.language.labels import groups, languages

LIMITS = "limits.tsv"
SHIPPED_LIMITS = Path(__file__).parent / "shipped" / LIMITS

#: Bounds in letters of the lengths that have an outside limit of their own; longer text has its language's alone.
LENGTHS = (8, 15, 30, 60)

_COLUMNS = ("outside", "margin", "score")


@dataclass(frozen=True)
class Limits:
    """What held-out text says of each language: rows of `limits.tsv`.

    outside: the most outside probability by group. margin: the least share of the group by language. score: the least
    score a filter should ask of the group. lengths: the most outside probability by length (see LENGTHS).
    """

    outside: dict[str, float]
    margin: dict[str, float]
    score: dict[str, float]
    lengths: tuple[float, ...] = (0.0,) * len(LENGTHS)

    @classmethod
    def load(cls, path: Path) -> Limits:
        """Read `limits.tsv`."""
        with path.open(encoding="utf-8", newline="") as file:
            rows = {row["code"]: row for row in csv.DictReader(file, delimiter="\t")}
        columns = [{code: float(row[name]) for code, row in rows.items() if row[name]} for name in _COLUMNS]
        outside, margin, score = columns
        return cls(outside, margin, score, tuple(outside.pop(f"below_{bound}_letters") for bound in LENGTHS))

    def save(self, path: Path) -> None:
        """Write `limits.tsv`."""
        codes = [*languages(), *(code for code in groups() if code not in languages())]
        lengths = {f"below_{bound}_letters": limit for bound, limit in zip(LENGTHS, self.lengths, strict=True)}
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, delimiter="\t", lineterminator="\n")
            writer.writerow(["code", *_COLUMNS])
            columns = (self.outside | lengths, self.margin, self.score)
            for code in [*codes, *lengths]:
                values = [f"{column[code]:.4f}" if code in column else "" for column in columns]
                if any(values):
                    writer.writerow([code, *values])

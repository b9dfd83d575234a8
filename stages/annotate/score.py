"""Labels a whole corpus with a student: what a teacher said of thousands of documents, extended to billions.

Trade-off: the student's labels replace a teacher's where both are there. A corpus in which some labels come from one
judge and some from another has two scales in one column, and a threshold would cut them differently.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
from pydantic import Field, PrivateAttr

from classifiers.quality.dimensions import DIMENSIONS
from curation.documents import column_type
from curation.errors import ConfigError
from curation.stage import Stage

if TYPE_CHECKING:
    from classifiers.quality.student import Student


def label_types(dimensions: Sequence[str]) -> dict[str, pa.DataType]:
    """Columns that a student gives, with their types."""
    names = [name for name in dimensions if name in DIMENSIONS]
    return {name: column_type(name) for name in (*names, "labelled_by", "label_uncertainty")}


def add_labels(docs: pa.Table, student: Student, name: str) -> pa.Table:
    """The documents with the student's labels; null for documents without text. `name` stands in `labelled_by`."""
    languages = docs["language"].to_pylist() if "language" in docs.column_names else [None] * docs.num_rows
    found = student.predict(docs["text"], languages)
    empty = [not text or text.isspace() for text in docs["text"].to_pylist()]
    mask = pa.array(empty).to_numpy(zero_copy_only=False)
    columns = {d: found.values(d) for d in student.dimensions}
    columns |= {"labelled_by": [name] * docs.num_rows, "label_uncertainty": found.uncertainty}
    for column, values in columns.items():
        array = pa.array(values, column_type(column), mask=mask)
        place = docs.schema.get_field_index(column)
        docs = docs.append_column(column, array) if place < 0 else docs.set_column(place, column, array)
    return docs


class ScoreQuality(Stage, name="score_quality"):
    """Labels documents with a student that was trained before.

    `model` is a folder that `curation classifiers train quality` or `distil_quality` wrote. Adds the columns of the
    dimensions it was trained on (see `annotate_quality`), `labelled_by`, and `label_uncertainty` from 0 to 1: the mean
    entropy of its answers, by which `sample_strata` chooses what a teacher should label next.
    """

    model: str = Field(description="folder of a student (student.bin and student.json)")

    _student: Student | None = PrivateAttr(None)
    _name: str = PrivateAttr("")

    def _dimensions(self) -> list[str]:
        import json

        try:
            return list(json.loads((Path(self.model) / "student.json").read_text(encoding="utf-8"))["dimensions"])
        except (OSError, ValueError, KeyError) as error:
            raise ConfigError(f"model '{self.model}' is not a student's folder: it has no student.json") from error

    def adds(self) -> dict[str, pa.DataType]:
        return label_types(self._dimensions())

    def check(self) -> None:
        self._dimensions()

    def files(self) -> Sequence[str]:
        return [str(Path(self.model) / "student.bin"), str(Path(self.model) / "student.json")]

    def setup(self) -> None:
        import xxhash

        from classifiers.quality.student import Student

        self._student = Student.load(Path(self.model))
        digest = xxhash.xxh3_128_hexdigest((Path(self.model) / "student.bin").read_bytes())
        self._name = f"student@{digest[:12]}"

    def __call__(self, docs: pa.Table) -> pa.Table:
        if self._student is None:
            self.setup()
        assert self._student is not None
        docs = add_labels(docs, self._student, self._name)
        count_labels(self, docs, self._student.dimensions)
        return docs


def count_labels(stage: Stage, docs: pa.Table, dimensions: Sequence[str]) -> None:
    """Record what the labels are, for the report."""
    for name in dimensions:
        some = docs[name].drop_null()
        if DIMENSIONS[name].is_score:
            stage.metrics.observe(name, some, [0.5, 1.5, 2.5, 3.5, 4.5])
        else:
            stage.metrics.count_values(name, some)
    stage.metrics.observe("label_uncertainty", docs["label_uncertainty"], [i / 10 for i in range(1, 10)])

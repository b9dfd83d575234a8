"""Teacher to student to corpus in one run: trains a student on the labelled documents, and labels all with it.

It is a barrier: the labelled documents of all shards come together, a student is trained and compared with its teacher,
and then every shard is labelled by it. So one command goes from a server that knows much and answers slowly to a corpus
that is labelled in full, and a stop anywhere is resumed like any other.

Trade-off: all labelled documents meet in one process, some 3 kB each: a million take 3 GB there. Training runs in one
thread, because only then does the same sample give the same student; 100,000 documents take some minutes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from pydantic import Field, PrivateAttr

from classifiers.quality.dimensions import DIMENSIONS
from curation.documents import column_type
from curation.errors import ConfigError, CurationError
from curation.stage import SHARD_ROW, Barrier, Outcome, Output, Sidecars
from stages.annotate.run_models import keep_model, model_folder
from stages.annotate.score import add_labels, count_labels, label_types

if TYPE_CHECKING:
    from classifiers.quality.student import Student, Training

_AGREEMENT = pa.schema(
    [
        ("dimension", pa.string()),
        ("language", pa.string()),
        ("documents", pa.int32()),
        *(
            (name, pa.float64())
            for name in (
                "accuracy",
                "majority",
                "gain",
                "kappa",
                "spearman",
                "mean_error",
                "majority_error",
                "calibration_error",
            )
        ),
    ]
)


class DistilQuality(Barrier, name="distil_quality"):
    """Trains a student on the documents that `annotate_quality` labelled, and labels all documents with it.

    The labels of the student take the place of the teacher's, as a threshold needs one scale; the teacher's are kept
    in the folder `teacher_labels/`. `labelled_by` is then `student@...`, and `label_uncertainty` says how sure it is.

    The folder `agreement/` says how well the student agrees with its teacher on documents it was not trained on
    (`folds`-fold cross-validation; equal texts are in one fold), per dimension and language: accuracy beside that of
    always saying the most frequent label of the language, kappa, Spearman's correlation, calibration. The student, the
    same as a table (`agreement.md`) and the confusions (`agreement.json`) lie in the run's folder under
    `work/stages/distil_quality/student-...`; `score_quality` labels other corpora with it.

    Sources: FineWeb-Edu (arXiv 2406.17557, section 4) and DCLM (arXiv 2406.11794, section 4.4) distil a judge into a
    small classifier; the student is fastText (arXiv 1607.01759).
    """

    dimensions: list[str] = Field(list(DIMENSIONS), description="dimensions to learn; an earlier stage must add them")
    min_labelled: int = Field(100, ge=10, description="labelled documents below which the run stops")
    folds: int = Field(5, ge=2, description="parts into which labelled documents are cut to measure agreement")
    max_characters: int = Field(2000, ge=100, description="characters of a document's start that the student reads")
    dim: int = Field(32, ge=2, description="size of its vectors")
    epochs: int = Field(0, ge=0, description="how often it sees each labelled document; 0: by their number")
    learning_rate: float = Field(0.5, gt=0, description="step of its training at the start")
    buckets: int = Field(200_000, ge=1000, description="number of vectors that pairs of words share")

    _loaded: dict[str, Student] = PrivateAttr(default_factory=dict)

    def needs(self) -> tuple[str, ...]:
        return ("text", "labelled_by", *self.dimensions)

    def adds(self) -> dict[str, pa.DataType]:
        return label_types(self.dimensions)

    def outputs(self) -> tuple[Output, ...]:
        labels = [(name, column_type(name)) for name in self.dimensions if name in DIMENSIONS]
        ours = [("id", pa.string()), ("language", pa.string()), *labels, ("labelled_by", pa.string())]
        return (Output("teacher_labels", schema=pa.schema(ours)), Output("agreement", schema=_AGREEMENT))

    def check(self) -> None:
        unknown = [name for name in self.dimensions if name not in DIMENSIONS]
        if unknown or not self.dimensions:
            raise ConfigError(f"unknown dimensions {unknown}; there are {', '.join(DIMENSIONS)}")

    def _training(self) -> Training:
        from classifiers.quality.student import Training

        return Training(
            max_characters=self.max_characters,
            dim=self.dim,
            epochs=self.epochs,
            learning_rate=self.learning_rate,
            buckets=self.buckets,
            seed=self.seed,
        )

    def partitions(self, round: int, shards: int) -> int:
        return 1 if round == 0 else shards

    def scatter(self, docs: pa.Table, shard: int, row: int) -> pa.Table:
        """The labelled documents; and with the first documents of a shard one row that says that there is such."""
        from classifiers.quality.student import prepare

        labelled = _teacher_rows(docs, self.dimensions)
        languages = _languages(labelled)
        lines = prepare(labelled["text"], languages, self.max_characters)
        columns: dict[str, pa.Array | pa.ChunkedArray] = {
            "shard": pa.array([shard] * labelled.num_rows, pa.int32()),
            "id": labelled["id"],
            "line": pa.array(lines, pa.large_string()),
            "language": pa.array(languages, pa.string()),
            "labelled_by": labelled["labelled_by"],
        } | {name: labelled[name] for name in self.dimensions}
        table = pa.table(columns)
        if row == 0:
            sign = {f.name: pa.array([shard] if f.name == "shard" else [None], f.type) for f in table.schema}
            table = pa.concat_tables([pa.table(sign, schema=table.schema), table])
        return table.add_column(0, "partition", pa.array(np.zeros(table.num_rows, np.int32)))

    def gather(self, round: int, partition: int, rows: pa.Table, sidecars: Sidecars) -> pa.Table:
        from classifiers.quality.agreement import ALL, cross_validate
        from classifiers.quality.student import Student

        shards = sorted(set(rows["shard"].to_pylist()))
        # In the order of ids: a student depends on the order it sees documents in, and that must not depend on shards.
        rows = rows.filter(pc.is_valid(rows["id"])).sort_by("id")
        n = rows.num_rows
        if n < self.min_labelled:
            raise CurationError(
                f"stage 'distil_quality': {n} documents are labelled, fewer than min_labelled {self.min_labelled}; "
                "label more (per_stratum of sample_strata) or lower it"
            )
        lines = rows["line"].to_pylist()
        labels = {name: rows[name].to_pylist() for name in self.dimensions}
        teachers = ", ".join(sorted(set(rows["labelled_by"].to_pylist())))
        draws = np.array([xxhash.xxh3_64_intdigest(line) for line in lines], np.uint64)
        training = self._training()
        report = cross_validate(lines, labels, rows["language"].to_pylist(), draws, training, self.folds)
        student = Student.train(lines, labels, training, teachers)

        def write(folder: Path) -> None:
            student.save(folder)
            (folder / "agreement.json").write_text(json.dumps(report.to_json(), indent=1) + "\n", encoding="utf-8")
            (folder / "agreement.md").write_text(report.to_markdown(), encoding="utf-8")

        digest = keep_model(self, "student", write, identity="student.bin")
        self.metrics.count("labelled_documents", n)
        for name in self.dimensions:
            row = report.row(name, ALL)
            for what in ("accuracy", "majority"):
                self.metrics.count(f"{name}: {what}, per mille", round_half_up(1000 * getattr(row, what)))
        told = json.dumps([row.__dict__ for row in report.rows])
        verdicts: list[tuple[int, int, str | None, str | None]] = [(s, SHARD_ROW, digest, None) for s in shards]
        verdicts.append((shards[0], 0, None, told))  # one row of one shard, so that one task writes it
        columns = list(zip(*verdicts, strict=True))
        return pa.table(
            {
                "partition": pa.array(columns[0], pa.int32()),
                "row": pa.array(columns[1], pa.int64()),
                "student": pa.array(columns[2], pa.string()),
                "agreement": pa.array(columns[3], pa.string()),
            }
        )

    def apply(self, docs: pa.Table, verdicts: pa.Table) -> Outcome:
        digest = verdicts.filter(pc.equal(verdicts["row"], SHARD_ROW))["student"][0].as_py()
        if digest not in self._loaded:
            from classifiers.quality.student import Student

            self._loaded = {digest: Student.load(model_folder(self, "student", digest))}
        student = self._loaded[digest]
        taught = _teacher_rows(docs, self.dimensions)
        if "language" not in taught.column_names:
            taught = taught.append_column("language", pa.nulls(taught.num_rows, pa.string()))
        outputs = {"teacher_labels": taught.select(["id", "language", *self.dimensions, "labelled_by"])}
        told = verdicts["agreement"].drop_null()
        if len(told):
            outputs["agreement"] = pa.Table.from_pylist(json.loads(told[0].as_py()), _AGREEMENT)
        labelled = add_labels(docs, student, f"student@{digest}")
        count_labels(self, labelled, student.dimensions)
        return Outcome(labelled, outputs=outputs)


def round_half_up(value: float) -> int:
    """The nearest integer."""
    return int(np.floor(value + 0.5))


def _teacher_rows(docs: pa.Table, dimensions: list[str]) -> pa.Table:
    """The documents that have every label, from a teacher."""
    mask = pc.and_(pc.is_valid(docs["labelled_by"]), pc.is_valid(docs["text"]))
    mask = pc.and_(mask, pc.invert(pc.fill_null(pc.starts_with(docs["labelled_by"], "student@"), False)))
    for name in dimensions:
        mask = pc.and_(mask, pc.is_valid(docs[name]))
    return docs.filter(mask)


def _languages(docs: pa.Table) -> list[str | None]:
    return docs["language"].to_pylist() if "language" in docs.column_names else [None] * docs.num_rows

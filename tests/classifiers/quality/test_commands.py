"""The command that trains a student from a labelled run."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from test_student import corpus, labels_of
from typer.testing import CliRunner

from classifiers.quality.student import Student
from curation.cli import app


def call(*arguments):
    return CliRunner().invoke(app, ["classifiers", "train", "quality", *map(str, arguments)])


def labelled_run(folder, by):
    texts, languages, domains = corpus(120)
    n = len(texts)
    columns = {"id": [f"{i:04d}" for i in range(n)], "text": texts, "language": languages} | labels_of(domains)
    columns["educational_value"] = np.array(columns["educational_value"], np.float32)
    table = pa.table(columns | {"labelled_by": pa.array(by(i) for i in range(n))})
    (folder / "documents").mkdir(parents=True)
    pq.write_table(table, folder / "documents" / "a.parquet")
    files = {"documents": [{"name": "documents/a.parquet", "rows": n}]}
    (folder / "run.json").write_text(json.dumps({"files": files}))


def test_a_student_is_trained_on_the_teachers_labels_alone(tmp_path):
    labelled_run(tmp_path / "run", lambda i: "student@1" if i % 6 == 0 else None if i % 6 == 1 else "qwen@1")
    done = call(tmp_path / "run", "-o", tmp_path / "student", "--folds", 2, "--epochs", 10)
    assert done.exit_code == 0, done.output
    student = Student.load(tmp_path / "student")
    assert (student.documents, student.teacher) == (80, "qwen@1")
    assert student.dimensions == ["educational_value", "domain"]
    assert (
        "domain: accuracy" in done.output and "| domain | all | 80 |" in (tmp_path / "student/agreement.md").read_text()
    )


def test_what_is_no_labelled_run_is_said(tmp_path):
    assert "is not the folder of a run" in str(call(tmp_path, "-o", tmp_path / "s").exception)
    labelled_run(tmp_path / "run", lambda i: "qwen@1" if i < 5 else None)
    assert "holds 5 documents labelled by a teacher; 50 are needed" in str(
        call(tmp_path / "run", "-o", tmp_path / "s").exception
    )

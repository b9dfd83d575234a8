"""`curation classifiers train quality RUN`: a student from a labelled run, for labelling other corpora."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from curation.errors import ConfigError, CurationError


def train(
    run: Annotated[Path, typer.Argument(help="Folder of a run that annotate_quality labelled.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the student and its agreement report.")],
    folder: Annotated[str, typer.Option(help="Which of the run's folders holds the labels.")] = "documents",
    max_characters: Annotated[
        int, typer.Option(help="Characters of a document's start that it reads.", min=100)
    ] = 2000,
    folds: Annotated[int, typer.Option(help="Parts of the cross-validation.", min=2)] = 5,
    epochs: Annotated[int, typer.Option(help="How often it sees each document; 0: by their number.", min=0)] = 0,
    seed: Annotated[int, typer.Option(help="Seed of its training.")] = 0,
) -> None:
    """Train a student on a teacher's labels, and say how well the two agree.

    The documents are those of a run with annotate_quality; the student is used by the stage score_quality.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq
    import xxhash

    from classifiers.quality.agreement import ALL, cross_validate
    from classifiers.quality.dimensions import DIMENSIONS
    from classifiers.quality.student import Student, Training, prepare

    try:
        files = json.loads((run / "run.json").read_text(encoding="utf-8"))["files"][folder]
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"'{run}' is not the folder of a run with a folder '{folder}'") from error
    tables = []
    for file in files:
        schema = pq.read_schema(run / file["name"])
        names = [name for name in ("id", "text", "language", "labelled_by", *DIMENSIONS) if name in schema.names]
        table = pq.read_table(run / file["name"], columns=names)
        if "labelled_by" not in names or "text" not in names:
            raise ConfigError(f"'{run}/{folder}' holds no labels: the run has no annotate_quality")
        of_student = pc.fill_null(pc.starts_with(table["labelled_by"], "student@"), False)
        tables.append(table.filter(pc.and_(pc.is_valid(table["labelled_by"]), pc.invert(of_student))))
    if not tables:
        raise ConfigError(f"'{run}/{folder}' holds no documents")
    docs = pa.concat_tables(tables).sort_by("id")
    dimensions = [name for name in DIMENSIONS if name in docs.column_names]
    for name in dimensions:
        docs = docs.filter(pc.is_valid(docs[name]))
    if docs.num_rows < 10 * folds:
        raise CurationError(f"'{run}' holds {docs.num_rows} documents labelled by a teacher; {10 * folds} are needed")
    languages = docs["language"].to_pylist() if "language" in docs.column_names else [None] * docs.num_rows
    training = Training(max_characters=max_characters, epochs=epochs, seed=seed)
    lines = prepare(docs["text"], languages, max_characters)
    labels = {name: docs[name].to_pylist() for name in dimensions}
    draws = np.array([xxhash.xxh3_64_intdigest(line) for line in lines], np.uint64)
    report = cross_validate(lines, labels, languages, draws, training, folds)
    student = Student.train(lines, labels, training, ", ".join(sorted(set(docs["labelled_by"].to_pylist()))))
    student.save(output)
    (output / "agreement.json").write_text(json.dumps(report.to_json(), indent=1) + "\n", encoding="utf-8")
    (output / "agreement.md").write_text(report.to_markdown(), encoding="utf-8")
    typer.echo(f"{docs.num_rows} documents labelled by {student.teacher}; {output} holds the student and agreement.md")
    for name in dimensions:
        row = report.row(name, ALL)
        typer.echo(
            f"{name}: accuracy {row.accuracy:.3f}, always the most frequent {row.majority:.3f} ({row.gain:+.3f})"
        )

"""`curation decontaminate index`: makes the index of benchmark items that the stage `decontaminate` looks for."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from curation.errors import ConfigError

app = typer.Typer(no_args_is_help=True, help="Index the benchmarks that `decontaminate` keeps out of a corpus.")
out = Console(highlight=False, width=None if sys.stdout.isatty() else 160)


@app.callback()
def group() -> None:
    """Index the benchmarks that `decontaminate` keeps out of a corpus."""


@app.command()
def index(
    files: Annotated[
        list[str], typer.Argument(metavar="FILES... OUT", help="Benchmark files, or folders of them; then the index.")
    ],
    name: Annotated[str, typer.Option(help="Name of the benchmark; by default each file's or folder's.")] = "",
    format: Annotated[str, typer.Option(help="Format of the files; by default told by their keys.")] = "",
    question: Annotated[str | None, typer.Option(help="Key of the question, in a file of another format.")] = None,
    answer: Annotated[str | None, typer.Option(help="Key of the answer, likewise.")] = None,
) -> None:
    """Make an index of benchmark files: GSM8K, MATH, HumanEval, MBPP, MMLU, or any with a question and an answer."""
    from stages.filter.benchmark_formats import FORMATS, read_parts
    from stages.filter.benchmark_index import write_index

    if len(files) < 2:
        raise ConfigError("expected benchmark files and, last, the index to write: FILES... OUT")
    *sources, target = files
    if not target.endswith(".parquet"):
        raise ConfigError(f"{target}: the index, the last argument, is a .parquet file")
    if format and format not in FORMATS:
        raise ConfigError(f"no format '{format}': there are {', '.join(FORMATS)}")
    for path in sources:
        if "://" not in path and not Path(path).exists():
            raise ConfigError(f"{path}: no such file")
    built = write_index((p for path in sources for p in read_parts(path, name, format, question, answer)), target)
    table = Table(box=None, pad_edge=False)
    for column in ("benchmark", "part", "kind", "items"):
        table.add_column(column)
    for (benchmark, part, kind), n in sorted(built.kept.items()):
        table.add_row(benchmark, part, kind, f"{n:,}")
    for (benchmark, why), n in sorted(built.left_out.items()):
        table.add_row(benchmark, f"left out: {why}", "", f"{n:,}")
    out.print(table)

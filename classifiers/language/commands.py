"""`curation classifiers train language` and `curation classifiers evaluate language`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from curation.errors import ConfigError

_SHIPPED = Path(__file__).parent / "shipped"

Data = Annotated[str, typer.Argument(help="Parquet file or folder with the columns code, source, licence and text.")]
Output = Annotated[str, typer.Option("--output", "-o", help="Folder to write the model to.")]
RecipeFile = Annotated[str | None, typer.Option("--recipe", help="Recipe (default: the one of the shipped model).")]
Model = Annotated[str | None, typer.Option("--model", help="Folder of a model (default: the shipped one).")]
Judges = Annotated[
    str | None, typer.Option("--data", help="Parquet with code and text to judge on; sources trained on are left out.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


def train(data: Data, output: Output, recipe: RecipeFile = None) -> None:
    """Train the language model: clean, fit, set limits, judge on the held-out sources."""
    from classifiers.language.data import Sentences
    from classifiers.language.recipe import RECIPE, Recipe
    from classifiers.language.train import train as train_model

    plan = Recipe.load(recipe or RECIPE)
    trained = train_model(Sentences.read(data), plan, typer.echo)
    trained.save(output)
    show(trained.evaluation, languages=False)
    typer.echo(f"\n{output}: use it with identify_language: {{model: {output}}}")


def evaluate(data: Judges = None, model: Model = None, as_json: Json = False) -> None:
    """Show how good the language model is: on its held-out sources, or on data of your own."""
    folder = Path(model) if model else _SHIPPED
    if data is None:
        try:
            result = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"{folder} holds no evaluation.json; is it a model's folder?") from error
    else:
        result = _judge(data, folder)
    if as_json:
        typer.echo(json.dumps(result, indent=1, ensure_ascii=False))
    else:
        show(result)


def _judge(data: str, folder: Path) -> dict[str, Any]:
    from classifiers.language.data import Sentences
    from classifiers.language.evaluate import evaluate as evaluate_model
    from classifiers.language.identify import Identifier

    try:
        identifier = Identifier.load(folder)
        trained_on = json.loads((folder / "training.json").read_text(encoding="utf-8"))["sentences"]
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"{folder} is not a model's folder: {error}") from error
    sentences = Sentences.read(data)
    seen = [source in trained_on for source in sentences.sources]
    if all(seen):
        raise ConfigError(f"{data}: the model was trained on all of its sources; give others to judge on")
    if any(seen):
        typer.echo(f"{sum(seen):,} sentences of sources that the model was trained on are left out", err=True)
    return evaluate_model(identifier, sentences.where([not s for s in seen]))


def show(result: dict[str, Any], languages: bool = True) -> None:
    """Print an evaluation as tables."""
    out = Console(highlight=False, width=120)
    out.print(f"on text of the sources {', '.join(result['sources'])}, which the model has not seen\n")
    views = [result[view] | {"view": view} for view in ("sentences", "documents", "fragments")]
    columns = ("view", "n", "languages", "macro_f1", "fpr", "groups", "macro_f1_groups", "fpr_groups", "und", "zxx")
    _table(out, columns, [[view[column] for column in columns] for view in views])
    if languages:
        worst = {row[0]: f"{row[1]} {row[3]:.1%}" for row in reversed(result["confusions"])}
        names = ("n", "precision", "recall", "f1", "fpr")
        rows = [[code, *(row[n] for n in names), worst.get(code, "")] for code, row in result["languages"].items()]
        _table(out, ("language", *names, "mostly called instead"), rows)
    _table(out, ("language", "called", "texts", "share"), result["confusions"])
    _table(out, ("score from", "to", "texts", "mean score", "right"), result["calibration"])


def _table(out: Console, columns: tuple[str, ...], rows: list[list[Any]]) -> None:
    table = Table(box=None, pad_edge=False)
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 or column.startswith(("called", "mostly")) else "right")
    for row in rows:
        table.add_row(*(_shown(value, column) for value, column in zip(row, columns, strict=True)))
    out.print(table)
    out.print()


def _shown(value: Any, column: str) -> str:
    if isinstance(value, float):
        return f"{value:.1e}" if column.startswith("fpr") else f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) else str(value)

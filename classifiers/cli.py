"""The commands `curation classifiers train …` and `curation classifiers evaluate …`, one each for every model."""

from __future__ import annotations

import typer

from classifiers.language import commands as language
from classifiers.quality import commands as quality

app = typer.Typer(no_args_is_help=True)
train = typer.Typer(no_args_is_help=True, help="Train a model from labelled documents.")
evaluate = typer.Typer(no_args_is_help=True, help="Say how good a model is on documents it has not seen.")
app.add_typer(train, name="train")
app.add_typer(evaluate, name="evaluate")
train.command("language")(language.train)
train.command("quality")(quality.train)
evaluate.command("language")(language.evaluate)

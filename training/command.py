"""The command `curation train CONFIG`."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

app = typer.Typer()


@app.command()
def train(
    config: Annotated[str, typer.Argument(help="The YAML of a training, such as examples/tiny-qwen3-moe.yaml.")],
    sets: Annotated[
        list[str] | None, typer.Option("--set", "-s", help="key=value, dots between nested keys; may be repeated.")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Ranks, instead of the file's `workers`.", min=1)] = None,
    launcher: Annotated[
        str, typer.Option(help="`ray`: workers that are started again when one dies; `process`: this one; `auto`.")
    ] = "auto",
) -> None:
    """Train a model on packed shards. What a checkpoint holds is not done again: the same command goes on.

    Under torchrun, this is what it starts: torchrun --nproc-per-node 8 -m curation train CONFIG
    """
    from curation.errors import ConfigError
    from training.installed import check_installed

    check_installed()
    from training.config import load

    if launcher not in ("auto", "ray", "process"):
        raise ConfigError(f"--launcher {launcher}: expected ray, process or auto")
    chosen = [*(sets or ()), *([f"workers={workers}"] if workers else [])]
    training = load(config, chosen)
    from training.launch import launch

    out = Console(highlight=False)
    launch(training, lambda line: out.print(line, markup=False, soft_wrap=True), launcher)

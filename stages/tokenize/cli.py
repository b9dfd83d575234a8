"""`curation tokenizer`: questions to tokenizers. Thin commands over the modules beside it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from curation.errors import ConfigError

app = typer.Typer(no_args_is_help=True, help="Compare tokenizers on a corpus.")
out = Console(highlight=False, width=None if sys.stdout.isatty() else 200)


@app.callback()
def _group() -> None:
    """Keeps the name of a single command in the command line."""


def _named(tokenizers: list[str]) -> dict[str, str]:
    """NAME=FILE, or a shipped name or a file alone, which is then called by its folder or file."""
    found: dict[str, str] = {}
    for given in tokenizers:
        name, sign, file = given.partition("=")
        if not sign:
            path = Path(given)
            name, file = (path.parent.name or path.stem if path.name == "tokenizer.json" else path.stem), given
        if name in found:
            raise ConfigError(f"--tokenizer {given}: there is a '{name}' already; name them with NAME=FILE")
        found[name] = file
    return found


@app.command()
def compare(
    tokenizers: Annotated[
        list[str],
        typer.Option("--tokenizer", "-t", metavar="NAME=FILE", help="A tokenizer.json, or `qwen3`; the first is 1.00."),
    ],
    text: Annotated[str, typer.Option(help="Parquet file, folder of such, or URL: the texts to encode.")],
    column: Annotated[str, typer.Option(help="Column with the text.")] = "text",
    by: Annotated[str, typer.Option(help="Column to group by; '' for none.")] = "language",
    most: Annotated[int, typer.Option(help="Bytes of text to read of each group; 0 reads all.", min=0)] = 0,
    plot: Annotated[str, typer.Option(help="Also draw it: a name ending in .svg, .png, .pdf or .html.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Show how many bytes of text a token holds, by language and tokenizer."""
    from stages.tokenize.compression import compare as count
    from stages.tokenize.compression_plot import check_plot, write_plot

    if plot:
        check_plot(plot)
    found = count(_named(tokenizers), text, column, by, most)
    if plot:
        write_plot(found, plot)
    if as_json:
        sys.stdout.write(json.dumps(found.to_json(), indent=1, ensure_ascii=False) + "\n")
        return
    table = Table(box=None, pad_edge=False)
    for title in (by or "all", "documents", "bytes", *found.n_tokens):
        table.add_column(title, justify="left" if title == (by or "all") else "right")
    for i, group in enumerate(found.groups):
        values = [f"{found.bytes_per_token(name)[i]:.2f}" for name in found.n_tokens]
        table.add_row(group, f"{found.n_documents[i]:,}", f"{found.n_bytes[i]:,}", *values)
    table.add_row("geometric mean", "", "", *[f"{found.mean(name):.2f}" for name in found.n_tokens], style="bold")
    relative = [f"{found.relative_tokens(name):.2f}" for name in found.n_tokens]
    table.add_row("tokens, relative", "", "", *relative, style="bold")
    out.print("bytes per token", style="dim")
    out.print(table)

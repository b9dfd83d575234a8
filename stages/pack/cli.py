"""`curation shards`: what can be done with the shards a trainer reads. Thin commands over the modules beside it."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console

from curation.errors import CurationError

app = typer.Typer(no_args_is_help=True, help="Check, describe and export the shards a trainer reads.")
out = Console(highlight=False, soft_wrap=True)

Folder = Annotated[str, typer.Argument(metavar="DIR", help="A packed folder, or the folder of a run that has some.")]

Shards = Annotated[str, typer.Argument(metavar="DIR", help="Folder or URL of packed rows, or of token shards.")]


@app.callback()
def _group() -> None:
    """Check, describe and export the shards a trainer reads."""


@app.command()
def verify(
    folder: Folder,
    tokens: Annotated[
        bool, typer.Option("--tokens", help="Also compare the ids with those of the token shards they came from.")
    ] = False,
) -> None:
    """Count everything again: rows, tokens, checksums, and each piece in its document. Exit code 1 with a line for
    each fault."""
    from stages.pack.verify import Verification, folders

    faults = 0
    for path in folders(folder):
        check = Verification(path, tokens)
        for line in check.run():
            out.print(line, markup=False)
        faults += len(check.faults)
        if not check.faults:
            n = check.checked
            out.print(
                f"{path}: {n['rows']:,} rows, {n['tokens']:,} tokens, {n['pieces']:,} pieces of {n['documents']:,} "
                "documents: all as the manifest says",
                markup=False,
            )
    if faults:
        raise CurationError(f"{folder}: {faults} faults")


@app.command()
def info(folder: Folder) -> None:
    """Print the manifests as JSON, one object for each folder."""
    from stages.pack.shards import read_manifest
    from stages.pack.verify import folders

    for path in folders(folder):
        sys.stdout.write(json.dumps({"folder": path} | json.loads(read_manifest(path).to_json())) + "\n")


class Trainer(StrEnum):
    """Formats of `export`, as `trainer_formats.FORMATS` names them."""

    nanotron = "nanotron"
    olmo = "olmo"
    megatron = "megatron"
    hf = "hf"


@app.command()
def export(
    folder: Shards,
    target: Annotated[str, typer.Argument(metavar="OUT", help="Empty folder or URL to write to.")],
    to: Annotated[Trainer, typer.Option(help="Whose format: nanotron (.ds), olmo (.npy), megatron (.bin), hf.")],
    tokenizer_name: Annotated[
        str, typer.Option(help="Name that nanotron loads the tokenizer by (default: the shards' own name).")
    ] = "",
) -> None:
    """Write shards in the format of a trainer that does not read them, token for token."""
    from stages.pack.export import export as write

    done = write(folder, to.value, target, tokenizer_name)
    what = f"rows of {done.sequence_length:,}" if done.sequence_length else "documents, ends included"
    empty = f", {done.empty_documents:,} without tokens left out" if done.empty_documents else ""
    out.print(f"{target}: {done.tokens:,} tokens, {done.rows:,} {what}{empty}, {len(done.files)} files")
    out.print(f"read by: {done.read_by}", markup=False)

"""`curation shards`: questions to folders of packed rows."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer
from rich.console import Console

from curation.errors import CurationError

app = typer.Typer(no_args_is_help=True, help="Check and describe folders of packed training rows.")
out = Console(highlight=False, soft_wrap=True)

Folder = Annotated[str, typer.Argument(metavar="DIR", help="A packed folder, or the folder of a run that has some.")]


@app.callback()
def _group() -> None:
    """Check and describe folders of packed training rows."""


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

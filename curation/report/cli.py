"""`curation report`: write the page of a run again, add up several runs, or set two side by side."""

from __future__ import annotations

import os
from typing import Annotated

import typer
from rich.console import Console

from curation.errors import ConfigError

app = typer.Typer(add_completion=False)


@app.command()
def report(
    folders: Annotated[list[str], typer.Argument(metavar="DIR…", help="Folders or URLs of runs.")],
    output: Annotated[
        str, typer.Option("--output", "-o", help="File to write (default: report.html in the run, or here).")
    ] = "",
    compare: Annotated[bool, typer.Option("--compare", help="Set two runs side by side.")] = False,
) -> None:
    """Write report.html of a run again; of several runs, one page that adds them up or (--compare) sets two side by
    side."""
    from curation.report.compare import compared_page, merged_page
    from curation.report.page import write_report

    if compare and len(folders) != 2:
        raise ConfigError(f"--compare takes two runs, {len(folders)} were given")
    if len(folders) == 1 and not output:
        path = write_report(folders[0])
    else:
        page = compared_page(*folders) if compare else merged_page(folders)
        path = output or ("compare.html" if compare else "report.html")
        try:
            with open(path, "w", encoding="utf-8", errors="replace") as file:
                file.write(page)
        except OSError as error:
            raise ConfigError(f"{path} cannot be written: {error.strerror}") from error
    Console(highlight=False).print(
        os.path.relpath(path) if os.path.isabs(path) and not output else path, soft_wrap=True
    )

"""`curation show`: the documents of a run for which a condition holds, readable in a terminal.

The condition is SQL over one row per record of the input (`curation/rows.py`). What is shown is in the order of the
run's files, so the same question has the same answer; characters that would garble a terminal are spelled out.
"""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from curation.errors import ConfigError
from curation.report.samples import readable
from curation.rows import add_rows, ask, connect

app = typer.Typer(add_completion=False)
#: Columns that the head of a document shows already, or that are its text.
_HEAD = ("id", "url", "text", "fate", "stage", "reason", "detail", "language", "n_tokens", "kept", "dropped", "failed")
#: Reasons listed with the sums.
REASONS = 8
_COLORS = {"kept": "green", "dropped": "red", "failed": "magenta"}


def matches(run: str, where: str, most: int) -> tuple[dict[str, int], dict[str, int], list[dict[str, Any]]]:
    """(documents by fate, and tokens kept; documents by reason, most first; the first `most` rows) of a run for which
    an SQL condition holds."""
    connection = connect()
    add_rows(connection, run)
    condition = where.strip() or "true"
    what = f"--where {where!r}"
    names = {row["column_name"] for row in ask(connection, "describe docs", what)}
    tokens = "coalesce(sum(n_tokens), 0)" if "n_tokens" in names else "0"
    query = f"""select fate, reason, count(*) as n, {tokens} as tokens from docs where ({condition}\n)
        group by fate, reason order by n desc, reason"""
    totals: dict[str, int] = {}
    reasons: dict[str, int] = {}
    for row in ask(connection, query, what):
        totals[row["fate"]] = totals.get(row["fate"], 0) + row["n"]
        if row["fate"] == "kept":
            totals["tokens"] = totals.get("tokens", 0) + int(row["tokens"])
        else:
            reasons[row["reason"] or ""] = reasons.get(row["reason"] or "", 0) + row["n"]
    return totals, reasons, ask(connection, f"select * from docs where ({condition}\n) limit {int(most)}", what)


def _print(document: dict[str, Any], characters: int, columns: list[str], out: Console) -> None:
    head = Text(document["fate"], style=f"bold {_COLORS[document['fate']]}")
    if document.get("stage"):
        head.append(f" by {document['stage']}: ", style="default not bold")
        head.append(readable(document["reason"], 200), style="bold")
        if document.get("detail"):
            head.append(f" ({readable(document['detail'], 200)})", style="default not bold")
    for name in ("language", "n_tokens"):
        if document.get(name) is not None:
            value = f"{document[name]:,} tokens" if name == "n_tokens" else readable(document[name], 40)
            head.append(f"  {value}", style="cyan not bold")
    out.print(head, soft_wrap=True)
    out.print(Text(readable(document.get("url") or "(no url)", 500), style="underline"), soft_wrap=True)
    out.print(Text(f"id {document['id']}", style="dim"))
    for name in columns:
        if name not in _HEAD and document.get(name) is not None:
            out.print(Text(f"{name}: {readable(document[name], 300)}"), soft_wrap=True)
    if characters and document.get("text"):
        out.print(Text("\n".join(f"  {line}" for line in readable(document["text"], characters).splitlines())))
    out.print()


@app.command()
def show(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="Folder or URL of a run.")],
    where: Annotated[
        str,
        typer.Option("--where", "-w", help="SQL condition on columns, `kept`, `dropped`, `failed`, `stage`, `reason`."),
    ] = "",
    number: Annotated[int, typer.Option("--number", "-n", help="Most documents to show.", min=0)] = 10,
    characters: Annotated[int, typer.Option(help="Characters of the text to show; 0 for none.", min=0)] = 400,
    columns: Annotated[str, typer.Option(help="Other columns to show, separated by commas, or `all`.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print each document as a line of JSON, whole.")] = False,
) -> None:
    """Show documents of a run: kept, dropped or failed, by any condition (`language = 'swh_Latn' and dropped`)."""
    totals, reasons, rows = matches(folder, where, number)
    if as_json:
        for row in rows:
            sys.stdout.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")
        return
    names = list(rows[0]) if rows else []
    wanted = names if columns == "all" else [name.strip() for name in columns.split(",") if name.strip()]
    if rows and (unknown := [name for name in wanted if name not in names]):
        raise ConfigError(f"--columns: the run has no column '{unknown[0]}'; it has {', '.join(names)}")
    out = Console(highlight=False)
    for row in rows:
        _print(row, characters, wanted, out)
    tokens = totals.pop("tokens", 0)
    parts = [f"{n:,} {fate}" for fate, n in sorted(totals.items(), key=lambda item: list(_COLORS).index(item[0]))]
    found = sum(totals.values())
    out.print(
        f"{len(rows):,} of {found:,} documents shown" + (f": {', '.join(parts)}" if parts else "")
        + (f"; {tokens:,} tokens kept" if tokens else ""),
        soft_wrap=True,
    )  # fmt: skip
    if reasons:
        first = [f"{readable(reason, 80)} {n:,}" for reason, n in list(reasons.items())[:REASONS]]
        rest = sum(reasons.values()) - sum(list(reasons.values())[:REASONS])
        out.print(Text(f"went for: {', '.join([*first, *([f'others {rest:,}'] if rest else [])])}"), soft_wrap=True)

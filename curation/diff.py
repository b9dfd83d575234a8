"""`curation diff`: what became of the documents of one run in another.

Ids are made of where a record lies in the input, so two runs over the same input have the same ids whatever their
stages do. A document is gained (kept only by B), lost (kept only by A), moved (dropped by both, for another reason),
changed (kept by both, with another text), or it is of one input alone. DuckDB joins the rows, out of memory if need be.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from curation.report.samples import readable
from curation.rows import add_rows, ask, connect

app = typer.Typer(add_completion=False)

#: What may have become of a document, with what to say of it.
KINDS = {
    "gained": "kept by B, not by A",
    "lost": "kept by A, not by B",
    "moved": "kept by neither, stopped at another place",
    "changed": "kept by both, with another text",
    "only_a": "not in B's input",
    "only_b": "not in A's input",
    "same": "the same in both",
}


@dataclass(frozen=True)
class Difference:
    """`totals`: kind -> documents; `ways`: rows of (kind, a, b, n), most frequent first, where a and b are `kept` or
    `stage: reason`; `examples`: kind -> documents with id, url, a and b."""

    totals: dict[str, int]
    ways: list[dict[str, Any]]
    examples: dict[str, list[dict[str, Any]]]


def difference(a: str, b: str, text: bool = False, most: int = 5) -> Difference:
    """Compare two runs by the ids of their documents; with `text` also what they kept. A failure's reason is its
    kind."""
    connection = connect()
    body = ", hash(text) as text" if text else ", 0 as text"
    for run, name in ((a, "a"), (b, "b")):
        add_rows(connection, run, f"rows_{name}")
        # The part of an error before a colon or bracket is its kind, as everywhere; a detail would tell all apart.
        reason = "case when failed then trim(regexp_extract(reason, '^[^:(]*')) else reason end"
        place = f"case when kept then 'kept' else stage || ': ' || coalesce({reason}, '') end"
        connection.execute(f"create view {name} as select id, url, kept, {place} as place{body} from rows_{name}")
    kind = (
        "case when a.id is null then 'only_b' when b.id is null then 'only_a' when a.kept and not b.kept then 'lost' "
        "when b.kept and not a.kept then 'gained' when a.place <> b.place then 'moved' "
        "when a.kept and a.text is distinct from b.text then 'changed' else 'same' end"
    )
    connection.execute(
        f"create temp table joined as select {kind} as kind, coalesce(a.id, b.id) as id, "
        "coalesce(a.url, b.url) as url, "
        "a.place as a, b.place as b from a full outer join b on a.id = b.id"
    )
    counted = ask(connection, "select kind, count(*) as n from joined group by kind", "diff")
    totals = {row["kind"]: row["n"] for row in counted}
    ways = ask(
        connection,
        "select kind, a, b, count(*) as n from joined where kind <> 'same' group by all order by n desc, kind, a, b",
        "diff",
    )
    examples = {}
    for name in KINDS:
        if name != "same" and totals.get(name):
            query = f"select id, url, a, b from joined where kind = '{name}' order by id limit {int(most)}"
            examples[name] = ask(connection, query, "diff")
    return Difference({name: totals.get(name, 0) for name in KINDS}, ways, examples)


@app.command()
def diff(
    a: Annotated[str, typer.Argument(metavar="RUN_A", help="Folder or URL of a run.")],
    b: Annotated[str, typer.Argument(metavar="RUN_B", help="Folder or URL of another.")],
    number: Annotated[int, typer.Option("--number", "-n", help="Documents named of each kind.", min=0)] = 3,
    text: Annotated[
        bool, typer.Option("--text", help="Also compare the texts that both kept (reads them all).")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Show what became of one run's documents in another: gained, lost, moved, by stage and reason."""
    found = difference(a, b, text, number)
    if as_json:
        sys.stdout.write(json.dumps(found.__dict__, ensure_ascii=False, indent=1) + "\n")
        return
    out = Console(highlight=False)
    table = Table(box=None, pad_edge=False)
    for column, justify in (("", "left"), ("documents", "right"), ("", "left")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    for kind, words in KINDS.items():
        if kind != "changed" or text:
            table.add_row(kind.replace("_", " "), f"{found.totals[kind]:,}", words)
    out.print(table)
    for kind, examples in found.examples.items():
        ways = [way for way in found.ways if way["kind"] == kind]
        table = Table(
            box=None, pad_edge=False, title=f"\n{kind.replace('_', ' ')}", title_justify="left", title_style="bold"
        )
        for column, justify in (("in A", "left"), ("in B", "left"), ("documents", "right")):
            table.add_column(column, justify=justify, overflow="fold")  # type: ignore[arg-type]
        for way in ways[:15]:
            table.add_row(Text(readable(way["a"] or "–", 120)), Text(readable(way["b"] or "–", 120)), f"{way['n']:,}")
        if len(ways) > 15:
            table.add_row(f"… {len(ways) - 15} more", "", "")
        out.print(table)
        for row in examples:
            out.print(Text(f"  {readable(row['url'] or row['id'], 300)}", style="dim"), soft_wrap=True)

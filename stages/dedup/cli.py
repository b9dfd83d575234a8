"""`curation dedup`: questions to an index of earlier crawls, take-downs, and its upkeep.

Thin commands over `index.py` and its neighbours. The command line finds this module by name when it is called, so
nothing of it is loaded for anything else.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from curation.errors import ConfigError

app = typer.Typer(no_args_is_help=True, help="Ask, tend and shrink an index that `minhash_dedup` wrote.")
out = Console(highlight=False, width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else 160)

IndexFolder = Annotated[str, typer.Argument(metavar="INDEX", help="Folder or URL of an index.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line, instead of a table.")]

#: Documents of a parquet or JSON lines file that are signed at once.
_BATCH = 1_000


def _texts(path: str) -> Iterator[tuple[list[str], list[str | None]]]:
    """Names and texts of the documents of a file, in batches: a row each of .parquet and .jsonl (also compressed), any
    other file is one document."""
    import fsspec

    base = path.lower()
    try:
        if base.endswith(".parquet"):
            import pyarrow.parquet as pq

            with fsspec.open(path, "rb") as file:
                parquet = pq.ParquetFile(file)
                columns = [name for name in ("id", "text") if name in parquet.schema_arrow.names]
                if "text" not in columns:
                    raise ConfigError(f"{path}: no column 'text'")
                row = 0
                for batch in parquet.iter_batches(batch_size=_BATCH, columns=columns):
                    ids = batch.column("id").to_pylist() if "id" in columns else [None] * batch.num_rows
                    names = [str(id) if id is not None else f"{path}:{row + i}" for i, id in enumerate(ids)]
                    yield names, batch.column("text").to_pylist()
                    row += batch.num_rows
            return
        if ".jsonl" in base:
            names, texts = [], []
            with fsspec.open(path, "rt", compression="infer", encoding="utf-8") as file:
                for number, line in enumerate(file, 1):
                    if not line.strip():
                        continue
                    document = _parsed(line, f"{path}:{number}")
                    names.append(str(document.get("id", f"{path}:{number}")))
                    texts.append(document.get("text"))
                    if len(names) == _BATCH:
                        yield names, texts
                        names, texts = [], []
            yield names, texts
            return
        with fsspec.open(path, "rb", compression="infer") as file:
            yield [path], [file.read().decode("utf-8", "replace")]
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from error


def _parsed(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ConfigError(f"{where}: not JSON: {error}") from error
    if not isinstance(row, dict) or not isinstance(row.get("text"), str | None):
        raise ConfigError(f"{where}: expected an object with a string 'text'")
    return row


@app.command()
def query(
    index: IndexFolder,
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Text files, or .parquet or .jsonl with `text`.")
    ],
    min_jaccard: Annotated[float, typer.Option("--min", help="Least Jaccard index that is shown.", min=0, max=1)] = 0.5,
    limit: Annotated[int, typer.Option(help="Matches shown of a document.", min=1)] = 10,
    as_json: AsJson = False,
) -> None:
    """Show which documents of the index resemble those of a file, and how much."""
    import pyarrow as pa

    from stages.dedup import index_lookup
    from stages.dedup.index import Index
    from stages.dedup.minhash import MinhashDedup
    from stages.dedup.signatures import band_keys

    opened = Index.open(index)
    made = opened.parameters
    keys = ("bands", "rows", "ngram", "fold_digits")
    stage = MinhashDedup.model_validate({key: getattr(made, key) for key in keys})
    stage._seed = made.seed
    stage.setup()
    made.check(stage.parameters(), index)
    table = Table(box=None, pad_edge=False)
    for column in ("document", "jaccard", "id", "url", "crawl"):
        table.add_column(column, overflow="fold")
    for path in files:
        for names, texts in _texts(path):
            signed = stage.signatures(pa.array(texts, pa.large_string()))
            bands = band_keys(signed.signatures, made.bands)
            for i, name in enumerate(names):
                numbers, jaccard = index_lookup.matches(opened, bands[i], signed.sketches[i])
                if signed.words[i] < made.ngram:
                    numbers = numbers[:0]
                shown = [(int(n), float(j)) for n, j in zip(numbers, jaccard, strict=False) if j >= min_jaccard][:limit]
                found = index_lookup.described(opened, [number for number, _ in shown])
                for row, (_, share) in zip(found, shown, strict=True):
                    if as_json:
                        sys.stdout.write(json.dumps({"document": name, "jaccard": round(share, 4)} | row) + "\n")
                    else:
                        table.add_row(name, f"{share:.2f}", row["id"], row["url"], row["crawl"])
                if not shown and not as_json:
                    short = signed.words[i] < made.ngram
                    table.add_row(name, "", f"fewer than {made.ngram} words" if short else "no match", "", "")
    if not as_json:
        out.print(table, markup=False)


@app.command()
def forget(
    index: IndexFolder,
    ids: Annotated[list[str] | None, typer.Option("--id", help="Id of a document; may be repeated.")] = None,
    urls: Annotated[list[str] | None, typer.Option("--url", help="Address of documents; may be repeated.")] = None,
    sources: Annotated[
        list[str] | None, typer.Option("--source", help="`source` of documents; may be repeated.")
    ] = None,
    crawls: Annotated[list[str] | None, typer.Option("--crawl", help="A whole crawl; may be repeated.")] = None,
) -> None:
    """Take documents down: the next answer is without them, and without those that were dropped for them.

    `compact` then removes them from the disk. A later run that meets such a document again adds it again: take it out
    of the inputs too.
    """
    from stages.dedup import index_update
    from stages.dedup.index import Index

    if not (ids or urls or sources or crawls):
        raise ConfigError("nothing to forget: give --id, --url, --source or --crawl")
    new, count = index_update.forget(Index.open(index), ids or (), urls or (), sources or (), crawls or ())
    if not count and not crawls:
        out.print(f"{index}: no document matches; version {new.version} stays", markup=False, soft_wrap=True)
        return
    out.print(
        f"{index}: version {new.version} is without {count:,} documents; `curation dedup compact {index}` removes them "
        "from the disk",
        markup=False,
        soft_wrap=True,
    )


@app.command()
def compact(index: IndexFolder) -> None:
    """Merge the segments into one, and remove what was taken down and all older versions from the disk.

    A run that is being compared with the index then fails and must be started again, which repeats little.
    """
    from stages.dedup import index_update
    from stages.dedup.index import Index

    new, removed = index_update.compact(Index.open(index))
    out.print(f"{index}: version {new.version}; {removed} files removed", markup=False, soft_wrap=True)


@app.command()
def stats(index: IndexFolder, as_json: AsJson = False) -> None:
    """Show the parameters, the crawls and the size of an index."""
    from stages.dedup.index import Index, describe

    about = describe(Index.open(index))
    if as_json:
        sys.stdout.write(json.dumps(about) + "\n")
        return
    for key, value in about["parameters"].items():
        out.print(f"{key}: {value}", markup=False)
    table = Table(box=None, pad_edge=False)
    for column in ("crawl", "documents", "kept", "forgotten"):
        table.add_column(column, justify="left" if column == "crawl" else "right")
    for crawl in about["crawls"]:
        table.add_row(crawl["name"], *(f"{crawl[key]:,}" for key in ("documents", "kept", "forgotten")))
    out.print(table, markup=False)
    size = sum(about["bytes"].values())
    parts = ", ".join(f"{kind} {count / 1e6:,.1f}" for kind, count in about["bytes"].items())
    per = f", {size / about['documents']:,.0f} bytes a document" if about["documents"] else ""
    out.print(
        f"version {about['version']}, {about['segments']} segments, {size / 1e6:,.1f} MB ({parts}){per}", markup=False
    )


@app.command()
def verify(index: IndexFolder) -> None:
    """Read every block of an index and compare it with its checksum; exit code 1 names the first that is damaged."""
    from stages.dedup.index import Index

    opened = Index.open(index)
    opened.forgotten()
    blocks = 0
    for segment in opened.segments():
        for file in segment.files:
            blocks += sum(1 for _ in file.blocks())
    out.print(f"{index}: version {opened.version}, {blocks} blocks are as they were written", markup=False)

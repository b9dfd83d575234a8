"""The command `curation`, also `python -m curation`.

Each command is thin: it turns options into calls of the modules beside it and errors into one line and an exit code
(2: usage or config, 1: a run that failed, 130: interrupted). Ray and the stages' libraries are imported only by what
runs them, so that a config error shows in under two seconds.
"""

from __future__ import annotations

import errno
import importlib
import json
import os
import signal
import sys
import time
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from curation.command_groups import WithGroups
from curation.errors import ConfigError, CurationError

app = typer.Typer(
    cls=WithGroups,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Curate pretraining corpora: raw archives in, deduplicated, labelled, tokenized parquet shards out.",
)
INTERRUPTED = 130
#: What a disk or its owner says no with, in any command that writes.
NO_FAULT_OF_OURS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.ENOTDIR)
#: Columns of a table where output is no terminal: nothing is gained by folding lines in a file.
WIDE = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 160
out = Console(highlight=False, width=WIDE)
err = Console(stderr=True, highlight=False)

Config = Annotated[str | None, typer.Option("--config", "-c", help="The config file (default: pipelines.yaml).")]
Inputs = Annotated[list[str] | None, typer.Option("--input", "-i", help="Path, glob or URL to read; may be repeated.")]
OutputFolder = Annotated[str | None, typer.Option("--output", "-o", help="Folder or URL of the run.")]
Sets = Annotated[
    list[str] | None, typer.Option("--set", "-s", help="stage.key=value or setting=value; may be repeated.")
]
RunFolder = Annotated[str, typer.Argument(metavar="DIR", help="Folder or URL of a run.")]


def _plan(name: str, config: str | None, inputs: list[str] | None, output: str | None, sets: list[str] | None) -> Any:
    from curation.config import find_config, load_pipeline
    from curation.plan import make_plan

    folder = str(find_config(config).resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)  # stages of the user's own, beside the config
    return make_plan(load_pipeline(name, config, sets=sets or (), inputs=inputs or (), output=output))


def _stop(*_: Any) -> None:
    raise KeyboardInterrupt


@app.command()
def run(
    name: Annotated[str, typer.Argument(help="Name of the pipeline.")],
    inputs: Inputs = None,
    output: OutputFolder = None,
    config: Config = None,
    sets: Sets = None,
    inline: Annotated[
        bool, typer.Option("--inline", help="Run in this process, without Ray or child processes.")
    ] = False,
    workers: Annotated[int | None, typer.Option(help="CPUs of the local Ray (default: all).", min=1)] = None,
    address: Annotated[str | None, typer.Option(help="Ray cluster to attach to (default: $RAY_ADDRESS).")] = None,
) -> None:
    """Run a pipeline. What is committed is skipped, so the same command goes on after a stop."""
    from curation.executor import Inline, OnRay
    from curation.progress import Progress
    from curation.run import Run
    from curation.storage import Storage

    began = time.monotonic()
    plan = _plan(name, config, inputs, output, sets)
    for pattern in plan.inputs.absent:
        err.print(f"input '{pattern}' matches no file; the run goes on without it", soft_wrap=True)
    url = plan.pipeline.settings.output
    executor = Inline(url) if inline else OnRay(url, workers, address)
    signal.signal(signal.SIGTERM, _stop)
    result = Run(plan, executor, Storage(url), Progress(err)).execute()
    from curation.stats import funnel_table, read_stats

    stats = read_stats(url)
    if not result.executed:
        out.print(f"{url}: everything is committed ({result.skipped} tasks), nothing to do")
    else:
        _write_report(url)
    out.print(funnel_table(stats))
    for line in result.completed:
        out.print(line, markup=False, soft_wrap=True)
    for stage, counter, n in stats.warnings():
        out.print(f"warning: {stage}: {counter}: {n}", style="yellow")
    tokens = f", {stats.tokens():,} tokens" if stats.tokens() else ""
    out.print(
        f"\n{stats.records:,} records in, {stats.kept:,} documents kept{tokens}, {time.monotonic() - began:.1f} s"
    )
    for folder in sorted(stats.info["files"], key=lambda f: (f != "documents", f)):
        files = stats.info["files"][folder]
        rows, size = sum(f["rows"] for f in files), sum(f["bytes"] for f in files)
        out.print(f"  {url}/{folder}: {rows:,} rows in {len(files)} files, {size / 1e6:,.1f} MB", soft_wrap=True)
    if Storage(url).exists("report.html"):
        out.print(f"  {url}/report.html", soft_wrap=True)


def _write_report(url: str) -> None:
    """The page and the cards of a run that is complete: whatever goes wrong with them, the run has not failed."""
    pages = (
        ("report.html", "curation.report.page", "write_report", "report"),
        ("the dataset card", "curation.card", "write_card", "card"),
    )
    for what, module, function, again in pages:
        try:
            getattr(importlib.import_module(module), function)(url)
        except Exception as error:
            err.print(
                f"warning: {what} was not written ({type(error).__name__}: {error}); the run is complete, "
                f"`curation {again} {url}` tries again",
                style="yellow", markup=False, soft_wrap=True,
            )  # fmt: skip


@app.command()
def plan(
    name: Annotated[str, typer.Argument(help="Name of the pipeline.")],
    inputs: Inputs = None,
    output: OutputFolder = None,
    config: Config = None,
    sets: Sets = None,
    pilot: Annotated[
        str, typer.Option(metavar="SHARE", help="Run this share of the input (`0.1%`) and forecast the whole run.")
    ] = "",
    nodes: Annotated[int, typer.Option(help="With --pilot: nodes to forecast for.", min=1)] = 1,
    cpus: Annotated[int, typer.Option(help="With --pilot: CPUs of a node (0: as many as here).", min=0)] = 0,
    cpu_price: Annotated[float, typer.Option(help="With --pilot: price of an hour of a CPU.", min=0)] = 0.04,
    gpu_price: Annotated[float, typer.Option(help="With --pilot: price of an hour of a GPU.", min=0)] = 2.5,
    gpus: Annotated[int, typer.Option(help="With --pilot: GPUs behind the model's server.", min=0)] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="With --pilot: print JSON instead of tables.")] = False,
) -> None:
    """Show segments, inputs, and what a run would do; nothing is run. With --pilot a sample is run, and forecast
    from."""
    from curation.preview import preview
    from curation.storage import Storage

    made = _plan(name, config, inputs, output, sets)
    if pilot:
        from curation.pilot import Prices, forecast, share_of
        from curation.pilot_table import print_forecast

        found = forecast(made, share_of(pilot), Prices(cpu_price, gpu_price, gpus))
        if as_json:
            sys.stdout.write(json.dumps(found.to_json(), indent=1) + "\n")
        else:
            print_forecast(found, out, nodes, cpus or os.cpu_count() or 1, cpu_price, gpu_price)
        return
    settings = made.pipeline.settings
    out.print(f"[bold]{name}[/bold]: {settings.description}", soft_wrap=True)
    files = {(task.split.source, task.split.file.name): task.split.file.size for task in made.first_tasks}
    out.print(
        f"input: {len(files)} files, {sum(files.values()) / 1e6:,.1f} MB; output: {settings.output}", soft_wrap=True
    )
    table = Table(box=None, pad_edge=False)
    for column, justify in (("step", "left"), ("stages", "left"), ("tasks", "right"), ("committed", "right")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    for row in preview(made, Storage(settings.output)):
        table.add_row(
            row.step, ", ".join(row.stages), *("?" if n is None else str(n) for n in (row.tasks, row.committed))
        )
    out.print(table)
    out.print("? is known when the steps before it are complete", style="dim")


@app.command()
def pipelines(config: Config = None) -> None:
    """List the pipelines of a config file."""
    from curation.config import pipeline_names

    table = Table(box=None, pad_edge=False)
    for column in ("pipeline", "what it does"):
        table.add_column(column)
    for name, description in pipeline_names(config).items():
        table.add_row(Text(name), Text(description))
    out.print(table)


@app.command()
def stages(name: Annotated[str | None, typer.Argument(help="A stage, for its manual page.")] = None) -> None:
    """List the stages, or show the manual page of one."""
    from curation.registry import catalogue, stage_class

    if name is None:
        table = Table(box=None, pad_edge=False)
        for column in ("stage", "group", "what it does"):
            table.add_column(column)
        for entry in sorted(catalogue().values(), key=lambda e: (e.group, e.name)):
            table.add_row(entry.name, entry.group, entry.summary)
        out.print(table)
        return
    import inspect

    cls = stage_class(name)
    out.print(f"[bold]{name}[/bold]\n")
    out.print(inspect.cleandoc(cls.__doc__ or ""), markup=False)
    table = Table(box=None, pad_edge=False, title="\nkeys", title_justify="left")
    for column in ("key", "type", "default", "meaning"):
        table.add_column(column)
    for key, field in cls.model_fields.items():
        kind = getattr(field.annotation, "__name__", "") if "[" not in str(field.annotation) else str(field.annotation)
        default = "required" if field.is_required() else repr(field.get_default(call_default_factory=True))
        table.add_row(key, kind.replace("typing.", ""), default, field.description or "")
    out.print(table if cls.model_fields else "\nIt has no keys.", markup=False)


@app.command("compile")
def compile_kernels() -> None:
    """Set up every stage once, so that compiled kernels are in the cache and the first run need not wait for them."""
    from pydantic import ValidationError

    from curation.registry import catalogue

    for entry in catalogue().values():
        try:
            stage = entry.load()()
        except ValidationError:
            continue  # it has keys without defaults
        began = time.monotonic()
        stage.setup()
        if time.monotonic() - began > 1:
            out.print(f"{entry.name}: {time.monotonic() - began:.1f} s")


@app.command()
def schema() -> None:
    """Print the JSON Schema of pipelines.yaml, for editors."""
    from curation.config import json_schema

    sys.stdout.write(json.dumps(json_schema(), indent=1) + "\n")


@app.command()
def stats(
    folder: RunFolder,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    by: Annotated[
        str, typer.Option(metavar="COLUMN", help="One line per value of a `breakdown` column: its own funnel.")
    ] = "",
    clusters: Annotated[int, typer.Option(help="Show so many of the largest clusters of duplicates.", min=0)] = 0,
) -> None:
    """Show what a run did: funnel, reasons, breakdown, throughput."""
    from curation.copies import Copies
    from curation.stats import print_funnels, print_stats, read_stats

    found = read_stats(folder)
    copies = Copies(folder)
    if as_json:
        data = found.funnel_by(by).to_json() if by else found.to_json()
        if clusters:
            data |= {"clusters": copies.largest(clusters), "chains": copies.chains(clusters)}
        sys.stdout.write(json.dumps(data, indent=1) + "\n")
        return
    if by:
        print_funnels(found, by, out)
    else:
        print_stats(found, out)
    if clusters:
        _print_clusters(copies, clusters)


def _print_clusters(copies: Any, most: int) -> None:
    """The largest clusters of duplicates, and those of near duplicates of which most documents stay."""
    table = Table(box=None, pad_edge=False, title="\nlargest clusters", title_justify="left")
    for column in ("kept", "url", "kind", "removed", "least Jaccard"):
        table.add_column(column, overflow="fold")
    for row in copies.largest(most):
        jaccard = "" if row["least_jaccard"] is None else f"{row['least_jaccard']:.2f}"
        table.add_row(row["kept_id"], row["kept_url"] or "", row["kind"], f"{row['removed']:,}", jaccard)
    out.print(table)
    table = Table(box=None, pad_edge=False, title="\nlongest chains", title_justify="left")
    for column in ("first document", "kept", "removed"):
        table.add_column(column, overflow="fold")
    for row in copies.chains(most):
        table.add_row(row["cluster"], f"{row['kept']:,}", f"{row['removed']:,}")
    out.print(table)


@app.command()
def why(
    folder: RunFolder,
    document: Annotated[str, typer.Argument(metavar="URL_OR_ID", help="Url or id of a document.")],
) -> None:
    """Show every stage's verdict on one document."""
    from curation.why import explain, shown

    marks = {"kept": "[green]kept[/green]", "dropped": "[red]dropped[/red]", "failed": "[red]failed[/red]"}
    for explanation in explain(folder, document):
        out.print(f"[bold]{explanation.fate}[/bold], in {explanation.folder}/")
        for key, value in shown(explanation.document).items():
            out.print(f"  {key}: ", end="")
            out.print(value, markup=False, soft_wrap=True)
        table = Table(box=None, pad_edge=False)
        for column in ("stage", "verdict", "reason", "detail"):
            table.add_column(column)
        for verdict in explanation.verdicts:
            table.add_row(verdict.stage, marks.get(verdict.verdict, verdict.verdict), verdict.reason, verdict.detail)
        out.print(table)
        for text, rows, key in (
            ("removed for", explanation.way, "kept"),
            ("stands for", explanation.copies, ""),
        ):
            for row in rows:
                alike = "" if row["jaccard"] is None else f", Jaccard {row['jaccard']:.2f}"
                name, url = (row["kept_id"], row["kept_url"]) if key else (row["id"], row["url"])
                out.print(f"{text} {name} {url or ''} ({row['kind']}{alike})", markup=False, soft_wrap=True)


@app.command()
def verify(folder: RunFolder) -> None:
    """Re-read every file of a run and compare it with what was committed."""
    from curation.corpus import Manifest
    from curation.corpus import verify as verify_manifest
    from curation.storage import Storage

    storage = Storage(folder)
    names = storage.names("work/manifests")
    if not names:
        raise ConfigError(f"{folder}: not a run's folder (it has no manifests)")
    bad = [f for name in names for f in verify_manifest(storage, Manifest(**storage.read_json(name)))]
    if bad:
        raise CurationError(f"{len(bad)} files are missing or changed, the first: {bad[0]}; a rerun makes missing ones")
    out.print(f"{folder}: the files of {len(names)} tasks are as they were committed")


def main() -> None:
    """Run the command line; the process ends with its exit code."""
    try:
        code = app(standalone_mode=False) or 0  # typer gives the exit code of --help and of Ctrl-C as the result
    except CurationError as error:
        err.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        code = error.exit_code
    except typer.Abort:
        code = INTERRUPTED
    except OSError as error:
        if error.errno not in NO_FAULT_OF_OURS:
            raise
        err.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        code = 1
    except Exception as error:
        if not hasattr(error, "show"):  # a bug of ours, unlike typer's errors of usage
            raise
        error.show()
        code = 2
    if code == INTERRUPTED:
        err.print("interrupted; what is committed is kept, the same command goes on from there")
    sys.stdout.flush()
    raise SystemExit(code)

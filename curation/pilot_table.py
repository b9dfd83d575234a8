"""Shows a forecast (`curation plan NAME --pilot 0.1%`): a table by stage, then what the whole run gives and takes."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from curation.pilot import Forecast
from curation.progress import count


def _hours(hours: float) -> str:
    return f"{3600 * hours:,.1f} s" if hours < 0.05 else f"{hours:,.2f} h" if hours < 100 else f"{hours:,.0f} h"


def size(n: float) -> str:
    """Bytes in the largest unit that leaves a digit before the point."""
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if n >= unit:
            return f"{n / unit:,.1f} {name}"
    return f"{n / 1e3:,.1f} kB"


def print_forecast(found: Forecast, out: Console, nodes: int, cpus: int, cpu_price: float, gpu_price: float) -> None:
    """Print it."""
    out.print(
        f"pilot: {found.sampled_records:,} records, {size(found.sampled_bytes)} of {size(found.input_bytes)} "
        f"({found.share:.2%}); the whole input:\n",
        soft_wrap=True,
    )
    gpu = found.gpu_hours > 0
    table = Table(box=None, pad_edge=False)
    columns = ["stage", "in", "kept", "kept, likely range", "CPU", *(["GPU"] if gpu else []), "price"]
    for column in columns:
        table.add_column(column, justify="left" if column == "stage" else "right")
    for stage in found.stages:
        around = "" if stage.kept_range is None else " – ".join(count(n) for n in stage.kept_range)
        counted = [count(stage.docs_in), count(stage.kept), around] if stage.docs_in else ["", "", ""]
        table.add_row(
            stage.stage,
            *counted,
            _hours(stage.cpu_hours),
            *([_hours(stage.gpu_hours) if stage.gpu_hours else ""] if gpu else []),
            f"{stage.price:,.4f}" if stage.price < 1 else f"{stage.price:,.2f}",
        )
    out.print(table)
    documents = [stage for stage in found.stages if stage.docs_in]
    tokens = f", {count(found.tokens)} tokens" if found.tokens else ""
    out.print(f"\ndocuments kept: {count(documents[-1].kept)} of {count(documents[0].docs_in)} records{tokens}")
    out.print(f"CPU time: {_hours(found.cpu_hours)}" + (f", GPU time: {_hours(found.gpu_hours)}" if gpu else ""))
    out.print(
        f"on the clock: {_hours(found.hours(nodes, cpus))} on {nodes} nodes of {cpus} CPUs ({found.tasks:,} tasks)"
    )
    disk = ", ".join(f"{name} {size(n)}" for name, n in found.disk.items())
    out.print(f"disk: {size(sum(found.disk.values()))} ({disk})", soft_wrap=True)
    out.print(
        f"price: {found.price:,.2f}, at {cpu_price:g} an hour of a CPU" + (f", {gpu_price:g} of a GPU" if gpu else "")
    )

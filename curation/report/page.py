"""Writes report.html: one page, no network, that says what a run did and shows samples of what it dropped.

The documents are strangers' text. The template escapes everything, and the page holds no script at all, so nothing
in a document can run. Samples are the first documents of each reason in plan order, the same in every run.
"""

from __future__ import annotations

import itertools
from typing import Any

import jinja2
import pyarrow.parquet as pq

from curation.chain import error_kind
from curation.stats import Stats, read_stats
from curation.storage import Storage

#: Samples shown per stage and reason, and characters of each.
SAMPLES = 3
CHARACTERS = 400
#: Files of dropped documents that are searched for samples.
FILES = 50


def samples(storage: Storage, stats: Stats) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """(stage, reason) -> the first few documents that went for it."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for folder in ("dropped", "quarantine"):
        for file in stats.info.get("files", {}).get(folder, [])[:FILES]:
            with storage.open(file["name"]) as handle:
                table = pq.read_table(handle, columns=["url", "text", "stage", "reason", "detail"])
            keys = zip(table["stage"].to_pylist(), table["reason"].to_pylist(), strict=True)
            for i, (stage, reason) in enumerate(keys):
                key = (stage, reason if folder == "dropped" else error_kind(reason))
                rows = found.setdefault(key, [])
                if len(rows) < SAMPLES:
                    row = table.slice(i, 1).to_pylist()[0]
                    row["text"] = (row["text"] or "")[:CHARACTERS]
                    rows.append(row)
    return found


def histograms(stats: Stats) -> list[dict[str, Any]]:
    """Each recorded histogram as bars: label and height in percent of the highest."""
    result = []
    for account in stats.accounts:
        for name, histogram in account.metrics.histograms.items():
            top = max(histogram.counts) or 1
            edges = [f"{e:g}" for e in histogram.edges]
            labels = [
                f"< {edges[0]}",
                *(f"{a} to {b}" for a, b in itertools.pairwise(edges)),
                f"≥ {edges[-1]}",
            ]
            bars = [
                {"label": label, "n": n, "height": round(100 * n / top, 1)}
                for label, n in zip(labels, histogram.counts, strict=True)
            ]
            result.append({"stage": account.stage, "name": name, "bars": bars})
    return result


def write_report(run: str) -> str:
    """Write `report.html` into a run's folder; returns its path or URL."""
    storage, stats = Storage(run), read_stats(run)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("curation.report", "."), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["number"] = lambda n: f"{n:,.0f}"
    page = environment.get_template("page.html.j2").render(
        stats=stats, info=stats.info, samples=samples(storage, stats), histograms=histograms(stats)
    )
    with storage.write("report.html") as file:
        file.write(page.encode("utf-8", "replace"))
    return storage.path("report.html") if storage.local else f"{run.rstrip('/')}/report.html"

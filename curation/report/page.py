"""Writes report.html: one page, no network, that says what a run did and shows samples of what it dropped.

The documents are strangers' text. The template escapes everything; the data for the charts is JSON in which no tag can
end or begin; and a Content-Security-Policy allows no script but the two whose hashes it names, no style sheet from
elsewhere, no image, no request. So nothing in a document can run, and a page opened from disk sends nothing.

Charts are drawn by Apache ECharts, inlined. What decided: it draws a Sankey diagram, it is kept (Apache-2.0, several
releases a year), it needs no `eval` and can draw SVG, which prints sharp, in 1.1 MB (0.4 MB packed); Plotly takes 4.5
MB a page, Bokeh and uPlot have no Sankey diagram, and a picture made in Python cannot be filtered. Tables and samples
are plain HTML, so a reader without scripts loses the charts and the filter, and nothing else.

Numbers come from run.json; parquet files are opened for samples only, a bounded number of them (`samples.py`).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup

from curation.progress import count, duration
from curation.report import facts
from curation.report.samples import SAMPLES, Samples, read_samples, readable
from curation.stats import Stats, read_stats
from curation.storage import Storage

#: Reasons listed, those of most documents first; failures can be of any number of kinds.
REASONS = 300


def _asset(name: str) -> str:
    return files("curation.report").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _inline(script: str) -> Markup:
    """A script of ours as it stands in the page: `</script` may not occur in it."""
    if "</script" in script.lower():
        raise ValueError("a script that is inlined must not hold </script")
    return Markup(script)


def environment() -> jinja2.Environment:
    """Templates with everything escaped."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("curation.report", "."), autoescape=True, undefined=jinja2.StrictUndefined
    )
    made.filters |= {
        "number": lambda n: f"{n:,.0f}",
        "short": lambda n: count(n) if n else "",
        "duration": lambda s: f"{s:.1f} s" if s < 60 else duration(s),
        "readable": readable,
        "sum_failed": lambda stages: sum(sum(stage["failed"].values()) for stage in stages),
    }
    return made


def assets() -> dict[str, Any]:
    """What every page inlines, and the policy that allows just that."""
    css, library, script = (_asset(name) for name in ("page.css", "echarts.min.js", "page.js"))
    # Styles: the one sheet, and the style attributes with numbers that the template and the charts set.
    policy = (
        f"default-src 'none'; script-src {_hash(library)} {_hash(script)}; style-src 'unsafe-inline'; "
        "base-uri 'none'; form-action 'none'"
    )
    version = re.search(r'version="(\d+\.\d+\.\d+)"', library)
    return {
        "css": Markup(css),
        "library": _inline(library),
        "script": _inline(script),
        "policy": policy,
        "echarts_version": version[1] if version else "",
    }


def reasons(stats: Stats, samples: Samples) -> list[dict[str, Any]]:
    """Every reason with its samples, in the order of the stages."""
    rows = stats.reasons()
    least = sorted((n for *_, n in rows), reverse=True)[:REASONS][-1:] or [0]
    return [
        {
            "stage": stage,
            "reason": readable(f"{reason} (failed)" if kind == "failed" else reason, 80),
            "failed": kind == "failed",
            "n": n,
            "samples": samples.by_reason.get((stage, reason), []),
        }
        for stage, kind, reason, n in rows
        if n >= least[0]
    ][: 2 * REASONS]


def render(title: str, stats: Stats, samples: Samples, runs: Sequence[dict[str, Any]] = ()) -> str:
    """The page of a run, or of several added up (`runs`)."""
    mix = facts.mixture(stats)
    languages, histograms, steps = facts.languages(stats), facts.histograms(stats), facts.steps(stats)
    funnel = facts.funnel(stats)
    breakdown = {
        column: [(readable(value, 120), row) for value, row in list(values.items())[:100]]
        for column, values in stats.breakdown().items()
        if column != facts.LANGUAGE
    }
    sections = [("funnel", "Funnel"), ("reasons", "Reasons"), ("languages", "Languages"), ("domains", "Domains")]
    sections += [("histograms", "Lengths and scores"), ("duplicates", "Duplicates"), ("mix", "Mix")]
    sections += [("cost", "Time and memory"), ("quarantine", "Quarantine"), ("config", "Configuration")]
    shown = {"languages": languages, "domains": samples.hosts, "histograms": histograms}
    shown |= {"duplicates": samples.clusters, "mix": mix}
    data = {"funnel": funnel, "languages": languages, "histograms": histograms, "mix": mix, "charted": facts.CHARTED}
    return (
        environment()
        .get_template("page.html.j2")
        .render(
            title=readable(title, 200),
            info=stats.info,
            stats=stats,
            runs=runs,
            funnel=funnel,
            failed=sum(sum(a.failed.values()) for a in stats.accounts),
            reasons=reasons(stats, samples),
            most=SAMPLES,
            languages=languages,
            breakdown=breakdown,
            histograms=histograms,
            steps=steps,
            samples=samples,
            mix=mix,
            sections=[(key, name) for key, name in sections if shown.get(key, True)],
            config=json.dumps(stats.info["config"], indent=1, ensure_ascii=False),
            data=data,
            **assets(),
        )
    )


def write_report(run: str) -> str:
    """Write `report.html` into a run's folder; returns its path or URL."""
    storage, stats = Storage(run), read_stats(run)
    page = render(stats.info["pipeline"], stats, read_samples(storage, stats))
    with storage.write("report.html") as file:
        file.write(page.encode("utf-8", "replace"))
    return storage.path("report.html") if storage.local else f"{run.rstrip('/')}/report.html"

"""The numbers of a report as the page needs them: plain lists that a template prints and a chart draws.

Read from run.json alone, so that a page about a run of a million shards takes as long as one about ten.
"""

from __future__ import annotations

import itertools
from typing import Any

from curation.report.samples import readable
from curation.stats import Stats

#: The breakdown column that the page can be filtered by.
LANGUAGE = "language"
#: Languages in charts; the table has all.
CHARTED = 20


def funnel(stats: Stats) -> list[dict[str, Any]]:
    """One entry per stage: in, added, kept, and who was lost for what."""
    return [
        {
            "stage": a.stage,
            "in": a.rows_in,
            "added": a.added,
            "kept": a.kept,
            "lost": {
                **{readable(reason, 80): n for reason, n in a.dropped.items()},
                **{readable(f"{error} (failed)", 80): n for error, n in a.failed.items()},
            },
            "cpu_s": round(a.cpu_s, 3),
            "rate": round(a.rows_in / a.cpu_s) if a.cpu_s > 0.005 else None,
            "mb_s": round(a.bytes_in / 1e6 / a.cpu_s, 1) if a.cpu_s > 0.005 else None,
        }
        for a in stats.funnel
    ]


def languages(stats: Stats) -> dict[str, Any] | None:
    """Per language: documents in and kept, tokens, and what each stage took; None if the run did not count
    languages."""
    if not any(key.startswith(f"{LANGUAGE}=") for a in stats.accounts for key in a.breakdown):
        return None
    funnels, tokens = stats.funnel_by(LANGUAGE), stats.tokens_by(LANGUAGE)
    rows: list[dict[str, Any]] = []
    for value, row in funnels.rows.items():
        lost: dict[str, dict[str, int]] = {}
        for (stage, reason), n in row.lost.items():
            lost.setdefault(stage, {})[readable(reason, 80)] = n
        most = sorted(row.lost.items(), key=lambda item: (-item[1], item[0]))[:2]
        rows.append(
            {
                "code": readable(value, 40) or "(none)",
                "in": row.entered,
                "kept": row.kept[-1],
                "tokens": tokens.get(value, 0),
                "kept_by_stage": row.kept,
                "lost": lost,
                "most": [{"stage": stage, "reason": readable(reason, 80), "n": n} for (stage, reason), n in most],
            }
        )
    losing = [stage for stage in funnels.stages if any(stage in row["lost"] for row in rows)]
    return {"stages": funnels.stages, "losing": losing, "rows": rows}


def limits(stats: Stats, name: str) -> dict[str, Any]:
    """The limits that stages put on the value of a histogram: those of documents whose language has none of its own
    (`limits`), those of each language that has (`by_language`), and the lowest and highest of each (`ranges`)."""
    default: dict[str, dict[str, dict[str, float]]] = stats.info.get("thresholds", {})
    own: dict[str, dict[str, dict[str, dict[str, float]]]] = stats.info.get("thresholds_by_language", {})

    def of(language: str | None) -> dict[str, float]:
        chosen = {stage: own.get(stage, {}).get(language or "", default.get(stage, {})) for stage in {**default, **own}}
        return {f"{stage}.{key}": n for stage, rows in chosen.items() for key, n in rows.get(name, {}).items() if n}

    usual = of(None)
    counted = list(stats.breakdown().get(LANGUAGE, {})) if own else []
    by_language = {code: of(code or "und") for code in counted}
    ranges: dict[str, tuple[float, float]] = {}
    for rows in by_language.values() or [usual]:
        for key, n in rows.items():
            low, high = ranges.get(key, (n, n))
            ranges[key] = (min(low, n), max(high, n))
    others = {readable(code, 40) or "(none)": rows for code, rows in by_language.items() if rows != usual}
    return {"limits": usual, "by_language": others, "ranges": ranges}


def histograms(stats: Stats) -> list[dict[str, Any]]:
    """Each recorded histogram: a label and a count per bin, and the limits that stages put on the value."""
    result: list[dict[str, Any]] = []
    for account in stats.accounts:
        for name, histogram in account.metrics.histograms.items():
            edges = [short(e) for e in histogram.edges]
            labels = [f"< {edges[0]}", *(f"{a} – {b}" for a, b in itertools.pairwise(edges)), f"≥ {edges[-1]}"]
            result.append(
                {
                    "stage": account.stage,
                    "name": readable(name, 80),
                    "edges": list(histogram.edges),
                    "labels": labels,
                    "counts": histogram.counts,
                    **limits(stats, name),
                }
            )
    return [h for h in result if sum(h["counts"])]


def short(value: float) -> str:
    """12800 -> 12.8k."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:g}"


def steps(stats: Stats) -> dict[str, Any]:
    """What each step of the plan took, and the slowest tasks of the run."""
    rows = stats.info.get("steps", [])
    slowest = sorted(
        ({"step": row["step"], **task} for row in rows for task in row["slowest"]),
        key=lambda task: (-task["seconds"], task["task"]),
    )
    return {"rows": rows, "slowest": slowest[:15]}


def mixture(stats: Stats) -> list[dict[str, Any]]:
    """Planned and realised share of each value that a mixture has shares for, largest first in each group."""
    return [
        {
            "group": readable(f"{group.partition(', ')[0]} = {name or '(none)'}", 120),
            "planned": planned,
            "realised": realised,
        }
        for group, names in stats.shares().items()
        for name, (planned, realised) in sorted(names.items(), key=lambda item: (-item[1][0], item[0]))
    ]

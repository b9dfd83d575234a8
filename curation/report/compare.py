"""Pages about more than one run: several added up, or two side by side.

Runs are added up stage by stage: crawls that went through one pipeline, each in a folder of its own. Side by side, the
question is another: what did a change of the pipeline, or of the input, do to each stage, reason and language. Shares
are of what entered the stage, so that runs over inputs of different sizes can be compared.
"""

from __future__ import annotations

import json
from typing import Any

from curation.account import Account
from curation.errors import ConfigError
from curation.report import facts
from curation.report.page import assets, environment, render
from curation.report.samples import Samples, read_samples, readable
from curation.stats import Stats, read_stats
from curation.storage import Storage


def merge(runs: list[str]) -> tuple[Stats, Samples, list[dict[str, Any]]]:
    """The statistics of several runs added up, samples of all, and what each brought. ConfigError if they are of
    pipelines with other stages."""
    every = [read_stats(run) for run in runs]
    stages = [[a.stage for a in stats.funnel] for stats in every]
    for run, names in zip(runs, stages, strict=True):
        if names != stages[0]:
            raise ConfigError(
                f"{run} has other stages than {runs[0]} and cannot be added to it; two runs can be compared: --compare"
            )
    totals: dict[str, Account] = {}
    for stats in every:
        for account in stats.accounts:
            totals.setdefault(account.stage, Account(account.stage)).merge(account)
    info = json.loads(json.dumps(every[0].info))
    for key in ("seconds", "cpu_seconds"):
        info[key] = sum(stats.info.get(key, 0) for stats in every)
    info["peak_rss_mb"] = max(stats.info.get("peak_rss_mb", 0) for stats in every)
    bad = [stats.info["status"] for stats in every if stats.info["status"] != "complete"]
    info["status"] = bad[0] if bad else "complete"
    info["steps"] = [
        step | {"step": f"{run.rstrip('/').rpartition('/')[2]}: {step['step']}"}
        for run, stats in zip(runs, every, strict=True)
        for step in stats.info.get("steps", [])
    ]
    info["files"], info["thresholds_by_language"] = {}, {}
    for stats in every:
        for stage, rows in stats.info.get("thresholds_by_language", {}).items():
            info["thresholds_by_language"].setdefault(stage, {}).update(rows)
        for folder, files in stats.info.get("files", {}).items():
            info["files"].setdefault(folder, []).extend(files)
    samples = Samples()
    for run, stats in zip(runs, every, strict=True):
        samples.add(read_samples(Storage(run), stats))
    rows = [{"name": readable(run, 200), "stats": stats} for run, stats in zip(runs, every, strict=True)]
    return Stats(info, list(totals.values())), samples, rows


def merged_page(runs: list[str]) -> str:
    """One page about several runs."""
    stats, samples, rows = merge(runs)
    return render(f"{stats.info['pipeline']}, {len(runs)} runs", stats, samples, rows)


def _flat(value: Any, prefix: str = "") -> dict[str, str]:
    if isinstance(value, dict):
        found: dict[str, str] = {}
        for key, inner in value.items():
            found |= _flat(inner, f"{prefix}.{key}" if prefix else str(key))
        return found
    return {prefix: json.dumps(value, ensure_ascii=False)}


def _settings(stats: Stats) -> dict[str, str]:
    config = stats.info["config"]
    found = _flat(config["settings"]) | {"inputs": json.dumps(config["inputs"])}
    for stage in config["stages"]:
        for name, keys in stage.items():
            found |= {name: "present"} | _flat(keys, name)
    return found | _flat(stats.info["versions"], "version")


def differences(a: Stats, b: Stats) -> list[dict[str, str]]:
    """Settings, keys of stages and versions that are not the same."""
    left, right = _settings(a), _settings(b)
    return [
        {"key": key, "a": readable(left.get(key, "–"), 200), "b": readable(right.get(key, "–"), 200)}
        for key in dict.fromkeys([*left, *right])
        if left.get(key) != right.get(key)
    ]


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _stage_side(account: Account | None) -> dict[str, Any] | None:
    if account is None:
        return None
    share = _share(account.kept, account.rows_in + account.added)
    return {"in": account.rows_in, "kept": account.kept, "share": share, "cpu_s": account.cpu_s}


def _language_side(row: dict[str, Any] | None) -> dict[str, Any] | None:
    if row is None:
        return None
    return {key: row[key] for key in ("in", "kept", "tokens")} | {"share": _share(row["kept"], row["in"])}


def comparison(a: Stats, b: Stats) -> dict[str, Any]:
    """Stages, reasons and languages of two runs, with the share that each kept or took."""
    result: dict[str, Any] = {"differences": differences(a, b), "stages": [], "reasons": [], "languages": []}
    funnels = [{account.stage: account for account in stats.funnel} for stats in (a, b)]
    for stage in dict.fromkeys([*funnels[0], *funnels[1]]):
        result["stages"].append({"stage": stage, "sides": [_stage_side(funnel.get(stage)) for funnel in funnels]})
    counted = [{(stage, kind, reason): n for stage, kind, reason, n in stats.reasons()} for stats in (a, b)]
    for key in dict.fromkeys([*counted[0], *counted[1]]):
        sides = [
            {"n": counted[i].get(key, 0), "share": _share(counted[i].get(key, 0), funnels[i][key[0]].rows_in)}
            if key[0] in funnels[i]
            else None
            for i in (0, 1)
        ]
        result["reasons"].append({"stage": key[0], "reason": readable(key[2], 80), "sides": sides})
    codes = [{row["code"]: row for row in (facts.languages(stats) or {"rows": []})["rows"]} for stats in (a, b)]
    for code in dict.fromkeys([*codes[0], *codes[1]]):
        result["languages"].append({"code": code, "sides": [_language_side(rows.get(code)) for rows in codes]})
    return result


def compared_page(first: str, second: str) -> str:
    """One page about two runs, side by side."""
    a, b = read_stats(first), read_stats(second)
    names = [readable(name, 200) for name in (first, second)]
    return (
        environment()
        .get_template("compare.html.j2")
        .render(title=f"{names[0]} and {names[1]}", names=names, runs=[a, b], compared=comparison(a, b), **assets())
    )

"""What run.json says of a plan and of the tasks of a step, beside the numbers of the stages.

All of it is computed from what the driver has at hand, so that a report need not read every manifest again.
"""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping
from typing import Any

from curation.account import Account
from curation.config import Pipeline
from curation.corpus import Manifest
from curation.plan import Plan, Segment

#: Slowest tasks of each step that run.json names.
SLOWEST = 5
#: Packages whose versions decide or explain a run's bytes.
VERSIONS = ("curation", "ray", "pyarrow", "numpy", "numba")


def describe(plan: Plan, status: str) -> dict[str, Any]:
    """The part of run.json that is known from the start."""
    pipeline = plan.pipeline
    stages = list(zip(pipeline.stage_names, pipeline.stages, strict=True))
    return {
        "pipeline": pipeline.name,
        "status": status,
        "fingerprint": plan.fingerprint,
        "config": {
            "file": pipeline.file,
            "settings": pipeline.settings.model_dump(mode="json"),
            "inputs": [item.model_dump() for item in pipeline.inputs],
            "stages": [{label: stage.model_dump(mode="json")} for label, stage in stages],
        },
        "thresholds": {label: limits for label, stage in stages if (limits := stage.thresholds())},
        "versions": versions(),
    }


def thresholds_by_language(
    pipeline: Pipeline, totals: Mapping[str, Account]
) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """stage -> language -> its limits, of the languages that the run counted, where they are not the default."""
    keys = {key for account in totals.values() for key in account.breakdown}
    codes = sorted(key.removeprefix("language=") or "und" for key in keys if key.startswith("language="))
    found: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
    for label, stage in zip(pipeline.stage_names, pipeline.stages, strict=True):
        default = stage.thresholds()
        limits = {code: stage.thresholds_of(code) for code in codes}
        if others := {code: own for code, own in limits.items() if own != default}:
            found[label] = others
    return found


def step_numbers(name: str, segment: Segment, manifests: list[Manifest]) -> dict[str, Any]:
    """What the tasks of a step took, and the slowest of them."""
    slowest = sorted(manifests, key=lambda m: (-m.seconds, m.task))[:SLOWEST]
    work = [file["bytes"] for m in manifests for file in m.files.values() if file["name"].startswith("work/")]
    return {
        "step": name,
        "stages": segment.labels,
        "tasks": len(manifests),
        "seconds": round(sum(m.seconds for m in manifests), 2),
        "cpu_seconds": round(sum(m.cpu_seconds for m in manifests), 2),
        "rss_mb": max((m.rss_mb for m in manifests), default=0),
        "work_bytes": sum(work),
        "slowest": [
            {
                "task": m.task,
                "seconds": m.seconds,
                "cpu_seconds": m.cpu_seconds,
                "rss_mb": m.rss_mb,
                "rows": m.accounts[0]["rows_in"] if m.accounts else 0,
            }
            for m in slowest
        ],
    }


def versions() -> dict[str, str]:
    """Versions of what decides or explains a run's bytes."""
    found = {"python": platform.python_version()}
    for package in VERSIONS:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def step_name(segment: Segment) -> str:
    """`read_warc ... minhash_dedup` for a segment."""
    names = [label.removesuffix(":scatter") for label in segment.labels]
    return names[0] if len(names) == 1 else f"{names[0]} … {names[-1]}"

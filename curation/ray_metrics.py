"""Metrics of a run for Prometheus, through Ray: every node's metrics port shows them as `ray_curation_…`.

Counted in the driver, from manifests, so a number is of committed work, and a task that was done twice counts once.
Ray's own metrics beside them tell what nodes and workers do.

Trade-off: what a run counts by document value (language, reason) stays in run.json. A label with thousands of values is
what makes a Prometheus server fall over.
"""

from __future__ import annotations

from typing import Any


class RayMetrics:
    """Counts the manifests of a run. `ray` must be connected."""

    def __init__(self, pipeline: str):
        from ray.util.metrics import Counter, Gauge

        tags = {"pipeline": pipeline}
        self._documents = Counter(
            "curation_documents", "Documents that a stage kept, dropped or failed for.", ("pipeline", "stage", "fate")
        )
        self._cpu = Counter("curation_cpu_seconds", "CPU seconds of a stage.", ("pipeline", "stage"))
        self._done = Counter("curation_tasks_done", "Tasks committed, and tasks that failed.", ("pipeline", "end"))
        self._tasks = Gauge("curation_tasks", "Tasks of the step that wait or run.", ("pipeline", "state"))
        for metric in (self._documents, self._cpu, self._done, self._tasks):
            metric.set_default_tags(tags)

    def tasks(self, waiting: int, running: int) -> None:
        """How many tasks of the step are not done."""
        self._tasks.set(waiting, {"state": "waiting"})
        self._tasks.set(running, {"state": "running"})

    def record(self, result: Any) -> None:
        """Count a manifest, or a failure."""
        accounts = getattr(result, "accounts", None)
        self._done.inc(1, {"end": "failed" if accounts is None else "committed"})
        for account in accounts or ():
            fates = {"kept": account["kept"], "dropped": sum(account["dropped"].values())}
            fates["failed"] = sum(account["failed"].values())
            for fate, n in fates.items():
                if n:
                    self._documents.inc(n, {"stage": account["stage"], "fate": fate})
            if account["cpu_s"] > 0:
                self._cpu.inc(account["cpu_s"], {"stage": account["stage"]})

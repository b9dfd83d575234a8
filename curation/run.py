"""Carries out a plan: what is committed is skipped, what is not is computed, and at the end the books must balance.

The driver holds no documents. It plans a segment from manifests, hands the missing tasks to the executor, checks
failure rates as manifests come in, and goes on to the next segment. Everything it knows is in the run's folder, so
a driver that is killed is simply started again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from curation.account import Account
from curation.corpus import Manifest, committed, manifest_name, sweep_pending
from curation.errors import ConfigError, CorruptFile, CurationError, error_text
from curation.exchange import ShuffledFiles
from curation.executor import Failure, Inline, OnRay
from curation.lock import Lock
from curation.plan import Plan, Segment, ShardTask, Task
from curation.run_record import describe, step_name, step_numbers, thresholds_by_language
from curation.stage import Barrier
from curation.storage import Storage

#: Documents of a stage after which its failure rate is judged while the run goes on.
JUDGED_AFTER = 200


class Watcher(Protocol):
    """Told what happens in a run; shows it."""

    def step(self, name: str, tasks: int, committed: int, bytes_in: int) -> None: ...
    def task(self, manifest: Manifest, fresh: bool) -> None: ...
    def failure(self, failure: Failure) -> None: ...
    def close(self) -> None: ...


class Silent:
    """Shows nothing."""

    def step(self, name: str, tasks: int, committed: int, bytes_in: int) -> None:
        """Nothing."""

    def task(self, manifest: Manifest, fresh: bool) -> None:
        """Nothing."""

    def failure(self, failure: Failure) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


@dataclass
class Result:
    """How a run ended. `info` is the content of run.json, `completed` what barriers say of their `complete`."""

    info: dict[str, Any]
    executed: int
    skipped: int
    completed: list[str]


@dataclass
class Run:
    """A plan and the folder it is carried out in."""

    plan: Plan
    executor: Inline | OnRay
    storage: Storage
    watcher: Watcher = field(default_factory=Silent)
    executed: int = 0
    skipped: int = 0
    manifests: list[Manifest] = field(default_factory=list)
    totals: dict[str, Account] = field(default_factory=dict)
    completed: list[str] = field(default_factory=list)
    steps: list[dict[str, Any]] = field(default_factory=list)
    _barriers: list[tuple[Barrier, list[Manifest], list[Manifest]]] = field(default_factory=list)
    _old: dict[str, Any] = field(default_factory=dict)

    def execute(self) -> Result:
        """Run everything that is not committed. Raises CurationError if the run fails."""
        _ = self.plan.first_tasks  # finds the inputs: a wrong path must not leave a folder behind
        self._check_folder()
        try:
            return self._execute()
        except OSError as error:  # the driver's own files: a full disk, a folder that was taken away
            raise CurationError(
                f"output '{self.storage.url}': {error_text(error)}; what is committed is kept"
            ) from error

    def _execute(self) -> Result:
        began = time.time()
        with Lock(self.storage):
            sweep_pending(self.storage)
            self._old = self.storage.read_json("run.json") or {}
            try:
                self._whole()
                info = self._finish(began)
            except KeyboardInterrupt:
                self._save_ending({"status": "interrupted", "error": "interrupted"}, began)
                raise
            except (CurationError, OSError) as error:
                stage = getattr(error, "stage", "")
                self._save_ending({"status": "failed", "error": str(error), "failed_stage": stage}, began)
                raise
            finally:
                self.executor.close()
                self.watcher.close()
        return Result(info, self.executed, self.skipped, self.completed)

    def _check_folder(self) -> None:
        """Refuse a folder that holds other things than a run."""
        url = self.storage.url
        if "/runtime_resources/working_dir_files/" in os.getcwd() and self.storage.local and not os.path.isabs(url):
            raise ConfigError(
                f"output '{url}' is relative, and this job runs in a temporary copy of the submitted folder, where it "
                "would be lost; give an absolute path on shared storage, or a URL, with --output"
            )
        if self.storage.local and os.path.exists(self.storage.root):
            if not os.path.isdir(self.storage.root):
                raise ConfigError(f"output '{url}' is a file, not a folder")
            if os.listdir(self.storage.root) and not self.storage.exists("run.json"):
                ours = {"run.lock", "work", "documents", "dropped"}
                if not set(os.listdir(self.storage.root)) <= ours:
                    raise ConfigError(
                        f"output '{url}' holds files but no run.json: it is not a run's folder; choose an empty folder"
                    )
        if self.storage.local:
            try:
                os.makedirs(self.storage.root, exist_ok=True)
            except OSError as error:
                raise ConfigError(f"output '{url}' cannot be made: {error.strerror}") from error
            if not os.access(self.storage.root, os.W_OK):
                raise ConfigError(f"output '{url}' cannot be written to")

    def _whole(self) -> None:
        """`_segments`, the books, and what barriers do at the end. Where a file of a task is found to be corrupt, that
        task is run again, then the rest."""
        mended: set[str] = set()
        while True:
            try:
                shards = self._segments()
                self._balance(shards)
                self._complete()
                return
            except CorruptFile as error:
                if error.name in mended:
                    raise CurationError(f"{error}, again after it was made anew: check the storage") from error
                mended.add(error.name)
                for manifest in self.manifests:
                    if any(file["name"] == error.name for file in manifest.files.values()):
                        self.storage.remove(manifest_name(manifest.task))
                self.manifests, self.totals, self.skipped, self._barriers, self.steps = [], {}, 0, [], []

    def _segments(self) -> list[Manifest]:
        """Every segment and gather round in order; the manifests of the last segment."""
        shards: list[Manifest] = []
        verdicts: list[Manifest] = []
        for segment in self.plan.segments:
            tasks = self.plan.shard_tasks(segment.index, shards, verdicts) if segment.index else self.plan.first_tasks
            shards = self._step(step_name(segment), tasks, segment)
            if segment.scatters:
                verdicts = shards
                for round in range(segment.scatters.rounds()):
                    gathers = self.plan.gather_tasks(segment.index, round, verdicts, shards)
                    label = segment.labels[-1].removesuffix(":scatter")
                    verdicts = self._step(f"{label}: gather {round + 1}", gathers, segment)
                self._barriers.append((segment.scatters, shards, verdicts))
        return shards

    def _step(self, name: str, tasks: Sequence[Task], segment: Segment) -> list[Manifest]:
        """Run the tasks of a step that are not committed; all manifests in plan order."""
        done: dict[str, Manifest] = {}
        for task in tasks:
            manifest = committed(self.storage, task.name, task.fingerprint)
            if manifest is not None and not self._must_redo(manifest):
                done[task.name] = manifest
        self.skipped += len(done)
        self.watcher.step(name, len(tasks), len(done), sum(t.bytes_in for t in tasks if isinstance(t, ShardTask)))
        for manifest in done.values():
            self._count(manifest, fresh=False)
        missing = [task for task in tasks if task.name not in done]
        if missing and not self.executed:
            self.storage.write_json("run.json", describe(self.plan, "running"), indent=1)
        try:
            failures = self._execute_tasks(missing, done)
            if failures:
                detail = f"\n{failures[0].trace}" if failures[0].trace else ""
                raise CurationError(
                    f"{len(failures)} of {len(tasks)} tasks failed in {name}, the others are committed; "
                    f"the first: {failures[0].task}: {failures[0].error}{detail}"
                )
            self._judge(1)
        finally:  # also of a run that stops here, so that what it dropped can be looked at
            ordered = [done[task.name] for task in tasks if task.name in done]
            self.manifests += ordered
            self.steps.append(step_numbers(name, segment, ordered))
        return ordered

    def _execute_tasks(self, missing: Sequence[Task], done: dict[str, Manifest]) -> list[Failure]:
        """Run tasks, adding their manifests to `done`; those that failed."""
        failures: list[Failure] = []
        with closing(self.executor.run(self.plan, missing)) as results:  # an error here ends the tasks in flight
            for result in results:
                if isinstance(result, Failure):
                    failures.append(result)
                    self.watcher.failure(result)
                    if result.corrupt:
                        raise CorruptFile(result.corrupt)
                    if result.fatal:
                        raise CurationError(f"task {result.task}: {result.error}")
                    continue
                self.executed += 1
                if not self.storage.exists(manifest_name(result.task)):
                    raise CurationError(
                        f"task {result.task} was committed by a worker, but its manifest is not in {self.storage.url} "
                        "as seen from here: the output must be on storage that all nodes share"
                    )
                done[result.task] = result
                self._count(result, fresh=True)
                self._judge(JUDGED_AFTER)
        return failures

    def _must_redo(self, manifest: Manifest) -> bool:
        """After a run that stopped for a stage's failures, tasks in which that stage failed are tried again."""
        stage = self._old.get("failed_stage") if self._old.get("status") == "failed" else None
        return bool(stage) and any(a["stage"] == stage and a["failed"] for a in manifest.accounts)

    def _count(self, manifest: Manifest, fresh: bool) -> None:
        for data in manifest.accounts:
            account = Account.from_json(data)
            self.totals.setdefault(account.stage, Account(account.stage)).merge(account)
        self.watcher.task(manifest, fresh)

    def _judge(self, at_least: int) -> None:
        """Stop if a stage fails for more documents than the pipeline allows."""
        limit = self.plan.pipeline.settings.max_failure_rate
        for account in self.totals.values():
            failed = sum(account.failed.values())
            if account.rows_in >= at_least and failed > limit * account.rows_in:
                error = CurationError(
                    f"stage '{account.stage}' failed for {failed} of {account.rows_in} documents "
                    f"({failed / account.rows_in:.1%}), more than max_failure_rate {limit:.1%}; most often: "
                    f"{max(account.failed, key=lambda kind: account.failed[kind])}; "
                    f"{self.storage.url}/quarantine holds them with their errors"
                )
                error.stage = account.stage  # type: ignore[attr-defined]
                raise error

    def _balance(self, shards: list[Manifest]) -> None:
        """Check the books."""
        for account in self.totals.values():
            account.check()
        if not sum(m.rows for m in shards):
            raise CurationError(f"the run kept no document: {_most_dropped(self.totals)}")

    def _complete(self) -> None:
        """Let barriers hand on what the run has found."""
        lines = [b.complete(ShuffledFiles(self.storage, shards, last)) for b, shards, last in self._barriers]
        self.completed = [line for line in lines if line]

    def _finish(self, began: float) -> dict[str, Any]:
        """Write run.json, remove what no longer belongs to the run."""
        if not self.executed and self._old.get("status") == "complete" and self._same_files():
            return self._old
        self._sweep()
        return self._save({"status": "complete", "error": ""}, began)

    def _files(self) -> dict[str, list[dict[str, Any]]]:
        """Folder -> its files in plan order."""
        files: dict[str, list[dict[str, Any]]] = {}
        for manifest in self.manifests:
            for file in manifest.files.values():
                folder = file["name"].rpartition("/")[0]
                if not folder.startswith("work"):
                    files.setdefault(folder, []).append(file)
        return files

    def _same_files(self) -> bool:
        return self._files() == self._old.get("files")

    def _sweep(self) -> None:
        """Remove the files and manifests of tasks that are no longer in the plan (an input that is gone)."""
        sweep_pending(self.storage)
        tasks = {manifest_name(m.task) for m in self.manifests}
        keep = {file["name"] for m in self.manifests for file in m.files.values()}
        for name in self.storage.names("work/manifests"):
            if name in tasks:
                continue
            data = self.storage.read_json(name) or {}
            for file in data.get("files", {}).values():
                if file["name"] not in keep:
                    self.storage.remove(file["name"])
            self.storage.remove(name)

    def _save_ending(self, ending: dict[str, Any], began: float) -> None:
        """Write run.json of a run that ended badly; on a full disk the old one has to do."""
        with suppress(OSError):
            self._save(ending, began)

    def _save(self, ending: dict[str, Any], began: float) -> dict[str, Any]:
        """Write run.json."""
        seconds = np.array([m.seconds for m in self.manifests] or [0.0])
        info = describe(self.plan, ending["status"]) | ending
        info |= {
            "started": began,
            "seconds": round(time.time() - began, 2),
            "tasks": {"executed": self.executed, "skipped": self.skipped},
            "task_seconds": round(float(seconds.sum()), 2),
            "cpu_seconds": round(sum(m.cpu_seconds for m in self.manifests), 2),
            "peak_rss_mb": max((m.rss_mb for m in self.manifests), default=0),
            "steps": self.steps,
            "stages": [account.to_json() for account in self.totals.values()],
            "files": self._files(),
            "completed": self.completed,
            "thresholds_by_language": thresholds_by_language(self.plan.pipeline, self.totals),
        }
        self.storage.write_json("run.json", info, indent=1)
        return info


def _most_dropped(totals: dict[str, Account]) -> str:
    """Which stage took the most documents, and why."""
    lost = [
        (n, account.stage, reason)
        for account in totals.values()
        for reason, n in [*account.dropped.items(), *account.failed.items()]
    ]
    if not lost:
        return "the input holds no records"
    n, stage, reason = max(lost)
    return f"most went in stage '{stage}' ({n} for '{reason}'); the folder dropped/ holds them all"

"""Where tasks run: Ray workers, or this process.

Ray core tasks, one a shard attempt: measured against plain multiprocessing they cost 1.0x, where one Ray Data graph
for the same work costs 1.9-4.6x and leaves torn files after a kill. Only plans and manifests pass through Ray, so
its object store stays small, and the tasks in flight are bounded, so a plan of 100,000 shards does not fill the
driver. Ray is started (or attached to) when the first task must run: a run with nothing to do never starts it.
"""

from __future__ import annotations

import os
import signal
import threading
import time
import traceback
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from curation.corpus import Manifest
from curation.errors import CorruptFile, CurationError, StorageError
from curation.plan import GatherTask, Plan, Task
from curation.task import close_runners, run_task

#: Attempts of a task whose worker dies under it, before the task is given up.
ATTEMPTS = 5
#: Seconds after which the CPUs of the cluster are counted again.
SLOTS_S = 5.0
#: Object store of a local Ray, bytes: manifests are kilobytes, and the default would take 30 % of memory.
STORE_BYTES = 128 << 20


@dataclass
class Failure:
    """A task that could not be done. `fatal`: no other task would fare better (disk full, broken stage).
    `corrupt`: the file of an earlier task because of which it failed."""

    task: str
    error: str
    fatal: bool = False
    corrupt: str = ""
    trace: str = ""


def attempt(plan: Plan, task: Task, url: str, inline: bool = False) -> Manifest | Failure:
    """`run_task`, with the exception as a value."""
    try:
        return run_task(plan, task, url, inline)
    except CorruptFile as error:
        return Failure(task.name, str(error), corrupt=error.name)
    except CurationError as error:
        return Failure(task.name, str(error), fatal=True)
    except OSError as error:
        return Failure(task.name, f"{type(error).__name__}: {error}", fatal=error.errno == 28)  # ENOSPC
    except StorageError as error:
        return Failure(task.name, str(error))
    except Exception as error:
        return Failure(task.name, f"{type(error).__name__}: {error}", trace=traceback.format_exc())


class Inline:
    """Runs tasks one after another in this process."""

    def __init__(self, url: str):
        self.url = url

    def run(self, plan: Plan, tasks: Sequence[Task]) -> Generator[Manifest | Failure, None, None]:
        """Run tasks, yielding each result when it is there."""
        for task in tasks:
            yield attempt(plan, task, self.url, inline=True)

    def close(self) -> None:
        """Let go of what the stages keep."""
        close_runners()


def _silence() -> None:
    """Keep Ray's reports of dead workers out of standard output, which holds our results; the driver retries the
    task, and says so itself when it gives up. There is no public switch for it in Ray 2.60."""
    with suppress(AttributeError, KeyError, ImportError):
        from ray._private.ray_logging import global_worker_stdstream_dispatcher as dispatcher

        dispatcher.remove_handler("ray_print_logs")


def task_options(plan: Plan, task: Task) -> dict[str, Any]:
    """What a task asks of a node: of all stages that run in it, the most of each resource."""
    wanted = plan.pipeline.settings.resources
    labels = {label.removesuffix(":scatter") for label in plan.segments[task.segment].labels}
    most: dict[str, float] = {"num_cpus": 1.0}
    if isinstance(task, GatherTask):  # of the barrier at the segment's end alone
        labels = {plan.segments[task.segment].labels[-1].removesuffix(":scatter")}
    named = [wanted[label] for label in sorted(labels) if label in wanted]
    for key in {key for one in named for key in one}:
        most[key] = max(one.get(key, 0.0) for one in named)
    options: dict[str, Any] = {key: most.pop(key) for key in ("num_cpus", "num_gpus") if key in most}
    if "memory_mb" in most:
        options["memory"] = int(most.pop("memory_mb")) << 20
    if most:
        options["resources"] = dict(sorted(most.items()))
    return options


class OnRay:
    """Runs tasks on Ray workers: a local Ray of `workers` CPUs, or the cluster of `RAY_ADDRESS`."""

    def __init__(self, url: str, workers: int | None = None, address: str | None = None):
        self.url, self.workers = url, workers
        self.address = address or os.environ.get("RAY_ADDRESS")
        self._ray: Any = None
        self._attached = False

    def _start(self) -> Any:
        if self._ray is not None:
            return self._ray
        quiet: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
        if not self.address:
            os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # a Ray of this machine, for this process
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
            os.environ.setdefault("RAY_DISABLE_IMPORT_WARNING", "1")
        import ray

        on_sigterm = signal.getsignal(signal.SIGTERM)
        if ray.is_initialized():
            self._attached = True
        elif self.address:
            ray.init(address=self.address, **quiet)
        else:
            ray.init(
                address="local",
                num_cpus=self.workers or os.cpu_count(),
                include_dashboard=False,
                object_store_memory=STORE_BYTES,
                **quiet,
            )
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_sigterm)  # Ray puts one of its own there, which exits at once
        _silence()
        self._ray = ray
        return ray

    def run(self, plan: Plan, tasks: Sequence[Task]) -> Generator[Manifest | Failure, None, None]:
        """Run tasks, yielding each result as it comes. At most two tasks a CPU are in flight."""
        if not tasks:
            return
        ray = self._start()
        from curation.ray_metrics import RayMetrics

        remote = ray.remote(max_retries=ATTEMPTS - 1)(attempt)
        shared = ray.put(plan)
        waiting = list(reversed(tasks))
        running: dict[Any, Task] = {}
        metrics = RayMetrics(plan.pipeline.name)
        slots, counted = 0, -SLOTS_S
        try:
            while waiting or running:
                if time.monotonic() - counted >= SLOTS_S:  # nodes come and go, and an autoscaler starts from none
                    slots = max(2, 2 * int(ray.cluster_resources().get("CPU", 1)))
                    counted = time.monotonic()
                while waiting and len(running) < slots:
                    task = waiting.pop()
                    options = task_options(plan, task)
                    running[remote.options(name=task.name, **options).remote(shared, task, self.url)] = task
                metrics.tasks(len(waiting), len(running))
                done, _ = ray.wait(list(running), num_returns=1, timeout=1.0)
                for reference in done:
                    task = running.pop(reference)
                    try:
                        result = ray.get(reference)
                        metrics.record(result)
                        yield result
                    except ray.exceptions.RayError as error:
                        text = str(error).strip().split("\n")[0]
                        yield Failure(task.name, f"worker died {ATTEMPTS} times: {type(error).__name__}: {text}")
        finally:
            for reference in running:
                ray.cancel(reference, force=True)

    def close(self) -> None:
        """Shut the local Ray down, or detach."""
        if self._ray is not None and not self._attached:
            self._ray.shutdown()
        self._ray = None

"""What a run would do, from the plan and the manifests that are there; nothing is run and nothing is written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from curation.corpus import Manifest, committed
from curation.plan import Plan, Task
from curation.run_record import step_name
from curation.storage import Storage


@dataclass(frozen=True)
class PreviewRow:
    """One step of a plan; numbers are None while they depend on steps that are not complete."""

    step: str
    stages: list[str]
    tasks: int | None
    committed: int | None


def preview(plan: Plan, storage: Storage) -> Iterator[PreviewRow]:
    """One row per segment and gather round."""
    known = True
    shards: list[Manifest] = []
    verdicts: list[Manifest] = []

    def row(step: str, stages: list[str], tasks: Sequence[Task]) -> tuple[PreviewRow, list[Manifest]]:
        nonlocal known
        if not known:
            return PreviewRow(step, stages, None, None), []
        found = [m for task in tasks if (m := committed(storage, task.name, task.fingerprint))]
        known = len(found) == len(tasks)
        return PreviewRow(step, stages, len(tasks), len(found)), found

    for segment in plan.segments:
        tasks: Sequence[Task] = []
        if known:
            tasks = plan.shard_tasks(segment.index, shards, verdicts) if segment.index else plan.first_tasks
        shown, shards = row(step_name(segment), segment.labels, tasks)
        yield shown
        if segment.scatters:
            verdicts = shards
            for round in range(segment.scatters.rounds()):
                label = segment.labels[-1].removesuffix(":scatter")
                gathers = plan.gather_tasks(segment.index, round, verdicts, shards) if known else []
                shown, verdicts = row(f"{label}: gather {round + 1}", [label], gathers)
                yield shown

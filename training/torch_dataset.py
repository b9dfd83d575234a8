"""A plan as a torch `IterableDataset`, and a `DataLoader` whose state is a step.

Worker processes read ahead, so what the dataset in a worker has given out is not what the trainer has used. The state
is therefore kept where batches arrive: `PackedLoader` counts a step as done when its last micro-batch has been handed
to the trainer. Saved after the optimizer's step, it is the step to go on with.

Trade-off: the workers of one rank deal the micro-batches in turn, so each decodes most of the rank's row groups. At
100 million tokens a second and core that costs nothing beside any training; one or two workers are enough.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from curation.errors import ConfigError
from training.data import Batch, Plan


def tensors(batch: Batch) -> dict[str, Any]:
    """A batch as torch tensors, without a copy. Keys: those of `Batch` without `sources` and `rows`."""
    arrays = ("input_ids", "position_ids", "labels", "cu_seqlens")
    return {name: torch.from_numpy(getattr(batch, name)) for name in arrays} | {
        "max_seqlen": batch.max_seqlen,
        "step": batch.step,
        "stage": batch.stage,
    }


class PackedDataset(IterableDataset):
    """A rank's micro-batches, from a step on, as dicts of tensors: use it with `batch_size=None`.

    rank, world: default to torch.distributed's, or 0 of 1. micro_batch: rows at most; default: all of the rank's rows.
    A dict also says which micro-batch of its step it is (`micro`) and how many there are (`micros`).
    """

    def __init__(self, plan: Plan, rank: int | None = None, world: int | None = None, micro_batch: int | None = None):
        together = dist.is_available() and dist.is_initialized()
        self.plan = plan
        self.rank = rank if rank is not None else dist.get_rank() if together else 0
        self.world = world if world is not None else dist.get_world_size() if together else 1
        self.micro_batch = micro_batch
        self.step = 0

    def _items(self) -> Iterator[tuple[int, slice, int, int]]:
        for step in range(self.step, self.plan.steps):
            first, end = self.plan.row_range(step, self.rank, self.world)
            size = self.micro_batch or end - first
            micros = -(-(end - first) // size)
            for i in range(micros):
                yield step, slice(i * size, (i + 1) * size), i, micros

    def __iter__(self) -> Iterator[dict[str, Any]]:
        worker = get_worker_info()
        mine, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        for number, (step, rows, micro, micros) in enumerate(self._items()):
            if number % workers == mine:
                batch = self.plan.batch(step, self.rank, self.world, rows)
                yield tensors(batch) | {"micro": micro, "micros": micros}


class PackedLoader(DataLoader):
    """A `DataLoader` over a `PackedDataset` that knows which step comes next, also with workers that read ahead.

    Takes the arguments of `PackedDataset`, and those of `DataLoader` that concern workers and memory. `state_dict()`
    may be loaded by any rank of any `world`; do it before iterating.
    """

    dataset: PackedDataset

    def __init__(
        self,
        plan: Plan,
        rank: int | None = None,
        world: int | None = None,
        micro_batch: int | None = None,
        **options: Any,
    ):
        if options.get("persistent_workers"):
            raise ConfigError(
                "persistent_workers: not with this loader; a worker that stays would not hear of new steps"
            )
        super().__init__(PackedDataset(plan, rank, world, micro_batch), batch_size=None, **options)

    def __iter__(self) -> Any:
        for batch in super().__iter__():
            if batch["micro"] + 1 == batch["micros"]:
                self.dataset.step = batch["step"] + 1
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """The step to go on with, and the plan it belongs to. After a step's last micro-batch: the next step."""
        return self.dataset.plan.state(self.dataset.step)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state. ConfigError if it belongs to a plan with other batches."""
        self.dataset.step = self.dataset.plan.resume(state)

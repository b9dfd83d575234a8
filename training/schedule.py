"""The plan of a training: how many steps each stage has, and the learning rate at each of them.

Everything is a pure function of the step, so a training that goes on from a checkpoint needs no state of a scheduler,
and the same plan can be printed before anything is trained.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from training.config import Schedule


@dataclass(frozen=True)
class StagePlan:
    """A stage with everything decided. `first` is its first step of the training; tokens are counted with padding."""

    name: str
    first: int
    steps: int
    batch_rows: int
    length: int
    learning_rate: float
    schedule: Schedule
    rope_theta: float

    @property
    def end(self) -> int:
        """One past the stage's last step."""
        return self.first + self.steps

    def rate(self, step: int) -> float:
        """Learning rate at a step of the training, 0 being the first."""
        return self.learning_rate * factor(self.schedule, step - self.first, self.steps)


def factor(schedule: Schedule, step: int, steps: int) -> float:
    """Share of the highest rate at a step of `steps`. The warm-up ends with 1, the last step has `final`."""
    warmup = schedule.warmup * steps if schedule.warmup < 1 else schedule.warmup
    if step < warmup:
        return min(1.0, (step + 1) / warmup)
    if schedule.shape == "constant":
        return 1.0
    start = max(warmup, steps * (1 - schedule.decay)) if schedule.shape == "wsd" else warmup
    done = min(max((step + 1 - start) / max(steps - start, 1), 0.0), 1.0)
    fall = (1 - math.cos(math.pi * done)) / 2 if schedule.shape == "cosine" else done
    return 1.0 - (1.0 - schedule.final) * fall

"""From the file of a training to what will be done at each step: the data's plan, and the stages with all decided.

The data's plan (`training.data`) says which rows a step reads; this module adds what it does not know: the batch that
StepLaw advises when the file names none, the learning rate over all stages, and the base of RoPE.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from curation.errors import ConfigError
from training.config import Data, Stage, Training
from training.data import Plan, Source, TrainingStage
from training.laws import step_law
from training.models import parameters
from training.pack_folder import PackFolder
from training.schedule import StagePlan


@dataclass
class TrainingPlan:
    """Everything about a training that does not depend on ranks. notes: what was decided for the user, in words."""

    data: Plan
    stages: list[StagePlan]
    notes: list[str] = field(default_factory=list)

    @property
    def steps(self) -> int:
        """Optimizer steps of all stages."""
        return self.stages[-1].end

    def stage(self, step: int) -> StagePlan:
        """The stage a step belongs to."""
        return next(stage for stage in self.stages if step < stage.end)

    @property
    def tokens(self) -> int:
        """Tokens of all steps, padding included."""
        return sum(s.steps * s.batch_rows * s.length for s in self.stages)


def folders(stage: Stage) -> list[Data]:
    """The pack folders of a stage."""
    return [Data(folder=stage.data, share=1.0)] if isinstance(stage.data, str) else stage.data


def _tokens(stage: Stage) -> int:
    """Tokens of a stage, before its batch is known."""
    packs = [PackFolder(d.folder) for d in folders(stage)]
    if stage.tokens:
        return stage.tokens
    if stage.steps:
        if not stage.batch_rows:
            raise ConfigError(
                f"stage '{stage.name}': `steps` needs `batch_rows`; or give `tokens`, and StepLaw's batch is taken"
            )
        return stage.steps * stage.batch_rows * packs[0].sequence_length
    return int(stage.epochs * sum(p.rows * p.sequence_length for p in packs))


def decide(training: Training) -> TrainingPlan:
    """Read the folders' manifests and decide what the file leaves open. ConfigError if they do not fit together."""
    notes: list[str] = []
    total = sum(_tokens(stage) for stage in training.stages)
    rate_advice, batch_advice = step_law(parameters(training.model_shape())[2], total)
    stages, batches = [], []
    for i, stage in enumerate(training.stages):
        data, length = folders(stage), PackFolder(folders(stage)[0].folder).sequence_length
        rows = stage.batch_rows
        if rows is None:
            rows = max(round(batch_advice.value / length), 1)
            caution = f" ({batch_advice.caution})" if batch_advice.caution else ""
            notes.append(f"stage '{stage.name}': batch of {rows} rows of {length:,} tokens, by StepLaw{caution}")
        batches.append(rows)
        long: dict[str, Any] = (
            {"tokens": stage.tokens} if stage.tokens else {"steps": stage.steps} if stage.steps else {}
        )
        stages.append(
            TrainingStage(
                name=stage.name,
                sources=tuple(
                    Source(
                        folder=d.folder, weight=d.share if len(data) > 1 or not isinstance(stage.data, str) else None
                    )
                    for d in data
                ),
                global_batch=rows,
                **(long or {"epochs": stage.epochs}),
            )
        )
        if i == 0 and stage.learning_rate is None:
            caution = f" ({rate_advice.caution})" if rate_advice.caution else ""
            notes.append(f"learning rate {rate_advice.value:.3g}, by StepLaw{caution}")
    plan = Plan(stages, seed=training.seed, tokenizer=training.tokenizer)
    planned: list[StagePlan] = []
    theta, rate = training.model_shape().rope_theta, rate_advice.value
    first = 0
    for stage, rows in zip(training.stages, batches, strict=True):
        steps = _steps(plan, first, stage.name)
        theta = stage.rope_theta or theta
        if planned and stage.learning_rate is None:
            rate = planned[-1].rate(planned[-1].end - 1)
        rate = stage.learning_rate or rate
        planned.append(
            StagePlan(stage.name, first, steps, rows, plan.sequence_length(first), rate, stage.schedule, theta)
        )
        first += steps
    return TrainingPlan(plan, planned, notes)


def _steps(plan: Plan, first: int, name: str) -> int:
    """Steps of the stage that begins at `first`."""
    low, high = first, plan.steps
    while high - low > 1:  # the last step of this name: names are checked to differ
        middle = (low + high) // 2
        low, high = (middle, high) if plan.stage(middle) == name else (low, middle)
    return high - first

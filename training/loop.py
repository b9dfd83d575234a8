"""One rank of a training: the same function in this process, under torchrun, or as a worker of Ray Train.

Every rank computes what it needs from the plan and the step, so nothing is coordinated but gradients, counts and
checkpoints. A rank that dies takes the others with it (their collectives fail); whoever launched them starts all
again, and the loop goes on from the newest checkpoint. Losses are means over the predictions of the whole batch, not
means of ranks' means, so that they do not depend on how rows are dealt.

Trade-offs. Evaluation and checkpoints stop the training while they run. Rows of a rank are filled up to the largest
rank's number with rows that do not count, because every forward pass is one of all ranks.
"""

from __future__ import annotations

import json
import math
import os
import platform
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from curation.errors import ConfigError, CurationError
from training import checkpoint, held_out
from training.balance import GlobalBalance, all_ranks, overload
from training.config import Training
from training.data import Batch
from training.logs import Log, read_log
from training.models import IGNORED, LanguageModel, flops_per_token, skeleton
from training.near_copies import NearCopies
from training.pack_folder import PackFolder
from training.plan import TrainingPlan, decide, folders
from training.ranks import Rank, from_first, join, shard
from training.vocabulary import IdMap

#: Dense peak in bf16, TFLOP/s, by a part of the device's name: NVIDIA's data sheets.
PEAK_TFLOPS = {"H200": 989.0, "H100": 989.0, "A100": 312.0}
#: Rows from which the most frequent ids are counted.
_COUNTED_ROWS = 4096


@torch.no_grad()
def check_packing(model: LanguageModel) -> None:
    """Refuse an attention kernel that lets the documents of a packed row see each other. ConfigError."""
    device = next(model.parameters()).device
    lengths, generator = [19, 45], torch.Generator().manual_seed(0)
    ids = torch.randint(0, model.shape.vocabulary, (1, sum(lengths)), generator=generator).to(device)
    apart = torch.cat([torch.arange(n) for n in lengths])[None].to(device)
    alone = torch.cat(
        [model.logits(part, torch.arange(part.shape[1], device=device)[None]) for part in ids.split(lengths, 1)], 1
    )
    packed, blended = model.logits(ids, apart), model.logits(ids, torch.arange(sum(lengths), device=device)[None])
    far = (blended - alone)[:, lengths[0] :].float().norm()
    if not (packed - alone).float().norm() < 0.2 * far:
        raise ConfigError(
            f"attention '{model.inner.config._attn_implementation}' on {device.type} does not keep the documents of a "
            "packed row apart; take `sdpa` or `eager`"
        )


def count_ids(training: Training) -> IdMap:
    """The map to the most frequent ids of the first stage's data, from its first rows."""
    packs = [PackFolder(d.folder) for d in folders(training.stages[0])]
    counts = np.zeros(int(packs[0].tokenizer["vocab_size"]), np.int64)
    for pack in packs:
        left = _COUNTED_ROWS
        for group in range(len(pack.group_rows)):
            ids = pack.decode([group])[group].ids
            counts += np.bincount(ids[:left].ravel(), minlength=len(counts))
            left -= len(ids)
            if left <= 0:
                break
    assert training.vocabulary is not None
    return IdMap.fit(counts, training.vocabulary, packs[0].eod_id)


class Trainer:
    """A training on this rank, ready to step. All ranks construct it together."""

    def __init__(self, training: Training, rank: Rank, say: Callable[[str], None]):
        self.training, self.rank, self.say = training, rank, say
        self.folder = Path(training.output)
        self.plan: TrainingPlan = decide(training)
        shape = training.model_shape()
        self.id_map = from_first(rank, self._id_map)
        if self.id_map is None and self.plan.data.vocab_size > shape.vocabulary:
            raise ConfigError(
                f"the data has {self.plan.data.vocab_size:,} ids and the model {shape.vocabulary:,}; "
                f"give `vocabulary: {shape.vocabulary}` to re-map them"
            )
        model = skeleton(shape, training.attention)
        if training.recompute:
            model.inner.activation_checkpointing_enable()
        self.balance = GlobalBalance(model)
        self.model = shard(model, rank, training.precision, training.seed)
        check_packing(self.model)
        self.optimizer = self._optimizer()
        self.held = self._held_out()
        self.hidden = set(self.held.names) if self.held else set()
        self.copies = NearCopies(self.held.ids if self.held else [])
        self.peak = self._peak()
        self.stage = ""
        self.step = self._resume()

    def _id_map(self) -> IdMap | None:
        if self.training.vocabulary is None:
            return None
        file = self.folder / "vocabulary.npz"
        if not file.is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            count_ids(self.training).save(file)
        found = IdMap.load(file)
        if found.size > self.training.vocabulary or len(found.to_new) < self.plan.data.vocab_size:
            raise ConfigError(f"{file}: maps to {found.size:,} ids, the training has {self.training.vocabulary:,}")
        return found

    def _optimizer(self) -> torch.optim.Optimizer:
        settings = self.training.optimizer
        weights = list(self.model.parameters())
        groups = [
            {"params": [w for w in weights if w.ndim > 1], "weight_decay": settings.weight_decay},
            {"params": [w for w in weights if w.ndim <= 1], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=1.0, betas=(settings.beta1, settings.beta2), eps=1e-8)

    def _held_out(self) -> held_out.HeldOut | None:
        wanted = self.training.evaluation
        if wanted is None:
            return None
        held = held_out.read(wanted.data, wanted.documents, wanted.by)
        pack = PackFolder(folders(self.training.stages[0])[0].folder)
        if held.tokenizer_sha256 != pack.tokenizer["sha256"]:
            raise ConfigError(f"{wanted.data}: made with another tokenizer than {pack.url}")
        return held

    def _peak(self) -> float | None:
        if self.training.peak_tflops:
            return self.training.peak_tflops * 1e12
        if self.rank.device.type != "cuda" or self.training.precision != "bf16":
            return None
        name = torch.cuda.get_device_name()
        return next((peak * 1e12 for part, peak in PEAK_TFLOPS.items() if part in name), None)

    def _resume(self) -> int:
        """The step to go on with, the state of which is restored."""
        found = from_first(self.rank, lambda: checkpoint.newest(self.folder / "checkpoints"))
        if found is None:
            return 0
        step = self.plan.data.resume(checkpoint.read_place(found)["data"])
        checkpoint.restore(found, self.model, self.optimizer)
        return step

    def _begin_stage(self, step: int) -> None:
        stage = self.plan.stage(min(step, self.plan.steps - 1))
        if stage.name != self.stage:
            self.stage = stage.name
            self.model.set_rope({"rope_type": "default", "rope_theta": stage.rope_theta}, stage.length)

    def _micro_batches(self, step: int) -> list[tuple[torch.Tensor, ...]]:
        """ids, positions, labels and mask of what is not padding, [rows, length], for each pass through the model."""
        batch = self.plan.data.batch(step, self.rank.rank, self.rank.world)
        ids, positions, labels = batch.input_ids, batch.position_ids, batch.labels
        # Padding is a piece of its own, without labels; its first place cannot be told from a document's.
        mask = (labels != IGNORED) | (positions == 0)
        if self.held is not None and self.training.evaluation and self.training.evaluation.exclude:
            self._hide(batch)
        if self.id_map is not None:
            ids = self.id_map.to_new[ids]
            labels = np.where(labels == IGNORED, IGNORED, self.id_map.to_new[np.maximum(labels, 0)])
        most = -(-self.plan.stage(step).batch_rows // self.rank.world)
        if len(ids) < most:
            ids, positions = (np.concatenate([a, a[-1:]]) for a in (ids, positions))
            labels = np.concatenate([labels, np.full_like(labels[-1:], IGNORED)])
            mask = np.concatenate([mask, np.zeros_like(mask[-1:])])
        whole = [torch.from_numpy(a).to(self.rank.device) for a in (ids, positions, labels, mask)]
        return list(zip(*(a.split(self.training.micro_rows or most) for a in whole), strict=True))

    def _hide(self, batch: Batch) -> None:
        """Take the labels of held-out documents, and of pieces that are near copies of such, away. Nothing else in
        their rows sees them, so they teach nothing."""
        labels = batch.labels.ravel()
        bounds = batch.cu_seqlens.astype(np.int64)
        first, end = self.plan.data.row_range(batch.step, self.rank.rank, self.rank.world)
        for row, pieces in enumerate(self.plan.data.documents(batch.step)[first:end]):
            at = row * batch.labels.shape[1]
            for name, _, tokens in pieces:
                if name in self.hidden:
                    labels[at : at + tokens] = IGNORED
                at += tokens
        ids, ends = batch.input_ids.ravel(), bounds[1:]
        ends = ends - (ids[ends - 1] == self.plan.data.eod_id)
        copies = self.copies.found(ids, bounds[:-1], ends)
        labels[np.repeat(copies, np.diff(bounds))] = IGNORED

    def train_step(self, step: int) -> dict[str, Any]:
        """One optimizer step. Returns what the log gets: numbers of the whole batch, the same on all ranks."""
        self._begin_stage(step)
        began = time.perf_counter()
        micro = self._micro_batches(step)
        world, device = self.rank.world, self.rank.device
        sums = torch.tensor([(labels[:, 1:] != IGNORED).sum() for _, _, labels, _ in micro]).sum()
        predictions = max(int(all_ranks(sums.to(device, torch.int64)).item()), 1)
        counts = self._count(micro) if self.balance.layers and len(micro) > 1 else None
        total, uneven = torch.zeros(2, dtype=torch.float64, device=device).unbind()
        for ids, positions, labels, mask in micro:
            with self.balance.recording(mask):
                nats = self.model(ids, positions, labels)
            loss = nats * (world / predictions)  # FSDP takes the mean over ranks
            if self.balance.layers:
                counts = all_ranks(self.balance.counts()) if counts is None else counts
                balance = self.balance.loss(counts)
                loss = loss + self.training.balance.coefficient * world * balance
                uneven = uneven + balance.detach()
            loss.backward()
            total = total + nats.detach().double()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.training.optimizer.clip)
        norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
        rate = self.plan.stage(step).rate(step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        if not math.isfinite(float(norm)):
            raise CurationError(f"step {step}: the gradient is {float(norm)}; the last checkpoint is as it was")
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        line: dict[str, Any] = {
            "stage": self.stage,
            "loss": all_ranks(total).item() / predictions,
            "learning_rate": rate,
            "grad_norm": float(norm),
        }
        if counts is not None:
            line["balance"] = all_ranks(uneven).item() / self.balance.layers
            line["overload"] = overload(counts).mean().item()
        return line | self._speed(step, time.perf_counter() - began)

    def _count(self, micro: list[tuple[torch.Tensor, ...]]) -> torch.Tensor:
        """Experts' assignments over the whole step, before any gradient is made."""
        counts: torch.Tensor | None = None
        for ids, positions, _, mask in micro:
            with torch.no_grad(), self.balance.recording(mask):
                self.model.hidden(ids, positions)
            counts = self.balance.counts() + (0 if counts is None else counts)
        assert counts is not None
        return all_ranks(counts)

    def _speed(self, step: int, seconds: float) -> dict[str, Any]:
        stage = self.plan.stage(step)
        tokens = stage.batch_rows * stage.length / seconds
        line: dict[str, Any] = {"seconds": round(seconds, 4), "tokens_per_s": round(tokens, 1)}
        if self.peak:
            per_token = flops_per_token(self.model.shape, stage.length)
            line["mfu"] = round(tokens * per_token / (self.peak * self.rank.world), 4)
        if self.rank.device.type == "cuda":
            line["memory_gb"] = round(torch.cuda.max_memory_allocated() / 1e9, 2)
        return line

    def evaluate(self, step: int, length: int | None = None) -> dict[str, Any] | None:
        """Bits per byte of the held-out documents, or None where the training has none."""
        if self.held is None:
            return None
        self._begin_stage(step)
        length = length or self.plan.stage(min(step, self.plan.steps - 1)).length
        nats = held_out.document_nats(self.model, self.held, length, self.id_map, self.training.micro_rows or 8)
        return held_out.bits_per_byte(nats, self.held)

    def save(self, step: int) -> None:
        """Write the checkpoint to go on with `step`."""
        ends = any(step == stage.end for stage in self.plan.stages)
        place = {"step": step, "data": self.plan.data.state(step), "stage_end": ends, "world": self.rank.world}
        place |= {"id_map": self.id_map.digest if self.id_map else None}
        checkpoint.save(self.folder / "checkpoints", self.model, self.optimizer, place, self.training.checkpoints.keep)

    def describe(self) -> None:
        """Write `training.json`: the training as decided."""
        facts = {
            "training": self.training.model_dump(),
            "stages": [vars(s) | {"schedule": s.schedule.model_dump()} for s in self.plan.stages],
            "tokens": self.plan.tokens,
            "eod_id": int(self.id_map.to_new[self.plan.data.eod_id]) if self.id_map else self.plan.data.eod_id,
            "notes": self.plan.notes,
            "device": torch.cuda.get_device_name() if self.rank.device.type == "cuda" else platform.machine(),
            "versions": {name: __import__(name).__version__ for name in ("torch", "transformers")},
        }
        aside = self.folder / "training.json.pending"
        aside.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        aside.rename(self.folder / "training.json")


def train(training: Training, say: Callable[[str], None] = print, tell: Callable[[dict], None] | None = None) -> None:
    """Train to the end, on this rank, from the newest checkpoint if there is one.

    say: where lines for people go (rank 0 only). tell: called on every rank after each checkpoint, with step and loss.
    """
    rank = join()
    trainer = Trainer(training, rank, say)
    folder = trainer.folder
    folder.mkdir(parents=True, exist_ok=True)
    places: list[Any] = [None] * rank.world
    dist.all_gather_object(places, {"host": socket.gethostname(), "pid": os.getpid()})
    log = None
    if rank.first:
        log = Log(folder, trainer.step)
        trainer.describe()
        for note in trainer.plan.notes:
            say(note)
        log.write(trainer.step, event="start", ranks=places)
        plan = trainer.plan
        where = f"going on at step {trainer.step} of {plan.steps:,}" if trainer.step else f"{plan.steps:,} steps"
        say(f"{where}, {plan.tokens:,} tokens, {rank.world} ranks on {rank.device.type}")
    try:
        _run(trainer, log, tell)
    finally:
        if log is not None:
            log.close()


def _run(trainer: Trainer, log: Log | None, tell: Callable[[dict], None] | None) -> None:
    training, plan, say = trainer.training, trainer.plan, trainer.say
    ends = {stage.end for stage in plan.stages}

    def judge(step: int) -> None:
        found = trainer.evaluate(max(step - 1, 0))
        if found is not None and log is not None:
            log.write(step, event="evaluation", stage=trainer.stage, bits_per_byte=found)
            say(f"step {step:,}: {found['all']:.4f} bits per byte on held-out documents")

    if trainer.step == 0:
        judge(0)
    line: dict[str, Any] = {}
    for step in range(trainer.step, plan.steps):
        line = trainer.train_step(step)
        done = step + 1
        if log is not None:
            log.write(step, **line)
            if done % training.log_every == 0 or done in ends:
                mfu = f", MFU {line['mfu']:.1%}" if "mfu" in line else ""
                rates = f"rate {line['learning_rate']:.2e}, {line['tokens_per_s']:,.0f} tokens/s{mfu}"
                say(f"{line['stage']} {done:,}/{plan.steps:,}: loss {line['loss']:.4f}, {rates}")
        wanted = training.evaluation
        if wanted is not None and (done % wanted.every == 0 or done in ends):
            judge(done)
        if done % training.checkpoints.every == 0 or done in ends:
            trainer.save(done)
            if tell is not None:
                tell({"step": done, "loss": line["loss"]})
    longer = training.evaluation is not None and training.evaluation.yarn
    if longer and not any(line.get("event") == "long_context" for line in read_log(trainer.folder)):
        from training.long_context import evaluate_longer

        found = evaluate_longer(trainer, longer)
        if log is not None:
            log.write(plan.steps, event="long_context", **found)
            for name, value in found.items():
                say(f"{name}: {value}")

"""Gives a trainer its batches: `batch(step, rank, world)`, a function of the plan and these three numbers alone.

A loader with a state is where training runs lose or repeat data: the state is one rank's, it goes stale in a worker's
queue, and it means nothing once the number of ranks changes. Here there is none. A plan says which folders of packed
rows are read, in which shares, stage after stage; what a step holds is computed from it (see `order.py`). So a run
resumes at any step, on any number of ranks, with the batches it would have had, and a suspicious step can be looked at
afterwards (`rows`, `documents`).

    plan = Plan.of("out/mix/packed/stage1", global_batch=512)
    batch = plan.batch(step=0, rank=0, world=8)      # numpy; see Batch
    plan.batch(0, 1, 8)                              # the next eighth of the same global batch

Trade-offs. The rows of a global batch are dealt to the ranks by where they lie on disk, which no sum of gradients can
tell from any other dealing, so that a rank decodes a few row groups and not all that the batch touches. Rows that are
left at the end of a stage and do not fill a batch are not read: a batch of another size would be another training.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from curation.errors import ConfigError, CurationError
from training.fill import IGNORED, fill
from training.order import Interleave, Order
from training.pack_folder import PackFolder, RowGroup, tokenizer_sha256

#: Raised when the same plan begins to mean other rows: part of the fingerprint.
_ORDER_VERSION = 1


class Source(BaseModel):
    """A folder of packed rows, and its share of the rows of a stage."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: str = Field(description="folder or fsspec URL with packed rows and their `_manifest.json`")
    weight: float | None = Field(None, gt=0, description="share, relative to the others'; default: its number of rows")


class TrainingStage(BaseModel):
    """A part of the training with one sequence length: S1, S2, long context. How long it is: one of the three keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(description="what logs call it")
    sources: tuple[Source, ...] = Field(min_length=1, description="what is read; all of one sequence length")
    global_batch: int = Field(gt=0, description="rows of a step, over all ranks")
    steps: int | None = Field(None, gt=0, description="steps of the stage")
    tokens: int | None = Field(None, gt=0, description="tokens of the stage, padding included; rounded down to steps")
    epochs: float | None = Field(None, gt=0, description="passes over the rows of all sources together; default 1")

    @model_validator(mode="after")
    def _one_length(self) -> TrainingStage:
        if sum(x is not None for x in (self.steps, self.tokens, self.epochs)) > 1:
            raise ValueError(f"stage '{self.name}': give one of steps, tokens, epochs")
        if len({source.weight is None for source in self.sources}) > 1:
            raise ValueError(f"stage '{self.name}': give every source a weight, or none")
        return self


@dataclass(frozen=True)
class Batch:
    """A rank's rows of a step, or some of them. b rows of L tokens each.

    input_ids: int64 [b, L]. position_ids: int64 [b, L], from 0 in every piece of a row, which is how transformers and
    flash attention know where documents end (pass them without an attention mask and with `use_cache=False`).
    labels: int64 [b, L], NOT shifted, as transformers take them: labels[i, t] is input_ids[i, t], which position t - 1
    predicts. -100 on padding and on the first token of every piece, so no prediction crosses from one document to
    another. cu_seqlens: int32, where each piece starts in the b * L flattened tokens, and b * L; padding is a piece of
    its own. max_seqlen: tokens of the longest piece. sources, rows: int64 [b], the number of the source in its stage
    and of the row in that folder, in the manifest's order of files.
    """

    step: int
    stage: str
    input_ids: np.ndarray
    position_ids: np.ndarray
    labels: np.ndarray
    cu_seqlens: np.ndarray
    max_seqlen: int
    sources: np.ndarray
    rows: np.ndarray

    def shifted_labels(self) -> np.ndarray:
        """Labels for a loss that does not shift: at t the token that t predicts, int64 [b, L]."""
        shifted = np.full_like(self.labels, IGNORED)
        shifted[:, :-1] = self.labels[:, 1:]
        return shifted

    def micro_batches(self, rows: int) -> Iterator[Batch]:
        """The same rows, at most so many at a time, for accumulating gradients. The arrays are views."""
        length = self.input_ids.shape[1]
        for first in range(0, len(self.rows), rows):
            part = slice(first, min(first + rows, len(self.rows)))
            # Every row starts a piece, so the ends of a range of rows are among the starts of pieces.
            low, high = np.searchsorted(self.cu_seqlens, [part.start * length, part.stop * length])
            bounds = self.cu_seqlens[low : high + 1] - self.cu_seqlens[low]
            yield Batch(
                self.step,
                self.stage,
                self.input_ids[part],
                self.position_ids[part],
                self.labels[part],
                bounds,
                int(np.diff(bounds).max(initial=0)),
                self.sources[part],
                self.rows[part],
            )


class _Opened:
    """A stage with its folders open. first_step: of the whole plan."""

    def __init__(self, stage: TrainingStage, number: int, first_step: int, seed: int, window: int):
        self.name, self.global_batch, self.first_step = stage.name, stage.global_batch, first_step
        self.folders = [PackFolder(source.folder) for source in stage.sources]
        first = self.folders[0]
        for folder in self.folders[1:]:
            if folder.sequence_length != first.sequence_length:
                raise ConfigError(
                    f"stage '{stage.name}': {folder.url} has rows of {folder.sequence_length:,} tokens, "
                    f"{first.url} of {first.sequence_length:,}; put them in stages of their own"
                )
        self.sequence_length = first.sequence_length
        self.rows = sum(folder.rows for folder in self.folders)
        self.shares = [source.weight or folder.rows for source, folder in zip(stage.sources, self.folders, strict=True)]
        self._interleave = Interleave(self.shares)
        self._orders = [Order(f.group_rows, _source_seed(seed, number, i), window) for i, f in enumerate(self.folders)]
        self._first_rows = [np.concatenate([[0], np.cumsum(f.group_rows)]) for f in self.folders]
        if stage.steps is not None:
            self.steps = stage.steps
        elif stage.tokens is not None:
            self.steps = stage.tokens // (self.sequence_length * self.global_batch)
        else:
            self.steps = int(self.rows * (stage.epochs or 1) // self.global_batch)
        if not self.steps:
            raise ConfigError(
                f"stage '{stage.name}': its {self.rows:,} rows and its length do not fill one batch of "
                f"{self.global_batch:,} rows of {self.sequence_length:,} tokens"
            )
        #: Decoded row groups of each source, those of the windows that the last batch lay in.
        self._decoded: list[dict[int, RowGroup]] = [{} for _ in self.folders]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_decoded": [{} for _ in self.folders]}

    def locate(self, step: int, first: int, end: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[set[int]]]:
        """Source, row group and row in it, int64, of the rows first to end of a global batch of the stage, as they are
        dealt to ranks; and what to keep decoded, per source."""
        start = step * self.global_batch
        sources, places = self._interleave.at(np.arange(start, start + self.global_batch, dtype=np.int64))
        groups, rows, keep = np.empty_like(places), np.empty_like(places), []
        for i, order in enumerate(self._orders):
            mine = sources == i
            groups[mine], rows[mine] = order.locate(places[mine])
            keep.append(order.touched(places[mine]))
        dealt = np.lexsort((rows, groups, sources))[first:end]
        return sources[dealt], groups[dealt], rows[dealt], keep

    def row_numbers(self, sources: np.ndarray, groups: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Number of each row in its folder."""
        numbers = np.empty_like(rows)
        for i, first in enumerate(self._first_rows):
            mine = sources == i
            numbers[mine] = first[groups[mine]] + rows[mine]
        return numbers

    def batch(self, step: int, first: int, end: int) -> Batch:
        sources, groups, rows, keep = self.locate(step, first, end)
        count, length = len(rows), self.sequence_length
        if count * length >= 1 << 31:
            raise ConfigError(
                f"stage '{self.name}': {count:,} rows of {length:,} tokens at once do not fit int32 cu_seqlens; "
                "ask for fewer rows, or more ranks"
            )
        ids, positions, labels = (np.empty((count, length), np.int64) for _ in range(3))
        bounds: list[np.ndarray] = [np.zeros(1, np.int64)]
        for (source, group), (low, high) in _runs(sources, groups):
            decoded = self._row_group(source, group, keep, groups[sources == source])
            part = slice(low, high)
            ends = fill(decoded.ids, decoded.lens, decoded.starts, rows[part], ids[part], positions[part], labels[part])
            if not len(ends):
                raise CurationError(
                    f"stage '{self.name}': the lengths of a row's pieces do not fit its {length:,} tokens"
                )
            bounds.append(ends + low * length)
        cu_seqlens = np.concatenate(bounds)
        return Batch(
            self.first_step + step,
            self.name,
            ids,
            positions,
            labels,
            cu_seqlens.astype(np.int32),
            int(np.diff(cu_seqlens).max(initial=0)),
            sources,
            self.row_numbers(sources, groups, rows),
        )

    def _row_group(self, source: int, group: int, keep: list[set[int]], needed: np.ndarray) -> RowGroup:
        """A decoded row group; on the way all of its source that the batch needs, and none of windows left behind."""
        decoded = self._decoded[source]
        if group not in decoded:
            for old in decoded.keys() - keep[source]:
                del decoded[old]
            decoded |= self.folders[source].decode(sorted(set(needed.tolist()) - decoded.keys()))
        return decoded[group]


def _source_seed(seed: int, stage: int, source: int) -> int:
    """Sources and stages have orders of their own, also where they are the same folder."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{stage}/{source}".encode()).digest()[:8], "little")


def _runs(sources: np.ndarray, groups: np.ndarray) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """(source, row group) and the bounds of each run of equal ones."""
    change = np.flatnonzero((np.diff(sources) != 0) | (np.diff(groups) != 0)) + 1
    bounds = [0, *change.tolist(), len(groups)] if len(groups) else [0]
    for low, high in pairwise(bounds):
        yield (int(sources[low]), int(groups[low])), (low, high)


class Plan:
    """What is trained on, in which order, to the last row.

    stages: `TrainingStage`s, or dicts of their keys, one after the other. seed: of all orders. window: row groups whose
    rows are mixed; a rank keeps those of them it needs decoded, at most `window` * 4 MB a source. tokenizer: SHA-256 or
    `tokenizer.json` that must have made the ids.

    ConfigError if a key is wrong, a folder does not agree with its manifest, or the tokenizers differ.
    """

    def __init__(
        self,
        stages: Sequence[TrainingStage | dict[str, Any]],
        *,
        seed: int = 0,
        window: int = 16,
        tokenizer: str | None = None,
    ):
        if window < 1:
            raise ConfigError(f"window: expected 1 or more row groups, got {window}")
        try:
            checked = [TrainingStage.model_validate(stage) for stage in stages]
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise ConfigError(f"stage{f' {where}' if where else ''}: {first['msg']}") from error
        if not checked:
            raise ConfigError("a plan needs at least one stage")
        self._stages: list[_Opened] = []
        self.steps = 0
        for number, stage in enumerate(checked):
            self._stages.append(_Opened(stage, number, self.steps, seed, window))
            self.steps += self._stages[-1].steps
        self._starts = np.array([stage.first_step for stage in self._stages])
        folders = [folder for stage in self._stages for folder in stage.folders]
        self._check_tokenizers(folders, tokenizer)
        self.eod_id, self.vocab_size = folders[0].eod_id, int(folders[0].tokenizer["vocab_size"])
        facts = [
            [s.name, s.global_batch, s.steps, s.shares, [folder.digest for folder in s.folders]] for s in self._stages
        ]
        text = json.dumps([_ORDER_VERSION, seed, window, facts])
        #: Hex; equal for plans that give the same batches.
        self.fingerprint = hashlib.sha256(text.encode()).hexdigest()[:32]

    @classmethod
    def of(
        cls, folder: str, global_batch: int, epochs: float = 1, *, seed: int = 0, tokenizer: str | None = None
    ) -> Plan:
        """A plan of one stage that reads one folder."""
        stage = {"name": "train", "sources": [{"folder": folder}], "global_batch": global_batch, "epochs": epochs}
        return cls([stage], seed=seed, tokenizer=tokenizer)

    def _check_tokenizers(self, folders: list[PackFolder], tokenizer: str | None) -> None:
        first = folders[0]
        if tokenizer is not None and tokenizer_sha256(tokenizer) != first.tokenizer["sha256"]:
            raise ConfigError(
                f"{first.url}: made with the tokenizer {first.tokenizer['sha256'][:12]}…, "
                f"not with '{tokenizer}' ({tokenizer_sha256(tokenizer)[:12]}…)"
            )
        for folder in folders[1:]:
            if (folder.tokenizer["sha256"], folder.eod_id) != (first.tokenizer["sha256"], first.eod_id):
                raise ConfigError(
                    f"{folder.url}: made with another tokenizer or end-of-document id "
                    f"({folder.tokenizer['sha256'][:12]}…, {folder.eod_id}) than {first.url} "
                    f"({first.tokenizer['sha256'][:12]}…, {first.eod_id})"
                )

    def _at(self, step: int) -> _Opened:
        if not 0 <= step < self.steps:
            raise IndexError(f"step {step}: the plan has steps 0 to {self.steps - 1}")
        return self._stages[int(np.searchsorted(self._starts, step, side="right")) - 1]

    def stage(self, step: int) -> str:
        """Name of the stage that a step belongs to. IndexError past the plan's end, as in all methods."""
        return self._at(step).name

    def sequence_length(self, step: int) -> int:
        """Tokens of a row at this step."""
        return self._at(step).sequence_length

    def row_range(self, step: int, rank: int, world: int) -> tuple[int, int]:
        """Which rows of the global batch are the rank's: first, and one past the last. ConfigError if it has none.

        Where the batch does not divide by the ranks, some have a row more: weight losses by tokens, not by ranks.
        """
        size = self._at(step).global_batch
        if not 0 <= rank < world:
            raise ConfigError(f"rank {rank} of {world}: expected 0 to {world - 1}")
        if size < world:
            raise ConfigError(f"stage '{self.stage(step)}': a global batch of {size} rows does not reach {world} ranks")
        return size * rank // world, size * (rank + 1) // world

    def batch(self, step: int, rank: int = 0, world: int = 1, rows: slice | None = None) -> Batch:
        """The rank's rows of a step; with `rows` some of these, and only they are read.

        The ranks' batches, one after the other, are the global batch, which is the same for every `world`.
        CurationError if a file turns out to be damaged, ConfigError if the rank has no rows.
        """
        first, end = self.row_range(step, rank, world)
        if rows is not None:
            low, high, _ = rows.indices(end - first)
            first, end = first + low, first + max(low, high)
        stage = self._at(step)
        return stage.batch(step - stage.first_step, first, end)

    def rows(self, step: int) -> list[tuple[str, int]]:
        """Folder and row number of each row of a global batch, in the order of the ranks; nothing is read."""
        stage = self._at(step)
        sources, groups, rows, _ = stage.locate(step - stage.first_step, 0, stage.global_batch)
        numbers = stage.row_numbers(sources, groups, rows)
        return [(stage.folders[s].url, n) for s, n in zip(sources.tolist(), numbers.tolist(), strict=True)]

    def documents(self, step: int) -> list[list[tuple[str, int, int]]]:
        """What the rows of a global batch are made of: id of the document, token at which the piece starts, tokens.

        For looking at a step whose loss jumped; the ids are those of `documents/`.
        """
        stage = self._at(step)
        sources, groups, rows, _ = stage.locate(step - stage.first_step, 0, stage.global_batch)
        found = []
        for (source, group), (low, high) in _runs(sources, groups):
            table = stage.folders[source].read([group], ("doc_ids", "doc_starts", "doc_lens"))[group]
            for row in table.take(rows[low:high]).to_pylist():
                found.append(list(zip(row["doc_ids"], row["doc_starts"], row["doc_lens"], strict=True)))
        return found

    def state(self, step: int) -> dict[str, Any]:
        """What a checkpoint keeps: the step to go on with, and which plan it belongs to."""
        return {"fingerprint": self.fingerprint, "step": step}

    def resume(self, state: dict[str, Any]) -> int:
        """The step to go on with. ConfigError if the state was made with a plan that gives other batches."""
        if state.get("fingerprint") != self.fingerprint:
            raise ConfigError(
                f"the checkpoint belongs to another plan ({state.get('fingerprint')}) than this one "
                f"({self.fingerprint}): folders, shares, seed, window, batch or steps differ"
            )
        return int(state["step"])

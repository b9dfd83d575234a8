"""Pipeline -> segments of fused stages, barriers between them, and the tasks of each; nothing runs here.

A segment is a run of stages that a shard can go through alone. All stages of a segment are fused into one task per
shard: a document is read once and written once however many stages it meets. A barrier ends one segment (scatter)
and begins the next (apply); between them lie its gather rounds.

Every task has a fingerprint of all that decides its bytes: the stages' configs and source code, the seed, the data
files they name, and its input. It says nothing of workers, batch sizes or time. A committed task with the same
fingerprint is done. Fingerprints of later segments depend on the content of earlier ones, so those segments are
planned when the segment before them is complete; planning reads manifests only.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pyarrow as pa
import xxhash

from curation.config import Pipeline
from curation.corpus import FORMAT, Manifest
from curation.documents import CORE, is_transient
from curation.errors import ConfigError
from curation.exchange import SCHEMA
from curation.inputs import Inputs, find_inputs
from curation.registry import library_versions, source_files
from curation.stage import Barrier, Output, Split, Stage


def digest(*parts: Any) -> str:
    """xxh128 of the parts as canonical JSON."""
    return xxhash.xxh3_128_hexdigest(json.dumps(parts, sort_keys=True, default=str).encode())


@dataclass(frozen=True)
class Segment:
    """Stages that run fused. `labels` are the stages' names as accounts show them."""

    index: int
    labels: list[str]
    stages: list[Stage]
    applies: Barrier | None
    scatters: Barrier | None
    schema: pa.Schema  # of the shard it writes
    key: str  # digest of all that decides its bytes, except its input

    @property
    def last(self) -> bool:
        """Whether it writes `documents/`."""
        return self.scatters is None


@dataclass(frozen=True)
class Shard:
    """One shard as input of a later task: its place in the plan, its file (with its xxh128), and its rows."""

    index: int
    name: str
    rows: int
    bytes: int
    xxh128: str
    digest: str  # of all files of the task that made it


@dataclass(frozen=True)
class ShardTask:
    """One shard through one segment."""

    name: str
    segment: int
    index: int
    fingerprint: str
    split: Split | None = None
    shards: tuple[Shard, ...] = ()
    verdicts: tuple[tuple[str, list], ...] = ()  # exchange files with the verdicts of the barrier it applies
    bytes_in: int = 0


@dataclass(frozen=True)
class GatherTask:
    """Some partitions of one gather round of the barrier at the end of `segment`."""

    name: str
    segment: int
    round: int
    fingerprint: str
    partitions: tuple[int, ...]
    sources: tuple[tuple[str, list], ...]
    sidecars: tuple[str | None, ...]
    rows: int = 0


Task = ShardTask | GatherTask


@dataclass
class Plan:
    """A pipeline cut into segments. `shard_tasks` and `gather_tasks` list what each step has to do."""

    pipeline: Pipeline
    segments: list[Segment] = field(default_factory=list)
    dropped_schema: pa.Schema = field(default_factory=lambda: pa.schema([]))
    outputs: dict[str, tuple[str, Output]] = field(default_factory=dict)  # folder -> (stage label, Output)

    @cached_property
    def fingerprint(self) -> str:
        """Digest of everything but the inputs."""
        return digest([segment.key for segment in self.segments])

    @cached_property
    def inputs(self) -> Inputs:
        """The input's files. Looked for once: to list a crawl in an object store takes minutes."""
        return find_inputs(self.pipeline.inputs)

    @cached_property
    def first_tasks(self) -> list[ShardTask]:
        """The tasks of the first segment, from the input files."""
        segment = self.segments[0]
        tasks: list[ShardTask] = []
        for source, file in self.inputs.files:
            stem = re.sub(r"[^\w-]+", "-", os.path.basename(file.name).split(".")[0])[:40]
            for split in self.pipeline.reader.splits(file, source):
                identity = [source, file.name, split.index]
                name = f"{stem}-{digest(source, file.name)[:8]}-{split.index:04d}"
                tasks.append(
                    ShardTask(
                        name=f"map0/{name}",
                        segment=0,
                        index=len(tasks),
                        fingerprint=digest(segment.key, identity, file.size, file.version, split.start, split.end),
                        split=split,
                        bytes_in=split.end - split.start,
                    )
                )
        return tasks

    def shard_tasks(self, index: int, before: Sequence[Manifest], verdicts: Sequence[Manifest]) -> list[ShardTask]:
        """The tasks of a later segment, from the manifests of the segment before it and of the last gather round."""
        segment = self.segments[index]
        shards = [
            Shard(i, shard["name"], shard["rows"], shard["bytes"], shard["xxh128"], m.digest)
            for i, m in enumerate(before)
            for shard in [m.files["shard"]]
        ]
        limit = self.pipeline.settings.shard_mb << 20
        groups: list[list[Shard]] = []
        for shard in shards:
            # Small shards are put together where the final ones are written; before that, more tasks are better.
            if segment.last and groups and sum(s.bytes for s in groups[-1]) + shard.bytes <= limit:
                groups[-1].append(shard)
            else:
                groups.append([shard])
        tasks = []
        for i, group in enumerate(groups):
            sources: list[tuple[str, list]] = []
            about: list[list] = []
            for m in verdicts:
                mine = [part for part in m.partitions["exchange"] if group[0].index <= part[0] <= group[-1].index]
                if mine or not sources:  # the first file also where it says nothing of these shards: for its schema
                    schema = [part for part in m.partitions["exchange"] if part[0] == SCHEMA]
                    sources.append((m.files["exchange"]["name"], schema + mine))
                    about += [[part[0] - group[0].index, *part[1:3]] for part in mine]
            base = os.path.basename(before[group[0].index].task)
            tasks.append(
                ShardTask(
                    name=f"map{index}/{f'{i:05d}' if segment.last else base}",
                    segment=index,
                    index=i,
                    fingerprint=digest(segment.key, [s.digest for s in group], about),
                    shards=tuple(group),
                    verdicts=tuple(sources),
                    bytes_in=sum(s.bytes for s in group),
                )
            )
        return tasks

    def gather_tasks(
        self, index: int, round: int, before: Sequence[Manifest], shards: Sequence[Manifest]
    ) -> list[GatherTask]:
        """The tasks of a gather round: partitions put together as the barrier's `gather_rows` says.

        before: manifests whose exchange files hold the round's rows; shards: those of the segment (for sidecars).
        """
        segment = self.segments[index]
        barrier = segment.scatters
        assert barrier is not None
        limit, state = barrier.gather_rows(round), barrier.state()
        rows: dict[int, int] = {}
        places: dict[int, list[tuple[int, list]]] = {}  # partition -> manifests that have rows of it, and where
        schemas: list[list] = []
        for i, manifest in enumerate(before):
            schemas.append([])
            for entry in manifest.partitions.get("exchange", []):
                if entry[0] == SCHEMA:
                    schemas[-1].append(entry)
                else:
                    rows[entry[0]] = rows.get(entry[0], 0) + entry[1]
                    places.setdefault(entry[0], []).append((i, entry))
        groups: list[list[int]] = []
        for partition in sorted(rows):
            if groups and sum(rows[p] for p in groups[-1]) + rows[partition] <= limit:
                groups[-1].append(partition)
            else:
                groups.append([partition])

        def sources(group: list[int]) -> tuple[tuple[str, list], ...]:
            """Files with rows of these partitions, in plan order, and where in them."""
            mine: dict[int, list] = {}
            for partition in group:
                for i, entry in places[partition]:
                    mine.setdefault(i, schemas[i].copy()).append(entry)
            return tuple((before[i].files["exchange"]["name"], mine[i]) for i in sorted(mine))

        sidecars = tuple(m.files["sidecar"]["name"] if "sidecar" in m.files else None for m in shards)
        beside = [m.files["sidecar"]["xxh128"] for m in shards if "sidecar" in m.files]
        return [
            GatherTask(
                name=f"gather{index}.{round}/{group[0]:05d}",
                segment=index,
                round=round,
                fingerprint=digest(
                    segment.key, round, [[p, [entry[2] for _, entry in places[p]]] for p in group], beside, state
                ),
                partitions=tuple(group),
                sources=sources(group),
                sidecars=sidecars,
                rows=sum(rows[p] for p in group),
            )
            for group in groups
        ]


def _stage_key(stage: Stage, label: str) -> list[Any]:
    """What decides a stage's results: its name, config, seed, source code, libraries and data files."""
    code = xxhash.xxh3_128()
    sources = source_files(type(stage))
    for file in sources:
        code.update(file.read_bytes())
    data: list[list[Any]] = []
    for path in stage.files():
        info = os.stat(path)
        if info.st_size <= 64 << 20:  # a model of this size is read in milliseconds; larger ones go by time and size
            with open(path, "rb") as handle:
                data.append([os.path.basename(path), xxhash.xxh3_128_hexdigest(handle.read())])
        else:
            data.append([os.path.basename(path), info.st_size, info.st_mtime_ns])
    config = stage.model_dump(mode="json")
    return [label, type(stage).__qualname__, config, stage.seed, code.hexdigest(), library_versions(sources), data]


def _schema(columns: dict[str, pa.DataType]) -> pa.Schema:
    return pa.schema([pa.field(name, kind) for name, kind in columns.items() if not is_transient(name)])


def make_plan(pipeline: Pipeline) -> Plan:
    """Cut a pipeline into segments."""
    plan = Plan(pipeline)
    settings = pipeline.settings
    everything = {name: column.type for name, column in CORE.items()}
    for label, stage in zip(pipeline.stage_names, pipeline.stages, strict=True):
        everything |= stage.adds()
        for output in stage.outputs():
            first, other = plan.outputs.setdefault(output.folder, (label, output))
            if first != label and (other.columns is not None or other.schema != output.schema):
                raise ConfigError(f"the stages '{first}' and '{label}' both write the folder {output.folder}/")
    moved = {name for _, output in plan.outputs.values() for name in output.moved}
    plan.dropped_schema = _schema(
        {name: kind for name, kind in everything.items() if name not in moved}
        | {"stage": pa.string(), "reason": pa.string(), "detail": pa.string()}
    )
    columns = {name: column.type for name, column in CORE.items()}
    labels: list[str] = []
    stages: list[Stage] = []
    applies: Barrier | None = None

    def close(scatters: Barrier | None) -> None:
        nonlocal labels, stages, applies
        folders = [o.folder for stage in stages if stage is not scatters for o in stage.outputs()]
        if len(folders) > len(set(folders)):  # their rows would alternate batch by batch: bytes would depend on batches
            raise ConfigError(f"two of the stages {', '.join(labels)} write one folder; put a barrier between them")
        keys = [_stage_key(stage, label) for stage, label in zip(stages, labels, strict=True)]
        options = [FORMAT, keys, settings.keep_dropped_text, settings.breakdown, plan.dropped_schema.to_string()]
        schema = _schema(columns)
        key = digest(options, schema.to_string())
        segment = Segment(len(plan.segments), labels, stages, applies, scatters, schema, key)
        plan.segments.append(segment)
        labels, stages, applies = [], [], scatters

    for label, stage in zip(pipeline.stage_names, pipeline.stages, strict=True):
        if isinstance(stage, Barrier):
            labels.append(f"{label}:scatter")
            stages.append(stage)
            close(stage)
        labels.append(label)
        stages.append(stage)
        columns |= stage.adds()
        for name in stage.removes():
            columns.pop(name, None)
    close(None)
    return plan

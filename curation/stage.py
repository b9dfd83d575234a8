"""What a stage is: a function from an Arrow table of documents to an Arrow table of documents.

A stage is a small pydantic class. Its fields are its YAML keys, its docstring is its manual page, `setup()` loads
what a worker keeps, and calling it does the work. It is pure: same table, config and seed, same result, on any
worker and in any batch split. It never drops a row by itself: it says so in an `Outcome`, and the engine drops,
counts and keeps the row that says why. That is what lets the engine promise that no document is lost unnoticed.

    class ShortDocuments(Filter, name="drop_short"):
        "Drops documents shorter than `min_characters`."
        min_characters: int = Field(200, description="...")

        def __call__(self, docs: pa.Table) -> pa.Array:
            short = pc.less(pc.utf8_length(docs["text"]), self.min_characters)
            return reasons(docs, too_short=short)

The engine finds a stage by the `name=` in its class statement, by reading the files of the package `stages`, not
by importing them: listing a catalogue of fifty stages must not load fifty libraries (that is `registry.py`).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from curation.metrics import Metrics


@dataclass(frozen=True)
class Outcome:
    """What a stage says about a batch; every array has one entry per row of `docs`.

    docs: the batch, same rows in the same order, with the stage's columns added.
    dropped: string array; null keeps the row, anything else is the reason it goes (a short snake_case name).
    failed: string array; null, or the error because of which the document goes to quarantine.
    detail: string array; null, or words beside the reason (`kept=<id> jaccard=0.93`).
    added: documents made of those of the batch, with the columns of `docs` and ids of their own
        (`documents.part_id`); they go on with the others, each behind the row of `docs` that `added_behind` (an integer
        array) names, even where that row is dropped.
    outputs: rows for the stage's own output folders (see `Stage.outputs`), any number of rows.
    """

    docs: pa.Table
    dropped: pa.Array | None = None
    failed: pa.Array | None = None
    detail: pa.Array | None = None
    added: pa.Table | None = None
    added_behind: np.ndarray | None = None
    outputs: dict[str, pa.Table] = field(default_factory=dict)


@dataclass(frozen=True)
class Gathered:
    """What a barrier's `gather` returns where it also writes files of its own.

    rows: those for the next round. files: name in the run's folder, without suffix (`packed/stage1/part-00003`) ->
    rows with the schema of the barrier's `gathered` output in whose folder it lies. A name must follow from the
    partition alone; the file is written and committed with the task, like any other.
    """

    rows: pa.Table
    files: dict[str, pa.Table] = field(default_factory=dict)


@dataclass(frozen=True)
class Output:
    """A folder that a stage adds to the run's output, one parquet file per shard task.

    With `schema`, its rows are those the stage returns in `Outcome.outputs[folder]`.
    With `columns`, its rows are the documents that were kept at the end of the pipeline, these columns of them
    (renamed by the mapping document column -> column in the file); `moved` names those that `documents/` then leaves
    out. `metadata` goes into the parquet footer; a row group holds about `group_size` units of the integer column
    `group_by` (1 M tokens of `n_tokens`), or elements of it where it is a list: the grain at which a trainer can seek.
    With `gathered`, a barrier writes it file by file (see `Gathered`); folders below `folder` are its own, too.
    """

    folder: str
    schema: pa.Schema | None = None
    columns: dict[str, str] | None = None
    moved: tuple[str, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)
    group_by: str | None = None
    group_size: int = 1 << 20
    plain: tuple[str, ...] = ()  # columns written without dictionary encoding
    gathered: bool = False  # its files are those that a barrier's `gather` returns, not one a shard task


class Stage(BaseModel):
    """A step of a pipeline. Subclass it with `name="..."`, declare fields, implement `__call__`."""

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, use_attribute_docstrings=True)

    stage_name: ClassVar[str] = ""
    #: Give the stage one document at a time. For code that can hang or crash on a hostile document (an HTML or PDF
    #: parser): the engine then knows at once which document it was, and loses nothing around it.
    one_at_a_time: ClassVar[bool] = False
    #: CPU seconds that one call may take before its process is killed and the document goes to quarantine.
    limit_s: ClassVar[float] = 60.0
    #: Seconds on the clock that one call may take; 0 stands for ten times `limit_s`. For stages that wait for a server.
    wait_s: ClassVar[float] = 0.0

    _metrics: Metrics = PrivateAttr(default_factory=Metrics)
    _seed: int = PrivateAttr(default=0)
    _folder: str = PrivateAttr(default="")

    def __init_subclass__(cls, name: str = "", **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if name:
            cls.stage_name = name

    @property
    def metrics(self) -> Metrics:
        """Record counters and histograms here; the engine takes them after each call that succeeds."""
        return self._metrics

    @property
    def seed(self) -> int:
        """Seed of this stage in this pipeline. Draw per document from it and the document's id, never from a stream:
        a stream would make the result depend on the order of documents."""
        return self._seed

    @property
    def folder(self) -> str:
        """A folder of the run (path or URL) for what workers share and a resume needs beside shards: responses that
        were paid for, a model trained in the run. No result may depend on whether it is empty. Empty string outside
        a run."""
        return self._folder

    # What the engine checks before a run starts.
    def needs(self) -> tuple[str, ...]:
        """Columns that an earlier stage must have added."""
        return ("text",)

    def adds(self) -> dict[str, pa.DataType]:
        """Columns that this stage adds, or changes, with their types."""
        return {}

    def removes(self) -> tuple[str, ...]:
        """Columns that no later stage needs (the raw page after extraction)."""
        return ()

    def outputs(self) -> tuple[Output, ...]:
        """Folders that this stage adds to the run's output."""
        return ()

    def check(self) -> None:
        """Raise ConfigError or ValueError if a path or model of the config is missing. Runs before Ray starts."""

    def files(self) -> Sequence[str]:
        """Model and data files outside the code whose content decides the result; part of the fingerprint."""
        return ()

    def thresholds(self) -> dict[str, dict[str, float]]:
        """Limits to draw into histograms: name of a histogram (of this stage or an earlier one) -> key -> limit."""
        return {}

    def thresholds_of(self, language: str) -> dict[str, dict[str, float]]:
        """The `thresholds` of documents of one language (`und`: of none), where they differ by it. A key that is not
        there is no limit for them."""
        return self.thresholds()

    # What a worker does.
    def setup(self) -> None:
        """Load what a worker keeps: a model, a word list. Called once in each worker process."""

    def cpu_elsewhere(self) -> float:
        """CPU seconds that processes started by this stage have used so far; they are added to its account."""
        return 0.0

    @abstractmethod
    def __call__(self, docs: pa.Table) -> pa.Table | Outcome:
        """Do the work. The result has the same rows in the same order."""


class Filter(Stage):
    """A stage that says, per document, keep (null) or why not (a reason). The engine does the rest."""

    @abstractmethod
    def __call__(self, docs: pa.Table) -> pa.Array | Outcome:  # type: ignore[override]
        """A string array, one entry per document: null to keep it, else the reason."""


@dataclass(frozen=True)
class InputFile:
    """One input file as found before the run: where it lies, and what tells one version of it from another."""

    path: str  # full path or URL
    name: str  # relative to the folder the pattern starts from; part of document ids
    size: int  # bytes
    version: str  # mtime, etag or checksum


@dataclass(frozen=True)
class Split:
    """The part of an input file that one task reads: the records that start in bytes (or rows) [start, end)."""

    file: InputFile
    source: str
    index: int
    start: int
    end: int


class Reader(Stage):
    """The first stage: turns input files into documents.

    A reader yields an `Outcome` per batch in which every record it met is a row: documents, records it passed over
    (`dropped`, with a reason and no text) and records it could not read (`failed`). Rows carry the core columns
    `id, url, source, file, position` and what `adds()` declares. A broken file ends in a `failed` row that says
    where; it never ends in an exception. A storage that fails does: the task is not committed, and the next run reads
    the file again. What rows failed of is counted by the error's words before a colon or bracket; what differs from
    row to row belongs behind them.
    """

    split_mb: int = Field(64, ge=1, description="most of one file that a task reads, MiB as stored")

    def needs(self) -> tuple[str, ...]:
        return ()

    def splits(self, file: InputFile, source: str) -> list[Split]:
        """Cut a file into the parts that tasks read. Depends on this file's size alone, so that adding or removing
        another file never changes the shards of this one. A split is 1/16 of the file, from 1 MiB to `split_mb`."""
        size = min(max(file.size // 16, 1 << 20), self.split_mb << 20) if self.splittable(file) else file.size
        count = max(1, -(-file.size // max(size, 1)))
        return [Split(file, source, i, i * size, min((i + 1) * size, file.size)) for i in range(count)]

    def splittable(self, file: InputFile) -> bool:
        """Whether a task can start reading in the middle of this file."""
        return False

    @abstractmethod
    def read(self, split: Split, batch_rows: int, batch_bytes: int) -> Iterator[Outcome]:
        """Yield batches of at most `batch_rows` records and about `batch_bytes` of payload, in file order."""

    def __call__(self, docs: pa.Table) -> pa.Table:
        raise TypeError("a reader is the first stage of a pipeline and reads files; it is not called with documents")


#: As `row` of a verdict: it speaks of the whole shard, and is given with every batch of it.
SHARD_ROW = -1


class Sidecars:
    """Random access to the per-document rows that a barrier's `sidecar` kept for every shard (its signatures)."""

    def rows(self, shard: int, rows: np.ndarray, columns: Sequence[str]) -> pa.Table:
        """Columns of the sidecar rows of the documents `rows` (increasing row numbers) of one shard, in that order."""
        raise NotImplementedError

    def table(self, shard: int) -> pa.Table:
        """All sidecar rows of one shard."""
        raise NotImplementedError

    def shards(self) -> int:
        """How many shards there are."""
        raise NotImplementedError


class Shuffled:
    """What the steps of a barrier have left in the run's folder, for `Barrier.complete`.

    `sidecars` are those of its shards; `sizes` the documents of each; `digest` tells one content of all of it from
    another; `url` is the run's folder.
    """

    url: str

    sidecars: Sidecars
    sizes: list[int]
    digest: str

    def partitions(self) -> list[int]:
        """The partitions that `scatter` gave rows to, increasing."""
        raise NotImplementedError

    def rows(self, partition: int) -> pa.Table:
        """What `gather` got for a partition in round 0."""
        raise NotImplementedError

    def verdicts(self, shard: int) -> pa.Table:
        """The rows of the last round for a shard; `row` counts from the start of the shard."""
        raise NotImplementedError


class Barrier(Stage):
    """A stage that needs the whole corpus: what it says of a document depends on documents of other shards.

    A document is addressed by (shard, row): the shard's place in the plan, and the row in that shard. The work is
    a chain of shuffles through files. Every step is a set of tasks that commit and resume like any other:

    1. `scatter(docs, shard, row)`, per batch of each shard -> rows with an int32 column `partition`.
       `sidecar(docs)`, optional: one row per document that stays beside the shard (a signature).
    2. `gather(round, partition, rows, sidecars)`, per partition, with all rows of it from every shard, in shard
       order, without the column `partition` -> rows with `partition` for the next round. In the last round
       `partition` is the shard the row speaks of and an int64 column `row` the document's row there: these are the
       verdicts.
    3. `apply(docs, verdicts)`, per batch of each shard -> Outcome. `verdicts` holds the rows for this batch, sorted
       by `row`, which counts from the start of the batch. A document without a verdict is simply kept. A verdict
       whose row is `SHARD_ROW` speaks of the whole shard and comes with every batch. (Where no row was ever scattered,
       the empty `verdicts` has the column `row` alone.)

    Documents come in plan order, so "the first" (smallest shard, then row) is the same for any number of workers.
    """

    def __call__(self, docs: pa.Table) -> pa.Table:
        raise TypeError("a barrier is not called with a batch; the engine calls scatter, gather and apply")

    def rounds(self) -> int:
        """How many gather rounds there are."""
        return 1

    def partitions(self, round: int, shards: int) -> int:
        """Upper bound of `partition` for the rows that go into gather round `round` (0 is after scatter)."""
        return 64

    @abstractmethod
    def scatter(self, docs: pa.Table, shard: int, row: int) -> pa.Table:
        """Rows to shuffle for a batch whose first document is row `row` of shard `shard`."""

    def sidecar(self, docs: pa.Table) -> pa.Table | None:
        """One row per document to keep beside the shard for later rounds, or None."""
        return None

    def gather_rows(self, round: int) -> int:
        """How many rows a gather task of a round takes on, about: partitions are put together until they reach it.
        Less for a round that makes much of each row, for a task holds the rows it makes in memory."""
        return 2_000_000

    def state(self) -> str:
        """What tells one state from another of anything outside the run that `gather` reads (an index of earlier
        runs); part of the fingerprint of gather tasks only, so that a new state repeats the gathers and no more.
        Called where the run is driven; what it finds can be kept in private attributes, which workers see."""
        return ""

    @abstractmethod
    def gather(self, round: int, partition: int, rows: pa.Table, sidecars: Sidecars) -> pa.Table | Gathered:
        """Turn one partition's rows into rows for the next round, and maybe files."""

    @abstractmethod
    def apply(self, docs: pa.Table, verdicts: pa.Table) -> Outcome:
        """Say what becomes of the documents of a batch."""

    def complete(self, shuffled: Shuffled) -> str:
        """Called where the run is driven, once all is committed and the books balance, and again by every rerun: the
        place to hand results to something outside the run. Repeating it must change nothing. Returns a line to show."""
        return ""


def reasons(docs: pa.Table, **tests: pa.Array | pa.ChunkedArray | np.ndarray) -> pa.Array:
    """The reason array of a filter: for each document the name of the first test that is true, or null.

    Each test is a boolean array with one entry per document, True where the document must go; null counts as
    False. Tests are tried in the order they are given.
    """
    result = np.full(docs.num_rows, -1, dtype=np.int32)
    for i, test in enumerate(tests.values()):
        if isinstance(test, pa.ChunkedArray):
            test = test.combine_chunks()
        if isinstance(test, pa.Array):
            test = pc.fill_null(test, False).to_numpy(zero_copy_only=False)
        result[(result < 0) & test] = i
    return pa.array(list(tests), pa.string()).take(pa.array(result, mask=result < 0))

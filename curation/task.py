"""One task, start to commit: read, run the stages, write aside, move in place, write the manifest.

This is what a Ray worker executes. It returns the manifest, a few kilobytes; documents go through files only. A
task can be killed at any moment and run again, also while another attempt of it is still alive: attempts write to
names of their own and commit the same bytes.
"""

from __future__ import annotations

import faulthandler
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curation.account import Account
from curation.chain import BatchResult, Chain
from curation.corpus import Manifest, ShardWriter, checked_file, commit
from curation.errors import ContractError, CurationError
from curation.exchange import NO_ROWS, ExchangeFiles, SidecarFiles, arrow_file, write_exchange, write_sidecar
from curation.plan import GatherTask, Plan, ShardTask, Task
from curation.sandbox import InProcess, Sandbox
from curation.stage import SHARD_ROW, Barrier, Gathered, Outcome, Output
from curation.storage import Storage

#: Seconds on the clock after which a reader that gives no batch ends its worker process.
READER_LIMIT_S = 900

_runners: dict[str, Sandbox | InProcess] = {}


def _runner(plan: Plan, index: int, inline: bool) -> Sandbox | InProcess:
    """The chain of a segment, set up; kept for the worker's next task, one at a time."""
    segment = plan.segments[index]
    key = f"{plan.pipeline.name}/{segment.key}/{inline}/{plan.pipeline.settings.memory_mb}"
    if key not in _runners:
        close_runners()
        settings = plan.pipeline.settings
        chain = Chain(
            segment.labels,
            segment.stages,
            breakdown=settings.breakdown,
            keep_text=settings.keep_dropped_text,
            dropped_schema=plan.dropped_schema,
        )
        runner = (InProcess if inline else Sandbox)(chain, settings.memory_mb)
        runner.start()
        _runners[key] = runner
    return _runners[key]


def close_runners() -> None:
    """End the child processes of this worker."""
    for runner in _runners.values():
        runner.close()
    _runners.clear()


def run_task(plan: Plan, task: Task, url: str, inline: bool = False) -> Manifest:
    """Run and commit one task of a plan in the run's folder at `url`. Raises if it cannot be done."""
    storage = Storage(url)
    if isinstance(task, GatherTask):
        return _run_gather(plan, task, storage)
    return _ShardRun(plan, task, storage, inline).run()


@dataclass
class _Batch:
    """A batch on its way into the chain."""

    source: Outcome
    verdicts: pa.Table | None = None


@dataclass
class _ShardRun:
    """The state of one shard task: the open files, and the accounts so far."""

    plan: Plan
    task: ShardTask
    storage: Storage
    inline: bool
    writers: dict[str, ShardWriter] = field(default_factory=dict)
    accounts: list[Account] = field(default_factory=list)
    exchange: list[pa.Table] = field(default_factory=list)
    sidecar: list[pa.Table] = field(default_factory=list)
    asides: list[tuple[str | None, str]] = field(default_factory=list)

    def run(self) -> Manifest:
        """Read all batches, run them through the chain, commit."""
        began, cpu = time.monotonic(), time.process_time()
        runner = _runner(self.plan, self.task.segment, self.inline)
        segment = self.plan.segments[self.task.segment]
        self.accounts = [Account(label) for label in segment.labels]
        try:
            self._open(segment.last)
            first = kept = 0
            for batch in self._batches():
                options: dict[str, Any] = {"verdicts": batch.verdicts} if segment.applies else {}
                if segment.scatters:
                    options["scatter"] = (self.task.index, kept)
                result = runner.run(batch.source, first, **options)
                self._take(result)
                first += batch.source.docs.num_rows
                kept += result.docs.num_rows
            manifest = self._finish(segment.last)
            manifest.seconds = round(time.monotonic() - began, 3)
            here = time.process_time() - cpu  # the reader and, inline, the stages
            elsewhere = 0.0 if self.inline else sum(account.cpu_s for account in self.accounts[1:])
            manifest.cpu_seconds = round(here + elsewhere, 3)
            manifest.rss_mb = round(runner.peak_rss / 2**20, 1)
            commit(self.storage, manifest, self.asides)
        except BaseException:
            for writer in self.writers.values():
                writer.abort()
            _remove(self.asides)
            raise
        return manifest

    def _file(self, folder: str) -> str:
        base = os.path.basename(self.task.name)
        if folder == "shard":
            folder = "documents" if self.plan.segments[self.task.segment].last else f"work/map{self.task.segment}"
            return f"{folder}/{base}.parquet"
        if folder in self.plan.outputs and self.plan.outputs[folder][1].columns is not None:
            return f"{folder}/{base}.parquet"
        folder = "quarantine" if folder == "failed" else folder
        return f"{folder}/{self.task.segment}-{base}.parquet"

    def _open(self, last: bool) -> None:
        """Open the files every task of the segment writes; they are written also where they stay empty."""
        segment = self.plan.segments[self.task.segment]
        schema = segment.schema
        if last:
            moved = {name for _, output in self.plan.outputs.values() for name in output.moved}
            for folder, (_, output) in self.plan.outputs.items():
                if output.columns is not None:
                    self.writers[folder] = ShardWriter(
                        self.storage, self._file(folder), output_schema(output, schema), output
                    )
            schema = pa.schema([f for f in schema if f.name not in moved])
        self.writers["shard"] = ShardWriter(self.storage, self._file("shard"), schema)
        self.writers["dropped"] = ShardWriter(self.storage, self._file("dropped"), self.plan.dropped_schema)
        for stage in segment.stages:
            for output in stage.outputs():
                if output.schema is None or output.gathered:
                    continue
                if stage is not segment.scatters and output.folder not in self.writers:
                    name = self._file(output.folder)
                    self.writers[output.folder] = ShardWriter(self.storage, name, output.schema, output)

    def _batches(self) -> Iterator[_Batch]:
        settings = self.plan.pipeline.settings
        if self.task.split is not None:
            reader = self.plan.pipeline.reader
            reader.setup()
            source = reader.read(self.task.split, settings.batch_rows, settings.batch_mb << 20)
            while True:
                began = time.process_time()
                with _deadline(READER_LIMIT_S, armed=not self.inline):
                    outcome = next(source, None)
                self.accounts[0].cpu_s += time.process_time() - began
                if outcome is None:
                    return
                self._adopt_reader_metrics()
                yield _Batch(outcome)
            return
        exchange = ExchangeFiles(self.storage, self.task.verdicts)
        for shard in self.task.shards:
            verdicts = exchange.partition(shard.index)
            if "row" not in verdicts.column_names:
                verdicts = pa.table({"row": pa.array([], pa.int64())})
            about, row = verdicts["row"].to_numpy(), 0
            with checked_file(self.storage, shard.name, shard.xxh128) as file:
                for part in pq.ParquetFile(file).iter_batches(batch_size=settings.batch_rows):
                    docs = pa.table(part)
                    mine = verdicts.filter(
                        pa.array((about == SHARD_ROW) | ((about >= row) & (about < row + docs.num_rows)))
                    )
                    i = mine.schema.get_field_index("row")
                    places = mine["row"].to_numpy()
                    places = np.where(places == SHARD_ROW, SHARD_ROW, places - row)
                    mine = mine.set_column(i, "row", pa.array(places, pa.int64()))
                    yield _Batch(Outcome(docs), mine)
                    row += docs.num_rows

    def _adopt_reader_metrics(self) -> None:
        """The reader works here and not in the chain: take its metrics over into its account."""
        reader = self.plan.pipeline.reader
        self.accounts[0].metrics.merge(reader.metrics)
        reader.metrics.counters.clear()
        reader.metrics.histograms.clear()

    def _take(self, result: BatchResult) -> None:
        """Write what became of a batch."""
        for folder, writer in self.writers.items():
            output = self.plan.outputs[folder][1] if folder in self.plan.outputs else None
            if folder == "shard":
                writer.write(result.docs)
            elif folder == "dropped":
                writer.write(result.dropped)
            elif output is not None and output.columns is not None:
                have = {k: v for k, v in output.columns.items() if k in result.docs.column_names}
                writer.write(result.docs.select(list(have)).rename_columns(list(have.values())))
            else:
                for table in result.outputs.get(folder, []):
                    writer.write(table)
        if result.failed.num_rows:
            if "failed" not in self.writers:
                schema = self.plan.dropped_schema
                self.writers["failed"] = ShardWriter(self.storage, self._file("failed"), schema)
            self.writers["failed"].write(result.failed)
        for account, new in zip(self.accounts, result.accounts, strict=True):
            account.merge(new)
        if result.exchange is not None:
            self.exchange.append(result.exchange)
        if result.sidecar is not None:
            self.sidecar.append(result.sidecar)

    def _finish(self, last: bool) -> Manifest:
        self._adopt_reader_metrics()
        for account in self.accounts:
            account.check()
        segment = self.plan.segments[self.task.segment]
        files: dict[str, dict[str, Any]] = {}
        partitions = {}
        for folder, writer in self.writers.items():
            files[folder] = writer.finish()
            self.asides.append((writer.aside, writer.name))
        if segment.scatters:
            rows = pa.concat_tables(self.exchange) if self.exchange else NO_ROWS
            beside = f"work/{self.task.name}"
            with arrow_file(self.storage, f"{beside}.exchange.arrow", self.asides) as (file, about):
                partitions["exchange"] = write_exchange(file, rows)
            files["exchange"] = about
            if self.sidecar:
                with arrow_file(self.storage, f"{beside}.sidecar.arrow", self.asides) as (file, about):
                    write_sidecar(file, self.sidecar)
                files["sidecar"] = about
        return Manifest(
            task=self.task.name,
            fingerprint=self.task.fingerprint,
            files=files,
            accounts=[account.to_json() for account in self.accounts],
            partitions=partitions,
        )


def output_schema(output: Output, documents: pa.Schema) -> pa.Schema:
    """The schema of a folder made from the documents' columns; columns the documents lack are left out."""
    assert output.columns is not None
    fields = []
    for column, name in output.columns.items():
        i = documents.get_field_index(column)
        if i >= 0:
            fields.append(pa.field(name, documents.field(i).type, nullable=column not in output.plain))
    return pa.schema(fields)


@contextmanager
def _deadline(seconds: float, armed: bool) -> Iterator[None]:
    """End this process if the block takes longer, even where native code holds the interpreter's lock."""
    if armed:
        faulthandler.dump_traceback_later(seconds, exit=True)
    try:
        yield
    finally:
        if armed:
            faulthandler.cancel_dump_traceback_later()


def _remove(asides: Sequence[tuple[str | None, str]]) -> None:
    """Take away files of a task that failed."""
    for aside, _ in asides:
        if aside and os.path.exists(aside):
            os.unlink(aside)


def _run_gather(plan: Plan, task: GatherTask, storage: Storage) -> Manifest:
    """Gather the task's partitions and commit."""
    asides: list[tuple[str | None, str]] = []
    try:
        manifest = _gather(plan, task, storage, asides)
        commit(storage, manifest, asides)
    except BaseException:
        _remove(asides)
        raise
    return manifest


def _gather(plan: Plan, task: GatherTask, storage: Storage, asides: list[tuple[str | None, str]]) -> Manifest:
    """Gather the task's partitions, one after another, and write the rows for the next round."""
    began, cpu = time.monotonic(), time.process_time()
    segment = plan.segments[task.segment]
    barrier = segment.scatters
    assert barrier is not None
    barrier.setup()
    account = Account(f"{segment.labels[-1].removesuffix(':scatter')}:gather")
    sidecars = SidecarFiles(storage, task.sidecars)
    exchange = ExchangeFiles(storage, task.sources)
    results: list[pa.Table] = []
    files: dict[str, dict[str, Any]] = {}
    for partition in task.partitions:
        rows = exchange.partition(partition)
        barrier.metrics.counters.clear()
        barrier.metrics.histograms.clear()
        try:
            gathered = barrier.gather(task.round, partition, rows, sidecars)
        except (CurationError, OSError):
            raise
        except Exception as error:
            label = account.stage.removesuffix(":gather")
            raise CurationError(
                f"stage '{label}', gather round {task.round}, partition {partition}: {type(error).__name__}: {error}"
            ) from error
        account.metrics.merge(barrier.metrics)
        if isinstance(gathered, Gathered):
            for name, table in gathered.files.items():
                files[name] = _write_gathered(storage, account.stage, barrier, name, table, asides)
            gathered = gathered.rows
        results.append(gathered)
    some = [table for table in results if table.num_rows] or results[:1]
    with arrow_file(storage, f"work/{task.name}.exchange.arrow", asides) as (file, about):
        index = write_exchange(file, pa.concat_tables(some))
    account.cpu_s = time.process_time() - cpu
    manifest = Manifest(
        task.name, task.fingerprint, files | {"exchange": about}, [account.to_json()], partitions={"exchange": index}
    )
    manifest.seconds = round(time.monotonic() - began, 3)
    manifest.cpu_seconds = round(time.process_time() - cpu, 3)
    return manifest


def _write_gathered(
    storage: Storage, label: str, barrier: Barrier, name: str, table: pa.Table, asides: list[tuple[str | None, str]]
) -> dict[str, Any]:
    """Write a file that a gather returned, aside on a local disk; its description."""
    for output in barrier.outputs():
        if output.gathered and output.schema is not None and name.startswith(f"{output.folder}/"):
            writer = ShardWriter(storage, f"{name}.parquet", output.schema, output)
            asides.append((writer.aside, writer.name))
            try:
                writer.write(table)
                return writer.finish()
            except BaseException:
                writer.abort()
                raise
    raise ContractError(f"stage '{label}' gathered the file {name}, which lies in none of its gathered outputs")

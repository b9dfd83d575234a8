"""Runs the stages of one segment over a batch, and accounts for every document in it.

For every step: rows in + rows added = rows kept + rows dropped by reason + rows failed. A stage that raises is called
again with halves of the batch until the document at fault stands alone; that one goes to quarantine and everything
around it is kept. Calling again is sound because a stage is pure. For the same reason the result does not depend on
how the documents were cut into batches: dropped rows are ordered by their ordinal (the document's number in the task's
input), not by the step that dropped them. A document that a stage adds has the ordinal of the one it stands behind
there, and in calls a number of its own, so that it can be blamed alone.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation.account import Account
from curation.contract import as_outcome, check_added, check_columns, check_rows
from curation.corpus import conform
from curation.documents import is_transient
from curation.errors import ContractError, CurationError, ResourceUnavailable, error_text
from curation.metrics import Metrics
from curation.offsets import carry_offsets
from curation.stage import SHARD_ROW, Barrier, Outcome, Reader, Stage


class Watch(Protocol):
    """Told before each call of a stage which documents it is given; the supervisor of a child reads it."""

    def enter(self, step: int, rows: np.ndarray) -> None: ...


@dataclass
class Suspicion:
    """What killed children have taught about a batch: which documents to leave out, which to try one by one."""

    condemned: dict[tuple[int, int], str] = field(default_factory=dict)  # (step, ordinal) -> error
    single: set[tuple[int, int]] = field(default_factory=set)  # (step, ordinal)


@dataclass
class BatchResult:
    """What became of a batch. Every table is ordered by the documents' ordinals."""

    docs: pa.Table
    dropped: pa.Table
    failed: pa.Table
    accounts: list[Account]
    outputs: dict[str, list[pa.Table]]
    exchange: pa.Table | None = None
    sidecar: pa.Table | None = None


@dataclass
class _Settled:
    """Documents that one call of a stage has dealt with."""

    docs: pa.Table
    rows: np.ndarray  # ordinals of docs
    out: list[tuple[pa.Table, np.ndarray, str, pa.Array, pa.Array]]  # docs, ordinals, kind, reasons, details
    outputs: dict[str, list[pa.Table]] = field(default_factory=dict)
    metrics: Metrics = field(default_factory=Metrics)
    added: int = 0


def error_kinds(errors: pa.Array) -> pa.Array:
    """What errors are counted by: the part before a colon or bracket (`ValueError`, `timeout`, `the file is empty`)."""
    return pa.array([error_kind(text) for text in errors.to_pylist()], pa.string())


def error_kind(text: str) -> str:
    """The kind of one error."""
    return re.split(r"[:(]", text)[0].strip()[:80]


class Chain:
    """The steps of a segment, set up in this process. `step` 0 is the reader (or the source of shards).

    barrier: the barrier whose verdicts this segment applies first, if it starts after one.
    scatter: the barrier this segment ends in front of, if any.
    """

    def __init__(
        self,
        labels: Sequence[str],
        stages: Sequence[Stage],
        *,
        breakdown: Sequence[str] = (),
        keep_text: bool = True,
        dropped_schema: pa.Schema,
    ):
        self.labels, self.stages = list(labels), list(stages)
        self.breakdown = tuple(breakdown)
        self.keep_text = keep_text
        self.dropped_schema = dropped_schema

    def setup(self) -> None:
        """Load what each stage keeps."""
        for label, stage in zip(self.labels, self.stages, strict=True):
            if isinstance(stage, Reader):
                continue  # reads in the parent process
            try:
                stage.setup()
            except CurationError:
                raise
            except Exception as error:
                raise CurationError(f"stage '{label}' could not be set up: {error_text(error)}") from error

    def run(
        self,
        source: Outcome,
        first: int,
        *,
        verdicts: pa.Table | None = None,
        scatter: tuple[int, int] | None = None,
        watch: Watch | None = None,
        suspicion: Suspicion | None = None,
    ) -> BatchResult:
        """Take one batch through all steps.

        source: the batch as the reader (or the previous segment) gave it; its first document has ordinal `first`.
        verdicts: rows of the barrier this segment applies, `row` counted from the batch's start.
        scatter: (shard, row) of the first document that this batch will keep, if the segment ends before a barrier.
        """
        rows = np.arange(first, first + source.docs.num_rows, dtype=np.int64)
        parents = rows  # parents[number - first]: the ordinal of the document that has this number
        doubt = suspicion or Suspicion()
        lost: list[tuple[int, pa.Table, np.ndarray, str, pa.Array, pa.Array]] = []
        outputs: dict[str, list[pa.Table]] = {}
        accounts = []
        docs = source.docs
        scattered: list[tuple[pa.Table, pa.Table | None]] = []
        for step, (label, stage) in enumerate(zip(self.labels, self.stages, strict=True)):
            account = Account(label, rows_in=docs.num_rows, bytes_in=_payload(docs))
            began = time.process_time() + stage.cpu_elsewhere()
            if step == 0 and not isinstance(stage, Barrier):
                settled = _part(source, rows, stage.metrics)
                _forget(stage)
            else:
                if scatter is not None and step == len(self.stages) - 1:
                    call = _scatter(stage, scatter, scattered)
                elif isinstance(stage, Barrier):
                    call = _apply(stage, verdicts, first)
                else:
                    call = _plain(stage)
                settled = self._settle(call, step, docs, rows, watch, doubt)
            account.cpu_s = time.process_time() + stage.cpu_elsewhere() - began
            docs, rows = settled.docs, settled.rows
            account.kept, account.added = docs.num_rows, settled.added
            account.metrics = settled.metrics
            for table, ordinals, kind, why, detail in settled.out:
                names = why if kind == "dropped" else error_kinds(why)
                counts = account.dropped if kind == "dropped" else account.failed
                for pair in pc.value_counts(names):
                    counts[pair["values"].as_py()] = counts.get(pair["values"].as_py(), 0) + pair["counts"].as_py()
                self._break_down(account, table, why if kind == "dropped" else pa.array(["error"] * table.num_rows))
                lost.append((step, table, parents[ordinals - first], kind, why, detail))
            self._break_down(account, docs, None)
            for folder, tables in settled.outputs.items():
                outputs.setdefault(folder, []).extend(tables)
            account.check()
            accounts.append(account)
            if settled.added:
                parents = parents[rows - first]
                rows = np.arange(first, first + len(rows), dtype=np.int64)
        sidecars = [sidecar for _, sidecar in scattered if sidecar is not None]
        return BatchResult(
            docs=docs,
            dropped=self._lost_table(lost, "dropped"),
            failed=self._lost_table(lost, "failed"),
            accounts=accounts,
            outputs=outputs,
            exchange=pa.concat_tables([rows for rows, _ in scattered]) if scattered else None,
            sidecar=pa.concat_tables(sidecars) if sidecars else None,
        )

    def _settle(
        self, call: _Call, step: int, docs: pa.Table, rows: np.ndarray, watch: Watch | None, doubt: Suspicion
    ) -> _Settled:
        """Call a stage on documents; on an exception, or around a known suspect, on parts of them."""
        if doubt.condemned:
            known = np.array([(step, row) in doubt.condemned for row in rows.tolist()], bool)
            if known.any():
                rest = self._settle(call, step, docs.filter(pa.array(~known)), rows[~known], watch, doubt)
                why = pa.array([doubt.condemned[(step, row)] for row in rows[known].tolist()], pa.string())
                gone = docs.filter(pa.array(known))
                rest.out.append((gone, rows[known], "failed", why, pa.nulls(gone.num_rows, pa.string())))
                return rest
        n = len(rows)
        if not n:
            return _nothing(call, docs, rows)
        if n > 1 and (call.stage.one_at_a_time or any((step, row) in doubt.single for row in rows.tolist())):
            return _concat(
                [self._settle(call, step, docs.slice(i, 1), rows[i : i + 1], watch, doubt) for i in range(n)]
            )
        if watch is not None:
            watch.enter(step, rows)
        _forget(call.stage)
        try:
            outcome = as_outcome(call.function(docs, rows), call.stage, docs)
            outcome = replace(outcome, docs=carry_offsets(docs, outcome.docs, call.adds))
            check_rows(docs, outcome.docs)
            check_columns(docs, outcome.docs, call.adds, call.removes)
            check_added(outcome)
            return _part(outcome, rows, call.stage.metrics)
        except ContractError as error:
            raise ContractError(f"stage '{self.labels[step]}' {error}") from error
        except ResourceUnavailable as error:  # halves of the batch would fare no better
            raise ResourceUnavailable(f"stage '{self.labels[step]}': {error}") from error
        except Exception as error:
            if n == 1:
                nothing = _nothing(call, docs, rows)
                nothing.out.append((docs, rows, "failed", pa.array([error_text(error)]), pa.nulls(1, pa.string())))
                return nothing
        half = n // 2
        return _concat(
            [
                self._settle(call, step, docs.slice(0, half), rows[:half], watch, doubt),
                self._settle(call, step, docs.slice(half), rows[half:], watch, doubt),
            ]
        )

    def _break_down(self, account: Account, docs: pa.Table, why: pa.Array | None) -> None:
        """Count documents per value of the breakdown columns and per fate."""
        for column in self.breakdown:
            if column not in docs.column_names or not docs.num_rows:
                continue
            fate = why if why is not None else pa.array(["kept"] * docs.num_rows)
            groups = (
                pa.table({"value": docs[column], "fate": fate})
                .group_by(["value", "fate"])
                .aggregate([([], "count_all")])
            )
            for value, name, n in zip(*(groups[c].to_pylist() for c in ("value", "fate", "count_all")), strict=True):
                counts = account.breakdown.setdefault(f"{column}={'' if value is None else value}", {})
                counts[name] = counts.get(name, 0) + n

    def _lost_table(self, lost: list, kind: str) -> pa.Table:
        """The rows of one kind with stage, reason and detail, ordered by ordinal."""
        tables, ordinals = [], []
        for step, docs, rows, what, why, detail in lost:
            if what != kind:
                continue
            docs = docs.select([n for n in docs.column_names if not is_transient(n)])
            if kind == "dropped" and not self.keep_text and "text" in docs.column_names:
                docs = docs.drop_columns(["text"])
            for name, column in (
                ("stage", pa.array([self.labels[step]] * len(rows), pa.string())),
                ("reason", why),
                ("detail", detail),
            ):
                docs = docs.append_column(pa.field(name, pa.string()), column)
            tables.append(conform(docs, self.dropped_schema))
            ordinals.append(rows)
        if not tables:
            return self.dropped_schema.empty_table()
        order = np.argsort(np.concatenate(ordinals), kind="stable")
        return pa.concat_tables(tables).take(pa.array(order))


@dataclass(frozen=True)
class _Call:
    """A stage as it is called in one step: with documents and their ordinals, adding and removing these columns."""

    stage: Stage
    function: Callable[[pa.Table, np.ndarray], Any]
    adds: dict[str, pa.DataType]
    removes: tuple[str, ...]


def _plain(stage: Stage) -> _Call:
    return _Call(stage, lambda docs, _: stage(docs), stage.adds(), stage.removes())


def _scatter(stage: Stage, place: tuple[int, int], parts: list[tuple[pa.Table, pa.Table | None]]) -> _Call:
    """Scatter the documents to `parts` and pass them on unchanged.

    Documents are numbered as they succeed, and parts of a batch come in order, so a document that fails leaves no
    hole: the numbers are those of the rows of the shard.
    """
    assert isinstance(stage, Barrier)
    shard, row = place
    done = 0

    def call(docs: pa.Table, _: np.ndarray) -> pa.Table:
        nonlocal done
        parts.append((stage.scatter(docs, shard, row + done), stage.sidecar(docs)))
        done += docs.num_rows
        return docs

    return _Call(stage, call, {}, ())


def _apply(stage: Barrier, verdicts: pa.Table | None, first: int) -> _Call:
    """Apply to the documents the verdicts that speak of them."""
    assert verdicts is not None
    about = verdicts["row"].to_numpy()
    of_shard = about == SHARD_ROW

    def call(docs: pa.Table, rows: np.ndarray) -> Outcome:
        place = np.searchsorted(rows, about + first)
        place[place == len(rows)] = 0
        mine = of_shard | (rows[place] == about + first)
        part = verdicts.filter(pa.array(mine))
        i = part.schema.get_field_index("row")
        places = np.where(of_shard, SHARD_ROW, place)[mine]
        return stage.apply(docs, part.set_column(i, "row", pa.array(places, pa.int64())))

    return _Call(stage, call, stage.adds(), stage.removes())


def _forget(stage: Stage) -> None:
    """Empty the stage's metrics: a call that fails must leave nothing behind."""
    stage.metrics.counters.clear()
    stage.metrics.histograms.clear()


def _payload(docs: pa.Table) -> int:
    """Bytes of text, page source and other content in a batch."""
    columns = [docs[name] for name in ("text", "html", "content") if name in docs.column_names]
    return sum(int(pc.sum(pc.binary_length(column)).as_py() or 0) for column in columns)


def _part(outcome: Outcome, rows: np.ndarray, recorded: Metrics) -> _Settled:
    """Part the kept from the dropped and the failed; a document that both failed and was dropped has failed."""
    table = outcome.docs
    keep = np.ones(table.num_rows, bool)
    out = []
    for kind, why in (("failed", outcome.failed), ("dropped", outcome.dropped)):
        if why is None or why.null_count == len(why):
            continue
        if len(why) != table.num_rows:
            raise ContractError(f"returned {len(why)} reasons for {table.num_rows} documents")
        gone = pc.is_valid(why).to_numpy(zero_copy_only=False) & keep
        if gone.any():
            keep &= ~gone
            mask = pa.array(gone)
            detail = outcome.detail if outcome.detail is not None else pa.nulls(len(why), pa.string())
            out.append((table.filter(mask), rows[gone], kind, _array(why).filter(mask), _array(detail).filter(mask)))
    metrics = Metrics()
    metrics.merge(recorded)
    kept = table if keep.all() else table.filter(pa.array(keep))
    numbers, added = rows[keep], 0
    if outcome.added is not None and outcome.added.num_rows:
        added = outcome.added.num_rows
        numbers = np.concatenate([numbers, rows[np.asarray(outcome.added_behind)]])
        order = np.argsort(numbers, kind="stable")
        kept = pa.concat_tables([kept, outcome.added.select(kept.column_names)]).take(pa.array(order))
        kept, numbers = kept.combine_chunks(), numbers[order]
    outputs = {f: [t] for f, t in outcome.outputs.items() if t.num_rows}
    return _Settled(kept, numbers, out, outputs, metrics, added)


def _nothing(call: _Call, docs: pa.Table, rows: np.ndarray) -> _Settled:
    """No documents, with the columns the stage would have given them."""
    table = docs.slice(0, 0).select([name for name in docs.column_names if name not in call.removes])
    for name, kind in call.adds.items():
        i = table.schema.get_field_index(name)
        column = pa.array([], kind)
        table = table.set_column(i, name, column) if i >= 0 else table.append_column(name, column)
    return _Settled(table, rows[:0], [])


def _array(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


def _concat(parts: list[_Settled]) -> _Settled:
    """Join what calls on parts of a batch settled."""
    order = parts[0].docs.column_names
    whole = _Settled(
        pa.concat_tables([p.docs.select(order) for p in parts]).combine_chunks(),
        np.concatenate([p.rows for p in parts]),
        [entry for p in parts for entry in p.out],
    )
    for part in parts:
        whole.metrics.merge(part.metrics)
        whole.added += part.added
        for folder, tables in part.outputs.items():
            whole.outputs.setdefault(folder, []).extend(tables)
    return whole

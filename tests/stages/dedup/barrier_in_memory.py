"""Runs a barrier over shards in memory, step by step as `curation.stage.Barrier` says, without files or processes."""

import numpy as np
import pyarrow as pa

from curation.stage import Outcome, Sidecars


class MemorySidecars(Sidecars):
    """Sidecar tables in a list; remembers which rows were asked for."""

    def __init__(self, tables):
        self.tables = tables
        self.asked = []

    def rows(self, shard, rows, columns):
        assert (np.diff(rows) > 0).all()
        self.asked.append((shard, len(rows)))
        return self.tables[shard].select(list(columns)).take(pa.array(rows))

    def table(self, shard):
        return self.tables[shard]

    def shards(self):
        return len(self.tables)


def run(barrier, shards, batch_rows=1000, shuffle=None):
    """Outcomes of a barrier, one per shard (batches put together), and its sidecars.

    shards: list of tables. shuffle: a random generator that scrambles the order of partitions and of the rows in
    them, which a barrier must not depend on.
    """
    barrier.setup()
    parts, beside = {}, []
    for number, shard in enumerate(shards):
        tables = []
        for batch, start in _batches(shard, batch_rows):
            _collect(parts, barrier.scatter(batch, number, start), barrier.partitions(0, len(shards)))
            tables.append(barrier.sidecar(batch))
        beside.append(pa.concat_tables(tables) if tables and tables[0] is not None else pa.table({}))
    sidecars = MemorySidecars(beside)
    for round in range(barrier.rounds()):
        last = round + 1 == barrier.rounds()
        limit = len(shards) if last else barrier.partitions(round + 1, len(shards))
        gathered = {}
        numbers = sorted(parts)
        if shuffle is not None:
            shuffle.shuffle(numbers)
        for number in numbers:
            rows = pa.concat_tables(parts[number])
            if shuffle is not None:
                rows = rows.take(pa.array(shuffle.permutation(rows.num_rows)))
            _collect(gathered, barrier.gather(round, number, rows.drop_columns("partition"), sidecars), limit)
        parts = gathered
    outcomes = []
    for number, shard in enumerate(shards):
        told = pa.concat_tables(parts[number]).sort_by("row") if number in parts else None
        outcomes.append(
            _together([barrier.apply(b, _within(told, s, b.num_rows)) for b, s in _batches(shard, batch_rows)])
        )
    return outcomes, sidecars


def _batches(shard, batch_rows):
    return [(shard.slice(i, batch_rows), i) for i in range(0, shard.num_rows, batch_rows)]


def _collect(parts, rows, limit):
    assert rows.schema.field("partition").type == pa.int32()
    numbers = rows["partition"].to_numpy()
    assert ((numbers >= 0) & (numbers < limit)).all()
    for number in np.unique(numbers).tolist():
        parts.setdefault(number, []).append(rows.filter(pa.array(numbers == number)))


def _within(told, start, count):
    if told is None:
        return pa.table({"row": pa.array([], pa.int64())})
    rows = told["row"].to_numpy()
    mine = told.filter(pa.array((rows >= start) & (rows < start + count)))
    return mine.set_column(mine.column_names.index("row"), "row", pa.array(mine["row"].to_numpy() - start))


def _together(outcomes):
    return Outcome(
        pa.concat_tables([o.docs for o in outcomes]),
        dropped=pa.concat_arrays([o.dropped for o in outcomes]),
        detail=pa.concat_arrays([o.detail for o in outcomes]),
        outputs={name: pa.concat_tables([o.outputs[name] for o in outcomes]) for name in outcomes[0].outputs},
    )

"""What the files of a whole run will weigh, from those of a pilot.

A file does not weigh in proportion to its rows. A parquet file of documents without any row takes 3 kB; dictionaries
and the window of the compression begin anew in each; an exchange file holds one message a partition, however few rows
are in it. The pilot's tasks read some hundred kilobytes, those of the run up to 64 MB, so the pilot's bytes by row
are too many, by a half where tasks are small. So the pilot's files are written once more by the run's own writers,
put together until each has as many rows as a file of the whole run will have, or until there are no more: what is
weighed are files as the run writes them, and the weight of a file without rows is told apart.

Trade-off: a copy of the pilot's files is written, of each kind at most `MOST_BYTES`: row groups end at 8 MiB of data,
and longer files pack no better.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq

from curation.copies import FOLDER as COPIES
from curation.corpus import Manifest, ShardWriter
from curation.exchange import write_exchange, write_sidecar
from curation.plan import Plan, Segment
from curation.stage import Output
from curation.storage import Storage

#: Bytes of the pilot's files of one kind that are written again, about.
MOST_BYTES = 32 << 20


@dataclass(frozen=True)
class Flow:
    """Documents of the whole run in one segment: in, out, and removed as copies; and its tasks."""

    entered: float
    left: float
    copies: float
    tasks: int


def shards_of(manifests: Sequence[Manifest], index: int) -> list[Manifest]:
    """The manifests of a segment's shards, without those of its gathers."""
    return [m for m in manifests if m.task.startswith(f"map{index}/")]


def _joined(manifests: Sequence[Manifest], kind: str, rows_each: float, storage: Storage, read: Callable) -> list:
    """The tables of one kind of file, put together until they have about as many rows; the last, smaller one is left
    out unless it is the only one."""
    groups: list[list[pa.Table]] = [[]]
    size = 0
    for manifest in manifests:
        if kind not in manifest.files or size > MOST_BYTES:
            continue
        if sum(table.num_rows for table in groups[-1]) >= rows_each:
            groups.append([])
        with storage.open(manifest.files[kind]["name"]) as file:
            groups[-1].append(read(file, manifest))
        size += manifest.files[kind]["bytes"]
    # A task that met no record wrote an exchange without columns.
    joined = [pa.concat_tables([t for t in group if t.num_rows] or group[:1]) for group in groups if group]
    return joined[:-1] if len(joined) > 1 and joined[-1].num_rows < rows_each else joined


def _stream(file: io.IOBase, manifest: Manifest) -> pa.Table:
    with pa.ipc.open_stream(file.read()) as reader:
        return reader.read_all()


def _exchange(file: io.IOBase, manifest: Manifest) -> pa.Table:
    """An exchange file with the partition of each row."""
    table = _stream(file, manifest)
    parts = [(part[0], part[1]) for part in manifest.partitions["exchange"] if part[0] >= 0]
    numbers = [number for number, count in parts for _ in range(count)]
    return table.append_column("partition", pa.array(numbers, pa.int32()))


def _parquet_bytes(table: pa.Table, storage: Storage, output: Output | None) -> int:
    writer = ShardWriter(storage, "weighed.parquet", table.schema, output)
    writer.write(table)
    return writer.finish()["bytes"]


def _exchange_bytes(table: pa.Table) -> int:
    file = io.BytesIO()
    write_exchange(file, table)
    return file.tell()


def _sidecar_bytes(table: pa.Table) -> int:
    file = io.BytesIO()
    write_sidecar(file, [table])
    return file.tell()


def _by_row(tables: list[pa.Table], size_of: Callable[[pa.Table], int]) -> tuple[float, float]:
    """(bytes of a file without rows, bytes a row)."""
    empty = size_of(tables[0].slice(0, 0))
    rows = sum(table.num_rows for table in tables)
    return empty, (sum(map(size_of, tables)) - empty * len(tables)) / rows if rows else 0.0


def _exchange_file(tables: list[pa.Table], rows_each: float, partitions: int) -> float:
    """Bytes of one exchange file: of its rows, and of the messages of the partitions that so many rows reach."""
    table = tables[0]
    one = table.set_column(
        table.schema.get_field_index("partition"), "partition", pa.repeat(pa.scalar(0, pa.int32()), len(table))
    )
    empty, each = _by_row([one], _exchange_bytes)
    met = len(table["partition"].unique())
    message = (_exchange_bytes(table) - _exchange_bytes(one)) / (met - 1) if met > 1 else 0.0
    reached = partitions * (1 - math.exp(-rows_each / partitions))
    return empty + each * rows_each + message * max(reached - 1, 0)


def _segment_bytes(
    plan: Plan, segment: Segment, manifests: Sequence[Manifest], flow: Flow, storage: Storage, scratch: Storage
) -> dict[str, float]:
    """folder -> bytes that the tasks of a segment will write."""
    found: dict[str, float] = {}
    entered = sum(m.accounts[0]["rows_in"] for m in manifests)
    left = sum(m.rows for m in manifests)
    for kind in dict.fromkeys(kind for m in manifests for kind in m.files):
        mine = [m for m in manifests if kind in m.files]
        folder = mine[0].files[kind]["name"].partition("/")[0]
        output = plan.outputs[kind][1] if kind in plan.outputs else None
        tasks = flow.tasks if kind != "failed" else flow.tasks * len(mine) / len(manifests)
        rows = sum(m.files[kind].get("rows", 0) for m in mine)
        if kind in ("exchange", "sidecar"):
            tables = _joined(mine, kind, math.inf, storage, _exchange if kind == "exchange" else _stream)
            each = sum(t.num_rows for t in tables) / max(left, 1) * flow.left / max(tasks, 1)
            if kind == "exchange" and segment.scatters and "partition" in tables[0].column_names:
                size = _exchange_file(tables, each, segment.scatters.partitions(0, flow.tasks))
            else:
                empty, by_row = _by_row(tables, _sidecar_bytes)
                size = empty + each * by_row
            found[folder] = found.get(folder, 0.0) + tasks * size
            continue
        if kind == "shard" or (output is not None and output.columns is not None):
            expected = rows * flow.left / max(left, 1)
        elif kind == "dropped":
            expected = max(flow.entered - flow.left, 0.0)
        elif kind == COPIES:
            expected = flow.copies
        else:
            expected = rows * flow.entered / max(entered, 1)
        tables = _joined(mine, kind, expected / max(tasks, 1), storage, lambda file, _: pq.read_table(file))
        empty, by_row = _by_row(tables, partial(_parquet_bytes, storage=scratch, output=output))
        found[folder] = found.get(folder, 0.0) + tasks * empty + expected * by_row
    return found


def disk(
    plan: Plan, manifests: Sequence[Manifest], flows: Sequence[Flow], storage: Storage, scratch: Storage
) -> dict[str, float]:
    """folder -> bytes of the whole run, from a pilot's manifests; `work` with the manifests themselves.

    The report, the card and run.json are left out: a megabyte or two, whatever the run.
    """
    found: dict[str, float] = {}
    for segment, flow in zip(plan.segments, flows, strict=True):
        mine = shards_of(manifests, segment.index)
        for folder, size in _segment_bytes(plan, segment, mine, flow, storage, scratch).items():
            found[folder] = found.get(folder, 0.0) + size
        each = sum(storage.size(f"work/manifests/{m.task}.json") or 0 for m in mine) / max(len(mine), 1)
        gathers = [m for m in manifests if m.task.startswith(f"gather{segment.index}.")]
        gathered = sum(f["bytes"] for m in gathers for f in m.files.values() if f["name"].startswith("work/"))
        shards = sum(m.rows for m in mine)
        found["work"] = found.get("work", 0.0) + each * flow.tasks + gathered * flow.left / max(shards, 1)
    return {name: found[name] for name in sorted(found)}

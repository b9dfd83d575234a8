"""What a run will give and cost, forecast from a run over a sample of its input.

The sample is a set of byte ranges spread evenly over the input, so it holds records of every part of it, and reading it
costs what it weighs. It goes through the whole pipeline, in child processes as in a real run, in a folder that is
removed; barriers do not hand anything on (no index is written). It is run twice, a quarter of it first: from the two,
what a step costs anyway and what it costs per document are told apart, for a shuffle of 100 documents is all start-up.

Everything grows with the number of documents but one thing: copies. Two copies that lie side by side, in one range, are
in a sample of share p with a chance of p, like any document; two that lie apart with a chance of p², so deduplication
drops a smaller part of a sample than of the whole. The sample says which are which. If copies that lie apart come in
pairs, a share d of them in the whole shows as p·d in the sample. That is what the forecast assumes, with the evidence
of one copy among 20 pairs that could have been seen added, so that a sample too small to show any gives 5 % for each
stage that removes copies. Where copies come in large clusters the truth is lower, and the range that is printed is
wide.
"""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow.parquet as pq

from curation.account import Account
from curation.copies import FOLDER as COPIES
from curation.corpus import Manifest
from curation.errors import ConfigError, CurationError
from curation.executor import Failure, Inline, attempt
from curation.plan import Plan, ShardTask, Task, digest
from curation.run import Run
from curation.stage import Split
from curation.stats import BETWEEN
from curation.storage import Storage

#: Least bytes of a sample, bytes of a range, and most ranges.
LEAST_BYTES = 3 << 20
RANGE_BYTES = 256 << 10
MOST_RANGES = 256
#: One copy among so many pairs is what is assumed before any is seen.
PRIOR_PAIRS = 20


class InChildren(Inline):
    """Runs tasks one after another, the stages in a child process as on Ray: a page that hangs costs itself alone."""

    def run(self, plan: Plan, tasks: Sequence[Task]) -> Generator[Manifest | Failure, None, None]:
        for task in tasks:
            yield attempt(plan, task, self.url)


class PilotRun(Run):
    """A run that hands nothing on to anything outside its folder."""

    def _complete(self) -> None:
        self.completed = []


@dataclass(frozen=True)
class Prices:
    """What an hour of a CPU and of a GPU costs, in any currency, and how many GPUs are behind the model's server."""

    cpu_hour: float = 0.04
    gpu_hour: float = 2.5
    gpus: int = 1


@dataclass
class StageForecast:
    """One stage in the whole run: documents in and kept, hours. `kept_range`: where copies decide, the likely range."""

    stage: str
    docs_in: float
    kept: float
    cpu_hours: float
    gpu_hours: float = 0.0
    kept_range: tuple[float, float] | None = None
    price: float = 0.0


@dataclass
class Forecast:
    """A whole run. `share`: of the input's bytes that the pilot read; `disk`: folder -> bytes."""

    share: float
    sampled_bytes: int
    input_bytes: int
    sampled_records: int
    stages: list[StageForecast] = field(default_factory=list)
    tokens: float = 0.0
    disk: dict[str, float] = field(default_factory=dict)
    cpu_hours: float = 0.0
    gpu_hours: float = 0.0
    price: float = 0.0
    tasks: int = 0

    def hours(self, nodes: int, cpus: int) -> float:
        """Hours on the clock on so many nodes: the CPUs' share of the work, or one task where there are fewer tasks."""
        lanes = min(nodes * cpus, max(self.tasks, 1))
        return self.cpu_hours / lanes

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**self.__dict__, "stages": [stage.__dict__ for stage in self.stages]}


def share_of(text: str) -> float:
    """'0.1%' or '0.001' -> 0.001. ConfigError if it is no share."""
    try:
        value = float(text.strip().removesuffix("%")) / (100 if text.strip().endswith("%") else 1)
    except ValueError:
        value = math.nan
    if not 0 < value <= 1:
        raise ConfigError(f"--pilot {text!r} is no share of the input: give one like 0.1% or 0.001")
    return value


def sample_tasks(plan: Plan, share: float) -> list[ShardTask]:
    """Tasks of the first segment that read ranges of about `share` of the input's bytes, spread evenly over it."""
    found = plan.input_files
    whole = sum(file.size for _, file in found)
    wanted = max(share * whole, LEAST_BYTES)
    if wanted >= whole / 2:
        return plan.first_tasks
    count = int(min(max(wanted // RANGE_BYTES, 4), MOST_RANGES))
    length = int(wanted / count)
    reader, key = plan.pipeline.reader, plan.segments[0].key
    tasks: dict[tuple[str, str, int], ShardTask] = {}
    before = 0
    starts = [int((i + 0.5) * whole / count - length / 2) for i in range(count)]
    for source, file in found:
        for i, start in enumerate(starts):
            middle = start + length // 2
            if not before <= middle < before + file.size:
                continue
            first, last = max(start - before, 0), min(start - before + length, file.size)
            if not reader.splittable(file):
                first, last = 0, file.size
            split = Split(file, source, i, first, last)
            identity = [source, file.name, first, last, file.size, file.version]
            tasks[source, file.name, first] = ShardTask(
                name=f"map0/pilot-{i:04d}",
                segment=0,
                index=len(tasks),
                fingerprint=digest(key, "pilot", identity),
                split=split,
                bytes_in=last - first,
            )
        before += file.size
    return [task for _, task in sorted(tasks.items(), key=lambda item: item[1].index)]


def _run(plan: Plan, tasks: list[ShardTask], folder: str) -> PilotRun:
    """Run the plan over these tasks alone."""
    copy = Plan(plan.pipeline, plan.segments, plan.dropped_schema, plan.outputs)
    copy.__dict__["first_tasks"] = tasks
    run = PilotRun(copy, InChildren(folder), Storage(folder))
    run.execute()
    return run


def _slope(small: tuple[float, float], large: tuple[float, float]) -> tuple[float, float]:
    """(cost anyway, cost per row) through two measurements (rows, cost); the ratio alone where they do not differ."""
    (n1, c1), (n2, c2) = small, large
    if n2 <= n1 or n1 == 0 or c2 <= c1:
        return 0.0, c2 / n2 if n2 else 0.0
    slope = (c2 - c1) / (n2 - n1)
    fixed = c1 - slope * n1
    return (fixed, slope) if fixed >= 0 else (0.0, c2 / n2)


def copies_share(near: int, apart: int, rows: int, share: float) -> tuple[float, float, float]:
    """(likely, least, most) share of copies in the whole, where of `rows` documents of a sample of `share` `near` were
    copies of a document of the same range, and `apart` of one of another range."""
    if share >= 1 or not rows:
        exact = (near + apart) / rows if rows else 0.0
        return exact, exact, exact
    beside, chances, spread = near / rows, rows * share + PRIOR_PAIRS, 2 * math.sqrt(apart + 1)
    likely = beside + (apart + 1) / chances
    least = max((near + apart) / rows, beside + (apart + 1 - spread) / chances)
    most = beside + 2 * math.sqrt(near) / rows + (apart + 2 + 2 * math.sqrt(apart + 2)) / chances
    return min(max(likely, least), 0.95), min(least, 0.95), min(most, 0.95)


def _copies(run: PilotRun) -> dict[str, list[int]]:
    """Stage -> [copies of a document of the same range, of one of another], by the run's files. What was removed for a
    document of an earlier run counts as the former: that document is there whatever the share of the sample."""
    place: dict[str, str] = {}
    for manifest in run.manifests:
        if manifest.task.startswith("map0/"):
            for file in manifest.files.values():
                if file["name"].endswith(".parquet"):
                    with run.storage.open(file["name"]) as handle:
                        ids = pq.read_table(handle, columns=["id"])["id"].to_pylist()
                    place |= dict.fromkeys(ids, manifest.task)
    kept_for: dict[str, str] = {}
    stopped: list[tuple[str, str]] = []
    for manifest in run.manifests:
        for file in manifest.files.values():
            folder = file["name"].rpartition("/")[0]
            if folder == COPIES:
                with run.storage.open(file["name"]) as handle:
                    table = pq.read_table(handle, columns=["id", "kept_id"])
                kept_for |= dict(zip(table["id"].to_pylist(), table["kept_id"].to_pylist(), strict=True))
            elif folder == "dropped":
                with run.storage.open(file["name"]) as handle:
                    table = pq.read_table(handle, columns=["id", "stage"])
                stopped += zip(table["stage"].to_pylist(), table["id"].to_pylist(), strict=True)
    found: dict[str, list[int]] = {}
    for stage, document in stopped:
        kept = kept_for.get(document)
        if kept is not None:
            apart = kept in place and place[kept] != place.get(document)
            found.setdefault(stage, [0, 0])[apart] += 1
    return found


def _overhead(manifests: list[Manifest], index: int) -> float:
    """CPU seconds of a segment's tasks that are no stage's: reading, writing, hashing."""
    mine = [m for m in manifests if m.task.startswith(f"map{index}/")]
    return sum(m.cpu_seconds - sum(a["cpu_s"] for a in m.accounts) for m in mine)


def _rows(accounts: dict[str, Account], label: str) -> int:
    return accounts[label].rows_in if label in accounts else 0


def _bytes(run: PilotRun) -> dict[str, tuple[int, int]]:
    """folder -> (rows, bytes); what lies between steps as `work`, by the documents that were written there."""
    found: dict[str, tuple[int, int]] = {}
    for manifest in run.manifests:
        for file in manifest.files.values():
            folder = file["name"].rpartition("/")[0]
            name = "work" if folder.startswith("work") else folder
            rows, size = found.get(name, (0, 0))
            found[name] = (rows + file.get("rows", 0), size + file["bytes"])
    return found


def forecast(plan: Plan, share: float, prices: Prices | None = None) -> Forecast:
    """Run a sample of about `share` of the plan's input, twice, and forecast the whole run.

    ConfigError or CurationError if the sample cannot be run; CurationError if it keeps no document.
    """
    prices = prices or Prices()
    whole = sum(file.size for _, file in plan.input_files)
    plan.pipeline.settings.max_failure_rate = 1.0
    tasks = sample_tasks(plan, share)
    if not tasks:
        raise ConfigError("the input holds no bytes")
    for segment in plan.segments:
        if segment.scatters:
            segment.scatters.setup()  # gathers work in this process: what they load is not to count as their work
    folder = tempfile.mkdtemp(prefix="curation-pilot-")
    try:
        quarter = tasks[1::4] or tasks[:1]
        runs: list[PilotRun | None] = []
        for name, some in (("quarter", quarter), ("all", tasks)):
            try:
                runs.append(_run(plan, some, f"{folder}/{name}"))
            except CurationError as error:
                if name == "all" or "kept no document" not in str(error):
                    raise CurationError(f"the pilot: {error}; a larger sample may do: --pilot 1%") from error
                runs.append(None)
        small, large = runs
        assert large is not None
        return _forecast(plan, small or large, large, sum(t.bytes_in for t in tasks), whole, prices)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _forecast(plan: Plan, small: PilotRun, large: PilotRun, sampled: int, whole: int, prices: Prices) -> Forecast:
    share = min(sampled / whole, 1.0)
    reader = plan.pipeline.stage_names[0]
    result = Forecast(share, sampled, whole, _rows(large.totals, reader))
    removes_copies = {
        label
        for label, stage in zip(plan.pipeline.stage_names, plan.pipeline.stages, strict=True)
        if any(output.folder == COPIES for output in stage.outputs())
    }
    copies = _copies(large)
    docs = result.sampled_records / share
    grown: dict[str, float] = {}  # label -> documents in, of the whole run
    cost: dict[str, float] = {}
    for label, account in large.totals.items():
        name = label.rpartition(":")[0] if label.endswith(BETWEEN) else label
        fits = (small.totals.get(label, Account(label)), account)
        if label.endswith(":gather"):  # takes what was scattered; it counts no rows of its own
            rows = [_rows(run.totals, f"{name}:scatter") for run in (small, large)]
            fixed, slope = _slope((rows[0], fits[0].cpu_s), (rows[1], fits[1].cpu_s))
        else:
            fixed, slope = _slope((fits[0].rows_in, fits[0].cpu_s), (fits[1].rows_in, fits[1].cpu_s))
        cost[name] = cost.get(name, 0.0) + fixed + slope * docs
        if label.endswith(BETWEEN):
            continue
        grown[label] = docs
        n, dropped = account.rows_in + account.added, sum(account.dropped.values())
        around = None
        if label in removes_copies and n:
            near, apart = copies.get(label, [dropped, 0])
            likely, least, most = copies_share(near, apart, n, share)
            others = 1 - sum(account.failed.values()) / n
            kept, around = docs * (others - likely), (docs * (others - most), docs * (others - least))
        else:
            kept = docs * account.kept / max(account.rows_in, 1)
        counters = account.metrics.counters
        waited = counters.get("milliseconds_waited", 0) / 3.6e6 * prices.gpus
        gpu_hours = waited * docs / max(account.rows_in, 1)
        tokens = counters.get("tokens", 0)
        if tokens:
            result.tokens += tokens * docs / max(account.rows_in, 1)
        result.stages.append(StageForecast(label, docs, kept, 0.0, gpu_hours, around))
        docs = kept
    final = docs
    for stage in result.stages:
        stage.cpu_hours = cost[stage.stage] / 3600
        stage.price = stage.cpu_hours * prices.cpu_hour + stage.gpu_hours * prices.gpu_hour
    overhead = 0.0
    for segment in plan.segments:
        label = segment.labels[0]
        rows = [_rows(run.totals, label) for run in (small, large)]
        before = [_overhead(run.manifests, segment.index) for run in (small, large)]
        fixed, slope = _slope((rows[0], before[0]), (rows[1], before[1]))
        overhead += fixed + slope * grown.get(label.removesuffix(":scatter"), 0.0)
    result.stages.append(
        StageForecast("reading and writing", 0, 0, overhead / 3600, price=overhead / 3600 * prices.cpu_hour)
    )
    result.cpu_hours = sum(stage.cpu_hours for stage in result.stages)
    result.gpu_hours = sum(stage.gpu_hours for stage in result.stages)
    result.price = sum(stage.price for stage in result.stages)
    result.tasks = len(plan.first_tasks)
    lost = result.stages[0].docs_in - final
    sizes = [_bytes(run) for run in (small, large)]
    for name, (rows_large, bytes_large) in sizes[1].items():
        rows_small, bytes_small = sizes[0].get(name, (0, 0))
        fixed, slope = _slope((rows_small, bytes_small), (rows_large, bytes_large))
        if name in ("documents", "tokens"):
            rows_whole = final
        elif name == COPIES:
            rows_whole = sum(s.docs_in - s.kept for s in result.stages if s.stage in removes_copies)
        elif name == "dropped":
            rows_whole = lost
        else:
            rows_whole = rows_large * result.stages[0].docs_in / max(result.sampled_records, 1)
        result.disk[name] = fixed + slope * rows_whole
    return result

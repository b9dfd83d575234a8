"""What a run will give and cost, forecast from a run over a sample of its input.

The sample is a set of byte ranges spread evenly over the input, so it holds records of every part of it, and reading it
costs what it weighs. It goes through the whole pipeline, in child processes as in a real run, in a folder that is
removed; barriers do not hand anything on (no index is written). It is run twice, first with a quarter of each range:
from the two, what a task costs anyway and what it costs per document are told apart, for a shuffle of 100 documents is
all start-up, and a batch of ten takes half the time of one of forty. Files are weighed as `pilot_disk.py` says.

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
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow.parquet as pq

from curation.account import Account
from curation.copies import FOLDER as COPIES
from curation.corpus import Manifest
from curation.errors import ConfigError, CurationError
from curation.executor import Failure, Inline, attempt
from curation.pilot_disk import Flow, disk, shards_of
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
    found = plan.inputs.files
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


def quarter(plan: Plan, tasks: list[ShardTask]) -> tuple[list[ShardTask], bool]:
    """The same tasks with the first quarter of each one's range; where a file cannot be split, every fourth task.
    And whether they are as many as before, so that what a task costs anyway is the same in both."""
    if not all(task.split and plan.pipeline.reader.splittable(task.split.file) for task in tasks):
        return tasks[1::4] or tasks[:1], False
    shorter = []
    for task in tasks:
        assert task.split is not None
        length = max((task.split.end - task.split.start) // 4, 1)
        split = replace(task.split, end=task.split.start + length)
        shorter.append(replace(task, split=split, fingerprint=digest(task.fingerprint, length), bytes_in=length))
    return shorter, True


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
    for manifest in shards_of(run.manifests, 0):
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
    return sum(m.cpu_seconds - sum(a["cpu_s"] for a in m.accounts) for m in shards_of(manifests, index))


def _rows(accounts: dict[str, Account], label: str) -> int:
    return accounts[label].rows_in if label in accounts else 0


def _flows(plan: Plan, run: PilotRun, stages: dict[str, StageForecast], removes_copies: set[str]) -> list[Flow]:
    """Documents and tasks of each segment in the whole run."""
    flows: list[Flow] = []
    for segment in plan.segments:
        mine = [stages[label] for label in segment.labels if label in stages]
        tasks = len(plan.first_tasks)
        if segment.last and flows:  # small shards are put together
            before = shards_of(run.manifests, segment.index - 1)
            each = sum(m.files["shard"]["bytes"] for m in before) / max(sum(m.rows for m in before), 1)
            most = plan.pipeline.settings.shard_mb << 20
            tasks = min(tasks, math.ceil(each * flows[-1].left / most) or 1)
        copies = sum(stage.docs_in - stage.kept for stage in mine if stage.stage in removes_copies)
        flows.append(Flow(mine[0].docs_in, mine[-1].kept, copies, tasks))
    return flows


def forecast(plan: Plan, share: float, prices: Prices | None = None) -> Forecast:
    """Run a sample of about `share` of the plan's input, twice, and forecast the whole run.

    ConfigError or CurationError if the sample cannot be run; CurationError if it keeps no document.
    """
    prices = prices or Prices()
    plan.pipeline.settings.max_failure_rate = 1.0
    tasks = sample_tasks(plan, share)
    if not tasks:
        raise ConfigError("the input holds no bytes")
    for segment in plan.segments:
        if segment.scatters:
            segment.scatters.setup()  # gathers work in this process: what they load is not to count as their work
    folder = tempfile.mkdtemp(prefix="curation-pilot-")
    try:
        some, alike = quarter(plan, tasks)
        runs: list[PilotRun | None] = []
        for name, part in (("quarter", some), ("all", tasks)):
            try:
                runs.append(_run(plan, part, f"{folder}/{name}"))
            except CurationError as error:
                if name == "all" or "kept no document" not in str(error):
                    raise CurationError(f"the pilot: {error}; a larger sample may do: --pilot 1%") from error
                runs.append(None)
        small, large = runs
        assert large is not None
        return _forecast(plan, small or large, large, tasks, prices, alike, Storage(f"{folder}/weighed"))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _documents(result: Forecast, run: PilotRun, removes_copies: set[str], prices: Prices) -> None:
    """Fill in each stage's documents, tokens and hours of GPUs."""
    copies = _copies(run)
    docs = result.sampled_records / result.share
    for label, account in run.totals.items():
        if label.endswith(BETWEEN):
            continue
        n, dropped = account.rows_in + account.added, sum(account.dropped.values())
        around = None
        if label in removes_copies and n:
            near, apart = copies.get(label, [dropped, 0])
            likely, least, most = copies_share(near, apart, n, result.share)
            others = 1 - sum(account.failed.values()) / n
            kept, around = docs * (others - likely), (docs * (others - most), docs * (others - least))
        else:
            kept = docs * account.kept / max(account.rows_in, 1)
        counters = account.metrics.counters
        waited = counters.get("milliseconds_waited", 0) / 3.6e6 * prices.gpus
        gpu_hours = waited * docs / max(account.rows_in, 1)
        result.tokens += counters.get("tokens", 0) * docs / max(account.rows_in, 1)
        result.stages.append(StageForecast(label, docs, kept, 0.0, gpu_hours, around))
        docs = kept


def _cpu_seconds(
    plan: Plan, small: PilotRun, large: PilotRun, flows: list[Flow], stages: dict[str, StageForecast], alike: bool
) -> tuple[dict[str, float], float]:
    """CPU seconds of the whole run by stage, and what no stage took: reading, writing, hashing.

    alike: both runs had as many tasks, so what does not grow with the documents grows with the tasks.
    """
    cost: dict[str, float] = {}
    overhead = 0.0
    for segment, flow in zip(plan.segments, flows, strict=True):
        times = flow.tasks / len(shards_of(large.manifests, segment.index)) if alike else 1.0
        entered = [_rows(run.totals, segment.labels[0]) for run in (small, large)]

        def whole(rows: list[int], seconds: list[float], docs: float, times: float) -> float:
            fixed, slope = _slope((rows[0], seconds[0]), (rows[1], seconds[1]))
            return fixed * times + slope * docs

        for label in segment.labels:
            name = label.removesuffix(":scatter")
            accounts = [run.totals.get(label, Account(label)) for run in (small, large)]
            rows = [account.rows_in for account in accounts]
            docs = stages[label].docs_in if label in stages else flow.left
            cost[name] = cost.get(name, 0.0) + whole(rows, [a.cpu_s for a in accounts], docs, times)
            if name != label:  # what is gathered is what was scattered; a gather counts no rows of its own
                gathers = [run.totals.get(f"{name}:gather", Account(name)) for run in (small, large)]
                cost[name] += whole(rows, [a.cpu_s for a in gathers], docs, 1.0)
        beside = [_overhead(run.manifests, segment.index) for run in (small, large)]
        overhead += whole(entered, beside, flow.entered, times)
    return cost, overhead


def _forecast(
    plan: Plan, small: PilotRun, large: PilotRun, tasks: list[ShardTask], prices: Prices, alike: bool, scratch: Storage
) -> Forecast:
    whole, sampled = sum(file.size for _, file in plan.inputs.files), sum(task.bytes_in for task in tasks)
    result = Forecast(min(sampled / whole, 1.0), sampled, whole, _rows(large.totals, plan.pipeline.stage_names[0]))
    result.tasks = len(plan.first_tasks)
    removes_copies = {
        label
        for label, stage in zip(plan.pipeline.stage_names, plan.pipeline.stages, strict=True)
        if any(output.folder == COPIES for output in stage.outputs())
    }
    _documents(result, large, removes_copies, prices)
    stages = {stage.stage: stage for stage in result.stages}
    flows = _flows(plan, large, stages, removes_copies)
    cost, overhead = _cpu_seconds(plan, small, large, flows, stages, alike)
    for stage in result.stages:
        stage.cpu_hours = cost[stage.stage] / 3600
        stage.price = stage.cpu_hours * prices.cpu_hour + stage.gpu_hours * prices.gpu_hour
    result.stages.append(
        StageForecast("reading and writing", 0, 0, overhead / 3600, price=overhead / 3600 * prices.cpu_hour)
    )
    result.cpu_hours = sum(stage.cpu_hours for stage in result.stages)
    result.gpu_hours = sum(stage.gpu_hours for stage in result.stages)
    result.price = sum(stage.price for stage in result.stages)
    result.disk = disk(plan, large.manifests, flows, large.storage, scratch)
    return result

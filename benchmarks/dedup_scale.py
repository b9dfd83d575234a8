"""What near-duplicate removal costs per document at 10^5, 10^6 and 10^7 documents, and what that means for more.

    python benchmarks/dedup_scale.py [--documents 100000 1000000 10000000] [--folder FOLDER]

Documents are synthetic: no text, but signatures and sketches as `minhash_dedup` makes them, drawn from a hash of the
document's number, so that 10^7 of them need no 40 GB of text. Three in ten belong to groups of 2.5 on average, of which
any two agree in a value of their signatures with probability 0.85. All that follows is the real thing: the engine
in one process, its shards, exchange files and commits, the four gathers, verdicts, the index that the crawl is added
to, and a second crawl, a tenth of the size, that is compared with it. At 10^7 documents pairs are verified and keepers
chosen in 3 of 12 partitions, and no index is made (`--sample-from`, `--index-up-to`). Each size runs in a process of
its own.

Last, the tasks that group band keys run on a local Ray of two workers, four times over: rows a second on the clock, in
the best of the last three, and per CPU second of the workers.

It prints CPU microseconds and bytes a document for each step, the largest memory, and what 10^9 and 10^11 documents
would take at the rates of the largest size. Drawing the signatures is not counted; making them from text is
`benchmarks/dedup.py`'s. Run it twice where kernels have not been compiled yet.
"""

from __future__ import annotations

import sys
from pathlib import Path

# Python puts this script's folder first on its path, where tokenize.py hides the library module of that name.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]

import argparse
import json
import os
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import yaml
from numba import njit

from curation.config import load_pipeline
from curation.corpus import Manifest
from curation.exchange import ExchangeFiles, SidecarFiles
from curation.executor import Failure, Inline, OnRay
from curation.plan import Plan, make_plan
from curation.run import Run
from curation.stage import InputFile, Outcome, Reader, Split
from curation.storage import Storage
from curation.task import run_task
from stages.dedup.minhash import MinhashDedup, Signed
from stages.dedup.signatures import SKETCH

SHARD = 100_000
GROUPED, GROUP_SIZE, AGREEMENT = 0.3, 2.5, 0.85

#: CPU seconds spent on drawing signatures, to be taken off.
drawn = 0.0


@njit(nogil=True, cache=True)
def _mixed(x):
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@njit(nogil=True, cache=True)
def draw(numbers, groups, grouped, own, signatures, sketches):
    """Signatures and sketches of documents: values of the document's group, or, with a chance, its own."""
    step = np.uint64(0x9E3779B97F4A7C15)
    for d in range(numbers.size):
        self = _mixed(numbers[d] * step)
        group = self
        if (self >> np.uint64(11)) * (1.0 / (1 << 53)) < grouped:
            group = _mixed((self % groups + np.uint64(1)) * np.uint64(0xD6E8FEB86659FD93))
        a, b = self, group
        for j in range(signatures.shape[1]):
            a += step
            b += step
            mine = _mixed(a)
            theirs = _mixed(b)
            signatures[d, j] = np.uint32(
                (mine if np.uint32(mine) * (1.0 / (1 << 32)) < own else theirs) >> np.uint64(32)
            )
        for j in range(sketches.shape[1]):
            a += step
            b += step
            mine = _mixed(a)
            theirs = _mixed(b)
            value = (mine if np.uint32(mine) * (1.0 / (1 << 32)) < own else theirs) >> np.uint64(40)
            sketches[d, j] = np.uint8(value % np.uint64(255) + np.uint64(1))


class Numbers(Reader, name="synthetic_numbers"):
    """Documents that are numbers: the input file holds the first and how many."""

    def splits(self, file: InputFile, source: str) -> list[Split]:
        first, count = json.loads(Path(file.path).read_text())
        return [
            Split(file, source, i, start, min(start + SHARD, first + count))
            for i, start in enumerate(range(first, first + count, SHARD))
        ]

    def read(self, split: Split, batch_rows: int, batch_bytes: int) -> Iterator[Outcome]:
        for start in range(split.start, split.end, batch_rows):
            numbers = range(start, min(start + batch_rows, split.end))
            text = pa.array([str(n) for n in numbers], pa.large_string())
            columns = {
                "id": pa.array([f"{n:032x}" for n in numbers]),
                "text": text,
                "url": pa.array([f"https://example.org/{n}" for n in numbers]),
                "source": pa.repeat("synthetic", len(text)),
                "file": pa.repeat(split.file.name, len(text)),
                "position": pa.array(numbers, pa.int64()),
            }
            yield Outcome(pa.table(columns))


class SyntheticMinhash(MinhashDedup, name="synthetic_minhash"):
    """`minhash_dedup` with signatures drawn from the number that is a document's text."""

    documents: int

    def signatures(self, text: pa.ChunkedArray | pa.Array) -> Signed:
        global drawn
        if not len(text) or not text[0].as_py().isdigit():  # the sample by which an index knows its kernels
            return super().signatures(text)
        began = time.process_time()
        numbers = text.cast(pa.uint64()).to_numpy()
        signatures = np.empty((len(numbers), self.bands * self.rows), np.uint32)
        sketches = np.empty((len(numbers), SKETCH), np.uint8)
        groups = np.uint64(max(1, int(self.documents * GROUPED / GROUP_SIZE)))
        draw(numbers, groups, GROUPED, 1 - AGREEMENT**0.5, signatures, sketches)
        drawn += time.process_time() - began
        return Signed(signatures, sketches, np.full(len(numbers), 1000, np.int32))


def crawl(folder: Path, name: str, first: int, count: int, documents: int, index: bool) -> dict:
    """Run a crawl of `count` documents; CPU seconds and bytes of its steps."""
    global drawn
    (folder / f"{name}.numbers").write_text(json.dumps([first, count]))
    keys = {"documents": documents, "shuffle_partitions": max(64, count // 100_000)}
    if index:
        keys |= {"index": str(folder / "index"), "crawl": name}
    plan = plan_of(folder, name, keys)
    url = plan.pipeline.settings.output
    run = Run(plan, Inline(url), Storage(url))
    drawn, began = 0.0, time.process_time()
    result = run.execute()
    total = time.process_time() - began
    cpu: dict[str, float] = {}
    for manifest in run.manifests:
        step = manifest.task.split("/")[0]
        cpu[step] = cpu.get(step, 0.0) + manifest.cpu_seconds
    cpu["map0"] -= drawn
    sizes = dict.fromkeys(("exchange", "sidecar", "pairs", "verdicts"), 0)
    for manifest in run.manifests:
        step = manifest.task.split("/")[0]
        for kind in ("exchange", "sidecar"):
            if kind in manifest.files:
                sizes[{"map0": kind, "gather0.3": "verdicts"}.get(step, "pairs")] += manifest.files[kind]["bytes"]
    rest = total - sum(cpu.values()) - drawn
    counters = {k: v for a in result.info["stages"] for k, v in a["metrics"].get("counters", {}).items()}
    removed = sum(file["rows"] for file in result.info["files"]["duplicates"])
    return {"cpu": cpu | {"rest": rest}, "bytes": sizes, "removed": removed, "counters": counters}


def plan_of(folder: Path, name: str, keys: dict) -> Plan:
    """The plan of a run over the numbers in `name`.numbers."""
    config = {"input": str(folder / f"{name}.numbers"), "output": str(folder / name), "batch_rows": 8192}
    config["stages"] = ["dedup_scale:Numbers", {"dedup_scale:SyntheticMinhash": keys}]
    (folder / "pipelines.yaml").write_text(yaml.safe_dump({"pipelines": {"scale": config}}))
    return make_plan(load_pipeline("scale", str(folder / "pipelines.yaml")))


def sampled(documents: int, folder: Path, sample: int) -> dict:
    """As `crawl`, in a part of the time: all shards, buckets and components, but pairs verified and keepers chosen in
    `sample` of the partitions only, whose CPU time is then taken for all; no verdict is applied."""
    (folder / "alone.numbers").write_text(json.dumps([0, documents]))
    partitions = max(64, documents // 100_000)
    plan = plan_of(folder, "alone", {"documents": documents, "shuffle_partitions": partitions})
    storage = Storage(plan.pipeline.settings.output)
    began = time.process_time()
    shards = [run_task(plan, task, storage.url, inline=True) for task in plan.first_tasks]
    return {"alone": gathered(plan, storage, shards, partitions, sample, time.process_time() - began - drawn)}


def gathered(plan: Plan, storage: Storage, shards: list[Manifest], partitions: int, sample: int, map0: float) -> dict:
    """The gather rounds over shards that are there."""
    barrier = plan.segments[0].scatters
    barrier.setup()
    files = ExchangeFiles(storage, [(m.files["exchange"]["name"], m.partitions["exchange"]) for m in shards])
    sidecars = SidecarFiles(storage, [m.files["sidecar"]["name"] for m in shards])
    barrier.gather(0, 0, files.partition(0), sidecars)  # compiles
    cpu = {"map0": map0}

    def timed(step: str, share: float, call: Callable[[], list[pa.Table]]) -> pa.Table:
        began = time.process_time()
        tables = call()
        cpu[step] = (time.process_time() - began) / share
        return pa.concat_tables(tables)

    def of(rows: pa.Table, partition: int) -> pa.Table:
        return rows.filter(pc.equal(rows["partition"], partition)).drop_columns(["partition"])

    verified, decided = (sample / barrier.partitions(round, len(shards)) for round in (1, 3))
    pairs = timed(
        "gather0.0", 1, lambda: [barrier.gather(0, p, files.partition(p), sidecars) for p in range(partitions)]
    )
    some = [of(pairs, p) for p in range(sample)]
    timed("gather0.1", verified, lambda: [barrier.gather(1, p, some[p], sidecars) for p in range(sample)])
    # In these data all pairs are alike, so the pairs hold together what their forests would.
    members = timed("gather0.2", 1, lambda: [barrier.gather(2, 0, pairs.drop_columns(["partition"]), sidecars)])
    some = [of(members, p) for p in range(sample)]
    verdicts = timed("gather0.3", decided, lambda: [barrier.gather(3, p, some[p], sidecars) for p in range(sample)])
    size = {kind: sum(m.files[kind]["bytes"] for m in shards) for kind in ("exchange", "sidecar")}
    removed = int(pc.sum(pc.is_valid(verdicts["kept_id"])).as_py() / decided)
    return {
        "cpu": cpu,
        "bytes": size,
        "removed": removed,
        "rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }


def on_ray(documents: int, folder: Path, workers: int) -> dict:
    """Seconds and CPU seconds of the tasks that make pairs of band keys, on Ray workers; how many keys there are."""
    (folder / "alone.numbers").write_text(json.dumps([0, documents]))
    plan = plan_of(folder, "alone", {"documents": documents, "shuffle_partitions": 64})
    storage = Storage(plan.pipeline.settings.output)
    shards = [run_task(plan, task, storage.url, inline=True) for task in plan.first_tasks]
    tasks = plan.gather_tasks(0, 0, shards, shards)
    executor = OnRay(storage.url, workers)
    times = []
    for _ in range(4):
        began = time.perf_counter()
        done = list(executor.run(plan, tasks))
        failed = [failure for failure in done if isinstance(failure, Failure)]
        if failed:
            raise SystemExit(f"{failed[0].task}: {failed[0].error}")
        times.append((time.perf_counter() - began, sum(m.cpu_seconds for m in done if isinstance(m, Manifest))))
    executor.close()
    best = min(times[1:])  # in the first, workers start and load kernels
    return {"rows": sum(t.rows for t in tasks), "tasks": len(tasks), "seconds": best[0], "cpu": best[1]}


def measure(documents: int, folder: Path, index: bool) -> dict:
    """A crawl of its own; with `index` the same added to an index, then one of a tenth compared with it."""
    crawl(folder, "warm", 0, 2000, 2000, index=True)
    shutil.rmtree(folder / "index")
    alone = crawl(folder, "alone", 0, documents, documents, index=False)
    alone["rss"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    shutil.rmtree(folder / "alone")
    if not index:
        return {"alone": alone}
    small = crawl(folder, "tenth", documents, documents // 10, documents, index=False)
    shutil.rmtree(folder / "tenth")
    added = crawl(folder, "first", 0, documents, documents, index=True)
    shutil.rmtree(folder / "first")
    size = {
        kind: sum(file.stat().st_size for file in (folder / "index").rglob(f"{kind}.arrow"))
        for kind in ("keys", "documents", "sketches", "members", "links")
    }
    against = crawl(folder, "second", documents, documents // 10, documents, index=True)
    return {"alone": alone, "small": small, "added": added, "index": size, "against": against}


STEPS = (
    ("map0", "band keys, sketches, their files"),
    ("gather0.0", "buckets: pairs from band keys"),
    ("gather0.1", "every pair verified by sketches"),
    ("gather0.2", "components (one task)"),
    ("gather0.3", "who stays"),
    ("map1", "verdicts applied, shards written"),
)


KINDS = {
    "exchange": "band keys, shuffled once",
    "sidecar": "sketch, id, url beside the shard",
    "pairs": "pairs, forests, components",
    "verdicts": "verdicts",
}


def alone(documents: int, options: argparse.Namespace, *more: str) -> dict:
    """What a process of its own measures. Its stages are importable as `dedup_scale`, by Ray's workers too."""
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        (Path(folder) / "dedup_scale.py").symlink_to(Path(__file__).resolve())
        command = [sys.executable, "-c", "import dedup_scale; dedup_scale.main()", "--one", str(documents)]
        command += ["--folder", folder, "--index-up-to", str(options.index_up_to)]
        command += ["--sample-from", str(options.sample_from), "--workers", str(options.workers), *more]
        path = os.pathsep.join(filter(None, [folder, os.environ.get("PYTHONPATH")]))
        done = subprocess.run(
            command, stdout=subprocess.PIPE, text=True, check=True, env=os.environ | {"PYTHONPATH": path}
        )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Measure each size in a process of its own and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--documents", type=int, nargs="+", default=[100_000, 1_000_000, 10_000_000])
    parser.add_argument("--folder", type=Path, default=None, help="for files, 2 kB a document; default: temporary")
    parser.add_argument("--index-up-to", type=int, default=1_000_000, help="largest size that an index is made of")
    parser.add_argument(
        "--sample-from", type=int, default=10_000_000, help="size from which pairs are verified in 3 partitions only"
    )
    parser.add_argument(
        "--ray", type=int, default=500_000, help="documents whose band keys are grouped on Ray; 0: none"
    )
    parser.add_argument("--workers", type=int, default=2, help="CPUs of that Ray")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        if options.ray:
            print(json.dumps(on_ray(options.one, options.folder, options.workers)))
        elif options.one >= options.sample_from:
            print(json.dumps(sampled(options.one, options.folder, 3)))
        else:
            print(json.dumps(measure(options.one, options.folder, options.one <= options.index_up_to)))
        return
    found = {}
    for n in options.documents:
        found[n] = alone(n, options, "--ray", "0")
        print(f"{n:,}: {json.dumps(found[n])}", file=sys.stderr, flush=True)
    print("CPU microseconds a document".ljust(44), *(f"{n:>12,}" for n in found))
    for step, label in STEPS:
        print(label.ljust(44), *(f"{found[n]['alone']['cpu'].get(step, np.nan) / n * 1e6:12.2f}" for n in found))
    total = {n: sum(found[n]["alone"]["cpu"].get(step, np.nan) for step, _ in STEPS) for n in found}
    print("all".ljust(44), *(f"{total[n] / n * 1e6:12.2f}" for n in found))
    indexed = {n: of for n, of in found.items() if "index" in of}
    rest = {n: of["added"]["cpu"]["rest"] - of["alone"]["cpu"]["rest"] for n, of in indexed.items()}
    print("adding it to an index".ljust(44), *(f"{rest[n] / n * 1e6:12.2f}" for n in indexed))
    gathers = [step for step, _ in STEPS if step.startswith("gather")]
    merge = {n: sum(of["against"]["cpu"][s] - of["small"]["cpu"][s] for s in gathers) for n, of in indexed.items()}
    label = "comparing a tenth more, per indexed document"
    print(label.ljust(44), *(f"{merge[n] / n * 1e6:12.2f}" for n in indexed))
    print("bytes a document".ljust(44))
    for kind, label in KINDS.items():
        print(f"  {label}".ljust(44), *(f"{found[n]['alone']['bytes'].get(kind, np.nan) / n:12.1f}" for n in found))
    for kind in ("keys", "sketches", "documents", "members", "links"):
        print(f"  index: {kind}".ljust(44), *(f"{found[n]['index'][kind] / n:12.1f}" for n in indexed))
    print("documents removed, %".ljust(44), *(f"{found[n]['alone']['removed'] / n * 100:12.2f}" for n in found))
    print("largest memory, GB".ljust(44), *(f"{found[n]['alone']['rss']:12.2f}" for n in found))
    per = {
        step: [of["alone"]["cpu"][step] / n for n, of in found.items() if step in of["alone"]["cpu"]]
        for step, _ in STEPS
    }
    print("\nat the rates of the largest size measured".ljust(45), "       10^9", "       10^11")
    for step, label in STEPS:
        print(f"{label}, core hours".ljust(44), *(f"{per[step][-1] * n / 3600:12.1f}" for n in (1e9, 1e11)))
    kinds = {k: [of["alone"]["bytes"][k] / n for n, of in found.items() if k in of["alone"]["bytes"]] for k in KINDS}
    for kind, label in KINDS.items():
        print(f"{label}, TB".ljust(44), *(f"{kinds[kind][-1] * n / 1e12:12.2f}" for n in (1e9, 1e11)))
    for size in list(indexed)[-1:]:
        index = sum(found[size]["index"].values()) / size
        print("index, TB".ljust(44), *(f"{index * n / 1e12:12.2f}" for n in (1e9, 1e11)))
    if options.ray:
        of = alone(options.ray, options, "--ray", str(options.ray))
        rows = of["rows"] / 1e6
        print(
            f"\n{rows:.1f} M band keys grouped in {of['tasks']} Ray tasks on {options.workers} workers: "
            f"{rows / of['seconds']:.2f} M a second, {rows / of['cpu']:.2f} M a CPU second"
        )


if __name__ == "__main__":
    main()

"""Speed of the loader beside other ways to read the same packed rows, on one core, as ratios of CPU seconds.

    python benchmarks/loader.py [--tokens 33554432] [--length 4096] [--batch 16] [--data FOLDER]

Needs `pip install torch datasets`. All give batches of int64 tensors in a random order, one process, no workers, files
in the page cache:

    ours                `Plan.batch` as tensors: ids, positions, labels and cu_seqlens
    datasets            `load_dataset("parquet")` shuffled, with format torch, in a torch `DataLoader`; ids alone
    datasets_streaming  the same with `streaming=True` and a shuffle buffer of 1,000 rows
    datatrove           `DatatroveFolderDataset` (nanotron's reader) on our export, in a `DataLoader` that shuffles; ids
    datatrove_positions the same with positions from its index, which reads in order only: not shuffled

`ours_ids` is our reading without positions and labels, for what these cost. Their preparation is not counted (the Arrow
cache of `datasets`, the export), nor is the first batch of any. The ids are drawn from a Zipf distribution over the
vocabulary unless `--data` names a folder of packed rows; each must give every row once. The last lines are
`ratio loader_vs_... N`: their CPU seconds by ours.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path = [str(ROOT), *(p for p in sys.path if Path(p or ".").resolve() != Path(__file__).resolve().parent)]

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_DATASETS_OFFLINE"] = "1"

import datasets
import numpy as np
import pyarrow as pa
import torch
from datatrove.utils.dataset import DatatroveFolderDataset
from torch.utils.data import DataLoader

from stages.pack.export import export
from stages.pack.shards import TokenizerIdentity, packed_table, write_folder
from training.data import Plan
from training.pack_folder import PackFolder
from training.torch_dataset import PackedLoader

torch.set_num_threads(1)
pa.set_cpu_count(1)
datasets.disable_progress_bars()
VOCABULARY = 151_643


def make_rows(folder: str, tokens: int, length: int) -> None:
    """A folder of four parts: ids as skewed as those of text, about six pieces a row, no padding."""
    random = np.random.default_rng(0)
    pool = random.zipf(1.2, 4_000_000)
    pool = (pool[pool <= VOCABULARY] - 1).astype(np.int32)
    rows = max(4, tokens // length // 4)
    tables = []
    for _ in range(4):
        inner = np.arange(1, 6) * length // 6 + random.integers(-length // 13, length // 13 + 1, (rows, 5))
        lens = np.diff(inner, axis=1, prepend=0, append=length)
        ids = random.choice(pool, rows * length)
        names = pa.array([f"{i:032x}" for i in range(rows * 6)])
        tables.append(packed_table(ids, length, np.full(rows, 6), lens.reshape(-1), names, np.zeros(rows * 6, int)))
    write_folder(folder, "benchmark", TokenizerIdentity("zipf", "0" * 64, VOCABULARY + 26, VOCABULARY), length, tables)


def ids_of(batches: Iterator) -> Iterator[torch.Tensor]:
    for batch in batches:
        yield batch["input_ids"]


def contestants(folder: str, exported: str, cache: str, batch: int, length: int) -> dict[str, Callable]:
    """Name -> function of the round that starts to give batches of ids."""
    pattern = f"{folder}/*.parquet"
    table = datasets.load_dataset("parquet", data_files=pattern, split="train", cache_dir=cache)
    table = table.select_columns(["input_ids"])
    stream = datasets.load_dataset("parquet", data_files=pattern, split="train", streaming=True)
    stream = stream.select_columns(["input_ids"])
    options = {"seq_len": length - 1, "filename_pattern": "*.ds", "token_size": 4}

    def ours_ids(seed: int) -> Iterator[torch.Tensor]:
        plan = Plan.of(folder, global_batch=batch, seed=seed)
        stage = plan._stages[0]
        for step in range(plan.steps):
            sources, groups, rows, keep = stage.locate(step, 0, batch)
            ids = np.empty((batch, length), np.int64)
            for group in np.unique(groups).tolist():
                mine = groups == group
                ids[mine] = stage._row_group(0, group, keep, groups).ids[rows[mine]]
            assert (sources == 0).all()
            yield torch.from_numpy(ids)

    return {
        "ours": lambda seed: ids_of(PackedLoader(Plan.of(folder, global_batch=batch, seed=seed))),
        "ours_ids": ours_ids,
        "datasets": lambda seed: ids_of(DataLoader(table.shuffle(seed).with_format("torch"), batch_size=batch)),
        "datasets_streaming": lambda seed: ids_of(
            DataLoader(stream.shuffle(seed, buffer_size=1000).with_format("torch"), batch_size=batch)
        ),
        "datatrove": lambda seed: ids_of(
            DataLoader(DatatroveFolderDataset(exported, **options), batch_size=batch, shuffle=True)
        ),
        "datatrove_positions": lambda seed: ids_of(
            DataLoader(DatatroveFolderDataset(exported, return_positions=True, **options), batch_size=batch)
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=1 << 25)
    parser.add_argument("--length", type=int, default=4096)
    parser.add_argument("--batch", type=int, default=16, help="rows of a batch")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data", metavar="FOLDER", help="packed rows to read instead of made-up ones")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        folder = options.data or f"{work}/packed"
        if not options.data:
            make_rows(folder, options.tokens, options.length)
        opened = PackFolder(folder)
        export(folder, "nanotron", f"{work}/nanotron")
        all_of = contestants(folder, f"{work}/nanotron", f"{work}/cache", options.batch, opened.sequence_length)
        rows = opened.rows // options.batch * options.batch
        print(f"{rows:,} rows of {opened.sequence_length:,} tokens, batches of {options.batch}")
        spent: dict[str, list[float]] = {name: [] for name in all_of}
        sums: dict[str, int] = {}
        for number in range(options.rounds + 1):
            names = list(all_of)[:: 1 if number % 2 else -1]
            for name in names:
                batches = all_of[name](number)
                first = next(batches)  # what is loaded or planned once
                count, total = len(first), int(first.sum())
                began = time.process_time()
                for ids in batches:
                    count += len(ids)
                    total += int(ids[:, 0].sum())
                used = time.process_time() - began
                assert first.dtype == torch.int64 and first.shape[1] == opened.sequence_length
                if count < rows:
                    raise SystemExit(f"{name} gave {count} rows of {rows}")
                sums[name] = total
                if number:
                    spent[name].append(used / (count - len(first)))
        ours = statistics.median(spent["ours"])
        for name, seconds in spent.items():
            speed = opened.sequence_length / statistics.median(seconds) / 1e6
            spread = " ".join(f"{opened.sequence_length / s / 1e6:.0f}" for s in seconds)
            print(f"{name:20} {speed:8.1f} million tokens per CPU second ({spread})")
        for name, seconds in spent.items():
            if not name.startswith("ours"):
                print(f"ratio loader_vs_{name} {statistics.median(seconds) / ours:.2f}")


if __name__ == "__main__":
    main()

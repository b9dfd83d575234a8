"""Exports as the trainers' own code reads them, wherever it is installed: datatrove and datasets, OLMo-core, Megatron.

They are no dependencies of the project (`pip install torch datasets`, `ai2-olmo-core`, `megatron-core`); the formats
are held to their descriptions in `test_export.py` everywhere.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from stages.pack.export import export
from training.data import Plan

torch = pytest.importorskip("torch")

LENGTH = 64


@pytest.fixture
def exported(make_folder, tmp_path):
    """`exported("olmo")`: folder written, the source's rows as a table, and the loader's batch of all rows."""

    def build(to):
        folder, table = make_folder("packed", length=LENGTH)
        export(folder, to, str(tmp_path / to))
        whole = Plan.of(folder, global_batch=table.num_rows).batch(0)
        assert whole.rows.tolist() == list(range(table.num_rows))
        return tmp_path / to, table, whole

    return build


def test_nanotron_by_datatrove(exported):
    from datatrove.utils.dataset import DatatroveFolderDataset

    out, table, whole = exported("nanotron")
    dataset = DatatroveFolderDataset(str(out), LENGTH - 1, filename_pattern="*.ds", token_size=4, return_positions=True)
    items = [dataset[i] for i in range(len(dataset))]
    assert torch.stack([item["input_ids"] for item in items]).tolist() == table["input_ids"].to_pylist()
    assert torch.stack([item["positions"] for item in items]).tolist() == whole.position_ids.tolist()


def test_olmo_core(exported, tmp_path):
    numpy_dataset = pytest.importorskip("olmo_core.data.numpy_dataset")
    from olmo_core.data.utils import get_labels, iter_document_indices

    out, table, whole = exported("olmo")
    paths = sorted(str(path) for path in out.glob("*.npy"))
    masks = [str(out / "label_mask" / Path(path).name) for path in paths]
    dataset = numpy_dataset.NumpyFSLDataset(
        *paths, sequence_length=LENGTH, pad_token_id=151_643, eos_token_id=151_643, vocab_size=151_669,
        dtype=np.uint32, label_mask_paths=masks,
    )  # fmt: skip
    dataset.work_dir = tmp_path / "work"
    dataset.prepare()
    items = [dataset[i] for i in range(len(dataset))]
    ids = torch.stack([item["input_ids"] for item in items])
    assert ids.tolist() == table["input_ids"].to_pylist()
    labels = get_labels({"input_ids": ids, "label_mask": torch.stack([item["label_mask"] for item in items])})
    assert labels.tolist() == whole.shifted_labels().tolist()
    ends = [end for path in paths for _, end in iter_document_indices(path, use_array_if_local=False)]
    bounds = []
    for file, first in zip(paths, np.cumsum([0] + [Path(p).stat().st_size // 4 for p in paths[:-1]]), strict=True):
        last = first + Path(file).stat().st_size // 4
        bounds += [b - first for b in whole.cu_seqlens if first < b <= last]
    assert ends == bounds


def test_megatron_core(exported):
    indexed_dataset = pytest.importorskip("megatron.core.datasets.indexed_dataset")
    out, table, _ = exported("megatron")
    rows = []
    for prefix in sorted(out.glob("*.idx")):
        dataset = indexed_dataset.IndexedDataset(str(prefix.with_suffix("")))
        assert dataset.document_indices.tolist() == list(range(len(dataset) + 1))
        rows += [dataset[i].tolist() for i in range(len(dataset))]
    assert rows == table["input_ids"].to_pylist()


def test_hugging_face_datasets(exported, make_folder, tmp_path):
    datasets = pytest.importorskip("datasets")
    out, table, whole = exported("hf")
    rows = datasets.load_dataset("parquet", data_files=f"{out}/*.parquet", split="train", cache_dir=str(tmp_path / "c"))
    rows = rows.with_format("torch")[:]
    for name in ("input_ids", "position_ids", "labels"):
        assert torch.stack(list(rows[name])).tolist() == getattr(whole, name).tolist()
    assert torch.cat(list(rows["seq_lengths"])).tolist() == np.diff(whole.cu_seqlens).tolist()
    # The shards themselves are parquet, too.
    folder = Path(make_folder("direct")[0])
    direct = datasets.load_dataset(
        "parquet", data_files=f"{folder}/*.parquet", split="train", cache_dir=str(tmp_path / "d")
    )
    assert direct.num_rows == json.loads((folder / "_manifest.json").read_text())["rows"]
    assert direct[:]["input_ids"] == table["input_ids"].to_pylist()

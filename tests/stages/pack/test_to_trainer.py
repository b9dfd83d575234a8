"""The whole way: token shards, `mix` and `pack`, then what a trainer gets, by the loader and by an export."""

from collections import Counter

import numpy as np
import pyarrow.parquet as pq
import pytest
from made_up_shards import EOD, METADATA, made_up

from curation.errors import CurationError
from stages.pack.export import export
from training.data import Plan

RECIPES = [
    {"name": "stage1", "sequence_length": 256, "budget": 100_000, "shares": [{"column": "language"}]},
    {
        "name": "long-context",
        "sequence_length": 1024,
        "budget": 60_000,
        "shares": [{"lengths": [{"from": 64, "share": 100}]}],
    },
]


@pytest.fixture(scope="module")
def packed(tmp_path_factory, token_shards, mixed):
    """Folder of the packed stages, and the ids of each document."""
    folder = tmp_path_factory.mktemp("to_trainer")
    table = made_up(1500, 1)
    mixed(folder / "out", {"web": [token_shards(folder / "tokens" / "0.parquet", table)]}, RECIPES)
    return folder / "out" / "packed", dict(
        zip(table["doc_id"].to_pylist(), table["input_ids"].to_pylist(), strict=True)
    )


def plan_of(packed, global_batch):
    stages = [
        {"name": name, "sources": [{"folder": str(packed / name)}], "global_batch": global_batch}
        for name in ("stage1", "long-context")
    ]
    return Plan(stages, tokenizer=METADATA["tokenizer_sha256"])


def test_every_token_of_a_document_arrives_and_is_predicted_from_its_own_document(packed):
    folder, documents = packed
    plan, pieces = plan_of(folder, 1), Counter()
    for step in range(plan.steps):
        batch = plan.batch(step)
        bounds, made_of = batch.cu_seqlens.tolist(), plan.documents(step)[0]
        ids, labels = batch.input_ids[0].tolist(), batch.labels[0].tolist()
        for (name, start, size), low, high in zip(made_of, bounds, bounds[1:], strict=False):
            assert high - low == size
            assert ids[low:high] == [*documents[name], EOD][start : start + size]
            assert labels[low:high] == [-100, *ids[low + 1 : high]]
            pieces[batch.stage, name, start] += 1
        assert set(labels[bounds[len(made_of)] :]) <= {-100}  # padding
    for stage in ("stage1", "long-context"):
        rows = pq.read_table(folder / stage)
        found = Counter()
        for names, starts in zip(rows["doc_ids"].to_pylist(), rows["doc_starts"].to_pylist(), strict=True):
            found.update((stage, *piece) for piece in zip(names, starts, strict=True))
        assert {key: n for key, n in pieces.items() if key[0] == stage} == found


def test_an_export_and_the_loader_hold_the_same_rows(packed, tmp_path):
    folder, _ = packed
    for stage, length in (("stage1", 256), ("long-context", 1024)):
        export(str(folder / stage), "olmo", str(tmp_path / stage))
        exported = np.concatenate([np.fromfile(f, "<u4") for f in sorted((tmp_path / stage).glob("*.npy"))])
        plan = Plan.of(str(folder / stage), global_batch=4, epochs=2)
        rows = exported.reshape(-1, length)
        for step in range(plan.steps):
            batch = plan.batch(step)
            assert np.array_equal(batch.input_ids, rows[batch.rows])


def test_a_flipped_bit_is_not_trained_on(packed, tmp_path):
    import shutil

    shutil.copytree(packed[0] / "stage1", tmp_path / "rows")
    part = min((tmp_path / "rows").glob("part-*.parquet"))
    column = pq.read_metadata(part).row_group(0).column(0)
    data = bytearray(part.read_bytes())
    data[column.data_page_offset + column.total_compressed_size // 2] ^= 1
    part.write_bytes(data)
    plan = Plan.of(str(tmp_path / "rows"), global_batch=4)
    with pytest.raises(CurationError, match="a row group cannot be read"):
        for step in range(plan.steps):
            plan.batch(step)

"""The loader: the same batches for any number of ranks, every row once an epoch, nothing predicted across documents."""

import json
import pickle
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.errors import ConfigError, CurationError
from training.data import Plan
from training.order import Interleave, Order, permutation
from training.pack_folder import PackFolder

WORLDS = (1, 2, 3, 8)


def plan_of(*folders, global_batch=24, epochs=1, seed=0, window=2, weights=None, **stage):
    weights = weights or [None] * len(folders)
    sources = [{"folder": folder, "weight": weight} for folder, weight in zip(folders, weights, strict=True)]
    stage = {"name": "s1", "sources": sources, "global_batch": global_batch} | (stage or {"epochs": epochs})
    return Plan([stage], seed=seed, window=window)


def rows_of(plan, steps):
    return [row for step in range(steps) for row in plan.rows(step)]


def same(a, b):
    fields = ("input_ids", "position_ids", "labels", "sources", "rows")
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in fields)


def expected(table, number):
    """Ids, positions, labels and pieces of a row of a table, by hand."""
    row = table.slice(number, 1).to_pylist()[0]
    ids, positions, labels = row["input_ids"], [], []
    padding = len(ids) - sum(row["doc_lens"])
    for size in row["doc_lens"]:
        labels += [-100, *ids[len(positions) + 1 : len(positions) + size]]
        positions += range(size)
    return ids, positions + list(range(padding)), labels + [-100] * padding, row["doc_lens"] + [padding] * (padding > 0)


def test_a_batch_holds_its_rows_with_positions_and_labels_per_document(make_folder):
    folder, table = make_folder("a")
    plan = plan_of(folder)
    padded = 0
    for step in range(plan.steps):
        batch = plan.batch(step)
        assert [(folder, row) for row in batch.rows.tolist()] == plan.rows(step)
        pieces = []
        for i, row in enumerate(batch.rows.tolist()):
            ids, positions, labels, lens = expected(table, row)
            assert batch.input_ids[i].tolist() == ids
            assert batch.position_ids[i].tolist() == positions
            assert batch.labels[i].tolist() == labels
            padded += sum(lens) - sum(table["doc_lens"][row].as_py())
            pieces += lens
        assert np.diff(batch.cu_seqlens).tolist() == pieces
        assert batch.cu_seqlens.dtype == np.int32
        assert batch.max_seqlen == max(pieces)
        assert batch.shifted_labels()[:, :-1].tolist() == batch.labels[:, 1:].tolist()
    assert padded


@pytest.mark.parametrize("weights", [None, (3, 1)])
def test_the_global_batch_is_the_same_for_any_number_of_ranks(make_folder, weights):
    folders = [make_folder("a")[0], make_folder("b", seed=9, parts=1)[0]]
    plan = plan_of(*folders, weights=weights, epochs=2.5)
    for step in range(plan.steps):
        whole = plan.batch(step)
        for world in WORLDS:
            parts = [plan.batch(step, rank, world) for rank in range(world)]
            for name in ("input_ids", "position_ids", "labels", "rows", "sources"):
                assert np.array_equal(np.concatenate([getattr(p, name) for p in parts]), getattr(whole, name))
            assert np.concatenate([np.diff(p.cu_seqlens) for p in parts]).tolist() == np.diff(whole.cu_seqlens).tolist()


@pytest.mark.parametrize("global_batch", [24, 25])
def test_a_run_that_resumes_on_another_number_of_ranks_has_the_batches_it_would_have_had(make_folder, global_batch):
    folder, _ = make_folder("a")
    undisturbed = plan_of(folder, epochs=3, global_batch=global_batch)
    expected_batches = [undisturbed.batch(step) for step in range(undisturbed.steps)]
    step, state = 0, undisturbed.state(0)
    for world in (*WORLDS, 1):
        plan = plan_of(folder, epochs=3, global_batch=global_batch)  # a new process
        step = plan.resume(json.loads(json.dumps(state)))
        for _ in range(3):
            if step < plan.steps:
                got = [plan.batch(step, rank, world) for rank in reversed(range(world))][::-1]
                rows = np.concatenate([batch.input_ids for batch in got])
                assert np.array_equal(rows, expected_batches[step].input_ids)
                step += 1
        state = plan.state(step)
    assert step > 8


def test_every_row_comes_once_an_epoch_and_every_epoch_has_its_own_order(make_folder):
    folder, table = make_folder("a")
    n = table.num_rows
    plan = plan_of(folder, global_batch=7, epochs=4)
    rows = [row for _, row in rows_of(plan, plan.steps)]
    # The rows of a batch are sorted by where they lie: compare epochs as sets, orders as lists of batches.
    exact = plan_of(folder, global_batch=n, epochs=3)
    assert all(sorted(row for _, row in exact.rows(epoch)) == list(range(n)) for epoch in range(3))
    counts = np.bincount(rows, minlength=n)
    assert counts.min() >= 3 and counts.max() <= 4 and counts.sum() == 7 * plan.steps
    first, second = rows[: n // 7 * 7], rows[n : n + n // 7 * 7]
    assert first != second
    other = plan_of(folder, global_batch=7, epochs=4, seed=1)
    assert rows != [row for _, row in rows_of(other, other.steps)]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=30), st.integers(0, 2**63), st.integers(1, 7))
def test_order_is_a_permutation_of_each_epoch(sizes, seed, window):
    order = Order(sizes, seed, window)
    epochs = 3
    groups, rows = order.locate(np.arange(epochs * order.rows))
    everything = sorted((g, r) for g, size in enumerate(sizes) for r in range(size))
    for epoch in range(epochs):
        part = slice(epoch * order.rows, (epoch + 1) * order.rows)
        assert sorted(zip(groups[part].tolist(), rows[part].tolist(), strict=True)) == everything
    # A place has its row whatever else is asked for, and whatever was asked before.
    some = np.arange(order.rows // 2, order.rows // 2 + min(5, order.rows))
    again = Order(sizes, seed, window).locate(some)
    assert np.array_equal(again[0], groups[some]) and np.array_equal(again[1], rows[some])
    assert set(groups[some].tolist()) <= order.touched(some)
    assert len(order.touched(some[:1])) <= window


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0.001, 1000), min_size=1, max_size=6), st.integers(0, 10**9))
def test_sources_are_mixed_by_their_shares(shares, start):
    mix = Interleave(shares)
    places = np.arange(start, start + 500)
    sources, own = mix.at(places)
    given_ = mix.given(places)
    for i, share in enumerate(shares):
        mine = own[sources == i]
        assert mine.tolist() == list(range(given_[i, 0], given_[i, 0] + len(mine)))  # none left out, none twice
        # Rounding, and shares kept to 2**-28.
        assert np.abs(given_[i] - places * (share / sum(shares))).max() <= len(shares) + start * 2**-26


def test_permutations_do_not_depend_on_the_version_of_numpy():
    # Pinned: a checkpoint of today must find the same rows tomorrow.
    assert permutation(10, 42, 0).tolist() == PINNED
    assert sorted(permutation(1000, 7).tolist()) == list(range(1000))


PINNED = [7, 3, 6, 8, 1, 5, 4, 0, 9, 2]


def test_rows_are_spread_over_the_files():
    order = Order([8] * 64, 3, 16)
    groups, _ = order.locate(np.arange(8 * 64))
    first_half = np.bincount(groups[:256], minlength=64)
    # The first half comes from half of the row groups, chosen at random over all files, each read whole.
    assert (first_half > 0).sum() == 32 and 8 <= (first_half[:32] > 0).sum() <= 24
    assert len(np.unique(groups[:32])) > 8  # and within a window rows are mixed


def test_ranks_share_the_reading(make_folder):
    folder, _ = make_folder("a", count=400)
    plan, read = plan_of(folder, global_batch=64, window=16), []
    opened = plan._stages[0].folders[0]
    decode = opened.decode
    opened.decode = lambda groups: read.extend(groups) or decode(groups)
    for step in range(plan.steps):
        plan.batch(step, 0, 4)
    assert len(read) < len(opened.group_rows) / 2  # four ranks that each read everything would be 1.0


def test_stages_follow_each_other_with_their_own_lengths(make_folder):
    short, _ = make_folder("stage1")
    long, table = make_folder("long", length=256, seed=5)
    plan = Plan(
        [
            {"name": "stage1", "sources": [{"folder": short}], "global_batch": 16, "steps": 3},
            {"name": "stage2", "sources": [{"folder": short}], "global_batch": 8, "tokens": 64 * 8 * 2 + 5},
            {"name": "long-context", "sources": [{"folder": long}], "global_batch": 4},
        ]
    )
    assert plan.steps == 3 + 2 + table.num_rows // 4
    shapes = [plan.batch(step).input_ids.shape for step in range(plan.steps)]
    assert shapes == [(16, 64)] * 3 + [(8, 64)] * 2 + [(4, 256)] * (plan.steps - 5)
    assert [plan.stage(step) for step in (0, 2, 3, 5)] == ["stage1", "stage1", "stage2", "long-context"]
    assert plan.batch(5).step == 5 and plan.sequence_length(5) == 256
    assert plan.rows(0) != plan.rows(3)  # the same folder in two stages is not read in the same order
    with pytest.raises(IndexError, match="the plan has steps 0 to"):
        plan.batch(plan.steps)


def test_micro_batches_and_rows_are_parts_of_the_batch(make_folder):
    folder, _ = make_folder("a")
    plan = plan_of(folder)
    whole = plan.batch(1, 1, 2)
    for size in (1, 5, 12, 100):
        parts = list(whole.micro_batches(size))
        for i, part in enumerate(parts):
            alone = plan.batch(1, 1, 2, rows=slice(i * size, (i + 1) * size))
            assert same(part, alone) and part.cu_seqlens.tolist() == alone.cu_seqlens.tolist()
            assert part.max_seqlen == alone.max_seqlen
        assert sum(len(part.rows) for part in parts) == 12


def test_documents_of_a_step(make_folder):
    folder, table = make_folder("a")
    plan = plan_of(folder)
    found = plan.documents(2)
    rows = [table.slice(number, 1).to_pylist()[0] for _, number in plan.rows(2)]
    assert found == [list(zip(r["doc_ids"], r["doc_starts"], r["doc_lens"], strict=True)) for r in rows]


def test_a_plan_can_be_sent_to_another_process(make_folder):
    folder, _ = make_folder("a")
    plan = plan_of(folder)
    before = plan.batch(1)
    assert same(pickle.loads(pickle.dumps(plan)).batch(1), before)


def test_a_url_is_read_like_a_local_folder(make_folder):
    local, remote = make_folder("a")[0], make_folder("a", folder="memory://packs/a")[0]
    here, there = plan_of(local), plan_of(remote)
    for step in range(here.steps):
        assert same(here.batch(step), there.batch(step))
    assert here.fingerprint == there.fingerprint  # what is read counts, not where it lies


def test_row_groups_come_from_the_manifest_where_it_tells(make_folder):
    folder, _ = make_folder("a")
    footers = PackFolder(folder).group_rows
    manifest = json.loads((Path(folder) / "_manifest.json").read_text())
    manifest["row_group_rows"] = 512 // 64
    (Path(folder) / "_manifest.json").write_text(json.dumps(manifest))
    opened = PackFolder(folder)
    assert not opened._footers and opened.group_rows.tolist() == footers.tolist()
    assert plan_of(folder).batch(0).input_ids.shape == (24, 64)
    manifest["row_group_rows"] = 7
    (Path(folder) / "_manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ConfigError, match="row groups of other sizes"):
        plan_of(folder).batch(0)


def damage_manifest(**changes):
    def act(folder):
        path = Path(folder) / "_manifest.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return act


def first_part(folder):
    return Path(folder) / "part-00000.parquet"


def rewrite(change):
    def act(folder):
        table = change(pq.read_table(first_part(folder)))
        pq.write_table(table, first_part(folder), row_group_size=8)

    return act


DAMAGES = {
    "no manifest": (lambda f: (Path(f) / "_manifest.json").unlink(), "it has no _manifest.json"),
    "not JSON": (lambda f: (Path(f) / "_manifest.json").write_text("{"), "expected a manifest of packed rows"),
    "another format": (damage_manifest(version=2), "version 1: .*version 2"),
    "rows do not add up": (damage_manifest(rows=1), "its files have .* rows, it says 1"),
    "no tokenizer": (damage_manifest(tokenizer={}), "sha256"),
    "a part is missing": (lambda f: first_part(f).unlink(), "part-00000.parquet is missing"),
    "a stranger": (lambda f: (Path(f) / "more.parquet").touch(), "does not know more.parquet"),
    "a row less": (rewrite(lambda t: t.slice(1)), "rows, the manifest says"),
    "a column less": (rewrite(lambda t: t.drop_columns(["doc_lens"])), "no column 'doc_lens'"),
    "not parquet": (lambda f: first_part(f).write_bytes(b"PAR1 no"), "cannot be read"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_folder_that_does_not_agree_with_its_manifest_is_refused(make_folder, name):
    folder, _ = make_folder("a")
    damage, message = DAMAGES[name]
    damage(folder)
    with pytest.raises(ConfigError, match=message) as caught:
        plan_of(folder)
    assert "\n" not in str(caught.value)


def test_a_file_that_changed_its_size_is_refused(make_folder):
    folder, _ = make_folder("a")
    files = json.loads((Path(folder) / "_manifest.json").read_text())["files"]
    damage_manifest(files=[f | {"bytes": (Path(folder) / f["path"]).stat().st_size} for f in files])(folder)
    plan_of(folder)
    with open(first_part(folder), "ab") as file:
        file.write(b"\0")
    with pytest.raises(ConfigError, match=r"part-00000.parquet has .* bytes, the manifest says"):
        plan_of(folder)


def test_damage_inside_a_file_is_found_when_it_is_read(make_folder):
    folder, table = make_folder("a", parts=1)
    pq.write_table(table, first_part(folder), row_group_size=8, compression="none", write_page_checksum=True)
    data = bytearray(first_part(folder).read_bytes())
    data[len(data) // 3] ^= 1
    first_part(folder).write_bytes(data)
    plan = plan_of(folder)
    with pytest.raises(CurationError, match="a row group cannot be read"):
        for step in range(plan.steps):
            plan.batch(step)


def test_rows_of_another_length_are_found_when_they_are_read(make_folder):
    folder, _ = make_folder("a", parts=1)
    damage_manifest(sequence_length=128)(folder)
    with pytest.raises(CurationError, match="a row is not 128 tokens long"):
        plan_of(folder).batch(0)


def test_tokenizers_must_agree(make_folder, tmp_path):
    from dataclasses import replace

    from tests.packed_rows import TOKENIZER

    folder, _ = make_folder("a")
    other, _ = make_folder("b", tokenizer=replace(TOKENIZER, sha256="0" * 64))
    with pytest.raises(ConfigError, match=r"b: made with another tokenizer"):
        plan_of(folder, other)
    with pytest.raises(ConfigError, match="made with the tokenizer aeb13307a71a…, not with '0{64}'"):
        Plan.of(folder, 8, tokenizer="0" * 64)
    assert Plan.of(folder, 8, tokenizer="stages/tokenize/qwen3.tokenizer.json.xz").vocab_size == 151_669
    with pytest.raises(ConfigError, match=r"expected a SHA-256 or the path of a tokenizer.json"):
        Plan.of(folder, 8, tokenizer=str(tmp_path / "none.json"))


def test_a_plan_that_cannot_be_is_refused_in_one_line(make_folder):
    folder, table = make_folder("a")
    longer, _ = make_folder("b", length=128)
    for call, message in (
        (lambda: plan_of(folder, longer), "put them in stages of their own"),
        (lambda: plan_of(folder, global_batch=table.num_rows + 1), "do not fill one batch"),
        (lambda: plan_of(folder, longer, weights=[1, None]), "every source a weight, or none"),
        (lambda: plan_of(folder, steps=1, tokens=5), "one of steps, tokens, epochs"),
        (lambda: Plan([{"name": "x", "sources": [{"folder": folder}], "global_batches": 3}]), "global_batch"),
        (lambda: Plan([]), "at least one stage"),
        (lambda: plan_of(folder, window=0), "window"),
        (lambda: plan_of(folder).batch(0, 2, 2), "rank 2 of 2"),
        (lambda: plan_of(folder, global_batch=4).batch(0, 0, 5), "does not reach 5 ranks"),
        (lambda: plan_of(folder).resume(plan_of(folder, seed=1).state(3)), "belongs to another plan"),
    ):
        with pytest.raises(ConfigError, match=message) as caught:
            call()
        assert "\n" not in str(caught.value)

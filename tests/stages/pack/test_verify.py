"""A fault of every kind is found; a folder without one is not accused."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_up_shards import EOD, made_up
from typer.testing import CliRunner

from curation.cli import app
from stages.pack.shards import (
    MANIFEST,
    SCHEMA,
    TokenizerIdentity,
    describe,
    packed_table,
    read_manifest,
    write_folder,
    write_manifest,
)
from stages.pack.verify import Verification

LENGTH = 64


@pytest.fixture(scope="module")
def clean(tmp_path_factory, token_shards, mixed):
    """A run with one stage, in which documents are there once or twice, whole or cut."""
    folder = tmp_path_factory.mktemp("verify")
    shard = token_shards(folder / "shards" / "tokens" / "a.parquet", made_up(300, 1, median=30, high=300))
    total = sum(n + 1 for n in pq.read_table(shard)["n_tokens"].to_pylist())
    recipes = [{"name": "a", "sequence_length": LENGTH, "budget": 1.5 * total, "shares": [{"column": "language"}]}]
    mixed(folder / "out", {"web": [shard]}, recipes)
    return folder / "out"


@pytest.fixture
def run(clean, tmp_path):
    """A copy to break."""
    shutil.copytree(clean / "packed", tmp_path / "out" / "packed")
    shutil.copytree(clean / "documents", tmp_path / "out" / "documents")
    return tmp_path / "out"


def rewrite(run, change, honest=True):
    """Change the lists of the part; with `honest`, let the manifest's checksum and counts agree with the new file."""
    folder = run / "packed" / "a"
    part = next(folder.glob("part-*.parquet"))
    columns = pq.read_table(part).to_pydict()
    change(columns)
    table = pa.table(columns, schema=SCHEMA)
    pq.write_table(table, part)
    if honest:
        manifest = read_manifest(str(folder))
        about = describe(part.name, table)
        manifest.files = [vars(about)]
        manifest.rows, manifest.tokens = about.rows, about.tokens
        manifest.padding = about.rows * LENGTH - about.tokens
        write_manifest(str(folder), manifest)


def faults(run, tokens=False):
    return " | ".join(Verification(str(run / "packed" / "a"), tokens).run())


def test_nothing_is_wrong_with_a_clean_folder(clean):
    assert faults(clean) == "" and faults(clean, tokens=True) == ""
    manifest = read_manifest(str(clean / "packed" / "a"))
    assert manifest.cut_documents > 0 and manifest.documents > 400


def swap_ids(columns):
    row = columns["input_ids"][3]
    row[0], row[1] = row[1], row[0]


def drop_row(columns):
    for column in columns.values():
        column.pop(5)


def repeat_row(columns):
    for column in columns.values():
        column.append(column[5])


def shift_start(columns):
    starts = next(s for s in columns["doc_starts"] if any(s))
    starts[next(i for i, v in enumerate(starts) if v)] += 1


def other_document(columns):
    columns["doc_ids"][2][0] = "0" * 32


def lose_end(columns):
    row, lens = next(
        (row, lens) for row, lens in zip(columns["input_ids"], columns["doc_lens"], strict=True) if lens[1:]
    )
    row[next(i for i in np.cumsum(lens) - 1 if row[i] == EOD)] = 7


def end_inside(columns):
    i = next(i for i, lens in enumerate(columns["doc_lens"]) if lens[0] > 3)
    columns["input_ids"][i][1] = EOD


def foreign_id(columns):
    columns["input_ids"][0][0] = 151_669


def too_long(columns):
    columns["doc_lens"][1][0] += 100


def short_row(columns):
    columns["input_ids"][1].pop()


def uneven(columns):
    columns["doc_ids"][1].append("x")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (drop_row, "not covered once|has no piece that begins it|is there"),
        (repeat_row, "not covered once|is there"),
        (shift_start, "not covered once"),
        (other_document, "are not in the run's documents"),
        (lose_end, "does not end with the end of document"),
        (end_inside, "end of document inside a piece"),
        (foreign_id, "an id outside 0 to 151668"),
        (too_long, "holds pieces of"),
        (short_row, "has 63 ids, not 64"),
        (uneven, "of different lengths"),
    ],
)
def test_faults_that_no_checksum_shows(run, change, expected):
    rewrite(run, change)
    found = faults(run)
    assert any(words in found for words in expected.split("|")), found


def test_ids_are_compared_with_the_token_shards_if_asked(run):
    rewrite(run, swap_ids)
    assert faults(run) == ""
    assert "are not those of its token shard" in faults(run, tokens=True) or "different ids" in faults(run, tokens=True)


def test_checksums_and_counts_of_the_manifest(run):
    rewrite(run, swap_ids, honest=False)
    assert "says xxh64" in faults(run)
    file = run / "packed" / "a" / MANIFEST
    for key in ("rows", "tokens", "padding", "documents", "cut_documents"):
        before = file.read_text()
        file.write_text(json.dumps(json.loads(before) | {key: 7}))
        assert f"manifest says {key} 7, counted" in faults(run)
        file.write_text(before)
    data = json.loads(file.read_text())
    data["shares"][1]["tokens"] += 1
    file.write_text(json.dumps(data))
    assert "manifest says language" in faults(run)


def test_files_that_are_missing_broken_or_too_many(run):
    part = next((run / "packed" / "a").glob("part-*.parquet"))
    shutil.copy(part, part.with_name("part-99999.parquet"))
    assert "part-99999.parquet: not in the manifest" in faults(run)
    content = part.read_bytes()
    part.write_bytes(content[: len(content) // 2])
    assert part.name in faults(run)
    part.unlink()
    assert f"{part.name}: in the manifest, and missing" in faults(run)
    shutil.rmtree(run / "documents")
    assert "cannot be read" in faults(run) or "missing" in faults(run)


def test_the_command_says_each_fault_and_exits_with_1(run):
    done = CliRunner().invoke(app, ["shards", "verify", str(run)])
    assert done.exit_code == 0 and "all as the manifest says" in done.stdout
    rewrite(run, foreign_id)
    done = CliRunner().invoke(app, ["shards", "verify", str(run)])
    assert done.exit_code == 1 and "outside 0 to 151668" in done.stdout
    done = CliRunner().invoke(app, ["shards", "verify", str(run / "documents")])
    assert done.exit_code == 1
    done = CliRunner().invoke(app, ["shards", "info", str(run)])
    assert json.loads(done.stdout)["stage"] == "a"


def test_a_folder_written_without_a_run_can_be_read_and_checked_but_not_joined(tmp_path):
    ids = np.array([5, 6, EOD, 7, EOD, EOD, EOD, EOD], np.int32)
    names = pa.array(["x", "y"])
    table = packed_table(ids, 8, np.array([2]), np.array([3, 2]), names, np.array([0, 0]))
    identity = TokenizerIdentity("qwen3", "0" * 64, 151_669, EOD)
    write_folder(str(tmp_path / "s"), "s", identity, 8, [table])
    check = Verification(str(tmp_path / "s"))
    assert check.run() == [f"{tmp_path}/s: its manifest names no run, so no piece can be joined to a document"]
    assert read_manifest(str(tmp_path / "s")).length_histogram == {"2": 2}
    assert (check.checked["rows"], check.checked["tokens"]) == (1, 5)

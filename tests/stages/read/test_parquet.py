"""read_parquet: every row once whatever the splits, stable ids, columns kept, broken files."""

import datetime
import itertools
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curation.errors import ConfigError
from curation.stage import InputFile, Split
from stages.read.parquet import ReadParquet


def write(path, table, rows=7, **options):
    pq.write_table(table, path, row_group_size=rows, **options)
    return InputFile(str(path), path.name, path.stat().st_size, "1")


def corpus(n=50):
    return pa.table(
        {
            "id": [f"id{i}" if i % 5 else None for i in range(n)],
            "content": pa.array([f"page {i} " * (i + 1) if i % 7 else None for i in range(n)], pa.string()),
            "url": [f"https://example.org/{i}" for i in range(n)],
            "date": pa.array([datetime.datetime(2024, 1, 1 + i % 28) for i in range(n)], pa.timestamp("us")),
            "score": pa.array([i / 2 for i in range(n)], pa.float64()),
            "kind": pa.array([["a", "b"][i % 2] for i in range(n)]).dictionary_encode(),
        }
    )


def read(reader, file, cuts=(), batch_rows=100, batch_bytes=1 << 20):
    edges = [0, *cuts, file.size]
    splits = [Split(file, "src", i, a, b) for i, (a, b) in enumerate(itertools.pairwise(edges))]
    return [outcome for split in splits for outcome in reader.read(split, batch_rows, batch_bytes)]


@pytest.mark.parametrize("cuts", [(), (1,), (200, 900), tuple(range(50, 3000, 50))])
@pytest.mark.parametrize("batch", [(100, 1 << 20), (3, 1 << 20), (100, 200)])
def test_every_row_comes_once_in_order_with_its_columns(tmp_path, cuts, batch):
    table = corpus()
    file = write(tmp_path / "a.parquet", table)
    reader = ReadParquet(text="content", id="id", columns={"score": "float", "kind": "string", "date": "timestamp[s]"})
    outcomes = read(reader, file, [c for c in cuts if c < file.size], *batch)
    assert all(o.failed is None for o in outcomes)
    assert all(o.docs.num_rows <= batch[0] for o in outcomes)
    docs = pa.concat_tables([o.docs for o in outcomes])
    assert docs["text"].to_pylist() == table["content"].to_pylist()
    assert docs["position"].to_pylist() == list(range(50))
    assert docs["url"].to_pylist() == table["url"].to_pylist()
    assert docs["kind"].to_pylist() == table["kind"].to_pylist() and docs["score"].to_pylist()[3] == 1.5
    assert docs["date"].to_pylist() == table["date"].to_pylist()
    ids = docs["id"].to_pylist()
    assert len(set(ids)) == 50 and ids[1] == "id1" and len(ids[0]) == 32
    assert set(docs["source"].to_pylist()) == {"src"} and set(docs["file"].to_pylist()) == {"a.parquet"}


def test_ids_depend_on_file_and_row_alone(tmp_path):
    file = write(tmp_path / "a.parquet", corpus())
    again = write(tmp_path / "b.parquet", corpus(), rows=50, compression="zstd")
    reader = ReadParquet(text="content")

    def ids(source):
        return pa.concat_tables([o.docs for o in read(reader, source)])["id"].to_pylist()

    other = InputFile(again.path, "a.parquet", again.size, "2")
    assert ids(file) == ids(other)
    assert not set(ids(file)) & set(ids(again))


def test_a_source_column_and_columns_that_a_file_lacks(tmp_path):
    table = pa.table({"text": ["x", "y"], "origin": ["wiki", None]})
    (outcome,) = read(ReadParquet(source="origin", columns=["language"]), write(tmp_path / "a.parquet", table))
    assert outcome.docs["source"].to_pylist() == ["wiki", "src"]
    assert outcome.docs["language"].to_pylist() == [None, None] == outcome.docs["url"].to_pylist()


@pytest.mark.parametrize(
    ("content", "problem"), [(b"", "size is 0 bytes"), (b"PAR1 not really", "magic bytes"), (None, "'text' is int64")]
)
def test_a_file_that_is_none_fails_once(tmp_path, content, problem):
    path = tmp_path / "broken.parquet"
    if content is None:
        pq.write_table(pa.table({"text": [1, 2]}), path)
    else:
        path.write_bytes(content)
    file = InputFile(str(path), path.name, path.stat().st_size, "1")
    outcomes = read(ReadParquet(), file, (2, 5))
    assert [o.failed.to_pylist()[0] for o in outcomes if problem in o.failed[0].as_py()]
    assert len(outcomes) == 1 and outcomes[0].docs.num_rows == 1


def test_a_missing_column_of_text_names_those_there_are(tmp_path):
    (outcome,) = read(ReadParquet(), write(tmp_path / "a.parquet", corpus()))
    assert "no column 'text'" in outcome.failed[0].as_py() and "content" in outcome.failed[0].as_py()


def test_damage_costs_its_row_group(tmp_path):
    table = corpus(40).select(["content", "url"])
    file = write(tmp_path / "a.parquet", table, rows=10, compression="zstd", use_dictionary=False)
    place = pq.ParquetFile(file.path).metadata.row_group(1).column(0).data_page_offset
    data = bytearray(Path(file.path).read_bytes())
    data[place + 20 : place + 120] = b"\xff" * 100
    Path(file.path).write_bytes(data)
    outcomes = read(ReadParquet(text="content"), file)
    failed = [o for o in outcomes if o.failed is not None]
    assert len(failed) == 1 and "row group 1, rows 10 to 19" in failed[0].failed[0].as_py()
    docs = pa.concat_tables([o.docs for o in outcomes if o.failed is None])
    assert docs["position"].to_pylist() == [*range(10), *range(20, 40)]


def test_columns_are_checked_before_a_run():
    with pytest.raises(ConfigError, match="knows no column 'licence'.*columns: {licence: string}"):
        ReadParquet(columns=["licence"]).check()
    with pytest.raises(ConfigError, match="'strnig' is no Arrow type"):
        ReadParquet(columns={"licence": "strnig"}).check()
    with pytest.raises(ConfigError, match="'url' is a column every document has"):
        ReadParquet(columns=["url"]).check()

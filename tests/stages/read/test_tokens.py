import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from made_up_shards import METADATA, made_up

from curation.errors import ConfigError, CurationError
from curation.stage import InputFile, Split
from stages.read.tokens import ReadTokens


def read(path, batch_rows=64, splits=None, **keys):
    reader = ReadTokens(**keys)
    file = InputFile(str(path), path.name, path.stat().st_size, "1")
    parts = reader.splits(file, "web") if splits is None else splits(reader, file)
    return [outcome for split in parts for outcome in reader.read(split, batch_rows, 1 << 20)]


def table(outcomes):
    return pa.concat_tables([outcome.docs for outcome in outcomes])


def test_a_document_for_each_row_with_counts_and_where_its_ids_lie(tmp_path, token_shards):
    tokens = made_up(500, 1)
    path = token_shards(tmp_path / "t.parquet", tokens, group=70)
    docs = table(read(path, labels={"language": "string", "domain": "string", "topic": "string"}))
    assert docs["id"].to_pylist() == tokens["doc_id"].to_pylist()
    assert docs["n_tokens"].equals(tokens["n_tokens"]) and docs["domain"].equals(tokens["domain"])
    assert docs["position"].to_pylist() == list(range(500))
    assert set(docs["token_file"].to_pylist()) == {str(path)} and set(docs["source"].to_pylist()) == {"web"}
    assert docs["text"].null_count == docs["topic"].null_count == 500
    assert "input_ids" not in docs.column_names


def test_splits_share_the_rows_out(tmp_path, token_shards):
    path = token_shards(tmp_path / "t.parquet", made_up(3000, 1, median=400), group=100)
    reader = ReadTokens(split_mb=1)
    splits = reader.splits(InputFile(str(path), path.name, path.stat().st_size, "1"), "web")
    assert len(splits) > 2
    parts = [list(reader.read(split, 50, 1 << 20)) for split in splits]
    assert all(parts)
    assert table([o for part in parts for o in part])["position"].to_pylist() == list(range(3000))


def test_labels_come_from_the_documents_beside(tmp_path, token_shards):
    tokens = made_up(300, 1)
    path = token_shards(tmp_path / "tokens" / "00000.parquet", tokens.drop_columns(["domain"]), group=70)
    documents = pa.table({"id": tokens["doc_id"], "domain": tokens["domain"], "text": ["x"] * 300})
    (tmp_path / "documents").mkdir()
    pq.write_table(documents, tmp_path / "documents" / "00000.parquet", row_group_size=37)
    docs = table(read(path, batch_rows=29, labels=["language", "domain"]))
    assert docs["domain"].to_pylist() == tokens["domain"].to_pylist()
    assert docs["text"].null_count == 300
    pq.write_table(documents.slice(1), tmp_path / "documents" / "00000.parquet")
    failed = read(path, labels=["language", "domain"])[-1].failed
    assert "does not hold the documents of this token shard" in failed[0].as_py()


@pytest.mark.parametrize("first", [0, 1])
def test_a_damaged_row_group_costs_itself_in_any_split(tmp_path, token_shards, first):
    path = token_shards(tmp_path / "t.parquet", made_up(300, 1), group=100)
    group = pq.ParquetFile(path).metadata.row_group(1)
    column = next(c for c in map(group.column, range(group.num_columns)) if c.path_in_schema == "doc_id")
    start = column.dictionary_page_offset or column.data_page_offset
    data = bytearray(path.read_bytes())
    data[start : start + 30] = b"\xff" * 30
    path.write_bytes(data)

    def splits(reader, file):
        return [Split(file, "web", first, 0, file.size)]

    outcomes = read(path, splits=splits)
    (failed,) = [o for o in outcomes if o.failed is not None]
    assert "rows cannot be read: 100 to 199" in failed.failed[0].as_py() and failed.docs["position"].to_pylist() == [
        100
    ]
    kept = table([o for o in outcomes if o.failed is None])
    assert kept["position"].to_pylist() == [*range(100), *range(200, 300)]


def test_files_that_are_no_token_shards_fail_as_one_record(tmp_path, token_shards):
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 nothing")
    pq.write_table(pa.table({"text": ["x"]}), tmp_path / "text.parquet")
    for name, words in (("broken.parquet", "parquet"), ("text.parquet", "no column 'input_ids'")):
        (outcome,) = read(tmp_path / name)
        assert outcome.docs.num_rows == 1 and words in outcome.failed[0].as_py().lower()
    unnamed = token_shards(tmp_path / "u.parquet", made_up(5, 1), {"tokenizer": "qwen3"})
    with pytest.raises(CurationError, match="its footer lacks `tokenizer_sha256`"):
        read(unnamed)
    other = token_shards(tmp_path / "o.parquet", made_up(5, 1), METADATA | {"tokenizer": "llama3"})
    with pytest.raises(CurationError, match="'llama3', not 'qwen3'"):
        read(other)
    assert table(read(other, tokenizer="llama3")).num_rows == 5


def test_labels_that_cannot_be_are_refused():
    with pytest.raises(ConfigError, match="every document has 'source' anyway"):
        ReadTokens(labels=["source"]).check()
    with pytest.raises(ConfigError, match="knows no column 'topic'"):
        ReadTokens(labels=["topic"]).check()


def test_nothing_is_read_twice_or_left_out_whatever_the_batches(tmp_path, token_shards):
    path = token_shards(tmp_path / "t.parquet", made_up(400, 2), group=33)
    whole = table(read(path, 1000))
    for rows in (1, 7, 64):
        assert table(read(path, rows)).equals(whole)
    assert pc.count_distinct(whole["id"]).as_py() == 400

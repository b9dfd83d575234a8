"""Files that a barrier's gather writes: committed, resumed, checked and swept like any other."""

import pyarrow.parquet as pq
import pytest

from curation.corpus import Manifest, verify
from curation.errors import CurationError
from curation.storage import Storage

STAGE = """
import pyarrow as pa
from curation.stage import Barrier, Gathered, Outcome, Output
from pydantic import Field

SCHEMA = pa.schema([("id", pa.string())])

class Lists(Barrier):
    "Writes the ids of each partition to a file."
    folder_name: str = Field("lists", description="where")
    parts: int = Field(3, description="how many")

    def outputs(self):
        return (Output("lists", schema=SCHEMA, gathered=True),)

    def scatter(self, docs, shard, row):
        part = [len(text) % self.parts for text in docs["text"].to_pylist()]
        return pa.table({"partition": pa.array(part, pa.int32()), "id": docs["id"]})

    def gather_rows(self, round):
        return 1

    def gather(self, round, partition, rows, sidecars):
        verdicts = pa.table({"partition": pa.array([], pa.int32()), "row": pa.array([], pa.int64())})
        return Gathered(verdicts, {f"{self.folder_name}/by/{partition:03d}": rows.select(["id"])})

    def apply(self, docs, verdicts):
        return Outcome(docs)
"""


@pytest.fixture
def lists(tmp_path, monkeypatch):
    (tmp_path / "lists_stage.py").write_text(STAGE)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "lists_stage:Lists"


def test_files_lie_where_gather_says_and_are_committed(corpus, pipeline, run, tmp_path, lists):
    corpus("a.jsonl", ["x" * n for n in range(1, 10)])
    result = run(pipeline([{lists: {}}]))
    names = [file["name"] for file in result.info["files"]["lists/by"]]
    assert names == ["lists/by/000.parquet", "lists/by/001.parquet", "lists/by/002.parquet"]
    assert sum(pq.read_table(tmp_path / "out" / name).num_rows for name in names) == 9
    assert "lists" not in result.info["files"]
    assert run(pipeline([{lists: {}}])).executed == 0

    (tmp_path / "out" / names[1]).unlink()  # lost: its task runs again
    assert run(pipeline([{lists: {}}])).executed == 1
    assert pq.read_table(tmp_path / "out" / names[1]).num_rows == 3

    run(pipeline([{lists: {"parts": 2}}]))  # a file whose partition is gone is swept
    assert not (tmp_path / "out" / names[2]).exists()


def test_a_file_outside_the_declared_folder_is_refused(corpus, pipeline, run, lists):
    corpus("a.jsonl", ["x"])
    with pytest.raises(CurationError, match="documents/by/001, which lies in none of its gathered outputs"):
        run(pipeline([{lists: {"folder_name": "documents"}}]))


def test_verify_reads_them_again(corpus, pipeline, run, tmp_path, lists):
    corpus("a.jsonl", ["x"])
    run(pipeline([{lists: {}}]))
    storage = Storage(str(tmp_path / "out"))
    (name,) = [n for n in storage.names("work/manifests") if "gather" in n]
    manifest = Manifest(**storage.read_json(name))
    assert verify(storage, manifest) == []
    file = tmp_path / "out" / "lists" / "by" / "001.parquet"
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    assert verify(storage, manifest) == ["lists/by/001.parquet"]

"""Stages that misbehave, for tests of the engine: used in pipelines by `stages_at_fault:Name`."""

import os
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation.documents import part_id
from curation.errors import ResourceUnavailable
from curation.stage import SHARD_ROW, Barrier, Filter, Outcome, Stage, reasons
from stages.read.jsonl import ReadJsonl


class Upper(Stage):
    """Upper-cases the text and counts the characters."""

    def __call__(self, docs):
        self.metrics.observe("characters", pc.utf8_length(docs["text"]), [10, 100])
        i = docs.schema.get_field_index("text")
        return docs.set_column(i, "text", pc.utf8_upper(docs["text"]))


class Length(Stage):
    """Adds `length`."""

    def adds(self):
        return {"length": pa.int32()}

    def __call__(self, docs):
        return docs.append_column("length", pc.cast(pc.utf8_length(docs["text"]), pa.int32()))


class DropWord(Filter):
    """Drops documents that contain a word."""

    word: str = "spam"

    def __call__(self, docs):
        return reasons(docs, has_word=pc.match_substring(docs["text"], self.word))


class Fails(Stage):
    """Raises on the word `raise`."""

    def __call__(self, docs):
        for text in docs["text"].to_pylist():
            if "raise" in text:
                raise ValueError(f"cannot take: {text}")
        self.metrics.count("seen", docs.num_rows)
        return docs


class FailsAlways(Stage):
    """Raises on everything."""

    def __call__(self, docs):
        raise RuntimeError("broken on purpose")


class NeedsServer(Stage):
    """Cannot go on at the word `call` while the file `state` says `down`."""

    state: str

    def __call__(self, docs):
        down = Path(self.state).read_text() == "down"
        if down and any("call" in text for text in docs["text"].to_pylist()):
            raise ResourceUnavailable("the server does not answer")
        return docs


class WaitsForServer(Stage):
    """Waits two seconds without using the CPU, and says that it may."""

    limit_s = 0.5  # the first call of a process imports for .1 s and more
    wait_s = 30.0

    def __call__(self, docs):
        time.sleep(2.0)
        return docs


class Hangs(Stage):
    """Never comes back from the word `hang`, dies on `crash` and `exit`, takes memory on `hog`, sleeps on `sleep`."""

    limit_s = 1.0

    def __call__(self, docs):
        for text in docs["text"].to_pylist():
            if "hang" in text:
                while True:
                    pass
            if "crash" in text:
                os.kill(os.getpid(), 11)
            if "exit" in text:
                os._exit(3)
            if "hog" in text:
                held = [np.ones(1 << 22) for _ in range(1000)]  # 32 GB
                time.sleep(len(held))
        return docs


class HangsAlone(Hangs):
    """The same, one document at a time."""

    one_at_a_time = True


class LosesRows(Stage):
    """Returns one row less than it was given."""

    def __call__(self, docs):
        return docs.slice(1)


class SwapsRows(Stage):
    """Returns the rows in another order."""

    def __call__(self, docs):
        return docs.take(pa.array(range(docs.num_rows - 1, -1, -1)))


class SneaksColumn(Stage):
    """Returns a column it does not declare."""

    def __call__(self, docs):
        return docs.append_column("sneaked", pa.nulls(docs.num_rows, pa.int8()))


class WrongType(Stage):
    """Declares an int32 and returns an int64."""

    def adds(self):
        return {"length": pa.int32()}

    def __call__(self, docs):
        return docs.append_column("length", pa.array(range(docs.num_rows), pa.int64()))


class SetupFails(Stage):
    """Cannot be set up."""

    def setup(self):
        raise OSError("model.bin is missing")

    def __call__(self, docs):
        return docs


class FirstOfEachLetter(Barrier):
    """Keeps the first document of each initial letter of the whole corpus; two gather rounds, to use them."""

    def adds(self):
        return {"letter": pa.string()}

    def rounds(self):
        return 2

    def scatter(self, docs, shard, row):
        initials = pc.utf8_slice_codeunits(docs["text"], 0, 1)
        codes = [ord(c[0]) if c else 0 for c in initials.to_pylist()]
        return pa.table(
            {
                "partition": pa.array([c % 8 for c in codes], pa.int32()),
                "code": pa.array(codes, pa.int64()),
                "shard": pa.array([shard] * len(codes), pa.int32()),
                "row": pa.array(range(row, row + len(codes)), pa.int64()),
            }
        )

    def sidecar(self, docs):
        return docs.select(["id"])

    def gather(self, round, partition, rows, sidecars):
        if round == 0:
            order = rows.sort_by([("code", "ascending"), ("shard", "ascending"), ("row", "ascending")]).to_pylist()
            out, first = [], {}
            for r in order:
                keeper = first.setdefault(r["code"], r)
                if keeper is not r:
                    kept = sidecars.rows(keeper["shard"], np.array([keeper["row"]]), ["id"])["id"][0].as_py()
                    out.append({"partition": 0, "shard": r["shard"], "row": r["row"], "kept": kept})
            schema = [("partition", pa.int32()), ("shard", pa.int32()), ("row", pa.int64()), ("kept", pa.string())]
            return pa.Table.from_pylist(out, pa.schema(schema))
        return rows.rename_columns({"shard": "partition"})

    def apply(self, docs, verdicts):
        docs = docs.append_column("letter", pc.utf8_slice_codeunits(docs["text"], 0, 1).cast(pa.string()))
        reason, detail = [None] * docs.num_rows, [None] * docs.num_rows
        if verdicts.num_rows:
            for row, kept in zip(verdicts["row"].to_pylist(), verdicts["kept"].to_pylist(), strict=True):
                reason[row], detail[row] = "same_letter", f"kept={kept}"
        return Outcome(docs, dropped=pa.array(reason, pa.string()), detail=pa.array(detail, pa.string()))


class Echoes(Stage):
    """Adds behind each document with the word `echo` one more for each `!`, its text in upper case; drops `mute` ones."""

    part: str = ""

    def __call__(self, docs):
        self.metrics.count("seen", docs.num_rows)
        texts = docs["text"].to_pylist()
        if any("raise" in text for text in texts):
            raise ValueError("cannot take it")
        behind = [i for i, text in enumerate(texts) if "echo" in text for _ in range(text.count("!"))]
        parts = [k for text in texts if "echo" in text for k in range(text.count("!"))]
        added = docs.take(pa.array(behind, pa.int64()))
        ids = [part_id(document, f"{self.part}{k}") for document, k in zip(added["id"].to_pylist(), parts, strict=True)]
        added = added.set_column(added.schema.get_field_index("id"), "id", pa.array(ids, pa.string()))
        text = pa.array([f"{texts[i].upper()} {k}" for i, k in zip(behind, parts, strict=True)], pa.large_string())
        added = added.set_column(added.schema.get_field_index("text"), "text", text)
        dropped = reasons(docs, muted=pc.match_substring(docs["text"], "mute"))
        return Outcome(docs, dropped=dropped, added=added, added_behind=np.array(behind, np.int64))


class AddsTwice(Stage):
    """Adds documents with ids that are taken."""

    def __call__(self, docs):
        return Outcome(docs, added=docs, added_behind=np.arange(docs.num_rows))


class AddsNowhere(Stage):
    """Adds a document without saying where."""

    def __call__(self, docs):
        added = docs.slice(0, 1)
        return Outcome(docs, added=added.set_column(added.schema.get_field_index("id"), "id", pa.array(["x"])))


class Slow(Stage):
    """Takes a tenth of a second a batch."""

    def __call__(self, docs):
        time.sleep(0.1)
        return docs


class Waits(Stage):
    """Takes a second a document."""

    one_at_a_time = True

    def __call__(self, docs):
        time.sleep(1.0)
        return docs


class SetupTakesLong(Stage):
    """Is set up for two seconds."""

    def setup(self):
        time.sleep(2.0)

    def __call__(self, docs):
        return docs


class PoisonedReader(ReadJsonl):
    """Dies without a word on a file called poison."""

    def read(self, split, batch_rows, batch_bytes):
        if "poison" in split.file.name:
            os._exit(1)
        yield from super().read(split, batch_rows, batch_bytes)


class CountsShards(Barrier):
    """Tells every document how many documents there are, by one verdict a shard."""

    def adds(self):
        return {"documents": pa.int64()}

    def scatter(self, docs, shard, row):
        return pa.table(
            {"partition": pa.array([0], pa.int32()), "shard": pa.array([shard], pa.int32()), "n": [docs.num_rows]}
        )

    def gather(self, round, partition, rows, sidecars):
        shards = sorted(set(rows["shard"].to_pylist()))
        total = sum(rows["n"].to_pylist())
        return pa.table(
            {
                "partition": pa.array(shards, pa.int32()),
                "row": pa.array([SHARD_ROW] * len(shards), pa.int64()),
                "total": pa.array([total] * len(shards), pa.int64()),
            }
        )

    def apply(self, docs, verdicts):
        assert verdicts["row"].to_pylist() == [SHARD_ROW]
        total = verdicts["total"][0].as_py()
        return Outcome(docs.append_column("documents", pa.array([total] * docs.num_rows, pa.int64())))

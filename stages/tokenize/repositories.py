"""Puts the files of a repository into one document, so that a model sees what belongs together.

Files of a repository come from one archive but not in one batch, and deduplication has taken some of them away, so this
is a barrier: files are gathered by repository, ordered by path, and joined. What a joined document is made of stays in
columns beside it, not in marks in its text, which a file could imitate.

Trade-off: files in the order of their paths, not of their imports. Folders stay together, which is most of the gain.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import pyarrow as pa
import xxhash
from pydantic import Field

from curation.documents import column_type, part_id
from curation.stage import Barrier, Outcome, Sidecars


class PackRepositories(Barrier, name="pack_repositories"):
    """Adds a document for each repository: its files one after another, in the order of their paths.

    Needs the columns of `read_code`. `file_paths` names the files, `file_ends` says where each ends in `text`; both are
    null in documents of one file. A repository of more than `max_characters` becomes several documents, cut between
    files; one of fewer than `min_files` files none. `tokenize_code` writes them as Qwen2.5-Coder does, with a token
    before each path.

    Drop reasons: `packed` (with `single_files: drop`: the file is in a repository's document).

    Source: Qwen2.5-Coder (Hui et al. 2024, section 3.2.2): repository level, 32,768 tokens.
    """

    max_characters: int = Field(120_000, ge=1, description="characters of a document; 32,768 tokens hold about 120,000")
    min_files: int = Field(2, ge=1, description="files that a document has at least")
    single_files: Literal["keep", "drop"] = Field(
        "keep", description="what becomes of the documents of the single files"
    )
    shuffle_partitions: int = Field(16, ge=1, le=65536, description="parts the files are sorted in, one task each")

    def needs(self) -> tuple[str, ...]:
        return ("id", "text", "source", "repository", "path")

    def adds(self) -> dict[str, pa.DataType]:
        return {name: column_type(name) for name in ("file_paths", "file_ends")}

    def partitions(self, round: int, shards: int) -> int:
        return self.shuffle_partitions

    def scatter(self, docs: pa.Table, shard: int, row: int) -> pa.Table:
        names = zip(docs["source"].to_pylist(), docs["repository"].to_pylist(), strict=True)
        keys = np.array([xxhash.xxh3_64_intdigest(f"{s}\0{r}") for s, r in names], np.uint64)
        known = pa.array([i for i, r in enumerate(docs["repository"].to_pylist()) if r is not None], pa.int64())
        parts = ((keys >> np.uint64(32)) * np.uint64(self.shuffle_partitions)) >> np.uint64(32)
        n = docs.num_rows
        rows = pa.table(
            {
                "partition": parts.astype(np.int32),
                "source": docs["source"],
                "repository": docs["repository"],
                "path": docs["path"],
                "text": docs["text"].cast(pa.large_string()),
                "shard": np.full(n, shard, np.int32),
                "place": np.arange(row, row + n, dtype=np.int64),
            }
        )
        return rows.take(known)

    def gather(self, round: int, partition: int, rows: pa.Table, sidecars: Sidecars) -> pa.Table:
        result: dict[str, list] = {name: [] for name in _VERDICTS.names}
        rows = rows.sort_by([(name, "ascending") for name in ("source", "repository", "path", "shard", "place")])
        records = rows.to_pylist()
        at = 0
        while at < len(records):
            end = at
            while end < len(records) and all(records[end][k] == records[at][k] for k in ("source", "repository")):
                end += 1
            for number, pack in enumerate(self._packs(records[at:end])):
                for i, file in enumerate(pack):
                    first = i == 0
                    result["partition"].append(file["shard"])
                    result["row"].append(file["place"])
                    result["number"].append(number if first else None)
                    result["text"].append("".join(f["text"] for f in pack) if first else None)
                    result["file_paths"].append([f["path"] or "" for f in pack] if first else None)
                    result["file_ends"].append(np.cumsum([len(f["text"]) for f in pack]).tolist() if first else None)
            at = end
        return pa.table(result, _VERDICTS)

    def _packs(self, files: list[dict]) -> list[list[dict]]:
        packs: list[list[dict]] = []
        size = self.max_characters + 1
        for file in files:
            if not file["text"] or len(file["text"]) > self.max_characters:
                continue
            if size + len(file["text"]) > self.max_characters:
                packs.append([])
                size = 0
            packs[-1].append(file)
            size += len(file["text"])
        return [pack for pack in packs if len(pack) >= self.min_files]

    def apply(self, docs: pa.Table, verdicts: pa.Table) -> Outcome:
        n = docs.num_rows
        for name, kind in self.adds().items():
            docs = docs.append_column(name, pa.nulls(n, kind))
        if verdicts.num_rows == 0 or "number" not in verdicts.schema.names:
            return Outcome(docs)
        in_pack = np.zeros(n, bool)
        in_pack[verdicts["row"].to_numpy()] = True
        packs = verdicts.filter(verdicts["number"].is_valid())
        behind = packs["row"].to_numpy()
        added = docs.take(pa.array(behind))
        keys = zip(
            added["source"].to_pylist(), added["repository"].to_pylist(), packs["number"].to_pylist(), strict=True
        )
        values = {
            "id": [part_id(f"{s}\0{r}", f"repository {k}") for s, r, k in keys],
            "text": packs["text"],
            "file_paths": packs["file_paths"],
            "file_ends": packs["file_ends"],
            "path": [None] * packs.num_rows,
            "member": [None] * packs.num_rows,
        }
        for name, column in values.items():
            place = added.schema.get_field_index(name)
            if place >= 0:
                kind = added.schema.field(place).type
                array = pa.array(column, kind) if isinstance(column, list) else column.cast(kind)
                added = added.set_column(place, added.schema.field(place), array)
        self.metrics.count("repositories", packs.num_rows)
        self.metrics.count("files_packed", int(in_pack.sum()))
        dropped = pa.array(["packed" if p and self.single_files == "drop" else None for p in in_pack], pa.string())
        return Outcome(docs, dropped=dropped, added=added, added_behind=behind)


_VERDICTS = pa.schema(
    [
        ("partition", pa.int32()),
        ("row", pa.int64()),
        ("number", pa.int32()),
        ("text", pa.large_string()),
        ("file_paths", pa.list_(pa.string())),
        ("file_ends", pa.list_(pa.int32())),
    ]
)

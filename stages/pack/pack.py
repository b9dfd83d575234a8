"""Packs the documents of a mixture into training rows, one folder for each stage of training.

Documents travel once: each goes to the window that a hash of its id names, its copies to others, and a window is
packed and written by one task. No step sees the whole corpus, and a window of some tens of thousands of documents
loses nothing against a global packing (padding 0.01 % against 0.003 %).

Trade-off: token ids pass through the exchange uncompressed by anything but LZ4, once for each copy, so a run needs
room for about four bytes a packed token beside its output until it is cleared away.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash
from pydantic import Field, PrivateAttr

from curation.errors import CurationError
from curation.stage import SHARD_ROW, Barrier, Gathered, Outcome, Output, Shuffled, Sidecars
from stages.mix.draw import draws, scramble
from stages.pack.shards import (
    GROUP_TOKENS,
    MANIFEST,
    SCHEMA,
    PackedManifest,
    describe,
    length_histogram,
    read_manifest,
    write_manifest,
)
from stages.pack.token_files import TokenFiles

#: Parts a stage may have; a partition number is the stage's hash above them.
_PARTS = 1 << 20

#: What a gather says of a part it wrote.
_WRITTEN = pa.schema(
    [
        ("partition", pa.int32()),
        ("row", pa.int64()),
        ("stage", pa.string()),
        ("sequence_length", pa.int32()),
        ("tokenizer", pa.string()),
        ("documents", pa.int64()),
        ("cut_documents", pa.int64()),
        ("file", pa.string()),
        ("lengths", pa.string()),
    ]
)


class Pack(Barrier, name="pack"):
    """Writes `packed/<stage>/`: training rows of exactly `sequence_length` token ids, ready for a loader.

    Takes what `mix` says in the column `mixture`: which document goes into which stage, how many times, and how long
    the stage's rows are. Drops nothing. Documents are put together by best-fit decreasing (Ding et al. 2024), in
    windows of at least `window_documents` drawn from the whole mixture; one window is one file. Each document ends
    with the end-of-document id, which counts as a token of it. A document longer than a row is cut there. Only where
    padding would exceed `max_padding` are other documents cut, as few as fill the gaps; long-context stages need it,
    because two documents of more than half a row share none. A window's last row may hold padding all the same: in a
    mixture of a few rows it shows.

    Rows, and the documents in a row, are shuffled. Beside the ids stand the length of each piece, its document and
    where in it the piece starts, so every token can be counted again: `curation shards verify DIR` does.
    `_manifest.json` has counts, checksums, the histogram of document lengths and the shares of the mixture.

    The report counts `packed_rows=`, `packed_tokens=` and `padding=` (tokens) and `cut_documents=` by stage.
    """

    window_documents: int = Field(
        50_000, ge=1, description="fewest documents that are packed together; below 20,000 padding grows"
    )
    window_tokens: int = Field(
        1 << 26,
        ge=1,
        le=1 << 30,
        description="most tokens that are packed together, about, however few documents they are: a task's memory is "
        "some 16 bytes for each",
    )
    max_padding: float = Field(
        0.0008, ge=0, lt=1, description="share of padding above which documents are cut to fill the gaps"
    )

    _files: TokenFiles | None = PrivateAttr(None)

    def needs(self) -> tuple[str, ...]:
        return ("id", "position", "token_file", "mixture")

    def outputs(self) -> tuple[Output, ...]:
        return (
            Output(
                "packed",
                schema=SCHEMA,
                gathered=True,
                group_by="input_ids",
                group_size=GROUP_TOKENS,
                plain=("input_ids", "doc_lens", "doc_starts"),
            ),
        )

    def setup(self) -> None:
        from stages.pack.window import pack_window

        two = np.array([0, 2]), np.array([2, 20])
        pack_window(np.zeros(20, np.int32), *two, pa.array(["a", "b"]), 8, 0, 0.0, 0)

    def partitions(self, round: int, shards: int) -> int:
        return 1 << 31 if round == 0 else shards

    def gather_rows(self, round: int) -> int:
        return 1  # a window is a task of its own

    def scatter(self, docs: pa.Table, shard: int, row: int) -> pa.Table:
        docs = docs.filter(pc.greater(pc.fill_null(pc.list_value_length(docs["mixture"]), 0), 0))
        if self._files is None:
            self._files = TokenFiles()
        ids = self._files.of_documents(docs)
        paths = pc.unique(docs["token_file"]).to_pylist()
        about = pa.array([self._files.identity(path) for path in paths], pa.string())
        tokenizer = about.take(pc.index_in(docs["token_file"], pa.array(paths, pa.string())))

        mixture = docs["mixture"].combine_chunks()
        parent = pc.list_parent_indices(mixture).to_numpy()
        drawn = mixture.flatten()
        copies = drawn.field("copies").to_numpy()
        entry = np.repeat(np.arange(len(drawn)), copies)  # one for each copy
        copy = np.arange(len(entry)) - np.repeat(np.cumsum(copies) - copies, copies)
        parent = parent[entry]
        drawn = drawn.take(pa.array(entry))
        stages = drawn.field("stage").dictionary_encode()
        hashes = np.array([xxhash.xxh3_64_intdigest(name) for name in stages.dictionary.to_pylist()], np.uint64)
        stage = hashes[stages.indices.to_numpy()] if len(entry) else np.zeros(0, np.uint64)
        parts = self._parts(drawn.field("stage_documents").to_numpy(), drawn.field("stage_tokens").to_numpy())
        first = scramble(draws(docs["id"], self.seed)[parent] ^ stage, 0)
        # Copies of a document go to one window after another: as far apart as the windows allow
        part = (first % parts.astype(np.uint64) + copy.astype(np.uint64)) % parts.astype(np.uint64)
        group = (stage >> np.uint64(53)).astype(np.int64) * _PARTS
        places = pa.array(parent)
        return pa.table(
            {
                "partition": pa.array((group + part.astype(np.int64)).astype(np.int32)),
                "part": pa.array(part.astype(np.int32)),
                "stage": drawn.field("stage"),
                "sequence_length": drawn.field("sequence_length"),
                "copy": pa.array(copy.astype(np.int32)),
                "id": docs["id"].take(places),
                "tokenizer": tokenizer.take(places),
                "input_ids": ids.take(places),
            }
        )

    def _parts(self, documents: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """How many windows a stage of so many documents and tokens has. Their sizes are those of a random deal, within
        a few hundred of `window_documents`, so the least is aimed at with 5 % to spare."""
        by_documents = documents // int(self.window_documents * 1.05 + 1)
        return np.clip(np.maximum(by_documents, tokens // self.window_tokens), 1, _PARTS).astype(np.int64)

    def gather(self, round: int, partition: int, rows: pa.Table, sidecars: Sidecars) -> Gathered:
        from stages.pack.window import pack_window

        files: dict[str, pa.Table] = {}
        written: list[dict[str, Any]] = []
        keys = rows.group_by(["stage", "part", "sequence_length"]).aggregate([]).sort_by("stage").to_pylist()
        for key in keys:  # nearly always one: two stages may share a partition by an accident of their hashes
            mine = rows
            if len(keys) > 1:
                mine = rows.filter(pc.and_(pc.equal(rows["stage"], key["stage"]), pc.equal(rows["part"], key["part"])))
            stage, capacity = key["stage"], key["sequence_length"]
            tokenizers = pc.unique(mine["tokenizer"]).to_pylist()
            if len(tokenizers) > 1:
                raise CurationError(f"stage '{stage}' mixes token shards of two tokenizers: {' and '.join(tokenizers)}")
            eod = json.loads(tokenizers[0])["eod_id"]
            order = pc.sort_indices(mine, [("id", "ascending"), ("copy", "ascending")])
            names = mine["id"].take(order).combine_chunks()
            ids = mine["input_ids"].combine_chunks()
            begins, ends = (ids.offsets.to_numpy()[i : len(ids) + i][order.to_numpy()] for i in (0, 1))
            seed = xxhash.xxh3_64_intdigest(f"{self.seed}\0{stage}\0{key['part']}")
            table, layout = pack_window(
                ids.values.to_numpy(), begins, ends, names, capacity, eod, self.max_padding, seed
            )
            file = f"packed/{stage}/part-{key['part']:05d}"
            files[file] = table
            about = describe(f"part-{key['part']:05d}.parquet", table)
            pieces = np.bincount(layout.document, minlength=len(names))
            cut = int((pieces > 1).sum())
            for name, count in (
                ("packed_rows", about.rows),
                ("packed_tokens", about.tokens),
                ("padding", about.rows * capacity - about.tokens),
                ("cut_documents", cut),
            ):
                self.metrics.count(f"{name}={stage}", count)
            self.metrics.count("tokens", about.tokens)
            written.append(
                {
                    "partition": 0,
                    "row": SHARD_ROW,
                    "stage": stage,
                    "sequence_length": capacity,
                    "tokenizer": tokenizers[0],
                    "documents": len(names),
                    "cut_documents": cut,
                    "file": json.dumps(asdict(about)),
                    "lengths": json.dumps(length_histogram(ends - begins + 1)),
                }
            )
        return Gathered(pa.Table.from_pylist(written, _WRITTEN), files)

    def apply(self, docs: pa.Table, verdicts: pa.Table) -> Outcome:
        return Outcome(docs)

    def complete(self, shuffled: Shuffled) -> str:
        parts = shuffled.verdicts(0) if shuffled.sizes else _WRITTEN.empty_table()
        manifests: dict[str, PackedManifest] = {}
        for part in parts.to_pylist():
            stage, length = part["stage"], part["sequence_length"]
            tokenizer = json.loads(part["tokenizer"])
            eod = tokenizer["eod_id"]
            manifest = manifests.setdefault(stage, PackedManifest(stage, length, eod, eod, tokenizer, run="../.."))
            if tokenizer != manifest.tokenizer:
                raise CurationError(f"stage '{stage}' mixes token shards of two tokenizers")
            file = json.loads(part["file"])
            manifest.files.append(file)
            manifest.rows += file["rows"]
            manifest.tokens += file["tokens"]
            manifest.padding += file["rows"] * length - file["tokens"]
            manifest.documents += part["documents"]
            manifest.cut_documents += part["cut_documents"]
            for power, count in json.loads(part["lengths"]).items():
                manifest.length_histogram[power] = manifest.length_histogram.get(power, 0) + count
        shares = _shares(shuffled.url)
        for manifest in manifests.values():
            manifest.files.sort(key=lambda file: file["path"])
            manifest.length_histogram = dict(sorted(manifest.length_histogram.items(), key=lambda pair: int(pair[0])))
            manifest.shares = [
                {key: value for key, value in row.items() if key != "stage"}
                for row in shares
                if row["stage"] == manifest.stage
            ]
        _replace_manifests(f"{shuffled.url.rstrip('/')}/packed", manifests)
        return "\n".join(
            f"packed/{m.stage}: {m.rows:,} rows of {m.sequence_length:,}, {m.tokens:,} tokens, padding "
            f"{m.padding / (m.rows * m.sequence_length):.3%}, {m.cut_documents:,} of {m.documents:,} documents cut"
            for _, m in sorted(manifests.items())
        )


def _shares(run: str) -> list[dict[str, Any]]:
    """Rows of the mixture's plan, if the run made one."""
    fs, root = fsspec.core.url_to_fs(run)
    name = f"{root.rstrip('/')}/mixture/plan.parquet"
    if not fs.exists(name):
        return []
    with fs.open(name, "rb") as file:
        return pq.read_table(file).to_pylist()


def _replace_manifests(folder: str, manifests: dict[str, PackedManifest]) -> None:
    """Write the manifests that changed, and remove those of stages that are gone."""
    fs, root = fsspec.core.url_to_fs(folder)
    for stage, manifest in manifests.items():
        try:
            same = read_manifest(f"{folder}/{stage}") == manifest
        except CurationError:
            same = False
        if not same:
            write_manifest(f"{folder}/{stage}", manifest)
    for path in fs.glob(f"{root}/*/{MANIFEST}"):
        if path.split("/")[-2] not in manifests:
            fs.rm_file(path)

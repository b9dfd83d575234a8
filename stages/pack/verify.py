"""Counts a folder of packed rows again, from its bytes: what `curation shards verify` does.

Nothing of the run is trusted. The counts and checksums of the manifest are made anew from the files; each piece is put
back into its document: every copy of it must be covered from its first token to its end, once, with the end of
document where it ends and nowhere else; and documents must be there as often as the run's `documents/` says. With
`tokens`, the ids themselves are compared with those of the token shards they came from.

Trade-off: pieces are joined part by part, for a copy never leaves its part; only a count for each document, 24 bytes,
is kept over all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash

from curation.errors import ConfigError, CurationError
from stages.pack.shards import MANIFEST, SCHEMA, PackedManifest, length_histogram, read_manifest
from stages.pack.token_files import TokenFiles

#: Faults of one kind that are told in full.
_MOST = 5
_ROWS = 512


class Verification:
    """Checks one folder. `faults` are lines to show; `checked` counts what was looked at."""

    def __init__(self, folder: str, tokens: bool = False):
        self.folder = folder.rstrip("/")
        self.tokens = tokens
        self.faults: list[str] = []
        self.checked = {"rows": 0, "tokens": 0, "pieces": 0, "documents": 0}
        self._said: dict[str, int] = {}
        self._found: list[pa.Table] = []  # id, length with the end of document, copies, tokens' hash: per part
        self._cut = 0

    def run(self) -> list[str]:
        """All faults, a line each; empty if the folder is what its manifest says."""
        try:
            manifest = read_manifest(self.folder)
        except CurationError as error:
            self.faults.append(str(error))
            return self.faults
        self._files(manifest)
        totals = {"rows": 0, "tokens": 0, "pieces": 0}
        for file in manifest.files:
            counted = self._part(file, manifest)
            for name, n in counted.items():
                totals[name] += n
        self.checked |= totals
        self._compare("manifest", "rows", manifest.rows, totals["rows"])
        self._compare("manifest", "tokens", manifest.tokens, totals["tokens"])
        padding = totals["rows"] * manifest.sequence_length - totals["tokens"]
        self._compare("manifest", "padding", manifest.padding, padding)
        self._compare("manifest", "cut_documents", manifest.cut_documents, self._cut)
        self._documents(manifest)
        return self.faults

    def _fault(self, kind: str, line: str) -> None:
        """Note a fault; of many of one kind the first few."""
        self._said[kind] = self._said.get(kind, 0) + 1
        if self._said[kind] <= _MOST:
            self.faults.append(line)
        elif self._said[kind] == _MOST + 1:
            self.faults.append(f"{self.folder}: more faults like the last")

    def _compare(self, where: str, what: str, said: Any, counted: Any) -> None:
        if said != counted:
            self._fault(f"{what} {where}", f"{self.folder}: {where} says {what} {said}, counted {counted}")

    def _files(self, manifest: PackedManifest) -> None:
        """The folder holds the files of the manifest and no others."""
        fs, root = fsspec.core.url_to_fs(self.folder)
        there = {path.rsplit("/", 1)[-1] for path in fs.ls(root, detail=False)} - {MANIFEST}
        listed = {file["path"] for file in manifest.files}
        for name in sorted(there - listed):
            self._fault("unlisted", f"{self.folder}/{name}: not in the manifest")
        for name in sorted(listed - there):
            self._fault("missing", f"{self.folder}/{name}: in the manifest, and missing")

    def _part(self, file: dict[str, Any], manifest: PackedManifest) -> dict[str, int]:
        """Count one part; rows, tokens and pieces of it."""
        name = f"{self.folder}/{file['path']}"
        counted = {"rows": 0, "tokens": 0, "pieces": 0}
        digest = xxhash.xxh64()
        pieces: list[pa.Table] = []
        try:
            with fsspec.open(name, "rb") as handle:
                parquet = pq.ParquetFile(handle)
                if not parquet.schema_arrow.equals(SCHEMA):
                    self._fault("schema", f"{name}: its columns are not those of packed rows")
                    return counted
                for batch in parquet.iter_batches(_ROWS):
                    rows = pa.table(batch)
                    digest.update(np.ascontiguousarray(_flat(rows, "input_ids"), "<i4").data)
                    table = self._rows(name, rows, counted["rows"], manifest)
                    counted["rows"] += rows.num_rows
                    if table is not None:
                        counted["tokens"] += pc.sum(table["length"]).as_py() or 0
                        counted["pieces"] += table.num_rows
                        pieces.append(table)
        except FileNotFoundError:
            return counted  # told by _files
        except (OSError, pa.ArrowException) as error:
            self._fault("unreadable", f"{name}: {str(error).splitlines()[0]}")
            return counted
        for what, n in counted.items():
            self._compare(file["path"], what, file.get(what), n)
        self._compare(file["path"], "xxh64", file["xxh64"], digest.hexdigest())
        if pieces:
            self._join(name, pa.concat_tables(pieces))
        return counted

    def _rows(self, name: str, rows: pa.Table, first: int, manifest: PackedManifest) -> pa.Table | None:
        """Check rows by themselves; their pieces (id, start, length, whether they end with the end of document, and
        with `tokens` a hash of their ids), or None if their shape is broken."""
        length = manifest.sequence_length
        widths = pc.list_value_length(rows["input_ids"]).to_numpy()
        for i in np.flatnonzero(widths != length)[:1]:
            self._fault("length", f"{name}: row {first + i} has {widths[i]} ids, not {length}")
        counts = [pc.list_value_length(rows[c]).to_numpy() for c in ("doc_lens", "doc_ids", "doc_starts")]
        uneven = (counts[0] != counts[1]) | (counts[0] != counts[2])
        for i in np.flatnonzero(uneven)[:1]:
            self._fault("pieces", f"{name}: row {first + i} has doc_lens, doc_ids and doc_starts of different lengths")
        if uneven.any() or (widths != length).any():
            return None
        ids, lens, starts = (_flat(rows, c) for c in ("input_ids", "doc_lens", "doc_starts"))
        row = np.repeat(np.arange(rows.num_rows), counts[0])
        ends = np.cumsum(lens, dtype=np.int64)
        before = np.concatenate([[0], ends])[np.concatenate([[0], np.cumsum(counts[0])[:-1]]).astype(np.int64)]
        used = np.bincount(row, weights=lens, minlength=rows.num_rows).astype(np.int64)
        bad = (used > length) | (used < 1)
        bad[row[(lens < 1) | (starts < 0)]] = True
        for i in np.flatnonzero(bad)[:1]:
            self._fault("overfull", f"{name}: row {first + i} holds pieces of {used[i]} tokens in {length}")
        if bad.any():
            return None
        places = ends - lens - before[row] + row * np.int64(length)  # where each piece starts in `ids`
        grid = ids.reshape(-1, length)
        padding = np.arange(length)[None, :] >= used[:, None]
        for i in np.flatnonzero((padding & (grid != manifest.pad_id)).any(axis=1))[:1]:
            self._fault("padding", f"{name}: row {first + i} has other ids than {manifest.pad_id} as padding")
        vocabulary = manifest.tokenizer.get("vocab_size", 1 << 31)
        for i in np.flatnonzero(((grid < 0) | (grid >= vocabulary)).any(axis=1))[:1]:
            self._fault("vocabulary", f"{name}: row {first + i} has an id outside 0 to {vocabulary - 1}")
        # Ends of documents: as many as there are in a piece, of which only the last id may be one
        eods = np.concatenate([[0], np.cumsum(ids == manifest.eod_id)])
        inside = eods[places + lens - 1] - eods[places]
        for i in np.flatnonzero(inside)[:1]:
            self._fault("eod", f"{name}: row {first + row[i]} has an end of document inside a piece")
        table = {
            "id": _one(rows["doc_ids"]).flatten(),
            "start": pa.array(starts),
            "length": pa.array(lens),
            "ended": pa.array(ids[places + lens - 1] == manifest.eod_id),
        }
        if self.tokens:
            data = np.ascontiguousarray(ids, "<i4").data.cast("B")
            at = zip((places * 4).tolist(), ((places + lens) * 4).tolist(), strict=True)
            table["bytes"] = pa.array([data[a:b].tobytes() for a, b in at], pa.large_binary())
        return pa.table(table)

    def _join(self, name: str, pieces: pa.Table) -> None:
        """Put the pieces of a part back into documents: each copy covered once, from its start to its end.

        Copies of a document are cut in different places, so pieces are matched by where they begin and end: at 0 as
        many begin as there are copies, at any other place as many as end there, and as many end at the document's end.
        """
        encoded = _one(pieces["id"]).dictionary_encode()
        code = encoded.indices.to_numpy().astype(np.int64)
        start = pieces["start"].to_numpy().astype(np.int64)
        end = start + pieces["length"].to_numpy()
        ended = pieces["ended"].to_numpy(zero_copy_only=False)
        n = len(encoded.dictionary)
        copies = np.bincount(code[start == 0], minlength=n)
        whole = np.zeros(n, np.int64)  # length of each document: where its furthest piece ends
        np.maximum.at(whole, code, end)

        def say(documents: np.ndarray, what: str) -> None:
            for i in np.unique(documents)[:_MOST].tolist():
                self._fault(what, f"{name}: document {encoded.dictionary[i].as_py()} {what}")

        say(np.flatnonzero(copies == 0), "has no piece that begins it")
        say(code[(end == whole[code]) & ~ended], "does not end with the end of document")
        say(code[(end < whole[code]) & ended], "has an end of document before its end")
        places = np.concatenate(
            [np.stack([code, start, np.ones_like(code)]), np.stack([code, end, -np.ones_like(code)])], 1
        )
        order = np.lexsort((places[1], places[0]))
        document, place, change = places[:, order]
        edge = np.concatenate([[True], (np.diff(document) != 0) | (np.diff(place) != 0)])
        sums = np.add.reduceat(change, np.flatnonzero(edge))
        document, place = document[edge], place[edge]
        expected = np.where(place == 0, copies[document], np.where(place == whole[document], -copies[document], 0))
        say(document[sums != expected], "is not covered once by its pieces")
        self._cut += int(self._copies_cut(code, start, end, whole, copies))
        table = {"id": encoded.dictionary, "length": pa.array(whole), "copies": pa.array(copies)}
        if self.tokens:
            table["hash"] = pa.array(_hashes(code, start, pieces["bytes"], n, copies))
        self._found.append(pa.table(table))

    @staticmethod
    def _copies_cut(code: np.ndarray, start: np.ndarray, end: np.ndarray, whole: np.ndarray, copies: np.ndarray) -> int:
        """How many copies are in more than one piece."""
        uncut = int(((start == 0) & (end == whole[code])).sum())
        return int(copies.sum()) - uncut

    def _documents(self, manifest: PackedManifest) -> None:
        """Compare what was found with the run's `documents/`, and the manifest's counts of documents."""
        if not self._found:
            return
        found = pa.concat_tables(self._found)
        copies = found["copies"].to_numpy()
        self._compare("manifest", "documents", manifest.documents, int(copies.sum()))
        lengths = np.repeat(found["length"].to_numpy(), copies)
        self._compare("manifest", "length_histogram", manifest.length_histogram, length_histogram(lengths))
        extra = [("hash", "min"), ("hash", "max")] if self.tokens else []
        found = found.group_by("id").aggregate([("copies", "sum"), ("length", "min"), ("length", "max"), *extra])
        self.checked["documents"] = found.num_rows
        for id in found.filter(pc.not_equal(found["length_min"], found["length_max"]))["id"][:_MOST].to_pylist():
            self._fault("two lengths", f"{self.folder}: document {id} has copies of different lengths")
        if self.tokens:
            for id in found.filter(pc.not_equal(found["hash_min"], found["hash_max"]))["id"][:_MOST].to_pylist():
                self._fault("two texts", f"{self.folder}: document {id} has copies of different ids")
        if not manifest.run:
            self._fault("no run", f"{self.folder}: its manifest names no run, so no piece can be joined to a document")
            return
        seen = 0
        index = _one(found["id"])
        said, counts, lengths = (found[c].to_numpy() for c in ("copies_sum", "copies_sum", "length_max"))
        files = TokenFiles()
        shares = _Shares(manifest)
        try:
            for docs in self._planned(manifest, shares.columns):
                shares.add(docs)
                drawn = docs["copies"].to_numpy()
                place = pc.fill_null(pc.index_in(docs["id"], index), -1).to_numpy()
                seen += int((place >= 0).sum())
                for i in np.flatnonzero((place < 0) | (said[place] != drawn))[:_MOST].tolist():
                    there = int(counts[place[i]]) if place[i] >= 0 else 0
                    id = docs["id"][i].as_py()
                    self._fault("copies", f"{self.folder}: document {id} is there {there} times, planned {drawn[i]}")
                long = docs["n_tokens"].to_numpy() + 1
                for i in np.flatnonzero((place >= 0) & (lengths[place] != long))[:_MOST].tolist():
                    id = docs["id"][i].as_py()
                    self._fault("size", f"{self.folder}: document {id} has {lengths[place[i]]} tokens, not {long[i]}")
                if self.tokens:
                    self._against_tokens(docs, place, found["hash_min"].to_numpy(), files, manifest.eod_id)
        except (CurationError, OSError, pa.ArrowException) as error:
            self._fault("run", f"{self.folder}: the run's documents cannot be read: {str(error).splitlines()[0]}")
            return
        finally:
            files.close()
        for line in shares.differences():
            self._fault("shares", f"{self.folder}: manifest says {line}")
        if seen < found.num_rows:
            self._fault("unknown", f"{self.folder}: {found.num_rows - seen} documents are not in the run's documents/")

    def _planned(self, manifest: PackedManifest, labels: list[str]) -> Iterator[pa.Table]:
        """The run's documents that this stage reads: id, n_tokens, copies, token_file, position and labels."""
        fs, root = fsspec.core.url_to_fs(self.folder)
        parts = root.split("/")
        for step in manifest.run.split("/"):
            parts = parts[:-1] if step == ".." else [*parts, step]
        run = "/".join(parts)
        paths = sorted(fs.glob(f"{run}/documents/*.parquet"))
        if not paths:
            raise CurationError(f"no parquet files in {run}/documents")
        for path in paths:
            with fs.open(path, "rb") as handle:
                columns = ["id", "n_tokens", "mixture", "token_file", "position", *labels]
                for batch in pq.ParquetFile(handle).iter_batches(1 << 14, columns=columns):
                    docs = pa.table(batch)
                    mixture = _one(docs["mixture"])
                    drawn = mixture.flatten()
                    mine = pc.equal(drawn.field("stage"), manifest.stage)
                    rows = pc.list_parent_indices(mixture).filter(mine)
                    chosen = docs.drop_columns(["mixture"]).take(rows)
                    yield chosen.append_column("copies", drawn.field("copies").filter(mine))

    def _against_tokens(
        self, docs: pa.Table, place: np.ndarray, hashes: np.ndarray, files: TokenFiles, eod: int
    ) -> None:
        """Compare the ids of documents with those of their token shards."""
        ids = files.of_documents(docs)
        end = np.array([eod], "<i4").tobytes()
        for i, value in enumerate(ids):
            data = np.ascontiguousarray(value.values.to_numpy(), "<i4").tobytes() + end
            if place[i] >= 0 and hashes[place[i]] != np.uint64(xxhash.xxh3_64_intdigest(data)):
                id = docs["id"][i].as_py()
                self._fault("ids", f"{self.folder}: the ids of document {id} are not those of its token shard")


class _Shares:
    """Documents and tokens of each value that the manifest gives a share, counted again."""

    def __init__(self, manifest: PackedManifest):
        self._said = manifest.shares
        labels = {row["label"] for row in manifest.shares}
        self.columns = sorted(labels - {"", "length"})
        self._counts: dict[tuple[str, str], list[int]] = {}

    def add(self, docs: pa.Table) -> None:
        """Count some documents, `copies` times each."""
        copies = docs["copies"].to_numpy().astype(np.int64)
        lengths = docs["n_tokens"].to_numpy().astype(np.int64) + 1
        for column in self.columns:
            encoded = _one(pc.fill_null(docs[column].cast(pa.string()), "")).dictionary_encode()
            code = encoded.indices.to_numpy()
            for i, value in enumerate(encoded.dictionary.to_pylist()):
                self._count(column, value, code == i, copies, lengths)
        for row in self._said:
            if row["label"] == "length":
                low, _, high = row["value"].partition("-")
                inside = (lengths >= int(low)) & (lengths <= int(high or 1 << 62))
                self._count("length", row["value"], inside, copies, lengths)
            elif row["label"] == "":
                self._count("", "", np.ones(len(copies), bool), copies, lengths)

    def _count(self, label: str, value: str, mask: np.ndarray, copies: np.ndarray, lengths: np.ndarray) -> None:
        count = self._counts.setdefault((label, value), [0, 0])
        count[0] += int(copies[mask].sum())
        count[1] += int((copies * lengths)[mask].sum())

    def differences(self) -> Iterator[str]:
        """What the manifest says otherwise."""
        for row in self._said:
            documents, tokens = self._counts.get((row["label"], row["value"]), [0, 0])
            if (row["documents"], row["tokens"]) != (documents, tokens):
                name = f"{row['label']} '{row['value']}'" if row["label"] else "all"
                yield (
                    f"{name}: {row['documents']} documents and {row['tokens']} tokens, counted {documents} and {tokens}"
                )


def _one(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks()


def _flat(rows: pa.Table, name: str) -> np.ndarray:
    """All elements of a list column."""
    return _one(rows[name]).flatten().to_numpy()


def _hashes(code: np.ndarray, start: np.ndarray, data: pa.ChunkedArray, n: int, copies: np.ndarray) -> np.ndarray:
    """xxh3 of the ids of each document, uint64: of its pieces in order. With several copies, cut in different places,
    pieces are laid over each other; 0 if they contradict."""
    order = np.lexsort((start, code))
    values = data.take(pa.array(order)).to_pylist()
    result = np.zeros(n, np.uint64)
    cuts = np.concatenate([[0], np.flatnonzero(np.diff(code[order])) + 1, [len(order)]])
    for first, last in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True):
        document = int(code[order[first]])
        whole = bytearray()
        agree = True
        for i in range(first, last):
            at, piece = int(start[order[i]]) * 4, values[i]
            known = bytes(whole[at : at + len(piece)])
            agree &= at <= len(whole) and piece.startswith(known)
            whole += piece[len(known) :]
        result[document] = xxhash.xxh3_64_intdigest(whole) if agree else 0
    return result


def folders(path: str) -> list[str]:
    """Packed folders at a path: itself, or those below it or below its `packed/`. ConfigError if there are none."""
    fs, root = fsspec.core.url_to_fs(path)
    root = root.rstrip("/")
    if fs.exists(f"{root}/{MANIFEST}"):
        return [path.rstrip("/")]
    for inner in ("packed/", ""):
        found = sorted(fs.glob(f"{root}/{inner}*/{MANIFEST}"))
        if found:
            return [f"{path.rstrip('/')}/{inner}{p.split('/')[-2]}" for p in found]
    raise ConfigError(f"{path}: no folder of packed rows, and none below it (no {MANIFEST})")

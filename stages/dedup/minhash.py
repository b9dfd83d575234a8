"""Near-duplicate removal over the whole corpus: MinHash proposes pairs, a direct comparison decides.

Comparing every pair of 10^9 documents is out of the question. MinHash with banding finds the pairs that are probably
alike by sorting hashes; the price is pairs found by luck, and the usual next step, taking the transitive closure of
all pairs, makes it worse: of 12,575 pages of documentation and changelogs, one in six that closure removes has a
Jaccard index below 0.7 with the page kept for it, and chains of templates grow into clusters of 107. So here a pair is
a proposal only. A document is dropped if it is itself like the document kept in its place, and on no other ground.

What moves: a band key and an address, 20 bytes for each of 14 bands. A sketch of 512 bytes a document stays beside its
shard and is read only if the document shares a bucket with another. Trade-off: the second gather, which decides, is
one task; its memory is proportional to the documents that have a candidate, about 0.7 kB each.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
from pydantic import Field, PrivateAttr

from curation.documents import column_type
from curation.stage import Barrier, Outcome, Output, Sidecars
from stages.dedup import duplicates

#: Upper bounds of the bucket sizes and of the resemblances in the report.
BUCKET_SIZES = (3, 10, 100, 1_000, 10_000, 100_000, 1_000_000)
JACCARD = (0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0)

EDGES = pa.schema([("partition", pa.int32()), ("a", pa.int64()), ("b", pa.int64())])


class Signed(NamedTuple):
    """What is computed of each of n texts: signatures (uint32, shape (n, bands x rows)), sketches (uint8, shape
    (n, 512)) and numbers of words (int32)."""

    signatures: np.ndarray
    sketches: np.ndarray
    words: np.ndarray


class MinhashDedup(Barrier, name="minhash_dedup"):
    """Drops documents that nearly repeat another one.

    Two documents are compared as sets of word n-grams (`ngram`, 5): lower case, without accents and punctuation,
    every digit read as 0 (`fold_digits`); a character of Chinese, Japanese, Thai, Lao, Khmer or Burmese is a word.
    Documents that agree in all `rows` values of one of `bands` bands are candidates. With the default 14 x 8 a pair
    of Jaccard index J becomes one with probability 1 - (1 - J^8)^14: 0.56 at 0.7, 0.92 at 0.8, 0.99 at 0.85.

    Documents are then taken in the order of `keep`: by place in the inputs (`first`), or the ones with more words
    before the others (`longest`, ties by place). A document is dropped if its Jaccard index with a candidate that
    stays, or with the document that stayed for a candidate, is at least `min_jaccard`, as sketches of 512 bytes tell
    it (standard error 0.015). Otherwise it stays. So no document is dropped for its resemblance to one that is gone;
    in a chain of revisions every so many stay.

    A document of fewer words than `ngram` has no n-gram: it is kept and counted (`short_documents`). Run
    `exact_dedup` before this stage; it finds equal texts of any length, and it is cheaper.

    The kept document's column `duplicates` says how many documents it stands for, those that `exact_dedup` removed
    included. `duplicates/` holds a row per removed document; its `cluster` names the first document of all that hang
    together by pairs over `min_jaccard`, of which more than one may stay.

    Drop reason: `near_duplicate` (detail: `kept=<id> jaccard=0.93`, as estimated).
    Sources: Broder, On the resemblance and containment of documents, 1997; bands, rows and n-grams as in FineWeb
    (Penedo et al. 2024, section 3.4).
    """

    bands: int = Field(14, ge=1, le=256, description="bands of a signature; one equal band makes a candidate")
    rows: int = Field(8, ge=1, le=64, description="values in a band")
    ngram: int = Field(5, ge=1, le=64, description="words in a shingle")
    min_jaccard: float = Field(
        0.70, ge=0, le=1, description="a document goes if its Jaccard index with the kept one is at least this"
    )
    keep: Literal["first", "longest"] = Field("first", description="which document of a cluster stays")
    fold_digits: bool = Field(True, description="read every digit as 0, so that dates and counters do not tell apart")
    shuffle_partitions: int = Field(64, ge=1, le=65536, description="parts the band keys are sorted in, one task each")

    _table: np.ndarray = PrivateAttr()
    _permutations: np.ndarray = PrivateAttr()
    _factors: np.ndarray = PrivateAttr()
    _latest: tuple[pa.Table, Signed] | None = PrivateAttr(None)

    def needs(self) -> tuple[str, ...]:
        return ("id", "url", "text")

    def adds(self) -> dict[str, pa.DataType]:
        return {"duplicates": column_type("duplicates")}

    def outputs(self) -> tuple[Output, ...]:
        return (duplicates.OUTPUT,)

    def setup(self) -> None:
        from stages.dedup.signatures import permutations, powers
        from stages.dedup.words import fold_table

        self._table = fold_table(self.fold_digits)
        self._permutations = permutations(self.bands * self.rows, self.seed)
        self._factors = powers(self.ngram)
        self.signatures(pa.array(["compile"], pa.large_string()))  # now, not within the time limit of the first batch

    def rounds(self) -> int:
        return 2

    def partitions(self, round: int, shards: int) -> int:
        return self.shuffle_partitions if round == 0 else 1

    def signatures(self, text: pa.ChunkedArray | pa.Array) -> Signed:
        """Signature, sketch and number of words of each text."""
        from stages.dedup.signatures import SKETCH, signatures
        from stages.dedup.words import word_hashes

        words, starts = word_hashes(text, self._table)
        n = len(starts) - 1
        result = np.empty((n, self.bands * self.rows), np.uint32)
        sketches = np.empty((n, SKETCH), np.uint8)
        signatures(words, starts, self._factors, self._permutations, result, sketches)
        return Signed(result, sketches, np.diff(starts).astype(np.int32))

    def _signed(self, docs: pa.Table) -> Signed:
        """Signatures of a batch, kept for `sidecar`, which is called with the batch that `scatter` has just seen."""
        if self._latest is None or self._latest[0] is not docs:
            self._latest = (docs, self.signatures(docs["text"]))
        return self._latest[1]

    def scatter(self, docs: pa.Table, shard: int, row: int) -> pa.Table:
        signed = self._signed(docs)
        self.metrics.count("short_documents", int((signed.words < self.ngram).sum()))
        return self.band_rows(signed, shard, row)

    def band_rows(self, signed: Signed, shard: int, row: int) -> pa.Table:
        """Band keys of the documents that have an n-gram, the first of them being row `row` of `shard`."""
        from stages.dedup.signatures import band_keys

        some = np.flatnonzero(signed.words >= self.ngram)
        keys = band_keys(signed.signatures[some], self.bands).reshape(-1)
        part = ((keys >> np.uint64(32)) * np.uint64(self.shuffle_partitions)) >> np.uint64(32)
        return pa.table(
            {
                "partition": part.astype(np.int32),
                "key": keys.view(np.int64),
                "document": np.repeat(duplicates.addresses(shard, row + some), self.bands),
            }
        )

    def sidecar(self, docs: pa.Table) -> pa.Table:
        _, sketches, words = self._signed(docs)
        self._latest = None
        width = pa.binary(sketches.shape[1])
        return pa.table(
            {
                "sketch": pa.FixedSizeBinaryArray.from_buffers(width, docs.num_rows, [None, pa.py_buffer(sketches)]),
                "words": words,
                "duplicates": duplicates.weights(docs),
                "id": docs["id"],
                "url": docs["url"],
            }
        )

    def gather(self, round: int, partition: int, rows: pa.Table, sidecars: Sidecars) -> pa.Table:
        return self._candidates(rows) if round == 0 else self._decide(rows, sidecars)

    def _candidates(self, rows: pa.Table) -> pa.Table:
        """Round 0: band keys of a partition -> pairs of documents."""
        from stages.dedup.clusters import bucket_sizes, candidate_edges, first_with_equal_key

        if rows.num_rows == 0:
            return EDGES.empty_table()
        document = rows["document"].to_numpy()
        key = rows["key"].to_numpy().view(np.uint64)
        if (np.diff(document) < 0).any():
            order = np.argsort(document, kind="stable")
            document, key = document[order], key[order]
        first, previous = first_with_equal_key(key, key)
        a, b = candidate_edges(first, previous, document)
        self.metrics.observe("bucket_size", bucket_sizes(first), BUCKET_SIZES)
        return pa.table([np.zeros(len(a), np.int32), a, b], schema=EDGES)

    def _decide(self, rows: pa.Table, sidecars: Sidecars) -> pa.Table:
        """Round 1: all pairs -> what becomes of each document that is in one."""
        from stages.dedup.clusters import components, distinct_edges, neighbours
        from stages.dedup.signatures import elect, resemblances

        if rows.num_rows == 0:
            return duplicates.VERDICTS.empty_table()
        address, a, b = distinct_edges(rows["a"].to_numpy(), rows["b"].to_numpy())
        sketches, beside = self._beside(address, sidecars)

        order = np.arange(len(address))
        if self.keep == "longest":
            order = np.argsort(-beside["words"].to_numpy().astype(np.int64), kind="stable")
        keeper, jaccard = np.empty(len(address), np.int64), np.empty(len(address))
        elect(order, *neighbours(len(address), a, b), sketches, self.min_jaccard, keeper, jaccard)

        alike = resemblances(sketches, a, b) >= self.min_jaccard
        gone = np.flatnonzero(keeper != np.arange(len(address)))
        first = components(len(address), np.concatenate([a[alike], gone]), np.concatenate([b[alike], keeper[gone]]))
        self.metrics.count("candidate_documents", len(address))
        self.metrics.count("candidate_pairs", len(a))
        self.metrics.count("candidate_pairs_alike", int(alike.sum()))
        return duplicates.verdicts(
            address,
            keeper,
            jaccard,
            beside["duplicates"].to_numpy(),
            first,
            beside["id"],
            beside["url"],
        )

    def _beside(self, address: np.ndarray, sidecars: Sidecars) -> tuple[np.ndarray, pa.Table]:
        """Sketches and other sidecar columns of the documents at `address` (increasing), shard by shard."""
        from stages.dedup.signatures import SKETCH

        sketches = np.empty((len(address), SKETCH), np.uint8)
        shard = duplicates.shards(address)
        starts = np.flatnonzero(np.diff(shard, prepend=-1))
        found = []
        for start, end in zip(starts, [*starts[1:], len(address)], strict=True):
            table = sidecars.rows(int(shard[start]), duplicates.rows(address[start:end]))
            column = table["sketch"].combine_chunks()
            data = np.frombuffer(column.buffers()[1], np.uint8).reshape(-1, SKETCH)
            sketches[start:end] = data[column.offset : column.offset + len(column)]
            found.append(table.select(["words", "duplicates", "id", "url"]))
        return sketches, pa.concat_tables(found)

    def apply(self, docs: pa.Table, verdicts: pa.Table) -> Outcome:
        result = duplicates.outcome(docs, verdicts, "near_duplicate", "minhash", show_jaccard=True)
        duplicates.observe_sizes(self.metrics, result)
        self.metrics.observe("jaccard", result.outputs[duplicates.FOLDER]["jaccard"], JACCARD)
        return result

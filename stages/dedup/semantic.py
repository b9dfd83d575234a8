"""Semantic deduplication: of documents whose embeddings point the same way, one stays (SemDeDup).

A text that was rewritten, translated or retold shares no words with the original, but a good embedding has the two side
by side. Comparing all pairs of vectors is out of the question; k-means puts alike ones into one cluster, and only
within a cluster are pairs compared. What that misses are pairs that a border between clusters divides.

The steps: round 0 trains centroids on a sample that is chosen by the hash of the documents' ids; round 1 gives each
document of some shards to its nearest centroid; round 2 compares the documents of a cluster. All arithmetic is exact
(`embeddings.py`), so the result is the same for any workers, batches, libraries and machines.

Trade-off: 2 bytes a dimension move once per document, and a cluster is compared in one task, whose memory is that of
its vectors. `clusters` bounds it: twice as many are half as large.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from curation.documents import column_type
from curation.stage import Outcome, Output, Sidecars
from stages.dedup import duplicates
from stages.dedup.keepers import KeepsOne

#: Documents that a cluster has by default, about, and on how many for each one k-means is trained.
_CLUSTER_DOCUMENTS, _TRAINED_ON = 1_000, 64
_MOST_CLUSTERS = 50_000

#: Upper bounds of the cosines and cluster sizes in the report.
COSINES = (0.8, 0.85, 0.9, 0.925, 0.95, 0.975, 0.99, 1.0)
CLUSTER_SIZES = (10, 100, 1_000, 10_000, 100_000, 1_000_000)

_CENTROIDS = pa.schema([("partition", pa.int32()), ("cluster", pa.int32()), ("centroid", pa.large_binary())])
_MEMBERS = pa.schema(
    [
        ("partition", pa.int32()),
        ("document", pa.int64()),
        ("near", pa.float32()),
        ("vector", pa.large_binary()),
        ("preference", pa.int64()),
        ("scope", pa.uint64()),
        ("duplicates", pa.int32()),
        ("id", pa.string()),
        ("url", pa.string()),
    ]
)


class SemanticDedup(KeepsOne, name="semantic_dedup"):
    """Drops documents whose embedding is nearly that of another one.

    `embedding` names a column of vectors (a list of floats; all of one length), which an embedding model made of the
    texts. Documents are put into `clusters` by spherical k-means. Within a cluster they are taken in the order of
    `keep`, and one is dropped if its cosine with a document that stayed is at least `min_cosine`; the one it is most
    similar to stands for it. So, unlike in the paper, no document goes for its resemblance to one that is gone.

    `keep` chooses as in the other dedup stages, or by the centroid of the cluster: `farthest` from it first, as in the
    paper, which found that the better training set, or `nearest`. Ties go by place. With `within`, only documents of
    the same language, dump or source are compared.

    What a cosine means depends on the model: look at `duplicates/` of a trial before choosing `min_cosine`. Documents
    without a vector (null, empty, zero, not finite: `without_embedding`) or with one of another length than most
    (`other_dimensions`) are kept and counted.

    The kept document's column `duplicates` says how many documents it stands for; `duplicates/` holds a row per
    removed one, with the cosine in the column `jaccard` and `semantic` as its `kind`.

    Drop reason: `semantic_duplicate` (detail: `kept=<id> cosine=0.97`).
    Source: SemDeDup (Abbas et al. 2023).
    """

    embedding: str = Field("embedding", description="column of the vectors")
    min_cosine: float = Field(
        0.95, gt=0, le=1, description="a document goes if its cosine with a kept one reaches this"
    )
    clusters: int | None = Field(
        None, ge=1, description="clusters of k-means; by default one for 1,000 documents, at most 50,000"
    )
    iterations: int = Field(20, ge=1, description="passes of k-means, at most")
    keep: Literal["first", "longest", "newest", "highest", "source", "farthest", "nearest"] = Field(  # type: ignore[assignment]
        "first",
        description="which document stays: the `first` in the order of the inputs; the `longest`; the `newest` by its "
        "`date`; the one with the `highest` value in the column `quality`; the one whose `source` comes first in "
        "`sources`; the one `farthest` from its cluster's centroid, or `nearest` to it. The first of equals",
    )
    sample: float = Field(
        1.0, gt=0, le=1, description="share of documents k-means may choose from; lower it beyond 10^8 documents"
    )
    shuffle_partitions: int = Field(64, ge=1, le=65536, description="tasks that give documents to clusters, at most")

    def needs(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(("id", "url", self.embedding, *self.chosen_by())))

    def adds(self) -> dict[str, pa.DataType]:
        return {"duplicates": column_type("duplicates")}

    def outputs(self) -> tuple[Output, ...]:
        return (duplicates.OUTPUT,)

    def setup(self) -> None:
        from stages.dedup.embeddings import elect, kmeans, quantized

        values, ends, _ = quantized(pa.array([[1.0, 2.0], [3.0, 4.0]]))
        vectors = values.reshape(len(ends) - 1, 2)
        kmeans(vectors, 1, 1)
        elect(vectors, 1.0)

    def rounds(self) -> int:
        return 3

    def partitions(self, round: int, shards: int) -> int:
        return (1, min(shards, self.shuffle_partitions), self.clusters or _MOST_CLUSTERS)[round]

    def gather_rows(self, round: int) -> int:
        return 1 if round == 1 else super().gather_rows(round)  # what a partition of round 1 makes is far more

    def scatter(self, docs: pa.Table, shard: int, row: int) -> pa.Table:
        from xxhash import xxh3_64_intdigest

        hashes = np.array([xxh3_64_intdigest(id, self.seed) for id in docs["id"].to_pylist()], np.uint64)
        _, _, some = self._quantized(docs)
        self.metrics.count("without_embedding", docs.num_rows - int(some.sum()))
        chosen = np.flatnonzero(some & (hashes <= np.uint64(min(int(self.sample * 2**64), 2**64 - 1))))
        return pa.table(
            {
                "partition": np.zeros(len(chosen), np.int32),
                "document": duplicates.addresses(shard, row + chosen),
                "hash": hashes[chosen].view(np.int64),
            }
        )

    def _quantized(self, docs: pa.Table) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        from stages.dedup.embeddings import quantized

        return quantized(docs[self.embedding])

    def sidecar(self, docs: pa.Table) -> pa.Table:
        values, ends, _ = self._quantized(docs)
        buffers = [None, pa.py_buffer(ends * 2), pa.py_buffer(values)]
        scopes = self.scope_hashes(docs)
        by_centroid = self.keep in ("farthest", "nearest")
        return pa.table(
            {
                "vector": pa.Array.from_buffers(pa.large_binary(), docs.num_rows, buffers),
                "preference": np.zeros(docs.num_rows, np.int64) if by_centroid else self.preferences(docs),
                "scope": scopes if scopes is not None else np.zeros(docs.num_rows, np.uint64),
                "duplicates": duplicates.weights(docs),
                "id": docs["id"],
                "url": docs["url"],
            }
        )

    def gather(self, round: int, partition: int, rows: pa.Table, sidecars: Sidecars) -> pa.Table:
        if round == 0:
            return self._centroids(rows, sidecars)
        return self._members(rows, partition, sidecars) if round == 1 else self._decide(rows)

    def _centroids(self, rows: pa.Table, sidecars: Sidecars) -> pa.Table:
        """Round 0: the chosen documents -> centroids, once for each partition of round 1."""
        from stages.dedup.embeddings import kmeans

        if rows.num_rows == 0:
            return _CENTROIDS.empty_table()
        address, hashes = rows["document"].to_numpy(), rows["hash"].to_numpy().view(np.uint64)
        wanted = self.clusters or -(-int(len(address) / self.sample) // _CLUSTER_DOCUMENTS)
        wanted = min(wanted, _MOST_CLUSTERS if self.clusters is None else wanted, len(address))
        order = np.lexsort((address, hashes))[: wanted * _TRAINED_ON]
        vectors = self._vectors(address[order], sidecars)
        # The length that most vectors have, the larger of equals.
        dimensions, count = np.unique([len(vector) for vector in vectors], return_counts=True)
        most = int(dimensions[len(count) - 1 - np.argmax(count[::-1])])
        trained = np.frombuffer(b"".join(vector for vector in vectors if len(vector) == most), np.int16)
        centroids = kmeans(trained.reshape(-1, most // 2), wanted, self.iterations)
        self.metrics.count("clusters", len(centroids))
        parts = self.partitions(1, sidecars.shards())
        one = pa.array([row.tobytes() for row in centroids], pa.large_binary())
        numbers = np.arange(len(one), dtype=np.int32)
        tables = [pa.table([np.full(len(one), p, np.int32), numbers, one], _CENTROIDS) for p in range(parts)]
        return pa.concat_tables(tables)

    def _vectors(self, address: np.ndarray, sidecars: Sidecars) -> list[bytes]:
        """Vectors of documents, in the order of `address`."""
        found: list[bytes] = [b""] * len(address)
        order = np.argsort(address)
        shard = duplicates.shards(address[order])
        for number in np.unique(shard).tolist():
            mine = order[shard == number]
            column = sidecars.rows(number, duplicates.rows(address[mine]), ("vector",))["vector"]
            for place, vector in zip(mine.tolist(), column.to_pylist(), strict=True):
                found[place] = vector
        return found

    def _members(self, rows: pa.Table, partition: int, sidecars: Sidecars) -> pa.Table:
        """Round 1: documents of every n-th shard -> their clusters, which are the partitions of round 2."""
        from stages.dedup.embeddings import lengths, nearest

        if rows.num_rows == 0:
            return _MEMBERS.empty_table()
        dimensions = len(rows["centroid"][0].as_py()) // 2
        centroids = _matrix(rows.sort_by("cluster")["centroid"], dimensions)
        parts = []
        for shard in range(partition, sidecars.shards(), self.partitions(1, sidecars.shards())):
            beside = sidecars.table(shard)
            if not beside.num_rows:
                continue
            size = pc.binary_length(beside["vector"]).to_numpy()
            some = np.flatnonzero(size == 2 * dimensions)
            self.metrics.count("other_dimensions", int((size > 0).sum()) - len(some))
            beside = beside.take(pa.array(some))
            vectors = _matrix(beside["vector"], dimensions)
            which, product = nearest(vectors, centroids)
            columns = {"partition": which.astype(np.int32), "document": duplicates.addresses(shard, some)}
            near = product / (lengths(vectors) * lengths(centroids)[which])
            columns |= {"near": near.astype(np.float32)} | {name: beside[name] for name in _MEMBERS.names[3:]}
            parts.append(pa.table(columns, _MEMBERS))
        return pa.concat_tables(parts) if parts else _MEMBERS.empty_table()

    def _decide(self, rows: pa.Table) -> pa.Table:
        """Round 2: the documents of a cluster -> what becomes of them."""
        from stages.dedup.embeddings import elect

        if rows.num_rows == 0:
            return duplicates.VERDICTS.empty_table()
        rows = rows.take(pa.array(np.argsort(rows["document"].to_numpy())))
        vectors = _matrix(rows["vector"], len(rows["vector"][0].as_py()) // 2)
        near = rows["near"].to_numpy() * {"farthest": 1, "nearest": -1}.get(self.keep, 0)
        scope = rows["scope"].to_numpy()
        order = np.lexsort((near, ~rows["preference"].to_numpy(), scope))
        keeper, cosine = np.empty(len(order), np.int64), np.empty(len(order))
        starts = np.flatnonzero(np.diff(scope[order], prepend=~scope[order[:1]]))
        for mine in np.split(order, starts[1:]):
            chosen, found = elect(vectors[mine], self.min_cosine)
            keeper[mine], cosine[mine] = mine[chosen], found
        self.metrics.observe("semantic_cluster", np.array([len(order)]), CLUSTER_SIZES)
        return duplicates.verdicts(
            rows["document"].to_numpy(),
            keeper,
            cosine,
            rows["duplicates"].to_numpy(),
            keeper,
            rows["id"],
            rows["url"],
        )

    def apply(self, docs: pa.Table, verdicts: pa.Table) -> Outcome:
        result = duplicates.outcome(docs, verdicts, "semantic_duplicate", "semantic", measure="cosine")
        duplicates.observe_sizes(self.metrics, result)
        self.metrics.observe("cosine", result.outputs[duplicates.FOLDER]["jaccard"], COSINES)
        return result


def _matrix(column: pa.ChunkedArray, dimensions: int) -> np.ndarray:
    """Vectors of a binary column, all of one length: int16, shape (n, dimensions)."""
    whole = column.combine_chunks()
    offsets = np.frombuffer(whole.buffers()[1], np.int64)[whole.offset : whole.offset + len(whole) + 1]
    data = np.frombuffer(whole.buffers()[2] or b"", np.int16)
    return data[offsets[0] // 2 : offsets[-1] // 2].reshape(len(whole), dimensions)

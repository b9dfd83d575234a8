"""From band keys to verdicts: the four gathers of `minhash_dedup`.

Pairs of documents from equal band keys, by key; each pair verified once by the two sketches, by pair, of which a
spanning forest goes on; the components of all forests; and within each component, who stays. All but the third are as
many tasks as there are partitions. The third is one: it holds 60 bytes a document that has a verified copy, and decides
nothing but which documents belong together.

Trade-off: verification reads the sketches of both documents of a pair from beside their shards, block by block. Sent
along with each band key they would be 7 kB to move for every document, of which one in three needs one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from curation.metrics import Metrics
from curation.stage import Sidecars
from stages.dedup import clusters, duplicates, earlier_crawls
from stages.dedup.earlier_crawls import Members
from stages.dedup.election import LARGE, elect
from stages.dedup.index import Index
from stages.dedup.signatures import SKETCH, resemblances

#: Pairs of documents, a before b.
EDGES = pa.schema([("partition", pa.int32()), ("a", pa.int64()), ("b", pa.int64())])
#: Documents that hang together with others; a component is named by its first document.
MEMBERS = pa.schema([("partition", pa.int32()), ("component", pa.int64()), ("document", pa.int64())])

#: Upper bounds of the bucket sizes in the report.
BUCKET_SIZES = (3, 10, 100, 1_000, 10_000, 100_000, 1_000_000)

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
#: Pairs of the documents of one block, 2^10 of a shard, are verified by the same task.
_BLOCK_BITS = np.int64(10)
#: Pairs, or documents, whose sketches are in memory at a time: 128 MB.
_CHUNK = 1 << 18


@dataclass
class Gathers:
    """The rounds, over rows of one partition at a time.

    partitions: of pairs, and of components. base: the index of earlier crawls, if the run has one.
    """

    min_jaccard: float
    partitions: int
    base: Index | None
    sidecars: Sidecars
    metrics: Metrics

    def candidates(self, rows: pa.Table) -> pa.Table:
        """Round 0: band keys of a partition -> pairs of documents."""
        if rows.num_rows == 0:
            return EDGES.empty_table()
        document = rows["document"].to_numpy()
        key = rows["key"].to_numpy().view(np.uint64)
        if (document[1:] < document[:-1]).any():
            order = np.argsort(document, kind="stable")
            document, key = document[order], key[order]
        if self.base is not None:
            document, key = earlier_crawls.with_buckets(self.base, document, key)
        for view in (document, key):  # numba compiles once more for arrays that happen to be writable
            view.setflags(write=False)
        first, previous = clusters.first_with_equal_key(key, key)
        a, b = clusters.candidate_edges(first, previous, document)
        a, b = a[b >= 0], b[b >= 0]  # pairs within the index are of no interest
        self.metrics.observe("bucket_size", clusters.bucket_sizes(first), BUCKET_SIZES)
        # By the block of `a`, so that each pair is verified once, beside others of documents that lie near each other
        block = (a >> _BLOCK_BITS).view(np.uint64) * _MULTIPLIER
        return pa.table([duplicates.partitions(block, self.partitions), a, b], schema=EDGES)

    def verify(self, rows: pa.Table) -> pa.Table:
        """Round 1: pairs -> a spanning forest of those that are alike."""
        if rows.num_rows == 0:
            return EDGES.empty_table()
        address, a, b = clusters.distinct_edges(rows["a"].to_numpy(), rows["b"].to_numpy())
        alike = np.empty(len(a), bool)
        for start in range(0, len(a), _CHUNK):
            i, j = a[start : start + _CHUNK], b[start : start + _CHUNK]
            here = clusters.distinct(np.concatenate([i, j]))
            sketches, _ = self._beside(address[here], ())
            found = resemblances(sketches, clusters.places(here, i), clusters.places(here, j))
            alike[start : start + _CHUNK] = found >= self.min_jaccard
        self.metrics.count("candidate_pairs", len(a))
        self.metrics.count("candidate_pairs_alike", int(alike.sum()))
        a, b = a[alike], b[alike]
        if self.base is not None:
            address, a, b = earlier_crawls.to_components(self.base, address, a, b)
        a, b = clusters.spanning_forest(address, a, b)
        return pa.table([np.zeros(len(a), np.int32), a, b], schema=EDGES)

    def components(self, rows: pa.Table) -> pa.Table:
        """Round 2: the forests of all pairs -> the component (its first document) of each document in one."""
        if rows.num_rows == 0:
            return MEMBERS.empty_table()
        address, a, b = clusters.distinct_edges(rows["a"].to_numpy(), rows["b"].to_numpy())
        first = clusters.components(len(address), a, b)
        sizes = np.bincount(first)
        self.metrics.observe("component_size", sizes[sizes > 0], duplicates.CLUSTER_SIZES)
        component = address[first]
        part = duplicates.partitions(component.view(np.uint64) * _MULTIPLIER, self.partitions)
        return pa.table([part, component, address], schema=MEMBERS)

    def decide(self, rows: pa.Table) -> pa.Table:
        """Round 3: whole components -> what becomes of each of their documents."""
        if rows.num_rows == 0:
            return duplicates.VERDICTS.empty_table()
        component, document = rows["component"].to_numpy(), rows["document"].to_numpy()
        order = np.lexsort((document, component))
        component, document = component[order], document[order]
        members = None
        if self.base is not None:
            members = earlier_crawls.opened(self.base, component, document)
            component, document = members.component, members.document
        starts = np.flatnonzero(np.diff(component, prepend=~component[:1]))
        tables, start = [], 0
        while start < len(starts):  # components together while their sketches take 128 MB; a larger one alone
            end = int(np.searchsorted(starts, starts[start] + _CHUNK, side="right")) - 1
            end = max(end, start + 1) if starts[start] + _CHUNK < len(document) else len(starts)
            bounds = np.append(starts, len(document))[start : end + 1]
            here = slice(bounds[0], bounds[-1])
            tables.append(self._elect(document[here], component[here], bounds - bounds[0], members))
            start = end
        return pa.concat_tables(tables)

    def _elect(self, document: np.ndarray, names: np.ndarray, starts: np.ndarray, members: Members | None) -> pa.Table:
        """Verdicts on the documents (addresses) of the components `document[starts[c] : starts[c + 1]]`, whose `names`
        are given for each document. members: with an index, what is known of all components."""
        n = len(document)
        component = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
        in_order = np.argsort(document, kind="stable")  # sidecars are read from front to back
        back = np.empty(n, np.int64)
        back[in_order] = np.arange(n)
        sketches, beside = self._beside(document[in_order], ("preference", "duplicates", "id", "url"))
        indexed = document < 0
        order = np.lexsort((document, ~beside["preference"].to_numpy()[back], ~indexed, component))
        keeper, jaccard = np.empty(n, np.int64), np.empty(n)
        elect(back[order], starts, sketches, self.min_jaccard, LARGE, indexed[in_order], keeper, jaccard)
        self.metrics.count("clustered_documents", n - int(indexed.sum()))
        stays = np.bincount(component, weights=(keeper == np.arange(n))[back])
        self.metrics.count("chains", int((stays > 1).sum()))
        first = back[starts[:-1]][component]  # of each document in the order of `document`
        in_address_order = np.empty(n, np.int64)
        in_address_order[back] = first
        address = document[in_order]
        verdicts = duplicates.verdicts(
            address,
            keeper,
            jaccard,
            beside["duplicates"].to_numpy(),
            in_address_order,
            beside["id"],
            beside["url"],
            everyone=members is not None,
        )
        if members is None:
            return verdicts
        return earlier_crawls.told(verdicts, address, keeper, names[in_order], members)

    def _beside(self, address: np.ndarray, columns: tuple[str, ...]) -> tuple[np.ndarray, pa.Table]:
        """Sketches and other sidecar columns of the documents at `address` (increasing), shard by shard."""
        sketches = np.empty((len(address), SKETCH), np.uint8)
        found = []
        indexed = int(np.searchsorted(address, 0))
        if indexed:
            assert self.base is not None  # addresses below 0 are its documents
            sketches[:indexed], table = earlier_crawls.beside(self.base, address[:indexed], columns)
            found.append(table)
        shard = duplicates.shards(address)
        starts = indexed + np.flatnonzero(np.diff(shard[indexed:], prepend=-1))
        for start, end in zip(starts, [*starts[1:], len(address)], strict=True):
            table = self.sidecars.rows(int(shard[start]), duplicates.rows(address[start:end]), ("sketch", *columns))
            column = table["sketch"].combine_chunks()
            data = np.frombuffer(column.buffers()[1], np.uint8).reshape(-1, SKETCH)
            sketches[start:end] = data[column.offset : column.offset + len(column)]
            found.append(table.select(columns))
        return sketches, pa.concat_tables(found)

"""Near-duplicate removal over the whole corpus: MinHash proposes pairs, a direct comparison decides.

Comparing every pair of 10^9 documents is out of the question. MinHash with banding finds the pairs that are probably
alike by sorting hashes; the price is pairs found by luck, and the usual next step, taking the transitive closure of
all pairs, makes it worse: of 12,575 pages of documentation and changelogs, one in six that closure removes has a
Jaccard index below 0.7 with the page kept for it, and chains of templates grow into clusters of 107. So here a pair is
a proposal only. A document is dropped if it is itself like the document kept in its place, and on no other ground.

What moves: a band key and an address, 16 bytes for each of 14 bands. A sketch of 512 bytes a document stays beside its
shard and is read only if the document shares a bucket with another. Four gathers: pairs from the band keys, by key;
each pair verified once, by pair, of which a spanning forest goes on; the components of all forests; and within each
component, who stays. All but the third are as many tasks as there are partitions. The third is one: it holds 60 bytes
a document that has a verified copy, and decides nothing but which documents belong together.

Trade-off: sketches decide, not texts. At a Jaccard index of 0.7 their standard error is 0.015, so of the documents
removed 2.8 % have a true index below 0.7 (and 0.6 % below 0.65), on a corpus where one in seven pairs was made to lie
between 0.6 and 0.7. Reading both texts of each pair near the threshold again would move tens of kilobytes a pair to
settle what no one can see.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, PrivateAttr, model_validator

from curation.documents import column_type
from curation.stage import Outcome, Output, Sidecars
from stages.dedup import duplicates
from stages.dedup.against_index import AgainstIndex

if TYPE_CHECKING:
    from stages.dedup.earlier_crawls import Members
    from stages.dedup.index import Parameters

#: Upper bounds of the bucket sizes and of the resemblances in the report.
BUCKET_SIZES = (3, 10, 100, 1_000, 10_000, 100_000, 1_000_000)
JACCARD = (0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0)

#: Pairs of documents, a before b.
EDGES = pa.schema([("partition", pa.int32()), ("a", pa.int64()), ("b", pa.int64())])
#: Documents that hang together with others; a component is named by its first document.
MEMBERS = pa.schema([("partition", pa.int32()), ("component", pa.int64()), ("document", pa.int64())])

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
#: Pairs of the documents of one block, 2^10 of a shard, are verified by the same task.
_BLOCK_BITS = np.int64(10)
#: Pairs, or documents, whose sketches are in memory at a time: 128 MB.
_CHUNK = 1 << 18
#: A text by whose signature an index knows how signatures are made.
_SAMPLE = "The quick brown fox, Årsta 1984, Ｆｕｌｌ width and soft\u00adhyphen; 吾輩は猫である ภาษาไทย naïve १२३ "


class Signed(NamedTuple):
    """What is computed of each of n texts: signatures (uint32, shape (n, bands x rows)), sketches (uint8, shape
    (n, 512)) and numbers of words (int32)."""

    signatures: np.ndarray
    sketches: np.ndarray
    words: np.ndarray


class MinhashDedup(AgainstIndex, name="minhash_dedup"):
    """Drops documents that nearly repeat another one.

    Two documents are compared as sets of word n-grams (`ngram`, 5): lower case, without accents and punctuation,
    every digit read as 0 (`fold_digits`); a character of Chinese, Japanese, Thai, Lao, Khmer or Burmese is a word.
    Documents that agree in all `rows` values of one of `bands` bands are candidates. With the default 14 x 8 a pair
    of Jaccard index J becomes one with probability 1 - (1 - J^8)^14: 0.56 at 0.7, 0.92 at 0.8, 0.99 at 0.85.

    A pair of candidates counts if its Jaccard index is at least `min_jaccard`, as sketches of 512 bytes tell it
    (standard error 0.015). Of the documents that hang together by such pairs, those to keep are taken first (`keep`;
    `longest` has the most words). Each goes to the one it resembles most of those that have stayed so far, if their
    Jaccard index is at least `min_jaccard`, and stays otherwise. So no document is dropped for its resemblance to one
    that is gone; in a chain of revisions every so many stay.

    With `within`, copies are looked for among documents of the same language, dump or source only.

    With `index`, documents are also compared with those of earlier runs. An indexed document always stays; one of this
    run that resembles it is dropped for it. When the run is complete its documents are added to the index as `crawl`.
    With `keep: first` the result is that of one run over all crawls, but for what is already written: the column
    `duplicates` of older documents, and old documents that only a new one shows to hang together. The first run makes
    the folder. Repeated, a run is compared with the crawls before its own, and adds nothing twice. Questions,
    take-downs, upkeep: `curation dedup --help`.

    `threshold` chooses other bands (0.8 and 128 permutations give 9 x 13). With `write_signatures` the signatures of
    the documents that stay go to `signatures/`, where `stages/dedup/exported_signatures.py` makes datasketch's MinHash
    objects of them.

    A document of fewer words than `ngram` has no n-gram: it is kept and counted (`short_documents`). Run
    `exact_dedup` before this stage; it finds equal texts of any length, and it is cheaper.

    The kept document's column `duplicates` says how many documents it stands for, those that `exact_dedup` removed
    included. `duplicates/` holds a row per removed document; its `cluster` names the first document of all that hang
    together by pairs over `min_jaccard`, of which more than one may stay (counter `chains`). Histograms:
    `bucket_size`, `component_size` (documents that hang together), `cluster_size` (documents one stands for),
    `jaccard` (of removed documents with those kept for them).

    Drop reason: `near_duplicate` (detail: `kept=<id> jaccard=0.93`, as estimated).
    Sources: Broder, On the resemblance and containment of documents, 1997; bands, rows and n-grams as in FineWeb
    (Penedo et al. 2024, section 3.4).
    """

    threshold: float | None = Field(
        None, gt=0, lt=1, description="choose `bands` and `rows` for this Jaccard index, as datasketch does"
    )
    permutations: int = Field(128, ge=1, le=4096, description="with `threshold`: most values in a signature")
    bands: int = Field(14, ge=1, le=256, description="bands of a signature; one equal band makes a candidate")
    rows: int = Field(8, ge=1, le=64, description="values in a band")
    ngram: int = Field(5, ge=1, le=64, description="words in a shingle")
    min_jaccard: float = Field(
        0.70, ge=0, le=1, description="a document goes if its Jaccard index with the kept one is at least this"
    )
    fold_digits: bool = Field(True, description="read every digit as 0, so that dates and counters do not tell apart")
    shuffle_partitions: int = Field(
        64,
        ge=1,
        le=65536,
        description="parts the band keys are sorted in; one for each 10 million documents keeps a task under 4 GB",
    )

    write_signatures: bool = Field(
        False, description="write the signatures of the documents that stay to `signatures/`, for MinHash libraries"
    )

    _table: np.ndarray = PrivateAttr()
    _permutations: np.ndarray = PrivateAttr()
    _factors: np.ndarray = PrivateAttr()
    _latest: tuple[pa.Table, Signed] | None = PrivateAttr(None)

    @model_validator(mode="after")
    def _choose_bands(self) -> Self:
        if self.threshold is not None:
            if not {"bands", "rows"}.isdisjoint(self.model_fields_set):
                raise ValueError("'threshold' chooses 'bands' and 'rows': give one or the other")
            from stages.dedup.banding import optimal_bands

            self.__dict__["bands"], self.__dict__["rows"] = optimal_bands(self.threshold, self.permutations)
        return self

    def needs(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(("id", "url", "source", "text", *self.chosen_by())))

    def adds(self) -> dict[str, pa.DataType]:
        return {"duplicates": column_type("duplicates")}

    def outputs(self) -> tuple[Output, ...]:
        return (duplicates.OUTPUT, self._signature_output()) if self.write_signatures else (duplicates.OUTPUT,)

    def _signature_output(self) -> Output:
        signature = pa.list_(pa.field("element", pa.uint32(), nullable=False), self.bands * self.rows)
        options = {name: getattr(self, name) for name in ("bands", "rows", "ngram", "fold_digits")}
        return Output(
            "signatures",
            schema=pa.schema([pa.field("id", pa.string()), pa.field("signature", signature)]),
            metadata={"minhash": json.dumps(options | {"seed": self.seed})},
            plain=("signature",),
        )

    def parameters(self, method: str | None = None) -> Parameters:
        """`method` tells kernels and tables apart, by what they do to a sample."""
        from xxhash import xxh3_128_hexdigest

        from stages.dedup.index import Parameters
        from stages.dedup.signatures import SKETCH

        if method is None:
            signed = self.signatures(pa.array([_SAMPLE * 2], pa.large_string()))
            made = self._table.tobytes() + signed.signatures.tobytes() + signed.sketches.tobytes()
            method = xxh3_128_hexdigest(made)
        within = sorted(self.within)
        return Parameters(self.bands, self.rows, self.ngram, self.seed, self.fold_digits, SKETCH, within, method)

    def setup(self) -> None:
        from stages.dedup.signatures import permutations, powers
        from stages.dedup.words import fold_table

        self._table = fold_table(self.fold_digits)
        self._permutations = permutations(self.bands * self.rows, self.seed)
        self._factors = powers(self.ngram)
        self.signatures(pa.array(["compile"], pa.large_string()))  # now, not within the time limit of the first batch

    def rounds(self) -> int:
        return 4

    def partitions(self, round: int, shards: int) -> int:
        return 1 if round == 2 else self._fewer if round in (1, 3) else self.shuffle_partitions

    @property
    def _fewer(self) -> int:
        """Partitions of pairs and of documents in components, of which there are a twentieth as many as band keys: the
        fewer they are, the more of what a task reads beside the shards it needs."""
        return max(1, self.shuffle_partitions // 8)

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
        return self.band_rows(signed, shard, row, self.scope_hashes(docs))

    def band_rows(self, signed: Signed, shard: int, row: int, scopes: np.ndarray | None = None) -> pa.Table:
        """Band keys of the documents that have an n-gram, the first of them being row `row` of `shard`.

        scopes: hash per document; documents of different scopes have no key in common.
        """
        from stages.dedup.signatures import band_keys

        some = np.flatnonzero(signed.words >= self.ngram)
        keys = band_keys(signed.signatures if len(some) == len(signed.words) else signed.signatures[some], self.bands)
        if scopes is not None:
            keys ^= scopes[some, None]
        keys = keys.reshape(-1)
        return pa.table(
            {
                "partition": self._partition(keys, self.shuffle_partitions),
                "key": keys.view(np.int64),
                "document": np.repeat(duplicates.addresses(shard, row + some), self.bands),
            }
        )

    @staticmethod
    def _partition(hashes: np.ndarray, partitions: int) -> np.ndarray:
        """Partition of each hash (uint64, evenly spread)."""
        return (((hashes >> np.uint64(32)) * np.uint64(partitions)) >> np.uint64(32)).astype(np.int32)

    def sidecar(self, docs: pa.Table) -> pa.Table:
        _, sketches, words = self._signed(docs)
        self._latest = None
        preference = words.astype(np.int64) if self.keep == "longest" else self.preferences(docs)
        width = pa.binary(sketches.shape[1])
        return pa.table(
            {
                "sketch": pa.FixedSizeBinaryArray.from_buffers(width, docs.num_rows, [None, pa.py_buffer(sketches)]),
                "preference": preference,
                "duplicates": duplicates.weights(docs),
                "id": docs["id"],
                "url": docs["url"],
                "source": docs["source"],
            }
        )

    def gather(self, round: int, partition: int, rows: pa.Table, sidecars: Sidecars) -> pa.Table:
        if round == 0:
            return self._candidates(rows)
        if round == 1:
            return self._verify(rows, sidecars)
        return self._components(rows) if round == 2 else self._decide(rows, sidecars)

    def _candidates(self, rows: pa.Table) -> pa.Table:
        """Round 0: band keys of a partition -> pairs of documents."""
        from stages.dedup.clusters import bucket_sizes, candidate_edges, first_with_equal_key

        if rows.num_rows == 0:
            return EDGES.empty_table()
        document = rows["document"].to_numpy()
        key = rows["key"].to_numpy().view(np.uint64)
        if (document[1:] < document[:-1]).any():
            order = np.argsort(document, kind="stable")
            document, key = document[order], key[order]
        if self._base is not None:
            from stages.dedup.earlier_crawls import with_buckets

            document, key = with_buckets(self._base, document, key)
        for view in (document, key):  # numba compiles once more for arrays that happen to be writable
            view.setflags(write=False)
        first, previous = first_with_equal_key(key, key)
        a, b = candidate_edges(first, previous, document)
        a, b = a[b >= 0], b[b >= 0]  # pairs within the index are of no interest
        self.metrics.observe("bucket_size", bucket_sizes(first), BUCKET_SIZES)
        # By the block of `a`, so that each pair is verified once, beside others of documents that lie near each other
        block = (a >> _BLOCK_BITS).view(np.uint64) * _MULTIPLIER
        return pa.table([self._partition(block, self._fewer), a, b], schema=EDGES)

    def _verify(self, rows: pa.Table, sidecars: Sidecars) -> pa.Table:
        """Round 1: pairs -> a spanning forest of those that are alike."""
        from stages.dedup.clusters import distinct, distinct_edges, places, spanning_forest
        from stages.dedup.signatures import resemblances

        if rows.num_rows == 0:
            return EDGES.empty_table()
        address, a, b = distinct_edges(rows["a"].to_numpy(), rows["b"].to_numpy())
        alike = np.empty(len(a), bool)
        for start in range(0, len(a), _CHUNK):
            i, j = a[start : start + _CHUNK], b[start : start + _CHUNK]
            here = distinct(np.concatenate([i, j]))
            sketches, _ = self._beside(address[here], sidecars, ())
            found = resemblances(sketches, places(here, i), places(here, j))
            alike[start : start + _CHUNK] = found >= self.min_jaccard
        self.metrics.count("candidate_pairs", len(a))
        self.metrics.count("candidate_pairs_alike", int(alike.sum()))
        a, b = a[alike], b[alike]
        if self._base is not None:
            from stages.dedup.earlier_crawls import to_components

            address, a, b = to_components(self._base, address, a, b)
        a, b = spanning_forest(address, a, b)
        return pa.table([np.zeros(len(a), np.int32), a, b], schema=EDGES)

    def _components(self, rows: pa.Table) -> pa.Table:
        """Round 2: the forests of all pairs -> the component (its first document) of each document in one."""
        from stages.dedup.clusters import components, distinct_edges

        if rows.num_rows == 0:
            return MEMBERS.empty_table()
        address, a, b = distinct_edges(rows["a"].to_numpy(), rows["b"].to_numpy())
        first = components(len(address), a, b)
        sizes = np.bincount(first)
        self.metrics.observe("component_size", sizes[sizes > 0], duplicates.CLUSTER_SIZES)
        component = address[first]
        part = self._partition(component.view(np.uint64) * _MULTIPLIER, self._fewer)
        return pa.table([part, component, address], schema=MEMBERS)

    def _decide(self, rows: pa.Table, sidecars: Sidecars) -> pa.Table:
        """Round 3: whole components -> what becomes of each of their documents."""
        if rows.num_rows == 0:
            return duplicates.VERDICTS.empty_table()
        component, document = rows["component"].to_numpy(), rows["document"].to_numpy()
        order = np.lexsort((document, component))
        component, document = component[order], document[order]
        members = None
        if self._base is not None:
            from stages.dedup.earlier_crawls import opened

            members = opened(self._base, component, document)
            component, document = members.component, members.document
        starts = np.flatnonzero(np.diff(component, prepend=~component[:1]))
        tables, start = [], 0
        while start < len(starts):  # components together while their sketches take 128 MB; a larger one alone
            end = int(np.searchsorted(starts, starts[start] + _CHUNK, side="right")) - 1
            end = max(end, start + 1) if starts[start] + _CHUNK < len(document) else len(starts)
            bounds = np.append(starts, len(document))[start : end + 1]
            here = slice(bounds[0], bounds[-1])
            tables.append(self._elect(document[here], component[here], bounds - bounds[0], sidecars, members))
            start = end
        return pa.concat_tables(tables)

    def _elect(
        self, document: np.ndarray, names: np.ndarray, starts: np.ndarray, sidecars: Sidecars, members: Members | None
    ) -> pa.Table:
        """Verdicts on the documents (addresses) of the components `document[starts[c] : starts[c + 1]]`, whose `names`
        are given for each document. members: with an index, what is known of all components."""
        from stages.dedup.election import LARGE, elect

        n = len(document)
        component = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
        in_order = np.argsort(document, kind="stable")  # sidecars are read from front to back
        back = np.empty(n, np.int64)
        back[in_order] = np.arange(n)
        sketches, beside = self._beside(document[in_order], sidecars, ("preference", "duplicates", "id", "url"))
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
        from stages.dedup.earlier_crawls import told

        return told(verdicts, address, keeper, names[in_order], members)

    def _beside(self, address: np.ndarray, sidecars: Sidecars, columns: tuple[str, ...]) -> tuple[np.ndarray, pa.Table]:
        """Sketches and other sidecar columns of the documents at `address` (increasing), shard by shard."""
        from stages.dedup.signatures import SKETCH

        sketches = np.empty((len(address), SKETCH), np.uint8)
        found = []
        indexed = int(np.searchsorted(address, 0))
        if indexed:
            from stages.dedup import earlier_crawls

            sketches[:indexed], table = earlier_crawls.beside(self._base, address[:indexed], columns)
            found.append(table)
        shard = duplicates.shards(address)
        starts = indexed + np.flatnonzero(np.diff(shard[indexed:], prepend=-1))
        for start, end in zip(starts, [*starts[1:], len(address)], strict=True):
            table = sidecars.rows(int(shard[start]), duplicates.rows(address[start:end]), ("sketch", *columns))
            column = table["sketch"].combine_chunks()
            data = np.frombuffer(column.buffers()[1], np.uint8).reshape(-1, SKETCH)
            sketches[start:end] = data[column.offset : column.offset + len(column)]
            found.append(table.select(columns))
        return sketches, pa.concat_tables(found)

    def apply(self, docs: pa.Table, verdicts: pa.Table) -> Outcome:
        result = duplicates.outcome(docs, verdicts, "near_duplicate", "minhash", measure="jaccard")
        duplicates.observe_sizes(self.metrics, result)
        if self.write_signatures:
            result.outputs["signatures"] = self._written(docs.filter(pc.is_null(result.dropped)))
        self.metrics.observe("jaccard", result.outputs[duplicates.FOLDER]["jaccard"], JACCARD)
        return result

    def _written(self, docs: pa.Table) -> pa.Table:
        """Ids and signatures for the folder `signatures/`."""
        schema = self._signature_output().schema
        assert schema is not None
        values = self.signatures(docs["text"]).signatures.reshape(-1)
        column = pa.FixedSizeListArray.from_arrays(pa.array(values), type=schema.field("signature").type)
        return pa.table([docs["id"], column], schema=schema)

"""Near-duplicate removal over the whole corpus: MinHash proposes pairs, a direct comparison decides.

Comparing every pair of 10^9 documents is out of the question. MinHash with banding finds the pairs that are probably
alike by sorting hashes; the price is pairs found by luck, and the usual next step, taking the transitive closure of
all pairs, makes it worse: of 12,575 pages of documentation and changelogs, one in six that closure removes has a
Jaccard index below 0.7 with the page kept for it, and chains of templates grow into clusters of 107. So here a pair is
a proposal only. A document is dropped if it is itself like the document kept in its place, and on no other ground.

What moves: a band key and an address, 16 bytes for each of 14 bands. A sketch of 512 bytes a document stays beside its
shard and is read only if the document shares a bucket with another. Here are the stage, its signatures and its
verdicts; the four gathers that lead from the ones to the others are in `minhash_gathers.py`.

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
    from stages.dedup.index import Parameters

#: Upper bounds of the resemblances in the report.
JACCARD = (0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0)

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

    def thresholds(self) -> dict[str, dict[str, float]]:
        return {"jaccard": {"min_jaccard": self.min_jaccard}}

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

    def compared(self, docs: pa.Table) -> pa.ChunkedArray:
        """What of each document is compared with others: its text."""
        return docs["text"]

    def _signed(self, docs: pa.Table) -> Signed:
        """Signatures of a batch, kept for `sidecar`, which is called with the batch that `scatter` has just seen."""
        if self._latest is None or self._latest[0] is not docs:
            self._latest = (docs, self.signatures(self.compared(docs)))
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
                "partition": duplicates.partitions(keys, self.shuffle_partitions),
                "key": keys.view(np.int64),
                "document": np.repeat(duplicates.addresses(shard, row + some), self.bands),
            }
        )

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
        from stages.dedup.minhash_gathers import Gathers

        gathers = Gathers(self.min_jaccard, self._fewer, self._base, sidecars, self.metrics)
        if round == 0:
            return gathers.candidates(rows)
        if round == 1:
            return gathers.verify(rows)
        return gathers.components(rows) if round == 2 else gathers.decide(rows)

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
        values = self.signatures(self.compared(docs)).signatures.reshape(-1)
        column = pa.FixedSizeListArray.from_arrays(pa.array(values), type=schema.field("signature").type)
        return pa.table([docs["id"], column], schema=schema)

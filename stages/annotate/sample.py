"""Chooses the documents that a teacher labels: the same number of every stratum, not of what is most frequent.

A plain sample of the web is English and short; a student that learns from it knows nothing of the rest. A stratum is
a combination of language, source and length, and each gives up to `per_stratum` documents. Which ones is decided by a
hash of their ids, so the sample is the same for any number of workers, and grows, never changes, when more are asked
for. With `prefer` those come first of which a column says most: by `label_uncertainty`, an active selection of what to
label next.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from pydantic import Field

from curation.documents import column_type
from curation.errors import ConfigError
from curation.stage import Barrier, Outcome, Sidecars

_PARTITIONS = 16


class SampleStrata(Barrier, name="sample_strata"):
    """Adds `sampled`: true for up to `per_stratum` documents of every stratum of language, source and length.

    Nothing is dropped. Documents without text are not sampled. `annotate_quality: {only: sampled}` labels the sample;
    `prefer: label_uncertainty`, after `score_quality`, chooses the documents that a student knows least about (Lewis
    and Gale 1994, uncertainty sampling), within each stratum.
    """

    per_stratum: int = Field(100, ge=1, description="most documents of one stratum")
    by: list[str] = Field(["language", "source"], description="columns whose values make strata")
    lengths: list[int] = Field(
        [500, 2000, 8000, 32000], description="lengths in characters at which one stratum ends and the next begins"
    )
    prefer: str | None = Field(
        None, description="numeric column; the documents with its largest values are taken first"
    )

    def needs(self) -> tuple[str, ...]:
        return ("text", *self.by, *([self.prefer] if self.prefer else []))

    def adds(self) -> dict[str, pa.DataType]:
        return {"sampled": column_type("sampled")}

    def check(self) -> None:
        if sorted(set(self.lengths)) != self.lengths or (self.lengths and self.lengths[0] < 1):
            raise ConfigError(f"lengths {self.lengths} must be positive and increasing")

    def partitions(self, round: int, shards: int) -> int:
        return _PARTITIONS if round == 0 else shards

    def scatter(self, docs: pa.Table, shard: int, row: int) -> pa.Table:
        characters = pc.fill_null(pc.utf8_length(docs["text"]), 0)
        parts = [pc.fill_null(docs[name].cast(pa.string()), "") for name in self.by]
        bins = np.searchsorted(np.asarray(self.lengths), characters.to_numpy(), side="right")
        names = pc.binary_join_element_wise(*parts, pa.array(bins.astype(str)), pa.scalar("\0")).combine_chunks()
        encoded = names.dictionary_encode()
        codes = np.array([xxhash.xxh3_64_intdigest(n) for n in encoded.dictionary.to_pylist()], np.uint64)
        stratum = codes[encoded.indices.to_numpy()].view(np.int64) if docs.num_rows else np.zeros(0, np.int64)
        draw = [xxhash.xxh3_64_intdigest(i, seed=self.seed & (2**64 - 1)) >> 1 for i in docs["id"].to_pylist()]
        wanted = np.zeros(docs.num_rows)
        if self.prefer:
            wanted = pc.fill_null(docs[self.prefer].cast(pa.float64()), -np.inf).to_numpy()
        table = pa.table(
            {
                "partition": pa.array((stratum % _PARTITIONS).astype(np.int32)),
                "shard": pa.array(np.full(docs.num_rows, shard, np.int32)),
                "row": pa.array(np.arange(row, row + docs.num_rows, dtype=np.int64)),
                "stratum": pa.array(stratum),
                "wanted": pa.array(wanted),
                "draw": pa.array(np.array(draw, np.int64)),
            }
        )
        return table.filter(pc.greater(characters, 0))

    def gather(self, round: int, partition: int, rows: pa.Table, sidecars: Sidecars) -> pa.Table:
        columns = {name: rows[name].to_numpy() for name in ("stratum", "wanted", "draw", "shard", "row")}
        order = np.lexsort((columns["row"], columns["shard"], columns["draw"], -columns["wanted"], columns["stratum"]))
        stratum = columns["stratum"][order]
        starts = np.flatnonzero(np.r_[True, stratum[1:] != stratum[:-1]]) if len(stratum) else np.zeros(0, np.int64)
        sizes = np.diff(np.r_[starts, len(stratum)])
        place = np.arange(len(stratum)) - np.repeat(starts, sizes)
        chosen = np.sort(order[place < self.per_stratum])
        self.metrics.count("strata", len(starts))
        self.metrics.count("sampled", len(chosen))
        return pa.table(
            {
                "partition": pa.array(columns["shard"][chosen].astype(np.int32)),
                "row": pa.array(columns["row"][chosen]),
            }
        )

    def apply(self, docs: pa.Table, verdicts: pa.Table) -> Outcome:
        sampled = np.zeros(docs.num_rows, bool)
        sampled[verdicts["row"].to_numpy()] = True
        place = docs.schema.get_field_index("sampled")
        values = pa.array(sampled)
        return Outcome(
            docs.append_column("sampled", values) if place < 0 else docs.set_column(place, "sampled", values)
        )

"""What every dedup stage says about a duplicate: its reason, its detail, a row in `duplicates/`, a count on the kept.

One schema for all of them, so that `duplicates/` of a run answers "which document stands for this one, and how alike
are they" whichever stage removed it. What one stage kept a later one may remove: its id is then the `id` of another
row, and following the rows leads to the document that is left.

Trade-off: the folder repeats urls that `dropped/` and `documents/` hold too; in return it can be read alone, for
instance to bring copies back in proportion to their number.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation.documents import column_type
from curation.metrics import Metrics
from curation.stage import Outcome, Output

FOLDER = "duplicates"

#: One row per removed document.
SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), metadata={"meaning": "the removed document"}),
        pa.field("url", pa.string(), metadata={"meaning": "its address"}),
        pa.field("kept_id", pa.string(), metadata={"meaning": "the document that was kept in its place"}),
        pa.field("kept_url", pa.string(), metadata={"meaning": "the address of the kept document"}),
        pa.field("jaccard", pa.float32(), metadata={"meaning": "resemblance of the two, 0 to 1, as the stage saw it"}),
        pa.field("kind", pa.string(), metadata={"meaning": "`url`, `exact`, `minhash` or `semantic`"}),
        pa.field("cluster", pa.string(), metadata={"meaning": "id of the first document of the cluster"}),
    ]
)

OUTPUT = Output(FOLDER, schema=SCHEMA)

#: Rows of the last gather: what `outcome` needs to know of a document. `kept_id` is null for a document that stays
#: and stands for others.
VERDICTS = pa.schema(
    [
        ("partition", pa.int32()),  # shard
        ("row", pa.int64()),
        ("kept_id", pa.large_string()),  # large: those of a whole corpus may pass 2 GiB
        ("kept_url", pa.large_string()),
        ("jaccard", pa.float32()),
        ("duplicates", pa.int32()),  # documents it stands for, itself included
        ("cluster", pa.large_string()),
    ]
)

#: Upper bounds of the cluster sizes in the report.
CLUSTER_SIZES = (2, 3, 4, 5, 10, 20, 50, 100, 1_000, 10_000, 100_000)

# A document's address in one integer: shard in the high bits, row in the low 40. It sorts in plan order.
_ROW_BITS = 40


def addresses(shard: int, rows: np.ndarray) -> np.ndarray:
    """int64 addresses of rows of a shard. OverflowError past 2^23 shards or 2^40 rows, where they would collide."""
    if shard >> (63 - _ROW_BITS) or (len(rows) and int(rows[-1]) >> _ROW_BITS):
        raise OverflowError(f"shard {shard} has no place among 2^23 shards of 2^40 documents")
    return (np.int64(shard) << np.int64(_ROW_BITS)) | rows.astype(np.int64)


def shards(addresses: np.ndarray) -> np.ndarray:
    """int32 shard numbers of addresses."""
    return (addresses >> np.int64(_ROW_BITS)).astype(np.int32)


def rows(addresses: np.ndarray) -> np.ndarray:
    """int64 row numbers of addresses."""
    return addresses & np.int64((1 << _ROW_BITS) - 1)


def partitions(hashes: np.ndarray, count: int) -> np.ndarray:
    """int32: of `count` partitions, the one of each hash (uint64, evenly spread), by its high bits."""
    return (((hashes >> np.uint64(32)) * np.uint64(count)) >> np.uint64(32)).astype(np.int32)


def weights(docs: pa.Table) -> pa.Array:
    """How many documents each one stands for already: column `duplicates` of an earlier dedup stage, else 1 (int32)."""
    if "duplicates" in docs.column_names:
        return pc.fill_null(docs["duplicates"], 1).combine_chunks().cast(pa.int32())
    return pa.array(np.ones(docs.num_rows, np.int32))


def cluster_sizes(keeper: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Sum of the weights of all documents with the same keeper, at the keeper's place (int32, saturating)."""
    sizes = np.zeros(len(keeper), np.int64)
    np.add.at(sizes, keeper, weight)
    return np.minimum(sizes, np.iinfo(np.int32).max).astype(np.int32)


def verdicts(
    address: np.ndarray,
    keeper: np.ndarray,
    jaccard: np.ndarray,
    weight: np.ndarray,
    first: np.ndarray,
    ids: pa.ChunkedArray,
    urls: pa.ChunkedArray,
    everyone: bool = False,
) -> pa.Table:
    """Rows `VERDICTS` from arrays with one entry per document; indices point into those arrays.

    keeper: index of the document that stays in its place (its own index if it stays itself).
    jaccard: resemblance to the keeper, NaN where nothing is known of it. weight: documents it stands for already.
    first: index of the first document of its cluster. Documents that stay and stand for nobody else get no row, unless
    `everyone` does.
    """
    size = cluster_sizes(keeper, weight)
    stays = keeper == np.arange(len(keeper))
    told = np.flatnonzero(~stays | (size > weight) | everyone)
    kept = pa.array(keeper[told], mask=stays[told])
    ids, urls = ids.cast(pa.large_string()).combine_chunks(), urls.cast(pa.large_string()).combine_chunks()
    return pa.table(
        [
            shards(address[told]),
            rows(address[told]),
            ids.take(kept),
            urls.take(kept),
            pa.array(jaccard[told].astype(np.float32), mask=(stays | np.isnan(jaccard))[told]),
            size[told],
            ids.take(pa.array(first[told])),
        ],
        schema=VERDICTS,
    )


def outcome(docs: pa.Table, verdicts: pa.Table, reason: str, kind: str, measure: str | None) -> Outcome:
    """The outcome of `docs` under `verdicts` (rows `VERDICTS`, `row` counting from the start of `docs`).

    measure: what the detail calls the resemblance; None leaves it out.
    """
    base = weights(docs)
    place = np.full(docs.num_rows, -1, np.int64)
    if verdicts.num_rows:
        place[verdicts["row"].to_numpy()] = np.arange(verdicts.num_rows)
    else:
        verdicts = VERDICTS.empty_table()
    told = pa.array(place, mask=place < 0)
    kept_id = verdicts["kept_id"].cast(pa.string()).combine_chunks().take(told)
    gone = pc.is_valid(kept_id)
    removed = docs.select(["id", "url"]).filter(gone)
    found = verdicts.filter(pc.is_valid(verdicts["kept_id"]))

    stands_for = pc.if_else(gone, None, verdicts["duplicates"].combine_chunks().take(told))
    counts = pc.coalesce(stands_for, base).cast(column_type("duplicates"))
    detail = pc.binary_join_element_wise("kept", kept_id, "=")
    if measure is not None:
        share = _two_digits(verdicts["jaccard"].combine_chunks().take(told))
        detail = pc.binary_join_element_wise(detail, pc.binary_join_element_wise(measure, share, "="), " ")
    rows = pa.table(
        [
            removed["id"],
            removed["url"],
            found["kept_id"].cast(pa.string()),
            found["kept_url"].cast(pa.string()),
            found["jaccard"],
            pa.repeat(kind, removed.num_rows),
            found["cluster"].cast(pa.string()),
        ],
        schema=SCHEMA,
    )
    if "duplicates" in docs.column_names:
        docs = docs.set_column(docs.column_names.index("duplicates"), "duplicates", counts)
    else:
        docs = docs.append_column("duplicates", counts)
    dropped = pa.array([reason], pa.string()).take(
        pa.array(np.zeros(docs.num_rows, np.int64), mask=~gone.to_numpy(False))
    )
    return Outcome(docs, dropped=dropped, detail=detail, outputs={FOLDER: rows})


def _two_digits(share: pa.Array) -> pa.Array:
    """Shares as "0.93", rounded down, so that a share is never shown as reaching a threshold that it missed."""
    hundredths = pc.cast(pc.floor(pc.add(pc.multiply(share.cast(pa.float64()), 100.0), 1e-4)), pa.int64())
    whole = pc.divide(hundredths, 100)
    rest = pc.utf8_lpad(pc.subtract(hundredths, pc.multiply(whole, 100)).cast(pa.string()), 2, "0")
    return pc.binary_join_element_wise(whole.cast(pa.string()), rest, ".")


def observe_sizes(metrics: Metrics, result: Outcome) -> None:
    """Histogram of the cluster sizes of the documents that stay."""
    sizes = result.docs["duplicates"].filter(pc.is_null(result.dropped))
    metrics.observe("cluster_size", sizes, CLUSTER_SIZES)

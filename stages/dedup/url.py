"""One document per page address over the whole corpus: the copies that crawls and archives bring of the same URL.

Crawls fetch a page again and again, under addresses that differ in what does not matter. Their texts differ too (a
date, a counter, an advertisement), so that exact deduplication misses them; their address does not. What travels is a
hash of the address, the number, id and url of the document, and a hash of the record it was made from. The spelling
rules are in `canonical_url.py`.

Trade-off: one address can serve different texts over time (a front page). Here one of them stays; put this stage
after quality filters, so that the one that stays is worth keeping. What stays is a record, as a reader found it, with
all documents that were made from it: two extractors' texts of a page share its address and are no copies. Two records
of one address are taken for one with a chance of 2^-32; the price would be a copy that stays.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from curation.documents import column_type
from curation.stage import Outcome, Output, Sidecars
from stages.dedup import duplicates
from stages.dedup.keepers import KeepsOne, best_with_equal_key

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


class DedupUrls(KeepsOne, name="dedup_urls"):
    """Keeps one document per URL, where URLs count as one that differ only in what does not select the page.

    Two URLs are the same if they agree after these are taken out: http or https, user name, `www.`, case of the host
    name, ports 80 and 443, session ids, tracking parameters (`utm_source`, `fbclid`, `gclid` and about 70 more), order
    of query parameters, slashes at the end of the path, needless percent escapes, and the fragment unless it starts
    with `#!`. The case of the path counts. Documents without a URL that names a host are kept (counter `without_url`).

    By default the first in the order of the inputs stays; `keep: newest` keeps the latest state of a page, `keep:
    longest` the one with the most characters of text. Other documents of the same record (`source`, `file` and
    `position` are the same) stay with it: the second text that `extract_html` makes with `union`, for instance.

    The kept document's column `duplicates` says how many documents it stands for; counts of an earlier stage are added
    up. `duplicates/` holds a row per removed document, without a Jaccard index: texts are not looked at.

    Drop reason: `duplicate_url` (detail: `kept=<id>`).
    """

    ignore_parameters: list[str] = Field(
        [], description="more query parameters that do not select a page; `name*` stands for all that start so"
    )
    shuffle_partitions: int = Field(64, ge=1, le=65536, description="parts the hashes are sorted in, one task each")

    def needs(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(("id", "url", "source", "file", "position", *self.chosen_by())))

    def adds(self) -> dict[str, pa.DataType]:
        return {"duplicates": column_type("duplicates")}

    def outputs(self) -> tuple[Output, ...]:
        return (duplicates.OUTPUT,)

    def setup(self) -> None:
        self.hashes(pa.array(["http://compile.example/"]))  # now, and not within the time limit of the first batch

    def partitions(self, round: int, shards: int) -> int:
        return self.shuffle_partitions

    def hashes(self, urls: pa.Array | pa.ChunkedArray) -> np.ndarray:
        """xxh3-128 of each canonical URL as two uint64 (high, low), shape (n, 2); zeros for one without a host."""
        from xxhash import xxh3_128_digest

        from stages.dedup.canonical_url import TRACKING_PARAMETERS, Parameters, canonical_urls

        parameters = Parameters.of((*TRACKING_PARAMETERS, *self.ignore_parameters))
        digests = [xxh3_128_digest(url) if url else bytes(16) for url in canonical_urls(urls, parameters).to_pylist()]
        return np.frombuffer(b"".join(digests), ">u8").reshape(-1, 2).astype(np.uint64)

    def scatter(self, docs: pa.Table, shard: int, row: int) -> pa.Table:
        hashes = self.hashes(docs["url"])
        some = np.flatnonzero(hashes.any(axis=1))
        self.metrics.count("without_url", docs.num_rows - len(some))
        scopes = self.scope_hashes(docs)
        if scopes is not None:
            hashes ^= scopes[:, None]
        high = hashes[some, 0]
        present = pa.array(some)
        address = duplicates.addresses(shard, row + np.arange(docs.num_rows))
        rows = pa.table(
            {
                "partition": duplicates.partitions(high, self.shuffle_partitions),
                "hash_hi": high.view(np.int64),
                "hash_lo": hashes[some, 1].view(np.int64),
                "document": address[some],
                "record": record_hashes(docs, address)[some],
                "id": docs["id"].take(present),
                "url": docs["url"].take(present),
                "duplicates": duplicates.weights(docs).take(present),
            }
        )
        return rows if self.keep == "first" else rows.append_column("preference", [self.preferences(docs)[some]])

    def gather(self, round: int, partition: int, rows: pa.Table, sidecars: Sidecars) -> pa.Table:
        if rows.num_rows == 0:
            return duplicates.VERDICTS.empty_table()
        rows = rows.sort_by("document")
        address, record = rows["document"].to_numpy(), rows["record"].to_numpy()
        high, low = (rows[name].to_numpy().view(np.uint64) for name in ("hash_hi", "hash_lo"))
        preference = None if self.keep == "first" else rows["preference"].to_numpy()
        keeper, first = best_with_equal_key(high, low, address, preference)
        keeper = np.where(record == record[keeper], np.arange(len(keeper)), keeper)
        unknown = np.full(len(keeper), np.nan)
        weight = rows["duplicates"].to_numpy()
        return duplicates.verdicts(address, keeper, unknown, weight, first, rows["id"], rows["url"])

    def apply(self, docs: pa.Table, verdicts: pa.Table) -> Outcome:
        result = duplicates.outcome(docs, verdicts, "duplicate_url", "url", measure=None)
        duplicates.observe_sizes(self.metrics, result)
        return result


def record_hashes(docs: pa.Table, address: np.ndarray) -> np.ndarray:
    """int32 per document, equal for those made from the same record of an input file.

    address: of the documents, increasing; it stands in for a position that is missing.
    """
    from xxhash import xxh3_64_intdigest

    position = docs["position"].combine_chunks()
    hashes = pc.coalesce(position, pa.array(~address)).to_numpy().view(np.uint64) * _MULTIPLIER
    for name in ("source", "file"):
        values = docs[name].combine_chunks().dictionary_encode(null_encoding="encode")
        each = [xxh3_64_intdigest(repr(value)) for value in values.dictionary.to_pylist()]
        hashes = (hashes ^ np.array(each, np.uint64)[values.indices.to_numpy()]) * _MULTIPLIER
        hashes ^= hashes >> np.uint64(32)
    return hashes.astype(np.uint32).view(np.int32)

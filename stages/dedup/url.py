"""One document per page address over the whole corpus: the copies that crawls and archives bring of the same URL.

Crawls fetch a page again and again, under addresses that differ in what does not matter. Their texts differ too (a
date, a counter, an advertisement), so that exact deduplication misses them; their address does not. What travels is 16
bytes of hash, an address and an id per document. The spelling rules are in `canonical_url.py`.

Trade-off: one address can serve different texts over time (a front page). Here one of them stays; put this stage
after quality filters, so that the one that stays is worth keeping.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from curation.stage import Outcome, Sidecars, reasons
from stages.dedup import duplicates
from stages.dedup.keepers import KeepsOne, best_with_equal_key

_VERDICTS = pa.schema([("partition", pa.int32()), ("row", pa.int64()), ("kept_id", pa.large_string())])


class DedupUrls(KeepsOne, name="dedup_urls"):
    """Keeps one document per URL, where URLs count as one that differ only in what does not select the page.

    Two URLs are the same if they agree after these are taken out: http or https, user name, `www.`, case of the host
    name, ports 80 and 443, session ids, tracking parameters (`utm_source`, `fbclid`, `gclid` and about 70 more), order
    of query parameters, slashes at the end of the path, needless percent escapes, and the fragment unless it starts
    with `#!`. The case of the path counts. Documents without a URL that names a host are kept (counter `without_url`).

    By default the first in the order of the inputs stays; `keep: newest` keeps the latest state of a page, `keep:
    longest` the one with the most characters of text.

    Drop reason: `duplicate_url` (detail: `kept=<id>`).
    """

    ignore_parameters: list[str] = Field(
        [], description="more query parameters that do not select a page; `name*` stands for all that start so"
    )
    shuffle_partitions: int = Field(64, ge=1, le=65536, description="parts the hashes are sorted in, one task each")

    def needs(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(("id", "url", *self.chosen_by())))

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
        part = ((high >> np.uint64(32)) * np.uint64(self.shuffle_partitions)) >> np.uint64(32)
        rows = pa.table(
            {
                "partition": part.astype(np.int32),
                "hash_hi": high.view(np.int64),
                "hash_lo": hashes[some, 1].view(np.int64),
                "document": duplicates.addresses(shard, row + some),
                "id": docs["id"].take(pa.array(some)),
            }
        )
        return rows if self.keep == "first" else rows.append_column("preference", [self.preferences(docs)[some]])

    def gather(self, round: int, partition: int, rows: pa.Table, sidecars: Sidecars) -> pa.Table:
        if rows.num_rows == 0:
            return _VERDICTS.empty_table()
        rows = rows.sort_by("document")
        address = rows["document"].to_numpy()
        high, low = (rows[name].to_numpy().view(np.uint64) for name in ("hash_hi", "hash_lo"))
        preference = None if self.keep == "first" else rows["preference"].to_numpy()
        keeper, _ = best_with_equal_key(high, low, address, preference)
        gone = np.flatnonzero(keeper != np.arange(len(keeper)))
        ids = rows["id"].cast(pa.large_string()).combine_chunks()
        return pa.table(
            [duplicates.shards(address[gone]), duplicates.rows(address[gone]), ids.take(pa.array(keeper[gone]))],
            schema=_VERDICTS,
        )

    def apply(self, docs: pa.Table, verdicts: pa.Table) -> Outcome:
        if verdicts.num_rows == 0:
            verdicts = _VERDICTS.empty_table()
        place = np.full(docs.num_rows, -1, np.int64)
        place[verdicts["row"].to_numpy()] = np.arange(verdicts.num_rows)
        kept = verdicts["kept_id"].combine_chunks().cast(pa.string()).take(pa.array(place, mask=place < 0))
        detail = pc.binary_join_element_wise("kept", kept, "=")
        return Outcome(docs, dropped=reasons(docs, duplicate_url=place >= 0), detail=detail)

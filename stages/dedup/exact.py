"""Exact deduplication over the whole corpus: one copy of each text stays.

A 128-bit hash of the text is all that travels: 16 bytes and an address per document, sorted once per partition, where
comparing texts would move the corpus. At 10^10 documents the chance that any two different texts share a hash is
10^-19. Trade-off: the hash is xxh3, which is not cryptographic; whoever controls two texts could make them collide,
and would thereby remove one of his own documents.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from pydantic import Field

from curation.documents import column_type
from curation.stage import Outcome, Output, Sidecars
from stages.dedup import duplicates
from stages.dedup.keepers import KeepsOne, best_with_equal_key


class ExactDedup(KeepsOne, name="exact_dedup"):
    """Keeps one of all documents with the same text: the first in the order of the inputs, or as `keep` says.

    With `normalize` two texts are the same if they have the same words in the same order; case, accents, punctuation,
    white space and character width do not count, digits do. Without it they must be equal byte for byte.

    A document whose text is null or empty is kept and counted (`without_text`): two pages without text are no copies
    of each other. A text without any letter or digit is compared byte for byte. `longest` has the most characters.

    The kept document's column `duplicates` says how many documents it stands for. If the column is there already, the
    counts of the removed documents are added up. `duplicates/` holds a row per removed document.

    Drop reason: `exact_duplicate` (detail: `kept=<id>`).
    Source: CCNet (Wenzek et al. 2020) hashes paragraphs after such a normalisation; there, digits do not count either.
    """

    normalize: bool = Field(True, description="compare words only, blind to case, accents, punctuation and spacing")
    shuffle_partitions: int = Field(64, ge=1, le=65536, description="parts the hashes are sorted in, one task each")

    def needs(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(("id", "url", "text", *self.chosen_by())))

    def adds(self) -> dict[str, pa.DataType]:
        return {"duplicates": column_type("duplicates")}

    def outputs(self) -> tuple[Output, ...]:
        return (duplicates.OUTPUT,)

    def setup(self) -> None:
        self.hashes(pa.array(["compile"], pa.large_string()))  # now, and not within the time limit of the first batch

    def partitions(self, round: int, shards: int) -> int:
        return self.shuffle_partitions

    def scatter(self, docs: pa.Table, shard: int, row: int) -> pa.Table:
        hashes = self.hashes(docs["text"])
        some = np.flatnonzero(hashes.any(axis=1))
        self.metrics.count("without_text", docs.num_rows - len(some))
        scopes = self.scope_hashes(docs)
        if scopes is not None:
            hashes ^= scopes[:, None]
        high = hashes[some, 0]
        present = pa.array(some)
        rows = pa.table(
            {
                "partition": duplicates.partitions(high, self.shuffle_partitions),
                "hash_hi": high.view(np.int64),
                "hash_lo": hashes[some, 1].view(np.int64),
                "document": duplicates.addresses(shard, row + some),
                "id": docs["id"].take(present),
                "url": docs["url"].take(present),
                "duplicates": duplicates.weights(docs).take(present),
            }
        )
        return rows if self.keep == "first" else rows.append_column("preference", [self.preferences(docs)[some]])

    def hashes(self, text: pa.ChunkedArray | pa.Array) -> np.ndarray:
        """xxh3-128 of each text as two uint64 (high, low), shape (n, 2); zeros for a text that is null or empty."""
        from xxhash import xxh3_128_digest

        from stages.dedup.words import fold_table, normalize, text_buffers

        data, offsets = text_buffers(text)
        result = np.zeros((len(offsets) - 1, 2), ">u8")
        raw, at = data.data, offsets.tolist()
        folded, to = raw, at
        if self.normalize:
            words, ends = normalize(text, fold_table(fold_digits=False))
            folded, to = words.data, ends.tolist()
        digests = [
            xxh3_128_digest(folded[to[i] : to[i + 1]] if to[i + 1] > to[i] else raw[at[i] : at[i + 1]])
            if at[i + 1] > at[i]
            else bytes(16)
            for i in range(len(at) - 1)
        ]
        result[:] = np.frombuffer(b"".join(digests), ">u8").reshape(-1, 2)
        return result.astype(np.uint64)

    def gather(self, round: int, partition: int, rows: pa.Table, sidecars: Sidecars) -> pa.Table:
        if rows.num_rows == 0:
            return duplicates.VERDICTS.empty_table()
        address = rows["document"].to_numpy()
        if (np.diff(address) < 0).any():
            rows = rows.take(pa.array(np.argsort(address)))
            address = rows["document"].to_numpy()
        high, low = (rows[name].to_numpy().view(np.uint64) for name in ("hash_hi", "hash_lo"))
        preference = None if self.keep == "first" else rows["preference"].to_numpy()
        keeper, first = best_with_equal_key(high, low, address, preference)
        return duplicates.verdicts(
            address,
            keeper,
            np.ones(len(keeper), np.float32),
            rows["duplicates"].to_numpy(),
            first,
            rows["id"],
            rows["url"],
        )

    def apply(self, docs: pa.Table, verdicts: pa.Table) -> Outcome:
        result = duplicates.outcome(docs, verdicts, "exact_duplicate", "exact", measure=None)
        duplicates.observe_sizes(self.metrics, result)
        return result

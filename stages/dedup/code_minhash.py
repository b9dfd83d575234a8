"""Near-duplicate removal of source files, by shingles of code tokens.

What prose is compared by, words without punctuation, leaves of a program its names alone: a header of getters and the
implementation behind it look the same. Here shingles are runs of tokens in which every sign counts. All else is
`minhash_dedup`, its checks, records and keys.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from pydantic import Field

from stages.dedup.minhash import MinhashDedup, Signed


class MinhashDedupCode(MinhashDedup, name="minhash_dedup_code"):
    """Drops source files that nearly repeat another one, by shingles of code tokens.

    As `minhash_dedup`, whose manual holds, but that a shingle is a run of `ngram` (7) tokens: names, numbers, and every
    sign by itself; white space, case and the kind of quotes do not count. `fold_digits` has no effect.

    Drop reason: `near_duplicate` (detail: `kept=<id> jaccard=0.93`, as estimated).
    """

    ngram: int = Field(7, ge=1, le=64, description="code tokens in a shingle")

    def signatures(self, text: pa.ChunkedArray | pa.Array) -> Signed:
        from stages.dedup.code_tokens import code_tokens
        from stages.dedup.signatures import SKETCH, signatures

        tokens, _, _, starts = code_tokens(text)
        n = len(starts) - 1
        result = np.empty((n, self.bands * self.rows), np.uint32)
        sketches = np.empty((n, SKETCH), np.uint8)
        signatures(tokens, starts, self._factors, self._permutations, result, sketches)
        return Signed(result, sketches, np.diff(starts).astype(np.int32))

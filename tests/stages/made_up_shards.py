"""Tables like those of `tokens/`, of made-up documents."""

import hashlib

import numpy as np
import pyarrow as pa

EOD = 151643
METADATA = {
    "tokenizer": "qwen3",
    "tokenizer_sha256": "aeb13307a71acd8fe81861d94ad54ab689df773318809eed3cbe794b4492dae4",
    "vocab_size": "151669",
    "eod_id": str(EOD),
    "added_tokens": "stripped",
    "schema_version": "1",
}


def made_up(n, seed, low=8, median=60, high=4000):
    """A table like those of tokens/: `n` documents of log-normal length; two languages in three sizes, a domain."""
    rng = np.random.default_rng(seed)
    lengths = np.clip(np.exp(rng.normal(np.log(median), 1.1, n)), low, high).astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    ids = rng.integers(0, EOD, offsets[-1]).astype(np.int32)
    kind = pa.list_(pa.field("element", pa.int32(), nullable=False))
    return pa.table(
        {
            "input_ids": pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(ids), type=kind),
            "n_tokens": pa.array(lengths, pa.int32()),
            "n_bytes": pa.array(lengths * rng.integers(2, 6, n)),
            "doc_id": pa.array([hashlib.md5(f"{seed}/{i}".encode()).hexdigest() for i in range(n)]),
            "language": pa.array(np.array(["eng_Latn", "fra_Latn", "tam_Taml"])[rng.choice(3, n, p=[0.8, 0.17, 0.03])]),
            "domain": pa.array(np.array(["law", "physics", "sport", "art"])[rng.choice(4, n, p=[0.1, 0.2, 0.5, 0.2])]),
        }
    )

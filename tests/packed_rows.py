"""Packed rows for tests of what reads them, made of documents by a packer that is as simple as can be."""

import numpy as np
import pyarrow as pa

from stages.pack.shards import TokenizerIdentity, packed_table

TOKENIZER = TokenizerIdentity(
    "qwen3", "aeb13307a71acd8fe81861d94ad54ab689df773318809eed3cbe794b4492dae4", 151_669, 151_643
)


def packed(documents, length, eod):
    """A table of packed rows: documents (id, tokens) one after another, cut where a row is full; the last is padded."""
    rows, row = [], []
    for name, tokens in documents:
        tokens, start = [*tokens, eod], 0
        while start < len(tokens):
            room = length - sum(len(piece) for _, _, piece in row)
            row.append((name, start, tokens[start : start + room]))
            start += room
            if sum(len(piece) for _, _, piece in row) == length:
                rows, row = [*rows, row], []
    rows += [row] if row else []
    ids = [np.array([token for _, _, piece in row for token in piece], np.int32) for row in rows]
    return packed_table(
        np.concatenate([np.pad(i, (0, length - len(i)), constant_values=eod) for i in ids]),
        length,
        np.array([len(row) for row in rows]),
        np.array([len(piece) for row in rows for _, _, piece in row]),
        pa.array([name for row in rows for name, _, _ in row]),
        np.array([start for row in rows for _, start, _ in row]),
    )


def documents(count, seed, tokenizer=TOKENIZER, mean=30):
    """Documents of random ids, some empty, some far longer than the mean."""
    random = np.random.default_rng(seed)
    sizes = random.lognormal(np.log(mean), 1, count).astype(int)
    return [(f"{seed}-{i}", random.integers(0, tokenizer.eod_id, size).tolist()) for i, size in enumerate(sizes)]

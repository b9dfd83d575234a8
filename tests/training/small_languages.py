"""Corpora whose text can be learnt in seconds: documents of small languages, as token shards and pack folders."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

EOD, VOCABULARY = 511, 512
IDENTITY = {"name": "test", "sha256": "0" * 64, "vocab_size": VOCABULARY, "eod_id": EOD}


def chain(seed):
    """Next-token probabilities of an order-1 language over 40 tokens starting at 10 * seed: entropy about 1.6 nats."""
    rng = np.random.default_rng(seed)
    table = np.zeros((VOCABULARY, VOCABULARY))
    words = 10 * seed + np.arange(40)
    table[:, words] = rng.dirichlet(np.full(40, 0.15), VOCABULARY)
    return table.cumsum(1)


def write(table, n, rng):
    """One document of n tokens."""
    ids, draws = np.zeros(n, np.int32), rng.random(n)
    for i in range(n):
        ids[i] = min(int(np.searchsorted(table[ids[i - 1]], draws[i])), VOCABULARY - 2)
    return ids


def documents(count, language, seed, longest=200):
    """Documents of a language, by its number, of lognormal lengths."""
    rng = np.random.default_rng([seed, language])
    table = chain(language)
    return [write(table, int(n), rng) for n in np.clip(rng.lognormal(4, 0.7, count), 2, longest)]


def pack_folder(folder, docs, length, stage="s", identity=IDENTITY):
    """Documents one after another in rows of `length`, cut where a row ends, with ends of documents; as a folder."""
    from stages.pack.shards import TokenizerIdentity, packed_table, write_folder

    ids, lens, names, starts, pieces = [], [], [], [], [0]
    free = length
    for i, doc in enumerate(docs):
        whole, at = np.append(doc, identity["eod_id"]), 0
        while at < len(whole):
            part = whole[at : at + free]
            ids.append(part)
            lens.append(len(part))
            names.append(f"{stage}-{i}")
            starts.append(at)
            pieces[-1] += 1
            at, free = at + len(part), free - len(part)
            if not free:
                pieces.append(0)
                free = length
    ids.append(np.full(free % length, identity["eod_id"]))
    pieces = [p for p in pieces if p]
    table = packed_table(
        np.concatenate(ids).astype(np.int32),
        length,
        np.array(pieces),
        np.array(lens),
        pa.array(names),
        np.array(starts),
    )
    write_folder(str(folder), stage, TokenizerIdentity(**identity), length, [table])
    return str(folder)


def token_shards(folder, by_language):
    """Token shards as the stage `tokenize` writes them; two bytes a token."""
    folder.mkdir(parents=True)
    metadata = {"tokenizer": "test", "tokenizer_sha256": "0" * 64, "vocab_size": str(VOCABULARY), "eod_id": str(EOD)}
    for language, docs in by_language.items():
        table = pa.table(
            {
                "input_ids": pa.array([d.tolist() for d in docs], pa.list_(pa.int32())),
                "n_tokens": pa.array([len(d) for d in docs], pa.int32()),
                "n_bytes": pa.array([2 * len(d) for d in docs], pa.int64()),
                "doc_id": [f"{language}-{i}" for i in range(len(docs))],
                "source": ["test"] * len(docs),
                "language": [language] * len(docs),
            }
        )
        pq.write_table(table.replace_schema_metadata(metadata), folder / f"{language}.parquet")
    return str(folder)

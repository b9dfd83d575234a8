"""Near-duplicate removal beside datatrove's, on one core, as ratios of CPU seconds, and how good its answers are.

    python benchmarks/dedup.py FOLDER

FOLDER holds parquet files with the columns `id` and `text`. Three things are measured, in alternating rounds:

signature  text to signatures and sketches: ours is what the stage does per batch before the shuffle; theirs is
           `MinhashDedupSignature`'s n-grams, hashes and permutations, without its files. datatrove's English word
           tokenizer is spaCy; where that is not installed words are split at white space, which is five times faster.
           rensa, gaoya and datasketch, where they are installed, get word 5-grams too and make 112 values: rensa from
           n-grams that Python joins, as it has no text front end, gaoya from the text, index included, datasketch from
           n-grams, with xxh32 and in bulk. All of them run on a sample of the documents.
lsh        signatures to clusters: band keys, the pairs of equal keys, and the components of all pairs; theirs is
           stages 2 and 3, over files in a temporary folder. Both get the same signatures (ours, written in their
           format, the documents' several times over with other values) and must find that as many documents hang
           together, or the benchmark fails. What datatrove has no part for, verifying each pair, choosing keepers and
           naming them by id, is timed beside it and in a ratio of its own. Files are on datatrove's side alone.
exact      text to 128-bit hashes of the normalised words.

If the folder has a `truth_planted.parquet` (id_a, id_b, jaccard: pairs and their true Jaccard index) the share of
pairs that were found is printed per bin beside what banding promises, and how alike removed documents and those kept
for them are. Last lines: `ratio minhash_vs_datatrove N`, one for each other peer, `ratio lsh_vs_datatrove N` and
`ratio lsh_verified_vs_datatrove N`.
"""

from __future__ import annotations

import sys
from pathlib import Path

# Python puts this script's folder first on its path, where tokenize.py hides the library module of that name.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]

import argparse
import contextlib
import importlib.util
import io
import re
import tempfile
import time
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash
from datatrove.pipeline.dedup import minhash as datatrove_minhash
from datatrove.pipeline.dedup.minhash import (
    HashConfig,
    MinhashConfig,
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupSignature,
)
from datatrove.utils.logging import logger

from curation.stage import Sidecars
from stages.dedup.exact import ExactDedup
from stages.dedup.minhash import MinhashDedup, Signed

#: Documents per call, as the engine's default.
BATCH = 256


class OneShard(Sidecars):
    """The sidecar of a single shard, in memory."""

    def __init__(self, table: pa.Table):
        self.table = table

    def rows(self, shard: int, rows: np.ndarray, columns: Sequence[str]) -> pa.Table:
        return self.table.select(list(columns)).take(pa.array(rows))

    def shards(self) -> int:
        return 1


class WhiteSpace:
    """Words between white space, where spaCy is not installed."""

    def word_tokenize(self, text: str) -> list[str]:
        return text.split()


def seconds(work):
    """CPU seconds of a call, and what it returned."""
    began = time.process_time()
    result = work()
    return time.process_time() - began, result


def read(folder: Path) -> pa.Table:
    tables = []
    for file in sorted(folder.glob("*.parquet")):
        if {"id", "text"} <= set(pq.read_schema(file).names):
            table = pq.read_table(file, columns=["id", "text"])
            tables.append(table.set_column(1, "text", table["text"].cast(pa.large_string())))
    if not tables:
        raise SystemExit(f"no parquet file with the columns 'id' and 'text' in {folder}")
    docs = pa.concat_tables(tables).combine_chunks()
    missing = pa.nulls(docs.num_rows, pa.string())
    return docs.append_column("url", missing).append_column("source", missing)


def megabytes(text: pa.ChunkedArray) -> float:
    return (pc.sum(pc.binary_length(text)).as_py() or 0) / 1e6


def batches(docs: pa.Table) -> list[pa.Table]:
    return [docs.slice(i, BATCH) for i in range(0, docs.num_rows, BATCH)]


def scattered(stage: MinhashDedup, docs: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Rows to shuffle and sidecar of a corpus, as the engine would have them of one shard."""
    parts = [(stage.scatter(b, 0, i * BATCH), stage.sidecar(b)) for i, b in enumerate(batches(docs))]
    return pa.concat_tables([p[0] for p in parts]), pa.concat_tables([p[1] for p in parts])


def repeated(signed: Signed, copies: int) -> Signed:
    """The signatures again and again, with other values in each copy, so that copies do not match each other."""
    signatures = [signed.signatures ^ np.uint32(0x9E3779B1 * i & 0xFFFFFFFF) for i in range(copies)]
    return Signed(np.concatenate(signatures), np.tile(signed.sketches, (copies, 1)), np.tile(signed.words, copies))


def split(rows: pa.Table) -> list[pa.Table]:
    """The rows of each partition, as the engine brings them together."""
    parts = rows["partition"].to_numpy()
    return [rows.filter(pa.array(parts == i)) for i in np.unique(parts)]


def gathered(stage: MinhashDedup, rows: pa.Table, beside: pa.Table) -> tuple[list[float], pa.Table, pa.Table]:
    """CPU seconds of each gather round (without the shuffle between them), candidate pairs and verdicts."""
    sidecars = OneShard(beside)
    times, pairs = [], rows
    for round in range(stage.rounds()):
        parts = split(rows)
        taken, tables = seconds(lambda r=round, parts=parts: [stage.gather(r, 0, part, sidecars) for part in parts])
        times.append(taken)
        rows = pa.concat_tables(tables)
        pairs = rows if round == 0 else pairs
    return times, pairs, rows


def datatrove_lsh(stage: MinhashDedup, signatures: np.ndarray, words: np.ndarray, folder: str) -> tuple[float, int]:
    """CPU seconds of datatrove's stages 2 and 3 on our signatures, and how many documents they would remove."""
    config = MinhashConfig(hash_config=HashConfig(precision=32))
    long = np.flatnonzero(words >= stage.ngram)
    fields = [(f"h{i}", "<u4") for i in range(stage.rows)] + [("document", "<u4")]
    for band in range(stage.bands):
        records = np.empty(len(long), fields)
        for i in range(stage.rows):
            records[f"h{i}"] = signatures[long, band * stage.rows + i]
        records["document"] = long
        records.sort(order=[name for name, _ in fields])
        file = Path(folder, "signatures", f"bucket_{band:03d}", "00000.minhash.sig")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(records.tobytes())

    def run():
        buckets = MinhashDedupBuckets(f"{folder}/signatures", f"{folder}/pairs", config=config)
        for rank in range(stage.bands):
            buckets.run(rank=rank, world_size=stage.bands)
        with contextlib.redirect_stderr(io.StringIO()):  # a progress bar
            MinhashDedupCluster(f"{folder}/pairs", f"{folder}/removed", config=config).run()

    taken, _ = seconds(run)
    return taken, sum(file.stat().st_size // 4 for file in Path(folder, "removed").glob("*.remove"))


def rensa_signatures(texts: list[str], ngram: int, count: int) -> object:
    from rensa import RMinHash

    return RMinHash.digest_matrix_from_token_sets([list(set(grams(t, ngram))) for t in texts], num_perm=count, seed=1)


def gaoya_signatures(texts: list[str], ngram: int, count: int) -> object:
    from gaoya.minhash import MinHashStringIndex

    index = MinHashStringIndex(
        hash_size=32, jaccard_threshold=0.7, num_bands=count // 8, band_size=8, num_hashes=count, analyzer="word",
        lowercase=True, ngram_range=(ngram, ngram),
    )  # fmt: skip
    for i, text in enumerate(texts):
        index.insert_document(i, text)
    return index


def datasketch_signatures(texts: list[str], ngram: int, count: int) -> object:
    from datasketch import MinHash

    tokens = ([gram.encode() for gram in set(grams(t, ngram))] for t in texts)
    return MinHash.bulk(tokens, num_perm=count, hashfunc=xxhash.xxh32_intdigest)


def grams(text: str, n: int) -> list[str]:
    """Word n-grams as strings, as users of these libraries make them."""
    words = text.lower().split()
    return [" ".join(words[i : i + n]) for i in range(len(words) - n + 1)]


#: Name -> text to signatures, of libraries that may be installed.
PEERS = {"rensa": rensa_signatures, "gaoya": gaoya_signatures, "datasketch": datasketch_signatures}


def closed(stage: MinhashDedup, pairs: pa.Table) -> pa.Table:
    """Components of all pairs, without a check."""
    return stage.gather(2, 0, pairs, OneShard(pairs))


def shingles(text: str) -> set[tuple[str, ...]]:
    """Word 5-grams, lower case, a word per Han or kana character; digits and accents count."""
    own = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    words = re.findall(f"[{own}]|[^\\W{own}]+", text.lower())
    return {tuple(words[i : i + 5]) for i in range(len(words) - 4)}


def quality(folder: Path, docs: pa.Table, verdicts: pa.Table, stage: MinhashDedup) -> None:
    """Print recall by true Jaccard index, and how alike removed documents and their keepers truly are."""
    ids = docs["id"].to_pylist()
    gone = verdicts.filter(pc.is_valid(verdicts["kept_id"]))
    rows, kept = gone["row"].to_pylist(), gone["kept_id"].to_pylist()
    keeper = dict(zip(ids, ids, strict=True)) | {ids[r]: k for r, k in zip(rows, kept, strict=True)}
    truth = pq.read_table(folder / "truth_planted.parquet")
    index = truth["jaccard"].to_numpy()
    pairs = zip(truth["id_a"].to_pylist(), truth["id_b"].to_pylist(), strict=True)
    found = np.array([keeper[a] == keeper[b] for a, b in pairs])
    for low, high in ((0, 0.6), (0.6, 0.7), (0.7, 0.75), (0.75, 0.8), (0.8, 0.85), (0.85, 0.9), (0.9, 1), (1, 2)):
        mine = (index >= low) & (index < high)
        if mine.any():
            promised = np.mean(1 - (1 - np.minimum(index[mine], 1) ** stage.rows) ** stage.bands)
            print(
                f"pairs of J {low:.2f}-{min(high, 1):.2f}: {mine.sum():5d}, found {found[mine].mean():.3f}, "
                f"candidates by theory {promised:.3f}"
            )
    place = {name: i for i, name in enumerate(ids)}
    text = docs["text"]
    resemblances = []
    for row, name in zip(rows, kept, strict=True):
        a, b = shingles(text[row].as_py()), shingles(text[place[name]].as_py())
        resemblances.append(len(a & b) / max(len(a | b), 1))
    true = np.array(resemblances)
    print(
        f"removed {len(true)}; J with the kept document: below 0.5 {np.mean(true < 0.5):.4f}, "
        f"0.6 {np.mean(true < 0.6):.4f}, 0.65 {np.mean(true < 0.65):.4f}, 0.7 {np.mean(true < 0.7):.4f}; "
        f"largest group {pc.max(verdicts['duplicates']).as_py()}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="FOLDER", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sample-mb", type=float, default=4.0, help="megabytes of text that datatrove gets a round")
    parser.add_argument("--copies", type=int, default=4, help="times that the signatures are repeated for lsh")
    options = parser.parse_args()
    logger.remove()
    pa.set_cpu_count(1)

    docs = read(options.folder)
    size = megabytes(docs["text"])
    stage = MinhashDedup(shuffle_partitions=16)
    stage.setup()
    scattered(stage, docs.slice(0, BATCH))  # compiles
    tokenizer = "spaCy"
    if importlib.util.find_spec("spacy") is None:
        datatrove_minhash.load_word_tokenizer = lambda language: WhiteSpace()
        tokenizer = "white space, as spaCy is not installed"
    theirs = MinhashDedupSignature(tempfile.gettempdir(), config=MinhashConfig())
    try:
        theirs.get_shingles("one two three four five")
    except TypeError:  # datatrove 0.10.1 hashes strings, which xxhash 4 no longer takes
        theirs._hash_func = lambda gram: xxhash.xxh64_intdigest(gram.encode())
    order = np.random.default_rng(0).permutation(docs.num_rows)
    ends = np.cumsum(pc.binary_length(docs["text"]).to_numpy()[order])
    print(f"{docs.num_rows} documents, {size:.1f} MB; datatrove's words: {tokenizer}", flush=True)

    ours_per_mb, theirs_per_mb, exact_per_mb = [], [], []
    others: dict[str, list[float]] = {name: [] for name in PEERS if importlib.util.find_spec(name)}
    exact = ExactDedup()
    exact.setup()
    for i in range(options.rounds):
        start, end = np.searchsorted(ends, [i * options.sample_mb * 1e6, (i + 1) * options.sample_mb * 1e6])
        sample = docs["text"].take(pa.array(order[start:end]))
        if not len(sample):
            break
        texts = sample.to_pylist()
        taken, _ = seconds(lambda: scattered(stage, docs))
        ours_per_mb.append(taken / size)
        taken, _ = seconds(lambda texts=texts: [theirs.get_signature(theirs.get_shingles(t)) for t in texts])
        theirs_per_mb.append(taken / megabytes(sample))
        for name, per_mb in others.items():
            taken, _ = seconds(lambda n=name, t=texts: PEERS[n](t, stage.ngram, stage.bands * stage.rows))
            per_mb.append(taken / megabytes(sample))
        taken, _ = seconds(lambda: [exact.scatter(b, 0, 0) for b in batches(docs)])
        exact_per_mb.append(taken / size)
        print(
            f"signature: ours {1 / ours_per_mb[-1]:.1f} MB/s, datatrove {1 / theirs_per_mb[-1]:.2f} MB/s, "
            f"{''.join(f'{name} {1 / per_mb[-1]:.1f} MB/s, ' for name, per_mb in others.items())}"
            f"exact {1 / exact_per_mb[-1]:.1f} MB/s"
        )
    signature_ratio = float(np.median(theirs_per_mb) / np.median(ours_per_mb))

    rows, beside = scattered(stage, docs)
    _, _, verdicts = gathered(stage, rows, beside)  # compiles, and answers for the quality
    signed = repeated(stage.signatures(docs["text"]), options.copies)
    many = pa.concat_tables([beside] * options.copies).combine_chunks()
    ours, verified, datatrove = [], [], []
    closed(stage, rows.select(["document"]).rename_columns(["a"]).append_column("b", rows["document"]))  # compiles
    for _ in range(options.rounds):
        keys, bands = seconds(lambda: stage.band_rows(signed, 0, 0))
        times, edges, _ = gathered(stage, bands, many)
        verified.append(keys + sum(times))
        closing, components_found = seconds(lambda edges=edges: closed(stage, edges))
        ours.append(keys + times[0] + closing)
        hang = components_found.num_rows - pc.count_distinct(components_found["component"]).as_py()
        with tempfile.TemporaryDirectory() as folder:
            taken, removed = datatrove_lsh(stage, signed.signatures, signed.words, folder)
        datatrove.append(taken)
        if hang != removed:
            raise SystemExit(f"closure removes {hang} documents here and {removed} in datatrove")
        print(
            f"lsh: {bands.num_rows} band keys, {edges.num_rows} pairs; ours {ours[-1]:.3f} s, verified "
            f"{verified[-1]:.3f} s (keys {keys:.3f}, rounds {' '.join(f'{t:.3f}' for t in times)}), "
            f"datatrove {datatrove[-1]:.3f} s; closure removes {removed} in both"
        )
    if (options.folder / "truth_planted.parquet").exists():
        quality(options.folder, docs, verdicts, stage)
    shuffled = rows.drop_columns(["partition"]).nbytes / docs.num_rows  # a file holds its partitions one by one
    kept = beside.select(["sketch"]).nbytes / docs.num_rows
    print(f"shuffled {shuffled:.0f} bytes a document, sketches {kept:.0f} bytes a document")
    print(f"ratio minhash_vs_datatrove {signature_ratio:.1f}")
    for name, per_mb in others.items():
        print(f"ratio minhash_vs_{name} {np.median(per_mb) / np.median(ours_per_mb):.1f}")
    print(f"ratio lsh_vs_datatrove {np.median(datatrove) / np.median(ours):.1f}")
    print(f"ratio lsh_verified_vs_datatrove {np.median(datatrove) / np.median(verified):.1f}")


if __name__ == "__main__":
    main()

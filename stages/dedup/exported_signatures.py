"""Signatures that a run has written, as datasketch's MinHash objects, and signatures of new texts that match them.

`minhash_dedup` with `write_signatures: true` writes a folder `signatures/`: id and signature of each document that
stays, and in the files' metadata all that decides a signature (bands, rows, ngram, seed, folding of digits). That is
enough to ask any MinHash library, years later, whether a text is in the corpus:

    from datasketch import MinHashLSH
    from stages.dedup.exported_signatures import Signatures

    signatures = Signatures("out/web")
    lsh = MinHashLSH(threshold=0.7, num_perm=signatures.size)
    for name, minhash in signatures.minhashes():
        lsh.insert(name, minhash)
    lsh.query(signatures.minhash_of("a text"))

Trade-off: a MinHash object takes 1 kB and its insertion 50 microseconds, so this is for millions of documents.
datasketch is not a dependency of the project; install it where this is used.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curation.errors import ConfigError
from stages.dedup.minhash import MinhashDedup

if TYPE_CHECKING:
    from datasketch import MinHash

FOLDER = "signatures"
#: Key of the files' metadata under which the settings of the stage lie, as JSON.
KEY = "minhash"


class Signatures:
    """The signatures in the output of a run. ConfigError if it has none."""

    def __init__(self, run: str):
        try:
            with fsspec.open(f"{run}/run.json", "rb") as file:
                files = json.load(file).get("files", {}).get(FOLDER, [])
        except FileNotFoundError:
            files = []
        if not files:
            raise ConfigError(f"{run} holds no signatures; run it with minhash_dedup.write_signatures=true")
        self._paths = [f"{run}/{file['name']}" for file in files]
        with fsspec.open(self._paths[0], "rb") as file:
            options = json.loads((pq.read_schema(file).metadata or {})[KEY.encode()])
        self.seed: int = options.pop("seed")
        self._stage = MinhashDedup(**options)
        self._stage._seed = self.seed
        self._stage.setup()

    @property
    def size(self) -> int:
        """Values in a signature."""
        return self._stage.bands * self._stage.rows

    @property
    def bands(self) -> tuple[int, int]:
        """Bands and rows, for `MinHashLSH(params=...)`."""
        return self._stage.bands, self._stage.rows

    def batches(self) -> Iterator[tuple[pa.Array, np.ndarray]]:
        """Ids and signatures (uint32, shape (n, size)) of the documents, a row group at a time, in plan order."""
        for path in self._paths:
            with fsspec.open(path, "rb") as file:
                parquet = pq.ParquetFile(file)
                for group in range(parquet.num_row_groups):
                    table = parquet.read_row_group(group)
                    values = table["signature"].combine_chunks().flatten().to_numpy()
                    yield table["id"].combine_chunks(), values.reshape(-1, self.size)

    def minhashes(self) -> Iterator[tuple[str, MinHash]]:
        """Id and MinHash of each document that has a word n-gram; the others have no signature."""
        for ids, signatures in self.batches():
            for name, signature in zip(ids.to_pylist(), signatures, strict=True):
                if (signature != 0xFFFFFFFF).any():
                    yield name, self._minhash(signature)

    def minhash_of(self, text: str) -> MinHash:
        """The MinHash of a text, comparable with those of the run."""
        return self._minhash(self._stage.signatures(pa.array([text], pa.large_string())).signatures[0])

    def _minhash(self, signature: np.ndarray) -> Any:
        from datasketch import MinHash

        # Both are a x + b mod 2^32; what goes before, the hash of a shingle, is ours: `update` would mix two kinds
        a, b = self._stage._permutations
        return MinHash(seed=self.seed, hashvalues=signature, permutations=(a, b), scheme="affine32")

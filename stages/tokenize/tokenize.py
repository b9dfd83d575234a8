"""Turns the documents that were kept into token shards, the folder a trainer reads.

A shard is parquet with one row per document, not one row per packed training sequence: packing depends on the
context length, the stage of training and the mix, and a document stays countable, filterable and traceable to its
source only while it is a row. Packing is a cheap second step on these files.

Trade-offs. Ids are int32 lists stored PLAIN under zstd 1, because a vocabulary of 150,000 makes a dictionary useless
(13.7 bits an id against 10.8) and int32 is what Arrow, torch and `datasets` take without a cast. The elements are
declared non-null, which halves the cost of reading them. The engine's name is a metric and not file metadata: every
engine must give the reference's ids, so a worker that had to fall back writes the same bytes as the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from pydantic import Field, PrivateAttr

from curation.documents import column_type
from curation.errors import ConfigError, CurationError
from curation.stage import Output, Stage
from stages.tokenize.tokenizer_file import (
    DEFAULT_EOD,
    SHIPPED,
    known_identity,
    tokenizer_path,
)

if TYPE_CHECKING:
    from stages.tokenize.engine import Tokenizer

#: Version of the columns and metadata of the folder `tokens/`.
SCHEMA_VERSION = "1"

#: Longer documents are not sampled: the reference encodes 1 MB a second and takes up to 200 MB of memory for it.
_LONGEST_CHECKED = 1 << 20

#: Lengths of documents in tokens, in powers of two: the buckets from which long-context stages draw.
_LENGTH_EDGES = tuple(1 << i for i in range(5, 21))


class Tokenize(Stage, name="tokenize"):
    """Encodes each document's text as token ids and writes them to `tokens/`. Drops nothing.

    Adds `input_ids`, `n_tokens` and `n_bytes` (of the text in UTF-8, for bits per byte and for budgets that do not
    favour a script). `tokens/` gets one parquet file per shard with `input_ids`, `n_tokens`, `n_bytes`, `doc_id` and
    the columns of `carry`, in row groups of about a million tokens; `documents/` keeps the counts and not the ids.
    A document without text has no ids and stays.

    The ids are those of Hugging Face `tokenizers` for the same `tokenizer.json`, normalization included (Qwen3:
    NFC). A control token written in the text, such as `<|endoftext|>` or `<think>`, is encoded as the characters it
    consists of: control ids never come out of text. There is no end-of-document id in `input_ids`; a loader puts it
    between documents, and finds it in the file's metadata: `tokenizer`, `tokenizer_sha256`, `vocab_size`, `eod_id`,
    `added_tokens` (`stripped`), `schema_version`.

    The work is done by `fastokens`, about 50 times as fast as the reference, after it has agreed with the reference
    on a set of hard texts. If it does not, `auto` warns on stderr and uses the reference. The report counts documents
    per engine (`engine=`), `warning_tokenizer_fallback` (encoded by the reference because the fast engine was
    refused), `tokenizer_checked` and `warning_tokenizer_mismatch` (sampled documents, and those among them where the
    fast engine was wrong and the reference's ids were taken), `tokenizer_error` (documents the fast engine gave up on).
    """

    #: The reference, when it has to step in, needs a second for each MB of a batch; 600 s is a batch of 64 MB on a
    #: core ten times slower than the one this was measured on.
    limit_s = 600.0

    tokenizer: str = Field("qwen3", description="a shipped one (`qwen3`), or the path of a tokenizer.json")
    eod_token: str = Field(DEFAULT_EOD, description="token whose id goes into the metadata as end of document")
    engine: Literal["auto", "fastokens", "hf"] = Field(
        "auto", description="`fastokens` fails where `auto` falls back to the reference; `hf` is the reference"
    )
    check_every: int = Field(
        1000,
        ge=0,
        description="one document in so many, chosen by its id, is checked against the reference; 0 is never",
    )
    carry: tuple[str, ...] = Field(
        ("source", "url", "language"), description="columns of the documents to copy into the token shards, if present"
    )

    _tokenizer: Tokenizer | None = PrivateAttr(None)

    def adds(self) -> dict[str, pa.DataType]:
        return {name: column_type(name) for name in ("input_ids", "n_tokens", "n_bytes")}

    def outputs(self) -> tuple[Output, ...]:
        who = known_identity(self.tokenizer, self.eod_token)
        columns = {"input_ids": "input_ids", "n_tokens": "n_tokens", "n_bytes": "n_bytes", "id": "doc_id"}
        carried = {name: name for name in self.carry if name not in (*columns, "doc_id")}
        return (
            Output(
                folder="tokens",
                columns=columns | carried,
                moved=("input_ids",),
                metadata={
                    "tokenizer": who.name,
                    "tokenizer_sha256": who.sha256,
                    "vocab_size": str(who.vocab_size),
                    "eod_id": str(who.eod_id),
                    "added_tokens": "stripped",
                    "schema_version": SCHEMA_VERSION,
                },
                group_by="n_tokens",
                group_size=1 << 20,
                plain=("input_ids",),
            ),
        )

    def check(self) -> None:
        path = tokenizer_path(self.tokenizer)
        if not path.is_file():
            raise ConfigError(
                f"tokenize: tokenizer '{self.tokenizer}' is neither a shipped one ({', '.join(SHIPPED)}) nor a file"
            )
        try:
            known_identity(self.tokenizer, self.eod_token)
        except (ValueError, OSError) as error:
            raise ConfigError(f"tokenize: {error}") from error

    def files(self) -> Sequence[str]:
        return [str(tokenizer_path(self.tokenizer))]

    def setup(self) -> None:
        from stages.tokenize.engine import Tokenizer
        from stages.tokenize.prepared import load

        try:
            prepared, found = load(self.tokenizer, self.eod_token)
            expected = known_identity(self.tokenizer, self.eod_token)
            if found != expected:  # the file changed after the run was planned, or the table is wrong
                raise ValueError(f"the tokenizer is {found}, and its ids would be labelled {expected}")
            self._tokenizer = Tokenizer(prepared, self.engine)
        except (ValueError, OSError, RuntimeError) as error:
            raise CurationError(f"tokenize: {error}") from error

    def _sample(self, docs: pa.Table, n_bytes: np.ndarray) -> np.ndarray:
        """Rows to check against the reference, by a hash of the id, so that batches do not matter."""
        if not self.check_every:
            return np.empty(0, np.int64)
        digests = [xxhash.xxh3_64_intdigest(id_) for id_ in docs["id"].cast(pa.binary()).to_pylist()]
        chosen = np.array(digests, dtype=np.uint64) % np.uint64(self.check_every) == 0
        return np.flatnonzero(chosen & (n_bytes <= _LONGEST_CHECKED))

    def __call__(self, docs: pa.Table) -> pa.Table:
        if self._tokenizer is None:
            self.setup()
        assert self._tokenizer is not None
        texts = docs["text"].combine_chunks()
        n_bytes = pc.fill_null(pc.binary_length(texts), 0).to_numpy().astype(np.int64)
        *encoded, failed = self._tokenizer.encode(texts)
        rows = self._sample(docs, n_bytes)
        (ids, offsets), wrong = self._tokenizer.correct(texts, rows, (encoded[0], encoded[1]))
        if len(ids) >= 1 << 31:
            raise ValueError(f"a batch of {len(ids)} tokens does not fit an Arrow list array; use smaller batches")
        n_tokens = np.diff(offsets)
        self._record(docs, n_tokens, n_bytes, len(rows), wrong, failed)
        columns = {
            "input_ids": pa.ListArray.from_arrays(
                pa.array(offsets.astype(np.int32)), pa.array(ids, pa.int32()), type=column_type("input_ids")
            ),
            "n_tokens": pa.array(n_tokens.astype(np.int32)),
            "n_bytes": pa.array(n_bytes),
        }
        return _with_columns(docs, columns)

    def _record(
        self, docs: pa.Table, n_tokens: np.ndarray, n_bytes: np.ndarray, checked: int, wrong: int, failed: int
    ) -> None:
        assert self._tokenizer is not None
        metrics = self.metrics
        metrics.count("tokens", n_tokens.sum())
        metrics.count("bytes", n_bytes.sum())
        metrics.observe("n_tokens", n_tokens, _LENGTH_EDGES)
        metrics.count(f"engine={self._tokenizer.engine}", docs.num_rows)
        metrics.count("warning_tokenizer_fallback", docs.num_rows if self._tokenizer.fallback is not None else 0)
        metrics.count("tokenizer_checked", checked)
        metrics.count("warning_tokenizer_mismatch", wrong)
        metrics.count("tokenizer_error", failed)
        if "language" in docs.column_names:
            sums = (
                pa.table({"language": docs["language"], "tokens": n_tokens, "bytes": n_bytes})
                .group_by("language", use_threads=False)
                .aggregate([("tokens", "sum"), ("bytes", "sum")])
            )
            for row in sums.to_pylist():
                metrics.count(f"language_tokens={row['language'] or ''}", row["tokens_sum"])
                metrics.count(f"language_bytes={row['language'] or ''}", row["bytes_sum"])


def _with_columns(docs: pa.Table, columns: dict[str, Any]) -> pa.Table:
    """`docs` with these columns added, or replaced where they exist."""
    for name, column in columns.items():
        place = docs.schema.get_field_index(name)
        docs = docs.append_column(name, column) if place < 0 else docs.set_column(place, name, column)
    return docs

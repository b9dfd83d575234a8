"""Counts how many bytes of text a token holds, per language and tokenizer: what a language costs to train on and serve.

The figure of the Qwen report (arXiv 2309.16609, section 2.2), for any tokenizer with a `tokenizer.json` and any corpus.
Tokenizers are compared as published, with their added tokens (Gemma keeps runs of spaces there), unlike in the stage
`tokenize`, where added tokens must not act on text; what is inserted, cut or padded is left out in both.

Trade-off: bytes and not characters, because bytes do not depend on a script's normal form and are what a corpus is
measured in. A script takes one to three bytes a character, so numbers of one language compare tokenizers, and those of
two languages compare little: read rows, not columns. Languages are averaged by the geometric mean of their ratios, in
which each language counts the same however much text it has.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curation.errors import ConfigError
from stages.tokenize.engine import Reference, Tokenizer
from stages.tokenize.prepared import Prepared
from stages.tokenize.probes import PROBES
from stages.tokenize.tokenizer_file import SHIPPED, read_definition

#: Documents that are encoded at once.
_BATCH = 256
#: What a row without a value of the column is counted under.
NO_GROUP = "(none)"


@dataclass
class Compression:
    """Counts of a comparison.

    groups: values of the column, sorted. n_documents, n_bytes: int64 [groups]. n_tokens: by tokenizer, likewise.
    """

    groups: list[str]
    n_documents: np.ndarray
    n_bytes: np.ndarray
    n_tokens: dict[str, np.ndarray] = field(default_factory=dict)

    def bytes_per_token(self, tokenizer: str) -> np.ndarray:
        """float64 [groups]."""
        return self.n_bytes / self.n_tokens[tokenizer]

    def mean(self, tokenizer: str) -> float:
        """Geometric mean of bytes per token over the groups."""
        return float(np.exp(np.log(self.bytes_per_token(tokenizer)).mean()))

    def relative_tokens(self, tokenizer: str) -> float:
        """Tokens this tokenizer makes for one of the first tokenizer's, geometric mean over the groups."""
        return self.mean(next(iter(self.n_tokens))) / self.mean(tokenizer)

    def to_json(self) -> dict[str, Any]:
        """Everything, as JSON has it."""
        names = list(self.n_tokens)
        rows = [
            {
                "group": group,
                "documents": int(self.n_documents[i]),
                "bytes": int(self.n_bytes[i]),
                "tokens": {name: int(self.n_tokens[name][i]) for name in names},
                "bytes_per_token": {name: round(float(self.bytes_per_token(name)[i]), 4) for name in names},
            }
            for i, group in enumerate(self.groups)
        ]
        return {
            "groups": rows,
            "geometric_mean": {name: round(self.mean(name), 4) for name in names},
            "relative_tokens": {name: round(self.relative_tokens(name), 4) for name in names},
        }


def load_tokenizer(tokenizer: str) -> Tokenizer:
    """A tokenizer as published, by the name of a shipped one or the path of a `tokenizer.json`.

    The fast engine runs it if it agrees with the reference, as in the stage `tokenize`. ConfigError if it cannot be
    loaded.
    """
    try:
        definition, _ = read_definition(tokenizer)
        plain = json.dumps(definition | {"truncation": None, "padding": None, "post_processor": None})
        reference = Reference(plain)
    except OSError as error:
        shipped = ", ".join(SHIPPED)
        raise ConfigError(
            f"tokenizer '{tokenizer}' is neither a shipped one ({shipped}) nor a file: {error}"
        ) from error
    except Exception as error:  # the library raises bare Exception
        raise ConfigError(f"tokenizer '{tokenizer}': not a tokenizer.json that can be loaded: {error}") from error
    return Tokenizer(Prepared(lambda: plain, list(PROBES), *reference.encode(list(PROBES))))


def _batches(texts: str, column: str, by: str) -> Iterator[tuple[pa.Array, pa.Array]]:
    """Texts (large_string) and their group (string), some documents at a time."""
    fs, root = fsspec.core.url_to_fs(texts)
    files = [root] if root.endswith(".parquet") else [p for p in sorted(fs.find(root)) if p.endswith(".parquet")]
    if not files:
        raise ConfigError(f"{texts}: expected a parquet file, or a folder with some")
    for path in files:
        try:
            with fs.open(path, "rb") as handle:
                parquet = pq.ParquetFile(handle)
                names = parquet.schema_arrow.names
                for name in (column, by):
                    if name and name not in names:
                        raise ConfigError(f"{path}: no column '{name}'; it has {', '.join(names)}")
                for batch in parquet.iter_batches(_BATCH, columns=[column, by] if by else [column]):
                    text = batch.column(column).cast(pa.large_string())
                    group = batch.column(by).cast(pa.string()) if by else pa.array(["all"] * len(text))
                    yield text, group.fill_null(NO_GROUP)
        except (OSError, pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise ConfigError(f"{path}: cannot be read as parquet with text in '{column}': {error}") from error


def compare(
    tokenizers: Mapping[str, str], texts: str, column: str = "text", by: str = "language", most_bytes: int = 0
) -> Compression:
    """Encode the texts with each tokenizer and count.

    tokenizers: display name -> shipped name or path. texts: parquet file or folder, or a URL. by: column to group by,
    "" for none. most_bytes: no more documents of a group are read once it has so many bytes; 0 reads all. Empty texts
    are left out. ConfigError if something is missing or nothing is left.
    """
    loaded = {name: load_tokenizer(file) for name, file in tokenizers.items()}
    codes: dict[str, int] = {}
    sums = np.zeros((2 + len(loaded), 64), np.int64)  # documents, bytes, tokens by tokenizer
    for text, group in _batches(texts, column, by):
        encoded = group.dictionary_encode()
        names = encoded.dictionary.to_pylist()
        for name in names:
            codes.setdefault(name, len(codes))
        while sums.shape[1] < len(codes):
            sums = np.concatenate([sums, np.zeros_like(sums)], axis=1)
        code = np.array([codes[name] for name in names], np.int64)[encoded.indices.to_numpy()]
        sizes = pc.fill_null(pc.binary_length(text), 0).to_numpy().astype(np.int64)
        keep = sizes > 0
        if most_bytes:
            keep &= _before(code, sizes, keep, sums[1], most_bytes)
        text, code, sizes = text.filter(pa.array(keep)), code[keep], sizes[keep]
        if not len(text):
            continue
        counts = [np.ones(len(text), np.int64), sizes]
        for tokenizer in loaded.values():
            _, offsets, _ = tokenizer.encode(text)
            counts.append(np.diff(offsets))
        for row, values in zip(sums, counts, strict=True):
            np.add.at(row, code, values)
    order = [codes[name] for name in sorted(codes) if sums[0, codes[name]]]
    if not order:
        raise ConfigError(f"{texts}: the column '{column}' has no text")
    groups = [name for name in sorted(codes) if sums[0, codes[name]]]
    tokens = {name: sums[2 + i, order] for i, name in enumerate(loaded)}
    return Compression(groups, sums[0, order], sums[1, order], tokens)


def _before(code: np.ndarray, sizes: np.ndarray, keep: np.ndarray, so_far: np.ndarray, most: int) -> np.ndarray:
    """Which documents come before their group has its bytes."""
    room = np.zeros(len(code), bool)
    for group in np.unique(code):
        mine = np.flatnonzero((code == group) & keep)
        before = np.cumsum(sizes[mine]) - sizes[mine] + so_far[group]
        room[mine] = before < most
    return room

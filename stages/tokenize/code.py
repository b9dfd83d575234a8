"""Turns source files and repositories into token shards with Qwen's control tokens for code.

`tokenize`, but that a share of the files is cut in three for filling in the middle, and that the documents of
`pack_repositories` are written with a token before each path. `fill_in_middle.py` has the orders.

Trade-off: cuts fall between any two characters, drawn by lot, not between statements: so a model learns to go on from
where a writer happens to stand.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from pydantic import Field

from curation.documents import column_type
from curation.errors import ConfigError
from stages.tokenize.fill_in_middle import CONTROL, ENDOFTEXT, Piece, cut_in_three, of_repository
from stages.tokenize.tokenize import Tokenize, _with_columns
from stages.tokenize.tokenizer_file import control_tokens, known_identity, read_definition


class TokenizeCode(Tokenize, name="tokenize_code"):
    """Encodes source files as token ids, some cut in three for filling in the middle, and repositories as wholes.

    As `tokenize`, whose manual holds, and: a share `fim_share` of the documents, drawn by their ids, is cut at two
    random characters and written as `<|fim_prefix|>…<|fim_suffix|>…<|fim_middle|>…`; of those a share `spm_share` has
    the suffix first. A document of `pack_repositories` is written as `<|repo_name|>name`, then `<|file_sep|>path` and
    content for each file, the last of which is cut in the same share of cases. The tokenizer must have these tokens
    with Qwen's ids, 151659 to 151664. In the text such tokens remain ordinary characters.

    Adds `token_format` to the columns of `tokenize`: `plain`, `psm`, `spm`, `repository`, `repository_psm`,
    `repository_spm`. From the ids the files can be restored exactly (`stages.tokenize.fill_in_middle.restore`), but for
    what the tokenizer itself normalises: Qwen's composes characters (NFC).

    Sources: Qwen2.5-Coder (Hui et al. 2024, section 3.2); Bavarian et al. 2022, Efficient training of language models
    to fill in the middle.
    """

    fim_share: float = Field(0.5, ge=0, le=1, description="share of the documents that are cut in three")
    spm_share: float = Field(0.0, ge=0, le=1, description="share of those in which the suffix comes first")
    fim_min_characters: int = Field(32, ge=3, description="shorter files are not cut")

    def adds(self) -> dict[str, pa.DataType]:
        return super().adds() | {"token_format": column_type("token_format")}

    def check(self) -> None:
        super().check()
        added = control_tokens(read_definition(self.tokenizer)[0])
        wrong = [f"{token} ({added.get(token)})" for token, number in CONTROL.items() if added.get(token) != number]
        if wrong or known_identity(self.tokenizer, self.eod_token).eod_id != ENDOFTEXT:
            raise ConfigError(
                f"tokenize_code: the tokenizer '{self.tokenizer}' lacks Qwen's tokens for code under their ids: "
                f"{', '.join(wrong) or self.eod_token}"
            )

    def __call__(self, docs: pa.Table) -> pa.Table:
        if self._tokenizer is None:
            self.setup()
        assert self._tokenizer is not None
        n = docs.num_rows
        orders = [self._pieces(*row) for row in zip(*self._columns(docs), strict=True)]
        texts = pa.array(
            [piece for _, pieces in orders for piece in pieces if isinstance(piece, str)], pa.large_string()
        )
        *encoded, failed = self._tokenizer.encode(texts)
        (ids, offsets), wrong = self._tokenizer.correct(texts, np.empty(0, np.int64), (encoded[0], encoded[1]))
        out: list[np.ndarray] = []
        lengths = np.zeros(n + 1, np.int64)
        at = 0
        for row, (_, pieces) in enumerate(orders):
            for piece in pieces:
                if isinstance(piece, int):
                    part = np.array([piece], np.int32)
                else:
                    part = ids[offsets[at] : offsets[at + 1]]
                    at += 1
                out.append(part)
                lengths[row + 1] += len(part)
        ends = np.cumsum(lengths)
        flat = np.concatenate(out) if out else np.empty(0, np.int32)
        n_bytes = pc.fill_null(pc.binary_length(docs["text"].combine_chunks()), 0).to_numpy().astype(np.int64)
        self._record(docs, lengths[1:], n_bytes, 0, wrong, failed)
        formats = [kind for kind, _ in orders]
        self.metrics.count_values("format", pa.array(formats, pa.string()))
        return _with_columns(
            docs,
            {
                "input_ids": pa.ListArray.from_arrays(
                    pa.array(ends.astype(np.int32)), pa.array(flat, pa.int32()), type=column_type("input_ids")
                ),
                "n_tokens": pa.array(lengths[1:].astype(np.int32)),
                "n_bytes": pa.array(n_bytes),
                "token_format": pa.array(formats, pa.string()),
            },
        )

    def _columns(self, docs: pa.Table) -> list[list[Any]]:
        empty = [None] * docs.num_rows
        names = ("id", "text", "repository", "file_paths", "file_ends")
        return [docs[name].to_pylist() if name in docs.column_names else empty for name in names]

    def _pieces(
        self, id: str, text: str | None, repository: str | None, paths: list[str] | None, ends: list[int] | None
    ) -> tuple[str | None, list[Piece]]:
        """How a document is written, and its pieces."""
        if not text:
            return None, []
        digest = xxhash.xxh3_128_digest(id, seed=self.seed & (2**64 - 1))
        draws = np.frombuffer(digest, "<u4") / 2**32
        files = None
        if paths and ends:
            starts = [0, *ends]
            files = [(path, text[a:b]) for path, a, b in zip(paths, starts, ends, strict=False)]
        content = files[-1][1] if files else text
        cut: list[Piece] | None = None
        kind = "plain"
        if draws[0] < self.fim_share and len(content) >= self.fim_min_characters:
            kind = "spm" if xxhash.xxh3_64_intdigest(digest) / 2**64 < self.spm_share else "psm"
            first, second = (int(draw * (len(content) + 1)) for draw in draws[1:3])
            cut = cut_in_three(content, first, second, kind)  # type: ignore[arg-type]
        if files is None:
            return kind, cut if cut is not None else [text]
        name = "repository" if cut is None else f"repository_{kind}"
        return name, of_repository(repository or "", files, cut)

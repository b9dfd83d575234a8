"""Turns texts into token ids with a fast engine, and checks that they are the ids of the reference engine.

The reference is Hugging Face `tokenizers`: it defines what a `tokenizer.json` means, and encodes about 1 MB of text
a second. `fastokens` reads the same file and is 50 times as fast, but is a young library (0.x), and ids that are
wrong now and then spoil a corpus without anyone noticing. So it is trusted only as far as it is checked: at load it
must agree with the reference on every text of `probes.py`, and the stage has it checked on a sample of documents
in production. Where it fails to load or to agree, the reference does the work, and says so on stderr.

Trade-off: a worker that meets a document of the sample loads both engines (Qwen3: 1.6 s and 100 MB for fastokens,
0.6 s and 40 MB for the reference) for one document in a thousand.

Time and memory of fastokens 0.3.5, one thread: 90 MB/s on English prose and code, 25 to 35 MB/s on sentences of 117
languages, 1.5 to 3 MB/s on the worst input (one word without a break), growing as n log n: 0.4 s for 1 MB of one
letter, 33 s for 50 MB. Memory stays flat, 365 MB for the process after 1 GB of words that never repeat, so the
engine is not rebuilt. One word of n bytes takes 60 n bytes, which the thread keeps; that is left to the run's memory
limit, because a text can only be cut where the pre-tokenizer cuts it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from functools import cached_property
from importlib.metadata import version
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from stages.tokenize.prepared import Prepared, prepare

#: Ids of all texts one after another (int32), and where each text's ids start (int64, one more than texts).
Encoded = tuple[np.ndarray, np.ndarray]


class Engine(Protocol):
    """Encodes a batch of texts. `name` is the library with its version."""

    name: str

    def encode(self, texts: list[str]) -> Encoded: ...


def _flat(rows: Sequence[np.ndarray]) -> Encoded:
    offsets = np.zeros(len(rows) + 1, dtype=np.int64)
    np.cumsum([len(row) for row in rows], out=offsets[1:])
    return (np.concatenate(rows) if rows else np.empty(0, np.int32)), offsets


class Reference:
    """Hugging Face `tokenizers`, one text at a time: a batch of its encodings holds 200 bytes for each id."""

    def __init__(self, definition: str):
        # A task is one core; and a process that has used its threads warns at every later fork.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        from tokenizers import Tokenizer

        self.name = f"tokenizers {version('tokenizers')}"
        self._tokenizer = Tokenizer.from_str(definition)

    def encode_one(self, text: str) -> np.ndarray:
        """Ids of one text, int32."""
        # The fast variant leaves out character offsets; the ids are the same.
        encoding = self._tokenizer.encode_batch_fast([text], add_special_tokens=False)[0]
        return np.array(encoding.ids, dtype=np.int32)

    def encode(self, texts: list[str]) -> Encoded:
        return _flat([self.encode_one(text) for text in texts])


class Fastokens:
    """The library fastokens, on the calling thread alone."""

    def __init__(self, definition: str):
        # Read once, at the library's first use. It would start a thread per core; a task is one core.
        os.environ.setdefault("FASTOKENS_BPE_THREADS", "1")
        from fastokens import Tokenizer

        self.name = f"fastokens {version('fastokens')}"
        self._tokenizer = Tokenizer.from_json_str(definition)

    def encode(self, texts: list[str]) -> Encoded:
        ids, offsets = self._tokenizer.encode_batch_flat(texts)
        # uint32 read as int32: ids are far below 2**31.
        return np.frombuffer(ids, dtype=np.int32), np.frombuffer(offsets, dtype=np.int64)


def first_difference(engine: Engine, prepared: Prepared) -> str | None:
    """What is wrong with the ids `engine` gives to the probes, in words, or None if they are the reference's.

    Encodes the texts twice: the second time an engine with a cache answers from it.
    """
    texts, expected, starts = prepared.probes, prepared.ids, prepared.starts
    for _ in range(2):
        ids, offsets = engine.encode(texts)
        if len(offsets) != len(starts):
            return f"{len(texts)} texts in, {len(offsets) - 1} out"
        for i, text in enumerate(texts):
            got, right = ids[offsets[i] : offsets[i + 1]], expected[starts[i] : starts[i + 1]]
            if not np.array_equal(got, right):
                return f"{text[:40]!a} gave {got[:8].tolist()}, expected {right[:8].tolist()}"
    return None


def _is_failure(error: BaseException) -> bool:
    """Whether an engine failed, and not the program: a panic in Rust arrives as a BaseException of its own."""
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"


class Tokenizer:
    """A tokenizer definition with the engine that was found fit to run it.

    source: a definition as `tokenizer_file.read_definition` gives it, or `prepared.load`.
    engine: `auto` takes fastokens if it passes the self-test, else the reference; `fastokens` fails instead of
    falling back; `hf` is the reference alone.

    fallback: why the fast engine was refused, or None. Raises ValueError if the definition cannot be loaded or lets
    text become a control id, RuntimeError if `engine` is `fastokens` and it was refused.
    """

    def __init__(self, source: dict[str, Any] | Prepared, engine: str = "auto"):
        self._prepared = source if isinstance(source, Prepared) else prepare(source)
        self._engine: Engine | None = None
        self.fallback: str | None = None
        if engine != "hf":
            try:
                fast = Fastokens(self._prepared.definition())
                self.fallback = first_difference(fast, self._prepared)
                self._engine = fast if self.fallback is None else None
            except BaseException as error:
                if not _is_failure(error):
                    raise
                self.fallback = f"{type(error).__name__}: {error}"
            if self.fallback is not None and engine == "fastokens":
                raise RuntimeError(f"fastokens does not encode as the reference does: {self.fallback}")
            if self.fallback is not None:
                message = (
                    f"warning: tokenize: fastokens refused, using the reference (50 times slower): {self.fallback}"
                )
                print(message, file=sys.stderr, flush=True)
        if self._engine is None:
            self._engine = self._reference

    @cached_property
    def _reference(self) -> Reference:
        """Loaded when it is first asked."""
        return Reference(self._prepared.definition())

    @property
    def engine(self) -> str:
        """The library at work, with its version."""
        assert self._engine is not None
        return self._engine.name

    def encode(self, texts: pa.Array) -> tuple[np.ndarray, np.ndarray, int]:
        """Ids (int32, flat), offsets (int64, one more than texts) and the number of texts the engine gave up on.

        texts: string or large_string array; null counts as empty. A text on which the fast engine raises is encoded
        by the reference. UnicodeDecodeError if a text is not UTF-8.
        """
        # One Python string per document, not per token: 7 % of the call. The library takes nothing else.
        strings = texts.to_pylist() if not texts.null_count else [text or "" for text in texts.to_pylist()]
        assert self._engine is not None
        try:
            return *self._engine.encode(strings), 0
        except BaseException as error:
            if self._engine is self.__dict__.get("_reference") or not _is_failure(error):
                raise
        rows, failed = [], 0
        for text in strings:
            try:
                rows.append(self._engine.encode([text])[0])
            except BaseException as error:
                if not _is_failure(error):
                    raise
                rows.append(self._reference.encode_one(text))
                failed += 1
        return *_flat(rows), failed

    def correct(self, texts: pa.Array, rows: np.ndarray, encoded: Encoded) -> tuple[Encoded, int]:
        """Compare the ids of some texts with the reference's, and put the reference's where they differ.

        rows: positions in `texts` to look at. Returns the ids and offsets, unchanged arrays if all agree, and the
        number of texts that differed.
        """
        ids, offsets = encoded
        wrong = {}
        for i in rows.tolist():
            right = self._reference.encode_one(texts[i].as_py() or "")
            if not np.array_equal(ids[offsets[i] : offsets[i + 1]], right):
                wrong[i] = right
        if not wrong:
            return encoded, 0
        return _flat([wrong.get(i, ids[offsets[i] : offsets[i + 1]]) for i in range(len(texts))]), len(wrong)

"""Reads a `tokenizer.json`, says which tokenizer it is, and takes out of it what must not act on a corpus.

A `tokenizer.json` written for chat turns the text `<|endoftext|>` or `<think>` into a control id wherever it meets
it, and the web is full of pages that quote these. In a corpus such text is text. The option made for this
(`encode_special_tokens` of the Hugging Face tokenizer) is not enough: it covers tokens marked `special` only, and
12 of Qwen3's 26 control tokens, `<think>` among them, are not. So the definition is loaded without its added tokens:
the ids 151643 and above then cannot come out of any text, because no path in the encoder leads to them.

Trade-off: a tokenizer that keeps ordinary text among its added tokens (GPT-NeoX and Gemma: runs of spaces) loses
those too and spends more ids on such runs. One rule without exceptions is worth more to a corpus than these ids.

Identity is the SHA-256 of the decompressed JSON, which is what every other tool has on disk.
"""

from __future__ import annotations

import hashlib
import json
import lzma
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Identity:
    """Which tokenizer made the ids of a file, as a trainer must check it.

    sha256: of the decompressed `tokenizer.json`, hex. vocab_size: largest id of the file plus 1, control tokens
    included (a model may pad its embedding beyond that). eod_id: id of the end-of-document token.
    """

    name: str
    sha256: str
    vocab_size: int
    eod_id: int


#: Tokenizers in this folder: their file, and who they are with the default end-of-document token. A table, because
#: a run that has nothing left to do must not unpack 11 MB to say so; `identify` is what the table must agree with.
SHIPPED: dict[str, tuple[str, Identity]] = {
    "qwen3": (
        "qwen3.tokenizer.json.xz",
        Identity("qwen3", "aeb13307a71acd8fe81861d94ad54ab689df773318809eed3cbe794b4492dae4", 151_669, 151_643),
    ),
}
DEFAULT_EOD = "<|endoftext|>"

#: Parts of a definition that insert, cut or match control tokens. Truncation is in this list because many published
#: files carry one (512 ids, silently), and the post-processor because it adds the begin-of-text id of some models.
_REMOVED: dict[str, Any] = {"added_tokens": [], "truncation": None, "padding": None, "post_processor": None}


def tokenizer_path(tokenizer: str) -> Path:
    """Path of a shipped tokenizer by its name, or of any `tokenizer.json` by its path."""
    if tokenizer in SHIPPED:
        return Path(__file__).with_name(SHIPPED[tokenizer][0])
    return Path(tokenizer)


def read_definition(tokenizer: str) -> tuple[dict[str, Any], str]:
    """The definition of a tokenizer, and the SHA-256 of its JSON.

    ValueError if the file is not a `tokenizer.json`, is a shipped one that was altered, or encodes at random
    (BPE dropout): the same text must give the same ids on every worker. OSError if it cannot be read.
    """
    path = tokenizer_path(tokenizer)
    data = path.read_bytes()
    if path.suffix == ".xz":
        try:
            data = lzma.decompress(data)
        except lzma.LZMAError as error:
            raise ValueError(f"'{path}' is not an xz file: {error}") from error
    sha256 = hashlib.sha256(data).hexdigest()
    if tokenizer in SHIPPED and sha256 != SHIPPED[tokenizer][1].sha256:
        raise ValueError(f"'{path}' is not the file that was shipped: its SHA-256 is {sha256}")
    try:
        definition = json.loads(data)
    except ValueError as error:
        raise ValueError(f"'{path}' is not JSON: {error}") from error
    if not isinstance(definition, dict) or not isinstance(definition.get("model"), dict):
        raise ValueError(f"'{path}' is not a tokenizer.json: it has no `model`")
    if definition["model"].get("dropout"):
        raise ValueError(f"'{path}' sets BPE dropout, which encodes the same text differently each time")
    return definition, sha256


def control_tokens(definition: dict[str, Any]) -> dict[str, int]:
    """Every added token of a definition, `special` or not: text -> id."""
    return {token["content"]: token["id"] for token in definition.get("added_tokens") or []}


def special_ids(definition: dict[str, Any]) -> set[int]:
    """Ids of the added tokens that are marked `special`."""
    return {token["id"] for token in definition.get("added_tokens") or [] if token.get("special")}


def _vocabulary(definition: dict[str, Any]) -> dict[str, int]:
    vocabulary = definition["model"].get("vocab") or {}
    if isinstance(vocabulary, list):  # Unigram: a list of [piece, score], the id is the place in it
        return {piece: i for i, (piece, _) in enumerate(vocabulary)}
    return vocabulary


def text_only(definition: dict[str, Any]) -> str:
    """The definition as JSON, without anything that inserts, cuts or matches control tokens."""
    return json.dumps(definition | _REMOVED, ensure_ascii=False)


def identify(tokenizer: str, eod_token: str, definition: dict[str, Any], sha256: str) -> Identity:
    """Who a tokenizer is, from what `read_definition` gave. ValueError if `eod_token` is not an added token of it."""
    controls = control_tokens(definition)
    if eod_token not in controls:
        some = ", ".join(list(controls)[:12]) or "none"
        raise ValueError(f"the tokenizer has no added token '{eod_token}'; it has: {some}")
    name = tokenizer if tokenizer in SHIPPED else Path(tokenizer).name
    size = max([*controls.values(), *_vocabulary(definition).values()]) + 1
    return Identity(name, sha256, size, controls[eod_token])


@lru_cache(maxsize=8)
def _read_identity(tokenizer: str, eod_token: str, _version: tuple[int, int]) -> Identity:
    return identify(tokenizer, eod_token, *read_definition(tokenizer))


def known_identity(tokenizer: str, eod_token: str = DEFAULT_EOD) -> Identity:
    """Who a tokenizer is, without opening its file where the table knows, else read once per process (0.4 s).

    Errors as `read_definition` and `identify`.
    """
    if tokenizer in SHIPPED and eod_token == DEFAULT_EOD:
        return SHIPPED[tokenizer][1]
    info = tokenizer_path(tokenizer).stat()
    return _read_identity(tokenizer, eod_token, (info.st_size, info.st_mtime_ns))

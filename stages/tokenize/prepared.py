"""What a worker needs of a tokenizer, made once per machine instead of once per worker.

To read an 11 MB `tokenizer.json`, take its control tokens out, load the reference and have it encode the probes takes
1.5 s of CPU and 230 MB, of which nothing is needed afterwards but one text and some ids. They are kept in the user's
cache, under a name that holds everything they depend on: the bytes of the file, the probes and the versions of the
libraries. A worker then loads the fast engine alone; the reference is loaded where a document is checked against it.

Trade-off: the reference is asked once per machine and version, not once per worker. The fast engine is still tested
in every worker, against those ids. A cache that is damaged or cannot be written costs the time and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from stages.tokenize import tokenizer_file
from stages.tokenize.probes import PROBES
from stages.tokenize.tokenizer_file import (
    Identity,
    control_tokens,
    identify,
    read_definition,
    special_ids,
    text_only,
)

#: Part of the name in the cache: to be raised when what `prepare` makes changes.
FORMAT = 1


@dataclass(frozen=True)
class Prepared:
    """A tokenizer without its control tokens, and what the reference makes of the probes.

    definition: gives the JSON of `text_only`. probes: the texts of `probes.py` and the control tokens; ids (int32) and
    starts (int64, one more than probes): what the reference gives them.
    """

    definition: Callable[[], str]
    probes: list[str]
    ids: np.ndarray
    starts: np.ndarray


def prepare(definition: dict[str, Any]) -> Prepared:
    """Ask the reference about a definition as `read_definition` gives it.

    ValueError if it cannot be loaded, or lets text become a control id.
    """
    from stages.tokenize.engine import Reference

    plain = text_only(definition)
    try:
        reference = Reference(plain)
    except Exception as error:  # the library raises bare Exception
        raise ValueError(f"not a tokenizer.json that tokenizers {version('tokenizers')} can load: {error}") from error
    # Taking out the added tokens is not enough if the model's own vocabulary has them as pieces (Unigram).
    special = np.array(sorted(special_ids(definition)), dtype=np.int32)
    for text in control_tokens(definition):
        hit = np.intersect1d(reference.encode_one(text), special)
        if len(hit):
            raise ValueError(f"the text '{text}' becomes the control id {hit[0]}; such a tokenizer cannot be used")
    probes = [*PROBES, *control_tokens(definition)]
    return Prepared(lambda: plain, probes, *reference.encode(probes))


def load(tokenizer: str, eod_token: str) -> tuple[Prepared, Identity]:
    """A tokenizer by name or path, from the cache if it is there. Errors as `read_definition` and `identify`."""
    folder = _cache() / _key(tokenizer, eod_token)
    with suppress(OSError, ValueError, KeyError, TypeError):
        return _read(folder)
    definition, sha256 = read_definition(tokenizer)
    who = identify(tokenizer, eod_token, definition, sha256)
    prepared = prepare(definition)
    with suppress(OSError):
        _write(folder, prepared, who)
    return prepared, who


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "curation" / "tokenizers"


def _key(tokenizer: str, eod_token: str) -> str:
    parts = [str(FORMAT), tokenizer, eod_token, json.dumps(PROBES)]
    for library in ("tokenizers", "fastokens"):
        try:
            parts.append(version(library))
        except PackageNotFoundError:
            parts.append("")
    path = tokenizer_file.tokenizer_path(tokenizer)
    return hashlib.sha256(b"\0".join([*(part.encode() for part in parts), path.read_bytes()])).hexdigest()[:32]


def _read(folder: Path) -> tuple[Prepared, Identity]:
    """What `_write` wrote. Raises if it is not all there."""
    facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    file = folder / "text_only.json"
    arrays = {}
    for name, sha256 in facts["sha256"].items():
        data = (folder / name).read_bytes()
        if hashlib.sha256(data).hexdigest() != sha256:
            raise ValueError(f"{folder / name} is damaged")
        arrays[name] = data
    ids, starts = np.frombuffer(arrays["ids"], np.int32), np.frombuffer(arrays["starts"], np.int64)
    if len(starts) != len(facts["probes"]) + 1 or starts[-1] != len(ids):
        raise ValueError(f"{folder} is damaged")
    prepared = Prepared(lambda: file.read_text(encoding="utf-8"), facts["probes"], ids, starts)
    return prepared, Identity(**facts["identity"])


def _write(folder: Path, prepared: Prepared, who: Identity) -> None:
    """Keep it for other workers; `facts.json` last, with the checksums of the others."""
    folder.mkdir(parents=True, exist_ok=True)
    contents = {
        "text_only.json": prepared.definition().encode(),
        "ids": prepared.ids.astype(np.int32).tobytes(),
        "starts": prepared.starts.astype(np.int64).tobytes(),
    }
    facts = {
        "identity": asdict(who),
        "probes": prepared.probes,
        "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()},
    }
    for name, data in (*contents.items(), ("facts.json", json.dumps(facts).encode())):
        descriptor, aside = tempfile.mkstemp(dir=folder)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        os.replace(aside, folder / name)

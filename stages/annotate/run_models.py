"""Models that a barrier trains, kept in the run's folder for the tasks that apply them.

A model lies under the digest of its bytes, so that an attempt that is made again finds what it would write, and a
verdict that names the digest means one model. Trade-off: only a folder on a disk will do, not a URL, because models
are read by libraries that want paths.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import xxhash

from curation.errors import CurationError
from curation.stage import Stage


def model_folder(stage: Stage, kind: str, digest: str) -> Path:
    """Where the model of a digest lies; `kind` (student, models) is what it is called. CurationError on a URL."""
    if not stage.folder or "://" in stage.folder:
        raise CurationError(f"stage '{stage.stage_name}' keeps its {kind} in the run's folder, which must be on a disk")
    return Path(stage.folder).expanduser() / f"{kind}-{digest}"


def keep_model(stage: Stage, kind: str, write: Callable[[Path], None], identity: str = "*") -> str:
    """Put into place the folder that `write` fills, and give the digest of its `identity` files."""
    aside = model_folder(stage, kind, "aside")
    shutil.rmtree(aside, ignore_errors=True)
    write(aside)
    content = b"".join(file.read_bytes() for file in sorted(aside.glob(identity)))
    digest = xxhash.xxh3_128_hexdigest(content)[:12]
    place = model_folder(stage, kind, digest)
    if place.exists():  # of an earlier attempt: the same bytes
        shutil.rmtree(aside)
    else:
        aside.rename(place)
    return digest

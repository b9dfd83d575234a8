"""Where compiled kernels are kept between runs, so that no run uses code that has changed since.

numba caches a compiled function by the date of the file it stands in. A kernel that calls a kernel in another file
has that one compiled into it, and goes on using the old one after the other file changes: wrong results after an
update, and no sign of it. So the cache gets a folder of its own for each state of all kernels' source.

Trade-off: changing one kernel compiles all of them anew, about a minute (`curation compile` does it beforehand).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

#: Folders of older states that are kept, of 1 MB each; several checkouts may use them in turn.
KEPT = 16


def sources() -> list[Path]:
    """The files of the project that hold kernels."""
    root = Path(__file__).resolve().parents[1]
    files = (file for package in ("stages", "classifiers", "curation") for file in (root / package).rglob("*.py"))
    return sorted(file for file in files if b"njit" in file.read_bytes())


def use_versioned_cache() -> None:
    """Set NUMBA_CACHE_DIR, unless the user has. Must run before numba is imported."""
    if "NUMBA_CACHE_DIR" in os.environ:
        return
    state = hashlib.sha256(b"\0".join(file.read_bytes() for file in sources())).hexdigest()[:16]
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "curation" / "kernels"
    folder = home / state
    try:
        if not folder.exists():
            folder.mkdir(parents=True)
            others = sorted(home.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
            for old in others[KEPT + 1 :]:
                with suppress(OSError):
                    shutil.rmtree(old)
    except OSError:  # no home to write to
        folder = Path(tempfile.gettempdir()) / f"curation-kernels-{os.getuid()}" / state
    os.environ["NUMBA_CACHE_DIR"] = str(folder)


def kernels_compiled() -> bool:
    """Whether the cache holds a kernel of this state of the source."""
    return any(Path(os.environ.get("NUMBA_CACHE_DIR", "")).rglob("*.nbi"))

"""What a run leaves for its user, for comparisons byte by byte. `work/` and `run.json` are left out: they hold times."""

import hashlib
from pathlib import Path


def folder_bytes(run, folders=("documents", "dropped", "quarantine", "tokens", "duplicates")):
    """Name -> sha256 of every file in the result folders of a run."""
    return {
        str(p.relative_to(run)): hashlib.sha256(p.read_bytes()).hexdigest()
        for folder in folders
        for p in sorted(Path(run, folder).rglob("*"))
        if p.is_file()
    }

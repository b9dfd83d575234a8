"""Reads what a run left, for comparisons byte by byte."""

import hashlib
from pathlib import Path

#: This folder, for processes that must find the stages of the tests.
HERE = str(Path(__file__).parent)


def folder_bytes(run, folders=("documents", "dropped", "quarantine", "tokens", "duplicates")):
    """Name -> sha256 of every file in the result folders of a run."""
    return {
        str(p.relative_to(run)): hashlib.sha256(p.read_bytes()).hexdigest()
        for folder in folders
        for p in sorted(Path(run, folder).rglob("*"))
        if p.is_file()
    }

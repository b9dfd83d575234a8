"""Finds input files and what identifies their version, before anything runs.

A file's `name`, which goes into document ids, is its path below the folder where the pattern's wildcards begin:
`/data/crawl/*/part.warc.gz` names `a/part.warc.gz`. So ids are the same on another machine, and stay the same when
files come and go. Only where two files of one source would get the same name are both named by their full path.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import fsspec
from fsspec.implementations.local import LocalFileSystem

from curation.config import Input
from curation.errors import ConfigError
from curation.stage import InputFile

_WILD = re.compile(r"[*?\[]")


def _version(info: dict[str, Any]) -> str:
    """What changes when a file's content does: mtime on disk, etag or the like elsewhere."""
    if "mtime" in info and info.get("ino"):
        return str(os.stat(info["name"]).st_mtime_ns)
    for key in ("ETag", "etag", "md5Hash", "checksum", "LastModified", "last_modified", "updated", "created", "mtime"):
        if info.get(key):
            return str(info[key])
    return ""


def _match(pattern: str) -> list[tuple[str, str, dict[str, Any]]]:
    """(full path, name, info) of the files a pattern matches; a folder means every file below it."""
    try:
        fs, path = fsspec.core.url_to_fs(os.path.expanduser(pattern) if "://" not in pattern else pattern)
        local = isinstance(fs, LocalFileSystem)
        wild = _WILD.search(path)
        if wild and not (local and os.path.exists(path)):  # `notes[1].jsonl` may be just that
            root = path[: wild.start()].rpartition("/")[0]
            found = fs.glob(path, detail=True)
        elif fs.isdir(path):
            root, found = path.rstrip("/"), fs.find(path, detail=True)
        else:
            root, found = path.rpartition("/")[0], {path: fs.info(path)}
    except FileNotFoundError:
        return []
    except (ValueError, ImportError, OSError) as error:
        raise ConfigError(f"input '{pattern}': {error}") from error
    return [
        (p if local else fs.unstrip_protocol(p), p[len(root) :].lstrip("/"), info)
        for p, info in found.items()
        if info.get("type", "file") == "file" and not p.rsplit("/", 1)[-1].startswith(".")
    ]


class Inputs(NamedTuple):
    """What the inputs of a pipeline match: (source, file) in order of source and name, and the patterns of optional
    inputs that match no file."""

    files: list[tuple[str, InputFile]]
    absent: list[str]


def find_inputs(inputs: Sequence[Input]) -> Inputs:
    """The files of all inputs.

    ConfigError if a pattern matches nothing and is not optional, or if all together match nothing.
    """
    result: list[tuple[str, InputFile]] = []
    absent: list[str] = []
    if not any(item.files for item in inputs):
        raise ConfigError("the pipeline has no input; give one with --input, or the key `input` in pipelines.yaml")
    for item in inputs:
        found: dict[str, tuple[str, dict[str, Any]]] = {}
        for pattern in item.files:
            matches = _match(pattern)
            if not matches and not item.optional:
                raise ConfigError(f"input '{pattern}' matches no file")
            if not matches:
                absent.append(pattern)
            found.update({path: (name, info) for path, name, info in matches})
        names = Counter(name for name, _ in found.values())
        for path, (name, info) in found.items():
            name = name if names[name] == 1 else path.lstrip("/")
            result.append((item.source, InputFile(path, name, int(info.get("size") or 0), _version(info))))
    if not result:
        patterns = ", ".join(f"'{pattern}'" for item in inputs for pattern in item.files)
        raise ConfigError(f"none of the inputs {patterns} matches a file")
    return Inputs(sorted(result, key=lambda pair: (pair[0], pair[1].name)), absent)

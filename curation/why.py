"""Why is this document in the result, or not? Every stage's verdict on it, from committed data.

The files of a run hold each record of the input exactly once: in documents/, dropped/ or quarantine/. The stage
that stopped a document is written beside it, and stages run in order, so all stages before it let it pass. (Of a
document that a stage made of another, they let that other one pass.)
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curation.copies import Copies
from curation.errors import CurationError
from curation.stats import BETWEEN, Stats, read_stats
from curation.storage import Storage


@dataclass(frozen=True)
class Verdict:
    """What one stage said of the document: `kept`, `dropped`, `failed` or `not reached`."""

    stage: str
    verdict: str
    reason: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Explanation:
    """A document, where it ended, and each stage's verdict.

    way: for which document it was removed as a copy, and that one for which, if it was: rows of `duplicates/`.
    copies: rows of documents that were removed for it, 20 at most.
    """

    document: dict[str, Any]
    fate: str
    folder: str
    verdicts: list[Verdict]
    way: list[dict[str, Any]] = field(default_factory=list)
    copies: list[dict[str, Any]] = field(default_factory=list)


def _rows(storage: Storage, stats: Stats, folder: str, query: str) -> Iterator[dict[str, Any]]:
    """Rows of a folder whose id or url is the query."""
    for file in stats.info.get("files", {}).get(folder, []):
        with storage.open(file["name"]) as handle:
            parquet = pq.ParquetFile(handle)
            for group in range(parquet.num_row_groups):
                keys = parquet.read_row_group(group, columns=["id", "url"])
                match = pc.or_kleene(pc.equal(keys["id"], query), pc.equal(keys["url"], query))
                where = pc.indices_nonzero(pc.fill_null(match, False))
                if len(where):
                    yield from parquet.read_row_group(group).take(where).to_pylist()


def _urls(storage: Storage, stats: Stats) -> list[str]:
    """Urls of the run, at most 200,000 of them, to suggest a similar one."""
    found: list[str] = []
    for folder in ("documents", "dropped", "quarantine"):
        for file in stats.info.get("files", {}).get(folder, []):
            with storage.open(file["name"]) as handle:
                urls = pq.read_table(handle, columns=["url"])["url"]
                found += pc.drop_null(urls).to_pylist()
            if len(found) > 200_000:
                return found
    return found


def explain(run: str, query: str) -> list[Explanation]:
    """All documents of a run with this id or url. CurationError with the nearest url if there is none."""
    storage, stats, copies = Storage(run), read_stats(run), Copies(run)
    order = [a.stage for a in stats.accounts if not a.stage.endswith(BETWEEN)]
    found = []
    for folder, fate in (("documents", "kept"), ("dropped", "dropped"), ("quarantine", "failed")):
        for row in _rows(storage, stats, folder, query):
            stop = (row.get("stage") or "").removesuffix(":scatter")
            verdicts, passed = [], True
            for stage in order:
                if stage == stop:
                    verdicts.append(Verdict(stage, fate, row.get("reason") or "", row.get("detail") or ""))
                    passed = False
                else:
                    verdicts.append(Verdict(stage, "kept" if passed else "not reached"))
            way = copies.way(row["id"]) if folder == "dropped" else []
            found.append(Explanation(row, fate, folder, verdicts, way, copies.removed_for(row["id"])))
    if not found:
        near = difflib.get_close_matches(query, _urls(storage, stats), n=1, cutoff=0.6)
        hint = f"; the nearest url is {near[0]}" if near else ""
        state = "" if stats.info["status"] == "complete" else f" (the run is {stats.info['status']})"
        raise CurationError(f"no document of {run} has the id or url '{query}'{state}{hint}")
    return found


def shown(document: dict[str, Any], width: int = 300) -> dict[str, str]:
    """A document's columns as short strings, without nulls and token ids."""
    result = {}
    for name, value in document.items():
        if value is None or name in ("stage", "reason", "detail") or isinstance(value, list | pa.Array):
            continue
        text = str(value)
        result[name] = text if len(text) <= width else f"{text[:width]}… ({len(text):,} characters)"
    return result

"""What a report shows of a run's rows: sampled documents per reason, hosts, clusters of duplicates.

Everything else in a report comes from run.json; this module is the part that opens parquet files, so it is the part
that is bounded: a run of a million shards is read as one of a few dozen files, spread over its steps, and the page
says which share of the rows that was. The choice is by plan order, so equal runs give equal pages.

Documents are strangers' text. What leaves here is short, and every character that shows nothing or turns the
direction of writing around is spelled out as its code point.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curation.chain import error_kind
from curation.stats import Stats
from curation.storage import Storage

#: Samples shown per stage and reason; of a language that is not among those, so many more, which a filter by language
#: shows, up to so many in all; and characters of each.
SAMPLES = 10
PER_LANGUAGE = 2
MOST_SAMPLES = 40
CHARACTERS = 600
#: Files that are opened per step and folder, and row groups (8 MiB each) read of them.
FILES = 12
GROUPS = 48
#: Rows of each folder whose hosts are counted.
HOST_ROWS = 200_000
#: Hosts and clusters shown, and removed documents of a cluster.
HOSTS = 30
CLUSTERS = 12
REMOVED = 5

#: Controls but tab and line feed, soft hyphens and zero width spaces, and what overrides the direction of writing. Not
#: the joiners and marks (U+200C to U+200F), which Persian, Indic and Hebrew spelling needs.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u200b\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ufffe\uffff"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)


def readable(text: object, limit: int = CHARACTERS) -> str:
    """The text cut to `limit` characters, with characters that cannot be seen as `⟨U+202E⟩`."""
    value = "" if text is None else str(text)
    cut = value[:limit].replace("\r\n", "\n")
    shown = _UNSEEN.sub(lambda m: f"⟨U+{ord(m[0]):04X}⟩", cut)
    return shown if len(value) <= limit else f"{shown}… ({len(value):,} characters)"


@dataclass
class Samples:
    """Rows that stand for the others.

    by_reason: (stage, reason) -> documents, at most `SAMPLES`; hosts: host -> [kept, dropped, failed] of `rows_read`
    rows of `rows_all`; clusters: the largest clusters of duplicates with some of the documents removed.
    """

    by_reason: dict[tuple[str, str], list[dict[str, str]]] = field(default_factory=dict)
    hosts: dict[str, list[int]] = field(default_factory=dict)
    host_rows: tuple[int, int] = (0, 0)
    clusters: list[dict[str, Any]] = field(default_factory=list)
    cluster_rows: tuple[int, int] = (0, 0)

    def add(self, other: Samples) -> None:
        """Take another run's samples in, as far as there is room."""
        for key, rows in other.by_reason.items():
            mine = self.by_reason.setdefault(key, [])
            mine += rows[: SAMPLES - len(mine)]
        for host, counts in other.hosts.items():
            self.hosts[host] = [a + b for a, b in zip(self.hosts.get(host, [0, 0, 0]), counts, strict=True)]
        self.hosts = dict(sorted(self.hosts.items(), key=lambda item: (-sum(item[1]), item[0]))[:HOSTS])
        self.clusters = sorted(self.clusters + other.clusters, key=lambda c: -c["removed"])[:CLUSTERS]
        self.host_rows = (self.host_rows[0] + other.host_rows[0], self.host_rows[1] + other.host_rows[1])
        self.cluster_rows = (self.cluster_rows[0] + other.cluster_rows[0], self.cluster_rows[1] + other.cluster_rows[1])


def chosen_files(files: list[dict[str, Any]], most: int = FILES) -> list[str]:
    """Names of at most `most` files with rows of each step (`0-…`, `1-…`), spread evenly over its shards."""
    steps: dict[str, list[str]] = {}
    for file in files:
        base = file["name"].rpartition("/")[2]
        step = base.partition("-")[0] if "-" in base else ""
        if file["rows"]:
            steps.setdefault(step if step.isdigit() else "", []).append(file["name"])
    chosen = []
    for names in steps.values():
        stride = max(1, len(names) / most)
        chosen += [names[int(i * stride)] for i in range(min(most, len(names)))]
    return chosen


def _groups(storage: Storage, files: list[dict[str, Any]]) -> Iterator[tuple[pq.ParquetFile, int]]:
    left = GROUPS
    for name in chosen_files(files):
        with storage.open(name) as handle:
            parquet = pq.ParquetFile(handle)
            for group in range(min(parquet.num_row_groups, max(1, GROUPS // FILES))):
                if left == 0:
                    return
                left -= 1
                yield parquet, group


def _have(parquet: pq.ParquetFile, *names: str) -> list[str]:
    known = set(parquet.schema_arrow.names)
    return [name for name in names if name in known]


def documents_by_reason(storage: Storage, stats: Stats) -> dict[tuple[str, str], list[dict[str, str]]]:
    """(stage, reason) -> the first documents that went for it; a failure's reason is its kind."""
    found: dict[tuple[str, str], list[dict[str, str]]] = {}
    taken: dict[tuple[str, str, str | None], int] = {}
    for folder in ("dropped", "quarantine"):
        for parquet, group in _groups(storage, stats.info.get("files", {}).get(folder, [])):
            table = parquet.read_row_group(group, columns=_have(parquet, "stage", "reason", "language"))
            wanted = []
            names = table["language"].to_pylist() if "language" in table.column_names else [None] * table.num_rows
            keys = zip(table["stage"].to_pylist(), table["reason"].to_pylist(), names, strict=True)
            for row, (stage, reason, language) in enumerate(keys):
                key = (stage, (reason or "") if folder == "dropped" else error_kind(reason or ""))
                rows = found.setdefault(key, [])
                of_language = (*key, language)
                extra = len(rows) >= SAMPLES
                if extra and (len(rows) >= MOST_SAMPLES or taken.get(of_language, 0) >= PER_LANGUAGE or not language):
                    continue
                taken[of_language] = taken.get(of_language, 0) + 1
                rows.append({"extra": "extra" if extra else ""})
                wanted.append((row, rows, len(rows) - 1))
            if not wanted:
                continue
            columns = _have(parquet, "id", "url", "text", "reason", "detail", "language", "file", "position")
            full = parquet.read_row_group(group, columns=columns).take(pa.array([row for row, _, _ in wanted]))
            for (_, rows, place), document in zip(wanted, full.to_pylist(), strict=True):
                rows[place] |= {
                    name: readable(document.get(name), CHARACTERS if name == "text" else 300)
                    for name in ("id", "url", "text", "detail", "language")
                }
                rows[place] |= {"error": "", "place": ""}
                if folder == "quarantine":
                    rows[place]["error"] = readable(document.get("reason"), 300)
                    rows[place]["place"] = readable(f"{document.get('file')} at {document.get('position')}", 300)
    return found


def _host(url: str | None) -> str:
    try:
        return (urlsplit(url or "").hostname or "")[:120]
    except ValueError:  # a broken IPv6 address
        return ""


def hosts(storage: Storage, stats: Stats) -> tuple[dict[str, list[int]], tuple[int, int]]:
    """Host -> [kept, dropped, failed], most documents first; and how many rows of how many were read."""
    counts: dict[str, list[int]] = {}
    read = everything = 0
    for place, folder in enumerate(("documents", "dropped", "quarantine")):
        files = stats.info.get("files", {}).get(folder, [])
        everything += sum(file["rows"] for file in files)
        left = HOST_ROWS
        for parquet, group in _groups(storage, files):
            if left <= 0:
                break
            urls = parquet.read_row_group(group, columns=["url"])["url"]
            left -= len(urls)
            read += len(urls)
            for pair in pc.value_counts(urls):
                if host := _host(pair["values"].as_py()):
                    counts.setdefault(host, [0, 0, 0])[place] += pair["counts"].as_py()
    top = sorted(counts.items(), key=lambda item: (-sum(item[1]), item[0]))[:HOSTS]
    return {readable(host, 120): n for host, n in top}, (read, everything)


def clusters(storage: Storage, stats: Stats) -> tuple[list[dict[str, Any]], tuple[int, int]]:
    """The documents for which most others were removed, with some of those; and how many rows of how many were read."""
    files = stats.info.get("files", {}).get("duplicates", [])
    everything = sum(file["rows"] for file in files)
    tables = []
    for parquet, group in _groups(storage, files):
        columns = _have(parquet, "id", "url", "kept_id", "kept_url", "kind", "jaccard")
        tables.append(parquet.read_row_group(group, columns=columns))
    if not tables:
        return [], (0, everything)
    table = pa.concat_tables(tables, promote_options="permissive")
    sizes = table.group_by(["kept_id", "kind"]).aggregate([([], "count_all"), ("jaccard", "min")])
    order = [("count_all", "descending"), ("kept_id", "ascending"), ("kind", "ascending")]
    found = []
    for row in sizes.sort_by(order).slice(0, CLUSTERS).to_pylist():
        match = pc.and_(pc.equal(table["kept_id"], row["kept_id"]), pc.equal(table["kind"], row["kind"]))
        members = table.filter(match).sort_by([("jaccard", "descending"), ("id", "ascending")])
        some = members.slice(0, REMOVED).to_pylist()
        found.append(
            {
                "kept": readable(some[0]["kept_url"] or row["kept_id"], 300),
                "kind": readable(row["kind"], 60),
                "removed": row["count_all"],
                "least": row["jaccard_min"],
                "documents": [{"url": readable(m["url"] or m["id"], 300), "jaccard": m["jaccard"]} for m in some],
            }
        )
    return found, (table.num_rows, everything)


def read_samples(storage: Storage, stats: Stats) -> Samples:
    """All of the above. A folder that cannot be read (a run that is being written again) is left out."""
    result = Samples()
    readers = (
        lambda: {"by_reason": documents_by_reason(storage, stats)},
        lambda: dict(zip(("hosts", "host_rows"), hosts(storage, stats), strict=True)),
        lambda: dict(zip(("clusters", "cluster_rows"), clusters(storage, stats), strict=True)),
    )
    for read in readers:
        try:
            for name, value in read().items():
                setattr(result, name, value)
        except (OSError, pa.ArrowException, KeyError):
            continue
    return result

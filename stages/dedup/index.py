"""The index of earlier crawls: signatures of documents that were kept, in a folder, in versions.

A corpus grows crawl by crawl, and nobody deduplicates ten years of crawls again to add a month. What a run must know
of the past is little: of each document its band keys (8 bytes and a number, for each band) and a sketch. It lies in
segments, one a crawl, sorted by key like the runs of a log-structured merge tree, so that a crawl is looked up by one
merge pass over both, and a single text by a few blocks.

    versions/00000007.json    what belongs to version 7: parameters, crawls, segments, forgotten documents; checksums
    segments/<name>/keys.arrow         band key, number: sorted by key, then number
                    documents.arrow    number, id, url, source, keeper, component: sorted by number
                    sketches.arrow     number, sketch: the same
                    members.arrow      component, number: documents that stayed, where a component has several
                    links.arrow        component, component: two that a document of this crawl ties together
                    segment.json       the blocks of these files, with their checksums
    forgotten/<name>.arrow    numbers of documents that were taken down and are still in a segment

Documents have numbers in the order in which they were added, which are never used again. A document that was dropped
is in the index too, with the number of the one kept for it (`keeper`), and every document with the first of all that
it hangs together with (`component`). Without those that were dropped, a copy of a copy could miss its original.

A version is written last and never changed, so a reader sees all of a crawl or nothing, and of two writers at once one
is refused. Nothing read is trusted: a version has a checksum, and so has every block. Signatures made in another way
(other bands, seed, folding, or a changed kernel) are refused, for they would never match and nobody would notice.

Trade-off: files are written once and only `compact` removes bytes; a forgotten document is invisible at once, and
gone from the disk later.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash

from curation.errors import ConfigError, CurationError
from stages.dedup.block_files import BlockFile, Folder

FORMAT = 1

KEYS = pa.schema([pa.field("key", pa.uint64(), False), pa.field("number", pa.int64(), False)])
DOCUMENTS = pa.schema(
    [
        pa.field("number", pa.int64(), False),
        pa.field("id", pa.string()),
        pa.field("url", pa.string()),
        pa.field("source", pa.string()),
        pa.field("keeper", pa.int64(), False),
        pa.field("component", pa.int64(), False),
    ]
)
FORGOTTEN = pa.schema([pa.field("number", pa.int64(), False)])


def sketches_schema(size: int) -> pa.Schema:
    """Columns of sketches.arrow for sketches of `size` bytes."""
    return pa.schema([pa.field("number", pa.int64(), False), pa.field("sketch", pa.binary(size), False)])


def schemas(sketch: int) -> dict[str, pa.Schema]:
    """The files of a segment: name -> columns. `members` and `links` have a component for a key."""
    return {"keys": KEYS, "documents": DOCUMENTS, "sketches": sketches_schema(sketch), "members": KEYS, "links": KEYS}


#: Rows of a block of each file: 1 MB of keys, some 6 MB of documents, 1 MB of sketches. A block is what a look-up of
#: one document reads; at 10^9 documents their descriptions are 25 MB.
BLOCK_ROWS = {"keys": 1 << 16, "documents": 1 << 16, "sketches": 1 << 11, "members": 1 << 16, "links": 1 << 16}


@dataclass(frozen=True)
class Parameters:
    """How signatures were made; those of one index are all made alike. `method`: see `signatures.method`."""

    bands: int
    rows: int
    ngram: int
    seed: int
    fold_digits: bool
    sketch: int
    within: list[str]
    method: str

    def check(self, other: Parameters, url: str) -> None:
        """ConfigError if the index at `url`, made with these, cannot be used with `other`."""
        for key, have in self.__dict__.items():
            want = getattr(other, key)
            if have == want:
                continue
            if key in ("method", "sketch"):
                raise ConfigError(
                    f"index {url}: its signatures were made by another version of the signature kernels or of Python's "
                    "Unicode tables, and would match nothing; build it again from the crawls, in a new folder"
                )
            if key == "seed":
                raise ConfigError(
                    f"index {url}: its signatures were made with another seed; give the pipeline the `seed` of the "
                    "runs it was built by, and use this stage under the same name"
                )
            raise ConfigError(f"index {url}: it was made with {key}: {have}, this stage has {key}: {want}")


@dataclass(frozen=True)
class Crawl:
    """One crawl in the index: its numbers are start <= number < end."""

    name: str
    start: int
    end: int
    documents: int  # with an n-gram
    kept: int
    content: str  # digest of the run's results
    state: str = ""  # digest of what was forgotten of it


@dataclass
class Segment:
    """The files of one segment, which holds the numbers start <= number < end."""

    start: int
    end: int
    keys: BlockFile
    documents: BlockFile
    sketches: BlockFile
    members: BlockFile
    links: BlockFile

    @property
    def files(self) -> tuple[BlockFile, ...]:
        """All of them."""
        return self.keys, self.documents, self.sketches, self.members, self.links


@dataclass
class Index:
    """One version of the index at `url`, for reading; `limit` hides the numbers from it on (see `before`).

    It may be pickled: workers open the same version. Files that a compaction removed meanwhile are a CurationError.
    """

    url: str
    body: dict[str, Any]
    limit: int | None = None
    _segments: list[Segment] | None = field(default=None, repr=False)
    _forgotten: np.ndarray | None = field(default=None, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_segments": None, "_forgotten": None}

    @classmethod
    def latest(cls, url: str) -> Index | None:
        """The newest version at `url`; None if there is no index. CurationError if its description is damaged."""
        folder = Folder(url)
        names = [name for name in folder.names("versions") if name.endswith(".json")]
        if not names:
            return None
        return cls(url, _read_checked(folder, names[-1], "restore it from a copy of the index"))

    @classmethod
    def open(cls, url: str) -> Index:
        """As `latest`; ConfigError if there is none."""
        found = cls.latest(url)
        if found is None:
            raise ConfigError(f"{url}: no index there (no file versions/*.json)")
        return found

    @classmethod
    def new(cls, url: str, parameters: Parameters) -> Index:
        """Version 0 of an index that has no files yet."""
        body = {"format": FORMAT, "version": 0, "parameters": parameters.__dict__, "next": 0, "crawls": []}
        return cls(url, body | {"segments": [], "forgotten": None})

    @property
    def version(self) -> int:
        """Number of this version."""
        return int(self.body["version"])

    @property
    def parameters(self) -> Parameters:
        """How its signatures were made."""
        return Parameters(**self.body["parameters"])

    @property
    def crawls(self) -> list[Crawl]:
        """Its crawls, in the order they were added, without those hidden by `limit`."""
        crawls = [Crawl(**crawl) for crawl in self.body["crawls"]]
        return [crawl for crawl in crawls if self.limit is None or crawl.start < self.limit]

    def crawl(self, name: str) -> Crawl | None:
        """The crawl of that name."""
        return next((crawl for crawl in self.crawls if crawl.name == name), None)

    def before(self, name: str) -> Index:
        """The index as a run of the crawl `name` must see it: without that crawl and what was added after it."""
        crawl = self.crawl(name)
        return Index(self.url, self.body, crawl.start if crawl else None)

    def state(self) -> str:
        """Digest of what can be found in it. It changes with a crawl or a take-down, not with a compaction."""
        found = [[c.name, c.start, c.content, c.state] for c in self.crawls]
        return xxhash.xxh3_128_hexdigest(json.dumps([self.body["parameters"], found]).encode())

    def segments(self) -> list[Segment]:
        """The segments that may hold visible documents, by increasing numbers."""
        if self._segments is None:
            folder = Folder(self.url)
            self._segments = [
                open_segment(folder, about, self.parameters.sketch, self._advice(about["crawls"]))
                for about in self.body["segments"]
                if self.limit is None or about["start"] < self.limit
            ]
        return self._segments

    def _advice(self, starts: list[int]) -> str:
        names = [crawl.name for crawl in self.crawls if crawl.start in starts]
        options = " ".join(f"--crawl {name}" for name in names)
        return (
            "run again if the index was compacted meanwhile; else restore the file from a copy, or take out what it "
            f"holds (`curation dedup forget {self.url} {options}`) and run that again"
        )

    def forgotten(self) -> np.ndarray:
        """Numbers that were taken down and are still in a segment, increasing (int64)."""
        if self._forgotten is None:
            about = self.body["forgotten"]
            parts = []
            if about:
                advice = "restore it from a copy of the index"
                file = BlockFile(Folder(self.url), about, FORGOTTEN, advice)
                parts = [block["number"].to_numpy() for block in file.blocks()]
            self._forgotten = np.concatenate(parts) if parts else np.zeros(0, np.int64)
        return self._forgotten

    def visible(self, numbers: np.ndarray) -> np.ndarray:
        """Which of the numbers (int64) are of a crawl of this version and not taken down (bool)."""
        crawls = self.crawls
        if not crawls:
            return np.zeros(len(numbers), bool)
        starts = np.array([crawl.start for crawl in crawls])
        ends = np.array([crawl.end for crawl in crawls])
        crawl = np.searchsorted(starts, numbers, side="right") - 1
        inside = (crawl >= 0) & (numbers < ends[np.maximum(crawl, 0)])
        forgotten = self.forgotten()
        if len(forgotten):
            at = np.minimum(np.searchsorted(forgotten, numbers), len(forgotten) - 1)
            inside &= forgotten[at] != numbers
        return inside

    def publish(self, **changes: Any) -> Index:
        """Write the version after this one: its body with `changes`. CurationError if another writer was faster."""
        body = self.body | changes | {"version": self.version + 1}
        content = {"xxh128": _digest(body), "body": body}
        name = f"versions/{body['version']:08d}.json"
        try:
            Folder(self.url).create(name, json.dumps(content, indent=1).encode())
        except FileExistsError as error:
            raise CurationError(f"index {self.url}: it was changed by another command; run this one again") from error
        return Index(self.url, body)


def _digest(body: Any) -> str:
    return xxhash.xxh3_128_hexdigest(json.dumps(body, sort_keys=True).encode())


def _read_checked(folder: Folder, name: str, advice: str) -> dict[str, Any]:
    """The body of a JSON file that has its checksum beside it."""
    try:
        content = json.loads(folder.read(name))
        body, digest = content["body"], content["xxh128"]
        if _digest(body) != digest:
            raise ValueError("its checksum is not that of what was written")
    except FileNotFoundError as error:
        raise CurationError(f"{folder.path(name)} is missing; {advice}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise CurationError(f"{folder.path(name)} is damaged ({error}); {advice}") from error
    if body.get("format", FORMAT) != FORMAT:
        raise ConfigError(f"{folder.path(name)}: an index of format {body['format']}; this program reads {FORMAT}")
    return body


def write_segment(folder: Folder, name: str, files: dict[str, Any]) -> dict[str, Any]:
    """Write segment.json for files described by `files` and return what a version says of it."""
    with folder.write(f"{name}/segment.json") as file:
        file.write(json.dumps({"xxh128": _digest(files), "body": files}).encode())
    return {"name": name, "xxh128": _digest(files)}


def open_segment(folder: Folder, about: dict[str, Any], sketch: int, advice: str) -> Segment:
    """A segment by its entry in a version."""
    name = f"{about['name']}/segment.json"
    files = _read_checked(folder, name, advice)
    if _digest(files) != about["xxh128"]:
        raise CurationError(
            f"{folder.path(name)} is not the file that this version of the index was made with; {advice}"
        )
    opened = {kind: BlockFile(folder, files[kind], schema, advice) for kind, schema in schemas(sketch).items()}
    return Segment(about["start"], about["end"], **opened)


def describe(index: Index) -> dict[str, Any]:
    """What `curation dedup stats` shows: version, parameters, documents by crawl, and bytes by file."""
    folder = Folder(index.url)
    forgotten = index.forgotten()
    crawls = [
        {
            "name": crawl.name,
            "documents": crawl.documents,
            "kept": crawl.kept,
            "forgotten": int(((forgotten >= crawl.start) & (forgotten < crawl.end)).sum()),
        }
        for crawl in index.crawls
    ]
    names = {entry["name"] for entry in index.body["segments"]}
    size = {
        kind: sum(int(folder.fs.size(folder.path(f"{name}/{kind}.arrow"))) for name in names) for kind in BLOCK_ROWS
    }
    return {
        "version": index.version,
        "parameters": index.parameters.__dict__,
        "crawls": crawls,
        "documents": sum(segment.documents.rows for segment in index.segments()),
        "segments": len(names),
        "bytes": size,
    }

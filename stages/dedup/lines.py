"""Removes the lines that a site repeats on its pages: menus, cookie notices, share bars, footers.

An extractor looks at one page and has to guess which of its lines are the site's. Beside other pages of the site there
is nothing to guess: what stands on a tenth of them was not written for any. That needs no word list, no model and no
language. What travels is one row of 32 bytes per distinct line of a document; the rules for lines are in
`repeated_lines.py`.

Trade-off: all rows of a host meet in one task, which is what makes shares exact and the shuffle a single one. A host
with 10 million pages of 60 lines is 19 GB of rows in that task. Documents without a host, of which a whole corpus may
consist, are not held together so: their lines spread over all partitions, and each is told the number of documents.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from curation.documents import column_type
from curation.stage import Barrier, Outcome, Sidecars, reasons

_VERDICTS = pa.schema([("partition", pa.int32()), ("row", pa.int64()), ("key_line", pa.int64())])

#: Histogram edges of `removed_share`, the part of a changed document's characters that went.
_SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


class DropRepeatedLines(Barrier, name="drop_repeated_lines"):
    """Removes lines from the text that many documents of the same host repeat.

    A line is removed where it stands in at least `min_documents` documents of the host and in at least `min_share` of
    them. Lines are the same if they have the same words; case, accents, punctuation, white space and the value of
    numbers do not count ("3 comments" is "12 Comments"). The host is that of `url`, without `www.`: `en.example.org`
    and `de.example.org` are two. Documents whose URL names no host are counted together per `source`.

    Never removed: lines of code (fenced, or indented by a tab or four spaces), lines with fewer than two letters
    ("}", "1.2.3"), lines longer than `max_line_characters`. Items of lists and rows of tables are lines like any. A
    line inside the text goes only together with others (`min_run`), so that headings which a manual has on every page
    ("Parameters", "See also") stay over their sections; beside the first or last of the document's own lines
    (`margin`), at its beginning and at its end it goes alone. Where lines go, one gap between paragraphs stays; all
    other bytes of the text are as before, and a text without repeated lines is not touched.

    With `scope: corpus, min_documents: 2, min_share: 0, min_host_documents: 2, min_run: 1, keep_first: true` and a
    large `max_line_characters` it removes paragraphs seen before anywhere, as CCNet, Dolma and DCLM do.

    Put it after deduplication. To this stage the copies of a page are pages that repeat each other, and all of them
    would lose what they share.

    Drop reason: `only_repeated_lines` (fewer than `min_characters` would remain; detail `characters_left=<n>`; the
    dropped document has its original text). Counts of the documents that stay: `documents_changed`, `lines_removed`,
    `characters_removed`, and a histogram `removed_share`. `hosts`: hosts, or sources, with enough documents to be
    looked at; `repeated_lines`: distinct lines of theirs that are repeated.

    Source: CCNet (Wenzek et al. 2020, arXiv 1911.00359, deduplication) removes paragraphs seen before in a shard of
    the crawl, after such a normalisation. Counting per host, with a share, spares what different sites have in common.
    """

    scope: Literal["host", "corpus"] = Field("host", description="which documents are counted together")
    min_documents: int = Field(4, ge=2, description="documents of the host that a repeated line stands in, at least")
    min_share: float = Field(0.1, ge=0, le=1, description="share of the host's documents with the line, at least")
    min_host_documents: int = Field(
        10, ge=2, description="hosts with fewer documents that have a text are left as they are"
    )
    keep_first: bool = Field(
        False, description="leave a repeated line in the first document that has it, in the order of the inputs"
    )
    min_run: int = Field(
        3,
        ge=1,
        description="inside a text, so many repeated lines must stand together to be removed (blank lines between "
        "them do not count); 1 removes them wherever they stand",
    )
    # On a documentation site, 0 leaves "Prev Up Next" under each page's title, 2 takes the heading "See Also" as well.
    margin: int = Field(
        1,
        ge=0,
        description="a text's inside begins after so many lines of its own (a title) and ends before so many; outside "
        "of it, a repeated line goes alone too",
    )
    max_line_characters: int = Field(200, ge=1, description="longer lines are never removed")
    min_characters: int = Field(50, ge=1, description="characters that must remain, else the document is dropped")
    shuffle_partitions: int = Field(64, ge=1, le=65536, description="parts the lines are sorted in, one task each")

    def needs(self) -> tuple[str, ...]:
        return ("text", "url", "source") if self.scope == "host" else ("text",)

    def adds(self) -> dict[str, pa.DataType]:
        return {"text": column_type("text")}

    def setup(self) -> None:
        # Compile now, and not within the time limit of the first batch
        one = {"text": pa.array(["compile"], pa.large_string()), "url": pa.array(["http://compile.example/"])}
        docs = pa.table({**one, "source": pa.array(["compile"])})
        scopes, _ = self.scopes(docs)
        lines, _ = self.lines(docs["text"], scopes)
        self.rewrite(docs["text"], scopes, lines, np.array([0, 1]))

    def partitions(self, round: int, shards: int) -> int:
        return self.shuffle_partitions

    def scopes(self, docs: pa.Table) -> tuple[np.ndarray, np.ndarray]:
        """What each document is counted with (uint64), and whether that spreads over the partitions (bool)."""
        from xxhash import xxh3_64_intdigest

        from stages.dedup.canonical_url import Parameters, canonical_urls
        from stages.dedup.repeated_lines import host_hashes

        scopes = np.zeros(docs.num_rows, np.uint64)
        if self.scope == "corpus":
            return scopes, np.ones(docs.num_rows, bool)
        urls = canonical_urls(docs["url"], Parameters.of(()))
        _, offsets, data = urls.buffers()
        ends = np.frombuffer(offsets or bytes(8), np.int64)[: docs.num_rows + 1]
        address = np.frombuffer(data or b"", np.uint8)
        for view in (address, ends):
            view.setflags(write=False)  # as below
        host_hashes(address, ends, scopes)
        spread = scopes == 0
        if spread.any():
            sources = pc.fill_null(docs["source"].combine_chunks(), "").dictionary_encode()
            of_source = np.array(
                [xxh3_64_intdigest(f"source {name}") for name in sources.dictionary.to_pylist()], np.uint64
            )
            scopes[spread] = of_source[sources.indices.to_numpy()[spread]]
        return scopes, spread

    def lines(self, text: pa.ChunkedArray | pa.Array, scopes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Hashes of the distinct lines of each text (uint64, one after another), and where each text's begin."""
        from stages.dedup.repeated_lines import count_newlines, distinct_lines
        from stages.dedup.words import fold_table

        data, offsets = _read_only(text)
        most = count_newlines(data, offsets[0], offsets[-1]) + len(offsets)
        hashes, starts = np.empty(most, np.uint64), np.zeros(len(offsets), np.int64)
        distinct_lines(data, offsets, scopes, fold_table(), self.max_line_characters, hashes, starts)
        return hashes[: starts[-1]], starts

    def rewrite(
        self, text: pa.ChunkedArray | pa.Array, scopes: np.ndarray, remove: np.ndarray, starts: np.ndarray
    ) -> tuple[pa.Array, np.ndarray]:
        """The texts without the lines `remove[starts[d] : starts[d + 1]]` (hashes, increasing), no text being null,
        and the number of lines taken out of each."""
        from stages.dedup.repeated_lines import remove_lines
        from stages.dedup.words import fold_table

        data, offsets = _read_only(text)
        out = np.empty(int(offsets[-1] - offsets[0]), np.uint8)
        ends, removed = np.zeros(len(offsets), np.int64), np.zeros(len(offsets) - 1, np.int64)
        remove_lines(
            data, offsets, scopes, fold_table(), self.max_line_characters, self.min_run, self.margin,
            remove, starts, out, ends[1:], removed,
        )  # fmt: skip
        buffers = [None, pa.py_buffer(ends), pa.py_buffer(out[: ends[-1]])]
        return pa.Array.from_buffers(pa.large_string(), len(removed), buffers), removed

    def home(self, hashes: np.ndarray) -> np.ndarray:
        """The partition of each hash."""
        return (((hashes >> np.uint64(32)) * np.uint64(self.shuffle_partitions)) >> np.uint64(32)).astype(np.int32)

    def scatter(self, docs: pa.Table, shard: int, row: int) -> pa.Table:
        scopes, spread = self.scopes(docs)
        lines, starts = self.lines(docs["text"], scopes)
        of = np.repeat(np.arange(docs.num_rows), np.diff(starts))
        # The number of documents of each scope goes to the partitions where its lines are
        some = pc.fill_null(pc.greater(pc.binary_length(docs["text"]), 0), False).to_numpy(zero_copy_only=False)
        counted, first, documents = np.unique(scopes[some], return_index=True, return_counts=True)
        wide = spread[some][first]
        everywhere = np.tile(np.arange(self.shuffle_partitions, dtype=np.int32), int(wide.sum()))
        partition = [
            self.home(np.where(spread[of], lines, scopes[of])),
            self.home(counted[~wide]),
            everywhere,
        ]
        told = np.concatenate([np.flatnonzero(~wide), np.repeat(np.flatnonzero(wide), self.shuffle_partitions)])
        nothing = np.zeros(len(told), np.int64)
        return pa.table(
            {
                "partition": np.concatenate(partition),
                "key_host": np.concatenate([scopes[of], counted[told]]).view(np.int64),
                "key_line": np.concatenate([lines.view(np.int64), nothing]),
                "shard": np.full(len(of) + len(told), shard, np.int32),
                "row": np.concatenate([row + of, nothing]),
                "documents": np.concatenate([np.zeros(len(of), np.int32), documents[told].astype(np.int32)]),
            }
        )

    def gather(self, round: int, partition: int, rows: pa.Table, sidecars: Sidecars) -> pa.Table:
        if rows.num_rows == 0:
            return _VERDICTS.empty_table()
        host, line, documents = (rows[name].to_numpy() for name in ("key_host", "key_line", "documents"))
        tells = documents > 0
        hosts, of = np.unique(host[tells], return_inverse=True)
        sizes = np.zeros(len(hosts), np.int64)
        np.add.at(sizes, of, documents[tells])
        enough = sizes >= max(self.min_documents, self.min_host_documents)
        self.metrics.count("hosts", int((enough & (self.home(hosts.view(np.uint64)) == partition)).sum()))

        order = np.flatnonzero(~tells)
        order = order[enough[np.searchsorted(hosts, host[order])]]
        order = order[np.argsort(line[order], kind="stable")]  # the hash of a line is salted with its host
        if not len(order):
            return _VERDICTS.empty_table()
        first = np.flatnonzero(np.concatenate([[True], np.diff(line[order]) != 0]))
        count = np.diff(np.append(first, len(order)))
        size = sizes[np.searchsorted(hosts, host[order[first]])]
        is_repeated = (count >= self.min_documents) & (count >= self.min_share * size - 1e-6)
        self.metrics.count("repeated_lines", int(is_repeated.sum()))
        told = np.repeat(is_repeated, count)
        if self.keep_first:
            shard, row = (rows[name].to_numpy()[order] for name in ("shard", "row"))
            group = np.repeat(np.arange(len(first)), count)
            by_place = np.lexsort((row, shard, group))  # the groups stay where they are
            told[by_place[first]] = False
        told = order[told]
        shard, row = (rows[name].to_numpy()[told] for name in ("shard", "row"))
        return pa.table([shard, row, line[told]], schema=_VERDICTS)

    def apply(self, docs: pa.Table, verdicts: pa.Table) -> Outcome:
        if verdicts.num_rows == 0:
            nothing = pa.nulls(docs.num_rows, pa.string())
            return Outcome(docs, dropped=nothing, detail=nothing)
        rows, hashes = verdicts["row"].to_numpy(), verdicts["key_line"].to_numpy().view(np.uint64)
        hashes = hashes[np.lexsort((hashes, rows))]
        some, starts = np.unique(rows, return_index=True)
        starts = np.append(starts, len(rows))
        mine = docs.select([n for n in ("text", "url", "source") if n in docs.column_names]).take(pa.array(some))
        before = mine["text"].combine_chunks().cast(pa.large_string())
        after, removed = self.rewrite(before, self.scopes(mine)[0], hashes, starts)

        changed = removed > 0
        length = pc.utf8_length(before).to_numpy()
        rest = pc.utf8_length(after).to_numpy()
        stays = changed & (rest >= self.min_characters)
        self.metrics.count("documents_changed", int(stays.sum()))
        self.metrics.count("lines_removed", int(removed[stays].sum()))
        self.metrics.count("characters_removed", int((length - rest)[stays].sum()))
        self.metrics.observe("removed_share", ((length - rest) / np.maximum(length, 1))[stays], _SHARES)

        gone = np.zeros(docs.num_rows, bool)
        gone[some[changed & ~stays]] = True
        mask = np.zeros(docs.num_rows, bool)
        mask[some[stays]] = True
        text = docs["text"].combine_chunks().cast(pa.large_string())
        text = pc.replace_with_mask(text, pa.array(mask), after.filter(pa.array(stays)))
        docs = docs.set_column(docs.column_names.index("text"), "text", text)
        left = np.zeros(docs.num_rows, np.int64)
        left[some] = rest
        detail = pc.binary_join_element_wise("characters_left", pa.array(left, mask=~gone).cast(pa.string()), "=")
        return Outcome(docs, dropped=reasons(docs, only_repeated_lines=gone), detail=detail)


def _read_only(text: pa.ChunkedArray | pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Bytes and offsets of a column, read-only: numba compiles once more for buffers that happen to be writable."""
    from stages.dedup.words import text_buffers

    data, offsets = text_buffers(text)
    data.setflags(write=False)
    offsets.setflags(write=False)
    return data, offsets

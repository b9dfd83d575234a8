"""Removes passages that stand elsewhere in the corpus, word for word: licences, boilerplate, quotations, mirrors.

A page that embeds another, or two pages with the same 200-word notice, are no near duplicates, and a model still reads
the passage as often as it stands there (Lee et al. 2022: one in a hundred tokens a model emitted was copied from the
training data, a tenth of that after such deduplication). The usual means is a suffix array, which needs the corpus in
the memory of one machine, with 8 bytes for each of its bytes. Here the same passages are found by a shuffle, so that
the stage grows with the cluster.

Three gathers. Winnowed runs of 26 words (1 in 13 is chosen, 20 bytes each) show where a repeated run of 50 can be; for
those places alone all runs of 50 words are hashed, and compared by 64 bits. The words of each document stay beside its
shard as 4 bytes each, and are read only where a chosen run occurred twice.

Trade-off: two documents have a passage in common if their words are the same, blind to case, accents and punctuation.
What is cut is cut from the text as it is written; a sentence may lose its beginning.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, PrivateAttr

from curation.documents import column_type
from curation.stage import Barrier, Outcome, Sidecars, reasons
from stages.dedup import duplicates

#: Rows of the first two gathers: a place in a document, given by its address and the number of a word.
PLACES = pa.schema([("partition", pa.int32()), ("document", pa.int64()), ("word", pa.int32())])
RUNS = pa.schema([("partition", pa.int32()), ("key", pa.int64()), ("document", pa.int64()), ("word", pa.int32())])
VERDICTS = pa.schema([("partition", pa.int32()), ("row", pa.int64()), ("word", pa.int32())])

#: Histogram edges of `removed_share`, the part of a changed document's characters that went.
_SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


class DropRepeatedSubstrings(Barrier, name="drop_repeated_substrings"):
    """Removes runs of at least `min_words` words that stand earlier in the corpus, or in the same document.

    A run is the same if its words are: case, accents, punctuation and spacing do not count, digits do. A character of
    Chinese, Japanese, Thai, Lao, Khmer or Burmese is a word; raise `min_words` for corpora in these. Where a run stands
    first, in the order of the inputs, it stays; every later one goes, with all words that belong to one. In a text that
    repeats itself the first `min_words` words of what repeats stay.

    The rest of the text is as before. After a cut it goes on with the next word, or with the end of the line if the
    line ends there. Put it after `minhash_dedup`: near copies of a page are cheaper found there, and here only their
    differences would remain.

    Drop reason: `only_repeated_substrings` (fewer than `min_characters` would remain; detail `characters_left=<n>`; the
    dropped document has its original text). Counts of the documents that stay: `documents_changed`, `words_removed`,
    `characters_removed`, and a histogram `removed_share`.

    Source: Lee et al. 2022, Deduplicating training data makes language models better (arXiv 2107.06499), 50 tokens.
    """

    min_words: int = Field(50, ge=4, le=10_000, description="words that a repeated run has, at least")
    min_characters: int = Field(200, ge=1, description="characters that must remain, else the document is dropped")
    shuffle_partitions: int = Field(64, ge=1, le=65536, description="parts the runs are sorted in, one task each")

    _latest: tuple[pa.Table, np.ndarray, np.ndarray] | None = PrivateAttr(None)

    @property
    def _short(self) -> int:
        """Words in the runs that are winnowed; a run of `min_words` has about as many of them as they have words."""
        return self.min_words // 2 + 1

    @property
    def _window(self) -> int:
        """Short runs in a run of `min_words`."""
        return self.min_words - self._short + 1

    def needs(self) -> tuple[str, ...]:
        return ("text",)

    def adds(self) -> dict[str, pa.DataType]:
        return {"text": column_type("text")}

    def setup(self) -> None:
        # Compile now, and not within the time limit of the first batch
        docs = pa.table({"text": pa.array(["compile " * self.min_words], pa.large_string())})
        self.scatter(docs, 0, 0)
        self._cut(docs["text"], np.array([0]), np.array([0]))

    def rounds(self) -> int:
        return 3

    def partitions(self, round: int, shards: int) -> int:
        return shards if round == 1 else self.shuffle_partitions

    def _words(self, text: pa.ChunkedArray | pa.Array) -> tuple[np.ndarray, ...]:
        """Bytes and offsets of the texts; hash, first byte and end of each word; where each text's words begin."""
        from stages.dedup.word_windows import find_words
        from stages.dedup.words import fold_table, text_buffers

        data, offsets = text_buffers(text)
        for view in (data, offsets):  # numba compiles once more for buffers that happen to be writable
            view.setflags(write=False)
        most = int(offsets[-1] - offsets[0]) + 1
        hashes, begins, ends = np.empty(most, np.uint64), np.empty(most, np.int64), np.empty(most, np.int64)
        starts = np.zeros(len(offsets), np.int64)
        find_words(data, offsets, fold_table(fold_digits=False), hashes, begins, ends, starts)
        return data, offsets, hashes[: starts[-1]], begins, ends, starts

    def _partition(self, hashes: np.ndarray) -> np.ndarray:
        return duplicates.partitions(hashes, self.shuffle_partitions)

    def scatter(self, docs: pa.Table, shard: int, row: int) -> pa.Table:
        from stages.dedup.word_windows import chosen_runs

        _, _, words, _, _, starts = self._words(docs["text"])
        words = words.astype(np.uint32)
        self._latest = docs, words, starts
        hashes, texts, places = (np.empty(len(words), kind) for kind in (np.uint64, np.int64, np.int32))
        n = chosen_runs(words, starts, self._short, self._window, hashes, texts, places)
        address = duplicates.addresses(shard, row + texts[:n])
        return pa.table([self._partition(hashes[:n]), hashes[:n].view(np.int64), address, places[:n]], schema=RUNS)

    def sidecar(self, docs: pa.Table) -> pa.Table:
        if self._latest is None or self._latest[0] is not docs:
            self.scatter(docs, 0, 0)
        assert self._latest is not None
        _, words, starts = self._latest
        self._latest = None
        return pa.table({"words": pa.LargeListArray.from_arrays(pa.array(starts), pa.array(words))})

    def gather(self, round: int, partition: int, rows: pa.Table, sidecars: Sidecars) -> pa.Table:
        if round == 0:
            return self._places(rows)
        return self._runs(rows, sidecars) if round == 1 else self._repeats(rows)

    def _sorted(self, rows: pa.Table) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Key, document and word of the rows in the order of the inputs, and the first row with each key."""
        from stages.dedup.clusters import first_with_equal_key

        key, document, word = (rows[name].to_numpy() for name in ("key", "document", "word"))
        order = np.lexsort((word, document))
        key = key[order].view(np.uint64)
        return key, document[order], word[order], first_with_equal_key(key, key)[0]

    def _places(self, rows: pa.Table) -> pa.Table:
        """Round 0: chosen runs -> the places of those that occur twice, to the shard they are in."""
        if rows.num_rows == 0:
            return PLACES.empty_table()
        _, document, word, first = self._sorted(rows)
        found = np.flatnonzero(np.bincount(first, minlength=len(first))[first] > 1)
        return pa.table([duplicates.shards(document[found]), document[found], word[found]], schema=PLACES)

    def _runs(self, rows: pa.Table, sidecars: Sidecars) -> pa.Table:
        """Round 1: places in a shard -> all runs of `min_words` words around them."""
        from stages.dedup.word_windows import runs_around

        if rows.num_rows == 0:
            return RUNS.empty_table()
        document, word = rows["document"].to_numpy(), rows["word"].to_numpy()
        order = np.lexsort((word, document))
        document, word = document[order], word[order]
        tables = []
        edges = np.flatnonzero(np.diff(document, prepend=-1))
        for start in range(0, len(edges), 1024):  # documents at a time
            some = edges[start : start + 1024]
            end = edges[start + 1024] if start + 1024 < len(edges) else len(document)
            about = document[some]
            shard = int(duplicates.shards(about[:1])[0])
            column = sidecars.rows(shard, duplicates.rows(about), ["words"])["words"].combine_chunks()
            words = column.values.to_numpy()
            starts = column.offsets.to_numpy().astype(np.int64)
            for view in (words, starts):
                view.setflags(write=False)
            text = np.searchsorted(about, document[some[0] : end])
            place = word[some[0] : end].astype(np.int64)
            most = min(len(place) * self._window, int(starts[-1] - starts[0]))
            hashes, texts, places = (np.empty(most, kind) for kind in (np.uint64, np.int64, np.int32))
            n = runs_around(
                words, starts, self.min_words, self._window - 1, text, place, hashes, texts, places
            )  # fmt: skip
            tables.append(
                pa.table(
                    [self._partition(hashes[:n]), hashes[:n].view(np.int64), about[texts[:n]], places[:n]], schema=RUNS
                )
            )
        return pa.concat_tables(tables)

    def _repeats(self, rows: pa.Table) -> pa.Table:
        """Round 2: runs of `min_words` words -> those that stand somewhere before."""
        if rows.num_rows == 0:
            return VERDICTS.empty_table()
        _, document, word, first = self._sorted(rows)
        overlaps = (document == document[first]) & (word - word[first] < self.min_words)
        gone = np.flatnonzero((first != np.arange(len(first))) & ~overlaps)
        return pa.table(
            [duplicates.shards(document[gone]), duplicates.rows(document[gone]), word[gone]], schema=VERDICTS
        )

    def _cut(
        self, text: pa.ChunkedArray | pa.Array, texts: np.ndarray, places: np.ndarray
    ) -> tuple[pa.Array, np.ndarray]:
        """The texts without the runs at `places` of `texts` (sorted), and words taken out of each."""
        from stages.dedup.word_windows import cut_runs

        data, offsets, _, begins, ends, starts = self._words(text)
        out = np.empty(int(offsets[-1] - offsets[0]), np.uint8)
        to, removed = np.zeros(len(offsets), np.int64), np.zeros(len(offsets) - 1, np.int64)
        cut_runs(data, offsets, begins, ends, starts, self.min_words, texts, places, out, to[1:], removed)
        buffers = [None, pa.py_buffer(to), pa.py_buffer(out[: to[-1]])]
        return pa.Array.from_buffers(pa.large_string(), len(removed), buffers), removed

    def apply(self, docs: pa.Table, verdicts: pa.Table) -> Outcome:
        if verdicts.num_rows == 0:
            nothing = pa.nulls(docs.num_rows, pa.string())
            return Outcome(docs, dropped=nothing, detail=nothing)
        rows, words = verdicts["row"].to_numpy(), verdicts["word"].to_numpy().astype(np.int64)
        order = np.lexsort((words, rows))
        some, texts = np.unique(rows[order], return_inverse=True)
        before = docs["text"].take(pa.array(some)).combine_chunks().cast(pa.large_string())
        after, removed = self._cut(before, texts, words[order])

        length, rest = pc.utf8_length(before).to_numpy(), pc.utf8_length(after).to_numpy()
        stays = rest >= self.min_characters
        self.metrics.count("documents_changed", int(stays.sum()))
        self.metrics.count("words_removed", int(removed[stays].sum()))
        self.metrics.count("characters_removed", int((length - rest)[stays].sum()))
        self.metrics.observe("removed_share", ((length - rest) / length)[stays], _SHARES)

        gone, changed = np.zeros(docs.num_rows, bool), np.zeros(docs.num_rows, bool)
        gone[some[~stays]], changed[some[stays]] = True, True
        text = docs["text"].combine_chunks().cast(pa.large_string())
        text = pc.replace_with_mask(text, pa.array(changed), after.filter(pa.array(stays)))
        left = np.zeros(docs.num_rows, np.int64)
        left[some] = rest
        detail = pc.binary_join_element_wise("characters_left", pa.array(left, mask=~gone).cast(pa.string()), "=")
        docs = docs.set_column(docs.column_names.index("text"), "text", text)
        return Outcome(docs, dropped=reasons(docs, only_repeated_substrings=gone), detail=detail)

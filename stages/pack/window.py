"""One window of documents -> the training rows they are packed in.

A window is what one task packs: some tens of thousands of documents that a hash of their ids brought together, so each
is a sample of the whole mixture. Best-fit decreasing puts documents of like lengths side by side, so its order must
not reach the trainer: rows are shuffled, and the pieces within each row are.

The result depends on the documents and the seed alone. Documents are put in order by their ids before anything else;
the order in which files were named, or shards were read, does not show.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numba import njit

from stages.mix.draw import scramble
from stages.pack.best_fit import best_fit, fill_gaps, split
from stages.pack.shards import packed_table


@dataclass(frozen=True)
class Layout:
    """Which piece of which document goes where: arrays over pieces, in the order they are written.

    document, start, length: int32; length counts the end of document. row_pieces: pieces of each row, int64.
    """

    document: np.ndarray
    start: np.ndarray
    length: np.ndarray
    row_pieces: np.ndarray


def lay_out(lengths: np.ndarray, capacity: int, max_padding: float, seed: int) -> Layout:
    """Pack documents of these lengths (with end of document, int32, each 1 or more) into rows of `capacity` tokens."""
    document, start, length = split(lengths, capacity)
    bin_of, bins = best_fit(length, capacity)
    document, start, length, bin_of = fill_gaps(document, start, length, bin_of, bins, capacity, max_padding)
    names, rows = np.unique(bin_of, return_inverse=True)
    place = np.argsort(np.argsort(scramble(np.arange(len(names)), seed), kind="stable"), kind="stable")
    rows = place[rows]
    within = scramble((document.astype(np.uint64) << np.uint64(32)) | start.astype(np.uint64), seed + 1)
    order = np.lexsort((within, rows))
    counts = np.bincount(rows, minlength=len(names))
    return Layout(document[order], start[order], length[order], counts)


@njit(nogil=True, cache=True)
def _fill(values, begins, ends, document, start, length, row_pieces, capacity, eod, pad):
    """The ids of all rows, int32, shape (rows * capacity,)."""
    result = np.empty(row_pieces.size * capacity, np.int32)
    piece = 0
    for row in range(row_pieces.size):
        at = row * capacity
        end = at + capacity
        for _ in range(row_pieces[row]):
            doc = document[piece]
            source = begins[doc] + start[piece]
            count = np.int64(length[piece])
            closes = source + count > ends[doc]  # the piece with the document's last token ends with the EOD
            tokens = count - 1 if closes else count
            result[at : at + tokens] = values[source : source + tokens]
            if closes:
                result[at + tokens] = eod
            at += count
            piece += 1
        result[at:end] = pad
    return result


def pack_window(
    values: np.ndarray,
    begins: np.ndarray,
    ends: np.ndarray,
    names: pa.Array,
    capacity: int,
    eod: int,
    max_padding: float,
    seed: int,
) -> tuple[pa.Table, Layout]:
    """Rows of `capacity` tokens made of documents, and the layout they were made by.

    values: token ids, int32; document i has those from begins[i] to ends[i] (int64), and the id names[i]. The order of
    documents must say nothing of shards; that of `values` does not matter.
    """
    layout = lay_out((ends - begins + 1).astype(np.int32), capacity, max_padding, seed)
    pieces = (layout.document, layout.start, layout.length, layout.row_pieces)
    flat = _fill(values, begins, ends, *pieces, capacity, eod, eod)
    doc_ids = names.take(pa.array(layout.document))
    return packed_table(flat, capacity, layout.row_pieces, layout.length, doc_ids, layout.start), layout

"""Finds the benchmark items that a text repeats, wholly or nearly: seeds propose, a longest common subsequence decides.

An item copied word for word shares every run of its words with the document. A paraphrase shares a few short runs, in
the item's order and close together. So runs of three words (five code tokens) are looked up as the document goes by;
where enough of one item's runs come within its length, that stretch of the document is compared with the item: the
longest common subsequence of words, as a share of the item's words, and the longest run of words in common.

The subsequence is computed with 64 words of the item to a machine word (Hyyrö 2004, "Bit-parallel LCS-length
computation revisited"), so that a comparison takes a microsecond, and a chance candidate costs nothing that counts.

Trade-off: a run of three words that more than `MOST_POSTINGS` items share ("how much does") proposes none of them,
unless an item has little else; without that bound the common phrases of one benchmark would be most of the work.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

#: Items that a seed may propose, and seeds that an item keeps however common they are.
MOST_POSTINGS, FEWEST_SEEDS = 32, 12
#: Words of an item that are compared; the rest of a longer one is left aside.
LONGEST_ITEM = 512
#: Seeds proposed before a comparison: this share of an item's seeds, within these bounds.
SEED_SHARE, FEWEST_HITS, MOST_HITS = 0.08, 2, 6
#: Words in common that make two texts similar, whatever their share: "What is the value of x?" resembles too much.
FEWEST_COMMON = 10
#: Share of an item in order, least, with a run of its words: "0 1 2 3 4 5 6 7 8 9 A B C" stands in many a text, and in
#: one item among other words. Of 12,575 pages of documentation seven had such a run, and at most 0.29.
LEAST_SHARE = 0.3
#: How far a stretch reaches beyond the item's own length, as a share of it: before, and after.
BEFORE, AFTER = 0.25, 0.35

_BASE = np.uint64(0x2545F4914F6CDD1D)
_MIX = np.uint64(0xD6E8FEB86659FD93)
_ONE, _TWO = np.uint64(1), np.uint64(2)
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)


@dataclass(frozen=True)
class Seeds:
    """Items of one kind of words, made ready for `find_items`. Arrays only, so that a kernel takes them.

    words, starts: hashes of the items' words (uint64), and where each item's begin. width: words in a seed.
    """

    width: int
    words: np.ndarray
    starts: np.ndarray
    bits: np.ndarray  # uint64: a bit for each hash that may be a seed
    slots: np.ndarray  # uint64, open addressing, two to a slot: key (0 is empty), then first posting << 8 | how many
    items: np.ndarray  # posting: item, and the seed's place in it
    offsets: np.ndarray
    need: np.ndarray  # seeds of each item before it is compared
    unique: np.ndarray  # sorted words of each item, once each, from unique_starts[i]
    unique_starts: np.ndarray
    masks: np.ndarray  # where in the item each stands: one bit a word, blocks(i) uint64 for each
    mask_starts: np.ndarray

    def arrays(self) -> tuple:
        """What `find_items` takes."""
        return (
            self.width,
            self.words,
            self.starts,
            self.bits,
            self.slots,
            self.items,
            self.offsets,
            self.need,
            self.unique,
            self.unique_starts,
            self.masks,
            self.mask_starts,
        )


def build_seeds(words: np.ndarray, starts: np.ndarray, width: int) -> Seeds:
    """Index the items whose words are `words[starts[i] : starts[i + 1]]` by their runs of `width` words."""
    lengths = np.minimum(np.diff(starts), LONGEST_ITEM)
    kept = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=kept[1:])
    place = np.repeat(starts[:-1] - kept[:-1], lengths) + np.arange(kept[-1])
    words = words[place]
    hashes = np.zeros(max(0, len(words)), np.uint64)
    _seed_hashes(words, kept, width, hashes)
    item = np.repeat(np.arange(len(lengths)), lengths)
    offset = np.arange(len(words)) - kept[item]
    whole = offset <= lengths[item] - width
    hashes, item, offset = hashes[whole], item[whole], offset[whole]
    # Once per item: the first place.
    order = np.lexsort((offset, item, hashes))
    hashes, item, offset = hashes[order], item[order], offset[order]
    again = np.zeros(len(hashes), bool)
    again[1:] = (hashes[1:] == hashes[:-1]) & (item[1:] == item[:-1])
    hashes, item, offset = hashes[~again], item[~again], offset[~again]
    values, where, count = np.unique(hashes, return_index=True, return_counts=True)
    common = np.repeat(count, count)
    by_item = np.lexsort((offset, common, item))
    rank = np.empty(len(item), np.int64)
    first_of = np.searchsorted(item[by_item], np.arange(len(lengths)))
    rank[by_item] = np.arange(len(item)) - first_of[item[by_item]]
    keep = (common <= MOST_POSTINGS) | (rank < FEWEST_SEEDS)
    hashes, item, offset = hashes[keep], item[keep], offset[keep]
    values, where, count = np.unique(hashes, return_index=True, return_counts=True)
    size = 1 << max(6, int(2 * len(values)).bit_length())
    slots = np.zeros(2 * size, np.uint64)
    bits = np.zeros(max(64, size // 8), np.uint64)  # 16 bits or more to a seed: 6 % of other hashes pass
    # An item keeps common seeds if it has few, but no seed proposes more than 255 items.
    count = np.minimum(count, 255)
    _fill(values, (where.astype(np.uint64) << np.uint64(8)) | count.astype(np.uint64), slots, bits)
    seeds_of = np.bincount(item, minlength=len(lengths))
    need = np.clip(np.ceil(SEED_SHARE * seeds_of), FEWEST_HITS, MOST_HITS).astype(np.int32)
    need = np.minimum(need, np.maximum(seeds_of, 1)).astype(np.int32)
    unique, unique_starts, masks, mask_starts = _masks(words, kept)
    return Seeds(
        width,
        words,
        kept,
        bits,
        slots,
        item.astype(np.int32),
        offset.astype(np.int32),
        need,
        unique,
        unique_starts,
        masks,
        mask_starts,
    )


def _masks(words: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """For every item its words sorted, once each, and where they stand in it as bits."""
    item = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    order = np.lexsort((words, item))
    ordered, of = words[order], item[order]
    new = np.ones(len(ordered), bool)
    new[1:] = (ordered[1:] != ordered[:-1]) | (of[1:] != of[:-1])
    unique = ordered[new]
    unique_starts = np.searchsorted(of[new], np.arange(len(starts)))
    blocks = (np.diff(starts) + 63) // 64
    mask_starts = np.zeros(len(starts), np.int64)
    np.cumsum(blocks * np.diff(unique_starts), out=mask_starts[1:])
    masks = np.zeros(int(mask_starts[-1]), np.uint64)
    which = np.cumsum(new) - 1 - unique_starts[of]
    offset = order - starts[of]
    np.bitwise_or.at(
        masks, mask_starts[of] + which * blocks[of] + offset // 64, _ONE << (offset % 64).astype(np.uint64)
    )
    return unique, unique_starts.astype(np.int64), masks, mask_starts


@njit(nogil=True, cache=True, inline="always")
def _mixed(h):
    h ^= h >> np.uint64(32)
    h *= _MIX
    h ^= h >> np.uint64(29)
    return h | _ONE


@njit(nogil=True, cache=True, inline="always")
def _seed(words, at, width):
    h = np.uint64(0)
    for i in range(width):
        h = h * _BASE + words[at + i]
    return _mixed(h)


@njit(nogil=True, cache=True)
def _seed_hashes(words, starts, width, out):
    for item in range(starts.size - 1):
        for at in range(starts[item], starts[item + 1] - width + 1):
            out[at] = _seed(words, at, width)


@njit(nogil=True, cache=True)
def _fill(values, postings, slots, bits):
    mask = np.uint64(slots.size // 2 - 1)
    bit_mask = np.uint64(bits.size * 64 - 1)
    for i in range(values.size):
        key = values[i]
        bit = (key >> np.uint64(20)) & bit_mask
        bits[bit >> np.uint64(6)] |= _ONE << (bit & np.uint64(63))
        slot = (key >> np.uint64(1)) & mask
        while slots[_TWO * slot]:
            slot = (slot + _ONE) & mask
        slots[_TWO * slot] = key
        slots[_TWO * slot + _ONE] = postings[i]


@njit(nogil=True, cache=True)
def _common_subsequence(text, begin, end, item, starts, unique, unique_starts, masks, mask_starts, rows):
    """Words of the longest common subsequence of an item and the words [begin, end) of a text."""
    length = starts[item + 1] - starts[item]
    blocks = (length + 63) // 64
    for b in range(blocks):
        rows[b] = _ALL
    base = unique_starts[item]
    top = unique_starts[item + 1]
    for at in range(begin, end):
        word = text[at]
        low = base
        high = top
        while low < high:
            middle = (low + high) >> 1
            if unique[middle] < word:
                low = middle + 1
            else:
                high = middle
        if low == top or unique[low] != word:
            continue
        mask = mask_starts[item] + (low - base) * blocks
        carry = np.uint64(0)
        for b in range(blocks):
            row = rows[b]
            both = row & masks[mask + b]
            half = row + both
            total = half + carry
            carry = np.uint64(1) if (half < row) or (total < half) else np.uint64(0)
            rows[b] = total | (row & ~masks[mask + b])
    common = 0
    for i in range(length):
        if not (rows[i >> 6] >> np.uint64(i & 63)) & _ONE:
            common += 1
    return common


@njit(nogil=True, cache=True, inline="always")
def _run_through(text, at, low, high, words, place, first, last):
    """Words of the run common to text[low:high] and words[first:last] that goes through text[at] and words[place]."""
    before = 0
    while at - before > low and place - before > first and text[at - before - 1] == words[place - before - 1]:
        before += 1
    after = 0
    while at + after < high and place + after < last and text[at + after] == words[place + after]:
        after += 1
    return before + after


@njit(nogil=True, cache=True)
def find_items(
    text, text_starts, width, words, starts, bits, slots, items, offsets, need, unique, unique_starts,
    masks, mask_starts, ngram, min_lcs, alone, together, out_item, out_begin, out_end, out_lcs, out_run
):  # fmt: skip
    """For each text the item it repeats most of, or -1 in `out_item`.

    text: hashes of the texts' words. ngram: words of a run that counts. min_lcs: least share of an item's words in the
    common subsequence. alone: a run of `ngram` words is enough by itself; together: it is needed besides. out_begin,
    out_end: words of the stretch, from the text's start; out_lcs: the share; out_run: words of the longest common run.
    Returns how many stretches were compared.
    """
    n_items = starts.size - 1
    counts = np.zeros(n_items, np.int32)
    latest = np.full(n_items, -(1 << 60), np.int64)
    rows = np.empty(LONGEST_ITEM // 64, np.uint64)
    slot_mask = np.uint64(slots.size // 2 - 1)
    bit_mask = np.uint64(bits.size * 64 - 1)
    top = np.uint64(1)
    for _ in range(width - 1):
        top *= _BASE
    compared = 0
    for d in range(text_starts.size - 1):
        out_item[d] = -1
        out_lcs[d] = 0.0
        out_run[d] = 0
        low, high = text_starts[d], text_starts[d + 1]
        rolling = np.uint64(0)
        for at in range(low, min(high, low + width - 1)):
            rolling = rolling * _BASE + text[at]
        for at in range(low, high - width + 1):
            rolling = rolling * _BASE + text[at + width - 1]
            key = _mixed(rolling)
            rolling -= text[at] * top
            bit = (key >> np.uint64(20)) & bit_mask
            if not (bits[bit >> np.uint64(6)] >> (bit & np.uint64(63))) & _ONE:
                continue
            slot = (key >> np.uint64(1)) & slot_mask
            while slots[_TWO * slot] and slots[_TWO * slot] != key:
                slot = (slot + _ONE) & slot_mask
            if not slots[_TWO * slot]:
                continue
            postings = np.int64(slots[_TWO * slot + _ONE])
            for p in range(postings >> 8, (postings >> 8) + (postings & 255)):
                item = items[p]
                length = starts[item + 1] - starts[item]
                if latest[item] < low or at - latest[item] > length:
                    counts[item] = 0
                latest[item] = at
                counts[item] += 1
                if counts[item] < need[item]:
                    continue
                counts[item] = 0
                begin = max(low, at - offsets[p] - np.int64(BEFORE * length) - 2)
                end = min(high, at - offsets[p] + length + np.int64(AFTER * length) + 2)
                compared += 1
                common = _common_subsequence(
                    text, begin, end, item, starts, unique, unique_starts, masks, mask_starts, rows
                )
                share = common / length
                # A run of n words holds n - width + 1 seeds, more than `need` of them: one of those leads here, and
                # its run is the one to measure.
                place = starts[item] + offsets[p]
                run = _run_through(text, at, low, high, words, place, starts[item], starts[item + 1])
                wanted = min(ngram, length)
                similar = share > min_lcs and (common >= FEWEST_COMMON or run >= wanted)
                if not (
                    (alone and run >= wanted and share >= LEAST_SHARE) or (similar and (run >= wanted or not together))
                ):
                    continue
                if share > out_lcs[d]:
                    out_item[d] = item
                    out_begin[d] = begin - low
                    out_end[d] = end - low
                    out_lcs[d] = share
                    out_run[d] = run
    return compared

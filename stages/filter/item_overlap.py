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

from stages.filter.words_and_tokens import cut

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
_NONE, _ONE, _TWO = np.uint64(0), np.uint64(1), np.uint64(2)
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)


@dataclass(frozen=True)
class Seeds:
    """Items of one kind of words, made ready for `find_items`. Arrays only, so that a kernel takes them.

    words, starts: hashes of the items' words (uint64), and where each item's begin. width: words in a seed.
    """

    width: int
    words: np.ndarray
    starts: np.ndarray
    bits: np.ndarray  # uint64: three bits of one of them for each hash that may be a seed
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
    bits = np.zeros(max(64, size // 8), np.uint64)  # 16 bits or more to a seed: 1 % of other hashes pass
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
def _bits_of(key):
    """Three bits of 64, by the top of a key; its middle chooses the 64."""
    low = np.uint64(63)
    first, second, third = key >> np.uint64(58), (key >> np.uint64(52)) & low, (key >> np.uint64(46)) & low
    return _ONE << first | _ONE << second | _ONE << third


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
    bit_mask = np.uint64(bits.size - 1)
    for i in range(values.size):
        key = values[i]
        bits[(key >> np.uint64(20)) & bit_mask] |= _bits_of(key)
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
    size = unique_starts[item + 1] - base
    for at in range(begin, end):
        word = text[at]
        # Without a branch: every second one would be guessed wrong.
        low = base
        left = size
        while left > 1:
            half = left >> 1
            low += half * (unique[low + half] <= word)
            left -= half
        if unique[low] != word:
            continue
        mask = mask_starts[item] + (low - base) * blocks
        carry = np.uint64(0)
        for b in range(blocks):
            row = rows[b]
            both = row & masks[mask + b]
            half_sum = row + both
            total = half_sum + carry
            carry = np.uint64(1) if (half_sum < row) or (total < half_sum) else np.uint64(0)
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
def _propose(text, n, width, bits, slots, keys, places):
    """Seeds of the items that stand in text[:n]: their postings (into `keys`) and where they begin, in order."""
    # Three loops, none of which waits for the one memory access after the other: 620 words of a page give 23 seeds
    # that pass the bits and 17 that are some item's.
    bit_mask = np.uint64(bits.size - 1)
    slot_mask = np.uint64(slots.size // 2 - 1)
    top = np.uint64(1)
    for _ in range(width - 1):
        top *= _BASE
    ahead = np.uint64(width - 1)
    rolling = np.uint64(0)
    for at in range(min(n, ahead)):
        rolling = rolling * _BASE + text[at]
    some = _NONE
    for at in range(n - min(n, ahead)):
        rolling = rolling * _BASE + text[at + ahead]
        key = _mixed(rolling)
        rolling -= text[at] * top
        keys[some] = key
        places[some] = at
        wanted = _bits_of(key)
        some += _ONE if bits[(key >> np.uint64(20)) & bit_mask] & wanted == wanted else _NONE
    found = _NONE
    for i in range(some):
        key = keys[i]
        slot = (key >> np.uint64(1)) & slot_mask
        while slots[_TWO * slot] and slots[_TWO * slot] != key:
            slot = (slot + _ONE) & slot_mask
        keys[found] = slots[_TWO * slot + _ONE]
        places[found] = places[i]
        found += _ONE if slots[_TWO * slot] != 0 else _NONE
    return found


@njit(nogil=True, cache=True)
def _search(text, n, before, seeds, seen, rows, keys, places, ngram, min_lcs, alone, together):
    """The item that text[:n] repeats most of: (item or -1, begin, end, share, run, how many stretches were compared).

    before: words of the texts before this one, so that `seen` (by item: 8 times the place of the latest seed, and how
    many there were) need not be cleared.
    """
    size = np.int64(n)
    width, words, starts, bits, slots, items, offsets, need, unique, unique_starts, masks, mask_starts = seeds
    best, best_begin, best_end, best_share, best_run = -1, 0, 0, 0.0, 0
    compared = 0
    for i in range(_propose(text, n, width, bits, slots, keys, places)):
        at = np.int64(places[i])
        postings = np.int64(keys[i])
        for p in range(postings >> 8, (postings >> 8) + (postings & 255)):
            item = items[p]
            length = starts[item + 1] - starts[item]
            latest = (seen[item] >> 3) - before
            count = (seen[item] & 7) + 1 if latest >= 0 and at - latest <= length else 1
            if count < need[item]:
                seen[item] = (before + at) << 3 | count
                continue
            seen[item] = (before + at) << 3
            compared += 1
            # A run of n words holds n - width + 1 seeds, more than `need` of them: one of those leads here, and
            # its run is the one to measure.
            place = starts[item] + offsets[p]
            run = _run_through(text, at, 0, size, words, place, starts[item], starts[item + 1])
            whole = run >= min(ngram, length)
            if together and not whole:
                continue
            begin = max(0, at - offsets[p] - np.int64(BEFORE * length) - 2)
            end = min(size, at - offsets[p] + length + np.int64(AFTER * length) + 2)
            common = _common_subsequence(
                text, begin, end, item, starts, unique, unique_starts, masks, mask_starts, rows
            )
            share = common / length
            similar = share > min_lcs and (common >= FEWEST_COMMON or whole)
            if not similar and not (alone and whole and share >= LEAST_SHARE):
                continue
            if share > best_share:
                best, best_begin, best_end, best_share, best_run = item, begin, end, share, run
    return best, best_begin, best_end, best_share, best_run, compared


@njit(nogil=True, cache=True)
def find_items(
    data, offsets, fold, values, text_seeds, code_seeds, text_rule, code_rule, kind, item, begin, end, share, run
):  # fmt: skip
    """For each text data[offsets[d] : offsets[d + 1]] the item it repeats most of, or -1 in `item`.

    text_seeds, code_seeds: `Seeds.arrays()` of the items of prose and of programs, without items if there are none.
    text_rule, code_rule: what counts, as (ngram, min_lcs, alone, together). ngram: words of a run that counts.
    min_lcs: least share of an item's words in the common subsequence. alone: a run of `ngram` words is enough by
    itself; together: it is needed besides. kind: 0 if the item is prose, which is looked for first, 1 if a program.
    begin, end: words of the stretch, from the text's start; share: of the item's words that the subsequence has; run:
    words of the longest common run. Returns how many stretches were compared.
    """
    n_prose = text_seeds[2].size - 1
    n_code = code_seeds[2].size - 1
    seen_prose = np.full(n_prose, -1, np.int64)
    seen_code = np.full(n_code, -1, np.int64)
    most = 0
    for d in range(offsets.size - 1):
        most = max(most, offsets[d + 1] - offsets[d])
    words, tokens, keys = (
        np.empty(most + 1, np.uint64),
        np.empty(most + 1, np.uint64),
        np.empty(most + 1, np.uint64),
    )
    places = np.empty(most + 1, np.uint64)
    rows = np.empty(LONGEST_ITEM // 64, np.uint64)
    compared = 0
    before_n = np.int64(0)
    before_m = np.int64(0)
    for d in range(offsets.size - 1):
        n, m = cut(data, offsets[d], offsets[d + 1], fold, values, words, tokens)
        kind[d] = 0
        item[d] = -1
        if n_prose:
            ngram, min_lcs, alone, together = text_rule
            item[d], begin[d], end[d], share[d], run[d], more = _search(
                words, n, before_n, text_seeds, seen_prose, rows, keys, places, ngram, min_lcs, alone, together
            )
            compared += more
            before_n += np.int64(n)
        if n_code and item[d] < 0:
            ngram, min_lcs, alone, together = code_rule
            kind[d] = 1
            item[d], begin[d], end[d], share[d], run[d], more = _search(
                tokens, m, before_m, code_seeds, seen_code, rows, keys, places, ngram, min_lcs, alone, together
            )
            compared += more
            before_m += np.int64(m)
    return compared

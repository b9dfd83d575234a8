import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.pack.best_fit import best_fit, fill_gaps, split


def slow_best_fit(lengths, capacity):
    """Best-fit decreasing as a textbook has it: free space of each bin, sorted."""
    free = []
    for length in sorted(lengths, reverse=True):
        fitting = [space for space in free if space >= length]
        if fitting:
            free.remove(min(fitting))
            free.append(min(fitting) - length)
        else:
            free.append(capacity - length)
    return sorted(free)


def first_fit(lengths, capacity):
    """Bins that first fit opens, documents taken as they come."""
    free = np.full(len(lengths), capacity)
    for length in lengths:
        free[np.argmax(free >= length)] -= length
    return int((free < capacity).sum())


def web_like(n, seed=0):
    rng = np.random.default_rng(seed)
    return np.clip(np.exp(rng.normal(np.log(550), 1.1, n)), 16, 400_000).astype(np.int64)


@settings(deadline=None)
@given(st.integers(1, 300), st.data())
def test_rows_are_those_of_the_textbook(capacity, data):
    lengths = data.draw(st.lists(st.integers(1, capacity), max_size=60))
    bins, count = best_fit(np.array(lengths, np.int32), capacity)
    used = np.bincount(bins, weights=lengths, minlength=count) if lengths else np.zeros(0)
    assert sorted(capacity - used) == slow_best_fit(lengths, capacity)


@pytest.mark.parametrize("capacity", [64, 4096, 4097, 32768, 300_000])
def test_bitmaps_of_every_depth(capacity):
    lengths = np.minimum(web_like(2_000), capacity).astype(np.int32)
    bins, count = best_fit(lengths, capacity)
    assert sorted(capacity - np.bincount(bins, weights=lengths, minlength=count)) == slow_best_fit(
        lengths.tolist(), capacity
    )


@pytest.mark.parametrize("capacity", [2048, 4096, 32768])
def test_no_more_rows_than_first_fit_and_next_to_no_padding_in_a_window(capacity):
    lengths = split(web_like(50_000), capacity)[2]
    _, count = best_fit(lengths, capacity)
    assert 1 - lengths.sum() / (count * capacity) < 0.001
    some = lengths[:2000]
    assert best_fit(some, capacity)[1] <= first_fit(some, capacity)


@given(st.lists(st.integers(1, 1000), max_size=30), st.integers(1, 100))
def test_cutting_covers_each_document_once(lengths, capacity):
    document, start, length = split(np.array(lengths, np.int64), capacity)
    covered = [[] for _ in lengths]
    for d, s, n in zip(document.tolist(), start.tolist(), length.tolist(), strict=True):
        assert 1 <= n <= capacity
        covered[d] += range(s, s + n)
    assert covered == [list(range(n)) for n in lengths]
    assert len(document) == sum(-(-n // capacity) for n in lengths)  # cut at the cap, nowhere else


def filled(lengths, capacity, max_padding):
    document, start, length = split(np.asarray(lengths, np.int64), capacity)
    bins, count = best_fit(length, capacity)
    pieces = fill_gaps(document, start, length, bins, count, capacity, max_padding)
    return (document, start, length, bins), count, pieces


@settings(deadline=None)
@given(st.integers(20, 200), st.data())
def test_filling_gaps_loses_nothing_and_overfills_nothing(capacity, data):
    lengths = data.draw(st.lists(st.integers(1, 3 * capacity), min_size=1, max_size=60))
    _, before, (document, start, length, bins) = filled(lengths, capacity, 0.0)
    covered = np.zeros((len(lengths), max(lengths)), int)
    for d, s, n in zip(document, start, length, strict=True):
        covered[d, s : s + n] += 1
    assert all((row[:n] == 1).all() and not row[n:].any() for row, n in zip(covered, lengths, strict=True))
    assert np.bincount(bins, weights=length).max() <= capacity
    assert len(np.unique(bins)) <= before


def test_long_documents_are_cut_to_fill_and_short_ones_left_alone():
    rng = np.random.default_rng(1)
    long = np.concatenate([rng.integers(16384, 32768, 6000), rng.integers(4096, 16384, 4000)])
    (_, _, whole, _), before, (_, _, length, bins) = filled(long, 32768, 0.0008)
    assert 1 - whole.sum() / (before * 32768) > 0.01  # best fit alone cannot: two long ones share no row
    rows = len(np.unique(bins))
    assert 1 - length.sum() / (rows * 32768) < 0.001
    assert len(length) - len(whole) < 0.3 * len(long)
    web = web_like(20_000)
    before, _, after = filled(web, 4096, 0.0008)
    assert all((a is b) for a, b in zip(before, after, strict=True))

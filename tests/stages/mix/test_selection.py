import math
from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.mix.selection import ONE, copies, settle

UNITS = 1 << ONE


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 65535), st.lists(st.integers(0, 5 * UNITS), max_size=4)), max_size=20))
def test_each_stage_gives_floor_or_ceil_of_its_rate_and_so_do_all_together(documents):
    for place, rates in documents:
        start, total = 0, 0
        for rate in rates:
            got = int(copies(np.array([place], np.uint16), np.array([start]), np.array([start + rate]))[0])
            assert got in (math.floor(Fraction(rate, UNITS)), math.ceil(Fraction(rate, UNITS)))
            start += rate
            total += got
            assert total in (math.floor(Fraction(start, UNITS)), math.ceil(Fraction(start, UNITS)))


def test_whole_epochs_take_everything_alike_wherever_they_start():
    place = np.arange(65536, dtype=np.uint16)
    start = np.full(65536, 123456789012)
    assert (copies(place, start, start + 3 * UNITS) == 3).all()


def test_nothing_repeats_before_all_has_been_read():
    place = np.arange(0, 65536, 7).astype(np.uint16)
    zero = np.zeros(len(place), np.int64)
    first = copies(place, zero, zero + UNITS * 6 // 10)
    second = copies(place, zero + UNITS * 6 // 10, zero + UNITS)
    assert (first + second == 1).all() and first.any() and second.any()


def test_what_is_taken_comes_as_near_to_the_plan_as_whole_documents_allow():
    rng = np.random.default_rng(0)
    n, groups = 6000, 6
    place = rng.integers(0, 65536, n).astype(np.uint16)
    size = np.exp(rng.normal(6, 1.5, n)).round()  # heavy tails: a random share of documents is percents off in tokens
    stratum = np.sort(rng.integers(0, groups, n))
    order = np.lexsort((place, stratum))
    place, size = place[order], size[order]
    cuts = np.searchsorted(stratum, np.arange(groups + 1))
    rate = np.array([0.1, 0.37, 1.5, 0.02, 3.9, 0.7])
    start = np.zeros(groups, np.int64)
    end = settle(stratum, place, size, cuts, start, rate, 4.0)
    taken = size * copies(place, start[stratum], end[stratum])
    aim = size * rate[stratum]
    for g in range(groups):
        mine = stratum == g
        assert abs(taken[mine].sum() - aim[mine].sum()) <= 2 * size[mine].max()
    assert abs(taken.sum() - aim.sum()) <= size.max()
    assert (end <= 4 * UNITS).all()


def test_small_groups_share_what_whole_documents_miss():
    # 100 groups of one document each, a third of which is to be read: about a third of the groups is taken, not none
    n = 99
    rng = np.random.default_rng(3)
    place = rng.integers(0, 65536, n).astype(np.uint16)
    strata, zero = np.arange(n), np.zeros(n, np.int64)
    end = settle(strata, place, np.full(n, 500.0), np.arange(n + 1), zero, np.full(n, 1 / 3), 1.0)
    assert copies(place, zero, end).sum() == 33

"""The kernels of MinHash: estimates against true Jaccard indices, keys and clusters against plain Python."""

import itertools
import math
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.dedup.clusters import (
    bucket_sizes,
    candidate_edges,
    components,
    distinct_edges,
    first_with_equal_key,
    spanning_forest,
)
from stages.dedup.election import elect
from stages.dedup.signatures import (
    SKETCH,
    band_keys,
    minima,
    permutations,
    powers,
    resemblance,
    resemblances,
    shingle_hashes,
    sketch,
    splitmix64,
)


def pairs_of_sets(random, union, share, count):
    """`count` pairs of sets of 32-bit shingle hashes with `union` members together and a Jaccard index of `share`."""
    both = round(union * share)
    left = (union - both) // 2
    for _ in range(count):
        members = random.integers(0, 2**32, union, dtype=np.uint32)
        yield members[: both + left], np.concatenate([members[:both], members[both + left :]])


def sketch_of(members):
    out = np.empty(SKETCH, np.uint8)
    sketch(members, len(members), np.empty(SKETCH, np.uint32), out)
    return out


def signature_of(members, permuted):
    out = np.empty(permuted.shape[1], np.uint32)
    minima(members, len(members), permuted, out)
    return out


def test_splitmix64_is_the_published_generator():
    # The sequence that the reference implementation by S. Vigna gives for seed 1234567.
    assert splitmix64(1234567, 3).tolist() == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@settings(deadline=None)
@given(st.lists(st.integers(0, 2**64 - 1), max_size=12), st.integers(1, 7))
def test_shingle_hash_depends_on_the_ngram_alone(words, ngram):
    def hashes(words):
        given = np.array(words, np.uint64)
        out = np.zeros(len(words) + 1, np.uint32)
        count = shingle_hashes(given, len(words), powers(ngram), np.zeros(len(words) + 1, np.uint64), out)
        return out[:count].tolist()

    expected = [h for i in range(len(words) - ngram + 1) for h in hashes(words[i : i + ngram])]
    assert hashes(words) == expected
    assert len(expected) == max(0, len(words) - ngram + 1)


def test_ngrams_of_other_words_or_other_order_have_other_hashes():
    random = np.random.default_rng(0)
    vocabulary = random.integers(0, 2**64, 1000, dtype=np.uint64)
    # 100,000 different 5-grams of few words: about 100000^2 / 2^33 = 1.2 pairs share a 32-bit hash by chance.
    for words in (7, 1000):
        grams = np.unique(random.integers(0, words, (100_000, 5)), axis=0)
        flat = vocabulary[grams.reshape(-1)]
        out = np.zeros(len(flat), np.uint32)
        shingle_hashes(flat, len(flat), powers(5), np.zeros(len(flat), np.uint64), out)
        assert len(grams) - len(np.unique(out[: 5 * len(grams) : 5])) <= 8


@pytest.mark.parametrize("count", [1, 3, 4, 10])
def test_minima_against_numpy(count):
    random = np.random.default_rng(count)
    members = random.integers(0, 2**32, 37, dtype=np.uint32)
    permuted = permutations(count, seed=3)
    assert (permuted[0] % 2 == 1).all()
    expected = ((members[:, None].astype(object) * permuted[0] + permuted[1]) % 2**32).min(axis=0)
    assert signature_of(members, permuted).tolist() == expected.tolist()


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7, 0.8, 0.9])
def test_signature_estimates_jaccard_as_well_as_theory_allows(share):
    random = np.random.default_rng(int(share * 10))
    error = []
    for seed, (a, b) in enumerate(pairs_of_sets(random, 400, share, 400)):
        permuted = permutations(112, seed)
        error.append((signature_of(a, permuted) == signature_of(b, permuted)).mean() - share)
    theory = math.sqrt(share * (1 - share) / 112)
    assert abs(np.mean(error)) < 4 * theory / math.sqrt(len(error))
    assert np.sqrt(np.mean(np.square(error))) < 1.15 * theory


@pytest.mark.parametrize("union", [20, 200, 1000, 20_000])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.7, 0.9, 1.0])
def test_sketch_estimates_jaccard_without_bias(union, share):
    random = np.random.default_rng(union)
    error = []
    for a, b in pairs_of_sets(random, union, share, 200):
        error.append(resemblance(np.stack([sketch_of(a), sketch_of(b)]), 0, 1) - round(union * share) / union)
    # A filled bin is a draw without replacement from the union.
    filled = SKETCH * (1 - math.exp(-union / SKETCH))
    theory = math.sqrt(share * (1 - share) / filled * (1 - filled / union))
    chance = 1 / 255 if share < 1 else 0  # fingerprints equal by chance are taken off on average, not one by one
    bound = math.sqrt(theory**2 + chance * (1 - share) / filled)
    assert abs(np.mean(error)) <= 4 * bound / math.sqrt(len(error)) + (0.002 if share == 0 else 0)  # never below 0
    assert np.sqrt(np.mean(np.square(error))) <= 1.2 * bound + 1e-12
    if union <= 1000:
        assert bound < 0.021  # half of what the signature reaches at 0.7, or better


def test_sketches_of_nothing_resemble_nothing():
    empty = sketch_of(np.zeros(0, np.uint32))
    some = sketch_of(np.arange(50, dtype=np.uint32) * 85_899_345)
    assert not empty.any()
    assert resemblances(np.stack([empty, empty, some]), np.array([0, 0, 2]), np.array([1, 2, 2])).tolist() == [0, 0, 1]


@pytest.mark.parametrize("share", [0.6, 0.7, 0.8])
def test_candidates_are_as_many_as_banding_promises(share):
    random = np.random.default_rng(8)
    found = []
    for seed, (a, b) in enumerate(pairs_of_sets(random, 300, share, 500)):
        permuted = permutations(112, seed)
        keys = band_keys(np.stack([signature_of(a, permuted), signature_of(b, permuted)]), 14)
        found.append((keys[0] == keys[1]).any())
    theory = 1 - (1 - share**8) ** 14
    assert abs(np.mean(found) - theory) < 4 * math.sqrt(theory * (1 - theory) / len(found))


def test_band_keys_are_equal_where_all_rows_of_the_band_are():
    signatures = np.random.default_rng(1).integers(0, 3, (500, 12), dtype=np.uint32)
    keys = band_keys(signatures, 4)
    seen = {}
    for row, document in zip(keys, signatures.reshape(500, 4, 3), strict=True):
        for band in range(4):
            assert seen.setdefault((band, *document[band].tolist()), row[band]) == row[band]
    assert len(set(seen.values())) == len(seen) == 4 * 27


# Keys that differ in a few bits only, where grouping looks at some bits first and must tell them apart by the rest: chunks by
# the middle bits, slots by the last ones.
keys = st.sampled_from([0, 1, 2, 1 << 62, 1 << 63, (1 << 63) | 1, 2**64 - 1])


@settings(deadline=None)
@given(st.lists(st.tuples(keys, keys), max_size=40))
def test_equal_keys_are_grouped_as_by_a_dictionary(rows):
    high = np.array([r[0] for r in rows], np.uint64)
    low = np.array([r[1] for r in rows], np.uint64)
    first, previous = first_with_equal_key(high, low)
    begin, last = {}, {}
    for i, key in enumerate(rows):
        assert first[i] == begin.setdefault(key, i)
        assert previous[i] == last.get(key, -1)
        last[key] = i


def test_many_keys_are_grouped_as_by_a_dictionary():
    random = np.random.default_rng(4)
    key = random.integers(0, 2**64, 150_000, dtype=np.uint64)[random.integers(0, 150_000, 300_000)]
    low = random.integers(0, 2, 300_000, dtype=np.uint64)
    first, previous = first_with_equal_key(key, low)
    begin, last = {}, {}
    for i, pair in enumerate(zip(key.tolist(), low.tolist(), strict=True)):
        assert first[i] == begin.setdefault(pair, i)
        assert previous[i] == last.get(pair, -1)
        last[pair] = i


@settings(deadline=None)
@given(st.lists(st.tuples(keys, st.integers(0, 30)), max_size=40))
def test_candidate_edges_are_stars_and_chains_of_buckets(rows):
    rows.sort(key=lambda row: row[1])
    buckets = defaultdict(list)
    for key, document in rows:
        buckets[key].append(document)
    expected = set()
    for members in buckets.values():
        expected |= {(members[0], m) for m in members[1:]}
        expected |= {(a, b) for a, b in itertools.pairwise(members)}
    key = np.array([k for k, _ in rows], np.uint64)
    first, previous = first_with_equal_key(key, key)
    a, b = candidate_edges(first, previous, np.array([d for _, d in rows], np.int64) << 40)
    expected = [(x << 40, y << 40) for x, y in sorted(expected) if x != y]
    assert sorted(set(zip(a.tolist(), b.tolist(), strict=True))) == expected
    assert sorted(bucket_sizes(first)) == sorted(len(m) for m in buckets.values() if len(m) > 1)


@given(st.lists(st.tuples(st.integers(0, 2**62), st.integers(0, 5)), max_size=20))
def test_distinct_edges_against_a_set(edges):
    nodes, a, b = distinct_edges(np.array([e[0] for e in edges], np.int64), np.array([e[1] for e in edges], np.int64))
    assert nodes.tolist() == sorted({node for edge in edges for node in edge})
    assert list(zip(nodes[a].tolist(), nodes[b].tolist(), strict=True)) == sorted(set(edges))


graphs = st.integers(1, 15).flatmap(
    lambda n: st.tuples(st.just(n), st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), max_size=25))
)


def adjacency(n, edges):
    near = [set() for _ in range(n)]
    for a, b in edges:
        near[a].add(b)
        near[b].add(a)
    return near


@settings(deadline=None)
@given(graphs)
def test_components_against_a_walk(graph):
    n, edges = graph
    near = adjacency(n, edges)
    a, b = np.array([e[0] for e in edges], np.int64), np.array([e[1] for e in edges], np.int64)
    got = components(n, a, b)
    for node in range(n):
        reached, open_ = {node}, [node]
        while open_:
            for other in near[open_.pop()] - reached:
                reached.add(other)
                open_.append(other)
        assert got[node] == min(reached)
    assert (components(n, b[::-1].copy(), a[::-1].copy()) == got).all()


@settings(deadline=None)
@given(graphs)
def test_a_spanning_forest_has_the_components_of_its_graph_and_no_more_edges_than_nodes(graph):
    n, edges = graph
    a, b = np.array([e[0] for e in edges], np.int64), np.array([e[1] for e in edges], np.int64)
    nodes = np.arange(n) * 7
    x, y = spanning_forest(nodes, a, b)
    assert len(x) == n - len(set(components(n, a, b).tolist()))
    assert (components(n, x // 7, y // 7) == components(n, a, b)).all()


@pytest.mark.parametrize("large", [0, 10**9])
@settings(deadline=None, max_examples=60)
@given(sizes=st.lists(st.integers(1, 12), min_size=1, max_size=4), random=st.randoms(use_true_random=False))
def test_election_against_plain_python(large, sizes, random):
    n = sum(sizes)
    # Sketches with many ties: eight bands, each one of three patterns or empty.
    patterns = [bytes(8), b"\1" * 8, b"\2" * 8, b"\1" * 4 + b"\2" * 4]
    rows = [b"".join(random.choice(patterns) for _ in range(8)) for _ in range(n)]
    sketches = np.frombuffer(b"".join(rows), np.uint8).reshape(n, 64).copy()
    order = list(range(n))
    random.shuffle(order)
    starts = np.cumsum([0, *sizes])
    keepers, found = {}, {}
    for begin, end in itertools.pairwise(starts.tolist()):
        stayed = []
        for document in order[begin:end]:
            offers = [
                (resemblance(sketches, document, o), -order.index(o))
                for o in stayed
                if large or any(rows[o][i : i + 8] == rows[document][i : i + 8] != bytes(8) for i in range(0, 64, 8))
            ]
            best = max(offers, default=(0, 0))
            keepers[document] = order[-best[1]] if best[0] >= 0.6 else document
            found[document] = best[0] if best[0] >= 0.6 else 1.0
            if keepers[document] == document:
                stayed.append(document)

    keeper, jaccard = np.empty(n, np.int64), np.empty(n)
    elect(np.array(order), starts, sketches, 0.6, large, np.zeros(len(order), bool), keeper, jaccard)
    assert keeper.tolist() == [keepers[d] for d in range(n)]
    assert jaccard.tolist() == [found[d] for d in range(n)]


def test_a_large_component_is_elected_by_index_as_without(monkeypatch):
    """Families of sketches, of which members agree in about 85 % of the bytes."""
    rng = np.random.default_rng(0)
    families = rng.integers(1, 256, (40, 512), dtype=np.uint8)
    of = rng.integers(0, 40, 3000)
    other = rng.integers(1, 256, (3000, 512), dtype=np.uint8)
    sketches = np.where(rng.random((3000, 512)) < 0.04, other, families[of])
    order, starts = np.arange(3000), np.array([0, 3000])
    keepers = []
    for large in (10**9, 1):
        keeper, jaccard = np.empty(3000, np.int64), np.empty(3000)
        elect(order, starts, sketches, 0.7, large, np.zeros(len(order), bool), keeper, jaccard)
        keepers.append(keeper)
    assert (keepers[0] == keepers[1]).all()
    assert len(set(keepers[0].tolist())) == 40

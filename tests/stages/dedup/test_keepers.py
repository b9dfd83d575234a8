"""Which document of a cluster stays, and among which documents copies are looked for, in all three dedup stages."""

import datetime
import itertools
import random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.errors import ConfigError
from stages.dedup.exact import ExactDedup
from stages.dedup.keepers import _ordered, best_with_equal_key
from stages.dedup.minhash import MinhashDedup
from stages.dedup.url import DedupUrls

PAGES = [" ".join(f"{word}{i * i % 97} of{i}" for i in range(150)) for word in ("lemon", "orange", "apple")]
STAGES = [ExactDedup, MinhashDedup, DedupUrls]


def copies(n, seed=0):
    """Columns of `n` documents: copies of three pages under three addresses, with random values to choose by."""
    rng = random.Random(seed)
    page = [rng.randrange(3) for _ in range(n)]
    utc = datetime.UTC
    return {
        "text": [PAGES[p] + "!" * rng.randrange(4) for p in page],
        "id": [f"{i:03}" for i in range(n)],
        "url": [f"https://example.org/{p}" for p in page],
        "source": [rng.choice(["crawl", "wiki", "books"]) for _ in range(n)],
        "language": [rng.choice(["deu_Latn", "fra_Latn", None]) for _ in range(n)],
        "date": [rng.choice([None, datetime.datetime(2020, 1, 1 + rng.randrange(5), tzinfo=utc)]) for _ in range(n)],
        "score": [rng.choice([None, float("nan"), -0.0, 0.0, -3.5, 1e300, 2.0]) for _ in range(n)],
        "page": page,
    }


def value(columns, i, keep):
    """What a document is chosen by, larger is better, by the manual page."""
    number = columns["score"][i]
    date = columns["date"][i]
    return {
        "first": 0,
        "newest": date.timestamp() if date else -1e18,
        "highest": number if number is not None and number == number else -float("inf"),
        "source": {"wiki": 2, "crawl": 1}.get(columns["source"][i], 0),
        "longest": len(columns["text"][i]),
    }[keep]


def table(columns):
    return pa.table(
        {
            "id": columns["id"],
            "text": pa.array(columns["text"], pa.large_string()),
            "url": columns["url"],
            "source": columns["source"],
            "file": ["pages.parquet"] * len(columns["id"]),
            "position": range(len(columns["id"])),
            "language": pa.array(columns["language"], pa.string()),
            "date": pa.array(columns["date"], pa.timestamp("s", tz="UTC")),
            "score": pa.array(columns["score"], pa.float64()),
        }
    )


@pytest.mark.parametrize("within", [[], ["language"], ["source", "language"]])
@pytest.mark.parametrize("keep", ["first", "newest", "highest", "source", "longest"])
@pytest.mark.parametrize("stage", STAGES, ids=lambda s: s.stage_name)
def test_the_right_document_stays_in_each_scope(run_barrier, stage, keep, within):
    columns = copies(60)
    if keep == "longest" and stage is MinhashDedup:  # it counts words, and copies have as many
        columns["text"] = [text.replace("!", " more") for text in columns["text"]]
    options = {"keep": keep, "within": within, "quality": "score", "sources": ["wiki", "crawl"]}
    docs = table(columns)
    shards = [docs.slice(0, 25), docs.slice(25, 1), docs.slice(26)]
    outcomes, _ = run_barrier(stage(**options), shards, 7, np.random.default_rng(1))
    details = [d for o in outcomes for d in o.detail.to_pylist()]
    keeper = [d.split()[0].removeprefix("kept=") if d else i for i, d in zip(columns["id"], details, strict=True)]

    scope = [(columns["page"][i], *(columns[name][i] for name in within)) for i in range(60)]
    expected = {}
    for s in set(scope):
        members = [i for i in range(60) if scope[i] == s]
        expected[s] = columns["id"][max(members, key=lambda i: (value(columns, i, keep), -i))]
    assert keeper == [expected[s] for s in scope]
    assert len(set(keeper)) == len(expected) > 2
    if stage is not DedupUrls:
        sizes = [n for o in outcomes for n in o.docs["duplicates"].to_pylist()]
        for i, name in enumerate(columns["id"]):
            if keeper[i] == name:
                assert sizes[i] == scope.count(scope[i])
        rows = pa.concat_tables([o.outputs["duplicates"] for o in outcomes]).to_pylist()
        first = {s: columns["id"][scope.index(s)] for s in scope}
        assert {r["id"]: (r["kept_id"], r["cluster"]) for r in rows} == {
            name: (keeper[i], first[scope[i]]) for i, name in enumerate(columns["id"]) if keeper[i] != name
        }


@given(st.lists(st.one_of(st.floats(), st.sampled_from([0.0, -0.0, float("nan")])), min_size=1))
def test_numbers_keep_their_order_as_integers(numbers):
    got = _ordered(np.array(numbers)).tolist()
    for (x, a), (y, b) in itertools.combinations(zip(numbers, got, strict=True), 2):
        if x == x and y == y:
            assert (x < y) == (a < b) and (x == y) == (a == b)
        elif x == x or y == y:
            assert (a < b) == (x != x)
        else:
            assert a == b


@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from([-(2**63), -1, 0, 5, 2**63 - 1])), max_size=30))
def test_best_with_equal_key_against_plain_python(rows):
    key, preference = np.array([k for k, _ in rows], np.uint64), np.array([p for _, p in rows], np.int64)
    best, first = best_with_equal_key(key, key, np.arange(len(rows)), preference)
    for i, (k, _) in enumerate(rows):
        members = [j for j, (other, _) in enumerate(rows) if other == k]
        assert first[i] == members[0]
        assert best[i] == max(members, key=lambda j: (rows[j][1], -j))


def test_a_list_of_sources_is_asked_for():
    with pytest.raises(ConfigError, match="exact_dedup: 'keep: source' needs 'sources'"):
        ExactDedup(keep="source").check()
    with pytest.raises(ConfigError, match="names a source twice"):
        MinhashDedup(keep="source", sources=["a", "b", "a"]).check()
    assert MinhashDedup(keep="highest", quality="score", within=["language"]).needs() == (
        "id",
        "url",
        "source",
        "text",
        "score",
        "language",
    )

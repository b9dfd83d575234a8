"""Exact deduplication: which copy stays, what counts as a copy, and that nothing depends on how the corpus is cut."""

import itertools
import unicodedata

import numpy as np
import pyarrow as pa
import pytest

from stages.dedup.exact import ExactDedup

PAGES = [
    "The Danube rises in the Black Forest and flows for 2,850 km to the Black Sea.",
    "Die Donau entspringt im Schwarzwald und fließt zum Schwarzen Meer.",
    "多瑙河发源于德国黑森林，流入黑海。",
    "ドナウ川はドイツの黒い森に発する。",
    "Ο Δούναβης πηγάζει από τον Μέλανα Δρυμό.",
    "แม่น้ำดานูบมีต้นกำเนิดจากป่าดำ",
]


def table(documents, shards):
    """One table per list of texts, ids and urls told apart by shard."""
    return [
        documents(
            texts,
            id=[f"{s}-{i}" for i in range(len(texts))],
            url=[f"https://{s}.example/{i}" for i in range(len(texts))],
        )
        for s, texts in enumerate(shards)
    ]


def test_first_copy_stays_and_says_how_many_it_stands_for(documents, run_barrier):
    shards = table(documents, [[PAGES[0], PAGES[1], PAGES[0]], [PAGES[2], PAGES[0], PAGES[1]]])
    first, second = run_barrier(ExactDedup(), shards)[0]
    assert first.dropped.to_pylist() == [None, None, "exact_duplicate"]
    assert second.dropped.to_pylist() == [None, "exact_duplicate", "exact_duplicate"]
    assert first.detail.to_pylist() == [None, None, "kept=0-0"]
    assert second.detail.to_pylist() == [None, "kept=0-0", "kept=0-1"]
    assert first.docs["duplicates"].to_pylist()[:2] == [3, 2]
    assert second.docs["duplicates"].to_pylist()[0] == 1
    rows = second.outputs["duplicates"].to_pylist()
    assert rows[0] == {
        "id": "1-1",
        "url": "https://1.example/1",
        "kept_id": "0-0",
        "kept_url": "https://0.example/0",
        "jaccard": 1.0,
        "kind": "exact",
        "cluster": "0-0",
    }


@pytest.mark.parametrize(
    "variant",
    [
        PAGES[0].upper(),
        PAGES[0].replace(" ", "\n\n  "),
        PAGES[0].replace(".", " !").replace(",", "\u00a0"),
        PAGES[0].replace("e", "é"),
        unicodedata.normalize("NFD", PAGES[0].replace("o", "ö")),
        PAGES[0].replace("Forest", "For\u00adest"),
        "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in PAGES[0]),  # full-width
    ],
)
def test_appearance_does_not_count_unless_asked(documents, run_barrier, variant):
    # The comma within the number is punctuation too: "2,850" reads as two words in all of these.
    shards = table(documents, [[PAGES[0], variant]])
    assert run_barrier(ExactDedup(), shards)[0][0].dropped.to_pylist() == [None, "exact_duplicate"]
    assert run_barrier(ExactDedup(normalize=False), shards)[0][0].dropped.to_pylist() == [None, None]


def test_words_digits_and_their_order_count(documents, run_barrier):
    texts = [
        "Room 12, floor 3",
        "Room 13, floor 3",
        "floor 3, Room 12",
        "Room 12 floor",
        "Room12, floor 3",
        "中 文",
        "文中",
    ]
    outcome = run_barrier(ExactDedup(), table(documents, [texts]))[0][0]
    assert outcome.dropped.null_count == len(texts)


def test_spacing_between_han_characters_does_not_count(documents, run_barrier):
    outcome = run_barrier(ExactDedup(), table(documents, [[PAGES[2], " ".join(PAGES[2])]]))[0][0]
    assert outcome.dropped.to_pylist() == [None, "exact_duplicate"]


@pytest.mark.parametrize("normalize", [True, False])
def test_documents_without_text_are_no_copies_of_each_other(documents, run_barrier, normalize):
    stage = ExactDedup(normalize=normalize)
    outcome = run_barrier(stage, table(documents, [[None, "", None, "", "***", "***", "~~~"]]))[0][0]
    assert outcome.dropped.to_pylist() == [None] * 5 + ["exact_duplicate", None]
    assert outcome.docs["duplicates"].to_pylist()[:5] == [1, 1, 1, 1, 2]
    assert stage.metrics.counters["without_text"] == 4


def test_counts_of_an_earlier_stage_add_up(documents, run_barrier):
    shards = [
        documents([PAGES[0], PAGES[1], PAGES[0]], duplicates=[5, 2, 7]),
        documents([PAGES[0], PAGES[2]], duplicates=[1, None]),
    ]
    first, second = run_barrier(ExactDedup(), shards)[0]
    assert first.docs["duplicates"].to_pylist()[:2] == [13, 2]
    assert second.docs["duplicates"].to_pylist()[1] == 1


def test_result_does_not_depend_on_shards_batches_or_order_of_work(documents, run_barrier):
    random = np.random.default_rng(5)
    words = ["donau", "rhein", "elbe", "oder"]
    texts = [" ".join(random.choice(words, 3)) for _ in range(600)]
    whole = documents(texts, id=[str(i) for i in range(600)])
    # The oracle: the first document with each text.
    seen = {}
    expected = [seen.setdefault(text, str(i)) for i, text in enumerate(texts)]
    for cuts, batch, parts in [([], 600, 1), ([200, 210], 7, 64), ([1, 599], 100, 3)]:
        edges = [0, *cuts, 600]
        shards = [whole.slice(a, b - a) for a, b in itertools.pairwise(edges)]
        stage = ExactDedup(shuffle_partitions=parts)
        outcomes, _ = run_barrier(stage, shards, batch, np.random.default_rng(batch))
        docs = pa.concat_tables([o.docs for o in outcomes])
        detail = [d for o in outcomes for d in o.detail.to_pylist()]
        assert [d and d.removeprefix("kept=") for d in detail] == [
            k if k != str(i) else None for i, k in enumerate(expected)
        ]
        sizes = {k: expected.count(k) for k in set(expected)}
        alive = docs.filter(pa.array([d is None for d in detail]))
        assert dict(zip(alive["id"].to_pylist(), alive["duplicates"].to_pylist(), strict=True)) == sizes


def test_hash_is_xxh128_of_the_bytes(documents):
    import xxhash

    hashes = ExactDedup(normalize=False).hashes(pa.array(PAGES, pa.large_string()).slice(2))
    assert [(int(h) << 64) | int(low) for h, low in hashes] == [
        xxhash.xxh3_128_intdigest(p.encode()) for p in PAGES[2:]
    ]


def test_batches_without_documents(documents):
    stage = ExactDedup()
    docs = documents([])
    rows = stage.scatter(docs, 0, 0)
    verdicts = stage.gather(0, 0, rows.drop_columns("partition"), None)
    outcome = stage.apply(docs, verdicts.drop_columns("partition"))
    assert rows.num_rows == verdicts.num_rows == outcome.docs.num_rows == len(outcome.dropped) == 0
    assert outcome.outputs["duplicates"].num_rows == 0

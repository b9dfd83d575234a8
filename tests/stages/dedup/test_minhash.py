"""Near-duplicate removal on real pages with planted copies, whose true Jaccard index plain Python computes."""

import itertools
import random
import re
import unicodedata
from pydoc_data.topics import topics

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from stages.dedup.exact import ExactDedup
from stages.dedup.minhash import MinhashDedup

# Laozi, Dao De Jing, chapters 1, 2 and 8; Natsume Soseki, Wagahai wa neko de aru, opening: in the public domain.
CHINESE = (
    "道可道，非常道。名可名，非常名。無名天地之始；有名萬物之母。故常無欲，以觀其妙；常有欲，以觀其徼。此兩者，同出而異名，"
    "同謂之玄。玄之又玄，衆妙之門。天下皆知美之為美，斯惡已。皆知善之為善，斯不善已。故有無相生，難易相成，長短相較，"
    "高下相傾，音聲相和，前後相隨。是以聖人處無為之事，行不言之教；萬物作焉而不辭，生而不有。為而不恃，功成而弗居。"
    "夫唯弗居，是以不去。上善若水。水善利萬物而不爭，處衆人之所惡，故幾於道。居善地，心善淵，與善仁，言善信，正善治，"
    "事善能，動善時。夫唯不爭，故無尤。"
)
JAPANESE = (
    "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。何でも薄暗いじめじめした所でニャーニャー泣いていた事だけは"
    "記憶している。吾輩はここで始めて人間というものを見た。しかもあとで聞くとそれは書生という人間中で一番獰悪な種族であったそうだ。"
    "この書生というのは時々我々を捕えて煮て食うという話である。しかしその当時は何という考もなかったから別段恐しいとも思わなかった。"
    "ただ彼の掌に載せられてスーと持ち上げられた時何だかフワフワした感じがあったばかりである。"
)

HAN_OR_KANA = "\u3040-\u30ff\u4e00-\u9fff"


def shingles(text):
    """The set of word 5-grams as the manual page of the stage defines them, for these texts."""
    text = re.sub(r"\d", "0", unicodedata.normalize("NFD", text.lower()))
    text = "".join(c for c in text if unicodedata.category(c) != "Mn")
    words = re.findall(f"[{HAN_OR_KANA}]|[^\\W{HAN_OR_KANA}]+", text)
    return {tuple(words[i : i + 5]) for i in range(len(words) - 4)}


def jaccard(a, b):
    a, b = shingles(a), shingles(b)
    return len(a & b) / len(a | b)


def with_other_words(text, share, rng, words):
    """The text with a share of its words replaced."""
    return re.sub(r"\w+", lambda m: rng.choice(words) if rng.random() < share else m[0], text)


@pytest.fixture(scope="module")
def corpus():
    """Pages of the Python manual, and copies of them: (texts, [(page, copy, Jaccard index)])."""
    rng = random.Random(3)
    pages = [text for _, text in sorted(topics.items()) if 400 < len(text) < 12_000]
    words = sorted({w for page in pages for w in re.findall(r"\w+", page)})
    texts, planted = list(pages), []
    for i, page in enumerate(pages):
        for share in (0.005, 0.02, 0.04, 0.08, 0.3):
            planted.append((i, len(texts)))
            texts.append(with_other_words(page, share, rng, words))
        planted.append((i, len(texts)))
        texts.append("Skip to content. Home, Search, About us.\n" + page.upper().replace(". ", " ;\n"))
        planted.append((i, len(texts)))
        texts.append(page[: int(len(page) * rng.uniform(0.6, 1))])
    order = list(range(len(texts)))
    rng.shuffle(order)
    place = {old: new for new, old in enumerate(order)}
    texts = [texts[i] for i in order]
    pairs = [(place[a], place[b], jaccard(texts[place[a]], texts[place[b]])) for a, b in planted]
    return texts, pairs


def as_documents(documents, texts, **columns):
    return documents(texts, id=[str(i) for i in range(len(texts))], **columns)


def cut(table, *cuts):
    edges = [0, *cuts, table.num_rows]
    return [table.slice(a, b - a) for a, b in itertools.pairwise(edges)]


def keepers(outcomes):
    """Index of the document that stands for each one, from the details; and the resemblance it states."""
    details = [d for o in outcomes for d in o.detail.to_pylist()]
    found = [re.fullmatch(r"kept=(\d+) jaccard=(\d\.\d\d)", d).groups() if d else None for d in details]
    return [int(f[0]) if f else i for i, f in enumerate(found)], [float(f[1]) if f else 1.0 for f in found]


def test_copies_go_and_their_keepers_resemble_them(documents, run_barrier, corpus):
    texts, pairs = corpus
    outcomes, _ = run_barrier(MinhashDedup(), cut(as_documents(documents, texts), 150, 151))
    keeper, stated = keepers(outcomes)
    assert sum(k != i for i, k in enumerate(keeper)) > 150
    for i, k in enumerate(keeper):
        if k != i:
            assert keeper[k] == k < i
            true = jaccard(texts[i], texts[k])
            assert true >= 0.70 - 4 * 0.015
            assert abs(true - stated[i]) < 5 * 0.015 + 0.01
    # The two of a pair of index J become candidates with probability 1 - (1 - J^8)^14, and copies of one page share
    # a keeper, or one is the keeper of the other.
    close = [(a, b) for a, b, index in pairs if index >= 0.85]
    assert len(close) > 100
    gone = [keeper[a] != a or keeper[b] != b for a, b in close]
    assert np.mean(gone) > 0.97
    far = [b for _, b, index in pairs if index < 0.4]
    assert len(far) > 30
    assert sum(keeper[i] != i for i in far) == 0


def test_every_document_is_counted_once(documents, run_barrier, corpus):
    texts, _ = corpus
    texts = texts + texts[:50] + [None, "", "too short"]
    first, _ = run_barrier(ExactDedup(), [as_documents(documents, texts)])
    left = first[0].docs.filter(pc.is_null(first[0].dropped))
    for keep in ("first", "longest"):
        outcome = run_barrier(MinhashDedup(keep=keep), cut(left, 100))[0]
        kept = [o.docs.filter(pc.is_null(o.dropped)) for o in outcome]
        assert sum(pc.sum(k["duplicates"]).as_py() for k in kept) == len(texts)
        rows = pa.concat_tables([o.outputs["duplicates"] for o in outcome])
        assert rows.num_rows == left.num_rows - sum(k.num_rows for k in kept) > 100
        assert set(rows["kept_id"].to_pylist()) <= set(pa.concat_tables(kept)["id"].to_pylist())


def test_result_does_not_depend_on_shards_batches_or_order_of_work(documents, run_barrier, corpus):
    table = as_documents(documents, corpus[0])
    for keep in ("first", "longest"):
        seen = []
        for cuts, batch, parts in [((), 1000, 64), ((1, 200), 37, 1), ((77, 78, 300), 8, 5)]:
            stage = MinhashDedup(keep=keep, shuffle_partitions=parts)
            outcomes, _ = run_barrier(stage, cut(table, *cuts), batch, np.random.default_rng(batch))
            seen.append(
                (
                    [d for o in outcomes for d in o.detail.to_pylist()],
                    pa.concat_tables([o.docs for o in outcomes])["duplicates"].to_pylist(),
                    pa.concat_tables([o.outputs["duplicates"] for o in outcomes]).to_pylist(),
                    {k: v for k, v in stage.metrics.to_json()["histograms"].items() if k != "bucket_size"},
                    stage.metrics.to_json()["counters"],
                )
            )
        assert seen[0] == seen[1] == seen[2]


def test_which_document_stays(documents, run_barrier):
    page = topics["lambda"] + topics["assert"]
    longer = page + "\nSee also the chapter on the grammar."
    table = [as_documents(documents, [page, longer, page.upper(), longer + " "])]
    (first,), _ = run_barrier(MinhashDedup(), table)
    assert keepers([first])[0] == [0, 0, 0, 0]
    assert first.docs["duplicates"].to_pylist()[0] == 4
    (longest,), _ = run_barrier(MinhashDedup(keep="longest"), table)
    assert keepers([longest])[0] == [1, 1, 1, 1]
    assert longest.dropped.to_pylist() == ["near_duplicate", None, "near_duplicate", "near_duplicate"]


def test_chain_of_revisions_is_cut_where_the_end_no_longer_resembles_its_keeper(documents, run_barrier):
    rng = random.Random(7)
    words = re.findall(r"\w+", topics["operator-summary"])
    revisions = [topics["compound"][:6000]]
    for _ in range(14):
        revisions.append(with_other_words(revisions[-1], 0.02, rng, words))
    assert jaccard(revisions[0], revisions[-1]) < 0.3
    assert min(jaccard(a, b) for a, b in itertools.pairwise(revisions)) > 0.75
    (outcome,), _ = run_barrier(MinhashDedup(bands=28, rows=4), [as_documents(documents, revisions)])
    keeper, _ = keepers([outcome])
    assert 2 <= len(set(keeper)) <= 7
    for i, k in enumerate(keeper):
        assert jaccard(revisions[i], revisions[k]) > 0.65
    assert set(outcome.outputs["duplicates"]["cluster"].to_pylist()) == {"0"}


@pytest.mark.parametrize("page", [CHINESE, JAPANESE])
def test_copies_in_scripts_without_spaces(documents, run_barrier, page):
    rng = random.Random(1)
    copies = [page.replace("，", " ").replace("。", "\n")]
    for _ in range(5):  # two characters replaced, so at most ten shingles of about two hundred
        a, b = sorted(rng.sample(range(len(page)), 2))
        copies.append(page[:a] + "新" + page[a + 1 : b] + "新" + page[b + 1 :])
    others = ["".join(rng.sample(page, len(page))) for _ in range(5)]
    assert min(jaccard(page, c) for c in copies) > 0.8
    (outcome,), _ = run_barrier(MinhashDedup(), [as_documents(documents, [page, *copies, *others])])
    keeper, _ = keepers([outcome])
    assert keeper == [0] * 7 + [7, 8, 9, 10, 11]


def test_numbers_may_tell_documents_apart(documents, run_barrier):
    bill = "Invoice no. {0} of {1} May: {2} boxes of oranges at {3} euro, {4} boxes of lemons at {5} euro. " * 5
    rng = random.Random(2)
    bills = [bill.format(*(rng.randint(10, 99) for _ in range(6))) for _ in range(4)]
    table = [as_documents(documents, bills)]
    assert run_barrier(MinhashDedup(), table)[0][0].dropped.null_count == 1
    assert run_barrier(MinhashDedup(fold_digits=False), table)[0][0].dropped.null_count == 4


def test_documents_without_ngrams_stay(documents, run_barrier):
    texts = [None, "", "!!!", "four words are few", "four words are few", "five words are quite enough"] * 2
    stage = MinhashDedup()
    (outcome,), _ = run_barrier(stage, [as_documents(documents, texts)])
    assert outcome.dropped.to_pylist() == [None] * 11 + ["near_duplicate"]
    assert stage.metrics.counters["short_documents"] == 10
    shorter, _ = run_barrier(MinhashDedup(ngram=4), [as_documents(documents, texts)])
    assert shorter[0].dropped.null_count == 12 - 4


def test_sidecars_are_read_only_for_documents_with_a_candidate(documents, run_barrier, corpus):
    texts, pairs = corpus
    pages = [texts[a] for a in sorted({a for a, _, _ in pairs})][:30]
    assert max(jaccard(a, b) for a, b in itertools.combinations(pages, 2)) < 0.3
    _, sidecars = run_barrier(MinhashDedup(), cut(as_documents(documents, [*pages, pages[7].upper()]), 5, 10))
    assert sidecars.asked == [(1, 1), (2, 1)] * 2  # to verify the pair, and to decide


@pytest.mark.parametrize("seed", [0, 1])
def test_other_seeds_find_the_same_exact_copies(documents, run_barrier, corpus, seed):
    texts = corpus[0][:60]
    stage = MinhashDedup(bands=3, rows=3)
    stage._seed = seed
    (outcome,), _ = run_barrier(stage, [as_documents(documents, texts + texts)])
    keeper, _ = keepers([outcome])
    assert keeper[60:] == keeper[:60]


def test_batches_without_documents(documents):
    stage = MinhashDedup()
    stage.setup()
    docs = documents([])
    rows = stage.scatter(docs, 0, 0)
    assert stage.sidecar(docs).num_rows == 0
    for round in range(stage.rounds()):
        rows = stage.gather(round, 0, rows.drop_columns("partition"), None)
    outcome = stage.apply(docs, rows.drop_columns("partition"))
    assert outcome.docs.schema.field("duplicates").type == pa.int32()
    assert len(outcome.dropped) == outcome.outputs["duplicates"].num_rows == 0

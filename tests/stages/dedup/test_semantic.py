"""Semantic dedup on small embeddings, against plain numpy that compares all pairs."""

import itertools
import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.dedup.embeddings import elect, kmeans, lengths, nearest, quantized, scale
from stages.dedup.semantic import SemanticDedup


def topics_and_copies(seed, topics=20, each=15, dimensions=64):
    """Unit vectors: topics far from each other, documents around them, some of them near copies of others."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(topics, dimensions))
    around = centres[:, None, :] + 0.8 * rng.normal(size=(topics, each, dimensions))
    vectors = around.reshape(-1, dimensions)
    copies = vectors[rng.integers(0, len(vectors), 120)]
    copies = copies + rng.uniform(0.02, 0.5, (120, 1)) * rng.normal(size=copies.shape)
    vectors = np.concatenate([vectors, copies])
    vectors = vectors[rng.permutation(len(vectors))]
    return vectors / np.linalg.norm(vectors, axis=1)[:, None]


@pytest.fixture(scope="module")
def vectors():
    return topics_and_copies(4)


def table(documents, vectors, kind=None, **columns):
    docs = documents([f"text {i}" for i in range(len(vectors))], id=[str(i) for i in range(len(vectors))], **columns)
    values = pa.array([None if v is None else list(v) for v in vectors], kind or pa.list_(pa.float32()))
    return docs.append_column("embedding", values)


def cut(table, *cuts):
    edges = [0, *cuts, table.num_rows]
    return [table.slice(a, b - a) for a, b in itertools.pairwise(edges)]


def keepers(outcomes):
    ids = {id: i for i, id in enumerate(i for o in outcomes for i in o.docs["id"].to_pylist())}
    details = [d for o in outcomes for d in o.detail.to_pylist()]
    return [ids[d.split()[0].removeprefix("kept=")] if d else i for i, d in enumerate(details)]


def greedy(cosine, order, least):
    """Who stands for whom, by the manual page of the stage, over a full matrix of cosines."""
    keeper, stay = {}, []
    for i in order:
        best = max(stay, key=lambda k: cosine[i, k], default=None)
        if best is not None and cosine[i, best] >= least:
            keeper[i] = best
        else:
            keeper[i] = i
            stay.append(i)
    return [keeper[i] for i in range(len(order))]


@pytest.mark.parametrize("least", [0.8, 0.95])
def test_one_cluster_equals_a_comparison_of_all_pairs(documents, run_barrier, vectors, least):
    cosine = vectors @ vectors.T
    away = np.abs(cosine[~np.eye(len(cosine), dtype=bool)] - least).min()
    assert away > 1e-6
    expected = greedy(cosine, range(len(vectors)), least)
    outcomes, _ = run_barrier(SemanticDedup(clusters=1, min_cosine=least), cut(table(documents, vectors), 100, 101))
    found = keepers(outcomes)
    near = [i for i in range(len(vectors)) if np.abs(cosine[i] - least).min() < 5e-4]
    assert [k for i, k in enumerate(found) if i not in near] == [k for i, k in enumerate(expected) if i not in near]
    assert sum(k != i for i, k in enumerate(found)) > 30
    rows = pa.concat_tables([o.outputs["duplicates"] for o in outcomes]).to_pylist()
    for row in rows:
        assert abs(row["jaccard"] - cosine[int(row["id"]), int(row["kept_id"])]) < 5e-4
        assert row["kind"] == "semantic"
        assert row["cluster"] == row["kept_id"]


def test_clusters_find_nearly_all_of_it_and_nothing_else(documents, run_barrier, vectors):
    cosine = vectors @ vectors.T
    expected = greedy(cosine, range(len(vectors)), 0.9)
    stage = SemanticDedup(clusters=20, min_cosine=0.9)
    outcomes, _ = run_barrier(stage, cut(table(documents, vectors), 200))
    found = keepers(outcomes)
    gone = [i for i, k in enumerate(found) if k != i]
    should = [i for i, k in enumerate(expected) if k != i]
    assert all(cosine[i, found[i]] >= 0.9 - 5e-4 and found[found[i]] == found[i] < i for i in gone)
    assert len(set(gone) & set(should)) >= 0.9 * len(should) > 30
    assert stage.metrics.counters["clusters"] == 20
    kept = [o.docs.filter(pc.is_null(o.dropped)) for o in outcomes]
    assert sum(pc.sum(k["duplicates"]).as_py() for k in kept) == len(vectors)
    reasons = {r for o in outcomes for r in o.dropped.to_pylist()}
    assert reasons == {None, "semantic_duplicate"}


@pytest.mark.parametrize("keep", ["first", "farthest", "nearest", "longest"])
def test_result_does_not_depend_on_batches_workers_or_order_of_work(documents, run_barrier, vectors, keep):
    docs = table(documents, vectors)
    seen = []
    for batch, parts in [(1000, 64), (7, 1), (64, 2)]:
        stage = SemanticDedup(clusters=8, min_cosine=0.9, keep=keep, shuffle_partitions=parts)
        outcomes, _ = run_barrier(stage, cut(docs, 90, 91, 300), batch, np.random.default_rng(batch))
        seen.append(([d for o in outcomes for d in o.detail.to_pylist()], stage.metrics.to_json()["counters"]))
    assert seen[0] == seen[1] == seen[2]
    # nor on how the corpus is cut into shards
    whole, _ = run_barrier(SemanticDedup(clusters=8, min_cosine=0.9, keep=keep), [docs])
    assert whole[0].detail.to_pylist() == seen[0][0]


def test_which_document_stays(documents, run_barrier):
    base = np.zeros(8)
    base[0] = 1.0
    tilt = [0.0, 0.3, 0.1, 0.05]
    vectors = [base + t * np.eye(8)[1] for t in tilt]
    docs = table(documents, vectors)
    docs = docs.set_column(1, "text", pa.array(["a", "bb", "a much longer text", "c"], pa.large_string()))
    stays = {}
    for keep in ("first", "farthest", "nearest", "longest"):
        (outcome,), _ = run_barrier(SemanticDedup(clusters=1, min_cosine=0.9, keep=keep), [docs])
        stays[keep] = outcome.docs.filter(pc.is_null(outcome.dropped))["id"].to_pylist()
    assert stays == {"first": ["0"], "farthest": ["1"], "nearest": ["2"], "longest": ["2"]}


def test_only_documents_of_one_scope_are_compared(documents, run_barrier, vectors):
    languages = ["eng_Latn" if i % 3 else "fra_Latn" for i in range(len(vectors))]
    docs = table(documents, vectors, language=languages)
    together, _ = run_barrier(SemanticDedup(clusters=5, min_cosine=0.9, within=["language"]), cut(docs, 50))
    found = keepers(together)
    assert all(languages[i] == languages[k] for i, k in enumerate(found))
    cosine = vectors @ vectors.T
    for language in ("eng_Latn", "fra_Latn"):
        mine = [i for i, of in enumerate(languages) if of == language]
        own, _ = run_barrier(SemanticDedup(clusters=1, min_cosine=0.9), [docs.take(pa.array(mine))])
        alone = {mine[i] for i, k in enumerate(keepers(own)) if k != i}
        gone = {i for i in mine if found[i] != i}
        assert len(gone & alone) >= 0.85 * len(alone) > 3
        assert all(cosine[i, found[i]] > 0.899 for i in gone)


def test_documents_without_a_usable_vector_stay(documents, run_barrier):
    good, zero = [1.0, 2.0, 3.0], [0.0, 0.0, 0.0]
    vectors = [good, None, zero, [float("nan"), 1.0, 2.0], [], good, [1.0, None, 2.0], [float("inf"), 1, 1], [1.0, 2.0]]
    for cuts in ((), (3, 4)):
        stage = SemanticDedup()
        outcomes, _ = run_barrier(stage, cut(table(documents, [*vectors, None]), *cuts))
        assert [r for o in outcomes for r in o.dropped.to_pylist()] == [None] * 5 + ["semantic_duplicate"] + [None] * 4
        assert stage.metrics.counters["without_embedding"] == 7
        assert stage.metrics.counters["other_dimensions"] == 1
    nothing, _ = run_barrier(SemanticDedup(), [table(documents, [None, None])])
    assert nothing[0].dropped.null_count == 2


@pytest.mark.parametrize(
    "kind",
    [pa.list_(pa.float32()), pa.large_list(pa.float64()), pa.list_(pa.float32(), 64), pa.list_(pa.float16())],
)
def test_any_list_of_floats_will_do(documents, run_barrier, vectors, kind):
    exact, _ = run_barrier(SemanticDedup(clusters=4, min_cosine=0.9), [table(documents, vectors[:150])])
    values = vectors[:150].astype(np.float16) if kind == pa.list_(pa.float16()) else vectors[:150]
    docs = table(documents, values, kind)
    docs = pa.concat_tables([docs.slice(0, 40), docs.slice(40)])  # a column of several chunks
    other, _ = run_barrier(SemanticDedup(clusters=4, min_cosine=0.9), [docs])
    assert keepers(other) == keepers(exact)


def test_a_pipeline_reads_embeddings_and_drops_their_copies(tmp_path, vectors):
    from curation.config import load_pipeline
    from curation.corpus import Corpus
    from curation.executor import Inline
    from curation.plan import make_plan
    from curation.run import Run
    from curation.storage import Storage

    lines = [json.dumps({"text": f"text {i}", "embedding": v.tolist()}) for i, v in enumerate(vectors)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines[:250]))
    (tmp_path / "b.jsonl").write_text("\n".join(lines[250:]))
    read = {"read_jsonl": {"columns": {"embedding": "list<float>"}}}
    for name, batch in (("one", 1000), ("two", 33)):
        config = {"input": str(tmp_path / "*.jsonl"), "output": str(tmp_path / name), "batch_rows": batch}
        config["stages"] = [read, {"semantic_dedup": {"min_cosine": 0.9, "clusters": 10}}]
        (tmp_path / "p.yaml").write_text(yaml.safe_dump({"pipelines": {"p": config}}))
        plan = make_plan(load_pipeline("p", str(tmp_path / "p.yaml")))
        Run(plan, Inline(config["output"]), Storage(config["output"])).execute()
    rows = [Corpus(str(tmp_path / name), "duplicates").table().to_pylist() for name in ("one", "two")]
    assert rows[0] == rows[1]
    assert 30 < len(rows[0]) == len(vectors) - len(Corpus(str(tmp_path / "one")))


floats = st.floats(-1e3, 1e3, width=32)


def products(a, b):
    """Dot products in float32, as `nearest` takes them; exact as long as whole numbers stay below 2**24."""
    return a.astype(np.float32) @ b.astype(np.float32).T


@settings(deadline=None)
@given(st.lists(st.lists(floats, min_size=5, max_size=5), min_size=1, max_size=12))
def test_quantized_vectors_keep_their_angles_and_multiply_exactly(rows):
    values, ends, some = quantized(pa.array(rows, pa.list_(pa.float32())))
    exact = np.array(rows, np.float32).astype(np.float64)
    assert some.tolist() == [bool(np.any(row)) for row in exact]
    assert ends[-1] == len(values) == 5 * some.sum()
    if not some.any():
        return
    vectors, exact = values.reshape(-1, 5), exact[some]
    assert lengths(vectors).max() < 4096
    whole = vectors.astype(np.int64) @ vectors.astype(np.int64).T
    assert np.array_equal(products(vectors, vectors), whole)
    assert abs(whole).max() < 1 << 24
    norms = np.linalg.norm(exact, axis=1)
    cosine = exact @ exact.T / np.outer(norms, norms)
    assert np.abs(whole / np.outer(lengths(vectors), lengths(vectors)) - cosine).max() < 1e-3


@pytest.mark.parametrize("dimensions", [1, 2, 384, 1024, 4096])
def test_products_are_exact_at_any_size_and_order(dimensions):
    rng = np.random.default_rng(dimensions)
    rows = np.concatenate([np.ones((1, dimensions)), np.eye(dimensions)[:3], rng.normal(size=(40, dimensions))])
    values, _, _ = quantized(pa.array(rows.tolist(), pa.list_(pa.float32())))
    vectors = values.reshape(len(rows), dimensions)
    assert 4000 < lengths(vectors).min() <= lengths(vectors).max() < 4096
    order = rng.permutation(dimensions)
    whole = vectors.astype(np.int64) @ vectors.astype(np.int64).T
    assert np.array_equal(products(vectors[:, order], vectors[:, order]), whole)


def test_kmeans_finds_planted_clusters(vectors):
    rng = np.random.default_rng(1)
    centres = rng.normal(size=(6, 32))
    truth = rng.integers(0, 6, 600)
    points = centres[truth] + 0.2 * rng.normal(size=(600, 32))
    values, _, _ = quantized(pa.array(points.tolist(), pa.list_(pa.float64())))
    points = values.reshape(-1, 32)
    # begun at one point of each: mini-clusters must then become the planted ones
    first = [int(np.flatnonzero(truth == c)[0]) for c in range(6)]
    order = np.array([*first, *(i for i in range(600) if i not in first)])
    centroids = kmeans(points[order], 6, 20)
    which, product = nearest(points, centroids)
    assert (which == truth).all()
    mean = np.array([points[truth == c].astype(np.float64).sum(axis=0) for c in range(6)])
    mean *= scale(32) / np.linalg.norm(mean, axis=1)[:, None]
    assert np.abs(mean - centroids).max() <= 0.5 + 1e-6
    assert np.array_equal(product, (points.astype(np.int64) @ centroids.astype(np.int64).T).max(axis=1))


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 60), st.integers(0, 1000), st.floats(0.1, 1.0))
def test_election_equals_plain_python(n, seed, least):
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(n, 4))[rng.integers(0, n, n)] + 0.05 * rng.normal(size=(n, 4))
    values, _, _ = quantized(pa.array(points.tolist(), pa.list_(pa.float64())))
    vectors = values.reshape(-1, 4)
    whole = (vectors.astype(np.int64) @ vectors.astype(np.int64).T).astype(np.float64)
    cosine = whole / np.outer(lengths(vectors), lengths(vectors))
    keeper, found = elect(vectors, least)
    assert keeper.tolist() == greedy(cosine, range(n), least)
    gone = keeper != np.arange(n)
    assert np.allclose(found[gone], np.minimum(cosine[np.arange(n), keeper][gone], 1), atol=1e-12)


def test_election_in_several_blocks_equals_one(monkeypatch, vectors):
    from stages.dedup import embeddings

    values, _, _ = quantized(pa.array(vectors.tolist(), pa.list_(pa.float64())))
    points = values.reshape(len(vectors), -1)
    once = elect(points, 0.85)
    monkeypatch.setattr(embeddings, "_BLOCK", 64)
    again = elect(points, 0.85)
    assert np.array_equal(once[0], again[0])
    assert np.array_equal(once[1], again[1])

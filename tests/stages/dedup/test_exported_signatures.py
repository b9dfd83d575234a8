"""Signatures written by a run and queried with datasketch; bands chosen from a threshold."""

import json
from pydoc_data.topics import topics

import numpy as np
import pytest
import yaml

from curation.config import load_pipeline
from curation.errors import ConfigError
from curation.executor import Inline
from curation.plan import make_plan
from curation.run import Run
from curation.storage import Storage
from stages.dedup.banding import candidate_probability, optimal_bands
from stages.dedup.exported_signatures import Signatures
from stages.dedup.minhash import MinhashDedup


@pytest.fixture(scope="module")
def run_of_pages(tmp_path_factory):
    """The output of a run over pages of the Python manual, one of them twice, and the pages by id."""
    folder = tmp_path_factory.mktemp("pages")
    pages = [text for _, text in sorted(topics.items()) if 1500 < len(text) < 9000]
    lines = [json.dumps({"text": text}) for text in [*pages, pages[3].upper(), "too short"]]
    (folder / "pages.jsonl").write_text("\n".join(lines))
    config = {
        "input": str(folder / "pages.jsonl"),
        "output": str(folder / "out"),
        "stages": ["read_jsonl", {"minhash_dedup": {"write_signatures": True}}],
    }
    (folder / "pipelines.yaml").write_text(yaml.safe_dump({"pipelines": {"pages": config}}))
    plan = make_plan(load_pipeline("pages", str(folder / "pipelines.yaml")))
    Run(plan, Inline(config["output"]), Storage(config["output"])).execute()
    return config["output"], pages


def test_exported_signatures_are_those_of_the_kept_documents(run_of_pages):
    out, pages = run_of_pages
    signatures = Signatures(out)
    ids = [name for batch, _ in signatures.batches() for name in batch.to_pylist()]
    values = np.concatenate([v for _, v in signatures.batches()])
    assert len(set(ids)) == len(ids) == len(pages) + 1  # not the copy; the short one stays
    assert values.shape == (len(ids), 112) and values.dtype == np.uint32
    assert (values[-1] == 0xFFFFFFFF).all()
    with pytest.raises(ConfigError, match="holds no signatures; run it with minhash_dedup.write_signatures=true"):
        Signatures(str(out) + "/documents")


def test_datasketch_finds_a_changed_page_and_no_other(run_of_pages):
    datasketch = pytest.importorskip("datasketch")
    out, pages = run_of_pages
    signatures = Signatures(out)
    bands = datasketch.MinHashLSH(num_perm=signatures.size, params=signatures.bands)
    chosen = datasketch.MinHashLSH(threshold=0.7, num_perm=signatures.size)
    kept = dict(signatures.minhashes())
    assert len(kept) == len(pages)
    for name, minhash in kept.items():
        bands.insert(name, minhash)
        chosen.insert(name, minhash)
    ids = list(kept)
    for i in (0, 3, 17):
        minhash = signatures.minhash_of(pages[i] + " One more sentence, that was not there before.")
        assert bands.query(minhash) == chosen.query(minhash) == [ids[i]]
        words = pages[i].lower().split()
        assert minhash.jaccard(kept[ids[i]]) > 1 - 3 * 12 / len(words)
        assert minhash.jaccard(kept[ids[i - 1]]) < 0.2
    assert bands.query(signatures.minhash_of("a text that has never been seen in any manual")) == []


def test_bands_for_a_threshold_are_the_best_of_all():
    def error(threshold, bands, rows):
        x = np.linspace(0, 1, 20001)
        p = candidate_probability(x, bands, rows)
        return np.trapezoid(np.where(x < threshold, p, 1 - p), x)

    for threshold, permutations in [(0.5, 20), (0.7, 30), (0.9, 25)]:
        found = optimal_bands(threshold, permutations)
        every = [(b, r) for b in range(1, permutations + 1) for r in range(1, permutations // b + 1)]
        best = min(error(threshold, b, r) for b, r in every)
        assert error(threshold, *found) < best + 1e-4
        assert found[0] * found[1] <= permutations


def test_bands_for_a_threshold_are_datasketchs():
    lsh = pytest.importorskip("datasketch.lsh")
    for threshold in (0.5, 0.6, 0.7, 0.8, 0.9, 0.95):
        for permutations in (64, 112, 128):
            assert optimal_bands(threshold, permutations) == lsh._optimal_param(threshold, permutations, 0.5, 0.5)


def test_threshold_as_a_key_of_the_stage():
    stage = MinhashDedup(threshold=0.8)
    assert (stage.bands, stage.rows) == (9, 13)
    assert stage.model_dump()["bands"] == 9
    with pytest.raises(ValueError, match="'threshold' chooses 'bands' and 'rows'"):
        MinhashDedup(threshold=0.8, rows=4)

"""The pipelines `mix` and `mix_long` as they stand in pipelines.yaml, on the sample archive."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from curation.config import load_pipeline
from curation.executor import Inline
from curation.plan import make_plan
from curation.run import Run
from curation.storage import Storage
from stages.pack.shards import read_manifest
from stages.pack.verify import Verification

ROOT = Path(__file__).resolve().parents[3]


def carry_out(file, name):
    plan = make_plan(load_pipeline(name, str(file)))
    url = plan.pipeline.settings.output
    return Run(plan, Inline(url), Storage(url)).execute()


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """pipelines.yaml with its inputs and outputs in a folder of the test, and the sample tokenized there."""
    folder = tmp_path_factory.mktemp("recipes")
    data = yaml.safe_load((ROOT / "pipelines.yaml").read_text())
    sample = str(ROOT / "examples" / "debian-docs.warc.gz")
    stages = ["read_warc", "extract_html", "identify_language", "tokenize"]
    data["pipelines"]["web"] = {"input": sample, "output": str(folder / "web"), "stages": stages}
    for name in ("mix", "mix_long"):
        pipeline = data["pipelines"][name]
        pipeline["output"] = str(folder / name)
        pipeline["input"] = pipeline["input"][:1]  # of the run `web` alone
        pipeline["input"][0]["files"] = [str(folder / "web" / "tokens")]
    file = folder / "pipelines.yaml"
    file.write_text(yaml.safe_dump(data, sort_keys=False))
    carry_out(file, "web")
    return file


def test_recipes_have_the_published_numbers():
    recipes = yaml.safe_load((ROOT / "pipelines.yaml").read_text())["x-recipes"]
    lengths = {name: r["sequence_length"] for name, r in recipes.items()}
    assert lengths == {"stage1": 4096, "stage2": 4096, "long-context": 32768, "qwen2.5-long": 32768}
    buckets = {
        name: [(b.get("from", 0), b.get("to"), b["share"]) for b in recipes[name]["shares"][0]["lengths"]]
        for name in ("long-context", "qwen2.5-long")
    }
    assert buckets["long-context"] == [(16384, None, 75), (4096, 16384, 25)]
    assert buckets["qwen2.5-long"] == [(32768, None, 40), (0, 32768, 60)]


@pytest.mark.slow
def test_one_run_makes_the_shards_of_all_stages(config):
    folder = config.parent
    carry_out(config, "mix")
    carry_out(config, "mix_long")
    supply = sum(n + 1 for n in pq.read_table(folder / "web" / "tokens")["n_tokens"].to_pylist() if n)
    manifests = {}
    for name in ("mix/packed/stage1", "mix/packed/stage2", "mix/packed/long-context", "mix_long/packed/qwen2.5-long"):
        assert Verification(str(folder / name), tokens=True).run() == []
        manifests[name.rpartition("/")[2]] = read_manifest(str(folder / name))
    assert manifests["stage1"].tokens == 4 * supply  # 30T are not to be had: all of it, as often as is allowed
    assert manifests["qwen2.5-long"].tokens <= 4 * supply
    assert all(int(power) >= 4096 for power in manifests["long-context"].length_histogram)
    assert manifests["long-context"].tokenizer["eod_id"] == 151643
    warned = [
        counter
        for stage in Storage(str(folder / "mix")).read_json("run.json")["stages"]
        for counter in stage["metrics"]["counters"]
        if counter.startswith("warning_")
    ]
    assert any("budget_not_reached: stage1" in w for w in warned)
    assert any("value_missing: stage2: no document with source 'code'" in w for w in warned)

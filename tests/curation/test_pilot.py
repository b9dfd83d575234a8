"""Forecasts: what the sample is, how copies are reckoned, and a forecast beside the real run."""

import json
import random
from pathlib import Path

import pytest

from curation import cli, pilot
from curation.config import load_pipeline
from curation.pilot import Forecast, copies_share, forecast, sample_tasks, share_of
from curation.plan import make_plan
from curation.stats import read_stats

CONFIG = str(Path(__file__).parents[2] / "pipelines.yaml")


@pytest.mark.parametrize(("text", "share"), [("0.1%", 0.001), ("0.001", 0.001), (" 5 %", 0.05), ("1", 1.0)])
def test_shares(text, share):
    assert share_of(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["0", "-1%", "101%", "2", "half", "nan", ""])
def test_what_is_no_share(text):
    with pytest.raises(cli.ConfigError, match="is no share of the input"):
        share_of(text)


def test_the_sample_is_spread_over_all_files_and_overlaps_nowhere(corpus, pipeline, monkeypatch):
    monkeypatch.setattr(pilot, "LEAST_BYTES", 1)
    monkeypatch.setattr(pilot, "RANGE_BYTES", 2000)
    for i in range(5):
        corpus(f"{i}.jsonl", ["word " * 20] * 800)
    plan = pipeline(["stages_at_fault:Length"])
    whole = sum(task.bytes_in for task in plan.first_tasks)
    tasks = sample_tasks(plan, 0.1)
    assert sum(task.bytes_in for task in tasks) == pytest.approx(0.1 * whole, rel=0.01)
    assert len({task.split.file.name for task in tasks}) == 5
    by_file = {}
    for task in tasks:
        by_file.setdefault(task.split.file.name, []).append((task.split.start, task.split.end))
    for ranges in by_file.values():
        assert all(a[1] <= b[0] for a, b in zip(sorted(ranges), sorted(ranges)[1:], strict=False))
    assert len({task.name for task in tasks}) == len({task.fingerprint for task in tasks}) == len(tasks)
    assert sample_tasks(plan, 0.6) == plan.first_tasks


def sampled(seed, n=40_000, share=0.05):
    """(true share of copies, near and apart copies in a sample, rows): 15 % of documents have a copy elsewhere, 10 % beside."""
    rng = random.Random(seed)
    home = list(range(n))
    apart = rng.sample(range(0, n, 2), int(0.15 * n))  # in pairs, of which the first stays
    for a, b in zip(apart[::2], apart[1::2], strict=True):
        home[max(a, b)] = min(a, b)
    for i in rng.sample(range(1, n, 2), int(0.05 * n)):
        home[i] = i - 1
    ranges = set(rng.sample(range(n // 50), int(share * n / 50)))
    sample = {i for i in range(n) if i // 50 in ranges}
    removed = [i for i in sample if home[i] != i and home[i] in sample]
    near = sum(home[i] // 50 == i // 50 for i in removed)
    return sum(home[i] != i for i in range(n)) / n, near, len(removed) - near, len(sample)


def test_copies_that_lie_apart_are_reckoned_by_pairs():
    """Against corpora that are really sampled."""
    likely, covered, naive = [], 0, []
    for seed in range(12):
        truth, near, apart, rows = sampled(seed)
        middle, least, most = copies_share(near, apart, rows, 0.05)
        likely.append(middle)
        naive.append((near + apart) / rows)
        covered += least <= truth <= most
    assert covered >= 11
    assert sum(likely) / 12 == pytest.approx(truth, rel=0.15)
    assert sum(naive) / 12 < 0.6 * truth  # what the samples alone say


def test_copies_of_a_whole_input_and_of_none():
    assert copies_share(3, 2, 100, 1.0) == (0.05, 0.05, 0.05)
    assert copies_share(0, 0, 0, 0.5) == (0.0, 0.0, 0.0)
    assert copies_share(0, 0, 10, 0.001)[0] == pytest.approx(0.05, rel=0.01)


def test_a_forecast_beside_the_real_run(web_run, monkeypatch):
    monkeypatch.setattr(pilot, "LEAST_BYTES", 700_000)
    monkeypatch.setattr(pilot, "RANGE_BYTES", 64 << 10)
    plan = make_plan(load_pipeline("web", CONFIG))
    found = forecast(plan, 0.001)
    stats = read_stats(web_run)
    assert 0.3 < found.share < 0.5 and found.sampled_records < 0.6 * stats.records
    assert found.stages[0].docs_in == pytest.approx(stats.records, rel=0.2)
    kept = [stage for stage in found.stages if stage.docs_in][-1].kept
    assert kept == pytest.approx(stats.kept, rel=0.25)
    assert found.tokens == pytest.approx(stats.tokens(), rel=0.3)
    assert set(found.disk) == {"documents", "dropped", "duplicates", "tokens", "work"}
    real = {name: sum(f.stat().st_size for f in Path(web_run, name).rglob("*") if f.is_file()) for name in found.disk}
    for name in ("documents", "tokens", "work"):
        assert found.disk[name] == pytest.approx(real[name], rel=0.25), name
    assert sum(found.disk.values()) == pytest.approx(sum(real.values()), rel=0.2)
    assert found.cpu_hours > 0 and found.price == pytest.approx(found.cpu_hours * 0.04)
    assert found.hours(1, 1) == found.cpu_hours and found.hours(100, 64) == found.cpu_hours / found.tasks
    names = [stage.stage for stage in found.stages]
    assert names[0] == "read_warc" and names[-1] == "reading and writing" and "minhash_dedup" in names


def test_plan_with_a_pilot_writes_nothing_and_needs_no_output(corpus, pipeline, tmp_path, capfd):
    corpus("a.jsonl", ["alpha", "beta", "gamma", "apple"] * 50)
    pipeline(["stages_at_fault:Length", "stages_at_fault:FirstOfEachLetter"])
    arguments = ["plan", "test", "-c", str(tmp_path / "pipelines.yaml"), "--pilot", "1%"]
    cli.app([*arguments, "--json"], standalone_mode=False)
    data = json.loads(capfd.readouterr().out)
    assert data["share"] == 1.0 and data["stages"][0]["docs_in"] == 200 and data["stages"][2]["kept"] == 3
    cli.app([*arguments, "--nodes", "3", "--cpus", "8"], standalone_mode=False)
    text = capfd.readouterr().out
    assert "documents kept: 3 of 200 records" in text and "on 3 nodes of 8 CPUs" in text
    assert not (tmp_path / "out").exists()


def test_a_sample_that_keeps_nothing_says_so(corpus, pipeline):
    corpus("a.jsonl", ["spam"] * 20)
    plan = pipeline([{"stages_at_fault:DropWord": {"word": "spam"}}])
    with pytest.raises(cli.CurationError, match="the pilot: the run kept no document.*a larger sample may do"):
        forecast(plan, 0.5)


def test_values_of_a_forecast():
    assert Forecast(0.1, 1, 10, 5).to_json()["stages"] == []

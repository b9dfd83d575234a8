"""What files will weigh, judged by the files of the real run; the pilot's own are many, small, and weigh other things."""

import random

import pytest

from curation import pilot
from curation.pilot import forecast


def text(rng, words):
    return " ".join(rng.choice(words) for _ in range(rng.randint(30, 120)))


@pytest.fixture
def real(corpus, pipeline, run, tmp_path):
    """The plan of a deduplication of 3 MB, which was carried out, and the bytes of its folders."""
    rng = random.Random(1)
    words = ["".join(rng.choices("abcdefghijklmnopqrst", k=rng.randint(2, 9))) for _ in range(3000)]
    texts = [text(rng, words) for _ in range(6500)]
    corpus("a.jsonl", ["spam " + t if i % 5 == 0 else t for i, t in enumerate(texts)])
    plan = pipeline([{"stages_at_fault:DropWord": {"word": "spam"}}, "exact_dedup"])
    assert len(plan.first_tasks) == 4
    run(plan)
    folders = ("documents", "dropped", "duplicates", "work")
    return plan, {
        name: sum(f.stat().st_size for f in (tmp_path / "out" / name).rglob("*") if f.is_file()) for name in folders
    }


def test_small_tasks_forecast_the_files_of_large_ones(real, monkeypatch):
    plan, weighed = real
    monkeypatch.setattr(pilot, "LEAST_BYTES", 300_000)
    monkeypatch.setattr(pilot, "RANGE_BYTES", 10_000)
    seen = {}

    def keep(plan, small, large, *rest, inner=pilot._forecast):
        seen["bytes"] = sum(f["bytes"] for m in large.manifests for f in m.files.values())
        return inner(plan, small, large, *rest)

    monkeypatch.setattr(pilot, "_forecast", keep)
    found = forecast(plan, 0.0001)
    assert 0.05 < found.share < 0.15
    total = sum(weighed.values())
    assert seen["bytes"] / found.share > 1.4 * total  # in proportion it would be far too much
    assert sum(found.disk.values()) == pytest.approx(total, rel=0.15)
    for name in ("documents", "dropped", "work"):
        assert found.disk[name] == pytest.approx(weighed[name], rel=0.2), name


def test_an_input_that_is_its_own_pilot_is_weighed_exactly(real):
    plan, weighed = real
    found = forecast(plan, 1.0)
    assert found.share == 1.0
    for name, size in weighed.items():
        assert found.disk[name] == pytest.approx(size, rel=0.03), name


def test_ranges_in_which_no_record_begins(corpus, pipeline, monkeypatch):
    rng = random.Random(2)
    letters = "abcdefghij klmnop qrstuv wxyz "
    corpus("a.jsonl", ["".join(rng.choices(letters, k=rng.randint(10_000, 30_000))) for _ in range(60)])
    plan = pipeline(["exact_dedup"])
    monkeypatch.setattr(pilot, "LEAST_BYTES", 150_000)
    monkeypatch.setattr(pilot, "RANGE_BYTES", 10_000)
    found = forecast(plan, 0.0001)
    assert 0 < found.sampled_records < 15  # fewer than there are ranges
    assert found.disk["documents"] == pytest.approx(60 * 20_000 * 0.6, rel=0.6)

"""Batches as torch gets them: with workers that read ahead, and through a stop."""

import json
from itertools import pairwise

import pytest

torch = pytest.importorskip("torch")

from curation.errors import ConfigError
from training.data import Plan
from training.torch_dataset import PackedDataset, PackedLoader


@pytest.fixture
def plan(make_folder):
    return Plan.of(make_folder("a")[0], global_batch=12, epochs=2)


def by_step(batches):
    """input_ids of each step, micro-batches put together."""
    steps = {}
    for batch in batches:
        steps.setdefault(batch["step"], []).append(batch["input_ids"])
    return {step: torch.cat(parts) for step, parts in steps.items()}


@pytest.mark.parametrize(("workers", "micro_batch"), [(0, None), (0, 5), (2, 2)])
def test_a_loader_gives_the_batches_of_the_plan_in_order(plan, workers, micro_batch):
    batches = list(PackedLoader(plan, 1, 2, micro_batch, num_workers=workers))
    assert [batch["step"] for batch in batches] == sorted(batch["step"] for batch in batches)
    found = by_step(batches)
    assert list(found) == list(range(plan.steps))
    for step, ids in found.items():
        assert torch.equal(ids, torch.from_numpy(plan.batch(step, 1, 2).input_ids))
    first = batches[0]
    assert (first["micro"], first["micros"]) == (0, -(-6 // (micro_batch or 6)))
    assert first["input_ids"].dtype == first["labels"].dtype == first["position_ids"].dtype == torch.int64
    assert first["cu_seqlens"].dtype == torch.int32 and first["cu_seqlens"][-1] == first["input_ids"].numel()
    assert (first["labels"][first["position_ids"] == 0] == -100).all()


@pytest.mark.parametrize("workers", [0, 2])
def test_what_was_read_ahead_is_not_lost_in_a_stop(plan, workers):
    loader = PackedLoader(plan, 0, 1, 4, num_workers=workers, prefetch_factor=4 if workers else None)
    done, half = [], 3 * 3 + 1  # three steps of three micro-batches, and one of the fourth
    for batch in loader:
        done.append(batch)
        if len(done) == half:
            break
    state = json.loads(json.dumps(loader.state_dict()))
    assert state["step"] == 3  # the fourth step was not completed: it is done again
    parts = []
    for rank in range(3):
        again = PackedLoader(plan, rank, 3, num_workers=workers)
        again.load_state_dict(state)
        parts.append(by_step(again))
    assert list(parts[0]) == list(range(3, plan.steps))
    for step in parts[0]:
        assert torch.equal(torch.cat([part[step] for part in parts]), torch.from_numpy(plan.batch(step).input_ids))


def test_a_state_of_another_plan_is_refused(plan, make_folder):
    other = Plan.of(make_folder("b", seed=8)[0], global_batch=12)
    with pytest.raises(ConfigError, match="belongs to another plan"):
        PackedLoader(other).load_state_dict(PackedLoader(plan).state_dict())


def test_workers_that_would_not_hear_of_a_resume_are_refused(plan):
    with pytest.raises(ConfigError, match="persistent_workers"):
        PackedLoader(plan, num_workers=1, persistent_workers=True)


def test_one_process_is_the_default(plan):
    dataset = PackedDataset(plan)
    assert (dataset.rank, dataset.world) == (0, 1)
    assert len(list(dataset)) == plan.steps


def test_packed_documents_get_the_logits_they_get_alone(plan):
    """What position_ids are for: a model given a packed row as the docstring of Batch says does not mix documents."""
    transformers = pytest.importorskip("transformers")
    config = transformers.Qwen3Config(
        vocab_size=512, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=16, max_position_embeddings=128,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.Qwen3ForCausalLM(config).eval()
    batch = next(iter(PackedLoader(plan, micro_batch=1)))
    ids = batch["input_ids"] % 512
    bounds = batch["cu_seqlens"].tolist()
    assert len(bounds) > 2
    with torch.no_grad():
        packed = model(ids, position_ids=batch["position_ids"], use_cache=False).logits[0]
        for low, high in pairwise(bounds):
            alone = model(ids[:, low:high], use_cache=False).logits[0]
            assert torch.allclose(packed[low:high], alone, atol=1e-4)

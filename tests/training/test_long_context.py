"""Dual Chunk Attention against full attention and against the paper's table of distances; YaRN against its formula."""

import math

import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train`")

from training.config import load
from training.logs import read_log
from training.long_context import _Now, dual_chunk, dual_chunk_attention, yarn
from training.loop import train
from training.models import build, shape

IDS = torch.randint(0, 8192, (2, 96), generator=torch.Generator().manual_seed(0))
POSITIONS = torch.stack([torch.arange(96), torch.cat([torch.arange(40), torch.arange(56)])])


@pytest.mark.parametrize("name", ["tiny-qwen2", "tiny-qwen3", "tiny-qwen3-moe"])
def test_up_to_the_trained_length_it_is_full_attention(name):
    model = build(shape(name)).eval()
    with torch.no_grad():
        full = model.logits(IDS, POSITIONS)
        with dual_chunk(model, 96):
            same = model.logits(IDS, POSITIONS)
        with dual_chunk(model, 48):
            other = model.logits(IDS, POSITIONS)
        assert torch.equal(model.logits(IDS, POSITIONS), full), "the model is as it was"
    assert (same - full).abs().max() < 2e-6
    # Beyond it, distances differ; the first 48 tokens of each document cannot.
    assert (other - full)[0, :48].abs().max() < 2e-6 < 1e-3 < (other - full)[0, 60:].abs().max()
    assert (other - full)[1, :40].abs().max() < 2e-6


def test_distances_are_those_of_the_paper():
    # Figure 2 of the paper: twelve tokens, chunks of 6, trained length 10, local window 4.
    s, c, n = 6, 10, 12
    expected = torch.zeros(n, n)
    for i in range(n):
        for j in range(i + 1):
            if i // s == j // s:
                at = i % s
            elif i // s - j // s == 1:
                at = s + i % s if i % s < c - s else c - 1
            else:
                at = c - 1
            expected[i, j] = at - j % s
    assert expected[11, 0] == 9 and expected[6, 5] == 1 and expected[9, 3] == 6
    # One frequency, queries and keys (1, 0): a score is the cosine of the distance at that frequency.
    unit = torch.zeros(1, 1, n, 2)
    unit[..., 0] = 1
    seen = []
    for j in range(n):  # a value per key picks its weight out
        value = torch.zeros(1, 1, n, 1)
        value[0, 0, j] = 1
        now = _Now(torch.arange(n)[None], torch.zeros(1, n), torch.tensor([0.3]), s, c)
        seen.append(dual_chunk_attention(unit, unit, value, now, 1.0)[0, 0, :, 0])
    weights = torch.stack(seen, 1)
    scores = torch.cos(0.3 * expected).masked_fill(torch.ones(n, n).triu(1).bool(), -math.inf)
    assert torch.allclose(weights, scores.softmax(-1), atol=1e-6)


def test_yarn_keeps_fast_frequencies_and_divides_slow_ones():
    model = build(shape("tiny-qwen3", head_dim=64))
    plain = model.inner.model.rotary_emb.inv_freq.clone()
    model.set_rope(yarn(10_000.0, 4.0, 4096), 16_384)
    ratio = plain / model.inner.model.rotary_emb.inv_freq
    assert ratio[0].item() == pytest.approx(1, rel=1e-5) and ratio[-1].item() == pytest.approx(4, rel=1e-5)
    assert (ratio.diff() >= -1e-5).all()
    assert model.inner.model.rotary_emb.attention_scaling == pytest.approx(0.1 * math.log(4) + 1)


def test_a_training_ends_with_longer_rows(corpus):
    path = corpus()
    data = {"data": str(path.parent / "tokens"), "every": 12, "by": [], "yarn": 4}
    train(load(corpus("longer.yaml", model={"name": "tiny-qwen3", "vocabulary": 512}, evaluation=data)), lambda _: None)
    found = next(line for line in read_log(path.parent / "longer") if line.get("event") == "long_context")
    assert (found["trained_length"], found["length"]) == (64, 256) and found["documents"] > 5
    values = [
        found[key] for key in ("cut to the trained length", "RoPE", "dual chunks", "YaRN", "YaRN and dual chunks")
    ]
    assert all(0 < value < 8 for value in values) and len(set(values)) == 5

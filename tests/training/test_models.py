"""Models by name: published sizes, packed rows, RoPE, and the loss against transformers' own."""

import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train`")

from curation.errors import ConfigError
from training.models import IGNORED, SHAPES, build, flops_per_token, parameters, shape, transformers_config

TINY = ["tiny-qwen2", "tiny-qwen3", "tiny-qwen3-moe"]


def packed(lengths, vocabulary=8192, seed=1):
    """One row of documents of these lengths: ids, position ids, labels."""
    ids = torch.randint(0, vocabulary, (1, sum(lengths)), generator=torch.Generator().manual_seed(seed))
    positions = torch.cat([torch.arange(n) for n in lengths])[None]
    labels = torch.where(positions == 0, IGNORED, ids)
    return ids, positions, labels


# Qwen2.5 report, section 2, and Qwen3 report, section 2, with the model cards' counts, in billions.
@pytest.mark.parametrize(
    ("name", "total", "active", "body"),
    [
        ("Qwen2.5-0.5B", 0.49, 0.49, 0.36),
        ("Qwen2.5-7B", 7.61, 7.61, 6.53),
        ("Qwen2.5-72B", 72.7, 72.7, 70.0),
        ("Qwen3-0.6B", 0.6, 0.6, 0.44),
        ("Qwen3-8B", 8.2, 8.2, 6.95),
        ("Qwen3-32B", 32.8, 32.8, 31.2),
        ("Qwen3-30B-A3B", 30.5, 3.3, 29.9),
        ("Qwen3-235B-A22B", 235, 22, 234),
    ],
)
def test_sizes_are_the_published_ones(name, total, active, body):
    found = [n / 1e9 for n in parameters(SHAPES[name])]
    assert found == pytest.approx([total, active, body], rel=0.017)


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_counted_parameters_are_those_of_the_model(name):
    if SHAPES[name].layers > 40:
        pytest.skip("the formula is the same, and building it takes seconds")
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(transformers_config(SHAPES[name]))
    assert sum(p.numel() for p in model.parameters()) == parameters(SHAPES[name])[0]


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("name", TINY)
def test_a_packed_row_gives_the_logits_of_its_documents(name, attention):
    model = build(shape(name), attention=attention).eval()
    ids, positions, _ = packed([37, 1, 90])
    with torch.no_grad():
        alone = [model.logits(part, torch.arange(part.shape[1])[None]) for part in ids.split([37, 1, 90], 1)]
        together = model.logits(ids, positions)
        blended = model.logits(ids, torch.arange(128)[None])
    assert (together - torch.cat(alone, 1)).abs().max() < 2e-6
    assert (blended - torch.cat(alone, 1)).abs().max() > 0.05, "the check would see documents that see each other"


@pytest.mark.parametrize("name", TINY)
def test_the_loss_is_transformers_own(name, monkeypatch):
    import training.models

    model = build(shape(name))
    ids, positions, labels = packed([300, 212])
    with torch.no_grad():
        reference = model.inner(input_ids=ids, position_ids=positions, labels=labels, use_cache=False).loss
    predictions = (labels[:, 1:] != IGNORED).sum()
    gradients = []
    for rows in (2048, 100):  # the second makes the logits in pieces, and again for the backward pass
        monkeypatch.setattr(training.models, "_LOGIT_ROWS", rows)
        model.zero_grad()
        loss = model(ids, positions, labels) / predictions
        loss.backward()
        assert loss.item() == pytest.approx(reference.item(), rel=1e-6)
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    assert torch.allclose(*gradients, rtol=1e-4, atol=1e-7)


def test_weights_depend_on_the_seed_alone():
    one, again, other = (build(shape("tiny-qwen3-moe"), seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[k], again[k]) for k in one)
    assert not torch.equal(one["inner.model.embed_tokens.weight"], other["inner.model.embed_tokens.weight"])


def test_a_new_base_is_what_a_model_built_with_it_has():
    ids, positions, _ = packed([128])
    model = build(shape("tiny-qwen3"))
    before = model.logits(ids, positions)
    model.set_rope({"rope_type": "default", "rope_theta": 1e6}, 4096)
    after = model.logits(ids, positions)
    assert not torch.allclose(before, after)
    assert torch.equal(after, build(shape("tiny-qwen3", rope_theta=1e6)).logits(ids, positions))


def test_the_moe_is_qwen3s():
    config = transformers_config(SHAPES["Qwen3-30B-A3B"])
    assert (config.num_experts, config.num_experts_per_tok, config.norm_topk_prob) == (128, 8, True)
    names = dict(build(shape("tiny-qwen3-moe")).named_parameters())
    assert not any("shared" in name for name in names)
    assert any("q_norm" in name for name in names) and not any(name.endswith("bias") for name in names)
    qwen2 = dict(build(shape("tiny-qwen2")).named_parameters())
    assert [n.split(".")[-2] for n in qwen2 if "layers.0" in n and n.endswith("bias")] == ["q_proj", "k_proj", "v_proj"]


def test_flops_are_six_per_weight_and_the_causal_half_of_attention():
    dense = SHAPES["Qwen3-8B"]
    total, _, _ = parameters(dense)
    per_token = 6 * (total - dense.vocabulary * dense.hidden) + 6 * 36 * 4096 * 4096
    assert flops_per_token(dense, 4096) == per_token


@pytest.mark.parametrize(
    ("name", "changes", "says"),
    [
        ("Qwen3-8b", {}, "no model 'Qwen3-8b'; did you mean 'Qwen3-8B'?"),
        ("tiny-qwen3", {"layer": 3}, "has no 'layer'; did you mean 'layers'?"),
        ("tiny-qwen3", {"kv_heads": 3}, "4 heads cannot share 3"),
        ("tiny-qwen3-moe", {"active_experts": 17}, "17 active experts of 16"),
    ],
)
def test_mistakes_are_named(name, changes, says):
    with pytest.raises(ConfigError, match=says.replace("?", r"\?")):
        shape(name, **changes)

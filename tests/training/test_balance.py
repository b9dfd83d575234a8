"""The balance loss of experts: its value, and gradients over micro-batches, recomputation and ranks."""

import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train`")

from training.balance import GlobalBalance, overload
from training.models import build, shape

ROWS, LENGTH = 8, 48
IDS = torch.randint(0, 512, (ROWS, LENGTH), generator=torch.Generator().manual_seed(3))
POSITIONS = torch.arange(LENGTH).expand(ROWS, -1)


def moe(**changes):
    """A small mixture of experts in double precision."""
    torch.manual_seed(0)
    model = build(shape("tiny-qwen3-moe", vocabulary=512, **changes), seed=5).double()
    model.inner.set_experts_implementation("eager")  # the only one in double precision
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("gate.weight"):
                weight.mul_(40)  # routers that prefer some experts: with random ones every loss is about 1
    return model


def gradient(model):
    """Of everything before the head: experts get none from the balance loss."""
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def step(model, micro_batches, counts_of="step", mask=None):
    """Gradient of the balance loss over micro-batches. counts_of: `step` is ours; `micro` each micro-batch's own."""
    balance = GlobalBalance(model)
    counts = 0
    for rows in micro_batches:
        with torch.no_grad(), balance.recording(None if mask is None else mask[rows]):
            model.hidden(IDS[rows], POSITIONS[rows])
        counts = counts + balance.counts()
    value = 0.0
    for rows in micro_batches:
        with balance.recording(None if mask is None else mask[rows]):
            model.hidden(IDS[rows], POSITIONS[rows])
        loss = balance.loss(counts if counts_of == "step" else balance.counts())
        loss = loss if counts_of == "step" else loss / len(micro_batches)
        loss.backward()
        value += loss.item()
    return value, gradient(model)


def by_hand(model):
    """The formula over the whole batch, from the routers' logits that transformers gives."""
    logits = model.inner.model(input_ids=IDS, position_ids=POSITIONS, use_cache=False, output_router_logits=True)
    total = 0.0
    for layer in logits.router_logits:
        probabilities = layer.softmax(-1)
        chosen = probabilities.topk(model.shape.active_experts, -1).indices
        shares = torch.nn.functional.one_hot(chosen, layer.shape[1]).sum((0, 1)) / chosen.numel()
        total = total + layer.shape[1] * (shares * probabilities.mean(0)).sum()
    return total


ALL = [slice(0, 8)]
SPLIT = [slice(0, 3), slice(3, 4), slice(4, 8)]


def distance(a, b):
    return ((a - b).norm() / b.norm()).item()


def test_micro_batches_add_up_to_the_full_batch():
    model = moe()
    expected = by_hand(model)
    expected.backward()
    full = gradient(model)
    for batches in (ALL, SPLIT):
        value, found = step(moe(), batches)
        assert value == pytest.approx(expected.item(), rel=1e-9)
        assert distance(found, full) < 1e-6
    # The loss of each micro-batch by itself, what most trainers have, is another one.
    assert distance(step(moe(), SPLIT, "micro")[1], full) > 0.01


def test_recomputed_layers_are_counted_once_and_have_the_same_gradient():
    _, plain = step(moe(), SPLIT)
    model = moe().train()
    model.inner.activation_checkpointing_enable()
    _, again = step(model, SPLIT)
    assert distance(again, plain) < 1e-9


def test_padding_does_not_count():
    mask = torch.ones(ROWS, LENGTH, dtype=torch.bool)
    mask[:, 40:] = False
    value, _ = step(moe(), ALL, mask=mask)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(globals(), "IDS", IDS[:, :40])
        patch.setitem(globals(), "POSITIONS", POSITIONS[:, :40])
        shorter, _ = step(moe(), ALL)
    assert value == pytest.approx(shorter, rel=1e-9)


def test_a_layer_that_uses_few_experts_shows_although_all_layers_together_use_more():
    model = moe()
    balance = GlobalBalance(model)
    logits = torch.zeros(2, 64, 16)
    for i in range(2):  # layer i sends every token to its own four experts
        logits[i, :, 4 * i : 4 * i + 4] = 12
    with balance.recording():
        for i, z in enumerate(logits):
            balance._hook(i)(balance._layers[i], None, (z, None, z.topk(4).indices))
    value = balance.loss(balance.counts())
    assert value.item() == pytest.approx(2 * 4, rel=1e-3)  # 4 of 16 experts are used: 4 a layer
    assert overload(balance.counts()).tolist() == [3, 3]
    from transformers.models.qwen3_moe.modeling_qwen3_moe import load_balancing_loss_func

    pooled = load_balancing_loss_func(tuple(logits), 16, 4) / 4
    assert pooled.item() == pytest.approx(2, rel=1e-3)  # transformers pools the layers and sees half of it


def test_even_routing_is_one_per_layer():
    model = moe()
    balance = GlobalBalance(model)
    counts = torch.full((2, 16), 4 * 30)
    balance._probabilities = [torch.full((16,), 480 / 16)] * 2
    assert balance.loss(counts).item() == pytest.approx(2)
    assert overload(counts).tolist() == [0, 0]


def test_a_dense_model_has_nothing_to_balance():
    assert GlobalBalance(build(shape("tiny-qwen3"))).layers == 0

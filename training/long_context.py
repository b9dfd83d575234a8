"""Judges a model on rows several times as long as it was trained on: YaRN, and Dual Chunk Attention on top.

YaRN (arXiv 2309.00071) stretches RoPE's slow frequencies and is transformers' own. Dual Chunk Attention (An et al.
2024, arXiv 2402.17463) needs no stretching: positions are cut into chunks of s, and no query is ever further from a
key than the trained length c. Within a chunk distances are true; to the chunk before they are true up to w = c - s
positions into the chunk and c - 1 at the farthest; to all earlier chunks the query stands at c - 1. Qwen2.5-1M and
Qwen3 use both together for four times the length.

Trade-off: an eager reference in plain torch, for judging and for checking faster kernels against. It computes the
three kinds of scores for all keys and picks, 256 queries at a time: three times the arithmetic of full attention, and
memory that grows with the length, not with its square. Up to c tokens it is full attention, which the tests hold it to.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from training.models import LanguageModel

if TYPE_CHECKING:
    from training.loop import Trainer

_NAME = "dual_chunk_reference"
#: Queries whose scores exist at one time.
_QUERIES = 256


@dataclass
class _Now:
    """The forward pass under way: positions in and number of each token's document, [rows, length], and the chunks."""

    positions: torch.Tensor
    documents: torch.Tensor
    frequencies: torch.Tensor
    chunk: int
    trained: int


_now: _Now | None = None


def _rotate(x: torch.Tensor, positions: torch.Tensor, frequencies: torch.Tensor) -> torch.Tensor:
    """RoPE on [rows, heads, length, head] at these positions [rows, length]; angles in double precision."""
    angles = positions[:, None, :, None].double() * frequencies.double()
    cos, sin = (f(angles).to(x.dtype) for f in (torch.cos, torch.sin))
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def dual_chunk_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, now: _Now, scale: float
) -> torch.Tensor:
    """Attention of queries and keys that RoPE has not turned. All [rows, heads, length, head]; the same comes out."""
    positions, s, c = now.positions, now.chunk, now.trained
    chunks, within = positions // s, positions % s
    turned = _rotate(key, within, now.frequencies)
    same = _rotate(query, within, now.frequencies)
    after = _rotate(query, torch.where(within < c - s, within + s, c - 1), now.frequencies)
    far = _rotate(query, torch.full_like(within, c - 1), now.frequencies)
    parts = []
    for start in range(0, query.shape[2], _QUERIES):
        i, j = slice(start, start + _QUERIES), slice(0, start + _QUERIES)  # no key behind the queries is seen
        keys = turned[:, :, j].mT
        apart = (chunks[:, i, None] - chunks[:, None, j])[:, None]
        seen = now.documents[:, i, None] == now.documents[:, None, j]
        seen &= positions[:, i, None] >= positions[:, None, j]
        scores = torch.where(
            apart == 0,
            same[:, :, i] @ keys,
            torch.where(apart == 1, after[:, :, i] @ keys, far[:, :, i] @ keys),
        )
        scores = (scores.float() * scale).masked_fill(~seen[:, None], -math.inf)
        parts.append(scores.softmax(-1).to(value.dtype) @ value[:, :, j])
    return torch.cat(parts, 2)


def _attention(
    module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: Any, scaling: float, **_: Any
) -> tuple[torch.Tensor, None]:
    """What transformers calls in the place of its own attention."""
    assert _now is not None, "dual chunk attention needs `dual_chunk(...)` around the forward pass"
    groups = module.num_key_value_groups
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    return dual_chunk_attention(query, key, value, _now, scaling).transpose(1, 2).contiguous(), None


@contextmanager
def dual_chunk(model: LanguageModel, trained: int) -> Iterator[None]:
    """Inside, the model attends by dual chunks of three quarters of `trained` positions, the paper's choice."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(_NAME, _attention)
    AttentionMaskInterface.register(_NAME, lambda *_, **__: None)
    global _now
    inner, before = model.inner.model, model.inner.config._attn_implementation
    chunk = max(trained * 3 // 4, 1)

    def unturned(_: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """At position 0 transformers' RoPE turns nothing (but YaRN's factor on cosines stays)."""
        global _now
        positions = kwargs["position_ids"]
        documents = (positions == 0).cumsum(1)
        _now = _Now(positions, documents, inner.rotary_emb.inv_freq, chunk, trained)
        return args, kwargs | {"position_ids": torch.zeros_like(positions)}

    handle = inner.register_forward_pre_hook(unturned, with_kwargs=True)
    model.inner.set_attn_implementation(_NAME)
    try:
        yield
    finally:
        handle.remove()
        model.inner.set_attn_implementation(before)
        _now = None


def yarn(theta: float, factor: float, trained: int) -> dict[str, Any]:
    """transformers' `rope_parameters` for rows `factor` times as long as the `trained` ones."""
    return {
        "rope_type": "yarn",
        "rope_theta": theta,
        "factor": factor,
        "original_max_position_embeddings": trained,
    }


def evaluate_longer(trainer: Trainer, factor: float) -> dict[str, Any]:
    """Bits per byte of held-out documents longer than the last stage's rows, cut to its rows and in rows `factor`
    times as long: as RoPE goes on, with YaRN, and with YaRN and dual chunks. All ranks call it."""
    from training import held_out

    stage, held = trainer.plan.stages[-1], trainer.held
    assert held is not None
    chosen = [i for i, ids in enumerate(held.ids) if len(ids) > stage.length]
    longer = int(stage.length * factor)
    facts: dict[str, Any] = {"trained_length": stage.length, "length": longer, "documents": len(chosen)}
    if not chosen:
        return facts
    some = held_out.HeldOut(
        [held.names[i] for i in chosen],
        [held.ids[i] for i in chosen],
        held.n_bytes[np.array(chosen)],
        {},
        held.eod_id,
        held.tokenizer_sha256,
    )

    longest = max(map(len, some.ids))  # rows need not be longer than that

    def judge(length: int) -> float:
        length = min(length, longest)
        nats = held_out.document_nats(trainer.model, some, length, trainer.id_map, 1)
        return round(held_out.bits_per_byte(nats, some)["all"], 5)

    model = trainer.model
    trained = {"rope_type": "default", "rope_theta": stage.rope_theta}
    model.set_rope(trained, stage.length)
    facts["cut to the trained length"] = judge(stage.length)
    facts["RoPE"] = judge(longer)
    with dual_chunk(model, stage.length):
        facts["dual chunks"] = judge(longer)
    model.set_rope(yarn(stage.rope_theta, factor, stage.length), longer)
    facts["YaRN"] = judge(longer)
    with dual_chunk(model, stage.length):
        facts["YaRN and dual chunks"] = judge(longer)
    model.set_rope(trained, stage.length)
    return facts

"""Keeps experts evenly used over the global batch, not over each micro-batch (Qiu et al. 2025, arXiv 2501.11873).

Per layer, with E experts of which K serve a token, L = E * sum_i f_i * P_i: f_i is the share of the batch's K * T
assignments that went to expert i (a count, without gradient), P_i the mean probability the router gave it. 1 is
perfect balance. Both run over all tokens of the optimizer's step: all ranks, all accumulated micro-batches. The loss
of a micro-batch forces every sequence to use all experts evenly, which keeps them from specialising on a domain;
and transformers' own loss, besides seeing one rank's micro-batch only, pools the layers into one histogram, so that
a model whose every layer uses only its own few experts counts as balanced.

Since L is linear in P, gradients of micro-batches add up to that of the full batch if f is known before the first
backward pass. With one micro-batch a step, an all-reduce of [layers, E] counts after the forward pass is enough. With
accumulation, the micro-batches go forward once more without gradient to be counted: a third more time, for a gradient
that is exact (to 1e-7 in the tests). A running average over the step, as Megatron-LM keeps it, costs nothing and was
19 % off on random weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import nn


class GlobalBalance:
    """Listens to the routers of a mixture-of-experts model. A model without routers has no layers and costs nothing.

    Probabilities and counts are [layers, experts]. Padding is left out where `mask` says so.
    """

    def __init__(self, model: nn.Module):
        self._layers: list[Any] = [m for m in model.modules() if type(m).__name__.endswith("TopKRouter")]
        self._recording = False
        self._mask: torch.Tensor | None = None
        self._probabilities: list[torch.Tensor] = []
        self._counts: list[torch.Tensor] = []
        for i, layer in enumerate(self._layers):
            layer.register_forward_hook(self._hook(i))

    @property
    def layers(self) -> int:
        """Layers that route."""
        return len(self._layers)

    def _hook(self, i: int) -> Any:
        def keep(router: Any, _: Any, output: tuple[torch.Tensor, ...]) -> None:
            # Activation checkpointing runs the layer again in the backward pass, when nobody records: the same tensors
            # must be made then, and must not be kept.
            if not self._recording and not torch.is_grad_enabled():
                return
            logits, _, chosen = output
            probabilities = torch.softmax(logits, -1, dtype=torch.promote_types(logits.dtype, torch.float32))
            if self._mask is not None:
                probabilities, chosen = probabilities[self._mask], chosen[self._mask]
            summed = probabilities.sum(0)
            if not self._recording:
                return
            assert len(self._probabilities) == i, "each router runs once, in the order of the layers"
            self._probabilities.append(summed)
            with torch.no_grad():
                self._counts.append(torch.bincount(chosen.flatten(), minlength=router.num_experts))

        return keep

    @contextmanager
    def recording(self, mask: torch.Tensor | None = None) -> Iterator[None]:
        """Keep what the routers do in the forward pass inside. mask: [rows, length], false for padding."""
        self._recording, self._mask = True, None if mask is None else mask.flatten()
        self._probabilities, self._counts = [], []
        try:
            yield
        finally:
            self._recording = False

    def counts(self) -> torch.Tensor:
        """Assignments in the recorded pass, int64 [layers, experts], of this rank."""
        return torch.stack(self._counts)

    def loss(self, counts: torch.Tensor) -> torch.Tensor:
        """What the recorded pass adds to the balance loss, summed over layers.

        counts: those of the whole step, over ranks and micro-batches. The sum of the results over ranks and
        micro-batches is the loss of the step, and so are the gradients.
        """
        assert self._probabilities, "no router ran in the recorded pass"
        probabilities = torch.stack(self._probabilities)
        shares = counts / counts.sum(1, keepdim=True)
        tokens = counts[0].sum() / self._layers[0].top_k
        return (shares.to(probabilities.dtype) * probabilities).sum() * counts.shape[1] / tokens


def all_ranks(counts: torch.Tensor) -> torch.Tensor:
    """Sum of the counts of all ranks."""
    if dist.is_initialized() and dist.get_world_size() > 1:
        counts = counts.clone()
        dist.all_reduce(counts)
    return counts


def overload(counts: torch.Tensor) -> torch.Tensor:
    """How far the busiest expert is above its even share, per layer: 0 is balance, E - 1 all tokens at one expert."""
    return counts.max(1).values * counts.shape[1] / counts.sum(1) - 1

"""This process among the ranks of a training: joining them, the model cut over them, what one knows told to all.

FSDP2 (`fully_shard`) on every rank count, one included: one code path, at some milliseconds a step for a toy.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method

from curation.errors import CurationError
from training.models import LanguageModel, materialise


@dataclass
class Rank:
    """Where this process stands."""

    rank: int
    world: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether it is the one that writes."""
        return self.rank == 0


def join() -> Rank:
    """Join the process group that torchrun or Ray Train has prepared, or make one of this process alone."""
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count())
    if not dist.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if cuda else "gloo"
        if "RANK" in os.environ:
            dist.init_process_group(backend)
        else:
            dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    device = torch.device("cuda", torch.cuda.current_device()) if cuda else torch.device("cpu")
    return Rank(dist.get_rank(), dist.get_world_size(), device)


def shard(model: LanguageModel, rank: Rank, precision: str, seed: int) -> LanguageModel:
    """FSDP2 over all ranks: each layer is a unit, embedding, head and final norm another.

    The weights of a skeleton are made here, unit by unit, and each is cut before the next is made.
    """
    mesh = init_device_mesh(rank.device.type, (rank.world,))
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    policy = MixedPrecisionPolicy(param_dtype=kind, reduce_dtype=torch.float32)
    for layer in model.inner.model.layers:
        materialise(model, seed, layer)
        fully_shard(layer, mesh=mesh, mp_policy=policy)
    materialise(model, seed)
    model.inner.model.rotary_emb.to(rank.device)
    fully_shard(model, mesh=mesh, mp_policy=policy)
    for name in ("hidden", "logits", "token_losses"):
        register_fsdp_forward_method(model, name)
    return model


def from_first(rank: Rank, make: Callable[[], Any]) -> Any:
    """What rank 0 makes, on all ranks; what it raises, too."""
    box: list[Any] = [None]
    if rank.first:
        try:
            box = [make()]
        except CurationError as error:
            box = [error]
    dist.broadcast_object_list(box)
    if isinstance(box[0], Exception):
        raise box[0]
    return box[0]

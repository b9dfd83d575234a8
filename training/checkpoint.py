"""Saves and restores weights, optimizer and place, for any number of ranks, by torch.distributed.checkpoint.

Every rank writes its own part; a folder gets its name `step-00000100` when all parts are there, so that one which a
killed run left behind is never taken for whole. What is restored is cut anew for the ranks there are: the next steps
have the same losses on one rank or eight, to the rounding of sums. Trade-off: ranks wait while they write.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict

from curation.errors import ConfigError


def _steps(folder: Path) -> list[tuple[int, Path]]:
    found = [p for p in folder.glob("step-*") if (p / "place.json").is_file() and p.suffix != ".pending"]
    return sorted((int(p.name.removeprefix("step-")), p) for p in found)


def newest(folder: Path) -> Path | None:
    """The checkpoint of the latest step in a training's `checkpoints/`, or None."""
    found = _steps(folder)
    return found[-1][1] if found else None


def save(
    folder: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer, place: dict[str, Any], keep: int
) -> None:
    """Write `folder/step-N`, N being `place["step"]`; all ranks call it. The oldest beyond `keep` go, but
    not those whose place says `stage_end`."""
    name = f"step-{place['step']:08d}"
    pending = folder / f"{name}.pending"
    weights, state = get_state_dict(model, optimizer)
    dcp.save({"model": weights, "optimizer": state}, checkpoint_id=pending)
    if dist.get_rank() == 0:
        (pending / "place.json").write_text(json.dumps(place, indent=1) + "\n", encoding="utf-8")
        shutil.rmtree(folder / name, ignore_errors=True)
        pending.rename(folder / name)
        passing = [p for _, p in _steps(folder) if not read_place(p).get("stage_end")]
        for old in passing[:-keep]:
            shutil.rmtree(old)
        for left in folder.glob("*.pending"):
            shutil.rmtree(left)
    dist.barrier()


def read_place(checkpoint: Path) -> dict[str, Any]:
    """What `save` was told of the place."""
    return json.loads((checkpoint / "place.json").read_text(encoding="utf-8"))


def restore(checkpoint: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Put a checkpoint's weights and optimizer state into these; all ranks call it. ConfigError if they do not fit."""
    weights, state = get_state_dict(model, optimizer)
    loaded: dict[str, Any] = {"model": weights, "optimizer": state}
    try:
        dcp.load(loaded, checkpoint_id=checkpoint)
    except Exception as error:
        raise ConfigError(
            f"{checkpoint}: cannot be read into this model ({error}); it belongs to another, give another output"
        ) from error
    set_state_dict(model, optimizer, model_state_dict=loaded["model"], optim_state_dict=loaded["optimizer"])


def load_weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    """All weights of a checkpoint in this process's memory, by name."""
    from torch.distributed.checkpoint.default_planner import _EmptyStateDictLoadPlanner
    from torch.distributed.checkpoint.state_dict_loader import _load_state_dict

    loaded: dict[str, Any] = {}
    # The only way to read tensors whose shapes are not known beforehand; torch's own converter uses it.
    _load_state_dict(
        loaded,
        storage_reader=dcp.FileSystemReader(str(checkpoint)),
        planner=_EmptyStateDictLoadPlanner(keys={"model"}),
        no_dist=True,
    )
    return loaded["model"]

"""Starts the ranks of a training: in this process, as workers of Ray Train, or found already running under torchrun.

All three call `training.loop.train`. Under Ray Train a worker that dies is noticed by the controller, which stops the
others and starts all again, up to `restarts` times; they go on from the newest checkpoint. Nothing passes through Ray
but the configuration and a line of numbers per checkpoint: the data is read by the ranks themselves, because Ray Data
keeps no place within an epoch. Under torchrun the same holds with `--max-restarts`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from curation.errors import ConfigError, CurationError
from training.config import Training


def _absolute(path: str) -> str:
    return path if "://" in path else str(Path(path).expanduser().resolve())


def located(training: Training) -> Training:
    """The training with absolute paths: a worker of Ray has a working folder of its own."""
    stages = [
        stage.model_copy(
            update={
                "data": _absolute(stage.data)
                if isinstance(stage.data, str)
                else [d.model_copy(update={"folder": _absolute(d.folder)}) for d in stage.data]
            }
        )
        for stage in training.stages
    ]
    changes: dict[str, Any] = {"stages": stages, "output": str(Path(training.output).expanduser().resolve())}
    if training.evaluation is not None:
        changes["evaluation"] = training.evaluation.model_copy(update={"data": _absolute(training.evaluation.data)})
    if training.tokenizer is not None and Path(training.tokenizer).is_file():
        changes["tokenizer"] = _absolute(training.tokenizer)
    return training.model_copy(update=changes)


def under_torchrun() -> bool:
    """Whether torchrun, or another launcher that speaks its language, has started this process."""
    return {"RANK", "WORLD_SIZE", "MASTER_ADDR"} <= set(os.environ)


def launch(training: Training, say: Callable[[str], None], how: str = "auto") -> None:
    """Train to the end. how: `process`, `ray`, or `auto`: Ray for more than one worker, outside torchrun.

    CurationError if the training failed more often than it may.
    """
    if under_torchrun() or how == "process" or (how == "auto" and training.workers == 1):
        if not under_torchrun() and training.workers > 1:
            raise ConfigError(f"{training.workers} workers do not fit one process; take --launcher ray, or torchrun")
        from training.loop import train

        train(training, say)
        return
    from training.plan import decide

    training = located(training)
    decide(training)  # a mistake is told now, not by workers that start again and again
    _on_ray(training, say)


def _worker(config: dict[str, Any]) -> None:
    """What a worker of Ray Train runs."""
    import ray.train
    import torch

    from training.loop import train

    if not torch.cuda.is_available():
        torch.set_num_threads(max(int(os.environ.get("OMP_NUM_THREADS", "1")), 1))

    def say(line: str) -> None:
        with _messages(config["output"]).open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    # The checkpoint is the loop's own, in the training's folder; Ray is told how far it has come.
    train(Training(**config), say, lambda numbers: ray.train.report(numbers))


def _messages(output: str) -> Path:
    """What rank 0 has to say. Ray would forward its output, but along with that of its own actors."""
    return Path(output) / "messages.log"


@contextmanager
def _followed(file: Path, say: Callable[[str], None]) -> Iterator[None]:
    """While the block runs, and once more when it ends, new lines of a file are said."""
    ended, at = threading.Event(), file.stat().st_size if file.exists() else 0

    def follow() -> None:
        nonlocal at
        last = False
        while not last:
            last = ended.wait(0.5)
            if not file.exists():
                continue
            with file.open("rb") as handle:
                handle.seek(at)
                for line in handle:
                    if line.endswith(b"\n"):
                        at += len(line)
                        say(line.decode().rstrip("\n"))

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _on_ray(training: Training, say: Callable[[str], None]) -> None:
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
    attached = os.environ.get("RAY_ADDRESS")
    if not attached:
        os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # a Ray of this machine, for this process
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray
    import torch
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    output = training.output
    gpu = torch.cuda.is_available()
    root = str(Path(__file__).resolve().parents[1])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    threads = os.environ.get("OMP_NUM_THREADS", "1")
    settings: dict[str, Any] = {
        "logging_level": "ERROR",
        "log_to_driver": False,
        "runtime_env": {"env_vars": {"PYTHONPATH": path, "OMP_NUM_THREADS": threads}},
    }
    if not attached:
        settings |= {"address": "local", "include_dashboard": False, "object_store_memory": 128 << 20}
        if not gpu:
            settings["num_cpus"] = max(training.workers + 1, os.cpu_count() or 1)  # one for the controller
    ray.init(**settings)
    say(f"{training.workers} workers on Ray; log in {output}/log.jsonl")
    trainer = TorchTrainer(
        _worker,
        train_loop_config=training.model_dump(),
        scaling_config=ScalingConfig(num_workers=training.workers, use_gpu=gpu),
        torch_config=TorchConfig(backend="cpu:gloo,cuda:nccl" if gpu else "gloo"),
        run_config=RunConfig(
            name="ray", storage_path=f"{output}/work", failure_config=FailureConfig(max_failures=training.restarts)
        ),
    )
    try:
        with _followed(_messages(output), say):
            trainer.fit()
    except Exception as error:
        cause = [line for line in str(error).splitlines() if line.strip()] or ["unknown"]
        raise CurationError(
            f"the training failed {training.restarts + 1} times, or in a way that a restart does not mend: {cause[-1]};"
            f" the same command goes on from the newest checkpoint in {output}"
        ) from error
    finally:
        ray.shutdown()

"""Replicas on a Ray cluster: Ray finds a node with GPUs to spare for each, and another one when that is lost.

Each replica is an actor that holds its GPUs and starts vLLM as a process of its own on the node, in whatever
environment has vLLM there. Ray Serve LLM would run vLLM inside Ray's workers, and so pins one exact version of it
(ray 2.60: vLLM 0.29) into the environment that the pipeline runs in; here the two need not agree on anything.

Trade-off: as on one machine there is no proxy. Clients read the addresses from the state file and read them again when
a replica does not answer, as one that Ray moved has another address.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curation.errors import ConfigError, CurationError
from stages.llm.model_folder import find_model, model_digest
from stages.llm.replica import LocalReplica, Replica, Vllm

#: Seconds a node is given to end its vLLM before its actor is killed: longer than `LocalReplica` takes.
_STOP_S = 25.0


def connect(address: str | None) -> bool:
    """Connect to a cluster (default: $RAY_ADDRESS, else a Ray that runs on this machine); whether it has GPUs.

    ConfigError if there is none.
    """
    import ray

    try:
        ray.init(
            address=address or os.environ.get("RAY_ADDRESS") or "auto", logging_level=logging.ERROR, log_to_driver=False
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        problem = str(error).strip().splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(f"--ray: no cluster to connect to ({problem}); `ray start --head` starts one") from error
    return ray.cluster_resources().get("GPU", 0) > 0


class Place:
    """The actor: a vLLM on the node that Ray chose, which dies with it. CurationError if it cannot be started there."""

    def __init__(self, vllm: Vllm, index: int, model: str, logs: str) -> None:
        import ray

        vllm.check()
        folder = find_model(model)
        exact = f"{vllm.name}@{model_digest(folder)}"
        host = ray.util.get_node_ip_address()
        if exact != vllm.exact_name:
            raise CurationError(f"'{folder}' on node {host} holds {exact}, another model than {vllm.exact_name}")
        with socket.socket() as probe:
            probe.bind((host, 0))
            port = probe.getsockname()[1]
        self._replica = LocalReplica(
            index,
            f"http://{host}:{port}",
            command=vllm.command(folder, host, port),
            environment=vllm.environment(),
            log=Path(logs) / f"{vllm.name}-{index}.log",
        )
        self._replica.start()

    def where(self) -> tuple[str | None, int | None]:
        """Its base URL, and its process on the node."""
        return self._replica.url, self._replica.pid

    def ended(self) -> str | None:
        """Why it ended; null while it runs."""
        return self._replica.ended()

    def stop(self) -> None:
        """End it."""
        self._replica.stop()


@dataclass
class RayReplica(Replica):
    """A replica that runs where Ray has room for it."""

    vllm: Vllm | None = None
    model: str = ""
    logs: str = ""
    _actor: Any = None
    _asked: Any = None  # the answer that is waited for: its place, then whether it has ended

    def _launch(self) -> None:
        import ray

        assert self.vllm is not None
        gpus = self.vllm.tensor_parallel if self.vllm.gpu else 0
        place = ray.remote(num_cpus=1, num_gpus=gpus, scheduling_strategy="SPREAD", max_restarts=0)(Place)
        self._actor = place.remote(self.vllm, self.index, self.model, self.logs)
        self._asked = self._actor.where.remote()
        self.url = None

    def ended(self) -> str | None:
        import ray

        if not ray.wait([self._asked], timeout=0)[0]:
            return None
        try:
            answer = ray.get(self._asked)
        except ray.exceptions.RayError as error:
            return _reason(error)
        self._asked = self._actor.ended.remote()
        if self.url is not None:
            return answer
        self.url, self.pid = answer
        self.started = time.monotonic()
        return None

    def _end(self) -> None:
        import ray

        with suppress(ray.exceptions.RayError):
            if self.url is not None:
                ray.get(self._actor.stop.remote(), timeout=_STOP_S)
        ray.kill(self._actor)
        self._actor = self._asked = self.url = None


def _reason(error: Exception) -> str:
    """What Ray says of a lost actor, in one line: what its own code raised, if it did.

    CurationError for what `Place` refuses: it would again.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    raised = [line for line in lines if "Error: " in line]
    if raised and raised[-1].startswith("curation.errors."):
        raise CurationError(raised[-1].partition(": ")[2])
    return (raised[-1] if raised else f"lost: {lines[0] if lines else type(error).__name__}")[:300]

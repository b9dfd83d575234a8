"""Keeps the replicas of a model alive: waits until they answer, warms them up, starts again what dies or goes deaf.

What it knows is written to a state file, which clients take as their `server`: addresses, versions, the model's digest
and the GPU hours spent.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer

from curation.errors import CurationError
from stages.llm.replica import Replica

#: Seconds between two looks at the replicas.
_LOOK_S = 1.0
#: Seconds without an answer to /health after which a replica that was ready is restarted.
_DEAF_S = 60.0
#: Pauses before a restart: doubled from the first to the last number, seconds. Ready for ten minutes, it starts over.
_BACK_OFF_S = (1.0, 60.0)
_GOOD_S = 600.0
#: Seconds after which a replica that Ray has no node for is said to wait.
_PATIENT_S = 20.0


def _get(url: str, timeout: float = 5.0) -> Any:
    """The parsed body of a GET; None if there is no good answer. An empty body is an empty dictionary."""
    from urllib.request import urlopen

    try:
        with urlopen(url, timeout=timeout) as response:
            body = response.read()
            return json.loads(body) if body else {}
    except (OSError, ValueError):
        return None


def _warm_up(url: str, name: str) -> bool:
    """Ask for a few tokens of JSON: compiles kernels and the grammar. Whether an answer came.

    A model that is no chat model (no template, or a context too short for one) refuses: it is to go on with a word.
    """
    schema = {"type": "object", "properties": {"ready": {"type": "boolean"}}, "required": ["ready"]}
    chat = {
        "messages": [{"role": "system", "content": "Answer in JSON."}, {"role": "user", "content": "Ready?"}],
        "max_tokens": 16,
        "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}},
    }
    status = _post(f"{url}/v1/chat/completions", {"model": name, "temperature": 0} | chat)
    if 400 <= status < 500:
        plain = {"prompt": "Ready", "max_tokens": 4}
        status = _post(f"{url}/v1/completions", {"model": name, "temperature": 0} | plain)
    return status == 200


def _post(url: str, body: dict[str, object]) -> int:
    """The status of the answer; 0 if none came."""
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    request = Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"}, method="POST")
    try:
        with urlopen(request, timeout=300) as response:
            return int(response.status)
    except HTTPError as error:
        return int(error.code)
    except OSError:
        return 0


@dataclass
class Supervisor:
    """The replicas of one model, and the state file that tells of them."""

    name: str
    folder: Path
    digest: str
    replicas: Sequence[Replica]
    state_file: Path
    gpus_per_replica: int = 0
    gpu_hour_price: float = 0.0
    give_up: int = 5
    began: float = field(default_factory=time.time)
    vllm: str = ""
    _stopping: bool = False

    @property
    def exact_name(self) -> str:
        """The name under which only these weights are served."""
        return f"{self.name}@{self.digest}"

    def run(self) -> None:
        """Keep the replicas alive until told to stop. CurationError if one cannot be started at all."""
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        try:
            for replica in self.replicas:
                replica.start()
                self._say(replica, "starting")
            self.write()
            while not self._stopping:
                changed = [self.look(replica) for replica in self.replicas]
                if any(changed):
                    self.write()
                time.sleep(_LOOK_S)
        finally:
            for replica in self.replicas:
                replica.stop()
            self.write()

    def _stop(self, *_: Any) -> None:
        self._stopping = True

    def _say(self, replica: Replica, what: str) -> None:
        typer.echo(f"{self.exact_name} replica {replica.index}: {what}")
        sys.stdout.flush()

    def look(self, replica: Replica) -> bool:
        """See to one replica; whether its state changed."""
        now, before = time.monotonic(), replica.state
        if not replica.running:
            if now >= replica.again:
                replica.restarts += 1
                replica.start()
                self._say(replica, f"restarted ({replica.restarts})")
        elif (why := replica.ended()) is not None:
            self._fallen(replica, why)
        elif replica.url is None:
            if replica.state == "starting" and now - replica.started > _PATIENT_S:
                replica.state = "waiting"
                self._say(replica, "waits for a node with room for it")
        elif _get(f"{replica.url}/health") is not None:
            replica.heard = now
            if replica.state != "ready":
                self._greet(replica)
            if replica.restarts and now - replica.started > _GOOD_S:
                replica.restarts = 0
        elif replica.state == "ready" and now - replica.heard > _DEAF_S:
            self._fallen(replica, f"gave no answer for {_DEAF_S:g} s")
        return replica.state != before

    def _greet(self, replica: Replica) -> None:
        assert replica.url is not None
        if not _warm_up(replica.url, self.exact_name):
            return
        replica.state = "ready"
        replica.ready_after_s = round(time.monotonic() - replica.started, 1)
        self.vllm = str((_get(f"{replica.url}/version") or {}).get("version", "")) or self.vllm
        self.write()  # who is told that it is ready will look there
        self._say(replica, f"ready at {replica.url} after {replica.ready_after_s:g} s")

    def _fallen(self, replica: Replica, why: str) -> None:
        was_ready = replica.state == "ready"
        replica.stop()
        if not was_ready and replica.restarts >= self.give_up:
            raise CurationError(
                f"replica {replica.index} of {self.exact_name} did not start in {replica.restarts + 1} attempts: {why}"
            )
        first, last = _BACK_OFF_S
        pause = min(last, first * 2**replica.restarts)
        replica.again = time.monotonic() + pause
        replica.state = "restarting"
        self._say(replica, f"{why}; again in {pause:g} s")

    def write(self) -> None:
        """Write the state file, whole or not at all."""
        gpu_hours = sum(replica.up_s() for replica in self.replicas) / 3600 * self.gpus_per_replica
        state = {
            "model": self.name,
            "exact_name": self.exact_name,
            "digest": self.digest,
            "folder": str(self.folder),
            "vllm": self.vllm,
            "pid": os.getpid(),
            "started": round(self.began, 1),
            "gpu_hours": round(gpu_hours, 4),
            "cost": round(gpu_hours * self.gpu_hour_price, 2),
            "replicas": [
                {
                    "url": r.url,
                    "state": r.state,
                    "pid": r.pid,
                    "restarts": r.restarts,
                    "ready_after_s": r.ready_after_s,
                }
                for r in self.replicas
            ],
        }
        self.state_file.parent.mkdir(parents=True, exist_ok=True)
        aside = self.state_file.with_name(f".{self.state_file.name}.{os.getpid()}")
        aside.write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")
        os.replace(aside, self.state_file)

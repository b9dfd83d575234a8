"""Runs a program that a model wrote, so that whatever it does stays in a folder that is gone afterwards.

A model's program may be wrong in any way: it loops, forks, fills disks, deletes files, calls home. Each runs in a cage
of its own (`sandbox_launcher.py` has its two layers), with limits of time, memory, processes and output, and is killed
when it reaches one. Where the kernel does not offer the layers nothing is run at all: `SandboxUnavailable` says which
is missing.

Trade-off: a new cage for each program costs 60 ms, most of it two starts of Python. A cage that is used twice would
show the second program what the first left.
"""

from __future__ import annotations

import base64
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal

from curation.errors import ResourceUnavailable

_LAUNCHER = str(Path(__file__).with_name("sandbox_launcher.py"))
#: Seconds between looks at the memory of all processes in a cage.
_LOOK_S = 0.05

Status = Literal["ok", "failed", "time", "memory", "output"]


class SandboxUnavailable(ResourceUnavailable):
    """This machine does not offer what the sandbox needs: nothing of a model's is run on it."""


@dataclass(frozen=True)
class Limits:
    """What a program may use. Times in seconds, sizes in bytes; `memory` is that of each process and of all
    together."""

    cpu_s: int = 10
    wall_s: float = 20.0
    memory: int = 1 << 30
    processes: int = 32
    output: int = 1 << 20
    disk: int = 64 << 20


@dataclass(frozen=True)
class Result:
    """What became of a program. status: `ok` (exit code 0), `failed`, or the limit it was killed at."""

    status: Status
    code: int | None
    stdout: bytes
    stderr: bytes
    cpu_s: float = 0.0
    landlock: bool = False


@dataclass(frozen=True)
class Sandbox:
    """Runs programs under limits. `readable`: folders that a program may read besides the system's libraries and
    Python's own; everything else of the machine is not there."""

    limits: Limits = field(default_factory=Limits)
    readable: tuple[str, ...] = ()

    def run_python(self, source: str, files: dict[str, bytes] | None = None) -> Result:
        """Run a Python program: this interpreter, its standard library, no packages."""
        python = os.path.realpath(sys.executable)
        return self.run([python, "-I", "-S", "-B", "main.py"], {**(files or {}), "main.py": source.encode()})

    def run(self, command: list[str], files: dict[str, bytes]) -> Result:
        """Run `command`, of which the first is a full path, in a folder with these files. SandboxUnavailable if the
        machine does not offer the layers."""
        if sys.platform != "linux":
            raise SandboxUnavailable(f"programs of a model run on Linux only, this is {sys.platform}")
        with tempfile.TemporaryDirectory(prefix="cage-") as root:
            os.chmod(root, 0o755)
            told, status = os.pipe()
            job = {
                "root": root,
                "readable": self._readable(),
                "files": {name: base64.b64encode(content).decode() for name, content in files.items()},
                "command": command,
                "environment": _environment(),
                "status": status,
                "memory": self.limits.memory,
                "cpu_s": self.limits.cpu_s,
                "processes": self.limits.processes,
                "disk": self.limits.disk,
            }
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-B", _LAUNCHER],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=(status,),
                start_new_session=True,
                cwd="/",
                env={},
            )
            os.close(status)
            try:
                assert process.stdin is not None
                with suppress(BrokenPipeError):
                    process.stdin.write(json.dumps(job).encode())
                    process.stdin.close()
                return self._watch(process, told)
            finally:
                _kill(process)
                os.close(told)

    def _readable(self) -> list[str]:
        paths = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", *_interpreter(), *self.readable]
        kept: list[str] = []
        for path in paths:
            if os.path.exists(path) and not any(path == k or path.startswith(f"{k}/") for k in kept):
                kept.append(path)
        return kept

    def _watch(self, process: subprocess.Popen, told: int) -> Result:
        """Read what the program says until it ends or reaches a limit."""
        said = {"stdout": bytearray(), "stderr": bytearray(), "status": bytearray()}
        assert process.stdout is not None and process.stderr is not None
        deadline = time.monotonic() + self.limits.wall_s
        broken: Status | None = None
        with selectors.DefaultSelector() as selector:
            for stream, name in (
                (process.stdout.fileno(), "stdout"),
                (process.stderr.fileno(), "stderr"),
                (told, "status"),
            ):
                selector.register(stream, selectors.EVENT_READ, name)
            looked = time.monotonic()
            while selector.get_map() and broken is None:
                for key, _ in selector.select(_LOOK_S):
                    data = os.read(key.fd, 1 << 16)
                    if data:
                        said[key.data] += data
                    else:
                        selector.unregister(key.fd)
                now = time.monotonic()
                if len(said["stdout"]) + len(said["stderr"]) > self.limits.output:
                    broken = "output"
                elif now > deadline:
                    broken = "time"
                elif now - looked > _LOOK_S:
                    looked = now
                    if _memory(process.pid) > self.limits.memory:
                        broken = "memory"
        _kill(process)
        process.stdout.close()
        process.stderr.close()
        facts: dict = {}
        for line in bytes(said["status"]).splitlines():
            facts |= json.loads(line)
        if "unavailable" in facts or ("landlock" not in facts and broken is None):
            why = facts.get("unavailable") or bytes(said["stderr"])[-200:].decode("utf-8", "replace")
            raise SandboxUnavailable(f"this machine offers no sandbox for programs of a model ({why}): nothing was run")
        return self._result(facts, broken, bytes(said["stdout"]), bytes(said["stderr"]))

    def _result(self, facts: dict, broken: Status | None, stdout: bytes, stderr: bytes) -> Result:
        code = None
        if broken is None and "code" in facts:
            code = os.waitstatus_to_exitcode(facts["code"])
        status: Status
        if broken is not None:
            status = broken
        elif code == -signal.SIGXCPU or (code == -signal.SIGKILL and facts.get("cpu_s", 0) >= self.limits.cpu_s):
            status = "time"
        elif code == -signal.SIGXFSZ:
            status = "output"
        elif code != 0 and b"MemoryError" in stderr[-200:]:
            status = "memory"
        else:
            status = "ok" if code == 0 else "failed"
        most = self.limits.output
        return Result(status, code, stdout[:most], stderr[:most], facts.get("cpu_s", 0.0), bool(facts.get("landlock")))


def check_sandbox() -> None:
    """Run a program that tries to get out, and look at what it could see. SandboxUnavailable if anything is amiss."""
    result = _probe()
    if result.status != "ok" or result.stdout.strip() != b"caged":
        raise SandboxUnavailable(
            f"the sandbox does not hold here ({result.status}, {result.stdout[-100:]!r}, {result.stderr[-200:]!r}): "
            "nothing of a model's is run"
        )


@cache
def _probe() -> Result:
    return Sandbox(Limits(cpu_s=5, wall_s=20)).run_python(
        "import os, socket\n"
        "seen = [p for p in ('/etc/passwd', '/home', '/proc/self', '/sys/kernel', '/var', '/tmp') if os.path.exists(p)]\n"  # noqa: E501
        "try:\n    socket.socket(); seen.append('socket')\nexcept OSError:\n    pass\n"
        "try:\n    open('/usr/x', 'w'); seen.append('/usr/x')\nexcept OSError:\n    pass\n"
        "print('caged' if not seen and os.getuid() == 1000 and os.getppid() == 1 else seen)\n"
    )


def _interpreter() -> list[str]:
    """Folders that this Python needs: its own installation, not the virtual environment."""
    found = [os.path.realpath(sys.base_prefix), os.path.dirname(os.path.realpath(sys.executable))]
    return [path for path in found if path not in ("/", "/usr")]


def _environment() -> dict[str, str]:
    libraries = f"{os.path.realpath(sys.base_prefix)}/lib"
    return {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/box", "TMPDIR": "/box", "LANG": "C.UTF-8"} | {
        "LD_LIBRARY_PATH": libraries,
        "PYTHONHASHSEED": "0",
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }


def _memory(pid: int) -> int:
    """Bytes of memory that the launcher and all below it hold."""
    import psutil

    total = 0
    with suppress(psutil.Error):
        for process in psutil.Process(pid).children(recursive=True):
            with suppress(psutil.Error):
                total += process.memory_info().rss
    return total


def _kill(process: subprocess.Popen) -> None:
    """Kill the launcher. Process 1 of the cage dies with it, and with that all processes inside."""
    with suppress(ProcessLookupError):
        process.kill()
    process.wait()

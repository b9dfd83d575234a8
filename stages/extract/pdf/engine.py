"""Runs a PDF engine in a process that is killed when a page holds it too long: a page then costs a page.

The engine of stages would kill the whole stage and quarantine the document. That is right for an HTML page and too
much for a document of 500 pages of which one hangs. Here the process that hangs is only the reader of pages: the
document goes on at the next page, in a new process, within a limit for the document. Limits are CPU time, because a
clock loses good pages on a loaded machine; a process that merely waits is stopped after ten times its limit.

Cost: a pipe of some 20 kB a page, 0.1 ms, and 0.3 s for each process that must be started.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import psutil

from stages.extract.pdf.page import Opened, PageText

_POLL_S = 0.05


class Failed(Exception):
    """The engine's process was killed or died; the message says why."""


@dataclass
class Reading:
    """A document as read: what it says of itself, and its pages."""

    opened: Opened
    pages: list[PageText] = field(default_factory=list)


class Engine:
    """A process with a PDF engine.

    page_s: CPU seconds for a page, or for opening a document. document_s: CPU seconds for a document.
    memory_mb: address space that the process may take beyond what it has after its imports.
    """

    def __init__(self, page_s: float = 10.0, document_s: float = 120.0, memory_mb: int = 1024) -> None:
        self.page_s, self.document_s, self.memory = page_s, document_s, memory_mb << 20
        self.cpu_s = 0.0  # that all its processes have used
        self.kills = 0
        self._process: subprocess.Popen | None = None
        self._connection: Connection | None = None
        self._used = 0.0  # CPU seconds of the present process when it was heard of last

    def read(self, backend: str, content: bytes, first: int = 0, stop: int = 1 << 30) -> Reading:
        """The pages [first, stop) of a document, each with words or with an error."""
        reading: Reading | None = None
        began = self.cpu_s
        while True:
            number = first + (len(reading.pages) if reading else 0)
            try:
                for value in self._ask(backend, content, "page", number, (stop,)):
                    if not isinstance(value, Opened):
                        assert reading is not None
                        reading.pages.append(value)
                    elif reading is None:
                        reading = Reading(value)
                    if self.cpu_s - began > self.document_s:
                        self.close()
                        return _give_up(reading, first, stop)
                assert reading is not None
                return reading
            except Failed as error:
                if reading is None:
                    return Reading(Opened(problem=str(error)))
                reading.pages.append(PageText(first + len(reading.pages), error=str(error)))
                if self.cpu_s - began > self.document_s:
                    return _give_up(reading, first, stop)
                if first + len(reading.pages) >= min(reading.opened.pages, stop):
                    return reading

    def render(
        self, backend: str, content: bytes, number: int, longest_side: int, turns: int = 0
    ) -> tuple[int, int, bytes]:
        """Width, height and grey levels of a page. Failed if it cannot be rendered."""
        result: Any = None
        for value in self._ask(backend, content, "render", number, (longest_side, turns)):
            if isinstance(value, PageText):
                raise Failed(value.error or "")
            result = value
        if isinstance(result, Opened):
            raise Failed(result.problem or "no such page")
        return result

    def close(self) -> None:
        """Kill the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def start(self) -> None:
        """Start the process, if it does not run."""
        if self._process is not None:
            return
        ours, theirs = socket.socketpair()
        env = os.environ | {
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "OPENBLAS_NUM_THREADS": "1",
        }
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "stages.extract.pdf.worker",
                str(theirs.fileno()),
                str(os.getpid()),
                str(self.memory),
            ],
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env=env,
        )
        theirs.close()
        self._connection = Connection(ours.detach())
        self._used = 0.0

    def _ask(self, backend: str, content: bytes, method: str, first: int, args: tuple) -> Iterator[Any]:
        """The answers to one request. Failed if the process had to be killed or died."""
        self.start()
        assert self._connection is not None
        try:
            self._connection.send((backend, content, method, first, args))
            while True:
                self._wait()
                value, used = self._connection.recv()
                self._count(used)
                if value is None:
                    return
                yield value
        except (EOFError, OSError):
            how = self._exit()
            self.kills += 1
            self.close()
            raise Failed(f"crashed: {how}") from None
        except GeneratorExit:
            self.close()  # answers that nobody has taken would be taken for those to the next request
            raise

    def _wait(self) -> None:
        """Wait for an answer within the limit of a page."""
        assert self._connection is not None and self._process is not None
        since = time.monotonic()
        while not self._connection.poll(_POLL_S):
            try:
                times = psutil.Process(self._process.pid).cpu_times()
                used = times.user + times.system
            except psutil.Error:
                continue  # it is gone: the connection will say so
            if used - self._used > self.page_s or time.monotonic() - since > 10 * self.page_s:
                self._count(used)
                self.kills += 1
                self.close()
                raise Failed("timeout")

    def _count(self, used: float) -> None:
        self.cpu_s += max(0.0, used - self._used)
        self._used = used

    def _exit(self) -> str:
        assert self._process is not None
        try:
            code = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return "no answer"
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _give_up(reading: Reading, first: int, stop: int) -> Reading:
    """The reading with an error for each page that was not reached."""
    for number in range(first + len(reading.pages), min(reading.opened.pages, stop)):
        reading.pages.append(PageText(number, error="document_timeout"))
    return reading

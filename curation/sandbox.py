"""Runs a segment's stages in a child process that can be killed, so that one document costs one document.

An HTML or PDF parser can hang inside native code that holds the interpreter's lock (resiliparse on 100,000 nested
divs: more than 200 s, deaf to every signal), crash, or eat all memory. Only another process can stop it. The child
lives as long as the worker and keeps its models loaded; the parent sends it batches, watches its CPU time and
memory, and knows from a few shared bytes which documents the stage at work was given. If the child must be killed,
or dies, the batch is sent again to a new child: documents that were alone in the call go to quarantine, those that
were in company are tried one by one. A crash must happen twice with the same document, for a child may also be killed
from outside (by the kernel, short of memory); so two children die for one bad document.

The limit is CPU time, not time on the clock: on a loaded machine a clock loses good pages (a child that merely
waits is stopped after ten times its limit, or its own `wait_s`). Cost: one copy of each batch through a socket, about
1 ms per MB.
"""

from __future__ import annotations

import ctypes
import io
import mmap
import os
import pickle
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import psutil
import pyarrow as pa

from curation.chain import BatchResult, Chain, Suspicion
from curation.errors import ContractError, CurationError, error_text
from curation.stage import Outcome

#: What the child tells while it works: number of the call, step, first and last ordinal, count, CPU seconds at entry.
_STATE = struct.Struct("<qqqqqd")
#: How often a parent looks at a child that is still working, seconds.
_POLL_S = 0.05
#: Deaths of the child in a row that no document explains, after which the task gives up.
_MOST_UNEXPLAINED = 3


class _Pickler(pickle.Pickler):
    """Pickles Arrow tables as IPC streams: a slice then costs its own bytes, not those of the table it is cut from."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, pa.Table):
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, value.schema) as writer:
                writer.write_table(value)
            return _table, (sink.getvalue().to_pybytes(),)
        return NotImplemented


def _table(data: bytes) -> pa.Table:
    return pa.ipc.open_stream(data).read_all()


def _send(connection: Connection, value: Any) -> None:
    buffer = io.BytesIO()
    _Pickler(buffer, protocol=5).dump(value)
    connection.send_bytes(buffer.getbuffer())


def _receive(connection: Connection) -> Any:
    return pickle.loads(connection.recv_bytes())


class _Death(Exception):
    """The child had to be killed; the message says why."""


class Sandbox:
    """A chain of stages in a child process.

    memory_mb: what the stages may take on top of what they loaded in setup.
    limits: CPU seconds per call, one for each step.
    """

    def __init__(self, chain: Chain, memory_mb: int):
        self.chain = chain
        self.memory = memory_mb << 20
        self.limits = [stage.limit_s for stage in chain.stages]
        self.waits = [stage.wait_s or 10 * stage.limit_s for stage in chain.stages]
        self._process: subprocess.Popen | None = None
        self._connection: Connection | None = None
        self._state: mmap.mmap | None = None
        self._base = 0
        self.deaths = 0
        self.peak_rss = 0

    def start(self) -> None:
        """Start the child and set its stages up. CurationError if that fails."""
        for _ in range(_MOST_UNEXPLAINED):
            try:
                self._spawn()
                return
            except (EOFError, OSError):
                ending = self._exit()
                self.close()
        raise CurationError(f"the stages' process died {_MOST_UNEXPLAINED} times while it was set up ({ending})")

    def _spawn(self) -> None:
        ours, theirs = socket.socketpair()
        with tempfile.TemporaryFile() as file:
            file.write(bytes(_STATE.size))
            file.flush()
            self._state = mmap.mmap(file.fileno(), _STATE.size)
            env = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
            self._process = subprocess.Popen(
                [sys.executable, "-m", "curation.sandbox", str(theirs.fileno()), str(file.fileno()), str(os.getpid())],
                pass_fds=(theirs.fileno(), file.fileno()),
                stdin=subprocess.DEVNULL,
                env=env,
            )
        theirs.close()
        self._connection = Connection(ours.detach())
        _send(self._connection, self.chain)
        problem = _receive(self._connection)
        if problem is not None:
            self.close()
            raise problem
        self._base = self._usage()[1]

    def run(self, source: Outcome, first: int, **options: Any) -> BatchResult:
        """`Chain.run` in the child; documents that hang, crash or outgrow it come back as failed."""
        doubt = Suspicion()
        deaths: Counter[tuple[int, int]] = Counter()  # (step, ordinal) -> children that died with it
        unexplained, why = 0, ""
        while unexplained < _MOST_UNEXPLAINED:
            if self._process is None:
                self.start()
            assert self._connection is not None and self._state is not None
            self._state[:] = bytes(_STATE.size)
            try:
                _send(self._connection, (source, first, options, doubt))
                result = self._wait()
            except _Death as death:
                why = str(death)
                unexplained = 0 if self._blame(doubt, deaths, why, certain=True) else unexplained + 1
                self.close()
                continue
            except (EOFError, OSError):
                why = f"crashed: {self._exit()}"
                unexplained = 0 if self._blame(doubt, deaths, why, certain=False) else unexplained + 1
                self.close()
                continue
            if isinstance(result, BaseException):
                self.close()
                raise result
            return result
        raise CurationError(
            f"the stages' process died {_MOST_UNEXPLAINED} times without being given a document ({why})"
        )

    def _wait(self) -> Any:
        """The child's answer. _Death if it had to be killed."""
        assert self._connection is not None and self._state is not None
        call, since = -1, time.monotonic()
        while not self._connection.poll(_POLL_S):
            number, step, _, _, _, entered = _STATE.unpack(self._state[:])
            if number != call:
                call, since = number, time.monotonic()
            cpu, rss = self._usage()
            limit = self.limits[step]
            if number and cpu - entered > limit:
                raise _Death(f"timeout: more than {limit:g} CPU seconds")
            if number and time.monotonic() - since > self.waits[step]:
                raise _Death(f"timeout: no result in {self.waits[step]:g} seconds")
            if rss - self._base > self.memory:
                raise _Death(f"memory: more than {self.memory >> 20} MiB")
        result = _receive(self._connection)
        self.peak_rss = max(self.peak_rss, self._usage()[1])
        return result

    def _usage(self) -> tuple[float, int]:
        """CPU seconds and resident bytes of the child; (0, 0) if it is gone."""
        assert self._process is not None
        try:
            process = psutil.Process(self._process.pid)
            times = process.cpu_times()
            return times.user + times.system, process.memory_info().rss
        except psutil.Error:
            return 0.0, 0

    def _blame(self, doubt: Suspicion, deaths: Counter[tuple[int, int]], why: str, certain: bool) -> bool:
        """Note the documents the child was given when it died; False if it had none yet.

        certain: whether the documents are to blame for sure (they held the child until it was killed for it).
        """
        assert self._state is not None
        self.deaths += 1
        number, step, lo, hi, n, _ = _STATE.unpack(self._state[:])
        if not number:
            return False
        suspects = {(step, row) for row in range(lo, hi + 1)}
        deaths.update(suspects)
        if n == 1 and (certain or deaths[(step, lo)] > 1):
            doubt.condemned[(step, lo)] = why
        else:
            doubt.single |= suspects
        return True

    def _exit(self) -> str:
        assert self._process is not None
        try:
            code = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return "no answer"
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def close(self) -> None:
        """Kill the child."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class InProcess:
    """The same interface without a child: for a debugger and fast tests. It cannot stop what hangs or crashes."""

    def __init__(self, chain: Chain, memory_mb: int):
        self.chain, self.deaths = chain, 0

    def start(self) -> None:
        """Set the stages up."""
        self.chain.setup()

    def run(self, source: Outcome, first: int, **options: Any) -> BatchResult:
        """`Chain.run` here."""
        return self.chain.run(source, first, **options)

    @property
    def peak_rss(self) -> int:
        """Resident bytes of this process."""
        return psutil.Process().memory_info().rss

    def close(self) -> None:
        """Nothing to close."""


class _SharedWatch:
    """Writes what a stage is given into the shared bytes before each call."""

    def __init__(self, state: mmap.mmap):
        self.state, self.number = state, 0

    def enter(self, step: int, rows: np.ndarray) -> None:
        self.number += 1
        self.state[:] = _STATE.pack(self.number, step, int(rows[0]), int(rows[-1]), len(rows), time.process_time())


def _die_with_parent(parent: int) -> None:
    """Ask the kernel to kill this process when its parent dies, in whatever native code it may be then."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:
            os._exit(1)


def _give_back_memory() -> None:
    """Return what setting up has freed to the kernel: the pages of parsed files and tables, 130 MB with a tokenizer.

    glibc keeps such pages for later; other C libraries have no such call, and most need none.
    """
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


def _main(connection_fd: int, state_fd: int, parent: int) -> None:
    """The child: receive the chain, set it up, then answer batches until the parent closes the connection."""
    _die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    pa.set_cpu_count(1)
    connection = Connection(connection_fd)
    watch = _SharedWatch(mmap.mmap(state_fd, _STATE.size))
    os.close(state_fd)
    chain: Chain = _receive(connection)
    problem = _guarded(chain.setup)
    _give_back_memory()
    _send(connection, problem)
    while True:
        try:
            source, first, options, doubt = _receive(connection)
        except EOFError:
            return
        watch.number = 0
        _send(connection, _guarded(lambda: chain.run(source, first, watch=watch, suspicion=doubt, **options)))  # noqa: B023


def _guarded(work: Callable[[], Any]) -> Any:
    """The result, or the exception as a value that can be sent."""
    try:
        return work()
    except (ContractError, CurationError) as error:
        return type(error)(str(error))
    except Exception as error:
        return CurationError(f"{error_text(error)} (in the engine's chain of stages)")


if __name__ == "__main__":
    # Run by name and not from the module that was started as __main__, so that pickled classes are the same ones.
    from curation import sandbox

    sandbox._main(*(int(argument) for argument in sys.argv[1:4]))

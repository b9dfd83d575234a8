"""Compares mathematical answers by value: 1/2 and 0.5, `\\frac{1}{2}` and `50\\%`, x+1 and 1+x.

math-verify does it with sympy, and sympy can take minutes, or all memory, over an answer that a model made up. So it
works in a process of its own, which is killed at a time limit and started anew; such a pair counts as not comparable,
and what is not comparable is not kept.

Trade-off: the process takes a second to start and 100 MB, once for each worker.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from curation.errors import ConfigError

_WORKER = str(Path(__file__).with_name("math_worker.py"))
#: Seconds on the clock for one pair, and for the process to start; bytes of memory.
_LIMIT_S, _START_S, _MEMORY = 10.0, 120.0, 2 << 30
#: Characters of an answer; longer ones are no answers.
_LONGEST = 500


def require_math_verify() -> None:
    """ConfigError if the extra `math` is not installed."""
    from importlib.util import find_spec

    if find_spec("math_verify") is None:
        raise ConfigError("mathematical answers are compared by math-verify: pip install 'curation[math]'")


class MathChecker:
    """`same(a, b)` says whether two answers are equal. One process, started when first asked."""

    def __init__(self, limit_s: float = _LIMIT_S):
        self.limit_s = limit_s
        self.killed = 0
        self._process: subprocess.Popen | None = None
        self._buffer = b""
        self.same = lru_cache(1 << 14)(self._same)

    def _start(self) -> None:
        import resource

        def limit() -> None:
            resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))

        self._buffer = b""
        self._process = subprocess.Popen(
            [sys.executable, _WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            preexec_fn=limit,
        )
        if not (self._answer(_START_S) or {}).get("ready"):
            self.close()
            raise ConfigError("math-verify does not start: pip install 'curation[math]'")

    def _answer(self, limit_s: float) -> dict[str, Any] | None:
        """The next line of the process; None if it ends, or takes longer."""
        assert self._process is not None and self._process.stdout is not None
        handle = self._process.stdout.fileno()
        with selectors.DefaultSelector() as selector:
            selector.register(handle, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                if not selector.select(limit_s):
                    return None
                data = os.read(handle, 1 << 16)
                if not data:
                    return None
                self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return json.loads(line)

    def _same(self, a: str, b: str) -> bool | None:
        """Whether two answers are the same; None if that cannot be said."""
        if max(len(a), len(b)) > _LONGEST or not a.strip() or not b.strip():
            return None
        if self._process is None:
            self._start()
        assert self._process is not None and self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"a": a, "b": b}).encode() + b"\n")
            self._process.stdin.flush()
            answer = self._answer(self.limit_s)
        except BrokenPipeError:
            answer = None
        if answer is None:
            self.killed += 1
            self.close()
            return None
        return answer["same"]

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()
            for stream in (self._process.stdin, self._process.stdout):
                if stream is not None:
                    with suppress(OSError):
                        stream.close()
            self._process.wait()
        self._process = None

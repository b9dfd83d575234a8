"""How many requests are in flight: up to a limit that gives way when the server says that it is too many.

The limit falls by half on a 429 or 503 (at most once a second: a storm of them is one message) and rises by about one
with every limit's worth of answers: TCP's rule, which finds what a server bears without knowing it. Below the limit a
request waits: that is the back-pressure, and memory stays bounded by it.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque


class Gate:
    """`async with gate:` around a request. `most`: upper bound of the limit."""

    def __init__(self, most: int):
        self.most, self.limit = most, float(most)
        self.in_flight = self.peak = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._shrunk = 0.0

    async def __aenter__(self) -> None:
        while self.in_flight >= int(self.limit):
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                self._wake()
                raise
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)

    async def __aexit__(self, *_: object) -> None:
        self.in_flight -= 1
        self._wake()

    def _wake(self) -> None:
        free = int(self.limit) - self.in_flight
        while self._waiting and free > 0:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                free -= 1

    def shrink(self) -> None:
        """The server has too much to do."""
        now = time.monotonic()
        if now - self._shrunk >= 1.0:
            self._shrunk = now
            self.limit = max(1.0, self.limit / 2)

    def grow(self) -> None:
        """The server has answered."""
        self.limit = min(float(self.most), self.limit + 1 / self.limit)
        self._wake()

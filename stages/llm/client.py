"""Asks a server many things at once, and gets an answer to each, or a reason why there is none.

Many requests are in flight; failures that may pass (429, 5xx, a lost connection, a time-out) are tried again after a
random and growing pause, or the one the server names; every answer is kept on disk before it is used. Two kinds of
trouble are told apart. A request the server refuses, or answers unusably time after time, is the document's: it comes
back with its error. A server that gives no answer to anyone for `patience_s` is nobody's fault: ResourceUnavailable
stops the run, and what was answered is not paid again.

Determinism: temperature 0 and a fixed seed are the default, and the cache makes a rerun see the same answers. Without
the cache vLLM does not promise the same text: the sums in its kernels depend on which requests share a batch, so a
near tie between two tokens can fall either way.

Trade-off: one event loop and one process. It sends some 2,000 requests a second, more than a server of a few GPUs
answers; a corpus is split over many workers anyway. httpx would share more code with other tools, and takes twice the
CPU time per request.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import random
import time
from collections import deque
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from curation.errors import ConfigError, ResourceUnavailable
from stages.llm.cache import AnswerCache, key_of
from stages.llm.gate import Gate
from stages.llm.request import Accept, Answer, AnswerError, Reply, Request
from stages.llm.servers import Model, Server, choose_model, least_loaded, server_urls

#: Pauses before trying again: a random part of the longest, which doubles from the first to the last number. Seconds.
_PAUSE_S = (0.25, 30.0)


@dataclass
class Usage:
    """What asking cost in this process. Unlike the answers it depends on what the cache already held."""

    requests: int = 0  # sent
    retries: int = 0
    tokens_in: int = 0  # paid, not from the cache
    tokens_out: int = 0
    milliseconds: int = 0  # on the clock, while answers were waited for


class _Refused(Exception):
    """The server will not answer this request, however often it is asked."""


@dataclass
class Client:
    """Asks the server at `where` (see `server_urls`).

    cache: None asks anew every time. max_in_flight: over all replicas. timeout_s: one request, on the clock.
    retries: failed attempts at one request, while others are answered, after which it is given up. max_asks: unusable
    answers to one request after which it is given up. token_budget: tokens in and out that the cache folder may have
    cost in all.
    """

    where: str | Sequence[str]
    model: str | None = None
    cache: AnswerCache | None = None
    api_key: str | None = None
    max_in_flight: int = 64
    timeout_s: float = 600.0
    patience_s: float = 120.0
    retries: int = 6
    max_asks: int = 3
    token_budget: int | None = None
    usage: Usage = field(default_factory=Usage)
    gate: Gate = field(init=False)
    _loop: Any = None
    _session: Any = None
    _servers: list[Server] = field(default_factory=list)
    _model: Model | None = None
    _answered: float = 0.0  # when anybody was last answered

    def __post_init__(self) -> None:
        self.gate = Gate(self.max_in_flight)

    def ask(self, requests: Sequence[Request], accept: Accept) -> list[Reply]:
        """A reply to each request, in order. ResourceUnavailable if the server is gone or the budget spent."""
        began = time.monotonic()
        if self.cache is not None:
            self.cache.refresh()
        try:
            return self._run(self._ask_all(requests, accept))
        finally:
            self.usage.milliseconds += int(1000 * (time.monotonic() - began))

    def identify(self) -> Model:
        """Which model is served; asks the server the first time."""
        if self._model is None:
            self._run(self._connect())
        assert self._model is not None
        return self._model

    def close(self) -> None:
        """Close connections."""
        atexit.unregister(self.close)
        if self._loop is not None:
            if self._session is not None:
                self._loop.run_until_complete(self._session.close())
            self._loop.close()
        self._loop = self._session = None
        if self.cache is not None:
            self.cache.close()

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        return self._loop.run_until_complete(work)

    async def _connect(self) -> None:
        import aiohttp

        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=self.timeout_s, connect=min(30.0, self.timeout_s)),
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30),
                headers={"Authorization": f"Bearer {self.api_key}"} if self.api_key else {},
            )
            atexit.register(self.close)
        self._answered = time.monotonic()
        if self._model is None:
            try:
                self._servers = [Server(url) for url in server_urls(self.where)]
            except ConfigError as error:
                raise ResourceUnavailable(str(error)) from error
            listing, url = await self._listing()
            self._model = choose_model(listing, self.model, url)

    async def _listing(self) -> tuple[Any, str]:
        """The body of `/v1/models`, from the first server that gives it."""
        failures = 0
        while True:
            server = least_loaded(self._servers, time.monotonic())
            try:
                return await self._send(server, "GET", "/v1/models", None), server.url
            except _Refused as error:
                raise ResourceUnavailable(f"{server.url}/v1/models: {error}") from error
            except ResourceUnavailable:
                raise
            except Exception as error:
                failures += 1
                await self._pause(server, error, failures)

    async def _ask_all(self, requests: Sequence[Request], accept: Accept) -> list[Reply]:
        await self._connect()
        replies: list[Reply | None] = [None] * len(requests)
        waiting = deque(enumerate(requests))
        same: dict[bytes, asyncio.Lock] = {}

        async def work() -> None:
            while waiting:
                i, request = waiting.popleft()
                # Equal documents in one batch: the second waits for the first, and finds its answer in the cache.
                async with same.setdefault(self._key(request), asyncio.Lock()):
                    replies[i] = await self._reply(request, accept)

        workers = [asyncio.ensure_future(work()) for _ in range(min(self.max_in_flight, len(requests)))]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        return [reply for reply in replies if reply is not None]

    def _key(self, request: Request) -> bytes:
        assert self._model is not None
        return key_of(self._model.identity, json.dumps(request.body(), sort_keys=True))

    async def _reply(self, request: Request, accept: Accept) -> Reply:
        tokens_in = tokens_out = 0
        for ask in range(1, self.max_asks + 1):
            try:
                answer = await self._answer(request)
            except _Refused as error:
                return Reply(None, None, str(error), ask, tokens_in, tokens_out)
            tokens_in, tokens_out = tokens_in + answer.tokens_in, tokens_out + answer.tokens_out
            try:
                return Reply(accept(request, answer), answer, None, ask, tokens_in, tokens_out)
            except AnswerError as error:
                problem = f"unusable answer: {error}"
                request = request.again(answer.cut_short)
        return Reply(None, answer, problem, self.max_asks, tokens_in, tokens_out)

    async def _answer(self, request: Request) -> Answer:
        """From the cache, or from a server. _Refused if the request cannot be answered."""
        key = self._key(request)
        kept = self.cache.get(key) if self.cache is not None else None
        if kept is not None:
            return Answer.from_bytes(kept)
        assert self._model is not None
        body = request.body() | {"model": self._model.name}
        failures = lost = 0
        while True:
            self._check_budget()
            async with self.gate:
                server = least_loaded(self._servers, time.monotonic())
                server.in_flight += 1
                self.usage.requests += 1
                try:
                    answer = Answer.of_completion(await self._send(server, "POST", "/v1/chat/completions", body))
                except (_Refused, ResourceUnavailable, asyncio.CancelledError):
                    raise
                except Exception as error:
                    problem: Exception | None = error
                else:
                    problem = None
                finally:
                    server.in_flight -= 1
            if problem is None:
                break
            self.usage.retries += 1
            if isinstance(problem, _Busy) or _is_lost(problem):
                lost += 1  # says nothing of this request: only patience ends it
            else:
                failures += 1
                if failures > self.retries and time.monotonic() - self._answered <= self.patience_s:
                    raise _Refused(f"no answer in {failures} attempts: {_words(problem)}") from problem
            await self._pause(server, problem, failures + lost)
        server.failures = 0
        self._answered = time.monotonic()
        self.gate.grow()
        self.usage.tokens_in += answer.tokens_in
        self.usage.tokens_out += answer.tokens_out
        if self.cache is not None:
            self.cache.put(key, answer.to_bytes(), answer.tokens_in, answer.tokens_out)
        return answer

    def _check_budget(self) -> None:
        spent = self.cache.tokens if self.cache is not None else self.usage.tokens_in + self.usage.tokens_out
        if self.token_budget is not None and spent >= self.token_budget:
            raise ResourceUnavailable(
                f"the token budget of {self.token_budget:,} is spent ({spent:,}); what was answered is kept, a larger "
                "token_budget goes on from there"
            )

    async def _send(self, server: Server, method: str, path: str, body: dict[str, Any] | None) -> Any:
        """The parsed reply. _Refused for what will not change, _Busy for 429 and 503, other exceptions for the rest."""
        async with self._session.request(method, server.url + path, json=body) as response:
            if response.status == 200:
                return json.loads(await response.read())
            text = (await response.text(errors="replace"))[:300].replace("\n", " ")
            what = f"HTTP {response.status} {text}".strip()
            if response.status in (401, 403, 404, 405):
                raise ResourceUnavailable(f"{server.url}{path}: {what}; check the address, the model and the key")
            if response.status in (429, 503):
                self.gate.shrink()
                raise _Busy(what, _seconds(response.headers.get("Retry-After")))
            if response.status == 408 or response.status >= 500:
                raise _Failed(what)
            raise _Refused(what)

    def _look_again(self) -> None:
        """Take the servers from the state file anew: one that Ray moved to another node has another address."""
        if isinstance(self.where, str) and "://" not in self.where:
            with suppress(ConfigError):
                known = {server.url: server for server in self._servers}
                self._servers = [known.get(url) or Server(url) for url in server_urls(self.where)]

    async def _pause(self, server: Server, problem: Exception, failures: int) -> None:
        """Wait before trying again. ResourceUnavailable if nobody was answered for too long."""
        now = time.monotonic()
        if now - self._answered > self.patience_s:
            urls = ", ".join(s.url for s in self._servers)
            raise ResourceUnavailable(
                f"no answer from {urls} in {self.patience_s:g} s ({_words(problem)}); nothing is lost: start the "
                "server (curation serve MODEL) and the run again"
            ) from problem
        first, last = _PAUSE_S
        pause = random.uniform(first / 2, min(last, first * 2 ** min(failures, 16)))
        if isinstance(problem, _Busy):
            pause = max(pause, min(problem.retry_after, self.patience_s)) if problem.retry_after else pause
        elif _is_lost(problem):
            server.failures += 1
            server.down_until = now + min(last, first * 2 ** min(server.failures, 16))
            self._look_again()
            pause = first / 2 if len(self._servers) > 1 else pause  # another replica can be asked at once
        left = self._answered + self.patience_s - now
        await asyncio.sleep(min(pause, max(left, 0) + 0.05))


class _Failed(Exception):
    """The server failed on the request, and may not the next time."""


class _Busy(Exception):
    """The server has too much to do. retry_after: seconds it asks to wait, or 0."""

    def __init__(self, message: str, retry_after: float):
        super().__init__(message)
        self.retry_after = retry_after


def _is_lost(error: Exception) -> bool:
    """Whether the connection failed, not the request."""
    import aiohttp

    if isinstance(error, asyncio.TimeoutError):
        return isinstance(error, aiohttp.ConnectionTimeoutError)
    return isinstance(error, aiohttp.ClientConnectionError | aiohttp.ClientPayloadError)


def _seconds(header: str | None) -> float:
    """`Retry-After` in seconds; 0 if there is none or it is a date that is no use."""
    if not header:
        return 0.0
    try:
        return max(0.0, float(header))
    except ValueError:
        from email.utils import parsedate_to_datetime

        try:
            return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
        except (ValueError, TypeError):
            return 0.0


def _words(error: Exception) -> str:
    if isinstance(error, asyncio.TimeoutError):
        return "time-out"
    if isinstance(error, KeyError | IndexError | TypeError | ValueError):
        return f"the reply is not a chat completion: {type(error).__name__} {error}"[:200]
    return (f"{error}" or type(error).__name__)[:200]

"""What the stages that ask a language model share: the keys that say which server, and the bookkeeping.

Keys that change how fast or how dearly an answer comes, but not which, are left out of the fingerprint of a run: a
server at another port, or a raised budget, recomputes nothing that is committed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, PrivateAttr

from curation.errors import ConfigError, ResourceUnavailable
from curation.stage import Stage
from stages.llm.request import Accept, Reply, Request

if TYPE_CHECKING:
    from stages.llm.client import Client


class LanguageModelStage(Stage):
    """A stage that asks a language model. `self.ask(requests, accept)` does it."""

    limit_s: ClassVar[float] = 600.0
    wait_s: ClassVar[float] = 24 * 3600.0  # the client gives up long before: every request has its own limits

    server: str | list[str] = Field(
        "http://localhost:8000",
        exclude=True,
        description="OpenAI-compatible server: URL, several URLs, or the state file of `curation serve`",
    )
    model: str | None = Field(
        None, description="name of the model, `NAME@HASH` for exactly those weights; by default the server's first"
    )
    api_key_variable: str = Field(
        "OPENAI_API_KEY", exclude=True, description="environment variable that holds the server's key, if it wants one"
    )
    cache: str | None = Field(
        None,
        exclude=True,
        description="folder for answers, seen by all workers; by default in the run's folder. Runs may share one",
    )
    max_in_flight: int = Field(64, ge=1, exclude=True, description="most requests of one worker at a time")
    timeout_s: float = Field(600, gt=0, exclude=True, description="longest wait for one answer, seconds")
    patience_s: float = Field(
        120, gt=0, exclude=True, description="seconds without any answer after which the run stops, to be resumed"
    )
    retries: int = Field(
        6, ge=0, exclude=True, description="failures of one request, while others succeed, before it is given up"
    )
    max_asks: int = Field(3, ge=1, description="unusable answers to one request before it is given up")
    token_budget: int | None = Field(
        None, ge=0, exclude=True, description="tokens, in and out, that the folder of answers may cost in all"
    )
    price_in: float = Field(0, ge=0, exclude=True, description="price of a million tokens read, for the cost counter")
    price_out: float = Field(0, ge=0, exclude=True, description="price of a million tokens written")
    parameters: dict[str, Any] = Field(
        default_factory=dict,
        description="added to every request as they are (`{chat_template_kwargs: {enable_thinking: false}}`)",
    )
    unanswered: Literal["quarantine", "keep"] = Field(
        "quarantine", description="what becomes of a document the model gives no usable answer for"
    )

    _client: Client | None = PrivateAttr(None)

    def check(self) -> None:
        if not isinstance(self.server, str) or "://" in self.server:
            from stages.llm.servers import server_urls

            server_urls(self.server)
        if self.cache is not None and "://" in self.cache:
            raise ConfigError(f"cache '{self.cache}' must be a folder on a disk that all workers see, not a URL")

    def _answers(self) -> Path:
        """The folder of answers."""
        folder = self.cache or (f"{self.folder}/answers" if self.folder else "")
        if not folder or "://" in folder:
            raise ResourceUnavailable(
                "the run's folder is no local disk, where answers could be kept: name one with the key `cache`"
            )
        return Path(os.path.expanduser(folder))

    def client(self) -> Client:
        """The client of this worker."""
        if self._client is None:
            from stages.llm.cache import AnswerCache
            from stages.llm.client import Client

            self._client = Client(
                self.server,
                self.model,
                AnswerCache(self._answers()),
                os.environ.get(self.api_key_variable),
                max_in_flight=self.max_in_flight,
                timeout_s=self.timeout_s,
                patience_s=self.patience_s,
                retries=self.retries,
                max_asks=self.max_asks,
                token_budget=self.token_budget,
            )
        return self._client

    def ask(self, requests: Sequence[Request], accept: Accept) -> list[Reply]:
        """A reply to each request, counted. ResourceUnavailable if the server is gone."""
        if not requests:
            return []
        client = self.client()
        before = astuple(client.usage)
        replies = client.ask(requests, accept)
        sent, retried, paid_in, paid_out, waited = (b - a for a, b in zip(before, astuple(client.usage), strict=True))
        count = self.metrics.count
        # The same for every run: what the answers say.
        count("answers", sum(reply.error is None for reply in replies))
        count("unusable_answers", sum(reply.asks - (reply.error is None) for reply in replies))
        count("tokens_in", sum(reply.tokens_in for reply in replies))
        count("tokens_out", sum(reply.tokens_out for reply in replies))
        # What it took this time: less, when answers were kept.
        count("paid_tokens_in", paid_in)
        count("paid_tokens_out", paid_out)
        count("requests_sent", sent)
        count("requests_retried", retried)
        count("milliseconds_waited", waited)
        if self.price_in or self.price_out:
            count("cost_millionths", round(paid_in * self.price_in + paid_out * self.price_out))
        return replies

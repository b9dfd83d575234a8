"""What is asked of a model and what comes back, apart from how it travels."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any


class AnswerError(ValueError):
    """An answer that cannot be used: no JSON, not of the schema, cut short. The message says what is wrong with it."""


@dataclass(frozen=True)
class Request:
    """One chat completion. `system` should be the same for as many requests as possible and come first: the server
    then computes its keys and values once (prefix caching).

    schema: JSON schema that the server holds the answer to. logprobs: how many tokens to give probabilities of at
    each place. ask: 0, or how many answers to this request could not be used.
    """

    system: str
    user: str
    max_tokens: int = 512
    schema: dict[str, Any] | None = None
    temperature: float = 0.0
    seed: int = 0
    logprobs: int = 0
    extra: dict[str, Any] = field(default_factory=dict)  # parameters of the server's own (`chat_template_kwargs`)
    ask: int = 0

    def again(self, cut_short: bool) -> Request:
        """The request to try next: another seed, some temperature (the same would give the same), and twice the
        length if the answer was cut short."""
        return replace(
            self,
            ask=self.ask + 1,
            seed=self.seed + 1,
            temperature=max(self.temperature, 0.5),
            max_tokens=self.max_tokens * (2 if cut_short else 1),
        )

    def body(self) -> dict[str, Any]:
        """The request as the server takes it, without the name of the model."""
        body: dict[str, Any] = {
            "messages": [{"role": "system", "content": self.system}, {"role": "user", "content": self.user}],
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "seed": self.seed % (1 << 31),
        }
        if self.schema is not None:
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": self.schema, "strict": True},
            }
        if self.logprobs:
            body |= {"logprobs": True, "top_logprobs": self.logprobs}
        return body | self.extra


@dataclass(frozen=True)
class Answer:
    """What a model said. tokens: (text, [(text, log-probability) of the most probable tokens there]), if asked for."""

    text: str
    finish: str
    tokens_in: int
    tokens_out: int
    tokens: list[tuple[str, list[tuple[str, float]]]] = field(default_factory=list)
    cached: bool = False

    @property
    def cut_short(self) -> bool:
        """Whether `max_tokens` ended it."""
        return self.finish == "length"

    def to_bytes(self) -> bytes:
        """For the cache."""
        return json.dumps([self.text, self.finish, self.tokens_in, self.tokens_out, self.tokens]).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Answer:
        """The inverse of `to_bytes`."""
        text, finish, tokens_in, tokens_out, tokens = json.loads(data)
        return cls(text, finish, tokens_in, tokens_out, [(t, [(w, p) for w, p in top]) for t, top in tokens], True)

    @classmethod
    def of_completion(cls, data: Any) -> Answer:
        """From the body of a chat completion. ValueError, KeyError, TypeError or IndexError if it is none."""
        choice, usage = data["choices"][0], data.get("usage") or {}
        text = choice["message"]["content"]
        if not isinstance(text, str):
            raise ValueError("the message has no text")
        places = (choice.get("logprobs") or {}).get("content") or []
        tokens = [(p["token"], [(t["token"], round(t["logprob"], 5)) for t in p["top_logprobs"]]) for p in places]
        return cls(
            text,
            str(choice.get("finish_reason") or ""),
            int(usage.get("prompt_tokens") or 0),
            int(usage.get("completion_tokens") or 0),
            tokens,
        )


@dataclass(frozen=True)
class Reply:
    """What became of a request: the last answer, what `accept` made of it, or why there is none.

    error: null, or why the request cannot be answered (the server refuses it; every answer was unusable).
    tokens_in, tokens_out: of all answers to it, the unusable ones too.
    """

    value: Any = None
    answer: Answer | None = None
    error: str | None = None
    asks: int = 0
    tokens_in: int = 0
    tokens_out: int = 0


#: Turns an answer into what the caller needs. AnswerError if it cannot be used.
Accept = Callable[[Request, Answer], Any]


def json_answer(schema: dict[str, Any]) -> Accept:
    """An `Accept` for answers that are JSON of a schema: gives the parsed value."""
    import jsonschema

    validator = jsonschema.Draft202012Validator(schema)

    def accept(_: Request, answer: Answer) -> Any:
        if answer.cut_short:
            raise AnswerError("cut short")
        try:
            value = json.loads(answer.text)
        except ValueError as error:
            raise AnswerError("not JSON") from error
        problem = next(validator.iter_errors(value), None)
        if problem is not None:
            raise AnswerError(f"not of the schema: {problem.message[:80]}")
        return value

    return accept


def plain_answer(_: Request, answer: Answer) -> str:
    """An `Accept` for free text."""
    if answer.cut_short:
        raise AnswerError("cut short")
    text = answer.text.strip()
    if not text:
        raise AnswerError("empty")
    return text

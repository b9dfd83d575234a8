"""Asks a language model to judge each document along several dimensions in one call; the labels are columns.

One call with a closed schema costs one reading of the document, where a call per dimension would read it seven times,
and reading is nearly all the cost of a label. The model sees a long document by windows: start, end and evenly between.

Trade-off: windows are cut by characters, not tokens, so that no tokenizer of the server's model is needed here. Where
a window is longer than the server takes, it is halved and asked again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
from pydantic import Field

from classifiers.quality.dimensions import DIMENSIONS, answer_schema
from curation.documents import column_type
from curation.errors import ConfigError
from curation.stage import Outcome
from stages.annotate.expected import expected_scores
from stages.llm.prompts import load_prompts, prompt_for, windows
from stages.llm.request import Answer, Reply, Request, json_answer
from stages.llm.stage import LanguageModelStage

_PROMPTS = Path(__file__).parent / "prompts"

#: How often a window that the server finds too long is halved.
_HALVINGS = 3


@dataclass(frozen=True)
class _Window:
    """A piece of a document: the row it is of, and its characters as a weight."""

    row: int
    weight: int
    request: Request


class AnnotateQuality(LanguageModelStage, name="annotate_quality"):
    """Labels documents with a language model: quality scores, field, domain, document type and safety.

    Adds one column for each of `dimensions`: `educational_value`, `information_density` and `writing_quality` from 0
    to 5, `field`, `domain`, `document_type` and `safety` as names, and `labelled_by`, the model. Nothing is dropped:
    `keep_where` and `safety_policy` decide by the columns.

    The prompt is a file per version with a text for each family of languages. Answers are held to a JSON schema by
    the server, checked here, and asked for again if they break it. A document of several windows gets the mean of
    their scores and their most frequent category, by length; one unsafe window makes it unsafe.

    With `scores: expected` a score is the mean of 0 to 5 by the probabilities the model gave each digit: finer than
    the digit it chose, at no further cost where the server gives token probabilities.

    A document with no usable answer goes to quarantine, or stays without labels (`unanswered: keep`). If the server
    gives no answer at all the run stops, and the same command goes on from there. Every answer is kept: none is paid
    twice.

    Sources: FineWeb-Edu (arXiv 2406.17557, section 4) for the scale; Qwen3 (arXiv 2505.09388, section 3.1) for the
    dimensions.
    """

    dimensions: list[str] = Field(list(DIMENSIONS), description="which dimensions to judge, in this order")
    prompt: str = Field("quality-v1", description="version of the prompt: a shipped one, or the path of a prompt file")
    only: str | None = Field(
        None, description="boolean column: only documents where it is true are labelled (`sampled` of `sample_strata`)"
    )
    window_characters: int = Field(6000, ge=200, description="characters of a document that one call reads")
    max_windows: int = Field(3, ge=1, description="most calls for one document; a longer one is read in part")
    scores: Literal["chosen", "expected"] = Field(
        "chosen", description="the digit the model wrote, or the mean by the probabilities of the digits"
    )
    max_tokens: int = Field(200, ge=16, description="longest answer, tokens")

    def needs(self) -> tuple[str, ...]:
        return ("text", self.only) if self.only else ("text",)

    def adds(self) -> dict[str, pa.DataType]:
        names = [name for name in self.dimensions if name in DIMENSIONS]
        return {name: column_type(name) for name in (*names, "labelled_by")}

    def _file(self) -> Path:
        shipped = _PROMPTS / f"{self.prompt}.yaml"
        return shipped if shipped.is_file() else Path(self.prompt)

    def check(self) -> None:
        super().check()
        unknown = [name for name in self.dimensions if name not in DIMENSIONS]
        if unknown or not self.dimensions:
            raise ConfigError(f"unknown dimensions {unknown}; there are {', '.join(DIMENSIONS)}")
        if not self._file().is_file():
            raise ConfigError(f"prompt '{self.prompt}' is neither a shipped version nor a file")
        load_prompts(self._file())

    def files(self) -> Sequence[str]:
        return [str(self._file())]

    def _request(self, text: str, language: str | None, schema: dict[str, Any]) -> Request:
        prompt = prompt_for(load_prompts(self._file()), language)
        lines = [prompt.parts.get(name, name) for name in self.dimensions]
        return Request(
            system=prompt.system.replace("{dimensions}", "\n".join(f"- {line}" for line in lines)),
            user=prompt.fill(text, language or ""),
            max_tokens=self.max_tokens,
            schema=schema,
            seed=self.seed,
            logprobs=10 if self.scores == "expected" else 0,
            extra=self.parameters,
        )

    def __call__(self, docs: pa.Table) -> Outcome:
        texts = docs["text"].to_pylist()
        languages = docs["language"].to_pylist() if "language" in docs.column_names else [None] * len(texts)
        chosen = docs[self.only].to_pylist() if self.only else [True] * len(texts)
        schema = answer_schema(self.dimensions)
        pieces: list[_Window] = []
        for row, (text, language, wanted) in enumerate(zip(texts, languages, chosen, strict=True)):
            if not wanted or not text or not text.strip():
                continue
            for piece in windows(text, self.window_characters, self.max_windows):
                pieces.append(_Window(row, len(piece), self._request(piece, language, schema)))
        replies = self._ask(pieces, schema)
        failed: list[str | None] = [None] * len(texts)
        labels: list[dict[str, Any]] = [{} for _ in texts]
        by_row: dict[int, list[tuple[int, Any]]] = {}
        for part, reply in zip(pieces, replies, strict=True):
            by_row.setdefault(part.row, []).append((part.weight, reply.value))
            if reply.error is not None:
                failed[part.row] = f"no label: {reply.error}"
        name = self.client().identify().name if pieces else ""
        for row, found in by_row.items():
            if failed[row] is None:
                labels[row] = self._merge(found) | {"labelled_by": name}
        self.metrics.count("documents_labelled", sum(bool(one) for one in labels))
        self.metrics.count("documents_unlabelled", len(texts) - sum(bool(one) for one in labels))
        for column, kind in self.adds().items():
            values = pa.array([one.get(column) for one in labels], kind)
            if column in DIMENSIONS:
                some = values.drop_null()
                if DIMENSIONS[column].is_score:
                    self.metrics.observe(column, some, [0.5, 1.5, 2.5, 3.5, 4.5])
                else:
                    self.metrics.count_values(column, some)
            place = docs.schema.get_field_index(column)
            docs = docs.append_column(column, values) if place < 0 else docs.set_column(place, column, values)
        if self.unanswered == "keep":
            return Outcome(docs)
        return Outcome(docs, failed=pa.array(failed, pa.string()))

    def _ask(self, pieces: list[_Window], schema: dict[str, Any]) -> list[Reply]:
        """Replies to all windows; those too long for the server are halved and asked again."""
        check = json_answer(schema)

        def accept(request: Request, answer: Answer) -> dict[str, Any]:
            value = check(request, answer)
            return value | expected_scores(answer, self.dimensions) if self.scores == "expected" else value

        replies = self.ask([piece.request for piece in pieces], accept)
        for halving in range(1, _HALVINGS + 1):
            long = [i for i, reply in enumerate(replies) if reply.error and _is_too_long(reply.error)]
            if not long:
                break
            shorter = [_halved(pieces[i].request, halving) for i in long]
            for i, reply in zip(long, self.ask(shorter, accept), strict=True):
                replies[i] = reply
            self.metrics.count("windows_halved", len(long))
        return replies

    def _merge(self, found: list[tuple[int, dict[str, Any]]]) -> dict[str, Any]:
        """The labels of a document from those of its windows, each with its weight."""
        if len(found) == 1:
            return found[0][1]
        total = sum(weight for weight, _ in found)
        merged: dict[str, Any] = {}
        for name in self.dimensions:
            if DIMENSIONS[name].is_score:
                merged[name] = sum(weight * value[name] for weight, value in found) / total
                continue
            votes: Counter[str] = Counter()
            for weight, value in found:
                votes[value[name]] += weight
            if name == "safety" and len(votes) > 1:
                del votes["safe"]
            merged[name] = max(votes, key=lambda v: votes[v])  # the first window's where votes are equal
        return merged


def _is_too_long(error: str) -> bool:
    return error.startswith("HTTP 400") and ("context length" in error or "too long" in error or "longer than" in error)


def _halved(request: Request, halving: int) -> Request:
    """The request with 1/2, 1/4 ... of its document, from the start."""
    head, middle, tail = request.user.partition("<document>\n")
    text, end, rest = tail.rpartition("\n</document>")
    if not middle or not end:  # a prompt with another frame: take it from the end
        return replace(request, user=request.user[: len(request.user) >> halving])
    return replace(request, user=head + middle + text[: max(1, len(text) >> halving)].strip() + end + rest)

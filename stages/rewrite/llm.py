"""Has a language model rewrite documents in another style; a rewritten document stands beside its original.

Rewriting makes more of good text than there is (WRAP, arXiv 2401.16380; Nemotron-CC, arXiv 2412.02595, section 2.3),
and clean text of what was recognised on a scanned page (Qwen3, arXiv 2505.09388, section 3.1). It also invents: every
answer must pass the gates of `gates.py`, or is asked for again, and given up.

Trade-off: a long document is rewritten passage by passage, each on its own, so that the model keeps to the text; it
then does not know what came before, which a reader may notice in a textbook section.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from pydantic import Field, PrivateAttr

from classifiers.quality.dimensions import DIMENSIONS
from curation.documents import column_type, part_id
from curation.errors import ConfigError
from curation.stage import Outcome
from stages.llm.prompts import load_prompts, passages, prompt_for
from stages.llm.request import Answer, AnswerError, Reply, Request, plain_answer
from stages.llm.stage import LanguageModelStage
from stages.rewrite.gates import STYLES, find_fault

_PROMPTS = Path(__file__).parent / "prompts"
#: Columns that say something of the text, which is another in a document that a model wrote from it.
OF_THE_TEXT = (*DIMENSIONS, "labelled_by", "label_uncertainty", "language_score", "pii")


@dataclass(frozen=True)
class _Passage:
    row: int
    style: str
    language: str
    text: str
    request: Request


class RewriteWithModel(LanguageModelStage, name="rewrite_with_model"):
    """Adds documents that a language model wrote from others, in one of five styles.

    `wikipedia` (neutral prose), `question_answer`, `notes` (distilled), `knowledge_list` and `textbook`; in the
    language of the document, by a prompt file with a text per family of languages. A new document has an id of its own,
    `rewritten_from` (the id of its original), `rewrite_style` and `rewritten_by`; in originals these are null, so that
    both can be counted, mixed and dropped apart (`breakdown: [rewrite_style]`). Labels of the original's quality are
    not taken over: rewrite before labelling.

    An answer must keep numbers and names, add none, keep the language and a length for its style, and be neither a
    refusal, a remark to the user, a piece of the prompt, nor a copy; else it is asked for again, up to `max_asks`
    times. A document without a good answer stays as it is; the counters `given_up=...` say why.

    Drop reasons: `rewritten` (only with `originals: drop`).
    """

    styles: list[str] = Field(["wikipedia"], description=f"styles to write: {', '.join(STYLES)}")
    each: Literal["one", "all"] = Field(
        "one", description="whether a document is written in one of the styles, drawn by its id, or in all"
    )
    prompt: str = Field("rewrite-v1", description="version of the prompt: a shipped one, or the path of a prompt file")
    share: float = Field(1.0, gt=0, le=1, description="share of the documents to rewrite, drawn by their ids")
    between: dict[str, tuple[float, float]] = Field(
        default_factory=dict, description="columns and their range: `{educational_value: [2, 4]}`; others are left"
    )
    originals: Literal["keep", "drop"] = Field("keep", description="what becomes of documents that were rewritten")
    passage_characters: int = Field(4000, ge=200, description="characters of a document that one call rewrites")
    max_passages: int = Field(4, ge=1, description="a document of more passages is left as it is")
    min_characters: int = Field(200, ge=1, description="a shorter document is left as it is")
    max_tokens: int = Field(2048, ge=16, description="longest answer, tokens")
    temperature: float = Field(0.0, ge=0, le=2, description="0 for the most probable text, more for variety")
    unanswered: Literal["quarantine", "keep"] = Field(
        "keep", description="what becomes of a document the model gives no good answer for"
    )

    _languages: Any = PrivateAttr(None)

    def needs(self) -> tuple[str, ...]:
        return ("text", "language", *self.between)

    def adds(self) -> dict[str, pa.DataType]:
        return {name: column_type(name) for name in ("rewritten_from", "rewrite_style", "rewritten_by")}

    def _file(self) -> Path:
        shipped = _PROMPTS / f"{self.prompt}.yaml"
        return shipped if shipped.is_file() else Path(self.prompt)

    def check(self) -> None:
        super().check()
        unknown = [name for name in self.styles if name not in STYLES]
        if unknown or not self.styles:
            raise ConfigError(f"unknown styles {unknown}; there are {', '.join(STYLES)}")
        if not self._file().is_file():
            raise ConfigError(f"prompt '{self.prompt}' is neither a shipped version nor a file")
        prompts = load_prompts(self._file())
        missing = [f"{p.family}: {s}" for p in prompts.values() for s in self.styles if s not in p.parts]
        if missing:
            raise ConfigError(f"prompt '{self.prompt}' has no text for {', '.join(missing)}")

    def files(self) -> Sequence[str]:
        return [str(self._file())]

    def setup(self) -> None:
        from classifiers.language.identify import Identifier

        self._languages = Identifier.load()
        self._language_of("compile")

    def _language_of(self, text: str) -> str:
        return self._languages.identify(pa.array([text[:2000]], pa.large_string())).languages[0].as_py()

    def _request(self, text: str, style: str, language: str) -> Request:
        from classifiers.language.labels import languages

        prompt = prompt_for(load_prompts(self._file()), language)
        known = languages().get(language)
        name = known.name if known else "the language of the document"
        return Request(
            system=prompt.system.replace("{style}", prompt.parts[style]).replace("{language}", name),
            user=prompt.fill(text, name),
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            seed=self.seed,
            extra=self.parameters,
        )

    def _chosen(self, docs: pa.Table) -> list[list[str]]:
        """The styles in which each document is to be written."""
        sizes = pc.fill_null(pc.utf8_length(docs["text"]), 0).to_numpy()
        wanted = (sizes >= self.min_characters) & (sizes <= self.max_passages * self.passage_characters)
        for column, (low, high) in self.between.items():
            values = docs[column].cast(pa.float64())
            inside = pc.and_(pc.greater_equal(values, low), pc.less_equal(values, high))
            wanted &= pc.fill_null(inside, False).to_numpy()
        chosen: list[list[str]] = []
        for good, key in zip(wanted.tolist(), docs["id"].to_pylist(), strict=True):
            draw = xxhash.xxh3_64_intdigest(key, seed=self.seed & (2**64 - 1))
            if not good or (draw >> 32) / 2**32 >= self.share:
                chosen.append([])
            else:
                chosen.append([self.styles[draw % len(self.styles)]] if self.each == "one" else self.styles)
        return chosen

    def __call__(self, docs: pa.Table) -> Outcome:
        if self._languages is None:
            self.setup()
        texts, codes = docs["text"].to_pylist(), docs["language"].to_pylist()
        work: list[_Passage] = []
        for row, styles in enumerate(self._chosen(docs)):
            language = codes[row] or "und"
            for style in styles:
                for piece in passages(texts[row], self.passage_characters):
                    work.append(_Passage(row, style, language, piece, self._request(piece, style, language)))
        written: dict[tuple[int, str], list[str]] = {}
        given_up: dict[tuple[int, str], str] = {}
        for passage, reply in zip(work, self._answers_to(work), strict=True):
            key = (passage.row, passage.style)
            if reply.error is None:
                written.setdefault(key, []).append(reply.value)
            else:
                given_up.setdefault(key, reply.error)
        name = self.client().identify().name if work else ""
        for column in self.adds():
            place = docs.schema.get_field_index(column)
            empty = pa.nulls(docs.num_rows, column_type(column))
            docs = docs.append_column(column, empty) if place < 0 else docs  # keep those of an earlier rewriting
        good = sorted(key for key in written if key not in given_up)
        for why in given_up.values():
            self.metrics.count(f"given_up={_kind(why)}")
        for _, style in good:
            self.metrics.count(f"rewritten={style}")
        return Outcome(
            docs,
            dropped=self._replaced(docs.num_rows, good),
            failed=self._failed(docs.num_rows, given_up),
            added=_new_documents(docs, good, ["\n\n".join(written[key]) for key in good], name),
            added_behind=np.array([row for row, _ in good], np.int64),
        )

    def _answers_to(self, work: list[_Passage]) -> list[Reply]:
        """A reply to each passage; one whose answers do not pass the gates has an error."""
        by_request = {id(passage.request): passage for passage in work}
        by_text = {(p.request.system, p.request.user): p for p in by_request.values()}

        def accept(request: Request, answer: Answer) -> str:
            text = plain_answer(request, answer)
            passage = by_text[(request.system, request.user)]
            fault = find_fault(
                passage.text, text, STYLES[passage.style], passage.language, request.system, self._language_of
            )
            if fault is not None:
                raise AnswerError(fault)
            return text

        return self.ask([passage.request for passage in work], accept)

    def _replaced(self, n: int, good: list[tuple[int, str]]) -> pa.Array | None:
        if self.originals == "keep":
            return None
        gone: list[str | None] = [None] * n
        for row, _ in good:
            gone[row] = "rewritten"
        return pa.array(gone, pa.string())

    def _failed(self, n: int, given_up: dict[tuple[int, str], str]) -> pa.Array | None:
        if self.unanswered == "keep":
            return None
        failed: list[str | None] = [None] * n
        for (row, style), why in given_up.items():
            failed[row] = f"not rewritten as {style}: {why}"
        return pa.array(failed, pa.string())


def _new_documents(docs: pa.Table, good: list[tuple[int, str]], texts: list[str], name: str) -> pa.Table:
    """A row for each (row of the original, style): the original's columns, with a text and an id of its own."""
    new = docs.take(pa.array([row for row, _ in good], pa.int64()))
    columns = {
        "id": [part_id(key, f"rewritten {style}") for key, (_, style) in zip(new["id"].to_pylist(), good, strict=True)],
        "text": texts,
        "rewritten_from": new["id"].to_pylist(),
        "rewrite_style": [style for _, style in good],
        "rewritten_by": [name] * len(good),
    } | {column: None for column in OF_THE_TEXT if column in new.column_names}
    for column, values in columns.items():
        place = new.schema.get_field_index(column)
        kind = new.schema.field(place).type
        new = new.set_column(place, column, pa.nulls(len(good), kind) if values is None else pa.array(values, kind))
    return new


def _kind(why: str) -> str:
    """What answers are given up for, in few words, to count by."""
    return why.removeprefix("unusable answer: ").split(":")[0].split(" in ")[0][:40]

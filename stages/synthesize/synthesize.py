"""Has a language model write new documents from others, and keeps only those that check out.

Qwen2.5-Math and -Coder make problems, solutions, exercises and explanations with models, and keep what is verified:
"only executable code was retained". Here every kind has its own verification (`verification.py`), which asks the model
again, independently, and runs programs in a sandbox. What is not verified is written to `rejected/` with the reason.

Trade-off: for a problem the model is asked six times, for an exercise twice, and half of what a small model writes is
thrown away. The yield of each kind is in the counters.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash
from pydantic import Field, PrivateAttr

from curation.documents import column_type, part_id
from curation.errors import ConfigError
from curation.stage import Outcome, Output
from stages.llm.prompts import Prompt, harmless, prompt_for
from stages.llm.request import Answer, AnswerError, Request, json_answer
from stages.llm.stage import LanguageModelStage
from stages.rewrite.llm import OF_THE_TEXT
from stages.synthesize.generators import KINDS, PROMPTS, SCHEMAS, TOPICS, Item, code_of, draw, prompts, text_of

_COLUMNS = (
    "synthetic_kind",
    "synthesized_from",
    "synthesized_by",
    "synthetic_topic",
    "synthetic_persona",
    "synthetic_item",
)
_REJECTED = pa.schema(
    [(n, pa.string()) for n in ("kind", "synthesized_from", "reason", "synthetic_topic", "synthetic_persona", "item")]
)


@dataclass
class _Work:
    row: int
    kind: str
    number: int
    topic: str
    person: str
    seed: int
    text: str
    language: str
    item: Item = field(default_factory=dict)
    fault: str | None = None


class Synthesize(LanguageModelStage, name="synthesize"):
    """Adds documents that a language model wrote from others, of these kinds, each verified in its own way.

    `math_problem`: a problem with its solution; kept if `agree` of `solves` independent solutions have the same answer
    (math-verify, in a process that can be killed) and an independent program prints it. `code_exercise`: a task with
    solution and tests, in Python; kept if the tests pass, pass for a second solution written from the task alone, and
    fail for functions that do nothing. `question_answer`: kept if its passage stands in the document, its numbers do,
    and a second answer agrees. `textbook_section`: kept if it passes the gates of `rewrite_with_model`.
    `code_explanation` (of documents with a `code_language`): kept if the names it mentions are in the program.
    `translation` into `target_language`: kept if the language is right and the numbers are the same.

    Programs run in a sandbox; where the kernel does not offer one, kinds that need it are refused before the run
    starts.

    Each item draws a topic from a tree, a person to write for, and a seed; they are kept in columns. A new document has
    an id of its own, `synthetic_kind`, `synthesized_from` and `synthetic_item`, the item with all that was asked about
    it, by which `verify_synthetic` verifies it again. Against items that resemble each other put
    `minhash_dedup_synthetic` behind, with an `index` for those of earlier runs. Rejected items go to `rejected/`.
    Counters: `made=<kind>`, `verified=<kind>`, `rejected=<kind>:<reason>`, in the report and in `curation stats
    --json`; yields are their ratios. Reasons besides those of a kind's verification: `no_answer`, `cut_short` (longer
    than `max_tokens`), `prompt_copied` (an example of the instructions, not an item).

    The instructions are in English, and in Chinese for documents in Chinese. They say what JSON to answer with and show
    an example. A model of few parameters needs more of them, which fit the seeds: give it a `prompt` file of your own
    with the questions of your kinds.

    Drop reasons: `seed` (with `originals: drop`).

    Sources: Qwen2.5-Math (Yang et al. 2024, section 2), Qwen2.5-Coder (Hui et al. 2024, section 3.1), Persona Hub (Ge
    et al. 2024).
    """

    kinds: list[str] = Field(["math_problem"], min_length=1, description=f"kinds to write: {', '.join(KINDS)}")
    per_document: int = Field(1, ge=1, le=100, description="items of each kind for a document")
    share: float = Field(1.0, gt=0, le=1, description="share of the documents to write from, drawn by their ids")
    solves: int = Field(4, ge=2, le=64, description="independent solutions of each problem")
    agree: float = Field(0.75, gt=0.5, le=1, description="share of them that must have the problem's answer")
    program_cpu_s: int = Field(
        10, ge=1, description="CPU seconds of a program in the sandbox; three times that on the clock"
    )
    target_language: str = Field("fra_Latn", description="language of translations, as in `language`")
    prompt: str = Field("synthesize-v2", description="version of the prompts: a shipped one, or the path of a file")
    originals: str = Field("keep", pattern="^(keep|drop)$", description="what becomes of the documents: keep or drop")
    min_characters: int = Field(200, ge=1, description="a shorter document is no seed")
    max_characters: int = Field(6000, ge=200, description="characters of a document that the model is shown")
    max_tokens: int = Field(2048, ge=16, description="longest answer, tokens")
    temperature: float = Field(0.7, ge=0, le=2, description="of all answers; solutions must differ to be independent")

    _tools: Any = PrivateAttr(None)

    def adds(self) -> dict[str, pa.DataType]:
        return {name: column_type(name) for name in _COLUMNS}

    def outputs(self) -> tuple[Output, ...]:
        return (Output("rejected", schema=_REJECTED),)

    def _file(self) -> Path:
        shipped = PROMPTS / f"{self.prompt}.yaml"
        return shipped if shipped.is_file() else Path(self.prompt)

    def _prompts(self) -> dict[str, Prompt]:
        return prompts(self._file(), tuple(self.kinds))

    def check(self) -> None:
        super().check()
        unknown = [name for name in self.kinds if name not in KINDS]
        if unknown:
            raise ConfigError(f"synthesize: unknown kinds {unknown}; there are {', '.join(KINDS)}")
        if not self._file().is_file():
            raise ConfigError(f"prompt '{self.prompt}' is neither a shipped version nor a file")
        try:
            self._prompts()
        except ValueError as error:
            raise ConfigError(f"synthesize: {error}") from error
        if "math_problem" in self.kinds:
            from stages.synthesize.math_check import require_math_verify

            require_math_verify()
        if {"math_problem", "code_exercise"} & set(self.kinds):
            from stages.synthesize.sandbox import check_sandbox

            check_sandbox()

    def files(self) -> Sequence[str]:
        return [str(self._file()), str(TOPICS)]

    def setup(self) -> None:
        from stages.synthesize.sandbox import Sandbox
        from stages.synthesize.verification import Tools, program_limits

        language_of = None
        if {"translation", "textbook_section"} & set(self.kinds):
            from classifiers.language.identify import Identifier

            identifier = Identifier.load()

            def language_of(text: str) -> str:
                return identifier.identify(pa.array([text[:2000]], pa.large_string())).languages[0].as_py()

            language_of("compile")
        self._tools = Tools(Sandbox(program_limits(self.program_cpu_s)), language_of, self.agree)

    def _request(self, question: str, user: str, work: _Work, number: int = 0, **fill: str) -> Request:
        prompt = prompt_for(self._prompts(), work.language)
        system = prompt.system.replace("{task}", prompt.parts[question])
        for name, value in {"topic": work.topic, "persona": work.person, **fill}.items():
            system = system.replace(f"{{{name}}}", value)
        return Request(
            system=system,
            user=user,
            max_tokens=self.max_tokens,
            schema=SCHEMAS[question],
            temperature=self.temperature,
            seed=work.seed + number,
            extra=self.parameters,
        )

    def _framed(self, work: _Work) -> str:
        """The seed document, as the user's message shows it."""
        return prompt_for(self._prompts(), work.language).fill(work.text)

    def _work(self, docs: pa.Table, languages: list[str]) -> list[_Work]:
        codes = docs["code_language"].to_pylist() if "code_language" in docs.column_names else [None] * docs.num_rows
        work = []
        for row, (id, text, code) in enumerate(
            zip(docs["id"].to_pylist(), docs["text"].to_pylist(), codes, strict=True)
        ):
            if len(text or "") < self.min_characters:
                continue
            if xxhash.xxh3_64_intdigest(id, seed=self.seed & (2**64 - 1)) / 2**64 >= self.share:
                continue
            parts = prompt_for(self._prompts(), languages[row]).parts
            for kind in self.kinds:
                if ("code" if code else "text") in KINDS[kind].seeds:
                    for number in range(self.per_document):
                        topic, person, seed = draw(kind, id, number, self.seed)
                        topic = topic if "{topic}" in parts[kind] else ""
                        person = person if "{persona}" in parts[kind] else ""
                        seen = text[: self.max_characters]
                        work.append(_Work(row, kind, number, topic, person, seed, seen, languages[row]))
        return work

    def cpu_elsewhere(self) -> float:
        return self._tools.cpu_s if self._tools is not None else 0.0

    def __call__(self, docs: pa.Table) -> Outcome:
        if self._tools is None:
            self.setup()
        column = docs["language"].to_pylist() if "language" in docs.column_names else [None] * docs.num_rows
        work = self._work(docs, [language or "und" for language in column])
        self._write(work)
        self._ask_again([w for w in work if w.fault is None])
        self._judge(work)
        return self._outcome(docs, work)

    def _write(self, work: list[_Work]) -> None:
        """The items themselves."""
        from classifiers.language.labels import languages as known
        from stages.synthesize.verification import copies

        requests = []
        for w in work:
            code = self.target_language if w.kind == "translation" else w.language
            name = known()[code].name if code in known() else "the language of the document"
            requests.append(self._request(w.kind, self._framed(w), w, language=name))
        for w, request, reply in zip(work, requests, self.ask(requests, _accept), strict=True):
            self.metrics.count(f"made={w.kind}")
            if reply.error is not None:
                w.fault = "cut_short" if reply.answer is not None and reply.answer.cut_short else "no_answer"
                continue
            w.item = dict(reply.value) | {"seed_text": w.text, "language": w.language}
            if copies(reply.value[SCHEMAS[w.kind]["required"][0]], request.system):
                w.fault = "prompt_copied"
            if w.kind == "code_exercise":
                w.item |= {name: code_of(w.item[name]) for name in ("solution", "tests")}
            if w.kind == "code_explanation":
                w.item["code"] = w.text
            if w.kind == "translation":
                w.item["target"] = self.target_language

    def _ask_again(self, work: list[_Work]) -> None:
        """What verification needs to know: independent solutions, programs, answers."""
        asked: list[tuple[_Work, str, Request]] = []
        for w in work:
            if w.kind == "math_problem":
                for number in range(self.solves):
                    request = self._request("math_solve", harmless(w.item["problem"]), w, number + 1)
                    asked.append((w, "solves", request))
                asked.append((w, "program", self._request("math_program", harmless(w.item["problem"]), w)))
            elif w.kind == "code_exercise":
                asked.append((w, "solution_again", self._request("code_solve", harmless(w.item["task"]), w, 1)))
            elif w.kind == "question_answer":
                user = f"{harmless(w.item['question'])}\n\n{self._framed(w)}"
                asked.append((w, "answer_again", self._request("question_solve", user, w, 1)))
        for (w, what, _), reply in zip(asked, self.ask([r for _, _, r in asked], _accept), strict=True):
            value = reply.value if reply.error is None else {}
            if what == "solves":
                w.item.setdefault("solves", []).append(value.get("answer", ""))
            elif what == "answer_again":
                w.item[what] = value.get("answer", "")
            else:
                w.item[what] = code_of(value.get("program" if what == "program" else "solution", ""))

    def _judge(self, work: list[_Work]) -> None:
        from stages.synthesize.verification import verify

        for w in work:
            if w.fault is None:
                w.fault = verify(w.kind, w.item, self._tools)
            if w.fault is None:
                self.metrics.count(f"verified={w.kind}")
            else:
                self.metrics.count(f"rejected={w.kind}:{w.fault}")

    def _outcome(self, docs: pa.Table, work: list[_Work]) -> Outcome:
        model = self.client().identify().name if work else ""
        for name in _COLUMNS:
            if docs.schema.get_field_index(name) < 0:
                docs = docs.append_column(name, pa.nulls(docs.num_rows, column_type(name)))
        good = [w for w in work if w.fault is None]
        added = docs.take(pa.array([w.row for w in good], pa.int64()))
        ids = added["id"].to_pylist()
        values: dict[str, list] = {
            "id": [part_id(id, f"{w.kind} {w.number}") for id, w in zip(ids, good, strict=True)],
            "text": [text_of(w.kind, w.item) for w in good],
            "synthetic_kind": [w.kind for w in good],
            "synthesized_from": ids,
            "synthesized_by": [model] * len(good),
            "synthetic_topic": [w.topic or None for w in good],
            "synthetic_persona": [w.person or None for w in good],
            "synthetic_item": [json.dumps(w.item, ensure_ascii=False, sort_keys=True) for w in good],
        }
        if "language" in added.column_names:
            values["language"] = [
                w.item["target"] if w.kind == "translation" else language
                for w, language in zip(good, added["language"].to_pylist(), strict=True)
            ]
        for name in OF_THE_TEXT:
            if name in added.column_names:
                values[name] = [None] * len(good)
        for name, column in values.items():
            place = added.schema.get_field_index(name)
            added = added.set_column(place, added.schema.field(place), pa.array(column, added.schema.field(place).type))
        bad = [w for w in work if w.fault is not None]
        origin = docs["id"].to_pylist()
        rejected = pa.table(
            {
                "kind": [w.kind for w in bad],
                "synthesized_from": [origin[w.row] for w in bad],
                "reason": [w.fault for w in bad],
                "synthetic_topic": [w.topic for w in bad],
                "synthetic_persona": [w.person for w in bad],
                "item": [json.dumps(w.item, ensure_ascii=False, sort_keys=True) for w in bad],
            },
            _REJECTED,
        )
        dropped = pa.array(["seed" if self.originals == "drop" else None] * docs.num_rows, pa.string())
        behind = np.array([w.row for w in good], np.int64)
        return Outcome(docs, dropped=dropped, added=added, added_behind=behind, outputs={"rejected": rejected})


def _accept(request: Request, answer: Answer) -> Any:
    """The texts of an answer. AnswerError if one is empty."""
    assert request.schema is not None
    value = json_answer(request.schema)(request, answer)
    for key, text in value.items():
        if not text.strip():
            raise AnswerError(f"'{key}' is empty")
    return value

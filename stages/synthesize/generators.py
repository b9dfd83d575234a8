"""The kinds of documents that can be made of others: what each asks a model for, and how its answer is written down.

An answer is an object of a JSON schema to which the server holds the model, so that problem, solution and answer are
never guessed apart. What makes items differ is drawn for each: a leaf of a tree of topics, a person to write for, and a
seed; all three are kept beside the item.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import xxhash
import yaml

from stages.llm.prompts import Prompt, load_prompts

PROMPTS = Path(__file__).parent / "prompts"
TOPICS = Path(__file__).with_name("topics.yaml")

Item = dict[str, Any]

_FENCED = re.compile(r"\A\s*```\w*\n(.*?)\n?```\s*\Z", re.DOTALL)


def _schema(*keys: str) -> dict[str, Any]:
    """An object of texts.

    No `minLength`, `maxLength` or `pattern`: xgrammar, with which vLLM holds a model to a schema, lets no escape into
    a string with a bound, so that no second line, no quotation mark and no LaTeX could be written.
    """
    fields = {key: {"type": "string"} for key in keys}
    return {"type": "object", "properties": fields, "required": list(keys), "additionalProperties": False}


#: What a model is asked for, by kind of question.
SCHEMAS: dict[str, dict[str, Any]] = {
    "math_problem": _schema("problem", "solution", "answer"),
    "math_solve": _schema("reasoning", "answer"),
    "math_program": _schema("program"),
    "code_exercise": _schema("task", "solution", "tests"),
    "code_solve": _schema("solution"),
    "question_answer": _schema("question", "answer", "quote"),
    "question_solve": _schema("answer"),
    "textbook_section": _schema("title", "text"),
    "code_explanation": _schema("explanation"),
    "translation": _schema("translation"),
}


@dataclass(frozen=True)
class Kind:
    """A kind of document. seeds: of which documents it is made, `text`, `code` (they have a `code_language`) or
    both. again: what is asked of the model about an item, to verify it."""

    name: str
    seeds: tuple[str, ...]
    again: tuple[str, ...] = ()


KINDS = {
    kind.name: kind
    for kind in (
        Kind("math_problem", ("text",), ("math_solve", "math_program")),
        Kind("code_exercise", ("text", "code"), ("code_solve",)),
        Kind("question_answer", ("text",), ("question_solve",)),
        Kind("textbook_section", ("text",)),
        Kind("code_explanation", ("code",)),
        Kind("translation", ("text",)),
    )
}


@cache
def prompts(path: Path, kinds: tuple[str, ...]) -> dict[str, Prompt]:
    """ISO 639-3 code -> prompt, whose parts are the instructions by kind of question. ValueError if one that these
    kinds need is missing, or does not name the keys of its answer: a server that holds a model to a schema does not
    tell the model of it, and a small one then fills the keys at random."""
    families = load_prompts(path)
    needed = [question for name in kinds for question in (name, *KINDS[name].again)]
    for prompt in families.values():
        if "{task}" not in prompt.system:
            raise ValueError(f"{path}: the `system` of '{prompt.family}' has no {{task}}")
        missing = [question for question in needed if question not in prompt.parts]
        if missing:
            raise ValueError(f"{path}: '{prompt.family}' has no `parts` for {', '.join(missing)}")
        for question in needed:
            for key in SCHEMAS[question]["required"]:
                if f'"{key}"' not in prompt.parts[question]:
                    raise ValueError(f"{path}: {question} of '{prompt.family}' does not say what \"{key}\" is to hold")
    return families


@cache
def _topics() -> dict[str, Any]:
    return yaml.safe_load(TOPICS.read_text(encoding="utf-8"))


def draw(kind: str, document: str, number: int, seed: int) -> tuple[str, str, int]:
    """(topic, person, seed) of item `number` of a document, the same in every run."""
    digest = xxhash.xxh3_128_intdigest(f"{document}\0{kind}\0{number}", seed=seed & (2**64 - 1))
    tree = _topics().get(kind)
    leaves = [f"{branch}: {leaf}" for branch, names in tree.items() for leaf in names] if tree else [""]
    persons = _topics()["personas"]
    return leaves[digest % len(leaves)], persons[(digest >> 40) % len(persons)], (digest >> 80) & 0x7FFFFFFF


def code_of(text: str) -> str:
    """A program without the fence that models like to put around it."""
    fenced = _FENCED.match(text)
    return fenced.group(1) if fenced else text


def text_of(kind: str, item: Item) -> str:
    """An item as the text of a document."""
    if kind == "math_problem":
        return f"{item['problem'].strip()}\n\n{item['solution'].strip()}\n"
    if kind == "code_exercise":
        parts = (f"```python\n{item[name].strip()}\n```" for name in ("solution", "tests"))
        return "\n\n".join([item["task"].strip(), *parts]) + "\n"
    if kind == "question_answer":
        return f"{item['question'].strip()}\n\n{item['answer'].strip()}\n"
    if kind == "textbook_section":
        return f"# {item['title'].strip()}\n\n{item['text'].strip()}\n"
    if kind == "code_explanation":
        return f"{item['code'].strip()}\n\n{item['explanation'].strip()}\n"
    return item["translation"].strip() + "\n"

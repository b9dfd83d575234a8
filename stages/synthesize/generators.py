"""The kinds of documents that can be made of others: what each asks a model for, and how its answer is written down.

An answer is an object of a JSON schema to which the server holds the model, so that problem, solution and answer are
never guessed apart. What makes items differ is drawn for each: a leaf of a tree of topics, a person to write for, and a
seed; all three are kept beside the item.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import xxhash
import yaml

PROMPTS = Path(__file__).parent / "prompts"
TOPICS = Path(__file__).with_name("topics.yaml")

Item = dict[str, Any]


def _schema(**properties: str) -> dict[str, Any]:
    fields = {
        name: {"type": "string", "minLength": 1} if kind == "string" else {"type": "array", "items": {"type": "string"}}
        for name, kind in properties.items()
    }
    return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}


#: What a model is asked for, by kind of question.
SCHEMAS: dict[str, dict[str, Any]] = {
    "math_problem": _schema(problem="string", solution="string", answer="string"),
    "math_solve": _schema(reasoning="string", answer="string"),
    "math_program": _schema(program="string"),
    "code_exercise": _schema(task="string", solution="string", tests="string"),
    "code_solve": _schema(solution="string"),
    "question_answer": _schema(question="string", answer="string", quote="string"),
    "question_solve": _schema(answer="string"),
    "textbook_section": _schema(title="string", text="string"),
    "code_explanation": _schema(explanation="string"),
    "translation": _schema(translation="string"),
}


@dataclass(frozen=True)
class Kind:
    """A kind of document. seeds: of which documents it is made, `text`, `code` (they have a `code_language`) or
    both."""

    name: str
    seeds: tuple[str, ...]


KINDS = {
    kind.name: kind
    for kind in (
        Kind("math_problem", ("text",)),
        Kind("code_exercise", ("text", "code")),
        Kind("question_answer", ("text",)),
        Kind("textbook_section", ("text",)),
        Kind("code_explanation", ("code",)),
        Kind("translation", ("text",)),
    )
}


@cache
def prompts(path: Path) -> dict[str, str]:
    """Instruction by kind of question. ValueError if the file lacks one."""
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    kinds = data.get("kinds") if isinstance(data, dict) else None
    kinds = kinds if isinstance(kinds, dict) else {}
    missing = [name for name in SCHEMAS if not isinstance((kinds.get(name) or {}).get("system"), str)]
    if missing:
        raise ValueError(f"{path}: no `system` under `kinds:` for {', '.join(missing)}")
    return {name: kinds[name]["system"].strip() for name in SCHEMAS}


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

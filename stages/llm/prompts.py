"""Prompts in versioned files, one file for a purpose and version, with a text per family of languages.

A file `quality-v1.yaml` holds `families:` name -> `languages` (ISO 639-3 codes it is for), `system`, `user`, and
`parts` by name where the instruction is put together from some of them (a dimension, a style). A
document's language decides the family; the family without `languages` takes the rest. A change of wording is a new
version, as it changes labels: the file's content is part of a run's fingerprint.

The document comes last, so that the server computes the long instruction once for all documents. A document is data:
what would be a model's control token in it, or would close its frame, is broken up first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import yaml

#: Control tokens of chat templates (Qwen, Llama, Gemma, Mistral, DeepSeek) and our own frame around the document. A
#: tokenizer turns them into the real thing wherever they stand: a page that explains chat templates would end its own.
_CONTROL = re.compile(r"<(?=\||｜|/?(?:s|think|start_of_turn|end_of_turn|bos|eos|pad|document)>)|\[(?=/?INST\])", re.I)


@dataclass(frozen=True)
class Prompt:
    """The instruction for one family of languages. `user` holds `{text}`, and may hold `{language}`."""

    family: str
    languages: tuple[str, ...]
    system: str
    user: str
    parts: dict[str, str] = field(default_factory=dict)

    def fill(self, text: str, language: str = "") -> str:
        """The user's message for a text."""
        return self.user.replace("{language}", language).replace("{text}", harmless(text))


def harmless(text: str) -> str:
    """The text with a space inside everything that a chat template, or our frame, would take for a control token."""
    return _CONTROL.sub(lambda match: f"{match.group()} ", text)


@cache
def load_prompts(file: Path) -> dict[str, Prompt]:
    """ISO 639-3 code -> prompt, of a prompt file; the empty code has the prompt for all other languages.

    ValueError if the file is not of the form above.
    """
    data = yaml.safe_load(file.read_text(encoding="utf-8"))
    prompts: dict[str, Prompt] = {}
    try:
        for family, entry in data["families"].items():
            languages = tuple(entry.get("languages") or ())
            parts = {k: v.strip() for k, v in (entry.get("parts") or {}).items()}
            prompt = Prompt(family, languages, entry["system"].strip(), entry["user"].strip(), parts)
            if "{text}" not in prompt.user:
                raise ValueError(f"{file}: the user's message of '{family}' has no {{text}}")
            for code in languages or ("",):
                if code in prompts:
                    raise ValueError(f"{file}: '{code or 'the rest'}' is in two families")
                prompts[code] = prompt
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{file}: expected `families:` of `languages`, `system` and `user`: {error}") from error
    if "" not in prompts:
        raise ValueError(f"{file}: one family must have no `languages`: it takes all that no other does")
    return prompts


def prompt_for(prompts: dict[str, Prompt], language: str | None) -> Prompt:
    """The prompt for a language column's value (`fra_Latn`)."""
    return prompts.get((language or "").split("_")[0]) or prompts[""]


_PLACES = re.compile(r"\n\s*\n|\n|(?<=[.!?。！？])\s?|\s")


def windows(text: str, size: int, most: int) -> list[str]:
    """At most `most` pieces of about `size` characters: the whole text if it fits, else its start, its end and evenly
    between, cut where a paragraph, line, sentence or word ends if one does in the last tenth."""
    if len(text) <= size:
        return [text]
    count = min(most, -(-len(text) // size))
    last = len(text) - size
    starts = [0] if count == 1 else [round(i * last / (count - 1)) for i in range(count)]
    return [_cut(text, start, start + size, size // 10) for start in starts]


def passages(text: str, size: int) -> list[str]:
    """The whole text in consecutive pieces of at most `size` characters, each ending where a paragraph, line, sentence
    or word does, if one does in its second half."""
    pieces, start = [], 0
    while len(text) - start > size:
        end = start + size
        for mark in ("\n\n", "\n", ". ", "。", " "):
            place = text.rfind(mark, start + size // 2, end)
            if place > start:
                end = place + len(mark)
                break
        pieces.append(text[start:end].strip())
        start = end
    return [piece for piece in [*pieces, text[start:].strip()] if piece]


def _cut(text: str, start: int, end: int, slack: int) -> str:
    """text[start:end], drawn in to a natural break within `slack` characters of either end."""
    if start > 0:
        match = _PLACES.search(text, start, start + slack)
        start = match.end() if match else start
    if end < len(text):
        for mark in ("\n\n", "\n", ". ", "。", " "):
            place = text.rfind(mark, end - slack, end)
            if place > start:
                end = place + len(mark)
                break
    return text[start:end].strip()

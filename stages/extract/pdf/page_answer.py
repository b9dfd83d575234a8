"""What a vision model is asked about a page, and whether its answer can be the page's text.

A model that reads pages goes wrong in a few ways: it repeats a line until it is stopped, stops in the middle, says that
it cannot help, or writes what no page ever said. All but the last show in the answer alone. Such an answer is asked for
again at a higher temperature (at 0 it would be the same), a bounded number of times.
"""

from __future__ import annotations

import itertools
import re
import zlib
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any, Literal

from stages.extract.pdf.legibility import Legibility
from stages.extract.pdf.route import LEGIBLE_UNSPACED
from stages.llm.request import Accept, Answer, AnswerError, Request

#: Temperatures of the first, second … ask for a page; the last one holds for all that follow.
LADDER = (0.0, 0.1, 0.3, 0.6, 0.9)

Prompt = Literal["markdown", "qwenvl_html"]
#: System and user message. `qwenvl_html` is the one that Qwen2.5-VL was trained with for documents (its cookbook).
PROMPTS: dict[str, tuple[str, str]] = {
    "markdown": (
        "You transcribe pages of documents.",
        "Transcribe this page as Markdown, in the order in which it is read. Write every word as it stands and nothing "
        "else; tables as Markdown tables, formulas as LaTeX between dollars. Leave out running headers, footers and "
        "page numbers. If the page has no text, answer only: null. If the page must be turned to be read, answer only: "
        "rotate: N, with N the degrees clockwise (90, 180 or 270).",
    ),
    "qwenvl_html": (
        "You are an AI specialized in recognizing and extracting text from images. Your mission is to analyze the "
        "image document and generate the result in QwenVL Document Parser HTML format using specified tags while "
        "maintaining user privacy and data integrity.",
        "QwenVL HTML ",
    ),
}

_ROTATE = re.compile(r"(?:rotate|rotation_correction)\s*:\s*(90|180|270)\b", re.IGNORECASE)
_NOTHING = re.compile(r"\W*(?:null|none|empty|no text)\W*", re.IGNORECASE)
_REFUSAL = re.compile(
    r"\W*(?:i(?:['’]m| am) (?:sorry|unable)|sorry|i (?:can(?:no|['’])t|am not able)|as an ai|unfortunately,? i)\b",
    re.IGNORECASE,
)
_FENCE = re.compile(r"\A\s*```(?:markdown|html|md)?\s*\n(.*?)\n?```\s*\Z", re.DOTALL)
_TAGS = re.compile(r"<[a-zA-Z/!][^<>]*>")
_LONG_LINE = 20


@dataclass(frozen=True)
class PageRequest(Request):
    """A question about the picture of a page, which `image` holds as a data URL."""

    image: str = ""

    def again(self, cut_short: bool) -> PageRequest:
        """The request to try next: a rung higher on the ladder. An answer that was cut short is not asked for at more
        length: a page that fills `max_tokens` is a repetition."""
        ask = self.ask + 1
        return replace(self, ask=ask, seed=self.seed + 1, temperature=LADDER[min(ask, len(LADDER) - 1)])

    def body(self) -> dict[str, Any]:
        body = super().body()
        content = [{"type": "image_url", "image_url": {"url": self.image}}, {"type": "text", "text": self.user}]
        body["messages"] = [{"role": "system", "content": self.system}, {"role": "user", "content": content}]
        return body


@dataclass(frozen=True)
class PageAnswer:
    """The text of a page, empty if it has none; or the quarter turns clockwise after which it can be read."""

    text: str = ""
    turns: int = 0


def page_answer(prompt: Prompt, legibility: Legibility) -> Accept:
    """An `Accept` that gives a PageAnswer."""

    def accept(_: Request, answer: Answer) -> PageAnswer:
        if answer.cut_short:
            raise AnswerError("cut short")
        text = _FENCE.sub(r"\1", answer.text).strip()
        if not text:
            raise AnswerError("empty")
        if len(text) < 200:
            rotated = _ROTATE.search(text)
            if rotated:
                return PageAnswer(turns=int(rotated[1]) // 90)
            if _NOTHING.fullmatch(text):
                return PageAnswer()
        if len(text) < 400 and _REFUSAL.match(text):
            raise AnswerError("refusal")
        if prompt == "qwenvl_html" or text.startswith("<html") or "<body" in text[:500]:
            text = _html_text(text)
        if repeats(text):
            raise AnswerError("repetition")
        if legibility.of(_TAGS.sub(" ", text)) < LEGIBLE_UNSPACED:
            raise AnswerError("no words")
        return PageAnswer(text)

    return accept


def repeats(text: str) -> bool:
    """Whether a text repeats itself as models do and pages do not: one line over and over (rows of tables may come
    again more often), one passage, or one character."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for line, count in Counter(lines).most_common(3):
        if len(line) >= _LONG_LINE and count >= (10 if "|" in line else 4):
            return True
    run = 0
    for before, line in itertools.pairwise(lines):
        run = run + 1 if line == before else 0
        if run >= 11:
            return True
    if re.search(r"([^\s._\-=|])\1{80}", text) or re.search(r"(.{4,60}?)\1{7}\s*\Z", text, re.DOTALL):
        return True
    data = text.encode("utf-8", "replace")
    return len(data) > 2000 and len(zlib.compress(data, 6)) < 0.06 * len(data)


def _html_text(html: str) -> str:
    """The visible text of an answer in HTML."""
    from resiliparse.parse.html import HTMLTree

    from stages.extract.html import by_resiliparse, clean

    return clean(by_resiliparse(HTMLTree.parse(html), main_content=False))

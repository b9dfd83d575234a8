"""Lets a language model repair what extraction has left in the text of PDFs, and keeps only repairs.

Qwen2.5-VL read the PDFs of Qwen3's corpus and Qwen2.5 then refined the text (Qwen3 technical report, section 3.1):
words split by columns, headers in the middle of sentences, formulas in pieces. A model that repairs also summarises,
completes and translates, so every answer is held to what it was given: about as long, mostly the same runs of words in
both directions, and the same numbers. What does not pass is thrown away and the text stays as it was. The old text is
kept beside the new.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pydantic import Field

from curation.documents import column_type
from curation.stage import Outcome
from stages.llm.prompts import harmless
from stages.llm.request import Accept, Answer, AnswerError, Request
from stages.llm.stage import LanguageModelStage

_CHANGED = ("text", "page_offsets", "unrefined_text", "refined_by", "refined_share")
_SYSTEM = (
    "You repair text that was extracted from a PDF. Put together words and sentences that line ends, columns and page "
    "breaks have split, undo the splitting of words by stray spaces and hyphens, remove page headers, footers and page "
    "numbers that stand in the text, repair characters that were misread, and write formulas as LaTeX and tables as "
    "Markdown where that is plain. Change nothing else: no word added, left out, translated or explained. The text may "
    "begin and end in the middle of a sentence; leave it so. Answer with the repaired text only."
)
_USER = "<document>\n{text}\n</document>"
_TOKEN = re.compile(r"[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff]|\w+")
_NUMBER = re.compile(r"\d+")
_FRAME = re.compile(r"\A\s*(?:<document>)?\n?(.*?)\n?(?:</document>)?\s*\Z", re.DOTALL)
#: Words in a run; texts of fewer words are not refined.
_RUN = 5
_TITLE = 8  # words that a running title has at most


@dataclass
class _Chunk:
    """A stretch of a document: its row, where it stands, and its text without the white space around it."""

    row: int
    begin: int
    end: int
    text: str


class RefineText(LanguageModelStage, name="refine_text"):
    """Repairs the text of PDFs with a language model, page by page.

    Asks an OpenAI-compatible server. An answer replaces its part of the text if it passes the gates: `length` (its
    length is between `shortest` and `longest` times the old), `containment` (of the runs of five words, at least
    `containment` of the new text's are in the old one, and of the old text's in the new one) and `numbers` (the same
    numbers; `lost_numbers` of them, and those of a running title, may go). Otherwise the old text stays; the metrics
    count why.

    Changes `text` and `page_offsets`; writes `unrefined_text`, `refined_by` and `refined_share`. Drops nothing; with
    `unanswered: quarantine`, a document fails of which the server refuses every part.
    """

    passage_characters: int = Field(6000, ge=200, description="characters that one call refines; pages are shorter")
    max_tokens: int = Field(4096, ge=16, description="longest answer, tokens")
    shortest: float = Field(0.7, gt=0, le=1, description="shortest answer, as a share of the old text")
    longest: float = Field(1.3, ge=1, description="longest answer, as a share of the old text")
    containment: float = Field(
        0.6, ge=0, le=1, description="share of runs of five words that must be in the other text"
    )
    lost_numbers: float = Field(0.1, ge=0, le=1, description="share of the numbers that may go; none may be added")
    unanswered: str = Field(
        "keep", pattern="^(keep|quarantine)$", description="what becomes of a document the server refuses"
    )  # type: ignore[assignment]

    def needs(self) -> tuple[str, ...]:
        return ("text", "page_offsets")

    def adds(self) -> dict[str, pa.DataType]:
        return {name: column_type(name) for name in _CHANGED}

    def __call__(self, docs: pa.Table) -> Outcome:
        texts = docs["text"].to_pylist()
        offsets = docs["page_offsets"].to_pylist()
        chunks = [
            chunk
            for row, text in enumerate(texts)
            for chunk in (cut(row, text, offsets[row] or [0], self.passage_characters) if text else ())
        ]
        replies = self.ask([self._request(chunk.text) for chunk in chunks], self._accept())
        changes: dict[int, list[tuple[_Chunk, str]]] = {}
        asked: dict[int, list[str | None]] = {}
        for chunk, reply in zip(chunks, replies, strict=True):
            asked.setdefault(chunk.row, []).append(reply.error)
            if reply.error is None:
                fault = None if reply.value == chunk.text else self._fault(chunk.text, reply.value)
                self.metrics.count(f"refused={fault}" if fault else "accepted")
                if fault is None:
                    changes.setdefault(chunk.row, []).append((chunk, reply.value))
            else:
                self.metrics.count("unanswered")
        name = self.client().identify().name if chunks else ""
        columns: dict[str, list[Any]] = {key: [None] * docs.num_rows for key in _CHANGED}
        columns["text"], columns["page_offsets"] = texts, offsets
        for row, parts in changes.items():
            old = texts[row]
            columns["refined_share"][row] = sum(len(chunk.text) for chunk, _ in parts) / len(old)
            columns["refined_by"][row] = name
            new, moved = replaced(old, offsets[row] or [], parts)
            if new != old:
                columns["unrefined_text"][row] = old
            columns["text"][row], columns["page_offsets"][row] = new, moved if offsets[row] is not None else None
        failed: list[str | None] = [None] * docs.num_rows
        if self.unanswered == "quarantine":
            for row, errors in asked.items():
                if all(errors):
                    failed[row] = errors[0]
        for key in _CHANGED:
            column = pa.array(columns[key], column_type(key))
            at = docs.schema.get_field_index(key)
            docs = docs.append_column(key, column) if at < 0 else docs.set_column(at, key, column)
        return Outcome(docs, failed=pa.array(failed, pa.string()))

    def _request(self, text: str) -> Request:
        user = _USER.replace("{text}", harmless(text))
        return Request(_SYSTEM, user, self.max_tokens, seed=self.seed, extra=self.parameters)

    def _accept(self) -> Accept:
        def accept(_: Request, answer: Answer) -> str:
            if answer.cut_short:
                raise AnswerError("cut short")
            match = _FRAME.match(answer.text)
            text = (match[1] if match else answer.text).strip()
            if not text:
                raise AnswerError("empty")
            return text

        return accept

    def _fault(self, old: str, new: str) -> str | None:
        """The first gate that a refined text does not pass."""
        if not self.shortest * len(old) <= len(new) <= self.longest * len(old):
            return "length"
        before, after = runs(old), runs(new)
        if not after or len(after & before) < self.containment * max(len(after), len(before)):
            return "containment"
        kept = numbers_kept(old, new)
        return "numbers" if kept is None or kept < 1 - self.lost_numbers else None


def cut(row: int, text: str, offsets: list[int], size: int) -> list[_Chunk]:
    """A document's stretches of at most `size` characters: its pages, and parts of those that are longer, cut where a
    paragraph, line or word ends."""
    edges = sorted({0, *offsets, len(text)})
    chunks = []
    for first, last in itertools.pairwise(edges):
        begin = first
        while begin < last:
            end = last
            if end - begin > size:
                places = (text.rfind(mark, begin + size // 2, begin + size) for mark in ("\n\n", "\n", ". ", " "))
                end = next((place for place in places if place > 0), begin + size)
            piece = text[begin:end]
            body = piece.strip()
            if len(_TOKEN.findall(body)) >= 2 * _RUN:
                start = begin + piece.index(body)
                chunks.append(_Chunk(row, start, start + len(body), body))
            begin = end
    return chunks


def replaced(text: str, offsets: list[int], parts: list[tuple[_Chunk, str]]) -> tuple[str, list[int]]:
    """The text with stretches replaced, and the offsets moved along. No offset lies inside a stretch."""
    pieces: list[str] = []
    at, shift = 0, 0
    left = sorted(range(len(offsets)), key=offsets.__getitem__)
    places = dict.fromkeys(left, 0)
    queue = iter([*parts, None])
    part = next(queue)
    for i in left:
        while part is not None and part[0].end <= offsets[i]:
            shift += len(part[1]) - (part[0].end - part[0].begin)
            part = next(queue)
        places[i] = offsets[i] + shift
    for chunk, new in parts:
        pieces += [text[at : chunk.begin], new]
        at = chunk.end
    pieces.append(text[at:])
    moved = [places[i] for i in range(len(offsets))]
    return "".join(pieces), moved


def runs(text: str) -> set[tuple[str, ...]]:
    """The runs of five words (or East Asian characters) of a text, in small letters. Hyphens at line ends that were
    undone must not count against a repair, so words are compared without them."""
    words = _TOKEN.findall(re.sub(r"(?<=\w)[-\u00ad\u2010]\s*(?=\w)", "", text.casefold()))
    return {tuple(words[i : i + _RUN]) for i in range(len(words) - _RUN + 1)}


def numbers_kept(old: str, new: str) -> float | None:
    """Share of the old text's numbers that are in the new one; null if the new one has a number that the old has not.
    Numbers in a short first or last line, where running titles and page numbers stand, may go."""
    after = set(_NUMBER.findall(new))
    if not after <= set(_NUMBER.findall(old)):
        return None
    lines = old.split("\n")
    for edge in (0, -1):
        if len(lines) > 1 and len(lines[edge].split()) <= _TITLE:
            del lines[edge]
    before = _NUMBER.findall("\n".join(lines))
    return sum(number in after for number in before) / len(before) if before else 1.0

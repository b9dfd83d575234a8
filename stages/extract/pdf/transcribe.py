"""Reads from their pictures the pages that have no usable text layer: by a vision model, or by Tesseract.

A picture costs 500 to 3,000 times what a text layer costs, so only the pages that `extract_pdf` could not read come
here, many of them in flight over all documents of a batch. Each ends with a status, whatever the server does: read,
blank, or failed and why. The document keeps the pages it has.

Pages are rendered in the killable process of the engine, at a size that is fixed before anything is drawn.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import pyarrow as pa
from pydantic import Field, PrivateAttr

from curation.documents import column_type
from curation.errors import ConfigError
from curation.stage import Outcome
from stages.llm.stage import LanguageModelStage

_CHANGED = ("text", "page_offsets", "page_status", "page_reason")
_SEPARATOR = "\n\n"
_OCR_LIMIT_S = 300


@dataclass
class _Page:
    """A page to be read: its document's row, its number, why, its picture; and what came of it."""

    row: int
    number: int
    reason: str
    image: bytes = b""
    turns: int = 0
    status: str = "failed"
    why: str | None = None
    text: str = ""


class TranscribePages(LanguageModelStage, name="transcribe_pages"):
    """Reads pages that `extract_pdf` (with `for_pictures: true`) found to need a picture, and puts their text in place.

    Needs `content` and the page columns; changes `text`, `page_offsets`, `page_status` and `page_reason`; removes
    `content`. The server is an OpenAI-compatible one that serves a vision model, such as Qwen2.5-VL or Qwen3-VL on
    vLLM. Unusable answers (cut short, empty, repeating themselves, a refusal, no words of any language) are asked for
    again, each time at a higher temperature, `max_asks` times in all; a page that the model says is turned is turned
    and asked about once more; a page without ink is not asked about.

    A page then has the status `vlm`, `ocr` (read by Tesseract, because the model failed or `vision_model` is off),
    `empty` (`blank`, or the model says so) or `failed`; the reason is why it needed a picture, or what went wrong.

    Drop reasons: `no_text` (all pages are empty). A document of which no page has text and some failed goes to
    quarantine, or is kept without text, as `unanswered` says.
    """

    limit_s: ClassVar[float] = 3600.0

    vision_model: bool = Field(True, description="ask the server; otherwise Tesseract reads all pages")
    prompt: Literal["markdown", "qwenvl_html"] = Field(
        "markdown", description="what is asked: Markdown, or the document HTML that Qwen2.5-VL was trained to write"
    )
    longest_side: int = Field(1288, ge=64, le=4096, description="pixels of the longer side of a picture")
    max_tokens: int = Field(4096, ge=16, description="length of an answer after which it is cut short")
    max_asks: int = Field(5, ge=1, description="unusable answers about one page before it is given up")
    pages_at_once: int = Field(
        256,
        ge=1,
        exclude=True,
        description="pages that are rendered before they are asked about: memory for their pictures",
    )
    ocr: Literal["none", "tesseract"] = Field("none", description="what reads pages that the model could not read")
    ocr_languages: str = Field("eng", description="Tesseract's languages, as in `eng+deu`")
    backend: Literal["pymupdf", "pdfium"] = Field("pymupdf", description="engine that renders pages")
    page_s: float = Field(20.0, gt=0, description="CPU seconds for rendering a page")
    memory_mb: int = Field(1024, ge=64, description="MiB that the engine's process may take for a document")

    _engine: Any = PrivateAttr(default=None)
    _legibility: Any = PrivateAttr(default=None)
    _ocr_cpu_s: float = PrivateAttr(default=0.0)

    def needs(self) -> tuple[str, ...]:
        return ("content", *_CHANGED)

    def adds(self) -> dict[str, pa.DataType]:
        return {name: column_type(name) for name in _CHANGED}

    def removes(self) -> tuple[str, ...]:
        return ("content",)

    def check(self) -> None:
        from importlib.util import find_spec

        if self.vision_model:
            super().check()
        elif self.ocr == "none":
            raise ConfigError("transcribe_pages: with `vision_model: false`, set `ocr: tesseract`")
        if self.ocr == "tesseract" and shutil.which("tesseract") is None:
            raise ConfigError("transcribe_pages: `ocr: tesseract` is set, and the program tesseract is not installed")
        if self.backend == "pymupdf" and find_spec("pymupdf") is None:
            raise ConfigError(
                "transcribe_pages: PyMuPDF is not installed. It is licensed under the AGPL: pip install "
                "'curation[mupdf]', or set `backend: pdfium`"
            )

    def setup(self) -> None:
        from stages.extract.pdf.engine import Engine
        from stages.extract.pdf.legibility import Legibility

        self._engine = Engine(self.page_s, memory_mb=self.memory_mb)
        self._engine.start()
        self._legibility = Legibility.load()

    def cpu_elsewhere(self) -> float:
        return (self._engine.cpu_s if self._engine is not None else 0.0) + self._ocr_cpu_s

    def __call__(self, docs: pa.Table) -> Outcome:
        from stages.extract.pdf.route import NEEDS_PICTURE

        wanted = [
            _Page(row, number, reason)
            for row, reasons in enumerate(docs["page_reason"].to_pylist())
            for number, reason in enumerate(reasons or ())
            if reason in NEEDS_PICTURE
        ]
        for i in range(0, len(wanted), self.pages_at_once):
            self._read(docs, wanted[i : i + self.pages_at_once])
        return self._outcome(docs, wanted)

    def _read(self, docs: pa.Table, pages: list[_Page]) -> None:
        """Render pages and read them."""
        for page in pages:
            self._render(docs, page)
        asked = [page for page in pages if page.image]
        if self.vision_model:
            self._ask(asked)
            turned = [page for page in asked if page.turns]
            for page in turned:
                self._render(docs, page)
            self._ask([page for page in turned if page.image], last=True)
        if self.ocr == "tesseract":
            for page in asked:
                if page.status == "failed":
                    self._recognize(page)
        for page in pages:
            page.image = b""
            self.metrics.count(f"pages_{page.status}")
            if page.status == "failed":
                self.metrics.count(f"failed_{(page.why or '').split(':')[0].replace(' ', '_')}")

    def _render(self, docs: pa.Table, page: _Page) -> None:
        """The picture of a page; none if it is blank or cannot be rendered."""
        from stages.extract.pdf.engine import Failed
        from stages.extract.pdf.page_image import is_blank, png

        page.image = b""
        content = docs["content"][page.row].as_py()
        if content is None:
            page.why = "no_pdf"
            return
        try:
            picture = self._engine.render(self.backend, content, page.number, self.longest_side, page.turns)
        except Failed as error:
            page.why = f"render: {error}"
            return
        if is_blank(*picture):
            page.status, page.why = "empty", "blank"
            return
        page.image = png(*picture)

    def _ask(self, pages: list[_Page], last: bool = False) -> None:
        """Ask the model about pages. last: a page that still is to be turned has failed."""
        from stages.extract.pdf.page_answer import LADDER, PROMPTS, PageRequest, page_answer
        from stages.extract.pdf.page_image import data_url

        system, user = PROMPTS[self.prompt]
        requests = [
            PageRequest(
                system,
                user,
                self.max_tokens,
                temperature=LADDER[0],
                seed=self.seed,
                extra=self.parameters,
                image=data_url(page.image),
            )
            for page in pages
        ]
        replies = self.ask(requests, page_answer(self.prompt, self._legibility))
        for page, reply in zip(pages, replies, strict=True):
            if reply.error is not None:
                page.why, page.turns = f"vlm: {reply.error}"[:200], 0
            elif reply.value.turns:
                page.why = "vlm: turned twice" if last else None
                page.turns = reply.value.turns
            elif reply.value.text:
                page.status, page.why, page.text, page.turns = "vlm", page.reason, reply.value.text, 0
            else:
                page.status, page.why, page.turns = "empty", "vlm", 0

    def _recognize(self, page: _Page) -> None:
        """Read a page with Tesseract."""
        from stages.extract.html import clean

        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        try:
            done = subprocess.run(
                ["tesseract", "stdin", "stdout", "-l", self.ocr_languages, "--psm", "3"],
                input=page.image,
                capture_output=True,
                timeout=_OCR_LIMIT_S,
                env=os.environ | {"OMP_THREAD_LIMIT": "1"},
                check=True,
            )
            text = clean(done.stdout.decode("utf-8", "replace").replace("\f", ""))
            if text:
                page.status, page.why, page.text = "ocr", page.reason, text
            else:
                page.status, page.why = "empty", "ocr"
        except subprocess.TimeoutExpired:
            page.why = "ocr: timeout"
        except (subprocess.CalledProcessError, OSError) as error:
            page.why = f"ocr: {type(error).__name__} {error}"[:200]
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        self._ocr_cpu_s += after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    def _outcome(self, docs: pa.Table, pages: list[_Page]) -> Outcome:
        """The documents with the texts of the pages in place."""
        values: dict[str, list[Any]] = {name: docs[name].to_pylist() for name in _CHANGED}
        dropped: list[str | None] = [None] * docs.num_rows
        failed: list[str | None] = [None] * docs.num_rows
        by_row: dict[int, list[_Page]] = {}
        for page in pages:
            by_row.setdefault(page.row, []).append(page)
        for row, mine in by_row.items():
            texts = {}
            for page in mine:
                values["page_status"][row][page.number] = page.status
                values["page_reason"][row][page.number] = page.why or page.reason
                texts[page.number] = page.text
            text, offsets = insert(values["text"][row] or "", values["page_offsets"][row], texts)
            values["text"][row], values["page_offsets"][row] = text or None, offsets
            if not text:
                status = values["page_status"][row]
                if "failed" not in status:
                    dropped[row] = "no_text"
                elif self.unanswered == "quarantine":
                    first = values["page_reason"][row][status.index("failed")]
                    failed[row] = f"{first} (no page could be read)"
        for name in _CHANGED:
            docs = docs.set_column(docs.schema.get_field_index(name), name, pa.array(values[name], column_type(name)))
        return Outcome(
            docs.drop_columns(["content"]), dropped=pa.array(dropped, pa.string()), failed=pa.array(failed, pa.string())
        )


def insert(text: str, offsets: list[int], texts: dict[int, str]) -> tuple[str, list[int]]:
    """Put the texts of pages into a document where the pages start. Returns the text and the new offsets."""
    pieces: list[str] = []
    size = 0
    starts: list[int] = []
    ends = [*offsets[1:], len(text)]
    for number, (begin, end) in enumerate(zip(offsets, ends, strict=True)):
        own = text[begin:end]
        new = texts.get(number, "").strip()
        if new:
            if size and not "".join(pieces[-2:]).endswith(_SEPARATOR):
                pieces.append(_SEPARATOR)
                size += len(_SEPARATOR)
            starts.append(size)
            follows = any(texts.get(i, "").strip() for i in range(number + 1, len(offsets))) or end < len(text)
            new = new + _SEPARATOR if follows or own.strip() else new
            own = new + own
        else:
            starts.append(size)
        pieces.append(own)
        size += len(own)
    whole = "".join([text[: offsets[0]] if offsets else text, *pieces])
    shift = offsets[0] if offsets else 0
    kept = whole.rstrip()
    return kept, [min(start + shift, len(kept)) for start in starts]

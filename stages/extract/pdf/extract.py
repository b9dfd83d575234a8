"""Extracts the text of PDF documents from their text layers, page by page, and says how each page was read.

The trade-off: no layout model. A model that sees the page finds headers on single pages and headings by their look,
at a hundred times the cost. What is done here instead, on the boxes of words, is in the modules beside this one:
`route` (is the text layer the page's text?), `columns`, `paragraphs`, `running` and `hyphens`, put together in `text`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

import pyarrow as pa
from pydantic import Field, PrivateAttr

from curation.documents import column_type
from curation.errors import ConfigError
from curation.stage import Outcome, Stage

_ADDED = ("text", "title", "n_pages", "page_offsets", "page_status", "page_reason")
#: What `Opened.problem` may say that is a property of the file; anything else is a failure of the engine.
_PROBLEMS = frozenset({"broken", "encrypted", "no_pages", "not_pdf"})


class ExtractPdf(Stage, name="extract_pdf"):
    """Extracts text and title of PDF documents.

    Reads `content`; writes `text`, `title`, `n_pages`, `page_offsets` (where each page starts in the text),
    `page_status` and `page_reason`, a value per page each. Columns are read one after another, repeated headers,
    footers and page numbers go, hyphenated words and paragraphs are joined over lines, columns and pages, rows of
    tables are lines with tabulators between the cells, vertical and right-to-left text is put in reading order; text
    that cannot be seen (transparent, white on white, off the page) or is printed twice goes once.

    A page's status is `text`, `hidden` (it is a scan, and the hidden layer of an OCR program was taken), `empty` or
    `failed`; for the last, the reason is one for which a picture has to be read (`scan`, `outlines`: letters drawn as
    shapes; `no_unicode`, `wrong_characters`: fonts that do not say which characters their glyphs are;
    `bad_hidden_text`: a garbage OCR layer), or says what went wrong (`timeout`, `memory`, `crashed: …`, an engine's
    error). A page that fails costs only itself: the engine runs in a process of its own, with limits of CPU time and
    memory, which is killed and started again.

    Drop reasons: `no_pdf` (the document has no file), `empty`, `html`, `not_pdf`, `header_only`, `encrypted` (needs a
    password), `truncated` (broken and without its end), `broken`, `no_pages`, `needs_pictures` (no page has text, and
    some need their picture read), `no_text` (no page has any). A file of which the engine can read no page fails
    (`timeout`, `memory`, `crashed`).

    The engine `pymupdf` (MuPDF) is licensed under the AGPL and is installed with `pip install 'curation[mupdf]'`;
    `pdfium` is permissive and always there. Pages written from right to left are read by PDFium in both cases.
    """

    one_at_a_time: ClassVar[bool] = True
    limit_s: ClassVar[float] = 300.0  # the reader of pages has limits of its own

    backend: Literal["pymupdf", "pdfium"] = Field("pymupdf", description="engine that reads the pages")
    max_pages: int = Field(
        2000, ge=1, description="pages of a document that are read; the rest get the status `failed`"
    )
    page_s: float = Field(10.0, gt=0, description="CPU seconds for a page, or for opening a file")
    document_s: float = Field(120.0, gt=0, description="CPU seconds for a document; pages not reached by then fail")
    memory_mb: int = Field(1024, ge=64, description="MiB that the engine's process may take for a document")
    keep_running_lines: bool = Field(False, description="keep repeated headers, footers and page numbers")
    for_pictures: bool = Field(
        False,
        description="keep `content`, and documents without text, for a stage that reads the pictures of failed pages",
    )

    _engine: Any = PrivateAttr(default=None)
    _legibility: Any = PrivateAttr(default=None)

    def needs(self) -> tuple[str, ...]:
        return ("content",)

    def adds(self) -> dict[str, pa.DataType]:
        return {name: column_type(name) for name in _ADDED}

    def removes(self) -> tuple[str, ...]:
        return () if self.for_pictures else ("content",)

    def check(self) -> None:
        from importlib.util import find_spec

        if self.backend == "pymupdf" and find_spec("pymupdf") is None:
            raise ConfigError(
                "extract_pdf: PyMuPDF is not installed. It is licensed under the AGPL: pip install 'curation[mupdf]', "
                "or set `backend: pdfium`"
            )

    def setup(self) -> None:
        import numpy as np

        from stages.extract.pdf.engine import Engine
        from stages.extract.pdf.legibility import Legibility
        from stages.extract.pdf.page import PageText
        from stages.extract.pdf.text import compose

        self._legibility = Legibility.load()

        self._engine = Engine(self.page_s, self.document_s, self.memory_mb)
        self._engine.start()
        boxes = np.array([[10.0 * i, 10.0, 10.0 * i + 8, 20.0] for i in range(40)], np.float32)
        zeros = np.zeros(40, np.uint8)
        compose([PageText(0, 500.0, 800.0, boxes, ["word"] * 40, zeros.astype(np.int32), zeros, zeros)])  # compiles

    def files(self) -> list[str]:
        return [str(Path(__file__).with_name("legibility.xz"))]

    def cpu_elsewhere(self) -> float:
        return self._engine.cpu_s if self._engine is not None else 0.0

    def __call__(self, docs: pa.Table) -> Outcome:
        columns: dict[str, list[Any]] = {name: [] for name in (*_ADDED, "dropped", "failed", "detail")}
        for content in docs["content"]:
            row = self._extract(content.as_py())
            for name, values in columns.items():
                values.append(row.get(name))
        for name in _ADDED:
            column = pa.array(columns[name], column_type(name))
            at = docs.schema.get_field_index(name)
            docs = docs.append_column(name, column) if at < 0 else docs.set_column(at, name, column)
        if not self.for_pictures:
            docs = docs.drop_columns(["content"])
        says = {name: pa.array(columns[name], pa.string()) for name in ("dropped", "failed", "detail")}
        return Outcome(docs, **says)

    def _extract(self, content: bytes | None) -> dict[str, Any]:
        """The columns of a document, and what becomes of it."""
        from stages.extract.pdf.text import clean_title, compose
        from stages.read.pdf_sniff import is_cut, problem

        if content is None:
            return {"dropped": "no_pdf"}
        reason = problem(content)
        if reason:
            return {"dropped": reason}
        reading = self._engine.read(self.backend, content, 0, self.max_pages)
        opened = reading.opened
        if opened.problem:
            if opened.problem not in _PROBLEMS:
                return {"failed": f"{opened.problem} (while the file was opened)"}
            cut = opened.problem != "encrypted" and is_cut(content)
            return {"dropped": "truncated" if cut else opened.problem, "detail": opened.detail}
        pages = self._by_script(content, reading.pages)
        routes, kept = self._routes(pages)
        composed = compose(kept, drop_running=not self.keep_running_lines)
        rest = opened.pages - len(pages)
        status = [route.status for route in routes] + ["failed"] * rest
        reasons = [route.reason for route in routes] + ["over_max_pages"] * rest
        row = {
            "text": composed.text or None,
            "title": clean_title(opened.title),
            "n_pages": opened.pages,
            "page_offsets": composed.offsets + [len(composed.text)] * rest,
            "page_status": status,
            "page_reason": reasons,
        }
        for name in status:
            self.metrics.count(f"pages_{name}")
        for why in reasons:
            if why:
                self.metrics.count(f"pages_{why.split(':')[0]}")
        self.metrics.count("files_repaired", int(opened.repaired))
        return row | self._verdict(composed.text, status, reasons)

    def _by_script(self, content: bytes, pages: list) -> list:
        """The pages, with those written from right to left read by PDFium, which puts their letters in order."""
        from stages.extract.pdf.upright import is_right_to_left

        if self.backend == "pdfium":
            return pages
        turned = [page.number for page in pages if is_right_to_left(page.words)]
        for number in turned:
            again = self._engine.read("pdfium", content, number, number + 1).pages
            if again and again[0].words:
                self.metrics.count("pages_right_to_left")
                pages[number] = again[0]
        return pages

    def _routes(self, pages: list) -> tuple[list, list]:
        """The route of each page, and the pages with the words that are their text."""
        from stages.extract.pdf.route import route

        routes = [route(page, self._legibility) for page in pages]
        return routes, [page.keep(one.words) for page, one in zip(pages, routes, strict=True)]

    def _verdict(self, text: str, status: list[str], reasons: list[str | None]) -> dict[str, str]:
        """Whether a document is dropped or has failed."""
        from stages.extract.pdf.route import NEEDS_PICTURE

        if text:
            return {}
        wanted = sum(reason in NEEDS_PICTURE for reason in reasons)
        if wanted:
            return {} if self.for_pictures else {"dropped": "needs_pictures", "detail": f"{wanted} pages"}
        if all(one == "failed" for one in status):
            return {"failed": f"{reasons[0]} (no page could be read)"}
        return {"dropped": "no_text"}

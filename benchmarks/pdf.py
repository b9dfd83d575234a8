"""Text extraction from PDFs beside the engines' own `get_text` and pymupdf4llm, in one run.

    python benchmarks/pdf.py FOLDER [--pages N] [--rounds N]

FOLDER holds PDFs. Every reader gets every file, one after the other, so that a busy machine is busy for all; what is
timed is CPU seconds, those of the process that ours reads pages in included. Files of which an engine reads no page
are left out for all. pymupdf4llm takes part if it is installed, on the first three pages of each file.
Printed are pages a CPU second, and what all of ours is spent on. Last lines: `ratio pdf_vs_mupdf N` and `ratio
pdf_vs_pymupdf4llm N`, the speed of the stage over MuPDF's plain text and over pymupdf4llm's Markdown.
"""

from __future__ import annotations

import sys
from pathlib import Path

# Python puts this script's folder first on its path, where tokenize.py hides the library module of that name.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]

import argparse
import time
from collections import defaultdict
from collections.abc import Callable
from importlib.util import find_spec

import pymupdf
import pypdfium2

from stages.extract.pdf.extract import ExtractPdf

#: Takes a file and a number of pages; returns CPU seconds and how many pages it gave.
Reader = Callable[[bytes, int], tuple[float, int]]
_FEW = 3


def by_stage(backend: str) -> Reader:
    stage = ExtractPdf(backend=backend, for_pictures=True)  # type: ignore[arg-type]
    stage.setup()

    def read(content: bytes, pages: int) -> tuple[float, int]:
        stage.max_pages = pages
        began = time.process_time() + stage.cpu_elsewhere()
        row = stage._extract(content)
        spent = time.process_time() + stage.cpu_elsewhere() - began
        return spent, sum(status != "failed" for status in row.get("page_status", ()))

    return read


def by_mupdf(content: bytes, pages: int) -> tuple[float, int]:
    began = time.process_time()
    with pymupdf.open(stream=content, filetype="pdf") as document:
        count = min(pages, len(document))
        for number in range(count):
            document[number].get_text()
    return time.process_time() - began, count


def by_pdfium(content: bytes, pages: int) -> tuple[float, int]:
    began = time.process_time()
    document = pypdfium2.PdfDocument(content)
    count = min(pages, len(document))
    for number in range(count):
        page = document[number]
        text = page.get_textpage()
        text.get_text_range()
        text.close()
        page.close()
    document.close()
    return time.process_time() - began, count


def by_pymupdf4llm(content: bytes, pages: int) -> tuple[float, int]:
    import pymupdf4llm

    began = time.process_time()
    with pymupdf.open(stream=content, filetype="pdf") as document:
        count = min(pages, len(document), _FEW)
        pymupdf4llm.to_markdown(document, pages=list(range(count)))
    return time.process_time() - began, count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pages", type=int, default=100, help="of each file")
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    pymupdf.TOOLS.mupdf_display_errors(False)
    pymupdf.TOOLS.mupdf_display_warnings(False)
    readers: dict[str, Reader] = {
        "extract_pdf (pymupdf)": by_stage("pymupdf"),
        "extract_pdf (pdfium)": by_stage("pdfium"),
        "MuPDF get_text": by_mupdf,
        "PDFium get_text_range": by_pdfium,
    }
    if find_spec("pymupdf4llm"):
        readers["pymupdf4llm"] = by_pymupdf4llm
    files = []
    for path in sorted(options.folder.rglob("*.pdf")):
        content = path.read_bytes()
        if readers["extract_pdf (pymupdf)"](content, 1)[1]:  # hostile files are not for engines without a fence
            files.append(content)
    spent: dict[str, float] = defaultdict(float)
    pages: dict[str, int] = defaultdict(int)
    for _ in range(options.rounds):
        for content in files:
            for name, read in readers.items():
                try:
                    seconds, count = read(content, options.pages)
                except Exception as error:
                    print(f"{name}: {type(error).__name__}: {error}"[:100], file=sys.stderr)
                    continue
                spent[name] += seconds
                pages[name] += count
    print(f"{len(files)} files, {options.rounds} rounds")
    speed = {name: pages[name] / spent[name] for name in readers}
    for name in readers:
        print(
            f"{name:23s}{pages[name]:6d} pages {1000 * spent[name] / pages[name]:7.2f} ms a page {speed[name]:7.1f} a s"
        )
    ours = speed["extract_pdf (pymupdf)"]
    print(f"ratio pdf_vs_mupdf {ours / speed['MuPDF get_text']:.2f}")
    if "pymupdf4llm" in speed:
        print(f"ratio pdf_vs_pymupdf4llm {ours / speed['pymupdf4llm']:.1f}")


if __name__ == "__main__":
    main()

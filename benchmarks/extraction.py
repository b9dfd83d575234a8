"""Main-text extraction beside resiliparse, trafilatura and datatrove's settings of it, on pages with human gold text.

    python benchmarks/extraction.py FOLDER [--pages N] [--no-struct]

FOLDER holds `pages.parquet` with columns `html` (binary), `gold_text` and `page_type`, and may hold `struct.parquet`
with `html`, `gold_code` and `gold_math`. Every extractor gets every page, twenty at a time in turn, so that a busy
machine is busy for all; what is timed is CPU seconds. Printed are mean token precision, recall and F1, 4-gram F1, F1 by
page type, and the share of code lines kept to the character and of formulas kept as LaTeX.

The model behind the default engine may have been trained on these very pages (`stages/extract/train_main_lines.py`): on
them its F1 is that of a pupil who has seen the answers, and only the F1 on unseen pages that the training prints says
how good it is. All else was not trained. Last line: `ratio extraction_vs_trafilatura N`, the speed of the default
engine over trafilatura's default.
"""

from __future__ import annotations

import sys
from pathlib import Path

# Python puts this script's folder first on its path, where tokenize.py hides the library module of that name.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]

import argparse
import logging
import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import trafilatura
from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.encoding import bytes_to_str, detect_encoding

from stages.extract.html import ExtractHtml

#: Words; scripts that do not put spaces between words go by character.
WORD = re.compile(
    "[\u0e00-\u0e7f\u1000-\u109f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff]|\\w+", re.UNICODE
)
Extractor = Callable[[str], str]
#: Pages that one extractor gets before it is the next one's turn. One at a time, each would begin with caches that the
#: others have filled, which no pipeline does.
BLOCK = 20


def stage(**keys: Any) -> Extractor:
    """Our stage as a function of one page, called as the engine calls it."""
    made = ExtractHtml(**keys)
    made.setup()

    def run(page: str) -> str:
        table = pa.table({"text": pa.nulls(1, pa.large_string()), "html": pa.array([page], pa.large_string())})
        return made(table).docs["text"][0].as_py() or ""

    return run


def extractors() -> dict[str, Extractor]:
    logging.getLogger("trafilatura").setLevel(logging.CRITICAL)
    return {
        "ours": stage(),
        "ours, resiliparse": stage(engine="resiliparse"),
        "resiliparse": lambda page: extract_plain_text(page, main_content=True, alt_texts=False),
        "trafilatura": lambda page: trafilatura.extract(page) or "",
        "trafilatura fast": lambda page: trafilatura.extract(page, fast=True) or "",
        "datatrove's": lambda page: (
            trafilatura.extract(page, favor_precision=True, include_comments=False, deduplicate=True) or ""
        ),
    }


def decode(payload: bytes) -> str:
    text = bytes_to_str(payload, detect_encoding(payload) or "utf-8")
    return text.encode("utf-8", "replace").decode().replace("\0", "")


def overlap(found: list, gold: list) -> tuple[float, float, float]:
    """Precision, recall and F1 of bags of words or of word runs."""
    if not found or not gold:
        return (1.0, 1.0, 1.0) if not found and not gold else (0.0, 0.0, 0.0)
    same = sum((Counter(found) & Counter(gold)).values())
    return same / len(found), same / len(gold), 2 * same / (len(found) + len(gold))


def runs(words: list[str]) -> list[tuple[str, ...]]:
    return [tuple(words[i : i + 4]) for i in range(max(1, len(words) - 3))] if words else []


def structure(text: str, code: list[str], formulas: list[str]) -> dict[str, float]:
    """Share of the code's lines that are lines of the text, indentation included, and of the formulas that are in it
    but for white space."""
    out = {}
    lines = [line.rstrip() for block in code for line in block.expandtabs(4).split("\n") if line.strip()]
    if lines:
        found = Counter(line.rstrip() for line in text.expandtabs(4).split("\n"))
        out["code"] = sum((Counter(lines) & found).values()) / len(lines)
    squeezed = "".join(text.split()).replace("\\displaystyle", "")
    wanted = [re.sub(r"^\{(.*)\}$", r"\1", "".join(tex.split()).replace("\\displaystyle", "")) for tex in formulas]
    wanted = [tex for tex in wanted if len(tex) > 1]
    if wanted:
        out["math"] = sum(tex in squeezed for tex in wanted) / len(wanted)
    return out


def mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pages", type=int, default=0, help="take every n-th page so that about this many are used")
    parser.add_argument("--no-struct", action="store_true", help="leave out code and formulas")
    arguments = parser.parse_args()

    rows = pq.read_table(arguments.folder / "pages.parquet", columns=["html", "gold_text", "page_type"]).to_pylist()
    rows = rows[:: max(1, len(rows) // arguments.pages)] if arguments.pages else rows
    tools = extractors()
    for run in tools.values():
        run("<html><body><p>A first call loads what the others need.</p></body></html>")
    seconds: dict[str, float] = defaultdict(float)
    scores: dict[str, list[tuple[float, float, float, float]]] = defaultdict(list)
    by_type: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        pages = [decode(row["html"]) for row in block]
        for name, run in tools.items():
            began = time.process_time()
            texts = [run(page) for page in pages]
            seconds[name] += time.process_time() - began
            for row, text in zip(block, texts, strict=True):
                words, gold = WORD.findall(text.lower()), WORD.findall(row["gold_text"].lower())
                result = overlap(words, gold)
                scores[name].append((*result, overlap(runs(words), runs(gold))[2]))
                by_type[row["page_type"] or "other"][name].append(result[2])

    kept: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    struct = arguments.folder / "struct.parquet"
    if struct.exists() and not arguments.no_struct:
        for row in pq.read_table(struct, columns=["html", "gold_code", "gold_math"]).to_pylist():
            page = decode(row["html"])
            for name, run in tools.items():
                for what, value in structure(run(page), row["gold_code"] or [], row["gold_math"] or []).items():
                    kept[name][what].append(value)

    print(f"{len(rows)} pages")
    print(f"{'':18}{'P':>7}{'R':>7}{'F1':>7}{'4-gram':>8}{'code':>7}{'math':>7}{'ms/page':>9}{'pages/s':>9}")
    for name in tools:
        p, r, f, g = (mean([score[i] for score in scores[name]]) for i in range(4))
        each = seconds[name] / len(rows)
        code, math = mean(kept[name]["code"]), mean(kept[name]["math"])
        print(f"{name:18}{p:7.3f}{r:7.3f}{f:7.3f}{g:8.3f}{code:7.3f}{math:7.3f}{1000 * each:9.2f}{1 / each:9.1f}")
    print(f"\n{'F1 by type':18}{'pages':>7}" + "".join(f"{name:>18}" for name in tools))
    for kind, values in sorted(by_type.items()):
        print(f"{kind:18}{len(values['ours']):7}" + "".join(f"{mean(values[name]):18.3f}" for name in tools))
    print(f"ratio extraction_vs_trafilatura {seconds['trafilatura'] / seconds['ours']:.1f}")


if __name__ == "__main__":
    main()

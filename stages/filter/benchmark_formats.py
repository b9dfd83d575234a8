"""Reads the items of benchmarks from the files they are published in: GSM8K, MATH, HumanEval, MBPP, MMLU, and others.

A file is JSON lines, a JSON array or object, parquet or CSV; what it holds is told by its keys. Of each item the parts
are taken that a leak would show: the question, and the answer where it is a text of its own. A part is prose (`text`)
or a program (`code`); a docstring's prose is also taken by itself, since it may be quoted without its function.

Trade-off: an answer of a number or a letter is no text to look for and is left out, so a page that gives only the
answers of a multiple-choice test is not found.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from curation.errors import ConfigError


@dataclass(frozen=True)
class Part:
    """A part of a benchmark's item. part: `question` or `answer`; kind: `text` or `code`."""

    benchmark: str
    item: str
    part: str
    kind: str
    text: str


#: (part, kind, text) of a row.
Row = dict[str, Any]
Builder = Callable[[Row], Iterator[tuple[str, str, str]]]

_CALCULATION = re.compile(r"<<[^<>]*>>")  # GSM8K's notes to a calculator
_DOCSTRING = re.compile(r'("""|\'\'\')(.*?)\1', re.S)


def _gsm8k(row: Row) -> Iterator[tuple[str, str, str]]:
    yield "question", "text", row["question"]
    yield "answer", "text", _CALCULATION.sub("", row["answer"]).split("####")[0]


def _math(row: Row) -> Iterator[tuple[str, str, str]]:
    yield "question", "text", row["problem"]
    yield "answer", "text", row["solution"]


def _humaneval(row: Row) -> Iterator[tuple[str, str, str]]:
    for _, docstring in _DOCSTRING.findall(row["prompt"]):
        yield "question", "text", docstring.split(">>>")[0]
    yield "question", "code", row["prompt"]
    yield "answer", "code", row["canonical_solution"]


def _mbpp(row: Row) -> Iterator[tuple[str, str, str]]:
    yield "question", "text", row.get("text") or row["prompt"]
    yield "answer", "code", row["code"]


def _mmlu(row: Row) -> Iterator[tuple[str, str, str]]:
    choices = row.get("choices")
    if choices is None:
        choices = [row[letter] for letter in "ABCD" if row.get(letter) is not None]
    question = str(row["question"])
    if len(question.split()) < 12:  # "Which of these is true?": only with its choices is it this item
        question = "\n".join([question, *map(str, choices)])
    yield "question", "text", question


#: format -> (keys that tell it, what it is called, builder). The first whose keys are all there is taken.
FORMATS: dict[str, tuple[tuple[str, ...], Builder]] = {
    "humaneval": (("prompt", "canonical_solution"), _humaneval),
    "mbpp": (("code", "test_list"), _mbpp),
    "mmlu": (("question", "choices"), _mmlu),
    "mmlu_csv": (("question", "A", "B", "C", "D"), _mmlu),
    "math": (("problem", "solution"), _math),
    "gsm8k": (("question", "answer"), _gsm8k),
}
#: MMLU's own CSV files have no header.
_MMLU_COLUMNS = ("question", "A", "B", "C", "D", "answer")


def _by_keys(question: str | None, answer: str | None, code: bool) -> Builder:
    def build(row: Row) -> Iterator[tuple[str, str, str]]:
        for part, key in (("question", question), ("answer", answer)):
            if key is not None:
                yield part, "code" if code and part == "answer" else "text", str(row[key])

    return build


def read_parts(
    path: str, name: str = "", format: str = "", question: str | None = None, answer: str | None = None
) -> Iterator[Part]:
    """The parts of the items of a benchmark file (path or URL).

    name: of the benchmark, by default the file's. format: one of `FORMATS`, by default told by the keys. question,
    answer: keys of the two parts, for a file in no known format. ConfigError names the file and the row.
    """
    benchmark = name or PurePosixPath(path).name.split(".")[0]
    build = _by_keys(question, answer, False) if question or answer else FORMATS[format][1] if format else None
    n = -1
    for n, row in enumerate(_rows(path)):
        if build is None:
            format = next((f for f, (keys, _) in FORMATS.items() if all(key in row for key in keys)), "")
            if not format:
                raise ConfigError(
                    f"{path}: keys {sorted(map(str, row))[:8]} are of no known format ({', '.join(FORMATS)}): name the "
                    "keys with --question and --answer"
                )
            build = FORMATS[format][1]
        item = str(row.get("task_id", row.get("unique_id", n)))
        try:
            for part, kind, text in build(row):
                if isinstance(text, str) and text.strip():
                    yield Part(
                        benchmark, item.split("/")[-1] if item.startswith("HumanEval/") else item, part, kind, text
                    )
        except (KeyError, TypeError, AttributeError) as error:
            raise ConfigError(
                f"{path}, item {n}: expected the keys of {format or 'the flags'}, missing {error}"
            ) from error
    if n < 0:
        raise ConfigError(f"{path}: no items in it")


def _rows(path: str) -> Iterator[Row]:
    import fsspec

    name = path.lower()
    try:
        if name.endswith(".parquet"):
            import pyarrow.parquet as pq

            with fsspec.open(path, "rb") as file:
                for batch in pq.ParquetFile(file).iter_batches(1000):
                    yield from batch.to_pylist()
            return
        with fsspec.open(path, "rt", compression="infer", encoding="utf-8") as file:
            if ".csv" in name:
                yield from _csv_rows(file.read())
            elif ".jsonl" in name:
                for number, line in enumerate(file, 1):
                    if line.strip():
                        yield _object(json.loads(line), f"{path}:{number}")
            else:
                data = json.load(file)
                for number, row in enumerate(data if isinstance(data, list) else [data]):
                    yield _object(row, f"{path}, item {number}")
    except (ValueError, csv.Error) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error


def _object(row: Any, where: str) -> Row:
    if not isinstance(row, dict):
        raise ConfigError(f"{where}: expected an object, found {type(row).__name__}")
    return row


def _csv_rows(text: str) -> Iterator[Row]:
    rows = list(csv.reader(io.StringIO(text)))
    if not rows:
        return
    header = [cell.strip() for cell in rows[0]]
    known = {key for keys, _ in FORMATS.values() for key in keys} | {"question", "answer"}
    if sum(cell in known for cell in header) >= 2:
        yield from (dict(zip(header, row, strict=False)) for row in rows[1:] if row)
    else:
        yield from (dict(zip(_MMLU_COLUMNS, row, strict=False)) for row in rows if len(row) >= 6)

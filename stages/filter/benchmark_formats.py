"""Reads the items of benchmarks from the files they are published in: GSM8K, MATH, HumanEval, MBPP, MMLU, and others.

A file is JSON lines, a JSON array or object, parquet or CSV; a folder is all such files in it (MATH has one for each
problem, MMLU one for each subject). What a file holds is told by its keys, whose case does not matter. Of each item the
parts are taken that a leak would show: the question, and the answer where it is a text of its own. A part is prose
(`text`) or a program (`code`); a docstring's prose is also taken by itself: it may be quoted without its function.

Trade-off: an answer of a number or a letter is no text to look for and is left out, so a page that gives only the
answers of a multiple-choice test is not found.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from curation.errors import ConfigError
from stages.read.stored import DAMAGE


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
    yield "answer", "text", _CALCULATION.sub("", row["answer"] or "").split("####")[0]


def _math(row: Row) -> Iterator[tuple[str, str, str]]:
    yield "question", "text", row["problem"]
    if row.get("solution"):
        yield "answer", "text", row["solution"]


def _humaneval(row: Row) -> Iterator[tuple[str, str, str]]:
    for _, docstring in _DOCSTRING.findall(row["prompt"]):
        yield "question", "text", docstring.split(">>>")[0]
    yield "question", "code", row["prompt"]
    yield "answer", "code", row["canonical_solution"]


def _mbpp(row: Row) -> Iterator[tuple[str, str, str]]:
    yield "question", "text", row.get("text") or row["prompt"]  # the whole set says `text`, the sanitized one `prompt`
    yield "answer", "code", row["code"]


def _mmlu(row: Row) -> Iterator[tuple[str, str, str]]:
    choices = row.get("choices")
    if isinstance(choices, dict):  # ARC: {"text": [...], "label": [...]}
        choices = choices["text"]
    if choices is None:
        choices = [row[letter] for letter in "ABCD" if row.get(letter) is not None]
    question = row["question"] if "question" in row else row["input"]
    if question is None:
        return
    question = str(question)
    if len(question.split()) < 12:  # "Which of these is true?": only with its choices is it this item
        question = "\n".join([question, *map(str, choices)])
    yield "question", "text", question


#: format -> (keys that tell it, builder). The first whose keys are all there is taken.
FORMATS: dict[str, tuple[tuple[str, ...], Builder]] = {
    "humaneval": (("prompt", "canonical_solution"), _humaneval),
    "mbpp": (("code", "test_list"), _mbpp),
    "mmlu": (("question", "choices"), _mmlu),
    "mmlu_csv": (("question", "A", "B", "C", "D"), _mmlu),
    "mmlu_input": (("input", "A", "B", "C", "D"), _mmlu),
    "math": (("problem", "solution"), _math),
    "math_answer": (("problem", "answer"), _math),
    "gsm8k": (("question", "answer"), _gsm8k),
}
#: Keys that are read, by what they are in lower case: one file has `Question`, another `question`.
_KEYS = {
    key.lower(): key for key in (*(key for keys, _ in FORMATS.values() for key in keys), "text", "task_id", "unique_id")
}
#: MMLU's own CSV files have no header.
_MMLU_COLUMNS = ("question", "A", "B", "C", "D", "answer")
#: Endings of the files that are read, perhaps with another for their compression.
_ENDINGS = (".json", ".jsonl", ".csv", ".parquet")


def files_of(path: str) -> list[str]:
    """The benchmark files that a path stands for, in order: itself, or those in the folder, at any depth."""
    folder = Path(path)
    if "://" in path or not folder.is_dir():
        return [path]
    found = sorted(
        str(file) for file in folder.rglob("*") if file.is_file() and any(e in file.suffixes for e in _ENDINGS)
    )
    if not found:
        raise ConfigError(f"{path}: no file in it ends in {', '.join(_ENDINGS)}")
    return found


def _by_keys(question: str | None, answer: str | None, code: bool) -> Builder:
    def build(row: Row) -> Iterator[tuple[str, str, str]]:
        for part, key in (("question", question), ("answer", answer)):
            if key is not None:
                yield part, "code" if code and part == "answer" else "text", str(row[key])

    return build


def read_parts(
    path: str, name: str = "", format: str = "", question: str | None = None, answer: str | None = None
) -> Iterator[Part]:
    """The parts of the items of a benchmark file (path or URL) or a folder of them.

    name: of the benchmark, by default the file's or folder's. format: one of `FORMATS`, by default told by the keys.
    question, answer: keys of the two parts, for a file in no known format. ConfigError names the file and the row.
    """
    benchmark = name or PurePosixPath(path).name.split(".")[0]
    files = files_of(path)
    for file in files:
        inside = PurePosixPath(file).relative_to(path).with_suffix("").as_posix() if file != path else ""
        yield from _parts_of_file(file, benchmark, inside, format, question, answer)


def _parts_of_file(
    path: str, benchmark: str, inside: str, format: str, question: str | None, answer: str | None
) -> Iterator[Part]:
    """`read_parts` of one file. inside: its name in a folder, which becomes part of the items' names."""
    build = _by_keys(question, answer, False) if question or answer else FORMATS[format][1] if format else None
    n = -1
    for n, row in enumerate(_rows(path, [key for key in (question, answer) if key])):
        if not (question or answer):
            row = _named(row)
        if build is None:
            format = next((f for f, (keys, _) in FORMATS.items() if all(key in row for key in keys)), "")
            if not format:
                raise ConfigError(
                    f"{path}: keys {sorted(map(str, row))[:8]} are of no known format ({', '.join(FORMATS)}): name the "
                    "keys with --question and --answer"
                )
            build = FORMATS[format][1]
        try:
            for part, kind, text in build(row):
                if isinstance(text, str) and text.strip():
                    yield Part(benchmark, _item(row, n, inside), part, kind, text)
        except (KeyError, TypeError, AttributeError) as error:
            raise ConfigError(
                f"{path}, item {n}: expected the keys of {format or 'the flags'}, missing {error}"
            ) from error
    if n < 0:
        raise ConfigError(f"{path}: no items in it")


def _named(row: Row) -> Row:
    """The row with its keys as `FORMATS` has them; of one that is wrapped in another (MMLU's auxiliary training set has
    a column `train` of records), the inner."""
    if len(row) == 1:
        (inner,) = row.values()
        row = inner if isinstance(inner, dict) else row
    return {
        _KEYS.get(str(key).lower(), key) if _KEYS.get(str(key).lower()) not in row else key: row[key] for key in row
    }


def _item(row: Row, n: int, inside: str) -> str:
    """What an item is called: as its file says, or its number there, after the file's name if it lies in a folder."""
    own = row.get("task_id", row.get("unique_id"))
    if own is None:
        return f"{inside}/{n}" if inside else str(n)
    return str(own).removeprefix("HumanEval/")


def _rows(path: str, keys: list[str]) -> Iterator[Row]:
    """The records of a file. keys: those that a CSV file's header must have; without, it is told by a format's."""
    import fsspec

    name = path.lower()
    try:
        if name.endswith(".parquet"):
            import pyarrow.parquet as pq

            with fsspec.open(path, "rb") as file:
                for batch in pq.ParquetFile(file).iter_batches(1000):
                    yield from batch.to_pylist()
            return
        with fsspec.open(path, "rt", compression="infer", encoding="utf-8-sig") as file:
            if ".csv" in name:
                yield from _csv_rows(file.read(), path, keys)
            elif ".jsonl" in name:
                yield from _lines(file, path)
            else:
                text = file.read()
                try:
                    data = json.loads(text)
                except ValueError:  # lines of JSON go by this ending, too
                    yield from _lines(text.split("\n"), path)
                    return
                for number, row in enumerate(data if isinstance(data, list) else [data]):
                    yield _object(row, f"{path}, item {number}")
    except (*DAMAGE, csv.Error) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error


def _lines(lines: Iterable[str], path: str) -> Iterator[Row]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                row = json.loads(line)
            except ValueError as error:
                raise ConfigError(f"{path}:{number}: no JSON: {error}") from error
            yield _object(row, f"{path}:{number}")


def _object(row: Any, where: str) -> Row:
    if not isinstance(row, dict):
        raise ConfigError(f"{where}: expected an object, found {type(row).__name__}")
    return row


def _csv_rows(text: str, path: str, keys: list[str]) -> Iterator[Row]:
    rows = [row for row in csv.reader(io.StringIO(text)) if row]
    if not rows:
        return
    header = [cell.strip() for cell in rows[0]]
    known = _named(dict.fromkeys(header))
    if all(key in header for key in keys) if keys else any(set(k) <= set(known) for k, _ in FORMATS.values()):
        yield from (dict(zip(header, row, strict=False)) for row in rows[1:])
        return
    for n, row in enumerate(rows):
        if keys or len(row) != len(_MMLU_COLUMNS):
            raise ConfigError(
                f"{path}, row {n}: expected a header with the keys of a format, or those named by --question and "
                f"--answer, or, without a header, MMLU's {len(_MMLU_COLUMNS)} columns; found {row[:8]}"
            )
        yield dict(zip(_MMLU_COLUMNS, row, strict=True))

"""A small model that says in a tenth of a millisecond what a teacher would say of a document, along all dimensions.

One fastText model with a label for every value of every dimension (`educational_value=3`, `field=stem`), trained
one-vs-all: a document is read once, whatever the number of dimensions (Joulin et al. 2016, arXiv 1607.01759; FineWeb's
and DCLM's filters are of this kind, arXiv 2406.11794). Within a dimension the probabilities are scaled to sum to one;
a score is their mean, a category the most probable value.

fastText takes white space for the border of words and one line for one text. So the text is prepared first, in Arrow:
lower case, letters of scripts without spaces one by one, every number the same word, and the language as a word of its
own, as the same words weigh differently in two languages.

Trade-off: words and pairs of words of a document's start, no order beyond. It learns subject, register and boilerplate
well, the quality of an argument badly; the agreement report says how well, per dimension and language.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from classifiers.quality.dimensions import DIMENSIONS

#: Scripts that are written without spaces between words.
_UNSPACED = r"([\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}])"
_LABEL = "__label__"
_TRAIN = "import fasttext,json,sys; fasttext.train_supervised(**json.loads(sys.argv[1])).save_model(sys.argv[2])"


@dataclass(frozen=True)
class Training:
    """How a student is trained. `max_characters` of a document's start are read, in training and after.

    epochs: how often it sees each document; 0 for as often as makes 20,000 readings, from 5 to 100 times. (216
    documents of the example archive by their three origins: 25 times 0.85 right, 100 times 0.92, 200 times 0.92.)
    """

    max_characters: int = 2000
    dim: int = 32
    epochs: int = 0
    learning_rate: float = 0.5
    word_ngrams: int = 2
    min_count: int = 1
    buckets: int = 200_000
    seed: int = 0


def prepare(texts: pa.Array | pa.ChunkedArray, languages: Sequence[str | None], max_characters: int) -> list[str]:
    """One line of words for each text."""
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    head = pc.utf8_slice_codeunits(pc.fill_null(texts, ""), 0, max_characters)
    head = pc.utf8_lower(head)
    for pattern, by in (
        (_UNSPACED, r"\1 "),
        (r"[0-9]+", " 0 "),
        (r"([\p{P}\p{S}])", r" \1 "),
        (r"[\s\p{C}\p{Z}]+", " "),
    ):
        head = pc.replace_substring_regex(head, pattern, by)
    codes = pa.array([f"lang={code or 'und'} " for code in languages], head.type)
    return pc.binary_join_element_wise(codes, head, pa.scalar("", head.type)).to_pylist()


@dataclass(frozen=True)
class Prediction:
    """What a student says of n documents. scores: dimension -> float32 (n,), 0 to 5; categories: dimension -> list of
    n names; uncertainty: float32 (n,), the entropy of a dimension as a share of its largest, the mean of them."""

    scores: dict[str, np.ndarray]
    categories: dict[str, list[str]]
    uncertainty: np.ndarray

    def values(self, name: str) -> Any:
        """The scores or categories of one dimension."""
        return self.scores[name] if name in self.scores else self.categories[name]


@dataclass
class Student:
    """A trained student. `Student.load(folder).predict(texts, languages)`."""

    dimensions: list[str]
    training: Training
    teacher: str
    documents: int
    _model: Any = None
    _places: dict[str, int] = field(default_factory=dict)  # label -> column of the matrix of all values
    _spans: dict[str, tuple[int, int]] = field(default_factory=dict)  # dimension -> its columns

    def __post_init__(self) -> None:
        at = 0
        for name in self.dimensions:
            values = DIMENSIONS[name].values
            self._places |= {f"{_LABEL}{name}={value}": at + i for i, value in enumerate(values)}
            self._spans[name] = (at, at + len(values))
            at += len(values)
        self._width = at

    @classmethod
    def train(
        cls, lines: Sequence[str], labels: Mapping[str, Sequence[Any]], training: Training, teacher: str = ""
    ) -> Student:
        """Train on prepared lines and, per dimension, their labels: numbers from 0 to 5 (rounded here) or names.

        The same input gives the same student. That takes one thread, and a process of its own: with one thread
        fastText 0.9.3 draws the first tenth of its vectors and leaves the others as it finds the memory, so that a
        process that has freed some gives another model each time, or "Encountered NaN". Where every large allocation
        comes fresh from the kernel they are zeros. RuntimeError with fastText's message if training fails.
        """
        import fasttext

        student = cls(list(labels), training, teacher, len(lines))
        with tempfile.TemporaryDirectory() as folder:
            text, model = f"{folder}/labelled.txt", f"{folder}/student.bin"
            with open(text, "w", encoding="utf-8") as file:
                for i, line in enumerate(lines):
                    names = [f"{_LABEL}{name}={_class(name, values[i])}" for name, values in labels.items()]
                    file.write(" ".join([*names, line]) + "\n")
            arguments = {
                "input": text,
                "loss": "ova",
                "dim": training.dim,
                "epoch": training.epochs or min(100, max(5, 20_000 // max(1, len(lines)))),
                "lr": training.learning_rate,
                "wordNgrams": training.word_ngrams,
                "minCount": training.min_count,
                "bucket": training.buckets,
                "seed": training.seed % (1 << 31),
                "thread": 1,
                "verbose": 0,
            }
            done = subprocess.run(
                [sys.executable, "-c", _TRAIN, json.dumps(arguments), model],
                env=os.environ
                | {"MALLOC_MMAP_THRESHOLD_": "65536", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                capture_output=True,
                text=True,
            )
            if done.returncode:
                raise RuntimeError(f"the student could not be trained: {(done.stderr.strip() or 'no message')[-300:]}")
            student._model = fasttext.load_model(model)
        return student

    def probabilities(self, lines: list[str]) -> np.ndarray:
        """(documents, values) float64 probabilities; those of a dimension sum to one."""
        found = np.full((len(lines), self._width), 1e-6)
        if lines:
            labels, numbers = self._model.predict(lines, k=-1)
            places = self._places
            for row, (names, values) in enumerate(zip(labels, numbers, strict=True)):
                found[row, [places[name] for name in names]] = values
        np.clip(found, 1e-6, 1.0, out=found)
        for first, end in self._spans.values():
            part = found[:, first:end]
            part /= part.sum(axis=1, keepdims=True)
        return found

    def predict_lines(self, lines: list[str]) -> Prediction:
        """Labels of prepared lines."""
        found = self.probabilities(lines)
        scores, categories = {}, {}
        entropy = np.zeros(len(lines))
        for name, (first, end) in self._spans.items():
            part = found[:, first:end]
            entropy += -(part * np.log(part)).sum(axis=1) / np.log(end - first)
            if DIMENSIONS[name].is_score:
                scores[name] = _rounded((part * np.arange(end - first)).sum(axis=1))
            else:
                values = DIMENSIONS[name].values
                categories[name] = [str(values[i]) for i in part.argmax(axis=1).tolist()]
        return Prediction(scores, categories, _rounded(entropy / len(self._spans)))

    def predict(self, texts: pa.Array | pa.ChunkedArray, languages: Sequence[str | None]) -> Prediction:
        """Labels of documents."""
        return self.predict_lines(prepare(texts, languages, self.training.max_characters))

    def save(self, folder: Path) -> None:
        """Write `student.bin` and `student.json` into a folder, each whole or not at all."""
        folder.mkdir(parents=True, exist_ok=True)
        aside = folder / f".student.{os.getpid()}.bin"
        self._model.save_model(str(aside))
        os.replace(aside, folder / "student.bin")
        about = {
            "dimensions": self.dimensions,
            "training": asdict(self.training),
            "teacher": self.teacher,
            "documents": self.documents,
        }
        aside = folder / f".student.{os.getpid()}.json"
        aside.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
        os.replace(aside, folder / "student.json")

    @classmethod
    def load(cls, folder: Path) -> Student:
        """Read what `save` wrote. ValueError if the folder holds no student."""
        import fasttext

        try:
            about = json.loads((folder / "student.json").read_text(encoding="utf-8"))
            student = cls(about["dimensions"], Training(**about["training"]), about["teacher"], about["documents"])
            student._model = fasttext.load_model(str(folder / "student.bin"))
        except (OSError, KeyError, TypeError) as error:
            raise ValueError(f"'{folder}' holds no student (student.json and student.bin): {error}") from error
        return student


def _rounded(values: np.ndarray) -> np.ndarray:
    """float32 with four decimals: how a batch was cut may show in the last bits of a sum, and must not in a label."""
    return np.round(values, 4).astype(np.float32)


def _class(name: str, value: Any) -> Any:
    """The value of a dimension as one of its classes."""
    return int(np.clip(np.floor(float(value) + 0.5), 0, 5)) if DIMENSIONS[name].is_score else value

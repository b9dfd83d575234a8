"""Reads labelled sentences: parquet with the columns code, source, licence and text."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from classifiers.language.labels import languages
from curation.errors import ConfigError


@dataclass(frozen=True)
class Sentences:
    """Labelled sentences: object arrays of strings, one entry a sentence. Texts are in NFC."""

    texts: np.ndarray
    codes: np.ndarray
    sources: np.ndarray

    @classmethod
    def read(cls, path: str | Path) -> Sentences:
        """Read a file or a folder of files. Sentences without text are left out; without a column `source` the path
        is the source. ConfigError for a path or a column that is missing, or a code that is none of the 119."""
        try:
            table = pq.read_table(path)
            if "source" not in table.column_names:
                table = table.append_column("source", pa.array([str(path)] * table.num_rows, pa.string()))
            table = table.select(["code", "source", "text"])
        except (OSError, KeyError, pa.ArrowInvalid) as error:
            raise ConfigError(f"{path}: expected parquet with the columns code, source and text: {error}") from error
        table = table.filter(pc.greater(pc.utf8_length(pc.fill_null(table["text"], "")), 0))
        columns = [np.array(table[c].cast(pa.string()).to_pylist(), object) for c in ("text", "code", "source")]
        unknown = sorted(set(columns[1]) - set(languages()))
        if unknown:
            raise ConfigError(f"{path}: '{unknown[0]}' is not one of the {len(languages())} language codes")
        texts = np.array([unicodedata.normalize("NFC", text) for text in columns[0]], object)
        return cls(texts, columns[1], columns[2])

    def where(self, rows: np.ndarray | list[bool]) -> Sentences:
        """The sentences of a mask or of places."""
        rows = np.asarray(rows)
        return Sentences(self.texts[rows], self.codes[rows], self.sources[rows])

    def __len__(self) -> int:
        return len(self.texts)

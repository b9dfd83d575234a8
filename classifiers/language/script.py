"""Which script a text is written in: one pass of a compiled kernel over the UTF-8 bytes, one table lookup a character.

A language identifier that hashes character n-grams answers for any text, also for scripts it never saw, and models
that know only `zh` or `sr` leave open what it is written in. Counting letters per script settles both at a small
fraction of the model's cost: 18 of the 25 scripts of the 119 languages are used by one of these languages alone.

The table is `scripts.tsv`: the letters (general category L) of Unicode 17 by their Script property, as ISO 15924
codes. Marks, digits and punctuation do not count, nor do letters shared by scripts (Common, Inherited).

Chinese characters carry no script of their own for simplified and traditional text, so their forms are told apart by
the two national character sets, which Python's codecs hold: a character of GB 2312 that Big5 lacks is a simplified
form (2,380 of them), one of the 5,401 frequent characters of Big5 that GB 2312 lacks a traditional one (2,083). The
more frequent form wins. That is exact enough for text of a few words and costs no data of our own; a mixed text is
called by its majority. Japanese is recognised by its kana, so new Japanese forms (国, 学) do no harm there.
"""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numba import njit

#: A text of Han and kana is Japanese if at least this share of them is kana. Japanese prose is half kana, headlines
#: are a fifth; a Chinese text that quotes a Japanese name stays below.
_KANA_SHARE = 0.1

#: Characters of written Cantonese that standard Chinese does not use.
_CANTONESE = "嘅喺唔佢咗哋嚟啲咁冇嗰喎㗎嘢嗌攞諗瞓揾搵噉嘥咩乜嬲冚掟睇嗱咪嘞啱咋嗮曬畀俾"

_SIMPLIFIED, _TRADITIONAL, _CANTONESE_ONLY = 1, 2, 4
_HAN_FIRST, _HAN_LAST = 0x3400, 0x9FFF


@cache
def scripts() -> tuple[str, ...]:
    """ISO 15924 codes in the order of the columns of `count_letters`."""
    return tuple(sorted({script for _, _, script in _ranges()}))


@cache
def _ranges() -> tuple[tuple[int, int, str], ...]:
    with (Path(__file__).parent / "scripts.tsv").open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t")
        return tuple((int(row["first"], 16), int(row["last"], 16), row["script"]) for row in rows)


@cache
def letter_scripts() -> np.ndarray:
    """uint8 per code point: 0 is no letter, else 1 + the place of its script in `scripts()`."""
    number = {script: i + 1 for i, script in enumerate(scripts())}
    table = np.zeros(0x110000, np.uint8)
    for first, last, script in _ranges():
        table[first : last + 1] = number[script]
    return table


def _in(character: str, encoding: str, last: bytes = b"\xff\xff") -> bool:
    try:
        encoded = character.encode(encoding)
    except UnicodeEncodeError:
        return False
    return len(encoded) == 2 and encoded <= last


@cache
def _han_table() -> np.ndarray:
    """uint8 per code point from U+3400 to U+9FFF: bits for simplified, traditional and Cantonese characters."""
    table = np.zeros(_HAN_LAST - _HAN_FIRST + 1, np.uint8)
    for code in range(0x4E00, _HAN_LAST + 1):
        character = chr(code)
        if _in(character, "gb2312"):
            if not _in(character, "big5"):
                table[code - _HAN_FIRST] |= _SIMPLIFIED
        elif _in(character, "big5", b"\xc6\x7e"):  # up to here Big5 orders its frequent characters
            table[code - _HAN_FIRST] |= _TRADITIONAL
    for character in _CANTONESE:
        # A mark of Cantonese says nothing of the form, most of them are in one character set only.
        table[ord(character) - _HAN_FIRST] = _CANTONESE_ONLY
    return table


@njit(nogil=True, cache=True)
def _count(data, starts, script_table, han_table, letters, forms):  # type: ignore[no-untyped-def]
    latin = script_table[0x61]
    for row in range(len(starts) - 1):
        i, end = starts[row], starts[row + 1]
        ascii_letters = 0
        while i < end:
            byte = data[i]
            if byte < 0x80:
                ascii_letters += 0x61 <= (byte | 0x20) <= 0x7A
                i += 1
                continue
            if byte >= 0xF0:
                code, more = byte & 0x07, 3
            elif byte >= 0xE0:
                code, more = byte & 0x0F, 2
            else:
                code, more = byte & 0x1F, 1
            i += 1
            while more > 0 and i < end:
                code = (code << 6) | (data[i] & 0x3F)
                i += 1
                more -= 1
            if code >= len(script_table):
                continue
            script = script_table[code]
            if script:
                letters[row, script - 1] += 1
                if _HAN_FIRST <= code <= _HAN_LAST:
                    form = han_table[code - _HAN_FIRST]
                    if form:
                        forms[row, 0] += form & 1
                        forms[row, 1] += (form >> 1) & 1
                        forms[row, 2] += (form >> 2) & 1
        letters[row, latin - 1] += ascii_letters


class Letters:
    """The letters of each text by script.

    counts: int64 (texts, len(scripts())), letters of each script.
    simplified, traditional, cantonese: int64 (texts,), Han characters that only this way of writing uses.
    """

    def __init__(self, counts: np.ndarray, forms: np.ndarray) -> None:
        self.counts = counts
        self.simplified, self.traditional, self.cantonese = forms.T

    def of(self, script: str) -> np.ndarray:
        """Letters that a script code of a language may claim: `Jpan` counts Han and kana, `Hans` and `Hant` Han."""
        parts = {"Jpan": ("Hani", "Hira", "Kana"), "Hans": ("Hani",), "Hant": ("Hani",), "Kore": ("Hang", "Hani")}
        return self.counts[:, [scripts().index(part) for part in parts.get(script, (script,))]].sum(axis=1)

    def total(self) -> np.ndarray:
        """Letters of each text."""
        return self.counts.sum(axis=1)

    def is_japanese(self) -> np.ndarray:
        """Whether kana make up enough of the Han and kana of a text to call these Japanese."""
        kana = self.of("Hira") + self.of("Kana")
        return (kana > 0) & (kana >= _KANA_SHARE * self.of("Jpan"))

    def han_form(self) -> np.ndarray:
        """`Hans`, `Hant`, or `Hani` where no character (or as many for one as for the other) decides."""
        form = np.where(self.simplified > self.traditional, "Hans", "Hant")
        return np.where(self.simplified == self.traditional, "Hani", form)

    def majority(self) -> pa.Array:
        """The script most letters belong to, by text: ISO 15924, null without letters.

        Han and kana count together, and are called `Jpan` with enough kana and else by the form of the Han
        characters (`Hans`, `Hant`, `Hani` if undecided). On a tie the code that sorts first wins.
        """
        counts = self.counts.copy()
        han, kana = scripts().index("Hani"), [scripts().index("Hira"), scripts().index("Kana")]
        counts[:, han] += counts[:, kana].sum(axis=1)
        counts[:, kana] = 0
        names = np.array(scripts(), dtype=object)[counts.argmax(axis=1)]
        japanese = np.where(self.is_japanese(), "Jpan", self.han_form())
        names = np.where(names == "Hani", japanese, names)
        return pa.array(names, pa.string(), mask=counts.sum(axis=1) == 0)


def count_letters(texts: pa.Array | pa.ChunkedArray) -> Letters:
    """Count the letters of each text by script. `texts` is a string or large_string array; null counts as empty."""
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    if texts.null_count:
        texts = pc.fill_null(texts, "")
    if texts.type != pa.large_string():
        texts = texts.cast(pa.large_string())
    _, offsets, data = texts.buffers()
    letters = np.zeros((len(texts), len(scripts())), np.int64)
    forms = np.zeros((len(texts), 3), np.int64)
    if len(texts):
        starts = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
        bytes_ = np.frombuffer(data or b"", np.uint8)
        for view in (starts, bytes_):  # numba would compile once more for buffers that happen to be writable
            view.setflags(write=False)
        _count(bytes_, starts, letter_scripts(), _han_table(), letters, forms)
    return Letters(letters, forms)

"""Language identification with any fastText model, answered in one vocabulary: the 119 languages of `labels.tsv`.

fastText models name languages in different ways (`zh` in lid.176, `cmn_Hani` in GlotLID, `zho_Hans` in OpenLID). The
rest of a pipeline needs one name for a language, so that thresholds, mixing weights and reports meet. Here it is the
FLORES-200 code, language and script, for the 119 languages and dialects of the Qwen3 report; everything else is
`und`. A label is taken over if it names one of the 119 and the text is written in that language's script: a model
that hashes n-grams names some language for any text, in a script it never saw too.

Chinese is decided by its characters whatever the model says of it (`zh`, `yue`, `zho_Hant`, `cmn_Hani` ...): written
Cantonese by characters that only it uses, else simplified or traditional by the more frequent form. In NTREX-128
the characters find 82 % of the Cantonese sentences, and call one of 3,673 other Chinese sentences Cantonese.

Trade-off: only the model's first answer is used, so a text of a language outside the 119 that the model takes for one
inside it is not found out by a second answer. Use a threshold on the score for that.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from classifiers.language.script import Letters, count_letters

#: The model that comes with the project: lid.176, quantized; 176 languages, of which 99 are among the 119.
SHIPPED = Path(__file__).parent / "lid.176.ftz"

UNKNOWN = "und"

#: A text is written in a script if at least this share of its letters is. A fifth leaves room for the names, code
#: and addresses in a technical text.
_SCRIPT_SHARE = 0.2

#: Chinese text is Cantonese if at least this share of its Han characters is of a kind that only Cantonese uses. In
#: Cantonese sentences of NTREX-128 it is 9 % on average; below 2 % the text rather quotes some.
_CANTONESE_SHARE = 0.02


@dataclass(frozen=True)
class Language:
    """One row of `labels.tsv`: `code` as in FLORES-200, and the labels models use for it."""

    code: str
    iso639_3: str
    script: str  # ISO 15924
    name: str
    family: str
    lid176: str  # label in lid.176; empty if that model does not know the language
    aliases: str  # labels of other models, separated by spaces


@cache
def languages() -> dict[str, Language]:
    """The 119 languages by code, in the order of the Qwen3 report."""
    with (Path(__file__).parent / "labels.tsv").open(encoding="utf-8", newline="") as file:
        return {row["code"]: Language(**row) for row in csv.DictReader(file, delimiter="\t")}


@cache
def _codes() -> dict[str, str]:
    """Code by model label; Chinese in any form stands as `zho`."""
    codes: dict[str, str] = {"zho_Hani": "zho", "cmn_Hani": "zho", "yue_Hani": "zho"}
    for language in languages().values():
        code = "zho" if language.iso639_3 in ("zho", "yue") else language.code
        for label in (language.code, language.lid176, *language.aliases.split()):
            if label:
                codes[label] = code
    return codes


class Prediction(NamedTuple):
    """What a model says of n texts."""

    codes: pa.Array  # string: one of `languages()`, or `und`
    scores: np.ndarray  # float32: probability the model gives its label, 0 to 1; 0 for a text without letters
    labels: pa.Array  # string: the model's own label; null for a text without letters
    scripts: pa.Array  # string: ISO 15924, see `Letters.majority`


class LanguageModel:
    """A fastText language model. `LanguageModel.load(path).predict(texts)` gives codes and scores."""

    def __init__(self, model: Any) -> None:
        self._model = model

    @classmethod
    def load(cls, path: str | Path = SHIPPED) -> LanguageModel:
        """Load a `.bin` or `.ftz` file. ValueError if it is none."""
        import fasttext

        return cls(fasttext.load_model(str(path)))

    def label(self, texts: pa.Array) -> tuple[pa.Array, np.ndarray]:
        """The model's first label of each text, without its `__label__` prefix, and its probability.

        Newlines are read as spaces: fastText takes one line for one text.
        """
        lines = pc.replace_substring(pc.fill_null(texts, ""), "\n", " ").to_pylist()
        # A list, not a string a call: single strings fail with numpy 2 in every fastText binding but this one.
        found, probabilities = self._model.predict(lines, k=1)
        labels = [one[0].removeprefix("__label__") if len(one) else None for one in found]
        scores = np.array([one[0] if len(one) else 0.0 for one in probabilities], np.float32)
        return pa.array(labels, pa.string()), np.clip(scores, 0, 1)  # fastText gives up to 1.00005

    def predict(self, texts: pa.Array | pa.ChunkedArray, max_characters: int | None = None) -> Prediction:
        """Codes, scores, labels and scripts of a string array. The model reads the first `max_characters` of a text;
        its script is counted over all of it."""
        if isinstance(texts, pa.ChunkedArray):
            texts = texts.combine_chunks()
        head = texts if max_characters is None else pc.utf8_slice_codeunits(texts, 0, max_characters)
        labels, scores = self.label(head)
        letters = count_letters(texts)
        without = letters.total() == 0  # lid.176 calls an empty text English, with probability 0.12
        labels = pc.if_else(pa.array(without), pa.scalar(None, pa.string()), labels)
        return Prediction(
            code_of(labels, letters), np.where(without, np.float32(0), scores), labels, letters.majority()
        )


def code_of(labels: pa.Array, letters: Letters) -> pa.Array:
    """The code for a model's label of a text with these letters; `und` if it is none of the 119."""
    result = np.full(len(labels), UNKNOWN, dtype=object)
    encoded = labels.dictionary_encode()
    number = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)
    known = _codes()
    for i, label in enumerate(encoded.dictionary.to_pylist()):
        code = known.get(label)
        if code is None:
            continue
        script = "Hani" if code == "zho" else languages()[code].script
        own = letters.of(script)
        rows = (number == i) & (own > 0) & (own >= _SCRIPT_SHARE * letters.total())
        result[rows] = _chinese(letters)[rows] if code == "zho" else code
    return pa.array(result, pa.string())


def _chinese(letters: Letters) -> np.ndarray:
    """`yue_Hant`, `zho_Hant` or, also where no character decides, `zho_Hans`; one entry per text."""
    cantonese = (letters.cantonese > 0) & (letters.cantonese >= _CANTONESE_SHARE * letters.of("Hani"))
    return np.where(cantonese, "yue_Hant", np.where(letters.han_form() == "Hant", "zho_Hant", "zho_Hans"))

"""Other people's language models: any fastText file, answered in this project's vocabulary.

fastText models name languages in different ways (`zh` in lid.176, `cmn_Hani` in GlotLID, `zho_Hans` in OpenLID). The
rest of a pipeline needs one name for a language, so that thresholds, mixing weights and reports meet: the codes of
`labels.tsv`. Everything else is `und`.

A model that hashes n-grams names some language for any text, in a script it never saw too. So of its likeliest labels
those that belong to another script than the text's are struck out, and the probabilities of the others are scaled to
one again: the softmax as if the struck labels had not been there, but for what lies beyond the first ten labels. A
label of a language outside the 119 is not struck out; where it wins the text is `und`.

Chinese is decided by its characters whatever the model says of it (`zh`, `yue`, `zho_Hant`, `cmn_Hani` ...): written
Cantonese by characters that only it uses, else simplified or traditional by the more frequent form. In NTREX-128
the characters find 82 % of the Cantonese sentences, and call one of 3,673 other Chinese sentences Cantonese.

Trade-off: one reading of the first characters instead of windows, no varieties and no limits of `und`: those are
fitted to our model's probabilities (`identify.py`).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from classifiers.language.identify import PARTS, Identified, chinese_or_japanese
from classifiers.language.labels import UNKNOWN, group_of, languages
from classifiers.language.script import Letters, count_letters

#: Labels of a text that are looked at.
_LIKELIEST = 10

#: A text is written in a script if at least this share of its letters is. A fifth leaves room for the names, code
#: and addresses in a technical text.
_SCRIPT_SHARE = 0.2


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


class LanguageModel:
    """A fastText language model. `LanguageModel.load(path).identify(texts)` gives codes and scores."""

    def __init__(self, model: Any) -> None:
        self._model = model

    @classmethod
    def load(cls, path: str | Path) -> LanguageModel:
        """Load a `.bin` or `.ftz` file. ValueError if it is none."""
        import fasttext

        return cls(fasttext.load_model(str(path)))

    def label(self, texts: pa.Array, letters: Letters) -> tuple[pa.Array, np.ndarray]:
        """The likeliest label of each text that its script admits, without its `__label__` prefix, and its probability
        among those. `letters`: of these texts. Null and 0 where none is left.

        Newlines are read as spaces: fastText takes one line for one text.
        """
        lines = pc.replace_substring(pc.fill_null(texts, ""), "\n", " ").to_pylist()
        # A list, not a string a call: single strings fail with numpy 2 in every fastText binding but this one.
        found, probabilities = self._model.predict(lines, k=_LIKELIEST)
        names = sorted({name for one in found for name in one})
        admitted = {name: _admitted(name.removeprefix("__label__"), letters) for name in names}
        labels: list[str | None] = [None] * len(lines)
        scores = np.zeros(len(lines), np.float32)
        for row, (of_text, probability) in enumerate(zip(found, probabilities, strict=True)):
            own = [(name, p) for name, p in zip(of_text, probability, strict=True) if admitted[name][row]]
            if own:
                labels[row] = own[0][0].removeprefix("__label__")
                struck = sum(probability) - sum(p for _, p in own)
                scores[row] = own[0][1] / max(1 - struck, own[0][1])  # fastText gives up to 1.00005
        return pa.array(labels, pa.string()), scores

    def identify(self, texts: pa.Array | pa.ChunkedArray, max_characters: int | None = None) -> Identified:
        """What each text is in. The model reads the first `max_characters`; the script is counted over all of it.
        Margins and shares are 1: the model is asked once."""
        if isinstance(texts, pa.ChunkedArray):
            texts = texts.combine_chunks()
        head = texts if max_characters is None else pc.utf8_slice_codeunits(texts, 0, max_characters)
        letters = count_letters(texts)
        labels, scores = self.label(head, letters)
        without = letters.total() == 0  # lid.176 calls an empty text English, with probability 0.12
        labels = pc.if_else(pa.array(without), pa.scalar(None, pa.string()), labels)
        codes = code_of(labels, letters)
        groups = pa.array([group_of(code) for code in codes.to_pylist()], pa.string())
        ones = np.ones(len(texts), np.float32)
        values = pa.StructArray.from_arrays([groups, pa.array(ones)], ["language", "share"])
        parts = pa.ListArray.from_arrays(pa.array(np.arange(len(texts) + 1, dtype=np.int32)), values).cast(PARTS)
        scores = np.where(without, np.float32(0), scores)
        return Identified(codes, groups, scores, ones, ones, parts, labels, letters.majority())


def _admitted(label: str, letters: Letters) -> np.ndarray:
    """For each text whether its letters allow a label; a label whose script is not known is allowed everywhere."""
    code = _codes().get(label)
    if code is None:
        return np.ones(len(letters.counts), bool)
    own = letters.of("Hani" if code == "zho" else languages()[code].script)
    return (own > 0) & (own >= _SCRIPT_SHARE * letters.total())


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
        rows = (number == i) & _admitted(label, letters)
        result[rows] = chinese_or_japanese(letters, japanese=False)[rows] if code == "zho" else code
    return pa.array(result, pa.string())

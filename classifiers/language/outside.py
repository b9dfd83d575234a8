"""Text in languages outside the 119, made from their most frequent n-grams, to teach the model what is none of ours.

A model of 119 labels answers with one of them for every page, and the missing languages become false pages of their
neighbours: Kurdish turns into Persian, Hausa into Swahili. Sentences of hundreds of languages under a free licence are
hard to come by; lists of their 150 most frequent four-character n-grams are not (`outside.tsv.xz`, from Google's
FunLangID). A chain of overlapping n-grams reads like the language to a model that sees nothing but n-grams.

Serbian in Latin letters is made otherwise: Serbian text is transliterated, letter by letter, which is exact.

Trade-off: made-up text holds frequent patterns only, so the model is less sure of real text in these languages than
of real text in ours. The limit on the outside probability is fitted on real text, far below one half.
"""

from __future__ import annotations

import csv
import lzma
from functools import cache
from pathlib import Path

import numpy as np

#: Share of joints at which a chain goes on with an n-gram that overlaps; else it starts a new word.
_CHAINED = 0.9

_LATIN = dict(
    zip(
        "абвгдђежзијклљмнњопрстћуфхцчџш",
        [
            "a",
            "b",
            "v",
            "g",
            "d",
            "đ",
            "e",
            "ž",
            "z",
            "i",
            "j",
            "k",
            "l",
            "lj",
            "m",
            "n",
            "nj",
            "o",
            "p",
            "r",
            "s",
            "t",
            "ć",
            "u",
            "f",
            "h",
            "c",
            "č",
            "dž",
            "š",
        ],
        strict=True,
    )
)


@cache
def outside_languages() -> dict[tuple[str, str], list[str]]:
    """Most frequent n-grams first, by (BCP 47 code, script)."""
    with lzma.open(Path(__file__).parent / "outside.tsv.xz", "rt", encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return {(row["code"], row["script"]): row["n_grams"].split("/") for row in rows}


def chained_text(n_grams: list[str], n: int, rng: np.random.Generator) -> list[str]:
    """`n` texts of 20 to 140 characters, chained from n-grams given in order of frequency."""
    weight = 1 / (np.arange(len(n_grams)) + 8)
    weight /= weight.sum()
    starting: dict[str, list[int]] = {}
    for i, gram in enumerate(n_grams):
        for length in range(1, len(gram)):
            starting.setdefault(gram[:length], []).append(i)
    choices = {start: (places, np.cumsum(weight[places])) for start, places in starting.items()}
    everything = np.cumsum(weight)
    texts = []
    for _ in range(n):
        text, length = "", int(rng.integers(20, 140))
        while len(text) < length:
            added = ""
            if text and text[-1] != " " and rng.random() < _CHAINED:
                for overlap in (3, 2, 1):
                    found = choices.get(text[-overlap:]) if len(text) >= overlap else None
                    if found:
                        places, sums = found
                        added = n_grams[places[int(np.searchsorted(sums, rng.random() * sums[-1]))]][overlap:]
                        break
            text += added or " " + n_grams[int(np.searchsorted(everything, rng.random() * everything[-1]))]
            if rng.random() < 0.15:
                text += " "
        texts.append(" ".join(text.split()))
    return texts


def serbian_in_latin(text: str) -> str:
    """Serbian Cyrillic text in Latin letters, lower case."""
    return "".join(_LATIN.get(character, character) for character in text.lower())

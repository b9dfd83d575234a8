"""The languages there are to answer with: `labels.tsv`, one row each of the 119 of the Qwen3 report.

Codes are those of FLORES-200, language and script. Some of the 119 are varieties that short text does not tell apart:
eight kinds of Arabic, Persian and Dari, Bosnian and Croatian, Chinese in traditional characters and written Cantonese.
Those share a group; 109 groups in all, most of one language. A group of several has a code of its own (`ara_Arab`),
which is the answer where the text does not say which variety it is.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

#: None of the languages, or nothing to tell by.
UNKNOWN = "und"
#: No language: tables of numbers, code, encodings read wrongly, signs.
NO_LANGUAGE = "zxx"

LABELS_FILE = Path(__file__).with_name("labels.tsv")

#: The member of each group of several that rules and parameters are taken from where only the group is known.
STANDARD = {"ara_Arab": "arb_Arab", "fas_Arab": "pes_Arab", "hbs_Latn": "hrv_Latn", "zhx_Hant": "zho_Hant"}


@dataclass(frozen=True)
class Language:
    """One row of `labels.tsv`: `code` as in FLORES-200, and the labels models use for it."""

    code: str
    iso639_3: str
    script: str  # ISO 15924
    name: str
    family: str
    group: str  # code of its group; its own if it is alone
    lid176: str  # label in lid.176; empty if that model does not know the language
    aliases: str  # labels of other models, separated by spaces


@cache
def languages() -> dict[str, Language]:
    """The 119 languages by code, in the order of the Qwen3 report."""
    with LABELS_FILE.open(encoding="utf-8", newline="") as file:
        return {row["code"]: Language(**row) for row in csv.DictReader(file, delimiter="\t")}


@cache
def groups() -> dict[str, tuple[str, ...]]:
    """The 109 groups by code, with their languages."""
    members: dict[str, tuple[str, ...]] = {}
    for language in languages().values():
        members[language.group] = (*members.get(language.group, ()), language.code)
    return members


def group_of(code: str) -> str:
    """The group of a language; any other code (`und`, a label from outside) is its own."""
    return languages()[code].group if code in languages() else code

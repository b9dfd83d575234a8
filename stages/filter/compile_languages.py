"""Make `languages.json` from the configuration folder of FineWeb-2's repository.

    python -m stages.filter.compile_languages fineweb-2/configs

FineWeb-2 keeps one YAML file per language, 1,800 in all; a worker that reads 119 of them from a shared file system
for every task would wait longer than it works. This writes those of the 119 Qwen3 languages into one JSON file with
one language per line, so that a change of one threshold is a change of one line.

Five codes of Qwen3's list do not exist in FineWeb-2 under that name, or stand for a part of a FineWeb-2 code;
`SAME_AS` says which row they get. A folder in which the files already carry the Qwen3 codes works too.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import yaml

from stages.filter.languages import LANGUAGES_FILE, language_parameters

#: Qwen3 language -> FineWeb-2 code whose row it gets.
SAME_AS = {
    "pes_Arab": "fas_Arab",  # Iranian Persian and Dari: FineWeb-2 has one code for Persian
    "prs_Arab": "fas_Arab",
    "zho_Hans": "cmn_Hani",  # Chinese: FineWeb-2 has one code for both scripts
    "zho_Hant": "cmn_Hani",
    "yue_Hant": "yue_Hani",  # Cantonese: the same language under the code for unsplit Han script
    "tgl_Latn": "fil_Latn",  # Tagalog: FineWeb-2 has its standard form, Filipino
    "est_Latn": "ekk_Latn",  # Estonian: FineWeb-2 uses the code of the individual language
    "acq_Arab": "ars_Arab",  # Ta'izzi-Adeni Arabic: not in FineWeb-2; Najdi is its nearest neighbour there
}
#: FineWeb-2 begins where FineWeb's English ends: documents with an English score of 0.65 or more (FineWeb, §3.1).
ENGLISH = {"from": "FineWeb", "language_score": 0.65}
#: Values that are plainly an accident of the corpus FineWeb-2 derived them from. A corrected row says so.
CORRECTIONS: dict[str, dict[str, Any]] = {
    # Its list is the vocabulary of one bot on villages ("climate", "geography", "mean", a degree sign): 34
    # of 46 documents of ordinary Tatar had fewer than two of them. These are the most frequent function words of
    # 6,000 sentences from four sources.
    "tat_Cyrl": {
        "stopwords": ["һәм", "бу", "өчен", "белән", "ул", "дип", "да", "дә", "аның", "бер", "түгел", "булган", "иде"],
    },
    # Most Armenian is typed with a colon for its full stop (U+0589), and at the end of a line a colon says nothing.
    "hye_Armn": {"line_punct_thr": 0.0},
}
PARAMETERS = (
    "language_score",
    "dup_line_frac",
    "top_n_grams",
    "dup_n_grams",
    "min_avg_word_length",
    "max_avg_word_length",
    "max_non_alpha_words_ratio",
    "stopwords",
    "line_punct_thr",
    "new_line_ratio",
)


def compile_row(folder: Path, language: str) -> dict[str, Any]:
    """The row of one language. FileNotFoundError or KeyError if the folder or a file of it is incomplete."""
    if language == "eng_Latn":
        return dict(ENGLISH)
    source = SAME_AS.get(language, language)
    path = folder / f"{source}.yml"
    if not path.exists():
        path = folder / f"{language}.yml"
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    row = {"from": source} | {name: values[name] for name in PARAMETERS}
    if language in CORRECTIONS:
        row |= CORRECTIONS[language] | {"corrected": sorted(CORRECTIONS[language])}
    return row


def write_rows(rows: dict[str, dict[str, Any]], path: Path) -> None:
    """Write the rows as one JSON object, one language per line, sorted by code."""
    lines = [f"{json.dumps(code)}: {json.dumps(row, ensure_ascii=False)}" for code, row in sorted(rows.items())]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description="Make languages.json from FineWeb-2's configuration folder.")
    parser.add_argument("folder", type=Path, help="folder of FineWeb-2's *.yml files")
    parser.add_argument("languages", nargs="*", help="language codes (default: those languages.json has now)")
    parser.add_argument("--output", type=Path, default=LANGUAGES_FILE)
    arguments = parser.parse_args()
    languages = arguments.languages or list(language_parameters())
    write_rows({code: compile_row(arguments.folder, code) for code in languages}, arguments.output)
    print(f"{len(languages)} languages -> {arguments.output}")


if __name__ == "__main__":
    main()

"""Language identification beside fastText's lid.176 and, where it is installed, py3langid: documents per CPU second.

    python benchmarks/language.py FILE [--documents 600] [--rounds 3]

FILE is parquet with a column `text` (and `code`, if the sentences of one language are to be joined). Sentences are
joined to documents of about 1.4 kB. Ours is what the stage does: all windows, script, characters, limits. lid.176.ftz
is called through fasttext-numpy2 as one calls it, with a list of strings without newlines, which are made beforehand;
on the whole text, and on its first 1,000 characters. py3langid gets a sample. One core, alternating rounds, best round
of each. Last line: `ratio language_vs_fasttext N`, both on whole texts.
"""

from __future__ import annotations

import sys
from pathlib import Path

# Python puts this script's folder first on its path, where tokenize.py hides the library module of that name.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]

import argparse
import time
from collections.abc import Callable

import fasttext
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from classifiers.language.identify import Identifier

LID176 = Path(__file__).resolve().parents[1] / "classifiers/language/lid.176.ftz"
SIZE = 1400


def documents(path: str, most: int) -> list[str]:
    """Texts of about `SIZE` bytes, of one language each, the languages in turn."""
    table = pq.read_table(path)
    texts = table["text"].to_pylist()
    codes = table["code"].cast(pa.string()).to_pylist() if "code" in table.column_names else [""] * len(texts)
    made: dict[str, list[str]] = {}
    open_: dict[str, list[str]] = {}
    for code, text in zip(codes, texts, strict=True):
        parts = open_.setdefault(code, [])
        parts.append(text or "")
        if sum(len(part.encode()) for part in parts) >= SIZE:
            made.setdefault(code, []).append("\n".join(parts))
            open_[code] = []
    rows = [texts[i] for i in range(max(map(len, made.values()))) for texts in made.values() if i < len(texts)]
    return rows[:most]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("file")
    parser.add_argument("--documents", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    texts = documents(options.file, options.documents)
    array = pa.array(texts, pa.large_string())
    lines = [text.replace("\n", " ") for text in texts]
    heads = [line[:1000] for line in lines]
    identifier, model = Identifier.load(), fasttext.load_model(str(LID176))
    # name -> (what is timed, documents it does)
    tasks: dict[str, tuple[Callable[[], object], int]] = {
        "identify_language": (lambda: identifier.identify(array), len(texts)),
        "lid.176.ftz, fasttext-numpy2": (lambda: model.predict(lines, k=1), len(texts)),
        "lid.176.ftz, first 1,000 characters": (lambda: model.predict(heads, k=1), len(texts)),
    }
    try:
        import py3langid
    except ImportError:
        print("py3langid is not installed; left out")
    else:
        sample = texts[:: max(1, len(texts) // 60)]
        tasks["py3langid"] = (lambda: [py3langid.classify(text) for text in sample], len(sample))
    for task, _ in tasks.values():
        task()  # compile and load
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(options.rounds):
        for name, (task, n) in tasks.items():
            began = time.process_time()
            task()
            seconds[name].append((time.process_time() - began) / n)
    mean = sum(len(text.encode()) for text in texts) / len(texts)
    print(f"{len(texts)} documents of {mean:,.0f} bytes")
    for name, each in seconds.items():
        rate = 1 / min(each)
        print(
            f"{name:36} {rate:8,.0f} documents/s {rate * mean / 1e6:7.1f} MB/s  (worst round {1 / np.max(each):,.0f})"
        )
    ratio = min(seconds["lid.176.ftz, fasttext-numpy2"]) / min(seconds["identify_language"])
    print(f"ratio language_vs_fasttext {ratio:.2f}")


if __name__ == "__main__":
    main()

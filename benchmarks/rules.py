"""The Gopher, C4 and FineWeb rules beside datatrove's, on one core, as a ratio of CPU seconds.

    python benchmarks/rules.py FOLDER [--documents N]

FOLDER holds parquet files with a column `text` (searched one level deep). Both sides get the same documents and run
the same four filters with the published English limits on every document, in FineWeb's order; a document that one
filter drops still goes to the next, so that each filter is measured on the same texts. Rounds alternate. datatrove
goes document by document, so that its cache of split words serves the filters that follow on the same text; ours goes
batch by batch as the engine does. What is timed is the work: models are loaded and kernels compiled before.

datatrove cuts English with spaCy where that is installed, which is its default; else with a split at white space,
several times faster and then no fair picture of datatrove. Which one ran is printed. Also printed is the share of
documents with the same verdict. Last line: `ratio rules_vs_datatrove N`.
"""

from __future__ import annotations

import sys
from pathlib import Path

# Python puts this script's folder first on its path, where tokenize.py hides the library module of that name.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]

import argparse
import importlib.util
import time

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from datatrove.data import Document
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)
from datatrove.utils.word_tokenizers import WordTokenizer

from stages.filter.c4_quality import C4Quality
from stages.filter.fineweb_quality import FineWebQuality
from stages.filter.gopher_quality import GopherQuality
from stages.filter.gopher_repetition import GopherRepetition

#: Documents per call, as the engine's default.
BATCH = 256


class WhiteSpace(WordTokenizer):
    """Words between white space, and sentences at full stops: what is left to datatrove without spaCy."""

    def word_tokenize(self, text: str) -> list[str]:
        return text.split()

    def sent_tokenize(self, text: str) -> list[str]:
        return [part for part in text.split(". ") if part]

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        ends = [i + 1 for i, char in enumerate(text) if char in ".?!"] or [len(text)]
        return list(zip([0, *ends], ends, strict=False))


def read_texts(folder: Path, documents: int) -> pa.Array:
    """Up to `documents` texts, taken evenly from all files, none empty."""
    columns = []
    for path in sorted([*folder.glob("*.parquet"), *folder.glob("*/*.parquet")]):
        schema = pq.read_schema(path)
        if "text" in schema.names:
            columns.append(pq.read_table(path, columns=["text"])["text"].cast(pa.large_string()).combine_chunks())
    if not columns:
        raise SystemExit(f"no parquet file with a column `text` in {folder}")
    texts = pa.concat_arrays(columns)
    texts = texts.filter(pc.greater(pc.utf8_length(pc.fill_null(texts, "")), 0))
    step = max(1, len(texts) // documents)
    return texts.take(pa.array(range(0, len(texts), step)))[:documents]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--documents", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()

    spacy = importlib.util.find_spec("spacy") is not None
    language = "en" if spacy else WhiteSpace()
    print("datatrove's words:", "spaCy, blank English (its default)" if spacy else "white space (spaCy not installed)")
    theirs = [
        GopherRepetitionFilter(language=language),
        GopherQualityFilter(language=language),
        C4QualityFilter(filter_no_terminal_punct=False, language=language),
        FineWebQualityFilter(language=language),
    ]
    ours = [
        GopherRepetition(per_language=False),
        GopherQuality(per_language=False),
        C4Quality(per_language=False, filter_no_terminal_punct=False),
        FineWebQuality(per_language=False),
    ]
    texts = read_texts(arguments.folder, arguments.documents)
    table = pa.table({"text": texts})
    strings = texts.to_pylist()
    size = sum(len(text.encode()) for text in strings)
    print(f"{len(strings)} documents, {size / len(strings):.0f} bytes each, {arguments.rounds} rounds")
    for rule in theirs:  # load, compile
        rule.filter(Document(text="One sentence to begin with. " + strings[0][:1000], id=""))
    for stage in ours:
        stage(table.slice(0, 2))

    their_seconds = [0.0] * len(theirs)
    our_seconds = [0.0] * len(ours)
    same = [0] * len(ours)
    for part in range(arguments.rounds):
        share = range(part * len(strings) // arguments.rounds, (part + 1) * len(strings) // arguments.rounds)
        kept: list[list[bool]] = [[] for _ in ours]
        for at in range(share.start, share.stop, BATCH):
            batch = table.slice(at, min(BATCH, share.stop - at))
            for i, stage in enumerate(ours):
                began = time.process_time()
                outcome = stage(batch)
                our_seconds[i] += time.process_time() - began
                kept[i] += pc.is_null(outcome.dropped).to_pylist()
        for place, at in enumerate(share):
            for i, rule in enumerate(theirs):
                document = Document(text=strings[at], id="")
                began = time.process_time()
                verdict = rule.filter(document)
                their_seconds[i] += time.process_time() - began
                same[i] += (verdict is True) == kept[i][place]

    print(f"{'':20}{'datatrove':>12}{'ours':>10}{'ratio':>8}{'same verdict':>14}")
    for i, stage in enumerate(ours):
        each, mine = (1000 * seconds[i] / len(strings) for seconds in (their_seconds, our_seconds))
        agree = f"{100 * same[i] / len(strings):.2f} %"
        print(f"{stage.stage_name:20}{each:9.2f} ms{mine:7.3f} ms{each / mine:8.0f}{agree:>14}")
    each, mine = (1000 * sum(seconds) / len(strings) for seconds in (their_seconds, our_seconds))
    print(f"{'all':20}{each:9.2f} ms{mine:7.3f} ms{each / mine:8.0f}")
    print(f"ratio rules_vs_datatrove {each / mine:.1f}")


if __name__ == "__main__":
    main()

"""`decontaminate` beside datatrove's n-gram decontamination: speed, planted items found, false hits.

    python benchmarks/decontamination.py BENCHMARKS TEXTS.parquet [--documents N]

BENCHMARKS is a folder of benchmark files (GSM8K, MATH, HumanEval, MBPP, MMLU as published), TEXTS a parquet file with a
column `text` of documents without them. Prints, for 10,000 of the texts (or as many as there are):

- CPU microseconds a document, of ours and of datatrove's filter with its defaults (12-grams, questions too),
  alternating in one process. datatrove's words are split at white space, faster than the spaCy it takes by default.
- False hits: documents dropped. Look at those printed: a text may really quote a benchmark.
- Of 1,000 questions planted between two documents in each of five disguises, the share found. A paraphrase keeps the
  numbers and has a longest common subsequence over 0.6 of the question's words, by an implementation of its own here.

Last line: `ratio decontamination_vs_datatrove N`.
"""

from __future__ import annotations

import sys
from pathlib import Path

# Python puts this script's folder first on its path, where tokenize.py hides the library module of that name.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]

import argparse
import random
import tempfile
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datatrove.data import Document
from datatrove.pipeline.decont.n_grams import NGramsDecontConfig, NGramsDecontFilter, NGramsDecontIndexer
from datatrove.utils.hashing import create_hash_func
from datatrove.utils.word_tokenizers import WordTokenizer

from stages.filter.benchmark_formats import read_parts
from stages.filter.benchmark_index import write_index
from stages.filter.decontaminate import Decontaminate

BATCH = 256
FILLERS = ["roughly", "another", "fetches", "altogether", "fellow", "gets", "indeed", "also", "then", "quite"]


class WhiteSpace(WordTokenizer):
    """Words between white space."""

    def word_tokenize(self, text: str) -> list[str]:
        return text.split()

    def sent_tokenize(self, text: str) -> list[str]:
        return [text]

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        return [(0, len(text))]


def datatrove_filter(questions: list[tuple[str, str]]) -> NGramsDecontFilter:
    """datatrove's filter with an index of (question, answer) in memory. Its own indexer reads from lighteval only."""
    config = NGramsDecontConfig(find_query_ngrams=True)
    indexer = object.__new__(NGramsDecontIndexer)
    indexer.config, indexer.tokenizer = config, WhiteSpace("en")
    indexer.hash_func = create_hash_func(config.hash_config)
    made = object.__new__(NGramsDecontFilter)
    made.config, made.tokenizer, made.hash_func = config, indexer.tokenizer, indexer.hash_func
    made._index_hashes = {h: "task" for q, a in questions for h in indexer.compute_hashes(a, q)}
    made.stat_update = lambda *_, **__: None
    return made


def common_subsequence(a: list[str], b: list[str]) -> int:
    row = [0] * (len(b) + 1)
    for x in a:
        before = 0
        for j, y in enumerate(b):
            before, row[j + 1] = row[j + 1], before + 1 if x == y else max(row[j + 1], row[j])
    return row[-1]


def paraphrase(rng: random.Random, text: str) -> str:
    """The same numbers; other words replaced, left out or added, as many as leave the subsequence over 0.6."""
    words = text.split()
    while True:
        share = rng.uniform(0.1, 0.5)
        other: list[str] = []
        for word in words:
            draw = rng.random()
            if draw >= share or any(c.isdigit() for c in word):
                other.append(word)
            elif draw < 0.6 * share:
                other.append(rng.choice(FILLERS))
            elif draw < 0.8 * share:
                other += [word, rng.choice(FILLERS)]
        if common_subsequence(words, other) > 0.6 * len(words):
            return " ".join(other)


DISGUISES = {
    "verbatim": lambda rng, text: text,
    "upper case": lambda rng, text: text.upper(),
    "no punctuation": lambda rng, text: "".join(c for c in text if c.isalnum() or c.isspace()),
    "other spacing": lambda rng, text: rng.choice(["\n", "  ", " \t "]).join(text.split()),
    "paraphrase": paraphrase,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("benchmarks", type=Path)
    parser.add_argument("texts", type=Path)
    parser.add_argument("--documents", type=int, default=10_000)
    arguments = parser.parse_args()
    rng = random.Random(1)
    parts = [part for file in sorted(arguments.benchmarks.iterdir()) for part in read_parts(str(file))]
    folder = tempfile.TemporaryDirectory()
    index = f"{folder.name}/index.parquet"
    built = write_index(parts, index)
    print(f"index: {sum(built.kept.values()):,} parts of items; left out: {dict(built.left_out)}")
    ours = Decontaminate(index=index)
    ours.setup()
    questions = [p for p in parts if p.part == "question"]
    answers = {(p.benchmark, p.item): p.text for p in parts if p.part == "answer"}
    theirs = datatrove_filter([(p.text, answers.get((p.benchmark, p.item), "")) for p in questions])

    texts = pq.read_table(arguments.texts, columns=["text"])["text"].cast(pa.large_string()).combine_chunks()
    step = max(1, len(texts) // arguments.documents)
    texts = texts.take(pa.array(range(0, len(texts), step)))[: arguments.documents]
    spent = {"ours": 0.0, "datatrove": 0.0}
    hits = {"ours": 0, "datatrove": 0}
    for start in range(0, len(texts), BATCH):
        batch = texts[start : start + BATCH]
        table = pa.table({"text": batch})
        began = time.process_time()
        outcome = ours(table)
        spent["ours"] += time.process_time() - began
        for detail in outcome.detail.drop_null().to_pylist():
            print("  hit:", detail)
        hits["ours"] += len(batch) - outcome.dropped.null_count
        if start // BATCH % 8 == 0:  # every eighth batch is enough for a rate
            documents = [Document(text or "", str(i)) for i, text in enumerate(batch.to_pylist())]
            began = time.process_time()
            hits["datatrove"] += sum(theirs.filter(document) is not True for document in documents)
            spent["datatrove"] += (time.process_time() - began) * len(batch) / len(documents)
    seen = {"ours": len(texts), "datatrove": sum(min(BATCH, len(texts) - s) for s in range(0, len(texts), BATCH * 8))}
    size = np.diff(np.frombuffer(texts.buffers()[1], np.int64)[: len(texts) + 1]).mean()
    rate = {name: spent[name] / seen[name] * 1e6 for name in spent}
    for name in rate:
        print(f"{name}: {rate[name]:.1f} us a document of {size:,.0f} bytes; dropped {hits[name]} of {seen[name]:,}")

    chosen = rng.sample([p for p in questions if p.kind == "text" and len(p.text.split()) >= 12], 1000)
    for name, disguise in DISGUISES.items():
        between = [rng.randrange(len(texts) - 1) for _ in chosen]
        planted = [
            f"{texts[i].as_py() or ''}\n\n{disguise(rng, part.text)}\n\n{texts[i + 1].as_py() or ''}"
            for part, i in zip(chosen, between, strict=True)
        ]
        found = len(planted) - ours(pa.table({"text": pa.array(planted, pa.large_string())})).dropped.null_count
        peer = sum(theirs.filter(Document(text, "x")) is not True for text in planted[:200]) / 2
        print(f"planted, {name}: ours {found / 10:.1f} %, datatrove {peer:.1f} %")
    print(f"ratio decontamination_vs_datatrove {rate['datatrove'] / rate['ours']:.1f}")


if __name__ == "__main__":
    main()

"""Trains the model that tells main text from its surroundings, and says how good it is on pages it has not seen.

    python -m stages.extract.train_main_lines FOLDER [--folds 5]

FOLDER holds `pages.parquet` with columns `html` (binary), `gold_text`, `page_type` and `dataset`. A line is main text
if at least half of its runs of four words are in the gold text. A wrong line costs its share of the words of the gold,
so that long pages do not rule and a menu's many lines weigh little.

Printed are the F1 on pages that the model was not trained on, and on data sets of which it saw no page; both without
the fallback of `html`. The second says more of a page from elsewhere.

Needs lightgbm (4.7), which nothing else in the project does; the model it makes is a file of numbers,
`main_lines.json.xz`.
"""

from __future__ import annotations

import argparse
import json
import lzma
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from resiliparse.parse.encoding import bytes_to_str, detect_encoding
from resiliparse.parse.html import HTMLTree

from stages.extract.code import write_code
from stages.extract.formulas import write_formulas
from stages.extract.html import reduced_html
from stages.extract.line_features import CHARS, Lines, read_lines
from stages.extract.main_lines import MODEL, blend, choose, look_around
from stages.extract.places import mark
from stages.extract.render import whole_blocks

#: Words; scripts that do not put spaces between words go by character.
WORD = re.compile(
    "[\u0e00-\u0e7f\u1000-\u109f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff]|\\w+", re.UNICODE
)
TAG = re.compile("<[^<>]*>|[\U000f0000-\U0010ffff]")  # and marks (`marks`)
RATE, SMALLEST_LEAF = 0.1, 300


def words(text: str) -> list[str]:
    return WORD.findall(text.lower())


def f1(found: list[str], gold: list[str]) -> float:
    same = sum((Counter(found) & Counter(gold)).values())
    return 2 * same / (len(found) + len(gold)) if same else 0.0


def labels(lines: list[list[str]], gold: list[str], gold_lines: set[tuple[str, ...]]) -> np.ndarray:
    """Share of each line's runs of four words that are in the gold; short lines are taken with their neighbours, or
    must be lines of the gold."""
    runs = set(zip(gold, gold[1:], gold[2:], gold[3:], strict=False))
    everything = [word for line in lines for word in line]
    out, at = np.zeros(len(lines)), 0
    for k, line in enumerate(lines):
        begin, end = (at, at + len(line)) if len(line) > 3 else (max(at - 2, 0), at + len(line) + 2)
        part = everything[begin:end]
        found = [run in runs for run in zip(part, part[1:], part[2:], part[3:], strict=False)]
        out[k] = np.mean(found) if found and line else 0.0
        if len(line) < 4 and tuple(line) in gold_lines:
            out[k] = 1.0
        at += len(line)
    return out


def fit(x: np.ndarray, y: np.ndarray, weight: np.ndarray, second: bool) -> Any:
    """Boosted trees. Few features a tree and large leaves: habits of a few sites must not become rules."""
    import lightgbm

    parameters = {
        "objective": "binary",
        "learning_rate": RATE,
        "num_leaves": 8 if second else 12,
        "feature_fraction": 0.4 if second else 0.2,
        "bagging_fraction": 0.7,
        "bagging_freq": 1,
        "min_data_in_leaf": SMALLEST_LEAF,
        "lambda_l2": 30,
        "max_bin": 63,
        "num_threads": 1,
        "force_col_wise": True,
        "deterministic": True,
        "seed": 0,
        "verbose": -1,
    }
    return lightgbm.train(parameters, lightgbm.Dataset(x, y, weight=weight / weight.mean()), 120 if second else 200)


def fit_both(data: Data, seen: np.ndarray, folds: int) -> tuple[Any, Any, np.ndarray]:
    """Both sets of trees from the pages for which the boolean array `seen` is true, and the first set's probabilities:
    for the seen pages by trees that have not seen them, from which the second set learns; for the others by all."""
    fold = (np.random.default_rng(0).permutation(len(data.pages)) % folds)[data.page]
    first = fit(data.x[seen], data.y[seen], data.weight[seen], second=False)
    alone = np.zeros(len(data.y))
    for k in range(folds):
        others, held = seen & (fold != k), seen & (fold == k)
        alone[held] = fit(data.x[others], data.y[others], data.weight[others], second=False).predict(data.x[held])
    if not seen.all():
        alone[~seen] = first.predict(data.x[~seen])
    around = data.around(alone)
    return first, fit(around[seen], data.y[seen], data.weight[seen], second=True), around


def arrays(model: Any) -> dict[str, list[Any]]:
    """The trees as arrays; a node's right child is put right behind its left one, and a leaf's feature is -1."""
    feature: list[int] = []
    limit: list[float] = []
    left: list[int] = []
    value: list[float] = []
    roots: list[int] = []

    def add(count: int) -> int:
        for numbers in (feature, limit, left, value):
            numbers.extend([0] * count)  # type: ignore[attr-defined]
        return len(feature) - count

    for tree in model.dump_model()["tree_info"]:
        root = add(1)
        roots.append(root)
        todo = [(tree["tree_structure"], root)]
        while todo:
            node, at = todo.pop()
            if "split_feature" not in node:
                feature[at], value[at] = -1, node["leaf_value"]
                continue
            children = add(2)
            feature[at], limit[at], left[at] = node["split_feature"], node["threshold"], children
            todo += [(node["left_child"], children), (node["right_child"], children + 1)]
    made: dict[str, list[Any]] = {"roots": roots, "feature": feature, "limit": limit, "left": left, "value": value}
    return {name: [v if isinstance(v, int) else float(f"{v:.8g}") for v in column] for name, column in made.items()}


class Data:
    """The lines of all pages, what they look like (`x`), and whether they are main text (`y`)."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.pages: list[Lines] = []
        self.texts: list[list[list[str]]] = []
        self.golds: list[list[str]] = []
        self.sets = np.array([row.get("dataset") or "" for row in rows])
        self.types = [row["page_type"] or "other" for row in rows]
        chosen = []
        for row in rows:
            page = bytes_to_str(row["html"], detect_encoding(row["html"]) or "utf-8").replace("\0", "")
            page = write_code(write_formulas(page.encode("utf-8", "replace").decode())[0])
            places = mark(page.encode())
            tree = HTMLTree.parse_from_bytes(places.page, "utf-8")
            whole = reduced_html(tree).encode("utf-8", "replace")
            lines = read_lines(whole, places.main, places.features)
            spans = zip(lines.start, lines.end, strict=True)
            text = [words(TAG.sub("", whole[a:b].decode("utf-8", "replace"))) for a, b in spans]
            gold = words(row["gold_text"])
            gold_lines = {tuple(words(line)) for line in row["gold_text"].split("\n")} - {()}
            self.pages.append(lines)
            self.texts.append(text)
            self.golds.append(gold)
            chosen.append(labels(text, gold, gold_lines))
        self.x = np.concatenate([lines.features for lines in self.pages])
        self.y = np.concatenate(chosen) >= 0.5
        counts = [len(text) for text in self.texts]
        self.page = np.repeat(np.arange(len(rows)), counts)
        self.first = np.concatenate([[0], np.cumsum(counts)])
        size = np.array([len(line) for text in self.texts for line in text])
        gold_words = np.maximum([len(gold) for gold in self.golds], 30)[self.page]
        self.weight = np.minimum(size / gold_words, 0.5) + 1e-5

    def around(self, alone: np.ndarray) -> np.ndarray:
        parts = (alone[a:b] for a, b in zip(self.first, self.first[1:], strict=False))
        return np.concatenate([look_around(lines, part) for lines, part in zip(self.pages, parts, strict=True)])

    def scores(self, probability: np.ndarray) -> np.ndarray:
        """The F1 of every page if lines are chosen by these probabilities."""
        out = []
        for k, (lines, text, gold) in enumerate(zip(self.pages, self.texts, self.golds, strict=True)):
            chance = whole_blocks(lines, blend(lines, probability[self.first[k] : self.first[k + 1]]))
            keep, _ = choose(chance, lines.features[:, CHARS])
            out.append(f1([word for line, kept in zip(text, keep, strict=True) if kept for word in line], gold))
        return np.array(out)


def unseen(data: Data, groups: np.ndarray, folds: int) -> np.ndarray:
    """Probabilities of all lines, those of each group of pages by a model that has not seen the group."""
    out = np.zeros(len(data.y))
    for group in np.unique(groups):
        seen = (groups != group)[data.page]
        _, second, around = fit_both(data, seen, folds)
        out[~seen] = second.predict(around[~seen])
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--folds", type=int, default=5, help="0 leaves out the estimate on unseen pages")
    arguments = parser.parse_args()

    data = Data(pq.read_table(arguments.folder / "pages.parquet").to_pylist())
    if arguments.folds:
        fold = np.random.default_rng(1).permutation(len(data.pages)) % arguments.folds
        for name, groups in (("pages", fold), ("sets", data.sets)):
            score = data.scores(unseen(data, groups, 4))
            print(f"F1 on unseen {name} {score.mean():.3f}")
            for labels_of in (data.types, data.sets):
                parts = [(str(kind), np.asarray(labels_of) == kind) for kind in np.unique(labels_of)]
                print("  ", ", ".join(f"{kind} ({mine.sum()}) {score[mine].mean():.3f}" for kind, mine in parts))
    first, second, _ = fit_both(data, np.ones(len(data.y), bool), 5)
    with lzma.open(MODEL, "wt", encoding="ascii") as file:
        json.dump([arrays(first), arrays(second)], file)
    print(f"{MODEL}: {MODEL.stat().st_size} bytes, {len(data.pages)} pages, {len(data.y)} lines")


if __name__ == "__main__":
    main()

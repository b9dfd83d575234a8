"""Trains the model that tells main text from its surroundings, and says how good it is on pages it has not seen.

    python -m stages.extract.train_main_lines FOLDER [--folds 5]

FOLDER holds `pages.parquet` with columns `html` (binary), `gold_text` and `page_type`. A line is main text if at least
half of its runs of four words are in the gold text. A wrong line costs its share of the words of the gold, so that
long pages do not rule and a menu's many lines weigh little.

Needs scikit-learn, which nothing else in the project does; the model it makes is a file of numbers,
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

from stages.extract.html import by_resiliparse, reduced_html
from stages.extract.main_lines import CHARS, MODEL, Lines, choose, read_lines
from stages.extract.render import whole_blocks

#: Words; scripts that do not put spaces between words go by character.
WORD = re.compile(
    "[\u0e00-\u0e7f\u1000-\u109f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff]|\\w+", re.UNICODE
)
TAG = re.compile(r"<[^<>]*>")
TREES, LEAVES, RATE, SMALLEST_LEAF = 100, 16, 0.12, 100


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


def fit(x: np.ndarray, y: np.ndarray, weight: np.ndarray) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    model = HistGradientBoostingClassifier(
        max_iter=TREES,
        learning_rate=RATE,
        max_leaf_nodes=LEAVES,
        min_samples_leaf=SMALLEST_LEAF,
        l2_regularization=5,
        early_stopping=False,
        random_state=0,
    )
    return model.fit(x, y, sample_weight=weight / weight.mean())


def save(model: Any, path: Path) -> None:
    """Write the trees as arrays; a node's right child is put right behind its left one."""
    feature: list[int] = []
    limit: list[float] = []
    left: list[int] = []
    value: list[float] = []
    roots: list[int] = []
    base = float(model._baseline_prediction.ravel()[0]) / len(model._predictors)

    def add(count: int) -> int:
        for numbers in (feature, limit, left, value):
            numbers.extend([0] * count)  # type: ignore[attr-defined]
        return len(feature) - count

    for tree in model._predictors:
        nodes = tree[0].nodes
        root = add(1)
        roots.append(root)
        todo = [(0, root)]
        while todo:
            old, new = todo.pop()
            node = nodes[old]
            if node["is_leaf"]:
                feature[new], value[new] = -1, float(node["value"]) + base
                continue
            children = add(2)
            feature[new], limit[new], left[new] = int(node["feature_idx"]), float(node["num_threshold"]), children
            todo += [(int(node["left"]), children), (int(node["right"]), children + 1)]
    arrays: dict[str, list[Any]] = {"roots": roots, "feature": feature, "limit": limit, "left": left, "value": value}
    with lzma.open(path, "wt", encoding="ascii") as file:
        json.dump(
            {name: [v if isinstance(v, int) else float(f"{v:.6g}") for v in column] for name, column in arrays.items()},
            file,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--folds", type=int, default=5)
    arguments = parser.parse_args()

    pages: list[Lines] = []
    texts: list[list[list[str]]] = []
    golds: list[list[str]] = []
    gold_lines: list[set[tuple[str, ...]]] = []
    types: list[str] = []
    for row in pq.read_table(arguments.folder / "pages.parquet").to_pylist():
        source = bytes_to_str(row["html"], detect_encoding(row["html"]) or "utf-8").encode("utf-8", "replace").decode()
        tree = HTMLTree.parse(source.replace("\0", ""))
        whole = reduced_html(tree).encode("utf-8", "replace")
        lines = read_lines(whole, by_resiliparse(tree, bullets=False).encode("utf-8", "replace"))
        pages.append(lines)
        texts.append(
            [
                words(TAG.sub("", whole[a:b].decode("utf-8", "replace")))
                for a, b in zip(lines.start, lines.end, strict=True)
            ]
        )
        golds.append(words(row["gold_text"]))
        gold_lines.append({tuple(words(line)) for line in row["gold_text"].split("\n")} - {()})
        types.append(row["page_type"] or "other")

    x = np.concatenate([lines.features for lines in pages])
    y = np.concatenate([labels(*each) for each in zip(texts, golds, gold_lines, strict=True)]) >= 0.5
    page = np.concatenate([np.full(len(text), k) for k, text in enumerate(texts)])
    size = np.concatenate([[len(line) for line in text] for text in texts if text])
    weight = np.minimum(size / np.maximum([len(gold) for gold in golds], 30)[page], 0.5) + 1e-5
    fold = (np.random.default_rng(0).permutation(len(pages)) % arguments.folds)[page]
    scores = np.zeros(len(y))
    for k in range(arguments.folds if arguments.folds > 1 else 0):
        seen = fold != k
        scores[~seen] = fit(x[seen], y[seen], weight[seen]).predict_proba(x[~seen])[:, 1]
    if arguments.folds > 1:
        result: dict[str, list[float]] = {}
        begin = 0
        for lines, text, gold, kind in zip(pages, texts, golds, types, strict=True):
            chance = whole_blocks(lines, scores[begin : begin + len(text)])
            keep, _ = choose(chance, lines.features[:, CHARS])
            begin += len(text)
            value = f1([word for line, kept in zip(text, keep, strict=True) if kept for word in line], gold)
            result.setdefault("all", []).append(value)
            result.setdefault(kind, []).append(value)
        print("F1 on unseen folds", {kind: round(float(np.mean(values)), 3) for kind, values in result.items()})
    save(fit(x, y, weight), MODEL)
    print(f"{MODEL}: {MODEL.stat().st_size} bytes, {len(pages)} pages, {len(y)} lines")


if __name__ == "__main__":
    main()

"""How well a model does on sentences of sources it has not been trained on.

    curation classifiers evaluate language [--data FILE]

Three views of the same text: sentences, documents (ten sentences of a source in a row), and fragments of one to five
words. Macro-F1 is the mean over languages (or groups) that occur. A false positive rate is the share of texts of all
other languages that are called this one. Text that is called `und` or by its group alone is a miss for its language.
"""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa

from classifiers.language.data import Sentences
from classifiers.language.identify import Identified, Identifier
from classifiers.language.labels import group_of

#: Sentences that are joined to a document.
_JOINED = 10

_BINS = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)


def evaluate(identifier: Identifier, sentences: Sentences) -> dict[str, Any]:
    """Judge a model: `sentences`, `documents` and `fragments`, each with a summary; tables for sentences."""
    views = {
        "sentences": sentences,
        "documents": documents(sentences),
        "fragments": Sentences(np.array(_fragments(sentences.texts), object), sentences.codes, sentences.sources),
    }
    result: dict[str, Any] = {"sources": sorted(set(sentences.sources.tolist()))}
    for name, view in views.items():
        found = identifier.identify(pa.array(view.texts, pa.large_string()))
        result[name] = summary(view.codes, found)
        if name == "sentences":
            result["languages"] = by_language(view.codes, np.array(found.languages.to_pylist(), object))
            result["groups"] = by_language(
                np.array([group_of(code) for code in view.codes], object), np.array(found.groups.to_pylist(), object)
            )
            result["confusions"] = confusions(view.codes, found)
            result["calibration"] = calibration(view.codes, found)
    return result


def _fragments(texts: np.ndarray) -> list[str]:
    from classifiers.language.train import fragments

    return fragments(texts, 2)


def documents(sentences: Sentences) -> Sentences:
    """Runs of ten sentences of one language and source, joined by newlines; what is left over makes a shorter one."""
    places: dict[tuple[str, str], list[int]] = {}
    for i, key in enumerate(zip(sentences.codes, sentences.sources, strict=True)):
        places.setdefault(key, []).append(i)
    runs = [(key, rows[i : i + _JOINED]) for key, rows in places.items() for i in range(0, len(rows), _JOINED)]
    texts = ["\n".join(sentences.texts[run]) for _, run in runs]
    codes, sources = ([key[k] for key, _ in runs] for k in (0, 1))
    return Sentences(np.array(texts, object), np.array(codes, object), np.array(sources, object))


def by_language(gold: np.ndarray, found: np.ndarray) -> dict[str, dict[str, float]]:
    """Per code that occurs in `gold`: n, precision, recall, f1, fpr."""
    right, all_, claimed = Counter(gold[gold == found]), Counter(gold), Counter(found)
    result = {}
    for code, n in sorted(all_.items()):
        precision, recall = right[code] / max(claimed[code], 1), right[code] / n
        f1 = 2 * right[code] / (n + claimed[code])
        fpr = (claimed[code] - right[code]) / max(len(gold) - n, 1)
        row = {"precision": precision, "recall": recall, "f1": f1}
        result[code] = {"n": n} | {k: round(v, 4) for k, v in row.items()} | {"fpr": round(fpr, 6)}
    return result


def summary(gold: np.ndarray, found: Identified) -> dict[str, float]:
    """Counts, macro-F1 over languages and over groups, mean false positive rate, and how many are `und` or `zxx`."""
    fine, group = np.array(found.languages.to_pylist(), object), np.array(found.groups.to_pylist(), object)
    languages = by_language(gold, fine)
    groups = by_language(np.array([group_of(code) for code in gold], object), group)
    return {
        "n": len(gold),
        "languages": len(languages),
        "macro_f1": round(float(np.mean([row["f1"] for row in languages.values()])), 4),
        "groups": len(groups),
        "macro_f1_groups": round(float(np.mean([row["f1"] for row in groups.values()])), 4),
        "fpr": round(float(np.mean([row["fpr"] for row in languages.values()])), 6),
        "fpr_groups": round(float(np.mean([row["fpr"] for row in groups.values()])), 6),
        "und": round(float(np.mean(fine == "und")), 4),
        "zxx": round(float(np.mean(fine == "zxx")), 4),
    }


def confusions(gold: np.ndarray, found: Identified, most: int = 40) -> list[list[Any]]:
    """[language, called, texts, share of the language's texts], most frequent share first."""
    n = Counter(gold)
    pairs = Counter((a, b) for a, b in zip(gold, found.languages.to_pylist(), strict=True) if a != b)
    rows = [[a, b, count, round(count / n[a], 4)] for (a, b), count in pairs.items() if count >= 3]
    return sorted(rows, key=lambda row: (-row[3], row[0]))[:most]


def calibration(gold: np.ndarray, found: Identified) -> list[list[float]]:
    """[from, to, texts, mean score, share right] over the texts called one of the groups, by score."""
    group = np.array(found.groups.to_pylist(), object)
    named = ~np.isin(group, ["und", "zxx"])
    right = group == np.array([group_of(code) for code in gold], object)
    rows = []
    for low, high in itertools.pairwise(_BINS):
        inside = named & (found.scores >= low) & ((found.scores < high) | (high == 1.0))
        if inside.any():
            mean, share = float(found.scores[inside].mean()), float(right[inside].mean())
            rows.append([low, high, int(inside.sum()), round(mean, 4), round(share, 4)])
    return rows

"""Finds the documents of a domain in a corpus, in rounds: a classifier proposes, a check decides, the next is stricter.

Qwen2.5-Coder filters text for code "coarse to fine", with fastText, in four rounds; Qwen2.5-Math trains fastText on
seeds, again and again (Hui et al. 2024, section 3.1; Yang et al. 2024, section 2; DeepSeekMath, Shao et al. 2024,
section 2.1). Here round 1 learns seeds against anything; each later round learns, among what the last one let through,
what the check accepted against what it refused. A document has passed round n if it has passed all before: the rounds
are nested, and each is smaller than the one before it, or recall ends.

A round's threshold lets through all but `miss` of the accepted documents that it was not trained on.

Trade-off: fastText sees words and pairs of words of a document's start. It finds the domain's texts, not its good ones.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from classifiers.quality.student import _TRAIN

#: Positives and negatives below which no round is trained, and negatives for each positive at most.
FEWEST, MOST_NEGATIVES = 10, 5


@dataclass(frozen=True)
class Round:
    """One round, as measured on the sample. held_out_recall: share of accepted documents it was not trained on that
    passed it; accepted_share: share of those that passed which the check accepts."""

    number: int
    positives: int
    negatives: int
    threshold: float
    candidates: int
    passed: int
    held_out: int
    held_out_recall: float
    accepted_share: float


@dataclass
class Recall:
    """The classifiers of all rounds. `passed(lines)` gives for each line how many it passes."""

    domain: str
    rounds: list[Round] = field(default_factory=list)
    hosts: list[str] = field(default_factory=list)
    _models: list[Any] = field(default_factory=list)

    def passed(self, lines: Sequence[str]) -> np.ndarray:
        """Rounds that each document passes, one after the other; int32."""
        result = np.zeros(len(lines), np.int32)
        left = np.arange(len(lines))
        for model, found in zip(self._models, self.rounds, strict=True):
            good = _probabilities(model, [lines[int(i)] for i in left]) >= found.threshold
            left = left[good]
            result[left] = found.number
        return result

    def save(self, folder: Path) -> None:
        """Write the models and what is known of the rounds into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        for number, model in enumerate(self._models, 1):
            model.save_model(str(folder / f"round-{number}.bin"))
        about = {"domain": self.domain, "rounds": [asdict(r) for r in self.rounds], "hosts": self.hosts}
        (folder / "recall.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Recall:
        """The inverse of `save`."""
        import fasttext

        about = json.loads((folder / "recall.json").read_text(encoding="utf-8"))
        models = [fasttext.load_model(str(folder / f"round-{r['number']}.bin")) for r in about["rounds"]]
        return cls(about["domain"], [Round(**r) for r in about["rounds"]], about["hosts"], models)


def recall(
    domain: str, lines: Sequence[str], seeds: np.ndarray, accepted: np.ndarray, draws: np.ndarray, rounds: int,
    miss: float = 0.05, seed: int = 0,
) -> Recall:  # fmt: skip
    """Train up to `rounds` rounds on a sample.

    lines: prepared documents, in an order that does not depend on how the sample was cut. seeds, accepted: of each,
    whether it is a seed, and whether the check accepts it. draws: uint64 for each, by which a fifth is held out.
    """
    result = Recall(domain)
    inside = np.arange(len(lines))
    held = draws % np.uint64(5) == 0
    for number in range(1, rounds + 1):
        good = seeds[inside] if number == 1 else accepted[inside]
        bad = ~(seeds | accepted)[inside]
        positives, negatives = inside[good & ~held[inside]], inside[bad & ~held[inside]]
        if min(len(positives), len(negatives)) < FEWEST:
            break
        most = MOST_NEGATIVES * len(positives)
        negatives = np.sort(negatives[np.argsort(draws[negatives], kind="stable")[:most]])
        model = _train([lines[int(i)] for i in positives], [lines[int(i)] for i in negatives], seed + number)
        scores = _probabilities(model, [lines[int(i)] for i in inside])
        # Seeds are the plainest documents of all: a round must let through what the check accepts, plain or not.
        wanted = (seeds | accepted)[inside]
        kept_out = scores[wanted & held[inside]]
        judged = kept_out if len(kept_out) >= FEWEST else scores[wanted]
        threshold = float(np.round(min(np.quantile(judged, miss), 0.5), 6))
        passed = scores >= threshold
        if number > 1 and passed.all():
            break
        result._models.append(model)
        result.rounds.append(
            Round(
                number,
                len(positives),
                len(negatives),
                threshold,
                len(inside),
                int(passed.sum()),
                len(kept_out),
                float((kept_out >= threshold).mean()) if len(kept_out) else 0.0,
                float(accepted[inside[passed]].mean()) if passed.any() else 0.0,
            )
        )
        inside = inside[passed]
    return result


def hosts_of_domain(hosts: Sequence[str], found: np.ndarray, least: int, share: float) -> list[str]:
    """Hosts of at least `least` documents of which at least `share` were found: their other documents are likely of the
    domain too (Qwen2.5-Math expands by URL; DeepSeekMath takes 10 %)."""
    names, where = np.unique(np.asarray(hosts, dtype=object).astype(str), return_inverse=True)
    total, hits = np.bincount(where, minlength=len(names)), np.bincount(where, weights=found, minlength=len(names))
    good = (total >= least) & (hits >= share * total) & (names != "")
    return names[good].tolist()


def _train(positives: Sequence[str], negatives: Sequence[str], seed: int) -> Any:
    """A fastText model of the labels `in` and `out`. In a process of its own, where the same lines give the same model
    (see `classifiers/quality/student.py`)."""
    import fasttext

    n = len(positives) + len(negatives)
    with tempfile.TemporaryDirectory() as folder:
        text, model = f"{folder}/labelled.txt", f"{folder}/round.bin"
        with open(text, "w", encoding="utf-8") as file:
            # In turn, so that training does not end on one label alone.
            order = sorted([((i + 0.5) / len(positives), "in", line) for i, line in enumerate(positives)]
                           + [((i + 0.5) / len(negatives), "out", line) for i, line in enumerate(negatives)])  # fmt: skip  # noqa: E501
            file.writelines(f"__label__{label} {line}\n" for _, label, line in order)
        arguments = {
            "input": text, "loss": "softmax", "dim": 32, "epoch": min(50, max(5, 20_000 // n)), "lr": 0.3, "wordNgrams": 2,  # noqa: E501
            "minCount": 2, "bucket": 200_000, "seed": seed % (1 << 31), "thread": 1, "verbose": 0,
        }  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", _TRAIN, json.dumps(arguments), model],
            env=os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"the classifier could not be trained: {(done.stderr.strip() or 'no message')[-300:]}")
        return fasttext.load_model(model)


def _probabilities(model: Any, lines: list[str]) -> np.ndarray:
    """Probability that each line is of the domain."""
    if not lines:
        return np.zeros(0)
    labels, values = model.predict(lines, k=2)
    return np.array(
        [
            sum(v for n, v in zip(names, row, strict=True) if n == "__label__in")
            for names, row in zip(labels, values, strict=True)
        ]
    )

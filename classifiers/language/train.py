"""Makes a language model from labelled sentences, following a recipe: clean, make up what is missing, fit, set limits.

    curation classifiers train language DATA --output DIR

The result is a folder: `weights.npz` (the network), `limits.tsv` (per language, from held-out text), `training.json`
(recipe, rows per language and what cleaning did to them) and `evaluation.json`. The same data and recipe give the same
files.

The held-out sources are split in two by text: limits are fitted on one half, `evaluation.json` is of the other. The
network sees neither.
"""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from classifiers.language.cleaning import Cleaned, clean
from classifiers.language.data import Sentences
from classifiers.language.evaluate import evaluate
from classifiers.language.identify import WEIGHTS, Identifier
from classifiers.language.labels import NO_LANGUAGE, UNKNOWN, group_of, groups, languages
from classifiers.language.limits import LENGTHS, LIMITS, Limits
from classifiers.language.noise import noise
from classifiers.language.outside import chained_text, outside_languages, serbian_in_latin
from classifiers.language.recipe import Recipe
from classifiers.language.training import Examples, count_uses, fit, ordered
from classifiers.language.weights import HAN, Weights, network_script
from curation.errors import ConfigError

#: What a limit is the quantile of, on real text of the language: one text in 200 may exceed it.
_WITHIN = 0.995
#: For short text, where every model doubts: one in 50.
_WITHIN_SHORT = 0.98
#: A filter that asks for `score` keeps 98 % of a language's sentences.
_SCORE = 0.02
#: Quantiles of fewer texts than this are taken from all languages together.
_ENOUGH = 40
#: A variety is named where at least this share of the namings is right, as far as a margin can bring it about.
_RIGHT, _HIGHEST_MARGIN = 0.7, 0.55


@dataclass(frozen=True)
class Trained:
    """A model, and what to say about how it was made."""

    identifier: Identifier
    training: dict[str, Any]
    evaluation: dict[str, Any]

    def save(self, folder: str | Path) -> None:
        """Write the four files."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.identifier.weights.save(folder / WEIGHTS)
        self.identifier.limits.save(folder / LIMITS)
        for name, content in (("training.json", self.training), ("evaluation.json", self.evaluation)):
            (folder / name).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def train(sentences: Sentences, recipe: Recipe, say: Callable[[str], None] = lambda _: None) -> Trained:
    """Train on `sentences`, of which the recipe's held-out sources judge. ConfigError for a source the recipe lacks."""
    unlisted = sorted(set(sentences.sources) - set(recipe.sources))
    if unlisted:
        raise ConfigError(f"source '{unlisted[0]}' of the data is not in the recipe; add it with its licence")
    held = np.isin(sentences.sources, recipe.held_out)
    if held.all() or not held.any():
        raise ConfigError(f"the data needs sources to train on and held-out ones ({', '.join(recipe.held_out)})")
    began = time.process_time()
    own, judges = sentences.where(~held), sentences.where(held)
    cleaned = clean(own.texts, own.codes, own.sources, recipe.contradicted, recipe.seed)
    own = own.where(cleaned.stays)
    say(f"cleaned: {len(own):,} of {len(cleaned.stays):,} sentences stay ({time.process_time() - began:.0f} s)")
    weights = _fit(own, recipe)
    say(f"trained: {len(weights.labels)} labels ({time.process_time() - began:.0f} s)")
    half = np.array([zlib.crc32(text.encode()) & 1 for text in judges.texts], bool)
    limits = fit_limits(weights, judges.where(half), recipe.margin)
    identifier = Identifier(weights, limits)
    evaluation = evaluate(identifier, judges.where(~half))
    say(f"evaluated ({time.process_time() - began:.0f} s)")
    return Trained(identifier, _account(recipe, cleaned, own), evaluation)


def _fit(own: Sentences, recipe: Recipe) -> Weights:
    """The quantized network, trained on clean sentences and on what is made up."""
    rng = np.random.default_rng(recipe.seed)
    texts, labels = list(own.texts), [_label(code) for code in own.codes]
    scripts = {network_script(languages()[code].script) for code in set(own.codes)}
    for (code, script), n_grams in sorted(outside_languages().items()):
        if script in scripts:
            texts += chained_text(n_grams, recipe.outside_texts, rng)
            labels += [f"x-{code}_{script}"] * recipe.outside_texts
    serbian = [serbian_in_latin(text) for text in own.texts[own.codes == "srp_Cyrl"]]
    texts += serbian
    labels += ["x-srp_Latn"] * len(serbian)
    made = noise(own.texts, recipe.noise_texts, rng) if recipe.noise_texts else []
    texts += made
    labels += [f"{NO_LANGUAGE}_Latn"] * len(made)
    examples = Examples.of(texts, np.array(labels, object), ordered(set(labels)))
    quotas = {name: (recipe.outside_texts,) * 2 for name in examples.names if name.startswith("x-")}
    quotas["x-srp_Latn"] = (recipe.settings.least,) * 2
    quotas[f"{NO_LANGUAGE}_Latn"] = (recipe.noise_texts,) * 2
    shy = np.zeros(len(texts), bool)
    shy[: len(own)] = own.sources == "mediawiki"
    network = fit(examples, recipe.settings, recipe.seed, quotas, shy)
    uses = count_uses(examples, recipe.settings.buckets)
    return Weights.quantized(examples.names, network.vectors, network.weights, uses, recipe.keep)


def _label(code: str) -> str:
    """The network's label: all Han writing is one, its characters tell the rest."""
    return f"han_{HAN}" if network_script(languages()[code].script) == HAN else code


def fragments(texts: np.ndarray, seed: int) -> list[str]:
    """1 to 5 words from the middle of each text."""
    rng = np.random.default_rng(seed)
    result = []
    for text in texts:
        words = text.split()
        start = int(rng.integers(len(words)))
        result.append(" ".join(words[start : start + int(rng.integers(1, 6))]))
    return result


def fit_limits(weights: Weights, judges: Sentences, margin: float) -> Limits:
    """Limits from real text that the network has not seen."""
    identifier = Identifier(weights, Limits({}, {}, {}))
    gold = np.array([group_of(code) for code in judges.codes], object)
    places = np.array([list(groups()).index(group) for group in gold])
    rows = np.arange(len(gold))
    by_answer, reading = identifier.answers(pa.array(judges.texts, pa.large_string()))
    unknown, own = by_answer[:, len(groups())], by_answer[rows, places]
    right = by_answer[:, : len(groups())].argmax(axis=1) == places
    long = right & (reading.counts[:, 0] >= LENGTHS[-1])
    if not long.any():
        raise ConfigError("no held-out sentence of 60 letters is recognised: too little data to fit limits")
    enough = {group for group in groups() if (long & (gold == group)).sum() >= _ENOUGH}
    outside = {group: float(np.quantile(unknown[long & (gold == group)], _WITHIN)) for group in enough}
    usual = float(np.median(list(outside.values()) or [0.1]))  # of languages with little held-out text
    outside = {group: float(np.clip(outside.get(group, usual), 0.02, 0.5)) for group in groups()}
    score = {g: float(np.quantile(own[long & (gold == g)], _SCORE)) if g in enough else 0.5 for g in groups()}
    score = {group: float(np.clip(value, 0.3, 0.9)) for group, value in score.items()}
    short, short_reading = identifier.answers(pa.array(fragments(judges.texts, 1), pa.large_string()))
    bins = np.searchsorted(LENGTHS, short_reading.counts[:, 0], side="right")
    right = short[:, : len(groups())].argmax(axis=1) == places
    lengths = []
    for i in range(len(LENGTHS)):
        mine = right & (bins == i)
        limit = np.quantile(short[mine, len(groups())], _WITHIN_SHORT) if mine.sum() >= _ENOUGH else usual
        lengths.append(float(np.clip(limit, 0.02, 0.7)))
    limits = Limits(outside, {}, score, tuple(lengths))
    return Limits(outside, _margins(Identifier(weights, limits), judges, margin), score, tuple(lengths))


def _margins(identifier: Identifier, judges: Sentences, least: float) -> dict[str, float]:
    """The least share of its group by variety."""
    found = identifier.identify(pa.array(judges.texts, pa.large_string()))
    named = np.array(found.languages.to_pylist(), object)
    result = {}
    for code, language in languages().items():
        if len(groups()[language.group]) == 1 or language.group == "zhx_Hant":
            continue
        result[code] = least
        mine = named == code
        if mine.sum() < _ENOUGH or (judges.codes == code).sum() < _ENOUGH:
            continue
        for margin in np.arange(least, _HIGHEST_MARGIN + 0.001, 0.05):
            result[code] = round(float(margin), 2)
            if np.mean(judges.codes[mine & (found.margins >= margin)] == code) >= _RIGHT:
                break
    return result


def _account(recipe: Recipe, cleaned: Cleaned, own: Sentences) -> dict[str, Any]:
    """`training.json`."""
    by_source = {source: int((own.sources == source).sum()) for source in sorted(set(own.sources))}
    return {
        "recipe": asdict(recipe),
        "sentences": by_source,
        "agreement_with_the_other_sources": {k: round(v, 4) for k, v in cleaned.agreement.items()},
        "made_up": {"outside_languages": len(outside_languages()) + 1, "answered_as": UNKNOWN},
        "languages": {code: dict(cleaned.counts[code]) for code in languages() if code in cleaned.counts},
    }

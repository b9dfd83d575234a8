"""A small model, end to end: cleaned, trained twice with the same bytes, judged by the command line, used by the stage."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from classifiers.language.cleaning import clean
from classifiers.language.data import Sentences
from classifiers.language.noise import noise
from classifiers.language.outside import outside_languages, serbian_in_latin
from classifiers.language.recipe import Recipe
from classifiers.language.script import count_letters
from curation.errors import ConfigError
from stages.annotate.language import IdentifyLanguage

ROOT = Path(__file__).resolve().parents[3]
WORDS = {
    "fra_Latn": "le la les des une dans pour avec être nous vous cette mais sont leur très même après pays homme jour eau",
    "deu_Latn": "der die das und nicht eine mit sich auch werden nach über noch wurde können durch immer wieder jahre frau",
    "ita_Latn": "il lo gli della nella sono anche come più questo quando dove essere fatto molto perché sempre ancora casa",
    "ell_Grek": "και το να της που είναι για από στην δεν έχει μια αυτό όταν πολύ όπως μετά χρόνια άνθρωπος ημέρα νερό",
    "rus_Cyrl": "и в не на что это как его она они было после года человек день вода страна время очень может быть когда",
    "ukr_Cyrl": "і в не на що це як його вона вони було після року людина день вода країна час дуже може бути коли також",
}
RECIPE = """
seed = 4
dimensions = 8
buckets = 4096
keep = 2048
epochs = 4
least = 100
most = 400
outside_texts = 3
noise_texts = 60
[[source]]
name = "news"
origin = "made up"
licence = "free"
[[source]]
name = "talk"
origin = "made up"
licence = "free"
[[source]]
name = "book"
origin = "made up"
licence = "free"
held_out = true
"""


def sentence(code, rng, n=14):
    return " ".join(rng.choice(WORDS[code].split(), n)).capitalize() + "."


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """600 sentences a language from three sources; 60 of the French in one of them are Italian."""
    rng = np.random.default_rng(1)
    rows = []
    for code in WORDS:
        for source, n in (("news", 250), ("talk", 250), ("book", 100)):
            rows += [(code, source, "free", sentence(code, rng)) for _ in range(n)]
    rows += [("fra_Latn", "talk", "free", sentence("ita_Latn", rng)) for _ in range(60)]
    rows += [("ell_Grek", "talk", "free", sentence("rus_Cyrl", rng)) for _ in range(5)]
    path = tmp_path_factory.mktemp("language") / "train.parquet"
    pq.write_table(
        pa.table(dict(zip(("code", "source", "licence", "text"), zip(*rows, strict=True), strict=True))), path
    )
    (path.parent / "recipe.toml").write_text(RECIPE)
    return path


def command(*arguments):
    call = [sys.executable, "-m", "curation", "classifiers", *map(str, arguments)]
    return subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def model(data):
    folder = data.parent / "model"
    done = command("train", "language", data, "--output", folder, "--recipe", data.parent / "recipe.toml")
    assert done.returncode == 0, done.stderr
    assert "book" in done.stdout and "macro_f1" in done.stdout
    return folder


def test_the_trained_model_works_in_the_stage(model, documents):
    rng = np.random.default_rng(2)
    stage = IdentifyLanguage(model=str(model))
    stage.check()
    texts = [sentence(code, rng) for code in WORDS]
    assert stage(documents(texts))["language"].to_pylist() == list(WORDS)


def test_training_again_gives_the_same_bytes(model, data):
    from classifiers.language.train import train

    train(Sentences.read(data), Recipe.load(data.parent / "recipe.toml")).save(data.parent / "again")
    for file in ("weights.npz", "limits.tsv", "evaluation.json", "training.json"):
        assert (model / file).read_bytes() == (data.parent / "again" / file).read_bytes(), file


def test_evaluation_counts_what_it_says(model, data):
    rng = np.random.default_rng(3)
    judged = data.parent / "judge.parquet"
    rows = [(code, sentence(code, rng)) for code in WORDS for _ in range(20)]
    rows += [("ita_Latn", sentence("fra_Latn", rng)) for _ in range(20)]  # wrong on purpose: half of the Italian
    pq.write_table(pa.table(dict(zip(("code", "text"), zip(*rows, strict=True), strict=True))), judged)
    import json

    done = command("evaluate", "language", "--data", judged, "--model", model, "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["sentences"]["n"] == 140 and result["documents"]["n"] == 14
    assert result["languages"]["ita_Latn"]["recall"] == 0.5
    assert result["languages"]["fra_Latn"]["precision"] == 0.5
    assert result["languages"]["fra_Latn"]["fpr"] == round(20 / 120, 6)
    assert ["ita_Latn", "fra_Latn", 20, 0.5] in result["confusions"]
    shown = command("evaluate", "language", "--model", model)
    assert shown.returncode == 0 and "ukr_Cyrl" in shown.stdout


def test_mistakes_are_one_line(model, data, tmp_path):
    seen = command("evaluate", "language", "--data", data, "--model", tmp_path)
    assert seen.returncode == 2 and len(seen.stderr.strip().splitlines()) == 1
    table = pq.read_table(data)
    other = table.set_column(1, "source", pa.array(["blog"] * table.num_rows))
    pq.write_table(other, tmp_path / "other.parquet")
    done = command("train", "language", tmp_path / "other.parquet", "--output", tmp_path / "x")
    assert done.returncode == 2 and "'blog'" in done.stderr
    pq.write_table(table.set_column(0, "code", pa.array(["xyz_Latn"] * table.num_rows)), tmp_path / "other.parquet")
    with pytest.raises(ConfigError, match="xyz_Latn"):
        Sentences.read(tmp_path / "other.parquet")


def test_cleaning_finds_what_the_other_sources_contradict(data):
    sentences = Sentences.read(data)
    italian = np.array(
        [
            code == "fra_Latn" and "il " in f"{text} ".lower()
            for code, text in zip(sentences.codes, sentences.texts, strict=True)
        ]
    )
    assert italian.sum() > 20
    cleaned = clean(sentences.texts, sentences.codes, sentences.sources, 0.9, 1)
    assert not cleaned.stays[italian].any()
    assert cleaned.counts["fra_Latn"]["contradicted"] >= 50
    assert cleaned.counts["ell_Grek"]["other_script"] == 5
    kept = sum(counts["kept"] for counts in cleaned.counts.values())
    assert kept == cleaned.stays.sum() >= 0.97 * (len(sentences) - 65)


def test_made_up_text_is_what_it_is_meant_to_be():
    rng = np.random.default_rng(5)
    texts = np.array([sentence("rus_Cyrl", rng), sentence("fra_Latn", rng)], object)
    made = noise(texts, 300, rng)
    assert len(made) == 300 and not set(made) & set(texts)
    assert made == noise(texts, 300, _after_sentences())
    # Transliteration is exact for the whole alphabet.
    assert serbian_in_latin("Њего и џеп, љубав, ђак, ћуп") == "njego i džep, ljubav, đak, ćup"
    for (code, script), n_grams in outside_languages().items():
        letters = count_letters(pa.array([" ".join(n_grams)]))
        assert 2 * letters.of(script)[0] > letters.total()[0], code


def _after_sentences():
    rng = np.random.default_rng(5)
    sentence("rus_Cyrl", rng)
    sentence("fra_Latn", rng)
    return rng

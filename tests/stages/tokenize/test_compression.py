"""Bytes per token, by language and tokenizer, against a count by hand with the reference library."""

import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from typer.testing import CliRunner

from curation import cli
from curation.errors import ConfigError
from stages.tokenize.compression import Compression, compare
from stages.tokenize.tokenizer_file import read_definition

TEXTS = [
    ("eng_Latn", "The quick brown fox jumps over the lazy dog."),
    ("eng_Latn", "Corpora are curated, not collected."),
    ("deu_Latn", "Die Würde des Menschen ist unantastbar."),
    ("ell_Grek", "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι."),
    ("eng_Latn", ""),
    (None, "no language at all"),
    ("ell_Grek", None),
    ("und", None),
]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A folder with the texts in two files."""
    folder = tmp_path_factory.mktemp("corpus")
    for i, part in enumerate((TEXTS[:3], TEXTS[3:])):
        language, text = zip(*part, strict=True)
        pq.write_table(pa.table({"language": pa.array(language), "text": pa.array(text)}), folder / f"{i}.parquet")
    return str(folder)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A byte-level BPE with 300 entries, as a published file: it adds a token to every text, and cuts at 8."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<s>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator([text for _, text in TEXTS if text], trainer)
    tokenizer.enable_truncation(8)
    path = tmp_path_factory.mktemp("small") / "tokenizer.json"
    tokenizer.save(str(path))
    return str(path)


@pytest.fixture(scope="module")
def found(corpus, small):
    return compare({"qwen": "qwen3", "<small>": small}, corpus)


def by_hand(file):
    """Tokens of each group, by the reference library alone."""
    tokenizer = Tokenizer.from_str(json.dumps(read_definition(file)[0]))
    tokenizer.no_truncation()
    counts = {}
    for group, text in TEXTS:
        if text:
            tokens = len(tokenizer.encode(text, add_special_tokens=False).ids)
            counts[group or "(none)"] = counts.get(group or "(none)", 0) + tokens
    return [counts[group] for group in sorted(counts)]


def test_counts_are_those_of_the_library(found, small):
    assert found.groups == ["(none)", "deu_Latn", "ell_Grek", "eng_Latn"]  # nothing for `und`, which has no text
    assert found.n_documents.tolist() == [1, 1, 1, 2]
    assert found.n_bytes.tolist() == [
        len(text.encode()) for text in (TEXTS[5][1], TEXTS[2][1], TEXTS[3][1], TEXTS[0][1] + TEXTS[1][1])
    ]
    assert found.n_tokens["qwen"].tolist() == by_hand("qwen3")
    assert found.n_tokens["<small>"].tolist() == by_hand(small)
    assert found.relative_tokens("qwen") == 1
    assert found.relative_tokens("<small>") > 1.5


def test_means_count_each_language_the_same():
    found = Compression(
        ["a", "b"], np.array([1, 1]), np.array([100, 900]), {"x": np.array([50, 100]), "y": np.array([25, 300])}
    )
    assert found.bytes_per_token("x").tolist() == [2, 9]
    assert found.mean("x") == pytest.approx(18**0.5)
    assert found.relative_tokens("y") == pytest.approx((18 / 12) ** 0.5)
    assert found.to_json()["groups"][1] == {
        "group": "b", "documents": 1, "bytes": 900, "tokens": {"x": 100, "y": 300}, "bytes_per_token": {"x": 9, "y": 3},
    }  # fmt: skip


def test_a_group_is_read_until_it_has_enough(tmp_path, small):
    texts = ["four"] * 700
    pq.write_table(pa.table({"language": ["a", "b"] * 350, "text": texts}), tmp_path / "t.parquet")
    found = compare({"small": small}, str(tmp_path / "t.parquet"), most_bytes=1_202)
    assert found.n_documents.tolist() == [301, 301]
    assert compare({"small": small}, str(tmp_path), by="").groups == ["all"]


def test_mistakes_are_told_in_one_line(corpus, small, tmp_path):
    (tmp_path / "bad.json").write_text('{"model": {"type": "Oracle"}}')
    (tmp_path / "folder").mkdir()
    pq.write_table(pa.table({"language": ["a"], "text": [""]}), tmp_path / "empty.parquet")
    for tokenizer, texts, by, message in (
        ("nowhere.json", corpus, "language", r"neither a shipped one \(qwen3\) nor a file"),
        (str(tmp_path / "bad.json"), corpus, "language", "not a tokenizer.json that can be loaded"),
        (small, corpus, "lang", "no column 'lang'; it has language, text"),
        (small, str(tmp_path / "folder"), "language", "expected a parquet file"),
        (small, str(tmp_path / "empty.parquet"), "language", "has no text"),
    ):
        with pytest.raises(ConfigError, match=message) as caught:
            compare({"it": tokenizer}, texts, by=by)
        assert "\n" not in str(caught.value)


def test_command(corpus, small):
    def call(*more):
        return CliRunner().invoke(
            cli.app, ["tokenizer", "compare", "-t", small, "-t", "twice=" + small, "--text", corpus, *more]
        )

    done = call()
    assert done.exit_code == 0, done.output
    assert re.search(r"ell_Grek +1 +73 +\d\.\d\d +\d\.\d\d", done.output)
    assert re.search(r"tokens, relative +1\.00 +1\.00", done.output)
    data = json.loads(call("--json").output)
    assert [row["group"] for row in data["groups"]] == ["(none)", "deu_Latn", "ell_Grek", "eng_Latn"]
    assert list(data["geometric_mean"]) == ["small0", "twice"]
    twice = CliRunner().invoke(cli.app, ["tokenizer", "compare", "-t", small, "-t", small, "--text", corpus])
    assert isinstance(twice.exception, ConfigError) and "name them with NAME=FILE" in str(twice.exception)
    assert isinstance(call("--plot", "plot.jpeg").exception, ConfigError)


@pytest.mark.parametrize("suffix", ["svg", "html", "png"])
def test_plot(found, tmp_path, suffix):
    pytest.importorskip("matplotlib")
    from stages.tokenize.compression_plot import write_plot

    for name in "ab":
        write_plot(found, str(tmp_path / f"{name}.{suffix}"))
    data = (tmp_path / f"a.{suffix}").read_bytes()
    assert data == (tmp_path / f"b.{suffix}").read_bytes()
    if suffix == "png":
        assert data.startswith(b"\x89PNG")
        return
    text = data.decode()
    assert all(group in text for group in found.groups)
    assert "<small>" not in text and "&lt;small&gt;" in text
    assert f"mean {found.mean('qwen'):.2f}" in text
    if suffix == "html":
        assert f"<td>{found.bytes_per_token('qwen')[2]:.2f}</td>" in text and text.count("<svg") == 1

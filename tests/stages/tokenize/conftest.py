"""Qwen3 loaded once for all tests of the tokenizer, and small tokenizers that load at once."""

import json

import pytest
import tokenizers
from tokenizers import models, normalizers, pre_tokenizers, trainers

from stages.tokenize.tokenize import Tokenize
from stages.tokenize.tokenizer_file import read_definition


@pytest.fixture(scope="session")
def definition():
    return read_definition("qwen3")[0]


@pytest.fixture(scope="session")
def qwen_stage():
    """The stage with Qwen3 loaded, every document checked."""
    stage = Tokenize(check_every=1)
    stage.check()
    stage.setup()
    return stage


@pytest.fixture(scope="session")
def qwen(qwen_stage):
    return qwen_stage._tokenizer


@pytest.fixture(scope="session")
def small_definition():
    """A byte-level BPE tokenizer like Qwen3's, with 500 pieces learned from this project's own code."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    learn = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=["<|endoftext|>", "<|user|>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train([__file__], learn)
    return json.loads(tokenizer.to_str())


@pytest.fixture
def small_file(small_definition, tmp_path):
    """Write the small tokenizer with some keys of its JSON changed: `small_file(truncation=...)` -> path."""

    def write(**changes):
        path = tmp_path / "tokenizer.json"
        path.write_text(json.dumps(small_definition | changes))
        return path

    return write

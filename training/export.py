"""Writes a checkpoint as Hugging Face transformers keep models: `config.json`, `model.safetensors`, the tokenizer.

vLLM, transformers and every trainer that starts from published weights read it. The folder says what the model was
trained on (`training.json`), because a model without that is of no use a year later. Trade-off: weights are gathered
in the memory of one process, in bf16 unless asked otherwise, as Qwen's own are published.

The tokenizer that is shipped is the published one, with its control tokens. A model of re-mapped ids (`vocabulary`)
has no tokenizer: its rare ids are one id, which no text comes back from, and it is exported only when asked to.
"""

from __future__ import annotations

import json
import lzma
import shutil
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from curation.errors import ConfigError

app = typer.Typer()

#: Control tokens of Qwen's base models that configs name.
_EOD_TOKEN = "<|endoftext|>"


def _tokenizer_files(path: Path, folder: Path, length: int) -> None:
    """`tokenizer.json`, published or compressed, with the small config that transformers wants beside it."""
    data = path.read_bytes()
    (folder / "tokenizer.json").write_bytes(lzma.decompress(data) if path.suffix == ".xz" else data)
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": _EOD_TOKEN,
        "pad_token": _EOD_TOKEN,
        "model_max_length": length,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")


def export(
    training_folder: Path,
    folder: Path,
    checkpoint: str | None = None,
    kind: Literal["bf16", "fp32"] = "bf16",
    tokenizer: Path | None = None,
    without_tokenizer: bool = False,
) -> None:
    """Write the newest checkpoint of a training, or the one named `step-…`, to a folder.

    tokenizer: the `tokenizer.json` (or .json.xz) whose ids the data had. ConfigError if there is no checkpoint, the
    folder is not empty, or there is no tokenizer and `without_tokenizer` is not given.
    """
    import torch

    from training.checkpoint import load_weights, newest, read_place
    from training.config import Training
    from training.models import build

    about = training_folder / "training.json"
    found = training_folder / "checkpoints" / checkpoint if checkpoint else newest(training_folder / "checkpoints")
    if not about.is_file() or found is None or not (found / "place.json").is_file():
        wanted = f"the checkpoint {checkpoint}" if checkpoint else "a checkpoint"
        raise ConfigError(f"{training_folder}: no training with {wanted}")
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{folder}: is not empty; give another folder")
    facts: dict[str, Any] = json.loads(about.read_text(encoding="utf-8"))
    training = Training(**facts["training"])
    if tokenizer is None and not without_tokenizer:
        raise ConfigError("a model without tokenizer cannot be served; give --tokenizer FILE, or --without-tokenizer")
    if training.vocabulary and tokenizer is not None:
        raise ConfigError("the model has re-mapped ids, which no tokenizer gives; export it with --without-tokenizer")
    shape = training.model_shape()
    step = read_place(found)["step"]
    stage = next(s for s in facts["stages"] if step <= s["first"] + s["steps"])
    model = build(shape)
    model.load_state_dict(load_weights(found))
    model.set_rope({"rope_type": "default", "rope_theta": stage["rope_theta"]}, stage["length"])
    inner = model.inner.to(torch.bfloat16 if kind == "bf16" else torch.float32)
    inner.config.use_cache = True  # generation needs one; training and packed rows must not have it
    eod = facts.get("eod_id")
    inner.config.eos_token_id = inner.config.bos_token_id = inner.generation_config.eos_token_id = eod
    inner.generation_config.bos_token_id = eod
    aside = folder.with_name(folder.name + ".pending")
    shutil.rmtree(aside, ignore_errors=True)
    inner.save_pretrained(aside)
    if tokenizer is not None:
        _tokenizer_files(tokenizer, aside, stage["length"])
    facts["checkpoint"] = found.name
    (aside / "training.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    if training.vocabulary:
        shutil.copy(training_folder / "vocabulary.npz", aside / "vocabulary.npz")
    if folder.exists():
        folder.rmdir()
    aside.rename(folder)


@app.command("export-model")
def command(
    training_folder: Annotated[str, typer.Argument(metavar="TRAINING", help="Folder of a training.")],
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="New folder for the model.")],
    checkpoint: Annotated[str | None, typer.Option(help="`step-00000100` (default: the newest).")] = None,
    kind: Annotated[str, typer.Option("--dtype", help="bf16 or fp32.")] = "bf16",
    tokenizer: Annotated[
        str | None, typer.Option(help="`qwen3`, or the tokenizer.json whose ids the data had.")
    ] = "qwen3",
    without_tokenizer: Annotated[bool, typer.Option(help="For models of re-mapped ids.")] = False,
) -> None:
    """Write a trained model in Hugging Face's format, for transformers and vLLM."""
    from stages.tokenize.tokenizer_file import tokenizer_path
    from training.installed import check_installed

    check_installed()
    if kind not in ("bf16", "fp32"):
        raise ConfigError(f"--dtype {kind}: expected bf16 or fp32")
    file = None if without_tokenizer or tokenizer is None else tokenizer_path(tokenizer)
    if file is not None and not file.is_file():
        raise ConfigError(f"--tokenizer {tokenizer}: no such file")
    export(
        Path(training_folder),
        Path(folder),
        checkpoint,
        "bf16" if kind == "bf16" else "fp32",
        file,
        without_tokenizer,
    )
    said = f"{folder}: {checkpoint or 'the newest checkpoint'} of {training_folder}"
    Console(highlight=False).print(said, soft_wrap=True)

"""The YAML file of a training -> Training. A mistake is one line with file, line and key, found before any work.

What the file leaves out is decided here, in one place, and written to the run's folder as decided: batch and learning
rate by StepLaw, a stage's learning rate from where the stage before it ended. Trade-off: strict models, as in
pipelines.yaml; a key that is misspelt and therefore ignored would show after the training.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import Field, ValidationError, field_validator

from curation.errors import ConfigError
from curation.registry import nearest
from training.models import Shape, shape
from training.strict import Strict

Positive = Annotated[int, Field(ge=1)]
AnyStrict = TypeVar("AnyStrict", bound="Strict")


class Data(Strict):
    """A folder of packed rows, and its share of the stage."""

    folder: str
    """Pack folder: local path or fsspec URL."""
    share: float = Field(default=1.0, gt=0)
    """Share of the stage's rows, relative to the other folders'."""


class Schedule(Strict):
    """The learning rate over a stage, as a factor of the stage's `learning_rate`."""

    shape: Literal["constant", "cosine", "linear", "wsd"] = "cosine"
    """`wsd` (warm-up, stable, decay) stays and then falls linearly over the last `decay` of the stage."""
    warmup: float = Field(default=0.0, ge=0)
    """Steps over which the rate rises from 0: a share of the stage below 1, else a number of steps."""
    final: float = Field(default=0.1, ge=0)
    """Factor at the end of the stage."""
    decay: float = Field(default=0.2, gt=0, le=1)
    """Share of the stage over which `wsd` falls."""


class Stage(Strict):
    """One stage of the training: what is read, how long, at which RoPE base and rate."""

    name: str
    """In logs and plots."""
    data: str | list[Data]
    """A pack folder, or several with shares. The length of a row is the folder's."""
    steps: Positive | None = None
    """Optimizer steps; or give `tokens`; or neither, for `epochs`."""
    tokens: Positive | None = None
    """Tokens to train on, rounded down to whole steps."""
    epochs: float = Field(default=1.0, gt=0)
    """Passes over the data, if neither steps nor tokens are given."""
    batch_rows: Positive | None = None
    """Rows of a global batch, over all ranks and micro-batches. Default: StepLaw, for the tokens of all stages."""
    learning_rate: float | None = Field(default=None, gt=0)
    """Highest rate. Default: StepLaw in the first stage, later where the stage before it ended."""
    schedule: Schedule = Schedule()
    rope_theta: float | None = Field(default=None, gt=0)
    """Base of RoPE from this stage on (ABF: raised before long context). Default: as before."""


class Evaluation(Strict):
    """Loss in bits per byte on documents that are not trained on."""

    data: str
    """Folder of token shards, as a run writes them to `tokens/`."""
    every: Positive = 500
    """Steps between two evaluations; there is one at the start and one at the end of each stage."""
    documents: Positive = 256
    """Documents to read, the same each time: those whose ids hash lowest."""
    exclude: bool = True
    """Not to train on these documents, by their ids, nor on pieces of rows that are near copies of them: their labels
    are taken away."""
    by: list[str] = Field(default=["source", "language"])
    """Columns by whose value the loss is also given."""
    yarn: float | None = Field(default=None, gt=1)
    """After the last stage also evaluate rows so many times as long, with YaRN, and with Dual Chunk Attention."""


class Balance(Strict):
    """Load balance of experts."""

    coefficient: float = Field(default=0.008, ge=0)
    """Factor of the loss, which is 1 per layer at perfect balance (Qwen3-MoE's 0.001 is of 8 times that)."""


class Checkpoints(Strict):
    """When the state of a training is written."""

    every: Positive = 500
    """Steps between two checkpoints; there is one at the end of each stage."""
    keep: Positive = 2
    """Newest ones to keep; those at the end of a stage stay."""


class Optimizer(Strict):
    """AdamW."""

    beta1: float = Field(default=0.9, ge=0, lt=1)
    """Decay of the mean of gradients."""
    beta2: float = Field(default=0.95, ge=0, lt=1)
    """Decay of the mean of squared gradients."""
    weight_decay: float = Field(default=0.1, ge=0)
    """Of matrices; norms and biases have none."""
    clip: float = Field(default=1.0, gt=0)
    """Largest norm of the gradient, over all ranks."""


class Training(Strict):
    """A training, as the file says."""

    model: str | dict[str, Any]
    """A name of `training.models.SHAPES`, or `{name: …, layers: …}` with what differs."""
    output: str
    """Folder of the training; relative to where the command is given. All ranks must see it."""
    stages: list[Stage] = Field(min_length=1)
    seed: int = 0
    """Of weights and of the order of rows."""
    precision: Literal["fp32", "bf16"] = "bf16"
    """Of the forward and backward pass. Weights, optimizer, gradients' sums and the loss are fp32."""
    attention: Literal["sdpa", "eager", "flex_attention", "flash_attention_2"] = "sdpa"
    """Kernel of attention. Each is checked, at the start, to keep the documents of a row apart."""
    recompute: bool = False
    """Recompute activations in the backward pass instead of keeping them."""
    micro_rows: Positive | None = None
    """Rows that a rank puts through the model at once. Default: all its rows of a batch."""
    vocabulary: Positive | None = None
    """Re-map ids to so many, the most frequent of the first stage's data. Default: the tokenizer's own ids."""
    optimizer: Optimizer = Optimizer()
    balance: Balance = Balance()
    evaluation: Evaluation | None = None
    checkpoints: Checkpoints = Checkpoints()
    tokenizer: str | None = None
    """SHA-256 or file of the tokenizer that the data must be made with. Default: whichever the first folder says."""
    workers: Positive = 1
    """Ranks: processes that train together, one a GPU where there are GPUs."""
    restarts: int = Field(default=3, ge=0)
    """How often Ray Train starts the workers again after one died."""
    peak_tflops: float | None = Field(default=None, gt=0)
    """Peak of one rank's device in the training's precision, for MFU. Default: known for NVIDIA A100, H100, H200."""
    log_every: Positive = 10
    """Steps between two lines on the screen; the log has every step."""

    @field_validator("stages")
    @classmethod
    def _names_differ(cls, stages: list[Stage]) -> list[Stage]:
        if len({stage.name for stage in stages}) < len(stages):
            raise ValueError("two stages have the same name")
        return stages

    def model_shape(self) -> Shape:
        """The model's shape, with the re-mapped vocabulary if there is one. ConfigError for an unknown name or key."""
        chosen: dict[str, Any] = {"name": self.model} if isinstance(self.model, str) else dict(self.model)
        name = str(chosen.pop("name", ""))
        if self.vocabulary:
            chosen["vocabulary"] = self.vocabulary
        if self.stages[0].rope_theta:
            chosen["rope_theta"] = self.stages[0].rope_theta
        return shape(name, **chosen)


def _lines(node: yaml.Node | None, at: tuple[str | int, ...], found: dict[tuple[str | int, ...], int]) -> None:
    if node is None:
        return
    found.setdefault(at, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            found[(*at, key.value)] = key.start_mark.line + 1
            _lines(value, (*at, key.value), found)
    elif isinstance(node, yaml.SequenceNode):
        for i, value in enumerate(node.value):
            _lines(value, (*at, i), found)


def _model_at(loc: tuple[str | int, ...]) -> list[str]:
    """The keys that are known where a key is not."""
    model: Any = Training
    for part in loc[:-1]:
        if isinstance(part, str) and part in getattr(model, "model_fields", {}):
            kinds = str(model.model_fields[part].annotation)
            model = next((m for m in Strict.__subclasses__() if f".{m.__name__}" in kinds.replace("'", "")), Training)
    return list(model.model_fields)


def load(path: str | Path, sets: list[str] | tuple[str, ...] = ()) -> Training:
    """Read a training's file; `sets` are `key=value`, dots between nested keys (`stages.0.steps=10`).

    ConfigError, one line with file and line, for every mistake.
    """
    file = Path(path)
    if not file.is_file():
        raise ConfigError(f"{path}: no such file; expected the YAML of a training")
    text = file.read_text(encoding="utf-8")
    try:
        data, root = yaml.safe_load(text), yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}{line}: not valid YAML: {getattr(error, 'problem', error)}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path}:1: expected a mapping with the keys `model`, `output` and `stages`")
    lines: dict[tuple[str | int, ...], int] = {}
    _lines(root, (), lines)
    overrides = {}
    for option in sets:
        overrides[_set(data, option)] = option
    try:
        training = Training(**{str(k): v for k, v in data.items()})
        training.model_shape()
    except ValidationError as error:
        problem = error.errors()[0]
        loc = tuple(p for p in problem["loc"] if isinstance(p, int) or (p and not p.startswith(("list[", "dict["))))
        loc = loc[:-1] if loc and loc[-1] == "str" else loc
        key = ".".join(map(str, loc))
        where = next((f"--set {overrides[loc[:n]]}" for n in range(len(loc), 0, -1) if loc[:n] in overrides), "")
        where = where or next(f"{path}:{lines[loc[:n]]}" for n in range(len(loc), -1, -1) if loc[:n] in lines)
        if problem["type"] == "extra_forbidden":
            known = _model_at(loc)
            raise ConfigError(
                f"{where}: unknown key '{key}'{nearest(str(loc[-1]), known) or '; there are ' + ', '.join(known)}"
            ) from error
        if problem["type"] == "missing":
            raise ConfigError(f"{where}: the key '{key}' is missing") from error
        raise ConfigError(f"{where}: key '{key}': {problem['msg'].lower()}, not {problem['input']!r}") from error
    except ConfigError as error:
        raise ConfigError(f"{path}:{lines.get(('model',), 1)}: {error}") from error
    return training


def keys(model: type[AnyStrict], options: Sequence[str], flag: str) -> AnyStrict:
    """A model from `key=value` options of the command line. ConfigError for an unknown key or a wrong value."""
    data: dict[str, Any] = {}
    for option in options:
        key, equals, text = option.partition("=")
        if not equals or key not in model.model_fields:
            known = list(model.model_fields)
            hint = nearest(key, known) or "; keys are " + ", ".join(known)
            raise ConfigError(f"{flag} {option}: expected key=value{hint}")
        data[key] = yaml.safe_load(text)
    try:
        return model(**data)
    except ValidationError as error:
        problem = error.errors()[0]
        raise ConfigError(f"{flag} {problem['loc'][0]}={problem['input']}: {problem['msg'].lower()}") from error


def _set(data: dict[str, Any], option: str) -> tuple[str | int, ...]:
    """Write one `key=value` into the raw mapping; returns where."""
    target, equals, text = option.partition("=")
    if not equals:
        raise ConfigError(f"--set {option}: expected key=value")
    loc: list[str | int] = [int(part) if part.isdigit() else part for part in target.split(".")]
    here: Any = data
    try:
        for part in loc[:-1]:
            inside = isinstance(part, str) and isinstance(here, dict)
            here = here.setdefault(part, {}) if inside else here[part]
        here[loc[-1]] = yaml.safe_load(text) if text else None
    except (IndexError, KeyError, TypeError) as error:
        raise ConfigError(f"--set {option}: the file has no '{target}'") from error
    return tuple(loc)

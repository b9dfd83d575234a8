"""pipelines.yaml -> Pipeline. Every mistake is found here, before any work, with file, line and the nearest key.

A pipeline is a list of stages and a few settings of the run. The models are strict (an unknown key is an error),
because a misspelt threshold that is silently ignored costs a night on a cluster.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import xxhash
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from curation.config_source import Location, Source, one_line
from curation.errors import ConfigError
from curation.registry import nearest, stage_class
from curation.stage import Barrier, Reader, Stage


class Input(BaseModel):
    """Input files and the name of their source, which is part of every document's id."""

    model_config = ConfigDict(extra="forbid")

    files: list[str]
    """Paths, glob patterns or fsspec URLs."""
    source: str
    """Name of the source; documents carry it in the column `source`."""
    optional: bool = False
    """Whether the run goes on, and says so, where a pattern matches no file (yet)."""


class Settings(BaseModel):
    """What a pipeline says besides its stages."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    description: str = ""
    """One sentence for `curation plan` and the report."""
    input: str | list[str | Input] = []
    """Files to read: paths or globs (relative to this file), or fsspec URLs; or a list of `{files, source}`."""
    output: str = ""
    """Folder of the run: local path or fsspec URL. Default `out/<pipeline>`."""
    seed: int = 0
    """Seed for stages that draw samples."""
    max_failure_rate: float = Field(0.01, ge=0, le=1)
    """Share of a stage's documents that may fail (go to quarantine) before the run stops with exit code 1."""
    breakdown: list[str] = []
    """Columns by whose value the funnel is also counted (`[language]`)."""
    keep_dropped_text: bool = True
    """Whether `dropped/` holds the text of dropped documents, or only their ids, urls and reasons."""
    shard_mb: int = Field(128, ge=1)
    """Aimed size of a shard after the last barrier, MiB of parquet."""
    batch_rows: int = Field(256, ge=1)
    """Most documents in one batch. It changes speed and memory, never a byte of the output."""
    batch_mb: int = Field(16, ge=1)
    """Most payload in one batch, MiB (a single larger document is a batch of its own)."""
    memory_mb: int = Field(2048, ge=64)
    """Memory that stages may take on top of what they loaded, MiB; the document that exceeds it is quarantined."""
    resources: dict[str, dict[str, Annotated[float, Field(ge=0)]]] = {}
    """What a task with a stage asks of a Ray node, by stage: `{annotate: {num_gpus: 0.5, memory_mb: 6000}}`; `num_cpus`
    (default 1), `num_gpus`, `memory_mb`, or a resource of the cluster's own by its name. Changes where tasks run, never
    a byte of the output."""


class Pipeline(BaseModel):
    """A pipeline ready to plan: settings and stages, all checked."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    name: str
    settings: Settings
    inputs: list[Input]
    stages: list[Stage]
    stage_names: list[str]  # as the user wrote them; `name#2` for the second use of a stage
    file: str = ""

    @property
    def reader(self) -> Reader:
        """The first stage."""
        reader = self.stages[0]
        assert isinstance(reader, Reader)
        return reader


def find_config(path: str | None) -> Path:
    """The config file: the one given, `pipelines.yaml` here, or the one of the project's checkout."""
    if path:
        if not Path(path).is_file():
            raise ConfigError(f"{path}: no such config file")
        return Path(path)
    for folder in (Path.cwd(), Path(__file__).resolve().parents[1]):
        if (folder / "pipelines.yaml").is_file():
            return folder / "pipelines.yaml"
    raise ConfigError("no pipelines.yaml in this folder; name one with --config FILE")


def _pipelines(source: Source) -> dict[str, Any]:
    data = source.data
    if not isinstance(data, dict) or not isinstance(data.get("pipelines"), dict):
        raise ConfigError(f"{source.file}:1: expected a mapping `pipelines:` from names to pipelines")
    for key in data:
        if key != "pipelines" and not str(key).startswith("x-"):  # x-...: anchors to share between pipelines
            hint = nearest(str(key), ["pipelines"]) or "; only `pipelines` and `x-...` are known here"
            raise ConfigError(f"{source.where((key,))}: unknown key '{key}'{hint}")
    return data["pipelines"]


def pipeline_names(path: str | None = None) -> dict[str, str]:
    """Name -> description of the pipelines in a config file."""
    file = find_config(path)
    source = Source(str(file), file.read_text(encoding="utf-8"))
    return {str(k): str(v.get("description", "")) if isinstance(v, dict) else "" for k, v in _pipelines(source).items()}


def _stage_items(raw: Any, source: Source, at: Location) -> Iterator[tuple[str, dict[str, Any], Location]]:
    """(name, parameters, location of the parameters) of each stage in the YAML list."""
    if not isinstance(raw, list) or not raw:
        raise ConfigError(f"{source.where(at)}: `stages` must be a list of stages, the first of them a reader")
    for i, item in enumerate(raw):
        here = (*at, i)
        if isinstance(item, str):
            yield item, {}, here
        elif isinstance(item, dict) and len(item) == 1:
            name, params = next(iter(item.items()))
            if params is not None and not isinstance(params, dict):
                raise ConfigError(f"{source.where(here)}: the keys of stage '{name}' must be a mapping, not {params!r}")
            yield str(name), params or {}, (*here, name)
        else:
            raise ConfigError(
                f"{source.where(here)}: expected a stage name, or a stage name with its keys indented below it"
            )


def _numbered(names: list[str]) -> list[str]:
    """`x, y, x` -> `x, y, x#2`."""
    seen: dict[str, int] = {}
    result = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        result.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return result


def _apply_sets(sets: Sequence[str], raw: dict[str, Any], source: Source, at: Location) -> None:
    """Write `stage.key=value` and `setting=value` options into the raw pipeline."""
    items = list(_stage_items(raw.get("stages"), source, (*at, "stages")))
    labels = _numbered([name for name, _, _ in items])
    for option in sets:
        target, equals, text = option.partition("=")
        if not equals:
            raise ConfigError(f"--set {option}: expected stage.key=value or setting=value")
        value = yaml.safe_load(text) if text else ""
        label, dot, key = target.rpartition(".")
        if not dot:
            raw[target] = value
            source.overrides[(*at, target)] = option
        elif label in labels:
            i = labels.index(label)
            name, params, _ = items[i]
            params = raw["stages"][i][name] or {} if isinstance(raw["stages"][i], dict) else {}
            head, *rest = key.split(".")
            raw["stages"][i] = {name: params | {head: value}}
            source.overrides[(*at, "stages", i, name, head)] = option
            if rest:
                raise ConfigError(f"--set {option}: a key cannot hold a dot")
        else:
            raise ConfigError(
                f"--set {option}: the pipeline has no stage '{label}'"
                f"{nearest(label, labels) or '; it has ' + ', '.join(labels)}"
            )


def _leave_out(without: Sequence[str], raw: dict[str, Any], source: Source, at: Location) -> None:
    """Take stages out of the raw pipeline, by name (`name#2` for the second use of a stage)."""
    labels = _numbered([name for name, _, _ in _stage_items(raw.get("stages"), source, (*at, "stages"))])
    for label in without:
        if label not in labels:
            raise ConfigError(
                f"the pipeline has no stage '{label}' to leave out"
                f"{nearest(label, labels) or '; it has ' + ', '.join(labels)}"
            )
    raw["stages"] = [item for item, label in zip(raw["stages"], labels, strict=True) if label not in without]


def _inputs(settings: Settings, override: Sequence[str], name: str, folder: Path) -> list[Input]:
    """The inputs as a list of `Input`; patterns without a source name get the pipeline's name.

    Relative paths in the config file start at its folder, those of `--input` where the command is given.
    """
    if override:
        return [Input(files=list(override), source=name)]
    listed = [settings.input] if isinstance(settings.input, str) else settings.input
    plain = [item for item in listed if isinstance(item, str) and item]
    named = [item for item in listed if isinstance(item, Input)]
    found = ([Input(files=plain, source=name)] if plain else []) + named
    return [
        item.model_copy(
            update={"files": [f if "://" in f or f.startswith("~") else str(folder / f) for f in item.files]}
        )
        for item in found
    ]


def _check_columns(stages: list[Stage], names: list[str], lines: list[str]) -> None:
    """Every stage finds the columns it needs, and only the first stage reads files.

    Transient columns (page source, undecoded payloads) are never written, so none of them is there behind a barrier.
    """
    if not isinstance(stages[0], Reader):
        raise ConfigError(f"{lines[0]}: the first stage must be a reader (read_warc, ...), not '{names[0]}'")
    from curation.documents import CORE, is_transient

    have = set(CORE) | set(stages[0].adds())
    lost: dict[str, str] = {}  # transient column -> the barrier that it does not pass
    for stage, name, line in zip(stages[1:], names[1:], lines[1:], strict=True):
        if isinstance(stage, Reader):
            raise ConfigError(f"{line}: '{name}' is a reader; only the first stage of a pipeline reads files")
        for column in stage.needs():
            if column in lost:
                raise ConfigError(
                    f"{line}: stage '{name}' needs the column '{column}', which is not written and so does not pass "
                    f"the barrier '{lost[column]}'; put '{name}' before it"
                )
            if column not in have:
                raise ConfigError(
                    f"{line}: stage '{name}' needs the column '{column}', which no stage before it adds"
                    f"{_who_adds(column)}"
                )
        have = (have | set(stage.adds())) - set(stage.removes())
        if isinstance(stage, Barrier):
            lost |= {column: name for column in have if is_transient(column)}
            have -= set(lost)


def _who_adds(column: str) -> str:
    from curation.registry import catalogue

    def adds(cls: type[Stage]) -> bool:
        try:
            return column in cls().adds()
        except (ValidationError, NotImplementedError, TypeError):
            return False

    names = [entry.name for entry in catalogue().values() if adds(entry.load())]
    return f"; put one of these before it: {', '.join(names)}" if names else ""


def load_pipeline(
    name: str,
    config: str | None = None,
    *,
    sets: Sequence[str] = (),
    inputs: Sequence[str] = (),
    output: str | None = None,
    without: Sequence[str] = (),
) -> Pipeline:
    """Read, override and check one pipeline; `without` leaves stages out. ConfigError, with `file:line`, for every
    mistake."""
    file = find_config(config)
    shown = os.path.relpath(file) if file.is_relative_to(Path.cwd()) else str(file)
    source = Source(shown, file.read_text(encoding="utf-8"))
    pipelines = _pipelines(source)
    if name not in pipelines:
        hint = nearest(name, list(pipelines)) or f"; it has {', '.join(pipelines)}"
        raise ConfigError(f"{shown}: no pipeline '{name}'{hint}")
    raw, at = pipelines[name], ("pipelines", name)
    if not isinstance(raw, dict):
        raise ConfigError(f"{source.where(at)}: pipeline '{name}' must be a mapping with the key `stages`")
    _apply_sets(sets, raw, source, at)
    if without:
        _leave_out(without, raw, source, at)
    stages, names, lines = [], [], []
    for stage_name, params, here in _stage_items(raw.get("stages"), source, (*at, "stages")):
        where = source.where(here)
        try:
            cls = stage_class(stage_name)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from error
        try:
            stage = cls(**{str(k): v for k, v in params.items()})
        except ValidationError as error:
            raise ConfigError(one_line(error, source, here, cls, f"stage '{stage_name}'")) from error
        stages.append(stage)
        names.append(stage_name)
        lines.append(where)
    try:
        settings = Settings(**{k: v for k, v in raw.items() if k != "stages"})
    except ValidationError as error:
        raise ConfigError(one_line(error, source, at, Settings, f"pipeline '{name}'")) from error
    settings.output = output or settings.output or f"out/{name}"
    labels = _numbered(names)
    for label in settings.resources:
        if label not in labels:
            raise ConfigError(
                f"{source.where((*at, 'resources', label))}: resources: the pipeline has no stage '{label}'"
                f"{nearest(label, labels) or '; it has ' + ', '.join(labels)}"
            )
    for stage, label in zip(stages, labels, strict=True):
        stage._folder = f"{settings.output.rstrip('/')}/work/stages/{label}"
        stage._seed = xxhash.xxh3_64_intdigest(f"{settings.seed}\0{label}".encode())
    for stage, stage_name, where in zip(stages, names, lines, strict=True):
        try:
            stage.check()
        except (ConfigError, ValueError, OSError) as error:
            raise ConfigError(f"{where}: stage '{stage_name}': {error}") from error
    _check_columns(stages, names, lines)
    return Pipeline(
        name=name,
        settings=settings,
        inputs=_inputs(settings, inputs, name, file.parent),
        stages=stages,
        stage_names=labels,
        file=shown,
    )


def json_schema() -> dict[str, Any]:
    """JSON Schema of pipelines.yaml, for editors: settings, and every stage of the catalogue with its keys."""
    from curation.registry import catalogue

    stages, definitions = [], {}
    for entry in catalogue().values():
        schema = entry.load().model_json_schema(ref_template="#/$defs/{model}")
        definitions.update(schema.pop("$defs", {}))
        schema["description"] = entry.summary
        stages.append(
            {
                "type": "object",
                "properties": {entry.name: {"anyOf": [schema, {"type": "null"}]}},
                "required": [entry.name],
                "additionalProperties": False,
                "description": entry.summary,
            }
        )
    names = {"type": "string", "enum": list(catalogue())}
    settings = Settings.model_json_schema(ref_template="#/$defs/{model}")
    definitions.update(settings.pop("$defs", {}))
    settings["properties"]["stages"] = {"type": "array", "minItems": 1, "items": {"anyOf": [names, *stages]}}
    settings["required"] = ["stages"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "pipelines.yaml",
        "type": "object",
        "properties": {"pipelines": {"type": "object", "additionalProperties": settings}},
        "required": ["pipelines"],
        "patternProperties": {"^x-": {}},
        "additionalProperties": False,
        "$defs": definitions,
    }

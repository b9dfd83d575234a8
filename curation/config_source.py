"""The lines of a YAML file behind its values, and a validation error told in one line with the place it comes from.

YAML is read twice: once for the values, once as nodes, which know their lines; the files are small, and a loader that
keeps the lines in the values would have to be kept in step with PyYAML.
"""

from __future__ import annotations

from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from curation.errors import ConfigError
from curation.registry import nearest

Location = tuple[str | int, ...]


class Source:
    """The parsed file: its values, and the line of every key."""

    def __init__(self, file: str, text: str):
        self.file = file
        try:
            self.data = yaml.safe_load(text)
            root = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            line = f":{mark.line + 1}" if mark else ""
            raise ConfigError(f"{file}{line}: not valid YAML: {getattr(error, 'problem', error)}") from error
        self.lines: dict[Location, int] = {}
        self.overrides: dict[Location, str] = {}
        if root is not None:
            self._walk(root, ())

    def _walk(self, node: yaml.Node, at: Location) -> None:
        self.lines.setdefault(at, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                self.lines[(*at, key.value)] = key.start_mark.line + 1
                self._walk(value, (*at, key.value))
        elif isinstance(node, yaml.SequenceNode):
            for i, value in enumerate(node.value):
                self._walk(value, (*at, i))

    def where(self, at: Location) -> str:
        """`file:line` of a key, of the nearest key around it, or the --set option that put it there."""
        for end in range(len(at), -1, -1):
            if at[:end] in self.overrides:
                return f"--set {self.overrides[at[:end]]}"
            if at[:end] in self.lines:
                return f"{self.file}:{self.lines[at[:end]]}"
        return self.file


def one_line(error: ValidationError, source: Source, at: Location, model: type[BaseModel], owner: str) -> str:
    """The first problem of a validation error as one line."""
    problem = error.errors()[0]
    loc = tuple(part for part in problem["loc"] if isinstance(part, int) or not part.startswith(("list[", "str")))
    key = ".".join(str(part) for part in loc)
    where = source.where((*at, *loc))
    if problem["type"] == "extra_forbidden":
        fields = _keys_at(model, loc[:-1])
        hint = nearest(str(loc[-1]), fields) or (f"; it has {', '.join(fields)}" if fields else "; it has no keys")
        return f"{where}: unknown key '{key}' in {owner}{hint}"
    if problem["type"] == "missing":
        return f"{where}: {owner} needs the key '{key}'"
    if problem["type"] == "value_error":
        return f"{where}: {owner}: {problem['ctx']['error']}"
    return f"{where}: key '{key}' in {owner}: {problem['msg'].lower()}, not {problem['input']!r}"


def _keys_at(model: type[BaseModel], at: Location) -> list[str]:
    """Keys of the model that lies at a location in another one (`recipes.0.shares.1`), as people write them."""
    for part in at:
        if isinstance(part, int):
            continue
        found = next((f for k, f in model.model_fields.items() if part in (k, f.alias)), None)
        kinds: list[Any] = [found.annotation] if found else []
        inner = None
        while kinds and inner is None:
            kind = kinds.pop()
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                inner = kind
            kinds += get_args(kind)
        if inner is None:
            return []
        model = inner
    return [field.alias or key for key, field in model.model_fields.items()]

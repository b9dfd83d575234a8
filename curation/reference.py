"""`curation reference`: docs/reference.md, made of the docstrings and keys of the stages and the settings of a
pipeline.

The manual page of a stage is its docstring, which stands beside the code it speaks of; a second text would be wrong
within a month. A test compares the file in the repository with what this command prints.
"""

from __future__ import annotations

import ast
import inspect
import sys
import types
from typing import Any, Union, get_args, get_origin

import typer
from pydantic_core import PydanticUndefined

from curation.config import Settings
from curation.documents import COLUMNS
from curation.registry import catalogue

app = typer.Typer(add_completion=False)

_HEAD = """# Reference

Made by `curation reference > docs/reference.md` from the docstrings of the stages; change those, not this file. The
same pages are printed by `curation stages NAME`.
"""


def _kind(annotation: Any) -> str:
    """A type as a user of YAML reads it."""
    if annotation is type(None):
        return "null"
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        return " or ".join(_kind(arg) for arg in get_args(annotation))
    if origin is not None and origin not in (list, dict, tuple):
        if str(origin).endswith("Literal"):
            return " or ".join(repr(arg) if isinstance(arg, str) else str(arg) for arg in get_args(annotation))
        return _kind(get_args(annotation)[0])  # Annotated
    if origin is not None:
        return f"{origin.__name__} of {', '.join(_kind(arg) for arg in get_args(annotation))}"
    return getattr(annotation, "__name__", str(annotation))


def _default(field: Any) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return ""
    text = repr(value)
    return f"`{text if len(text) <= 60 else text[:57] + '…'}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _keys(fields: dict[str, Any]) -> list[str]:
    lines = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for name, field in fields.items():
        shown = field.alias or name
        cells = (_kind(field.annotation), _default(field), field.description or "")
        lines.append(f"| `{shown}` | {' | '.join(map(_cell, cells))} |")
    return lines


def _described(cls: type) -> dict[str, str]:
    """Docstrings of fields, of a class whose model does not keep them."""
    found, name = {}, ""
    for node in ast.parse(inspect.getsource(cls)).body[0].body:  # type: ignore[attr-defined]
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            name = node.target.id
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and name:
            found[name] = str(node.value.value)
    return found


def page() -> str:
    """The whole page."""
    entries = sorted(catalogue().values(), key=lambda e: (e.group, e.name))
    lines = [_HEAD, "## Stages", "", "| stage | group | what it does |", "|---|---|---|"]
    lines += [f"| [`{e.name}`](#{e.name}) | {e.group} | {_cell(e.summary)} |" for e in entries]
    described = _described(Settings)
    settings = dict(Settings.model_fields)
    for name, field in settings.items():
        field.description = field.description or described.get(name, "")
    lines += ["", "## Settings of a pipeline", "", *_keys(settings)]
    for entry in entries:
        cls = entry.load()
        lines += ["", f"## {entry.name}", "", inspect.cleandoc(cls.__doc__ or "")]
        if cls.model_fields:
            lines += ["", *_keys(cls.model_fields)]
        if columns := _columns(cls):
            lines += ["", f"Adds: {', '.join(f'`{name}`' for name in columns)}."]
    lines += ["", "## Columns", "", "| column | type | meaning |", "|---|---|---|"]
    lines += [f"| `{name}` | `{column.type}` | {_cell(column.meaning)} |" for name, column in COLUMNS.items()]
    return "\n".join(lines) + "\n"


def _columns(cls: Any) -> list[str]:
    """The columns that a stage adds as it stands, if it can stand without keys."""
    try:
        return list(cls().adds())
    except Exception:
        return []


@app.command()
def reference() -> None:
    """Print docs/reference.md: every stage with its manual page and keys, the settings, the columns."""
    sys.stdout.write(page())

"""Finds stages by name, without importing them.

A stage is named in its class statement: `class GopherQuality(Filter, name="gopher_quality")`. This module reads the
source files of the stage packages and notes where each name is, so that a newcomer adds a stage by adding a file,
and the catalogue opens in milliseconds although the stages behind it load parsers, models and tokenizers.

Trade-off: the name must be a literal in the class statement; a class made at run time is not found by name. Such a
class, or one outside the stage packages, is used by its path: `package.module:Class`.
"""

from __future__ import annotations

import ast
import difflib
import functools
import importlib
import importlib.metadata
import importlib.util
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from curation.errors import ConfigError
from curation.stage import Stage

#: The packages whose files are read for stages.
PACKAGES = ("stages",)


@dataclass(frozen=True)
class Entry:
    """Where a stage is: its name, module, class, file and line, and the first sentence of its manual page."""

    name: str
    module: str
    class_name: str
    file: Path
    line: int
    summary: str

    @property
    def group(self) -> str:
        """The folder the stage lies in (read, filter, dedup, ...)."""
        return self.file.parent.name

    def load(self) -> type[Stage]:
        """Import the stage's module and return its class."""
        return _class(self.module, self.class_name, self.name)


def _class(module: str, class_name: str, used_as: str) -> type[Stage]:
    try:
        cls = getattr(importlib.import_module(module), class_name, None)
    except ImportError as error:
        raise ConfigError(f"stage '{used_as}' cannot be loaded from {module}: {error}") from error
    if not (isinstance(cls, type) and issubclass(cls, Stage)):
        raise ConfigError(f"stage '{used_as}': {module}:{class_name} is not a subclass of curation.stage.Stage")
    return cls


def package_folders(package: str) -> list[Path]:
    """The folders of a top-level package, found without importing it; none if it is not installed."""
    spec = importlib.util.find_spec(package)
    return [Path(p) for p in (spec.submodule_search_locations or ())] if spec else []


def _stages_in(file: Path, module: str) -> list[Entry]:
    source = file.read_text(encoding="utf-8")
    if "name=" not in source:
        return []
    found = []
    for node in ast.parse(source, str(file)).body:
        if not isinstance(node, ast.ClassDef):
            continue
        for keyword in node.keywords:
            if keyword.arg == "name" and isinstance(keyword.value, ast.Constant):
                summary = (ast.get_docstring(node) or "").split("\n\n")[0].replace("\n", " ")
                found.append(Entry(str(keyword.value.value), module, node.name, file, node.lineno, summary))
    return found


@functools.cache
def catalogue(packages: tuple[str, ...] = PACKAGES) -> dict[str, Entry]:
    """All named stages of the packages, by name, sorted. Two stages of one name are a ConfigError."""
    entries: dict[str, Entry] = {}
    for package in packages:
        for folder in package_folders(package):
            for file in sorted(folder.rglob("*.py")):
                module = ".".join([package, *file.relative_to(folder).with_suffix("").parts])
                for entry in _stages_in(file, module.removesuffix(".__init__")):
                    if entry.name in entries:
                        other = entries[entry.name]
                        raise ConfigError(
                            f"{entry.file}:{entry.line}: the stage name '{entry.name}' is taken "
                            f"by {other.file}:{other.line}"
                        )
                    entries[entry.name] = entry
    return dict(sorted(entries.items()))


def nearest(word: str, words: list[str]) -> str:
    """`; did you mean 'x'?` for the most similar of the words, or an empty string."""
    match = difflib.get_close_matches(word, words, n=1, cutoff=0.5)
    return f"; did you mean '{match[0]}'?" if match else ""


def stage_class(name: str) -> type[Stage]:
    """The class of a stage by its name, or by `package.module:Class`. ConfigError with the nearest name if none."""
    if ":" in name:
        module, class_name = name.split(":", 1)
        return _class(module, class_name, name)
    entries = catalogue()
    if name not in entries:
        hint = nearest(name, list(entries)) or "; `curation stages` lists them"
        raise ConfigError(f"unknown stage '{name}'{hint}")
    return entries[name].load()


#: An import statement. A pattern, because parsing all files of a pipeline takes half a second of every start; what it
#: takes too many (a line of prose that reads like an import) names no file and does no harm.
_IMPORT = re.compile(
    r"^[ \t]*(?:import[ \t]+([\w., \t]+)|from[ \t]+([\w.]+)[ \t]+import[ \t]+(\([^)]*\)|[^\n]+))", re.M
)


def _imported(file: Path) -> set[str]:
    """Names of the modules that a source file imports, wherever in it, as `package.module`."""
    names: set[str] = set()
    for plain, module, members in _IMPORT.findall(file.read_text(encoding="utf-8")):
        names |= {part.split()[0] for part in plain.split(",") if part.strip()}
        if module:
            names |= {module, *(f"{module}.{member}" for member in re.findall(r"\w+", members))}
    return names


@functools.cache
def _imports(file: Path) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """(files of the stage packages and of packages beside them, names of other packages) that a file imports."""
    files: set[Path] = set()
    others: set[str] = set()
    for name in _imported(file):
        package, *rest = name.split(".")
        if package not in (*PACKAGES, "classifiers"):
            others.add(package)
            continue
        for folder in package_folders(package):
            path = folder.joinpath(*rest)
            candidates = [path.with_suffix(".py")] if rest else []
            files |= {c for c in [*candidates, path / "__init__.py"] if c.is_file()}
    return tuple(sorted(files)), tuple(sorted(others - set(sys.stdlib_module_names) - {"curation"}))


@functools.cache
def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def library_versions(files: Sequence[Path]) -> dict[str, str]:
    """Versions of the libraries that source files import, as far as a distribution has the package's name."""
    packages = {name for file in files for name in _imports(file)[1]}
    return {name: version for name in sorted(packages) if (version := _version(name))}


def source_files(cls: type[Stage]) -> list[Path]:
    """The source files that decide what a stage does: its own and, transitively, what it imports of the project."""
    module = importlib.import_module(cls.__module__)
    todo = [Path(module.__file__)] if module.__file__ else []
    seen: set[Path] = set()
    while todo:
        file = todo.pop()
        if file not in seen:
            seen.add(file)
            todo += _imports(file)[0]
    return sorted(seen)

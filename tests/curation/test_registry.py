"""What decides a task's bytes is found: the stage's files, what they import of the project, and the libraries."""

import ast
from pathlib import Path

import pytest

from curation.errors import ConfigError
from curation.registry import _imported, catalogue, library_versions, source_files, stage_class

ROOT = Path(__file__).resolve().parents[2]


def test_no_import_is_missed():
    for file in [*(ROOT / "stages").rglob("*.py"), *(ROOT / "classifiers").rglob("*.py")]:
        names = set()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        assert names <= _imported(file), file


def test_a_stages_sources_and_libraries():
    cls = stage_class("minhash_dedup")
    names = {file.name for file in source_files(cls)}
    assert {"minhash.py", "signatures.py", "words.py", "clusters.py"} <= names
    assert {"numba", "numpy", "pyarrow"} <= set(library_versions(source_files(cls)))


def test_two_stages_of_one_name_are_refused(tmp_path, monkeypatch):
    folder = tmp_path / "twice"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    for file in ("a.py", "b.py"):
        (folder / file).write_text("class X(Filter, name='same'):\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=r"b.py:1: the stage name 'same' is taken by .*a.py:1"):
        catalogue(("twice",))

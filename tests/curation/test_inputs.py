"""Which files an input means, and what they are called."""

from pathlib import Path

import fsspec
import pytest

from curation.config import Input
from curation.errors import ConfigError
from curation.inputs import find_inputs


@pytest.fixture
def found(tmp_path):
    def run(*patterns, make=()):
        for name in make:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(name)
        files = find_inputs([Input(files=[str(tmp_path / pattern) for pattern in patterns], source="web")]).files
        assert all(Path(file.path).read_text().endswith(file.name.rpartition("/")[2]) for _, file in files)
        return [file.name for _, file in files]

    return run


def test_names_are_paths_below_where_wildcards_begin(found):
    make = ["a/1.jsonl", "a/2.jsonl", "b/1.jsonl", "b/.hidden.jsonl", "b/note.txt"]
    assert found("*/*.jsonl", make=make) == ["a/1.jsonl", "a/2.jsonl", "b/1.jsonl"]
    assert found("a/*.jsonl") == ["1.jsonl", "2.jsonl"]
    assert found("a") == ["1.jsonl", "2.jsonl"] and found("") == ["a/1.jsonl", "a/2.jsonl", "b/1.jsonl", "b/note.txt"]
    assert found("a/1.jsonl", "a/*.jsonl") == ["1.jsonl", "2.jsonl"]  # once


def test_of_equal_names_both_are_paths(found, tmp_path):
    names = found("a/1.jsonl", "b/1.jsonl", make=["a/1.jsonl", "b/1.jsonl"])
    assert names == sorted(str(tmp_path / name).lstrip("/") for name in ("a/1.jsonl", "b/1.jsonl"))


def test_a_file_may_be_called_what_looks_like_a_pattern(found):
    odd = ["x y/data[1] #%41?.jsonl", "x y/data1.jsonl", "d*.jsonl", "dd.jsonl", "f[0]/a.jsonl"]
    assert found(odd[0], make=odd) == ["data[1] #%41?.jsonl"]
    assert found("d*.jsonl") == ["d*.jsonl"]  # the file of this name; `dd.jsonl` is meant by `[d]*.jsonl`
    assert found("[d]*.jsonl") == ["d*.jsonl", "dd.jsonl"]
    assert found("x y/data[1]*.jsonl") == ["data1.jsonl"]
    assert found("f[0]") == ["a.jsonl"]


def test_other_file_systems():
    fs = fsspec.filesystem("memory")
    for name in ("a/1.jsonl", "a/2.txt", "b/1.jsonl"):
        fs.pipe_file(f"/inputs/{name}", b"x")
    files = find_inputs([Input(files=["memory://inputs/*/*.jsonl"], source="web")]).files
    assert [(file.path, file.name) for _, file in files] == [
        ("memory:///inputs/a/1.jsonl", "a/1.jsonl"),
        ("memory:///inputs/b/1.jsonl", "b/1.jsonl"),
    ]


@pytest.mark.parametrize("pattern", ["no", "no/*.jsonl", "[", "a/no[1].jsonl"])
def test_a_pattern_that_matches_nothing_is_a_mistake(found, pattern):
    with pytest.raises(ConfigError, match="matches no file"):
        found(pattern, make=["a/1.jsonl"])

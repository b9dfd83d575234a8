"""docs/adding-a-stage.md works as written: its three files are put in a copy of the project, tested and run."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_the_example_of_the_docs(tmp_path):
    for name in ("curation", "stages", "classifiers", "examples"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "tests").mkdir()
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path / "tests")
    before = {p for p in tmp_path.rglob("*") if p.is_file()}
    text = (ROOT / "docs" / "adding-a-stage.md").read_text()
    files = re.findall(r"```\w+ file=(\S+)\n(.*?)```", text, re.S)
    for name, content in files:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        assert path not in before, f"{name} is an edit, not a new file"
        path.write_text(content)
    assert [name for name, _ in files] == [
        "stages/filter/shouting.py",
        "tests/stages/filter/test_shouting.py",
        "pipelines.yaml",
    ]

    def call(*arguments):
        env = os.environ | {"PYTHONPATH": str(tmp_path)}
        done = subprocess.run([sys.executable, "-m", *arguments], cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert "1 passed" in call("pytest", "-q", "-p", "no:cacheprovider", "tests/stages/filter/test_shouting.py")
    assert "max_upper" in call("curation", "stages", "drop_shouting")
    assert "drop_shouting" in call("curation", "run", "quiet", "--inline")
    assert "capitals" in (tmp_path / "out" / "quiet" / "report.html").read_text()

"""The docs hold: every command in them parses, those of the tutorial are run, the reference is what the code says."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    [
        ROOT / "README.md",
        *ROOT.glob("docs/*.md"),
        *ROOT.glob("stages/*/README.md"),
        *ROOT.glob("classifiers/*/README.md"),
    ]
)


def commands(page):
    """The lines of a page's `sh` blocks, continued ones put together, without comments."""
    for block in re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.S):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words:
                yield words


def ours(words):
    """The arguments of `curation` in a command, or None."""
    for i, word in enumerate(words):
        if word.rpartition("/")[2] == "curation" or words[i - 1 : i + 1] == ["-m", "curation"]:
            rest = words[i + 1 :]
            return rest[: rest.index(">")] if ">" in rest else rest
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_of_ours_is_one(page):
    """Names, options and arguments, by the parser of the command line itself."""
    from curation.cli import app

    root = typer.main.get_command(app)
    for words in commands(page):
        arguments = ours(words)
        if arguments is None or any(word in ("…", "...") for word in arguments):
            continue
        command, name = root, "curation"
        while hasattr(command, "get_command") and arguments:
            context = typer.Context(command)
            found = command.get_command(context, arguments[0])
            assert found is not None, f"{name} has no command {arguments[0]!r}, in: {' '.join(words)}"
            command, name, arguments = found, f"{name} {arguments[0]}", arguments[1:]
        command.make_context(name, list(arguments))


def test_other_commands_name_what_exists():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M))
    seen = 0
    for page in PAGES:
        for words in commands(page):
            if words[0] == "make":
                assert words[1] in targets, f"{page.name}: make {words[1]}"
                seen += 1
            for extra in re.findall(r"\.\[([\w,]+)\]", " ".join(words)):
                text = (ROOT / "pyproject.toml").read_text()
                assert all(re.search(rf"^{name} = \[", text, re.M) for name in extra.split(",")), (
                    f"{page.name}: {extra}"
                )
                seen += 1
    assert seen >= 4


def test_links_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.relative_to(ROOT)}: {target}"


def test_the_reference_is_current():
    from curation.reference import page

    assert (ROOT / "docs" / "reference.md").read_text(encoding="utf-8") == page(), (
        "run: curation reference > docs/reference.md"
    )


#: A whole training takes minutes: its first steps of each stage, in one process.
SHORTER = ["--workers", "1", *(f"--set=stages.{i}.steps={n}" for i, n in enumerate((2, 1, 1)))]
SHORTER += ["--set=evaluation.documents=4"]


@pytest.mark.slow
def test_the_tutorial(tmp_path):
    """Its commands in order, as written but for the training's steps, in a folder with the sample and the pipelines."""
    pytest.importorskip("torch", reason="needs the extra `train`")
    shutil.copy(ROOT / "pipelines.yaml", tmp_path)
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]), "COLUMNS": "200"}
    said = {}
    for words in commands(ROOT / "docs" / "tutorial.md"):
        command = [sys.executable, "-m", "curation", *ours(words), *(SHORTER if ours(words)[0] == "train" else [])]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}{done.stderr}"
        said[" ".join(words)] = done.stdout
    text = (ROOT / "docs" / "tutorial.md").read_text()
    line = next(x for x in said["curation stats out/web --by language"].splitlines() if x.startswith("spa_Latn"))
    assert line.split()[1] == "6" and "5,694" in line and "gopher_too_few_alphabetic_words 2" in line
    assert "3 of 6 documents stayed, with 5,694 tokens" in text
    shown = next(out for command, out in said.items() if command.startswith("curation show") and "spa_Latn" in command)
    assert "3 of 3 documents shown: 3 dropped" in shown
    assert "gained" in said["curation diff out/web out/kinder"]
    assert (tmp_path / "out" / "compare.html").exists() and (tmp_path / "out" / "web" / "report.html").exists()
    rows = [line for line in said["curation run tiny -c examples/tiny.yaml --inline"].splitlines() if "packed/" in line]
    assert [line for line in rows if " rows of " in line] == re.findall(r"^packed/.*", text, re.M)
    trained = said["curation train examples/tiny-qwen3-moe.yaml"]
    assert "4 steps" in trained and "step 4: " in trained and "YaRN: " in trained
    held_out = [float(n) for n in re.findall(r"step \d+: ([\d.]+) bits per byte", trained)]
    assert held_out[-1] < held_out[0]
    folder = tmp_path / "out" / "tiny-qwen3-moe"
    assert "bits per byte" in (folder / "curves.html").read_text() and (folder / "log.jsonl").exists()
    assert {"config.json", "model.safetensors", "training.json", "vocabulary.npz"} <= {
        file.name for file in (tmp_path / "out" / "tiny-model").iterdir()
    }

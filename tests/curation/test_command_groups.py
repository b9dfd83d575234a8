"""Commands of other packages: found by name, imported when called, their errors told as those of the engine."""

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from curation import cli, command_groups

MODULE = """
import typer
from curation.errors import CurationError

app = typer.Typer()

@app.command()
def weigh(name: str, twice: bool = False):
    "Weigh a thing."
    if name == "nothing":
        raise CurationError("nothing has no weight")
    typer.echo(f"{name}: {2 if twice else 1}")
"""


@pytest.fixture
def group(tmp_path, monkeypatch):
    (tmp_path / "weighing.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(command_groups.GROUPS, "scales", ("weighing", "Weigh things."))
    monkeypatch.setitem(command_groups.GROUPS, "broken", ("no_such_module", "Cannot be loaded."))
    yield
    sys.modules.pop("weighing", None)


def call(*arguments):
    return CliRunner().invoke(cli.app, list(arguments))


def test_a_group_is_imported_when_it_is_called(group):
    shown = call("--help")
    assert shown.exit_code == 0
    assert "Weigh things." in shown.stdout
    assert "weighing" not in sys.modules
    assert call("scales", "weigh", "apple", "--twice").stdout == "apple: 2\n"
    assert "Weigh a thing." in call("scales", "--help").stdout
    assert call("scales").exit_code == call("scales", "lift").exit_code == 2


def test_errors_of_a_group_are_told_in_one_line(group):
    assert str(call("scales", "weigh", "nothing").exception) == "nothing has no weight"
    error = call("broken", "anything").exception
    assert isinstance(error, cli.ConfigError)
    assert "'broken' cannot be loaded from no_such_module" in str(error)


def test_every_group_can_be_loaded_and_says_what_its_commands_do():
    for name, (module, summary) in command_groups.GROUPS.items():
        code = f"from {module} import app\nfrom curation import cli; cli.app(['{name}', '--help'])"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert summary.split()[0] in done.stdout

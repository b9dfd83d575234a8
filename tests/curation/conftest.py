"""Runs of small pipelines over JSON lines, in this process or on Ray."""

import json
import os
import sys
from pathlib import Path

import pytest
import yaml

HERE = str(Path(__file__).parent)
if HERE not in sys.path:
    sys.path.insert(0, HERE)
os.environ["PYTHONPATH"] = os.pathsep.join([HERE, *filter(None, [os.environ.get("PYTHONPATH")])])


@pytest.fixture
def corpus(tmp_path):
    """Write JSON lines: `corpus("a.jsonl", ["one", "two"])`; returns the path."""

    def write(name, texts):
        path = tmp_path / "input" / name
        path.parent.mkdir(exist_ok=True)
        lines = [json.dumps({"text": t, "url": f"https://{name}/{i}"}) for i, t in enumerate(texts)]
        path.write_text("\n".join(lines) + "\n")
        return path

    return write


@pytest.fixture
def pipeline(tmp_path):
    """Load a pipeline `test` of the given stages over `input/*.jsonl`: returns its plan."""
    from curation.config import load_pipeline
    from curation.plan import make_plan

    def load(stages, sets=(), inputs=(), **settings):
        config = {"input": str(tmp_path / "input" / "*.jsonl"), "output": str(tmp_path / "out")} | settings
        config["stages"] = ["read_jsonl", *stages]
        file = tmp_path / "pipelines.yaml"
        file.write_text(yaml.safe_dump({"pipelines": {"test": config}}, sort_keys=False))
        return make_plan(load_pipeline("test", str(file), sets=sets, inputs=inputs))

    return load


@pytest.fixture
def run():
    """Carry out a plan in this process; returns the Result."""
    from curation.executor import Inline
    from curation.run import Run
    from curation.storage import Storage

    def carry_out(plan, executor=None):
        url = plan.pipeline.settings.output
        return Run(plan, executor or Inline(url), Storage(url)).execute()

    return carry_out


@pytest.fixture(scope="session")
def web_run(tmp_path_factory):
    """A run of the pipeline `web` over the sample archive, in this process; returns its folder."""
    return run_web(tmp_path_factory.mktemp("web") / "out")


def run_web(out, *sets):
    """Run the pipeline `web` over the sample archive; returns the folder as a string."""
    from typer.testing import CliRunner

    from curation import cli

    arguments = ["run", "web", "-c", str(Path(__file__).parents[2] / "pipelines.yaml"), "-o", str(out), "--inline"]
    for one in sets:
        arguments += ["--set", one]
    assert CliRunner().invoke(cli.app, arguments, catch_exceptions=False).exit_code == 0
    return str(out)

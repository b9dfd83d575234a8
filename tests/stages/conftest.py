"""What tests of stages share: token shards of made-up documents, runs of `read_tokens`, `mix` and `pack` over them, the
stub server on the path, and stages that ask it."""

import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from made_up_shards import METADATA

HERE = str(Path(__file__).parent / "llm")
if HERE not in sys.path:
    sys.path.insert(0, HERE)


@pytest.fixture(scope="session")
def token_shards():
    """Write a table as a token shard: `token_shards(path, table)`."""

    def write(path, table, metadata=METADATA, group=2000):
        path.parent.mkdir(parents=True, exist_ok=True)
        table = table.replace_schema_metadata(metadata)
        pq.write_table(table, path, row_group_size=group, compression="zstd", use_dictionary=["language", "domain"])
        return path

    return write


@pytest.fixture(scope="session")
def mixed():
    """Run `read_tokens`, `mix` and `pack` in this process: `mixed(out, inputs, recipes)`; returns the Result."""
    from curation.config import load_pipeline
    from curation.executor import Inline, OnRay
    from curation.plan import make_plan
    from curation.run import Run
    from curation.storage import Storage

    def run(out, inputs, recipes, pack=None, read=None, workers=None, **settings):
        out.mkdir(parents=True, exist_ok=True)
        file = out.parent / f"{out.name}.yaml"
        read = {"labels": {"language": "string", "domain": "string"}} | (read or {})
        stages = [{"read_tokens": read}, {"mix": {"recipes": recipes}}, {"pack": pack or {}}]
        named = [{"source": name, "files": [str(f) for f in files]} for name, files in inputs.items()]
        config = {"input": named, "output": str(out), "stages": stages} | settings
        file.write_text(yaml.safe_dump({"pipelines": {"mix": config}}, sort_keys=False))
        plan = make_plan(load_pipeline("mix", str(file)))
        executor = OnRay(str(out), workers) if workers else Inline(str(out))
        return Run(plan, executor, Storage(str(out))).execute()

    return run


@pytest.fixture
def asking(tmp_path, monkeypatch):
    """Build a stage that asks a server, with short pauses and answers kept for the test: `asking(Stage, server, **keys)`.

    Its client is closed after the test.
    """
    monkeypatch.setattr("stages.llm.client._PAUSE_S", (0.01, 0.2))
    made = []

    def build(kind, server, **keys):
        stage = kind(**{"server": server.url, "cache": str(tmp_path / "answers")} | keys)
        stage.check()
        made.append(stage)
        return stage

    yield build
    for stage in made:
        if stage._client is not None:
            stage._client.close()

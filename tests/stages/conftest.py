"""Token shards of made-up documents, and runs of `read_tokens`, `mix` and `pack` over them."""

import pyarrow.parquet as pq
import pytest
import yaml
from made_up_shards import METADATA


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

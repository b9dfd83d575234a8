"""Crawls, runs over them, and an index of what was kept."""

import json
import random
import re
from pydoc_data.topics import topics

import yaml
from typer.testing import CliRunner

from curation import cli
from curation.config import load_pipeline
from curation.corpus import Corpus
from curation.executor import Inline
from curation.plan import make_plan
from curation.run import Run
from curation.storage import Storage
from stages.dedup.block_files import Folder


def pages_and_copies(seed, count=60):
    """Pages of the Python manual and copies of them with words replaced, in random order."""
    rng = random.Random(seed)
    pages = [text for _, text in sorted(topics.items()) if 400 < len(text) < 6_000][:count]
    words = sorted({w for page in pages for w in re.findall(r"\w+", page)})
    texts = list(pages)
    for page in pages:
        for share in (0.003, 0.01, 0.02, 0.05):
            texts.append(re.sub(r"\w+", lambda m, s=share: rng.choice(words) if rng.random() < s else m[0], page))
    rng.shuffle(texts)
    return [*texts[:7], None, "too short", *texts[7:]]


class Place:
    """A folder with inputs, runs and an index."""

    def __init__(self, path, index):
        self.path, self.index = path, index

    def write(self, name, texts):
        file = self.path / "input" / f"{name}.jsonl"
        file.parent.mkdir(exist_ok=True)
        rows = [{"text": t, "url": f"https://{name}.example/{i}"} for i, t in enumerate(texts)]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def run(self, inputs, output=None, settings=None, **keys):
        """Run `minhash_dedup` over inputs `name.jsonl`; (duplicates as {id: (kept_id, jaccard)}, ids kept, Result)."""
        output = str(self.path / (output or "-".join(inputs)))
        files = [str(self.path / "input" / f"{name}.jsonl") for name in inputs]
        config = {"input": files, "output": output, "stages": ["read_jsonl", {"minhash_dedup": keys}]}
        file = self.path / "pipelines.yaml"
        file.write_text(yaml.safe_dump({"pipelines": {"test": config | (settings or {})}}, sort_keys=False))
        result = Run(make_plan(load_pipeline("test", str(file))), Inline(output), Storage(output)).execute()
        gone = Corpus(output, "duplicates").table(["id", "kept_id", "jaccard"]).to_pylist()
        kept = Corpus(output).table(["id"])["id"].to_pylist()
        return {row["id"]: (row["kept_id"], row["jaccard"]) for row in gone}, kept, result

    def add(self, name, **keys):
        """Run the input `name` as a crawl against the index."""
        return self.run([name], index=self.index, crawl=name, **keys)

    def ask(self, *arguments):
        """`curation dedup ...`: what it prints; errors are raised."""
        done = CliRunner().invoke(cli.app, ["dedup", *arguments])
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == 0, done.output
        return done.stdout

    def matches(self, text, least=0.0):
        """What `curation dedup query` finds for a text: {url: jaccard}."""
        file = self.path / "question.txt"
        file.write_text(text)
        lines = self.ask("query", self.index, str(file), "--json", "--min", str(least), "--limit", "1000").splitlines()
        return {row["url"]: row["jaccard"] for row in map(json.loads, lines)}

    def bytes(self):
        """Content of all files of the index."""
        folder = Folder(self.index)
        return {
            name: folder.read(name) for part in ("versions", "segments", "forgotten") for name in folder.names(part)
        }

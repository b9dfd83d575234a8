"""Mistakes in pipelines.yaml and on the command line: one line each, with file, line, key and the nearest valid one."""

import json
import os
import subprocess
import sys
import time

import jsonschema
import pytest
import yaml

from curation.config import json_schema, load_pipeline
from curation.errors import ConfigError
from curation.plan import make_plan

GOOD = """\
pipelines:
  small:
    description: a test
    input: {input}
    output: {output}
    stages:
      - read_jsonl
      - minhash_dedup:
          bands: 14
          ngram: 5
"""


def load(tmp_path, text, **options):
    (tmp_path / "in.jsonl").write_text('{"text": "a"}\n')
    file = tmp_path / "p.yaml"
    file.write_text(text.replace("{input}", str(tmp_path / "in.jsonl")).replace("{output}", str(tmp_path / "out")))
    return load_pipeline("small", str(file), **options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("bands: 14", "band: 14"), r"p.yaml:9: unknown key 'band' in stage 'minhash_dedup'; did you mean 'bands'\?"),
        (("bands: 14", "bands: many"), r"p.yaml:9: key 'bands' in stage 'minhash_dedup': .*integer.*, not 'many'"),
        (("minhash_dedup", "minhash_dedupe"), r"p.yaml:8: unknown stage 'minhash_dedupe'; did you mean 'minhash_dedup'\?"),
        (("- read_jsonl", "- identify_language"), r"p.yaml:7: the first stage must be a reader .*not 'identify_language'"),
        (("description:", "descripton:"), r"p.yaml:3: unknown key 'descripton' in pipeline 'small'; did you mean 'description'\?"),
        (("    stages:", "    max_failure_rate: 3\n    stages:"), r"p.yaml:6: key 'max_failure_rate' in pipeline 'small'"),
        (("  small:", "  smal:"), r"p.yaml: no pipeline 'small'; did you mean 'smal'\?"),
        (("bands: 14", "bands: [14"), r"p.yaml:\d+: not valid YAML"),
        (("pipelines:", "pipeline:"), r"p.yaml:1: expected a mapping `pipelines:`"),
        (("      - read_jsonl\n", "      - read_jsonl\n      - read_jsonl\n"), r"p.yaml:8: 'read_jsonl' is a reader; only"),
        (("- read_jsonl", "- read_jsonl:\n          columns: {x: strin}"), r"p.yaml:7: stage 'read_jsonl': .*strin"),
        (("minhash_dedup:", "filter_language:"), r"p.yaml:9: unknown key 'bands' in stage 'filter_language'"),
        (("- minhash_dedup:\n          bands: 14\n          ngram: 5", "- filter_language"),
         r"p.yaml:8: stage 'filter_language' needs the column 'language.*put one of these before it: identify_language"),
        (("- read_jsonl\n      - minhash_dedup:\n          bands: 14\n          ngram: 5",
          "- read_warc\n      - dedup_urls\n      - extract_html"),
         r"p.yaml:9: stage 'extract_html' needs the column 'html'.*does not pass the barrier 'dedup_urls'; put 'extract_html' b"),
        (("- minhash_dedup:\n          bands: 14\n          ngram: 5", "- minhash_dedup: 3"), r"p.yaml:8: the keys of stage 'minhash_dedup' must"),
        (("- read_jsonl\n", "- read_jsonl: {}\n        x: 1\n"), r"p.yaml:7: expected a stage name"),
    ],
)  # fmt: skip
def test_mistakes_are_told_with_their_line(tmp_path, change, message):
    with pytest.raises(ConfigError, match=message) as error:
        load(tmp_path, GOOD.replace(*change))
    assert "\n" not in str(error.value)


def test_set_overrides_and_its_mistakes(tmp_path):
    made = load(tmp_path, GOOD, sets=["minhash_dedup.bands=7", "seed=3", "max_failure_rate=0.5"])
    assert made.stages[1].bands == 7
    assert (made.settings.seed, made.settings.max_failure_rate) == (3, 0.5)
    for option, message in [
        ("minhash_dedup.band=7", "--set minhash_dedup.band=7: unknown key 'band'.*did you mean 'bands'"),
        ("minhash.bands=7", "--set minhash.bands=7: the pipeline has no stage 'minhash'; did you mean 'minhash_dedup'"),
        ("sead=3", "--set sead=3: unknown key 'sead' in pipeline 'small'; did you mean 'seed'"),
        ("seed", "--set seed: expected stage.key=value"),
    ]:
        with pytest.raises(ConfigError, match=message):
            load(tmp_path, GOOD, sets=[option])


def test_two_stages_that_write_one_folder(tmp_path):
    text = GOOD.replace("- minhash_dedup:\n          bands: 14\n          ngram: 5", "- tokenize\n      - tokenize")
    with pytest.raises(ConfigError, match="'tokenize' and 'tokenize#2' both write the folder tokens/"):
        make_plan(load(tmp_path, text))


def test_a_stage_used_twice_is_addressed_by_number(tmp_path):
    twice = GOOD + "      - minhash_dedup: {bands: 3}\n"
    made = load(tmp_path, twice, sets=["minhash_dedup#2.bands=5"])
    assert made.stage_names == ["read_jsonl", "minhash_dedup", "minhash_dedup#2"]
    assert [stage.bands for stage in made.stages[1:]] == [14, 5]
    assert made.stages[1].seed != made.stages[2].seed


def test_the_schema_takes_the_projects_pipelines_and_refuses_mistakes(tmp_path):
    schema = json_schema()
    text = GOOD.format(input="a.jsonl", output="out")
    good = yaml.safe_load(text)
    jsonschema.validate(good, schema)
    bad = yaml.safe_load(text.replace("bands: 14", "band: 14"))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(bad, schema)


def command(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "curation", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **options,
    )


def test_exit_codes_and_no_traceback(tmp_path):
    file = tmp_path / "p.yaml"
    file.write_text(GOOD.replace("{input}", str(tmp_path / "none-*.jsonl")).replace("{output}", str(tmp_path / "out")))
    for arguments in (
        ["run", "small", "-c", str(file)],  # no such input
        ["run", "smal", "-c", str(file)],
        ["run", "small", "-c", "nowhere.yaml"],
        ["run", "small", "-c", str(file), "--set", "minhash_dedup.bandz=1"],
        ["run", "small", "-c", str(file), "--nonsense"],
        ["stages", "minhash_dedupe"],
        ["stats", str(tmp_path)],
        ["why", str(tmp_path), "x"],
    ):
        done = command(*arguments)
        assert done.returncode == 2, (arguments, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists(), "a mistake must not leave a folder"


def test_the_pipelines_of_a_file(tmp_path):
    assert "web archives" in command("pipelines").stdout.lower()
    mine = tmp_path / "mine.yaml"
    mine.write_text("pipelines: {first: {description: 'keeps [all]', stages: [read_jsonl]}, second: {stages: []}}")
    lines = command("pipelines", "--config", str(mine)).stdout.splitlines()[1:]
    assert [line.split() for line in lines] == [["first", "keeps", "[all]"], ["second"]]
    mine.write_text("pipeline: {}")
    wrong = command("pipelines", "--config", str(mine))
    assert wrong.returncode == 2 and "expected a mapping `pipelines:`" in wrong.stderr


def test_the_catalogue_and_manual_pages():
    listed = command("stages")
    assert listed.returncode == 0 and "minhash_dedup" in listed.stdout
    page = command("stages", "minhash_dedup").stdout
    assert "bands" in page and "default" in page
    assert json.loads(command("schema").stdout)["title"] == "pipelines.yaml"


def test_config_errors_come_without_ray(tmp_path):
    # Two seconds is the promise; what costs is imports, so these are what is tested.
    code = "import sys; import curation.cli, curation.config as c; c.json_schema(); print([m for m in ('ray', 'fasttext', 'trafilatura', 'datatrove', 'tokenizers', 'fastokens', 'torch') if m in sys.modules])"
    began = time.process_time()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.strip() == "[]"
    assert time.process_time() - began < 60

"""The file of a training: every mistake is one line with its place; what is left out is decided."""

import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train`")

from curation.errors import ConfigError
from training.config import Schedule, load
from training.plan import decide
from training.schedule import factor

GOOD = """model: tiny-qwen3
output: out/x
stages:
  - name: a
    data: packs/a
    batch_rows: 4
    schedule: {shape: wsd}
"""


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("batch_rows: 4", "batch_row: 4"), r":6: unknown key 'stages.0.batch_row'; did you mean 'batch_rows'\?"),
        (("shape: wsd", "shape: wds"), r":7: key 'stages.0.schedule.shape': input should be .* not 'wds'"),
        (("shape: wsd", "shap: wsd"), r":7: unknown key 'stages.0.schedule.shap'; did you mean 'shape'\?"),
        (("tiny-qwen3", "tiny-qwen4"), r":1: no model 'tiny-qwen4'; did you mean 'tiny-qwen"),
        (("    data: packs/a\n", ""), r":4: the key 'stages.0.data' is missing"),
        (("batch_rows: 4", "batch_rows: 0"), r":6: key 'stages.0.batch_rows': .*greater than or equal to 1, not 0"),
        (("batch_rows: 4", "batch_rows: ["), r":\d+: not valid YAML"),
    ],
)
def test_mistakes_name_file_line_and_key(tmp_path, change, says):
    path = tmp_path / "t.yaml"
    path.write_text(GOOD.replace(*change))
    with pytest.raises(ConfigError, match=r"t\.yaml" + says):
        load(path)


def test_options_override_and_are_named_when_wrong(tmp_path):
    path = tmp_path / "t.yaml"
    path.write_text(GOOD)
    made = load(path, ["stages.0.batch_rows=16", "optimizer.clip=0.5", "model={name: tiny-qwen3, layers: 3}"])
    assert (made.stages[0].batch_rows, made.optimizer.clip, made.model_shape().layers) == (16, 0.5, 3)
    with pytest.raises(ConfigError, match=r"--set seed=x: key 'seed'"):
        load(path, ["seed=x"])
    with pytest.raises(ConfigError, match="the file has no 'stages.4.steps'"):
        load(path, ["stages.4.steps=1"])
    with pytest.raises(ConfigError, match="no such file"):
        load(tmp_path / "none.yaml")


def test_schedules_are_what_their_names_say():
    def rates(**keys):
        return [round(factor(Schedule(**keys), step, 10), 4) for step in range(10)]

    assert rates(shape="constant", warmup=2) == [0.5] + [1.0] * 9
    assert rates(shape="linear", final=0) == [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0]
    assert rates(shape="wsd", decay=0.2, final=0.1) == [1.0] * 8 + [0.55, 0.1]
    cosine = rates(shape="cosine", warmup=0.2, final=0.1)
    assert (
        cosine[:2] == [0.5, 1.0] and cosine[5] == 0.55 and cosine[9] == 0.1 and sorted(cosine[1:])[::-1] == cosine[1:]
    )


def test_what_is_left_out_is_step_law_with_its_caution(corpus):
    path = corpus()
    stages = [{"name": "a", "data": str(path.parent / "packs" / "a"), "epochs": 2}]
    plan = decide(load(corpus("free.yaml", stages=stages)))
    assert 0.004 < plan.stages[0].learning_rate <= 0.01 and plan.stages[0].batch_rows >= 1
    assert plan.stages[0].steps == 2 * len_rows(path) // plan.stages[0].batch_rows
    assert len(plan.notes) == 2 and all("outside the range" in note for note in plan.notes)
    with pytest.raises(ConfigError, match="`steps` needs `batch_rows`"):
        decide(load(corpus("steps.yaml", stages=[{"name": "a", "data": stages[0]["data"], "steps": 3}])))


def len_rows(path):
    import json

    return json.loads((path.parent / "packs" / "a" / "_manifest.json").read_text())["rows"]

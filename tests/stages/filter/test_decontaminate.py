"""Planted benchmark items are found however they are disguised, and nothing else is; the command."""

import json
import random

import pyarrow as pa
import pytest
from made_up_problems import common_subsequence, paraphrase, problem, prose

from curation.cli import app
from curation.errors import ConfigError
from stages.filter.benchmark_formats import Part
from stages.filter.benchmark_index import write_index
from stages.filter.decontaminate import Decontaminate


@pytest.fixture(scope="module")
def items():
    rng = random.Random(7)
    return [problem(rng) for _ in range(600)]


@pytest.fixture(scope="module")
def stage(items, tmp_path_factory):
    path = str(tmp_path_factory.mktemp("index") / "index.parquet")
    parts = [Part("gsm8k", str(i), "question", "text", text) for i, text in enumerate(items)]
    parts += [Part("humaneval", "1", "answer", "code", CODE), Part("short", "0", "question", "text", "What is 2 + 2?")]
    built = write_index(parts, path)
    assert built.left_out == {("short", "too_short"): 1}
    made = Decontaminate(index=path)
    made.check()
    made.setup()
    return made


CODE = '''
def running_median(values):
    """Median of all values so far."""
    low, high, result = [], [], []
    for value in values:
        heapq.heappush(low, -value)
        heapq.heappush(high, -heapq.heappop(low))
        if len(high) > len(low):
            heapq.heappush(low, -heapq.heappop(high))
        result.append(-low[0] if len(low) > len(high) else (high[0] - low[0]) / 2)
    return result
'''


def table(texts):
    return pa.table({"text": pa.array(texts, pa.large_string())})


def verdicts(stage, texts):
    outcome = stage(table(texts))
    return outcome.dropped.to_pylist(), outcome.detail.to_pylist()


def planted(rng, text):
    return f"{prose(rng, rng.randint(20, 400))}\n{text}\n{prose(rng, rng.randint(0, 300))}"


@pytest.mark.parametrize(
    "disguise",
    [
        lambda rng, text: text,
        lambda rng, text: text.upper(),
        lambda rng, text: text.swapcase().replace(".", " ;").replace("?", ""),
        lambda rng, text: rng.choice(["\n", "  ", "\t", " \u00a0\n"]).join(text.split()),
    ],
)
def test_copies_are_found_in_any_case_and_spacing(stage, items, disguise):
    rng = random.Random(1)
    found, detail = verdicts(stage, [planted(rng, disguise(rng, text)) for text in items])
    assert found == ["benchmark_ngram"] * len(items)
    right = sum(d.startswith(f"gsm8k/{i} question lcs=1.00") for i, d in enumerate(detail))
    assert right >= 0.99 * len(items)


def test_paraphrases_with_the_same_numbers_are_found_and_looser_ones_are_not(stage, items):
    rng = random.Random(2)
    near, far = [], []
    for text in items:
        for share in (0.1, 0.25, 0.4, 0.6, 0.9):
            other = paraphrase(rng, text, share)
            own, theirs = (text.lower().split(), other.lower().split())
            ratio = common_subsequence(own, theirs) / len(own)
            if ratio > 0.6:
                near.append(other)
            elif ratio < 0.45:
                far.append(other)
    assert len(near) > 1000 and len(far) > 300
    found, _ = verdicts(stage, [planted(rng, text) for text in near])
    assert sum(f is not None for f in found) >= 0.98 * len(near)
    found, _ = verdicts(stage, [planted(rng, text) for text in far])
    assert sum(f is not None for f in found) <= 0.02 * len(far)


def test_clean_texts_stay(stage):
    rng = random.Random(3)
    found, _ = verdicts(stage, [prose(rng, rng.randint(5, 800)) for _ in range(3000)] + ["", None, "One. Two."])
    assert set(found) == {None}


def test_a_program_is_found_by_its_tokens_not_by_its_layout(stage):
    rng = random.Random(4)
    other = CODE.replace("    ", "\t").replace(", ", ",").replace('"""', "'''")
    renamed = CODE.replace("value", "x").replace("low", "small").replace("high", "big").replace("result", "out")
    loop = "for value in values:\n    if len(value) > 2:\n        result.append(value)\n    return result\n" * 8
    found, detail = verdicts(stage, [planted(rng, other), planted(rng, renamed), loop])
    assert found == ["benchmark_ngram", "benchmark_ngram", None]  # most of a program is not its names
    assert detail[0].startswith("humaneval/1 answer lcs=1.00")


def test_keys_choose_what_counts(stage, items):
    long = max(items, key=lambda text: len(text.split()))
    half = " ".join(long.split()[: int(len(long.split()) * 0.4)])
    index = stage.index
    rng = random.Random(5)
    text = planted(rng, half)
    assert len(half.split()) >= 13
    by = {
        match: verdicts(Decontaminate(index=index, match=match), [text])[0][0]
        for match in ("either", "ngram", "both", "lcs")
    }
    assert by == {"either": "benchmark_ngram", "ngram": "benchmark_ngram", "both": None, "lcs": None}
    assert verdicts(Decontaminate(index=index, parts=["answer"]), [items[0], CODE])[0] == [None, "benchmark_ngram"]


def test_batches_do_not_matter(stage, items):
    rng = random.Random(6)
    texts = [planted(rng, t) if rng.random() < 0.3 else prose(rng, 200) for t in items[:60]]
    whole = verdicts(stage, texts)
    single = [verdicts(stage, [text]) for text in texts]
    assert whole == ([s[0][0] for s in single], [s[1][0] for s in single])


def test_the_command_writes_an_index_that_the_stage_takes(tmp_path, items):
    from typer.testing import CliRunner

    source = tmp_path / "folder" / "own.jsonl"
    source.parent.mkdir()
    source.write_text("".join(json.dumps({"q": text}) + "\n" for text in items[:20]))
    target = str(tmp_path / "index.parquet")
    done = CliRunner().invoke(app, ["decontaminate", "index", str(source), target, "--question", "q", "--name", "mine"])
    assert done.exit_code == 0 and "mine" in done.stdout and "20" in done.stdout
    assert verdicts(Decontaminate(index=target), [items[3], "nothing here"])[0] == ["benchmark_ngram", None]
    done = CliRunner().invoke(app, ["decontaminate", "index", str(source.parent), target, "--question", "q"])
    assert done.exit_code == 0 and "folder" in done.stdout and "20" in done.stdout


@pytest.mark.parametrize(
    "arguments,message",
    [
        (["{0}"], "FILES... OUT"),
        (["{0}", "{0}"], "is a .parquet file"),
        (["missing.jsonl", "out.parquet"], "missing.jsonl: no such file"),
        (["{0}", "out.parquet"], "no known format"),
        (["{0}", "out.parquet", "--format", "gsm"], "no format 'gsm'"),
    ],
)
def test_mistakes_are_told_in_a_line(tmp_path, arguments, message):
    from typer.testing import CliRunner

    (tmp_path / "x.jsonl").write_text('{"a": 1}\n')
    filled = [a.format(tmp_path / "x.jsonl") for a in arguments]
    done = CliRunner().invoke(app, ["decontaminate", "index", *filled])
    assert isinstance(done.exception, ConfigError) and message in str(done.exception)


def test_a_file_that_is_no_index_is_refused(tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"no")
    with pytest.raises(ConfigError, match="no index of benchmarks"):
        Decontaminate(index=str(tmp_path / "x.parquet")).check()

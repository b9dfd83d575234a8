"""A model that is right and wrong at known rates: nothing wrong is kept, all that is kept verifies again.

The stub server stands for the network and the model's honesty, which the tests know; problems, programs and tests are
real, and so are the comparison of answers and the sandbox.
"""

import json
import random
import re
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from aiohttp import web

sys.path.insert(0, str(Path(__file__).parents[1] / "llm"))
from stub_server import StubServer, completion

from curation.errors import ConfigError
from stages.llm.prompts import load_prompts
from stages.synthesize.generators import KINDS, SCHEMAS, code_of, draw, prompts
from stages.synthesize.synthesize import Synthesize
from stages.synthesize.verify import VerifySynthetic

pytest.importorskip("math_verify")

SEED_TEXT = "Interest and shares are computed by multiplication: a part of a whole is the whole times a fraction. " * 4


def question_of(body):
    """What is asked, by the keys of the answer's schema."""
    return tuple(sorted(body["response_format"]["json_schema"]["schema"]["properties"]))


class Model:
    """Writes a * b + c, or functions, and errs in `wrong` of its answers, not always in the same way."""

    def __init__(self, wrong):
        self.wrong = wrong

    def __call__(self, n, body):
        rng = random.Random(
            f"{body['seed']} {body['messages'][0]['content'][:80]} {body['messages'][1]['content'][:300]}"
        )
        err = rng.random() < self.wrong
        keys = question_of(body)
        user = body["messages"][1]["content"]
        return json.dumps(getattr(self, "_".join(keys))(rng, err, user))

    def off(self, rng, value, err):
        return value + rng.choice([-3, -1, 1, 2, 10]) if err else value

    def answer_problem_solution(self, rng, err, user):
        a, b, c = (rng.randint(2, 99) for _ in range(3))
        value = self.off(rng, a * b + c, err)
        shown = rng.choice([str(value), f"\\frac{{{2 * value}}}{{2}}", f"{value}.0"])
        return {
            "problem": f"A crate holds {a} boxes of {b} pencils, and {c} pencils lie beside it. How many pencils are there?",
            "solution": f"There are {a} times {b} pencils in boxes, and {c} more. The answer is {shown}.",
            "answer": shown,
        }

    def answer_reasoning(self, rng, err, user):
        a, b, c = map(int, re.findall(r"\d+", user)[:3])
        return {"reasoning": "Multiply, then add.", "answer": str(self.off(rng, a * b + c, err))}

    def program(self, rng, err, user):
        a, b, c = map(int, re.findall(r"\d+", user)[:3])
        if err and rng.random() < 0.3:
            return {
                "program": rng.choice(
                    ["while True: pass", "import os; os.remove('/etc/passwd')", "print(", "print('7 or 8')"]
                )
            }
        return {"program": f"print({a} * {b} + {self.off(rng, c, err)})"}

    def solution_task_tests(self, rng, err, user):
        k = rng.randint(2, 50)
        solution = (
            f"def shift_{k}(values):\n    return [v + {self.off(rng, k, err and rng.random() < 0.5)} for v in values]\n"
        )
        tests = f"assert shift_{k}([1, 2]) == [{1 + k}, {2 + k}]\nassert shift_{k}([]) == []\nassert shift_{k}([0]) == [{k}]\n"
        if err and rng.random() < 0.3:
            tests = f"shift_{k}([1])\nassert True\nassert 1 == 1\n"
        return {"task": f"Write shift_{k}(values), which adds {k} to each.", "solution": solution, "tests": tests}

    def solution(self, rng, err, user):
        k = int(re.search(r"shift_(\d+)", user).group(1))
        if err:
            return {"solution": f"def shift_{k}(values):\n    import sys\n    sys.exit(0)\n"}
        return {"solution": f"def shift_{k}(values):\n    return list(map(lambda v: v + {k}, values))\n"}

    def answer_question_quote(self, rng, err, user):
        quote = "a part of a whole is the whole times a fraction"
        return {
            "question": "How is a part of a whole computed?",
            "answer": "As the whole times a fraction." if not err else "As the whole divided by 7.",
            "quote": quote if not err else "a part is the whole divided by seven",
        }

    def answer(self, rng, err, user):
        return {"answer": "It is the whole times a fraction." if not err else "unknown"}

    def explanation(self, rng, err, user):
        names = "`area`, `width` and `height`" if not err else "`surface`, `breadth` and `depth`"
        return {
            "explanation": f"The program has the names {names}. " + "It multiplies one by the other, as one does. " * 6
        }

    def translation(self, rng, err, user):
        if err:
            return {"translation": "Interest and shares are computed by multiplication, in English. " * 6}
        return {
            "translation": "Les intérêts et les parts se calculent par multiplication : une partie est le tout multiplié par une fraction. "
            * 4
        }


@pytest.fixture
def stage(asking, tmp_path):
    made = []

    def build(server, **keys):
        cache = str(tmp_path / f"answers{len(made)}")
        made.append(asking(Synthesize, server, cache=cache, program_cpu_s=2, **keys))
        return made[-1]

    yield build
    for stage in made:
        if stage._tools is not None:
            stage._tools.checker.close()


def items(outcome):
    return [json.loads(item) for item in outcome.added["synthetic_item"].to_pylist()]


def value_of(problem):
    a, b, c = map(int, re.findall(r"\d+", problem)[:3])
    return a * b + c


def number(answer):
    found = re.fullmatch(r"\\frac\{(\d+)\}\{2\}", answer)
    return int(found.group(1)) / 2 if found else float(answer)


def test_no_wrong_answer_is_kept_and_the_yield_is_told(stage, documents):
    docs = documents([SEED_TEXT + str(i) for i in range(12)])
    with StubServer(Model(0.25)) as server:
        made = stage(server, kinds=["math_problem"], per_document=4)
        outcome = made(docs)
    kept = items(outcome)
    assert all(number(item["answer"]) == value_of(item["problem"]) for item in kept)
    counters = made.metrics.counters
    assert counters["made=math_problem"] == 48 and counters["verified=math_problem"] == len(kept)
    # Right in 0.75 of the problems, 0.75 of the programs, and 3 of 4 solutions in 0.74.
    assert 8 <= len(kept) <= 32
    rejected = outcome.outputs["rejected"]
    assert rejected.num_rows == 48 - len(kept) == sum(n for k, n in counters.items() if k.startswith("rejected="))
    assert {"solves_disagree", "program_disagrees"} <= set(rejected["reason"].to_pylist())
    again = VerifySynthetic(program_cpu_s=2)
    assert again(outcome.added).dropped.null_count == len(kept)
    assert again.metrics.counters == {"verified=math_problem": len(kept)}
    again._tools.checker.close()


def test_no_wrong_program_is_kept(stage, documents):
    docs = documents([SEED_TEXT + str(i) for i in range(8)])
    with StubServer(Model(0.4)) as server:
        made = stage(server, kinds=["code_exercise"], per_document=3)
        outcome = made(docs)
    kept = items(outcome)
    for item in kept:
        space = {}
        exec(item["solution"], space)
        k = int(re.search(r"shift_(\d+)", item["task"]).group(1))
        assert space[f"shift_{k}"]([5, 6]) == [5 + k, 6 + k]
        assert "assert True" not in item["tests"]
    assert 4 <= len(kept) <= 20
    reasons = set(outcome.outputs["rejected"]["reason"].to_pylist())
    assert {"tests_failed", "second_solution_failed"} <= reasons
    again = VerifySynthetic(program_cpu_s=2)
    assert again(outcome.added).dropped.null_count == len(kept)


def test_what_is_made_of_documents_keeps_to_them(stage, documents):
    code = "def area(width, height):\n    return width * height\n" * 5
    docs = documents(
        [SEED_TEXT + str(i) for i in range(10)] + [code + f"# {i}" for i in range(10)],
        code_language=[None] * 10 + ["Python"] * 10,
        language=["eng_Latn"] * 20,
    )
    with StubServer(Model(0.4)) as server:
        made = stage(server, kinds=["question_answer", "code_explanation"])
        outcome = made(docs)
    by = outcome.added.to_pylist()
    for row in by:
        item = json.loads(row["synthetic_item"])
        if row["synthetic_kind"] == "question_answer":
            assert item["quote"] in SEED_TEXT and "7" not in item["answer"]
        else:
            assert (
                row["synthetic_kind"] == "code_explanation" and "`area`" in row["text"] and "surface" not in row["text"]
            )
    assert {r["synthetic_kind"] for r in by} == {"question_answer", "code_explanation"}
    assert VerifySynthetic(program_cpu_s=2)(outcome.added).dropped.null_count == len(by)


def test_a_translation_is_in_its_language_with_the_same_numbers(stage, documents):
    docs = documents([SEED_TEXT] * 8, language=["eng_Latn"] * 8)
    with StubServer(Model(0.4)) as server:
        outcome = stage(server, kinds=["translation"])(docs)
    assert 1 <= outcome.added.num_rows < 8
    assert set(outcome.added["language"].to_pylist()) == {"fra_Latn"}
    assert all(text.startswith("Les intérêts") for text in outcome.added["text"].to_pylist())


def test_items_know_where_they_come_from_and_batches_do_not_matter(stage, documents):
    docs = documents([SEED_TEXT + str(i) for i in range(4)] + ["short", None])
    with StubServer(Model(0.0)) as server:
        made = stage(server, kinds=["math_problem"], solves=2, originals="drop")
        whole = made(docs)
        parts = [made(docs.slice(i, 1)) for i in range(6)]
    assert whole.added.equals(pa.concat_tables([p.added for p in parts]))
    assert whole.added["synthesized_from"].to_pylist() == docs["id"].to_pylist()[:4]
    assert set(whole.added["synthesized_by"].to_pylist()) == {"stub@1"} or set(
        whole.added["synthesized_by"].to_pylist()
    ) == {"stub"}
    assert len(set(whole.added["id"].to_pylist())) == 4
    assert whole.dropped.to_pylist() == ["seed"] * 6


def test_draws_spread_over_topics_and_persons():
    drawn = [draw("math_problem", str(i), 0, 1) for i in range(2000)]
    assert len({topic for topic, _, _ in drawn}) >= 35 and len({person for _, person, _ in drawn}) == 16
    assert drawn[5] == draw("math_problem", "5", 0, 1) != draw("math_problem", "5", 1, 1)


def test_answers_may_hold_lines_quotation_marks_and_latex():
    # xgrammar, vLLM's default, lets no escape into a string whose length or form a schema bounds.
    for schema in SCHEMAS.values():
        assert all(field == {"type": "string"} for field in schema["properties"].values())
        assert schema["required"] == list(schema["properties"])


def test_programs_in_a_fence_are_taken_out_of_it():
    assert code_of("```python\ndef f():\n    return 1\n```") == "def f():\n    return 1"
    assert code_of("\n```\nprint(1)\n```\n") == "print(1)"
    plain = "text = '```'\nprint(text)"
    assert code_of(plain) == plain


def test_documents_are_asked_about_in_their_language(stage, documents):
    docs = documents([SEED_TEXT, "水是常见的液体。" * 40], language=["eng_Latn", "zho_Hans"])
    asked = []

    def answer(n, body):
        asked.append(body["messages"][0]["content"])
        return json.dumps(dict.fromkeys(body["response_format"]["json_schema"]["schema"]["properties"], "x"))

    with StubServer(answer) as server:
        stage(server, kinds=list(KINDS))(docs)
    chinese = [text for text in asked if re.search("[\u4e00-\u9fff]", text)]
    assert len(chinese) >= 5 and len(asked) - len(chinese) >= 5
    assert not any("{" in re.sub(r'\{"[^}]*\}', "", text) for text in asked)  # nothing is left to be filled in
    assert any("Mandarin" in text or "Chinese" in text for text in chinese)


def test_an_item_that_repeats_the_example_is_not_kept_and_what_does_not_end_is_told(stage, documents):
    docs = documents([SEED_TEXT])

    def answer(n, body):
        if "task" in question_of(body):
            return body["messages"][0]["content"].splitlines()[-1].strip()
        if "quote" in question_of(body):
            return web.json_response(completion('{"question": "and so on and so on', body, finish="length"))
        return '{"problem": " ", "solution": "1", "answer": "1"}'

    with StubServer(answer) as server:
        outcome = stage(server, kinds=["code_exercise", "question_answer", "math_problem"], max_asks=1)(docs)
    reasons = {row["kind"]: row["reason"] for row in outcome.outputs["rejected"].to_pylist()}
    expected = {"code_exercise": "prompt_copied", "question_answer": "cut_short", "math_problem": "no_answer"}
    assert reasons == expected


def test_labels_of_a_seed_are_not_those_of_what_is_made_of_it(stage, documents):
    docs = documents([SEED_TEXT], language=["eng_Latn"], educational_value=[4.0], language_score=[0.9])
    with StubServer(Model(0.0)) as server:
        outcome = stage(server, kinds=["question_answer"])(docs)
    made = outcome.added.to_pylist()[0]
    assert made["educational_value"] is made["language_score"] is None and made["language"] == "eng_Latn"


def test_a_prompt_file_is_checked_for_the_kinds_that_are_written(tmp_path):
    file = tmp_path / "mine.yaml"
    text = "families: {default: {system: '{task}', user: '{text}', parts: {translation: 'JSON: %s'}}}"
    file.write_text(text % '{"translation": "..."}')
    Synthesize(kinds=["translation"], prompt=str(file)).check()
    with pytest.raises(ConfigError, match="no `parts` for question_answer, question_solve"):
        Synthesize(kinds=["translation", "question_answer"], prompt=str(file)).check()
    file.write_text(text % "translate")
    prompts.cache_clear()
    load_prompts.cache_clear()
    with pytest.raises(ConfigError, match='does not say what "translation" is to hold'):
        Synthesize(kinds=["translation"], prompt=str(file)).check()


def test_mistakes_in_the_keys_are_told():
    with pytest.raises(ConfigError, match="unknown kinds"):
        Synthesize(kinds=["poem"]).check()
    with pytest.raises(ConfigError, match="neither a shipped version"):
        Synthesize(prompt="missing").check()

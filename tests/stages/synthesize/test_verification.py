"""Right items verify and every fault of a wrong one is found, by real comparison of answers and real programs."""

import json

import pytest

from stages.synthesize.sandbox import Sandbox
from stages.synthesize.verification import Tools, program_limits, verify
from stages.synthesize.verify import VerifySynthetic

pytest.importorskip("math_verify")

#: A problem, and the seed it was made of by a few other words and numbers.
TOLD = (
    "A baker fills 12 trays with 30 rolls each before dawn and then burns 7 of them while feeding the cat. How many good "
    "rolls does Hana carry to the counter?"
)
TELLING = "Exercise 9. " + TOLD.replace("12", "25").replace("30", "18").replace("burns", "spoils").replace("Hana", "Jo")
LONG = "def f(x):\n    total = 0\n    for each in range(x):\n        total += each * each\n    other = total - x\n"


@pytest.fixture(scope="module")
def tools():
    made = Tools(Sandbox(program_limits(2)))
    yield made
    made.checker.close()


@pytest.mark.parametrize(
    "a,b,same",
    [
        ("1/2", "0.5", True), ("\\frac{1}{2}", "0.5", True), ("x+1", "1+x", True), ("12", "12.0", True), ("3", "4", False),
        ("\\sqrt{8}", "2\\sqrt{2}", True), ("(1,2)", "(2,1)", False), ("{1,2}", "{2,1}", None), ("", "1", None), ("7", "seven", None),
    ],
)  # fmt: skip
def test_answers_are_compared_by_value(tools, a, b, same):
    got = tools.checker.same(a, b)
    assert got == same if same is not None else True


def test_an_answer_that_takes_forever_is_given_up(tools):
    from stages.synthesize.math_check import MathChecker

    checker = MathChecker(limit_s=1.0)
    try:
        assert checker.same("2^{2^{2^{2^{2^{2}}}}}", "3^{3^{3^{3^{3}}}}") is not True
        checker.limit_s = 30.0  # a busy machine takes a second for this one, too
        assert checker.same("4", "2+2") is True
    finally:
        checker.close()


RIGHT = {
    "problem": "What is 2 times 3?",
    "solution": "It is 6.",
    "answer": "6",
    "solves": ["6", "6.0", "6", "5"],
    "program": "print(6)",
}
EXERCISE = {
    "task": "Write f(x), twice x.", "solution": "def f(x):\n    return 2 * x", "tests": "assert f(1) == 2\nassert f(3) == 6",
    "solution_again": "def f(x):\n    return x + x",
}  # fmt: skip


CHINESE = {
    "question": "水在多少度沸腾？", "answer": "水在一百度沸腾。", "quote": "在海平面，水在一百度时沸腾",
    "answer_again": "水在一百度时沸腾。", "seed_text": "水是常见的液体。在海平面，水在一百度时沸腾；在高山上沸点更低。",
}  # fmt: skip


@pytest.mark.parametrize(
    "kind,change,fault",
    [
        ("math_problem", {}, None),
        ("math_problem", {"solves": ["6", "5", "5", "6"]}, "solves_disagree"),
        ("math_problem", {"solves": []}, "solves_disagree"),
        ("math_problem", {"program": "print(7)"}, "program_disagrees"),
        ("math_problem", {"program": ""}, "no_program"),
        ("math_problem", {"program": "raise SystemExit(1)"}, "program_failed"),
        ("math_problem", {"answer": "six"}, "answer_unreadable"),
        ("math_problem", {"solution": "It is seven."}, "solution_without_answer"),
        ("math_problem", {"problem": TOLD, "seed_text": TELLING}, "copied"),
        ("math_problem", {"problem": TOLD, "seed_text": "Of other trays and rolls. " * 9}, None),
        ("code_exercise", {}, None),
        ("code_exercise", {"task": TOLD, "seed_text": TELLING}, "copied"),
        ("code_exercise", {"solution": f"{LONG}    return 2 * x", "seed_text": f"import os\n{LONG}"}, "copied"),
        ("code_exercise", {"solution": "def f(x):\n    return 3 * x"}, "tests_failed"),
        ("code_exercise", {"solution": "import sys\ndef f(x): return 2*x\nsys.exit(0)"}, "tests_failed"),
        ("code_exercise", {"solution": "import os\ndef f(x): return 2*x\nos._exit(0)"}, "tests_failed"),
        ("code_exercise", {"solution": "def f(x): return 2*x\nwhile True: pass"}, "tests_time"),
        ("code_exercise", {"tests": "assert f\nassert True or f(1)"}, "tests_prove_nothing"),
        ("code_exercise", {"tests": "assert f(1) == 2"}, "too_few_tests"),
        ("code_exercise", {"tests": "assert f(1) == 2\nassert f(1) == 2"}, "too_few_tests"),
        ("question_answer", {}, None),
        ("question_answer", {"quote": "水在一百二十度时沸腾"}, "quote_not_found"),
        ("question_answer", {"answer_again": "文档没有说明"}, "answers_disagree"),
        ("code_exercise", {"tests": "assert 1\nassert 2"}, "tests_elsewhere"),
        ("code_exercise", {"solution": "def f(x:"}, "syntax_error"),
        ("code_exercise", {"solution_again": "def f(x):\n    return x"}, "second_solution_failed"),
        ("code_exercise", {"solution_again": ""}, "no_second_solution"),
    ],
)
def test_every_fault_is_found(tools, kind, change, fault):
    item = {"math_problem": RIGHT, "code_exercise": EXERCISE, "question_answer": CHINESE}[kind] | change
    assert verify(kind, item, tools) == fault


def test_changed_items_do_not_verify_again(documents):
    item = json.dumps(RIGHT)
    docs = documents(
        ["What is 2 times 3?\n\nIt is 6.\n", "What is 2 times 3?\n\nIt is 8.\n", "plain", "x"],
        synthetic_kind=["math_problem", "math_problem", None, "math_problem"],
        synthetic_item=[item, item, None, "{"],
    )
    stage = VerifySynthetic(program_cpu_s=2)
    assert stage(docs).dropped.to_pylist() == [None, "not_verified", None, "not_verified"]
    stage._tools.checker.close()

"""Says whether what a model made up is right, by something other than the model's word for it.

A problem's answer must be what independent solutions arrive at (compared by value, in a process of its own) and what an
independent program computes, in the sandbox. An exercise's tests must pass with its solution and with another one
written from the task alone, and must fail with functions that do nothing: tests that pass with anything prove nothing.
An answer from a document needs its passage there, word for word. What is rewritten or translated must keep the numbers
and be in the right language.

`verify` is a function of an item and what was gathered about it, so that it gives the same verdict again later
(`verify_synthetic`).

Trade-off: a model that makes the same mistake in every solution and in the program gets its wrong answer kept. More
solutions and another model for them make that rarer; nothing short of a proof makes it impossible.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from stages.rewrite.gates import STYLES, find_fault, numbers
from stages.synthesize.generators import Item
from stages.synthesize.math_check import MathChecker
from stages.synthesize.sandbox import Limits, Result, Sandbox


def program_limits(cpu_s: int) -> Limits:
    """For a program that a model wrote."""
    return Limits(cpu_s=cpu_s, wall_s=3.0 * cpu_s, memory=512 << 20, processes=8, output=256 << 10, disk=16 << 20)


#: Words; in scripts that put no spaces between them, characters.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")
#: A word in an answer, other than a function or a command of LaTeX: it cannot be compared by value.
_IN_WORDS = re.compile(
    r"(?<![\\A-Za-z])(?!(?:sin|cos|tan|cot|sec|csc|log|exp|sqrt|arcsin|arccos|arctan|pi|inf|oo|abs|frac|mod)\b)[A-Za-z]{3,}"
)
_NAME = re.compile(r"`([^`\n]{1,80})`")


@dataclass
class Tools:
    """What verification needs: comparison of answers, the sandbox, the language of a text."""

    sandbox: Sandbox
    language_of: Callable[[str], str] | None = None
    agree: float = 0.75
    checker: MathChecker = field(default_factory=MathChecker)
    cpu_s: float = 0.0  # that programs in the sandbox have used

    def run(self, source: str) -> Result:
        """Run a Python program in the sandbox."""
        result = self.sandbox.run_python(source)
        self.cpu_s += result.cpu_s
        return result


def verify(kind: str, item: Item, tools: Tools) -> str | None:
    """Why an item must not be kept; None if it may. `item` holds what was asked about it besides: `solves`, `program`,
    `solution_again`, `answer_again`, `seed_text`, `language`, `target`."""
    seed_text = item.get("seed_text", "")
    if any(_resembles(item[part], seed_text) for part in _OWN.get(kind, ())):
        return "copied"
    return _VERIFY[kind](item, tools)


_DIGIT = re.compile(r"\d+")
#: Parts of an item that must not be its seed document's. The other kinds say again what the document says.
_OWN = {"math_problem": ("problem",), "code_exercise": ("task", "solution")}


def _resembles(new: str, old: str, size: int = 3, share: float = 0.6, least: int = 12) -> bool:
    """Whether more than `share` of a text's runs of `size` words stand in another, numbers being all the same: a
    problem of 40 words with three of them changed has 0.76 of its runs in the first. Not of fewer than `least` words.
    """
    words, other = ([_DIGIT.sub("0", word) for word in _words(text)] for text in (new, old))
    if len(words) < least:
        return False
    known, runs = set(_runs(other, size)), _runs(words, size)
    return sum(run in known for run in runs) > share * len(runs)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _runs(words: list[str], size: int) -> list[tuple[str, ...]]:
    """All runs of `size` words; none of fewer words."""
    return [tuple(words[i : i + size]) for i in range(len(words) - size + 1)]


def _math_problem(item: Item, tools: Tools) -> str | None:
    answer = item["answer"]
    if _IN_WORDS.search(answer) or tools.checker.same(answer, answer) is not True:
        return "answer_unreadable"
    if "".join(answer.split()).strip("$") not in "".join(item["solution"].split()):
        return "solution_without_answer"
    if copies(item["problem"], item.get("seed_text", "")):
        return "copied"
    solves = item.get("solves") or []
    right = sum(tools.checker.same(answer, solve) is True for solve in solves)
    if not solves or right < tools.agree * len(solves) or right * 2 <= len(solves):
        return "solves_disagree"
    if not item.get("program"):
        return "no_program"
    result = tools.run(item["program"])
    if result.status != "ok":
        return f"program_{result.status}"
    if tools.checker.same(answer, result.stdout.decode("utf-8", "replace").strip()) is not True:
        return "program_disagrees"
    return None


def _code_exercise(item: Item, tools: Tools) -> str | None:
    try:
        solution, tests = ast.parse(item["solution"]), ast.parse(item["tests"])
    except (SyntaxError, ValueError, RecursionError):
        return "syntax_error"
    if len({ast.dump(node.test) for node in ast.walk(tests) if isinstance(node, ast.Assert)}) < 2:
        return "too_few_tests"
    names = [n.name for n in solution.body if isinstance(n, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef)]
    used = {n.id for n in ast.walk(tests) if isinstance(n, ast.Name)}
    if not used & set(names):
        return "tests_elsewhere"
    if (status := _tested(item["solution"], item["tests"], tools)) != "ok":
        return f"tests_{status}"
    empty = "\n".join(f"def {name}(*args, **keys):\n    return None\n" for name in names)
    if _tested(empty, item["tests"], tools) == "ok":
        return "tests_prove_nothing"
    if not item.get("solution_again"):
        return "no_second_solution"
    if (status := _tested(item["solution_again"], item["tests"], tools)) != "ok":
        return f"second_solution_{status}"
    return None


#: Ends with a word that a program cannot say by ending early: it is drawn for each run.
_HARNESS = "{solution}\n\n{tests}\n\nprint({word!r})\n"


def _tested(solution: str, tests: str, tools: Tools) -> str:
    """`ok` if the tests pass to their end, else the status of the run."""
    import secrets

    # A solution that calls exit() would end well before the tests: only one that comes to the last line passes.
    word = secrets.token_hex(8)
    result = tools.run(_HARNESS.format(solution=solution, tests=tests, word=word))
    if result.status == "ok" and not result.stdout.rstrip().endswith(word.encode()):
        return "failed"
    return result.status


def _question_answer(item: Item, tools: Tools) -> str | None:
    text, quote = " ".join(_words(item["seed_text"])), " ".join(_words(item["quote"]))
    if len(quote.split()) < 4 or f" {quote} " not in f" {text} ":
        return "quote_not_found"
    if numbers(item["answer"]) - numbers(item["seed_text"]) - numbers(item["question"]):
        return "numbers_added"
    again = item.get("answer_again") or ""
    if numbers(item["answer"]) != numbers(again):
        return "answers_disagree"
    own, other = set(_words(item["answer"])), set(_words(again))
    if not own or len(own & other) < 0.5 * min(len(own), len(other) or 1) or not other:
        return "answers_disagree"
    return None


def _textbook_section(item: Item, tools: Tools) -> str | None:
    return find_fault(
        item["seed_text"], item["text"], STYLES["textbook"], item["language"], "", tools.language_of
    )  # fmt: skip


def _code_explanation(item: Item, tools: Tools) -> str | None:
    named = {name.strip() for name in _NAME.findall(item["explanation"])}
    known = [name for name in named if "".join(name.split()).rstrip("()") in "".join(item["code"].split())]
    if len(known) < 3 or len(known) < 0.9 * len(named):
        return "names_not_in_program"
    if numbers(item["explanation"]) - numbers(item["code"]):
        return "numbers_added"
    return "too_short" if len(item["explanation"]) < 200 else None


def _translation(item: Item, tools: Tools) -> str | None:
    text, new = item["seed_text"], item["translation"]
    if numbers(text) != numbers(new):
        return "numbers_changed"
    if not 0.3 <= len(new) / max(1, len(text)) <= 3:
        return "length"
    if tools.language_of is None or tools.language_of(new) != item["target"]:
        return "wrong_language"
    return None


def copies(new: str, old: str, size: int = 10) -> bool:
    """Whether half of the runs of `size` words of a text stand in another, or, of a shorter text, all its words."""
    words, other = _words(new), _words(old)
    size = min(size, len(words))
    if size < 4:
        return False
    runs, known = set(_runs(words, size)), set(_runs(other, size))
    return len(runs & known) * 2 >= len(runs)


_VERIFY: dict[str, Callable[[Item, Tools], str | None]] = {
    "math_problem": _math_problem,
    "code_exercise": _code_exercise,
    "question_answer": _question_answer,
    "textbook_section": _textbook_section,
    "code_explanation": _code_explanation,
    "translation": _translation,
}

"""Planted benchmark items are found however they are disguised, and nothing else is; formats; the command."""

import csv
import json
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curation.cli import app
from curation.errors import ConfigError
from stages.filter.benchmark_formats import Part, read_parts
from stages.filter.benchmark_index import write_index
from stages.filter.decontaminate import Decontaminate

NOUNS = [
    "apples",
    "boxes",
    "trains",
    "workers",
    "pencils",
    "tickets",
    "bottles",
    "chairs",
    "pages",
    "miles",
    "coins",
    "flowers",
    "books",
    "cakes",
    "lamps",
]
NAMES = [
    "Amara",
    "Bilal",
    "Chen",
    "Dora",
    "Emeka",
    "Farah",
    "Goran",
    "Hana",
    "Ines",
    "Jonas",
    "Kofi",
    "Lena",
    "Mira",
    "Nadia",
    "Oskar",
    "Petra",
]
VERBS = [
    "buys",
    "sells",
    "carries",
    "finds",
    "loses",
    "paints",
    "counts",
    "repairs",
    "packs",
    "delivers",
    "borrows",
    "collects",
]
PLACES = ["market", "harbour", "library", "factory", "garden", "station", "school", "workshop", "museum", "bakery"]
TAILS = [
    "How many {n} does {a} have left at the end of the week?",
    "What is the total cost of all the {n} in dollars?",
    "How many more {n} than {m} are there in the {p} now?",
    "If the pattern goes on, how many {n} will {a} need in total?",
]


def problem(rng):
    """A word problem in the manner of GSM8K, of 30 to 60 words."""
    n, m = rng.sample(NOUNS, 2)
    a, b = rng.sample(NAMES, 2)
    p = rng.choice(PLACES)
    sentences = [
        f"{a} {rng.choice(VERBS)} {rng.randint(2, 99)} {n} every day at the {p}.",
        f"On {rng.choice(['Monday', 'Friday', 'Sunday'])} {b} {rng.choice(VERBS)} {rng.randint(2, 40)} {m} for ${rng.randint(2, 30)} each.",
        f"Then {rng.choice([a, b])} {rng.choice(VERBS)} {rng.randint(2, 9)} times as many {rng.choice([n, m])} as before.",
        f"A third of them, {rng.randint(3, 60)} in all, are given to the {rng.choice(PLACES)} near the river.",
    ]
    return " ".join([*sentences[: rng.randint(2, 4)], rng.choice(TAILS).format(n=n, m=m, a=a, p=p)])


WORDS = [
    "the",
    "of",
    "and",
    "to",
    "in",
    "a",
    "is",
    "that",
    "it",
    "was",
    "for",
    "on",
    "are",
    "as",
    "with",
    "his",
    "they",
    "at",
    "be",
    "this",
    "from",
    "have",
    "or",
    "by",
    "one",
    "had",
    "not",
    "but",
    "what",
    "all",
    "were",
    "when",
    "we",
    "there",
    "can",
    "an",
    "your",
    "which",
    "their",
    "said",
    "if",
    "do",
    "will",
    "each",
    "about",
    "how",
    "up",
    "out",
    "them",
    "then",
    "she",
    "many",
    "some",
    "so",
    "these",
    "would",
    "other",
    "into",
    "has",
    "more",
    "her",
    "two",
    "like",
    "him",
    "see",
    "time",
    "could",
    "no",
    "make",
    "than",
    "first",
    "been",
    "its",
    "who",
    "now",
    "people",
    "my",
    "made",
    "over",
    "did",
    "down",
    "only",
    "way",
    "find",
    "use",
    "may",
    "water",
    "long",
    "little",
    "very",
    "after",
    "words",
    "called",
    "just",
    "where",
    "most",
    "know",
] + [f"w{chr(97 + i)}{chr(97 + j)}" for i in range(26) for j in range(26)]


def prose(rng, n):
    """`n` words with the frequencies of a language, nearly."""
    return " ".join(rng.choices(WORDS, [1 / (i + 2) for i in range(len(WORDS))], k=n))


def common_subsequence(a, b):
    """The textbook's recursion: the oracle for the bit-parallel kernel."""
    row = [0] * (len(b) + 1)
    for x in a:
        before = 0
        for j, y in enumerate(b):
            before, row[j + 1] = row[j + 1], before + 1 if x == y else max(row[j + 1], row[j])
    return row[-1]


def paraphrase(rng, text, share):
    """Another text with the same numbers: words are replaced, left out or added, at about `share` of the places."""
    words = []
    for word in text.split():
        draw = rng.random()
        if any(c.isdigit() for c in word) or draw >= share:
            words.append(word)
        elif draw < share * 0.6:
            words.append(
                rng.choice(["roughly", "another", "fetches", "wares", "altogether", "fellow", "stall", "gets"])
            )
        elif draw < share * 0.8:
            words += [word, rng.choice(["indeed", "also", "then", "quite"])]
    return " ".join(words)


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


ROWS = {
    "gsm8k": {"question": problem(random.Random(1)), "answer": "She has 3 * 4 = <<3*4=12>>12 of them.\n#### 12"},
    "math": {"problem": "Find the sum of all x.", "solution": "It is $\\boxed{3}$.", "level": "Level 2"},
    "humaneval": {
        "task_id": "HumanEval/7",
        "prompt": 'def f(x):\n    """ Add one.\n    >>> f(1)\n    2\n    """\n',
        "canonical_solution": "    return x + 1\n",
        "test": "",
        "entry_point": "f",
    },
    "mbpp": {
        "task_id": 11,
        "text": "Write a function to remove a character.",
        "code": "def g(s):\n    return s",
        "test_list": ["assert g('') == ''"],
    },
    "mmlu": {
        "question": "Which of these is a prime number?",
        "choices": ["4", "6", "7", "9"],
        "answer": 2,
        "subject": "algebra",
    },
}
EXPECTED = {
    "gsm8k": {"question": ROWS["gsm8k"]["question"], "answer": "She has 3 * 4 = 12 of them."},
    "math": {"question": "Find the sum of all x.", "answer": "It is $\\boxed{3}$."},
    "humaneval": {"question": " Add one.", "answer": "    return x + 1\n"},
    "mbpp": {"question": "Write a function to remove a character.", "answer": "def g(s):\n    return s"},
    "mmlu": {"question": "Which of these is a prime number?\n4\n6\n7\n9"},
}


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".parquet"])
@pytest.mark.parametrize("name", list(ROWS))
def test_formats_are_told_by_their_keys(tmp_path, name, suffix):
    path = tmp_path / f"{name}{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist([ROWS[name]]), path)
    else:
        path.write_text(json.dumps(ROWS[name]) + "\n")
    parts = list(read_parts(str(path)))
    assert {p.benchmark for p in parts} == {name}
    got = {p.part: p.text.rstrip() for p in reversed(parts)}
    assert {k: v.rstrip() for k, v in EXPECTED[name].items()}.items() <= got.items()
    assert {p.kind for p in parts} == {"humaneval": {"text", "code"}, "mbpp": {"text", "code"}}.get(name, {"text"})


MMLU_TEXT = EXPECTED["mmlu"]["question"]
MBPP_TEXT, MBPP_CODE = EXPECTED["mbpp"]["question"], EXPECTED["mbpp"]["answer"]
MATH_TEXTS = list(EXPECTED["math"].values())
MBPP_REST = {"task_id": 2, "code": MBPP_CODE, "test_list": ["assert g('') == ''"]}
PUBLISHED = {  # the columns of the files as they are published, with made-up content; and the texts to be found
    "MATH, competition_math": ({"problem": 0, "level": "Level 5", "type": "Algebra", "solution": 1}, MATH_TEXTS),
    "MATH, with answers": (
        {"problem": 0, "solution": 1, "answer": "3", "subject": "Algebra", "level": 2, "unique_id": "test/algebra/1.json"},
        MATH_TEXTS,
    ),
    "MATH, answers alone": ({"problem_idx": 1, "answer": "3", "problem_type": ["Algebra"], "problem": 0}, MATH_TEXTS[:1]),
    "competitions, capitals": ({"ID": "I-1", "Problem": 0, "Solution": 1, "Answer": 3}, MATH_TEXTS),
    "MBPP, whole": (
        {"text": MBPP_TEXT, "test_setup_code": "", "challenge_test_list": []} | MBPP_REST,
        [MBPP_TEXT, MBPP_CODE],
    ),
    "MBPP, sanitized": (
        {"source_file": "Benchmark Questions", "prompt": MBPP_TEXT, "test_imports": []} | MBPP_REST,
        [MBPP_TEXT, MBPP_CODE],
    ),
    "MMLU, subjects": (ROWS["mmlu"], [MMLU_TEXT]),
    "MMLU, auxiliary": ({"train": ROWS["mmlu"]}, [MMLU_TEXT]),
    "MMLU, input": ({"input": ROWS["mmlu"]["question"]} | dict(zip("ABCD", "4679", strict=True)) | {"target": "C"}, [MMLU_TEXT]),
    "ARC": (
        {"id": "x", "question": ROWS["mmlu"]["question"], "answerKey": "C"}
        | {"choices": {"text": ["4", "6", "7", "9"], "label": list("ABCD")}},
        [MMLU_TEXT],
    ),
    "GSM8K, no answer": (ROWS["gsm8k"] | {"answer": None}, [ROWS["gsm8k"]["question"]]),
}  # fmt: skip


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
@pytest.mark.parametrize("name", list(PUBLISHED))
def test_columns_as_published(tmp_path, name, suffix):
    row, expected = PUBLISHED[name]
    row = {key: MATH_TEXTS[value] if key.lower() in ("problem", "solution") else value for key, value in row.items()}
    path = tmp_path / f"file{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist([row, row]), path)
    else:
        path.write_text(f"{json.dumps(row)}\n{json.dumps(row)}\n")
    assert [p.text for p in read_parts(str(path))] == expected * 2


def write_csv(path, *rows, encoding="utf-8"):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding=encoding) as file:
        csv.writer(file).writerows(rows)
    return str(path)


CSV_ROW = ["Which of these is a prime number?", "4", "6", "7", "9", "C"]


def test_mmlu_as_its_authors_publish_it(tmp_path):
    # No header, though the choices of the first question are named like the columns of one; lines within a question.
    first = ["At which point\ndo the lines meet?", "A", "B", "C", "D", "B"]
    path = write_csv(tmp_path / "geometry_test.csv", first, CSV_ROW)
    assert [p.text for p in read_parts(path)] == ["At which point\ndo the lines meet?\nA\nB\nC\nD", MMLU_TEXT]


def test_csv_with_a_header_in_capitals_and_a_byte_order_mark(tmp_path):
    header = ["", "Question", "A", "B", "C", "D", "Answer", "Subject"]
    path = write_csv(tmp_path / "mmlu.csv", header, ["0", *CSV_ROW, "algebra"], encoding="utf-8-sig")
    assert [p.text for p in read_parts(path)] == [MMLU_TEXT]


def test_csv_of_another_format(tmp_path):
    path = write_csv(tmp_path / "own.csv", ["q", "a"], ["What is it?", "It is that."])
    assert [p.text for p in read_parts(path, question="q", answer="a")] == ["What is it?", "It is that."]
    with pytest.raises(ConfigError, match=r"own.csv, row 0: expected a header"):
        list(read_parts(path))
    with pytest.raises(ConfigError, match=r"own.csv, row 0: expected a header"):
        list(read_parts(path, question="missing"))
    with pytest.raises(ConfigError, match=r"cut.csv, row 1"):
        list(read_parts(write_csv(tmp_path / "cut.csv", CSV_ROW, CSV_ROW[:4])))


def test_json_as_array_object_or_lines(tmp_path):
    row = json.dumps(PUBLISHED["MBPP, sanitized"][0])
    for name, text in (("array", f"[{row},\n{row}]"), ("lines", f"{row}\n\n{row}\n"), ("object", row)):
        (tmp_path / f"{name}.json").write_text(text)
        items = [p.text for p in read_parts(str(tmp_path / f"{name}.json"))]
        assert items == [MBPP_TEXT, MBPP_CODE] * (1 if name == "object" else 2)


def test_a_folder_of_files_is_one_benchmark(tmp_path):
    for subject, number in (("algebra", 1), ("algebra", 2), ("geometry", 1)):
        file = tmp_path / "MATH" / subject / f"{number}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(
            json.dumps({"problem": f"Problem {number} of {subject}.", "level": "", "type": "", "solution": "S"})
        )
    write_csv(tmp_path / "MATH" / "more" / "algebra_test.csv", CSV_ROW)
    (tmp_path / "MATH" / "README.md").write_text("Not an item.")
    parts = list(read_parts(str(tmp_path / "MATH")))
    assert {p.benchmark for p in parts} == {"MATH"}
    names = ["algebra/1/0", "algebra/2/0", "geometry/1/0", "more/algebra_test/0"]
    assert [p.item for p in parts if p.part == "question"] == names
    assert parts[-1].text == MMLU_TEXT
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="no file in it ends in"):
        list(read_parts(str(tmp_path / "empty")))


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

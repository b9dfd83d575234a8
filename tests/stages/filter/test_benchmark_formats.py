"""Benchmark files in every format, as given and as published."""

import csv
import gzip
import json
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_up_problems import problem

from curation.errors import ConfigError
from stages.filter.benchmark_formats import read_parts

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


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", b'{"question": "x"}\n\n{broken\n', "a.jsonl:3: no JSON"),
        ("a.jsonl", b"[1]\n", "a.jsonl:1: expected an object, found list"),
        ("a.json", b'[{"question": "x"}, 5]', "a.json, item 1: expected an object"),
        ("a.jsonl.gz", b"nothing that is packed", "a.jsonl.gz: cannot be read: Not a gzipped file"),
        ("a.jsonl.gz", gzip.compress(b'{"question": "x"}\n' * 500)[:-12], "a.jsonl.gz: cannot be read"),
        ("a.parquet", b"PAR1 nothing", "a.parquet: cannot be read"),
        ("a.jsonl", b"\xff\xfe\xff", "a.jsonl: cannot be read"),
    ],
)
def test_damage_names_file_and_line(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError) as raised:
        list(read_parts(str(tmp_path / name), question="question"))
    assert said in str(raised.value) and "\n" not in str(raised.value)

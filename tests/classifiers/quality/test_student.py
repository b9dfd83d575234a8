"""Students learn what words can tell, the same one from the same documents, and read every script."""

import numpy as np
import pyarrow as pa
import pytest

from classifiers.quality.agreement import cross_validate
from classifiers.quality.student import Student, Training, prepare

TOPICS = {
    "eng_Latn": {
        "mathematics": "theorem proof lemma integral number function equation algebra",
        "food": "recipe oven butter sugar flour soup onion dinner",
        "computing": "kernel process memory package install server code version",
    },
    "zho_Hans": {
        "mathematics": "定理证明函数方程积分代数数列极限",
        "food": "食谱烤箱黄油白糖面粉洋葱晚餐汤",
        "computing": "内核进程内存软件安装服务器代码版本",
    },
}
SCORES = {"mathematics": 5, "computing": 3, "food": 1}


def corpus(n, seed=0):
    rng = np.random.default_rng(seed)
    texts, languages, domains = [], [], []
    for i in range(n):
        language = list(TOPICS)[i % 2]
        domain = str(rng.choice(list(SCORES)))
        words = TOPICS[language][domain]
        pieces = rng.choice(words.split() if language == "eng_Latn" else list(words), 30)
        texts.append((" " if language == "eng_Latn" else "").join(pieces))
        languages.append(language)
        domains.append(domain)
    return texts, languages, domains


def labels_of(domains):
    return {"educational_value": [SCORES[d] for d in domains], "domain": domains}


@pytest.fixture(scope="module")
def student():
    texts, languages, domains = corpus(200)
    return Student.train(prepare(pa.array(texts), languages, 2000), labels_of(domains), Training(epochs=10), "qwen@1")


def test_a_student_knows_documents_it_has_not_seen(student):
    texts, languages, domains = corpus(100, seed=1)
    found = student.predict(pa.array(texts), languages)
    assert np.mean([a == b for a, b in zip(found.categories["domain"], domains, strict=True)]) > 0.95
    assert np.abs(found.scores["educational_value"] - [SCORES[d] for d in domains]).mean() < 0.7
    unsure = student.predict(pa.array(["theorem recipe kernel soup proof package"]), ["eng_Latn"])
    assert unsure.uncertainty[0] > found.uncertainty.mean()


def test_probabilities_of_each_dimension_sum_to_one(student):
    found = student.probabilities(["lang=und anything at all", "", "lang=zho_Hans 定 理"])
    for first, end in student._spans.values():
        assert np.allclose(found[:, first:end].sum(axis=1), 1, atol=1e-5)


def test_the_same_documents_make_the_same_student(student, tmp_path):
    texts, languages, domains = corpus(200)
    again = Student.train(prepare(pa.array(texts), languages, 2000), labels_of(domains), Training(epochs=10), "qwen@1")
    student.save(tmp_path / "a")
    again.save(tmp_path / "b")
    assert (tmp_path / "a/student.bin").read_bytes() == (tmp_path / "b/student.bin").read_bytes()
    loaded = Student.load(tmp_path / "a")
    assert (loaded.teacher, loaded.documents, loaded.dimensions) == ("qwen@1", 200, ["educational_value", "domain"])
    lines = prepare(pa.array(texts), languages, 2000)
    assert np.array_equal(loaded.probabilities(lines), student.probabilities(lines))
    with pytest.raises(ValueError, match="holds no student"):
        Student.load(tmp_path)


def test_lines_have_no_line_breaks_and_scripts_without_spaces_have_words():
    texts = pa.array(["Two\nlines, 1984 and 123456.", "你好世界", "สวัสดี", None, "Ünï\u2028x"])
    lines = prepare(texts, ["eng_Latn", "zho_Hans", "tha_Thai", None, "und"], 100)
    assert lines[0] == "lang=eng_Latn two lines , 0 and 0 . "
    assert lines[1] == "lang=zho_Hans 你 好 世 界 " and len(lines[2].split()) == 7
    assert lines[3] == "lang=und " and "\u2028" not in lines[4]


def test_the_report_says_what_is_gained_per_language():
    texts, languages, domains = corpus(200)
    draws = np.arange(200).astype(np.uint64) * 7
    report = cross_validate(
        prepare(pa.array(texts), languages, 2000), labels_of(domains), languages, draws, Training(epochs=10)
    )
    for language in ("all", "eng_Latn", "zho_Hans"):
        row = report.row("domain", language)
        assert row.accuracy > 0.9 and row.majority < 0.6 and row.gain == pytest.approx(row.accuracy - row.majority)
        score = report.row("educational_value", language)
        assert score.spearman > 0.8 and score.mean_error < score.majority_error
    assert report.row("domain", "eng_Latn").documents == 100
    assert "| domain | zho_Hans | 100 |" in report.to_markdown()

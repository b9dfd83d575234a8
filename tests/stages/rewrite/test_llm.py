"""Rewritten documents beside their originals: linked, gated, counted, and the same in any batch."""

import json
from functools import partial

import pytest
import yaml
from stub_server import StubServer, document_of

from classifiers.quality.dimensions import DIMENSIONS
from curation.config import load_pipeline
from curation.corpus import Corpus
from curation.documents import part_id
from curation.errors import ConfigError
from curation.executor import Inline
from curation.plan import make_plan
from curation.run import Run
from curation.stats import read_stats
from curation.storage import Storage
from stages.llm.prompts import passages, windows
from stages.rewrite.llm import RewriteWithModel

SENTENCES = [
    "The harbour of the town was built in 1893 and has two long piers.",
    "Fishing boats leave it before dawn and return in the late afternoon.",
    "A lighthouse of 37 metres stands on the northern pier, painted white.",
    "The market behind the harbour sells fish, bread and vegetables each day.",
    "Trains from the capital reach the station near the water in 4 hours.",
]


def document(i):
    return " ".join(SENTENCES[(i + k) % 5] for k in range(5)) + f" Note {i}."


def reorder(text):
    """A faithful rewriting: the sentences in another order, with other joints."""
    sentences = [s for s in text.split(". ") if s]
    words = [s.rstrip(".").split(" ") for s in sentences[::-1]]
    return (
        ". ".join(" and so ".join([" ".join(w[:5]), " ".join(w[5:])]) if len(w) > 5 else " ".join(w) for w in words)
        + "."
    )


def rewriting(n, body):
    return reorder(document_of(body))


@pytest.fixture
def model(asking):
    """Build a `rewrite_with_model` that asks a server: `model(server, **keys)`."""
    return partial(asking, RewriteWithModel)


def test_a_rewritten_document_stands_behind_its_original_and_knows_it(documents, model):
    docs = documents(
        [document(0), "Too short.", None, document(1)], language=["eng_Latn"] * 4, educational_value=[3, 1, None, 4]
    )
    with StubServer(rewriting) as server:
        outcome = model(server, styles=["wikipedia", "textbook"], each="all")(docs)
    added = outcome.added
    ids = docs["id"].to_pylist()
    assert added["rewritten_from"].to_pylist() == [ids[0], ids[0], ids[3], ids[3]]
    assert outcome.added_behind.tolist() == [0, 0, 3, 3]
    assert added["rewrite_style"].to_pylist() == ["textbook", "wikipedia"] * 2
    assert added["id"][0].as_py() == part_id(ids[0], "rewritten textbook")
    assert set(added["rewritten_by"].to_pylist()) == {"stub@1"}
    assert added["text"][0].as_py() == reorder(document(0))
    assert added["educational_value"].null_count == 4 and added["url"][0].as_py() == docs["url"][0].as_py()
    assert outcome.docs["rewritten_from"].null_count == 4 and outcome.dropped is None and outcome.failed is None


def test_the_language_and_the_style_are_in_the_instruction_and_the_document_comes_last(documents, model):
    docs = documents([document(0), document(1)], language=["fra_Latn", "zho_Hans"])
    with StubServer(rewriting) as server:
        model(server, styles=["notes"])(docs)
        systems = [body["messages"][0]["content"] for body in server.requests]
    assert "write in French" in systems[0] and "Distil the document" in systems[0]
    assert any("改写文档" in system and "Chinese" in system for system in systems)


def test_faults_are_asked_for_again_and_then_given_up(documents, model):
    docs = documents([document(i) for i in range(4)], language=["eng_Latn"] * 4)

    def trouble(n, body):
        text = document_of(body)
        if "Note 1." in text:
            return "Sure! Here is a rewritten text: " + reorder(text)
        if "Note 2." in text:
            return reorder(text).replace("1893", "1793") if body["seed"] == stage.seed else reorder(text)
        if "Note 3." in text:
            return "Le port de la ville a été construit en 1893 et possède deux longues jetées. " * 4
        return reorder(text)

    with StubServer(trouble) as server:
        stage = model(server)
        outcome = stage(docs)
        strict = model(server, unanswered="quarantine", originals="drop")(docs)
    assert outcome.added_behind.tolist() == [0, 2]
    counters = stage.metrics.counters
    assert counters["given_up=preamble"] == 1 and counters["rewritten=wikipedia"] == 2
    assert sum(n for name, n in counters.items() if name.startswith("given_up=")) == 2
    assert counters["unusable_answers"] == 3 + 1 + 3
    assert strict.dropped.to_pylist() == ["rewritten", None, "rewritten", None]
    assert strict.failed.to_pylist()[1] == "not rewritten as wikipedia: unusable answer: preamble"


def test_long_documents_are_rewritten_passage_by_passage_or_left(documents, model):
    long = "\n\n".join(document(i) for i in range(6))
    docs = documents([long, long * 10], language=["eng_Latn"] * 2)
    with StubServer(rewriting) as server:
        outcome = model(server, passage_characters=800, max_passages=4)(docs)
        assert len(server.requests) == len(passages(long, 800)) == 3
    assert outcome.added_behind.tolist() == [0]
    assert outcome.added["text"][0].as_py() == "\n\n".join(reorder(p) for p in passages(long, 800))


def test_passages_and_windows_hold_the_text():
    text = "\n\n".join(document(i) for i in range(9))
    assert "".join("".join(passages(text, 500)).split()) == "".join(text.split())
    assert all(len(piece) <= 500 for piece in passages(text, 500))
    parts = windows(text, 500, 3)
    assert len(parts) == 3 and text.startswith(parts[0]) and text.endswith(parts[2]) and parts[1] in text
    assert windows(text, 10**6, 3) == [text] and windows(text, 500, 1) == [windows(text, 500, 3)[0]]
    assert len("".join(passages("x" * 1234, 100))) == 1234


@pytest.mark.parametrize(
    ("keys", "message"),
    [({"styles": ["poem"]}, "unknown styles"), ({"prompt": "nowhere"}, "neither a shipped version")],
)
def test_mistakes_in_the_config(keys, message):
    with pytest.raises(ConfigError, match=message):
        RewriteWithModel(**keys).check()


def test_a_run_counts_both_kinds_and_labels_them_apart(tmp_path):
    lines = [json.dumps({"text": document(i)}) for i in range(40)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))

    def trouble(n, body):
        return None if "response_format" in body else reorder(document_of(body))

    def run(name, server, **settings):
        asks = {"server": server.url, "cache": str(tmp_path / "answers")}
        stages = [
            "read_jsonl",
            "identify_language",
            {"rewrite_with_model": asks | {"styles": ["wikipedia", "textbook"], "share": 0.5}},
            {"annotate_quality": asks | {"dimensions": ["domain"]}},
        ]
        config = {
            "input": str(tmp_path / "*.jsonl"),
            "output": str(tmp_path / name),
            "breakdown": ["rewrite_style"],
            "stages": stages,
        }
        (tmp_path / "pipelines.yaml").write_text(yaml.safe_dump({"pipelines": {"test": config | settings}}))
        plan = make_plan(load_pipeline("test", str(tmp_path / "pipelines.yaml")))
        url = plan.pipeline.settings.output
        return Run(plan, Inline(url), Storage(url)).execute()

    with StubServer(trouble) as server:
        run("out", server)
        sent = len(server.requests)
        run("again", server, batch_rows=7)
        assert len(server.requests) == sent
    docs = Corpus(str(tmp_path / "out")).table()
    assert docs.equals(Corpus(str(tmp_path / "again")).table())
    styles = docs["rewrite_style"].to_pylist()
    new = sum(style is not None for style in styles)
    assert docs.num_rows == 40 + new and 12 <= new <= 28 and {"wikipedia", "textbook"} < set(styles)
    assert set(filter(None, docs["rewritten_from"].to_pylist())) < set(docs["id"].to_pylist())
    assert docs["domain"].null_count == 0 and len(set(DIMENSIONS) & set(docs.column_names)) == 1
    stage = next(s for s in read_stats(str(tmp_path / "out")).info["stages"] if s["stage"] == "rewrite_with_model")
    assert stage["added"] == new

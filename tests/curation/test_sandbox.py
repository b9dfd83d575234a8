"""Documents that hang, crash or outgrow the process of the stages: each costs itself, and nothing around it."""

import os
import subprocess
import sys
import threading
import time

import psutil
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from stages_at_fault import Echoes, Hangs, HangsAlone, LosesRows, SetupFails, SetupTakesLong, Upper, Waits

from curation.chain import Chain
from curation.documents import CORE
from curation.errors import ContractError, CurationError
from curation.sandbox import Sandbox
from curation.stage import Outcome

HERE = os.path.dirname(__file__)

SCHEMA = pa.schema([(n, c.type) for n, c in CORE.items()] + [(n, pa.string()) for n in ("stage", "reason", "detail")])


class Source(Upper):
    """Stands in the reader's place."""


class LowerHangs(Hangs):
    """Hangs on `HANG`."""

    def __call__(self, docs):
        i = docs.schema.get_field_index("text")
        super().__call__(docs.set_column(i, "text", pc.utf8_lower(docs["text"])))
        return docs


def sandbox(*stages, memory_mb=128):
    chain = Chain(["source", *(type(s).__name__ for s in stages)], [Source(), *stages], dropped_schema=SCHEMA)
    return Sandbox(chain, memory_mb)


@pytest.mark.parametrize("stage", [Hangs(), HangsAlone()])
@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ("hang", "timeout: more than 1 CPU seconds"),
        ("crash", "crashed: signal SIGSEGV"),
        ("exit", "crashed: exit code 3"),
        ("hog", "memory: more than 128 MiB"),
    ],
)
def test_the_document_at_fault_goes_alone(documents, stage, bad, why):
    texts = [f"document {i}" for i in range(30)]
    texts[11] = f"now {bad}"
    box = sandbox(stage, Upper())
    try:
        result = box.run(Outcome(documents(texts)), first=100)
    finally:
        box.close()
    assert result.docs.num_rows == 29 and result.docs["text"][0].as_py() == "DOCUMENT 0"
    assert [(r["text"], r["stage"], r["reason"]) for r in result.failed.to_pylist()] == [
        (f"now {bad}", type(stage).__name__, why)
    ]
    # One death for a document that is alone and overstays; two where it has company, or where it may be an accident.
    assert box.deaths == (1 if stage.one_at_a_time and bad in ("hang", "hog") else 2)
    # A child that died in the middle of a batch leaves no counts behind.
    assert result.accounts[1].rows_in == 30 and result.accounts[2].rows_in == 29


@pytest.mark.parametrize("stage", [Hangs(), HangsAlone()])
def test_of_a_document_and_one_that_was_made_of_it_only_the_bad_one_goes(documents, stage):
    box = sandbox(Echoes(), stage, Echoes(part="again"), LowerHangs())
    try:
        result = box.run(Outcome(documents(["one", "hang echo!!", "last", "echo!"])), first=7)
    finally:
        box.close()
    lost = [(r["stage"], r["text"]) for r in result.failed.to_pylist()]
    assert lost == [
        (type(stage).__name__, "hang echo!!"),
        ("LowerHangs", "HANG ECHO!! 0"),
        ("LowerHangs", "HANG ECHO!! 1"),
    ]
    assert result.docs["text"].to_pylist() == ["one", "last", "echo!", "ECHO! 0", "ECHO! 0"]


def test_several_bad_documents_and_the_next_batch(documents):
    texts = [f"document {i}" for i in range(12)]
    texts[0], texts[5], texts[11] = "crash", "hang", "exit"
    box = sandbox(HangsAlone())
    try:
        result = box.run(Outcome(documents(texts)), first=0)
        assert (result.docs.num_rows, result.failed.num_rows) == (9, 3)
        assert box.run(Outcome(documents(["fine"])), first=12).docs.num_rows == 1
    finally:
        box.close()


@pytest.mark.parametrize("stage", [Hangs(), HangsAlone()])
def test_a_child_that_is_killed_from_outside_costs_no_document(documents, stage):
    box = sandbox(Waits(), stage)
    box.start()
    killer = threading.Timer(0.5, lambda: os.kill(box._process.pid, 9))
    killer.start()
    result = box.run(Outcome(documents(["one", "two", "three"])), first=0)
    box.close()
    assert (result.docs.num_rows, result.failed.num_rows, box.deaths) == (3, 0, 1)


def test_a_child_that_is_killed_while_it_is_set_up(documents):
    box = sandbox(SetupTakesLong())
    killer = threading.Timer(1.5, lambda: os.kill(box._process.pid, 9))
    killer.start()
    box.start()
    assert box.run(Outcome(documents(["one"])), first=0).docs.num_rows == 1
    box.close()


def test_errors_of_the_engine_are_no_documents_fault(documents):
    for stage, kind, message in (
        (LosesRows(), ContractError, "was given 3 documents and returned 2"),
        (SetupFails(), CurationError, "could not be set up: OSError: model.bin is missing"),
    ):
        box = sandbox(stage)
        with pytest.raises(kind, match=message):
            box.run(Outcome(documents(["a", "b", "c"])), first=0)
        box.close()


def test_the_child_dies_with_its_parent():
    code = (
        "import sys, time, pyarrow as pa; sys.path[:0] = [%r, %r]\n"
        "from test_sandbox import *\n"
        "box = sandbox(Hangs())\n"
        "box.start()\n"
        "print(box._process.pid, flush=True)\n"
        "time.sleep(100)\n"
    ) % (HERE, os.path.dirname(HERE))
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    child = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    for _ in range(100):
        if not child.is_running() or child.status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.1)
    raise AssertionError("the child outlived its parent by ten seconds")

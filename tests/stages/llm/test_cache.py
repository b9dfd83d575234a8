"""Answers survive kills and are seen by everybody, whatever the order of writing."""

import os
import signal
import subprocess
import sys
import time

from hypothesis import given, settings
from hypothesis import strategies as st

from stages.llm.cache import AnswerCache, key_of

WRITER = """
import sys
import time
from pathlib import Path
from stages.llm.cache import AnswerCache, key_of
cache = AnswerCache(Path(sys.argv[1]))
for i in range(int(sys.argv[2]), 6000, int(sys.argv[3])):
    cache.put(key_of("model", str(i)), f"answer {i} ".encode() * 200, 10, 5)
    if i < 10:
        print("on", flush=True)
    if i > 300:
        time.sleep(0.001)
"""


def test_processes_that_are_killed_while_they_write_lose_nothing_whole(tmp_path):
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), str(k), "3"], stdout=subprocess.PIPE)
        for k in range(3)
    ]
    for writer in writers:
        writer.stdout.readline()
    seen = AnswerCache(tmp_path)
    time.sleep(0.3)
    for writer in writers:
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
    seen.refresh()
    fresh = AnswerCache(tmp_path)
    assert len(seen) == len(fresh) > 9 and seen.tokens == fresh.tokens == 15 * len(fresh)
    for i in range(6000):
        found = fresh.get(key_of("model", str(i)))
        assert found in (None, f"answer {i} ".encode() * 200)
    # The first of each writer are there, without a hole.
    assert all(fresh.get(key_of("model", str(i))) for i in range(9))


def test_a_reader_sees_what_others_add(tmp_path):
    one, two = AnswerCache(tmp_path), AnswerCache(tmp_path)
    one.put(key_of("a"), b"1", 1, 1)
    assert two.get(key_of("a")) is None
    two.refresh()
    assert two.get(key_of("a")) == b"1" == one.get(key_of("a"))
    two.put(key_of("a"), b"2", 1, 1)
    assert two.get(key_of("a")) == b"1"  # the first answer stays the answer


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.binary(max_size=80), min_size=1, max_size=12),
    st.integers(0, 10**6),
    st.binary(max_size=30),
)
def test_a_torn_or_broken_record_costs_itself_alone(tmp_path_factory, answers, where, junk):
    folder = tmp_path_factory.mktemp("cache")
    cache = AnswerCache(folder)
    for i, answer in enumerate(answers):
        cache.put(key_of(str(i)), answer, 0, 0)
    cache.close()
    file = next(folder.glob("*.answers"))
    data = bytearray(file.read_bytes())
    at = where % len(data)
    data[at : at + len(junk)] = junk  # one place overwritten (or bytes added at the end)
    file.write_bytes(bytes(data))
    read = AnswerCache(folder)
    header = 40
    start = 0
    for i, answer in enumerate(answers):
        end = start + header + len(answer)
        found = read.get(key_of(str(i)))
        if end <= at or start >= at + len(junk):
            assert found == answer
        else:
            assert found in (None, answer)
        start = end

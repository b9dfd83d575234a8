"""The client against a server in every kind of trouble: nothing lost, nothing paid twice, no wrong answer."""

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
from aiohttp import web
from stub_server import HERE, StubServer

from curation.errors import ResourceUnavailable
from stages.llm.cache import AnswerCache
from stages.llm.client import Client
from stages.llm.request import Request, json_answer, plain_answer

SCHEMA = {
    "type": "object",
    "properties": {"educational_value": {"type": "integer", "enum": [0, 1, 2, 3, 4, 5]}},
    "required": ["educational_value"],
    "additionalProperties": False,
}


_open = []


@pytest.fixture(autouse=True)
def clients(monkeypatch):
    """Short pauses; and every client is closed."""
    monkeypatch.setattr("stages.llm.client._PAUSE_S", (0.01, 0.2))
    yield
    while _open:
        _open.pop().close()


def requests(n, schema=SCHEMA):
    word = ["a theorem", "a kernel", "a recipe", "nothing"]
    texts = [f"document {i} on {word[i % 4]}" for i in range(n)]
    return [Request("Judge.", f"<document>\n{text}\n</document>", schema=schema) for text in texts]


def right(n):
    return [{"educational_value": [5, 3, 2, 0][i % 4]} for i in range(n)]


def client(server, tmp_path=None, **options):
    cache = AnswerCache(tmp_path / "answers") if tmp_path else None
    made = Client(server if isinstance(server, str | list) else server.url, cache=cache, **options)
    _open.append(made)
    return made


def values(replies):
    return [reply.value for reply in replies]


def test_many_in_flight_up_to_the_limit_and_answers_in_order():
    with StubServer(trouble=lambda n, body: 0.05) as server:
        replies = client(server, max_in_flight=16).ask(requests(100), json_answer(SCHEMA))
    assert values(replies) == right(100) and server.peak == 16
    assert all(reply.error is None and reply.tokens_in and reply.tokens_out for reply in replies)
    assert {body["model"] for body in server.requests} == {"stub@1"}
    assert server.requests[0]["temperature"] == 0


def test_what_was_answered_is_never_asked_again(tmp_path):
    with StubServer() as server:
        first = client(server, tmp_path).ask(requests(30), json_answer(SCHEMA))
        second = client(server, tmp_path)
        again = second.ask(requests(40), json_answer(SCHEMA))
    assert values(again)[:30] == values(first) and values(again) == right(40)
    assert len(server.requests) == 40 and second.usage.requests == 10
    assert [r.tokens_in for r in again[:30]] == [r.tokens_in for r in first]


def test_another_model_or_parameter_is_another_question(tmp_path):
    with StubServer() as one, StubServer(model="other") as two, StubServer(names=["stub", "stub@2"]) as three:
        for server in (one, two, three, one):
            client(server, tmp_path).ask(requests(3), json_answer(SCHEMA))
        hotter = [Request(r.system, r.user, schema=SCHEMA, temperature=0.7) for r in requests(3)]
        client(one, tmp_path).ask(hotter, json_answer(SCHEMA))
    assert [len(s.requests) for s in (one, two, three)] == [6, 3, 3]


def test_equal_requests_in_one_batch_are_paid_once(tmp_path):
    with StubServer(trouble=lambda n, body: 0.02) as server:
        replies = client(server, tmp_path).ask(requests(4) * 5, json_answer(SCHEMA))
    assert values(replies) == right(4) * 5 and len(server.requests) == 4


def test_a_storm_of_429_and_5xx_is_ridden_out(tmp_path):
    dice = random.Random(0)

    def trouble(n, body):
        status = dice.choice([None, None, 429, 500, 502, 503])
        return status and web.Response(status=status, headers={"Retry-After": "0"} if status == 429 else {})

    with StubServer(trouble) as server:
        asking = client(server, tmp_path, max_in_flight=8, retries=50)
        replies = asking.ask(requests(60), json_answer(SCHEMA))
    assert values(replies) == right(60)
    assert set(server.served.values()) == {1} and len(server.served) == 60
    assert asking.usage.retries == asking.usage.requests - 60 > 20


def test_the_limit_gives_way_to_a_server_that_has_too_much_to_do():
    with StubServer() as server:
        server.trouble = lambda n, body: web.Response(status=429) if server.in_flight > 3 else 0.01
        asking = client(server, max_in_flight=32)
        assert values(asking.ask(requests(80), json_answer(SCHEMA))) == right(80)
    assert asking.gate.limit < 32


def test_retry_after_is_honoured():
    times = []

    def trouble(n, body):
        times.append(time.monotonic())
        return web.Response(status=429, headers={"Retry-After": "1"}) if n == 0 else None

    with StubServer(trouble) as server:
        assert values(client(server).ask(requests(1), json_answer(SCHEMA))) == right(1)
    assert times[1] - times[0] >= 1


def test_unusable_answers_are_asked_for_again_and_then_given_up(tmp_path):
    bad = ['{"educational_value": 9}', "Sure! Here is the JSON:", '{"educational_value": 3', '{"other": 1}', ""]

    def trouble(n, body):
        text = body["messages"][-1]["content"]
        if "document 1 " in text:
            return bad[n % len(bad)]
        return bad[0] if "document 2 " in text and body["seed"] == 0 else None

    with StubServer(trouble) as server:
        asking = client(server, tmp_path, max_asks=3)
        replies = asking.ask(requests(4), json_answer(SCHEMA))
        assert [r.asks for r in replies] == [1, 3, 2, 1]
        assert replies[1].value is None and replies[1].error.startswith("unusable answer: not")
        assert [replies[i].value for i in (0, 2, 3)] == [right(4)[i] for i in (0, 2, 3)]
        sent = len(server.requests)
        assert sent == 1 + 3 + 2 + 1
        # Also a bad answer was paid: a resume walks the same way without asking.
        again = client(server, tmp_path, max_asks=3).ask(requests(4), json_answer(SCHEMA))
        assert [(r.value, r.error) for r in again] == [(r.value, r.error) for r in replies]
        assert len(server.requests) == sent


def test_a_reply_that_is_no_completion_is_a_failure_of_the_server_not_an_answer(tmp_path):
    wrong = [
        web.Response(text="<html>gateway</html>"),
        web.Response(text='{"choices": []}'),
        web.Response(text='{"choices": [{"message": {"content": null}}]}'),
        web.Response(text="[1"),
    ]
    with StubServer(lambda n, body: wrong[n] if n < 4 else None) as server:
        replies = client(server, tmp_path, max_in_flight=1).ask(requests(2), json_answer(SCHEMA))
    assert values(replies) == right(2)


def test_a_request_that_the_server_refuses_costs_only_its_document(tmp_path):
    def trouble(n, body):
        if "document 2 " in body["messages"][-1]["content"]:
            return web.Response(status=400, text="maximum context length is 4096 tokens")
        return None

    with StubServer(trouble) as server:
        replies = client(server, tmp_path).ask(requests(5), json_answer(SCHEMA))
    assert replies[2].error.startswith("HTTP 400 maximum context") and replies[2].value is None
    assert [r.error for i, r in enumerate(replies) if i != 2] == [None] * 4
    assert len(server.requests) == 5


def test_a_document_that_the_server_always_fails_on_is_given_up_while_others_are_answered(tmp_path):
    def trouble(n, body):
        return web.Response(status=500) if "document 2 " in body["messages"][-1]["content"] else None

    with StubServer(trouble) as server:
        replies = client(server, tmp_path, retries=3).ask(requests(5), json_answer(SCHEMA))
    assert replies[2].error == "no answer in 4 attempts: HTTP 500"
    assert sum(r.error is None for r in replies) == 4


def test_a_slow_answer_is_given_up_and_a_slow_server_is_waited_for(tmp_path):
    with StubServer(lambda n, body: 5.0 if n < 2 else 0.0) as server:
        asking = client(server, tmp_path, timeout_s=0.5)
        assert values(asking.ask(requests(6), json_answer(SCHEMA))) == right(6)
    assert asking.usage.retries == 2
    with (
        StubServer(lambda n, body: 30.0) as server,
        pytest.raises(ResourceUnavailable, match=r"no answer from .* in 1 s \(time-out\)"),
    ):
        client(server, tmp_path / "other", timeout_s=0.3, patience_s=1, retries=100).ask(
            requests(6), json_answer(SCHEMA)
        )


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def start_stub(port, delay):
    program = [sys.executable, f"{HERE}/stub_server.py", str(port), str(delay)]
    server = subprocess.Popen(program, stdout=subprocess.PIPE)
    assert server.stdout.readline()
    return server


def test_a_server_killed_in_the_middle_is_waited_for_or_the_run_stops_and_goes_on(tmp_path):
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    server = start_stub(port, 0.05)
    killer = threading.Timer(0.5, lambda: os.kill(server.pid, signal.SIGKILL))
    killer.start()
    with pytest.raises(ResourceUnavailable, match="curation serve"):
        client(url, tmp_path, max_in_flight=4, patience_s=1).ask(requests(200), json_answer(SCHEMA))
    server.wait()
    paid = len(AnswerCache(tmp_path / "answers"))
    assert 0 < paid < 200
    with pytest.raises(ResourceUnavailable):
        client(url, tmp_path, patience_s=0.3).ask(requests(200), json_answer(SCHEMA))
    server = start_stub(port, 0.001)
    try:
        resumed = client(url, tmp_path)
        assert values(resumed.ask(requests(200), json_answer(SCHEMA))) == right(200)
        assert resumed.usage.requests == 200 - paid
    finally:
        server.kill()
        server.wait()


def test_a_server_that_restarts_within_the_patience_is_not_noticed(tmp_path):
    port = free_port()
    server = start_stub(port, 0.02)
    second = []

    def restart():
        os.kill(server.pid, signal.SIGKILL)
        server.wait()
        time.sleep(0.5)
        second.append(start_stub(port, 0.001))

    threading.Timer(0.3, restart).start()
    try:
        asking = client(f"http://127.0.0.1:{port}", tmp_path, max_in_flight=4, patience_s=20)
        assert values(asking.ask(requests(150), json_answer(SCHEMA))) == right(150)
        assert asking.usage.retries > 0
    finally:
        server.wait()
        second[0].kill()
        second[0].wait()


def test_another_model_that_comes_back_under_the_name_gives_no_answer(tmp_path):
    with StubServer(names=["stub", "stub@1"]) as server:
        asking = client(server, tmp_path)
        asking.ask(requests(2), json_answer(SCHEMA))
        server.names = ["stub", "stub@2"]
        with pytest.raises(ResourceUnavailable, match="404"):
            asking.ask(requests(4), json_answer(SCHEMA))


def test_replicas_share_the_work_and_one_may_die(tmp_path):
    with StubServer(lambda n, body: 0.01) as one:
        with StubServer(lambda n, body: 0.01) as two:
            both = client([one.url, f"{two.url}/v1"], tmp_path, max_in_flight=8)
            assert values(both.ask(requests(60), json_answer(SCHEMA))) == right(60)
            assert min(len(one.requests), len(two.requests)) > 20
        more = [Request("Judge again.", r.user, schema=SCHEMA) for r in requests(60)]
        assert values(both.ask(more, json_answer(SCHEMA))) == right(60)


def test_the_token_budget_is_a_limit_over_all_that_share_the_answers(tmp_path):
    with StubServer() as server:
        first = client(server, tmp_path, token_budget=2000, max_in_flight=1)
        with pytest.raises(ResourceUnavailable, match="token budget of 2,000 is spent"):
            first.ask(requests(500), json_answer(SCHEMA))
        assert 2000 <= AnswerCache(tmp_path / "answers").tokens < 2100
        sent = len(server.requests)
        with pytest.raises(ResourceUnavailable, match="budget"):
            client(server, tmp_path, token_budget=2000).ask(requests(500), json_answer(SCHEMA))
        assert len(server.requests) == sent  # the answers that are there cost nothing, a new one is not asked for
        more = client(server, tmp_path, token_budget=10**6).ask(requests(100), json_answer(SCHEMA))
    assert values(more) == right(100)


def test_wrong_addresses_names_and_keys_are_told_in_one_line(tmp_path):
    with StubServer() as server:
        with pytest.raises(ResourceUnavailable, match="does not serve the model 'qwen'; it serves stub, stub@1"):
            client(server, model="qwen").ask(requests(1), plain_answer)
        with pytest.raises(ResourceUnavailable, match="404.*check the address"):
            client(f"{server.url}/nowhere").ask(requests(1), plain_answer)
    with pytest.raises(ResourceUnavailable, match="neither a URL .* nor the state file"):
        client(str(tmp_path / "service.json")).ask(requests(1), plain_answer)

"""The supervisor with servers that can be killed, go deaf or never start; and what its command refuses."""

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time

import psutil
import pytest
from stub_server import HERE
from typer.testing import CliRunner

from curation.cli import app
from curation.errors import ConfigError
from stages.llm.client import Client
from stages.llm.model_folder import model_digest
from stages.llm.request import Request, plain_answer
from stages.llm.servers import server_urls

PROGRAM = """
import sys
from pathlib import Path
from stages.llm import replica, supervisor
supervisor._LOOK_S, supervisor._BACK_OFF_S, supervisor._DEAF_S, replica._STOP_S = 0.1, (0.1, 0.5), 1.0, 1.0
state, *commands = sys.argv[1:]
replicas = []
for i, line in enumerate(commands):
    url, *command = line.split(" ")
    replicas.append(replica.LocalReplica(i, url, command=command, log=Path(state).parent / f"{i}.log"))
try:
    supervisor.Supervisor("stub", Path("."), "1", replicas, Path(state), give_up=2).run()
except supervisor.CurationError as error:
    print(error)
    sys.exit(1)
"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(condition, seconds=30):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError("waited in vain")


@pytest.fixture
def supervisor(tmp_path):
    """Start a supervisor of replicas, each `URL COMMAND`; gives it and a function that reads its state."""
    state = tmp_path / "service.json"
    started = []

    def start(*replicas):
        command = [sys.executable, "-c", PROGRAM, str(state), *replicas]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        return started[-1], lambda: json.loads(state.read_text()) if state.exists() else {"replicas": []}

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def stub(port):
    return f"http://127.0.0.1:{port} {sys.executable} {HERE}/stub_server.py {port}"


def states(read):
    return [replica["state"] for replica in read()["replicas"]]


def test_replicas_that_die_or_go_deaf_are_restarted_and_none_is_left_behind(supervisor, tmp_path):
    process, read = supervisor(stub(free_port()), stub(free_port()))
    wait_for(lambda: states(read) == ["ready", "ready"])
    client = Client(str(tmp_path / "service.json"))
    assert client.identify().name == "stub@1" == read()["exact_name"]
    pids = [replica["pid"] for replica in read()["replicas"]]
    os.kill(pids[0], signal.SIGKILL)
    os.kill(pids[1], signal.SIGSTOP)  # deaf: alive, and answers nobody
    wait_for(lambda: [r["restarts"] for r in read()["replicas"]] == [1, 1] and states(read) == ["ready", "ready"])
    reply = client.ask([Request("Say.", "<document>\nhello\n</document>")], plain_answer)[0]
    assert reply.value == "In other words: hello"
    client.close()
    now = [replica["pid"] for replica in read()["replicas"]]
    assert not set(now) & set(pids) and not any(psutil.pid_exists(pid) for pid in pids)
    process.terminate()
    assert process.wait(20) == 0
    assert states(read) == ["stopped", "stopped"] and not any(psutil.pid_exists(pid) for pid in now)


def test_replicas_end_with_a_supervisor_that_is_killed(supervisor):
    process, read = supervisor(stub(free_port()))
    wait_for(lambda: states(read) == ["ready"])
    pid = read()["replicas"][0]["pid"]
    process.kill()
    wait_for(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


def test_a_server_that_never_starts_is_given_up_with_its_last_words(supervisor):
    broken = textwrap.dedent("raise RuntimeError('no_memory')")
    process, _ = supervisor(f"http://127.0.0.1:{free_port()} {sys.executable} -c {broken.replace(' ', chr(9))}")
    assert process.wait(60) == 1
    assert "did not start in 3 attempts: ended with 1: RuntimeError: no_memory; its log is" in process.stdout.read()


def test_a_models_digest_follows_its_files(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.truncate(70 << 20)
    first = model_digest(tmp_path)
    (tmp_path / "README.md").write_text("words")
    assert model_digest(tmp_path) == first and len(first) == 12
    with (tmp_path / "model.safetensors").open("r+b") as file:
        file.write(b"x")
    second = model_digest(tmp_path)
    (tmp_path / "config.json").write_text('{"a": 1}')
    assert len({first, second, model_digest(tmp_path)}) == 3
    with pytest.raises(ConfigError, match="no config.json"):
        model_digest(tmp_path / "..")


def test_what_the_command_refuses(tmp_path):
    def call(*arguments):
        return str(CliRunner().invoke(app, ["serve", *arguments]).exception)

    (tmp_path / "config.json").write_text("{}")
    assert "is no folder, nor the name of a hub's repository" in call("nowhere")
    assert "has no vLLM" in call(str(tmp_path), "--python", sys.executable)
    assert "No such file" in call(str(tmp_path), "--python", "/no/python")
    with pytest.raises(ConfigError, match="not a state file"):
        server_urls(str(tmp_path / "config.json"))

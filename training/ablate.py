"""The command `curation ablate`: does a stage, or a value of a key, make data that models learn more from?

The pipeline is run twice on the same input, as it is and with the change, and both runs' token shards train paired
proxies at equal tokens (`compare.py`). What is judged by matters more than anything else. `--held-out` names token
shards of the text one wants a model to be good at; without it a part of the documents that both runs keep is held
out, which says nothing about what only one of them keeps.
"""

from __future__ import annotations

import json
import signal
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

app = typer.Typer()

#: Share of the documents that both runs keep which is held out at most, where no held-out text is given.
_COMMON_SHARE = 0.2


def _plan(name: str, options: dict[str, Any]) -> Any:
    """The plan of a pipeline that makes token shards."""
    from curation.config import find_config, load_pipeline
    from curation.errors import ConfigError
    from curation.plan import make_plan

    folder = str(find_config(options["config"]).resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    pipeline = load_pipeline(name, **options)
    if not any(output.folder == "tokens" for stage in pipeline.stages for output in stage.outputs()):
        raise ConfigError(f"pipeline '{name}' has no stage `tokenize` whose shards a model could be trained on")
    return make_plan(pipeline)


def _run(plan: Any, inline: bool, workers: int | None) -> str:
    """Run a plan; returns the folder of its token shards."""
    from curation.executor import Inline, OnRay
    from curation.progress import Progress
    from curation.run import Run
    from curation.storage import Storage

    url = plan.pipeline.settings.output
    executor = Inline(url) if inline else OnRay(url, workers, None)
    Run(plan, executor, Storage(url), Progress(Console(stderr=True, highlight=False))).execute()
    return f"{url}/tokens"


def common_documents(first: str, second: str, most: int) -> Any:
    """Documents, as the first folder has them, that are in both: those whose ids hash lowest, a fifth at most."""
    from curation.errors import ConfigError
    from training import held_out
    from training.proxy import read_corpus

    names = [set(read_corpus(folder)[""].names) for folder in (first, second)]
    common = names[0] & names[1]
    number = min(most, int(len(common) * _COMMON_SHARE))
    if number < 2:
        raise ConfigError(f"the two runs have {len(common)} documents in common, too few; give --held-out")
    everything = held_out.read(first, sys.maxsize)
    index = [i for i, name in enumerate(everything.names) if name in common]
    chosen = sorted(index, key=lambda i: held_out.hash_of(everything.names[i]))[:number]
    return replace(
        everything,
        names=[everything.names[i] for i in chosen],
        ids=[everything.ids[i] for i in chosen],
        n_bytes=everything.n_bytes[chosen],
    )


@app.command()
def ablate(
    name: Annotated[str, typer.Argument(metavar="PIPELINE", help="Name of the pipeline; it must end with tokens.")],
    without: Annotated[list[str] | None, typer.Option("--without", help="Stage to leave out; may be repeated.")] = None,
    sets: Annotated[
        list[str] | None, typer.Option("--set", "-s", help="stage.key=value of the changed run; may be repeated.")
    ] = None,
    inputs: Annotated[list[str] | None, typer.Option("--input", "-i", help="Path, glob or URL to read.")] = None,
    config: Annotated[str | None, typer.Option("--config", "-c", help="Config file (default: pipelines.yaml).")] = None,
    output: Annotated[str | None, typer.Option("--output", "-o", help="Folder (default: out/ablate/PIPELINE).")] = None,
    held: Annotated[
        str | None, typer.Option("--held-out", help="Token shards of the text to judge by (default: see above).")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Pairs of models to train.", min=2)] = 5,
    proxy: Annotated[
        list[str] | None, typer.Option("--proxy", "-p", help="key=value of the proxy: model, tokens, length, …")
    ] = None,
    inline: Annotated[bool, typer.Option("--inline", help="Run the pipeline in this process, without Ray.")] = False,
    workers: Annotated[int | None, typer.Option(help="CPUs of the local Ray (default: all).", min=1)] = None,
) -> None:
    """Train models on a pipeline's output with and without a change, and say whether the change helps.

    Defaults are for a GPU: 5 pairs of 2 M tokens take an hour on two CPU cores; `-p tokens=500000 -p model=tiny-qwen3`
    takes ten minutes. The documents judged by are never trained on, nor are near copies of them.
    """
    from curation.errors import ConfigError
    from training.installed import check_installed

    check_installed()
    from training import held_out
    from training.compare import compare
    from training.config import keys
    from training.proxy import Proxy, read_corpus

    if not without and not sets:
        raise ConfigError("what is to be changed? give --without STAGE or --set stage.key=value")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    settings = keys(Proxy, proxy or (), "--proxy")
    settings.steps  # noqa: B018  a ConfigError now, not after the runs
    out = Console(highlight=False)
    folder = output or f"out/ablate/{name}"
    common: dict[str, Any] = {"config": config, "inputs": inputs or ()}
    changed = {"output": f"{folder}/changed", "sets": sets or (), "without": without or ()}
    plans = [_plan(name, common | more) for more in ({"output": f"{folder}/as_it_is"}, changed)]
    first, second = (_run(plan, inline, workers) for plan in plans)
    judged = held_out.read(held, settings.held_out) if held else common_documents(first, second, settings.held_out)
    out.print(f"judged by {len(judged.names):,} documents" + ("" if held else " that both runs keep"))
    corpora = [read_corpus(tokens)[""] for tokens in (first, second)]
    result = compare(corpora[0], corpora[1], judged, settings, seeds, lambda line: out.print(line, markup=False))
    what = ", ".join([*(f"without {stage}" for stage in without or ()), *(sets or ())])
    table = Table(box=None, pad_edge=False)
    for column in ("", "bits per byte", "documents", "tokens"):
        table.add_column(column, justify="left" if not column else "right")
    for label, corpus, bits in (("as it is", corpora[0], result.first), (what, corpora[1], result.second)):
        table.add_row(label, f"{bits.mean():.4f}", f"{len(corpus.names):,}", f"{corpus.tokens:,}")
    out.print(table)
    out.print(sentence(what, result), markup=False, soft_wrap=True)
    facts = asdict(result) | {"verdict": result.verdict, "change": what, "proxy": settings.model_dump(), "seeds": seeds}
    facts |= {"held_out": held or "common documents", "documents": len(judged.names)}
    file = Path(folder) / "ablation.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(facts, indent=1, default=lambda a: a.tolist()) + "\n", encoding="utf-8")


def sentence(what: str, result: Any) -> str:
    """The verdict in words."""
    bounds = f"{result.low:+.4f} to {result.high:+.4f}"
    interval = f"{result.difference:+.4f} bits per byte, 95 % interval {bounds}, p = {result.p:.2g}"
    if result.verdict == "no difference found":
        most = max(abs(result.low), abs(result.high)) / result.first.mean()
        return f"{what}: no difference found ({interval}); one of more than {most:.1%} is unlikely"
    return f"{what}: {'helps' if result.verdict == 'better' else 'hurts'} ({interval})"

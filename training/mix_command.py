"""The command group `curation mix`: `fit` finds shares for the stage `mix` by proxy runs (RegMix).

Every run is written down when it is done (`runs.jsonl`), with what it depends on; the same command goes on after a
stop, and more `runs` in the file add to those that are there.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import typer
import yaml
from pydantic import Field
from rich.console import Console
from rich.table import Table

from training.strict import Strict

if TYPE_CHECKING:
    from training.held_out import HeldOut
    from training.proxy import Corpus

app = typer.Typer(no_args_is_help=True)


@app.callback()
def group() -> None:
    """Find shares for the stage `mix`."""


class MixFit(Strict):
    """The file of `curation mix fit`."""

    domains: dict[str, str] = Field(default={})
    """Name -> folder of token shards. Or leave it out and give `data` and `column`."""
    data: str | None = None
    """Folder of token shards whose documents belong to the domains that `column` names."""
    column: str = "source"
    """The column of the domain; also in the rule for the stage `mix` that is written."""
    target: str
    """Folder of token shards with the text the models are to be good at; never trained on, nor near copies of it."""
    target_column: str | None = None
    """Column of the parts of the target that are fitted one by one. Default: one part."""
    target_weights: dict[str, float] = Field(default={})
    """Weights of the parts in the objective. Default: each part by its bytes."""
    output: str = "out/mix-fit"
    """Folder for runs and result."""
    runs: int = Field(default=32, ge=8)
    """Mixtures to train. RegMix has 512 for 17 domains; a few per domain are the least."""
    kind: Literal["auto", "log_linear", "lightgbm"] = "auto"
    """The regression; `auto` takes the one with the smaller error on runs it has not seen."""
    budget_tokens: float | None = Field(default=None, gt=0)
    """Tokens of the training the shares are for. With it no domain gets more than it can supply in `max_epochs`."""
    max_epochs: float = Field(default=4.0, gt=0)
    """Most times a domain may be repeated in that training."""
    seed: int = 0
    """Of the mixtures; run i has the seed i."""
    proxy: dict[str, Any] = Field(default={})
    """Keys of the proxy: model, tokens, length, batch_rows, learning_rate, vocabulary, held_out."""


def _load(path: str) -> MixFit:
    from pydantic import ValidationError

    from curation.errors import ConfigError

    file = Path(path)
    if not file.is_file():
        raise ConfigError(f"{path}: no such file; expected the YAML of `mix fit`")
    try:
        data = yaml.safe_load(file.read_text(encoding="utf-8"))
        made = MixFit(**data)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from error
    except (ValidationError, TypeError) as error:
        if not isinstance(error, ValidationError):
            raise ConfigError(f"{path}:1: expected a mapping") from error
        first = error.errors()[0]
        raise ConfigError(f"{path}: key '{'.'.join(map(str, first['loc']))}': {first['msg'].lower()}") from error
    if bool(made.domains) == bool(made.data):
        raise ConfigError(f"{path}: give either `domains` or `data`")
    return made


def _read(wanted: MixFit, most: int) -> tuple[dict[str, Corpus], dict[str, int]]:
    """Corpora of the domains, each up to what one run could use; and the tokens that each domain has."""
    from curation.errors import ConfigError
    from training.proxy import read_corpus, supply

    if wanted.data:
        corpora, have = read_corpus(wanted.data, most, wanted.column), supply(wanted.data, wanted.column)
    else:
        corpora = {name: read_corpus(folder, most)[""] for name, folder in wanted.domains.items()}
        have = {name: supply(folder)[""] for name, folder in wanted.domains.items()}
    if len(corpora) < 2:
        raise ConfigError(f"{len(corpora)} domain: there is nothing to mix")
    return dict(sorted(corpora.items())), have


@app.command()
def fit(
    config: Annotated[str, typer.Argument(help="YAML: domains, target, runs; see docs/training.md.")],
) -> None:
    """Train proxies on drawn mixtures and find the one that models learn most from (RegMix).

    Writes shares for the stage `mix` to `shares.yaml`, and says how far they can be trusted.
    """
    from curation.errors import ConfigError
    from training.installed import check_installed

    check_installed()
    from training import held_out, regmix
    from training.config import keys
    from training.proxy import Proxy, apart_from, common_ids, proxy_nats

    wanted = _load(config)
    settings = keys(Proxy, [f"{k}={v}" for k, v in wanted.proxy.items()], "proxy:")
    out = Console(highlight=False)
    corpora, have = _read(wanted, settings.steps * settings.batch_rows * settings.length)
    names = list(corpora)
    by = [wanted.target_column] if wanted.target_column else []
    held = held_out.read(wanted.target, settings.held_out, by)
    parts, weights = _parts(held, wanted)
    id_map = common_ids(list(corpora.values()), settings.vocabulary)
    corpora = {name: apart_from(corpus, held) for name, corpus in corpora.items()}
    prior = np.array([have[name] for name in names], float)
    caps = prior * wanted.max_epochs / wanted.budget_tokens if wanted.budget_tokens else None
    # One draw a run, so that more runs keep those that are there.
    drawn = [regmix.draw_mixtures(prior / prior.sum(), 1, [wanted.seed, i], caps) for i in range(wanted.runs)]
    mixtures = np.concatenate(drawn)
    folder = Path(wanted.output)
    folder.mkdir(parents=True, exist_ok=True)
    documents = [[name, corpus.names] for name, corpus in corpora.items()]
    about = json.dumps([settings.model_dump(), id_map and id_map.digest, held.names, documents])
    digest = hashlib.sha256(about.encode()).hexdigest()[:16]
    log = folder / "runs.jsonl"
    done = {}
    for line in log.read_text(encoding="utf-8").splitlines() if log.is_file() else []:
        row = json.loads(line)
        if row["question"] != digest:
            raise ConfigError(f"{log}: its runs are of other data, proxies or targets; give another output")
        done[row["run"]] = row
    shares, losses = [], []
    for i, mixture in enumerate(mixtures):
        if i not in done or not np.allclose(done[i]["shares"], mixture):
            nats = proxy_nats(settings, corpora, dict(zip(names, mixture, strict=True)), id_map, held, i)
            bits = [float(nats[p].sum() / np.log(2) / held.n_bytes[p].sum()) for p in parts.values()]
            done[i] = {"question": digest, "run": i, "shares": mixture.tolist(), "bits_per_byte": bits}
            with log.open("a", encoding="utf-8") as handle:
                handle.write(json.dumps(done[i]) + "\n")
            told = ", ".join(f"{name} {share:.0%}" for name, share in zip(names, mixture, strict=True))
            out.print(f"run {i + 1} of {wanted.runs}: {float(np.dot(bits, weights)):.4f} bits per byte; {told}")
        shares.append(done[i]["shares"])
        losses.append(done[i]["bits_per_byte"])
    limits = None if caps is None else dict(zip(names, caps.tolist(), strict=True))
    found = regmix.fit(
        names,
        np.array(shares),
        np.array(losses),
        dict(zip(names, prior, strict=True)),
        wanted.kind,
        weights,
        limits,
        wanted.seed,
    )
    table = Table(box=None, pad_edge=False)
    for column in ("domain", "share", "of all tokens", "epochs"):
        table.add_column(column, justify="left" if column == "domain" else "right")
    for name, own in zip(names, prior / prior.sum(), strict=True):
        epochs = f"{found.shares[name] * wanted.budget_tokens / have[name]:.2f}" if wanted.budget_tokens else ""
        table.add_row(name, f"{found.shares[name]:.1%}", f"{own:.1%}", epochs)
    out.print(table)
    out.print(
        f"{found.loss:.4f} bits per byte by {found.kind}, {found.prior_loss:.4f} in the domains' own shares; error "
        f"on runs not seen {found.error:.4f} of a spread of {found.spread:.4f}, rank correlation {found.rank:.2f}",
        soft_wrap=True,
    )
    if found.caution:
        out.print(f"warning: {found.caution}", style="yellow", soft_wrap=True)
    rule = {"shares": [{"column": wanted.column, "ratios": {name: round(found.shares[name], 6) for name in names}}]}
    trust = found.caution or f"error on runs not seen: {found.error:.4f} bits per byte"
    note = f"# By {wanted.runs} proxy runs; {trust}\n"
    (folder / "shares.yaml").write_text(note + yaml.safe_dump(rule, sort_keys=False), encoding="utf-8")
    out.print(f"  {folder}/shares.yaml: keys of a recipe of the stage `mix`", soft_wrap=True)


def _parts(held: HeldOut, wanted: MixFit) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Documents of each part of the target (masks), and the parts' weights, which sum to 1."""
    from curation.errors import ConfigError

    if not wanted.target_column:
        return {"all": np.ones(len(held.names), bool)}, np.ones(1)
    values = np.array(held.labels[wanted.target_column])
    parts = {value: values == value for value in sorted(set(values.tolist()))}
    for name in wanted.target_weights:
        if name not in parts:
            raise ConfigError(f"target_weights: no held-out document has {wanted.target_column} '{name}'")
    if wanted.target_weights:
        parts = {name: mask for name, mask in parts.items() if wanted.target_weights.get(name, 0) > 0}
        weights = np.array([wanted.target_weights[name] for name in parts])
    else:
        weights = np.array([held.n_bytes[mask].sum() for mask in parts.values()], float)
    return parts, weights / weights.sum()

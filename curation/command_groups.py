"""Commands that live beside what they are about (`curation dedup query`), under the one command `curation`.

The engine does not know stages and models: it holds the name of each group and of the module with its typer app, which
is imported when the group is called, so that `curation --help` stays fast and free of Ray and torch.
"""

from __future__ import annotations

import importlib
from typing import Any

import typer
from typer.core import TyperGroup

from curation.errors import ConfigError

#: Command groups of other packages: name -> (module whose typer `app` it is, the line that help shows).
GROUPS: dict[str, tuple[str, str]] = {
    "dedup": ("stages.dedup.cli", "Ask, tend and shrink an index that `minhash_dedup` wrote."),
    "shards": ("stages.pack.cli", "Check, describe and export the shards a trainer reads."),
    "mix": ("training.mix_command", "Find shares of domains for the stage `mix` by proxy runs."),
    "decontaminate": (
        "stages.filter.decontaminate_commands",
        "Index the benchmarks that `decontaminate` keeps out of a corpus.",
    ),
    "classifiers": ("classifiers.cli", "Train and judge the models that label documents."),
    "tokenizer": ("stages.tokenize.cli", "Compare tokenizers on a corpus."),
}
#: Single commands with a module of their own: name -> module whose typer `app` holds that one command.
COMMANDS: dict[str, str] = {
    "report": "curation.report.cli",
    "show": "curation.show",
    "diff": "curation.diff",
    "card": "curation.card",
    "reference": "curation.reference",
    "serve": "stages.llm.serve",
    "train": "training.command",
    "ablate": "training.ablate",
    "export-model": "training.export",
}


def _app(name: str, module: str) -> typer.Typer:
    try:
        return importlib.import_module(module).app
    except ImportError as error:
        raise ConfigError(f"the commands of '{name}' cannot be loaded from {module}: {error}") from error


class Elsewhere(TyperGroup):
    """A command group whose module is imported when one of its commands is asked for; until then it is a name."""

    def __init__(self, name: str, module: str, summary: str):
        super().__init__(name=name, help=summary, no_args_is_help=True)
        self._module = module

    def _group(self) -> TyperGroup:
        return typer.main.get_group(_app(str(self.name), self._module))

    def list_commands(self, ctx: Any) -> list[str]:
        return self._group().list_commands(ctx)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return self._group().get_command(ctx, cmd_name)


class WithGroups(TyperGroup):
    """The commands of this module, then those of `COMMANDS` and `GROUPS`."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [*super().list_commands(ctx), *COMMANDS, *GROUPS]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name in COMMANDS:
            command = typer.main.get_command(_app(cmd_name, COMMANDS[cmd_name]))
            command.name = cmd_name
            return command
        return Elsewhere(cmd_name, *GROUPS[cmd_name]) if cmd_name in GROUPS else super().get_command(ctx, cmd_name)

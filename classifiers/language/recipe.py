"""The recipe of a model: which sources are trained on, which judge, under which licence, and with which settings."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from classifiers.language.training import Settings
from curation.errors import ConfigError

RECIPE = Path(__file__).with_name("recipe.toml")


@dataclass(frozen=True)
class Source:
    """A source of sentences, as named in the column `source` of the data."""

    name: str
    origin: str
    licence: str
    held_out: bool = False


@dataclass(frozen=True)
class Recipe:
    """What `recipe.toml` says; the keys are explained there."""

    sources: dict[str, Source]
    settings: Settings
    seed: int = 1
    keep: int = 1 << 17
    outside_texts: int = 250
    noise_texts: int = 4000
    contradicted: float = 0.9
    margin: float = 0.5

    @classmethod
    def load(cls, path: str | Path = RECIPE) -> Recipe:
        """Read a recipe. ConfigError if it cannot be read, or has a key that means nothing."""
        try:
            given: dict[str, Any] = tomllib.loads(Path(path).read_text(encoding="utf-8"))
            sources = {row["name"]: Source(**row) for row in given.pop("source", [])}
            settings = Settings(**{f.name: given.pop(f.name) for f in fields(Settings) if f.name in given})
            return cls(sources, settings, **given)
        except (OSError, tomllib.TOMLDecodeError, TypeError, KeyError) as error:
            raise ConfigError(f"recipe {path}: {error}") from error

    @property
    def held_out(self) -> list[str]:
        """Names of the sources that judge."""
        return [source.name for source in self.sources.values() if source.held_out]

"""Whether what training needs is installed: the extra `train` is a gigabyte, and curation does without it."""

from __future__ import annotations

from importlib.util import find_spec

from curation.errors import ConfigError


def check_installed() -> None:
    """ConfigError that says what to install, if a library of the extra `train` is missing."""
    missing = [
        name for name in ("torch", "transformers", "tensorboardX", "lightgbm", "pandas") if find_spec(name) is None
    ]
    if missing:
        raise ConfigError(f"{', '.join(missing)} missing: pip install -e '.[train]' -c constraints.txt")

"""The servers that answer: where they are, which model they serve, and which of them is to be asked next.

A server is any that speaks OpenAI's chat completions: one URL, several of them, or the state file that `curation serve`
keeps, which names its replicas. The model's identity is part of every cached answer. `curation serve` serves a model
under two names, `NAME` and `NAME@HASH` with a digest of its files, so a client learns from `/v1/models` exactly what it
talks to; of other servers it learns the name and path they tell.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from curation.errors import ConfigError, ResourceUnavailable


@dataclass
class Server:
    """One base URL. `down_until`: the time (monotonic) before which it is not asked, after it failed to answer."""

    url: str
    in_flight: int = 0
    failures: int = 0
    down_until: float = 0.0


@dataclass(frozen=True)
class Model:
    """What a server serves: the name to ask for, and all that is known of which model it is."""

    name: str
    identity: str


def server_urls(where: str | Sequence[str]) -> list[str]:
    """Base URLs without `/v1`: from a URL, a list of URLs, or the path of a state file. ConfigError if it is none."""
    if isinstance(where, str) and "://" not in where:
        path = os.path.expanduser(where)
        try:
            with open(path, encoding="utf-8") as file:
                where = [replica["url"] for replica in json.load(file)["replicas"] if replica["url"]]
        except FileNotFoundError as error:
            raise ConfigError(
                f"server '{where}' is neither a URL (http://localhost:8000) nor the state file of `curation serve`"
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"server '{where}': not a state file of `curation serve`") from error
        if not where:
            raise ConfigError(f"server '{path}': none of its replicas has a place to run at yet")
    urls = [where] if isinstance(where, str) else list(where)
    if not urls:
        raise ConfigError("no server is named")
    return [url.rstrip("/").removesuffix("/v1") for url in urls]


def choose_model(listing: Any, wanted: str | None, url: str) -> Model:
    """The model to ask for, from the body of `/v1/models`. ResourceUnavailable if the server serves another."""
    try:
        served = {entry["id"]: entry for entry in listing["data"]}
    except (KeyError, TypeError) as error:
        raise ResourceUnavailable(f"{url}/v1/models lists no models: is it an OpenAI-compatible server?") from error
    if not served:
        raise ResourceUnavailable(f"{url} serves no model")
    name = wanted or next(iter(served))
    if name not in served:
        raise ResourceUnavailable(f"{url} does not serve the model '{name}'; it serves {', '.join(served)}")
    exact = next((other for other in served if other.startswith(f"{name.split('@')[0]}@")), None)
    # Asked for by its exact name, a server that comes back with other weights refuses instead of answering.
    return Model(exact, exact) if exact else Model(name, f"{name} {served[name].get('root') or ''}".strip())


def least_loaded(servers: list[Server], now: float) -> Server:
    """The server with the fewest requests in flight among those that are up; if all are down, the first to be tried
    again."""
    up = [server for server in servers if server.down_until <= now]
    return min(up, key=lambda s: s.in_flight) if up else min(servers, key=lambda s: s.down_until)

"""One run at a time in an output folder.

Two runs in one folder could not lose documents (tasks commit the same bytes), but they would do all work twice and
could sweep each other's files. The lock names its owner and is touched every few seconds, so a lock left by a
killed run is recognised: at once on the same host (its process is gone), after a minute from another.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from typing import Any

import psutil

from curation.errors import ConfigError
from curation.storage import Storage

NAME = "run.lock"
BEAT_S = 5.0
STALE_S = 60.0


class Lock:
    """Context manager that holds the lock of a run's folder."""

    def __init__(self, storage: Storage):
        self.storage = storage
        self._stop = threading.Event()

    def _content(self) -> bytes:
        process = psutil.Process()
        owner = {"host": socket.gethostname(), "pid": process.pid, "started": process.create_time()}
        return json.dumps(owner | {"beat": time.time()}).encode()

    def _holder(self) -> dict[str, Any] | None:
        """The living owner of the lock, if there is one."""
        owner = self.storage.read_json(NAME)
        if owner is None:
            return None
        if owner["host"] == socket.gethostname():
            try:
                return owner if abs(psutil.Process(owner["pid"]).create_time() - owner["started"]) < 1 else None
            except psutil.Error:
                return None
        return owner if time.time() - owner["beat"] < STALE_S else None

    def __enter__(self) -> Lock:
        owner = self._holder()
        if owner is not None:
            raise ConfigError(
                f"{self.storage.url}: another run is at work in this folder (process {owner['pid']} on "
                f"{owner['host']}); wait for it, or choose another --output"
            )
        self.storage.remove(NAME)
        if self.storage.local:
            os.makedirs(self.storage.root, exist_ok=True)
            try:
                handle = os.open(self.storage.path(NAME), os.O_CREAT | os.O_EXCL | os.O_WRONLY)
            except FileExistsError as error:
                raise ConfigError(f"{self.storage.url}: another run has just begun in this folder") from error
            os.write(handle, self._content())
            os.close(handle)
        else:
            self._touch()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()
        return self

    def _touch(self) -> None:
        with self.storage.write(NAME) as file:
            file.write(self._content())

    def _beat(self) -> None:
        while not self._stop.wait(BEAT_S):
            try:
                self._touch()
            except OSError:
                continue  # a full disk must not end the run through its lock

    def __exit__(self, *_: Any) -> None:
        self._stop.set()
        self._thread.join()
        self.storage.remove(NAME)

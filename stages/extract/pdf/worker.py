"""The process in which a PDF engine runs: it reads pages one by one, and may be killed at any of them.

A page of two kilobytes can hold an engine for hours (forms that draw forms that draw forms), in native code that
hears no signal, or take all memory. So the engine lives in a process of its own, which is started once, imports
its engine once, and reads page after page. `engine` is its other end.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from stages.extract.pdf.page import Opened, PageText

#: Backends by the name they have in a pipeline.
BACKENDS = ("pymupdf", "pdfium")


class Backend(Protocol):
    """A document opened by an engine. Neither the constructor nor `page` raises for what a file holds."""

    opened: Opened

    def page(self, number: int) -> PageText:
        """The words of a page."""

    def render(self, number: int, longest_side: int, turns: int = 0) -> tuple[int, int, bytes]:
        """Width, height and grey levels of a page, turned clockwise by so many quarters."""


def open_document(backend: str, content: bytes) -> Backend:
    """Open a document with the backend of that name."""
    if backend == "pymupdf":
        from stages.extract.pdf import mupdf

        return mupdf.Document(content)
    from stages.extract.pdf import pdfium

    return pdfium.Document(content)


def _answer(connection: Connection, backend: str, content: bytes, method: str, first: int, args: tuple) -> None:
    """Send what the document says of itself, then one value a page, then None; CPU seconds beside each.

    first: where to start; `args` is (stop,) for `page`, or what `render` takes after the number.
    """

    def send(value: Any) -> None:
        connection.send((value, time.process_time()))

    try:
        document = open_document(backend, content)
    except MemoryError:
        send(Opened(problem="memory"))
        return send(None)
    send(document.opened)
    if document.opened.problem is None:
        numbers = [first] if method == "render" else range(first, min(document.opened.pages, args[0]))
        for number in numbers:
            try:
                send(document.page(number) if method == "page" else document.render(number, *args))
            except MemoryError:
                send(PageText(number, error="memory"))
            except Exception as error:
                send(PageText(number, error=f"{type(error).__name__}: {error}"[:200]))
    return send(None)


def _main(connection_fd: int, parent: int, memory: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: die with the parent, in whatever code
        if os.getppid() != parent:
            os._exit(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    np.zeros(1)
    used = 0
    if sys.platform == "linux":
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + memory, used + memory))
    connection = Connection(connection_fd)
    while True:
        try:
            request = connection.recv()
        except EOFError:
            return
        _answer(connection, *request)


if __name__ == "__main__":
    # Run by name and not as __main__, so that pickled classes are the same ones.
    from stages.extract.pdf import worker

    worker._main(*(int(argument) for argument in sys.argv[1:4]))

"""Shows a run while it goes on: a live table on a terminal, one plain line every few seconds elsewhere.

Numbers come from committed tasks only, so what is shown is what a rerun would find.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from curation.account import Account
from curation.corpus import Manifest
from curation.executor import Failure
from curation.kernel_cache import kernels_compiled

#: Seconds between two lines where output is not a terminal.
LINE_S = 10.0


def count(n: float) -> str:
    """12,345 or 1.23 M."""
    return f"{n:,.0f}" if n < 1e6 else f"{n / 1e6:,.2f} M" if n < 1e9 else f"{n / 1e9:,.2f} G"


def duration(seconds: float) -> str:
    """75 -> 1:15."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


@dataclass
class Progress:
    """A `Watcher` for people."""

    console: Console
    accounts: dict[str, Account] = field(default_factory=dict)
    name: str = ""
    tasks: int = 0
    done: int = 0
    committed: int = 0
    began: float = 0.0
    docs_in: int = 0
    bytes_in: int = 0
    _live: Live | None = None
    _line: float = 0.0
    _told: bool = False

    def step(self, name: str, tasks: int, committed: int, bytes_in: int) -> None:
        """A step of the plan begins."""
        self._say(final=True)
        self.name, self.tasks, self.done, self.committed = name, tasks, 0, committed
        self.began = self._line = time.monotonic()
        self.docs_in = self.bytes_in = 0
        if committed:
            self.console.print(f"{name}: {committed} of {tasks} tasks are committed already")
        if tasks > committed and not self._told:
            self._told = True
            if not kernels_compiled():  # after an update of the source: the first task would look as if it hung
                self.console.print("kernels of this version are not compiled yet: the first tasks take minutes longer")

    def task(self, manifest: Manifest, fresh: bool) -> None:
        """A task is committed."""
        self.done += 1
        for data in manifest.accounts:
            account = Account.from_json(data)
            self.accounts.setdefault(account.stage, Account(account.stage)).merge(account)
        if not fresh:
            return
        if manifest.accounts and manifest.accounts[0]["rows_in"]:
            self.docs_in += manifest.accounts[0]["rows_in"]
            self.bytes_in += manifest.accounts[0]["bytes_in"]
        if self.console.is_terminal:
            if self._live is None:
                self._live = Live(console=self.console, refresh_per_second=4, transient=True)
                self._live.start()
            self._live.update(self._table())
        elif time.monotonic() - self._line > LINE_S:
            self._say(final=False)

    def failure(self, failure: Failure) -> None:
        """A task could not be done."""
        self.console.print(f"task {failure.task} failed: {failure.error}", style="red", soft_wrap=True)

    def close(self) -> None:
        """The run has ended."""
        if self._live is not None:
            self._live.stop()
            self._live = None
        self._say(final=True)
        self.name = ""

    def _rates(self) -> tuple[float, float, float]:
        """Documents a second, MB a second, seconds to go: of this step's fresh tasks."""
        elapsed = max(time.monotonic() - self.began, 1e-3)
        fresh = self.done - self.committed
        eta = elapsed / fresh * (self.tasks - self.done) if fresh > 0 else 0.0
        return self.docs_in / elapsed, self.bytes_in / elapsed / 1e6, eta

    def _say(self, final: bool) -> None:
        """One plain line."""
        if not self.name or self.console.is_terminal or self.done == self.committed:
            return
        docs, megabytes, eta = self._rates()
        lost = sum(sum(a.failed.values()) for a in self.accounts.values())
        last = next((a for a in reversed(self.accounts.values()) if a.rows_in), Account(""))
        ending = f"in {duration(time.monotonic() - self.began)}" if final else f"{duration(eta)} to go"
        speed = f"{docs:,.0f} docs/s, {megabytes:,.1f} MB/s, " if self.docs_in else ""
        self.console.print(
            f"{self.name}: {self.done}/{self.tasks} tasks, {count(last.kept)} documents kept, {lost} failed, "
            f"{speed}{ending}",
            soft_wrap=True,
            highlight=False,
        )
        self._line = time.monotonic()

    def _table(self) -> Group:
        docs, megabytes, eta = self._rates()
        table = Table(box=None, pad_edge=False)
        table.add_column("stage")
        for name in ("in", "kept", "dropped", "failed", "docs/s a core"):
            table.add_column(name, justify="right")
        for account in self.accounts.values():
            if account.stage.endswith((":scatter", ":gather")):
                continue
            speed = account.rows_in / account.cpu_s if account.cpu_s > 0.01 else 0
            failed = sum(account.failed.values())
            table.add_row(
                account.stage,
                count(account.rows_in),
                count(account.kept),
                count(sum(account.dropped.values())),
                Text(count(failed), style="red" if failed else ""),
                count(speed) if speed else "",
            )
        line = Text(
            f"{self.name}  {self.done}/{self.tasks} tasks  {docs:,.0f} docs/s  {megabytes:,.1f} MB/s  "
            f"{duration(eta)} to go"
        )
        return Group(table, line, ProgressBar(total=max(self.tasks, 1), completed=self.done))

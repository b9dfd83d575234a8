"""What a run did, read from its run.json: the funnel, the reasons, the breakdown, throughput.

One reading of the numbers for the command line, the report and the dataset card, so that they cannot disagree.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from rich.console import Console
from rich.table import Table

from curation.account import Account
from curation.errors import ConfigError
from curation.progress import count, duration
from curation.storage import Storage

#: Endings of the accounts of a barrier's parts that lie between segments.
BETWEEN = (":scatter", ":gather")


@dataclass
class Funnel:
    """What became of the documents of one value: `entered`, then how many each stage `kept`, and who was `lost`.

    lost: (stage, reason) -> documents; a failed document's reason is `error`.
    """

    entered: int
    kept: list[int]
    lost: dict[tuple[str, str], int]


@dataclass(frozen=True)
class Funnels:
    """The funnels of all values of a column, over the stages that knew it."""

    stages: list[str]
    rows: dict[str, Funnel]

    def to_json(self) -> dict[str, Any]:
        """value -> {in, stages: {stage: {kept, reason: documents}}}."""
        result: dict[str, Any] = {}
        for value, row in self.rows.items():
            stages = {stage: {"kept": n} for stage, n in zip(self.stages, row.kept, strict=True)}
            for (stage, reason), n in sorted(row.lost.items()):
                stages[stage][reason] = n
            result[value] = {"in": row.entered, "stages": stages}
        return result


@dataclass(frozen=True)
class Stats:
    """run.json with the questions people ask of it."""

    info: dict[str, Any]
    accounts: list[Account]

    @property
    def funnel(self) -> list[Account]:
        """One account per stage, in order; the parts of barriers between segments only where documents failed there.

        A barrier's CPU seconds are those of all its parts.
        """
        parts: dict[str, float] = {}
        for account in self.accounts:
            name = account.stage.rpartition(":")[0] if account.stage.endswith(BETWEEN) else account.stage
            parts[name] = parts.get(name, 0.0) + account.cpu_s
        return [
            replace(account, cpu_s=parts.get(account.stage, account.cpu_s))
            for account in self.accounts
            if not account.stage.endswith(BETWEEN) or account.failed
        ]

    @property
    def records(self) -> int:
        """Records the reader met."""
        return self.accounts[0].rows_in if self.accounts else 0

    @property
    def kept(self) -> int:
        """Documents in the result."""
        return sum(file["rows"] for file in self.info.get("files", {}).get("documents", []))

    def reasons(self) -> list[tuple[str, str, str, int]]:
        """(stage, kind, reason, documents), most frequent first within each stage."""
        rows = []
        for account in self.accounts:
            for kind, counts in (("dropped", account.dropped), ("failed", account.failed)):
                rows += [(account.stage, kind, r, n) for r, n in sorted(counts.items(), key=lambda x: (-x[1], x[0]))]
        return rows

    def breakdown(self) -> dict[str, dict[str, dict[str, int]]]:
        """column -> value -> {in, dropped, failed, kept}: documents from the first stage that knows the column on."""
        result: dict[str, dict[str, dict[str, int]]] = {}
        for account in self.accounts:
            for key, fates in account.breakdown.items():
                column, _, value = key.partition("=")
                row = result.setdefault(column, {}).setdefault(value, {"in": 0, "dropped": 0, "failed": 0, "kept": 0})
                kept = fates.get("kept", 0)
                failed = fates.get("error", 0)
                row["dropped"] += sum(fates.values()) - kept - failed
                row["failed"] += failed
                row["kept"] = kept
        for values in result.values():
            for value, row in values.items():
                last = self.accounts[-1].breakdown
                row["kept"] = next((f.get("kept", 0) for k, f in last.items() if k.partition("=")[2] == value), 0)
                row["in"] = row["kept"] + row["dropped"] + row["failed"]
        return {c: dict(sorted(v.items(), key=lambda x: (-x[1]["in"], x[0]))) for c, v in result.items()}

    def funnel_by(self, column: str) -> Funnels:
        """The funnel of each value of a breakdown column, those with most documents first.

        ConfigError if the run counted no such column.
        """
        prefix = f"{column}="
        stages = [a for a in self.funnel if any(key.startswith(prefix) for key in a.breakdown)]
        if not stages:
            known = sorted({key.partition("=")[0] for a in self.accounts for key in a.breakdown})
            has = f"it has {', '.join(known)}" if known else f"set `breakdown: [{column}]` in the pipeline"
            raise ConfigError(f"the run counted nothing by '{column}'; {has}")
        rows: dict[str, Funnel] = {}
        for place, account in enumerate(stages):
            for key, fates in account.breakdown.items():
                if not key.startswith(prefix):
                    continue
                row = rows.setdefault(key.removeprefix(prefix), Funnel(0, [0] * len(stages), {}))
                row.kept[place] = fates.get("kept", 0)
                lost = {(account.stage, reason): n for reason, n in fates.items() if reason != "kept"}
                row.lost.update(lost)
                row.entered += sum(lost.values())
        for row in rows.values():
            row.entered += row.kept[-1]
        ordered = dict(sorted(rows.items(), key=lambda item: (-item[1].entered, item[0])))
        return Funnels([a.stage for a in stages], ordered)

    def tokens_by(self, column: str) -> dict[str, int]:
        """Tokens in the result by value of a column; empty unless the tokenizer counts by it (it does by language)."""
        prefix = f"{column}_tokens="
        found: dict[str, int] = {}
        for account in self.accounts:
            for name, n in account.metrics.counters.items():
                if name.startswith(prefix):
                    found[name.removeprefix(prefix)] = found.get(name.removeprefix(prefix), 0) + n
        return found

    def warnings(self) -> list[tuple[str, str, int]]:
        """(stage, counter, number) of what a stage wants people to see: counters named `warning_...`."""
        found = []
        for account in self.accounts:
            for name, n in account.metrics.counters.items():
                if name.startswith("warning_") and n:
                    found.append((account.stage, name.removeprefix("warning_"), n))
        return found

    def shares(self) -> dict[str, dict[str, tuple[float, float]]]:
        """Group -> name -> (planned, realised) share of the group, where stages recorded them (`Metrics.compare`)."""
        amounts: dict[str, dict[str, list[int]]] = {}
        for account in self.accounts:
            for counter, n in account.metrics.counters.items():
                kind, _, rest = counter.partition("|")
                group, _, name = rest.partition("|")
                if kind in ("planned", "realised") and group:
                    pair = amounts.setdefault(group, {}).setdefault(name, [0, 0])
                    pair[kind == "realised"] += n
        found = {}
        for group, names in amounts.items():
            planned, realised = (sum(pair[i] for pair in names.values()) or 1 for i in (0, 1))
            found[group] = {name: (p / planned, r / realised) for name, (p, r) in names.items()}
        return found

    def tokens(self) -> int:
        """Tokens in the result; 0 if nothing was tokenized."""
        return sum(account.metrics.counters.get("tokens", 0) for account in self.accounts)

    def to_json(self) -> dict[str, Any]:
        """Everything, for programs."""
        return {
            "pipeline": self.info["pipeline"],
            "status": self.info["status"],
            "error": self.info.get("error", ""),
            "records": self.records,
            "kept": self.kept,
            "tokens": self.tokens(),
            "stages": [account.to_json() for account in self.accounts],
            "breakdown": self.breakdown(),
            "shares": self.shares(),
            "seconds": self.info.get("seconds"),
            "cpu_seconds": self.info.get("cpu_seconds"),
            "peak_rss_mb": self.info.get("peak_rss_mb"),
        }


def read_stats(run: str) -> Stats:
    """The statistics of a run's folder. ConfigError if it is none."""
    info = Storage(run).read_json("run.json")
    if info is None:
        raise ConfigError(f"{run}: not a run's folder (it has no run.json)")
    return Stats(info, [Account.from_json(data) for data in info.get("stages", [])])


def _table(title: str, first: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, title_style="bold")
    table.add_column(first)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def funnel_table(stats: Stats) -> Table:
    """Documents in, kept, dropped and failed by stage, with the time each took."""
    more = ("added",) if any(a.added for a in stats.funnel) else ()
    table = _table("", "stage", "in", *more, "kept", "dropped", "failed", "kept of in", "CPU s", "docs/s a core")
    for a in stats.funnel:
        table.add_row(
            a.stage,
            count(a.rows_in),
            *(count(a.added) for _ in more),
            count(a.kept),
            count(sum(a.dropped.values())),
            count(sum(a.failed.values())),
            f"{a.kept / a.rows_in:.1%}" if a.rows_in else "",
            f"{a.cpu_s:.2f}",
            count(a.rows_in / a.cpu_s) if a.cpu_s > 0.005 else "",
        )
    return table


def print_funnels(stats: Stats, column: str, console: Console) -> None:
    """One line per value of a breakdown column: documents in, left after each stage that lost any, and why most went.

    As wide as it must be: a table that is cut to the terminal's width loses the numbers it was asked for.
    """
    funnels = stats.funnel_by(column)
    tokens = stats.tokens_by(column)
    losing = {stage for row in funnels.rows.values() for stage, _ in row.lost}
    places = [i for i, stage in enumerate(funnels.stages) if stage in losing]
    more = ("tokens",) if tokens else ()
    table = _table("", column, "in", *(funnels.stages[i] for i in places), "kept of in", *more, "most went for")
    table.columns[-1].justify = "left"
    for value, row in funnels.rows.items():
        most = sorted(row.lost.items(), key=lambda item: (-item[1], item[0]))[:2]
        others = sum(row.lost.values()) - sum(n for _, n in most)
        table.add_row(
            value or "(none)",
            count(row.entered),
            *(count(row.kept[i]) for i in places),
            f"{row.kept[-1] / row.entered:.1%}",
            *(count(tokens.get(value, 0)) for _ in more),
            ", ".join(f"{reason} {n:,}" for (_, reason), n in [*most, *([(("", "others"), others)] if others else [])]),
        )
    Console(file=console.file, width=Console(width=10_000).measure(table).maximum, highlight=False).print(table)


def print_stats(stats: Stats, console: Console, most: int = 20) -> None:
    """All tables."""
    info = stats.info
    console.print(
        f"[bold]{info['pipeline']}[/bold]: {info['status']}{': ' + info['error'] if info.get('error') else ''}"
    )
    console.print(funnel_table(stats))
    table = _table("\nreasons", "stage", "reason", "documents")
    table.columns[1].justify = "left"
    for stage, kind, reason, n in stats.reasons():
        table.add_row(stage, reason if kind == "dropped" else f"failed: {reason}", count(n))
    console.print(table)
    for column, values in stats.breakdown().items():
        table = _table(f"\n{column}", column, "in", "kept", "dropped", "failed", "kept of in")
        for value, row in list(values.items())[:most]:
            share = f"{row['kept'] / row['in']:.1%}" if row["in"] else ""
            table.add_row(value or "(none)", *(count(row[k]) for k in ("in", "kept", "dropped", "failed")), share)
        if len(values) > most:
            table.add_row(f"… {len(values) - most} more")
        console.print(table)
    for group, names in stats.shares().items():
        table = _table(f"\n{group}", "", "planned", "realised", "difference")
        listed = sorted(names.items(), key=lambda item: (-item[1][0], item[0]))
        for name, (planned, realised) in listed[:most]:
            table.add_row(name or "(none)", f"{planned:.2%}", f"{realised:.2%}", f"{realised - planned:+.2%}")
        if len(listed) > most:
            worst = max(abs(r - p) for _, (p, r) in listed[most:])
            table.add_row(f"… {len(listed) - most} more", "", "", f"at most {worst:.2%}")
        console.print(table)
    for stage, name, n in stats.warnings():
        console.print(f"warning: {stage}: {name}: {n}", style="yellow")
    console.print(
        f"\n{count(stats.records)} records in, {count(stats.kept)} documents kept"
        + (f", {count(stats.tokens())} tokens" if stats.tokens() else "")
        + f"; {info.get('cpu_seconds', 0):,.1f} CPU seconds, {duration(info.get('seconds', 0))} on the clock, "
        f"at most {info.get('peak_rss_mb', 0):,.0f} MB in a worker's stages"
    )

"""What one step did with the documents it was given, in numbers that must add up.

Rows in + rows added = rows kept + rows dropped by reason + rows failed. The equation is checked for every batch, again
for every task before it commits, and again over the whole run; a run that breaks it fails.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from curation.errors import ContractError
from curation.metrics import Metrics


@dataclass
class Account:
    """What one step did with the documents it was given, and what it recorded."""

    stage: str
    rows_in: int = 0
    added: int = 0  # documents that the stage made of others
    kept: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)
    breakdown: dict[str, dict[str, int]] = field(default_factory=dict)  # "language=fra_Latn" -> {"kept": n, reason: n}
    bytes_in: int = 0
    cpu_s: float = 0.0
    metrics: Metrics = field(default_factory=Metrics)

    def merge(self, other: Account) -> None:
        """Add what another batch, shard or run did in the same step."""
        self.rows_in += other.rows_in
        self.added += other.added
        self.kept += other.kept
        self.bytes_in += other.bytes_in
        self.cpu_s += other.cpu_s
        for mine, theirs in ((self.dropped, other.dropped), (self.failed, other.failed)):
            for reason, n in theirs.items():
                mine[reason] = mine.get(reason, 0) + n
        for value, counts in other.breakdown.items():
            mine = self.breakdown.setdefault(value, {})
            for reason, n in counts.items():
                mine[reason] = mine.get(reason, 0) + n
        self.metrics.merge(other.metrics)

    def check(self) -> None:
        """Raise ContractError unless in + added = kept + dropped + failed."""
        out = self.kept + sum(self.dropped.values()) + sum(self.failed.values())
        if self.rows_in + self.added != out:
            raise ContractError(
                f"stage '{self.stage}': {self.rows_in} documents in + {self.added} added, but {self.kept} kept + "
                f"{sum(self.dropped.values())} dropped + {sum(self.failed.values())} failed = {out}"
            )

    def to_json(self) -> dict[str, Any]:
        """Plain dictionaries for a manifest; keys sorted, so that equal accounts give equal text."""
        data = dict(self.__dict__)
        data["metrics"] = self.metrics.to_json()
        data["dropped"] = dict(sorted(self.dropped.items()))
        data["failed"] = dict(sorted(self.failed.items()))
        data["breakdown"] = {k: dict(sorted(v.items())) for k, v in sorted(self.breakdown.items())}
        data["cpu_s"] = round(self.cpu_s, 4)
        return data

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Account:
        """The inverse of `to_json`."""
        return cls(**(data | {"metrics": Metrics.from_json(data["metrics"])}))

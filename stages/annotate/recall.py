"""Recalls the documents of a domain from a corpus, within one run.

A barrier: a sample of all shards comes together, the rounds of `classifiers/domain/recall.py` are trained on it, and
every shard is then classified by them. What is a seed, and what the check accepts, a rule says, or labels that a
language model gave earlier in the run.

Trade-off: the sample is in one process, 3 kB a document.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from pydantic import Field, PrivateAttr

from classifiers.domain.rules import RULES, points
from curation.documents import column_type
from curation.errors import ConfigError, CurationError
from curation.stage import SHARD_ROW, Barrier, Outcome, Output, Sidecars
from stages.annotate.run_models import keep_model, model_folder

_ROUNDS = pa.schema(
    [
        ("domain", pa.string()),
        *((name, pa.int32()) for name in ("number", "positives", "negatives", "candidates", "passed", "held_out")),
        *((name, pa.float64()) for name in ("threshold", "held_out_recall", "accepted_share")),
    ]
)


class RecallDomain(Barrier, name="recall_domain"):
    """Keeps the documents of a domain, `math` or `code-text`, found by rounds of classifiers that start from seeds.

    Seeds are the documents that a rule is sure of (formulas, theorems; programs, names with underscores), or, with
    `seed_column`, those that have one of `seed_values` there: `{seed_column: domain, seed_values: [mathematics]}` takes
    the labels of `annotate_quality`, given by a language model. Round 1 tells seeds from other documents. Each next
    round tells, of the documents that passed, those that the check accepts (the rule with a lower limit, or the label
    where there is one) from those it refuses. Rounds are nested and each lets through fewer; `recall_round` is the last
    round passed, 0 for none. Hosts of `host_documents` documents or more of which `host_share` passed are of the
    domain: their other documents stay if the check accepts them. `recalled_by` is `classifier` or `host`, null for
    documents that were not.

    `recall_rounds/` holds what was measured of each round; the models lie in the run's folder under
    `work/stages/recall_domain/`.

    Drop reasons: `other_domain` (with `others: drop`; detail: the last round passed).

    Sources: Qwen2.5-Coder (Hui et al. 2024, section 3.1), Qwen2.5-Math (Yang et al. 2024, section 2), DeepSeekMath
    (Shao et al. 2024, section 2.1).
    """

    domain: str = Field("math", description=f"domain to recall: {', '.join(RULES)}")
    max_rounds: int = Field(3, ge=1, le=10, description="rounds at most")
    keep_round: int = Field(0, ge=0, description="a document stays if it passed this round; 0: the last there is")
    miss: float = Field(0.05, ge=0, lt=0.5, description="share of accepted documents a round may miss")
    seed_column: str | None = Field(
        None, description="column that tells seeds, and decides of candidates where it is set"
    )
    seed_values: list[str] = Field([], description="its values that mean the domain")
    seed_points: float | None = Field(
        None, gt=0, description="points in 1,000 characters from which a document is a seed; by default the domain's"
    )
    accept_points: float | None = Field(None, gt=0, description="points from which the check accepts a candidate")
    min_seeds: int = Field(20, ge=10, description="seeds below which the run stops")
    sample_share: float = Field(1.0, gt=0, le=1, description="share of the documents to train on, drawn by their ids")
    max_characters: int = Field(2000, ge=100, description="characters of a document's start that are classified")
    host_documents: int = Field(10, ge=1, description="documents of a host before its statistics count")
    host_share: float = Field(0.5, gt=0, le=1, description="share of them that must have been found")
    others: str = Field("drop", pattern="^(keep|drop)$", description="documents of other domains: keep or drop")

    _loaded: dict[str, Any] = PrivateAttr(default_factory=dict)

    def needs(self) -> tuple[str, ...]:
        return ("id", "text", "url", *((self.seed_column,) if self.seed_column else ()))

    def adds(self) -> dict[str, pa.DataType]:
        return {name: column_type(name) for name in ("recall_round", "recalled_by")}

    def outputs(self) -> tuple[Output, ...]:
        return (Output("recall_rounds", schema=_ROUNDS),)

    def check(self) -> None:
        if self.domain not in RULES:
            raise ConfigError(f"recall_domain: no domain '{self.domain}'; there are {', '.join(RULES)}")
        if bool(self.seed_column) != bool(self.seed_values):
            raise ConfigError("recall_domain: seed_column and seed_values go together")

    def partitions(self, round: int, shards: int) -> int:
        return 1 if round == 0 else shards

    def _lines(self, docs: pa.Table) -> list[str]:
        from classifiers.quality.student import prepare

        return prepare(docs["text"], [None] * docs.num_rows, self.max_characters)

    def _checked(self, docs: pa.Table) -> tuple[np.ndarray, np.ndarray]:
        """Whether each document is a seed, and whether the check accepts it."""
        rule = RULES[self.domain]
        found = points(rule, docs["text"].combine_chunks().cast(pa.large_string()))
        accepted = found >= (self.accept_points or rule.accept)
        if not self.seed_column:
            return found >= (self.seed_points or rule.seed), accepted
        labels = docs[self.seed_column].combine_chunks()
        told = pc.is_valid(labels).to_numpy(zero_copy_only=False)
        right = pc.fill_null(pc.is_in(labels, pa.array(self.seed_values, labels.type)), False).to_numpy(
            zero_copy_only=False
        )
        return right, np.where(told, right, accepted)

    def scatter(self, docs: pa.Table, shard: int, row: int) -> pa.Table:
        keys = np.array(
            [xxhash.xxh3_64_intdigest(id, seed=self.seed & (2**64 - 1)) for id in docs["id"].to_pylist()], np.uint64
        )
        some = np.flatnonzero((keys / 2**64 < self.sample_share) & pc.is_valid(docs["text"]).to_numpy())
        part = docs.take(pa.array(some))
        seeds, accepted = self._checked(part)
        table = pa.table(
            {
                "shard": pa.array(np.full(len(some), shard, np.int32)),
                "id": part["id"],
                "line": pa.array(self._lines(part), pa.large_string()),
                "host": pa.array([_host(url) for url in part["url"].to_pylist()], pa.string()),
                "seed": pa.array(seeds, pa.bool_()),
                "accepted": pa.array(accepted, pa.bool_()),
                "draw": pa.array(keys[some], pa.uint64()),
            }
        )
        if row == 0:  # that there is this shard
            sign = {f.name: pa.array([shard] if f.name == "shard" else [None], f.type) for f in table.schema}
            table = pa.concat_tables([pa.table(sign, schema=table.schema), table])
        return table.add_column(0, "partition", pa.array(np.zeros(table.num_rows, np.int32)))

    def gather(self, round: int, partition: int, rows: pa.Table, sidecars: Sidecars) -> pa.Table:
        from classifiers.domain.recall import hosts_of_domain, recall

        shards = sorted(set(rows["shard"].to_pylist()))
        rows = rows.filter(pc.is_valid(rows["id"])).sort_by("id")
        seeds, accepted = (rows[n].to_numpy(zero_copy_only=False).astype(bool) for n in ("seed", "accepted"))
        if seeds.sum() < self.min_seeds:
            raise CurationError(
                f"stage 'recall_domain': {int(seeds.sum())} seeds of '{self.domain}' in {rows.num_rows} documents, fewer "  # noqa: E501
                f"than min_seeds {self.min_seeds}: give it more documents, or labels (seed_column)"
            )
        lines = rows["line"].to_pylist()
        draws = rows["draw"].to_numpy()
        found = recall(self.domain, lines, seeds, accepted, draws, self.max_rounds, self.miss, self.seed)
        if not found.rounds:
            raise CurationError(
                "stage 'recall_domain': nearly all documents are seeds, or none is not: nothing to tell apart"
            )
        passed = found.passed(lines) >= min(self.keep_round or len(found.rounds), len(found.rounds))
        found.hosts = hosts_of_domain(
            rows["host"].fill_null("").to_pylist(), passed, self.host_documents, self.host_share
        )
        digest = keep_model(self, "models", found.save)
        self.metrics.count("seeds", int(seeds.sum()))
        self.metrics.count("hosts_of_domain", len(found.hosts))
        for r in found.rounds:
            self.metrics.count(f"round {r.number}: passed in the sample", r.passed)
        told = json.dumps([{"domain": self.domain} | r.__dict__ for r in found.rounds])
        return pa.table(
            {
                "partition": pa.array([*shards, shards[0]], pa.int32()),
                "row": pa.array([SHARD_ROW] * len(shards) + [0], pa.int64()),
                "models": pa.array([digest] * len(shards) + [None], pa.string()),
                "rounds": pa.array([None] * len(shards) + [told], pa.string()),
            }
        )

    def apply(self, docs: pa.Table, verdicts: pa.Table) -> Outcome:
        from classifiers.domain.recall import Recall

        digest = verdicts.filter(pc.equal(verdicts["row"], SHARD_ROW))["models"][0].as_py()
        if digest not in self._loaded:
            self._loaded = {digest: Recall.load(model_folder(self, "models", digest))}
        found = self._loaded[digest]
        rounds = found.passed(self._lines(docs))
        rounds[pc.is_null(docs["text"]).to_numpy()] = 0
        kept = rounds >= min(self.keep_round or len(found.rounds), len(found.rounds))
        hosts = set(found.hosts)
        of_host = np.array([_host(url) in hosts for url in docs["url"].to_pylist()], bool)
        by_host = ~kept & of_host & self._checked(docs)[1] if of_host.any() else np.zeros(docs.num_rows, bool)
        by = [("classifier" if k else "host" if h else None) for k, h in zip(kept, by_host, strict=True)]
        self.metrics.count_values("recall_round", pa.array(rounds))
        self.metrics.count_values("recalled_by", pa.array(by, pa.string()))
        for name, column in (
            ("recall_round", pa.array(rounds, pa.int32())),
            ("recalled_by", pa.array(by, pa.string())),
        ):
            place = docs.schema.get_field_index(name)
            docs = docs.append_column(name, column) if place < 0 else docs.set_column(place, name, column)
        gone = [b is None and self.others == "drop" for b in by]
        dropped = pa.array(["other_domain" if g else None for g in gone], pa.string())
        detail = pa.array([f"round={r}" if g else None for g, r in zip(gone, rounds, strict=True)], pa.string())
        told = verdicts["rounds"].drop_null()
        outputs = {"recall_rounds": pa.Table.from_pylist(json.loads(told[0].as_py()), _ROUNDS)} if len(told) else {}
        return Outcome(docs, dropped=dropped, detail=detail, outputs=outputs)


def _host(url: str | None) -> str:
    """The host of an address, without `www.`; empty if it has none."""
    try:
        return (urlsplit(url or "").hostname or "").removeprefix("www.")
    except ValueError:
        return ""

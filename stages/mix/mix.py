"""Draws the documents of each stage of training, by labels: which go in, and how many times.

Nothing is copied. A document that is read four times is one row with a number; packing multiplies it. Three rounds:
documents are summed up by stratum and place (24 bytes each travel), the sums are put together, and one task makes the
plan of all recipes from them. Every worker then draws by the plan, document by document, and ends up with exactly the
tokens that the plan counted, in any order and any number of parts.

Trade-off: one task holds the sums of every stratum at 65,536 places. Ten thousand strata that are all that full would
be 6 x 10^8 rows; a corpus has few strata with many documents and many with few.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from pydantic import Field, PrivateAttr, field_validator

from curation.documents import COLUMNS, column_type
from curation.errors import ConfigError, CurationError
from curation.stage import SHARD_ROW, Barrier, Gathered, Outcome, Output, Sidecars, reasons
from stages.mix.draw import draws
from stages.mix.expression import Expression
from stages.mix.recipe import Recipe, amount
from stages.mix.report import REPORT, complaints

_PARTITIONS = 64


class Mix(Barrier, name="mix"):
    """Decides which documents each stage of training reads, and how many times, by shares of their labels.

        - mix:
            recipes:
              - name: stage1
                sequence_length: 4096
                budget: 30T                # tokens, or `unit: bytes`
                max_epochs: 4
                shares:
                  - {column: source, ratios: {web: 70, pdf: 10, math: 8, code: 12}}
                  - {column: language, unimax: 4}
                weight: coalesce(educational_value, 2) ** 2
                where: language != "und"

    A rule of `shares` gives each value of a column its share: by `ratios`, by `temperature`, or by UniMax (Chung et
    al. 2023), which is the default: equal shares, but no value more often than `unimax` epochs. Or it gives shares to
    ranges of length in tokens, `lengths: [{from: 16384, share: 75}, {from: 4096, to: 16384, share: 25}]`, which count
    a document by its whole length, before it is cut. All rules of a recipe are met at once, by iterative proportional
    fitting; where they cannot all be, the first are. `weight` makes single documents likelier than others with the
    same labels, and `where` leaves documents out: expressions over columns.

    No document is read more than `max_epochs` times in a stage. Where a value is too small for its share, the others
    of its column get what it lacks (`when_short: fill`) or the stage becomes smaller until the shares hold
    (`shrink`). The next stage of the list goes on in each stratum where the one before stopped, so that documents
    repeat only when all have been read. Each document goes in floor or ceil of its rate times.

    Adds `mixture`: for each stage the number of copies. `mixture/` has the shares asked for, planned and realised;
    `curation stats` shows them. Realised shares differ from planned ones by single documents. The report warns of
    what could not be had: `warning_budget_not_reached`, `warning_share_not_reached`, `warning_value_missing`, and of
    documents that are not drawn because their weight is null (`warning_without_weight`), or because a worker's
    processor rounds it otherwise than the one that counted it (`warning_not_in_plan`).

    Drop reasons: `no_tokens`, `not_drawn` (no stage reads it).
    """

    recipes: list[Recipe] = Field(min_length=1, description="the stages of training, in the order they are trained")
    scale: float = Field(1.0, gt=0, description="factor on all budgets: 1e-6 for a trial of a recipe")

    _plans: dict[str, Any] = PrivateAttr(default_factory=dict)

    @field_validator("scale", mode="before")
    @classmethod
    def _scale(cls, value: Any) -> Any:
        return amount(value)

    def needs(self) -> tuple[str, ...]:
        read = [name for recipe in self.recipes for name in recipe.columns()]
        return tuple(dict.fromkeys(("id", "n_tokens", "n_bytes", *read)))

    def adds(self) -> dict[str, pa.DataType]:
        return {"mixture": column_type("mixture")}

    def outputs(self) -> tuple[Output, ...]:
        return (Output("mixture", schema=REPORT, gathered=True),)

    def check(self) -> None:
        names = [recipe.name for recipe in self.recipes]
        if len(set(names)) < len(names):
            raise ConfigError(f"two recipes have the name '{max(names, key=names.count)}'")
        for recipe in self.recipes:
            for rule in recipe.shares:
                kind = COLUMNS[rule.column].type if rule.column in COLUMNS else None
                if kind is not None and (pa.types.is_floating(kind) or pa.types.is_nested(kind)):
                    raise ConfigError(
                        f"recipe '{recipe.name}': '{rule.column}' holds {kind}: no values to share; use `weight`"
                    )
            known = {name: COLUMNS[name].type for name in recipe.columns() if name in COLUMNS}
            for key in ("weight", "where"):
                text = getattr(recipe, key)
                if text is not None and set(Expression(text).columns) <= set(known):
                    found = Expression(text)(pa.schema(list(known.items())).empty_table()).type
                    if not (pa.types.is_floating(found) or pa.types.is_boolean(found)):
                        raise ConfigError(f"recipe '{recipe.name}': `{key}` gives {found}, not a number")

    def setup(self) -> None:
        from stages.mix.selection import copies

        copies(np.zeros(1, np.uint16), np.zeros(1, np.int64), np.ones(1, np.int64))

    def rounds(self) -> int:
        return 2

    def partitions(self, round: int, shards: int) -> int:
        return (_PARTITIONS, 1, shards)[round]

    def _places(self, docs: pa.Table) -> np.ndarray:
        return (draws(docs["id"], self.seed) >> np.uint64(48)).astype(np.uint16)

    def scatter(self, docs: pa.Table, shard: int, row: int) -> pa.Table:
        from stages.mix.strata import keys

        docs = docs.filter(pc.greater(pc.fill_null(docs["n_tokens"], 0), 0))
        lengths = docs["n_tokens"].to_numpy().astype(np.int64) + 1
        names, weightless = keys(docs, self.recipes, lengths)
        for recipe, n in weightless.items():
            self.metrics.count(f"warning_without_weight={recipe}", n)
        place = self._places(docs)
        return pa.table(
            {
                "partition": pa.array((place >> np.uint16(10)).astype(np.int32)),
                "key": names,
                "place": pa.array(place),
                "documents": pa.array(np.ones(len(place), np.int64)),
                "tokens": pa.array(lengths),
                "bytes": pc.fill_null(docs["n_bytes"], 0).cast(pa.int64()),
            }
        )

    def gather(self, round: int, partition: int, rows: pa.Table, sidecars: Sidecars) -> pa.Table | Gathered:
        if round == 0:
            units = ("documents", "tokens", "bytes")
            sums = rows.group_by(["key", "place"], use_threads=False).aggregate([(unit, "sum") for unit in units])
            sums = sums.select(["key", "place", *(f"{u}_sum" for u in units)]).rename_columns(["key", "place", *units])
            return sums.append_column("partition", pa.array(np.zeros(sums.num_rows, np.int32)))
        from stages.mix.plan import make_plan

        plan = make_plan(rows, self.recipes, self.scale)
        for recipe, found, total in zip(self.recipes, plan.fits, plan.totals, strict=True):
            said = complaints(recipe, found)
            if not total["documents"]:
                why = "; ".join(words for kind, words in said if kind == "value_missing")
                why = why or "its `where` and `weight` leave none, or its budget is less than one"
                raise CurationError(f"mix: recipe '{recipe.name}' draws no document: {why}")
            for kind, words in said:
                self.metrics.count(f"warning_{kind}: {words}")
        for line in plan.report.to_pylist():
            if line["label"]:
                whole = plan.totals[[r.name for r in self.recipes].index(line["stage"])][line["unit"]]
                group = f"{line['stage']}: {line['label']}, share of {line['unit']}"
                self.metrics.compare(group, line["value"], _nearest(line["planned"] * whole), line[line["unit"]])
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, plan.readings.schema) as writer:
            writer.write_table(plan.readings)
        shards = sidecars.shards()
        verdicts = pa.table(
            {
                "partition": pa.array(np.arange(shards, dtype=np.int32)),
                "row": pa.array(np.full(shards, SHARD_ROW, np.int64)),
                "readings": pa.array([sink.getvalue().to_pybytes()] * shards, pa.large_binary()),
                "totals": pa.array([[[t["documents"], t["tokens"]] for t in plan.totals]] * shards),
            }
        )
        return Gathered(verdicts, {"mixture/plan": plan.report})

    def apply(self, docs: pa.Table, verdicts: pa.Table) -> Outcome:
        from stages.mix.selection import copies
        from stages.mix.strata import keys

        n, stages = docs.num_rows, len(self.recipes)
        with_tokens = pc.greater(pc.fill_null(docs["n_tokens"], 0), 0).to_numpy()
        times = np.zeros((n, stages), np.int32)
        totals = np.zeros((stages, 2), np.int64)
        if verdicts.num_rows:
            names, start, end = self._readings(verdicts["readings"][0].as_buffer())
            totals = np.array(verdicts["totals"][0].as_py(), np.int64)
            lengths = pc.fill_null(docs["n_tokens"], 0).to_numpy().astype(np.int64) + 1
            mine = pc.index_in(keys(docs, self.recipes, lengths)[0], names)
            known = with_tokens & pc.is_valid(mine).to_numpy(zero_copy_only=False)
            # Arithmetic of a weight may differ in its last bit on another kind of processor
            self.metrics.count("warning_not_in_plan", (with_tokens & ~known).sum())
            stratum, place = pc.fill_null(mine, 0).to_numpy(), self._places(docs)
            for i in range(stages):
                times[:, i] = np.where(known, copies(place, start[stratum, i], end[stratum, i]), 0)
            for i, recipe in enumerate(self.recipes):
                self.metrics.count(f"drawn_documents={recipe.name}", times[:, i].sum())
                self.metrics.count(f"drawn_tokens={recipe.name}", (times[:, i] * lengths).sum())
        chosen = times > 0
        row, stage = np.nonzero(chosen)
        ends = np.concatenate([[0], np.cumsum(chosen.sum(axis=1))])
        kind = column_type("mixture")
        stage_names = pa.array([recipe.name for recipe in self.recipes])
        rows_of = np.array([recipe.sequence_length for recipe in self.recipes], np.int32)
        drawn = pa.StructArray.from_arrays(
            [
                stage_names.take(pa.array(stage)),
                pa.array(rows_of[stage]),
                pa.array(times[row, stage]),
                pa.array(totals[stage, 0]),
                pa.array(totals[stage, 1]),
            ],
            fields=list(kind.value_type),
        )
        mixture = pa.ListArray.from_arrays(pa.array(ends, pa.int32()), drawn, type=kind)
        at = docs.schema.get_field_index("mixture")
        added = docs.append_column("mixture", mixture) if at < 0 else docs.set_column(at, "mixture", mixture)
        return Outcome(added, dropped=reasons(docs, no_tokens=~with_tokens, not_drawn=~chosen.any(axis=1)))

    def _readings(self, buffer: pa.Buffer) -> tuple[pa.Array, np.ndarray, np.ndarray]:
        """Keys of the strata, and where reading starts and ends: int64, shape (strata, recipes)."""
        digest = xxhash.xxh3_128_hexdigest(buffer)
        if digest not in self._plans:
            table = pa.ipc.open_stream(buffer).read_all().combine_chunks()
            bounds = [table[c].combine_chunks().values.to_numpy().reshape(table.num_rows, -1) for c in ("start", "end")]
            self._plans = {digest: (table["key"].combine_chunks(), *bounds)}
        return self._plans[digest]


def _nearest(value: float) -> int:
    """The nearest integer."""
    return int(value + 0.5)

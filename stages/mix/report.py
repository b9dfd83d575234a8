"""What a mixture came to, beside what its recipes ask for: the rows of `mixture/plan.parquet`, and the warnings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from stages.mix.recipe import Recipe

if TYPE_CHECKING:
    from stages.mix.rates import Fit

#: `mixture/plan.parquet`: a row for each value that has a share, and one with an empty label for the whole stage.
REPORT = pa.schema(
    [
        pa.field("stage", pa.string(), metadata={"meaning": "recipe"}),
        pa.field("label", pa.string(), metadata={"meaning": "column, or `length`; empty for the whole stage"}),
        pa.field("value", pa.string(), metadata={"meaning": "its value, or a range of tokens"}),
        pa.field("unit", pa.string(), metadata={"meaning": "what shares are counted in"}),
        pa.field("asked", pa.float64(), metadata={"meaning": "share by the recipe's rule; null without a rule"}),
        pa.field("planned", pa.float64(), metadata={"meaning": "share that supply and repetition caps allow"}),
        pa.field("realised", pa.float64(), metadata={"meaning": "share of what was drawn"}),
        pa.field("epochs", pa.float64(), metadata={"meaning": "amount drawn / amount there is"}),
        pa.field("documents", pa.int64(), metadata={"meaning": "documents drawn, a copy each"}),
        pa.field("tokens", pa.int64(), metadata={"meaning": "tokens drawn, with ends of documents"}),
        pa.field("bytes", pa.int64(), metadata={"meaning": "bytes of text drawn"}),
        pa.field("supply_documents", pa.int64(), metadata={"meaning": "documents there are"}),
        pa.field("supply_tokens", pa.int64(), metadata={"meaning": "tokens there are"}),
        pa.field("supply_bytes", pa.int64(), metadata={"meaning": "bytes there are"}),
    ]
)


def report_rows(
    recipe: Recipe, found: Fit, supply: dict[str, np.ndarray], drawn: dict[str, np.ndarray]
) -> list[dict[str, Any]]:
    """Rows of the report for one recipe."""
    unit = recipe.unit
    whole = float(drawn[unit].sum())

    def row(label: str, value: str, mask: np.ndarray, asked: float | None, planned: float) -> dict[str, Any]:
        there = {f"supply_{u}": int(s[mask].sum()) for u, s in supply.items()}
        taken = {u: int(d[mask].sum()) for u, d in drawn.items()}
        supplied = there[f"supply_{unit}"]
        return {
            "stage": recipe.name,
            "label": label,
            "value": value,
            "unit": unit,
            "asked": asked,
            "planned": planned,
            "realised": taken[unit] / whole if whole else 0.0,
            "epochs": taken[unit] / supplied if supplied else 0.0,
            **taken,
            **there,
        }

    everything = np.ones(len(drawn[unit]), bool)
    rows = [row("", "", everything, found.total / found.wanted if found.wanted else None, 1.0)]
    for margin in found.margins:
        for i, name in enumerate(margin.names):
            mask = margin.value == i
            if margin.asked[i] > 0 or margin.planned[i] > 0 or drawn["documents"][mask].any():
                rows.append(row(margin.label, name, mask, float(margin.asked[i]), float(margin.planned[i])))
    return rows


def complaints(recipe: Recipe, found: Fit) -> list[tuple[str, str]]:
    """(kind, words) of what the recipe asks for and the corpus or the caps do not give."""
    said = []
    if found.total < found.wanted * 0.995:
        said.append(
            (
                "budget_not_reached",
                f"{recipe.name}: {found.total:.3g} of {found.wanted:.3g} {recipe.unit} at {recipe.max_epochs:g} epochs",
            )
        )
    for margin in found.margins:
        for name in margin.missing:
            said.append(("value_missing", f"{recipe.name}: no document with {margin.label} '{name}'"))
        off = np.abs(margin.asked - margin.planned)
        if len(off) and off.max() > 0.005:
            i = int(off.argmax())
            said.append(
                (
                    "share_not_reached",
                    f"{recipe.name}: {int((off > 0.005).sum())} of {len(off)} values of {margin.label}, most "
                    f"'{margin.names[i]}': {margin.planned[i]:.1%}, asked {margin.asked[i]:.1%}",
                )
            )
    return said

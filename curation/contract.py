"""Holds a stage to its contract: same rows in the same order, declared columns with declared types, nothing else.

Documents that a stage adds come beside these, with ids of their own.

The checks compare ids and schemas, not content: about 20 us a batch, so they are always on.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation.errors import ContractError
from curation.stage import Filter, Outcome, Stage


def _one_chunk(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


def as_outcome(result: Any, stage: Stage, docs: pa.Table | None) -> Outcome:
    if isinstance(result, Outcome):
        return result
    if isinstance(stage, Filter) and isinstance(result, pa.Array | pa.ChunkedArray):
        assert docs is not None
        return Outcome(docs, dropped=_one_chunk(result))
    if isinstance(result, pa.Table):
        return Outcome(result)
    expected = "an array of reasons or an Outcome" if isinstance(stage, Filter) else "a table or an Outcome"
    raise ContractError(f"returned {type(result).__name__}, expected {expected}")


def check_rows(before: pa.Table, after: pa.Table) -> None:
    """A stage may change columns, never rows."""
    if after.num_rows != before.num_rows:
        raise ContractError(
            f"was given {before.num_rows} documents and returned {after.num_rows}; a stage must return every row, "
            "and name those to drop in Outcome.dropped"
        )
    if after["id"] is not before["id"] and not after["id"].equals(before["id"]):
        raise ContractError("changed the ids, or the order, of its documents")


def check_added(outcome: Outcome) -> None:
    """Added documents have the columns of the others, new ids, and stand behind a row of the batch."""
    added, behind = outcome.added, outcome.added_behind
    if added is None:
        return
    columns = outcome.docs.schema
    if set(added.column_names) != set(columns.names) or any(added[f.name].type != f.type for f in columns):
        raise ContractError("added documents whose columns are not those of the documents it returned")
    places = np.asarray([]) if behind is None else np.asarray(behind)
    if len(places) != added.num_rows or (len(places) and not 0 <= places.min() <= places.max() < outcome.docs.num_rows):
        raise ContractError(f"added {added.num_rows} documents without naming the row of each in added_behind")
    ids = added["id"].combine_chunks()
    if ids.null_count or pc.count_distinct(ids).as_py() < len(ids) or pc.any(pc.is_in(ids, outcome.docs["id"])).as_py():
        raise ContractError("added documents whose ids are null or not their own (documents.part_id makes one)")


def check_columns(before: pa.Table, after: pa.Table, adds: dict[str, pa.DataType], removes: tuple[str, ...]) -> None:
    """A stage adds what it declares with the type it declares, removes what it declares, and nothing else."""
    for name, kind in adds.items():
        i = after.schema.get_field_index(name)
        if i < 0:
            raise ContractError(f"declares the column '{name}' in adds() but did not return it")
        if after.schema.field(i).type != kind:
            raise ContractError(f"declares '{name}' as {kind} but returned {after.schema.field(i).type}")
    for field_ in before.schema:
        if field_.name in adds or field_.name in removes:
            continue
        i = after.schema.get_field_index(field_.name)
        if i < 0 or after.schema.field(i).type != field_.type:
            raise ContractError(f"lost or changed the column '{field_.name}' without declaring it")
    known = set(before.column_names) | set(adds)
    for name in after.column_names:
        if name not in known or name in removes:
            raise ContractError(f"returned the column '{name}', which it does not declare in adds()")

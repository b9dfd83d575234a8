"""Moves offsets into a document's text along when a stage rewrites the text.

`page_offsets` say where the pages of a PDF start in its text. A stage that repairs characters, replaces addresses or
drops lines moves what follows, and should not have to know of pages. So the engine carries such columns
(`Column.into_text`) over every stage that changes `text`.

The stages that do this change characters within lines, or drop whole lines, so lines are what the two texts are matched
by: exact for offsets at line starts, and within a changed line right up to the change. Only documents whose text
changed are looked at.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

import pyarrow as pa
import pyarrow.compute as pc

from curation.documents import COLUMNS


def carry_offsets(before: pa.Table, after: pa.Table, adds: dict[str, pa.DataType]) -> pa.Table:
    """`after` with its offset columns moved to where the text of `before` is now; `adds`: what the stage declares."""
    if "text" not in adds or "text" not in before.column_names:
        return after
    names = [n for n in after.column_names if n in COLUMNS and COLUMNS[n].into_text and n not in adds]
    if not names or after["text"] is before["text"]:
        return after
    old, new = before["text"], after["text"]
    changed = pc.fill_null(pc.not_equal(old, new), False).to_numpy(zero_copy_only=False).nonzero()[0].tolist()
    if not changed:
        return after
    for name in names:
        values = after[name].to_pylist()
        for row in changed:
            if values[row]:
                values[row] = follow(old[row].as_py(), new[row].as_py(), values[row])
        column = pa.array(values, after.schema.field(name).type)
        after = after.set_column(after.schema.get_field_index(name), name, column)
    return after


def follow(before: str, after: str, offsets: Sequence[int]) -> list[int]:
    """Where the characters at `offsets` of `before` are in `after`, or, if they are gone, what follows them."""
    old: list[str] = before.splitlines(keepends=True)
    new: list[str] = after.splitlines(keepends=True)
    places: list[int]
    old_starts, new_starts = [0, *accumulate(map(len, old))], [0, *accumulate(map(len, new))]
    if len(old) == len(new):
        places = list(range(len(new) + 1))
    else:  # lines were dropped: those that are left come in order
        places = []
        at = 0
        for line in old:
            places.append(at)
            at += at < len(new) and new[at] == line
        places.append(len(new))
    moved: list[int] = []
    for offset in offsets:
        number = max(0, bisect_right(old_starts, offset) - 1)
        place = places[min(number, len(old))]
        column = offset - old_starts[number]
        if column and place < len(new) and number < len(old):
            gone, here = old[number], new[place]
            # Behind a change in the line it is the distance to the line's end that stays.
            column = column if gone[:column] == here[:column] else max(0, len(here) - (len(gone) - column))
            column = column if len(old) == len(new) or gone == here else 0
        moved.append(min(new_starts[min(place, len(new))] + (column if place < len(new) else 0), len(after)))
    return moved

"""Which document stands for which: questions to the folder `duplicates/` that dedup stages write.

A row there says that a document was removed for another one, and how alike they are. What one stage kept a later one
may have removed, so the answer to "where is my page now" is found by following rows until there is none.

Trade-off: every question reads the id columns of the whole folder (20 bytes a removed document as stored), which needs
no index and no second copy of the ids.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curation.storage import Storage

FOLDER = "duplicates"
#: Stages that may remove a document one after another, at most.
_MOST_HOPS = 20


class Copies:
    """The removed documents of a run. Without the folder `duplicates/` every answer is empty."""

    def __init__(self, run: str):
        self._storage = Storage(run)
        info = self._storage.read_json("run.json") or {}
        self._files = [file["name"] for file in info.get("files", {}).get(FOLDER, [])]

    def _rows(self, column: str, value: str, most: int) -> list[dict[str, Any]]:
        """Rows, at most `most`, with a value in a column."""
        found: list[dict[str, Any]] = []
        for name in self._files:
            with self._storage.open(name) as file:
                parquet = pq.ParquetFile(file)
                for group in range(parquet.num_row_groups):
                    keys = parquet.read_row_group(group, columns=[column])[column]
                    where = pc.indices_nonzero(pc.fill_null(pc.equal(keys, value), False))[: most - len(found)]
                    if len(where):
                        found += parquet.read_row_group(group).take(where).to_pylist()
                    if len(found) >= most:
                        return found
        return found

    def removed_for(self, document: str, most: int = 20) -> list[dict[str, Any]]:
        """Rows of the documents that were removed for this one (an id)."""
        return self._rows("kept_id", document, most)

    def way(self, document: str) -> list[dict[str, Any]]:
        """The row that says for which document this one was removed, the row that says it of that one, and so on."""
        rows: list[dict[str, Any]] = []
        while len(rows) < _MOST_HOPS and (found := self._rows("id", document, 1)):
            rows += found
            document = found[0]["kept_id"]
        return rows

    def largest(self, most: int) -> list[dict[str, Any]]:
        """The documents for which most others were removed: kept_id, kept_url, kind, removed, least jaccard."""
        parts = []
        for name in self._files:
            with self._storage.open(name) as file:
                table = pq.read_table(file, columns=["kept_id", "kept_url", "kind", "jaccard"])
            keys = ["kept_id", "kept_url", "kind"]
            parts.append(table.group_by(keys).aggregate([([], "count_all"), ("jaccard", "min")]))
        if not parts:
            return []
        together = pa.concat_tables(parts).group_by(["kept_id", "kept_url", "kind"])
        table = together.aggregate([("count_all", "sum"), ("jaccard_min", "min")])
        table = table.rename_columns(["kept_id", "kept_url", "kind", "removed", "least_jaccard"])
        return table.sort_by([("removed", "descending"), ("kept_id", "ascending")]).slice(0, most).to_pylist()

    def chains(self, most: int) -> list[dict[str, Any]]:
        """Clusters of near duplicates of which most documents stay for others: cluster (the id of its first document),
        kept (documents that others were removed for), removed."""
        parts = []
        for name in self._files:
            with self._storage.open(name) as file:
                table = pq.read_table(file, columns=["cluster", "kept_id"])
            parts.append(table.group_by(["cluster", "kept_id"]).aggregate([([], "count_all")]))
        if not parts:
            return []
        pairs = pa.concat_tables(parts).group_by(["cluster", "kept_id"]).aggregate([("count_all", "sum")])
        table = pairs.group_by("cluster").aggregate([([], "count_all"), ("count_all_sum", "sum")])
        table = table.rename_columns(["cluster", "kept", "removed"]).filter(pc.field("kept") > 1)
        order = [("kept", "descending"), ("removed", "descending"), ("cluster", "ascending")]
        return table.sort_by(order).slice(0, most).to_pylist()

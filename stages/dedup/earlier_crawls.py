"""Where an index enters `minhash_dedup`: its documents take part as if they stood before all shards.

An indexed document has its number in the index, minus 2^62, for an address. So it sorts before every document of the
run, is first in its bucket, and is taken first in its component, where it always stays: what was published is not
taken back. The rounds meet it only where a document of the run does. In round 0 the index adds the first and the last
document of each bucket, which are those that a run over everything would compare a later document with. In round 1
their sketches come from the index, and a verified pair leads to a component of the index instead of to one document. In
round 3 the components are opened again, and those of their documents that stayed are compared with.

So a crawl against the index gives what one run over all crawls would give, but for one case: where a new document ties
two old components together, one run would compare their documents again; here they stay.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from stages.dedup import index_lookup
from stages.dedup.clusters import distinct
from stages.dedup.index import Index

BEFORE_SHARDS = -(1 << 62)


def numbers(addresses: np.ndarray) -> np.ndarray:
    """Numbers in the index of documents with addresses below 0."""
    return addresses - BEFORE_SHARDS


def addresses(numbers: np.ndarray) -> np.ndarray:
    """Addresses of indexed documents."""
    return numbers + BEFORE_SHARDS


class Members(NamedTuple):
    """Documents by component: `component[i]` has `document[i]`, sorted by both; `tied` are (component, component of the
    index that belongs to it too), all as addresses (int64)."""

    component: np.ndarray
    document: np.ndarray
    tied: tuple[np.ndarray, np.ndarray]


def with_buckets(index: Index, document: np.ndarray, key: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Band keys (uint64) and addresses of a partition, and before them the index's first and last of each bucket."""
    found, number = index_lookup.ends_of_buckets(*index_lookup.rows_with(index, distinct(key)))
    order = np.argsort(number, kind="stable")
    return np.concatenate([addresses(number[order]), document]), np.concatenate([found[order], key])


def to_components(
    index: Index, address: np.ndarray, a: np.ndarray, b: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Edges (a, b), indices into `address`, with indexed documents replaced by their components, named by addresses."""
    used = distinct(np.concatenate([a, b]))
    indexed = used[address[used] < 0]
    if len(indexed):
        address = address.copy()
        address[indexed] = addresses(index_lookup.components_of(index, numbers(address[indexed])))
    nodes, place = np.unique(address[used], return_inverse=True)
    return nodes, place[np.searchsorted(used, a)], place[np.searchsorted(used, b)]


def opened(index: Index, component: np.ndarray, document: np.ndarray) -> Members:
    """Members of components, where a document below 0 is a component of the index: its documents that stayed."""
    whole = document < 0
    names = distinct(numbers(document[whole]))
    name, kept = index_lookup.members(index, names)
    # the component of the run that each component of the index belongs to
    order = np.argsort(document[whole])
    into = component[whole][order][np.searchsorted(names, name)]
    component, document, tied = (
        np.concatenate([component[~whole], into]),
        np.concatenate([document[~whole], addresses(kept)]),
        (component[whole & (component != document)], document[whole & (component != document)]),
    )
    order = np.lexsort((document, component))
    return Members(component[order], document[order], tied)


def beside(index: Index, address: np.ndarray, columns: tuple[str, ...]) -> tuple[np.ndarray, pa.Table]:
    """Sketches, and what a sidecar holds of other documents, of indexed ones (addresses, increasing)."""
    wanted = numbers(address)
    sketches = index_lookup.sketches(index, wanted)
    n = len(wanted)
    table = pa.table({"preference": np.zeros(n, np.int64), "duplicates": np.ones(n, np.int32)})
    if "id" in columns:
        rows = index_lookup.documents(index, wanted)
        table = table.append_column("id", rows["id"]).append_column("url", rows["url"])
    return sketches, table.select(columns)


def told(
    verdicts: pa.Table, address: np.ndarray, keeper: np.ndarray, component: np.ndarray, members: Members
) -> pa.Table:
    """Verdicts on documents of the run alone, with what `index_update.add_crawl` must know of each.

    verdicts: one row per document, in the order of `address`; keeper: index of the one that stands for each; component:
    of each, as addresses. Adds `kept` (address; null if it stays itself), `component`, and `merged`: on one document of
    a component, the other components of the index that it ties to it.
    """
    stays = keeper == np.arange(len(keeper))
    own = address >= 0
    merged: list[list[int] | None] = [None] * len(address)
    first = (
        {int(c): i for i, c in reversed(list(enumerate(component.tolist()))) if own[i]} if len(members.tied[0]) else {}
    )
    for name, other in zip(*(side.tolist() for side in members.tied), strict=True):
        place = first.get(name)
        if place is not None:
            merged[place] = [*(merged[place] or []), other]
    columns = {
        "kept": pa.array(address[keeper], mask=stays),
        "component": pa.array(component),
        "merged": pa.array(merged, pa.list_(pa.int64())),
    }
    for name, column in columns.items():
        verdicts = verdicts.append_column(name, column)
    return verdicts.filter(pa.array(own))

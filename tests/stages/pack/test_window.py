from itertools import chain

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.pack.window import pack_window

EOD = 9


def packed(texts, names, capacity, max_padding, seed):
    sizes = np.array([len(text) for text in texts])
    values = np.array(list(chain.from_iterable(texts)), np.int32)
    ends = np.cumsum(sizes)
    return pack_window(values, ends - sizes, ends, pa.array(names), capacity, EOD, max_padding, seed)


@settings(deadline=None)
@given(st.lists(st.integers(0, 90), min_size=1, max_size=40), st.integers(8, 64), st.sampled_from([0.0, 0.5]))
def test_rows_hold_the_documents_and_nothing_else(lengths, capacity, max_padding):
    rng = np.random.default_rng(len(lengths))
    texts = [rng.integers(10, 1000, n).tolist() for n in lengths]
    names = [f"d{i}" for i in range(len(texts))]
    table, layout = packed(texts, names, capacity, max_padding, 5)
    found = {name: {} for name in names}
    for row in table.to_pylist():
        at = 0
        assert len(row["input_ids"]) == capacity and sum(row["doc_lens"]) <= capacity
        for name, start, n in zip(row["doc_ids"], row["doc_starts"], row["doc_lens"], strict=True):
            assert n > 0
            found[name][start] = row["input_ids"][at : at + n]
            at += n
        assert row["input_ids"][at:] == [EOD] * (capacity - at)
    for name, text in zip(names, texts, strict=True):
        assert list(chain.from_iterable(found[name][start] for start in sorted(found[name]))) == [*text, EOD]
    assert layout.row_pieces.sum() == len(layout.length)
    again, _ = packed(texts, names, capacity, max_padding, 5)
    assert again.equals(table)


def test_the_seed_decides_the_order_of_rows_and_of_pieces():
    texts = [[i + 10] * 15 for i in range(64)]
    names = [f"{i:02}" for i in range(64)]
    rows = [packed(texts, names, 64, 0.0, seed)[0]["doc_ids"].to_pylist() for seed in (1, 2)]
    assert rows[0] != rows[1]
    assert sorted(map(sorted, rows[0])) == sorted(map(sorted, rows[1]))
    assert any(row != sorted(row) for row in rows[0])

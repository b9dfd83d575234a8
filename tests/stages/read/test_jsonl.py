"""JSON lines: every line once, whole or in splits, however packed; what is broken costs itself and says so."""

import bz2
import gzip
import itertools
import json
import lzma
import random

import pyarrow as pa
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curation.stage import InputFile, Split
from stages.read.jsonl import ReadJsonl

PACKED = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": zstandard.ZstdCompressor().compress}
LINES = [json.dumps({"text": f"page {i} " * 40, "url": f"https://example.org/{i}"}).encode() for i in range(400)]


@pytest.fixture
def read(tmp_path):
    def run(data, suffix="", cuts=(), batch_rows=100, **keys):
        path = tmp_path / f"a.jsonl{suffix}"
        path.write_bytes(data)
        file, reader = InputFile(str(path), path.name, len(data), "1"), ReadJsonl(**keys)
        edges = [0, *cuts, len(data)]
        splits = [Split(file, "web", i, a, b) for i, (a, b) in enumerate(itertools.pairwise(edges))]
        outcomes = [o for split in splits for o in reader.read(split, batch_rows, 1 << 20)]
        rows = [
            row | {"failed": why}
            for o in outcomes
            for row, why in zip(o.docs.to_pylist(), o.failed.to_pylist(), strict=True)
        ]
        assert len({row["id"] for row in rows}) == len(rows)
        return rows

    return run


def texts(rows):
    return [row["text"] for row in rows if not row["failed"]]


def reasons(rows):
    return [row["failed"] for row in rows if row["failed"]]


@pytest.mark.parametrize("suffix", ["", *PACKED])
def test_every_line_is_a_document(read, suffix):
    data = b"\n".join([*LINES[:200], b"", b"  ", *LINES[200:]])
    rows = read(PACKED.get(suffix, bytes)(data), suffix)
    assert texts(rows) == [json.loads(line)["text"] for line in LINES] and not reasons(rows)
    assert [row["url"] for row in rows] == [json.loads(line)["url"] for line in LINES]
    assert all(data[row["position"] :].startswith(b'{"text": "%s' % row["text"].encode()) for row in rows)


@pytest.mark.parametrize("suffix", PACKED)
def test_members_or_frames_one_after_another_are_one_file(read, suffix):
    """As parallel packers write them, and as `cat` puts them together."""
    data = b"".join(PACKED[suffix](b"\n".join(LINES[i : i + 100]) + b"\n") for i in range(0, 400, 100))
    assert texts(read(data, suffix)) == [json.loads(line)["text"] for line in LINES]


@pytest.mark.parametrize("suffix", PACKED)
@pytest.mark.parametrize("damage", ["cut", "overwritten", "none at all"])
def test_a_damaged_file_is_read_up_to_the_damage(read, suffix, damage):
    rng = random.Random(5)
    lines = [json.dumps({"text": f"{rng.getrandbits(2000):x}"}).encode() for _ in range(4000)]
    data = PACKED[suffix](b"\n".join(lines))
    if damage == "cut":
        data = data[: len(data) * 3 // 4]
    elif damage == "overwritten":
        data = data[: len(data) * 3 // 4] + b"\xaa" * 40 + data[len(data) * 3 // 4 + 40 :]
    else:
        data = b"nothing that is packed"
    rows = read(data, suffix)
    *odd, why = reasons(rows)
    assert rows[-1]["failed"] == why and "the file breaks off" in why
    expected = [json.loads(line)["text"] for line in lines]
    kept = texts(rows)
    if damage == "none at all":
        assert not kept and not odd
    elif suffix in (".gz", ".bz2") and damage == "overwritten":
        # What follows the damage may still be unpacked, to something else, until a checksum tells of it.
        sure = 2500 if suffix == ".gz" else 0
        assert kept[:sure] == expected[:sure]
    else:
        assert kept == expected[: len(kept)] and not odd
        assert kept or suffix == ".xz"  # which is unpacked in large blocks


def test_a_bad_line_costs_itself(read):
    bad = [
        (b"{broken", "no JSON"),
        (b"\xff\xfe\xff", "no JSON"),
        (b"[" * 200_000, "no JSON"),
        (b"[1]", "no string under the key 'text'"),
        (b'{"text": 5}', "no string under the key 'text'"),
        (b'{"text": "\\ud800"}', "no text"),
        (b'{"text": "x", "url": 5}', "the key 'url' is no string"),
        (b'{"text": "x", "score": "high"}', "the key 'score' is no float"),
        (b'{"text": "' + b"x" * (1 << 20) + b'"}', "the line is longer than max_line_mb 1"),
    ]
    lines = [part for i, (line, _) in enumerate(bad) for part in (LINES[i], line)] + [LINES[len(bad)]]
    rows = read(b"\n".join(lines), columns={"score": "float"}, max_line_mb=1)
    assert texts(rows) == [json.loads(line)["text"] for line in LINES[: len(bad) + 1]]
    assert all(why.startswith(start) for why, (_, start) in zip(reasons(rows), bad, strict=True))
    at = [sum(len(line) + 1 for line in lines[:i]) for i in range(1, len(lines), 2)]
    assert [f"(byte {n})" in why for n, why in zip(at, reasons(rows), strict=True)] == [True] * len(bad)
    # Counted by what is wrong, not by where: a file of a million bad lines has as many kinds as this one.
    from curation.chain import error_kind

    assert len({error_kind(why) for why in reasons(rows)}) == 6


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.one_of(st.integers(0, 3000), st.sampled_from([b"", b"{", b"\xff", b"x" * 5000])), max_size=30),
    st.integers(40, 4000),
    st.sampled_from([b"\n", b"\r\n"]),
)
def test_splits_give_the_rows_of_the_whole(read, lines, step, end):
    made = [x if isinstance(x, bytes) else json.dumps({"text": "a" * x}).encode() for x in lines]
    data = end.join(made)
    whole = read(data)
    assert len(whole) == sum(bool(line.strip()) for line in made)
    assert read(data, cuts=range(step, len(data), step), batch_rows=3) == whole


def test_a_line_over_many_splits_is_read_once(read):
    data = b"\n".join([LINES[0], b'{"text": "' + b"y" * (3 << 20) + b'"}', LINES[1]])
    rows = read(data, cuts=range(100_000, len(data), 100_000), max_line_mb=1)
    assert texts(rows) == [json.loads(line)["text"] for line in LINES[:2]] and len(reasons(rows)) == 1
    assert [len(text) for text in texts(read(data, cuts=[5000, 2 << 20]))] == [len(texts(rows)[0]), 3 << 20, 280]


def test_columns_have_their_types(read):
    line = b'{"text": "x", "score": 1, "tags": [1, 2], "more": {"a": 1}}'
    (row,) = read(line, columns={"score": "float", "tags": "list<int64>", "absent": "string"})
    assert (row["score"], row["tags"], row["absent"]) == (1.0, [1, 2], None)
    assert pa.types.is_float32(ReadJsonl(columns={"score": "float"}).adds()["score"])

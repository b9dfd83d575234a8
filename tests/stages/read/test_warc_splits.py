"""Any cut of an archive into splits gives the rows of the whole, damaged or not."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from warc_archives import FORMATS, failures, http, numbers, page, record, response

VARIED = [
    record(0, b"software: x\r\n", "warcinfo", Content_Type="application/warc-fields"),
    *(response(n, 40 * n + 100) for n in range(1, 9)),
    record(9, http(b"gone", status="404 Not Found")),
    record(10, b"GET /10 HTTP/1.1\r\n\r\n", "request"),
    record(10, http(b"<html><pre>\r\n\r\nWARC/1.0\r\nWARC-Type: response\r\n\r\nabc\r\n\r\n</pre></html>")),
    record(11, http(page(11)), length=50),
    record(12, http(page(12)), length=10**9),
    *(response(n, 2000) for n in range(13, 16)),
]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("split", [23, 100, 511, 4096])
def test_splits_give_the_rows_of_the_whole(read, form, split):
    data = form.pack(VARIED)
    whole, unsplit = read(data, form.suffix)
    rows, stage = read(data, form.suffix, split=split)
    assert rows == whole
    assert stage.metrics.to_json() == unsplit.metrics.to_json()
    assert len({r["id"] for r in rows}) == len(rows)
    assert numbers(rows) == [*range(1, 9), 10, 12, 13, 14, 15]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(FORMATS),
    st.lists(
        st.tuples(
            st.floats(0, 1),
            st.one_of(
                st.binary(min_size=1, max_size=40),
                st.sampled_from(
                    [b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"WARC/1.0\r\n", b"\r\n\r\n", b"Content-Length: "]
                ),
            ),
            st.sampled_from(["overwrite", "insert", "delete"]),
        ),
        min_size=1,
        max_size=4,
    ),
    st.integers(150, 5000),
)
def test_splits_of_damaged_files_give_the_rows_of_the_whole(read, form, damages, split):
    data = form.pack(VARIED)
    for where, what, how in damages:
        at = int(where * len(data))
        data = data[:at] + (what if how != "delete" else b"") + data[at + (len(what) if how != "insert" else 0) :]
    whole, _ = read(data, form.suffix)
    assert len({r["id"] for r in whole}) == len(whole)
    rows, _ = read(data, form.suffix, split=split)
    assert rows == whole


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from([".warc", ".warc.gz", ".warc.zst"]), st.binary(max_size=600), st.integers(1, 300))
def test_any_bytes_end_without_exception_and_alike(read, suffix, data, split):
    head = {".warc": b"", ".warc.gz": b"\x1f\x8b\x08\0", ".warc.zst": b"\x28\xb5\x2f\xfd"}[suffix]
    whole, _ = read(head + data, suffix)
    assert failures(whole)
    assert read(head + data, suffix, split=split)[0] == whole

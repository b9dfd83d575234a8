"""The WARC reader: what becomes of each record."""

import gzip
import io
import zlib
from collections import Counter

import pytest
import zstandard
from warc_archives import (
    BY_RECORD,
    FORMATS,
    Gzip,
    http,
    page,
    read_path,
    record,
    response,
)

from curation.documents import CORE, column_type
from curation.errors import StorageError
from curation.stage import InputFile, Split
from stages.read.warc import ReadWarc
from stages.read.warc_members import StoredFile
from stages.read.warc_records import read_records


@pytest.mark.parametrize("form", FORMATS)
def test_pages_become_documents(read, form):
    rows, stage = read(form.pack([response(n) for n in range(6)]), form.suffix)
    assert [r["html"].encode() for r in rows] == [page(n) for n in range(6)]
    assert [r["url"] for r in rows] == [f"https://example.org/{n}" for n in range(6)]
    assert {(r["source"], r["file"], r["mime"], r["charset"]) for r in rows} == {
        ("web", "file" + form.suffix, "text/html", "utf-8")
    }
    assert all(r["text"] is None and r["dropped"] is None and r["failed"] is None for r in rows)
    assert all(r["truncated"] is None for r in rows)
    assert rows[3]["date"].isoformat() == "2024-05-06T07:08:03+00:00"
    assert len({r["id"] for r in rows}) == 6
    assert stage.metrics.counters["records_response"] == 6


def test_positions_are_offsets_of_members(read):
    parts = [gzip.compress(response(n), mtime=0) for n in range(4)]
    rows, _ = read(b"".join(parts))
    assert [r["position"] for r in rows] == [sum(map(len, parts[:n])) for n in range(4)]


def test_columns_are_those_declared(tmp_path):
    path = tmp_path / "a.warc"
    path.write_bytes(response(1))
    stage = ReadWarc()
    split = stage.splits(InputFile(str(path), "a.warc", path.stat().st_size, ""), "web")[0]
    schema = next(stage.read(split, 10, 1 << 20)).docs.schema
    assert dict(zip(schema.names, schema.types, strict=True)) == (
        {name: column_type(name) for name in CORE} | stage.adds()
    )


@pytest.mark.parametrize(
    ("block", "reason", "detail"),
    [
        (http(page(1), status="404 Not Found"), "http_404", None),
        (http(page(1), status="301 Moved"), "http_301", None),
        (http(page(1), status="503 Busy"), "http_503", None),
        (http(b"\x89PNG\r\n\x1a\n" + bytes(range(256)), mime="image/png"), "mime_image", "image/png"),
        (http(b"\xff\xd8\xff\xe0" + bytes(256), mime="text/html"), "mime_image", "image/jpeg"),
        (http(b"%PDF-1.7 ...", mime="application/pdf"), "mime_pdf", "application/pdf"),
        (http(b"%PDF-1.7 ...", mime="text/html"), "mime_pdf", "application/pdf"),
        (http(b"body {}", mime="text/css"), "mime_text", "text/css"),
        (http(b"words", mime="text/plain; charset=x"), "mime_text", "text/plain"),
        (http(b"\0\0\0\x18ftyp", mime="video/mp4"), "mime_video", "video/mp4"),
        (http(b"{}", mime="application/json"), "mime_other", "application/json"),
        (http(b"{}", mime=None), "mime_other", "unknown"),
        (http(b"PK\x03\x04", mime="application/octet-stream"), "mime_other", "application/zip"),
        (http(b""), "empty_payload", None),
        (http(b" \r\n\t "), "empty_payload", None),
        (b"", "empty_payload", None),
    ],
)
def test_records_that_are_no_pages_are_dropped_with_a_reason(read, block, reason, detail):
    rows, _ = read(Gzip.pack([response(0), record(1, block), response(2)]))
    assert [r["dropped"] for r in rows] == [None, reason, None]
    assert rows[1]["detail"] == detail
    assert rows[1]["html"] is None


@pytest.mark.parametrize("mime", ["application/xhtml+xml", "TEXT/HTML", "application/octet-stream", None, "text/xml"])
def test_a_page_is_a_page_whatever_the_server_calls_it(read, mime):
    rows, _ = read(record(1, http(b"\n<!-- c -->\n<!DOCTYPE HTML><p>x</p>", mime=mime)), ".warc")
    assert rows[0]["html"]


def test_the_archives_own_finding_counts_more_than_the_server(read):
    image = {"WARC_Identified_Payload_Type": "image/svg+xml"}
    html = {"WARC_Identified_Payload_Type": "text/html"}
    rows, _ = read(
        record(1, http(b"<svg/>"), **image) + record(2, http(b"<p>x</p>", mime="text/plain"), **html), ".warc"
    )
    assert [r["dropped"] for r in rows] == ["mime_image", None]


def test_other_record_types_are_counted_and_are_no_rows(read):
    records = [
        record(0, b"software: x\r\n", "warcinfo", Content_Type="application/warc-fields"),
        record(1, b"GET / HTTP/1.1\r\n\r\n", "request"),
        response(1),
        record(1, b"fetchTimeMs: 3\r\n", "metadata"),
        record(2, http(b""), "revisit"),
        record(3, b"plain text", "conversion", Content_Type="text/plain"),
        record(4, page(4), "resource", Content_Type="text/html"),
        record(5, b"\x89PNG\r\n\x1a\n", "resource", Content_Type="image/png"),
        record(6, b"20240506\nexample.org. 1 IN A 1.2.3.4", Content_Type="text/dns"),
    ]
    rows, stage = read(Gzip.pack(records))
    assert [(r["url"][-1], r["dropped"]) for r in rows] == [
        ("1", None),
        ("4", None),
        ("5", "mime_image"),
        ("6", "mime_text"),
    ]
    counted = {name: n for name, n in stage.metrics.counters.items() if name.startswith("records_")}
    assert counted == {
        f"records_{kind}": n
        for kind, n in Counter(
            ["warcinfo", "request", "response", "metadata", "revisit", "conversion", "resource", "resource", "response"]
        ).items()
    }


@pytest.mark.parametrize("form", BY_RECORD)
def test_large_records_are_dropped_and_told_apart_from_broken_ones(read, form):
    rows, _ = read(form.pack([response(0), response(1, 50_000), response(2)]), form.suffix, max_record_mb=0.02)
    assert [r["dropped"] for r in rows] == [None, "too_large", None]


def test_pages_that_unpack_to_too_much_are_dropped(read):
    bomb = gzip.compress(b"<html>" + b" " * 4_000_000)
    rows, _ = read(record(1, http(bomb, "Content-Encoding: gzip")) + response(2), ".warc", max_record_mb=1)
    assert [r["dropped"] for r in rows] == ["too_large", None]


def chunked(body, size=700):
    pieces = [body[i : i + size] for i in range(0, len(body), size)]
    return b"".join(b"%x;ext=1\r\n%s\r\n" % (len(p), p) for p in pieces) + b"0\r\n\r\n"


ENCODED = {
    "gzip": gzip.compress(page(1)),
    "x-gzip": gzip.compress(page(1)[:999]) + gzip.compress(page(1)[999:]),
    "deflate": zlib.compress(page(1)),
    "Deflate": zlib.compress(page(1))[2:-4],  # without the zlib header, as some servers send it
    "zstd": zstandard.ZstdCompressor().compress(page(1)),
    "identity": page(1),
    "gzip, gzip": gzip.compress(gzip.compress(page(1))),
}


@pytest.mark.parametrize("coding", ENCODED)
@pytest.mark.parametrize("transfer", [False, True])
def test_http_encodings_are_undone(read, coding, transfer):
    headers, body = [f"Content-Encoding: {coding}"], ENCODED[coding]
    if transfer:
        headers, body = [*headers, "Transfer-Encoding: chunked"], chunked(body)
    rows, _ = read(record(1, http(body, *headers)), ".warc")
    assert rows[0]["html"].encode() == page(1)
    assert rows[0]["truncated"] is None


def test_brotli_is_undone(read):
    brotli = pytest.importorskip("brotli")
    rows, _ = read(record(1, http(brotli.compress(page(1)), "Content-Encoding: br")), ".warc")
    assert rows[0]["html"].encode() == page(1)


@pytest.mark.parametrize("header", ["Content-Encoding: gzip", "Content-Encoding: br", "Transfer-Encoding: chunked"])
def test_headers_of_an_encoding_that_is_already_undone_are_ignored(read, header):
    rows, _ = read(record(1, http(page(1), header)), ".warc")
    assert rows[0]["html"].encode() == page(1)


def test_hostile_headers_and_payloads_are_cheap(read):
    """Each of these takes a pattern that backtracks, or text that is joined piece by piece, for ever."""
    blocks = [
        http(b"<!---->" * 580 + b"x", mime="application/octet-stream"),
        http(page(1), mime="text/html; charset" + " " * 2_000_000),
        http(page(1), "X-Long: a" + "\r\n b" * 2_000_000),
        http(b"<p>" + b"a" * 2_000_000 + b"\xe9</p>"),
        http(b"\xe9" + b"a" * 2_000_000),
        http(b"\xe9<meta " * 200_000),
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n" + b"a" * 2_000_000,
    ]
    rows, _ = read(Gzip.pack([record(n, block) for n, block in enumerate(blocks)]))
    assert [r["dropped"] for r in rows] == ["mime_other", *[None] * 5, "empty_payload"]


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd", "deflate", "lzma"])
def test_what_cannot_be_decoded_fails_and_the_next_record_is_read(read, coding):
    noise = bytes((k * k * 31 + 7) % 251 for k in range(600))
    rows, _ = read(record(1, http(noise, f"Content-Encoding: {coding}")) + response(2), ".warc")
    assert [bool(r["failed"]) for r in rows] == [True, False]
    assert coding in rows[0]["failed"]


@pytest.mark.parametrize(
    ("block", "fields", "why"),
    [
        (http(page(1)), {"WARC_Truncated": "length"}, "length"),
        (http(page(1)), {"WARC_Truncated": "Time"}, "time"),
        (http(page(1)[:-1500]), {"WARC_Truncated": "disconnect"}, "disconnect"),
        (http(page(1)[:-1500]), {}, "html_unclosed"),
        (http(b"<p>A fragment that never had a root.</p>"), {}, None),
        (http(page(1).replace(b"</html>", b"")), {}, None),
        (http(gzip.compress(page(1))[:-300], "Content-Encoding: gzip"), {}, "short_payload"),
        (http(chunked(page(1))[:-300], "Transfer-Encoding: chunked"), {}, "short_payload"),
    ],
)
def test_truncation_is_noticed(read, block, fields, why):
    rows, stage = read(Gzip.pack([record(1, block, **fields)]))
    assert rows[0]["truncated"] == why
    assert rows[0]["html"].startswith(("<html>", "<p>"))
    assert stage.metrics.counters.get(f"truncated={why}", 0) == (why is not None)


def test_wget_brackets_and_odd_dates(read):
    rows, _ = read(response(1, WARC_Target_URI="<https://example.org/1>", WARC_Date="yesterday"), ".warc")
    assert rows[0]["url"] == "https://example.org/1"
    assert rows[0]["date"] is None


def test_a_record_without_status_line_fails(read):
    rows, _ = read(record(1, b"no http at all") + response(2), ".warc")
    assert [bool(r["failed"]) for r in rows] == [True, False]


def test_folded_and_bare_header_lines(read):
    rows, _ = read(
        record(1, http(page(1), "X-Long: a\r\n b", "no colon here"), "response", "X-Note: a\r\n  b\r\nno colon"),
        ".warc",
    )
    assert rows[0]["html"].encode() == page(1)


def test_batches_have_bounded_rows_and_bytes(tmp_path):
    path = tmp_path / "a.warc.gz"
    path.write_bytes(Gzip.pack([response(n, 10_000) for n in range(20)]))
    whole, _ = read_path(str(path))
    for rows, size in ((1, 1 << 26), (7, 1 << 26), (1000, 25_000)):
        assert read_path(str(path), rows=rows, size=size)[0] == whole
    stage = ReadWarc()
    split = stage.splits(InputFile(str(path), "a.warc.gz", path.stat().st_size, ""), "web")[0]
    assert [o.docs.num_rows for o in stage.read(split, 1000, 25_000)] == [3] * 6 + [2]


def test_files_on_other_file_systems():
    import fsspec

    data = Gzip.pack([response(n) for n in range(3)])
    with fsspec.open("memory://crawl/a.warc.gz", "wb") as file:
        file.write(data)
    stage = ReadWarc()
    split = Split(InputFile("memory://crawl/a.warc.gz", "a.warc.gz", len(data), ""), "web", 0, 0, len(data))
    assert [o.docs.num_rows for o in stage.read(split, 10, 1 << 20)] == [3]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("good_reads", [0, 1, 3])
def test_a_storage_that_fails_is_no_damage(form, good_reads):
    """A connection that breaks must not look like a broken archive: the task has to be tried again."""
    data = form.pack([response(n) for n in range(12)])

    class Flaky(io.BytesIO):
        reads = 0

        def read(self, size=-1):
            self.reads += 1
            if self.reads > good_reads:
                raise OSError("connection reset")
            return super().read(min(size, 1500))

    file = StoredFile(Flaky(data), len(data))
    with pytest.raises(StorageError, match="connection reset"):
        list(read_records(file, "a" + form.suffix, 0, len(data), 1 << 25))

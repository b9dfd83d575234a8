"""ARC files, both versions: the same rows as for WARC, whole, in splits, and broken in every way."""

import gzip
import io
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from warc_archives import failures, http, numbers, page, read_path

ADDRESS = b"93.184.216.34"
VERSION_1 = b"1 0 Example\nURL IP-address Archive-date Content-type Archive-length\n\n"
VERSION_2 = b"2 0 Example\nURL IP-address Archive-date Content-type Result-code Checksum Location Offset Filename Archive-length\n\n"


def arc(block, url, kind=b"text/html", date=b"20050304101112", version=1, length=None):
    more = b" 200 - - 1234 example.arc" if version == 2 else b""
    said = length if length is not None else b"%d" % len(block)
    return b"%s %s %s %s%s %s\n" % (url.encode(), ADDRESS, date, kind, more, said) + block + b"\n"


def record(n, version=1, **keys):
    return arc(http(page(n)), f"http://example.org/{n}", version=version, **keys)


def head(version=1):
    block = VERSION_1 if version == 1 else VERSION_2
    return arc(block, "filedesc://example.arc", b"text/plain")


class Plain:
    suffix = ".arc"

    @staticmethod
    def pack(records):
        return b"".join(records)


class Gzip:
    suffix = ".arc.gz"

    @staticmethod
    def pack(records):
        return b"".join(gzip.compress(r, mtime=0) for r in records)


class GzipStream:
    suffix = ".arc.gz"

    @staticmethod
    def pack(records):
        return gzip.compress(b"".join(records), mtime=0)


FORMS = [Plain, Gzip, GzipStream]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("version", [1, 2])
def test_pages_become_documents(read, form, version):
    records = [head(version), *(record(n, version) for n in range(5))]
    rows, stage = read(form.pack(records), form.suffix)
    assert numbers(rows) == [0, 1, 2, 3, 4] and failures(rows) == []
    assert [row["html"] for row in rows] == [page(n).decode() for n in range(5)]
    assert rows[0]["url"] == "http://example.org/0" and rows[0]["charset"] == "utf-8"
    assert rows[0]["date"] == datetime(2005, 3, 4, 10, 11, 12, tzinfo=UTC)
    assert stage.metrics.counters["records_filedesc"] == 1 and stage.metrics.counters["records_response"] == 5
    assert len({row["id"] for row in rows}) == 5
    if form is not GzipStream:
        ends = [len(form.pack(records[: k + 1])) for k in range(5)]
        assert [row["position"] for row in rows] == ends


def test_records_that_are_no_pages(read):
    records = [
        head(),
        arc(b"20050304101112\n93.184.216.34\n", "dns:example.org", b"text/dns"),
        arc(http(b"", status="404 Not Found"), "http://example.org/gone"),
        arc(http(b"GIF89a..", mime="image/gif"), "http://example.org/x.gif", b"image/gif"),
        arc(b"<html><body>no status line</body></html>", "http://example.org/bare"),
        arc(b"", "http://example.org/empty"),
        arc(http(page(7)), "http://example.org/with a space/7", b"text/html; charset=utf-8", b"200503041011"),
    ]
    rows, _ = read(b"".join(records), ".arc")
    assert [row["dropped"] for row in rows] == ["mime_text", "http_404", "mime_image", None, "empty_payload", None]
    assert failures(rows) == ["no HTTP status line"]
    assert rows[5]["url"].endswith("with a space/7") and rows[5]["date"].minute == 11


@pytest.mark.parametrize("form", [Plain, Gzip])
@pytest.mark.parametrize("what", ["line", "no number", "too short", "negative"])
def test_a_bad_header_costs_one_record(read, form, what):
    bad = {
        "line": b"http://example.org/2 " + page(2) + b"\n",
        "no number": record(2, length=b"many"),
        "too short": record(2, length=b"100"),
        "negative": record(2, length=b"-5"),
    }[what]
    rows, stage = read(form.pack([head(), record(0), record(1), bad, record(3), record(4)]), form.suffix)
    assert numbers(rows) == [0, 1, 3, 4]
    assert len(failures(rows)) == 1 and stage.metrics.counters["damaged_regions"] == 1
    assert "bytes skipped" in failures(rows)[0]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("extra", [3, 2000, 10**6, 10**15])
def test_a_length_that_is_too_long_costs_nothing(read, form, extra):
    long = record(2, length=b"%d" % (len(http(page(2))) + extra))
    rows, _ = read(form.pack([head(), record(0), record(1), long, record(3), record(4)]), form.suffix)
    assert numbers(rows) == [0, 1, 2, 3, 4]
    assert rows[2]["truncated"] == "short_payload" and rows[2]["html"] == page(2).decode()


@pytest.mark.parametrize("damage", ["bits", "checksum", "garbage", "empty member"])
def test_a_corrupt_member_costs_one_record(read, damage):
    members = [bytearray(gzip.compress(r, mtime=0)) for r in (head(), *(record(n) for n in range(5)))]
    if damage == "bits":
        members[3][200:260] = bytes(60)
    elif damage == "checksum":
        members[3][-6] ^= 255
    else:
        members.insert(3, b"garbage" * 99 if damage == "garbage" else gzip.compress(b""))
    rows, _ = read(b"".join(members), ".arc.gz")
    lost = [2] if damage in ("bits", "checksum") else []
    assert [n for n in numbers(rows) if n != 2] == [0, 1, 3, 4]
    assert len(failures(rows)) == 1
    assert lost or 2 in numbers(rows)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("cut", [10, 700, 2500])
def test_a_cut_file_keeps_what_is_there(read, form, cut):
    data = form.pack([head(), *(record(n) for n in range(5))])
    rows, _ = read(data[:-cut], form.suffix)
    assert numbers(rows)[:3] == [0, 1, 2]
    assert failures(rows) or rows[-1]["truncated"] == "short_payload"


def test_a_stream_that_breaks_keeps_the_records_before(read):
    records = [head(2), *(arc(http(page(n, 9000)), f"http://example.org/{n}", version=2) for n in range(60))]
    data = bytearray(GzipStream.pack(records))
    assert len(data) > 2 << 16  # it is decompressed in pieces of 64 KiB
    data[-1000:-900] = bytes(100)
    rows, _ = read(bytes(data), ".arc.gz")
    assert 30 < len(numbers(rows)) < 60 and numbers(rows) == list(range(len(numbers(rows))))
    assert len(failures(rows)) == 1 and "gzip" in failures(rows)[0]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("split", [100, 1777, 5000])
@pytest.mark.parametrize("damaged", [False, True])
def test_splits_give_the_rows_of_the_whole(tmp_path, form, split, damaged):
    records = [head(), *(record(n) for n in range(6))]
    data = bytearray(form.pack(records))
    if damaged:
        data[len(data) // 2 : len(data) // 2 + 20] = b"\0" * 20
    path = tmp_path / f"x{form.suffix}"
    path.write_bytes(data)
    whole, _ = read_path(str(path))
    parts, _ = read_path(str(path), split)
    assert parts == whole
    assert numbers(whole) == list(range(6)) or (damaged and failures(whole))
    if damaged and form is not GzipStream:  # that one is decompressed in pieces of 64 KiB
        assert len(numbers(whole)) >= 4


def test_a_file_without_its_first_record(read):
    """The piece of a file: its name says what it is."""
    for form in FORMS:
        rows, _ = read(form.pack([record(n) for n in range(3)]), form.suffix)
        assert numbers(rows) == [0, 1, 2]


def test_pages_that_quote_records_are_pages(read):
    quoting = b"<html><body><pre>\n" + record(9)[:90] + b"\n" + head() + b"</pre></body></html>"
    rows, _ = read(b"".join([head(), arc(http(quoting), "http://example.org/0"), record(1)]), ".arc")
    assert numbers(rows) == [0, 1] and rows[0]["html"].encode() == quoting


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    parts=st.lists(
        st.sampled_from([head(), record(1), record(2, 2), record(3, length=b"7"), b"\n", b"http://x.y/ 1.2.3.4 2005 text/html 9\n",
                         b"\0\xff", gzip.compress(record(4), mtime=0), b"WARC/1.0\r\n"]) | st.binary(max_size=30),
        max_size=6,
    ),
    suffix=st.sampled_from([".arc", ".arc.gz"]),
    split=st.sampled_from([64, 700]),
)  # fmt: skip
def test_any_bytes_end_without_exception_and_alike(tmp_path_factory, parts, suffix, split):
    path = tmp_path_factory.mktemp("any") / f"any{suffix}"
    path.write_bytes(b"".join(parts))
    whole, _ = read_path(str(path))
    assert read_path(str(path), split)[0] == whole


def test_against_an_independent_reader(tmp_path):
    """warcio reads what is written here, and the same of it (version 1: it takes version 2's fields for the address).

    Skipped where it is not installed.
    """
    iterator = pytest.importorskip("warcio.archiveiterator").ArchiveIterator
    data = Gzip.pack([head(), *(record(n) for n in range(3))])
    path = tmp_path / "x.arc.gz"
    path.write_bytes(data)
    mine = [(row["url"], row["position"]) for row in read_path(str(path))[0]]
    theirs = iterator(io.BytesIO(data))
    found = [(r.rec_headers.get_header("uri"), theirs.get_record_offset()) for r in theirs if r.rec_type == "response"]
    assert found == mine

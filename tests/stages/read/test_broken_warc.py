"""Broken archives: what damage costs, in every way an archive is stored."""

import gzip

import pytest
import zstandard
from warc_archives import (
    FORMATS,
    Gzip,
    GzipBlocks,
    GzipStream,
    Plain,
    Zstd,
    ZstdStream,
    failures,
    http,
    numbers,
    page,
    record,
    response,
)

FIVE = [response(n) for n in range(5)]


def corrupt(member):
    """A member with bytes in its middle overwritten."""
    at = len(member) // 2
    return member[:at] + b"\x55\xaa\x55\xaa\x55\xaa" + member[at + 6 :]


@pytest.mark.parametrize("form", [Gzip, Zstd])
def test_a_corrupt_member_costs_one_record(read, form):
    parts = [form.pack([r]) for r in FIVE]
    parts[2] = corrupt(parts[2])
    rows, _ = read(b"".join(parts), form.suffix)
    assert numbers(rows) == [0, 1, 3, 4]
    assert len(rows) == 5
    assert f"at byte {len(parts[0] + parts[1])}, {len(parts[2])} bytes skipped" in rows[2]["failed"]
    assert rows[2]["position"] == len(parts[0] + parts[1])


@pytest.mark.parametrize("form", [Gzip, Zstd])
def test_a_wrong_checksum_costs_one_record(read, form):
    parts = [form.pack([r]) for r in FIVE]
    at = -6 if form is Gzip else -2
    parts[2] = parts[2][:at] + bytes([parts[2][at] ^ 1]) + parts[2][at + 1 :]
    rows, _ = read(b"".join(parts), form.suffix)
    assert numbers(rows) == [0, 1, 3, 4]
    assert len(failures(rows)) == 1


@pytest.mark.parametrize("form", [Gzip, Zstd, Plain])
@pytest.mark.parametrize("garbage", [b"\0" * 3000, b"garbage", b"\x1f\x8b\x08\0\0\0\0\0", gzip.compress(b"no record")])
def test_garbage_between_members_costs_none(read, form, garbage):
    rows, _ = read(form.pack(FIVE[:2]) + garbage + form.pack(FIVE[2:]), form.suffix)
    assert numbers(rows) == [0, 1, 2, 3, 4]
    assert len(failures(rows)) == 1


@pytest.mark.parametrize("form", [Gzip, Zstd, Plain])
def test_garbage_before_the_first_record(read, form):
    rows, _ = read(b"garbage" + form.pack(FIVE), form.suffix)
    assert numbers(rows) == [0, 1, 2, 3, 4]
    assert len(failures(rows)) == 1


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("cut", [10, 300, 1200])
def test_a_cut_file_keeps_what_is_there(read, form, cut):
    data = form.pack(FIVE)
    rows, _ = read(data[:-cut], form.suffix)
    kept = numbers(rows)
    assert kept == list(range(len(kept)))
    assert len(kept) >= (3 if form is ZstdStream else 4)  # that one stores five pages in 2 kB
    last = [r for r in rows if r["url"] and r["url"].endswith("/4")]
    if len(kept) == 5:
        assert page(4).startswith(last[0]["html"].encode().rstrip())
        assert form is not Plain or last[0]["truncated"] == "short_payload"
    assert failures(rows) or last[0]["truncated"] == "short_payload"


@pytest.mark.parametrize("form", [GzipStream, ZstdStream, GzipBlocks])
def test_a_stream_that_breaks_keeps_the_records_before(read, form):
    records = [response(n, 300_000) for n in range(5)]
    data = bytearray(form.pack(records))
    at = len(form.pack(records[:4]))
    data[at : at + 8] = b"\x55\xaa" * 4
    rows, _ = read(bytes(data), form.suffix)
    assert numbers(rows)[:3] == [0, 1, 2]
    assert 1 <= len(failures(rows)) <= 2


@pytest.mark.parametrize("form", FORMATS)
def test_a_bad_header_line_costs_one_record(read, form):
    records = [*FIVE[:2], FIVE[2].replace(b"WARC/1.0", b"WORC/!!!", 1), *FIVE[3:]]
    rows, _ = read(form.pack(records), form.suffix)
    assert numbers(rows) == [0, 1, 3, 4]
    assert len(failures(rows)) == 1


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("length", ["100", "-5", "many", "", "99999999999999999999999"])
def test_a_length_that_cannot_be_costs_one_record(read, form, length):
    rows, _ = read(form.pack([*FIVE[:2], response(2, length=length), *FIVE[3:]]), form.suffix)
    assert numbers(rows) == [0, 1, 3, 4]
    assert [r["url"] for r in rows if r["failed"]] == ["https://example.org/2"]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("extra", [1, 7, 2000, 5000, 50_000, 10**6, 10**12])
def test_a_length_that_is_too_long_costs_nothing(read, form, extra):
    """Not with the limit above the length, nor with one below, when the record is at first taken for a large one."""
    size = len(http(page(2)))
    data = form.pack([*FIVE[:2], response(2, length=size + extra), *FIVE[3:]])
    for limit in (64, 0.01):
        rows, _ = read(data, form.suffix, max_record_mb=limit)
        assert numbers(rows) == [0, 1, 2, 3, 4]
        assert rows[2]["html"].encode().removesuffix(b"\r") == page(2)
        assert rows[2]["truncated"] == ("short_payload" if extra > 4 else None)
        assert not failures(rows)


@pytest.mark.parametrize("form", FORMATS)
def test_line_feeds_as_line_ends(read, form):
    records = [record(n, http(page(n)).replace(b"\r\n", b"\n"), end="\n") for n in range(5)]
    rows, _ = read(form.pack(records), form.suffix)
    assert numbers(rows) == [0, 1, 2, 3, 4]
    assert [r["html"].encode() for r in rows] == [page(n) for n in range(5)]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("newlines", [b"", b"\r\n", b"\r\n" * 3])
def test_a_wrong_number_of_newlines_between_records(read, form, newlines):
    records = [r.removesuffix(b"\r\n\r\n") + newlines for r in FIVE]
    rows, _ = read(form.pack(records), form.suffix)
    assert numbers(rows) == [0, 1, 2, 3, 4]
    assert not failures(rows)


def test_pages_that_quote_records_are_pages(read):
    quote = b"<html><pre>\r\n\r\nWARC/1.0\r\nWARC-Type: response\r\nContent-Length: 3\r\n\r\nabc\r\n\r\n</pre></html>"
    records = [response(0), record(1, http(quote)), response(2)]
    for form in FORMATS:
        rows, _ = read(form.pack(records), form.suffix)
        assert [r["html"].encode() for r in rows] == [page(0), quote, page(2)]
        assert not failures(rows)


@pytest.mark.parametrize(
    ("data", "suffix", "error"),
    [
        (b"", ".warc.gz", "empty"),
        (b"\r\n\n", ".warc", "empty"),
        (b"<html>no archive at all</html>", ".arc", "no ARC record"),
        (gzip.compress(b"some other text" * 99), ".arc.gz", "no gzip member with an ARC"),
        (b"\x04\x22\x4d\x18....", ".warc.lz4", "lz4"),
        (b"<html>no archive at all</html>", ".warc", "no WARC record"),
        (bytes(range(256)) * 40, ".warc.gz", "no gzip member"),
        (gzip.compress(b"WARC/1.0\r\nWARC-Type: resp"), ".warc.gz", "unfinished"),
        (b"WARC/1.0\r\nContent-Length: 5", ".warc", "unfinished"),
        (gzip.compress(b"some other text" * 99), ".warc.gz", "no gzip member"),
    ],
)
def test_what_is_no_archive_ends_in_one_failed_row(read, data, suffix, error):
    rows, _ = read(data, suffix)
    assert len(rows) == 1
    assert error in rows[0]["failed"]
    assert read(data, suffix, split=7)[0] == rows


def test_zstd_with_a_dictionary_frame(read):
    """The archive of archiveteam: the dictionary is in a skippable frame at the start."""
    records = [response(n) for n in range(40)]
    dictionary = zstandard.train_dictionary(4096, records)
    packer = zstandard.ZstdCompressor(dict_data=dictionary)
    for content in (dictionary.as_bytes(), zstandard.ZstdCompressor().compress(dictionary.as_bytes())):
        frame = b"\x5d\x2a\x4d\x18" + len(content).to_bytes(4, "little") + content
        data = frame + b"".join(packer.compress(r) for r in records)
        rows, _ = read(data, ".warc.zst")
        assert numbers(rows) == list(range(40))
        assert read(data, ".warc.zst", split=1000)[0] == rows

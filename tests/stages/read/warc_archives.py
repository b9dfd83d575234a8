"""Archives to test readers of them: records, every way to store them, and what a reader makes of a file."""

import gzip
import io
import os

import pyarrow as pa
import zstandard

from curation.stage import InputFile, Split
from stages.read.warc import ReadWarc


def http(body, *headers, status="200 OK", mime="text/html; charset=utf-8"):
    lines = [f"HTTP/1.1 {status}", *([f"Content-Type: {mime}"] if mime else []), *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def record(n, block, kind="response", *headers, length=None, end="\r\n", **fields):
    fields = {
        "WARC-Type": kind,
        "WARC-Record-ID": f"<urn:uuid:00000000-0000-0000-0000-{n:012d}>",
        "WARC-Target-URI": f"https://example.org/{n}",
        "WARC-Date": f"2024-05-06T07:08:{n % 60:02d}Z",
        "Content-Type": "application/http; msgtype=response",
        "Content-Length": str(len(block) if length is None else length),
    } | {name.replace("_", "-"): value for name, value in fields.items()}
    head = ["WARC/1.0", *(f"{name}: {value}" for name, value in fields.items() if value is not None), *headers]
    return end.join(head).encode() + 2 * end.encode() + block + 2 * end.encode()


def page(n, size=3000):
    """A page with text that compresses as text does and differs from page to page."""
    words = [f"word{(n * 7919 + k * k) % 9973}" for k in range(size // 8)]
    return f"<html><head><title>Page {n}</title></head><body><p>{' '.join(words)}</p></body></html>".encode()


def response(n, size=3000, **fields):
    return record(n, http(page(n, size)), **fields)


class Plain:
    """How a list of records becomes a file, for each of the ways in which archives are stored."""

    suffix = ".warc"

    @staticmethod
    def pack(records):
        return b"".join(records)


class Gzip(Plain):
    suffix = ".warc.gz"

    @staticmethod
    def pack(records):
        return b"".join(gzip.compress(r, mtime=0) for r in records)


class Zstd(Plain):
    suffix = ".warc.zst"

    @staticmethod
    def pack(records):
        return b"".join(zstandard.ZstdCompressor(write_checksum=True).compress(r) for r in records)


class GzipStream(Plain):
    suffix = ".warc.gz"

    @staticmethod
    def pack(records):
        return gzip.compress(b"".join(records), mtime=0)


class GzipBlocks(Plain):
    """Members that end anywhere, as block gzip writes them."""

    suffix = ".warc.gz"

    @staticmethod
    def pack(records):
        data = b"".join(records)
        return b"".join(gzip.compress(data[i : i + 1777], mtime=0) for i in range(0, len(data), 1777))


class ZstdStream(Plain):
    suffix = ".warc.zst"

    @staticmethod
    def pack(records):
        out = io.BytesIO()
        with zstandard.ZstdCompressor().stream_writer(out, closefd=False) as writer:
            for r in records:
                writer.write(r)
                writer.flush(zstandard.FLUSH_BLOCK)
        return out.getvalue()


FORMATS = [Plain, Gzip, Zstd, GzipStream, GzipBlocks, ZstdStream]
BY_RECORD = [Plain, Gzip, Zstd]


def read_path(path, split=None, rows=1000, size=1 << 26, **keys):
    stage = ReadWarc(**keys)
    file = InputFile(path, os.path.basename(path), os.path.getsize(path), "v1")
    step = split or max(file.size, 1)
    tables = []
    for index, start in enumerate(range(0, max(file.size, 1), step)):
        for outcome in stage.read(Split(file, "web", index, start, min(start + step, file.size)), rows, size):
            assert 0 < outcome.docs.num_rows <= rows
            said = {name: getattr(outcome, name) for name in ("dropped", "failed", "detail")}
            table = outcome.docs
            for name, column in said.items():
                table = table.append_column(name, column)
            tables.append(table)
    if not tables:
        return [], stage
    return pa.concat_tables(tables).to_pylist(), stage


def numbers(rows):
    """The numbers of the pages that were read."""
    return [int(r["url"].rsplit("/", 1)[1]) for r in rows if r["html"]]


def failures(rows):
    return [r["failed"] for r in rows if r["failed"]]

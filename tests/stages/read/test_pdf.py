"""PDFs from files, archives of files, and web archives: one row for each, whatever the archive is cut into."""

import gzip
import io
import itertools
import tarfile
from pathlib import Path

import pytest

from curation.documents import CORE, column_type
from curation.stage import InputFile, Split
from stages.read.pdf import ReadPdf
from stages.read.pdf_sniff import is_cut, is_pdf, problem
from stages.read.warc import ReadWarc

EXAMPLES = Path(__file__).resolve().parents[3] / "examples" / "pdf"


def read(reader, path, splits=None, **limits):
    file = InputFile(str(path), path.name, path.stat().st_size, "1")
    rows = []
    for split in splits(file) if splits else reader.splits(file, "test"):
        for outcome in reader.read(split, limits.get("batch_rows", 100), limits.get("batch_bytes", 1 << 30)):
            assert set(outcome.docs.column_names) == {*CORE, *reader.adds()}
            assert all(outcome.docs[name].type == column_type(name) for name in outcome.docs.column_names)
            says = [getattr(outcome, name).to_pylist() for name in ("dropped", "failed", "detail")]
            for row, dropped, failed, detail in zip(outcome.docs.to_pylist(), *says, strict=True):
                rows.append(row | {"dropped": dropped, "failed": failed, "detail": detail})
    return rows


def archive(path, mode="w", count=30):
    pdf = (EXAMPLES / "hebrew.pdf").read_bytes()
    with tarfile.open(path, mode) as tar:
        folder = tarfile.TarInfo("papers")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for i in range(count):
            data = {3: b"", 5: b"<html>404</html>", 7: pdf[:-40], 9: b"text"}.get(i, pdf)
            info = tarfile.TarInfo(f"papers/{i}.pdf")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_damaged_header_does_not_end_an_archive_without_a_word(tmp_path, mode):
    path = tmp_path / "papers.tar"
    archive(path, "w", count=12)
    data = bytearray(path.read_bytes())
    with tarfile.open(path) as whole:
        place = whole.getmembers()[7].offset
    data[place + 5 : place + 100] = b"\xaa" * 95
    packed = path if mode == "w" else tmp_path / "papers.tar.gz"
    packed.write_bytes(gzip.compress(data) if mode == "w:gz" else data)
    *before, last = read(ReadPdf(), packed)
    assert len(before) == 6 and not any(row["failed"] for row in before)
    assert f"byte {place} is no header of a file" in last["failed"]


def test_the_first_and_last_bytes_tell_what_a_file_is():
    whole = (EXAMPLES / "two-columns.pdf").read_bytes()
    assert is_pdf(whole) and problem(whole) is None and not is_cut(whole)
    assert problem(b"junk\n" * 100 + whole) is None and problem(b"junk\n" * 300 + whole) == "not_pdf"
    assert (
        not is_cut(whole + b"\n\0\0\0") and is_cut(whole[:-100]) and is_cut((EXAMPLES / "cut-short.pdf").read_bytes())
    )
    assert problem((EXAMPLES / "error-page.pdf").read_bytes()) == "html"


def test_files_of_a_folder():
    rows = [row for path in sorted(EXAMPLES.glob("*.pdf")) for row in read(ReadPdf(), path)]
    assert len({row["id"] for row in rows}) == len(rows) == 7
    by_name = {row["file"]: row for row in rows}
    assert by_name["error-page.pdf"]["dropped"] == "html" and by_name["error-page.pdf"]["content"] is None
    assert by_name["cut-short.pdf"]["truncated"] == "pdf_cut"
    assert by_name["hebrew.pdf"]["content"] == (EXAMPLES / "hebrew.pdf").read_bytes()
    (row,) = read(ReadPdf(max_mb=0.01), EXAMPLES / "hebrew.pdf")
    assert row["dropped"] == "too_large" and row["content"] is None


def test_an_archive_gives_the_same_rows_however_it_is_cut(tmp_path):
    path = tmp_path / "papers.tar"
    archive(path)
    size = path.stat().st_size
    whole = read(ReadPdf(), path, lambda file: [Split(file, "test", 0, 0, file.size)])
    assert len(whole) == 30 and whole[2]["member"] == "papers/2.pdf"
    assert [whole[i]["dropped"] for i in (3, 5, 7, 9)] == ["empty", "html", None, "not_pdf"]
    assert whole[7]["truncated"] == "pdf_cut"
    for cuts in (2, 7, 50):
        edges = [size * i // cuts for i in range(cuts + 1)]
        parts = read(
            ReadPdf(),
            path,
            lambda file, e=edges: [Split(file, "test", i, a, b) for i, (a, b) in enumerate(itertools.pairwise(e))],
            batch_rows=4,
        )
        assert parts == whole


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_broken_archive_is_read_up_to_the_break(tmp_path, mode):
    path = tmp_path / ("papers.tar" if mode == "w" else "papers.tar.gz")
    archive(path, mode)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    rows = read(ReadPdf(), path, lambda file: [Split(file, "test", 0, 0, file.size)])
    assert rows[-1]["failed"] and all(row["failed"] is None for row in rows[:-1]) and len(rows) > 5
    assert len({row["id"] for row in rows}) == len(rows)


def test_what_is_no_archive_is_one_failed_row(tmp_path):
    path = tmp_path / "papers.tar"
    path.write_bytes(b"no archive" * 100)
    (row,) = read(ReadPdf(), path)
    assert "ReadError" in row["failed"]


def test_pdfs_of_a_web_archive(tmp_path):
    pdf = (EXAMPLES / "hebrew.pdf").read_bytes()

    def response(n, body, mime, extra=""):
        http = f"HTTP/1.1 200 OK\r\nContent-Type: {mime}\r\n\r\n".encode() + body
        head = f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: https://example.org/{n}\r\n{extra}"
        head += "WARC-Date: 2024-05-06T07:08:09Z\r\nContent-Type: application/http; msgtype=response\r\n"
        return gzip.compress(f"{head}Content-Length: {len(http)}\r\n\r\n".encode() + http + b"\r\n\r\n")

    path = tmp_path / "crawl.warc.gz"
    path.write_bytes(
        response(0, pdf, "application/pdf")
        + response(1, b"<html><body>page</body></html>", "text/html")
        + response(2, pdf, "application/octet-stream")
        + response(3, pdf[:3000], "application/pdf", "WARC-Truncated: length\r\n")
        + response(4, pdf[:3000], "application/pdf")
        + response(5, b"GIF89a", "image/gif")
    )
    rows = read(ReadWarc(keep="pdf"), path)
    assert [row["dropped"] for row in rows] == [None, "mime_html", None, None, None, "mime_image"]
    assert [row["truncated"] for row in rows] == [None, None, None, "length", "pdf_cut", None]
    assert rows[0]["content"] == rows[2]["content"] == pdf and rows[1]["content"] is None
    assert rows[0]["url"] == "https://example.org/0" and rows[0]["date"] is not None
    assert read(ReadWarc(), path)[0]["dropped"] == "mime_pdf"

"""Reads PDF files, one by one from folders or by the thousand from tar archives, and says of each record what it is.

No PDF engine runs here: the reader works in the process that must not die. It looks at the first and last bytes
(`pdf_sniff`), which is enough to tell a PDF from the HTML error page that was saved in its place. What an engine is
given is decided here, what it makes of it in `extract_pdf`.

A file by itself is a task by itself. That costs some 20 ms and four small files a PDF; from a few thousand on a tar
archive is the better input. An archive is cut into splits: a task hops from header to header to its own part.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
from pydantic import Field

from curation.documents import CORE, column_type, document_id
from curation.errors import error_text
from curation.stage import InputFile, Outcome, Reader, Split
from stages.read.stored import DAMAGE, open_stored
from stages.read.tar_end import check_end

_COLUMNS = ("content", "member", "truncated")
_TAR = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


class ReadPdf(Reader, name="read_pdf"):
    """Reads PDF files, and tar archives of them (`.tar`, also `.gz`, `.bz2`, `.xz`), from any file system fsspec knows.

    Every file, and every regular file in an archive, is a document: its bytes go to `content`, for `extract_pdf`; its
    name in the archive to `member`. `truncated` is `pdf_cut` where a PDF lacks its end.

    Drop reasons: `empty`, `html` (an HTML page under the name of a PDF), `not_pdf`, `header_only`, `too_large` (over
    `max_mb`). A broken archive is read up to the break; what follows is one failed row that says where.
    """

    max_mb: float = Field(256.0, gt=0, description="MiB; larger files are dropped (`too_large`)")

    def adds(self) -> dict[str, pa.DataType]:
        return {name: column_type(name) for name in _COLUMNS}

    def splittable(self, file: InputFile) -> bool:
        return file.name.lower().endswith(".tar")

    def read(self, split: Split, batch_rows: int, batch_bytes: int) -> Iterator[Outcome]:
        rows = _Rows(split)
        for name, position, size, content, error in self._records(split):
            rows.add(name, position, size, content, error)
            if len(rows.ids) >= batch_rows or rows.bytes >= batch_bytes:
                yield rows.outcome()
                rows = _Rows(split)
        if rows.ids:
            yield rows.outcome()

    def _records(self, split: Split) -> Iterator[tuple[str | None, int, int, bytes | None, str | None]]:
        """(member, position, size, bytes or null if too large, error) of the records in the split."""
        limit = int(self.max_mb * (1 << 20))
        with open_stored(split.file.path) as file:
            if not split.file.name.lower().endswith(_TAR):
                size = split.file.size
                yield None, 0, size, file.read() if size <= limit else None, None
                return
            at = 0
            try:
                with tarfile.open(fileobj=file, mode="r:*") as archive:
                    for member in archive:
                        at = member.offset
                        if at >= split.end and self.splittable(split.file):
                            return
                        if at < split.start or not member.isfile():
                            continue
                        if member.size > limit:
                            yield member.name, at, member.size, None, None
                            continue
                        stream = archive.extractfile(member)
                        content = stream.read() if stream is not None else b""
                        if len(content) < member.size:
                            raise tarfile.ReadError("the archive ends inside the file")
                        yield member.name, at, member.size, content, None
                        archive.members = []  # type: ignore[attr-defined]  # all members seen: it would grow
                    at = archive.offset
                    check_end(archive, file)
            except (tarfile.TarError, *DAMAGE) as error:
                if split.start <= at < split.end or not self.splittable(split.file):
                    what = error_text(error, 200)
                    yield None, at, 0, None, f"{what} (at byte {at} of the archive)"


class _Rows:
    """The rows of one batch, as they are collected."""

    def __init__(self, split: Split) -> None:
        self.split = split
        self.bytes = 0
        self.ids: list[str] = []
        self.positions: list[int] = []
        self.members: list[str | None] = []
        self.contents: list[bytes | None] = []
        self.cut: list[str | None] = []
        self.says: dict[str, list[str | None]] = {"dropped": [], "failed": [], "detail": []}

    def add(self, member: str | None, position: int, size: int, content: bytes | None, error: str | None) -> None:
        """Add the row of a record; `content` is null where it is too large, or `error` says why it has none."""
        from stages.read.pdf_sniff import is_cut, problem

        reason = None if error else "too_large" if content is None else problem(content)
        key = f"{position}!" if error else position
        self.ids.append(document_id(self.split.source, self.split.file.name, key))
        self.positions.append(position)
        self.members.append(member and member.encode("utf-8", "replace").decode())
        self.contents.append(None if reason else content)
        self.cut.append("pdf_cut" if content and not reason and is_cut(content) else None)
        self.says["dropped"].append(reason)
        self.says["failed"].append(error)
        self.says["detail"].append(f"{size} bytes" if reason == "too_large" else None)
        self.bytes += len(content or b"")

    def outcome(self) -> Outcome:
        """The rows as a batch."""
        n = len(self.ids)
        values: dict[str, list[Any]] = {
            "id": self.ids,
            "text": [None] * n,
            "url": [None] * n,
            "source": [self.split.source] * n,
            "file": [self.split.file.name] * n,
            "position": self.positions,
            "content": self.contents,
            "member": self.members,
            "truncated": self.cut,
        }
        table = pa.table({name: pa.array(values[name], column_type(name)) for name in (*CORE, *_COLUMNS)})
        return Outcome(table, **{name: pa.array(column, pa.string()) for name, column in self.says.items()})

"""Reads source code from packages and folders, and says of each file its language, licence, repository and path.

Code is published as packages: source distributions and wheels, archives of a repository, git bundles. A package is a
repository: its licence text covers its files, and which files belong together is half of what a model learns from them.
What is no text is passed over here; what is text, but not worth learning from, is for `filter_code`.

Trade-off: an archive is one task, read in order. A folder of plain files is one task a file, 20 ms each: pack large
folders into tar archives first.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pyarrow as pa
from pydantic import Field

from curation.documents import CORE, column_type, document_id
from curation.stage import InputFile, Outcome, Reader, Split
from stages.read.stored import open_stored

_COLUMNS = ("member", "repository", "path", "code_language", "license", "license_source")
#: Characters of a licence file or of metadata that are looked at.
_LARGEST_NOTICE = 1 << 20


class ReadCode(Reader, name="read_code"):
    """Reads source files from archives (`.tar` and compressed, `.zip`, `.whl`, `.crate`, `.jar`), git bundles and
    folders.

    Every file is a document with its `path` in the `repository` (a package's name and version, or the first folder
    below the input), `code_language` (one of the 92 of Qwen2.5-Coder, by name and content; null if none) and `license`
    (SPDX, lower case; null if unknown) with `license_source`: `header` (the file says so), `metadata` (PKG-INFO,
    package.json, Cargo.toml ...) or `file` (the nearest licence text in the folders above). A notebook becomes
    Markdown: prose, code, short output. Of a bundle the files of its main branch are read.

    Drop reasons: `empty`, `binary` (it has zero bytes), `not_utf8`, `too_large` (over `max_kb`), `bad_notebook`. A
    broken archive is read up to the break; what follows is one failed row that says where.
    """

    max_kb: int = Field(1024, ge=1, description="KiB; larger files are dropped (`too_large`)")

    def adds(self) -> dict[str, pa.DataType]:
        return {name: column_type(name) for name in _COLUMNS}

    def read(self, split: Split, batch_rows: int, batch_bytes: int) -> Iterator[Outcome]:
        rows: list[dict[str, Any]] = []
        size = 0
        for row in self._records(split):
            rows.append(row)
            size += len(row.get("text") or "")
            if len(rows) >= batch_rows or size >= batch_bytes:
                yield _outcome(rows)
                rows, size = [], 0
        if rows:
            yield _outcome(rows)

    def _records(self, split: Split) -> Iterator[dict[str, Any]]:
        from stages.read.code_archives import BrokenArchive, BrokenMember, Member, is_archive, members, package_name

        file = split.file

        def open_file() -> Any:
            return open_stored(file.path)

        if not is_archive(file.name):
            member = Member(file.name, file.size, 0, lambda: open_file().read())
            repository, path = _place_in_folder(file)
            yield self._row(split, member, repository, path, _license_above(file))
            return
        repository = package_name(file.name)
        try:
            licenses = _licenses(members(file.name, file.path, open_file))
            for member in members(file.name, file.path, open_file):
                path = member.path.removeprefix("./").removeprefix(f"{repository}/")
                try:
                    yield self._row(split, member, repository, path, _nearest(licenses, member.path))
                except BrokenMember as error:
                    about = {"failed": str(error), "repository": repository, "path": path}
                    yield _core(split, member.position, member.position) | about
        except BrokenArchive as error:
            where = f"{error.position}!"
            yield _core(split, where, error.position) | {
                "failed": f"{error} (at {error.position} of the archive)".replace("\n", " ")[:300],
                "repository": repository,
            }

    def _row(self, split: Split, member: Any, repository: str, path: str, license: tuple[str, str] | None) -> dict:
        from stages.read.code_languages import language_of
        from stages.read.code_licenses import license_of_header
        from stages.read.notebooks import notebook_text

        path = path.encode("utf-8", "replace").decode()
        row = _core(split, member.position, member.position) | {"repository": repository, "path": path, "member": path}
        if member.size > self.max_kb << 10:
            return row | {"dropped": "too_large", "detail": f"{path}: {member.size} bytes"}
        content = member.read()
        if not content.strip():
            return row | {"dropped": "empty", "detail": path}
        if b"\0" in content[:8000] and not content.startswith((b"\xff\xfe", b"\xfe\xff")):
            return row | {"dropped": "binary", "detail": path}
        try:
            text = content.decode("utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig")
        except UnicodeDecodeError:
            return row | {"dropped": "not_utf8", "detail": path}
        language = language_of(path, text)
        if language == "Jupyter Notebook":
            try:
                text = notebook_text(text)
            except (ValueError, RecursionError):
                return row | {"dropped": "bad_notebook", "detail": path}
        if own := license_of_header(text):
            license = own, "header"
        name, source = license or (None, None)
        return row | {"text": text, "code_language": language, "license": name, "license_source": source}


def _core(split: Split, key: Any, position: int) -> dict[str, Any]:
    return {
        "id": document_id(split.source, split.file.name, key),
        "source": split.source,
        "file": split.file.name,
        "position": position,
    }


def _outcome(rows: list[dict[str, Any]]) -> Outcome:
    says = {name: pa.array([row.get(name) for row in rows], pa.string()) for name in ("dropped", "failed", "detail")}
    table = pa.table({n: pa.array([row.get(n) for row in rows], column_type(n)) for n in (*CORE, *_COLUMNS)})
    return Outcome(table, **says)


def _licenses(files: Iterator[Any]) -> dict[str, tuple[str, str]]:
    """Folder -> (licence, source) of the licence texts and the metadata in a package, as far as it can be read."""
    from stages.read.code_archives import BrokenArchive, BrokenMember

    found: dict[str, tuple[str, str]] = {}
    with suppress(BrokenArchive):  # the reading of the documents comes to the same place, and says so
        for member in files:
            if member.size <= _LARGEST_NOTICE and _may_tell(member.path):
                with suppress(BrokenMember):
                    _note(found, member.path, member.read().decode("utf-8", "replace"))
    return found


def _may_tell(path: str) -> bool:
    from stages.read.code_licenses import is_license_file

    return is_license_file(path) or path.rsplit("/", 1)[-1] in (
        "PKG-INFO", "METADATA", "package.json", "Cargo.toml", "pyproject.toml",
    )  # fmt: skip


def _note(found: dict[str, tuple[str, str]], path: str, text: str) -> None:
    from stages.read.code_licenses import is_license_file, license_of_metadata, license_of_text

    folder = path.rpartition("/")[0]
    if folder.endswith((".dist-info", ".egg-info")) or ".dist-info/" in folder:  # speaks of all of a wheel
        folder = (
            folder.partition(".dist-info")[0].rpartition("/")[0]
            if ".dist-info" in folder
            else folder.rpartition("/")[0]
        )
    if is_license_file(path):
        name = license_of_text(text)
        if name and found.get(folder, ("", "file"))[1] == "file":
            found[folder] = name, "file"
    elif (name := license_of_metadata(path, text)) is not None:
        found[folder] = name, "metadata"


def _nearest(licenses: dict[str, tuple[str, str]], path: str) -> tuple[str, str] | None:
    """Of the folder of a file, or the nearest above it that has one."""
    folder = path
    while folder:
        folder = folder.rpartition("/")[0]
        if folder in licenses:
            return licenses[folder]
    return None


def _place_in_folder(file: InputFile) -> tuple[str, str]:
    """(repository, path) of a plain file: the first folder below the input, or the input's own name."""
    first, slash, rest = file.name.partition("/")
    if slash:
        return first, rest
    return file.path.rstrip("/").rpartition("/")[0].rpartition("/")[2] or "files", first


_seen: dict[str, dict[str, tuple[str, str]]] = {}


def _license_above(file: InputFile) -> tuple[str, str] | None:
    """The licence of a plain file's folder or of those above it, up to the input's."""
    import fsspec

    root = file.path[: len(file.path) - len(file.name)].rstrip("/")
    fs, _ = fsspec.core.url_to_fs(file.path)
    folder = file.path.rpartition("/")[0]
    while len(folder) >= len(root) and folder:
        if folder not in _seen:
            found: dict[str, tuple[str, str]] = {}
            for info in sorted(fs.ls(fs._strip_protocol(folder), detail=True), key=lambda info: info["name"]):
                if info["type"] == "file" and info["size"] <= _LARGEST_NOTICE and _may_tell(info["name"]):
                    _note(found, info["name"].rpartition("/")[2], fs.cat_file(info["name"]).decode("utf-8", "replace"))
            _seen[folder] = found
        if "" in _seen[folder]:
            return _seen[folder][""]
        folder = folder.rpartition("/")[0]
    return None

"""Source packages of every kind, what is known of their files, and what of them is left."""

import gzip
import io
import json
import random
import subprocess
import tarfile
import zipfile

import pytest

from curation.stage import InputFile, Split
from stages.filter.code import FilterCode
from stages.filter.syntax import CheckSyntax
from stages.read.code import ReadCode
from stages.read.code_archives import package_name
from stages.read.code_languages import language_of, languages
from stages.read.code_licenses import license_of_header, license_of_name, license_of_text
from stages.read.notebooks import notebook_text
from stages.rewrite.secrets import PLACEHOLDER, ReplaceSecrets

MIT = "Copyright 2024 A\n\nPermission is hereby granted, free of charge, to any person\nobtaining a copy.\n\nThe above copyright notice and this permission notice\nshall be included."
FILES = {
    "LICENSE": MIT,
    "src/a.py": "def f(x):\n    return x\n",
    "src/vendor/LICENSE": "Apache License\nVersion 2.0, January 2004",
    "src/vendor/b.js": "export const b = 1;\n",
    "src/c.c": "// SPDX-License-Identifier: GPL-2.0-only\nint c;\n",
    "picture.png": "\x89PNG\0\0",
    "empty.py": "",
    "note": "A line that is of no language.",
}


def pack(path, kind, prefix="p-1.0/"):
    if kind == "tar":
        with tarfile.open(path, "w:gz") as archive:
            for name, text in FILES.items():
                info = tarfile.TarInfo(prefix + name)
                data = text.encode("latin-1")
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
            link = tarfile.TarInfo(prefix + "link.py")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(link)
    elif kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, text in FILES.items():
                archive.writestr(prefix + name, text.encode("latin-1"))
    else:
        folder = path.parent / "work"
        for name, text in FILES.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(text.encode("latin-1"))
        git = [
            "git",
            "-C",
            str(folder),
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@example.org",
            "-c",
            "commit.gpgsign=false",
        ]
        for command in (
            ["init", "-q", "-b", "main"],
            ["add", "-A"],
            ["commit", "-qm", "x"],
            ["bundle", "create", "-q", str(path), "main"],
        ):
            subprocess.run([*git, *command], check=True)


def read(path, name=None, **keys):
    file = InputFile(str(path), name or path.name, path.stat().st_size, "1")
    stage = ReadCode(**keys)
    (split,) = stage.splits(file, "test")
    assert isinstance(split, Split)
    rows = []
    for outcome in stage.read(split, 3, 1 << 20):
        says = zip(outcome.dropped.to_pylist(), outcome.failed.to_pylist(), strict=True)
        rows += [r | {"dropped": d, "failed": f} for r, (d, f) in zip(outcome.docs.to_pylist(), says, strict=True)]
    return rows


@pytest.mark.parametrize(
    "kind,name", [("tar", "p-1.0.tar.gz"), ("zip", "p-1.0-py3-none-any.whl"), ("bundle", "p-1.0.bundle")]
)
def test_packages_of_every_kind_read_alike(tmp_path, kind, name):
    pack(tmp_path / name, kind)
    rows = {r["path"]: r for r in read(tmp_path / name)}
    assert set(rows) == set(FILES)
    assert {r["repository"] for r in rows.values()} == {"p-1.0"} and len({r["id"] for r in rows.values()}) == len(FILES)
    got = {
        p: (r["code_language"], r["license"], r["license_source"])
        for p, r in rows.items()
        if p.endswith((".py", ".js", ".c"))
    }
    assert got == {
        "src/a.py": ("Python", "mit", "file"),
        "src/vendor/b.js": ("JavaScript", "apache-2.0", "file"),
        "src/c.c": ("C", "gpl-2.0-only", "header"),
        "empty.py": (None, None, None),
    }
    assert rows["src/a.py"]["text"] == FILES["src/a.py"]
    assert {p: r["dropped"] for p, r in rows.items() if r["dropped"]} == {"picture.png": "binary", "empty.py": "empty"}


def test_a_folder_is_read_file_by_file(tmp_path):
    for name in ("LICENSE", "src/a.py"):
        (tmp_path / "tree/repo" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree/repo" / name).write_text(FILES[name])
    (row,) = read(tmp_path / "tree/repo/src/a.py", "repo/src/a.py")
    assert (row["repository"], row["path"], row["license"]) == ("repo", "src/a.py", "mit")


def test_a_broken_archive_is_read_up_to_the_break(tmp_path):
    pack(tmp_path / "p-1.0.tar.gz", "tar")
    plain = gzip.decompress((tmp_path / "p-1.0.tar.gz").read_bytes())
    (tmp_path / "p.tar").write_bytes(plain[:3000])
    rows = read(tmp_path / "p.tar")
    assert [bool(r["failed"]) for r in rows] == [False, False, False, True] and "at " in rows[-1]["failed"]
    assert rows[0]["path"] == "p-1.0/LICENSE" and rows[1]["text"] == FILES["src/a.py"] and rows[1]["license"] == "mit"
    headless = bytearray(plain)
    headless[2048 : 2048 + 100] = b"\xaa" * 100  # the header of the third file
    (tmp_path / "h.tar").write_bytes(headless)
    rows = read(tmp_path / "h.tar")
    assert [bool(r["failed"]) for r in rows] == [False, False, True] and "at byte 2048" in rows[-1]["failed"]
    (tmp_path / "p.zip").write_bytes(b"PK\3\4 no")
    (tmp_path / "p.bundle").write_bytes(b"no bundle")
    for name in ("p.zip", "p.bundle"):
        (row,) = read(tmp_path / name)
        assert row["failed"]


def noisy(path, kind):
    """A package of five files that do not compress."""
    rng = random.Random(3)
    files = {f"p-1.0/{i}.py": "".join(f"# {rng.getrandbits(400):x}\n" for _ in range(60)).encode() for i in range(5)}
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in files.items():
                archive.writestr(name, data)
    else:
        with tarfile.open(path, f"w:{kind}") as archive:
            for name, data in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    return files


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz"])
@pytest.mark.parametrize("damage", ["cut", "overwritten"])
def test_a_damaged_compressed_archive_is_read_up_to_the_damage(tmp_path, kind, damage):
    path = tmp_path / f"p-1.0.tar.{kind}"
    files = noisy(path, kind)
    data = path.read_bytes()
    at = len(data) * 2 // 3
    path.write_bytes(data[:at] + (b"" if damage == "cut" else b"\xaa" * 64 + data[at + 64 :]))
    *kept, last = read(path)
    assert last["failed"] and not any(r["failed"] for r in kept)
    whole = [r["text"].encode() for r in kept if not r["dropped"]]
    # In a gzip file nothing but its checksum may tell of the damage: the file in which it lies can be among those kept.
    sure = len(whole) if kind != "gz" or damage == "cut" else 3
    assert whole[:sure] == list(files.values())[:sure]
    assert kept or kind != "gz"  # the others unpack a block at a time


def test_a_damaged_file_of_a_zip_archive_costs_itself(tmp_path):
    path = tmp_path / "p-1.0.zip"
    files = noisy(path, "zip")
    data = bytearray(path.read_bytes())
    place = zipfile.ZipFile(path).infolist()[2].header_offset
    data[place + 200 : place + 210] = b"\xaa" * 10
    path.write_bytes(data)
    rows = read(path)
    assert [bool(r["failed"]) for r in rows] == [False, False, True, False, False] and rows[2]["path"] == "2.py"
    assert [r["text"].encode() for r in rows if not r["failed"]] == [d for n, d in files.items() if "/2." not in n]


@pytest.mark.parametrize(
    "path,text,language",
    [
        ("x/Makefile", "", "Makefile"), ("Dockerfile.dev", "", "Dockerfile"), ("a.h", "int f(void);", "C"),
        ("a.h", "namespace a {\n}\n", "C++"), ("a.h", "@interface A\n@end", None), ("a.m", "x = zeros(3);", "MATLAB"),
        ("a.m", "#import <A.h>\n@implementation A\n@end", None), ("a.pl", "use strict;\nmy $x;", "Perl"),
        ("a.pl", "parent(a, b).\n:- initialization(main).", "Prolog"), ("a.v", "Theorem x : True.\nProof. Qed.", None),
        ("a.v", "module m; endmodule", "Verilog"), ("a.ts", "let x: number", "TypeScript"), ("a.ts", "<?xml version='1.0'?>", None),
        ("a.fs", "#version 330\nvoid main() {}", "GLSL"), ("a.fs", "let x = 1", "F#"), ("run", "#!/usr/bin/env python3\n", "Python"),
        ("run", "#!/bin/sh\n", "Shell"), ("run", "#!/usr/bin/perl -w\n", "Perl"), ("a.unknown", "#!/bin/sh", None),
        ("a.ipynb", "{}", "Jupyter Notebook"), ("A.JAVA", "", "Java"), ("CMakeLists.txt", "", "CMake"), ("notes.txt", "", None),
        ("a.lagda", "", "Literate Agda"), ("a.cu", "", "CUDA"), ("a.rq", "", "SPARQL"), ("a.tcl", "", "Tcl"),
    ],
)  # fmt: skip
def test_languages_by_name_and_content(path, text, language):
    assert language_of(path, text) == language


def test_there_are_the_92_languages_of_the_report():
    assert len(languages()) == len(set(languages())) == 92


def test_licenses():
    assert (
        license_of_text(
            "BSD\n * Redistributions and use"
            + " Redistribution and use in source and binary forms ... Neither the name may be used to endorse\n or promote"
        )
        == "bsd-3-clause"
    )
    assert license_of_text("All rights reserved.") is None
    assert license_of_header("# SPDX-License-Identifier: (MIT OR Apache-2.0)\n") == "mit or apache-2.0"
    assert license_of_header("/*\n * " + MIT.replace("\n", "\n * ")) == "mit"
    assert [license_of_name(n) for n in ("MIT License", "Apache License, Version 2.0", "OSI Approved :: BSD License", "BSD-2-Clause", "Other")] == ["mit", "apache-2.0", "bsd-3-clause", "bsd-2-clause", None]  # fmt: skip
    assert package_name("x/numpy-2.0-cp311-cp311-manylinux_2_17_x86_64.whl") == "numpy-2.0"


def test_a_notebook_is_prose_and_code():
    book = {
        "cells": [
            {"cell_type": "markdown", "source": ["# A\n", "Words."]},
            {
                "cell_type": "code",
                "source": "print(1)",
                "outputs": [{"text": ["1\n"]}, {"data": {"image/png": "aaaa"}}],
            },
        ],
        "metadata": {"language_info": {"name": "python"}},
    }
    assert notebook_text(json.dumps(book)) == "# A\nWords.\n\n```python\nprint(1)\n```\n\n```output\n1\n```"
    for bad in ("[]", "{", '{"cells": 3}'):
        with pytest.raises(ValueError):
            notebook_text(bad)


GOOD = "def area(width, height):\n    '''Area of a rectangle.'''\n    return width * height\n\n\n" * 5


def test_what_is_no_source_goes(documents):
    cases = {
        "src/a.py": (GOOD, "mit", None),
        "src/none.py": (None, "mit", None),
        "vendor/a.py": (GOOD, "mit", "vendored"),
        "a_pb2.py": (GOOD, "mit", "generated"),
        "b.py": ("# Code generated by protoc. DO NOT EDIT.\n" + GOOD, "mit", "generated"),
        "c.js": ("var a=1;" * 400, "mit", "minified"),
        "d.py": ("x = [\n" + "  0x1f, 0x2e, 0x3d, 1234, 99,\n" * 60 + "]\n", "mit", "data"),
        "e.py": (GOOD, "gpl-3.0", "license_not_allowed"),
        "f.py": (GOOD, None, "license_unknown"),
        "g.zzz": (GOOD, "mit", "unknown_language"),
        "h.py": ("+-*/ " * 30 + "\n" * 40, "mit", "few_letters"),
        "i.md": ("A paragraph of prose in one line. " * 60, "mit", None),
        "j.py": ("key = '" + "QUJD" * 200 + "'\n" + GOOD * 20, "mit", "data"),
    }
    docs = documents(
        [text for text, _, _ in cases.values()],
        path=list(cases),
        code_language=[language_of(path, "") for path in cases],
        license=[license for _, license, _ in cases.values()],
    )
    assert dict(zip(cases, FilterCode()(docs).dropped.to_pylist(), strict=True)) == {p: c[2] for p, c in cases.items()}
    kept = FilterCode(licenses=[], unknown_license="keep", languages=["Python"])(docs).dropped.to_pylist()
    assert kept[7] is None and kept[8] is None and kept[11] == "language_not_wanted"


def test_files_that_do_not_parse_go(documents):
    pytest.importorskip("tree_sitter_language_pack")
    texts = [
        GOOD,
        GOOD[: len(GOOD) // 2] + "def (((\n return ]]]" * 3,
        "int main() { return 0; }",
        "x := ",
        None,
        "anything",
    ]
    docs = documents(texts, code_language=["Python", "Python", "C", "Go", "Python", "Alloy"])
    stage = CheckSyntax()
    stage.check()
    outcome = stage(docs)
    assert outcome.dropped.to_pylist() == [None, "syntax_error", None, "syntax_error", None, None]
    assert stage.metrics.counters["no_grammar=Alloy"] == 1 and "line" in outcome.detail[1].as_py()


def test_every_grammar_named_is_there():
    pack = pytest.importorskip("tree_sitter_language_pack")
    from stages.read.code_languages import grammar_of

    named = {grammar_of(language) for language in languages()} - {None}
    assert len(named) >= 55
    for grammar in named:
        pack.get_parser(grammar)


def test_secrets_go_and_examples_stay(documents):
    secret = "aws = 'AKIA" + "IOSFODNN7ABCDEFG'"
    token = "ghp_" + "a1B2c3D4e5" * 4
    pem = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----"
    texts = [
        f"{secret}\nx = 1",
        f"token = {token}",
        f"key = '''{pem}'''",
        "db = 'postgres://user:x7Gq92LmPz@db.example.org/x'",
        "API_KEY = 'q8Zr5TxV2nLp0WsK9dHb'",
        "password = 'password'\napi_key = os.environ['KEY']\nsecret = '<your secret here 1>'\ndb = 'postgres://user:${PASS}@host'",
        None,
    ]
    stage = ReplaceSecrets()
    table = stage(documents(texts))
    assert table["secrets"].to_pylist() == [1, 1, 1, 1, 1, 0, 0]
    got = table["text"].to_pylist()
    assert got[5:] == texts[5:] and got[0] == f"aws = '{PLACEHOLDER}'\nx = 1"
    assert all(PLACEHOLDER in text for text in got[:5])
    for text, hidden in zip(got, ("IOSFODNN7", token, "MIIE", "x7Gq92", "q8Zr5"), strict=False):
        assert hidden not in text

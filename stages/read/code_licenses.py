"""Names the licence of source files: from a file's own header, a package's metadata, or the licence text beside it.

The result is an SPDX identifier in lower case, as `extract_html` gives it for pages. A text is known by sentences that
only that licence has, not by comparing it as a whole, for every copy differs in names, years and line breaks.

Trade-off: some forty licences are known, those of nearly all packages. One that is not is `null`, never a guess; a
filter that asks for a licence then drops the file.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

_SPDX = re.compile(
    r"SPDX-License-Identifier:\s*\(?([A-Za-z0-9.+-]+(?:\s+(?:AND|OR|WITH)\s+\(?[A-Za-z0-9.+-]+\)?)*)", re.I
)
_NAME = re.compile(r"(?i)^(?:un)?licen[cs]e|^copying|^copyright|licen[cs]e(?:\.(?:txt|md|rst))?$")
_SPACES = re.compile(r"[\s*#/;>\"'`_-]+")

#: (identifier, sentences that must all stand in the text, sentences that must not), in lower case without signs at
#: line starts. Tried in order: the narrower before the wider.
_TEXTS: list[tuple[str, tuple[str, ...], tuple[str, ...]]] = [
    ("agpl-3.0", ("gnu affero general public license", "version 3"), ()),
    ("lgpl-3.0", ("gnu lesser general public license", "version 3, 29 june 2007"), ()),
    ("lgpl-2.1", ("gnu lesser general public license", "version 2.1"), ()),
    ("lgpl-2.0", ("gnu library general public license",), ()),
    ("gpl-3.0", ("gnu general public license", "version 3"), ()),
    ("gpl-2.0", ("gnu general public license", "version 2"), ()),
    ("mpl-2.0", ("mozilla public license", "2.0"), ()),
    ("epl-2.0", ("eclipse public license", "2.0"), ()),
    ("epl-1.0", ("eclipse public license", "1.0"), ()),
    ("apache-2.0", ("apache license", "version 2.0"), ()),
    ("apache-2.0", ("apache.org/licenses/license 2.0",), ()),
    ("bsl-1.0", ("boost software license", "1.0"), ()),
    ("unlicense", ("this is free and unencumbered software released into the public domain",), ()),
    ("cc0-1.0", ("cc0 1.0 universal",), ()),
    ("wtfpl", ("do what the fuck you want to public license",), ()),
    ("python-2.0", ("python software foundation license version 2",), ()),
    ("artistic-2.0", ("artistic license 2.0",), ()),
    ("zlib", ("this software is provided 'as is', without any express or implied warranty", "altered source versions"), ()),  # noqa: E501
    ("zlib", ("provided as is , without any express or implied", "altered source versions"), ()),
    ("ncsa", ("university of illinois", "permission is hereby granted, free of charge"), ()),
    ("mit-0", ("permission is hereby granted, free of charge", "mit no attribution"), ()),
    ("x11", ("permission is hereby granted, free of charge", "except as contained in this notice"), ()),
    ("mit", ("permission is hereby granted, free of charge", "the above copyright notice and this permission notice"), ()),  # noqa: E501
    ("0bsd", ("permission to use, copy, modify, and or distribute this software for any purpose with or without fee is hereby granted",), ("provided that the above",)),  # noqa: E501
    ("isc", ("permission to use, copy, modify, and", "provided that the above copyright notice and this permission notice appear in all copies"), ()),  # noqa: E501
    ("bsd-4-clause", ("redistribution and use in source and binary forms", "all advertising materials"), ()),
    ("bsd-3-clause", ("redistribution and use in source and binary forms", "endorse or promote"), ()),
    ("bsd-2-clause", ("redistribution and use in source and binary forms", "redistributions of source code"), ()),
    ("cc-by-sa-4.0", ("attribution sharealike 4.0 international",), ()),
    ("cc-by-4.0", ("attribution 4.0 international",), ()),
]  # fmt: skip

#: How packages' metadata writes licences, in lower case without "license", dashes and commas.
_NAMES = {
    "mit": "mit", "expat": "mit", "the mit": "mit", "mit 0": "mit-0", "isc": "isc", "isc (iscl)": "isc", "iscl": "isc",
    "apache 2.0": "apache-2.0", "apache 2": "apache-2.0", "apache": "apache-2.0", "apache software": "apache-2.0",
    "apache version 2.0": "apache-2.0", "apache software 2.0": "apache-2.0", "asl 2.0": "apache-2.0",
    "apache license 2.0": "apache-2.0", "bsd": "bsd-3-clause", "bsd 3 clause": "bsd-3-clause", "bsd 3": "bsd-3-clause",
    "new bsd": "bsd-3-clause", "modified bsd": "bsd-3-clause", "3 clause bsd": "bsd-3-clause",
    "bsd 2 clause": "bsd-2-clause", "simplified bsd": "bsd-2-clause", "2 clause bsd": "bsd-2-clause",
    "mpl 2.0": "mpl-2.0", "mozilla public 2.0 (mpl 2.0)": "mpl-2.0", "psf": "python-2.0", "psf 2.0": "psf-2.0",
    "python software foundation": "python-2.0", "unlicense": "unlicense", "the un (un)": "unlicense",
    "public domain": "public-domain", "cc0 1.0": "cc0-1.0", "zlib": "zlib", "zlib/libpng": "zlib", "zpl 2.1": "zpl-2.1",
    "bsl 1.0": "bsl-1.0", "boost": "bsl-1.0", "0bsd": "0bsd", "wtfpl": "wtfpl", "gpl": "gpl", "gpl 2": "gpl-2.0",
    "gplv2": "gpl-2.0", "gplv3": "gpl-3.0", "gpl 3": "gpl-3.0", "gpl 3.0": "gpl-3.0", "gpl 2.0": "gpl-2.0",
    "lgpl": "lgpl", "lgplv3": "lgpl-3.0", "lgpl 3.0": "lgpl-3.0", "lgpl 2.1": "lgpl-2.1", "agpl 3.0": "agpl-3.0",
    "hpnd": "hpnd", "historical permission notice and disclaimer (hpnd)": "hpnd", "ncsa": "ncsa",
}  # fmt: skip


def is_license_file(path: str) -> bool:
    """Whether a file is the text of a licence, by its name."""
    name = PurePosixPath(path).name
    return bool(_NAME.search(name)) and PurePosixPath(name).suffix.lower() in (
        "",
        ".txt",
        ".md",
        ".rst",
        ".apache",
        ".mit",
        ".bsd",
    )


def license_of_text(text: str) -> str | None:
    """The identifier of a licence's text."""
    folded = _SPACES.sub(" ", text[:40_000]).lower()
    for name, having, without in _TEXTS:
        if all(_SPACES.sub(" ", s) in folded for s in having) and not any(
            _SPACES.sub(" ", s) in folded for s in without
        ):
            return name
    return None


def license_of_header(text: str) -> str | None:
    """What a file says of its own licence in its first 3,000 characters: an SPDX line, or a notice in words."""
    head = text[:3000]
    if found := _SPDX.search(head):
        return found.group(1).lower().replace("(", "").replace(")", "").strip()
    return license_of_text(head) if "icense" in head or "ermission" in head or "edistribution" in head else None


def license_of_name(value: str) -> str | None:
    """The identifier of a licence as metadata names it (`MIT License`, `BSD-3-Clause`, `Apache 2.0`)."""
    folded = re.sub(r"\blicen[cs]ed?\b|\bosi approved\b|\bthe\b|::|,", " ", value.strip().lower()).replace("-", " ")
    folded = " ".join(folded.split())
    return _NAMES.get(folded) or (license_of_text(value) if len(value) > 200 else None)


def license_of_metadata(path: str, text: str) -> str | None:
    """The licence that a package's own metadata declares: PKG-INFO, METADATA, package.json, Cargo.toml, pyproject.toml.

    None for other files."""
    name = PurePosixPath(path).name
    if name in ("PKG-INFO", "METADATA"):
        head = text.split("\n\n", 1)[0]
        for pattern in (r"^License-Expression: (.+)$", r"^License: (.+)$", r"^Classifier: License :: (.+)$"):
            for value in re.findall(pattern, head, re.MULTILINE):
                if pattern.startswith("^License-Expression"):
                    return str(value).strip().lower()
                if known := license_of_name(value):
                    return known
    elif name == "package.json":
        found = re.search(r'"license"\s*:\s*"([^"]{1,60})"', text)
        return license_of_name(found.group(1)) or found.group(1).lower() if found else None
    elif name in ("Cargo.toml", "pyproject.toml"):
        found = re.search(r'^license\s*=\s*(?:\{\s*text\s*=\s*)?"([^"]{1,60})"', text, re.MULTILINE)
        return license_of_name(found.group(1)) or found.group(1).lower() if found else None
    return None

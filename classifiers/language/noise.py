"""Text that no human language accounts for, made up for training: what web archives hold beside language.

No corpus of it exists under a licence, and it is easy to make: encodings read wrongly, base64, hexadecimal, source
code, identifiers, addresses, letters drawn at random. A model without such a class calls all of it some small
language, because small languages are what looks unlike the large ones.

Trade-off: made-up code is not real code. What matters to n-grams of words is which words occur (keywords, short
names, words glued by underscores and capitals), and these are drawn from lists.
"""

from __future__ import annotations

import base64

import numpy as np

_KEYWORDS = [
    "if",
    "else",
    "for",
    "while",
    "return",
    "int",
    "void",
    "char",
    "const",
    "static",
    "struct",
    "class",
    "public",
    "private",
    "import",
    "from",
    "def",
    "self",
    "None",
    "True",
    "False",
    "null",
    "new",
    "try",
    "catch",
    "except",
    "finally",
    "throw",
    "function",
    "var",
    "let",
    "async",
    "await",
    "printf",
    "std",
    "vector",
    "string",
    "include",
    "define",
    "elif",
    "lambda",
    "yield",
    "pass",
    "break",
    "continue",
    "switch",
    "case",
    "default",
    "unsigned",
    "long",
    "double",
    "float",
    "bool",
    "size_t",
    "argv",
    "argc",
    "echo",
    "fi",
    "done",
    "then",
    "do",
    "exit",
    "sudo",
    "select",
    "insert",
    "where",
    "join",
    "group",
    "order",
    "varchar",
    "div",
    "span",
    "href",
    "src",
    "px",
    "html",
    "css",
    "margin",
    "padding",
    "width",
    "height",
    "rgb",
    "json",
    "xml",
    "utf",
    "http",
    "https",
    "www",
    "com",
    "org",
    "net",
    "php",
    "jpg",
    "png",
    "idx",
    "tmp",
    "buf",
    "len",
    "ptr",
    "arr",
    "obj",
    "args",
    "kwargs",
    "init",
    "main",
    "err",
    "ctx",
    "cfg",
    "foo",
    "bar",
    "baz",
    "err",
    "nil",
    "func",
    "fmt",
    "println",
    "struct",
    "impl",
    "fn",
    "mut",
    "usize",
]
_LETTERS = np.array(list("abcdefghijklmnopqrstuvwxyz"))
_SIGNS = np.array(["(", ")", "{", "}", ";", " = ", " == ", ".", "->", "[", "]", ", ", " + ", ":\n", "_", "/", "#", "|"])
#: (written in, read as): the usual accidents.
_ACCIDENTS = (
    ("utf-8", "latin-1"),
    ("utf-8", "cp1252"),
    ("utf-8", "cp1251"),
    ("cp1251", "latin-1"),
    ("cp1251", "koi8-r"),
    ("koi8-r", "cp1251"),
    ("utf-8", "cp437"),
    ("cp1256", "latin-1"),
    ("euc-kr", "latin-1"),
    ("gb18030", "latin-1"),
    ("shift_jis", "latin-1"),
)


def _letters(rng: np.random.Generator, least: int, most: int) -> str:
    return "".join(rng.choice(_LETTERS, rng.integers(least, most)))


def _bytes(rng: np.random.Generator) -> str:
    raw = rng.bytes(int(rng.integers(20, 120)))
    kind = rng.integers(3)
    if kind == 0:
        return base64.b64encode(raw).decode()
    return raw.hex() if kind == 1 else base64.b32encode(raw).decode()


def _name(rng: np.random.Generator) -> str:
    parts = [
        str(rng.choice(_KEYWORDS)) if rng.random() < 0.6 else _letters(rng, 1, 7) for _ in range(rng.integers(1, 4))
    ]
    return "_".join(parts) if rng.random() < 0.5 else parts[0] + "".join(part.capitalize() for part in parts[1:])


def _code(rng: np.random.Generator) -> str:
    pieces = []
    for _ in range(int(rng.integers(8, 40))):
        pieces.append(_name(rng) if rng.random() < 0.5 else str(rng.choice(_KEYWORDS)))
        pieces.append(str(rng.choice(_SIGNS)) if rng.random() < 0.7 else " ")
    return "".join(pieces)


def _keys(rng: np.random.Generator) -> str:
    return " ".join(_letters(rng, 1, 12) for _ in range(rng.integers(4, 25)))


def _codes(rng: np.random.Generator) -> str:
    cells = [_letters(rng, 1, 5).upper() + str(rng.integers(0, 9999)) for _ in range(rng.integers(8, 40))]
    return str(rng.choice(np.array(["\t", " | ", ",", ";"]))).join(cells)


def _repeated(rng: np.random.Generator) -> str:
    return (_letters(rng, 1, 4) * int(rng.integers(10, 60)))[: int(rng.integers(20, 150))]


def misread(text: str, rng: np.random.Generator) -> str | None:
    """`text` as it looks when its bytes are read in a wrong encoding; None where that cannot happen to it."""
    written, read = _ACCIDENTS[int(rng.integers(len(_ACCIDENTS)))]
    try:
        raw = text.encode(written)
    except UnicodeEncodeError:
        return None
    wrong = raw.decode(read, errors="ignore")
    return wrong if sum(a != b for a, b in zip(text, wrong, strict=False)) > len(text) // 3 else None


def noise(texts: np.ndarray, n: int, rng: np.random.Generator) -> list[str]:
    """`n` pieces of noise; a third of them are misread `texts`."""
    kinds = (_bytes, _code, _code, _keys, _codes, _repeated)
    made: list[str] = []
    while len(made) < n:
        if rng.random() < 0.33:
            wrong = misread(str(texts[rng.integers(len(texts))]), rng)
            if wrong:
                made.append(wrong)
        else:
            made.append(kinds[int(rng.integers(len(kinds)))](rng))
    return made

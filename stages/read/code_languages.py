"""Tells the programming language of a file by its name and, where a name leaves it open, by its content.

The 92 languages are those of Qwen2.5-Coder (Hui et al. 2024, table of programming languages); what names each goes by
is in `code_languages.tsv`. A name decides almost always. Fifteen extensions are shared by several languages, one of
which may be none of the 92 (`.m` is MATLAB, Objective-C or Mathematica): for those a few lines of the content that only
one of them has are looked for. A file without an extension is known by its first line (`#!`).

Trade-off: patterns instead of a trained classifier. A file of another language under a known name (assembly called
`.c`) is taken at its name's word; `check_syntax` drops it later, if there is a grammar.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path, PurePosixPath

_FILE = Path(__file__).with_name("code_languages.tsv")
#: Characters that are looked at.
_HEAD = 20_000

_INTERPRETER = re.compile(r"\A#!\s*(?:\S*/)?([^/\s]+)(?:\s+(?:-S\s+)?([^\s-]\S*))?")
_MODE = re.compile(r"-\*-\s*(?:.*mode:\s*)?([\w+#-]+)\s*(?:;.*)?-\*-")

#: Extension -> (language, or empty if it is none of the 92, and a pattern that only it has), tried in order; the last
#: pattern may be empty and takes the rest.
_SHARED: dict[str, list[tuple[str, str]]] = {
    ".h": [
        ("", r"^\s*@(?:interface|protocol|class|end)\b|^#import\b"),  # Objective-C
        ("C++", r"^\s*(?:class\s+\w+[^;]*$|namespace\b|template\s*<|using\s+\w|(?:public|private|protected)\s*:)|\bstd::"),  # noqa: E501
        ("C", ""),
    ],
    ".m": [
        ("", r"^\s*(?:@(?:interface|implementation|end|import|property)\b|#import\b)"),  # Objective-C
        ("Mathematica", r"^\s*\(\*|\bModule\s*\[|:="),
        ("MATLAB", ""),
    ],
    ".v": [("", r"^\s*(?:Require|Theorem|Lemma|Proof|Qed|Inductive|Fixpoint)\b"), ("Verilog", "")],  # Coq
    ".pl": [("Perl", r"^\s*(?:use|my|sub|package)\s|^#!.*perl|\$\w"), ("Prolog", r"^[a-z]\w*\(.*\)\s*(?::-|\.)|^:-"), ("Perl", "")],  # noqa: E501
    ".pro": [("Prolog", r"^[a-z]\w*\(.*\)\s*(?::-|\.)|^:-"), ("", "")],
    ".fs": [("GLSL", r"^\s*(?:#version|uniform|varying|precision|void\s+main\s*\()"), ("", r"^\s*:\s\S+.*;\s*$"), ("F#", "")],  # noqa: E501
    ".cl": [("", r"\b__kernel\b|\b__global\b"), ("Common Lisp", r"^\s*\((?:def|in-package|use-package)"), ("", "")],  # OpenCL  # noqa: E501
    ".ts": [("", r"\A\s*(?:<\?xml|<!DOCTYPE TS)"), ("TypeScript", "")],  # Qt translations
    ".sc": [("Scala", r"\b(?:def|val|object|import)\s"), ("", "")],
    ".t": [("Perl", r"^\s*(?:use|my|plan|ok)\b"), ("", "")],
    ".s": [("Assembly", r"^\s*[.\w$]+:|^\s*\.(?:text|globl|section|data)\b|^\s*(?:mov|push|ret|call)\w*\b"), ("", "")],
    ".f": [("", r"^\s*:\s\S+.*;\s*$"), ("Fortran", "")],  # Forth
    ".pp": [("Pascal", r"(?i)^\s*(?:unit|program|uses|interface|procedure)\b"), ("", "")],  # Puppet
    ".st": [("Smalltalk", r"!\w+ (?:class )?methodsFor:|^\w+ subclass:|\|\s*\w+\s*\||:="), ("", "")],
    ".sol": [("Solidity", r"\b(?:pragma solidity|contract|interface|library)\b"), ("", "")],
    ".do": [("Stata", r"^\s*(?:use|gen|generate|replace|reg|regress|sum|summarize|clear|set|foreach|local)\b"), ("", "")],  # noqa: E501
    ".fun": [("Standard ML", r"\b(?:functor|struct|sig|fun|val)\b"), ("", "")],
    ".nb": [("Mathematica", r"Notebook\["), ("", "")],
    ".y": [("Yacc", r"^%%|^%token"), ("", "")],
    ".rd": [("R", r"\\name\{"), ("", "")],
    ".frag": [("GLSL", r"\bvoid\s+main\s*\("), ("", "")],
    ".vert": [("GLSL", r"\bvoid\s+main\s*\("), ("", "")],
    ".inl": [("C++", r"[;{]\s*$"), ("", "")],
}  # fmt: skip


@cache
def _tables() -> tuple[dict[str, str], dict[str, str], dict[str, str], dict[str, str]]:
    """Language by extension, by file name, by interpreter; grammar by language."""
    extensions: dict[str, str] = {}
    names: dict[str, str] = {}
    interpreters: dict[str, str] = {}
    grammars: dict[str, str] = {}
    for line in _FILE.read_text(encoding="utf-8").splitlines()[1:]:
        language, by_extension, by_name, by_interpreter, grammar = line.split("\t")
        for table, keys in ((extensions, by_extension), (names, by_name), (interpreters, by_interpreter)):
            table.update({key: language for key in keys.split() if key != "-"})
        if grammar != "-":
            grammars[language] = grammar
    return extensions, names, interpreters, grammars


def languages() -> list[str]:
    """The 92 languages."""
    return [line.split("\t")[0] for line in _FILE.read_text(encoding="utf-8").splitlines()[1:]]


def grammar_of(language: str) -> str | None:
    """The name of the tree-sitter grammar of a language; None if there is none."""
    return _tables()[3].get(language)


def language_of(path: str, text: str) -> str | None:
    """The language of a file, one of the 92; None if it is none of them, or cannot be told."""
    extensions, names, interpreters, _ = _tables()
    name = PurePosixPath(path).name.lower()
    suffix = PurePosixPath(name).suffix
    head = text[:_HEAD]
    if name in names:
        return names[name]
    if name.startswith(("dockerfile.", "makefile.")):
        return names[name.split(".")[0]]
    if suffix in _SHARED:
        for language, pattern in _SHARED[suffix]:
            if not pattern or re.search(pattern, head, re.MULTILINE):
                return language or None
        return None
    if suffix in extensions:
        return extensions[suffix]
    if suffix and not suffix[1:].isdigit():
        return None
    found = _INTERPRETER.match(head)
    if found:
        program = found.group(2) if found.group(1) == "env" and found.group(2) else found.group(1)
        return interpreters.get(program.lower()) or interpreters.get(program.lower().rstrip("0123456789."))
    mode = _MODE.search(head[:300])
    return {n.lower(): n for n in languages()}.get(mode.group(1).lower()) if mode else None

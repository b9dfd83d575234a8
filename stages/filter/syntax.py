"""Drops source files that do not parse, by the grammar of their language.

A file cut off in the middle, a template with holes, another language under a familiar name: a parser sees it at once.
tree-sitter parses 60 of the 92 languages by one interface, goes on after an error, and so says how much is wrong rather
than only that something is.

Trade-off: grammars lag behind languages and dialects, and macros are no grammar at all, so a few errors are allowed.
Files of languages without a grammar stay and are counted.
"""

from __future__ import annotations

from typing import Any, ClassVar

import pyarrow as pa
from pydantic import Field, PrivateAttr

from curation.errors import ConfigError
from curation.stage import Filter, Outcome


class CheckSyntax(Filter, name="check_syntax"):
    """Drops files of which more than `max_error_share` of the bytes stand in syntax errors.

    Needs `code_language`, and the extra `code` (tree-sitter with its grammars: `pip install 'curation[code]'`).

    Drop reason: `syntax_error` (detail: share and line of the first error). Counters: `checked=<language>`,
    `no_grammar=<language>`.

    Source: Qwen2.5-Coder parses by AST and drops what has errors (Hui et al. 2024, section 4.1).
    """

    one_at_a_time: ClassVar[bool] = False

    max_error_share: float = Field(0.02, ge=0, le=1, description="share of a file's bytes that may stand in errors")

    _parsers: dict[str, Any] = PrivateAttr(default_factory=dict)

    def needs(self) -> tuple[str, ...]:
        return ("text", "code_language")

    def check(self) -> None:
        try:
            import tree_sitter_language_pack  # noqa: F401
        except ImportError as error:
            raise ConfigError("check_syntax needs tree-sitter: pip install 'curation[code]'") from error

    def _parser(self, language: str) -> Any:
        """The parser of a language; None if there is no grammar."""
        from stages.read.code_languages import grammar_of

        if language not in self._parsers:
            from tree_sitter_language_pack import get_parser

            grammar = grammar_of(language)
            self._parsers[language] = get_parser(grammar) if grammar else None  # type: ignore[arg-type]
        return self._parsers[language]

    def __call__(self, docs: pa.Table) -> Outcome:
        dropped: list[str | None] = [None] * docs.num_rows
        detail: list[str | None] = [None] * docs.num_rows
        pairs = zip(docs["text"].to_pylist(), docs["code_language"].to_pylist(), strict=True)
        for row, (text, language) in enumerate(pairs):
            if not text or language is None:
                continue
            parser = self._parser(language)
            if parser is None:
                self.metrics.count(f"no_grammar={language}")
                continue
            self.metrics.count(f"checked={language}")
            source = text.encode()
            root = parser.parse(source).root_node
            if not root.has_error:
                continue
            wrong, first = _errors(root)
            if wrong > self.max_error_share * len(source):
                dropped[row] = "syntax_error"
                detail[row] = f"{wrong / len(source):.0%} of the bytes, first in line {first}"
        return Outcome(docs, dropped=pa.array(dropped, pa.string()), detail=pa.array(detail, pa.string()))


def _errors(root: Any) -> tuple[int, int]:
    """Bytes in the outermost error nodes, a missing token counting as one, and the line of the first."""
    wrong, first = 0, 0
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if node.is_error or node.is_missing:
            wrong += max(1, node.end_byte - node.start_byte)
            line = node.start_point[0] + 1
            first = min(first or line, line)
        elif node.has_error:
            waiting.extend(node.children)
    return wrong, first

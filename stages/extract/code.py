"""Makes the code blocks of a page what they show: lines, with their indentation, and nothing else.

Highlighters write a block of code as preformatted text, as a table of line numbers beside code, as an element per line
without line breaks, with `<br>`, or with buttons to copy it. An extractor that takes `<pre>` at its word then runs
lines together or numbers them. Here each of these becomes a plain `<pre>` of lines, in the page's source, before it is
parsed; a `<pre>` that is plain already stays as it is. Known by their marks: Pygments and Sphinx (`linenos`, `lineno`),
Chroma and Hugo (`lntd`, `lnt`), Rouge and Jekyll (`rouge-gutter`), highlight.js (`hljs-ln`), Prism
(`line-numbers-rows`), Crayon (`crayon-nums`), SyntaxHighlighter (`gutter`), GitHub (`blob-num`), CodeMirror.

The trade-off: patterns over the source instead of a tree, for the reason given in `formulas`. They see no more than one
block at a time, and what a style sheet alone numbers or breaks is not seen.
"""

from __future__ import annotations

import re

from stages.extract.hints import Hints

#: Characters of source that one block may take.
MAX_LENGTH = 300_000

_PRE = re.compile(r"<pre\b[^>]{0,3000}>", re.IGNORECASE)
_PRE_END = re.compile(r"</pre\s*>", re.IGNORECASE)
_HINT = re.compile(r"<(?:br|div|li|p|tr|td|button|style)\b|num|lnt|lineno|gutter", re.IGNORECASE)
_NUMBER_WORDS = (
    r"(?:linenos?|lnt|ln|ln-num|lineno[-\w]*|linenumbers?|line-?num(?:ber)?s?(?:-rows)?|gutter|rouge-gutter|code-gutter"
    r"|gl|hljs-ln-n|hljs-ln-numbers|blob-num|crayon-nums?(?:-content)?|react-syntax-highlighter-line-number"
    r"|cm-gutters?|CodeMirror-linenumber|js-line-number)"
)
_CLASS = re.compile(rf"\bclass\s*=\s*[\"']?(?:[^\"'>]{{0,300}}\s)?{_NUMBER_WORDS}(?=[\s\"'>])", re.IGNORECASE)
_NUMBERED = re.compile(r"<(span|a|i|b|div|td|pre)\b[^>]{0,1000}>", re.IGNORECASE)
_NUMBERS = {
    name: re.compile(rf"(?:[\s\d:|]|&nbsp;|<[^>]{{0,300}}>(?=[\s\d<]))*?</{name}\s*>", re.IGNORECASE)
    for name in ("span", "a", "i", "b", "div", "td", "pre")
}
_CELL_TAG = re.compile(r"<(/?)td\b[^>]{0,500}>", re.IGNORECASE)
_NUMBERS_ONLY = re.compile(r"(?:[\s\d|]|&nbsp;|<[^>]{0,500}>)*+", re.IGNORECASE)
_PRE_ONLY = re.compile(r"\s*+(?:<div\b[^>]{0,300}>\s*+)?<pre\b", re.IGNORECASE)
_FIGURE = re.compile(r"<figure\b[^>]{0,1000}>(?=\s*(?:<div\b[^>]{0,500}>\s*){0,4}<(?:pre|table)\b)")
_TABLE = re.compile(r"<table\b[^>]{0,1000}>", re.IGNORECASE)
_CODE_CLASS = re.compile(
    r"\bclass\s*=\s*[\"'][^\"'>]{0,300}?\b(?:hljs-ln|js-file-line-container|crayon-table)\b", re.IGNORECASE
)
_ROW = re.compile(r"<tr\b[^>]{0,500}>(.*?)(?:</tr\s*>|(?=<tr\b)|$)", re.IGNORECASE | re.DOTALL)
_BUTTON = re.compile(
    r"<(button|style|svg|select)\b[^>]{0,9000}>(?:[^<]++|<(?!/?\1\b)){0,20000}+</\1\s*>", re.IGNORECASE
)
_BREAK = re.compile(r"<br\b[^>]{0,200}>", re.IGNORECASE)
_BLOCK = r"(?:div|p|li|tr|ol|ul|table|tbody)"
_BLOCK_END = re.compile(rf"(?:</{_BLOCK}\s*>[ \t\r]*\n?)+", re.IGNORECASE)
_BLOCK_START = re.compile(rf"[ \t]*(?:<{_BLOCK}\b[^>]{{0,3000}}>[ \t]*)+(?:\r?\n[ \t]*(?=<{_BLOCK}\b))?", re.IGNORECASE)
_BREAK_AT_END = re.compile(rf"<br\b[^>]{{0,200}}>(?=\s*</{_BLOCK}\s*>)", re.IGNORECASE)
_TAG = re.compile(r"<[^>]*>")
_CELL = re.compile(r"</?t[dh]\b[^>]{0,1000}>\s*", re.IGNORECASE)
_LEADING = re.compile(r"((?:^|\n|>)[ \t]*<(span|a)\b[^>]{0,500}>)[ \t]*(\d{1,5})[ \t]*(</\2\s*>)", re.IGNORECASE)
_LINE_ELEMENT = re.compile(
    r"(</span>)(?=<span\b[^>]{0,300}?\b(?:data-line\b|class\s*=\s*[\"'](?:code-)?line[\s\"']))", re.IGNORECASE
)
_BLOCK_TAG = re.compile(r"<(div|code)\b[^>]{0,1000}>", re.IGNORECASE)
_BLOCK_CLASS = re.compile(r"\bclass\s*=\s*[\"'](?:[^\"'>]{0,300}\s)?(?:code-block|block)[\s\"']", re.IGNORECASE)
_BLOCK_TEXT = re.compile(r"(?:[^<]++|</?(?:span|a|b|i|em)\b[^>]{0,500}>){1,50000}+", re.IGNORECASE)
#: Elements found without the end that they should have, before the search is given up.
MAX_BROKEN = 20


def write_code(page: str, hints: Hints | None = None) -> str:
    """A page's source with its blocks of code as plain lines. `hints` are those of the page."""
    hints = hints or Hints(page)
    made = hints.any("code-block", '<code class="')
    if made:
        page = _code_blocks(page)
    if hints.any("<figure"):
        page = _figures(page)
    tables = hints.any("hljs-ln", "js-file-line-container", "crayon-table")
    blocks = made or hints.any("<pre")
    if not blocks and not tables:
        return page
    if blocks and hints.any("<td"):
        page = _gutters(page)
    if tables:
        page = _tables(page)
    out: list[str] = []
    at = 0
    for tag in _PRE.finditer(page):
        if tag.start() < at:
            continue
        end = _PRE_END.search(page, tag.end(), tag.end() + MAX_LENGTH)
        if end is None:
            break
        inner = page[tag.end() : end.start()]
        out += [page[at : tag.end()], _lines(inner) if _HINT.search(inner) or "data-line" in inner else inner]
        at = end.start()
    return "".join([*out, page[at:]]) if out else page


def _code_blocks(page: str) -> str:
    """Blocks that a style sheet shows as preformatted, if they have lines or are code."""
    out: list[str] = []
    at = broken = 0
    for tag in _BLOCK_TAG.finditer(page):
        if tag.start() < at or not _BLOCK_CLASS.search(tag[0]):
            continue
        inner = _BLOCK_TEXT.match(page, tag.end())
        name = tag[1].lower()
        if inner is None or not page.startswith(f"</{name}>", inner.end()):
            broken += inner is not None and inner.end() - tag.end() > 1000
            if broken > MAX_BROKEN:
                break
            continue
        text = inner[0].strip()
        if "\n" in text or (name == "code" and text):
            out += [page[at : tag.start()], "<pre>", inner[0].strip("\n") if "\n" in text else text, "</pre>"]
            at = inner.end() + len(name) + 3
    return "".join([*out, page[at:]]) if out else page


def _figures(page: str) -> str:
    """Figures of code and tables as ordinary blocks; resiliparse leaves out what is in a figure."""
    out: list[str] = []
    at, end = 0, -1
    for tag in _FIGURE.finditer(page):
        if end < tag.end():
            end = page.find("</figure>", tag.end())
        if end < 0:
            break
        if tag.start() >= at and end - tag.end() <= MAX_LENGTH:
            out += [page[at : tag.start()], "<div>", page[tag.end() : end], "</div>"]
            at = end + len("</figure>")
    return "".join([*out, page[at:]]) if out else page


def _gutters(page: str) -> str:
    """A page without the cells that hold line numbers; a table of numbers stays."""
    out: list[str] = []
    at = 0
    cell: re.Match[str] | None = None
    for tag in _CELL_TAG.finditer(page):
        if not tag[1]:
            cell = tag
        elif cell is not None:
            known = _CLASS.search(cell[0]) is not None
            if (known or _PRE_ONLY.match(page, cell.end(), tag.start())) and _NUMBERS_ONLY.fullmatch(
                page, cell.end(), tag.start()
            ):
                words = _TAG.sub(" ", page[cell.end() : tag.start()]).replace("&nbsp;", " ").split()
                counts = [int(word) for word in words if word.isdigit()]
                if known or (counts and counts == list(range(counts[0], counts[0] + len(counts)))):
                    out.append(page[at : cell.start()])
                    at = tag.end()
            cell = None
    return "".join([*out, page[at:]]) if out else page


def _without_numbers(inner: str) -> str:
    """The source of code without the elements that hold line numbers."""
    out: list[str] = []
    at = broken = 0
    for tag in _NUMBERED.finditer(inner):
        if tag.start() < at or not (_CLASS.search(tag[0]) or "data-line-number" in tag[0]):
            continue
        end = _NUMBERS[tag[1].lower()].match(inner, tag.end())
        if end is not None:
            out.append(inner[at : tag.start()])
            at = end.end()
        else:
            broken += 1
            if broken > MAX_BROKEN and broken > 2 * len(out):
                break
    return "".join([*out, inner[at:]])


def _tables(page: str) -> str:
    """Tables with a row for every line of code as preformatted text, unless they are in such text already."""
    out: list[str] = []
    at = 0
    for tag in _TABLE.finditer(page):
        if tag.start() < at or not _CODE_CLASS.search(tag[0]):
            continue
        end = page.find("</table>", tag.end(), tag.end() + MAX_LENGTH)
        if end < 0:
            break
        near = max(at, tag.start() - 2000)
        if page.rfind("<pre", near, tag.start()) > page.rfind("</pre", near, tag.start()):
            continue
        body = page[tag.end() : end]
        if "<pre" in body:
            continue
        lines = [_CELL.sub("", row[1]).strip("\r\n") for row in _ROW.finditer(_without_numbers(body))]
        out += [page[at : tag.start()], "<pre>", "\n".join(line or " " for line in lines), "</pre>"]
        at = end + len("</table>")
    return "".join([*out, page[at:]]) if out else page


def _lines(inner: str) -> str:
    """What a `<pre>` holds, with line breaks for the elements that stand for lines, without numbers and buttons."""
    inner = _without_numbers(_BUTTON.sub("", inner))
    numbers = [int(found[3]) for found in _LEADING.finditer(inner)]
    if len(numbers) > 2 and numbers == list(range(numbers[0], numbers[0] + len(numbers))):
        inner = _LEADING.sub(r"\1\4", inner)
    inner = _BREAK.sub("\n", _BREAK_AT_END.sub("", inner))
    if "\n" not in inner.strip():
        inner = _LINE_ELEMENT.sub(r"\1\n", inner)
    if re.search(rf"<{_BLOCK}\b", inner, re.IGNORECASE):
        inner = _BLOCK_END.sub("\n", _CELL.sub("", inner))
        out: list[str] = []
        for i, part in enumerate(_BLOCK_START.split(inner)):
            if i and out and not out[-1].endswith("\n"):
                out.append("\n")
            if part:
                out.append(part)
        inner = "".join(out)
    return inner

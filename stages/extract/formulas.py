r"""Writes the formulas of a page as LaTeX, where the page itself shows only pictures, scripts or pieces of layout.

An HTML extractor sees a formula of KaTeX three times over (MathML, its LaTeX source, and the letters of the layout:
`xx^2x2`), one of MathJax 2 not at all (it sits in a script), and one that is an image not at all. So formulas are
replaced in the page's source, before it is parsed, by their LaTeX as text: `$…$` in a line, `$$…$$` where displayed.
Formulas that are text already, between the delimiters of the page's own configuration, stay as they are.

In order of trust: the source that the page keeps beside the formula (MathML `annotation`, `alttext`, MathJax 2
scripts, `data-*` attributes, `alt` and address of images), and only where there is none, the MathML or MathJax layout
converted (`mathml`). The list of places follows OpenWebMath (Paster et al. 2023, appendix) and the publishing systems'
own output.

The trade-off: elements are found by their tags in the source, and only what lies between them is parsed. Finding them
in the parsed page would be cleaner, and cost 0.1 ms each, as the parser's lists search the page again for every entry.
A page without any of the words that formulas come with is returned as it is.
"""

from __future__ import annotations

import html as entities
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, unquote_plus, urlsplit

from stages.extract.hints import Hints
from stages.extract.mathml import latex_of

if TYPE_CHECKING:
    from resiliparse.parse.html import ElementNode

_ATTRIBUTES = ("data-latex", "data-tex", "data-math", "data-xpm-latex", "data-equation-content", "data-entry")

#: The rest of a start tag, whose values may hold `>`. Lengths are bounded so that no page makes the search quadratic.
_REST = r"(?:[^\"'<>]{1,2000}+|\"[^\"]{0,9000}+\"|'[^']{0,9000}+'){0,99}+>"
_CLASS = r"[^>]{0,1000}?\bclass\s*=\s*[\"'](?:[^\"'>]{0,500}\s)?"

_OF_IMAGES = ('alt="\\', 'alt="$', "math", "atex", "tex=", "eeimg", 'tex"')
#: Words that formulas come with, and the start tags of the elements that each of them may announce.
_STARTS = tuple(
    (words, re.compile(pattern))
    for words, pattern in (
        (("<math",), rf"<math(?=[\s>]){_REST}"),
        (("<mjx-container",), rf"<mjx-container\b{_REST}"),
        (('type="math/', "type='math/", "type=math/"), r"<script\b[^>]{0,500}?\btype\s*=\s*[\"']?math/[^>]{0,500}>"),
        (
            ("katex", "mwe-math-element", "MathJax", "mjx-chtml"),
            rf"<(?:span|div)\b{_CLASS}(?:katex|mwe-math-element|MathJax(?:_Preview|_Display|_SVG|_SVG_Display|_CHTML)?"
            r"|MJXc-display|mjx-chtml)(?=[\s\"'])[^>]{0,9000}>",
        ),
        (
            ("data-tex", "data-latex", "data-math", "hurmet-tex", "data-xpm-latex", "data-equation-content"),
            r"<(?:span|div|p|img|a|code)\b"
            rf"(?=[^>]{{0,1000}}?\sdata-(?:tex|latex|math|xpm-latex|equation-content|entry)\s*=){_REST}",
        ),
        (_OF_IMAGES, rf"<img\b{_REST}"),
    )
)
_IMAGE_CLASS = re.compile(r"(?:^|[\s_-])(?:math|tex|latex|equation|mwe-math|quicklatex|formula)", re.IGNORECASE)
_IMAGE_SOURCE = re.compile(
    r"codecogs|latex\.php|mimetex|mathtex|math\.cgi|/math/|/latex/|[?&](?:tex|latex|eq|cht)=|wikimedia\.org/api/rest_v1/"
    r"media/math|quicklatex|texrendr",
    re.IGNORECASE,
)
#: What a formula's image has somewhere in its tag: to parse every image of a page costs 20 us each.
_IN_IMAGE = re.compile(r"math|tex|eeimg|equation|formula|codecogs|\b(?:eq|cht)=|\\|\$|&#", re.IGNORECASE)
_COMMAND = re.compile(r"\\[A-Za-z]{2,}")
_TEX_STRUCTURE = re.compile(r"[\\{}_^=]|^\S$")
_STYLE = re.compile(r"^\s*\{\s*\\(?:displaystyle|textstyle)\b\s*(.*)\}\s*$", re.DOTALL)
_DELIMITED = re.compile(r"^\s*(\$\$|\\\[|\$|\\\()(.*?)(\$\$|\\\]|\$|\\\))\s*$", re.DOTALL)
_DISPLAY_TEX = re.compile(r"^\s*\\begin\{(?:align|equation|gather|multline|eqnarray|displaymath)")
_SIZE = re.compile(r"^\s*(?:\\dpi\{\d+\}|\\(?:fn|bg|large|small|inline|svg)\w*\b|\s)+")
#: Characters of a start tag before the word that announces a formula.
MAX_TAG = 4000
#: Characters of source that one formula may take.
MAX_LENGTH = 200_000
MAX_LATEX = 20_000
#: Elements without an end tag before the search is given up, as each is searched for its end.
MAX_UNCLOSED = 50


def write_formulas(page: str, hints: Hints | None = None) -> tuple[str, int]:
    """A page's source with its formulas as LaTeX, and how many there were. `hints` are those of the page."""
    hints = hints or Hints(page)
    out: list[str] = []
    at = count = unclosed = 0
    for tag in _start_tags(page, hints):
        if tag.start() < at:
            continue
        end = element_end(page, tag)
        unclosed += end == tag.end() and not tag[0].startswith("<img")
        if unclosed > MAX_UNCLOSED:
            break
        scripts = hints.any("math/tex")
        text = _formula(page[tag.start() : end], page[max(at, tag.start() - 400) : tag.start()], scripts)
        if text is None:
            continue
        out += [page[at : tag.start()], entities.escape(text)]
        at = end
        count += bool(text)
    return "".join([*out, page[at:]]) if out else page, count


def _start_tags(page: str, hints: Hints) -> Iterator[re.Match[str]]:
    """The start tags of elements that may be formulas, in order.

    Only tags that hold a word are looked at: a page on mathematics has few, a pattern run over all its tags took 5 ms.
    """
    places: dict[int, list[re.Pattern[str]]] = {}
    for words, pattern in _STARTS:
        present = [word for word in words if hints.any(word)]
        if present and words is _OF_IMAGES:  # what announces it may be another image's
            present = ["<img"]
        for word in present:
            at = page.find(word)
            while at >= 0:
                start = at if word[0] == "<" else page.rfind("<", max(at - MAX_TAG, 0), at)
                patterns = places.setdefault(start, [])
                if pattern not in patterns:
                    patterns.append(pattern)
                at = page.find(word, at + len(word))
    for start in sorted(places):
        found = next((tag for pattern in places[start] if (tag := pattern.match(page, start))), None)
        if start >= 0 and found and not (found[0].startswith("<img") and not _IN_IMAGE.search(found[0])):
            yield found


_TAG_NAME = re.compile(r"<([a-zA-Z][\w-]*)")
_VOID = ("img",)
_PATTERNS: dict[str, re.Pattern[str]] = {}


def element_end(page: str, tag: re.Match[str]) -> int:
    """Where the element ends whose start tag was matched; the start tag's own end if it is not closed."""
    name = _TAG_NAME.match(tag[0])
    if name is None or name[1].lower() in _VOID or tag[0].endswith("/>"):
        return tag.end()
    if name[1] not in _PATTERNS:
        _PATTERNS[name[1]] = re.compile(rf"<(/?){name[1]}(?=[\s>/])[^>]*>", re.IGNORECASE)
    depth = 1
    for other in _PATTERNS[name[1]].finditer(page, tag.end(), tag.end() + MAX_LENGTH):
        depth += -1 if other[1] else 1
        if not depth:
            return other.end()
    return tag.end()


def delimited(tex: str, display: bool) -> str:
    """A formula between dollars, without the wrapper `{\\displaystyle …}` of MediaWiki and delimiters of its own."""
    tex = " ".join(tex.split())
    if (own := _DELIMITED.match(tex)) and own[2].strip() and "$" not in own[2]:
        display, tex = display or own[1] in ("$$", "\\["), own[2].strip()
    while wrapper := _STYLE.match(tex):
        if not _balanced(wrapper[1]):
            break
        tex = wrapper[1].strip()
    if not tex:
        return ""
    mark = "$$" if display or _DISPLAY_TEX.match(tex) else "$"
    return f"{mark}{tex}{mark}"


def _balanced(tex: str) -> bool:
    """Whether braces close in the order they open."""
    depth = 0
    for char in re.sub(r"\\.", "", tex):
        depth += (char == "{") - (char == "}")
        if depth < 0:
            return False
    return depth == 0


def _formula(source: str, before: str, scripts: bool) -> str | None:
    """The LaTeX that an element stands for, empty if it shows what another holds, None if it is no formula."""
    from resiliparse.parse.html import HTMLTree

    body = HTMLTree.parse(source).body
    node = body.first_element_child if body is not None else None
    if node is None:  # a script alone goes to the head
        head = HTMLTree.parse(source).head
        node = head.query_selector("script") if head is not None else None
        return _script(node) if node is not None else None
    name, shape = node.tag, (node.class_name or "").split()
    if name == "script":
        return _script(node)
    if name == "img":
        return _image(node, before)
    if name == "math":
        return delimited(_source(node), _is_display(node) or _in_display(before)) or None
    if name == "mjx-container":
        return _mathjax_container(node)
    if "mwe-math-element" in shape:
        return _mediawiki(node)
    if "katex" in shape:
        math = node.query_selector("math")
        display = math is not None and _is_display(math)
        return delimited(_source(math), display or _in_display(before)) or None if math is not None else None
    if any(word.startswith(("MathJax", "MJXc", "mjx-chtml")) for word in shape):
        return _mathjax_view(node, scripts)
    return _from_attribute(node)


def _source(math: ElementNode) -> str:
    """The LaTeX that a `math` element carries, or what its MathML says."""
    for note in math.query_selector_all("annotation"):
        if "tex" in (note.getattr("encoding") or "").lower() and (note.text or "").strip():
            return note.text or ""
    alt = (math.getattr("alttext") or math.getattr("data-latex") or "").strip()
    return alt or latex_of(math)


def _is_display(node: ElementNode) -> bool:
    return node.getattr("display") in ("block", "true") or node.getattr("mode") == "display"


_OPEN_DISPLAY = re.compile(
    r"<(?:div|span|p|td)\b[^>]*\bclass\s*=\s*[\"'][^\"'>]*\b(?:katex-display|math|equation|ltx_eqn_cell|"
    r"displaymath)\b[^\"'>]*[\"'][^>]*>\s*(?:<p>\s*)?$"
)


def _in_display(before: str) -> bool:
    """Whether the source just before a formula opens a block that holds formulas alone."""
    found = _OPEN_DISPLAY.search(before)
    return found is not None and ("display" in found[0] or not found[0].startswith("<span"))


def _script(script: ElementNode) -> str | None:
    """MathJax 2: the source is a script; what is shown are its neighbours."""
    kind, tex = (script.getattr("type") or "").lower(), script.text or ""
    display = "mode=display" in kind.replace(" ", "")
    if "mml" in kind:
        tex = _from_markup(tex)
    elif "asciimath" in kind:
        return f"`{tex.strip()}`" if tex.strip() else None
    return _spaced(delimited(tex, display)) or None


def _mathjax_view(view: ElementNode, scripts: bool) -> str | None:
    """What MathJax 2 shows; nothing if the scripts are there. Later versions keep the MathML in an attribute."""
    holder = view if view.hasattr("data-mathml") else view.query_selector("[data-mathml]")
    if scripts:
        return "" if view.query_selector("script") is None else None
    markup = (holder.getattr("data-mathml") or "") if holder is not None else ""
    return delimited(_from_markup(markup), 'display="block"' in markup) or None


def _from_markup(markup: str) -> str:
    """LaTeX of MathML that is given as text."""
    from resiliparse.parse.html import HTMLTree

    body = HTMLTree.parse(markup).body if len(markup) < MAX_LENGTH else None
    math = body.query_selector("math") if body is not None else None
    return _source(math) if math is not None else ""


def _mathjax_container(box: ElementNode) -> str | None:
    """MathJax 3 and 4: an attribute, MathML for screen readers, or the layout itself."""
    tex = box.getattr("data-latex") or ""
    math = box.query_selector("math")
    inner = box.query_selector("mjx-math, svg")
    if not tex and inner is not None:
        tex = inner.getattr("data-latex") or ""
    if not tex and math is not None:
        tex = _source(math)
    if not tex and inner is not None and inner.tag == "mjx-math":
        tex = latex_of(inner)
    return _spaced(delimited(tex, _is_display(box) or (math is not None and _is_display(math)))) or None


def _mediawiki(box: ElementNode) -> str | None:
    math, image = box.query_selector("math"), box.query_selector("img")
    tex = _source(math) if math is not None else (image.getattr("alt") or "" if image is not None else "")
    shown = (image.class_name or "") if image is not None else ""
    return delimited(tex, "display" in shown or (math is not None and _is_display(math))) or None


def _spaced(text: str) -> str:
    """A displayed formula apart from the words around it."""
    return f"\n{text}\n" if text.startswith("$$") else text


def _from_attribute(node: ElementNode) -> str | None:
    """LaTeX in an attribute of an element that shows it; the attribute may hold something else (a table, a flag)."""
    for name in _ATTRIBUTES:
        tex = (node.getattr(name) or "").strip()
        if not tex or len(tex) > MAX_LATEX or tex.startswith(("[", '{"', "<")):
            continue
        math, own = node.query_selector("math"), (node.text or "").strip()
        drawn = math is not None or node.query_selector("svg, img, .katex-html") is not None
        known = "math" in (node.class_name or "") or "tex" in (node.class_name or "")
        shown = drawn or known or (not own and name != "data-entry")
        if not shown or not (known or _TEX_STRUCTURE.search(tex)):
            return None
        display = (math is not None and _is_display(math)) or node.tag in ("p", "div")
        return delimited(tex, display) or None
    return None


def _image(image: ElementNode, before: str) -> str | None:
    alt, source = image.getattr("alt") or image.getattr("data-tex") or "", image.getattr("src") or ""
    shape = image.class_name or ""
    if image.hasattr("eeimg") or _IMAGE_CLASS.search(shape):
        tex = alt
    elif not source.startswith("data:") and _IMAGE_SOURCE.search(source):
        tex = alt if _TEX_STRUCTURE.search(alt.strip()) else _from_address(source)
    else:
        commands = len(_COMMAND.findall(alt))
        tex = alt if commands >= 2 or (commands and re.search(r"[_^{}]", alt)) or _DELIMITED.match(alt) else ""
    if len(tex) > MAX_LATEX:
        return None
    return delimited(tex, "display" in shape or "block" in shape.split() or _in_display(before)) or None


def _from_address(address: str) -> str:
    """LaTeX in the query of an image's address (`latex.codecogs.com/svg.latex?…`, `latex.php?latex=…`)."""
    try:
        query = urlsplit(address).query
    except ValueError:
        return ""
    if not query:
        return ""
    if re.match(r"(?:tex|latex|eq|chl|cht|formula)=|.*&(?:tex|latex|eq|chl)=", query):
        fields = parse_qs(query)
        values = [fields[name][0] for name in ("tex", "latex", "chl", "eq", "formula") if name in fields]
        return values[0] if values else ""
    tex = unquote_plus(query) if "%20" not in query else unquote(query)
    tex = _SIZE.sub("", tex)
    return tex if _TEX_STRUCTURE.search(tex) and "=" not in query[:1] else ""

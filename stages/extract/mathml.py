r"""Turns MathML into LaTeX, for the formulas whose page no longer holds the source they were made from.

Most formulas on the web carry their LaTeX beside the MathML, and then nothing needs converting (`formulas`). The rest
would become a string of letters without structure (`x22` for x squared to the 2): this keeps fractions, roots,
scripts, accents, tables and fences. MathJax's HTML output, in which every element of MathML has a counterpart `mjx-…`
and letters are named by class (`mjx-c1D465`), is read by the same rules.

The trade-off: presentation MathML says how a formula looks, not what it means, and many sources give the same look.
The result is one of them, in the plainest form, with braces around every script: `x_{i}^{2}`, `\frac{1}{n}`. Spaces,
colours and sizes are left out.

Source of the element semantics: MathML Core (W3C), section 3; LaTeX names: The Comprehensive LaTeX Symbol List.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from resiliparse.parse.html import ElementNode

_MJX_CHAR = re.compile(r"\bmjx-c([0-9A-F]{2,6})\b")
_COMMAND_END = re.compile(r"\\[A-Za-z]+$")
_MAX_DEPTH = 200  # nested elements; of real formulas the deepest seen had 30

_GREEK = (
    "α alpha β beta γ gamma δ delta ϵ epsilon ε varepsilon ζ zeta η eta θ theta ϑ vartheta ι iota κ kappa λ lambda "
    "μ mu ν nu ξ xi π pi ϖ varpi ρ rho ϱ varrho σ sigma ς varsigma τ tau υ upsilon ϕ phi φ varphi χ chi ψ psi ω omega "
    "Γ Gamma Δ Delta Θ Theta Λ Lambda Ξ Xi Π Pi Σ Sigma Υ Upsilon Φ Phi Ψ Psi Ω Omega"
)
_OPERATORS = (
    "∑ sum ∏ prod ∐ coprod ∫ int ∬ iint ∭ iiint ∮ oint ⋃ bigcup ⋂ bigcap ⨁ bigoplus ⨂ bigotimes ⋁ bigvee ⋀ bigwedge "
    "× times ÷ div · cdot ⋅ cdot ± pm ∓ mp ∗ ast ⋆ star ∘ circ • bullet ⊕ oplus ⊖ ominus ⊗ otimes ⊙ odot † dagger "
    "∧ wedge ∨ vee ∩ cap ∪ cup ⊎ uplus ∖ setminus ≤ leq ≥ geq ≪ ll ≫ gg ≠ neq ≡ equiv ≈ approx ∼ sim ≃ simeq ≅ cong "
    "∝ propto ≺ prec ≻ succ ⊂ subset ⊃ supset ⊆ subseteq ⊇ supseteq ∈ in ∉ notin ∋ ni ⊢ vdash ⊨ models ⊥ perp "
    "∥ parallel ∣ mid → to ← leftarrow ↔ leftrightarrow ⇒ Rightarrow ⇐ Leftarrow ⇔ Leftrightarrow ⟶ longrightarrow "
    "⟹ implies ⟺ iff ↦ mapsto ⟼ longmapsto ↑ uparrow ↓ downarrow ↪ hookrightarrow ⇀ rightharpoonup ⇌ rightleftharpoons "
    "∀ forall ∃ exists ∄ nexists ¬ neg ∂ partial ∇ nabla ∞ infty ∅ emptyset ℏ hbar ℓ ell ℜ Re ℑ Im ℵ aleph ∠ angle "
    "△ triangle □ square ◻ square … ldots ⋯ cdots ⋮ vdots ⋱ ddots ′ prime ⟨ langle ⟩ rangle ⌈ lceil ⌉ rceil ⌊ lfloor "
    "⌋ rfloor ‖ | ∴ therefore ∵ because ≜ triangleq ≔ coloneqq ⊤ top ⋄ diamond ⪯ preceq ⪰ succeq ≲ lesssim ≳ gtrsim"
)


def _pairs(words: str) -> dict[str, str]:
    """A table from `character name character name …`."""
    parts = words.split()
    return {char: "\\" + name for char, name in zip(parts[::2], parts[1::2], strict=True)}


_SYMBOLS = (
    _pairs(_GREEK)
    | _pairs(_OPERATORS)
    | {char: "\\" + char for char in "{}#%&_$"}
    | {"\\": "\\backslash", "−": "-", "″": "''", "\u00a0": "\\ ", "\u2003": "\\quad", "~": "\\sim"}
    | dict.fromkeys("\u2061\u2062\u2063\u2064\u200b", "")  # invisible times, apply function, separator
)
_ACCENTS = {
    "^": "hat",
    "ˆ": "hat",
    "̂": "hat",
    "~": "tilde",
    "˜": "tilde",
    "∼": "tilde",
    "¯": "bar",
    "ˉ": "bar",
    "‾": "overline",
    "―": "overline",
    "_": "overline",
    "→": "vec",
    "⃗": "vec",
    "˙": "dot",
    ".": "dot",
    "¨": "ddot",
    "⋅": "dot",
    "ˇ": "check",
    "´": "acute",
    "`": "grave",
    "˘": "breve",
    "⏞": "overbrace",
}
_UNDER_ACCENTS = {"_": "underline", "‾": "underline", "¯": "underline", "⏟": "underbrace", "―": "underline"}
_FUNCTION_NAMES = (
    "arccos arcsin arctan arg cos cosh cot coth csc deg det dim exp gcd hom inf ker lg lim liminf limsup ln log max "
    "min Pr sec sin sinh sup tan tanh"
)
_FUNCTIONS = frozenset(_FUNCTION_NAMES.split())
_VARIANTS = {
    "bold": "mathbf",
    "double-struck": "mathbb",
    "fraktur": "mathfrak",
    "script": "mathcal",
    "sans-serif": "mathsf",
    "monospace": "mathtt",
}
#: Styled letters of Unicode's Mathematical Alphanumeric Symbols, by the word in their name.
_STYLES = (("BOLD", "mathbf"), ("SCRIPT", "mathcal"), ("FRAKTUR", "mathfrak"), ("DOUBLE-STRUCK", "mathbb"))


def latex_of(node: ElementNode) -> str:
    """LaTeX of a `math` element, or of MathJax's `mjx-math`; empty if it holds nothing that can be told."""
    return re.sub(r"\s+", " ", _convert(node, 0)).strip()


def _name(node: ElementNode) -> str:
    """Name of an element as in MathML."""
    return (node.tag or "").lower().removeprefix("mjx-").removeprefix("m:").removeprefix("mml:")


def _children(node: ElementNode) -> list[ElementNode]:
    """Child elements that show something."""
    return [child for child in node.children if _name(child) not in _NOTHING and not _name(child).startswith("#")]


#: Elements of MathJax's layout that stand for no part of the formula, and MathML that shows nothing.
_NOTHING_NAMES = "nstrut dstrut line surd spacer mphantom annotation annotation-xml maligngroup malignmark"
_NOTHING = frozenset(_NOTHING_NAMES.split())


def _row(nodes: list[ElementNode], depth: int) -> str:
    """Parts side by side. A command keeps a space before a letter that follows it."""
    out = ""
    for part in (_convert(node, depth + 1) for node in nodes):
        if part:
            out += " " + part if out else part
    return out


def _group(node: ElementNode | None, depth: int) -> str:
    return "{" + (_convert(node, depth + 1) if node is not None else "") + "}"


def _find(node: ElementNode, *names: str) -> ElementNode | None:
    """The first descendant by one of MathJax's layout names, not looking inside of other scripts."""
    for child in _children(node):
        if _name(child) in names:
            return child
    for child in _children(node):
        if _name(child) in ("row", "box", "munder", "mover", "frac", "dbox", "dtable", "sqrt"):
            found = _find(child, *names)
            if found is not None:
                return found
    return None


def _text(node: ElementNode) -> str:
    """Characters of a token element. MathJax names them by class where it does not write them."""
    if (node.tag or "").lower().startswith("mjx-"):
        chars = []
        for char in node.query_selector_all("mjx-c"):
            code = _MJX_CHAR.search(char.class_name or "")
            chars.append(char.text or (chr(int(code[1], 16)) if code and int(code[1], 16) < 0x110000 else ""))
        if chars:
            return "".join(chars)
    return node.text or ""


def _symbols(text: str) -> str:
    """Characters of a formula in LaTeX."""
    out = ""
    for char in text:
        word = _SYMBOLS.get(char)
        if word is None:
            word = _styled(char) if ord(char) >= 0x2100 else char
        if _COMMAND_END.search(out) and word[:1].isalpha():
            out += " "
        out += word
    return out


def _styled(char: str) -> str:
    """A letter of the mathematical alphabets as a plain letter in the command for its style."""
    plain = unicodedata.normalize("NFKC", char)
    if plain == char or len(plain) != 1:
        return char
    plain = _SYMBOLS.get(plain, plain)
    name = unicodedata.name(char, "")
    for word, command in _STYLES:
        if word in name:
            return f"\\{command}{{{plain}}}"
    return plain


def _identifier(node: ElementNode) -> str:
    text = "".join(_text(node).split())
    if text in _FUNCTIONS:
        return "\\" + text
    symbols = _symbols(text)
    command = _VARIANTS.get((node.getattr("mathvariant") or "").lower())
    return f"\\{command}{{{symbols}}}" if command and symbols else symbols


def _operator(node: ElementNode) -> str:
    text = " ".join(_text(node).split())
    if text in _FUNCTIONS:
        return "\\" + text
    return f"\\operatorname{{{text}}}" if len(text) > 1 and text.isalpha() else _symbols(text)


def _words(node: ElementNode) -> str:
    text = _text(node)
    if not any(char.isalpha() for char in text):
        return _symbols(text.strip())
    return f"\\text{{{text}}}"


def _accented(base: ElementNode, mark: ElementNode, accents: dict[str, str], script: str, depth: int) -> str:
    """A base with something over or under it: an accent, a brace, or a limit."""
    command = accents.get(_text(mark).strip()) if _name(mark) in ("mo", "mi", "mtext") else None
    if command is None and _name(mark) in ("over", "under") and len(_children(mark)) == 1:
        command = accents.get(_text(_children(mark)[0]).strip())
    if command:
        return f"\\{command}{_group(base, depth)}"
    body = _convert(base, depth + 1)
    if not body.startswith("\\"):  # limits belong to an operator; over anything else they are a stack
        return f"\\{'overset' if script == '^' else 'underset'}{_group(mark, depth)}{{{body}}}"
    return f"{body}{script}{_group(mark, depth)}"


def _table(node: ElementNode, depth: int) -> str:
    rows = []
    for row in node.query_selector_all("mtr, mlabeledtr, mjx-mtr, mjx-mlabeledtr"):
        inner, owner = row.closest("mtable, mjx-mtable"), node
        if inner is None or inner != owner:
            continue  # a row of a table inside of a cell
        cells = [cell for cell in _children(row) if _name(cell) in ("mtd", "td")]
        if _name(row) == "mlabeledtr" and len(cells) > 1:
            cells = [*cells[1:], cells[0]]
        rows.append(cells)
    labelled = len(rows) == 1
    if labelled:  # a numbered equation
        return " ".join(_row(_children(cell), depth + 1) for cell in rows[0]).strip()
    lines = [" & ".join(_row(_children(cell), depth + 1) for cell in cells) for cells in rows]
    aligned = "right" in (node.getattr("columnalign") or "") or node.getattr("displaystyle") == "true"
    kind = "aligned" if aligned else "matrix"
    body = r" \\ ".join(lines)
    return f"\\begin{{{kind}}}{body}\\end{{{kind}}}"


def _fenced(node: ElementNode, depth: int) -> str:
    left = node.getattr("open", "(") or "."
    right = node.getattr("close", ")") or "."
    marks = "".join((node.getattr("separators", ",") or "").split())
    out = ""
    for i, child in enumerate(_children(node)):
        out += (f" {marks[min(i - 1, len(marks) - 1)]} " if i and marks else "") + _convert(child, depth + 1)
    return f"\\left{_symbols(left)}{out}\\right{_symbols(right)}"


def _convert(node: ElementNode, depth: int) -> str:
    """LaTeX of an element and what it holds."""
    name = _name(node)
    if depth > _MAX_DEPTH or name in _NOTHING:
        return ""
    if name == "mi":
        return _identifier(node)
    if name == "mn":
        return _symbols("".join(_text(node).split()))
    if name == "mo":
        return _operator(node)
    if name in ("mtext", "ms"):
        return _words(node)
    if name in ("mspace", "none", "mprescripts"):
        return ""
    if name == "mfenced":
        return _fenced(node, depth)
    if name == "mtable":
        return _table(node, depth)
    if name == "semantics":
        return _row(_children(node)[:1], depth)
    if (node.tag or "").lower().startswith("mjx-"):
        return _from_layout(node, name, depth)
    parts = _children(node)
    if name == "msqrt":
        return f"\\sqrt{{{_row(parts, depth)}}}"
    if name == "menclose":
        command = {"top": "overline", "bottom": "underline"}.get(node.getattr("notation") or "")
        return f"\\{command}{{{_row(parts, depth)}}}" if command else _row(parts, depth)
    if len(parts) >= 2:
        first, second = parts[:2]
        if name == "mfrac":
            command = "binom" if (node.getattr("linethickness") or "") in ("0", "0px", "0em", "0pt") else "frac"
            return f"\\{command}{_group(first, depth)}{_group(second, depth)}"
        if name == "mroot":
            return f"\\sqrt[{_convert(second, depth + 1)}]{_group(first, depth)}"
        if name == "msub":
            return _base(first, depth) + "_" + _group(second, depth)
        if name == "msup":
            return _base(first, depth) + "^" + _group(second, depth)
        if name == "mover":
            return _accented(first, second, _ACCENTS, "^", depth)
        if name == "munder":
            return _accented(first, second, _UNDER_ACCENTS, "_", depth)
        if name in ("msubsup", "munderover") and len(parts) >= 3:
            return f"{_base(first, depth)}_{_group(second, depth)}^{_group(parts[2], depth)}"
    if not parts and name not in ("math", "mrow"):
        return _symbols(" ".join((node.text or "").split()))
    return _row(parts, depth)


def _base(node: ElementNode, depth: int) -> str:
    """What a script stands at; in braces if it has scripts itself."""
    body = _convert(node, depth + 1)
    return f"{{{body}}}" if _name(node) in ("msub", "msup", "msubsup", "mfrac") else body


def _from_layout(node: ElementNode, name: str, depth: int) -> str:
    """MathJax's HTML output: parts are found by the boxes that they are laid out in."""
    if name == "mfrac":
        return f"\\frac{_group(_find(node, 'num'), depth)}{_group(_find(node, 'den'), depth)}"
    if name in ("msqrt", "mroot"):
        index = f"[{_convert(root, depth + 1)}]" if (root := _find(node, "root")) is not None else ""
        return f"\\sqrt{index}{_group(_find(node, 'box'), depth)}"
    parts = _children(node)
    if name in ("msub", "msup", "msubsup") and len(parts) == 2:
        scripts = _children(parts[1]) if name == "msubsup" and _name(parts[1]) == "script" else []
        if len(scripts) == 2:  # laid out from the top
            return f"{_base(parts[0], depth)}_{_group(scripts[1], depth)}^{_group(scripts[0], depth)}"
        return _base(parts[0], depth) + ("_" if name == "msub" else "^") + _group(parts[1], depth)
    if name in ("munder", "mover", "munderover"):
        over, under, base = (_find(node, part) for part in ("over", "under", "base"))
        if base is not None:
            if over is not None and under is not None:
                return f"{_convert(base, depth + 1)}_{_group(under, depth)}^{_group(over, depth)}"
            if over is not None:
                return _accented(base, over, _ACCENTS, "^", depth)
            if under is not None:
                return _accented(base, under, _UNDER_ACCENTS, "_", depth)
    return _row(parts, depth)

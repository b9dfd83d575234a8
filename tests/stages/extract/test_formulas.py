r"""Formulas as the publishing systems write them into pages, and the LaTeX that they stand for."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from resiliparse.parse.html import HTMLTree

from stages.extract.formulas import delimited, write_formulas
from stages.extract.html import by_resiliparse
from stages.extract.mathml import latex_of


def text_of(page):
    """The visible text of a page after its formulas have been written, white space as single spaces."""
    return " ".join(by_resiliparse(HTMLTree.parse(write_formulas(page)[0]), main_content=False).split())


MATHML = (
    "<math><semantics><mrow><mi>E</mi><mo>=</mo><mi>m</mi><msup><mi>c</mi><mn>2</mn></msup></mrow>"
    '<annotation encoding="application/x-tex">E = mc^2</annotation></semantics></math>'
)

PAGES = {
    "katex": (
        f'<p>So <span class="katex"><span class="katex-mathml">{MATHML}</span><span class="katex-html" '
        'aria-hidden="true"><span class="base"><span class="strut"></span><span class="mord mathnormal">E</span>'
        '<span class="mrel">=</span><span class="mord">mc2</span></span></span></span> holds.</p>',
        "So $E = mc^2$ holds.",
    ),
    "katex display": (
        f'<p>So</p><span class="katex-display"><span class="katex"><span class="katex-mathml">'
        f'{MATHML.replace("<math>", "<math display=block>")}</span><span class="katex-html">E=mc2</span></span></span>',
        "So $$E = mc^2$$",
    ),
    "mathjax 2": (
        '<p>Let <span class="MathJax_Preview">[math]</span><span class="MathJax" id="MathJax-Element-1-Frame"><nobr>'
        '<span class="math"><span><span>x2</span></span></span></nobr></span><script type="math/tex" '
        'id="MathJax-Element-1">x^2 &lt; y</script> be.</p>',
        "Let $x^2 &lt; y$ be.",  # a script's content has no entities
    ),
    "mathjax 2 display": (
        '<div class="MathJax_Display"><span class="MathJax">junk</span></div>'
        '<script type="math/tex; mode=display">\\sum_{i<n} i</script><p>end</p>',
        "$$\\sum_{i<n} i$$ end",
    ),
    "mathjax 3": (
        '<p>For <mjx-container class="MathJax" jax="SVG"><svg viewBox="0 0 9 9"><g data-mml-node="math"></g></svg>'
        '<mjx-assistive-mml display="inline"><math><mfrac><mi>a</mi><mi>b</mi></mfrac></math></mjx-assistive-mml>'
        "</mjx-container> see</p>",
        r"For $\frac{a}{b}$ see",
    ),
    "mathjax 4": (
        '<p>For <mjx-container jax="CHTML" display="true"><mjx-math data-latex="\\sqrt{2}"><mjx-msqrt data-latex='
        '"\\sqrt{2}"><mjx-mn data-latex="2"></mjx-mn></mjx-msqrt></mjx-math></mjx-container></p>',
        r"For $$\sqrt{2}$$",
    ),
    "mathjax layout by class": (
        '<p>Take <mjx-container class="MathJax" jax="CHTML"><mjx-math><mjx-msub><mjx-mi><mjx-c class="mjx-c1D465 TEX-I">'
        '</mjx-c></mjx-mi><mjx-script style="vertical-align: -0.15em;"><mjx-mi size="s"><mjx-c class="mjx-c1D456">'
        "</mjx-c></mjx-mi></mjx-script></mjx-msub></mjx-math></mjx-container>.</p>",
        "Take $x_{i}$.",
    ),
    "mediawiki": (
        '<p>mass <span class="mwe-math-element mwe-math-element-inline"><span class="mwe-math-mathml-inline '
        'mwe-math-mathml-a11y" style="display: none;"><math alttext="{\\displaystyle E=mc^{2}}"><semantics><mi>E</mi>'
        '<annotation encoding="application/x-tex">{\\displaystyle E=mc^{2}}</annotation></semantics></math></span>'
        '<img src="https://wikimedia.org/api/rest_v1/media/math/render/svg/9f7" class="mwe-math-fallback-image-inline" '
        'aria-hidden="true" alt="{\\displaystyle E=mc^{2}}"></span> law</p>',
        "mass $E=mc^{2}$ law",
    ),
    "mediawiki, image only": (
        '<p>a <img class="mwe-math-fallback-image-display tex" alt="a &lt; b" src="//upload.example.org/math/a/1.png"></p>',
        "a $$a < b$$",
    ),
    "latexml": (
        '<p class="ltx_p">where <math id="S1.p1.m1" class="ltx_Math" alttext="\\mathbf{x}\\in\\mathbb{R}^{d}" '
        'display="inline"><mrow><mi>𝐱</mi><mo>∈</mo><msup><mi>ℝ</mi><mi>d</mi></msup></mrow></math> is</p>',
        r"where $\mathbf{x}\in\mathbb{R}^{d}$ is",
    ),
    "sphinx image": (
        '<div class="math"><p><img src="_images/math/1.png" alt="\\int_0^1 x\\,dx"/></p></div>'
        '<p>and <img class="math" src="_images/math/2.png" alt="n"/> too</p>',
        r"$$\int_0^1 x\,dx$$ and $n$ too",
    ),
    "codecogs": (
        '<p>is <img src="https://latex.codecogs.com/gif.latex?\\dpi{120}%20\\frac{1}{2}" alt=""> and</p>',
        r"is $\frac{1}{2}$ and",
    ),
    "wordpress": (
        '<p>so <img src="https://s0.wp.com/latex.php?latex=a%5E2%2Bb%5E2&amp;bg=ffffff" class="latex" alt="a^2+b^2"></p>',
        "so $a^2+b^2$",
    ),
    "quicklatex": (
        '<p class="ql-center-displayed-equation"><img src="https://example.org/ql-cache/1.png" '
        'class="ql-img-displayed-equation quicklatex-auto-format" alt="\\[x = 1\\]"></p>',
        "$$x = 1$$",
    ),
    "zhihu": (
        '<p>设 <span class="ztext-math" data-eeimg="1" data-tex="f(x)=x^2"><svg viewBox="0 0 1 1"></svg></span> 则</p>',
        "设 $f(x)=x^2$ 则",
    ),
    "prefixed source": (
        '<p>x <img src="a.svg" alt="\\begin{align*} a &amp;= b \\\\ c &amp;= d \\end{align*}"></p>',
        r"x $$\begin{align*} a &= b \\ c &= d \end{align*}$$",
    ),
}


@pytest.mark.parametrize("kind", PAGES)
def test_formula_of(kind):
    page, expected = PAGES[kind]
    assert text_of(f"<html><body><h1>Title</h1>{page}</body></html>") == f"Title {expected}"


@pytest.mark.parametrize(
    ("mathml", "latex"),
    [
        ("<msubsup><mi>x</mi><mi>i</mi><mn>2</mn></msubsup>", "x_{i}^{2}"),
        ("<mfrac><mn>1</mn><mrow><mi>n</mi><mo>+</mo><mn>1</mn></mrow></mfrac>", r"\frac{1}{n + 1}"),
        ("<mfrac linethickness=0><mi>n</mi><mi>k</mi></mfrac>", r"\binom{n}{k}"),
        ("<msqrt><mi>x</mi><mo>−</mo><mn>1</mn></msqrt>", r"\sqrt{x - 1}"),
        ("<mroot><mi>x</mi><mn>3</mn></mroot>", r"\sqrt[3]{x}"),
        (
            "<munderover><mo>∑</mo><mrow><mi>i</mi><mo>=</mo><mn>1</mn></mrow><mi>n</mi></munderover><msub><mi>x</mi>"
            "<mi>i</mi></msub>",
            r"\sum_{i = 1}^{n} x_{i}",
        ),
        ("<mover><mi>v</mi><mo>→</mo></mover>", r"\vec{v}"),
        ("<munder><mi>lim</mi><mrow><mi>n</mi><mo>→</mo><mi>∞</mi></mrow></munder>", r"\lim_{n \to \infty}"),
        ("<munder><mi>x</mi><mi>y</mi></munder>", r"\underset{y}{x}"),
        ("<mi>α</mi><mo>&#x2062;</mo><mi>sin</mi><mi>β</mi>", r"\alpha \sin \beta"),
        ("<mi mathvariant=double-struck>R</mi><mo>⊆</mo><mi>ℂ</mi>", r"\mathbb{R} \subseteq \mathbb{C}"),
        ("<mi>αβ</mi>", r"\alpha\beta"),
        ("<mi>αb</mi>", r"\alpha b"),
        ("<mfenced open='[' close=')'><mi>a</mi><mi>b</mi></mfenced>", r"\left[a , b\right)"),
        ("<mtext>if </mtext><mi>x</mi>", r"\text{if } x"),
        (
            "<mtable><mtr><mtd><mi>a</mi></mtd><mtd><mi>b</mi></mtd></mtr><mtr><mtd><mi>c</mi></mtd><mtd><mi>d</mi>"
            "</mtd></mtr></mtable>",
            r"\begin{matrix}a & b \\ c & d\end{matrix}",
        ),
        ("<msup><msup><mi>x</mi><mn>2</mn></msup><mn>3</mn></msup>", "{x^{2}}^{3}"),
        ("<mn>100</mn><mo>%</mo>", r"100 \%"),
    ],
)
def test_mathml_without_source(mathml, latex):
    assert latex_of(HTMLTree.parse(f"<math>{mathml}</math>").body.query_selector("math")) == latex


def test_delimiters_of_the_page_stay():
    page = r"<p>Let \(x^2\) and \[y\] and $z$ be <span class='math notranslate'>\(a+b\)</span> here.</p>"
    assert text_of(page) == r"Let \(x^2\) and \[y\] and $z$ be \(a+b\) here."


def test_pictures_that_are_no_formulas_stay():
    page = (
        '<p>The class of math <img src="class.jpg" alt="Children in school, 1950" class="wp-image-12"> and '
        '<img alt="C:\\temp" src="x.png"> and <img alt="a photo" src="/math/team.jpg"> go on.</p>'
    )
    assert write_formulas(page) == (page, 0)


def test_attributes_that_hold_no_formula_stay():
    page = '<div class="chart" data-math="[1, 2]">A chart of many words</div><p data-entry="12" data-tex="">mathematics</p>'
    assert write_formulas(page) == (page, 0)


def test_delimited():
    assert delimited(r" {\displaystyle {\displaystyle x} } ", False) == "$x$"
    assert delimited(r"{\displaystyle a}+{b}", False) == r"${\displaystyle a}+{b}$"
    assert delimited("$$ x $$", False) == "$$x$$"
    assert delimited(r"\(x\)", False) == "$x$"
    assert delimited("\n ", True) == ""


def test_unclosed_and_broken_markup_loses_no_words():
    for page in (
        "<p>before <math><mi>x</mi> after",
        "<p>before <mjx-container>x after",
        '<p>before <span class="katex">x</p><p>after',
        '<p>before <img class="math" alt="x> after',
        "<p>before <math></math> after",
        '<p>before <span class="MathJax">x</span> after',
        '<p>before <span class="katex">x</span> after',
    ):
        words = text_of(page).split()
        assert "before" in words
        if '"x>' not in page:
            assert "after" in words, page


def test_hostile_markup_ends():
    """Each of these held a pattern for minutes when its length was not bounded."""
    for piece in ("<math>", '<span class="katex">', "<img class='math' alt='", "<span data-tex=", '<mjx-container a="'):
        page = "math katex MathJax data-tex " + piece * 20_000
        assert write_formulas(page)[1] == 0


words = st.text("abcxyz <>&\"'=$\\{}_^", max_size=30)


@settings(deadline=None)
@given(st.lists(st.sampled_from(["<p>", "</p>", "<b>", "<img src=a.png alt='a b'>", "<script>", "</script>"]) | words))
def test_pages_without_formulas_are_returned_as_they_are(parts):
    page = "".join(parts).replace("math", "").replace('alt="', "alt=")
    if "<math" not in page:
        assert write_formulas(page) == (page, 0)


TANGLE = (
    "<math> </math> <mi>x</mi> <mfrac> </mfrac> <msup> <mtable> <mtr> <mtd> <mover> <mjx-container> "
    "</mjx-container> <mjx-math> <mjx-msubsup> <mjx-script> <mjx-mi>y x^2 </script> <script/type=math/tex> "
    "<span/class='katex'> </span> <annotation>"
)


@settings(deadline=None, max_examples=200)
@given(
    st.lists(
        st.sampled_from(TANGLE.split()),
        max_size=30,
    )
)
def test_any_tangle_is_read(parts):
    write_formulas("".join(parts))

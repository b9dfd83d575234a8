"""Extracts the main text of HTML pages: the article, thread or listing, without menus, banners and footers.

Extraction costs more than all other steps of a web pipeline together, so the extractor's speed decides what a crawl
costs, and its recall decides what is left of it. resiliparse takes a fifteenth of trafilatura's time, but on some pages
(4 %) its main-content rule throws away nearly everything, and it knows only the make of pages that its authors saw.
So the default lets a small model choose lines (`main_lines`), from the places where texts stand in the page (`marks`,
`places`); of resiliparse it takes the parser and the rendering. Only pages of which the model itself expects little go
to trafilatura as well; the longer of the two texts is kept.
The engine `resiliparse` keeps that rule, and asks the model only where next to nothing is left.

The trade-off, on 401 pages of 150 kB with human gold text (mean token F1): `lines` .895 on pages its model was not
trained on (.888 without the fallback), and .865 (.854) if it saw no page of the same data set; trafilatura .871, .845
with its setting `fast`; `resiliparse` .859 with the fallback, .829 without. benchmarks/README.md has the times.

An HTML parser is where hostile pages strike. Those whose size, nesting or attributes would hold the parser for long
are told by a scan of the bytes (`html_depth`) and dropped before it sees them; a page that still takes too long is
killed by the engine, which is why this stage is given one page at a time.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from curation.documents import column_type, part_id
from curation.stage import Outcome, Stage
from stages.extract.metadata import Metadata, read_metadata

if TYPE_CHECKING:
    from resiliparse.parse.html import HTMLTree

    from stages.extract.html_depth import PageShape

#: Below this share of main text in all visible text, in characters without spaces, resiliparse's main text alone is not
#: trusted. From 0.1 to 0.3 the F1 of the result stays within .852 and .859.
COLLAPSED = 0.2

#: The model's choice of lines is not trusted if the F1 it expects of it is below this. Pages of which that is true,
#: F1 of the result on unseen pages and on unseen data sets: 0 (none) .888, .854; 0.4 (1 %) .895, .865; 0.5 (2 %) .895,
#: .867; 0.6 (5 %) .891, .868. Such a page costs as much as seven others.
DOUBTFUL = 0.4

#: Forums that a script shows keep their text in <noscript>, which resiliparse's rule may read and the rendering of the
#: whole page does not: then the page shows less than this share of the main text.
SHOWN_BY_SCRIPT = 0.5

#: Pages with more elements are left to resiliparse's rule alone: the model takes some 400 bytes for each.
MODEL_ELEMENTS = 200_000

#: The fallback's text is taken if it is longer by this factor.
REAL_GAIN = 1.1

# trafilatura parses with lxml: from a depth of 255 on it silently returns nothing, and its time grows with the square
# of the number of elements (100,000 links: 25 s).
TRAFILATURA_DEPTH = 240
TRAFILATURA_ELEMENTS = 20_000
TRAFILATURA_LENGTH = 4_000_000  # characters

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffe\uffff]")
_BLANK_LINES = re.compile(r"\n{4,}")
_SPACE = re.compile(r"\s+")
_WORD = re.compile(r"\w+")


class ExtractHtml(Stage, name="extract_html"):
    """Extracts the main text of HTML pages, their title, and what they say of date, licence and language.

    Reads `html`, writes `text`, `title` and `extractor` (what chose the text), removes `html`. Paragraphs, lists and
    table rows are lines of the text; preformatted text keeps its line breaks and indentation.

    Drop reasons: `no_html` (the document has no page), `page_too_large` (over `max_mb`), `page_too_deep` (elements
    nested deeper than `max_depth`), `too_many_attributes` (on one tag), `too_many_elements` (counting those that HTML
    opens again in every paragraph because they were never closed), `no_text` (no main text found). The limits keep
    pages away from the parser that would hold it for seconds or minutes; of ordinary pages the deepest seen had 49
    levels and the longest tag 64 attributes.

    Formulas become LaTeX between dollars; blocks of code lose their line numbers and buttons (modules `formulas`,
    `code`). `format: markdown` also marks headings, items, tables and code.

    `published`, `modified` and `license`, with the places they were found in (`published_source`, `license_source`),
    `html_language` and `site_name` are what the page's metadata says (module `metadata`: which of several is believed,
    and why); null where it says nothing that can be believed. They are hints: nothing is dropped for them.

    `union: true` keeps the texts of two extractors: that of `engine`, and behind it, as a document of its own,
    trafilatura's (resiliparse's, where `engine` is trafilatura). It has the same columns but for `text`, `extractor`
    and `id`, which is xxh128 of the page's id, a NUL and the extractor's name. A second text of the same words is left
    out, and where the engine's own is doubtful only the longer of the two is kept. Published: 71 % more tokens after
    filtering, at equal scores of the models trained on them (arXiv 2602.19548). Which of the two stays is decided after
    the filters: `minhash_dedup: {keep: longest}` drops the shorter of two that are alike and keeps two that are not.
    `dedup_urls` takes the two for one page, and keeps or drops both.

    Source of the fallback rule: measured here, see the head of the module.
    """

    one_at_a_time: ClassVar[bool] = True
    limit_s: ClassVar[float] = 20.0

    engine: Literal["lines", "resiliparse", "trafilatura"] = Field(
        "lines",
        description="`lines`: a model looks at every line, highest F1; `resiliparse`: its main-content rule, "
        "and the model where that keeps next to nothing; `trafilatura`: slowest",
    )
    format: Literal["text", "markdown"] = Field("text", description="`markdown` marks headings, lists, code and tables")
    fallback: Literal["trafilatura", "none"] = Field(
        "trafilatura",
        description="what to try on pages of which the model expects little; `none` also keeps the engine "
        "`resiliparse` from asking the model",
    )
    formulas: bool = Field(
        True, description="write formulas as LaTeX (`$…$`, `$$…$$`) instead of what the layout leaves of them"
    )
    union: bool = Field(False, description="make a second extractor's text of each page a document of its own")
    max_mb: float = Field(10.0, gt=0, description="MiB of HTML; larger pages are dropped")
    max_depth: int = Field(1000, ge=10, le=4000, description="levels of nested elements; deeper pages are dropped")
    max_attributes: int = Field(1000, ge=10, description="attributes of one tag; pages with more are dropped")

    max_elements: int = Field(
        1_000_000, ge=1000, description="elements that the parser will make, at some 400 bytes each"
    )

    def needs(self) -> tuple[str, ...]:
        return ("html",)

    def adds(self) -> dict[str, pa.DataType]:
        return {name: column_type(name) for name in ("text", "title", "extractor", *Metadata._fields)}

    def removes(self) -> tuple[str, ...]:
        return ("html",)

    def setup(self) -> None:
        import logging

        from stages.extract.html_depth import page_shape

        page_shape(np.frombuffer(b"<p>", np.uint8), 10, 10, 10)  # compile it outside of any page's time limit
        if self.engine != "trafilatura":
            by_lines(b"<p>words</p><noscript>for some</noscript>")
        read_metadata(b"<p>")
        if self.union or "trafilatura" in (self.engine, self.fallback):
            import trafilatura

            logging.getLogger(trafilatura.__name__).setLevel(logging.CRITICAL)
            trafilatura.extract("<html><body><p>A first call loads what the others need.</p></body></html>")

    def __call__(self, docs: pa.Table) -> Outcome:
        texts: list[str | None] = []
        titles: list[str | None] = []
        extractors: list[str | None] = []
        metadata: list[Metadata] = []
        dropped: list[str | None] = []
        others: list[tuple[int, str, str]] = []  # row, extractor, text
        reason: str | None
        for row, page in enumerate(docs["html"]):
            shape = self._shape(page)
            found: list[tuple[str, str]] = []
            if isinstance(shape, str):
                reason, title = shape, None
                metadata.append(Metadata())
            else:
                source = page.as_buffer().to_pybytes()
                found, title = self._extract(source, shape)
                reason = None if found else "no_text"
                metadata.append(self._metadata(docs, row, source))
            texts.append(found[0][1] if found else None)
            extractors.append(found[0][0] if found else None)
            others += [(row, *other) for other in found[1:]]
            titles.append(title)
            dropped.append(reason)
        columns: dict[str, Sequence[Any]] = {"text": texts, "title": titles, "extractor": extractors}
        columns |= {name: [getattr(each, name) for each in metadata] for name in Metadata._fields}
        docs = _with_columns(docs.drop_columns(["html"]), columns)
        says = pa.array(dropped, pa.string())
        if not others:
            return Outcome(docs, dropped=says)
        behind, names, second = zip(*others, strict=True)
        added = docs.take(pa.array(behind))
        ids = [part_id(document, name) for document, name in zip(added["id"].to_pylist(), names, strict=True)]
        added = _with_columns(added, {"id": ids, "text": second, "extractor": names})
        return Outcome(docs, dropped=says, added=added, added_behind=np.array(behind))

    def _metadata(self, docs: pa.Table, row: int, source: bytes) -> Metadata:
        """What a page says of itself."""
        url = docs["url"][row].as_py() if "url" in docs.column_names else None
        fetched = docs["date"][row].as_py() if "date" in docs.column_names else None
        said = read_metadata(source, url, fetched.date() if fetched else None)
        for name in ("published_source", "license"):
            if value := getattr(said, name):
                self.metrics.count(f"{name}={value}")
        return said

    def _shape(self, page: pa.LargeStringScalar) -> PageShape | str:
        """The shape of a page, or the reason why it must not be parsed."""
        from stages.extract.html_depth import page_shape

        data = page.as_buffer()
        if data is None or not data.size:
            return "no_html"
        if data.size > self.max_mb * (1 << 20):
            return "page_too_large"
        shape = page_shape(np.frombuffer(data, np.uint8), self.max_depth, self.max_attributes, self.max_elements)
        if shape.depth >= self.max_depth:
            return "page_too_deep"
        if shape.attributes > self.max_attributes:
            return "too_many_attributes"
        if shape.elements > self.max_elements:
            return "too_many_elements"
        return shape

    def _extract(self, source: bytes, shape: PageShape) -> tuple[list[tuple[str, str]], str | None]:
        """The main texts of a page, each with its extractor's name, and its title."""
        from resiliparse.parse.html import HTMLTree

        from stages.extract.code import write_code
        from stages.extract.hints import Hints

        hints = Hints(source)
        html = source.decode("utf-8", "replace")
        as_it_is = html
        if self.formulas:
            from stages.extract.formulas import write_formulas

            html, formulas = write_formulas(html, hints)
            if formulas:
                self.metrics.count("pages_with_formulas")
                self.metrics.count("formulas", formulas)
        html = write_code(html, hints)
        if html is not as_it_is:
            source = html.encode("utf-8", "replace")
        markdown = self.format == "markdown"
        light = (
            shape.depth < TRAFILATURA_DEPTH
            and shape.elements <= TRAFILATURA_ELEMENTS
            and len(html) <= TRAFILATURA_LENGTH
        )
        if self.engine == "trafilatura":
            if light:
                tree = HTMLTree.parse(html)
                texts = [("trafilatura", by_trafilatura(html, markdown=markdown))]
                return distinct([*texts, *([("resiliparse", by_resiliparse(tree))] if self.union else [])]), title_of(
                    tree
                )
            self.metrics.count("not_for_trafilatura")
        extractor, text, doubtful, title = self._first(source, shape, markdown)
        texts = [(extractor, text)]
        doubtful = doubtful and self.fallback == "trafilatura"
        if doubtful:
            self.metrics.count("doubtful")
        if (doubtful or self.union) and not light:
            self.metrics.count("not_for_trafilatura")
        elif doubtful or self.union:
            texts.append(("trafilatura", by_trafilatura(html, fast=not self.union, markdown=markdown)))
            if doubtful:
                longer = _visible(texts[1][1]) > REAL_GAIN * _visible(text)
                if longer:
                    self.metrics.count("fallback_kept")
                texts = [texts[longer]]
        return distinct(texts), title

    def _first(self, source: bytes, shape: PageShape, markdown: bool) -> tuple[str, str, bool, str | None]:
        """The engine's text: what chose it, the text, whether it is doubtful, and the page's title."""
        from resiliparse.parse.html import HTMLTree

        rule = self.engine != "lines"
        large = shape.elements > MODEL_ELEMENTS  # not worth the memory
        if large or (rule and not markdown):
            tree = HTMLTree.parse_from_bytes(source, "utf-8")
            text = by_resiliparse(tree)
            if large or self.fallback == "none" or not _collapsed(text, tree, shape):
                return "resiliparse", text, False, title_of(tree)
            self.metrics.count("collapsed")
        text, doubtful, title = by_lines(source, markdown, rule=rule and markdown)
        return "resiliparse" if rule and markdown else "lines", text, doubtful, title


def title_of(tree: HTMLTree) -> str | None:
    """A page's title in one line."""
    return _SPACE.sub(" ", _CONTROL.sub("", tree.title or "")).strip() or None


def by_lines(source: bytes, markdown: bool = False, rule: bool = False) -> tuple[str, bool, str | None]:
    """The main text of a page (UTF-8) by the model of `main_lines`, whether the model doubts it, and the page's title.

    With `rule` resiliparse's rule chooses instead of the model, unless it keeps next to nothing.
    """
    from resiliparse.parse.html import HTMLTree

    from stages.extract.line_features import CHARS, MAIN, read_lines
    from stages.extract.main_lines import choose, probabilities
    from stages.extract.places import mark
    from stages.extract.render import render, whole_blocks, without_marks

    places = mark(source, for_rule=rule)
    tree = HTMLTree.parse_from_bytes(places.page, "utf-8")
    title = title_of(tree)
    page = reduced_html(tree).encode("utf-8", "replace")
    main, kept, main_chars = None, places.main, 0
    if rule:
        main, kept, main_chars = _by_marks(tree, len(kept))
    lines = read_lines(page, kept, places.features)
    chars = lines.features[:, CHARS]
    shown = chars.sum()
    if main is None and places.unscripted > shown:  # else the rule cannot find twice as much as is shown
        with_names = HTMLTree.parse_from_bytes(mark(source, for_rule=True).page, "utf-8")
        main, _, main_chars = _by_marks(with_names, len(kept))
    if main is not None and shown < SHOWN_BY_SCRIPT * main_chars:
        return without_marks(main), False, title
    if rule and main_chars >= COLLAPSED * shown:
        return render(page, lines, lines.features[:, MAIN] > 0.5, markdown), False, title
    keep, expected = choose(whole_blocks(lines, probabilities(lines)), chars)
    return render(page, lines, keep, markdown), expected < DOUBTFUL, title


def _by_marks(tree: HTMLTree, pieces: int) -> tuple[str, np.ndarray, int]:
    """What resiliparse's rule keeps of a page with marks: the text, the pieces, as a boolean array, and its length."""
    from stages.extract.line_features import kept_pieces

    main = by_resiliparse(tree, bullets=False)
    return main, *kept_pieces(main.encode("utf-8", "replace"), pieces)


def by_resiliparse(tree: HTMLTree, main_content: bool = True, bullets: bool = True) -> str:
    """The main text of a parsed page, or all its visible text. Image descriptions and form fields are left out:
    with them the token F1 falls from .830 to .818 and .822."""
    from resiliparse.extract.html2text import extract_plain_text

    return extract_plain_text(
        tree, preserve_formatting=True, main_content=main_content, alt_texts=False, list_bullets=bullets
    )


def reduced_html(tree: HTMLTree) -> str:
    """All visible text of a parsed page with its headings, paragraphs, lists, links and preformatted text marked."""
    from resiliparse.extract.html2text import extract_plain_text

    return extract_plain_text(tree, preserve_formatting="minimal_html", main_content=False, alt_texts=False, links=True)


def by_trafilatura(html: str, fast: bool = False, markdown: bool = False) -> str:
    """The main text by trafilatura's rules; `fast` leaves out its comparison with two other extractors."""
    import trafilatura

    return trafilatura.extract(html, output_format="markdown" if markdown else "txt", fast=fast) or ""


def clean(text: str) -> str:
    """Text with line feeds for line ends, at most two blank lines on end, no spaces at line ends, and no control
    characters but tabulator and line feed."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = "\n".join([line.rstrip(" \t\xa0") for line in _CONTROL.sub("", text).split("\n")])
    if "\n\n\n\n" in text:
        text = _BLANK_LINES.sub("\n\n\n", text)
    return text.strip("\n").rstrip()


def distinct(texts: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The texts, cleaned, without empty ones and those that have the words of one before."""
    found: dict[str, tuple[str, str]] = {}
    for extractor, text in texts:
        if text := clean(text):
            found.setdefault(" ".join(_WORD.findall(text)) if len(texts) > 1 else "", (extractor, text))
    return list(found.values())


def _with_columns(docs: pa.Table, columns: dict[str, Sequence[Any]]) -> pa.Table:
    """A table with these columns, by their listed types, set or added; one table at the end, as each costs 20 us."""
    arrays: dict[str, Any] = dict(zip(docs.column_names, docs.columns, strict=True))
    for name, values in columns.items():
        kind = column_type(name)
        empty = all(value is None for value in values)
        arrays[name] = pa.nulls(len(values), kind) if empty else pa.array(values, kind)
    return pa.table(arrays)


def _collapsed(text: str, tree: HTMLTree, shape: PageShape) -> bool:
    """Whether a main text is suspiciously small a part of what the page shows."""
    size = _visible(text)
    # The scan's count is a little more than what is shown. It spares most pages the second extraction, a third of
    # the time of the first.
    if size >= COLLAPSED * shape.text:
        return False
    return size < COLLAPSED * _visible(by_resiliparse(tree, main_content=False))


def _visible(text: str) -> int:
    """Characters that are not white space."""
    return len("".join(text.split()))

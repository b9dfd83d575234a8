"""Drops documents by their URL: listed domains and pages, and words in the address that tell adult content.

It is the cheapest filter of a web pipeline and comes first: nothing of a page has to be decompressed or parsed to know
that its domain is on a list. The lists and the rules are datatrove's, as in FineWeb and RefinedWeb; `blocklists.py`
says how they are kept small and fast.

Trade-off: with the default settings the verdict on any URL is datatrove's, flaws included. Its list of single pages
has no schemes, so that no full URL ever equals an entry, and its comparison minds the case of host names.
`normalize: true` mends both.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field, PrivateAttr

from curation.errors import ConfigError
from curation.stage import Filter, reasons

if TYPE_CHECKING:
    from stages.filter.blocklists import Blocklists

_WORD_LISTS = {
    "banned_words": "banned_words.txt",
    "soft_banned_words": "soft_banned_words.txt",
    "banned_subwords": "banned_subwords.txt",
}


class FilterUrls(Filter, name="filter_urls"):
    """Drops documents whose URL is on a blocklist or contains banned words.

    The rules are those of datatrove's URLFilter, after RefinedWeb (arXiv 2306.01116, appendix G.1). Drop reasons, in
    this order:

    - `blocked_domain`: the registered domain (`example.co.uk` of `www.example.co.uk`) is on the list;
    - `blocked_subdomain`: the full host name is on the list;
    - `blocked_url`: the URL is on the list of pages;
    - `banned_word`: a word of the URL is a banned one (words are runs of letters and digits, case matters);
    - `soft_banned_words`: at least `soft_word_threshold` different words are softly banned ones;
    - `banned_subword`: a banned word occurs inside the URL, with everything but letters and digits taken out;
    - `bad_url`: there is no URL, or none with a host (with `bad_urls: drop`).

    The lists come with datatrove: UT1 blacklists of Université Toulouse Capitole (4.6 million domains) and FineWeb's
    word lists. A list given as a path is a text file, one entry a line, `#` starts a comment.
    """

    use_integrated_lists: bool = Field(True, description="use the lists that come with datatrove")
    extra_domains: list[str] | str = Field(
        [], description="more domains or host names to block: a list, or a file's path"
    )
    extra_urls: list[str] | str = Field([], description="more URLs to block: a list, or a file's path")
    banned_words: list[str] | str = Field([], description="more banned words: a list, or a file's path")
    soft_banned_words: list[str] | str = Field([], description="more softly banned words: a list, or a file's path")
    banned_subwords: list[str] | str = Field([], description="more banned parts of words: a list, or a file's path")
    soft_word_threshold: int = Field(2, ge=1, description="so many softly banned words drop the document")
    normalize: bool = Field(
        False,
        description="compare host names in lower case, and pages also without scheme and final slash, "
        "where datatrove does not",
    )
    bad_urls: Literal["keep", "drop"] = Field(
        "keep", description="what becomes of documents without a URL that has a host"
    )

    _lists: Blocklists | None = PrivateAttr(None)
    _extract: Any = PrivateAttr(None)

    def needs(self) -> tuple[str, ...]:
        return ("url",)

    def _paths(self) -> list[str]:
        given = (self.extra_domains, self.extra_urls, self.banned_words, self.soft_banned_words, self.banned_subwords)
        return [value for value in given if isinstance(value, str)]

    def check(self) -> None:
        for path in self._paths():
            if not Path(path).is_file():
                raise ConfigError(f"list '{path}' is not a file; expected a text file, one entry a line")

    def files(self) -> Sequence[str]:
        if not self.use_integrated_lists:
            return self._paths()
        from stages.filter.blocklists import datatrove_archive, datatrove_assets

        own = [datatrove_archive(), *(datatrove_assets() / name for name in _WORD_LISTS.values())]
        return [*map(str, own), *self._paths()]

    def _entries(self, name: str) -> list[str]:
        """The lines a user gave for a list, without comments."""
        value = getattr(self, name)
        lines = Path(value).read_text(encoding="utf-8").splitlines() if isinstance(value, str) else value
        return [line.strip() for line in lines if line.strip() and not line.startswith("#")]

    def _words(self, name: str) -> list[str]:
        from stages.filter.blocklists import datatrove_assets, normalize_word

        lines = self._entries(name)
        if self.use_integrated_lists:
            text = (datatrove_assets() / _WORD_LISTS[name]).read_text(encoding="utf-8")
            lines += [line for line in text.splitlines() if not line.startswith("#")]
        return [word for word in map(normalize_word, lines) if word]

    def setup(self) -> None:
        from tldextract import TLDExtract

        from stages.filter import blocklists

        domains, urls = self._entries("extra_domains"), self._entries("extra_urls")
        if self.normalize:
            domains = [name.lower() for name in domains]
            urls = [blocklists.normalize_url(url) for url in urls]
        listed = blocklists.integrated_lists() if self.use_integrated_lists else (np.zeros(0, np.uint64),) * 2
        self._lists = blocklists.Blocklists(
            domains=listed[0],
            extra_domains=blocklists.hash_entries(domains),
            urls=listed[1],
            extra_urls=blocklists.hash_entries(urls),
            words=blocklists.hash_entries(self._words("banned_words")),
            soft_words=blocklists.hash_entries(self._words("soft_banned_words")),
            subwords=blocklists.subword_automaton(self._words("banned_subwords")),
        )
        # The snapshot of the Public Suffix List inside the package: a list fetched today would make runs differ.
        self._extract = TLDExtract(cache_dir=None, suffix_list_urls=())
        self._extract("http://example.org/")  # reads the list
        self._lists.judge(pa.array(["http://example.org/"]), self.soft_word_threshold, self.normalize)  # compiles

    def __call__(self, docs: pa.Table) -> pa.Array:
        from stages.filter import blocklists as b

        if self._lists is None:
            self.setup()
        assert self._lists is not None
        verdicts = self._lists.judge(docs["url"], self.soft_word_threshold, self.normalize)
        blocked = np.zeros((2, len(verdicts)), bool)
        for row in np.flatnonzero(verdicts & b.DOMAIN):
            url = docs["url"][int(row)].as_py()
            name = self._extract(url.lower() if self.normalize else url)
            if self._lists.has_domain(name.top_domain_under_public_suffix):
                blocked[0, row] = True
            elif self._lists.has_domain(name.fqdn):
                blocked[1, row] = True
        return reasons(
            docs,
            blocked_domain=blocked[0],
            blocked_subdomain=blocked[1],
            blocked_url=(verdicts & b.URL) != 0,
            banned_word=(verdicts & b.WORD) != 0,
            soft_banned_words=(verdicts & b.SOFT_WORDS) != 0,
            banned_subword=(verdicts & b.SUBWORD) != 0,
            bad_url=((verdicts & b.HOSTLESS) != 0) & (self.bad_urls == "drop"),
        )

"""Replaces e-mail addresses, IP addresses and telephone numbers, so that a model cannot learn whose they are.

Nearly all documents hold none of them. RE2 passes over the column, at 100 to 500 MB/s each, tell which may; only those
are searched. E-mail addresses are replaced by RE2 as well, which takes linear time on any text; the patterns that need
look-around or a calculation (is the address public, is the country code assigned) run in Python, on the documents
that the first pass found.

Trade-off: patterns find what is written in the usual way. Names, postal addresses and `someone (at) example.org` stay.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import AddressValueError, IPv4Address, IPv6Address

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from curation.stage import Stage

_LOCAL = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|[01]?[0-9][0-9]?)"

#: RFC 5322 addresses as datatrove finds them, but for the last label, which starts with a letter here: a package with
#: its version, `lodash@4.17.21`, is no address.
EMAIL = (
    rf"\b{_LOCAL}(?:\.{_LOCAL})*"
    rf"@(?:(?:{_LABEL}\.)+[A-Za-z](?:[A-Za-z0-9-]*[A-Za-z0-9])?|\[(?:{_OCTET}\.){{3}}{_OCTET}\])"
)

_IPV4_CANDIDATE = r"[0-9]\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]"
# Where to look closer: Python's `re` is six times as fast with a pattern that starts with a set of characters as with
# one that starts with a look-behind. An address starts where such a row starts, and ends where it ends.
_IPV4_ROW = re.compile(r"[0-9][0-9]{0,2}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}")
# A row of four numbers is an address unless it goes on, or stands after a word for version or section.
_IPV4 = re.compile(rf"(?<![\w.\-])(?<!\d,)({_OCTET}\.){{3}}{_OCTET}(?![\w\-]|\.\d|,\d{{3}}\b)")
# Four small numbers are rather a section or a version (2.6.1.10): in technical text nine of ten, while one address in
# 40 has no number of three digits. Those count after one of these words only.
_ADDRESS_BEFORE = re.compile(
    r"(?:\b(?:ip|ips|ipv4|address|addr|host|server|client|from|gateway|ping)\b\W{0,3}|://|@)\Z", re.IGNORECASE
)
_VERSION_BEFORE = re.compile(
    r"(?:\b(?:v|ver|version|release|build|section|chapter|firmware|update)|§)[.:]?\s?\Z", re.IGNORECASE
)

_IPV6_CANDIDATE = r"[23][0-9A-Fa-f]{3}:[0-9A-Fa-f]{0,4}:"
# Global unicast, 2000::/3. Others are local, or nearly always times, code (`face::add`) and the like.
_IPV6 = re.compile(r"(?<![\w:.])[23][0-9A-Fa-f]{3}(?::[0-9A-Fa-f]{0,4}){2,7}(?![\w:]|\.\d)")


def _is_public_ipv4(address: str) -> bool:
    try:
        return IPv4Address(address).is_global
    except AddressValueError:  # an octet with a leading zero
        return False


def _is_public_ipv6(address: str) -> bool:
    try:
        return IPv6Address(address).is_global
    except AddressValueError:
        return False


class ReplacePii(Stage, name="replace_pii"):
    """Replaces e-mail addresses, public IP addresses and telephone numbers in the text by placeholders.

    Adds `pii`, the number of replacements in the document, and counts `email`, `ip` and `phone` over the corpus.
    An empty string as a placeholder removes what was found; null leaves that kind alone.

    - E-mail addresses: as in datatrove's PIIFormatter (FineWeb, arXiv 2406.17557), except that a domain ends with
      letters.
    - IP addresses: IPv4 as in datatrove, public ones only (Python's `ipaddress.is_global`), but not as part of a
      longer number, nor what reads as a version or section (four numbers below 100, or after a word like `version`);
      IPv6 of the global unicast range 2000::/3.
    - Telephone numbers: international numbers with an assigned country code, national ones in forms that little else
      has, and rows of digits after a word for telephone. Dates, versions, ISBNs, prices and tables stay.

    The default placeholders belong to nobody: example domains (RFC 2606), documentation addresses (RFC 5737, RFC 3849)
    and a number reserved for fiction.
    """

    email: str | None = Field("email@example.com", description="placeholder for e-mail addresses; null leaves them")
    ip: str | None = Field("192.0.2.1", description="placeholder for IPv4 addresses; null leaves all IP addresses")
    ipv6: str = Field("2001:db8::1", description="placeholder for IPv6 addresses")
    phone: str | None = Field("+1 202-555-0100", description="placeholder for telephone numbers; null leaves them")

    def adds(self) -> dict[str, pa.DataType]:
        return {"text": pa.large_string(), "pii": pa.int32()}

    def __call__(self, docs: pa.Table) -> pa.Table:
        text = docs["text"].combine_chunks().cast(pa.large_string())
        found = np.zeros(len(text), np.int32)
        if self.email is not None:
            text, n = self._replace_emails(text, self.email)
            found += self._counted("email", n)
        if self.ip is not None:
            text, v4 = _replace(text, _IPV4_CANDIDATE, self._replace_ipv4)
            text, v6 = _replace(text, _IPV6_CANDIDATE, self._replace_ipv6)
            found += self._counted("ip", v4 + v6)
        if self.phone is not None:
            from stages.rewrite.phone_numbers import CANDIDATE

            text, n = _replace(text, CANDIDATE, self._replace_phones)
            found += self._counted("phone", n)
        self.metrics.count("documents_changed", int((found > 0).sum()))
        for name, column in (("text", text), ("pii", pa.array(found))):
            place = docs.schema.get_field_index(name)
            docs = docs.append_column(name, column) if place < 0 else docs.set_column(place, name, column)
        return docs

    def _counted(self, kind: str, n: np.ndarray) -> np.ndarray:
        self.metrics.count(kind, int(n.sum()))
        return n

    def _replace_emails(self, text: pa.Array, placeholder: str) -> tuple[pa.Array, np.ndarray]:
        counts = np.zeros(len(text), np.int32)
        mask = pc.fill_null(pc.match_substring(text, "@"), False)
        some = text.filter(mask)
        counts[mask.to_numpy(zero_copy_only=False)] = pc.count_substring_regex(some, EMAIL).to_numpy()
        replaced = pc.replace_substring_regex(some, EMAIL, placeholder.replace("\\", r"\\"))
        return pc.replace_with_mask(text, mask, replaced), counts

    def _replace_ipv4(self, text: str) -> tuple[str, int]:
        count = 0

        def replace(match: re.Match[str]) -> str:
            nonlocal count
            if not _IPV4.match(text, match.start()):
                return match.group()
            before = text[max(0, match.start() - 12) : match.start()]
            is_small = all(len(number) < 3 for number in match.group().split("."))
            is_doubtful = (is_small and not _ADDRESS_BEFORE.search(before)) or _VERSION_BEFORE.search(before)
            if is_doubtful or not _is_public_ipv4(match.group()):
                return match.group()
            count += 1
            return self.ip or ""

        return _IPV4_ROW.sub(replace, text), count

    def _replace_ipv6(self, text: str) -> tuple[str, int]:
        count = 0

        def replace(match: re.Match[str]) -> str:
            nonlocal count
            if not _is_public_ipv6(match.group()):
                return match.group()
            count += 1
            return self.ipv6

        return _IPV6.sub(replace, text), count

    def _replace_phones(self, text: str) -> tuple[str, int]:
        from stages.rewrite.phone_numbers import replace_phone_numbers

        return replace_phone_numbers(text, self.phone or "")


def _replace(text: pa.Array, candidate: str, replace: Callable[[str], tuple[str, int]]) -> tuple[pa.Array, np.ndarray]:
    """Apply `replace` to the texts that match the RE2 pattern `candidate`; the new texts, and its counts by text."""
    counts = np.zeros(len(text), np.int32)
    mask = pc.fill_null(pc.match_substring_regex(text, candidate), False)
    rows = np.flatnonzero(mask.to_numpy(zero_copy_only=False))
    if len(rows) == 0:
        return text, counts
    done = [replace(one) for one in text.filter(mask).to_pylist()]
    counts[rows] = [count for _, count in done]
    return pc.replace_with_mask(text, mask, pa.array([new for new, _ in done], text.type)), counts

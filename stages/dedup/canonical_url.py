"""One spelling for all URLs of a page, so that copies of it can be told by their address alone.

A page is linked with tracking parameters, session ids, fragments, with and without `www.`, under http and https. The
rules that undo this are those of RFC 3986 (section 6.2.2 and 6.2.3) and the ones web archives look pages up by (SURT,
as in the Wayback Machine's canonicalizer), written here as one compiled pass over the bytes, a microsecond or two per
URL.

Policy, in the order it is applied:

- white space around the URL goes; http and https are one; another scheme stays as it is, in lower case;
- user name and password go; the host is in lower case, without a final dot, without `www.` or `www2.`; ports 80 and
  443 go;
- in path and query, escapes of unreserved characters are undone (`%7E` is `~`), other escapes are in upper case;
- session ids in the path go (`;jsessionid=...`); slashes at the end of the path go;
- query parameters that only track the visitor go, by name (`utm_source`), and session ids, by name and look of the
  value; empty parameters go; the others are put in alphabetical order;
- the fragment goes, unless it is a page of its own (`#!/page`).

Trade-off: the rules know no site. Two different pages that differ in an ignored parameter only are taken for one; a
site whose address means nothing without its `www.` or its final slash is rare, one that answers under both is not.
Names in other scripts and their Punycode form stay two spellings.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numba import njit

_TRACKING = """
utm_* mtm_* pk_* matomo_* hsa_* oly_* vero_* __hstc __hssc __hsfp _hsenc _hsmi __s _ga _gl _ke
fbclid gclid gclsrc gbraid wbraid dclid msclkid yclid ysclid twclid ttclid igshid igsh li_fat_id mc_cid mc_eid
mkt_tok wickedid rb_clickid s_kwcid ef_id epik irclickid cvid ncid cmpid wt_mc wt_zmc spm scm ref_src ref_url
at_medium at_campaign at_custom1 at_custom2 ga_source ga_medium ga_term ga_content ga_campaign
action_object_map action_type_map action_ref_map fb_action_ids fb_action_types fb_source
phpsessid jsessionid aspsessionid* cfid cftoken oscsid zenid
"""

#: Parameters that tell a visitor's way to a page and not the page; a final * stands for any rest of the name.
TRACKING_PARAMETERS = tuple(_TRACKING.split())

#: Parameters that are session ids if their value looks like one: letters and digits, at least this many.
SESSION_PARAMETERS = ("sid", "s", "session", "sessionid", "session_id", "sess", "ssid", "token_id")
_SESSION_LENGTH = 24

_START, _MULTIPLIER, _SHIFT = np.uint64(0xCBF29CE484222325), np.uint64(0x9E3779B97F4A7C15), np.uint64(29)

#: Queries with more parameters than this keep their order: sorting is quadratic.
_MOST_PARAMETERS = 256


@dataclass(frozen=True)
class Parameters:
    """Names of query parameters as hashes: whole names, beginnings of names, and names of session ids."""

    names: np.ndarray
    prefixes: np.ndarray
    sessions: np.ndarray

    @classmethod
    def of(cls, ignored: Iterable[str], sessions: Iterable[str] = SESSION_PARAMETERS) -> Parameters:
        """From names, in any case; a final * makes one a beginning."""
        names = [name.lower() for name in ignored]
        return cls(
            _hashes(name for name in names if not name.endswith("*")),
            _hashes(name[:-1] for name in names if name.endswith("*")),
            _hashes(name.lower() for name in sessions),
        )


def _hashes(names: Iterable[str]) -> np.ndarray:
    values = set()
    for name in names:
        value = int(_START)
        for byte in name.encode():
            value = (value ^ byte) * int(_MULTIPLIER) & (1 << 64) - 1
            value ^= value >> int(_SHIFT)
        values.add(value)
    return np.array(sorted(values), np.uint64)


@njit(nogil=True, inline="always")
def _contains(hashes, value):  # type: ignore[no-untyped-def]
    place = np.searchsorted(hashes, value)
    return place < len(hashes) and hashes[place] == value


@njit(nogil=True, inline="always")
def _lower(byte):  # type: ignore[no-untyped-def]
    return byte + 32 if 65 <= byte <= 90 else byte


@njit(nogil=True, inline="always")
def _hex(byte):  # type: ignore[no-untyped-def]
    if 48 <= byte <= 57:
        return byte - 48
    byte = _lower(byte)
    return byte - 87 if 97 <= byte <= 102 else -1


@njit(nogil=True, inline="always")
def _is_alphanumeric(byte):  # type: ignore[no-untyped-def]
    return 48 <= byte <= 57 or 65 <= byte <= 90 or 97 <= byte <= 122


@njit(nogil=True, cache=True)
def _unescape(data, first, last, out, at):  # type: ignore[no-untyped-def]
    """Copy with escapes in their normal form (RFC 3986, 6.2.2.1 and 6.2.2.2); the end of what was written."""
    i = first
    while i < last:
        byte = data[i]
        if byte == 37 and i + 2 < last and _hex(data[i + 1]) >= 0 and _hex(data[i + 2]) >= 0:
            value = _hex(data[i + 1]) * 16 + _hex(data[i + 2])
            if _is_alphanumeric(value) or value == 45 or value == 46 or value == 95 or value == 126:
                out[at] = value
                at += 1
            else:
                out[at] = 37
                for j in range(1, 3):
                    digit = data[i + j]
                    out[at + j] = digit - 32 if digit >= 97 else digit
                at += 3
            i += 3
        else:
            out[at] = byte
            at += 1
            i += 1
    return at


@njit(nogil=True, cache=True)
def _is_ignored(data, first, last, names, prefixes, sessions):  # type: ignore[no-untyped-def]
    """Whether a parameter, `name=value` from first to last, is left out."""
    value = _START
    i = first
    while i < last and data[i] != 61:
        value = (value ^ np.uint64(_lower(data[i]))) * _MULTIPLIER
        value ^= value >> _SHIFT
        if _contains(prefixes, value):
            return True
        i += 1
    if _contains(names, value):
        return True
    if last - i - 1 < _SESSION_LENGTH or not _contains(sessions, value):
        return False
    digits = 0
    for j in range(i + 1, last):
        if not _is_alphanumeric(data[j]):
            return False
        digits += data[j] <= 57
    return digits > 0


@njit(nogil=True, cache=True)
def _is_less(data, a, a_last, b, b_last):  # type: ignore[no-untyped-def]
    while a < a_last and b < b_last:
        if data[a] != data[b]:
            return data[a] < data[b]
        a += 1
        b += 1
    return a == a_last and b < b_last


@njit(nogil=True, cache=True)
def _is_session_in_path(data, first, last):  # type: ignore[no-untyped-def]
    """Whether `;jsessionid=` starts here."""
    word = b";jsessionid="
    if last - first < len(word):
        return False
    for i in range(len(word)):  # noqa: SIM110 - numba does not compile any() over a generator
        if _lower(data[first + i]) != word[i]:
            return False
    return True


@njit(nogil=True, cache=True)
def _canonical(data, first, last, out, at, names, prefixes, sessions, scratch, places):  # type: ignore[no-untyped-def]
    """Write one URL; the end of what was written, which is `at` for a URL without a host."""
    begin = at
    while first < last and data[first] <= 32:
        first += 1
    while first < last and data[last - 1] <= 32:
        last -= 1
    # Scheme: letters, digits, + - . up to a colon and two slashes
    i = first
    while i < last and (_is_alphanumeric(data[i]) or data[i] == 43 or data[i] == 45 or data[i] == 46):
        i += 1
    if i + 2 < last and i > first and data[i] == 58 and data[i + 1] == 47 and data[i + 2] == 47:
        length = i - first
        is_web = length in (4, 5)
        for j in range(length):
            is_web = is_web and j < 5 and _lower(data[first + j]) == b"https"[j]
        if not is_web:
            for j in range(first, i + 3):
                out[at] = _lower(data[j])
                at += 1
        first = i + 3
    elif i == first and i + 1 < last and data[i] == 47 and data[i + 1] == 47:
        first += 2
    # Authority
    end = first
    start = first
    while end < last and data[end] != 47 and data[end] != 63 and data[end] != 35:
        if data[end] == 64:
            start = end + 1
        end += 1
    host_end = end
    bracket = start - 1  # a colon inside [::1] starts no port
    for j in range(start, end):
        if data[j] == 93:
            bracket = j
    for j in range(end - 1, bracket, -1):
        if data[j] == 58:
            host_end = j
    port, port_end = host_end + 1, end
    while start < host_end and data[host_end - 1] == 46:
        host_end -= 1
    if start == host_end:
        return begin
    if host_end - start > 6 and _lower(data[start]) == 119 and _lower(data[start + 1]) == 119:
        j = start + 2
        if _lower(data[j]) == 119:
            j += 1
            while j < host_end and 48 <= data[j] <= 57:
                j += 1
            has_dot = False  # in the rest: www.com is a site of its own
            for k in range(j + 1, host_end):
                has_dot |= data[k] == 46
            if has_dot and data[j] == 46 and j - start <= 5:
                start = j + 1
    for j in range(start, host_end):
        out[at] = _lower(data[j])
        at += 1
    is_default = port >= port_end
    if port_end - port == 2:
        is_default = data[port] == 56 and data[port + 1] == 48
    elif port_end - port == 3:
        is_default = data[port] == 52 and data[port + 1] == 52 and data[port + 2] == 51
    if not is_default:
        for j in range(port - 1, port_end):
            out[at] = data[j]
            at += 1
    # Path
    path = at
    i = end
    while i < last and data[i] != 63 and data[i] != 35:
        i += 1
    segment = end
    j = end
    while j < i:
        if data[j] == 59 and _is_session_in_path(data, j, i):
            at = _unescape(data, segment, j, out, at)
            while j < i and data[j] != 47:
                j += 1
            segment = j
        else:
            j += 1
    at = _unescape(data, segment, i, out, at)
    while at > path and out[at - 1] == 47:
        at -= 1
    # Query: normalised parameters side by side in scratch, their places sorted
    if i < last and data[i] == 63:
        i += 1
        count = 0
        to = 0
        while i < last and data[i] != 35:
            j = i
            while j < last and data[j] != 38 and data[j] != 35:
                j += 1
            if j > i:
                written = _unescape(data, i, j, scratch, to)
                if not _is_ignored(scratch, to, written, names, prefixes, sessions):
                    if count == len(places):
                        places = np.concatenate((places, np.zeros_like(places)))
                    k = count
                    if count < _MOST_PARAMETERS:
                        while k > 0 and _is_less(scratch, to, written, places[k - 1, 0], places[k - 1, 1]):
                            places[k] = places[k - 1]
                            k -= 1
                    places[k, 0] = to
                    places[k, 1] = written
                    count += 1
                    to = written
            i = j + 1 if j < last and data[j] == 38 else j
        for k in range(count):
            out[at] = 38 if k else 63
            at += 1
            for j in range(places[k, 0], places[k, 1]):
                out[at] = scratch[j]
                at += 1
    # Fragment
    if i + 1 < last and data[i] == 35 and data[i + 1] == 33:
        for j in range(i, last):
            out[at] = data[j]
            at += 1
    return at


@njit(nogil=True, cache=True)
def _canonical_all(data, starts, names, prefixes, sessions):  # type: ignore[no-untyped-def]
    longest = 0
    for row in range(len(starts) - 1):
        longest = max(longest, starts[row + 1] - starts[row])
    out = np.empty(starts[-1] - starts[0] + 8, np.uint8)
    scratch = np.empty(longest + 8, np.uint8)
    places = np.zeros((_MOST_PARAMETERS, 2), np.int64)
    ends = np.zeros(len(starts), np.int64)
    at = 0
    for row in range(len(starts) - 1):
        at = _canonical(data, starts[row], starts[row + 1], out, at, names, prefixes, sessions, scratch, places)
        ends[row + 1] = at
    return out[:at], ends


def canonical_urls(urls: pa.Array | pa.ChunkedArray, parameters: Parameters) -> pa.Array:
    """The canonical form of each URL of a string array, as large_binary; empty for one that is null or has no host."""
    if isinstance(urls, pa.ChunkedArray):
        urls = urls.combine_chunks()
    urls = pc.fill_null(urls, "").cast(pa.large_string())
    if len(urls) == 0:
        return pa.array([], pa.large_binary())
    _, offsets, data = urls.buffers()
    starts = np.frombuffer(offsets, np.int64)[urls.offset : urls.offset + len(urls) + 1]
    bytes_ = np.frombuffer(data or b"", np.uint8)
    for view in (starts, bytes_):  # numba compiles once more for buffers that happen to be writable
        view.setflags(write=False)
    out, ends = _canonical_all(bytes_, starts, parameters.names, parameters.prefixes, parameters.sessions)
    return pa.Array.from_buffers(pa.large_binary(), len(urls), [None, pa.py_buffer(ends), pa.py_buffer(out)])

"""Blocklists of millions of domains as sorted 64-bit hashes, and the compiled pass that looks URLs up in them.

datatrove ships the UT1 blocklists (4.6 million domains) as an archive of 18 MB. Its own filter unpacks that to 125 MB
of text and reads it into Python sets: 3 s and 0.8 GB in every worker before the first URL. Here a domain is
eight bytes. The sorted hashes, 37 MB, are written once to a cache folder and mapped from there by every worker of a
machine, which share the pages; without a writable cache folder each worker builds them in memory.

Trade-off: a hash can claim a domain that is not on the list. At 64 bits and 4.6 million entries one in 4 * 10^12
lookups does, which is no document in any crawl so far.

A URL is judged in one pass over its bytes. Whether a domain is listed is asked for every suffix of the host at a dot,
since the hash runs from the end of the name and meets them all on the way. Only where one of them is listed is the
Public Suffix List needed, to tell the registered domain from its parents; that is a question for `tldextract`, put
for few URLs.
"""

from __future__ import annotations

import importlib.util
import os
import re
import tarfile
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from numba import njit

#: Part of the cached files' names: change it with the hash function.
_FORMAT = 1

_START, _MULTIPLIER = np.uint64(0xCBF29CE484222325), np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(29)

# What a kernel says of a URL, as bits. A DOMAIN is still to be confirmed with the Public Suffix List.
DOMAIN, URL, WORD, SOFT_WORDS, SUBWORD, HOSTLESS = 1, 2, 4, 8, 16, 32


@njit(nogil=True, inline="always")
def _step(hash_, byte):  # type: ignore[no-untyped-def]
    hash_ = (hash_ ^ np.uint64(byte)) * _MULTIPLIER
    return hash_ ^ (hash_ >> _SHIFT)


@njit(nogil=True, cache=True)
def _hash_lines(data, starts):  # type: ignore[no-untyped-def]
    """Hash of each line, from its last byte to its first, without white space around; 0 for empty and # lines."""
    hashes = np.zeros(len(starts) - 1, np.uint64)
    for row in range(len(hashes)):
        first, last = starts[row], starts[row + 1]
        while first < last and data[first] <= 32:
            first += 1
        while first < last and data[last - 1] <= 32:
            last -= 1
        if first == last or data[first] == 35:
            continue
        value = _START
        for i in range(last - 1, first - 1, -1):
            value = _step(value, data[i])
        hashes[row] = value
    return hashes


def hash_lines(text: bytes) -> np.ndarray:
    """Sorted, distinct uint64 hashes of the lines of a list; empty lines and those that start with # are left out."""
    data = np.frombuffer(text + b"\n", np.uint8)
    starts = np.concatenate([[0], np.flatnonzero(data == 10) + 1])
    hashes = np.unique(_hash_lines(data, starts))
    return hashes[hashes != 0]


def hash_entries(entries: Iterable[str]) -> np.ndarray:
    """Sorted, distinct uint64 hashes of single names."""
    return hash_lines("\n".join(entries).encode("utf-8", "surrogatepass"))


@njit(nogil=True, inline="always")
def _find(hashes, value):  # type: ignore[no-untyped-def]
    """Place of a value in a sorted array, or -1."""
    low, high = 0, len(hashes)
    while low < high:
        middle = (low + high) >> 1
        if hashes[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low if low < len(hashes) and hashes[low] == value else -1


@njit(nogil=True, inline="always")
def _is_alphanumeric(byte):  # type: ignore[no-untyped-def]
    return 48 <= byte <= 57 or 65 <= byte <= 90 or 97 <= byte <= 122


@njit(nogil=True, inline="always")
def _lower(byte):  # type: ignore[no-untyped-def]
    return byte + 32 if 65 <= byte <= 90 else byte


@njit(nogil=True, cache=True)
def _host(data, first, last):  # type: ignore[no-untyped-def]
    """Where the host of a URL starts and ends, as tldextract reads it; a negative start if it holds other than
    plain ASCII or is an address in brackets, which Python code must read. The third value is the end of the scheme."""
    after_scheme = first
    i = first
    while i + 1 < last and not (data[i] == 47 and data[i + 1] == 47):
        i += 1
    if i + 1 < last:
        if i == first:
            after_scheme = first + 2
        elif i - first >= 2 and data[i - 1] == 58:
            is_scheme = True
            for j in range(first, i - 1):
                byte = data[j]
                is_scheme &= _is_alphanumeric(byte) or byte == 43 or byte == 45 or byte == 46
            if is_scheme:
                after_scheme = i + 2
    end = after_scheme
    start = after_scheme
    while end < last and data[end] != 47 and data[end] != 63 and data[end] != 35:
        if data[end] == 64:
            start = end + 1
        end += 1
    for j in range(start, end):
        if data[j] >= 128 or data[j] == 91:
            return -1, -1, after_scheme
        if data[j] == 58:
            end = j
            break
    while start < end and (data[start] <= 32):
        start += 1
    while start < end and (data[end - 1] <= 32):
        end -= 1
    while start < end and data[end - 1] == 46:
        end -= 1
    return start, end, after_scheme


@njit(nogil=True, cache=True)
def _is_listed_url(data, first, last, start, end, normalize, urls, extra_urls):  # type: ignore[no-untyped-def]
    """Whether the bytes first to last are a listed URL, with its host (start to end) in lower case if `normalize`."""
    value = _START
    for i in range(last - 1, first - 1, -1):
        value = _step(value, _lower(data[i]) if normalize and start <= i < end else data[i])
    return _find(urls, value) >= 0 or _find(extra_urls, value) >= 0


@njit(nogil=True, cache=True)
def _judge(  # type: ignore[no-untyped-def]
    data, starts, domains, extra_domains, urls, extra_urls, words, soft_words, threshold, automaton, ends, normalize
):
    verdicts = np.zeros(len(starts) - 1, np.uint8)
    seen = np.full(len(soft_words), -1, np.int64)
    for row in range(len(verdicts)):
        first, last = starts[row], starts[row + 1]
        verdict = 0
        start, end, after_scheme = _host(data, first, last)
        if start < 0:
            verdict |= DOMAIN
        elif start == end:
            verdict |= HOSTLESS
        else:
            value = _START
            for i in range(end - 1, start - 1, -1):
                value = _step(value, _lower(data[i]) if normalize else data[i])
                if (i == start or data[i - 1] == 46) and (
                    _find(domains, value) >= 0 or _find(extra_domains, value) >= 0
                ):
                    verdict |= DOMAIN
                    break
        if _is_listed_url(data, first, last, start, end, False, urls, extra_urls):
            verdict |= URL
        if normalize and not verdict & URL:
            url_last = last
            while url_last > after_scheme and data[url_last - 1] == 47:
                url_last -= 1
            if _is_listed_url(data, after_scheme, last, start, end, True, urls, extra_urls) or (
                url_last < last and _is_listed_url(data, after_scheme, url_last, start, end, True, urls, extra_urls)
            ):
                verdict |= URL
        # Words are runs of letters and digits; subwords are looked for in all of these together, in lower case.
        state = 0
        soft = 0
        word_first = first
        for i in range(first, last + 1):
            byte = data[i] if i < last else 0
            if _is_alphanumeric(byte):
                symbol = byte - 48 if byte <= 57 else _lower(byte) - 87
                state = automaton[state, symbol]
                if ends[state]:
                    verdict |= SUBWORD
            else:
                if i > word_first:
                    value = _START
                    for j in range(i - 1, word_first - 1, -1):
                        value = _step(value, data[j])
                    if _find(words, value) >= 0:
                        verdict |= WORD
                    place = _find(soft_words, value)
                    if place >= 0 and seen[place] != row:
                        seen[place] = row
                        soft += 1
                word_first = i + 1
        if soft >= threshold:
            verdict |= SOFT_WORDS
        verdicts[row] = verdict
    return verdicts


def subword_automaton(subwords: Iterable[str]) -> tuple[np.ndarray, np.ndarray]:
    """Aho-Corasick automaton (1975) of words of [a-z0-9], as a table: (states, 36) next states, and whether one ends.

    Symbols are 0 to 9, then a to z. State 0 is the start.
    """
    table, ends = [[-1] * 36], [False]
    for word in sorted(set(subwords)):
        state = 0
        for character in word:
            symbol = int(character, 36)
            if table[state][symbol] < 0:
                table[state][symbol] = len(table)
                table.append([-1] * 36)
                ends.append(False)
            state = table[state][symbol]
        ends[state] = True
    failure = [0] * len(table)
    queue = [0]
    for state in queue:
        for symbol in range(36):
            after, fallback = table[state][symbol], table[failure[state]][symbol] if state else 0
            if after < 0:
                table[state][symbol] = fallback
            else:
                failure[after] = fallback
                ends[after] |= ends[fallback]
                queue.append(after)
    return np.array(table, np.int32), np.array(ends, bool)


def normalize_word(line: str) -> str:
    """A line of a word list as it is compared: letters and digits, lower case."""
    return re.sub(r"[^a-zA-Z0-9]+", "", line).lower()


def normalize_url(url: str) -> str:
    """A URL as datatrove's list of pages writes it: no scheme, host in lower case, no final slash."""
    rest = re.sub(r"^(?:[a-zA-Z0-9+.-]+:)?//", "", url).rstrip("/")
    host = re.match(r"[^/?#]*", rest)
    return rest if host is None else host.group().lower() + rest[host.end() :]


def datatrove_assets() -> Path:
    """The folder of datatrove's lists, found without importing datatrove."""
    spec = importlib.util.find_spec("datatrove")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError("datatrove is not installed")
    return Path(next(iter(spec.submodule_search_locations))) / "assets"


def datatrove_archive() -> Path:
    """The archive of `domains` and `urls` in datatrove's package."""
    found = sorted(datatrove_assets().glob("url_filterblacklists*.tar.gz"))
    if not found:
        raise FileNotFoundError(f"no url_filterblacklists*.tar.gz in {datatrove_assets()}")
    return found[-1]


def cache_folder() -> Path:
    """Where the hashes are kept between runs: `curation` in the user's cache folder ($XDG_CACHE_HOME)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "curation" / "blocklists"


def integrated_lists(folder: Path | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of datatrove's `domains` and `urls`: two sorted uint64 arrays.

    They are mapped from `folder` (default: `cache_folder()`) if a file made from the same archive is there, else made
    (2 s of CPU) and put there if that is possible.
    """
    archive = datatrove_archive()
    version = f"{xxhash.xxh3_64_hexdigest(archive.read_bytes())}-{_FORMAT}"
    names = ("domains", "urls")
    paths = [(folder or cache_folder()) / f"{name}-{version}.npy" for name in names]
    try:
        cached = [np.load(path, mmap_mode="r") for path in paths]
        if all(array.dtype == np.uint64 and array.ndim == 1 and len(array) for array in cached):
            return np.asarray(cached[0]), np.asarray(cached[1])
    except (OSError, ValueError, EOFError):  # not there, or cut off by a full disk
        pass
    with tarfile.open(archive, "r:gz") as tar:
        content = {member.name: tar.extractfile(member) for member in tar if member.name in names}
        arrays = []
        for name in names:
            file = content.get(name)
            if file is None:
                raise FileNotFoundError(f"no list '{name}' in {archive}")
            arrays.append(hash_lines(file.read()))
    for array, path in zip(arrays, paths, strict=True):
        _keep(array, path)
    return arrays[0], arrays[1]


def _keep(array: np.ndarray, path: Path) -> None:
    """Write aside, then move in place: workers that start together each see no file or a whole one."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, aside = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
        try:
            with os.fdopen(descriptor, "wb") as file:
                np.save(file, array)
            os.replace(aside, path)
        except OSError:
            os.unlink(aside)
    except OSError:
        return  # a cache that cannot be written is no error: the next worker makes the hashes again


@dataclass(frozen=True)
class Blocklists:
    """Everything a URL is looked up in; the arrays of names are sorted uint64 hashes."""

    domains: np.ndarray
    extra_domains: np.ndarray
    urls: np.ndarray
    extra_urls: np.ndarray
    words: np.ndarray
    soft_words: np.ndarray
    subwords: tuple[np.ndarray, np.ndarray]

    def judge(self, urls: pa.Array | pa.ChunkedArray, soft_word_threshold: int, normalize: bool) -> np.ndarray:
        """A uint8 of the bits DOMAIN ... HOSTLESS for each URL of a string array; null counts as empty."""
        if isinstance(urls, pa.ChunkedArray):
            urls = urls.combine_chunks()
        urls = pc.fill_null(urls, "").cast(pa.large_string())
        _, offsets, data = urls.buffers()
        if len(urls) == 0:
            return np.zeros(0, np.uint8)
        starts = np.frombuffer(offsets, np.int64)[urls.offset : urls.offset + len(urls) + 1]
        bytes_ = np.frombuffer(data or b"", np.uint8)
        for view in (starts, bytes_, self.domains, self.urls):  # numba compiles once more for writable arrays
            view.setflags(write=False)
        return _judge(
            bytes_,
            starts,
            self.domains,
            self.extra_domains,
            self.urls,
            self.extra_urls,
            self.words,
            self.soft_words,
            soft_word_threshold,
            *self.subwords,
            normalize,
        )

    def has_domain(self, name: str) -> bool:
        """Whether a domain is listed. One with blanks around it is not: hashing would take them off, as of an entry."""
        if not name or name != name.strip():
            return False
        value = hash_entries([name])
        return bool(np.isin(value, self.extra_domains).any()) or self._listed(value)

    def _listed(self, value: np.ndarray) -> bool:
        place = np.searchsorted(self.domains, value)
        return bool(len(value) and place[0] < len(self.domains) and self.domains[place[0]] == value[0])

"""dedup_urls: which addresses are one page, which document stays, and that nothing depends on how the corpus is cut."""

import re
from datetime import UTC, datetime
from urllib.parse import unquote_to_bytes, urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.dedup.canonical_url import TRACKING_PARAMETERS, Parameters, canonical_urls
from stages.dedup.url import DedupUrls

PARAMETERS = Parameters.of(TRACKING_PARAMETERS)


def canonical(*urls):
    return canonical_urls(pa.array(urls, pa.string()), PARAMETERS).to_pylist()


@pytest.mark.parametrize(
    "urls",
    [
        [
            "http://example.com",
            "https://example.com/",
            "HTTP://EXAMPLE.COM/",
            "http://www.example.com:80",
            "//example.com",
        ],
        ["http://example.com/a", "http://example.com/a/", "http://example.com./a#part", "https://example.com:443/a?"],
        [
            "http://example.com/a",
            "http://example.com/a?utm_source=x&utm_medium=y",
            "http://example.com/a?fbclid=Iw_0-A",
        ],
        ["http://example.com/?a=1&b=2", "http://example.com/?b=2&a=1", "http://example.com?b=2&&gclid=x&a=1&"],
        [
            "http://example.com/~me/%C3%A9",
            "http://example.com/%7Eme/%c3%a9",
            " http://user:pw@example.com/%7eme/%C3%a9\n",
        ],
        [
            "http://example.com/a",
            "http://example.com/a;jsessionid=0A1B",
            "http://example.com/a;JSESSIONID=x.y?PHPSESSID=1",
        ],
        ["http://example.com/a", "http://example.com/a?sid=0123456789abcdef0123456789abcdef"],
        ["http://www2.example.com/x", "http://example.com/x"],
        ["http://bücher.example/ä", "http://www.bücher.example/ä"],
    ],
)
def test_addresses_of_one_page(urls):
    assert len(set(canonical(*urls))) == 1


@pytest.mark.parametrize(
    "urls",
    [
        ["http://example.com/a", "http://example.com/A", "http://example.com/b", "http://m.example.com/a"],
        ["http://example.com/", "http://example.com:8080/", "ftp://example.com/", "http://www.com/", "http://com/"],
        ["http://example.com/?id=1", "http://example.com/?id=2", "http://example.com/?id", "http://example.com/?ID=1"],
        ["http://example.com/#!/a", "http://example.com/#!/b", "http://example.com/"],
        ["http://example.com/a%2Fb", "http://example.com/a/b"],
        ["http://example.com/a%26b=1", "http://example.com/a&b=1"],
        ["http://example.com/?s=apples", "http://example.com/?s=pears", "http://example.com/?sid=1234"],
        ["http://example.com/?s=internationalizationandlocalization", "http://example.com/"],
        ["http://example.com/?a=1&a=2", "http://example.com/?a=2", "http://example.com/?a=1"],
        ["http://[::1]/", "http://[::2]/", "http://[::1]:8080/"],
    ],
)
def test_addresses_of_different_pages(urls):
    assert len(set(canonical(*urls))) == len(urls)


def test_no_address():
    assert canonical(None, "", " ", "http://", "http:///x", "https://:80/", "/", "?a=b") == [b""] * 8


def oracle(url):
    """The policy again, with the standard library and regular expressions; for URLs whose host is `[a-z0-9.:]+`."""
    url = url.strip("".join(map(chr, range(33))))
    parts = urlsplit(url)
    host = re.sub(r":(80|443)?$", "", parts.netloc.rpartition("@")[2].lower())
    host = re.sub(r"\.(?=$|:)", "", host)
    host = re.sub(r"^www\d{0,2}\.(?=[^:]*\.)", "", host)

    def escapes(text):
        def one(match):
            byte = unquote_to_bytes(match.group())
            return byte if re.fullmatch(rb"[A-Za-z0-9._~-]", byte) else match.group().upper().encode()

        return b"".join(one(m) if m.group(0)[0] == "%" and len(m.group(0)) == 3 else m.group(0).encode()
                        for m in re.finditer(r"%[0-9a-fA-F]{2}|(?s:.)", text))  # fmt: skip

    path = escapes(re.sub(r"(?i);jsessionid=[^/]*", "", parts.path)).rstrip(b"/")
    query = []
    for pair in filter(None, map(escapes, parts.query.split("&"))):
        name, _, value = pair.partition(b"=")
        name = name.lower().decode()
        tracks = any(name.startswith(t[:-1]) if t.endswith("*") else name == t for t in TRACKING_PARAMETERS)
        session = name in ("sid", "s", "session") and re.fullmatch(rb"(?=.*\d)[A-Za-z0-9]{24,}", value)
        if not tracks and not session:
            query.append(pair)
    fragment = f"#{parts.fragment}" if parts.fragment.startswith("!") else ""
    return host.encode() + path + (b"?" if query else b"") + b"&".join(sorted(query)) + fragment.encode()


PIECES = [
    "/",
    "a",
    "B",
    ";jsessionid=1",
    ";x",
    "%41",
    "%2f",
    "%e4%BD",
    "%",
    "%4",
    "é",
    "..",
    "~",
    "=",
    "-",
    ":",
    "@",
    "!",
]
NAMES = ["a", "b", "A", "utm_id", "UTM_x", "utm", "gclid", "gclidx", "sid", "s", "%75tm_source", "", "aspsessionidQX"]
VALUES = ["", "1", "x=y", "%7e", "0123456789abcdef01234567", "0123456789abcdef0123456", "a" * 30, "é", "?", "/"]
URLS = st.builds(
    "{}://{}{}{}{}{}{}".format,
    st.sampled_from(["http", "https", "HTTP"]),
    st.sampled_from(["", "u@", "u:p@", "a@b@"]),
    st.sampled_from(
        ["example.com", "WWW.Example.com", "www.com", "www2.a.b", "wwww.a.b", "www123.a.b", "1.2.3.4", "x."]
    ),
    st.sampled_from(["", ":", ":80", ":443", ":8080", ":8", ":44"]),
    st.lists(st.sampled_from(PIECES), max_size=6).map(lambda p: "/" + "".join(p) if p else ""),
    st.lists(st.builds("{}={}".format, st.sampled_from(NAMES), st.sampled_from(VALUES)), max_size=6).map(
        lambda q: "?" + "&".join(q) if q else ""
    ),
    st.sampled_from(["", "#", "#top", "#!", "#!/a#b", "#?a=b"]),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.one_of(st.none(), URLS), max_size=8), st.integers(0, 3))
def test_canonical_form_is_that_of_the_policy_written_with_the_standard_library(urls, start):
    array = pa.array(urls, pa.string()).slice(start)
    assert canonical_urls(array, PARAMETERS).to_pylist() == [oracle(url) if url else b"" for url in urls[start:]]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text(st.sampled_from("htps:/w.aA%2f?&=#![]@; é\0"), max_size=30), max_size=5))
def test_any_text_is_read_within_bounds_and_its_form_is_stable(texts):
    alone = [canonical(text)[0] for text in texts]
    assert canonical(*texts) == alone
    assert all(len(form) <= len(text.encode()) for form, text in zip(alone, texts, strict=True))


def shards(documents):
    day = datetime(2025, 1, 1, tzinfo=UTC)
    pages = [
        [("http://a.org/1", day.replace(month=3)), ("http://b.org", None), ("https://www.a.org/1?utm_id=2", day)],
        [(None, day), ("http://a.org/1/", day.replace(month=5)), (None, day), ("http://c.org/?x", day)],
        [],
        [("http://b.org/#x", day), ("http://a.org/1#top", day.replace(month=5)), ("http://b.org/", None)],
    ]
    return [
        documents(
            ["text"] * len(shard),
            id=[f"{s}-{i}" for i in range(len(shard))],
            url=[url for url, _ in shard],
            date=[date for _, date in shard],
            file=[f"{s}.warc"] * len(shard),
        )
        for s, shard in enumerate(pages)
    ]


def told(outcomes):
    pairs = [list(zip(o.dropped.to_pylist(), o.detail.to_pylist(), strict=True)) for o in outcomes]
    assert all((reason is None) == (detail is None) for shard in pairs for reason, detail in shard)
    return [[detail for _, detail in shard] for shard in pairs]


@pytest.mark.parametrize("batch_rows", [1, 2, 100])
@pytest.mark.parametrize("partitions", [1, 64])
def test_first_or_newest_stays(documents, run_barrier, batch_rows, partitions):
    full = [shard for shard in shards(documents) if shard.num_rows]
    scrambled = np.random.default_rng(batch_rows)
    first, _ = run_barrier(DedupUrls(shuffle_partitions=partitions), full, batch_rows=batch_rows, shuffle=scrambled)
    assert told(first) == [
        [None, None, "kept=0-0"],
        [None, "kept=0-0", None, None],
        ["kept=0-1", "kept=0-0", "kept=0-1"],
    ]
    assert {reason for o in first for reason in o.dropped.to_pylist()} == {None, "duplicate_url"}
    stage = DedupUrls(keep="newest", shuffle_partitions=partitions)
    newest, _ = run_barrier(stage, full, batch_rows=batch_rows, shuffle=scrambled)
    assert told(newest) == [
        ["kept=1-1", "kept=3-0", "kept=1-1"],
        [None, None, None, None],
        [None, "kept=1-1", "kept=3-0"],
    ]
    assert stage.metrics.counters["without_url"] == 2


def test_more_parameters_to_ignore(documents, run_barrier):
    docs = documents(
        ["t"] * 3, url=["http://a.org/?page=1", "http://a.org/?page=1&Ref=x", "http://a.org/?page=1&my_x=y"]
    )
    assert run_barrier(DedupUrls(), [docs])[0][0].dropped.to_pylist() == [None] * 3
    stage = DedupUrls(ignore_parameters=["ref", "my_*"])
    assert run_barrier(stage, [docs])[0][0].dropped.to_pylist() == [None, "duplicate_url", "duplicate_url"]


def test_the_table_of_duplicates_and_the_counts(documents, run_barrier):
    full = [shard for shard in shards(documents) if shard.num_rows]
    outcomes, _ = run_barrier(DedupUrls(keep="newest"), full)
    rows = [row for o in outcomes for row in o.outputs["duplicates"].to_pylist()]
    assert {row["id"]: (row["kept_id"], row["cluster"]) for row in rows} == {
        "0-0": ("1-1", "0-0"),
        "0-1": ("3-0", "0-1"),
        "0-2": ("1-1", "0-0"),
        "3-1": ("1-1", "0-0"),
        "3-2": ("3-0", "0-1"),
    }
    assert (rows[0]["url"], rows[0]["kept_url"]) == ("http://a.org/1", "http://a.org/1/")
    assert {(row["kind"], row["jaccard"]) for row in rows} == {("url", None)}
    stays = [o.docs.filter(pc.is_null(o.dropped)) for o in outcomes]
    counts = {i: n for t in stays for i, n in zip(t["id"].to_pylist(), t["duplicates"].to_pylist(), strict=True)}
    assert counts == {"1-0": 1, "1-1": 4, "1-2": 1, "1-3": 1, "3-0": 3}
    again, _ = run_barrier(DedupUrls(), stays[1:])
    assert [o.docs["duplicates"].to_pylist() for o in again] == [[1, 4, 1, 1], [3]]


@pytest.mark.parametrize("batch_rows", [1, 100])
def test_documents_of_one_record_stay_or_go_together(documents, run_barrier, batch_rows):
    """As `extract_html` with `union` makes them: two texts of a page, under its address."""

    def crawl(name, day):
        return documents(
            ["engine", "other", "alone"],
            id=[f"{name}-page", f"{name}-part", f"{name}-alone"],
            url=["http://a.org/", "http://a.org/", "http://b.org/"],
            file=[name] * 3,
            position=[0, 0, 70],
            date=[datetime(2025, 1, day, tzinfo=UTC)] * 3,
        )

    full = [crawl("old", 1), crawl("new", 2)]
    first, _ = run_barrier(DedupUrls(), full, batch_rows=batch_rows)
    assert told(first) == [[None] * 3, ["kept=old-page", "kept=old-page", "kept=old-alone"]]
    newest, _ = run_barrier(DedupUrls(keep="newest"), full, batch_rows=batch_rows)
    assert told(newest) == [["kept=new-page", "kept=new-page", "kept=new-alone"], [None] * 3]


def test_documents_without_a_position_are_not_taken_for_one_record(documents, run_barrier):
    docs = documents(["a", "b"], url=["http://a.org/"] * 2, position=[None, None])
    for batch_rows in (1, 2):
        assert run_barrier(DedupUrls(), [docs], batch_rows=batch_rows)[0][0].dropped.null_count == 1

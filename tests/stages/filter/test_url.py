"""filter_urls: datatrove's URLFilter is the oracle, on URLs made from its own lists and on malformed ones."""

import random
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from datatrove.data import Document
from datatrove.pipeline.filters import url_filter
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tldextract import TLDExtract

from curation.errors import ConfigError
from stages.filter import blocklists
from stages.filter.url import FilterUrls

REASONS = {
    "domain": "blocked_domain",
    "subdomain": "blocked_subdomain",
    "url": "blocked_url",
    "hard_blacklisted": "banned_word",
    "soft_blacklisted": "soft_banned_words",
    "blacklisted_subword": "banned_subword",
}


@pytest.fixture(scope="module")
def lists():
    """datatrove's domains and urls, as string arrays."""
    with tarfile.open(blocklists.datatrove_archive()) as tar:
        files = {name: tar.extractfile(name).read().decode() for name in ("domains", "urls")}
    lines = {name: pc.split_pattern(pa.array([text], pa.large_string()), "\n").values for name, text in files.items()}
    return {name: values.filter(pc.not_equal(values, "")) for name, values in lines.items()}


pytestmark = pytest.mark.filterwarnings("ignore:The 'registered_domain'")


def oracle(**arguments):
    peer = url_filter.URLFilter(**arguments)
    peer.tldextractor = TLDExtract(cache_dir=None, suffix_list_urls=())  # the packaged list: tests need no network
    return peer


def peer_verdict(peer, url):
    verdict = peer.filter(Document(text="", id="", metadata={"url": url}))
    return None if verdict is True else REASONS[verdict[1]]


@pytest.fixture(scope="module")
def peer(lists, urls):
    """datatrove's filter with all its lists, of 4.6 million domains only those that it will ask for."""
    peer = oracle(use_integrated_lists=False)
    names = [peer.tldextractor(url) for url in urls]
    asked = pa.array({n for name in names for n in (name.top_domain_under_public_suffix, name.fqdn)}, pa.large_string())
    peer.block_listed_domains = set(asked.filter(pc.is_in(asked, lists["domains"])).to_pylist())
    peer.block_listed_url = set(lists["urls"].to_pylist())
    for name in ("banned_words", "soft_banned_words", "banned_subwords"):
        setattr(peer, name, url_filter.get_list(url_filter.ASSETS_PATH, f"{name}.txt", set()))
    for i, word in enumerate(sorted(peer.banned_subwords)):
        peer.banned_subwords_automaton.add_word(word, i)
    peer.banned_subwords_automaton.make_automaton()
    return peer


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        stage = FilterUrls()
        stage.check()
        stage.setup()
        yield stage


SHAPES = [
    "https://{}/",
    "http://www.{}/a/b.html?c=d#e",
    "https://sub.{}",
    "http://a.b.c.{}:8080/x",
    "http://user:pass@{}/",
    "http://user@evil.example@{}/",
    "//{}/x",
    "{}",
    "{}/path",
    "HTTP://{}.",
    "ftp+x://{}?q=//example.org",
    "http:/{}/",
    "http://example.org/{}",
    "http://example.org/?u=http://{}/",
    "http://{}@example.org/",
    "http://x{}/",
    "http://-{}/",
    " http://{} ",
    "http:// {} /",
    "mailto:someone@{}",
    "http://{}\uff0e/",
    "http://é.{}/",
    "http://{}:/",
    "javascript://{}",
]

MISCELLANEOUS = [
    "https://en.wikipedia.org/wiki/Language_model",
    "https://www.bbc.co.uk/news/uk-12345",
    "http://bücher.example/",
    "http://xn--bcher-kva.example/",
    "http://例え。テスト/",
    "https://россия.рф/страница",
    "http://192.168.0.1/admin",
    "http://8.8.8.8:53",
    "http://[2001:db8::1]:80/x",
    "http://[::1",
    "http://[not an address]/",
    "http://localhost:8888/tree",
    "http://",
    "http:///path",
    "//",
    "/",
    ".",
    "...",
    "http://../",
    "http://a..com/",
    "http://.com",
    "http://com",
    "com",
    "???",
    "#",
    "@",
    "http://@/",
    "http://:80/",
    "data:text/html,<b>x</b>",
    "about:blank",
    "http://example.org/%70%6f%72%6e",
    "http://example.org/\x00\x1f\x85",
    "\x1chttp://example.org",
    "http://example.org/" + "a" * 5000,
    "https://example.org/sex/anus/story",  # two softly banned words
    "https://example.org/sex/sex/story",
    "https://example.org/Sex/Anus/story",
    "https://example.org/xxx",
    "https://example.org/XXX",
    "https://example.org/x-x-x",
    "https://example.org/big-tits",
    "https://middlesex.example/sussex",
    "xxx",
    "http://xxx.example",
]


@pytest.fixture(scope="module")
def urls(lists):
    chosen = random.Random(7)
    sample = {name: values.take(chosen.sample(range(len(values)), 60)).to_pylist() for name, values in lists.items()}
    domains = [*sample["domains"], "porn", "com", "co.uk", "example.org"]
    domains += [name.upper() for name in domains[:5]] + [name.title() for name in domains[5:10]]
    made = [shape.format(name) for name in domains for shape in chosen.sample(SHAPES, 12)]
    listed = [shape.format(url) for url in sample["urls"] for shape in ("{}", "http://{}", "{}/")]
    words = [line.strip() for line in (blocklists.datatrove_assets() / "banned_words.txt").open(encoding="utf-8")]
    spoken = [shape.format(word) for word in words for shape in ("http://example.org/{}/1.html", "http://e.org/a{}b")]
    return made + listed + spoken + MISCELLANEOUS


def test_verdicts_are_those_of_datatrove(stage, peer, documents, urls):
    expected = [peer_verdict(peer, url) for url in urls]
    assert set(expected) >= {None, *REASONS.values()}, "the URLs reach every rule"
    found = stage(documents(["text"] * len(urls), url=urls)).to_pylist()
    differing = [(u, f, e) for u, f, e in zip(urls, found, expected, strict=True) if f != e]
    assert differing == []


HOSTS = ["bad.example", "a.bad.co.uk", "sub.host.bad.org", "BAD.com", "bad.com", "good.net", "bad"]
OWN_LISTS = {
    "use_integrated_lists": False,
    "extra_domains": ["bad.example", "a.bad.co.uk", "host.bad.org", "bad.com"],
    "extra_urls": ["http://good.net/zz"],
    "banned_words": ["Nasty-Word", "zz"],
    "soft_banned_words": ["s1", "s2", "s3"],
    "banned_subwords": ["ab c", "bca"],
}
PIECES = ["http://", "//", "/", ":", "@", "?", "#", ".", "[", "]", " ", "www.", "s1", "s2", "-", "nastyword", "zz"]
PIECES += ["ab", "c", "A", "é", "\uff0e", "8.8.8.8", "co.uk", *HOSTS]


@pytest.fixture(scope="module")
def stage_and_peer_with_own_lists():
    return FilterUrls(**OWN_LISTS), oracle(**OWN_LISTS)


@settings(max_examples=500, deadline=None)
@example(urls=["www. bad.com\uff0e"])  # its domain is " bad.com"
@given(urls=st.lists(st.lists(st.sampled_from(PIECES), max_size=9).map("".join).filter(bool), max_size=20))
def test_any_url_gets_the_verdict_of_datatrove(stage_and_peer_with_own_lists, urls):
    stage, peer = stage_and_peer_with_own_lists
    assert stage(pa.table({"url": pa.array(urls, pa.string())})).to_pylist() == [peer_verdict(peer, u) for u in urls]


def test_documents_without_url(documents):
    urls = [None, "", "http://", "http://example.org/", "http://[::1]/"]
    docs = documents(["text"] * len(urls), url=urls)
    assert FilterUrls(use_integrated_lists=False)(docs).to_pylist() == [None] * 5
    assert FilterUrls(use_integrated_lists=False, bad_urls="drop")(docs).to_pylist() == ["bad_url"] * 3 + [None] * 2
    assert FilterUrls(use_integrated_lists=False)(docs.slice(0, 0)).to_pylist() == []


def test_same_verdicts_for_any_batch_split(stage, documents, urls):
    docs = documents(["text"] * len(urls), url=urls)
    whole = stage(docs).to_pylist()
    parts = [stage(docs.slice(i, 37)).to_pylist() for i in range(0, docs.num_rows, 37)]
    assert [verdict for part in parts for verdict in part] == whole


def test_normalized_comparison(stage, documents, lists):
    page = lists["urls"][-1].as_py()
    urls = [
        "http://WWW.Blocked.Com/x",
        f"https://{page}",
        f"http://{page.upper()}",
        f"https://{page}/",
        "http://ok.org",
    ]
    docs = documents(["text"] * len(urls), url=urls)
    config = {"extra_domains": ["Blocked.com"], "extra_urls": ["HTTP://Ok.org/"]}
    assert FilterUrls(**config)(docs).to_pylist() == [None] * 5
    expected = ["blocked_domain", "blocked_url", None, "blocked_url", "blocked_url"]
    assert FilterUrls(**config, normalize=True)(docs).to_pylist() == expected


def test_lists_from_files(tmp_path, documents):
    path = tmp_path / "domains.txt"
    path.write_text("# my list\n\nblocked.net\r\n  other.net  \n", encoding="utf-8")
    stage = FilterUrls(use_integrated_lists=False, extra_domains=str(path))
    stage.check()
    assert stage.files() == [str(path)]
    docs = documents(["text"] * 3, url=["http://blocked.net/", "http://a.other.net", "http://third.net"])
    assert stage(docs).to_pylist() == ["blocked_domain", "blocked_domain", None]
    with pytest.raises(ConfigError, match="missing"):
        FilterUrls(extra_urls=str(tmp_path / "missing.txt")).check()


def test_no_two_of_the_names_share_a_hash(stage, lists):
    assert len(stage._lists.domains) == len(pc.unique(lists["domains"]))
    assert len(stage._lists.urls) == len(pc.unique(lists["urls"]))


def test_cached_hashes_survive_damage_and_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    archive = tmp_path / "url_filterblacklists.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for name, lines in {"domains": "b.com\na.com\n", "urls": "a.com/x\n"}.items():
            (tmp_path / name).write_text(lines)
            tar.add(tmp_path / name, name)
    monkeypatch.setattr(blocklists, "datatrove_archive", lambda: archive)
    expected = np.sort(blocklists.hash_entries(["a.com", "b.com"]))
    for _ in range(2):
        domains, urls = blocklists.integrated_lists(tmp_path / "cache")
        assert np.array_equal(domains, expected) and np.array_equal(urls, blocklists.hash_entries(["a.com/x"]))
    assert isinstance(domains.base, np.memmap)
    del domains, urls
    for path in (tmp_path / "cache").iterdir():
        path.write_bytes(path.read_bytes()[:130])
    assert np.array_equal(blocklists.integrated_lists(tmp_path / "cache")[0], expected)
    (tmp_path / "file").write_text("")
    assert np.array_equal(blocklists.integrated_lists(tmp_path / "file" / "cache")[0], expected)

"""An index asked, shrunk and damaged: queries, take-down, compaction, and damage found."""

import json
import random
import re

import numpy as np
import pyarrow.parquet as pq
import pytest

from curation.corpus import Corpus
from curation.errors import ConfigError, CurationError
from stages.dedup.index import Index


def shingles(text):
    words = re.findall(r"\w+", re.sub(r"\d", "0", text.lower()))
    return {tuple(words[i : i + 5]) for i in range(len(words) - 4)}


def test_a_query_finds_what_resembles_a_text(three, texts):
    kept = {}
    for name, part in zip("ab", (texts[:120], texts[120:200]), strict=True):
        three.add(name)
        rows = Corpus(str(three.path / name)).table(["url"])["url"].to_pylist()
        kept |= {url: part[int(url.rpartition("/")[2])] for url in rows}
    checked = 0
    for text in texts[200:260]:
        mine = shingles(text)
        true = {
            url: len(mine & theirs) / len(mine | theirs)
            for url, other in kept.items()
            if (theirs := shingles(other or "")) and mine
        }
        found = three.matches(text, 0.5) if checked < 12 else None
        if found is None or not true:
            continue
        checked += 1
        assert all(abs(true[url] - jaccard) < 6 * 0.02 for url, jaccard in found.items())
        assert {url for url, jaccard in true.items() if jaccard > 0.9} <= set(found)
        assert not any(true[url] < 0.4 for url in found)
    assert checked == 12


def test_files_that_can_be_asked_about(three, documents):
    three.add("a")
    page = next(t for t in map(json.loads, (three.path / "input/a.jsonl").read_text().splitlines()) if t["text"])
    pq.write_table(documents([page["text"], None, "short"], id=["one", "two", "three"]), three.path / "q.parquet")
    (three.path / "q.jsonl").write_text(json.dumps({"text": page["text"].upper()}) + "\n\n" + json.dumps({"id": 7}))
    shown = three.ask("query", three.index, str(three.path / "q.parquet"), str(three.path / "q.jsonl"))
    lines = [line for line in shown.splitlines()[1:] if line.strip()]
    assert re.search(r"^one +1\.00 +\w{32} +https://a\.example/\d+ +a", lines[0])
    assert re.search(r"^two +fewer than 5 words", lines[1])
    assert re.search(r"q\.jsonl:1 +1\.00", shown)
    assert re.search(r"^7 +fewer than 5 words", lines[-1])
    (three.path / "bad.jsonl").write_text('{"text": "x"}\n{"text": 3}\n')
    for name, message in (("bad.jsonl", r"bad\.jsonl:2: expected an object"), ("none.txt", "no such file")):
        with pytest.raises(ConfigError, match=message):
            three.ask("query", three.index, str(three.path / name))
    with pytest.raises(ConfigError, match="no index there"):
        three.ask("stats", str(three.path / "input"))


def test_take_down(three):
    for name in "ab":
        three.add(name)
    gone = Corpus(str(three.path / "b"), "duplicates").table().to_pylist()
    row = next(row for row in gone if row["kept_url"].startswith("https://a.example/"))
    text = json.loads((three.path / "input/a.jsonl").read_text().splitlines()[int(row["kept_url"].rpartition("/")[2])])[
        "text"
    ]
    assert row["kept_url"] in three.matches(text)
    number = len(three.matches(text, 0.5))
    before = Index.open(three.index)
    said = three.ask("forget", three.index, "--id", row["kept_id"])
    assert re.search(r"version 3 is without [1-9]\d* documents", said)
    assert row["kept_url"] not in three.matches(text)
    # a copy in a later crawl stays now, though a copy of the copy is in the index
    three.write("d", [text])
    assert len(three.add("d")[1]) == 1
    assert number >= 1 == len(three.matches(text, 0.99))
    # a reader that has the older version open goes on with it
    assert before.state() != Index.open(three.index).before("d").state()
    assert before.visible(np.array([0])).all()
    # by source: all of them, in every crawl
    for name in "bcd":
        assert three.ask("forget", three.index, "--url", f"https://{name}.example/1")
    source = json.loads(three.ask("query", three.index, str(three.path / "question.txt"), "--json"))["source"]
    three.ask("forget", three.index, "--source", source)
    assert three.matches(text) == {}
    with pytest.raises(ConfigError, match="nothing to forget"):
        three.ask("forget", three.index)
    assert "no document matches" in three.ask("forget", three.index, "--id", "unknown")


def test_compact_removes_the_bytes_and_nothing_else(three):
    for name in "abc":
        three.add(name)
    kept = Corpus(str(three.path / "b")).table(["id", "url"]).to_pylist()[3]
    segment = Index.open(three.index).segments()[1]
    documents = next(segment.documents.blocks())
    sketches = next(segment.sketches.blocks())
    number = documents["number"].to_pylist()[documents["id"].to_pylist().index(kept["id"])]
    sketch = sketches["sketch"].to_pylist()[sketches["number"].to_pylist().index(number)]
    three.ask("forget", three.index, "--url", kept["url"])
    three.ask("forget", three.index, "--crawl", "a")
    secrets = (kept["id"].encode(), kept["url"].encode(), sketch, b"https://a.example/")
    assert all(any(secret in content for content in three.bytes().values()) for secret in secrets)
    questions = [str(three.path / f"input/{name}.jsonl") for name in "abc"]
    answers, state = three.ask("query", three.index, *questions, "--json"), Index.open(three.index).state()
    three.ask("compact", three.index)
    assert not any(secret in content for content in three.bytes().values() for secret in secrets)
    assert three.ask("query", three.index, *questions, "--json") == answers
    assert len(answers.splitlines()) > 50
    assert Index.open(three.index).state() == state
    about = json.loads(three.ask("stats", three.index, "--json"))
    assert about["segments"] == 1
    assert [(crawl["name"], crawl["forgotten"]) for crawl in about["crawls"]] == [("b", 0), ("c", 0)]
    assert about["documents"] == sum(crawl["documents"] for crawl in about["crawls"])
    size = sum(map(len, three.bytes().values()))
    three.ask("compact", three.index)
    assert abs(sum(map(len, three.bytes().values())) - size) < 100


def test_a_crawl_can_follow_a_compaction(three):
    for name in "ab":
        three.add(name)
    three.ask("compact", three.index)
    assert three.add("b")[2].executed == 0
    gone = three.add("c")[0]
    together, _, _ = three.run("abc")
    assert gone == {id: of for id, of in together.items() if id in gone}


def test_damage_is_found(three):
    three.add("a")
    pristine = three.bytes()
    rng = random.Random(11)
    found = 0
    for name, content in pristine.items():
        path = three.path / "index" / name
        places = {0, len(content) - 1, *(rng.randrange(len(content)) for _ in range(40))}
        for position in places:
            path.write_bytes(
                content[:position] + bytes([content[position] ^ 1 << rng.randrange(8)]) + content[position + 1 :]
            )
            try:
                index = Index.open(three.index)
                seen = [list(f.blocks()) for s in index.segments() for f in s.files]
            except CurationError as error:
                assert path.name in str(error)
                assert re.search("damaged|not the file", str(error))
                assert re.search("restore|format", str(error))
                found += 1
            else:
                path.write_bytes(content)  # a byte that carries nothing, such as padding: the rows are as they were
                index = Index.open(three.index)
                assert seen == [list(f.blocks()) for s in index.segments() for f in s.files]
        path.write_bytes(content[: len(content) // 2])
        with pytest.raises(CurationError, match="damaged"):
            three.ask("verify", three.index)
        path.unlink()
        if not name.startswith("versions"):
            with pytest.raises(CurationError, match=f"{path.name} is missing"):
                three.ask("verify", three.index)
        path.write_bytes(content)
    assert found > 120
    assert "blocks are as they were written" in three.ask("verify", three.index)


def test_a_damaged_crawl_can_be_taken_out_and_run_again(three):
    for name in "ab":
        three.add(name)
    path = next((three.path / "index/segments").glob("b-*/documents.arrow"))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CurationError, match=r"documents.arrow.*curation dedup forget .* --crawl b`"):
        three.add("c")
    three.ask("forget", three.index, "--crawl", "b")
    assert three.add("b")[2].executed == 0
    three.add("c")
    three.ask("verify", three.index)

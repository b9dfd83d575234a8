"""The index of earlier crawls: crawl by crawl equals all at once, and nothing that is read is taken on trust."""

import json
import os
import random
import re
from pydoc_data.topics import topics

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from curation import cli
from curation.config import load_pipeline
from curation.corpus import Corpus
from curation.errors import ConfigError, CurationError
from curation.executor import Inline
from curation.plan import make_plan
from curation.run import Run
from curation.storage import Storage
from stages.dedup import index_update
from stages.dedup.block_files import Folder
from stages.dedup.index import Index


def pages_and_copies(seed, count=60):
    """Pages of the Python manual and copies of them with words replaced, in random order."""
    rng = random.Random(seed)
    pages = [text for _, text in sorted(topics.items()) if 400 < len(text) < 6_000][:count]
    words = sorted({w for page in pages for w in re.findall(r"\w+", page)})
    texts = list(pages)
    for page in pages:
        for share in (0.003, 0.01, 0.02, 0.05):
            texts.append(re.sub(r"\w+", lambda m, s=share: rng.choice(words) if rng.random() < s else m[0], page))
    rng.shuffle(texts)
    return [*texts[:7], None, "too short", *texts[7:]]


@pytest.fixture(scope="module")
def texts():
    return pages_and_copies(5)


class Place:
    """A folder with inputs, runs and an index."""

    def __init__(self, path, index):
        self.path, self.index = path, index

    def write(self, name, texts):
        file = self.path / "input" / f"{name}.jsonl"
        file.parent.mkdir(exist_ok=True)
        rows = [{"text": t, "url": f"https://{name}.example/{i}"} for i, t in enumerate(texts)]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def run(self, inputs, output=None, settings=None, **keys):
        """Run `minhash_dedup` over inputs `name.jsonl`; (duplicates as {id: (kept_id, jaccard)}, ids kept, Result)."""
        output = str(self.path / (output or "-".join(inputs)))
        files = [str(self.path / "input" / f"{name}.jsonl") for name in inputs]
        config = {"input": files, "output": output, "stages": ["read_jsonl", {"minhash_dedup": keys}]}
        file = self.path / "pipelines.yaml"
        file.write_text(yaml.safe_dump({"pipelines": {"test": config | (settings or {})}}, sort_keys=False))
        result = Run(make_plan(load_pipeline("test", str(file))), Inline(output), Storage(output)).execute()
        gone = Corpus(output, "duplicates").table(["id", "kept_id", "jaccard"]).to_pylist()
        kept = Corpus(output).table(["id"])["id"].to_pylist()
        return {row["id"]: (row["kept_id"], row["jaccard"]) for row in gone}, kept, result

    def add(self, name, **keys):
        """Run the input `name` as a crawl against the index."""
        return self.run([name], index=self.index, crawl=name, **keys)

    def ask(self, *arguments):
        """`curation dedup ...`: what it prints; errors are raised."""
        done = CliRunner().invoke(cli.app, ["dedup", *arguments])
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == 0, done.output
        return done.stdout

    def matches(self, text, least=0.0):
        """What `curation dedup query` finds for a text: {url: jaccard}."""
        file = self.path / "question.txt"
        file.write_text(text)
        lines = self.ask("query", self.index, str(file), "--json", "--min", str(least), "--limit", "1000").splitlines()
        return {row["url"]: row["jaccard"] for row in map(json.loads, lines)}

    def bytes(self):
        """Content of all files of the index."""
        folder = Folder(self.index)
        return {
            name: folder.read(name) for part in ("versions", "segments", "forgotten") for name in folder.names(part)
        }


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path, str(tmp_path / "index"))


@pytest.fixture
def three(place, texts):
    """Three crawls, not yet run."""
    for name, part in zip("abc", (texts[:120], texts[120:200], texts[200:]), strict=True):
        place.write(name, part)
    return place


@pytest.mark.parametrize("where", ["local", "memory"])
@pytest.mark.parametrize("keys", [{}, {"bands": 28, "rows": 4, "shuffle_partitions": 3}])
def test_crawl_by_crawl_equals_all_at_once(three, where, keys):
    if where == "memory":
        three.index = f"memory://{three.path.name}/index"
    together, left, _ = three.run("abc", **keys)
    gone, kept = {}, []
    for name in "abc":
        duplicates, stay, result = three.add(name, settings={"batch_rows": 17}, **keys)
        gone |= duplicates
        kept += stay
        assert f"crawl '{name}' has" in result.completed[0]
    assert gone == together
    assert sorted(kept) == sorted(left)
    assert len(gone) > 140
    own = set(three.run("c", output="alone", **keys)[0])
    assert len(set(gone) & set(three.add("c", **keys)[0]) - own) > 20  # went for documents of the index


def test_components_that_a_later_crawl_ties_together_are_one_from_then_on(place):
    rng = random.Random(1)
    words = re.findall(r"\w+", topics["operator-summary"])
    revisions = [topics["compound"][:8000]]
    for _ in range(12):
        revisions.append(re.sub(r"\w+", lambda m: rng.choice(words) if rng.random() < 0.012 else m[0], revisions[-1]))
    parts = {"a": revisions[::4], "b": revisions[2::4], "c": [*revisions[1::2], *(r.upper() for r in revisions)]}
    for name, part in parts.items():
        place.write(name, [*part, f"A page that belongs to the crawl {name} and is like no other in the world"])
    keys = {"bands": 40, "rows": 3}  # every pair of Jaccard index 0.6 or more is a candidate
    gone = {}
    for name in parts:
        gone |= place.add(name, **keys)[0]
    ties = [block.num_rows for s in Index.open(place.index).segments() for block in s.links.blocks()]
    assert sum(ties) >= 4
    assert gone == place.run("abc", **keys)[0]
    place.ask("compact", place.index)
    assert [block.num_rows for s in Index.open(place.index).segments() for block in s.links.blocks()] == [sum(ties)]
    place.write("d", [*(r.lower() for r in revisions), "one more page, which is like none of the others at all"])
    last = place.add("d", **keys)[0]
    assert len(last) == len(revisions)
    assert last.items() <= place.run("abcd", **keys)[0].items()


def test_what_is_dropped_says_for_which_indexed_document(three):
    ids = {}
    for name in "ab":
        _, kept, _ = three.add(name)
        ids |= dict.fromkeys(kept, name)
    rows = Corpus(str(three.path / "b"), "dropped").table().to_pylist()
    named = [re.fullmatch(r"kept=(\w+) jaccard=(\d\.\d\d)", row["detail"]).groups() for row in rows]
    assert {row["reason"] for row in rows} == {"near_duplicate"}
    assert {ids[id] for id, _ in named} == {"a", "b"}
    table = Corpus(str(three.path / "b"), "duplicates").table().to_pylist()
    assert all(row["kept_url"].startswith(f"https://{ids[row['kept_id']]}.example/") for row in table)


def test_the_same_run_again_changes_nothing(three):
    for name in "ab":
        three.add(name)
    before = three.bytes()
    first = three.add("a")
    assert first[2].executed == 0
    second = three.add("b", settings={"seed": 0})
    assert (second[2].executed, second[2].skipped) == (0, first[2].skipped)
    os.rename(three.path / "a", three.path / "gone")  # computed anew, against the crawls before its own
    again = three.add("a")
    assert again[2].executed > 0
    assert again[:2] == first[:2]
    assert three.bytes() == before


def test_work_files_that_were_damaged_are_made_again_before_they_are_added(three):
    three.add("a")
    before = three.matches(topics["lambda"])
    for pattern in ("map0/*.sidecar.arrow", "gather0.3/*.arrow", "map0/*.exchange.arrow"):
        path = next((three.path / "a/work").glob(pattern))
        content = bytearray(path.read_bytes())
        content[len(content) // 3] ^= 64
        path.write_bytes(bytes(content))
        for name in three.bytes():
            (three.path / "index" / name).unlink()
        assert three.add("a")[2].executed > 0
        assert three.matches(topics["lambda"]) == before
        three.ask("verify", three.index)


def test_new_content_under_an_old_name_is_refused_until_the_old_is_taken_out(three):
    for name in "ab":
        three.add(name)
    before = three.bytes()
    with pytest.raises(CurationError, match=r"crawl 'b' with other content; .* curation dedup forget .* --crawl b"):
        three.add("b", min_jaccard=0.9)
    assert three.bytes() == before
    three.ask("forget", three.index, "--crawl", "b")
    duplicates, kept, _ = three.add("b", min_jaccard=0.9)
    assert duplicates
    assert Index.open(three.index).crawl("b").kept <= len(kept)
    with pytest.raises(ConfigError, match="no crawl 'x'; it has a, b"):
        three.ask("forget", three.index, "--crawl", "x")


def test_an_index_that_changed_meanwhile_is_compared_with_again(three, monkeypatch):
    three.add("a")
    add = index_update.add_crawl

    def late(*arguments):
        monkeypatch.setattr(index_update, "add_crawl", add)
        three.add("b")
        return add(*arguments)

    monkeypatch.setattr(index_update, "add_crawl", late)
    with pytest.raises(CurationError, match="changed while this run was compared with it; run the same command again"):
        three.add("c")
    gone, _, result = three.add("c")
    assert result.skipped >= 1  # signatures are not made again
    together, _, _ = three.run("abc")
    assert gone == {id: of for id, of in together.items() if id in gone}
    assert set(gone) == set(together) & set(Corpus(str(three.path / "c"), "dropped").table()["id"].to_pylist())


def test_of_two_writers_one_is_refused(three):
    three.add("a")
    one, other = Index.open(three.index), Index.open(three.index)
    one.publish(forgotten=None)
    with pytest.raises(CurationError, match="changed by another command; run this one again"):
        other.publish(forgotten=None)


def test_a_killed_writer_leaves_the_old_version(three, monkeypatch):
    three.add("a")
    before, asked = three.bytes(), three.matches(topics["lambda"])
    undisturbed = None
    for steps in range(1, 12):
        if child := os.fork():
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        else:
            left = steps
            for name in ("write", "create"):
                call = getattr(Folder, name)

                def counted(*arguments, call=call):
                    nonlocal left
                    left -= 1
                    if not left:
                        os._exit(9)  # nothing is closed, flushed or removed
                    return call(*arguments)

                monkeypatch.setattr(Folder, name, counted)
            try:
                three.add("b")
            except BaseException:
                os._exit(1)
            os._exit(0)
        if code == 0:
            undisturbed = steps
            break
        assert code == 9
        assert Index.open(three.index).version == 1
        assert {name: three.bytes()[name] for name in before} == before
        assert three.matches(topics["lambda"]) == asked
    assert undisturbed == 8  # five files, segment.json, the version; killed before each of them
    assert [crawl.name for crawl in Index.open(three.index).crawls] == ["a", "b"]
    left_over = len(three.bytes())
    three.ask("compact", three.index)
    assert len(three.bytes()) == 7 < left_over


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


@pytest.mark.parametrize(
    ("keys", "settings", "message"),
    [
        ({"bands": 20}, {}, "made with bands: 14, this stage has bands: 20"),
        ({"ngram": 4}, {}, "made with ngram: 5"),
        ({"fold_digits": False}, {}, "made with fold_digits: True"),
        ({"within": ["source"]}, {}, "made with within: \\[\\], this stage has within: \\['source'\\]"),
        ({}, {"seed": 1}, "made with another seed"),
    ],
)
def test_signatures_made_otherwise_are_refused_before_the_run(three, keys, settings, message):
    three.add("a")
    with pytest.raises(ConfigError, match=message):
        three.add("b", settings=settings, **keys)
    assert not (three.path / "b").exists()


def test_signatures_of_another_kernel_are_refused(three, monkeypatch):
    from stages.dedup import signatures

    three.add("a")
    monkeypatch.setattr(signatures, "_BASE", signatures._BASE + 2)
    with pytest.raises(ConfigError, match="another version of the signature kernels"):
        three.add("b")


def test_index_and_crawl_come_together(three):
    for keys in ({"index": three.index}, {"crawl": "a"}, {"index": three.index, "crawl": ""}):
        with pytest.raises(ConfigError, match="`index` and `crawl` go together"):
            three.run("a", **keys)


def test_an_indexed_document_stays_even_where_longer_ones_are_kept(three):
    page = topics["lambda"] + topics["assert"]
    three.write("short", [page])
    three.write("long", [page + "\nSee also the chapter on the grammar."])
    three.add("short", keep="longest")
    gone, kept, _ = three.run(["long", "b"], index=three.index, crawl="long", keep="longest")
    assert len(gone) > 10
    assert "https://short.example/0" in three.matches(page)
    assert not any(url.startswith("https://long") for url in three.matches(page))
    assert kept

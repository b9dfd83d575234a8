"""The index of earlier crawls: crawl by crawl equals all at once, and nothing that is read is taken on trust."""

import os
import random
import re
from pydoc_data.topics import topics

import pytest

from curation.corpus import Corpus
from curation.errors import ConfigError, CurationError
from stages.dedup import index_update
from stages.dedup.block_files import Folder
from stages.dedup.index import Index


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

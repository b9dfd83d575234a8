"""From token shards to training rows, whole: 100,000 documents of three sources into three stages of training."""

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_up_shards import EOD, METADATA, made_up

from curation.errors import ConfigError, CurationError
from curation.report import facts
from curation.report.page import write_report
from curation.stats import read_stats
from stages.pack.shards import read_manifest
from stages.pack.verify import Verification

RECIPES = [
    {
        "name": "stage1",
        "sequence_length": 256,
        "budget": "6M",
        "shares": [{"column": "source", "ratios": {"web": 70, "pdf": 20, "books": 10}}, {"column": "language"}],
    },
    {
        "name": "stage2",
        "sequence_length": 256,
        "budget": 2_000_000,
        "shares": [{"column": "domain", "ratios": {"physics": 60, "law": 30, "art": 10}}],
        "weight": "2 if n_tokens > 100 else 1",
        "where": 'language != "tam_Taml"',
    },
    {
        "name": "long-context",
        "sequence_length": 2048,
        "budget": "3M",
        "max_epochs": 6,
        "shares": [
            {"lengths": [{"from": 1024, "share": 75}, {"from": 256, "to": 1024, "share": 25}]},
            {"column": "domain", "ratios": {"physics": 40, "law": 20, "art": 20, "sport": 20}},
        ],
    },
]
PACK = {"window_documents": 20_000, "window_tokens": 1 << 22}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory, token_shards):
    """Source -> token shards."""
    folder = tmp_path_factory.mktemp("corpus")
    tables = {
        "web": [made_up(40_000, 1), made_up(30_000, 2)],
        "pdf": [made_up(20_000, 3, median=150)],
        "books": [made_up(10_000, 4, median=200)],
    }
    return {
        source: [token_shards(folder / source / "tokens" / f"{i}.parquet", t, group=5000) for i, t in enumerate(some)]
        for source, some in tables.items()
    }


@pytest.fixture(scope="module")
def run(tmp_path_factory, corpus, mixed):
    """The run's folder."""
    out = tmp_path_factory.mktemp("mix") / "out"
    mixed(out, corpus, RECIPES, PACK, batch_rows=4096)
    return out


@pytest.fixture(scope="module")
def supply(corpus):
    """All documents: id, source, n_tokens, language, domain, ids."""
    tables = []
    for source, files in corpus.items():
        for file in files:
            table = pq.read_table(file)
            tables.append(table.append_column("source", pa.array([source] * table.num_rows)))
    return pa.concat_tables(tables)


def rows_of(folder):
    """(ids of a piece's document, start, ids of the piece) of every piece."""
    for file in sorted(folder.glob("part-*.parquet")):
        table = pq.read_table(file)
        for ids, lens, names, starts in zip(*(table[c].to_pylist() for c in table.column_names), strict=True):
            at = 0
            for length, name, start in zip(lens, names, starts, strict=True):
                yield name, start, ids[at : at + length]
                at += length
            assert set(ids[at:]) <= {EOD}


def test_every_token_of_every_copy_is_there_exactly_once(run, supply):
    texts = dict(zip(supply["doc_id"].to_pylist(), supply["input_ids"].to_pylist(), strict=True))
    documents = pq.read_table(run / "documents")
    for recipe in RECIPES:
        planned = {
            id: entry["copies"]
            for id, mixture in zip(documents["id"].to_pylist(), documents["mixture"].to_pylist(), strict=True)
            for entry in mixture
            if entry["stage"] == recipe["name"]
        }
        covered: dict = {}
        for name, start, ids in rows_of(run / "packed" / recipe["name"]):
            whole = [*texts[name], EOD]
            assert whole[start : start + len(ids)] == ids
            if name not in covered:
                covered[name] = np.zeros(len(whole), int)
            covered[name][start : start + len(ids)] += 1
        assert covered.keys() == planned.keys()
        assert all((counts == planned[name]).all() for name, counts in covered.items())


def test_shares_are_those_of_the_recipes(run, supply):
    documents = pq.read_table(run / "documents")
    by_id = dict(zip(supply["doc_id"].to_pylist(), range(supply.num_rows), strict=True))
    row = np.array([by_id[id] for id in documents["id"].to_pylist()])
    lengths = documents["n_tokens"].to_numpy() + 1
    mixtures = documents["mixture"].to_pylist()
    for recipe in RECIPES:
        copies = np.array([sum(m["copies"] for m in ms if m["stage"] == recipe["name"]) for ms in mixtures])
        tokens = copies * lengths
        total = tokens.sum()
        assert copies.max() <= recipe.get("max_epochs", 4)
        assert total == pytest.approx({"stage1": 6e6, "stage2": 2e6, "long-context": 3e6}[recipe["name"]], rel=0.001)
        for rule in recipe["shares"]:
            if "lengths" in rule:
                long = tokens[lengths >= 1024].sum() / total
                assert long == pytest.approx(0.75, abs=0.01)
                assert tokens[lengths < 256].sum() == 0
            elif "ratios" in rule:
                values = supply[rule["column"]].to_numpy(zero_copy_only=False)[row]
                for value, share in rule["ratios"].items():
                    assert tokens[values == value].sum() / total == pytest.approx(share / 100, abs=0.005)
    languages = supply["language"].to_numpy(zero_copy_only=False)
    drawn = {m["stage"] for ms, i in zip(mixtures, row, strict=True) for m in ms if languages[i] == "tam_Taml"}
    assert "stage2" not in drawn and "stage1" in drawn


def test_weights_make_documents_likelier(run):
    documents = pq.read_table(run / "documents")
    dropped = pq.read_table(run / "dropped")
    assert set(dropped["reason"].to_pylist()) == {"not_drawn"}
    copies = np.array(
        [sum(m["copies"] for m in ms if m["stage"] == "stage2") for ms in documents["mixture"].to_pylist()]
    )
    rates = {}
    for long in (False, True):
        kept = (documents["n_tokens"].to_numpy() > 100) == long
        gone = ((dropped["n_tokens"].to_numpy() > 100) == long).sum()
        law = documents["domain"].to_numpy(zero_copy_only=False) == "law"
        gone = sum(
            (n > 100) == long and d == "law" and lang != "tam_Taml"
            for n, d, lang in zip(*(dropped[c].to_pylist() for c in ("n_tokens", "domain", "language")), strict=True)
        )
        fair = documents["language"].to_numpy(zero_copy_only=False) != "tam_Taml"
        rates[long] = copies[kept & law & fair].sum() / ((kept & law & fair).sum() + gone)
    assert rates[True] / rates[False] == pytest.approx(2, rel=0.1)


def test_copies_are_floor_or_ceil_of_one_rate_for_all_documents_alike(run):
    documents = pq.read_table(run / "documents")
    groups: dict = {}
    for source, language, domain, length, mixture in zip(
        *(documents[c].to_pylist() for c in ("source", "language", "domain", "n_tokens", "mixture")), strict=True
    ):
        for entry in mixture:
            key = (entry["stage"], source, language, domain, length > 100, length >= 1023)
            groups.setdefault(key, set()).add(entry["copies"])
    for copies in groups.values():
        assert max(copies) - min(copies) <= 1
    assert any(min(c) > 1 for c in groups.values())


def test_next_to_no_padding_and_rows_are_mixed(run):
    for recipe in RECIPES:
        folder = run / "packed" / recipe["name"]
        manifest = read_manifest(str(folder))
        assert manifest.padding / (manifest.rows * manifest.sequence_length) < 0.001
        sizes = [file["rows"] * recipe["sequence_length"] for file in manifest.files]
        assert max(sizes) < 1.3 * PACK["window_tokens"]
        lens = pq.read_table(folder / manifest.files[0]["path"])["doc_lens"].to_pylist()
        most = np.array([max(row) for row in lens], float)
        assert abs(np.corrcoef(most[1:], most[:-1])[0, 1]) < 0.1  # best fit alone would put them in order
    assert len(read_manifest(str(run / "packed" / "stage1")).files) > 1


def test_verify_agrees_and_stats_show_the_shares(run):
    for recipe in RECIPES:
        assert Verification(str(run / "packed" / recipe["name"]), tokens=True).run() == []
    shares = read_stats(str(run)).shares()
    for names in shares.values():
        for planned, realised in names.values():
            assert abs(planned - realised) < 0.005
    assert set(shares["stage1: source, share of tokens"]) == {"web", "pdf", "books"}
    shown = {row["group"]: (row["planned"], row["realised"]) for row in facts.mixture(read_stats(str(run)))}
    assert shown["stage1: source = web"] == shares["stage1: source, share of tokens"]["web"]
    assert '<section id="mix">' in Path(write_report(str(run))).read_text(encoding="utf-8")


def packed_bytes(out):
    return {str(f.relative_to(out)): f.read_bytes() for f in sorted((out / "packed").rglob("*")) if f.is_file()}


def test_bytes_do_not_depend_on_batches_splits_or_the_order_of_files(tmp_path, token_shards, mixed):
    tables = [made_up(700, seed) for seed in (1, 2, 3)]
    recipes = [
        {"name": "a", "sequence_length": 128, "budget": "100k", "shares": [{"column": "domain"}]},
        {"name": "b", "sequence_length": 512, "shares": [{"column": "language", "temperature": 2}], "unit": "bytes"},
    ]
    pack = {"window_documents": 300}
    one = [token_shards(tmp_path / "one" / f"{i}.parquet", t) for i, t in enumerate(tables)]
    mixed(tmp_path / "out1", {"web": one}, recipes, pack)
    other = [token_shards(tmp_path / "other" / f"{9 - i}.parquet", t, group=50) for i, t in enumerate(tables)]
    mixed(tmp_path / "out2", {"web": other}, recipes, pack, {"split_mb": 1}, batch_rows=37)
    assert packed_bytes(tmp_path / "out1") == packed_bytes(tmp_path / "out2")
    in_bytes = read_stats(str(tmp_path / "out1")).shares()["b: language, share of bytes"]
    assert len(in_bytes) == 3 and all(abs(planned - realised) < 0.005 for planned, realised in in_bytes.values())
    mixed(tmp_path / "out3", {"web": one}, recipes, pack, seed=1)
    assert packed_bytes(tmp_path / "out1") != packed_bytes(tmp_path / "out3")


@pytest.mark.slow
def test_bytes_do_not_depend_on_workers(tmp_path, token_shards, mixed):
    shards = [token_shards(tmp_path / f"{seed}.parquet", made_up(700, seed)) for seed in (1, 2, 3)]
    recipes = [{"name": "a", "sequence_length": 128, "budget": "100k", "shares": [{"column": "domain"}]}]
    mixed(tmp_path / "one", {"web": shards}, recipes, {"window_documents": 300})
    mixed(tmp_path / "two", {"web": shards}, recipes, {"window_documents": 300}, workers=2)
    assert packed_bytes(tmp_path / "one") == packed_bytes(tmp_path / "two")


def test_a_second_run_does_nothing_and_a_stage_that_is_gone_leaves_no_manifest(tmp_path, token_shards, mixed):
    shard = token_shards(tmp_path / "t.parquet", made_up(300, 1))
    recipes = [{"name": name, "sequence_length": 64} for name in ("a", "b")]
    mixed(tmp_path / "out", {"web": [shard]}, recipes)
    before = packed_bytes(tmp_path / "out")
    assert mixed(tmp_path / "out", {"web": [shard]}, recipes).executed == 0
    assert packed_bytes(tmp_path / "out") == before
    mixed(tmp_path / "out", {"web": [shard]}, recipes[:1])
    assert {name.split("/")[1] for name in packed_bytes(tmp_path / "out")} == {"a"}


def test_up_sampling_goes_round(tmp_path, token_shards, mixed):
    shard = token_shards(tmp_path / "t.parquet", made_up(500, 1))
    total = sum(n + 1 for n in pq.read_table(shard)["n_tokens"].to_pylist())
    recipes = [{"name": "a", "sequence_length": 64, "budget": 2.4 * total}, {"name": "b", "sequence_length": 64}]
    mixed(tmp_path / "out", {"web": [shard]}, recipes)
    mixtures = pq.read_table(tmp_path / "out" / "documents")["mixture"].to_pylist()
    a = np.array([sum(m["copies"] for m in ms if m["stage"] == "a") for ms in mixtures])
    both = np.array([sum(m["copies"] for m in ms) for ms in mixtures])
    assert set(a) == {math.floor(2.4), math.ceil(2.4)} and set(both) == {3, 4}
    assert a.mean() == pytest.approx(2.4, abs=0.1)


def test_documents_without_tokens_go_with_a_reason(tmp_path, token_shards, mixed):
    table = made_up(50, 1)
    empty = pa.table(
        {name: table[name].slice(0, 1) for name in table.column_names}
        | {
            "input_ids": pa.array([[]], table.schema.field("input_ids").type),
            "n_tokens": pa.array([0], pa.int32()),
            "doc_id": ["nothing"],
        }
    )
    shard = token_shards(tmp_path / "t.parquet", pa.concat_tables([table, empty]))
    mixed(tmp_path / "out", {"web": [shard]}, [{"name": "a", "sequence_length": 64}])
    dropped = pq.read_table(tmp_path / "out" / "dropped")
    assert dropped.select(["id", "reason"]).to_pylist() == [{"id": "nothing", "reason": "no_tokens"}]


def test_mistakes_are_told_in_one_line(tmp_path, token_shards, mixed):
    shard = token_shards(tmp_path / "t.parquet", made_up(50, 1))
    with pytest.raises(CurationError, match="recipe 'a' draws no document"):
        recipes = [{"name": "a", "sequence_length": 64, "shares": [{"column": "source", "ratios": {"x": 1}}]}]
        mixed(tmp_path / "out1", {"web": [shard]}, recipes)
    with pytest.raises(ConfigError, match="two recipes have the name 'a'"):
        mixed(tmp_path / "out2", {"web": [shard]}, [{"name": "a", "sequence_length": 64}] * 2)
    with pytest.raises(ConfigError, match=r":\d+: unknown key 'recipes.0.shares.0.ration' .* did you mean 'ratios'"):
        recipes = [{"name": "a", "sequence_length": 64, "shares": [{"column": "source", "ration": {"x": 1}}]}]
        mixed(tmp_path / "out0", {"web": [shard]}, recipes)
    with pytest.raises(ConfigError, match="no amount"):
        mixed(tmp_path / "out3", {"web": [shard]}, [{"name": "a", "sequence_length": 64, "budget": "lots"}])
    with pytest.raises(ConfigError, match="needs the column 'quality'"):
        mixed(tmp_path / "out4", {"web": [shard]}, [{"name": "a", "sequence_length": 64, "weight": "quality"}])
    other = token_shards(tmp_path / "u.parquet", made_up(50, 2), METADATA | {"tokenizer": "llama"})
    with pytest.raises(CurationError, match="tokenizer 'llama', not 'qwen3'"):
        mixed(tmp_path / "out5", {"web": [other]}, [{"name": "a", "sequence_length": 64}])

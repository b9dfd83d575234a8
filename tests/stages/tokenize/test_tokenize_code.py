"""Files cut in three and repositories come back to the last character, and the control ids are Qwen's."""

import io
import json
import tarfile
import unicodedata

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.config import load_pipeline
from curation.corpus import Corpus
from curation.errors import ConfigError
from curation.executor import Inline
from curation.plan import make_plan
from curation.run import Run
from curation.storage import Storage
from stages.tokenize.code import TokenizeCode
from stages.tokenize.fill_in_middle import CONTROL, FILE_SEP, FIM_MIDDLE, FIM_PREFIX, FIM_SUFFIX, REPO_NAME, restore
from stages.tokenize.repositories import PackRepositories
from stages.tokenize.tokenizer_file import read_definition

SIGNS = "ab \n\t=(){}<|>_é漢🎉\\r\\n"
TEXT = st.text(alphabet=SIGNS, max_size=200) | st.sampled_from(
    ["<|fim_prefix|>x<|fim_suffix|>", "<|file_sep|>a\n", "\n", "\r\n\r\n", "<|endoftext|>", "def f():\n    return 1\n"]
)


@pytest.fixture(scope="module")
def decode():
    """The reference's way back from ids to text."""
    from tokenizers import Tokenizer

    reference = Tokenizer.from_str(json.dumps(read_definition("qwen3")[0]))
    return lambda ids: reference.decode(ids, skip_special_tokens=False)


@pytest.fixture(scope="module")
def stages():
    made = {share: TokenizeCode(fim_share=share, spm_share=0.5, fim_min_characters=3) for share in (0.0, 1.0)}
    for stage in made.values():
        stage.check()
        stage.setup()
    return made


def row(table, i=0):
    return np.asarray(table["input_ids"][i].as_py() or [], np.int64).tolist()


def test_the_ids_are_qwens(stages):
    assert [CONTROL[f"<|{name}|>"] for name in ("endoftext", "fim_prefix", "fim_middle", "fim_suffix", "fim_pad", "repo_name", "file_sep")] == [
        151643, 151659, 151660, 151661, 151662, 151663, 151664,
    ]  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(text=TEXT.filter(bool), share=st.sampled_from([0.0, 1.0]), key=st.integers(0, 1000))
def test_a_file_comes_back(stages, decode, text, share, key):
    text = unicodedata.normalize("NFC", text)
    table = stages[share](pa.table({"id": [str(key)], "text": pa.array([text], pa.large_string())}))
    ids = row(table)
    assert restore(ids, decode) == (None, [(None, text)])
    cut = share == 1.0 and len(text) >= 3
    assert sum(i in (FIM_PREFIX, FIM_SUFFIX, FIM_MIDDLE) for i in ids) == (3 if cut else 0)
    assert table["n_tokens"][0].as_py() == len(ids)


@settings(max_examples=100, deadline=None)
@given(
    name=st.text(alphabet="ab/\\\n\r é", min_size=1, max_size=10),
    files=st.lists(st.tuples(st.text(alphabet="ab/.\\\n", min_size=1, max_size=10), TEXT), min_size=1, max_size=5),
    share=st.sampled_from([0.0, 1.0]),
    key=st.integers(0, 100),
)
def test_a_repository_comes_back(stages, decode, name, files, share, key):
    files = [(path, unicodedata.normalize("NFC", text)) for path, text in files]
    whole = "".join(text for _, text in files)
    if not whole:
        return
    table = pa.table(
        {
            "id": [str(key)],
            "text": pa.array([whole], pa.large_string()),
            "repository": [name],
            "file_paths": pa.array([[path for path, _ in files]], pa.list_(pa.string())),
            "file_ends": pa.array([np.cumsum([len(text) for _, text in files]).tolist()], pa.list_(pa.int32())),
        }
    )
    ids = row(stages[share](table))
    assert ids[0] == REPO_NAME and ids.count(FILE_SEP) == len(files)
    assert restore(ids, decode) == (name, files)


def test_shares_are_as_asked_and_batches_do_not_matter(documents):
    docs = documents([f"def f_{i}(x):\n    return x + {i} * 2  # a comment\n" for i in range(2000)])
    stage = TokenizeCode(fim_share=0.4, spm_share=0.25)
    stage.setup()
    formats = stage(docs)["token_format"].to_pylist()
    assert abs(formats.count("plain") / 2000 - 0.6) < 0.05
    assert abs(formats.count("spm") / (2000 - formats.count("plain")) - 0.25) < 0.06
    part = stage(docs.slice(700, 50))
    assert part["input_ids"].to_pylist() == stage(docs)["input_ids"].slice(700, 50).to_pylist()
    empty = stage(documents([None, ""]))
    assert empty["n_tokens"].to_pylist() == [0, 0] and empty["token_format"].to_pylist() == [None, None]


def test_a_tokenizer_without_the_tokens_is_refused(tmp_path):
    definition = read_definition("qwen3")[0]
    definition["added_tokens"] = [t for t in definition["added_tokens"] if t["content"] != "<|repo_name|>"]
    (tmp_path / "tokenizer.json").write_text(json.dumps(definition))
    with pytest.raises(ConfigError, match="repo_name"):
        TokenizeCode(tokenizer=str(tmp_path / "tokenizer.json")).check()


FILES = {
    "one-1.0/LICENSE": "MIT License\n\nPermission is hereby granted, free of charge, to any person obtaining a copy\nThe above copyright notice and this permission notice shall be included",
    "one-1.0/src/b.py": "import a\n\nprint(a.value('é', 2))\n",
    "one-1.0/src/a.py": "def value(x, y):\n    return x * y\n",
    "one-1.0/README.md": "# One\n\nA package of few words, but enough of them.\n",
    "one-1.0/empty.py": "",
}


def test_a_package_goes_through_the_engine_and_its_files_come_back(tmp_path, decode):
    for name in ("one-1.0", "two-2.0"):
        with tarfile.open(tmp_path / f"{name}.tar.gz", "w:gz") as archive:
            for path, text in FILES.items():
                info = tarfile.TarInfo(path.replace("one-1.0", name))
                info.size = len(text.encode())
                archive.addfile(info, io.BytesIO(text.encode()))
    config = tmp_path / "pipelines.yaml"
    config.write_text(
        f"pipelines:\n  code:\n    input: {tmp_path}/*.tar.gz\n    output: {tmp_path}/out\n    stages:\n"
        "      - read_code\n      - filter_code\n      - pack_repositories: {single_files: drop}\n      - tokenize_code: {fim_share: 1.0}\n"
    )
    out = f"{tmp_path}/out"
    Run(make_plan(load_pipeline("code", str(config))), Inline(out), Storage(out)).execute()
    rows = [r for t in Corpus(f"{tmp_path}/out").batches() for r in t.to_pylist()]
    assert sorted(r["repository"] for r in rows) == ["one-1.0", "two-2.0"]
    assert {r["license"] for r in rows} == {"mit"}
    expected = [(p.split("/", 1)[1], FILES[p]) for p in sorted(FILES) if FILES[p] and not p.endswith("LICENSE")]
    tokens = pq.read_table(f"{tmp_path}/out/tokens")
    assert tokens.num_rows == 2
    for ids in tokens["input_ids"].to_pylist():
        name, files = restore(ids, decode)
        assert name in ("one-1.0", "two-2.0") and files == expected


def test_large_repositories_are_cut_between_files(documents):
    texts = ["x" * 40, "y" * 40, "z" * 40, None, "w" * 500, "v" * 10]
    docs = documents(texts, repository=["r", "r", "r", "r", "r", None], path=["c", "a", "b", "d", "e", "f"])
    stage = PackRepositories(max_characters=100, min_files=1, shuffle_partitions=1)
    shards = [docs.slice(0, 2), docs.slice(2)]
    rows = pa.concat_tables([stage.scatter(shard, number, 0) for number, shard in enumerate(shards)])
    verdicts = stage.gather(0, 0, rows.drop_columns("partition"), None)
    packs = []
    for number, shard in enumerate(shards):
        mine = verdicts.filter(pc.equal(verdicts["partition"], number)).drop_columns("partition").sort_by("row")
        outcome = stage.apply(shard, mine)
        assert outcome.docs["id"].equals(shard["id"]) and outcome.dropped.null_count == shard.num_rows
        packs += [(r["file_paths"], r["file_ends"], r["text"]) for r in outcome.added.to_pylist()]
    assert sorted(packs) == [(["a", "b"], [40, 80], "y" * 40 + "z" * 40), (["c"], [40], "x" * 40)]

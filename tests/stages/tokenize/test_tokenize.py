"""The stage `tokenize`: its columns, what it says of them in the file, and that batches do not matter."""

import hashlib
import json
import lzma
import subprocess
import sys
import unicodedata

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tokenizers
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tokenizers import processors

from curation.documents import COLUMNS, column_type
from curation.errors import ConfigError, CurationError
from stages.tokenize import engine
from stages.tokenize.tokenize import Tokenize
from stages.tokenize.tokenizer_file import SHIPPED, identify, read_definition, text_only, tokenizer_path

TEXTS = [
    "Tea was brought from China to Japan in the ninth century; it's drunk from 茶碗.",
    "",
    None,
    "Les élèves n’étaient pas là — où étaient-ils ?\r\n\r\n\tPeut-être dehors.",
    "यह चाय है। e\u0301te\u0301 1234567890",
    "<|endoftext|> is a token, and so is <think>, but not in this text.",
    "def f(x):\n    return {k: v for k, v in x.items() if v is not None}\n" * 40,
]


@pytest.fixture
def stage(qwen_stage):
    """Qwen3 with the metrics at zero."""
    qwen_stage.metrics.counters.clear()
    qwen_stage.metrics.histograms.clear()
    return qwen_stage


@pytest.fixture(scope="module")
def decoder(definition):
    return tokenizers.Tokenizer.from_str(text_only(definition))


def test_adds_the_declared_columns(stage, documents):
    table = stage(documents(TEXTS))
    for name, kind in stage.adds().items():
        assert table.schema.field(name).type == kind == COLUMNS[name].type
    assert not table["input_ids"].type.value_field.nullable
    table.validate(full=True)
    assert table["n_bytes"].to_pylist() == [len((text or "").encode()) for text in TEXTS]
    assert table["n_tokens"].to_pylist() == [len(ids) for ids in table["input_ids"].to_pylist()]
    assert table["input_ids"].to_pylist()[1:3] == [[], []]
    assert table["n_tokens"].null_count == 0


def test_decoding_gives_the_text_back(stage, documents, decoder):
    table = stage(documents(TEXTS))
    texts = [unicodedata.normalize("NFC", text or "") for text in TEXTS]
    assert [decoder.decode(ids) for ids in table["input_ids"].to_pylist()] == texts


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(st.characters(exclude_categories=["Cs", "Cn"]), max_size=80), min_size=1, max_size=5))
def test_decoding_gives_any_text_back(stage, documents, decoder, texts):
    table = stage(documents(texts))
    got = [decoder.decode(ids) for ids in table["input_ids"].to_pylist()]
    assert got == [unicodedata.normalize("NFC", text) for text in texts]
    assert stage.metrics.counters["warning_tokenizer_mismatch"] == 0


def test_no_control_ids_and_no_end_of_document(stage, documents):
    _, who = SHIPPED["qwen3"]
    ids = stage(documents(TEXTS))["input_ids"].combine_chunks().flatten()
    assert max(ids.to_pylist()) < who.eod_id


@pytest.mark.parametrize("size", [1, 2, 5])
def test_batches_do_not_matter(stage, documents, size):
    language = ["eng_Latn", None, "und", "fra_Latn", "hin_Deva", "eng_Latn", "eng_Latn"]
    docs = documents(TEXTS, language=language)
    whole = stage(docs)
    expected = stage.metrics.to_json()
    stage.metrics.counters.clear()
    stage.metrics.histograms.clear()
    parts = [stage(docs.slice(i, size)) for i in range(0, len(TEXTS), size)]
    assert pa.concat_tables(parts).equals(whole)
    assert stage.metrics.to_json() == expected


def test_sliced_and_chunked_tables(stage, documents):
    docs = documents(TEXTS)
    chunked = pa.concat_tables([docs.slice(0, 3), docs.slice(3)])
    assert stage(chunked)["input_ids"].to_pylist() == stage(docs)["input_ids"].to_pylist()
    assert stage(docs.slice(0, 0)).num_rows == 0


def test_counts(stage, documents):
    table = stage(documents(TEXTS, language=["eng_Latn", None, None, "fra_Latn", "hin_Deva", "eng_Latn", "eng_Latn"]))
    n_tokens, n_bytes = table["n_tokens"].to_pylist(), table["n_bytes"].to_pylist()
    counters = stage.metrics.counters
    assert counters["tokens"] == sum(n_tokens) and counters["bytes"] == sum(n_bytes)
    assert counters["language_tokens=eng_Latn"] == n_tokens[0] + n_tokens[5] + n_tokens[6]
    assert counters["language_bytes=hin_Deva"] == n_bytes[4]
    assert counters["language_tokens="] == 0
    assert [n for name, n in counters.items() if name.startswith("engine=fastokens")] == [len(TEXTS)]
    assert counters["tokenizer_checked"] == len(TEXTS)
    assert (
        counters["warning_tokenizer_fallback"]
        == counters["warning_tokenizer_mismatch"]
        == counters["tokenizer_error"]
        == 0
    )
    histogram = stage.metrics.histograms["n_tokens"]
    assert sum(histogram.counts) == len(TEXTS) and histogram.counts[0] == sum(n < 32 for n in n_tokens)


def test_replaces_its_own_columns_on_a_second_pass(stage, documents):
    once = stage(documents(TEXTS))
    assert stage(once).equals(once)


def test_the_table_of_shipped_tokenizers_is_true():
    for name, (_, who) in SHIPPED.items():
        assert identify(name, "<|endoftext|>", *read_definition(name)) == who


def test_metadata_names_the_tokenizer():
    (output,) = Tokenize().outputs()
    assert output.folder == "tokens" and output.moved == ("input_ids",)
    assert output.columns["id"] == "doc_id" and "language" in output.columns
    assert output.metadata == {
        "tokenizer": "qwen3",
        "tokenizer_sha256": "aeb13307a71acd8fe81861d94ad54ab689df773318809eed3cbe794b4492dae4",
        "vocab_size": "151669",
        "eod_id": "151643",
        "added_tokens": "stripped",
        "schema_version": "1",
    }
    (output,) = Tokenize(eod_token="<|im_end|>", carry=("domain", "id", "doc_id", "n_tokens")).outputs()
    assert output.metadata["eod_id"] == "151645"
    names = list(output.columns.values())
    assert names == ["input_ids", "n_tokens", "n_bytes", "doc_id", "domain"]


def test_the_same_bytes_whichever_engine_worked(stage, documents, tmp_path):
    """What a worker that fell back writes must not differ: nothing of the engine is in the file."""
    reference = Tokenize(engine="hf")
    assert reference.outputs() == stage.outputs()
    for name, worker in (("fast", stage), ("hf", reference)):
        (output,) = worker.outputs()
        table = worker(documents(TEXTS)).select([c for c in output.columns if c != "language"])
        pq.write_table(table.replace_schema_metadata(output.metadata), tmp_path / name)
    assert (tmp_path / "fast").read_bytes() == (tmp_path / "hf").read_bytes()


def test_an_undetected_fault_is_found_in_production(documents, monkeypatch, small_file):
    """An engine that passes the self-test and is wrong on a word of the corpus."""

    class Misspells(engine.Reference):
        def encode(self, texts):
            return super().encode([text.replace("Kyrgyzstan", "Kirgizstan") for text in texts])

    monkeypatch.setattr(engine, "Fastokens", Misspells)
    path = str(small_file())
    stage = Tokenize(tokenizer=path, check_every=1)
    texts = ["Bishkek is the capital of Kyrgyzstan.", "Tashkent is not."]
    ids = stage(documents(texts))["input_ids"].to_pylist()
    assert ids == Tokenize(tokenizer=path, engine="hf")(documents(texts))["input_ids"].to_pylist()
    assert stage.metrics.counters["warning_tokenizer_mismatch"] == 1
    unchecked = Tokenize(tokenizer=path, check_every=0)
    assert unchecked(documents(texts))["input_ids"].to_pylist() != ids
    assert unchecked.metrics.counters["tokenizer_checked"] == 0


def test_fallback_is_counted_per_document(documents, monkeypatch, capsys, small_file):
    class Gone:
        def __init__(self, definition):
            raise ImportError("no wheel for this platform")

    monkeypatch.setattr(engine, "Fastokens", Gone)
    path = str(small_file())
    stage = Tokenize(tokenizer=path)
    stage(documents(TEXTS))
    assert stage.metrics.counters["warning_tokenizer_fallback"] == len(TEXTS)
    assert "no wheel for this platform" in capsys.readouterr().err
    with pytest.raises(CurationError, match="no wheel"):
        Tokenize(tokenizer=path, engine="fastokens").setup()


def test_the_sample_depends_on_the_id_alone(stage, documents):
    sampling = Tokenize(check_every=10)
    sampling._tokenizer = stage._tokenizer
    docs = documents([f"document {i}" for i in range(3000)])
    sampling(docs)
    checked = sampling.metrics.counters["tokenizer_checked"]
    assert 200 < checked < 400  # 300 expected; 6 standard deviations
    for i in range(0, 3000, 7):
        sampling(docs.slice(i, 7))
    assert sampling.metrics.counters["tokenizer_checked"] == 2 * checked


def test_very_long_documents_are_not_sampled(stage, documents):
    stage(documents(["word " * (1 << 18), "short"]))
    assert stage.metrics.counters["tokenizer_checked"] == 1


def test_any_tokenizer_json(documents, small_definition, small_file, tmp_path):
    path = small_file()
    stage = Tokenize(tokenizer=str(path), check_every=1)
    stage.check()
    table = stage(documents(TEXTS))
    assert stage.metrics.counters["warning_tokenizer_fallback"] == 0
    (output,) = stage.outputs()
    assert output.metadata["tokenizer"] == "tokenizer.json"
    assert output.metadata["tokenizer_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert output.metadata["vocab_size"] == "500"
    assert output.metadata["eod_id"] == "0"
    assert stage.files() == [str(path)]
    plain = tokenizers.Tokenizer.from_str(json.dumps(small_definition | {"added_tokens": []}))
    assert table["input_ids"].to_pylist() == [plain.encode(text or "").ids for text in TEXTS]
    # Compressed, it is another file with the same tokenizer in it.
    packed = tmp_path / "tokenizer.json.xz"
    packed.write_bytes(lzma.compress(path.read_bytes()))
    (same,) = Tokenize(tokenizer=str(packed)).outputs()
    assert same.metadata["tokenizer_sha256"] == output.metadata["tokenizer_sha256"]


@pytest.mark.parametrize("engine_name", ["auto", "hf"])
def test_a_truncation_in_the_file_cuts_no_document(documents, small_file, engine_name):
    path = small_file(truncation={"direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 0})
    assert len(tokenizers.Tokenizer.from_file(str(path)).encode(TEXTS[0]).ids) == 8
    table = Tokenize(tokenizer=str(path), engine=engine_name)(documents(TEXTS))
    assert table["n_tokens"][0].as_py() > 8


def test_a_post_processor_adds_nothing(documents, small_file):
    """Many published files begin every text with a control token."""
    template = processors.TemplateProcessing("<|user|> $A", special_tokens=[("<|user|>", 1)])
    path = small_file(post_processor=json.loads(template.__getstate__()))
    assert tokenizers.Tokenizer.from_file(str(path)).encode("a").ids[0] == 1
    table = Tokenize(tokenizer=str(path))(documents(TEXTS))
    assert 1 not in table["input_ids"].combine_chunks().flatten().to_pylist()


def test_a_vocabulary_with_control_pieces_is_refused(documents, tmp_path):
    """Unigram matches any text against its pieces, so `</s>` in a page would be the end of a document."""
    pieces = [["<unk>", 0.0], ["</s>", 0.0], *([chr(c), -3.0] for c in range(33, 127))]
    content = {
        "version": "1.0",
        "model": {"type": "Unigram", "unk_id": 0, "vocab": pieces, "byte_fallback": False},
        "added_tokens": [
            {"id": 1, "content": "</s>", "special": True, "normalized": False}
            | dict.fromkeys(("single_word", "lstrip", "rstrip"), False)
        ],
        **dict.fromkeys(("truncation", "padding", "normalizer", "pre_tokenizer", "post_processor", "decoder")),
    }
    path = tmp_path / "unigram.json"
    path.write_text(json.dumps(content))
    with pytest.raises(CurationError, match="</s>"):
        Tokenize(tokenizer=str(path), eod_token="</s>").setup()


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "not JSON"), ("[]", "no `model`"), ('{"model": {"type": "BPE", "dropout": 0.1}}', "dropout")],
)
def test_a_file_that_is_no_tokenizer_is_a_config_error(tmp_path, content, message):
    path = tmp_path / "tokenizer.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match=message):
        Tokenize(tokenizer=str(path)).check()


def test_config_errors(tmp_path):
    with pytest.raises(ConfigError, match="qwen3"):
        Tokenize(tokenizer="qwen4").check()
    with pytest.raises(ConfigError, match="has no added token '</s>'"):
        Tokenize(eod_token="</s>").check()
    path = tmp_path / "tokenizer.json.xz"
    path.write_bytes(b"no xz")
    with pytest.raises(ConfigError, match="xz"):
        Tokenize(tokenizer=str(path)).check()
    with pytest.raises(ValidationError):
        Tokenize(engine="tiktoken")


def test_a_shipped_file_that_was_altered_is_refused(tmp_path, monkeypatch):
    data = lzma.decompress(tokenizer_path("qwen3").read_bytes()).replace(b'"lstrip": false', b'"lstrip": true ', 1)
    path = tmp_path / "qwen3.tokenizer.json.xz"
    path.write_bytes(lzma.compress(data, preset=0))
    monkeypatch.setattr("stages.tokenize.tokenizer_file.tokenizer_path", lambda name: path)
    with pytest.raises(CurationError, match="not the file that was shipped"):
        Tokenize().setup()


def test_yaml_keys():
    stage = Tokenize(**yaml.safe_load("{tokenizer: qwen3, engine: hf, check_every: 0, carry: [source, quality]}"))
    assert stage.carry == ("source", "quality")
    assert Tokenize.stage_name == "tokenize"
    assert all(field.description for field in Tokenize.model_fields.values())
    assert stage.adds()["input_ids"] == column_type("input_ids")


def test_planning_loads_no_engine():
    code = (
        "import sys; from stages.tokenize.tokenize import Tokenize; s = Tokenize(); s.check(); s.outputs(); "
        "print([m for m in ('tokenizers', 'fastokens', 'numba') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"

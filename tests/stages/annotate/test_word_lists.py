import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.errors import ConfigError
from stages.annotate.word_lists import MatchWordLists

TERMS = ["darn", "flim flam", "heck", "ab", "b"]


@pytest.fixture(scope="module")
def lists(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lists")
    (folder / "en").write_text("\n".join(TERMS) + "\n\n")
    (folder / "zh.txt").write_text("坏蛋\n")
    (folder / "LICENSE").write_text("free")
    return str(folder)


def test_terms_are_counted_as_whole_words_in_the_list_of_the_language(lists, documents):
    texts = ["Darn! What the HECK, a flim flam.", "Heckling darned.", "你这个坏蛋坏蛋。", "darn", None, ""]
    codes = ["eng_Latn", "eng_Latn", "zho_Hans", "fra_Latn", "eng_Latn", "eng_Latn"]
    stage = MatchWordLists(lists=lists)
    stage.check()
    docs = stage(documents(texts, language=codes))
    assert docs["listed_words"].to_pylist() == [3, 0, 2, None, None, 0]
    shares = docs["listed_share"].to_pylist()
    assert shares[0] == pytest.approx(3 / 7) and shares[2] == pytest.approx(4 / 8) and shares[3] is None
    assert stage.metrics.counters["documents_with_listed_words"] == 2
    assert stage.metrics.counters["documents_without_a_list"] == 2


@given(text=st.lists(st.sampled_from(["darn", "flim", "flam", "ab", "b", "x", ".", "é"])).map(" ".join))
def test_counts_are_those_of_a_plain_search(lists, text):
    import re

    import pyarrow as pa

    docs = pa.table({"id": ["1"], "text": pa.array([text], pa.large_string()), "language": ["eng_Latn"]})
    found = MatchWordLists(lists=lists)(docs)["listed_words"][0].as_py()
    assert found == sum(len(re.findall(rf"(?<!\w)(?={re.escape(term)}(?!\w))", text)) for term in TERMS)


def test_a_folder_without_lists_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="is not a folder"):
        MatchWordLists(lists=str(tmp_path / "nowhere")).check()
    (tmp_path / "README.md").write_text("nothing")
    with pytest.raises(ConfigError, match="holds no file named by a language"):
        MatchWordLists(lists=str(tmp_path)).check()

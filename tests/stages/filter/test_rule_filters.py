"""What a user sees of the rule filters: reasons, limits by language, columns, and the same result for any batch."""

import this

import pyarrow as pa
import pytest
from pydantic import ValidationError

from stages.filter.c4_quality import C4Quality
from stages.filter.compile_languages import compile_row, write_rows
from stages.filter.fineweb_quality import FineWebQuality
from stages.filter.gopher_quality import GopherQuality
from stages.filter.gopher_repetition import GopherRepetition
from stages.filter.languages import LANGUAGES_FILE, language_parameters, no_stricter_than_english

ENGLISH = (
    "The harbour was quiet in the early morning, and the fishing boats that had come back with the tide lay side by "
    "side along the wall. A few men were mending nets.\n"
    "Nobody spoke much, because the wind had been strong all night and everyone was tired. To the west the cliffs "
    "stood dark against the sky.\n"
    "By noon the market would be full of people again, and the smell of bread would drift over the square. That is "
    "how it has always been here."
)
GERMAN = (
    "Der Hafen lag still in der Dämmerung, und die Boote, die mit der Flut zurückgekommen waren, lagen nebeneinander "
    "an der Mauer. Einige Männer flickten Netze. Niemand sprach viel, weil der Wind die ganze Nacht über stark gewesen "
    "war und alle müde waren. Im Westen standen die Felsen dunkel vor dem Himmel. Mittags ist der Markt wieder voller "
    "Menschen, und der Geruch von Brot zieht über den Platz. So ist es hier immer gewesen, und so wird es bleiben."
)
SPAM = ("Buy cheap watches online today. " * 30).strip()
LIST = "\n".join(f"- item {i}" for i in range(40))
ZEN = "".join(this.d.get(c, c) for c in this.s)
TEXTS = [ENGLISH, GERMAN, SPAM, LIST, ZEN, None, "", "   \n ", "word", ENGLISH.replace(".", "...")]
LANGUAGES = [
    "eng_Latn",
    "deu_Latn",
    "eng_Latn",
    "eng_Latn",
    "eng_Latn",
    None,
    "und",
    "eng_Latn",
    "xyz_Latn",
    "eng_Latn",
]
FILTERS = [GopherRepetition, GopherQuality, C4Quality, FineWebQuality]


@pytest.fixture
def batch(documents):
    return documents(TEXTS, language=LANGUAGES)


def test_prose_is_kept_and_rubbish_dropped_by_the_named_rule(batch):
    dropped = {stage.stage_name: stage()(batch).dropped.to_pylist() for stage in FILTERS}
    assert dropped["gopher_repetition"][:4] == [None, None, "top_2_gram", "top_2_gram"]
    assert dropped["gopher_repetition"][5:7] == ["empty", "empty"]
    assert dropped["gopher_quality"][:4] == [None, None, "gopher_too_few_stop_words", "gopher_words_too_short"]
    assert dropped["gopher_quality"][5:9] == ["gopher_too_few_words"] * 4
    assert dropped["fineweb_quality"][:4] == [None, None, None, "line_punct_ratio"]
    assert dropped["fineweb_quality"][5:8] == ["empty"] * 3
    assert dropped["c4_quality"][0] is None
    assert dropped["c4_quality"][3] == "too_few_sentences"


@pytest.mark.parametrize("stage", FILTERS)
def test_result_is_the_same_for_any_batch(batch, stage):
    whole = stage(keep_statistics=True)
    outcome = whole(batch)
    alone = stage(keep_statistics=True)
    parts = [alone(batch.slice(i, n)) for i, n in ((0, 1), (1, 3), (4, 0), (4, 6))]
    for name in ("dropped", "detail"):
        assert pa.concat_arrays([getattr(part, name) for part in parts]).equals(getattr(outcome, name))
    assert pa.concat_tables([part.docs for part in parts]).equals(outcome.docs)
    assert alone.metrics.to_json() == whole.metrics.to_json()


@pytest.mark.parametrize("stage", FILTERS)
def test_columns_are_those_declared(batch, stage):
    plain, full = stage(), stage(keep_statistics=True)
    assert plain(batch).docs.column_names == batch.column_names
    docs = full(batch).docs
    assert {name: docs.schema.field(name).type for name in full.adds()} == full.adds()
    assert set(docs.column_names) == set(batch.column_names) | set(full.adds())
    assert docs.drop_columns([name for name in full.adds() if name != "text"]).num_rows == batch.num_rows


@pytest.mark.parametrize("stage", FILTERS)
def test_language_is_needed_only_for_limits_by_language(documents, stage):
    assert "language" in stage().needs()
    alone = stage(per_language=False)
    assert alone.needs() == ("text",)
    assert alone(documents([ENGLISH])).dropped.to_pylist() == [None]


def test_detail_gives_value_and_limit(batch):
    detail = GopherQuality()(batch).detail.to_pylist()
    assert detail[8] == "1 < 50"
    assert detail[0] is None


def test_german_is_measured_by_german_limits(documents):
    docs = documents([GERMAN, ENGLISH], language=["deu_Latn", "deu_Latn"])
    assert GopherQuality()(docs).dropped.to_pylist() == [None, "gopher_too_few_stop_words"]
    english_limits = GopherQuality(per_language=False)(docs).dropped.to_pylist()
    assert english_limits == ["gopher_too_few_stop_words", None]


TATAR = (
    "Казан шәһәре Идел елгасы буенда урнашкан һәм Татарстанның башкаласы булып тора. Бу шәһәрдә бик күп музейлар, "
    "китапханәләр һәм театрлар бар. Ул елгадан ерак түгел, шуңа күрә җәй көне халык яр буенда ял итә. Кичә без дусларым "
    "белән базарга бардык, анда төрле җиләк-җимеш сатып алдык. Аның әнисе мәктәптә укытучы булып эшли, ә әтисе заводта "
    "инженер. Алар ял көнне балалары белән урманга гөмбә җыярга йөриләр, кич белән өйгә кайтып чәй эчәләр.\n"
)
KHMER = "នៅ ថ្ងៃនេះ យើង ទៅ ផ្សារ ទិញ ត្រី, បន្លែ, ផ្លែឈើ។ មាន មនុស្ស ច្រើន, ហើយ អាកាសធាតុ ក្តៅ។ និង នេះ ជា ការ នៃ\n" * 8


@pytest.mark.parametrize("language, text", [("tat_Cyrl", TATAR), ("khm_Khmr", KHMER)])
def test_no_language_is_held_to_a_stricter_share_than_english(documents, language, text):
    docs = documents([text], language=[language])
    limits = {"overrides": {language: {"max_non_alpha_words_ratio": 0.905}}}
    assert GopherQuality()(docs).dropped.to_pylist() == [None]
    assert GopherQuality(**limits)(docs).dropped.to_pylist() == ["gopher_too_few_alphabetic_words"]


def test_a_row_looser_than_english_stays_as_it_is_and_a_rule_turned_off_stays_off():
    for code, row in language_parameters().items():
        bounded = no_stricter_than_english(row)
        for name in {**row, **bounded}:
            if name in ("top_n_grams", "dup_n_grams"):
                english = {n: getattr(GopherRepetition(), name)[n] for n, _ in row[name]}
                for (n, before), (_, after) in zip(row[name], bounded[name], strict=True):
                    assert after == (max(before, english[n]) if before > 0 else before), (code, name, n)
            elif name in ("dup_line_frac", "new_line_ratio"):
                assert bounded[name] == row[name] or row[name] < bounded[name] == 0.3, (code, name)
            elif name in ("line_punct_thr", "max_non_alpha_words_ratio"):
                assert bounded[name] == row[name] or row[name] > bounded[name] in (0.12, 0.8), (code, name)
            else:
                assert bounded[name] == row[name], (code, name)


def test_punctuation_need_not_count_among_the_words_of_which_a_share_must_have_a_letter(documents):
    dialogue = '"Who, me?" "Yes, you; and you, too!" "Oh, no: not that, have mercy!" "Be quiet (all of you)." ' * 8
    docs = documents([dialogue], language=["eng_Latn"])
    assert GopherQuality(min_avg_word_length=2)(docs).dropped.to_pylist() == ["gopher_too_few_alphabetic_words"]
    assert GopherQuality(min_avg_word_length=2, count_punctuation=False)(docs).dropped.to_pylist() == [None]


def test_overrides_replace_the_table_for_one_language(documents):
    docs = documents([GERMAN, GERMAN], language=["deu_Latn", "nld_Latn"])
    with pytest.raises(ValidationError, match="max_word_length is no limit"):
        GopherQuality(overrides={"deu_Latn": {"max_word_length": 4}})
    with pytest.raises(ValidationError, match="valid number"):
        GopherQuality(overrides={"deu_Latn": {"max_avg_word_length": "long"}})
    strict = GopherQuality(overrides={"deu_Latn": {"max_avg_word_length": 4}}, min_stop_words=0)
    assert strict(docs).dropped.to_pylist() == ["gopher_words_too_long", None]


def test_a_limit_of_zero_turns_a_rule_off(documents):
    docs = documents([SPAM])
    off = GopherRepetition(
        per_language=False, dup_line_frac=0, top_n_grams={2: 0}, dup_n_grams=dict.fromkeys(range(5, 11), 0)
    )
    assert off(docs).dropped.to_pylist() == [None]
    with pytest.raises(ValidationError, match="11"):
        GopherRepetition(dup_n_grams={11: 0.1})


def test_c4_writes_the_text_again_without_bad_lines(documents):
    text = (
        "Home | About | Contact\n"
        "The town lies on a river.[3] It has two bridges[edit], a mill and a market.\n"
        "Please enable JavaScript to go on.\n"
        "This site uses cookies.\n"
        "Too short.\n"
        "Who built the mill? Nobody knows. It has been there since 1612."
    )
    stage = C4Quality()
    outcome = stage(documents([text, text, "{" + text], language=["eng_Latn", "fra_Latn", "eng_Latn"]))
    assert outcome.dropped.to_pylist() == [None, None, None]
    kept = "The town lies on a river. It has two bridges, a mill and a market.\n" + text.split("\n")[-1]
    assert outcome.docs["text"].to_pylist() == [kept, text, kept]
    assert stage.metrics.counters == {
        "lines": 12,
        "lines_removed=no_terminal_punctuation": 2,
        "lines_removed=too_few_words": 2,
        "lines_removed=javascript": 2,
        "lines_removed=policy": 2,
    }


def test_c4_drops_a_document_of_which_no_line_is_left(documents):
    outcome = C4Quality(min_num_sentences=0, per_language=False)(documents(["menu\nhome", "A full line, kept here."]))
    assert outcome.dropped.to_pylist() == ["empty", None]


def test_every_language_of_the_table_has_all_parameters():
    rows = language_parameters()
    assert len(rows) == 119
    assert rows["pes_Arab"]["from"] == rows["prs_Arab"]["from"] == "fas_Arab"
    for code, row in rows.items():
        assert 0 < row["language_score"] < 1, code
        if code != "eng_Latn":
            assert [n for n, _ in row["top_n_grams"] + row["dup_n_grams"]] == list(range(2, 11)), code
            assert row["stopwords"] and all(isinstance(word, str) for word in row["stopwords"]), code
            assert row["min_avg_word_length"] < row["max_avg_word_length"], code


def test_table_is_compiled_from_one_file_per_language(tmp_path):
    (tmp_path / "fas_Arab.yml").write_text(
        "language_score: 0.5\ndup_line_frac: 0.2\ntop_n_grams:\n- - 2\n  - 0.1\ndup_n_grams:\n- - 5\n  - 0.1\n"
        "min_avg_word_length: 2\nmax_avg_word_length: 9\nmax_non_alpha_words_ratio: 0.8\nstopwords:\n- \u062f\u0631\n"
        "line_punct_thr: 0.2\nnew_line_ratio: 0.1\nunused: 1\n",
        encoding="utf-8",
    )
    row = compile_row(tmp_path, "pes_Arab")
    assert row["from"] == "fas_Arab"
    assert row["stopwords"] == ["\u062f\u0631"]
    assert "unused" not in row
    with pytest.raises(FileNotFoundError):
        compile_row(tmp_path, "fra_Latn")
    copy = tmp_path / "copy.json"
    write_rows(language_parameters(), copy)
    assert copy.read_bytes() == LANGUAGES_FILE.read_bytes()


def test_an_unknown_language_is_not_asked_for_english_stop_words(documents):
    text = "Kettu juoksi metsän halki ja järven rantaa pitkin kohti kylää. " * 12
    for language, reason in (("eng_Latn", "gopher_too_few_stop_words"), ("und", None)):
        docs = documents([text], language=[language])
        stage = GopherQuality()
        stage.setup()
        assert stage(docs).dropped.to_pylist() == [reason]


def test_limits_to_draw_are_those_that_hold(documents):
    """Words of a mean length on either side of the limit that is drawn for the language."""
    stage = GopherQuality(overrides={"fra_Latn": {"max_avg_word_length": 7}})
    codes = ["eng_Latn", "deu_Latn", "fra_Latn", "fin_Latn", "und"]
    most = [stage.thresholds_of(code)["mean_word_length"]["max_avg_word_length"] for code in codes]
    assert most[0] == most[4] == stage.thresholds()["mean_word_length"]["max_avg_word_length"] == 10
    assert most[2] == 7 and most[3] == language_parameters()["fin_Latn"]["max_avg_word_length"] != 10

    def text(mean, words=200):
        letters = round(mean * words)
        return " ".join("a" * (letters // words + (i < letters % words)) for i in range(words))

    for side, expected in ((-0.05, False), (0.05, True)):
        docs = documents([text(limit + side) for limit in most], language=codes)
        assert [r == "gopher_words_too_long" for r in stage(docs).dropped.to_pylist()] == [expected] * len(codes)


def test_a_rule_that_is_off_has_no_limit_to_draw():
    assert GopherQuality(max_doc_words=0).thresholds()["words"] == {"min_doc_words": 50}
    off = GopherQuality(overrides={"deu_Latn": {"min_avg_word_length": 0}}).thresholds_of("deu_Latn")
    assert list(off["mean_word_length"]) == ["max_avg_word_length"]

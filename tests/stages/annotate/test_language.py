"""identify_language: known sentences, other models' labels, scripts against Python's own character names."""

import unicodedata
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from classifiers.language.identify import SHIPPED
from classifiers.language.labels import groups, languages
from classifiers.language.model import LanguageModel, code_of
from classifiers.language.script import count_letters, scripts
from curation.errors import ConfigError
from stages.annotate.language import IdentifyLanguage

# Sentences of the Universal Declaration of Human Rights.
RIGHTS = {
    "eng_Latn": "Everyone has the right to freedom of thought, conscience and religion; this right includes freedom.",
    "fra_Latn": "Nul ne sera soumis à la torture, ni à des peines ou traitements cruels, inhumains ou dégradants.",
    "deu_Latn": "Niemandem darf seine Staatsangehörigkeit willkürlich entzogen noch das Recht versagt werden, seine "
    "Staatsangehörigkeit zu wechseln.",
    "fin_Latn": "Jokaisella on oikeus ilman minkäänlaista syrjintää samaan palkkaan samasta työstä.",
    "vie_Latn": "Mọi người đều có quyền tự do họp hành và tham gia hiệp hội một cách hoà bình.",
    "tur_Latn": "Bu hak ve hürriyetler hiçbir veçhile Birleşmiş Milletlerin amaç ve prensiplerine aykırı olarak "
    "kullanılamaz.",
    "rus_Cyrl": "Осуществление этих прав и свобод ни в коем случае не должно противоречить целям и принципам "
    "Организации Объединенных Наций.",
    "srp_Cyrl": "Сва људска бића рађају се слободна и једнака у достојанству и правима. Она су обдарена разумом и "
    "свешћу и треба једни према другима да поступају у духу братства.",
    "ell_Grek": "Καθένας έχει το δικαίωμα να συμμετέχει στη διακυβέρνηση της χώρας του, άμεσα ή έμμεσα.",
    "heb_Hebr": "כל איש ואשה שהגיעו לפרקם רשאים לבוא בברית הנשואין ולהקים משפחה, ללא כל הגבלה מטעמי גזע.",
    "hin_Deva": "इन अधिकारों और स्वतन्त्रताओं का उपयोग किसी प्रकार से भी संयुक्त राष्ट्रों के सिद्धान्तों और उद्देश्यों",
    "tam_Taml": "ஒவ்வொரு நாட்டினதும் எல்லைகளுக்குள் சுதந்திரமாகப் பயணம் செய்வதற்கும் வசிப்பதற்கும் ஒவ்வொருவருக்கும் உரிமையுண்டு.",
    "tha_Thai": "ทุกคนมีสิทธิที่จะได้รับการคุ้มครองผลประโยชน์ทางศีลธรรมและทางวัตถุ",
    "kat_Geor": "ყოველ ადამიანს აქვს უფლება ისეთ სოციალურ და საერთაშორისო წესრიგზე.",
    "kor_Hang": "어느 누구도 행위시에 국내법 또는 국제법에 의하여 범죄를 구성하지 아니하는 작위.",
    "jpn_Jpan": "成年の男女は、人種、国籍又は宗教によるいかなる制限をも受けることなく、婚姻する。",
    "zho_Hans": "人人在行使他的权利和自由时,只受法律所确定的限制,确定此种限制的目的在于保证旁人的权利。",
    "zho_Hant": "每個人，作為社會的一員，有權享受社會保障，並有權享受他的個人尊嚴和人格的自由發展。",
    "yue_Hant": "每個人，作爲社會嘅一員，有權享受社會保障，並有權享受佢嘅個人尊嚴同人格嘅自由發展。",
}


@pytest.fixture(scope="module")
def stage():
    stage = IdentifyLanguage()
    stage.check()
    stage.setup()
    return stage


def test_sentences_get_their_language_and_script(stage, documents):
    result = stage(documents(list(RIGHTS.values())))
    assert result["language"].to_pylist() == list(RIGHTS)
    assert result["script"].to_pylist() == [code.split("_")[1] for code in RIGHTS]
    assert all(0.5 < score <= 1 for score in result["language_score"].to_pylist())
    assert dict(zip(result.column_names, result.schema.types, strict=True)).items() >= stage.adds().items()


NO_LANGUAGE = [
    "123 + 456 = 579",
    "😀😀😀 🎉🎉",
    "=====-----=====  *** ***",
    "| 12 | 34.5 | 9 |\n| 1 | 2.75 | 3 |\n| 8 | 0.25 | x |",
    "ÃÂ©tÃÂ© dÃÂ©jÃÂ  vu franÃÂ§ais cÃ´tÃ© Ã  la prÃÂ©fÃÂ©rence",
    "aGVsbG8gd29ybGQgdGhpcyBpcyBiYXNlNjQgZW5jb2RlZCB0ZXh0Cg==",
    "for (int i = 0; i < argc; ++i) { ptr->buf[i] = tmp_len; if (err != NULL) return ctx_init(obj); }",
]
OUTSIDE = [
    "བོད་སྐད་ནི་བོད་མིའི་སྐད་ཡིག་ཡིན།",  # Tibetan
    "የሰው ልጅ ሁሉ ሲወለድ ነጻና በክብርና በመብትም እኩልነት ያለው ነው።",  # Amharic
    "هەموو مرۆڤێک بە ئازادی و یەکسان لە کەرامەت و مافدا لەدایک دەبن.",  # Kurdish in Arabic letters
    "Hemû mirov azad û di weqar û mafan de wekhev tên dinyayê. Ew xwedî hiş û şuûr in.",  # and in Latin ones
    "Бүх хүн төрж мэндлэхэд эрх чөлөөтэй, адилхан нэр төртэй, ижил эрхтэй байдаг.",  # Mongolian
    "Mujhe aaj bahut kaam hai, lekin main kal tumse milne aaunga aur hum baat karenge.",  # Hindi in Latin letters
    "Gallia est omnis divisa in partes tres, quarum unam incolunt Belgae, aliam Aquitani.",
]


def test_what_is_no_language_is_zxx(stage, documents):
    result = stage(documents(NO_LANGUAGE))
    assert result["language"].to_pylist() == result["language_group"].to_pylist() == ["zxx"] * len(NO_LANGUAGE)


def test_what_is_none_of_the_languages_is_und_and_counted(documents):
    stage = IdentifyLanguage()
    texts = ["", None, "\n\n", *OUTSIDE, "The same line\nbroken by\nnewlines is still one English text."]
    result = stage(documents(texts))
    # Little text in Kurdish or Latin may look like noise; what counts is that it is none of the 119.
    found = result["language"].to_pylist()
    assert found[:3] == ["und"] * 3 and found[-1] == "eng_Latn"
    assert set(found[3:-1]) <= {"und", "zxx"} and found[3:-1].count("und") >= 6
    assert result["language_score"].to_pylist()[:3] == [0, 0, 0]
    assert result["script"].to_pylist()[:5] == [None, None, None, "Tibt", "Ethi"]
    counters = stage.metrics.counters
    assert counters["label=x-ckb_Arab"] == 1
    assert sum(n for name, n in counters.items() if name.startswith("language=")) == len(texts)
    assert sum(n for name, n in counters.items() if name.startswith("label=")) == len(texts) - 1
    assert sum(stage.metrics.histograms["language_score"].counts) == len(texts)


@pytest.mark.parametrize(
    "text", ["ok", "Paris", "hello", "привет", "!", "a", "é", "x y z", "NASA", "\u200b", "\ufeff", "ى", "ᠮ"]
)
def test_a_word_is_no_ground_for_a_guess(stage, documents, text):
    row = stage(documents([text])).to_pylist()[0]
    assert row["language"] in ("und", "zxx") or row["language_score"] >= 0.65


def test_one_word_in_a_script_of_one_language_is_enough(stage, documents):
    words = {"γεια": "ell_Grek", "안녕": "kor_Hang", "สวัสดี": "tha_Thai", "ありがとう": "jpn_Jpan", "வணக்கம்": "tam_Taml"}
    assert stage(documents(list(words)))["language"].to_pylist() == list(words.values())


def test_serbian_in_latin_letters_is_not_called_serbian(stage, documents):
    text = "Dobar dan, kako ste danas? Ovo je rečenica na srpskom jeziku, napisana latinicom."
    assert stage(documents([text]))["language_group"].to_pylist()[0] in ("und", "hbs_Latn")


def test_varieties_have_a_group_and_a_margin(stage, documents):
    arabic = "يولد جميع الناس أحرارا متساوين في الكرامة والحقوق، وقد وهبوا عقلا وضميرا وعليهم أن يعامل بعضهم بعضا."
    bosnian = "Sva ljudska bića rađaju se slobodna i jednaka u dostojanstvu i pravima. Ona su obdarena razumom."
    rows = stage(documents([arabic, bosnian, RIGHTS["fra_Latn"], RIGHTS["yue_Hant"]])).to_pylist()
    assert [row["language_group"] for row in rows] == ["ara_Arab", "hbs_Latn", "fra_Latn", "zhx_Hant"]
    for row in rows:
        assert row["language"] in (row["language_group"], *groups()[row["language_group"]])
        assert row["language_score"] > 0.7 and 0 < row["language_margin"] <= 1
    assert rows[2]["language_margin"] == 1


def test_mixed_documents_are_flagged_with_shares(documents):
    stage = IdentifyLanguage()
    french, russian = (RIGHTS[code] + "\n" for code in ("fra_Latn", "rus_Cyrl"))
    rows = stage(documents([french * 20, french * 20 + russian * 10, french * 60 + russian])).to_pylist()
    assert rows[0]["language_share"] == 1 and rows[0]["languages"] == [{"language": "fra_Latn", "share": 1}]
    assert {part["language"] for part in rows[1]["languages"]} == {"fra_Latn", "rus_Cyrl"}
    assert sum(part["share"] for part in rows[1]["languages"]) == pytest.approx(1)
    assert 0.3 < rows[1]["language_share"] < 0.7
    assert rows[2]["language"] == "fra_Latn"
    assert stage.metrics.counters["mixed"] == 1


def test_code_and_names_in_a_page_do_not_change_its_script(stage, documents):
    text = "Функция print(f'{value:>10.3f}') выводит число, import numpy as np, a = np.zeros(3)"
    assert stage(documents([text]))["language"].to_pylist() == ["rus_Cyrl"]


def test_same_answer_for_any_batch_split(stage, documents):
    docs = documents([*RIGHTS.values(), None, "", *RIGHTS.values()])
    whole = stage(docs)
    parts = pa.concat_tables([stage(docs.slice(i, 7)) for i in range(0, docs.num_rows, 7)])
    assert parts.equals(whole)


def test_low_scores_become_und(documents):
    stage = IdentifyLanguage(min_score=0.9)
    texts = [*RIGHTS.values(), "Nobody knows it yet."]
    all_, high = IdentifyLanguage()(documents(texts)), stage(documents(texts))
    for before, after in zip(all_.to_pylist(), high.to_pylist(), strict=True):
        assert after["language"] == (before["language"] if before["language_score"] >= 0.9 else "und")
    assert 0 < high["language"].to_pylist().count("und") < len(RIGHTS) / 2


def test_only_the_start_is_read_by_a_fasttext_model(documents):
    text = RIGHTS["fra_Latn"] + " " + RIGHTS["deu_Latn"] * 20
    lid176 = str(SHIPPED.parent / "lid.176.ftz")
    assert IdentifyLanguage(model=lid176, max_characters=90)(documents([text]))["language"].to_pylist() == ["fra_Latn"]
    assert IdentifyLanguage(model=lid176)(documents([text]))["language"].to_pylist() == ["deu_Latn"]


def test_a_fasttext_model_answers_in_the_same_columns(documents):
    stage = IdentifyLanguage(model=str(SHIPPED.parent / "lid.176.ftz"))
    result = stage(documents([*RIGHTS.values(), "", None, OUTSIDE[0]]))
    assert result["language"].to_pylist() == [*RIGHTS, "und", "und", "und"]
    assert result["language_score"].to_pylist()[-3:-1] == [0, 0]
    assert all(0.5 < score <= 1 for score in result["language_score"].to_pylist()[:-3])
    assert dict(zip(result.column_names, result.schema.types, strict=True)).items() >= stage.adds().items()


def test_labels_of_another_script_are_struck_out_before_the_probabilities(documents):
    class Says:
        """A model that takes everything for English, and names the right language second."""

        def predict(self, lines, k):
            labels = ("__label__en", "__label__el", "__label__la")
            return [labels[:k]] * len(lines), [(0.6, 0.3, 0.1)[:k]] * len(lines)

    found = LanguageModel(Says()).identify(pa.array([RIGHTS["ell_Grek"], "An English text", RIGHTS["tha_Thai"]]))
    assert found.languages.to_pylist() == ["ell_Grek", "eng_Latn", "und"]
    assert found.scores.tolist() == pytest.approx([0.75, 0.6 / 0.7, 0], abs=1e-6) or found.scores[2] == 1


@pytest.mark.parametrize(
    ("label", "text", "code"),
    [
        ("sr", RIGHTS["srp_Cyrl"], "srp_Cyrl"),
        ("sr", "Dobar dan, kako ste danas?", "und"),  # Serbian in Latin letters is none of the 119
        ("als", "Des isch e Satz uf Alemannisch.", "und"),  # lid.176's `als` is not Tosk Albanian
        ("als_Latn", "Të gjithë njerëzit lindin të lirë", "als_Latn"),
        ("fra_Latn", RIGHTS["fra_Latn"], "fra_Latn"),
        ("fra_Latn", RIGHTS["rus_Cyrl"], "und"),
        ("lat_Latn", "Gallia est omnis divisa", "und"),
        ("cmn_Hani", RIGHTS["zho_Hant"], "zho_Hant"),
        ("zho_Hant", RIGHTS["zho_Hans"], "zho_Hans"),
        ("zh", RIGHTS["yue_Hant"], "yue_Hant"),
        ("zh", "人口", "zho_Hans"),  # no character decides
        ("ekk_Latn", "Kõik inimesed sünnivad vabadena", "est_Latn"),
        ("fil_Latn", "Ang lahat ng tao ay isinilang na malaya", "tgl_Latn"),
        ("ru", "Функция print(f'{value:>10.3f}') выводит число, import numpy as np, a = np.zeros(3)", "rus_Cyrl"),
        (None, "text", "und"),
    ],
)
def test_labels_of_other_models(label, text, code):
    assert code_of(pa.array([label], pa.string()), count_letters(pa.array([text]))).to_pylist() == [code]


def test_the_119_languages():
    assert len(languages()) == 119
    assert len(groups()) == 109
    assert {code: f"{lang.iso639_3}_{lang.script}" for code, lang in languages().items()} == {c: c for c in languages()}
    assert {lang.script for lang in languages().values()} - {"Jpan", "Hans", "Hant"} <= set(scripts())


def test_another_model_by_path(tmp_path, documents):
    # Trained on the French, Russian and Greek sentences above, with the codes as labels. It is kept as a file because
    # fastText's training is not repeatable: it starts from memory it has not filled, and sometimes ends in NaN.
    path = str(Path(__file__).parents[2] / "data" / "three-languages.bin")
    stage = IdentifyLanguage(model=path)
    stage.check()
    assert stage.files()[0] == path
    result = stage(documents([RIGHTS["ell_Grek"], RIGHTS["rus_Cyrl"], RIGHTS["tha_Thai"]]))
    assert result["language"].to_pylist() == ["ell_Grek", "rus_Cyrl", "und"]
    with pytest.raises(ConfigError, match="nowhere"):
        IdentifyLanguage(model=str(tmp_path / "nowhere.bin")).check()


# Python's character names tell the script of most letters: an oracle that has nothing to do with the table.
NAMED = {
    "LATIN SMALL LETTER": "Latn",
    "LATIN CAPITAL LETTER": "Latn",
    "GREEK SMALL LETTER": "Grek",
    "CYRILLIC": "Cyrl",
    "ARMENIAN SMALL LETTER": "Armn",
    "HEBREW LETTER": "Hebr",
    "ARABIC LETTER": "Arab",
    "DEVANAGARI LETTER": "Deva",
    "BENGALI LETTER": "Beng",
    "TAMIL LETTER": "Taml",
    "THAI CHARACTER": "Thai",
    "LAO LETTER": "Laoo",
    "MYANMAR LETTER": "Mymr",
    "KHMER LETTER": "Khmr",
    "ETHIOPIC SYLLABLE": "Ethi",
    "GEORGIAN LETTER": "Geor",
    "HIRAGANA LETTER": "Hira",
    "KATAKANA LETTER": "Kana",
    "HANGUL SYLLABLE": "Hang",
    "CJK UNIFIED IDEOGRAPH": "Hani",
}


def named_script(character):
    category = unicodedata.category(character)
    if category == "Cn":  # a letter of a later Unicode version, perhaps
        return "other"
    if category[0] != "L":
        return None
    name = unicodedata.name(character, "")
    return next((script for prefix, script in NAMED.items() if name.startswith(prefix)), "other")


def test_scripts_of_all_letters_agree_with_their_names():
    letters = [chr(code) for code in range(0x110000) if named_script(chr(code)) not in (None, "other")]
    assert len(letters) > 100_000
    counts = count_letters(pa.array(letters, pa.large_string())).counts
    found = np.array(scripts(), dtype=object)[counts.argmax(axis=1)]
    assert (counts.sum(axis=1) == 1).all()
    assert [c for c, script in zip(letters, found, strict=True) if script != named_script(c)] == []


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.one_of(st.none(), st.text()), max_size=6), st.integers(0, 5))
def test_letters_are_counted_per_text(texts, start):
    array = pa.array(texts, pa.string()).slice(start)
    letters = count_letters(array)
    assert len(letters.counts) == len(array)
    for text, counts in zip(texts[start:], letters.counts, strict=True):
        for script in set(NAMED.values()):
            # "other" letters may be of the script too: the names give a lower bound, exact without them
            named = sum(named_script(c) == script for c in text or "")
            count = int(counts[scripts().index(script)])
            assert named <= count <= named + sum(named_script(c) == "other" for c in text or "")

"""Decoding: 40 pairs of language and encoding, each under every kind of true, false and missing declaration.

The texts are the first article of the Universal Declaration of Human Rights, about 200 characters: less than any page.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.read.charset import codec_of, decode, plausibility, to_utf8

TEXTS = {
    "fr": "Tous les êtres humains naissent libres et égaux en dignité et en droits. Ils sont doués de raison et de "
    "conscience et doivent agir les uns envers les autres dans un esprit de fraternité. Le progrès dépend d'une éducation "
    "où chacun a déjà reçu l'égalité.",
    "de": "Alle Menschen sind frei und gleich an Würde und Rechten geboren. Sie sind mit Vernunft und Gewissen begabt und "
    "sollen einander im Geiste der Brüderlichkeit begegnen. Jeder hat Anspruch auf alle Rechte ohne irgendeinen "
    "Unterschied, etwa nach Rasse, Geschlecht, Überzeugung, Vermögen oder Geburt; größere Freiheit für alle Völker.",
    "es": "Todos los seres humanos nacen libres e iguales en dignidad y derechos y, dotados como están de razón y "
    "conciencia, deben comportarse fraternalmente los unos con los otros. Toda persona tiene todos los derechos sin "
    "distinción alguna de raza, color, sexo, idioma, religión, opinión política o posición económica. ¿Mañana también?",
    "is": "Hver maður er borinn frjáls og jafn öðrum að virðingu og réttindum. Menn eru gæddir vitsmunum og samvizku, og "
    "ber þeim að breyta bróðurlega hverjum við annan. Allir eiga kröfu á þeim réttindum án nokkurrar þjóðfélagsstöðu.",
    "pl": "Wszyscy ludzie rodzą się wolni i równi pod względem swej godności i swych praw. Są oni obdarzeni rozumem i "
    "sumieniem i powinni postępować wobec innych w duchu braterstwa. Każdy człowiek posiada wszystkie prawa bez względu "
    "na różnice rasy, koloru skóry, płci, języka czy wyznania.",
    "cs": "Všichni lidé rodí se svobodní a sobě rovní co do důstojnosti a práv. Jsou nadáni rozumem a svědomím a mají "
    "spolu jednat v duchu bratrství. Každý má všechna práva bez jakéhokoli rozlišování, zejména podle rasy, barvy, "
    "pohlaví, jazyka, náboženství nebo příslušnosti k menšině.",
    "hu": "Minden emberi lény szabadon születik és egyenlő méltósága és joga van. Az emberek, ésszel és lelkiismerettel "
    "bírván, egymással szemben testvéri szellemben kell hogy viseltessenek. Mindenki, bármely megkülönböztetés nélkül, "
    "hivatkozhat a jogokra: faj, szín, nem, nyelv, vallás, politikai vagy bármely más vélemény, születés szerint.",
    "tr": "Bütün insanlar hür, haysiyet ve haklar bakımından eşit doğarlar. Akıl ve vicdana sahiptirler ve birbirlerine "
    "karşı kardeşlik zihniyeti ile hareket etmelidirler. Herkes, ırk, renk, cinsiyet, dil, din, siyasi veya diğer "
    "herhangi bir akide, doğuş farkı gözetilmeksizin bütün hürriyetlerden istifade edebilir; çocuklar için şüphesiz öyle.",
    "lt": "Visi žmonės gimsta laisvi ir lygūs savo orumu ir teisėmis. Jiems suteiktas protas ir sąžinė ir jie turi elgtis "
    "vienas kito atžvilgiu kaip broliai. Kiekvienas gali naudotis visomis teisėmis ir laisvėmis be jokių skirtumų, "
    "dėl rasės, odos spalvos, lyties, kalbos, religijos, politinių įsitikinimų ar kitokios padėties.",
    "ru": "Все люди рождаются свободными и равными в своем достоинстве и правах. Они наделены разумом и совестью и "
    "должны поступать в отношении друг друга в духе братства.",
    "uk": "Всі люди народжуються вільними і рівними у своїй гідності та правах. Вони наділені розумом і совістю і "
    "повинні діяти у відношенні один до одного в дусі братерства. Її ґанок, їхні цілі.",
    "bg": "Всички хора се раждат свободни и равни по достойнство и права. Те са надарени с разум и съвест и следва да се "
    "отнасят помежду си в дух на братство.",
    "el": "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα. Είναι προικισμένοι με "
    "λογική και συνείδηση, και οφείλουν να συμπεριφέρονται μεταξύ τους με πνεύμα αδελφοσύνης.",
    "he": "כל בני האדם נולדו בני חורין ושווים בערכם ובזכויותיהם. כולם חוננו בתבונה ובמצפון, לפיכך חובה עליהם לנהוג איש "
    "ברעהו ברוח של אחווה. כל אדם זכאי לזכויות ולחרויות שנקבעו בהכרזה זו ללא הפליה כלשהי.",
    "ar": "يولد جميع الناس أحرارا متساوين في الكرامة والحقوق. وقد وهبوا عقلا وضميرا وعليهم أن يعامل بعضهم بعضا بروح "
    "الإخاء. لكل إنسان حق التمتع بكافة الحقوق والحريات الواردة في هذا الإعلان دون أي تمييز.",
    "th": "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ ต่างมีเหตุผลและมโนธรรม และควรปฏิบัติต่อกันด้วยเจตนารมณ์แห่งภราดรภาพ",
    "zh": "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。人人有资格享有本宣言所载的"
    "一切权利和自由，不分种族、肤色、性别、语言、宗教、政治或其他见解。",
    "zh_Hant": "人人生而自由，在尊嚴和權利上一律平等。他們賦有理性和良心，並應以兄弟關係的精神相對待。人人有資格享有本宣言所載的"
    "一切權利和自由，不分種族、膚色、性別、語言、宗教、政治或其他見解。",
    "ja": "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。人間は、理性と良心とを授けられて"
    "おり、互いに同胞の精神をもって行動しなければならない。",
    "ko": "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다. 인간은 천부적으로 이성과 양심을 부여받았으며 서로 "
    "형제애의 정신으로 행동하여야 한다.",
}

#: language, codec of the bytes, label that a page declares, name that `decode` gives
CASES = [
    ("fr", "utf-8", "utf-8", "utf-8"),
    ("fr", "utf-8-sig", "utf-8", "utf-8"),
    ("fr", "utf-16", "utf-16", "utf-16-le"),
    ("fr", "utf-16-le", "utf-16le", "utf-16-le"),
    ("ru", "utf-16-be", "utf-16be", "utf-16-be"),
    ("ja", "utf-16-le", "utf-16", "utf-16-le"),
    ("de", "utf-32", "utf-32", "utf-32-le"),
    ("fr", "cp1252", "iso-8859-1", "windows-1252"),
    ("de", "cp1252", "windows-1252", "windows-1252"),
    ("es", "latin-1", "latin1", "windows-1252"),
    ("is", "cp1252", "iso-8859-1", "windows-1252"),
    ("pl", "iso8859-2", "iso-8859-2", "iso-8859-2"),
    ("pl", "cp1250", "windows-1250", "windows-1250"),
    ("cs", "cp1250", "windows-1250", "windows-1250"),
    ("cs", "iso8859-2", "iso-8859-2", "iso-8859-2"),
    ("hu", "iso8859-2", "iso-8859-2", "iso-8859-2"),
    ("tr", "cp1254", "iso-8859-9", "windows-1254"),
    ("lt", "cp1257", "windows-1257", "windows-1257"),
    ("ru", "cp1251", "windows-1251", "windows-1251"),
    ("ru", "koi8-r", "koi8-r", "koi8-u"),
    ("ru", "iso8859-5", "iso-8859-5", "iso-8859-5"),
    ("ru", "cp866", "ibm866", "cp866"),
    ("ru", "mac-cyrillic", "x-mac-cyrillic", "x-mac-cyrillic"),
    ("uk", "koi8-u", "koi8-u", "koi8-u"),
    ("uk", "cp1251", "cp1251", "windows-1251"),
    ("bg", "cp1251", "win-1251", "windows-1251"),
    ("el", "cp1253", "windows-1253", "windows-1253"),
    ("el", "iso8859-7", "iso-8859-7", "iso-8859-7"),
    ("he", "cp1255", "windows-1255", "windows-1255"),
    ("he", "iso8859-8", "iso-8859-8-i", "iso-8859-8"),
    ("ar", "cp1256", "windows-1256", "windows-1256"),
    ("ar", "iso8859-6", "iso-8859-6", "iso-8859-6"),
    ("th", "cp874", "tis-620", "windows-874"),
    ("zh", "gbk", "gb2312", "gb18030"),
    ("zh", "gb18030", "gb18030", "gb18030"),
    ("zh", "hz", "hz-gb-2312", "hz-gb-2312"),
    ("zh_Hant", "big5", "big5", "big5"),
    ("ja", "shift_jis", "x-sjis", "shift_jis"),
    ("ja", "euc_jp", "euc-jp", "euc-jp"),
    ("ja", "iso2022_jp", "iso-2022-jp", "iso-2022-jp"),
    ("ko", "euc_kr", "euc-kr", "euc-kr"),
    ("ko", "cp949", "ks_c_5601-1987", "euc-kr"),
    ("ko", "iso2022_kr", "iso-2022-kr", "iso-2022-kr"),
]
#: What is in the Content-Type header, and what in the <meta> tag; `right` is the label of the case.
DECLARATIONS = {
    "none": (None, None),
    "right header": ("right", None),
    "right meta": (None, "right"),
    "right header, meta says utf-8": ("right", "utf-8"),
    "header says latin-1, right meta": ("iso-8859-1", "right"),
    "meta says latin-1": (None, "iso-8859-1"),
    "header says utf-8": ("utf-8", None),
    "header says Shift_JIS": ("shift_jis", None),
    "header says EUC-KR": ("euc-kr", None),
    "meta says KOI8-R": (None, "koi8-r"),
    "meta says Windows Cyrillic": (None, "windows-1251"),
    "header says Greek, right meta": ("iso-8859-7", "right"),
    "nonsense": ("none", "x-unknown"),
}


def html(text, charset=None):
    meta = f'<meta http-equiv="Content-Type" content="text/html; charset={charset}">' if charset else ""
    return f"<!DOCTYPE html>\n<html><head>{meta}<title>{text[:30]}</title></head>\n<body><p>{text}</p></body></html>\n"


@pytest.mark.parametrize("declared", DECLARATIONS)
@pytest.mark.parametrize(("language", "codec", "label", "name"), CASES)
def test_every_encoding_under_every_declaration(language, codec, label, name, declared):
    header, meta = (label if said == "right" else said for said in DECLARATIONS[declared])
    page = html(TEXTS[language], meta)
    text, found = decode(page.encode(codec), header)
    assert text == page
    if declared.startswith("right"):  # else another encoding may have the same bytes for this text
        assert found == name


def test_a_short_undeclared_text_is_read_as_western():
    assert decode("<p>déjà vu</p>".encode("cp1252"))[0] == "<p>déjà vu</p>"


def test_ascii_is_utf8():
    assert decode(b"<p>plain</p>", "koi8-r") == ("<p>plain</p>", "utf-8")
    assert decode(b"") == ("", "utf-8")


def test_an_escape_that_is_none():
    assert decode(b"<script>if (~{a:1}) x()</script>")[0] == "<script>if (~{a:1}) x()</script>"
    assert decode(b"terminal \x1b[1mbold")[0] == "terminal \x1b[1mbold"


@pytest.mark.parametrize("cut", range(1, 8))
def test_a_page_cut_inside_a_character_keeps_its_encoding(cut):
    for language, codec in (("ru", "utf-8"), ("zh", "utf-8"), ("ja", "euc_jp"), ("zh", "gb18030"), ("ja", "utf-16")):
        page = html(TEXTS[language])
        page = page[: page.index("</p>")]
        text, _ = decode(page.encode(codec)[:-cut], "euc-jp" if codec == "euc_jp" else None)
        assert page.startswith(text.rstrip("\ufffd"))
        assert len(text) >= len(page) - cut


def test_some_foreign_bytes_do_not_change_the_encoding():
    page = html(TEXTS["ru"]).encode() + "<!-- größer -->".encode("latin-1")
    text, name = decode(page)
    assert name == "utf-8"
    assert text.startswith(html(TEXTS["ru"]))
    assert text.count("\ufffd") == 2


def test_characters_that_windows_adds_to_a_standard():
    for standard, windows, text in (
        ("iso-8859-1", "cp1252", "“quoted” – 5 €, naïve café"),
        ("gb2312", "gb18030", TEXTS["zh"] + "鎔、喆、㐂"),
        ("shift_jis", "cp932", TEXTS["ja"] + "①②㈱"),
        ("euc-jp", "euc_jis_2004", TEXTS["ja"] + "①②㈱"),
        ("euc-kr", "cp949", TEXTS["ko"] + " 똠방각하"),
        ("big5", "big5hkscs", TEXTS["zh_Hant"] + "啲嘢喺呢"),
    ):
        assert decode(html(text).encode(windows), standard)[0] == html(text)


def test_nul_and_byte_order_mark_are_left_out():
    assert decode(b"\xef\xbb\xbfa\0b")[0] == "ab"
    assert decode("\ufeffa\0é".encode("utf-16-le"))[0] == "aé"


@pytest.mark.parametrize(
    ("label", "codec"),
    [
        ("ISO-8859-1", "cp1252"),
        (" UTF8 ", "utf-8"),
        ("windows-1251", "cp1251"),
        ("x-sjis", "cp932"),
        ("gb_2312-80", "gb18030"),
        ("", None),
        (None, None),
        ("none", None),
        # Python knows these codecs; they turn bytes into something that is not the page.
        ("rot13", None),
        ("unicode_escape", None),
        ("base64", None),
        ("idna", None),
        ("utf-7", None),
        ("\0\n", None),
        ("x" * 5000, None),
    ],
)
def test_labels(label, codec):
    assert codec_of(label) == codec


def test_plausibility_prefers_the_text_to_its_misreadings():
    right = TEXTS["ru"]
    for codec in ("koi8-r", "cp1252", "cp866"):
        assert plausibility(right) > plausibility(right.encode("cp1251").decode(codec, "replace")) + 0.04


@given(st.binary(max_size=300), st.one_of(st.none(), st.text(max_size=20), st.sampled_from(["utf-16", "big5", "hz"])))
def test_any_bytes_become_text_that_arrow_takes(payload, label):
    text, name = decode(payload, label)
    assert to_utf8(payload, label) == (text.encode("utf-8"), name)
    assert "\0" not in text
    assert name


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=300))
def test_utf8_is_read_as_utf8(text):
    assert decode(text.encode())[0] == text.removeprefix("\ufeff")

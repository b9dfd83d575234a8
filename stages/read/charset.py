"""Decodes a page's bytes to text, whatever its server, its markup or nobody says about the encoding.

Most of the web is UTF-8 and proves it by decoding without error, which costs microseconds. For the rest there are
three witnesses: the HTTP header, the `<meta>` tag, and a statistical detector that looks at the bytes. None is
reliable. Servers send a default for every page, templates are copied with their `<meta>`, and a detector cannot tell
encodings apart that differ in two letters. So each candidate is tried, and the texts are compared by how much of
them is written as text is: letters of one script in a word, no capitals after small letters, no symbols inside
words, no characters that nobody uses. A declaration wins a tie among encodings of single bytes, the detector one
among those of several.

The order (it is that of the WHATWG Encoding standard, with doubt added): byte order mark; escape sequences (ISO-2022,
HZ); the zero bytes of UTF-16 and UTF-32; UTF-8; declarations and the detector. ISO-8859-1 and windows-1252 count as
no declaration, since they are what servers say without looking.
"""

from __future__ import annotations

import codecs
import re
import unicodedata

_META_AREA = 2048  # bytes; the standard asks authors for the first 1,024
_META = re.compile(
    rb"<(?:meta\s[^>]{0,500}?charset|\?xml\s[^>]{0,200}?encoding)\s*=\s*[\"']?\s*([\w.:-]{2,40})", re.IGNORECASE
)
_NOT_ASCII = re.compile(rb"[\x80-\xff]")
_ESCAPES = (
    (b"\x1b$)C", ("iso2022_kr",)),
    (b"\x1b$", ("iso2022_jp", "iso2022_jp_3", "iso2022_jp_ext")),
    (b"\x1b(J", ("iso2022_jp", "iso2022_jp_3", "iso2022_jp_ext")),
    (b"\x1b(I", ("iso2022_jp_3", "iso2022_jp_ext")),
    (b"~{", ("hz",)),
)
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
#: What pages that name an encoding really use: supersets that add characters and change none that occur (WHATWG
#: Encoding, section 4.2). More than one: each is tried in turn.
_SUPERSETS = {
    "ascii": ("cp1252",),
    "iso8859-1": ("cp1252",),
    "iso8859-8-i": ("iso8859-8",),
    "iso8859-9": ("cp1254",),
    "iso8859-11": ("cp874",),
    "tis-620": ("cp874",),
    "iso8859-13": ("cp1257", "iso8859-13"),
    "koi8-r": ("koi8-u",),
    "shift_jis": ("cp932", "shift_jis_2004"),
    "cp932": ("cp932", "shift_jis_2004"),
    "euc_jp": ("euc_jp", "euc_jis_2004"),
    "gb2312": ("gb18030",),
    "gbk": ("gb18030",),
    "euc_kr": ("cp949",),
    "big5": ("cp950", "big5hkscs"),
    "cp950": ("cp950", "big5hkscs"),
    "big5hkscs": ("cp950", "big5hkscs"),
}
_SEVERAL_BYTES = frozenset({"cp932", "euc_jp", "gb18030", "cp949", "cp950"})
_NO_DECLARATION = frozenset({"cp1252", "utf-8"})
#: Encodings of DOS and old Macs, which the detector takes texts for that it does not know (Icelandic). No page is in
#: one of them and says nothing, but for the Cyrillic ones.
_IMPROBABLE = frozenset(
    f"cp{n}" for n in (437, 720, 737, 775, 850, 852, 855, 857, 858, 860, 861, 862, 863, 864, 865, 869)
) | {"mac-roman", "mac-latin2", "mac-iceland", "mac-turkish", "mac-greek", "mac-croatian", "mac-romanian"}
#: Encodings of few pages, which the detector takes Icelandic and short texts for.
_RARE = frozenset(
    {"iso8859-3", "iso8859-4", "iso8859-10", "iso8859-13", "iso8859-14", "iso8859-16", "cp1258", "cp1257"}
)
_ALLOWED = re.compile(
    r"iso8859-\d+|cp(?:125\d|8\d\d|9\d\d|437)|koi8-[rtu]|mac-\w+|ptcp154|kz1048|tis-620|hz|gb\w+|big5\w*|euc_\w+"
    r"|iso2022_\w+|shift_\w+|johab|ascii|utf-(?:8|16|16-le|16-be|32|32-le|32-be)"
)
_SAMPLE = 1 << 15  # bytes that are looked at to choose an encoding, from the first that is not ASCII on
_JUDGED = 4096  # characters of words that `plausibility` looks at
_BONUS = 0.01  # what a tie may lack: a declaration among single-byte encodings, the detector among the others
_MARGIN = 0.1  # by how much an encoding that nobody named must read better
_SHORT = 30  # characters that are not ASCII; with fewer the detector guesses


def decode(payload: bytes, http_charset: str | None = None) -> tuple[str, str]:
    """The text of a page, without byte order mark and NUL, and the encoding it was decoded from.

    payload: the page as fetched, HTTP encodings undone.
    http_charset: the charset that the Content-Type header names, as written; None if it names none.

    Never fails: bytes that the best encoding does not know become U+FFFD. The encoding is named as in the WHATWG
    Encoding standard where it has a name there (`windows-1252`, `euc-kr`).
    """
    text, codec = _decode(payload, http_charset)
    text = text.removeprefix("\ufeff")
    return (text.replace("\0", "") if "\0" in text else text), _label(codec)


def to_utf8(payload: bytes, http_charset: str | None = None) -> tuple[bytes, str]:
    """The text of a page in UTF-8, and the encoding it was decoded from. As `decode`, but UTF-8 is only checked."""
    if _is_clean(payload):
        return payload, "utf-8"
    text, name = decode(payload, http_charset)
    return text.encode("utf-8", "replace"), name


def _is_clean(payload: bytes) -> bool:
    """Whether a payload is UTF-8 and nothing in it must go."""
    if b"\0" in payload or payload.startswith(codecs.BOM_UTF8):
        return False
    if payload.isascii():
        return b"\x1b" not in payload and b"~{" not in payload
    try:
        payload.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _decode(payload: bytes, http_charset: str | None) -> tuple[str, str]:
    for mark, codec in _MARKS:
        if payload.startswith(mark):
            return payload[len(mark) :].decode(codec, "replace"), codec
    if payload.isascii():
        found = _escaped(payload, http_charset)
        if found is not None:
            return found
        wide = _wide(payload)
        return (payload.decode(wide, "replace"), wide) if wide else (payload.decode("ascii"), "utf-8")
    try:
        text = payload.decode("utf-8")
        wide = _wide(payload) if "\0" in text else None
        return (payload.decode(wide, "replace"), wide) if wide else (text, "utf-8")
    except UnicodeDecodeError as error:
        if error.end == len(payload) and error.reason == "unexpected end of data":
            return payload.decode("utf-8", "replace"), "utf-8"  # a page that was cut inside a character
    codec = _wide(payload) or _choose(payload, http_charset)
    return _read(payload, codec), codec


def declared_in_page(payload: bytes) -> str | None:
    """The charset that the `<meta>` tag or XML declaration at a page's start names, as written."""
    match = _META.search(payload, 0, _META_AREA)
    return match[1].decode("ascii") if match else None


def codec_of(label: str | None) -> str | None:
    """The codec for a charset label, or None if it means nothing: a superset of what is named, as browsers do."""
    if not label:
        return None
    label = label.strip().lower()
    try:
        name = codecs.lookup(label).name
    except (LookupError, ValueError):
        from resiliparse.parse.encoding import map_encoding_to_html5

        mapped = map_encoding_to_html5(label, False) or re.sub(r"^(?:x-)?(?:win|windows|cp)-?(?=\d)", "cp", label)
        mapped = mapped.replace("hz-gb-2312", "hz").replace("x-mac-", "mac-")
        try:
            name = codecs.lookup(mapped).name
        except (LookupError, ValueError):
            return None
    return _SUPERSETS.get(name, (name,))[0] if _ALLOWED.fullmatch(name) else None


def _escaped(payload: bytes, http_charset: str | None) -> tuple[str, str] | None:
    """The text of a page in seven bits whose characters are shifted in by escape sequences."""
    for sequence, candidates in _ESCAPES:
        if sequence not in payload:
            continue
        if sequence == b"~{" and not _is_hz(payload, http_charset):
            continue  # it is program code
        for strict in ("strict", "replace"):
            for codec in candidates:
                try:
                    return payload.decode(codec, strict), codec
                except UnicodeDecodeError:
                    continue
    return None


def _is_hz(payload: bytes, http_charset: str | None) -> bool:
    from resiliparse.parse.encoding import detect_encoding

    if "hz" in (codec_of(http_charset), codec_of(declared_in_page(payload))):
        return True
    return detect_encoding(payload, html5_compatible=False) == "hz"


def _wide(payload: bytes) -> str | None:
    """UTF-16 or UTF-32 without a byte order mark, told by where the zero bytes of the markup are."""
    head = payload[:1024]
    quarter = len(head) // 4
    if quarter < 4 or not head.count(0):
        return None
    zeros = [head[i::4].count(0) for i in range(4)]
    if min(zeros[1:]) > 0.9 * quarter and zeros[0] < 0.1 * quarter:
        return "utf-32-le"
    if min(zeros[:3]) > 0.9 * quarter and zeros[3] < 0.1 * quarter:
        return "utf-32-be"
    even, odd = zeros[0] + zeros[2], zeros[1] + zeros[3]
    if odd > 0.4 * quarter and even < odd / 4:
        return "utf-16-le"
    if even > 0.4 * quarter and odd < even / 4:
        return "utf-16-be"
    return None


def _read(payload: bytes, codec: str) -> str:
    """A payload in one of the encodings that `codec` stands for: the first that it has no error in, else the first."""
    candidates = _SUPERSETS.get(codec, (codec,))
    for name in candidates:
        try:
            return codecs.getincrementaldecoder(name)("strict").decode(payload, False)
        except UnicodeDecodeError:
            continue
    return payload.decode(candidates[0], "replace")


def _choose(payload: bytes, http_charset: str | None) -> str:
    """The codec for a page that is not UTF-8 throughout and has no mark of its encoding."""
    from resiliparse.parse.encoding import detect_encoding

    first = _NOT_ASCII.search(payload)
    begin = max(0, first.start() - 64) if first else 0
    sample = payload[begin : begin + _SAMPLE]
    text = sample.decode("utf-8", "replace")
    wrong = text.count("\ufffd")
    if _foreign(text) > 5 * wrong:
        return "utf-8"  # with some bytes of another encoding in it
    said = [codec for codec in (codec_of(http_charset), codec_of(declared_in_page(payload))) if codec]
    declared = [codec for codec in said if codec not in _NO_DECLARATION and not codec.startswith("utf-")]
    detected = codec_of(detect_encoding(sample, html5_compatible=False))
    if detected in declared:
        return str(detected)
    western = _read(sample, "cp1252")
    if detected is None or detected.startswith("utf-") or detected in _IMPROBABLE:
        detected = None
    elif (detected in _RARE or detected in ("iso8859-2", "cp1250")) and _icelandic(western):
        detected = "cp1252"
    scores = {codec: plausibility(_read(sample, codec)) for codec in (*declared, detected, "cp1252") if codec}
    alike = declared and detected and _script(_read(sample, declared[0])) == _script(_read(sample, detected))
    if detected and (not alike or detected in _SEVERAL_BYTES):
        scores[detected] += _BONUS
    elif alike:
        for codec in declared:
            scores[codec] += _BONUS
    if detected in ("iso8859-2", "iso8859-16"):
        scores.setdefault("cp1250", plausibility(_read(sample, "cp1250")))  # the same letters, and quotation marks
    if "cp1252" in said and _foreign(western) < _SHORT:
        scores["cp1252"] += _BONUS
    if not declared and not detected:
        for codec in (*_SEVERAL_BYTES, "cp1251", "cp1256", "cp1253", "cp1255", "cp1250"):
            scores[codec] = plausibility(_read(sample, codec)) - _MARGIN
    return max(scores, key=scores.__getitem__)  # the first of the best, in the order declared, detected, cp1252


def _foreign(text: str) -> int:
    """Characters that are not ASCII."""
    return len(text) - len(text.encode("ascii", "ignore"))


def _icelandic(text: str) -> bool:
    """Whether the accented letters are those of Icelandic or Faroese, which the detector does not know."""
    letters = [character for character in text.lower() if character > "\x7f" and character.isalpha()]
    known = sum(character in "áéíóúýðþæöø" for character in letters)
    return known > 0.95 * len(letters) and any(character in "ðþæ" for character in letters)


def _script(text: str) -> str:
    """The class (see _Classes) of most characters that are not ASCII, capitals as small letters."""
    classes = "".join(_WORDS.findall(text)).translate(_CLASSES).lower()
    return max("nvchagteo", key=lambda letter: classes.count(letter)).replace("v", "c")


class _Classes(dict[int, str]):
    """What a character counts as, by code point; filled as characters are met.

    One letter each: small and capital letters as l, L (ASCII), n, N (other Latin), v, V (Cyrillic vowels), c, C (other
    Cyrillic), g, G (Greek); letters of other alphabets as h (Hebrew), a (Arabic), t (Thai), o; combining marks m; Han,
    kana and hangul e, rare Han r, half-width kana k; blanks and punctuation of texts ' '; other symbols s; what no text
    holds !.
    """

    _SCRIPTS = (("LATIN", "n"), ("CYRILLIC", "c"), ("GREEK", "g"), ("HEBREW", "h"), ("ARABIC", "a"), ("THAI", "t"))

    def __missing__(self, point: int) -> str:
        self[point] = found = self._classify(point)
        return found

    def _classify(self, point: int) -> str:
        character = chr(point)
        category = unicodedata.category(character)
        if point < 0x80:
            return ("L" if character.isupper() else "l") if character.isalpha() else " "
        if point == 0xFFFD or (category[0] == "C" and not (point == 0xAD or 0x200B <= point <= 0x200F)):
            return "!"
        if category[0] == "M":
            return "m"
        if category[0] in "PZC" or character in "©®™°€£§№×·´˝":
            return " "
        if 0xFF61 <= point <= 0xFF9F:
            return "k"
        if 0x4E00 <= point <= 0x9FFF:
            return "e" if _common_han(character) else "r"
        if category[0] != "L" or character in "ªº":
            return "s"
        if character in "аеиоуыэюяёіїєўАЕИОУЫЭЮЯЁІЇЄЎ":
            return "V" if category == "Lu" else "v"
        if 0x1100 <= point <= 0x11FF or 0x3040 <= point <= 0xABFF or 0xAC00 <= point <= 0xD7AF:
            return "e"
        name = unicodedata.name(character, "")
        for script, letter in self._SCRIPTS:
            if name.startswith(script):
                return letter.upper() if category == "Lu" else letter
        return "e" if name.startswith(("CJK", "HALFWIDTH", "FULLWIDTH")) else "o"


def _common_han(character: str) -> bool:
    """Whether a Han character is in the first, frequent level of one of the East Asian standards."""
    for codec, last in (("gb2312", 0xD7), ("big5", 0xC6), ("euc_jp", 0xCF)):
        try:
            if character.encode(codec)[0] <= last:
                return True
        except UnicodeEncodeError:
            continue
    return False


_CLASSES = _Classes()
_WORDS = re.compile(r"[A-Za-z]{0,30}[^\x00-\x7f][A-Za-z\x80-\U0010ffff]*")
_WRONG = re.compile(
    r"!|(?<=[a-zA-Z])s(?=[a-zA-Z])"  # not a character of texts; a symbol in a word
    r"|[lLnN](?=[cCvVgGhat])|[cCvV](?=[lLnNgGhat])|[gG](?=[lLnNcCvVhat])|[hat](?=[lLnNcCvVgG])"  # scripts in a word
    r"|[ln](?=N)|n(?=L)|[cv](?=[CV])|g(?=G)"  # a capital behind a small letter
    r"|[nN](?=[nN]{2})"  # accent upon accent, as no language writes them
    r"|(?<![a-zm])m|[ek](?=[lLnNcCvVgGhat]{2})|k|rr"
)


def plausibility(text: str) -> float:
    """How much of the non-ASCII part of a text is written as texts are: 1 is all of it.

    One minus the places that look wrong for each character that is not ASCII; below 0 if there are more. Cyrillic in
    which capitals prevail (KOI8 read as windows-1251) or vowels are missing (Hebrew read as such) loses a half.
    """
    words = " ".join(_WORDS.findall(text))[:_JUDGED]
    characters = _foreign(words)
    if not characters:
        return 0.0
    classes = words.translate(_CLASSES)
    score = 1.0 - len(_WRONG.findall(classes)) / characters
    small = classes.count("v") + classes.count("c")
    capital, vowels = classes.count("C") + classes.count("V"), classes.count("v") + classes.count("V")
    if capital > small + 10 or (small + capital > _SHORT and vowels < 0.3 * (small + capital)):
        score -= 0.5
    return score


_LABELS = {
    "cp932": "shift_jis",
    "cp949": "euc-kr",
    "cp950": "big5",
    "euc_jp": "euc-jp",
    "hz": "hz-gb-2312",
    "mac-cyrillic": "x-mac-cyrillic",
}


def _label(codec: str) -> str:
    if codec.startswith("cp125") or codec == "cp874":
        return "windows-" + codec[2:]
    if codec.startswith("iso8859"):
        return "iso-" + codec[3:]
    if codec.startswith("iso2022"):
        return codec.replace("iso2022_", "iso-2022-").split("_")[0]
    return _LABELS.get(codec, codec)

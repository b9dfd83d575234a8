"""Finds telephone numbers in text, and leaves every other number alone.

Nothing in a row of digits says that it is a telephone number: dates, versions, prices, identifiers and tables look
alike. So a number counts only with a sign of its own, one of these:

1. the international form, `+` and a country code that is assigned (ITU-T E.164), 8 to 15 digits in all;
2. a national form that hardly anything else has: `(212) 555-0134`, `212-555-0134`, `(030) 901820`, `03-1234-5678`;
3. a row of 7 to 15 digits with usual separators, right after a word for telephone in one of some thirty languages.

Trade-off: precision before recall. A bare national number without a word before it stays: `01 23 45 67 89` could be a
row of a table. For training, a text mangled by a false match is worse than a number on a public page overlooked.

All patterns are bounded, so that no text makes them slow.
"""

from __future__ import annotations

import re
from collections.abc import Callable

#: Country codes assigned by ITU-T E.164, without those of shared networks and trials.
_COUNTRY_CODES = frozenset(
    """1 7 20 27 30 31 32 33 34 36 39 40 41 43 44 45 46 47 48 49 51 52 53 54 55 56 57 58 60 61 62 63 64 65 66 81 82 84
    86 90 91 92 93 94 95 98 211 212 213 216 218 220 221 222 223 224 225 226 227 228 229 230 231 232 233 234 235 236 237
    238 239 240 241 242 243 244 245 246 247 248 249 250 251 252 253 254 255 256 257 258 260 261 262 263 264 265 266 267
    268 269 290 291 297 298 299 350 351 352 353 354 355 356 357 358 359 370 371 372 373 374 375 376 377 378 379 380 381
    382 383 385 386 387 389 420 421 423 500 501 502 503 504 505 506 507 508 509 590 591 592 593 594 595 596 597 598 599
    670 672 673 674 675 676 677 678 679 680 681 682 683 685 686 687 688 689 690 691 692 800 808 850 852 853 855 856 870
    878 880 881 882 883 886 888 960 961 962 963 964 965 966 967 968 970 971 972 973 974 975 976 977 992 993 994 995 996
    998""".split()  # noqa: SIM905 - 215 quoted strings would fill a page
)

_NO_BREAK = "\u00a0"
_SEPARATOR = "[ \u00a0\u2009\u202f\\-\u2010\u2011\u2012\u2013.()/]"

# Nothing before or after that makes the digits part of a longer number, word, address or sum.
_BEFORE = r"(?<![\w+.,=/#&@\-])(?<![0-9][ \u00a0])"
_BEFORE_PLUS = r"(?<![\w+.,=/#&@\-])"
_AFTER = r"(?![\w%]|[.,:/\-+*=^][0-9])"

# Words after which a row of digits is a telephone number. The second kind means other things too and needs a colon.
_WORDS = (
    "telephone|telephon|telefon|telefono|teléfono|telefone|téléphone|telefón|telefonas|tālrunis|tel|tél|tlf|tlfn|tfno|"
    "phone|fon|fax|telefax|faks|whatsapp|hotline|helpline|puhelin|puh|sími|telefonszám|телефон|тел|факс|τηλέφωνο|τηλ|"
    "φαξ|טלפון|טל|هاتف|تلفن|تليفون|فون|फ़ोन|फोन|दूरभाष|ফোন|โทรศัพท์|โทร|điện thoại|đt|电话|電話|手机|手機|传真|傳真|"
    "携帯|ファックス|전화|휴대폰|팩스"
)
_WEAK_WORDS = "mobile|mobil|mob|cell|handy|gsm|ph|call|sms|natel|моб|κιν|t|m|f|p|☎|📞"

# The patterns proper, in the part of the syntax that Python and RE2 share.
_WORD_PATTERN = (
    rf"(?:(?:{_WORDS})(?:[.:：)/ {_NO_BREAK}=\-]|nr|no|number|numéro|nummer|#|n[°º]|号|號|番号|번호){{0,5}}"
    rf"|(?:{_WEAK_WORDS})\.? ?[:：] ?)((?:\(\+?|\+)?[0-9](?:{_SEPARATOR}{{0,2}}[0-9]){{6,15}})"
)
_PLUS_PATTERN = rf"(?:\(\+[1-9][0-9]{{0,2}}\)|\+[1-9])(?:{_SEPARATOR}{{0,3}}[0-9]){{5,15}}"
_AREA_PATTERN = (
    r"(?:\+?1[ .\-])?(?:\([2-9][0-9]{2}\) ?[2-9][0-9]{2}[ .\-]|[2-9][0-9]{2}[.\-‑][2-9][0-9]{2}[.\-‑])[0-9]{4}"
)
_TRUNK_PATTERN = r"(?:\(0[0-9]{1,4}\) ?[0-9]{2,5}(?:[ \-/]?[0-9]{2,4}){1,3}|0[0-9]{1,3}[\-‑][0-9]{2,4}[\-‑][0-9]{4})"

#: A condition that every text with a number meets, for RE2, which has no look-around. One or two texts in a hundred do.
CANDIDATE = rf"(?i:{_WORD_PATTERN}|{_PLUS_PATTERN}|{_AREA_PATTERN}|{_TRUNK_PATTERN})"

_DATE = re.compile(r"(?:19|20)\d\d[\-/. ]\d{1,2}[\-/. ]\d{1,2}\b|\d{1,2}[\-/. ]\d{1,2}[\-/. ](?:19|20)\d\d\b")


def _is_thousands(groups: list[str], number: str) -> bool:
    """Whether a number of several groups reads as a quantity: `+10 000 000`, `1.500.000`."""
    return (
        all(len(group) == 3 for group in groups[1:])
        and sum(map(len, groups)) <= 9
        and not groups[0].startswith("0")
        and not set("()-/") & set(number)
    )


def _is_international(number: str) -> bool:
    number = number.replace("(0)", "")
    groups = re.findall(r"\d+", number)
    digits = "".join(groups)
    if not 8 <= len(digits) <= 15 or not any(digits[:n] in _COUNTRY_CODES for n in (1, 2, 3)):
        return False
    if len(groups) == 1:  # +14155550134; fewer digits are rather a sum or a line of a diff
        return len(digits) >= 10 and not digits.endswith("0000")
    if len(groups) == 2 and "." in number:  # +1.4142135623
        return False
    return not _is_thousands(groups, number) and not _DATE.match(number[1:])


def _is_trunk(number: str) -> bool:
    groups = re.findall(r"\d+", number)
    digits = sum(map(len, groups))
    if number.startswith("("):
        return 8 <= digits <= 12
    # 02-2023-0001 is a file number, 001-12-2024 hardly a telephone number
    is_year = len(groups[1]) == 4 and groups[1][:2] in ("19", "20")
    is_date = len(groups[1]) == 2 and groups[2][:2] in ("19", "20")
    return 9 <= digits <= 11 and not is_year and not is_date


def _is_number_after_word(number: str) -> bool:
    groups = re.findall(r"\d+", number)
    digits = "".join(groups)
    if not 7 <= len(digits) <= 15 or _DATE.match(number) or len(groups) > 8:
        return False
    is_version = number.count(".") >= 2 and min(map(len, groups)) == 1 and not set(number) - set("0123456789.")
    return not is_version and not (_is_thousands(groups, number) and digits.endswith("000"))


def _is_area(number: str) -> bool:
    inner = re.sub(r"^\+?1[ .\-]", "", number)
    return inner.startswith("(") or inner[3] == inner[7]  # 212-555.0134 mixes its separators


_KINDS: tuple[tuple[re.Pattern[str], Callable[[str], bool]], ...] = (
    (re.compile(rf"(?<![^\W_]){_WORD_PATTERN}{_AFTER}", re.IGNORECASE), _is_number_after_word),
    (re.compile(_BEFORE_PLUS + f"({_PLUS_PATTERN})" + _AFTER), _is_international),
    (re.compile(_BEFORE + f"({_AREA_PATTERN})" + _AFTER), _is_area),
    (re.compile(_BEFORE + f"({_TRUNK_PATTERN})" + _AFTER), _is_trunk),
)


def find_phone_numbers(text: str) -> list[tuple[int, int]]:
    """Where telephone numbers start and end, in order, none inside another."""
    found = [
        (match.start(1), match.end(1))
        for pattern, is_number in _KINDS
        for match in pattern.finditer(text)
        if is_number(match.group(1))
    ]
    spans: list[tuple[int, int]] = []
    for start, end in sorted(found, key=lambda span: (span[0], -span[1])):
        if not spans or start >= spans[-1][1]:
            spans.append((start, end))
    return spans


def replace_phone_numbers(text: str, placeholder: str) -> tuple[str, int]:
    """The text with telephone numbers replaced, and how many there were."""
    spans = find_phone_numbers(text)
    pieces, last = [], 0
    for start, end in spans:
        pieces += [text[last:start], placeholder]
        last = end
    return "".join(pieces) + text[last:], len(spans)

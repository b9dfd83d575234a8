"""What the rules must know of a character, as one integer per Unicode code point.

Kernels that run over UTF-8 bytes cannot call `unicodedata`; they look a code point up in an array. The array is built
from the `unicodedata` of the running Python in about 0.1 s per worker, and not shipped: 4 MiB of which a text touches
a few pages. It follows that a character new in Unicode 15 is a letter for Python 3.12 and nothing for Python 3.11.

Three things are lists and not properties, because the thresholds of the rules were chosen with them:

- `SYMBOL`: the punctuation by which Gopher quality tells a symbol from a word (the list goes back to CCNet,
  arXiv 1911.00359, where a full-width digit one slipped in; extended by the sentence ends).
- `SENTENCE_END`: Unicode's Sentence_Terminal as FineWeb uses it (three Khmer signs more, the full stop among them).
- `OPENING`, `CLOSING`: what is split off the start and the end of a word. For ASCII and the punctuation that scripts
  share it is what spaCy splits off: `-foo`, `@foo` and `foo¶` are one word, `#foo` is two. All punctuation that
  belongs to a script is split off.
"""

from __future__ import annotations

import sys
import unicodedata
from functools import cache

import numpy as np

SPACE = 1 << 0  # str.isspace, and the zero-width space by which Khmer, Thai and Burmese sites separate words
LETTER = 1 << 1  # str.isalpha
UPPER = 1 << 2  # may begin a sentence: upper case, and every letter of a script without case
LOWER = 1 << 3  # may end one: lower case, letters of a script without case, and marks on them
DIGIT = 1 << 4  # decimal digits of any script
MARK = 1 << 5  # combining marks and joiners: they belong to the letter before them
SYMBOL = 1 << 6
OPENING = 1 << 7
CLOSING = 1 << 8
ICON = 1 << 9  # a word of its own wherever it stands: emoji, dingbats
QUOTE = 1 << 10
SENTENCE_END = 1 << 11
HYPHEN = 1 << 12
APOSTROPHE = 1 << 13
PUNCTUATION = 1 << 14  # general category P

#: Scripts written without spaces between words, and Korean, whose particles follow their noun without one.
SCRIPT_SHIFT = 16
SCRIPT_MASK = 0b111 << SCRIPT_SHIFT
HAN, HIRAGANA, KATAKANA, THAI, KHMER, BURMESE, HANGUL = (i << SCRIPT_SHIFT for i in range(1, 8))

#: Part that a character plays in a syllable (see `syllables.py`).
ROLE_SHIFT = 20
ROLE_MASK = 0b11 << ROLE_SHIFT
CONSONANT, BEFORE, VOWEL, JOINER = (i << ROLE_SHIFT for i in range(4))
#: A Han character, kana or Hangul syllable that is a word by itself: particles and the like.
PARTICLE = 1 << 22

SENTENCE_ENDS = (
    "21 2E 3F 589 61D-61F 6D4 700-702 7F9 837 839 83D-83E 964-965 104A-104B 1362 1367-1368 166E 1735-1736 17D4-17D6 "
    "17D9-17DA 1803 1809 1944-1945 1AA8-1AAB 1B5A-1B5B 1B5E-1B5F 1B7D-1B7E 1C3B-1C3C 1C7E-1C7F 203C-203D 2047-2049 "
    "2E2E 2E3C 2E53-2E54 3002 A4FF A60E-A60F A6F3 A6F7 A876-A877 A8CE-A8CF A92F A9C8-A9C9 AA5D-AA5F AAF0-AAF1 ABEB "
    "FE52 FE56-FE57 FF01 FF0E FF1F FF61 10A56-10A57 10F55-10F59 10F86-10F89 11047-11048 110BE-110C1 11141-11143 "
    "111C5-111C6 111CD 111DE-111DF 11238-11239 1123B-1123C 112A9 1144B-1144C 115C2-115C3 115C9-115D7 11641-11642 "
    "1173C-1173E 11944 11946 11A42-11A43 11A9B-11A9C 11C41-11C42 11EF7-11EF8 11F43-11F44 16A6E-16A6F 16AF5 "
    "16B37-16B38 16B44 16E98 1BC9F 1DA88"
)
SYMBOLS = (
    "0-8 B-1F 21-2F 3A-40 5B-60 7B-9F AB B4 BB 2013-2014 2019 201C-201E 2026 2236 2501 25BA 3001-3002 3008-300D "
    "3010-3011 FF01 FF05 FF08-FF09 FF0C FF0E FF11 FF1A-FF1B FF1F FF5E"
)
#: Of the punctuation that all scripts share, these are split off; others (`¶`, `†`, `•`) are part of their word.
EDGES_SHARED = "¡·«»¿‘’‚“”„…–—´"
QUOTES = "'\"”“`‘´’‚„»«「」『』（）〔〕【】《》〈〉"
OPENING_ASCII = "%=,:;!?()[]{}<>_#*&'\"`$"
CLOSING_ASCII = ",:;!?()[]{}<>_#*&'\"`"
HYPHENS = "-–—~‐‑־֊"
HAN_PARTICLES = (
    "的了在是和也就都而与與及或被把對对從从這这那不我你他她它們们之其於于以為为有個个啊吗嗎呢吧由後"
    "嘅係喺佢咗同唔啲嚟嗰哋"
)
KANA_PARTICLES = "のにをはがともへでやかたてだなしれさ"
HANGUL_PARTICLES = "의는은이가을를에로다고도와과만서지"


def code_points(ranges: str) -> list[int]:
    """Code points of a text like `21 2E 61D-61F` (hexadecimal, ends included)."""
    spans = [item.partition("-") for item in ranges.split()]
    return [c for a, dash, b in spans for c in range(int(a, 16), int(b if dash else a, 16) + 1)]


def general_flags(c: int) -> int:
    """Flags of one code point that follow from its Unicode properties."""
    char = chr(c)
    category = unicodedata.category(char)
    flags = 0
    if char.isspace() or c == 0x200B:
        flags |= SPACE
    if char.isalpha():
        flags |= LETTER
    if category in ("Lu", "Lt", "Lo", "Lm"):
        flags |= UPPER
    if category in ("Ll", "Lo", "Lm") or category[0] == "M":
        flags |= LOWER
    if category == "Nd":
        flags |= DIGIT
    if category[0] == "M" or c in (0x200C, 0x200D):
        flags |= MARK
    if category[0] == "P":
        flags |= PUNCTUATION
    if category[0] == "P" and c > 127 and not (0xA1 <= c <= 0xBF or 0x2010 <= c <= 0x205E):
        flags |= OPENING | CLOSING
    if category == "Sc" and c > 127:
        flags |= OPENING
    if category == "So":
        flags |= ICON | OPENING | CLOSING
    return flags


def script_flags(table: np.ndarray) -> None:
    """Add script and syllable role for the scripts that `syllables.py` cuts, in place."""
    for a, b in ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFD), (0x3005, 0x3007)):
        table[a : b + 1] |= HAN
    table[0x3041:0x3097] |= HIRAGANA
    table[0x30A1:0x30FB] |= KATAKANA
    table[0x30FC:0x3100] |= KATAKANA  # with the sign that lengthens a vowel
    table[0x31F0:0x3200] |= KATAKANA
    table[0xFF66:0xFFA0] |= KATAKANA
    table[0xAC00:0xD7A4] |= HANGUL
    for text in (HAN_PARTICLES, KANA_PARTICLES, HANGUL_PARTICLES):
        table[[ord(char) for char in text]] |= PARTICLE

    # Thai and Lao: vowels that are written before their consonant, and those written after, above or below it.
    table[0x0E01:0x0E2F] |= THAI | CONSONANT
    table[0x0E30:0x0E3B] |= THAI | VOWEL
    table[0x0E40:0x0E45] |= THAI | BEFORE
    table[0x0E45:0x0E4F] |= THAI | VOWEL
    table[0x0E4C] = (table[0x0E4C] & ~np.uint32(ROLE_MASK)) | np.uint32(JOINER)  # silences its consonant
    table[0x0E81:0x0EAF] |= THAI | CONSONANT
    table[0x0EB0:0x0EBE] |= THAI | VOWEL
    table[0x0EC0:0x0EC5] |= THAI | BEFORE
    table[0x0EC6:0x0ECF] |= THAI | VOWEL
    table[0x0ECC] = (table[0x0ECC] & ~np.uint32(ROLE_MASK)) | np.uint32(JOINER)
    table[0x0EDC:0x0EE0] |= THAI | CONSONANT
    # Khmer: the sign coeng puts the next consonant below the one before it.
    table[0x1780:0x17B4] |= KHMER | CONSONANT
    table[0x17B4:0x17D2] |= KHMER | VOWEL
    table[0x17D2] |= KHMER | JOINER
    table[0x17D3] |= KHMER | VOWEL
    table[0x17DD] |= KHMER | VOWEL
    # Burmese: asat ends a syllable with the consonant before it, virama stacks the next consonant under it.
    table[0x1000:0x102B] |= BURMESE | CONSONANT
    table[0x102B:0x1039] |= BURMESE | VOWEL
    table[0x1039:0x103B] |= BURMESE | JOINER
    table[0x103B:0x103F] |= BURMESE | VOWEL
    table[0x103F] |= BURMESE | CONSONANT
    table[0x104C:0x1050] |= BURMESE | CONSONANT
    table[0x1050:0x1090] |= BURMESE | VOWEL


@cache
def character_table() -> np.ndarray:
    """uint32 array over all code points, the flags above combined."""
    table = np.zeros(sys.maxunicode + 1, np.uint32)
    # Blocks of one kind are filled at once; asking for each of their 100,000 characters would take most of the time.
    uniform = ((0x3400, 0x4DC0), (0x4E00, 0x9FFD), (0xAC00, 0xD7A4), (0x20000, 0x2A6DE))
    for a, b in uniform:
        table[a:b] = general_flags(a)
    skipped = np.zeros(0x30000, bool)
    for a, b in (*uniform, (0xD800, 0xF900)):
        skipped[a:b] = True
    for c in np.flatnonzero(~skipped).tolist() + list(range(0x30000, 0x33480)) + list(range(0xE0000, 0xE01F0)):
        table[c] |= general_flags(c)
    ascii_edges = dict.fromkeys(OPENING_ASCII, OPENING)
    for char in CLOSING_ASCII:
        ascii_edges[char] = ascii_edges.get(char, 0) | CLOSING
    for char, flags in ascii_edges.items():
        table[ord(char)] |= flags
    for char in EDGES_SHARED:
        table[ord(char)] |= OPENING | CLOSING
    table[ord("§")] |= OPENING
    for flag, points in (
        (SYMBOL, code_points(SYMBOLS)),
        (SYMBOL | SENTENCE_END, code_points(SENTENCE_ENDS)),
        (QUOTE, [ord(char) for char in QUOTES]),
        (HYPHEN, [ord(char) for char in HYPHENS]),
        (APOSTROPHE, [ord(char) for char in "'’ʼ＇"]),
    ):
        table[points] |= flag
    # The Armenian and Hebrew hyphens join words as `-` does: not split off an edge.
    table[[ord(char) for char in "־֊"]] &= ~np.uint32(OPENING | CLOSING)
    script_flags(table)
    return table

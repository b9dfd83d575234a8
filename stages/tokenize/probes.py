"""The texts on which a fast tokenizer must agree with the reference before it may touch a corpus.

Each group aims at a place where byte-pair encoders have been found to differ: what counts as a letter or a space,
where a run of spaces is cut, which Unicode version normalizes, whether a quoted control token stays text, and what
happens in the code for long inputs (fastokens changes its path at 64 KiB). Encoding them with the reference costs
0.1 s at load; the sample of real documents that the stage checks covers what nobody thought of.
"""

from __future__ import annotations

import unicodedata

_SCRIPTS = (
    "All human beings are born free and equal in dignity and rights. It's, we'RE, they'll, I'D'VE",
    "Tous les êtres humains naissent libres ; l’été, où ? «Ça», naïve, œuvre, Straße, Łódź, İstanbul ıI",
    "Все люди рождаются свободными и равными. Українська ґанок, Қазақша, Ўзбек",
    "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι ᾄδω ΰ",
    "Բոլոր մարդիկ ծնվում են ազատ",
    "ყველა ადამიანი იბადება თავისუფალი",
    "כל בני האדם נולדו בְּנֵי חוֹרִין 123 שלום!",
    "يولد جميع الناس أحرارًا ٱللَّهِ ١٢٣ ـــ لا إله",
    "ہر انسان آزاد پیدا ہوا ہے۔ ۴۵",
    "सभी मनुष्यों को क्षत्रिय कर्म ज़ क़ १२३ ।",
    "সমস্ত মানুষ স্বাধীন ড়ঢ়য় ৎ",
    "ਸਾਰੇ ਮਨੁੱਖ ਸ਼ਖ਼",
    "બધા માનવો ક્ષ",
    "ସମସ୍ତ ମନୁଷ୍ୟ ଡ଼",
    "மனிதப் பிறவியினர் கௌ கொ",
    "మానవులందరూ స్వతంత్ర క్ష",
    "ಎಲ್ಲಾ ಮಾನವರೂ ಕೊ",
    "മനുഷ്യരെല്ലാവരും ൻ ൽ ന്‍",
    "සියලු මනුෂ්‍යයෝ කෝ",
    "มนุษย์ทั้งหลายเกิดมามีอิสระ ๑๒๓ ำ",
    "ມະນຸດທຸກຄົນເກີດມາ ຳ",
    "လူတိုင်းသည် တူညီ လွတ်လပ်သော",
    "មនុស្សទាំងអស់ កើតមក",
    "འགྲོ་བ་མིའི་རིགས་ རྒྱུད༔",
    "人人生而自由，在尊严和权利上一律平等。他們１２３、“引號”",
    "すべての人間は、生まれながらにして自由でガギグ ｶﾞ ㌔",
    "모든 인간은 태어날 때부터 자유로우며 ㄱㅏ",
    "ᠬᠦᠮᠦᠨ ᠪᠦᠷ",
    "የሰው ልጅ ሁሉ ሲወለድ ነጻ",
    "ⴰⵎⴷⴰⵏ ⵉⵍⵓⵍ",
    "ᏂᎦᏓ ᎠᏂᏴᏫ",
    "ߡߐ߱ ߓߍ߯",
    "𐐀𐐁 𞤀𞤣𞤤𞤢𞤥 𒀀𒀁 𓀀𓂀 𠮷野家 𪚥 𞺀",
)

_CONTROL = (
    "<|endoftext|>",
    "a<|endoftext|>b",
    "<|im_start|>user\nhi<|im_end|>\n",
    "<think>\n\n</think>\n\n",
    "<tool_call>{}</tool_call>",
    "<|fim_prefix|>def f(<|fim_suffix|>)<|fim_middle|>",
    "<|endoftext",
    "<| endoftext |>",
    "<s>[INST] x [/INST]</s>",
    "<unk><pad>[CLS]",
    "<|vision_start|><|image_pad|><|vision_end|>",
    "<|begin_of_text|><bos><eos>",
    "Ġthe Ċ ĉ Ã© Â",
)

_NUMBERS = (
    "0",
    "1234567890",
    "3.14159 1,000,000 1e-9 0xDEADBEEF 1/2 ½ ¼ ² ³ Ⅷ ① 十二 ٣٤ ५६ 𝟙𝟚",
    "v1.2.3-rc4+build5",
    "2024-01-31T23:59:59Z",
    "192.168.0.1:8080 +49 (0)30 1234-5678",
)

_SPACES = (
    "",
    " ",
    "  ",
    "   a",
    "a   ",
    "a  b   c    d",
    "\n",
    "\n\n\n",
    " \n",
    "\n ",
    " \n \n  x",
    "a\n\n  b",
    "\r\n",
    "a\r\nb\rc\n\rd",
    "\r\r\n\n\r",
    "\t\tif x:\n\t\t\treturn\n\n\n\tend",
    "  \t \t",
    "x \t\n",
    "a\u00a0b\u00a0\u00a0c",
    "\u3000全角\u3000\u3000",
    "a\u2003\u2009b\u200bc\u202fd",
    "\u2028a\u2029b\x85c\x0bd\x0ce",
    "\ufeffBOM",
    "a\x00b\x1fc\x7fd",
    "x\u200c\u200dy\u00ad\u2060z",
    " .",
    "  ..",
    " !\n\n",
    "?!\r\n\r\n  ",
)

_MARKS = (
    "e\u0301 a\u0308 n\u0303 c\u0327\u0301 q\u0323\u0307 q\u0307\u0323",
    "\u0301",
    "\u0301\u0301a",
    " \u0308 x",
    "\u0344 \u0958 \u212b \u2126 \u1e9b\u0323",
    "\u1112\u1161\u11ab\u1100\u1173\u11af",
    "각\u11a8",
    "\uac00\u11a7",
    "\ufb01 \uff21 \u2460 \ufdfa",
    "\u0f73\u0f75\u0f81",
    "\U0001d15e\U0001d1c0",
    "a" + "\u0316\u0301" * 40,
    "'\u017f 'ſt 'S 'T 'Re 'LL 'vE ''s 's's",
    "’s ʼs ′s",
    "\u2adc \u0340\u0341\u0374\u037e\u0387",
)

_SYMBOLS = (
    "👍👍🏽❤️‍🔥👩‍👩‍👧‍👦🇩🇪🇫🇷🏴󠁧󠁢󠁥󠁮󠁧󠁿",
    "😀😀😀 text 😀",
    "™®©€£¥₹ ∑∫√∞≠ ← → ⇒ ■□▪ ░▒▓ ────── ╔═╗",
    "$$\\int_0^1 x^2\\,dx = \\frac{1}{3}$$ \\begin{align}",
    '{"a":[1,2,{"b":null}],"c":"\\u00e9\\n"}',
    "for(int i=0;i<n;++i){a[i]+=b[i]<<2;}//x",
    "https://example.org/a_b/c-d?e=f&g=%20h#i user@example.com",
    "<div class=\"x\"><a href='/y'>&nbsp;&lt;</a></div>",
    "SELECT * FROM t WHERE a='it''s' -- x",
    "------\n======\n******\n......",
    "!!!???...,,,;;;:::",
    "�\ufffd\ufffe\U0010ffff\ue000",
    "camelCaseHTTPServer_snake_case SCREAMING_CASE kebab-case",
    "VGhlIHF1aWNrIGJyb3duIGZveCBqdW1wcyBvdmVyIHRoZSBsYXp5IGRvZw==",
)

_ALL = _SCRIPTS + _CONTROL + _NUMBERS + _SPACES + _MARKS + _SYMBOLS

_LONG = (
    "a" * 3000,
    "ab" * 2000,
    " " * 3000,
    "\n" * 2000,
    " \n" * 1000,
    "=" * 2000,
    "7" * 500,
    "的" * 1000,
    "ก" * 1000,
    "ACGT" * 700,
    "哈" * 100 + "ha" * 400,
    "x" + " " * 700 + "y",
    "\t" * 300 + "z",
    "!" * 500 + "\n" * 500,
    # Beyond 64 KiB, where an encoder may cut its input into pieces: every text above in one, with and without breaks.
    "\n".join(_ALL) * 20,
    "".join(_ALL) * 20,
)

PROBES: list[str] = [
    *_ALL,
    *(unicodedata.normalize("NFD", text) for text in (*_SCRIPTS, *_MARKS)),
    *_LONG,
]

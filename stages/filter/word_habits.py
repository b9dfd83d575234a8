"""How languages differ in what an apostrophe, a hyphen or a full stop does to a word.

`l'homme` is two words, `o'zbek` is one; Swedish `e-post` is one word for spaCy and English `e-mail` three. Wrong by a
few per cent of the words, such habits move the share of words with a letter across FineWeb-2's limits, which were set
with datatrove's splitter for each language. The sets below say what that splitter does, as found by asking it; they
leave out what only its lists of exceptions know.
"""

from __future__ import annotations

CONTRACTIONS = 1 << 0  # `don't`, `we'll`, `cannot` are two words
ELISION = 1 << 1  # an apostrophe between letters ends a word: `l'` + `homme`
HYPHEN_JOINS = 1 << 2  # a hyphen between letters is part of the word
ARTICLE_HYPHEN = 1 << 3  # it ends a word: Maltese `il-` + `kelb`
POSSESSIVE_JOINS = 1 << 4  # `'s` is part of the word before it
ORDINAL_DOT = 1 << 5  # the full stop behind a number is part of it: `3.` is `third`
EVERY_MARK = 1 << 6  # every punctuation character is a word, inside words too

LANGUAGES: dict[int, str] = {
    CONTRACTIONS: "eng und",
    ELISION: "cat fra fur ita lij lmo ltz scn vec",
    HYPHEN_JOINS: (
        "ast bak bos cat dan deu ell fin hun hye ita kat lij lim ltz nld nno nob oci por ron spa srd srp swe tat"
    ),
    ARTICLE_HYPHEN: "mlt",
    POSSESSIVE_JOINS: "ast bos dan deu ell fin hun lim nld nno nob oci pol ron slv spa srd srp swe szl",
    ORDINAL_DOT: "bos dan deu ell hun nno nob slv srp tur",
    EVERY_MARK: "asm awa ben bho guj hin hne kan mag mai mal mar npi ory pan sin snd tam tel urd",
}


def word_habits(language: str) -> int:
    """The habits of a language (`fra_Latn`, `und`), combined; 0 where nothing is known."""
    code = language.split("_")[0]
    return sum(habit for habit, codes in LANGUAGES.items() if code in codes.split())

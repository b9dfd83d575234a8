"""Where a word ends in scripts that do not put spaces between words.

Word segmentation of Chinese, Japanese, Thai, Lao, Khmer and Burmese needs a dictionary; FineWeb-2 used jieba,
SudachiPy, PyThaiNLP, laonlp, khmer-nltk and pyidaungsu, and Kiwi for the morphemes of Korean. The rules only count
words and look for repeated runs of them, so pieces of about the same size do, if a repeated phrase is cut the same
way wherever it stands. Cutting every n characters would not: so cuts are made where the script shows them.

- Han: a grammatical particle (的, 是, 在 ...) is a word, the characters between two of them go in pairs.
- Hiragana: the same with の, は, を ...; a run of katakana is one word.
- Hangul: what stands between spaces is a word; a particle or ending at its end (는, 을, 다 ...) is another.
- Thai, Lao: a syllable begins at a vowel written before its consonant, or at a consonant that carries a vowel or a
  tone mark, unless that is the second consonant of a cluster. Consonants without a mark belong to the syllable before.
- Khmer: the same, with consonants below the base (coeng) counted as its marks.
- Burmese: a syllable begins at a consonant that neither ends one (asat) nor is stacked (virama); this is exact.

Trade-off: a Thai or Khmer word of several syllables counts as several words, and a syllable without a written vowel
is lost in its neighbour. README.md gives the mean word lengths that come of it beside FineWeb-2's bounds.
"""

from __future__ import annotations

from numba import njit

from stages.filter.characters import (
    BEFORE,
    BURMESE,
    CONSONANT,
    DIGIT,
    HAN,
    HANGUL,
    HIRAGANA,
    JOINER,
    KATAKANA,
    KHMER,
    LETTER,
    MARK,
    PARTICLE,
    ROLE_MASK,
    SCRIPT_MASK,
    THAI,
    VOWEL,
)

DOT, COMMA = 0x2E, 0x2C
THAI_O = 0x0E2D  # a consonant, and the vowel of ของ
CLUSTER_SECONDS = (0x0E22, 0x0E23, 0x0E25, 0x0E27, 0x0E8D, 0x0EA3, 0x0EA5, 0x0EA7, 0x0EBC)  # y, r, l, w
LEADING_H = (0x0E2B, 0x0EAB)  # silent, lends its tone to the next consonant
COMPLETE_VOWELS = (0x0E43, 0x0E44, 0x0EC3, 0x0EC4)  # ai: no consonant follows in its syllable
ASAT, VIRAMA, DOT_BELOW = 0x103A, 0x1039, 0x1037
#: Longest syllable, code points; ends abbreviations and runs of bare consonants.
LONGEST_SYLLABLE = 10


@njit(nogil=True, cache=True)
def unspaced_word_end(points, flags, i, end):
    """End of the word that starts at character i, and end of the particle that follows it as a word (or the same)."""
    f = flags[i]
    script = f & SCRIPT_MASK
    j = i + 1
    if script == 0:
        if f & (LETTER | DIGIT | MARK):
            while j < end and not flags[j] & SCRIPT_MASK:
                inside_number = (
                    (points[j] == DOT or points[j] == COMMA)
                    and j + 1 < end
                    and flags[j - 1] & DIGIT
                    and flags[j + 1] & DIGIT
                )
                if not (flags[j] & (LETTER | DIGIT | MARK) or inside_number):
                    break
                j += 1
        elif points[i] == DOT:
            while j < end and points[j] == DOT:
                j += 1
        return j, j
    if script in (HAN, HIRAGANA):
        while j < end and flags[j] & MARK:
            j += 1
        if not f & PARTICLE and j < end and flags[j] & SCRIPT_MASK == script and not flags[j] & PARTICLE:
            j += 1
            while j < end and flags[j] & MARK:
                j += 1
        return j, j
    if script in (KATAKANA, HANGUL):
        while j < end and (flags[j] & SCRIPT_MASK == script or flags[j] & MARK):
            j += 1
        if script == HANGUL and j - i > 1 and flags[j - 1] & PARTICLE:
            return j - 1, j
        return j, j
    if script == BURMESE:
        j = burmese_syllable_end(points, flags, i, end)
    else:
        j = syllable_end(points, flags, i, end, script)
    return j, j


@njit(nogil=True, cache=True)
def syllable_end(points, flags, i, end, script):
    """End of the Thai, Lao or Khmer syllable that starts at character i."""
    j = i + 1
    end = min(end, i + LONGEST_SYLLABLE)
    while j < end and (flags[j] & SCRIPT_MASK == script or flags[j] & MARK):
        role = flags[j] & ROLE_MASK
        if role == BEFORE:
            break
        if role == CONSONANT and flags[j] & LETTER:
            previous = flags[j - 1] & ROLE_MASK
            attached = previous == BEFORE or (script == KHMER and previous == JOINER)
            if script == THAI and j - i == 2 and is_complete(points, i, j):
                break
            if not attached and carries_mark(points, flags, j, end) and not is_cluster(points, flags, i, j, script):
                break
        j += 1
    return j


@njit(nogil=True, cache=True)
def carries_mark(points, flags, j, end):
    """Whether the consonant j is followed by a vowel or tone mark, or a consonant below it."""
    if j + 1 >= end:
        return False
    role = flags[j + 1] & ROLE_MASK
    if role == VOWEL:
        return True
    if role == JOINER:  # below it in Khmer; in Thai and Lao the sign that silences it
        return flags[j + 1] & SCRIPT_MASK == KHMER
    if points[j + 1] == THAI_O:
        return j + 2 >= end or flags[j + 2] & ROLE_MASK == CONSONANT
    return False


@njit(nogil=True, cache=True)
def is_cluster(points, flags, i, j, script):
    """Whether the consonant j belongs to the onset of the syllable that starts at i."""
    if j - i == 1:
        return flags[i] & ROLE_MASK == CONSONANT
    return script == THAI and j - i == 2 and flags[i] & ROLE_MASK == BEFORE


@njit(nogil=True, cache=True)
def is_complete(points, i, j):
    """Whether the Thai or Lao syllable i:j, ai and a consonant, takes no consonant j more: ใน, but ไทย, ใกล้, ไหน."""
    if points[i] not in COMPLETE_VOWELS or points[i + 1] in LEADING_H:
        return False
    return points[j] not in CLUSTER_SECONDS


@njit(nogil=True, cache=True)
def burmese_syllable_end(points, flags, i, end):
    """End of the Burmese syllable that starts at character i."""
    j = i + 1
    while j < end and (flags[j] & SCRIPT_MASK == BURMESE or flags[j] & MARK):
        if flags[j] & ROLE_MASK == CONSONANT and flags[j] & LETTER and points[j - 1] != VIRAMA:
            closes = j + 1 < end and (
                points[j + 1] == ASAT
                or points[j + 1] == VIRAMA
                or (points[j + 1] == DOT_BELOW and j + 2 < end and points[j + 2] == ASAT)
            )
            if not closes:
                break
        j += 1
    return j

"""Says whether a rewritten text may stand for its original: what a model added, lost, refused or copied.

A language model that rewrites invents numbers, changes the language, answers the text instead of rewriting it, or
prefaces it with "Sure, here is". Each gate finds one of these with a rule that needs no second model, and names it.

Two directions: what is in the new text and not in the old was invented (checked for every style); what is in the old
and not in the new was lost (checked for styles that promise the whole content, not for notes).

Trade-off: names are found by their capitals, so only in scripts that have them, and not in German, which writes every
noun with one. Elsewhere names in Latin letters and numbers alone are held to.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Style:
    """What a style owes its original. shortest, longest: of the new text, as a share of the old, in characters.

    keeps: share of the original's numbers and names that must be there again; 0 for styles that select.
    """

    name: str
    shortest: float
    longest: float
    keeps: float


STYLES: dict[str, Style] = {
    style.name: style
    for style in (
        Style("wikipedia", 0.4, 1.8, 0.6),
        Style("question_answer", 0.2, 2.5, 0.0),
        Style("notes", 0.05, 1.0, 0.0),
        Style("knowledge_list", 0.05, 1.2, 0.0),
        Style("textbook", 0.5, 2.5, 0.6),
    )
}

#: Most of the new text's numbers, and names, that may not be in the old one.
MOST_NEW_NUMBERS, MOST_NEW_NAMES = 0.1, 0.4

#: How models begin when they refuse. Looked for in the first 200 characters.
_REFUSAL = re.compile(
    r"\b(?:as an ai\b|i(?:'m| am) (?:sorry|unable|not able)|i (?:cannot|can't|can not|won't) "
    r"(?:help|assist|rewrite|provide|comply|fulfil|do that|create|generate)|i apologi[sz]e|"
    r"je suis désolée?|je ne peux pas (?:vous )?(?:aider|répondre|réécrire)|"
    r"es tut mir leid|ich kann (?:dir|ihnen) (?:dabei )?nicht|"
    r"lo siento,|no puedo (?:ayudar|reescribir)|mi dispiace,|sinto muito|desculpe,|"
    r"извините,|я не могу (?:помочь|выполнить)|как языковая модель)|"
    r"(?:对不起|抱歉|很抱歉)[，,]|作为一个?(?:AI|人工智能|语言模型)|我(?:无法|不能)(?:提供|帮助|满足|完成)|"
    r"申し訳(?:ありません|ございません)|죄송합니다|عذرا[ًً]?،",
    re.IGNORECASE,
)
#: How models begin when they talk to the user instead of writing the text.
_PREAMBLE = re.compile(
    r"\A\W{0,3}(?:sure\b|certainly\b|of course\b|here(?:'s| is| are) (?:the|a|your|my|some)\b|below is\b|okay\b|"
    r"voici (?:le|la|une?|les)\b|bien sûr\b|hier ist\b|natürlich[!,]|aquí (?:está|tiene|tienes)\b|claro[,!]|"
    r"вот (?:переписанн|текст)|конечно[,!]|以下是|好的[，,]|当然[，,!])",
    re.IGNORECASE,
)
_FRAME = re.compile(r"</?document>|<\|[a-z_]+\|>|\{text\}", re.IGNORECASE)
_NUMBER = re.compile(r"\d+(?:[.,:/\u066b\u066c]\d+)*")
_SENTENCE_END = '.!?:…\n"“”«»„()[]*-–—•#>|'
_NAME = re.compile(r"(?<!\w)[^\W\d_][\w'’.-]*[\w]")
_NO_NAMES_BY_CAPITALS = ("deu", "ltz", "bar")
_WORD = re.compile(r"\w+")


def numbers(text: str) -> set[str]:
    """The numbers in a text, in ASCII digits, without marks that group thousands; list markers `1.` left out."""
    found = set()
    for match in _NUMBER.finditer(text):
        at = match.start()
        line = text.rfind("\n", 0, at) + 1
        is_marker = not text[line:at].strip(" \t#*-(") and text[match.end() : match.end() + 1] in (".", ")", ":", "、")
        if is_marker:
            continue
        digits = "".join(str(unicodedata.digit(c)) if c.isdigit() and not c.isascii() else c for c in match.group())
        digits = re.sub(r"[,.](?=\d{3}(?!\d))", "", digits)
        found.add(digits.replace(",", "."))
    return found


def names(text: str, language: str) -> set[str]:
    """Names by their capitals, in lower case: capitalised words that do not begin a sentence, and words with more than
    one capital. In scripts without capitals, words in Latin letters. Empty for languages that capitalise all nouns."""
    if language.split("_")[0] in _NO_NAMES_BY_CAPITALS:
        return set()
    found = set()
    for match in _NAME.finditer(text):
        word = match.group()
        capitals = sum(c.isupper() for c in word)
        if not capitals:
            continue
        before = text[: match.start()].rstrip(" \t")
        begins = not before or before[-1] in _SENTENCE_END
        if capitals > 1 or not begins:
            found.add(word.strip(".'’-").casefold())
    return found


def _runs(text: str, size: int) -> set[tuple[str, ...]]:
    """The different runs of `size` words in a text, in lower case."""
    words = _WORD.findall(text.casefold())
    return {tuple(words[i : i + size]) for i in range(len(words) - size + 1)}


def copied(original: str, rewritten: str, size: int = 8) -> float:
    """Share of the new text's different runs of `size` words that stand in the old one; 0 if it is shorter."""
    own = _runs(rewritten, size)
    return len(own & _runs(original, size)) / len(own) if own else 0.0


def find_fault(
    original: str,
    rewritten: str,
    style: Style,
    language: str,
    instruction: str = "",
    language_of: Callable[[str], str] | None = None,
) -> str | None:
    """The first gate that a rewritten text does not pass, by name; None if it passes all.

    language: code of the original, `und` if unknown. instruction: the prompt, of which no sentence may come back.
    language_of: gives the language code of a text, `und` if it cannot tell.
    """
    if _REFUSAL.search(rewritten[:200]) and not _REFUSAL.search(original[:200]):
        return "refusal"
    if _PREAMBLE.search(rewritten) and not _PREAMBLE.search(original):
        return "preamble"
    if _FRAME.search(rewritten) and not _FRAME.search(original):
        return "prompt_leak"
    if instruction and _runs(rewritten, 10) & _runs(instruction, 10) - _runs(original, 10):
        return "prompt_leak"
    ratio = len(rewritten) / max(1, len(original))
    if ratio < style.shortest:
        return "too_short"
    if ratio > style.longest:
        return "too_long"
    old, new = numbers(original), numbers(rewritten)
    if len(new - old) > MOST_NEW_NUMBERS * len(new):
        return "numbers_added"
    if len(old & new) < style.keeps * len(old):
        return "numbers_lost"
    text = original.casefold()
    new_names = names(rewritten, language)
    if sum(name not in text for name in new_names) > max(1.0, MOST_NEW_NAMES * len(new_names)):
        return "names_added"
    old_names, after = names(original, language), rewritten.casefold()
    if sum(name in after for name in old_names) < style.keeps / 2 * len(old_names):
        return "names_lost"
    if language_of is not None and language not in ("und", "zxx"):
        now = language_of(rewritten)
        if now not in ("und", "zxx", language) and now.split("_")[0] != language.split("_")[0]:
            return "language_changed"
    if copied(original, rewritten) > 0.9:
        return "copied"
    return None

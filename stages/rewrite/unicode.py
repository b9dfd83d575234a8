"""Repairs broken characters: mojibake, decomposed letters, invisible and stray control characters, odd line ends.

The same word must be the same bytes, or a model learns it several times, and a tokenizer cuts it to pieces. Damage is
rare (one page in a few hundred has mojibake), repair is slow (ftfy reads 4 MB/s); so every kind of damage has a
pattern that RE2 looks for over the column, at about 600 MB/s, and only texts that match are touched. The pattern for
mojibake is ftfy's own, taken from the package and brought to RE2's syntax, so that ftfy misses nothing by it.

Trade-off: only what cannot be meant is changed. Curly quotes, ligatures, full-width letters, private use characters
and emoji stay as the author wrote them; ftfy's and NFKC's habit to normalise them would take knowledge out of the text.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, PrivateAttr

from curation.stage import Stage

_TERMINAL = r"\x{1b}\[[0-9;?]*[A-Za-z]"
_LINE_ENDS = r"\r\n?|[\x{0b}\x{0c}\x{85}\x{2028}\x{2029}]"
_SPACES = r"[\x{a0}\x{2000}-\x{200a}\x{202f}\x{205f}]"

# Invisible, and without use to a reader of text in logical order: soft hyphen, word joiner and invisible operators,
# marks and brackets of the bidirectional algorithm, annotation marks, object replacement, byte order mark,
# noncharacters, and the control characters that are no white space.
_INVISIBLE = (
    r"[\x{00}-\x{08}\x{0e}-\x{1f}\x{7f}-\x{84}\x{86}-\x{9f}\x{ad}\x{61c}\x{200e}\x{200f}\x{202a}-\x{202e}"
    r"\x{2060}-\x{2064}\x{2066}-\x{206f}\x{feff}\x{fff9}-\x{fffc}\x{fffe}\x{ffff}\x{fdd0}-\x{fdef}]"
)

# The zero-width space separates words in scripts that write none, where it is worth keeping.
_ZERO_WIDTH_SPACE = r"(^|[^\p{Khmer}\p{Thai}\p{Lao}\p{Myanmar}\p{Tibetan}\x{200b}])\x{200b}+"


class FixUnicode(Stage, name="fix_unicode"):
    """Repairs encoding damage and brings the text to one Unicode form.

    In this order, each step a key that can be set to false:

    - `terminal`: colour and cursor sequences of terminals are removed;
    - `mojibake`: UTF-8 that was read as another encoding (`FranÃ§ois`) is read again, line by line, by ftfy (Speer
      2019) with its heuristics for encodings and nothing else;
    - `line_ends`: CR LF, CR, form feed, vertical tab, NEL and the Unicode line and paragraph separators become `\\n`;
    - `invisible`: soft hyphens, zero-width spaces, byte order marks, bidirectional controls, control characters and
      noncharacters are removed. ZWJ and ZWNJ stay, Persian, Indic scripts and emoji need them, as do variation
      selectors, and the zero-width space after a letter of Khmer, Thai, Lao, Myanmar or Tibetan, where it parts words;
    - `spaces`: no-break, thin and other spaces become a plain space, the ideographic space stays;
    - `nfc`: the text is brought to NFC (Unicode Standard Annex 15), the form in which nearly all of the web is written.

    Counts the documents that each step changed (`documents_mojibake`, ...) and those changed at all
    (`documents_repaired`). A text that becomes empty stays in the corpus as an empty text.
    """

    terminal: bool = Field(True, description="remove terminal escape sequences")
    mojibake: bool = Field(True, description="read text again that was decoded with the wrong encoding")
    line_ends: bool = Field(True, description="write every line end as a newline")
    invisible: bool = Field(True, description="remove invisible and control characters")
    spaces: bool = Field(True, description="write every kind of space but the ideographic one as a plain space")
    nfc: bool = Field(True, description="bring the text to Unicode normalization form C")

    _ftfy: Any = PrivateAttr(None)

    def adds(self) -> dict[str, pa.DataType]:
        return {"text": pa.large_string()}

    def setup(self) -> None:
        from ftfy import TextFixerConfig

        self._ftfy = TextFixerConfig(
            unescape_html=False,
            remove_terminal_escapes=False,
            fix_latin_ligatures=False,
            fix_character_width=False,
            uncurl_quotes=False,
            fix_line_breaks=False,
            fix_surrogates=False,
            remove_control_chars=False,
            normalization=None,
            explain=False,
        )
        composable_pattern()  # 0.1 s, once a worker

    def __call__(self, docs: pa.Table) -> pa.Table:
        if self._ftfy is None:
            self.setup()
        original = docs["text"].combine_chunks().cast(pa.large_string())
        text = original
        ascii_only = pc.fill_null(pc.string_is_ascii(text), True)
        plain = bool(pc.all(ascii_only).as_py())
        if self.terminal:
            text = self._step("terminal", text, _replace(text, _TERMINAL, ""))
        if self.mojibake and not plain:
            text = self._step("mojibake", text, self._read_again(text))
        if self.line_ends:
            text = self._step("line_ends", text, _replace(text, _LINE_ENDS, "\n"))
        if self.invisible:
            text = self._step("invisible", text, _replace(_replace(text, _INVISIBLE, ""), _ZERO_WIDTH_SPACE, r"\1"))
        if self.spaces and not plain:
            text = self._step("spaces", text, _replace(text, _SPACES, " "))
        if self.nfc and not plain:
            text = self._step("nfc", text, _normalize(text))
        self._step("repaired", original, text)
        return docs.set_column(docs.schema.get_field_index("text"), "text", text)

    def _step(self, name: str, before: pa.Array, after: pa.Array) -> pa.Array:
        """Count the documents that a step changed."""
        if after is not before:
            self.metrics.count(f"documents_{name}", pc.sum(pc.not_equal(before, after)).as_py() or 0)
        return after

    def _read_again(self, text: pa.Array) -> pa.Array:
        mask = _matches(text, mojibake_pattern())
        if mask is None:
            return text
        from ftfy import fix_text

        fixed = [fix_text(one, self._ftfy) for one in text.filter(mask).to_pylist()]
        # A repair can bring to light half of a surrogate pair (CESU-8), which no UTF-8 text can hold
        fixed = [one.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for one in fixed]
        return pc.replace_with_mask(text, mask, pa.array(fixed, text.type))


def _matches(text: pa.Array, pattern: str) -> pa.Array | None:
    """Where a pattern occurs; None if nowhere."""
    mask = pc.fill_null(pc.match_substring_regex(text, pattern), False)
    return mask if pc.any(mask).as_py() else None


def _replace(text: pa.Array, pattern: str, replacement: str) -> pa.Array:
    """Replace a pattern in the texts that have it; the same array if none has."""
    mask = _matches(text, pattern)
    if mask is None:
        return text
    return pc.replace_with_mask(text, mask, pc.replace_substring_regex(text.filter(mask), pattern, replacement))


def _normalize(text: pa.Array) -> pa.Array:
    """The texts in NFC; the same array if all are."""
    mask = _matches(text, composable_pattern())
    return text if mask is None else pc.replace_with_mask(text, mask, pc.utf8_normalize(text.filter(mask), "NFC"))


@cache
def composable_pattern() -> str:
    """RE2 class of the characters that a text in another form than NFC must have one of.

    These are the characters whose NFC quick check is No or Maybe (Unicode Standard Annex 15, section 9): what NFC
    replaces, what may combine with a character before it, and marks, which may have to change places.
    """
    codes = set(range(0x1161, 0x1176)) | set(range(0x11A8, 0x11C3))  # Hangul vowels and finals, composed by rule
    # No other block has one: the rest is Han, Hangul syllables, surrogates, private use and what is not assigned yet.
    for code in (*range(0x300, 0x3400), *range(0xA000, 0xAC00), *range(0xF900, 0x20000), *range(0x2F800, 0x2FA20)):
        character = chr(code)
        if unicodedata.combining(character) or unicodedata.normalize("NFC", character) != character:
            codes.add(code)
        parts = unicodedata.decomposition(character).split()
        if len(parts) == 2 and parts[0][0] != "<":
            codes.add(int(parts[1], 16))
    return "[" + "".join(rf"\x{{{first:x}}}-\x{{{last:x}}}" for first, last in _ranges(codes)) + "]"


def _ranges(codes: Iterable[int]) -> list[tuple[int, int]]:
    ordered = np.array(sorted(codes))
    breaks = np.flatnonzero(np.diff(ordered) > 1)
    firsts = ordered[np.concatenate([[0], breaks + 1])]
    lasts = ordered[np.concatenate([breaks, [len(ordered) - 1]])]
    return list(zip(firsts.tolist(), lasts.tolist(), strict=True))


@cache
def mojibake_pattern() -> str:
    r"""ftfy's pattern for mojibake in RE2's syntax.

    RE2 has no verbose mode, so comments and white space go; its `\s` and `\w` are ASCII, so they are spelled out; and
    `^` is the start of a line, since ftfy looks at single lines.
    """
    from ftfy.badness import BADNESS_RE

    source = BADNESS_RE.pattern
    spelled = {r"\s": r"[\x{09}-\x{0d}\x{1c}-\x{20}\x{85}\p{Zs}\p{Zl}\p{Zp}]", r"\w": r"[\p{L}\p{N}_]"}
    pieces, i, in_class = [], 0, False
    while i < len(source):
        character = source[i]
        if character == "\\":
            pieces.append(spelled.get(source[i : i + 2], source[i : i + 2]))
            i += 2
            continue
        if not in_class and character == "#":
            i = source.index("\n", i)
        elif in_class or not character.isspace():
            pieces.append(character)
            in_class = character == "[" or (in_class and character != "]")
        i += 1
    return "(?m)" + "".join(pieces)

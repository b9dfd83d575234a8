"""The order in which a file's text and Qwen's control tokens follow each other, and the way back to the files.

Qwen2.5-Coder writes a file as it is, or cut in three for filling in the middle, and a repository as its name and its
files, each after a token and its path (Hui et al. 2024, sections 3.2.1 and 3.2.2):

    <|fim_prefix|>prefix<|fim_suffix|>suffix<|fim_middle|>middle
    <|repo_name|>name↵<|file_sep|>path↵content↵<|file_sep|>path↵content

Pieces of text are tokenized each by itself, control tokens are put between as ids: no text can imitate one, and nothing
is lost, so that `restore` gives the files back to the last byte.

Trade-off: tokens do not reach over a cut, as they would not when a model is asked to fill one in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

#: Qwen2.5's and Qwen3's ids.
ENDOFTEXT = 151643
FIM_PREFIX, FIM_MIDDLE, FIM_SUFFIX, FIM_PAD, REPO_NAME, FILE_SEP = range(151659, 151665)
CONTROL = {
    "<|endoftext|>": ENDOFTEXT,
    "<|fim_prefix|>": FIM_PREFIX,
    "<|fim_middle|>": FIM_MIDDLE,
    "<|fim_suffix|>": FIM_SUFFIX,
    "<|fim_pad|>": FIM_PAD,
    "<|repo_name|>": REPO_NAME,
    "<|file_sep|>": FILE_SEP,
}

#: A control token's id, or a piece of text.
Piece = int | str
Order = Literal["psm", "spm"]


def cut_in_three(text: str, first: int, second: int, order: Order) -> list[Piece]:
    """The pieces of a text cut at two characters. `psm`: prefix, suffix, middle; `spm`: suffix first, and prefix and
    middle in one (Bavarian et al. 2022, section 3)."""
    low, high = sorted((first, second))
    prefix, middle, suffix = text[:low], text[low:high], text[high:]
    if order == "psm":
        return [FIM_PREFIX, prefix, FIM_SUFFIX, suffix, FIM_MIDDLE, middle]
    return [FIM_PREFIX, FIM_SUFFIX, suffix, FIM_MIDDLE, prefix, middle]


def of_repository(name: str, files: Sequence[tuple[str, str]], last: list[Piece] | None = None) -> list[Piece]:
    """The pieces of a repository's files (path, content); `last` stands for the content of the last, if given."""
    pieces: list[Piece] = [REPO_NAME, f"{_line(name)}\n"]
    for number, (path, content) in enumerate(files):
        pieces += [FILE_SEP, f"{_line(path)}\n"]
        if number == len(files) - 1:
            pieces += last if last is not None else [content]
        else:
            pieces.append(f"{content}\n")
    return pieces


def _line(name: str) -> str:
    """A name on one line."""
    return name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")


def _name(line: str) -> str:
    """The inverse of `_line`."""
    out, at = [], 0
    while at < len(line):
        pair = line[at : at + 2]
        known = {"\\\\": "\\", "\\n": "\n", "\\r": "\r"}.get(pair)
        out.append(known or line[at])
        at += 2 if known else 1
    return "".join(out)


def restore(ids: Sequence[int], decode: Callable[[list[int]], str]) -> tuple[str | None, list[tuple[str | None, str]]]:
    """The name of the repository and its files (path, content) that ids were made of; for a single file null, and one
    file without a path. `decode` gives the text of ids without control tokens. ValueError if the order is broken."""
    pieces: list[tuple[int | None, list[int]]] = [(None, [])]
    controls = set(CONTROL.values())
    for token in ids:
        if token == ENDOFTEXT:
            break
        if token in controls:
            pieces.append((token, []))
        else:
            pieces[-1][1].append(int(token))
    texts = [(kind, decode(tokens)) for kind, tokens in pieces]
    if texts[0] == (None, "") and len(texts) > 1:
        texts = texts[1:]
    if texts[0][0] != REPO_NAME:
        return None, [(None, _whole(texts))]
    name = _name(texts[0][1].removesuffix("\n"))
    files: list[tuple[str | None, str]] = []
    at = 1
    while at < len(texts):
        if texts[at][0] != FILE_SEP:
            raise ValueError(f"control token {texts[at][0]} where a file begins")
        path, newline, content = texts[at][1].partition("\n")
        if not newline:
            raise ValueError("a path without an end")
        end = at + 1
        while end < len(texts) and texts[end][0] != FILE_SEP:
            end += 1
        whole = _whole([(None, content), *texts[at + 1 : end]])
        files.append((_name(path), whole if end == len(texts) else whole[:-1]))
        at = end
    return name, files


def _whole(texts: list[tuple[int | None, str]]) -> str:
    """The text of a file, cut in three or not."""
    if len(texts) > 1 and texts[0] == (None, ""):
        texts = texts[1:]
    kinds = [kind for kind, _ in texts]
    if kinds == [None]:
        return texts[0][1]
    if kinds == [FIM_PREFIX, FIM_SUFFIX, FIM_MIDDLE]:
        prefix, suffix, middle = (text for _, text in texts)
        return prefix + middle + suffix  # `spm`: the prefix is empty, and stands before the middle
    raise ValueError(f"control tokens {kinds} are no file")

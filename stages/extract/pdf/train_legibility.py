"""Trains the model that tells text from what a broken font map or a bad OCR layer makes of it.

    python -m stages.extract.pdf.train_legibility SENTENCES.parquet

SENTENCES.parquet has the columns `code` (language) and `text`, in many languages; one seventh of each language's
sentences is kept apart, and the error rates on it are printed. Pages are made of them, and damaged the way PDFs damage
text: letters mapped to other letters (a wrong ToUnicode map), codes taken for characters (no map), one encoding read as
another, characters misread. What is ordinary for pages and not for prose is not damage and is trained as such: numbers,
program code, capitals, a few misread characters. The model is a logistic regression on hashed
character n-grams: a word of any language is fine, a word of none is not.
"""

from __future__ import annotations

import argparse
import lzma
import random
from collections import defaultdict

import numpy as np
import pyarrow.parquet as pq
from numba import njit

from stages.extract.pdf.legibility import BUCKETS, MODEL, SCALE, Legibility, buckets, folded

RATE = 2.0  # of AdaGrad

_CODEPAGES = {
    "Cyrl": ("cp1251", "koi8-r", "cp866", "mac-cyrillic"),
    "Grek": ("cp1253",),
    "Hebr": ("cp1255",),
    "Arab": ("cp1256",),
    "Thai": ("cp874",),
    "Hans": ("gb18030",),
    "Hant": ("big5hkscs",),
    "Jpan": ("cp932", "euc_jp"),
    "Hang": ("cp949",),
}
_MISREAD = "1lIi|!{}[]()tfjr.,:;'`~^-_cCeoO0QDgqaA@uvVyYwnmhb/\\<>*+=%$&#258BSsZz79"


def pages(sentences: list[str], count: int, rng: random.Random) -> list[str]:
    """So many texts of 60 to 1,200 characters."""
    made = []
    for _ in range(count):
        size, text = rng.choice((60, 150, 300, 500, 800, 1200)), ""
        while len(text) < size:
            text += rng.choice(sentences) + " "
        made.append(text[: size + 40].strip())
    return made


def harmless(text: str, rng: random.Random) -> str:
    """A text with something that pages have and that is no damage."""
    kind = rng.randrange(8)
    words = text.split(" ")
    if kind == 0:
        return text.upper()
    if kind == 1:  # a table
        return " ".join(
            f"{rng.uniform(0, 10 ** rng.randint(0, 5)):.{rng.randint(0, 3)}f}" if rng.random() < 0.6 else w
            for w in words
        )
    if kind == 2:  # program code, commands, paths
        marks = ("_", "(", ")", " = ", "->", "/", ".", "::", "--", "{", "}", ";", '"', "$", "#")
        return "".join(w + rng.choice(marks) if rng.random() < 0.5 else w + " " for w in words)
    if kind == 3:  # addresses, names of files, codes
        return " ".join(
            rng.choice(
                (
                    f"http://{w}.org/{w}",
                    f"{w}@{w}.com",
                    f"{w}.{rng.randint(1, 99)}",
                    f"[{rng.randint(1, 99)}]",
                    f"{w}-{rng.randint(1, 9)}.pdf",
                )
            )
            if rng.random() < 0.25
            else w
            for w in words
        )
    if kind == 4:
        return misread(text, rng.uniform(0.0, 0.03), rng)
    if kind == 5:  # names and initials
        return " ".join(
            w.title() + (f" {rng.choice('ABCDEFGHJKLMNPRSTW')}." if rng.random() < 0.3 else "") for w in words
        )
    return text


def misread(text: str, share: float, rng: random.Random) -> str:
    """A text of which this share of characters was misread."""
    out = []
    for c in text:
        chance = rng.random()
        if chance >= share or c == " ":
            out.append(" " if c == " " and chance < share / 4 and False else c)
        elif chance < 0.15 * share:
            continue
        elif chance < 0.3 * share:
            out.append(c + rng.choice(_MISREAD))
        elif chance < 0.4 * share:
            out.append(" ")
        else:
            out.append(rng.choice(_MISREAD))
    return "".join(out)


def damaged(text: str, code: str, rng: random.Random) -> str:
    """A text as a broken PDF gives it."""
    kind = rng.randrange(7)
    letters = sorted({c for c in text.lower() if c.isalpha()})
    if kind <= 1 and len(letters) > 4:  # letters for letters, by a shift or at random
        if kind == 0:
            k = rng.randrange(1, len(letters))
            others = letters[k:] + letters[:k]
        else:
            others = rng.sample(letters, len(letters))
        table = {ord(a): b for a, b in zip(letters, others, strict=True)}
        table |= {ord(a.upper()): b.upper() for a, b in zip(letters, others, strict=True) if len(a.upper()) == 1}
        return text.translate(table)
    if kind == 2:  # glyph numbers for characters
        k = rng.choice((-29, -29, -31, -28, 1, 3, 29, 31, rng.randrange(-60, 60)))
        return "".join(
            c if c == " " else chr(min(0xFFFF, max(33, ord(c) + k))) if ord(c) < 128 else chr(33 + (ord(c) + k) % 94)
            for c in text
        )
    if kind == 3:  # one encoding read as another
        data, pages_of = text.encode(), _CODEPAGES.get(code[-4:], ())
        if pages_of and rng.random() < 0.7:
            data = text.encode(rng.choice(pages_of), "replace")
        if not text.isascii():
            return data.decode(rng.choice(("latin-1", "cp1252", "mac-roman")), "replace").replace("\ufffd", "")
    if kind == 4:  # glyphs by their place in a subset font
        signs = [chr(33 + i) for i in range(94)] + [chr(161 + i) for i in range(90)]
        known: dict[str, str] = {}
        return "".join(c if c == " " else known.setdefault(c, signs[len(known) % len(signs)]) for c in text)
    return misread(text, rng.uniform(0.2, 0.6), rng)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sentences")
    parser.add_argument("--pages", type=int, default=200, help="per language and label")
    parser.add_argument("--epochs", type=int, default=8)
    options = parser.parse_args()
    table = pq.read_table(options.sentences, columns=["code", "text"])
    by_code: dict[str, list[str]] = defaultdict(list)
    for code, text in zip(table["code"].to_pylist(), table["text"].to_pylist(), strict=True):
        if len(text) > 15:
            by_code[code].append(text.replace("\n", " "))
    rng = random.Random(0)
    train: list[tuple[bool, str]] = []
    test: list[tuple[bool, str]] = []
    for code in sorted(by_code):
        sentences = by_code[code]
        rng.shuffle(sentences)
        cut = max(10, len(sentences) // 7)
        for part, count in ((sentences[:cut], 12), (sentences[cut:], options.pages)):
            good = [harmless(page, rng) for page in pages(part, count, rng)]
            bad = [damaged(page, code, rng) for page in pages(part, count, rng)]
            rows = [(True, page) for page in good] + [(False, page) for page in bad]
            (test if count == 12 else train).extend(rows)
    order = list(range(len(train)))
    rng.shuffle(order)
    runs = [buckets(folded(train[i][1])) for i in order]
    starts = np.cumsum([0, *(len(run) for run in runs)])
    truth = np.array([train[i][0] for i in order], np.float64)
    weights = fit(np.concatenate(runs), starts, truth, options.epochs)
    stored = np.clip(np.round(weights * SCALE), -127, 127).astype(np.int8)
    MODEL.write_bytes(lzma.compress(stored.tobytes(), preset=9))
    model = Legibility.load()
    for label, what in ((True, "text"), (False, "damaged text")):
        for low, high in ((0, 100), (100, 400), (400, 5000)):
            scores = np.array([model.of(page) for good, page in test if good == label and low <= len(page) < high])
            wrong = [float(((scores < t) if label else (scores >= t)).mean()) for t in (0.1, 0.3, 0.5)]
            print(
                f"{what} of {low} to {high} characters: wrong at 0.1, 0.3, 0.5:",
                *(f"{w:.4f}" for w in wrong),
                len(scores),
            )


@njit
def fit(runs, starts, truth, epochs):
    """Weights of a logistic regression by AdaGrad, float64 (BUCKETS,); the first is the bias."""
    weights = np.zeros(BUCKETS)
    squares = np.full(BUCKETS, 1e-8)
    for _ in range(epochs):
        for i in range(len(truth)):
            row = runs[starts[i] : starts[i + 1]]
            n = len(row)
            if n == 0:
                continue
            total = weights[0]
            for run in row:
                total += weights[run] / n
            error = 1 / (1 + np.exp(-total)) - truth[i]
            squares[0] += error * error
            weights[0] -= 0.05 * error / np.sqrt(squares[0])
            step = error / n
            for run in row:
                squares[run] += step * step
                weights[run] -= RATE * step / np.sqrt(squares[run])
    return weights


if __name__ == "__main__":
    main()

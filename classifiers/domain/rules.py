"""Says by counting whether a document is of a domain: the seeds of recall, and the check of its candidates.

A rule knows little but is not learnt: it looks for what a text of the domain cannot do without (formulas, names of
theorems; programs, names with underscores), as marks in every thousand characters. A classifier trained on what the
rule found goes on to texts of the same kind that show fewer marks; the rule then says of a sample of those whether to
believe it.

Trade-off: the words are those of eight languages with Latin letters, Russian and Chinese; formulas and programs look
the same in all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


@dataclass(frozen=True)
class Rule:
    """marks: (pattern for RE2, points for each). seed, accept: points in a thousand characters from which a document is
    taken for a seed, and a candidate for one of the domain. kinds: different patterns that must be there."""

    marks: tuple[tuple[str, float], ...]
    seed: float
    accept: float
    kinds: int = 2


RULES: dict[str, Rule] = {
    "math": Rule(
        (
            (r"\\(?:frac|sum|int|sqrt|prod|lim|begin\{(?:equation|align|matrix|pmatrix)|mathbb|mathcal|partial|infty|leq|geq|cdot|in\b|to\b)", 1.0),  # noqa: E501
            (r"[∑∏∫√∞≤≥≠≈∈∉⊂⊆∪∩∀∃∂∇±×÷⇒⇔ℝℤℕℚℂ]", 0.7),
            (r"\$[^$\n]{1,80}[\\^_=+][^$\n]{0,80}\$", 1.0),
            (r"[0-9a-zA-Z)\]]\s?[=<>]\s?-?[0-9a-zA-Z(\\][^;{}\n]{0,30}[-+*/^]", 0.3),
            (r"(?i)\b(?:theorem|lemma|corollary|proof|equations?|polynomials?|integrals?|derivatives?|matri(?:x|ces)|eigenvalues?|"
             r"probabilit(?:y|ies)|logarithms?|trigonometr\w+|cosine|arithmetic|algebra\w*|geometr\w+|calculus|numerator|"
             r"denominator|fractions?|exponents?|quadratic|divisor|modulo|vectors?|variance|coefficients?|"
             r"théorème|lemme|équations?|polynômes?|satz|beweis|gleichung(?:en)?|teorema|ecuaci(?:ón|ones)|equazion[ei]|"
             r"równani[ea]|twierdzenie|теорем\w+|уравнени\w+|матриц\w+)\b|定理|方程|证明|證明|函数|矩阵|概率|积分", 0.6),  # noqa: E501
        ),
        seed=4.0,
        accept=1.5,
    ),
    "code-text": Rule(
        (
            (r"(?m)^\s*(?:def|class|import|from|return|function|var|let|const|public|private|static|if|for|while|#include|package|using)\b.*[:;{)]\s*$", 1.0),  # noqa: E501
            (r"(?m)[;{}]\s*$", 0.5),
            (r"(?m)^\s*(?:\$|>>>|#!|%|sudo )\s?\S", 0.6),
            (r"\b[a-z]+(?:_[a-z0-9]+)+\b|\b[a-z]+(?:[A-Z][a-z0-9]+)+\b|\b\w+\(\)", 0.4),
            (r"\B--?[a-z][a-z-]+\b|\b[\w/-]+\.(?:py|js|c|h|cpp|java|sh|conf|json|xml|yml|rb|go|rs)\b", 0.4),
            (r"(?i)\b(?:functions?|compilers?|compile|api|parameters?|arguments?|variables?|strings?|arrays?|pointers?|"
             r"librar(?:y|ies)|methods?|syntax|source code|command line|repository|debug\w*|runtime|callback|"
             r"funktion(?:en)?|quelltext|bibliothek|fonctions?|paramètres?|función|parámetros?|функци\w+|параметр\w*)\b|函数|参数|编译|代码", 0.25),  # noqa: E501
        ),
        seed=12.0,
        accept=4.0,
        kinds=3,
    ),
}  # fmt: skip


def points(rule: Rule, texts: pa.Array, max_characters: int = 20_000) -> np.ndarray:
    """Points of each text in a thousand characters, 0 where fewer than `kinds` patterns are there; float64."""
    head = pc.utf8_slice_codeunits(pc.fill_null(texts, ""), 0, max_characters)
    size = pc.utf8_length(head).to_numpy().astype(float)
    total, kinds = np.zeros(len(texts)), np.zeros(len(texts), int)
    for pattern, worth in rule.marks:
        found = pc.count_substring_regex(head, pattern).to_numpy()
        total += worth * found
        kinds += found > 0
    return np.where(kinds >= rule.kinds, 1000 * total / np.maximum(size, 200), 0.0)

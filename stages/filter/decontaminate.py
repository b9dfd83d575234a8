"""Drops documents that repeat items of benchmarks, so that a test of the trained model measures what it should.

Two things are asked of a stretch of a document. Does it hold a run of an item's words (Qwen2.5-Coder: 10-grams;
Qwen2.5-Math: 13-grams)? And how much of the item does it hold in order, with other words between or in place of some
(Qwen2.5-Math: a longest common subsequence over 0.6)? The first finds copies of a part, the second paraphrases.

Trade-off: words are compared as they are written. A translation, or a problem told anew with the same numbers, is not
found; that would take a model a document.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field, PrivateAttr

from curation.errors import ConfigError
from curation.stage import Filter, Outcome

if TYPE_CHECKING:
    from stages.filter.benchmark_index import Benchmarks

#: Kinds of items, in the order in which they are looked for.
KINDS = ("text", "code")
#: Characters of a document that the report shows.
_EXCERPT = 160


class Decontaminate(Filter, name="decontaminate"):
    """Drops documents that repeat a benchmark's question or answer, word for word or nearly.

    `index` is a file that `curation decontaminate index` made of benchmark files. Words are compared without case,
    accents, punctuation and spacing, numbers as they are. A document goes if a stretch of it about as long as an item
    has a run of `ngram` of the item's words (all of a shorter item), or, in order, more than `min_lcs` of them and ten
    at least. `match` asks for one of the two (`either`), for both, or for one only. In programs (HumanEval, MBPP) every
    sign is a word; there `code_ngram` and `code_min_lcs` must both hold, for any two loops have half of their signs in
    common. A run by itself counts with at least 0.3 of the item in order around it.

    Items of fewer than 8 words, or 40 code tokens, say nothing of their own and are not in the index; of an item longer
    than 512 words the first 512 count.

    Drop reasons: `benchmark_ngram` (there is such a run), `benchmark_similar` (there is none). The detail names the
    item and quotes the document: `gsm8k/17 question lcs=0.93 run=27: "…"`. Counters: `found=<benchmark>`, `compared`.

    Sources: Qwen2.5-Coder (Hui et al. 2024, section 5), Qwen2.5-Math (Yang et al. 2024, section 4).
    """

    index: str = Field(description="file that `curation decontaminate index` wrote (path or URL)")
    ngram: int = Field(13, ge=5, le=64, description="words of a run that counts; Qwen2.5-Coder takes 10")
    min_lcs: float = Field(
        0.6, ge=0.3, le=1, description="a stretch is similar if it has more than this share of an item's words in order"
    )
    match: Literal["either", "both", "ngram", "lcs"] = Field(
        "either", description="whether a run, similarity, one of them or both make a document go"
    )
    code_min_lcs: float = Field(0.75, ge=0.3, le=1, description="as `min_lcs`, of code tokens")
    code_ngram: int = Field(10, ge=5, le=64, description="code tokens of a run that counts in programs")
    parts: list[Literal["question", "answer"]] = Field(
        ["question", "answer"], min_length=1, description="parts of the items to look for"
    )

    _benchmarks: Benchmarks | None = PrivateAttr(None)

    def check(self) -> None:
        from stages.filter.benchmark_index import load_index

        if not any(items.num_rows for items in load_index(self.index, self.parts).items.values()):
            raise ConfigError(f"decontaminate: {self.index} holds no {' or '.join(self.parts)}")

    def files(self) -> Sequence[str]:
        return [self.index]

    def setup(self) -> None:
        from stages.filter.benchmark_index import load_index

        self._benchmarks = load_index(self.index, self.parts)
        self(pa.table({"text": pa.array(["compile"], pa.large_string())}))
        self.metrics.counters.clear()

    def __call__(self, docs: pa.Table) -> Outcome:
        from stages.dedup.words import fold_table, text_buffers
        from stages.filter.item_overlap import find_items
        from stages.filter.words_and_tokens import byte_values

        if self._benchmarks is None:
            self.setup()
        assert self._benchmarks is not None
        n = docs.num_rows
        reason: list[str | None] = [None] * n
        detail: list[str | None] = [None] * n
        data, offsets = text_buffers(docs["text"])
        kind, item, begin, end, run = (np.zeros(n, np.int64) for _ in range(5))
        share = np.zeros(n)
        prose, code = (self._benchmarks.seeds[name].arrays() for name in KINDS)
        prose_rule = (
            self.ngram, 2.0 if self.match == "ngram" else self.min_lcs, self.match in ("either", "ngram"),
            self.match == "both",
        )  # fmt: skip
        code_rule = (self.code_ngram, self.code_min_lcs, False, True)
        compared = find_items(
            data, offsets, fold_table(False), byte_values(), prose, code, prose_rule, code_rule,
            kind, item, begin, end, share, run,
        )  # fmt: skip
        self.metrics.count("compared", compared)
        for row in np.flatnonzero(item >= 0).tolist():
            reason[row], detail[row] = self._say(
                docs["text"].slice(row, 1), KINDS[kind[row]], int(item[row]), int(begin[row]), int(end[row]),
                float(share[row]), int(run[row]),
            )  # fmt: skip
        return Outcome(docs, dropped=pa.array(reason, pa.string()), detail=pa.array(detail, pa.string()))

    def _say(
        self, text: pa.ChunkedArray, kind: str, item: int, begin: int, end: int, share: float, run: int
    ) -> tuple[str, str]:
        """Reason and detail of one document whose words [begin, end) repeat an item."""
        from stages.filter.benchmark_index import words_and_places

        assert self._benchmarks is not None
        benchmark, number, part = (
            self._benchmarks.items[kind][name][item].as_py() for name in ("benchmark", "item", "part")
        )
        _, begins, ends, _ = words_and_places(text, kind)
        quoted = text[0].as_py().encode()[begins[begin] : ends[end - 1]].decode("utf-8", "replace")
        quoted = " ".join(quoted.split())[:_EXCERPT]
        starts = self._benchmarks.seeds[kind].starts
        whole = run >= min(self.code_ngram if kind == "code" else self.ngram, starts[item + 1] - starts[item])
        self.metrics.count(f"found={benchmark}")
        reason = "benchmark_ngram" if whole else "benchmark_similar"
        return reason, f'{benchmark}/{number} {part} lcs={share:.2f} run={run}: "{quoted}"'

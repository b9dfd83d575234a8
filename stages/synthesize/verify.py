"""Verifies documents that `synthesize` wrote once more, from what was kept beside them.

A corpus travels, and its makers' word is not a proof: whoever receives it can have every program run and every answer
compared again, without a model.
"""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
from pydantic import Field, PrivateAttr

from curation.stage import Filter, Outcome


class VerifySynthetic(Filter, name="verify_synthetic"):
    """Verifies synthesised documents again: programs are run, answers compared, as `synthesize` did. Asks no model.

    Documents without a `synthetic_kind` stay.

    Drop reason: `not_verified` (detail: why). Counters: `verified=<kind>`.
    """

    agree: float = Field(0.75, gt=0.5, le=1, description="share of the solutions that must have the problem's answer")

    program_cpu_s: int = Field(
        10, ge=1, description="CPU seconds of a program in the sandbox; three times that on the clock"
    )

    _tools: Any = PrivateAttr(None)

    def needs(self) -> tuple[str, ...]:
        return ("text", "synthetic_kind", "synthetic_item")

    def setup(self) -> None:
        from classifiers.language.identify import Identifier
        from stages.synthesize.sandbox import Sandbox
        from stages.synthesize.verification import Tools, program_limits

        identifier = Identifier.load()

        def language_of(text: str) -> str:
            return identifier.identify(pa.array([text[:2000]], pa.large_string())).languages[0].as_py()

        language_of("compile")
        self._tools = Tools(Sandbox(program_limits(self.program_cpu_s)), language_of, self.agree)

    def cpu_elsewhere(self) -> float:
        return self._tools.cpu_s if self._tools is not None else 0.0

    def __call__(self, docs: pa.Table) -> Outcome:
        from stages.synthesize.generators import KINDS, text_of
        from stages.synthesize.verification import verify

        if self._tools is None:
            self.setup()
        dropped: list[str | None] = [None] * docs.num_rows
        detail: list[str | None] = [None] * docs.num_rows
        columns = (docs[name].to_pylist() for name in ("text", "synthetic_kind", "synthetic_item"))
        for row, (text, kind, item) in enumerate(zip(*columns, strict=True)):
            if kind is None:
                continue
            try:
                known = json.loads(item)
                fault = "unknown_kind" if kind not in KINDS else verify(kind, known, self._tools)
                if fault is None and text_of(kind, known) != text:
                    fault = "text_changed"
            except (TypeError, ValueError, KeyError) as error:
                fault = f"item_unreadable: {error}"
            if fault is None:
                self.metrics.count(f"verified={kind}")
            else:
                dropped[row], detail[row] = "not_verified", fault
        return Outcome(docs, dropped=pa.array(dropped, pa.string()), detail=pa.array(detail, pa.string()))

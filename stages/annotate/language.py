"""Adds the language of each document, as one of 119 codes, with the probability and the script.

Every later decision by language (thresholds, rules, mixing weights, reports) rests on this column, so it comes early
and drops nothing: what to do with an unknown or unwanted language is a filter's decision (`filter_language`), and a
language that falls out of a corpus must be visible in its report.

Trade-off: the model reads the start of a document only. fastText's cost grows with length, and on 401 pages of the
web the answer from the first 1,000 characters was that from the whole page on every one, at 4.5 times the speed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, PrivateAttr

from curation.documents import column_type
from curation.errors import ConfigError
from curation.stage import Stage

if TYPE_CHECKING:
    from classifiers.language.model import LanguageModel

_DATA = Path(__file__).parents[2] / "classifiers" / "language"

_SCORE_EDGES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)


class IdentifyLanguage(Stage, name="identify_language"):
    """Identifies the language of each document with a fastText model.

    Adds `language` (language and script as in FLORES-200, `fra_Latn`), `language_score` (the probability the model
    gives it) and `script` (ISO 15924, from the letters of the whole text). Nothing is dropped.

    A language is one of the 119 languages and dialects of the Qwen3 report. A document that is in none of them, has
    no letters, or is not written in its language's script gets `und`. The report counts how many documents fell to
    `und` by the model's own label (`label=la` for Latin in lid.176), so that no language disappears unseen.
    Chinese is split into `zho_Hans`, `zho_Hant` and `yue_Hant` by its characters, whatever the model says.

    The shipped model is lid.176 in its quantized form (Joulin et al. 2016, arXiv 1607.01759 and 1612.03651); it
    knows 99 of the 119 and takes the other 20 for their large neighbours. Any other fastText model works, with
    labels like `fr`, `fra_Latn` or `__label__fra_Latn`: GlotLID, OpenLID, or your own.
    """

    model: str | None = Field(
        None, description="fastText model, .bin or .ftz; by default the lid.176.ftz that is shipped"
    )
    min_score: float = Field(0.0, ge=0, le=1, description="below this probability the language is `und`")
    max_characters: int = Field(1000, ge=1, description="the model reads this many characters from a document's start")

    _model: LanguageModel | None = PrivateAttr(None)

    def adds(self) -> dict[str, pa.DataType]:
        return {name: column_type(name) for name in ("language", "language_score", "script")}

    def _path(self) -> Path:
        return Path(self.model) if self.model else _DATA / "lid.176.ftz"

    def check(self) -> None:
        if not self._path().is_file():
            raise ConfigError(f"model '{self._path()}' is not a file; expected a fastText .bin or .ftz")

    def files(self) -> Sequence[str]:
        return [str(self._path()), str(_DATA / "labels.tsv"), str(_DATA / "scripts.tsv")]

    def setup(self) -> None:
        from classifiers.language.model import LanguageModel

        self._model = LanguageModel.load(self._path())
        self._model.predict(pa.array(["compile"]))  # now, and not within the time limit of the first batch

    def __call__(self, docs: pa.Table) -> pa.Table:
        if self._model is None:
            self.setup()
        assert self._model is not None
        codes, scores, labels, scripts = self._model.predict(docs["text"], self.max_characters)
        scores = pa.array(scores, pa.float32())
        if self.min_score > 0:
            codes = pc.if_else(pc.less(scores, self.min_score), "und", codes)
        self.metrics.count_values("language", codes)
        self.metrics.count_values("label", labels.filter(pc.equal(codes, "und")))
        self.metrics.observe("language_score", scores, _SCORE_EDGES)
        for name, column in (("language", codes), ("language_score", scores), ("script", scripts)):
            column = column.cast(column_type(name))
            place = docs.schema.get_field_index(name)
            docs = docs.append_column(name, column) if place < 0 else docs.set_column(place, name, column)
        return docs

"""Adds the language of each document: one of 119 codes or its group, with probability, share and script.

Every later decision by language (thresholds, rules, mixing weights, reports) rests on these columns, so they come
early and drop nothing: what to do with an unknown or unwanted language is a filter's decision (`filter_language`), and
a language that falls out of a corpus must be visible in its report.

Trade-off: eight windows of 700 bytes at most are read of a document. A language that has one paragraph of a long page
is missed as often as not; a document costs at most what 5,600 bytes cost.
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
    from classifiers.language.identify import Identified, Identifier
    from classifiers.language.model import LanguageModel

_DATA = Path(__file__).parents[2] / "classifiers" / "language"

_SCORE_EDGES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)


class IdentifyLanguage(Stage, name="identify_language"):
    """Identifies the language of each document.

    Adds `language`, one of the 119 languages and dialects of the Qwen3 report (language and script as in FLORES-200,
    `fra_Latn`). Some of them are varieties that text often does not tell apart: eight kinds of Arabic (group
    `ara_Arab`), Persian and Dari (`fas_Arab`), Bosnian and Croatian (`hbs_Latn`). `language_group` is the group, for
    all other languages the language itself; `language` names the variety where it has its share (`language_margin`) of
    the group's probability, and else is the group's code. Filters treat a group's code like its standard variety.
    `language_score` is the probability of the group, and the one to put thresholds on.

    `und` is a document in none of the languages, `zxx` one that is no language: tables of numbers, program code, broken
    encodings, signs. The report counts the labels of both (`label=x-ha_Latn` for Hausa), so that no language
    disappears unseen. Nothing is dropped.

    A document is read in up to eight windows. `languages` lists the groups that have at least 10 % of the letters,
    `language_share` is the share of `language_group`: the report counts documents
    in which two are listed as mixed.
    `script` (ISO 15924) is that of most letters of the whole text.

    The shipped model is a network over character n-grams with a gate by script (`classifiers/language/README.md` says
    how good it is, and for which languages it is not). Any fastText model works too, with labels like `fr`, `fra_Latn`
    or `__label__fra_Latn`: GlotLID, OpenLID, lid.176 or your own. Labels of scripts that a text is not written in are
    left out before the probabilities are taken. Such a model reads the first `max_characters` characters, and says
    `und` for every language outside the 119 that it knows.
    """

    model: str | None = Field(
        None,
        description="folder that `curation classifiers train language` wrote, or a fastText .bin or .ftz; by default "
        "the model that is shipped",
    )
    min_score: float = Field(0.0, ge=0, le=1, description="below this probability the language is `und`")
    max_characters: int = Field(
        1000, ge=1, description="a fastText model reads this many characters from a document's start"
    )

    _model: LanguageModel | Identifier | None = PrivateAttr(None)

    def adds(self) -> dict[str, pa.DataType]:
        names = (
            "language", "language_group", "language_score", "language_margin", "language_share", "languages", "script",
        )  # fmt: skip
        return {name: column_type(name) for name in names}

    def _path(self) -> Path:
        return Path(self.model) if self.model else _DATA / "shipped"

    def _own(self) -> list[Path]:
        """The files of a model of ours; none for a fastText file."""
        return [self._path() / name for name in ("weights.npz", "limits.tsv")] if self._path().is_dir() else []

    def check(self) -> None:
        path, missing = self._path(), [file for file in self._own() if not file.is_file()]
        if missing:
            raise ConfigError(
                f"model '{path}' has no {missing[0].name}; `curation classifiers train language` makes one"
            )
        if not path.exists():
            raise ConfigError(f"model '{path}' is not there; expected a fastText .bin or .ftz, or a model's folder")

    def files(self) -> Sequence[str]:
        return [*map(str, self._own() or [self._path()]), *(str(_DATA / n) for n in ("labels.tsv", "scripts.tsv"))]

    def thresholds(self) -> dict[str, dict[str, float]]:
        return {"language_score": {"min_score": self.min_score}} if self.min_score else {}

    def setup(self) -> None:
        if self._own():
            from classifiers.language.identify import Identifier

            self._model = Identifier.load(self._path())
        else:
            from classifiers.language.model import LanguageModel

            self._model = LanguageModel.load(self._path())
        self._identify(pa.array(["compile"], pa.large_string()))  # now, and not within the first batch's time limit

    def _identify(self, texts: pa.Array | pa.ChunkedArray) -> Identified:
        if self._model is None:
            self.setup()
        if self._own():
            return self._model.identify(texts)  # type: ignore[union-attr]
        return self._model.identify(texts, self.max_characters)  # type: ignore[union-attr, call-arg]

    def __call__(self, docs: pa.Table) -> pa.Table:
        found = self._identify(docs["text"])
        scores = pa.array(found.scores, pa.float32())
        codes, groups = found.languages, found.groups
        if self.min_score > 0:
            low = pc.and_(pc.less(scores, self.min_score), pc.not_equal(codes, "zxx"))
            codes, groups = pc.if_else(low, "und", codes), pc.if_else(low, "und", groups)
        self.metrics.count_values("language", codes)
        self.metrics.count_values("label", found.labels.filter(pc.is_in(codes, pa.array(["und", "zxx"]))))
        self.metrics.count("mixed", pc.sum(pc.greater(pc.list_value_length(found.parts), 1)).as_py() or 0)
        self.metrics.observe("language_score", scores, _SCORE_EDGES)
        columns = (
            codes, groups, scores, pa.array(found.margins), pa.array(found.shares), found.parts, found.scripts,
        )  # fmt: skip
        for name, column in zip(self.adds(), columns, strict=True):
            column = column.cast(column_type(name))
            place = docs.schema.get_field_index(name)
            docs = docs.append_column(name, column) if place < 0 else docs.set_column(place, name, column)
        return docs

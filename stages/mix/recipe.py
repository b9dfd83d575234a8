"""A recipe: how much of what one stage of training reads. The keys of `mix` as people write them in pipelines.yaml.

Trade-off: rules are marginals (so much of each source, so much of each language) and not one table of every source
times every language, which nobody could fill in. `rates.py` finds the mixture that meets all of them.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from stages.mix.expression import Expression

_AMOUNT = re.compile(r"\s*([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)\s*([kKMGBT]?)\s*")
_FACTOR = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "B": 1e9, "T": 1e12}


def amount(value: Any) -> float:
    """`30T`, `5e12` or a number as a number. ValueError if it is none."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    match = _AMOUNT.fullmatch(str(value))
    if not match:
        raise ValueError(f"'{value}' is no amount; write 30T, 300B, 5M or a number")
    return float(match[1]) * _FACTOR[match[2]]


class Lengths(BaseModel):
    """Documents of `from` tokens or more and of fewer than `to`, the end of document counted."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    from_: int = Field(0, alias="from", ge=0, description="shortest, tokens")
    to: int | None = Field(None, ge=1, description="shorter than this, tokens; without it there is no upper end")
    share: float = Field(gt=0, description="share of the stage")

    @property
    def name(self) -> str:
        """`4096-16383` or `16384-`."""
        return f"{self.from_}-{self.to - 1 if self.to else ''}"


class Shares(BaseModel):
    """A rule: what share each value of a column, or each range of lengths, has in the stage."""

    model_config = ConfigDict(extra="forbid")

    column: str | None = Field(None, description="column whose values get shares")
    lengths: list[Lengths] | None = Field(None, description="instead of a column: ranges of document length")
    ratios: dict[str, float] | None = Field(None, description="share of each value, in any unit: they are normalised")
    others: float | None = Field(None, gt=0, description="share of all values that `ratios` does not name, together")
    temperature: float | None = Field(
        None, gt=0, description="shares in proportion to supply ** (1 / temperature); 1 leaves it as it is"
    )
    unimax: float | None = Field(
        None,
        gt=0,
        description="equal shares, but no value more than so many epochs; the rule where none is given, with the "
        "recipe's `max_epochs`",
    )

    @model_validator(mode="after")
    def _one_rule(self) -> Shares:
        if (self.column is None) == (self.lengths is None):
            raise ValueError("a rule of `shares` needs either `column` or `lengths`")
        given = [key for key in ("ratios", "temperature", "unimax") if getattr(self, key) is not None]
        if len(given) > 1:
            raise ValueError(f"a rule of `shares` has both {' and '.join(given)}; give one")
        if self.lengths is not None:
            if given or self.others is not None:
                raise ValueError("`lengths` have their shares themselves; take out the other keys")
            ordered = sorted(self.lengths, key=lambda bucket: bucket.from_)
            for one, next_ in pairwise(ordered):
                if one.to is None or one.to > next_.from_:
                    raise ValueError(f"the lengths {one.name} and {next_.name} overlap")
            for one in ordered:
                if one.to is not None and one.to <= one.from_:
                    raise ValueError(f"no document has from {one.from_} to {one.to} tokens")
            self.lengths = ordered
        if self.others is not None and self.ratios is None:
            raise ValueError("`others` goes with `ratios`")
        if self.ratios is not None and (not self.ratios or min(self.ratios.values()) < 0 or not self.total):
            raise ValueError("`ratios` must be positive")
        return self

    @property
    def total(self) -> float:
        """Sum of the ratios, `others` included."""
        return sum((self.ratios or {}).values()) + (self.others or 0.0)

    @property
    def label(self) -> str:
        """Name of what is shared out: the column, or `length`."""
        return self.column or "length"


class Recipe(BaseModel):
    """One stage of training."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9][\w.-]*$", description="name of the stage: its folder in `packed/`")
    sequence_length: int = Field(ge=2, le=1 << 24, description="tokens in a training row")
    budget: float | None = Field(
        None, gt=0, description="how much to draw, in `unit`: `30T`, `300B`, a number; by default once all there is"
    )
    unit: Literal["tokens", "bytes", "documents"] = Field(
        "tokens", description="what budget and shares are counted in; `bytes` are of the text"
    )
    max_epochs: float = Field(
        4.0,
        gt=0,
        description="most times a document is repeated in this stage (Muennighoff et al. 2023: 4 cost little)",
    )
    shares: list[Shares] = Field([], description="rules; where not all can be met, the first are")
    weight: str | None = Field(
        None, description="expression over columns: how much likelier than another a document is drawn"
    )
    where: str | None = Field(None, description="expression over columns: which documents are drawn at all")
    when_short: Literal["fill", "shrink"] = Field(
        "fill",
        description="where a value is too small for its share: `fill` gives what it lacks to the others, `shrink` "
        "makes the stage smaller until the shares hold",
    )

    @field_validator("budget", mode="before")
    @classmethod
    def _budget(cls, value: Any) -> Any:
        return None if value is None else amount(value)

    @model_validator(mode="after")
    def _expressions(self) -> Recipe:
        for text in (self.weight, self.where):
            if text is not None:
                Expression(text)
        labels = [rule.label for rule in self.shares]
        if len(set(labels)) < len(labels):
            raise ValueError(f"recipe '{self.name}' has two rules for {max(labels, key=labels.count)}")
        return self

    def columns(self) -> tuple[str, ...]:
        """Columns that the recipe reads."""
        names = [rule.column for rule in self.shares if rule.column is not None]
        for text in (self.weight, self.where):
            names += Expression(text).columns if text is not None else ()
        return tuple(dict.fromkeys(names))

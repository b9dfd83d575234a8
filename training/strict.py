"""Models of configuration that know no unknown keys: a misspelt key that is ignored would show after the training."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """A model without unknown keys; the strings below its fields are their descriptions."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

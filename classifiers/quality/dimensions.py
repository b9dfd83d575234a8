"""The dimensions along which documents are judged: one vocabulary for the teacher, the student and the filters.

Qwen3 labelled its corpus by educational value, field, domain and safety (arXiv 2505.09388, section 3.1); Essential-Web
adds document type, and quality in several parts (arXiv 2506.14111). A score is a whole number from 0 to 5, as in
FineWeb-Edu (arXiv 2406.17557, section 4); a category is one of a closed list that ends with a place for the rest.

Trade-off: lists short enough that a small model keeps to them and a student finds hundreds of examples of each. A
finer taxonomy is a matter of one more dimension, not of longer lists.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

SCORES = (0, 1, 2, 3, 4, 5)


@dataclass(frozen=True)
class Dimension:
    """One dimension: its column, and what it may be: `SCORES`, or names of categories."""

    name: str
    values: tuple[int | str, ...]

    @property
    def is_score(self) -> bool:
        """Whether it is a number from 0 to 5, not a category."""
        return self.values == SCORES

    @property
    def schema(self) -> dict[str, Any]:
        """JSON schema of one value."""
        return {"type": "integer" if self.is_score else "string", "enum": list(self.values)}


DIMENSIONS: dict[str, Dimension] = {
    d.name: d
    for d in (
        Dimension("educational_value", SCORES),
        Dimension("information_density", SCORES),
        Dimension("writing_quality", SCORES),
        Dimension(
            "field",
            (
                "stem",
                "health",
                "humanities",
                "social_sciences",
                "law_and_government",
                "business",
                "arts_and_entertainment",
                "daily_life",
                "other",
            ),
        ),
        Dimension(
            "domain",
            (
                "mathematics",
                "physics",
                "chemistry",
                "biology",
                "earth_and_environment",
                "computing",
                "engineering",
                "medicine",
                "psychology",
                "history",
                "philosophy_and_religion",
                "language_and_literature",
                "education",
                "economics_and_finance",
                "law",
                "politics",
                "society",
                "sports",
                "games",
                "film_and_music",
                "food",
                "travel",
                "home_and_hobbies",
                "shopping",
                "adult",
                "other",
            ),
        ),
        Dimension(
            "document_type",
            (
                "encyclopedia",
                "textbook",
                "academic",
                "documentation",
                "tutorial",
                "question_and_answer",
                "news",
                "opinion",
                "discussion",
                "review",
                "fiction",
                "legal",
                "product_page",
                "listing",
                "boilerplate",
                "other",
            ),
        ),
        Dimension(
            "safety",
            (
                "safe",
                "sexual",
                "violence",
                "hate",
                "self_harm",
                "crime",
                "dangerous_instructions",
                "other_unsafe",
            ),
        ),
    )
}


def answer_schema(names: Sequence[str]) -> dict[str, Any]:
    """JSON schema of an answer that holds these dimensions, in this order."""
    return {
        "type": "object",
        "properties": {name: DIMENSIONS[name].schema for name in names},
        "required": list(names),
        "additionalProperties": False,
    }

import pytest

from curation.errors import ConfigError
from stages.filter.where import KeepWhere


def test_ranges_values_and_missing_labels(documents):
    docs = documents(
        list("abcdef"),
        educational_value=[0.5, 2.5, 4.9, None, 2.4, 5.0],
        document_type=["news", "listing", None, "news", "boilerplate", "textbook"],
        sampled=[True, False, None, True, False, True],
    )
    assert KeepWhere(column="educational_value", min=2.5, max=4.95)(docs).to_pylist() == [
        "educational_value_low",
        None,
        None,
        "educational_value_missing",
        "educational_value_low",
        "educational_value_high",
    ]
    kept = KeepWhere(column="document_type", **{"except": ["listing", "boilerplate"]}, missing="keep")(docs)
    assert kept.to_pylist() == [None, "document_type_not_selected", None, None, "document_type_not_selected", None]
    assert KeepWhere(column="document_type", only=["news"])(docs).to_pylist().count(None) == 2
    assert KeepWhere(column="sampled", only=[True])(docs).to_pylist().count(None) == 3
    assert KeepWhere(column="position", only=[1, 3], missing="keep")(docs).to_pylist().count(None) == 2


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"column": "field"}, "needs a condition"),
        ({"column": "educational_value", "min": 3, "max": 2}, "every document would be dropped"),
        ({"column": "field", "min": 3}, "has no min or max"),
    ],
)
def test_conditions_that_make_no_sense(keys, message):
    with pytest.raises(ConfigError, match=message):
        KeepWhere(**keys).check()

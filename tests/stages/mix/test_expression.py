import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.mix.expression import Expression

TABLE = pa.table(
    {
        "value": pa.array([0.5, 3.0, None, 5.0], pa.float32()),
        "n_tokens": pa.array([10, 5000, 7, None], pa.int32()),
        "kind": pa.array(["news", "book", None, "blog"]),
    }
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("value ** 2 + 1", [1.25, 10.0, None, 26.0]),
        ("coalesce(value, 2) / 2", [0.25, 1.5, 1.0, 2.5]),
        ("clip(value, 1, 4)", [1.0, 3.0, None, 4.0]),
        ("min(value, n_tokens)", [0.5, 3.0, None, None]),
        ('kind in ["news", "blog"]', [True, False, False, True]),
        ('kind not in ["news"] and value > 1', [False, True, None, True]),
        ("0 < value <= 3", [True, True, None, False]),
        ("not (value < 1 or n_tokens > 4999)", [False, False, None, None]),
        ('3 if kind == "book" else 1', [1.0, 3.0, None, 1.0]),
        ("7 / 2", [3.5, 3.5, 3.5, 3.5]),
        ("-n_tokens", [-10.0, -5000.0, -7.0, None]),
    ],
)
def test_values_and_nulls(text, expected):
    assert Expression(text)(TABLE).to_pylist() == expected


def test_columns_are_known_before_anything_runs():
    assert Expression('log2(n_tokens) * (2 if kind == "x" else value)').columns == ("kind", "n_tokens", "value")


@pytest.mark.parametrize(
    "text", ["", "1 +", "a.b", "f(x)", "__import__('os')", "[1]", "lambda: 1", "a[0]", "x in y", "'%s' % a", "a := 1"]
)
def test_nothing_else_is_accepted(text):
    with pytest.raises(ValueError):
        Expression(text)


def test_types_that_do_not_fit_are_told():
    with pytest.raises(ValueError, match="kind"):
        Expression("kind * 2")(TABLE)


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=20))
def test_arithmetic_is_that_of_numpy(values):
    x = np.array(values)
    got = Expression("exp(-x) + sqrt(x) * 3 - log(x) / 2")(pa.table({"x": x})).to_numpy()
    assert got == pytest.approx(np.exp(-x) + np.sqrt(x) * 3 - np.log(x) / 2)

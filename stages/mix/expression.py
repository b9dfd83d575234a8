"""Weights and conditions as people write them, over columns: `1 + educational_value ** 2` or `language != "und"`.

An expression is Python's syntax without Python: it is parsed once, and each operator is one Arrow function over whole
columns. Names are columns; numbers, strings, True and False; arithmetic, comparisons, `in [...]`, `and`, `or`, `not`,
`a if condition else b`, and the functions in `FUNCTIONS`. Nothing else is accepted, so a pipeline from elsewhere can
compute and no more.

Null stays null through every operator (`coalesce(x, 0)` gives it a value), as in SQL.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": pc.abs,
    "ceil": pc.ceil,
    "clip": lambda x, low, high: pc.min_element_wise(
        pc.max_element_wise(x, low, skip_nulls=False), high, skip_nulls=False
    ),
    "coalesce": pc.coalesce,
    "exp": pc.exp,
    "floor": pc.floor,
    "log": pc.ln,
    "log2": pc.log2,
    "max": lambda *x: pc.max_element_wise(*x, skip_nulls=False),
    "min": lambda *x: pc.min_element_wise(*x, skip_nulls=False),
    "sqrt": pc.sqrt,
}

_BINARY: dict[type, Callable[..., Any]] = {
    ast.Add: pc.add,
    ast.Sub: pc.subtract,
    ast.Mult: pc.multiply,
    ast.Div: pc.divide,
    ast.Pow: pc.power,
}
_COMPARE: dict[type, Callable[..., Any]] = {
    ast.Lt: pc.less,
    ast.LtE: pc.less_equal,
    ast.Gt: pc.greater,
    ast.GtE: pc.greater_equal,
    ast.Eq: pc.equal,
    ast.NotEq: pc.not_equal,
}


class Expression:
    """A parsed expression. ValueError if it is none, with what is wrong."""

    def __init__(self, text: str):
        self.text = text
        try:
            self._body = ast.parse(text.strip(), mode="eval").body
        except SyntaxError as error:
            raise ValueError(f"'{text}' is no expression: {error.msg}") from error
        self.columns = tuple(sorted(self._check(self._body)))

    def _check(self, node: ast.AST) -> set[str]:
        """Columns of a node. ValueError for anything that is not accepted."""
        match node:
            case ast.Constant(value=bool() | int() | float() | str()):
                return set()
            case ast.Name():
                return {node.id}
            case ast.BinOp() if type(node.op) in _BINARY:
                return self._check(node.left) | self._check(node.right)
            case ast.UnaryOp(op=ast.USub() | ast.UAdd() | ast.Not()):
                return self._check(node.operand)
            case ast.BoolOp():
                return set().union(*(self._check(value) for value in node.values))
            case ast.IfExp():
                return self._check(node.test) | self._check(node.body) | self._check(node.orelse)
            case ast.Compare():
                found = self._check(node.left)
                for op, right in zip(node.ops, node.comparators, strict=True):
                    if isinstance(op, ast.In | ast.NotIn):
                        if not isinstance(right, ast.List | ast.Tuple) or not right.elts:
                            raise ValueError(f'\'{self.text}\': `in` needs a list of values, such as ["news", "blog"]')
                        if not all(isinstance(e, ast.Constant) for e in right.elts):
                            raise ValueError(f"'{self.text}': the list after `in` may hold strings and numbers only")
                    elif type(op) in _COMPARE:
                        found |= self._check(right)
                    else:
                        raise ValueError(f"'{self.text}': unknown comparison")
                return found
            case ast.Call(func=ast.Name(id=name)) if name in FUNCTIONS and not node.keywords and node.args:
                return set().union(*(self._check(argument) for argument in node.args))
            case ast.Call(func=ast.Name(id=name)):
                raise ValueError(f"'{self.text}': no function '{name}'; there are {', '.join(sorted(FUNCTIONS))}")
        what = ast.unparse(node) if isinstance(node, ast.expr) else type(node).__name__
        raise ValueError(f"'{self.text}': '{what}' cannot stand in an expression")

    def __call__(self, table: pa.Table) -> pa.Array:
        """The value for each row. ValueError if a column's type does not fit what is done with it."""
        try:
            value = self._value(self._body, table)
        except (pa.ArrowException, TypeError) as error:
            raise ValueError(f"'{self.text}': {str(error).splitlines()[0]}") from error
        if isinstance(value, pa.Scalar):
            return pa.repeat(value, table.num_rows)
        return value.combine_chunks() if isinstance(value, pa.ChunkedArray) else value

    def _value(self, node: ast.AST, table: pa.Table) -> Any:
        match node:
            case ast.Constant(value=bool() | str() as value):
                return pa.scalar(value)
            case ast.Constant(value=value):
                return pa.scalar(float(value))  # type: ignore[arg-type]
            case ast.Name(id=name):
                column = table[name]
                if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
                    return column.cast(pa.float64(), safe=False)
                return column
            case ast.BinOp():
                return _BINARY[type(node.op)](self._value(node.left, table), self._value(node.right, table))
            case ast.UnaryOp(op=ast.Not()):
                return pc.invert(self._value(node.operand, table))
            case ast.UnaryOp(op=ast.USub()):
                return pc.negate(self._value(node.operand, table))
            case ast.UnaryOp():
                return self._value(node.operand, table)
            case ast.BoolOp():
                join = pc.and_kleene if isinstance(node.op, ast.And) else pc.or_kleene
                first, *rest = (self._value(value, table) for value in node.values)
                for value in rest:
                    first = join(first, value)
                return first
            case ast.IfExp():
                test, yes, no = (self._value(part, table) for part in (node.test, node.body, node.orelse))
                return pc.if_else(test, yes, no)
            case ast.Compare():
                return self._compare(node, table)
            case ast.Call(func=ast.Name(id=name)):
                return FUNCTIONS[name](*(self._value(argument, table) for argument in node.args))
        raise AssertionError(ast.dump(node))  # _check lets nothing else pass

    def _compare(self, node: ast.Compare, table: pa.Table) -> Any:
        result: Any = None
        left = self._value(node.left, table)
        for op, right in zip(node.ops, node.comparators, strict=True):
            if isinstance(op, ast.In | ast.NotIn):
                assert isinstance(right, ast.List | ast.Tuple)
                wanted = [element.value for element in right.elts if isinstance(element, ast.Constant)]
                found = pc.is_in(left, pa.array(wanted).cast(left.type))
                test = pc.invert(found) if isinstance(op, ast.NotIn) else found
                value = left
            else:
                value = self._value(right, table)
                test = _COMPARE[type(op)](left, value)
            result = test if result is None else pc.and_kleene(result, test)
            left = value
        return result

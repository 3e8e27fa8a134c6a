"""Row filters such as "m > 2000 and abs(eta) < 2.5": read as a syntax tree, checked node by node, then computed by numexpr."""

from __future__ import annotations

import ast
import math
import warnings
from collections.abc import Mapping

import numexpr
import numpy as np

from common.errors import InputError
from common.files import first_line

LONGEST, MOST_NODES, DEEPEST = 2000, 300, 40
ARITHMETIC = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
COMPARISONS = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="}
FUNCTIONS = ("abs", "sqrt", "log")
ALLOWED = "comparisons, + - * /, and, or, not, numbers, names of columns, abs, sqrt, log"


class Selection:
    """Which rows of a table are kept.

    Nothing of the text is ever run as Python. It may hold comparisons, arithmetic, `and`, `or`, `not`, numbers, names of columns, `abs`,
    `sqrt` and `log` (natural); what numexpr computes is written anew from these, with nothing but the columns in reach. Rows
    with NaN in a column that it needs are not kept.

    Parameters
    ----------
    text : str

    Attributes
    ----------
    columns : tuple of str
        The columns that it needs.

    Raises
    ------
    InputError
        If the text is anything else, or too long.

    Examples
    --------
    >>> selection = Selection("m > 2000 and abs(eta) < 2.5")
    >>> selection.columns
    ('m', 'eta')
    >>> selection({"m": np.array([2500.0, 2500.0, 1000.0]), "eta": np.array([-2.0, 3.0, 0.0])})
    array([ True, False, False])
    """

    def __init__(self, text: str) -> None:
        self.text = text
        if len(text) > LONGEST:
            raise self._refused(f"longer than {LONGEST} characters")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of strange escapes in text that is refused anyway
                tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise self._refused(f"no expression ({error})") from None
        if sum(1 for _ in ast.walk(tree)) > MOST_NODES:
            raise self._refused(f"more than {MOST_NODES} parts")
        self._names: dict[str, str] = {}  # of the columns, as numexpr knows them
        self._expression, is_condition = self._written(tree, 0)
        if not is_condition:
            raise self._refused("a number, not a condition")
        if not self._names:
            raise self._refused("no column in it")
        self.columns = tuple(self._names)
        try:
            self(dict.fromkeys(self.columns, np.ones(1)))
        except InputError:
            raise
        except Exception as error:  # numexpr computes what holds no column at once, with Python's numbers
            raise self._refused(f"cannot be computed ({first_line(error)})") from error

    def __call__(self, table: Mapping[str, np.ndarray]) -> np.ndarray:
        """Which rows [n] are kept, of columns [n]."""
        values = {name: np.asarray(table[column], dtype=np.float64) for column, name in self._names.items()}
        with np.errstate(all="ignore"):
            kept = numexpr.evaluate(self._expression, local_dict=values, global_dict={})
        if kept.dtype != bool:
            raise self._refused("a comparison without a column in it")
        return np.logical_and.reduce([kept, *(~np.isnan(column) for column in values.values())])

    def _refused(self, why: str) -> InputError:
        shown = self.text if len(self.text) <= 100 else f"{self.text[:100]}..."
        return InputError(f"selection {shown!r}: {why}; it may hold {ALLOWED}")

    def _written(self, node: ast.expr, depth: int) -> tuple[str, bool]:
        """A node as numexpr reads it, and whether it is a condition or a number."""
        if depth > DEEPEST:
            raise self._refused(f"nested deeper than {DEEPEST}")
        match node:
            case ast.BoolOp(op=op, values=values):
                sign = " & " if isinstance(op, ast.And) else " | "
                return f"({sign.join(self._condition(value, depth) for value in values)})", True
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return f"(~{self._condition(operand, depth)})", True
            case ast.UnaryOp(op=ast.USub() | ast.UAdd() as op, operand=operand):
                return f"({'-' if isinstance(op, ast.USub) else '+'}{self._number(operand, depth)})", False
            case ast.BinOp(left=left, op=op, right=right) if type(op) in ARITHMETIC:
                return f"({self._number(left, depth)} {ARITHMETIC[type(op)]} {self._number(right, depth)})", False
            case ast.Compare(left=left, ops=ops, comparators=right) if all(type(op) in COMPARISONS for op in ops):
                sides = [self._number(side, depth) for side in (left, *right)]
                pairs = (f"({a} {COMPARISONS[type(op)]} {b})" for a, op, b in zip(sides, ops, sides[1:], strict=False))
                return f"({' & '.join(pairs)})", True
            case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]) if name in FUNCTIONS:
                return f"{name}({self._number(argument, depth)})", False
            case ast.Name(id=name):
                return self._names.setdefault(name, f"c{len(self._names)}"), False
            case ast.Constant(value=value) if type(value) in (int, float) and abs(value) < 1e300 and math.isfinite(value):
                return repr(float(value)), False
        raise self._refused(f"{ast.unparse(node)[:60]!r} is not allowed")

    def _condition(self, node: ast.expr, depth: int) -> str:
        text, is_condition = self._written(node, depth + 1)
        if not is_condition:
            raise self._refused(f"{ast.unparse(node)[:60]!r} is a number where a condition is needed")
        return text

    def _number(self, node: ast.expr, depth: int) -> str:
        text, is_condition = self._written(node, depth + 1)
        if is_condition:
            raise self._refused(f"{ast.unparse(node)[:60]!r} is a condition where a number is needed")
        return text

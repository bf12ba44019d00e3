"""Keeps the code that a model writes from being run.

Some scorers of reasoning-gym hand an answer to Python's `eval`, or to sympy's `parse_expr`, which is `eval` as well. A
policy in training writes anything at all, so here they read literals and arithmetic only. No answer is lost by it that
the scorers call correct, but for such curious ones as `5!` or `Integer(3) + 4`.
"""

from __future__ import annotations

import ast
import importlib
from typing import Any

import sympy
from sympy.parsing import sympy_parser

EVALUATING = (
    "algorithmic.binary_matrix",
    "algorithmic.number_sorting",
    "algorithmic.spiral_matrix",
    "algorithmic.string_insertion",
    "games.n_queens",
)
"""Modules whose scorers call `eval` on an answer."""

PARSING = ("games.countdown", "games.puzzle24")
"""Modules that bring in `parse_expr` under its own name."""

PARSING_THROUGH_SYMPY = (
    "algebra.intermediate_integration",
    "algebra.polynomial_multiplication",
    "algebra.simple_integration",
)
"""Modules that call `sympy.parse_expr`."""

_FUNCTIONS = frozenset(
    {"Abs", "acos", "acosh", "acot", "asin", "asinh", "atan", "atanh", "cos", "cosh", "cot", "coth", "csc", "exp", "ln"}
    | {"log", "sec", "sin", "sinh", "sqrt", "tan", "tanh"}
)
_OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow, ast.USub, ast.UAdd)
_MAX_LENGTH = 2000
_MAX_EXPONENT = 64
_MAX_NUMBER = 10**40
_parse_expr = sympy_parser.parse_expr


def disarm() -> None:
    """Put harmless readers in the place of `eval` and `parse_expr`; for a process that does nothing but draw and score."""
    for name in EVALUATING:
        vars(importlib.import_module(f"reasoning_gym.{name}"))["eval"] = ast.literal_eval
    for name in PARSING:
        vars(importlib.import_module(f"reasoning_gym.{name}"))["parse_expr"] = parse_arithmetic
    vars(sympy)["parse_expr"] = parse_arithmetic


def parse_arithmetic(text: str, local_dict: dict[str, Any] | None = None) -> Any:
    """Read an expression as sympy's `parse_expr` does, if it is arithmetic.

    Raises:
        ValueError: It is more than numbers, variables, operators and elementary functions, or too large.
        SyntaxError: It is no expression.
    """
    if len(text) > _MAX_LENGTH:
        raise ValueError(f"the expression is longer than {_MAX_LENGTH} characters")
    for node in ast.walk(ast.parse(text.strip(), mode="eval")):
        if not _harmless(node):
            raise ValueError(f"{type(node).__name__} is no arithmetic")
    return _parse_expr(text, local_dict=local_dict)


def _harmless(node: ast.AST) -> bool:
    match node:
        case ast.Constant(value=bool()):
            return False
        case ast.Constant(value=int() | float() as value):
            return abs(value) < _MAX_NUMBER
        case ast.Name(id=name):
            return "__" not in name
        case ast.Call(func=ast.Name(id=name), keywords=[]):
            return name in _FUNCTIONS
        case ast.BinOp(op=ast.Pow(), right=exponent):
            return _small(exponent)
        case ast.Expression() | ast.BinOp() | ast.UnaryOp() | ast.expr_context():
            return True
    return isinstance(node, _OPERATORS)


def _small(exponent: ast.AST) -> bool:
    """Say whether it is a variable's, a number of at most 64, or a fraction of two: sympy would work out 9**9**9."""
    match exponent:
        case ast.Constant(value=int() | float() as value):
            return abs(value) <= _MAX_EXPONENT
        case ast.UnaryOp(operand=operand):
            return _small(operand)
        case ast.BinOp(op=ast.Div(), left=ast.Constant() as left, right=ast.Constant() as right):
            return _small(left) and _small(right)
    return any(isinstance(part, ast.Name) for part in ast.walk(exponent))

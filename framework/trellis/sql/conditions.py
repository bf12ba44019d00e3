"""Conditions as text in a normal form.

Names are folded and have their alias, the sides of `=` and the operands of AND and OR are in order, literals as they are.
"""

from __future__ import annotations

from sqlglot import exp

from trellis.sql.from_clause import Condition, Item
from trellis.sql.hints import quoted
from trellis.sql.scopes import Reading, folded

_COMPARISONS: dict[type[exp.Expr], str] = {
    exp.LT: "<",
    exp.LTE: "<=",
    exp.GT: ">",
    exp.GTE: ">=",
    exp.Like: "LIKE",
    exp.ILike: "ILIKE",
    exp.Add: "+",
    exp.Sub: "-",
    exp.Mul: "*",
    exp.Div: "/",
    exp.DPipe: "||",
}
_SYMMETRIC: dict[type[exp.Expr], str] = {exp.EQ: "=", exp.NEQ: "<>"}


def text_of(condition: Condition, reading: Reading) -> str:
    """Write a condition; a USING column is an equation of the two relations' columns."""
    if isinstance(condition, tuple):
        name, left, right = condition
        return " = ".join(sorted(_column(item, name) for item in (left, right)))
    return _text(condition, reading)


def _text(node: exp.Expr, reading: Reading) -> str:
    kind = type(node)
    if kind is exp.Column:
        owner = reading.owners.get(id(node))
        if owner is not None and not isinstance(node.this, exp.Star):
            return _column(owner[0], folded(node.this))
    elif kind is exp.Literal:
        return "'" + node.name.replace("'", "''") + "'" if node.is_string else node.name
    elif kind in _SYMMETRIC:
        sides = (_text(node.this, reading), _text(node.args["expression"], reading))
        return f" {_SYMMETRIC[kind]} ".join(sorted(sides, key=lambda side: (side[:1] in "'0123456789-", side)))
    elif kind in _COMPARISONS:
        return f"{_text(node.this, reading)} {_COMPARISONS[kind]} {_text(node.args['expression'], reading)}"
    elif kind is exp.Paren:
        return f"({_text(node.this, reading)})"
    elif kind is exp.And or kind is exp.Or:
        word = "AND" if kind is exp.And else "OR"
        return f" {word} ".join(sorted(_text(operand, reading) for operand in node.flatten(unnest=False)))
    elif kind is exp.Not:
        if isinstance(node.this, exp.Is) and isinstance(node.this.args["expression"], exp.Null):
            return f"{_text(node.this.this, reading)} IS NOT NULL"
        return f"NOT {_text(node.this, reading)}"
    elif kind is exp.Is:
        return f"{_text(node.this, reading)} IS {_text(node.args['expression'], reading)}"
    elif kind is exp.Null:
        return "NULL"
    elif kind is exp.Neg:
        return f"-{_text(node.this, reading)}"
    elif kind is exp.Cast:
        return f"{_text(node.this, reading)}::{node.args['to'].sql('postgres').lower()}"
    elif kind is exp.Between and not node.args.get("symmetric"):
        low, high = _text(node.args["low"], reading), _text(node.args["high"], reading)
        return f"{_text(node.this, reading)} BETWEEN {low} AND {high}"
    elif kind is exp.In and node.expressions:
        return f"{_text(node.this, reading)} IN ({', '.join(_text(part, reading) for part in node.expressions)})"
    return node.sql("postgres")


def _column(item: Item, name: str) -> str:
    return f"{quoted(item.alias)}.{quoted(name)}"

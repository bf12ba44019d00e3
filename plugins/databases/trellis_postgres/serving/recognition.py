"""Which query a text with parameters is: values are written in their places, so that it reads as it was measured.

What is written is read, never sent: what is sent always holds the parameters as they came. A cast that a library writes behind
a parameter (`$1::INTEGER`) is left out on reading, and dates are read both as `'2024-01-01'` and as `DATE '2024-01-01'`.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from trellis.errors import SQLError
from trellis_postgres.lexer import Token, scan

_BEGINS = re.compile(r"(?:\s|--[^\n]*\n|/\*(?!\+)(?:[^*]|\*(?!/))*\*/|\()*(?:select|with)\b", re.IGNORECASE)
_PLAIN_TYPES = frozenset(
    [
        "bigint",
        "boolean",
        "date",
        "float",
        "integer",
        "numeric",
        "smallint",
        "text",
        "timestamp",
        "timestamptz",
        "varchar",
    ]
)
_MARK = 7_310_000_000


@dataclass(frozen=True, slots=True)
class Value:
    """A parameter's value as a literal.

    Attributes:
        text: As SQL; a number without its sign.
        negative: Whether a minus stands before it.
        type: "date" or "timestamp", where a literal of it may name its type.
    """

    text: str
    negative: bool = False
    type: str = ""

    @property
    def is_string(self) -> bool:
        """Whether it is written in quotes."""
        return self.text.startswith("'")


@dataclass(frozen=True, slots=True)
class Readings:
    """A text with its parameters' values in their places.

    Attributes:
        texts: In the ways it may have been measured, the most likely first.
        marked: With marks in place of values: to be rewritten.
        parameters: The parameter that each mark stands for, once for each place.
    """

    texts: tuple[str, ...]
    marked: str
    parameters: Mapping[str, str]

    def restored(self, rewritten: str) -> str | None:
        """Put parameters back in place of marks; None where one has got lost or stands there twice."""
        for mark, parameter in self.parameters.items():
            if rewritten.count(mark) != 1:
                return None
            rewritten = rewritten.replace(mark, parameter)
        return rewritten


def is_select(sql: str) -> bool:
    """Whether a text begins as a query that only reads does."""
    return _BEGINS.match(sql) is not None


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _number(value: float | Decimal) -> Value | None:
    text = repr(value) if isinstance(value, float) else str(value)
    if not re.fullmatch(r"-?[0-9.]+(?:[eE][+-]?[0-9]+)?", text):
        return None
    return Value(text.lstrip("-"), text.startswith("-"))


_LITERALS: Mapping[type, Callable[[Any], Value | None]] = {
    bool: lambda value: Value("TRUE" if value else "FALSE"),
    int: _number,
    float: _number,
    Decimal: _number,
    # A backslash means something in some strings of some servers.
    str: lambda value: None if "\\" in value or "\0" in value else Value(_quoted(value)),
    datetime.date: lambda value: Value(_quoted(value.isoformat()), type="date"),
    datetime.datetime: lambda value: Value(_quoted(value.isoformat(sep=" ")), type="timestamp"),
}


def literals(values: Sequence[Any]) -> tuple[Value, ...] | None:
    """Return values as literals; None where one has no literal that surely means the same."""
    found = []
    for value in values:
        write = _LITERALS.get(type(value))
        literal = None if write is None else write(value)
        if literal is None:
            return None
        found.append(literal)
    return tuple(found)


def template(sql: str) -> str | None:
    """Return a text without its literals, parameters, casts of these, layout and comments; None where it cannot be read."""
    try:
        tokens = list(scan(sql))
    except SQLError:
        return None
    parts, index = [], 0
    while index < len(tokens):
        kind, text = tokens[index].kind, tokens[index].text
        index += 1
        if kind in ("number", "string", "escape"):
            parts.append("?")
        elif kind == "parameter":
            index = _after_cast(tokens, index)
            parts.append("?")
        elif kind == "unicode":
            return None
        else:
            parts.append(text.lower() if kind == "word" else text)
    return " ".join(parts)


def read(sql: str, values: Sequence[Value]) -> Readings | None:
    """Write values in the places of $1, $2, …; None where a parameter has no value or the text cannot be read."""
    try:
        tokens = list(scan(sql))
    except SQLError:
        return None
    plain: list[str] = []
    typed: list[str] = []
    marked: list[str] = []
    parameters: dict[str, str] = {}
    at = index = 0
    while index < len(tokens):
        token = tokens[index]
        index += 1
        if token.kind == "unicode":
            return None
        if token.kind != "parameter":
            continue
        number = int(token.text[1:])
        if not 1 <= number <= len(values):
            return None
        value = values[number - 1]
        for parts in (plain, typed, marked):
            parts.append(sql[at : token.start])
        mark = str(_MARK + len(parameters))
        parameters[f"'{mark}'" if value.is_string else mark] = token.text
        marked.append(f"'{mark}'" if value.is_string else mark)
        sign = " -" if value.negative else ""
        plain.append(sign + value.text)
        typed.append(f"{value.type} {value.text}" if value.type else sign + value.text)
        after = _after_cast(tokens, index)
        at = tokens[after - 1].end
        marked.append(sql[token.end : at])
        index = after
    for parts in (plain, typed, marked):
        parts.append(sql[at:])
    texts = dict.fromkeys(["".join(plain), "".join(typed)])
    return Readings(tuple(texts), "".join(marked), parameters)


def _after_cast(tokens: Sequence[Token], index: int) -> int:
    """Return where a text goes on behind `::type` at an index, if that stands there."""
    if [token.text for token in tokens[index : index + 2]] != [":", ":"] or len(tokens) < index + 3:
        return index
    word = tokens[index + 2]
    if word.kind != "word" or word.text.lower() not in _PLAIN_TYPES:
        return index
    following = tokens[index + 3].text.lower() if len(tokens) > index + 3 else ""
    # A length or a time zone belongs to the type: such a cast stays.
    return index if following in ("(", "with", "without", "[") else index + 3

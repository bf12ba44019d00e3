"""A query as a form with holes: what it asks, without layout and order, a hole for every relation and every literal.

A form is made once (`trellis.sql.former`) and read many times: under other labels of the relations when `fingerprint`
looks for a canonical naming, and under their own aliases when `rewrite` proves that it changed nothing but the join order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeAlias


class Text(NamedTuple):
    """What no label changes.

    Attributes:
        text: Its text, a `?` for each literal.
        literals: The literals.
    """

    text: str
    literals: tuple[str, ...] = ()


class Slot(NamedTuple):
    """A relation, or a column of it."""

    vertex: int
    suffix: str = ""


class Parts(NamedTuple):
    """A node with parts.

    Attributes:
        head: What kind of node.
        parts: Its parts.
        ordered: Whether their order matters.
    """

    head: str
    parts: tuple[Form, ...]
    ordered: bool = True


Form: TypeAlias = "Text | Slot | Parts"


def read_form(form: Form, labels: Sequence[str]) -> Text:
    """Write a form with a label for each relation; what has no order is sorted, by text and then by literals."""
    if isinstance(form, Text):
        return form
    if isinstance(form, Slot):
        return Text(labels[form.vertex] + form.suffix)
    parts = [read_form(part, labels) for part in form.parts]
    if not form.ordered:
        parts.sort()
    text = f"{form.head}({','.join([part.text for part in parts])})"
    return Text(text, tuple([literal for part in parts for literal in part.literals]))


def vertices(form: Form) -> Iterator[int]:
    """Yield the relations in a form, some several times."""
    if isinstance(form, Slot):
        yield form.vertex
    elif isinstance(form, Parts):
        for part in form.parts:
            yield from vertices(part)

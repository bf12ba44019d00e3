"""Where the parts of FROM clauses stand in a query's text.

sqlglot's tree does not say from where to where a clause reaches, and what it writes is not always what was read. So FROM
and WHERE are found in the tokens, by PostgreSQL's grammar (src/backend/parser/gram.y: from_list, table_ref, joined_table),
and rewriting moves pieces of the original text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from sqlglot.tokenizer_core import Token


class Span(NamedTuple):
    """A piece of text.

    Attributes:
        start: Its first character.
        end: The character after its last.
    """

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class TextJoin:
    """A join in the text; `on` is its condition, without ON."""

    left: TextTree
    right: TextTree
    on: Span | None = None


TextTree: TypeAlias = "Span | TextJoin"


@dataclass(frozen=True, slots=True)
class Source:
    """The FROM and WHERE clauses of one SELECT.

    Attributes:
        whole: Both, from the word FROM.
        tree: The items of FROM.
        where: The condition of WHERE, without the word.
        stars: The `*`s of the SELECT list that have no qualifier.
    """

    whole: Span
    tree: TextTree
    where: Span | None
    stars: tuple[Span, ...]


def sources(sql: str, tokens: Sequence[Token]) -> list[Source]:
    """Find every FROM clause of a text; one that does not read as expected is left out."""
    scanner = _Scanner(sql, tokens)
    found = []
    for index, word in enumerate(scanner.words):
        if word == "SELECT":
            try:
                source = scanner.source(index)
            except _NotUnderstood:
                continue
            if source is not None:
                found.append(source)
    return found


def text_leaves(tree: TextTree) -> Iterator[Span]:
    """Yield the items of a FROM clause from left to right."""
    if isinstance(tree, TextJoin):
        yield from text_leaves(tree.left)
        yield from text_leaves(tree.right)
    else:
        yield tree


class _NotUnderstood(Exception):  # noqa: N818 - never leaves this module
    """A FROM clause does not read as expected."""


_ENDS = frozenset(
    (
        "WHERE",
        "GROUP",
        "HAVING",
        "WINDOW",
        "ORDER",
        "LIMIT",
        "OFFSET",
        "FETCH",
        "FOR",
        "UNION",
        "INTERSECT",
        "EXCEPT",
        ";",
        "",
    )
)
_SET_OPERATIONS = frozenset(("UNION", "INTERSECT", "EXCEPT", "ORDER", "LIMIT", "OFFSET", "FETCH"))
_OPENING, _CLOSING = frozenset("(["), frozenset(")]")
_WORD = re.compile(r"[A-Za-z_]+")


class _Scanner:
    def __init__(self, sql: str, tokens: Sequence[Token]) -> None:
        self.sql = sql
        self.tokens = tokens
        self.words: list[str] = []
        self.closing: dict[int, int] = {}
        opened: list[int] = []
        for index, token in enumerate(tokens):
            text = sql[token.start : token.end + 1]
            word = _WORD.match(text)
            # After a dot any word is a name: t.order.
            is_name = index > 0 and self.words[-1] == "."
            self.words.append("name" if is_name else word[0].upper() if word else text)
            if text in _OPENING:
                opened.append(index)
            elif text in _CLOSING and opened:
                self.closing[opened.pop()] = index
        self.words.append("")

    def source(self, select: int) -> Source | None:
        stars: list[Span] = []
        at = select + 1
        while self.words[at] not in _ENDS and self.words[at] not in _CLOSING:
            word = self.words[at]
            if word == "FROM" and not (self.words[at - 1] == "DISTINCT" and self.words[at - 2] in ("IS", "NOT")):
                break
            if word == "*" and self.words[at - 1] != "." and self.words[at + 1] in (",", "FROM"):
                stars.append(self.span(at, at))
            at = self.after(at)
        if self.words[at] != "FROM":
            return None
        first = at
        tree, at = self.from_list(at + 1)
        where = None
        if self.words[at] == "WHERE":
            end = self.until(at + 1, _ENDS)
            where = self.span(at + 1, end - 1)
            at = end
        if self.words[at] not in _ENDS and self.words[at] not in _CLOSING:
            raise _NotUnderstood
        return Source(self.span(first, at - 1), tree, where, tuple(stars))

    def from_list(self, at: int) -> tuple[TextTree, int]:
        tree, at = self.table_ref(at)
        while self.words[at] == ",":
            right, at = self.table_ref(at + 1)
            tree = TextJoin(tree, right)
        return tree, at

    def table_ref(self, at: int) -> tuple[TextTree, int]:
        tree, at = self.primary(at)
        while self.joins(at):
            tree, at = self.join(tree, at)
        return tree, at

    def join(self, left: TextTree, at: int) -> tuple[TextTree, int]:
        natural = cross = False
        while self.words[at] != "JOIN":
            natural = natural or self.words[at] == "NATURAL"
            cross = cross or self.words[at] == "CROSS"
            at += 1
        right, at = self.primary(at + 1)
        if natural or cross:
            return TextJoin(left, right), at
        # a JOIN b JOIN c ON … ON …: what follows b before its own ON is joined to b.
        while self.joins(at):
            right, at = self.join(right, at)
        if self.words[at] == "USING":
            end = self.after(at + 1)
            return TextJoin(left, right), end
        if self.words[at] != "ON":
            raise _NotUnderstood
        end = at + 1
        while not (self.words[end] in _ENDS or self.words[end] in _CLOSING or self.words[end] in (",", "ON", "USING")):
            if self.joins(end):
                break
            end = self.after(end)
        return TextJoin(left, right, self.span(at + 1, end - 1)), end

    def primary(self, at: int) -> tuple[TextTree, int]:
        if self.words[at] == "(" and not self.is_query(at):
            inside, end = self.from_list(at + 1)
            if end != self.closing.get(at):
                raise _NotUnderstood
            return inside, end + 1
        end = at
        while not (
            self.words[end] in _ENDS
            or self.words[end] in _CLOSING
            or self.words[end] in (",", "ON", "USING")
            or self.joins(end)
        ):
            end = self.after(end)
        if end == at:
            raise _NotUnderstood
        return self.span(at, end - 1), end

    def is_query(self, at: int) -> bool:
        """Whether an opening parenthesis holds a query rather than joins."""
        following = self.words[at + 1]
        if following != "(":
            return following in ("SELECT", "WITH", "VALUES", "TABLE")
        after = self.words[self.after(at + 1)]
        return after in _SET_OPERATIONS or (after == ")" and self.is_query(at + 1))

    def joins(self, at: int) -> bool:
        """Whether a join begins here; LEFT and RIGHT are functions, too."""
        word, following = self.words[at], self.words[at + 1 : at + 2]
        if word in ("LEFT", "RIGHT", "FULL"):
            return following in (["JOIN"], ["OUTER"])
        if word in ("INNER", "CROSS"):
            return following == ["JOIN"]
        return word in ("JOIN", "NATURAL")

    def until(self, at: int, ends: frozenset[str]) -> int:
        while self.words[at] not in ends and self.words[at] not in _CLOSING:
            at = self.after(at)
        return at

    def after(self, at: int) -> int:
        """Return the token after this one, or after the parenthesis that it opens."""
        if self.words[at] in _OPENING:
            if at not in self.closing:
                raise _NotUnderstood
            return self.closing[at] + 1
        if at + 1 >= len(self.words):
            raise _NotUnderstood
        return at + 1

    def span(self, first: int, last: int) -> Span:
        return Span(self.tokens[first].start, self.tokens[last].end + 1)

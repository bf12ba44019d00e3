r"""The text of a query, read by PostgreSQL's lexical rules.

A syntax tree shows what its parser understood; where that parser and the server differ, a statement or a call can hide. What is
sent as it stands is therefore read a second time, by the server's own rules (its scan.l): nested comments, dollar quotes, E'…'
with escapes and over several lines, quoted identifiers, bytes above 127 in names.

Deliberately narrower than the server: names and strings with Unicode escapes (U&"…") are refused, and so are comments that begin
with a plus, which a server with pg_hint_plan would obey.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from trellis.errors import QuerySyntaxError, UnsafeQueryError

_SPACE = r"[ \t\n\r\f\v]"
_GAP = rf"(?:[ \t\f\v]|--[^\n\r]*)*[\n\r]{_SPACE}*"
_TOKEN = re.compile(
    rf"""
      (?P<space>{_SPACE}+)
    | (?P<line>--[^\n\r]*)
    | (?P<block>/\*)
    | (?P<unicode>[uU]&["'])
    | (?P<escape>[eE]'(?:[^'\\]|\\.|'')*'(?:{_GAP}'(?:[^'\\]|\\.|'')*')*)
    | (?P<string>[bBxXnN]?'(?:[^']|'')*')
    | (?P<dollar>\$(?P<tag>[A-Za-z_\x80-\U0010ffff][A-Za-z0-9_\x80-\U0010ffff]*)?\$)
    | (?P<parameter>\$[0-9]+)
    | (?P<quoted>"(?:[^"]|"")+")
    | (?P<word>[A-Za-z_\x80-\U0010ffff][A-Za-z0-9_$\x80-\U0010ffff]*)
    | (?P<number>[0-9][0-9A-Za-z_.]*)
    | (?P<other>[^'"$])
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_MARK = re.compile(r"/\*|\*/")


@dataclass(frozen=True, slots=True)
class Call:
    """A name with a parenthesis after it: a function, or a word of SQL's own.

    Attributes:
        schema: The name before its dot, folded; None where there is none.
        name: Folded as the server folds it.
    """

    schema: str | None
    name: str


@dataclass(frozen=True, slots=True)
class Text:
    """What a lexical reading finds.

    Attributes:
        calls: Every name with a parenthesis after it.
        names: Every name, folded.
        operators: Every character that could be part of an operator, in order, in runs.
    """

    calls: frozenset[Call]
    names: frozenset[str]
    operators: frozenset[str]


def read_text(sql: str, *, max_chars: int | None = None) -> Text:
    """Read a text and refuse what is not one statement without parameters.

    Args:
        sql: The text.
        max_chars: The most it may hold.

    Raises:
        QuerySyntaxError: A string, comment or name does not end, or the text cannot be sent at all.
        UnsafeQueryError: There is more than one statement, a parameter, a Unicode escape, or a comment with hints.
    """
    _sendable(sql, max_chars)
    tokens: list[tuple[str, str]] = []
    for token in scan(sql):
        if token.kind in ("unicode", "parameter"):
            raise _refused(token.text)
        tokens.append((token.kind, token.text))
    return _summary(tokens)


class Token(NamedTuple):
    """A piece of a text, neither space nor comment.

    Attributes:
        kind: "word", "quoted" (a name), "string", "escape" (E'…'), "number", "parameter", "unicode" or "other".
        text: As it stands there; empty for a string in dollars.
        start: Where it begins.
        end: Where what follows it begins.
    """

    kind: str
    text: str
    start: int
    end: int


def scan(sql: str) -> Iterator[Token]:
    """Yield a text's tokens.

    Raises:
        QuerySyntaxError: A string, comment or name does not end.
        UnsafeQueryError: There is a comment with hints.
    """
    position = 0
    while position < len(sql):
        match = _TOKEN.match(sql, position)
        if match is None:
            raise _syntax(sql, position, f"what begins with {sql[position]} does not end")
        kind, start, position = str(match.lastgroup), position, match.end()
        if kind == "block":
            position = _end_of_comment(sql, start)
        elif match["dollar"] is not None:
            position = _end_of_dollar(sql, start, match["dollar"])
            yield Token("string", "", start, position)
        elif kind not in ("space", "line"):
            yield Token(kind, match[0], start, position)


def _sendable(sql: str, max_chars: int | None) -> None:
    if max_chars is not None and len(sql) > max_chars:
        raise QuerySyntaxError(
            f"it is {len(sql)} characters long, more than the {max_chars} of `max_query_chars`; send a shorter one"
        )
    if "\0" in sql:
        raise _syntax(sql, sql.index("\0"), "it holds a NUL character, which no text in PostgreSQL may")
    try:
        sql.encode()
    except UnicodeEncodeError as error:
        raise _syntax(sql, error.start, "it holds half of a surrogate pair, which is no character") from None
    if not sql.strip():
        raise QuerySyntaxError("it is empty; give one SELECT")


def _summary(tokens: list[tuple[str, str]]) -> Text:
    if ("other", ";") in tokens:
        after = tokens[tokens.index(("other", ";")) + 1 :]
        if any(token != ("other", ";") for token in after):
            raise UnsafeQueryError("';'", reason="a second statement follows it", mend="Send one statement at a time.")
    calls, names, operators, run = set(), set(), set(), ""
    for index, (kind, text) in enumerate(tokens):
        if kind == "other" and text in "+-*/<>=~!@#%^&|`?":
            run += text
            continue
        operators.add(run)
        run = ""
        if kind not in ("word", "quoted"):
            continue
        name = _folded(kind, text)
        names.add(name)
        if tokens[index + 1 : index + 2] == [("other", "(")]:
            dotted = index >= 2 and tokens[index - 1] == ("other", ".") and tokens[index - 2][0] in ("word", "quoted")
            calls.add(Call(_folded(*tokens[index - 2]) if dotted else None, name))
    return Text(frozenset(calls), frozenset(names), frozenset(operators | {run}) - {""})


def _folded(kind: str, text: str) -> str:
    # Only A to Z are folded alike under every encoding and locale, and no built-in function has any other letter.
    return text[1:-1].replace('""', '"') if kind == "quoted" else text.lower()


def _end_of_comment(sql: str, start: int) -> int:
    depth, position = 0, start
    if sql.startswith("/*+", start):
        raise UnsafeQueryError(
            "a comment /*+ … */",
            reason="the query carries hints of its own",
            mend="Take them out of the query and give them as plan hints.",
        )
    while match := _COMMENT_MARK.search(sql, position):
        depth, position = depth + (1 if match[0] == "/*" else -1), match.end()
        if depth == 0:
            return position
    raise _syntax(sql, start, "a comment does not end")


def _end_of_dollar(sql: str, start: int, tag: str) -> int:
    end = sql.find(tag, start + len(tag))
    if end < 0:
        raise _syntax(sql, start, f"the string that begins with {tag} does not end")
    return end + len(tag)


def _refused(found: str) -> UnsafeQueryError:
    if found.startswith("$"):
        return UnsafeQueryError(
            f"the parameter {found}", reason="it has no value", mend="Write the value in its place."
        )
    return UnsafeQueryError(
        f"{found}…", reason="escapes in it could hide a name", mend="Write the characters themselves."
    )


def _syntax(sql: str, position: int, reason: str) -> QuerySyntaxError:
    line = sql.count("\n", 0, position) + 1
    return QuerySyntaxError(reason, line=line, column=position - (sql.rfind("\n", 0, position) + 1) + 1)

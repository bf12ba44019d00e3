"""Queries in files: one statement after another, each with a name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trellis.errors import QuerySyntaxError, SQLError

_NAME = re.compile(r"--[ \t]*(?:name:[ \t]*)?([\w.-]+)[ \t]*(?::.*)?$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class NamedQuery:
    """A statement of a file, not yet parsed.

    Attributes:
        name: What a comment line of one word before it says (`-- q7`, `-- q7: anything`, `-- name: q7`); else the file's
            name, with the statement's number where there are several.
        sql: The statement, without its semicolon.
        line: Where it begins in its file, from 1.
    """

    name: str
    sql: str
    line: int = 1


def split_statements(text: str, *, name: str = "query", dialect: str = "postgres") -> list[NamedQuery]:
    """Cut a text into its statements at semicolons outside of quotes and comments.

    Args:
        text: The text.
        name: For statements that no comment names.
        dialect: Its language, which decides what quotes are.

    Raises:
        QuerySyntaxError: A quote is never closed.
    """
    from sqlglot import tokenize
    from sqlglot.errors import TokenError

    try:
        tokens = tokenize(text, read=dialect)
    except TokenError as error:
        raise QuerySyntaxError(f"a quote or comment is never closed ({error})") from error
    found: list[tuple[int, int, int]] = []
    first, seen_to = None, 0
    for token in tokens:
        if token.token_type.name == "SEMICOLON":
            if first is not None:
                found.append((seen_to, first, token.start))
            first, seen_to = None, token.end + 1
        elif first is None:
            first = token.start
    if first is not None:
        found.append((seen_to, first, len(text)))
    queries = []
    for number, (before, begin, end) in enumerate(found, start=1):
        named = _NAME.findall(text[before:begin])
        own = named[-1] if named else name if len(found) == 1 else f"{name}-{number}"
        queries.append(NamedQuery(own, text[begin:end].strip(), text.count("\n", 0, begin) + 1))
    return queries


def read_queries(paths: Sequence[Path], *, dialect: str = "postgres") -> list[NamedQuery]:
    """Read the statements of files, and of all `*.sql` files below folders, in the order of their names.

    Names are made unique: a name met before gets its file's name in front, or a number behind.

    Raises:
        SQLError: A path is not there, or nothing is in them.
        QuerySyntaxError: A file cannot be cut into statements; the message names it.
    """
    files: list[Path] = []
    for path in paths:
        if not path.exists():
            raise SQLError(f"there is no file or folder {path}")
        files += sorted(path.rglob("*.sql")) if path.is_dir() else [path]
    queries: dict[str, NamedQuery] = {}
    for file in files:
        try:
            text = file.read_text(encoding="utf-8")
            statements = split_statements(text, name=file.stem, dialect=dialect)
        except UnicodeDecodeError as error:
            raise SQLError(f"{file} is not UTF-8: {error}") from error
        except QuerySyntaxError as error:
            error.add_note(f"in {file}")
            raise
        for one in statements:
            candidates = (one.name, f"{file.stem}/{one.name}", *(f"{one.name}-{k}" for k in range(2, len(queries) + 3)))
            unique = next(name for name in candidates if name not in queries)
            queries[unique] = NamedQuery(unique, one.sql, one.line)
    if not queries:
        raise SQLError(f"no statement is in {', '.join(map(str, paths))}")
    return list(queries.values())

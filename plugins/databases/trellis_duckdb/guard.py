"""What a query may do, by DuckDB's own parser and list of functions.

A syntax tree shows what its parser understood; where that parser and the database differ, a statement or a call can hide. So the
text is read a second time, by DuckDB itself (`json_serialize_sql`): it must be one SELECT, made of SELECTs alone (DuckDB 2 has
WITH … AS (DELETE …)), and what it calls is looked up in `duckdb_functions()`. A volatile function gives another result at each
call, or does something beside giving one; table functions reach files and the database's inside, so that only a few are let
through. Views and macros are looked into as text: one in which a refused function's name stands before a parenthesis is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from trellis.errors import DatabaseError, QuerySyntaxError, UnsafeQueryError
from trellis.sql.safety import dangerous, is_dangerous
from trellis_duckdb.catalog import Schema
from trellis_duckdb.session import Session

TABLE_FUNCTIONS = frozenset({"generate_series", "range", "unnest", "repeat", "repeat_row", "json_each", "json_tree"})
"""The table functions that a query may call."""

_READ = "SELECT json_serialize_sql(?::VARCHAR, skip_null := true)"
_NODES = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"})
_FUNCTIONS = """
SELECT lower(function_name), function_type IN ('table', 'table_macro'),
       bool_or(coalesce(stability = 'VOLATILE', false) OR coalesce(has_side_effects, false)),
       string_agg(macro_definition, ' ')
FROM duckdb_functions() WHERE function_type <> 'pragma' GROUP BY ALL
"""
_CALL = re.compile(r'([A-Za-z_]\w*)"?\s*\(')


class Guard:
    """Knows the functions and views of one database."""

    def __init__(
        self, session: Session, schema: Schema, *, allow_functions: tuple[str, ...], timeout_ms: float
    ) -> None:
        """Read them.

        Args:
            session: Where to read.
            schema: Whose views there are.
            allow_functions: Functions to let through, by name.
            timeout_ms: How long reading may take.
        """
        self._session = session
        self._timeout_ms = timeout_ms
        self._allowed = frozenset(name.lower() for name in allow_functions)
        functions = session.run(_FUNCTIONS, timeout_ms=timeout_ms).rows
        refused = {name for name, tabular, volatile, _ in functions if volatile and not tabular}
        refused |= {name for name, *_ in functions if is_dangerous(name, dialect="duckdb")}
        self._refused = frozenset(refused - self._allowed)
        scalar = {name: text for name, tabular, _, text in functions if text and not tabular}
        tabular = {name: text for name, tabular, _, text in functions if text and tabular}
        closed = {name for name, tabular, *_ in functions if tabular} - TABLE_FUNCTIONS - tabular.keys()
        unsafe = self._refused | closed - self._allowed
        self._macros = _reaching(scalar, unsafe)
        self._table_macros = _reaching(tabular, unsafe | self._macros.keys())
        self._open = TABLE_FUNCTIONS | tabular.keys()
        self._views = _reaching(schema.views, unsafe | self._macros.keys() | self._table_macros.keys())

    def check(self, sql: str) -> None:
        """Refuse a text that is not one SELECT which only reads.

        Raises:
            QuerySyntaxError: DuckDB cannot parse it.
            UnsafeQueryError: It names what was found.
        """
        for node in _walk(self._statement(sql)):
            kind = str(node.get("type", ""))
            if kind.endswith("_NODE") and kind not in _NODES:
                what = kind.removesuffix("_NODE").removesuffix("_QUERY")
                raise UnsafeQueryError(
                    what, reason="it changes data or state", mend="Only SELECT may stand anywhere in a query."
                )
            if kind == "SHOW_REF":
                raise UnsafeQueryError(
                    "SHOW", reason="only a SELECT may be sent", mend="Read `catalog()` for tables and columns."
                )
            if kind == "VALUE_PARAMETER":
                raise UnsafeQueryError(
                    "a parameter", reason="it has no value", mend="Write the value in the parameter's place."
                )
            if node.get("sample") is not None:
                raise UnsafeQueryError(
                    "a sample", reason="it is another one under another plan", mend="Leave the sampling clause out."
                )
            if kind == "TABLE_FUNCTION":
                self._check_table_function(node["function"])
            elif "function_name" in node:
                self._check_function(node)
            elif kind == "BASE_TABLE":
                self._check_table(node)

    def _statement(self, sql: str) -> Any:
        if "\0" in sql:
            raise QuerySyntaxError("it holds a NUL character")
        try:
            sql.encode()
        except UnicodeEncodeError:
            raise QuerySyntaxError("it holds half of a surrogate pair, which is no character") from None
        try:
            document = self._session.run(_READ, [sql], timeout_ms=self._timeout_ms).rows[0][0]
            tree = json.loads(document)
        except RecursionError:
            raise QuerySyntaxError("it is nested too deeply; write it with fewer levels of parentheses") from None
        except DatabaseError as error:
            raise QuerySyntaxError(" ".join(str(error).split())) from None
        if tree["error"]:
            if tree["error_type"] == "not implemented":
                raise UnsafeQueryError(
                    sql.split()[0].upper(),
                    reason="only a SELECT may be sent",
                    mend="Give one SELECT, or WITH … SELECT.",
                )
            raise _syntax(sql, tree)
        if not tree["statements"]:
            raise QuerySyntaxError("it is empty; give one SELECT")
        if len(tree["statements"]) > 1:
            raise UnsafeQueryError("';'", reason="a second statement follows it", mend="Send one statement at a time.")
        return tree["statements"][0]

    def _check_table_function(self, function: Mapping[str, Any]) -> None:
        name = str(function["function_name"]).lower()
        if name in self._allowed:
            return
        if name in self._table_macros:
            raise _through(f"the macro {name}", self._table_macros[name])
        if name not in self._open:
            raise dangerous(name)

    def _check_function(self, function: Mapping[str, Any]) -> None:
        name = str(function["function_name"]).lower()
        if name in self._allowed:
            return
        if name in self._macros:
            raise _through(f"the macro {name}", self._macros[name])
        if is_dangerous(name, dialect="duckdb"):
            raise dangerous(name)
        if name in self._refused:
            raise UnsafeQueryError(
                name,
                reason="the function is volatile, so results under two plans cannot be compared and it may change something",
                mend="Leave it out, or name it in `allow_functions`.",
            )

    def _check_table(self, node: Mapping[str, Any]) -> None:
        schema = str(node.get("schema_name") or "main").lower()
        view = f"{schema}.{node['table_name']}".lower()
        if view in self._views:
            raise _through(f"the view {view}", self._views[view])


def _syntax(sql: str, document: Mapping[str, Any]) -> QuerySyntaxError:
    reason = str(document["error_message"]).strip()
    if "position" not in document:
        return QuerySyntaxError(reason)
    before = sql.encode()[: int(document["position"])].decode(errors="ignore")
    return QuerySyntaxError(reason, line=before.count("\n") + 1, column=len(before) - (before.rfind("\n") + 1) + 1)


def _walk(tree: Any) -> Iterator[dict[str, Any]]:
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            yield node
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node


def _reaching(texts: Mapping[str, str], refused: frozenset[str]) -> dict[str, str]:
    """Return which of these texts call something refused, directly or through another, and what."""
    found: dict[str, str] = {}
    calls = {name: {call.lower() for call in _CALL.findall(text)} for name, text in texts.items()}
    words = {name: {word.lower() for word in re.findall(r"\w+", text)} for name, text in texts.items()}
    growing = True
    while growing:
        growing = False
        for name in calls.keys() - found.keys():
            inside = calls[name] & refused
            others = {other for other in found if other != name and other.rpartition(".")[2] in words[name]}
            if inside or others:
                found[name] = min(inside or {found[other] for other in others})
                growing = True
    return found


def _through(what: str, function: str) -> UnsafeQueryError:
    return UnsafeQueryError(
        what,
        reason=f"it calls {function}, which is volatile or dangerous",
        mend=f"Leave it out, or name {function} in `allow_functions`.",
    )

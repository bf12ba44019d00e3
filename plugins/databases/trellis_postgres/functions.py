"""Which functions a query may call, by PostgreSQL's own catalog.

A volatile function gives another result at each call, or does something beside giving one: neither can be compared between two
plans. Its names are looked for in the text that is sent, in the views that the text names, and in the operators and casts that
hide a function of a user's.

Known limits: a type's own input function, a row-security policy and a domain's check may call a volatile function unseen; they
run read-only and as the unprivileged role like everything else.
"""

from __future__ import annotations

from collections.abc import Mapping

from trellis.errors import UnsafeQueryError
from trellis.sql.safety import dangerous, is_allowed, is_dangerous
from trellis_postgres.config import PostgresConfig
from trellis_postgres.lexer import Call, Text, read_text
from trellis_postgres.session import Session

_FUNCTIONS = """
SELECT n.nspname, p.proname, pg_catalog.pg_function_is_visible(p.oid),
       p.pronargs = 1 AND EXISTS (SELECT 1 FROM pg_catalog.pg_type t WHERE t.oid = p.proargtypes[0] AND t.typtype IN ('c', 'p'))
FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
WHERE p.provolatile = 'v'
   OR EXISTS (SELECT 1 FROM pg_catalog.pg_aggregate a JOIN pg_catalog.pg_proc f ON f.oid IN (a.aggtransfn, a.aggfinalfn)
              WHERE a.aggfnoid = p.oid AND f.provolatile = 'v')
"""
_OPERATORS = """
SELECT DISTINCT o.oprname, n.nspname, p.proname
FROM pg_catalog.pg_operator o JOIN pg_catalog.pg_proc p ON p.oid = o.oprcode
     JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
WHERE p.provolatile = 'v'
"""
_CASTS = """
SELECT DISTINCT t.typname, n.nspname, p.proname
FROM pg_catalog.pg_cast c JOIN pg_catalog.pg_proc p ON p.oid = c.castfunc JOIN pg_catalog.pg_type t ON t.oid = c.casttarget
     JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
WHERE p.provolatile = 'v'
"""


class FunctionGuard:
    """Knows the volatile functions of one database."""

    def __init__(self, session: Session, views: Mapping[str, str], config: PostgresConfig) -> None:
        """Read them.

        Args:
            session: Where to read.
            views: The text of each view's query by name.
            config: What is allowed all the same.
        """
        self._views = views
        self._allowed = config.allow_functions

        def read(sql: str) -> list[tuple[str, ...]]:
            rows = session.run(sql, timeout_ms=config.explain_timeout_ms).rows
            return [tuple((value or b"").decode() for value in row) for row in rows]

        self._visible: dict[str, str] = {}
        self._qualified: set[tuple[str, str]] = set()
        self._by_attribute: dict[str, str] = {}
        for schema, name, visible, takes_row in read(_FUNCTIONS):
            self._qualified.add((schema, name))
            if visible == "t":
                self._visible[name] = schema
            if takes_row == "t" and schema != "pg_catalog":
                self._by_attribute[name] = schema
        self._operators = [(symbol, schema, name) for symbol, schema, name in read(_OPERATORS)]
        self._casts = {target: (schema, name) for target, schema, name in read(_CASTS)}

    def check(self, text: Text) -> None:
        """Refuse a text that calls what it may not, itself or through a view.

        Raises:
            UnsafeQueryError: It names the function, and the view.
        """
        self._check(text, through="", seen=set())

    def _check(self, text: Text, *, through: str, seen: set[str]) -> None:
        for call in sorted(text.calls, key=lambda call: call.name):
            if is_dangerous(call.name, dialect="postgres") and not self._is_allowed(call.schema, call.name):
                raise dangerous(call.name + through)
            schema = self._volatile(call)
            if schema is not None and not self._is_allowed(schema, call.name):
                raise _volatile(call.name + through)
        for name in sorted(text.names & self._by_attribute.keys()):
            # PostgreSQL reads `row.f` as f(row) where the row has no column of that name.
            if not self._is_allowed(self._by_attribute[name], name):
                raise _volatile(name + through)
        for symbol, schema, name in self._operators:
            if any(symbol in run for run in text.operators) and not self._is_allowed(schema, name):
                raise _volatile(f"the operator {symbol}, which calls {name}" + through)
        for target in sorted(text.names & self._casts.keys()):
            if not self._is_allowed(*self._casts[target]):
                raise _volatile(f"the type {target}, a cast to which calls {self._casts[target][1]}" + through)
        for view in sorted(text.names & self._view_names() - seen):
            seen.add(view)
            for name, definition in self._views.items():
                if name.rpartition(".")[2] == view:
                    self._check(read_text(definition), through=f" in the view {view}", seen=seen)

    def _view_names(self) -> set[str]:
        return {name.rpartition(".")[2] for name in self._views}

    def _volatile(self, call: Call) -> str | None:
        if call.schema is None:
            return self._visible.get(call.name)
        return call.schema if (call.schema, call.name) in self._qualified else None

    def _is_allowed(self, schema: str | None, name: str) -> bool:
        return is_allowed(schema, name, allow_functions=self._allowed)


def _volatile(function: str) -> UnsafeQueryError:
    return UnsafeQueryError(
        function,
        reason="the function is volatile, so results under two plans cannot be compared and it may change something",
        mend="Leave it out, or name it in `allow_functions`.",
    )

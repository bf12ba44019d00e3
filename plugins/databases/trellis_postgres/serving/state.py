"""What is served at one time, and how a text is found in it: by its template first, which costs less than reading it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from trellis.errors import SQLError
from trellis.memory.journal import query_key
from trellis.memory.serving import ServedPlan
from trellis.sql.catalog import Catalog
from trellis.sql.fingerprint import own_form
from trellis.sql.fit import check_hints
from trellis.sql.grammar import parse_hints
from trellis.sql.query import Query
from trellis.sql.reader import parse_query
from trellis.sql.safety import check_safe
from trellis_postgres.dialects.base import HintDialect
from trellis_postgres.serving.recognition import Readings, Value, is_select, read, template

REMEMBERED = 4096
"""Texts and templates kept; all are forgotten when there are more."""


@dataclass(frozen=True, slots=True)
class Statement:
    """What is sent in a query's place.

    Attributes:
        plan: Why.
        sql: One statement with the user's own parameters.
        settings: The statements that set what goes with it.
    """

    plan: ServedPlan
    sql: bytes
    settings: bytes


@dataclass(frozen=True, slots=True)
class State:
    """What holds at one time; replaced as a whole.

    Attributes:
        catalog: The schema.
        server_version: The server's.
        plans: By query key.
        texts: The measured text by query key.
        fingerprints: Of what is served.
        found: What was looked up, by text and literals.
        templates: The fingerprint by template.
    """

    catalog: Catalog
    server_version: int
    plans: Mapping[str, ServedPlan]
    texts: Mapping[str, str]
    fingerprints: frozenset[str]
    found: dict[tuple[bytes, tuple[Value, ...]], Statement | None] = field(default_factory=dict)
    templates: dict[str, str] = field(default_factory=dict)


def recognised(
    state: State,
    text: bytes,
    bound: tuple[Value, ...],
    *,
    dialect: HintDialect,
    max_chars: int,
    on_unfit: Callable[[ServedPlan, str], None],
) -> Statement | None:
    """Return what to send in the place of a text that was not seen before; None where nothing is served for it.

    Args:
        state: What is served.
        text: As it would be sent.
        bound: Its parameters' values.
        dialect: How hints are given.
        max_chars: Longer texts are not looked at.
        on_unfit: Told of a plan whose hints cannot be asked for, and why.
    """
    try:
        sql = text.decode()
    except UnicodeDecodeError:
        return None
    if len(sql) > max_chars or not is_select(sql):
        return None
    readings = read(sql, bound)
    if readings is None:
        return None
    for reading in readings.texts:
        shape = template(reading)
        if shape is None:
            continue
        try:
            if shape not in state.templates:
                if len(state.templates) >= REMEMBERED:
                    state.templates.clear()
                state.templates[shape] = parse_query(reading, catalog=state.catalog).fingerprint
            if state.templates[shape] in state.fingerprints:
                query = parse_query(reading, catalog=state.catalog)
                plan = state.plans.get(query_key(query))
                if plan is not None:
                    return _statement(state, plan, query, readings, dialect, on_unfit)
        except SQLError:
            # What cannot be read here is PostgreSQL's business alone.
            state.templates.setdefault(shape, "")
    return None


def _statement(
    state: State,
    plan: ServedPlan,
    query: Query,
    readings: Readings,
    dialect: HintDialect,
    on_unfit: Callable[[ServedPlan, str], None],
) -> Statement | None:
    """Write a query under its plan's hints; None where they are not about these aliases."""
    measured = parse_query(state.texts[plan.decision.key], catalog=state.catalog)
    if own_form(query.reading).text != own_form(measured.reading).text:
        return None
    hints = parse_hints(plan.decision.hints)
    marked = parse_query(readings.marked, catalog=state.catalog)
    try:
        check_safe(query.tree, dialect="postgres")
        check_hints(hints, marked, state.catalog)
        hinted = dialect.hinted(marked, hints)
    except SQLError as error:
        on_unfit(plan, f"its hints cannot be asked for any more: {error}")
        return None
    sql = readings.restored(hinted.sql)
    if sql is None:
        return None
    return Statement(plan, sql.encode(), _settings(hinted.settings, plan.timeout_ms))


def _settings(settings: Mapping[str, str], timeout_ms: float) -> bytes:
    """Return the statements that say the user's time-out and set the plan's, and its settings, until the transaction's end."""
    values = {**settings, "statement_timeout": str(max(1, round(timeout_ms)))}
    sets = [f"SET LOCAL {name} = {_literal(value)}" for name, value in values.items()]
    return "; ".join(["SHOW statement_timeout", *sets]).encode()


def _literal(text: str) -> str:
    if "\\" in text:
        raise ValueError(f"a setting holds a backslash: {text}")
    return "'" + text.replace("'", "''") + "'"

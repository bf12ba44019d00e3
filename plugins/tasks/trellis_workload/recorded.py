"""Queries from pg_stat_statements, made whole: the record has $1 where there were constants."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import TYPE_CHECKING

from trellis import DatabaseBackend, PromptBuilder
from trellis.errors import SQLError
from trellis_workload.config import RecordedConfig
from trellis_workload.generator import WorkloadError
from trellis_workload.task import MeasuredTask, WorkloadQuery

if TYPE_CHECKING:
    from sqlglot.expressions import Column, Expr

    from trellis.sql.query import Query


class Recorded(MeasuredTask):
    """What the database itself remembers having run, by pg_stat_statements; constants come from its statistics."""

    Config = RecordedConfig

    def __init__(
        self, config: RecordedConfig, *, database: DatabaseBackend, prompt: PromptBuilder | None = None
    ) -> None:
        super().__init__(config, database=database, prompt=prompt)
        self.config = config

    def queries(self) -> Sequence[WorkloadQuery]:
        """Return the recorded queries that only read, with constants where the record has none.

        Raises:
            WorkloadError: None can be used; the message says why each cannot.
        """
        return filled(self.database, self.config)


def filled(database: DatabaseBackend, config: RecordedConfig) -> list[WorkloadQuery]:
    """Return the slowest recorded queries that only read, `variants` of each where it has parameters.

    A parameter that is compared with a column gets values that the column's statistics know; a query with any other
    parameter cannot be made whole.

    Raises:
        WorkloadError: None can be used.
    """
    found: list[WorkloadQuery] = []
    faults: list[str] = []
    used = 0
    for number, one in enumerate(database.recorded(), start=1):
        if one.calls < config.min_calls:
            continue
        name, random = f"recorded-{number:03}", Random(f"{config.seed or 0}/{one.sql}")
        texts: dict[str, None] = {}
        try:
            for sql in _instances(database, one.sql, config.variants, random):
                _check_own(database, database.parse(sql))
                texts[sql] = None
        except SQLError as error:
            faults.append(f"{name} ({' '.join(one.sql.split())[:60]}…): {error}")
            continue
        data = (("calls", one.calls), ("total_ms", one.total_ms))
        found += [WorkloadQuery(f"{name}-{k}", sql, data=data) for k, sql in enumerate(texts, start=1)]
        used += 1
        if used == config.limit:
            break
    if not found:
        why = "\n".join(faults[:20]) or f"the record holds no query with {config.min_calls} calls or more"
        raise WorkloadError(f"no recorded query can be used:\n{why}")
    return found


def _check_own(database: DatabaseBackend, query: Query) -> None:
    """Refuse what a client asks of the system catalogs, as Trellis does itself."""
    catalog = database.catalog()
    if not any(r.kind == "table" and r.name and catalog.table(r.name) for r in query.relations):
        raise SQLError("it reads no table of this database")


def _instances(database: DatabaseBackend, sql: str, variants: int, random: Random) -> Iterator[str]:
    """Yield the query with constants drawn for its parameters; the query itself, once, where it has none."""
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import ParseError

    from trellis.sql.unlogged import unlogged

    try:
        with unlogged():
            tree = sqlglot.parse_one(sql, read=database.dialect)
    except ParseError as error:
        raise SQLError(f"it cannot be parsed: {error}") from error
    if not list(tree.find_all(exp.Parameter)):
        yield sql
        return
    tables = {table.alias_or_name: table.name for table in tree.find_all(exp.Table)}
    choices: dict[str, list[str]] = {}
    for parameter in tree.find_all(exp.Parameter):
        column = _compared_column(parameter)
        if column is None:
            raise SQLError(f"its parameter {parameter.sql(dialect=database.dialect)} is not compared with a column")
        owners = [tables[column.table]] if column.table in tables else list(dict.fromkeys(tables.values()))
        values = next((list(v) for owner in owners if (v := database.examples(owner, column.name))), [])
        if not values:
            raise SQLError(f"no statistics are known of the column {column.sql(dialect=database.dialect)}")
        choices[parameter.name] = values
    for _ in range(variants):
        drawn = {name: random.choice(values) for name, values in choices.items()}

        def put(node: Expr, drawn: dict[str, str] = drawn) -> Expr:
            if isinstance(node, exp.Parameter):
                return sqlglot.parse_one(drawn[node.name], read=database.dialect)
            return node

        yield tree.transform(put).sql(dialect=database.dialect)


def _compared_column(parameter: Expr) -> Column | None:
    """Return the column on the other side of the comparison that a parameter stands in."""
    from sqlglot import exp

    node = parameter
    while isinstance(node.parent, exp.Cast | exp.Paren):
        node = node.parent
    comparison = node.parent
    if isinstance(comparison, exp.EQ | exp.NEQ | exp.GT | exp.GTE | exp.LT | exp.LTE | exp.Between | exp.In):
        for side in (comparison.this, comparison.args.get("expression")):
            if isinstance(side, exp.Column):
                return side
    return None

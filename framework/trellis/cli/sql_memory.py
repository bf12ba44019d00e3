"""`trellis sql status|why|export|forget|verify`: what a memory knows, and what is served of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import typer

from trellis.cli.output import JsonFlag, echo_json, echo_table
from trellis.cli.sql import Dialect, Dsn, Embedded, _database, _text
from trellis.cli.sql import app as app
from trellis.errors import MemoryFileError, SQLError, did_you_mean

if TYPE_CHECKING:
    from trellis.contracts import DatabaseBackend, HintedStatement
    from trellis.memory.journal import DecisionEntry, Journal, QueryEntry

MemoryOption: TypeAlias = Annotated[Path, typer.Option("--memory", envvar="TRELLIS_MEMORY", help="The journal's file.")]
QueryName: TypeAlias = Annotated[
    str, typer.Argument(metavar="QUERY", help="SQL, a file, a name, or the start of a key.")
]
Format: TypeAlias = Literal["pg_hint_plan", "pg_plan_advice", "sql"]


@app.command()
def status(memory: Annotated[Path, typer.Argument(help="The journal's file.")], json: JsonFlag = False) -> None:
    """Say what a memory knows: queries, measurements, what is served, what it gains, what fell back."""
    from trellis.memory.journal import newest
    from trellis.memory.summary import status as status_of

    with _journal(memory) as journal:
        found, counts = status_of(journal), journal.counts()
    rows = [
        {
            "query": one.query.name or one.query.key[:12],
            "key": one.query.key,
            "database": one.database,
            "measured": len(one.measurements),
            "decision": "" if one.decision is None else one.decision.action,
            "hints": "" if one.decision is None else one.decision.hints,
            "speedup": max((m.speedup for m in newest(one.measurements) if m.judgement == "faster"), default=None),
            "served": one.num_served,
            "untouched": one.num_default,
            "fallbacks": one.num_fallbacks,
            "gain_ms": one.gain_ms,
        }
        for one in found
    ]
    served = [row for row in rows if row["decision"] == "serve"]
    if json:
        echo_json({"counts": counts, "serving": len(served), "queries": rows})
        return
    typer.echo(
        f"{counts['query']} queries, {counts['measurement']} measurements, {counts['execution']} executions; "
        f"{len(served)} served, {sum(one.num_fallbacks for one in found)} fallbacks, "
        f"{sum(one.gain_ms for one in found) / 1000:.2f} s saved"
    )
    if rows:
        table = [("query", "measured", "best", "decision", "served", "untouched", "fallbacks", "saved ms")]
        for row in sorted(rows, key=lambda row: -float(row["gain_ms"])):  # type: ignore[arg-type]
            best = "" if row["speedup"] is None else f"{row['speedup']:.2f}x"
            names = ("served", "untouched", "fallbacks")
            table.append(
                (
                    str(row["query"]),
                    str(row["measured"]),
                    best,
                    str(row["decision"]),
                    *(str(row[name]) for name in names),
                    f"{row['gain_ms']:.0f}",
                )  # type: ignore[arg-type]
            )
        echo_table(table)


@app.command()
def why(query: QueryName, memory: MemoryOption, json: JsonFlag = False) -> None:
    """Say why a query is served as it is: every measurement and every decision, with hints and numbers."""
    from trellis.memory.summary import explained, find_queries

    with _journal(memory) as journal:
        found = [(entry, explained(journal, entry)) for entry in find_queries(journal, _text(query).strip())]
    if json:
        echo_json(
            [
                {"query": entry.name, "key": entry.key, "database": one.database, "history": list(lines)}
                for entry, known in found
                for one, lines in known
            ]
        )
        return
    for entry, known in found:
        typer.echo(f"{entry.name or entry.key[:12]} ({entry.key})\n  {' '.join(entry.sql.split())}")
        if not known:
            typer.echo("  nothing was measured yet")
        for one, lines in known:
            typer.echo(f"  on {one.database}:")
            for line in lines:
                typer.echo(f"    {line}")


@app.command()
def export(
    memory: MemoryOption,
    out: Annotated[Path, typer.Option(help="A file; for --format sql a folder with a file per query.")],
    format: Annotated[Format, typer.Option("--format", help="How.")] = "sql",  # noqa: A002 - the option's name
) -> None:
    """Write what is served in forms that work without Trellis.

    pg_hint_plan: INSERTs into its hint table, by query id or by normalised text, as the installed version has it; the table knows
    no constants, so a hint then counts for all constants of its template. pg_plan_advice: the advice of each query as a setting.
    sql: each query as it is sent, with its settings, in a transaction.
    """
    with _journal(memory) as journal:
        served = list(_served(journal))
        if format == "sql":
            out.mkdir(parents=True, exist_ok=True)
            for name, entry, decision in served:
                statement = _written(entry, decision, "rewrite")
                text = f"{_heading(name, decision, statement)}BEGIN;\n{_set_local(statement)}{_body(statement.sql)};\nCOMMIT;\n"
                (out / f"{name}.sql").write_text(text, encoding="utf-8")
        else:
            write = _hint_table if format == "pg_hint_plan" else _advice
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text("\n".join(write(*each) for each in served), encoding="utf-8")
    typer.echo(f"{out}: {len(served)} served queries")


@app.command()
def forget(
    memory: MemoryOption,
    query: Annotated[
        str | None, typer.Argument(metavar="QUERY", help="SQL, a file, a name, or the start of a key.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Everything.")] = False,
) -> None:
    """Delete a query and all that is known of it, or everything. It is not served from then on."""
    from trellis.memory.summary import find_queries

    if (query is None) != everything:
        raise typer.BadParameter("give a QUERY, or --all, and not both")
    with _journal(memory) as journal:
        found = journal.queries() if query is None else find_queries(journal, _text(query).strip())
        count = journal.forget([entry.key for entry in found])
    typer.echo(f"{count} queries forgotten")


@app.command()
def rebuild(
    memory: MemoryOption,
    dsn: Dsn = None,
    embedded: Embedded = None,
    store: Annotated[str, typer.Option(help="Which store: sqlite, chroma, pgvector, …")] = "sqlite",
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", help="Of the store's configuration, e.g. path=chroma; may be repeated."
        ),
    ] = None,
    embedder: Annotated[str, typer.Option(help="What makes its vectors.")] = "sql-features",
) -> None:
    """Make a memory's index of similar queries anew from its journal, e.g. where its file is damaged.

    What is there is set aside, not deleted. The journal holds everything and is only read. The store is the one that `explore`
    keeps beside the journal, or what a pipeline's store is, named by --store and --set.
    """
    from trellis.memory.memory import Memory
    from trellis.plugins import registry

    stores, embedders = registry().find(store, "store"), registry().find(embedder, "embedder")
    for item in set_ or ():
        if not item.partition("=")[2]:
            raise typer.BadParameter(f"'{item}' is no NAME=VALUE, e.g. path=chroma", param_hint="--set")
    settings = dict(item.partition("=")[::2] for item in set_ or ())
    if stores.id == "sqlite/sqlite":
        settings.setdefault("path", f"{memory}.vectors")
    with _journal(memory) as journal, _database(dsn, embedded, None) as backend:
        stores.check_extra()
        moved = stores.record.load_factory().set_aside(stores.config(settings))
        if moved is not None:
            typer.echo(f"what was there is {moved} now")
        given = [{"database": backend} if "database" in one.record.needs else {} for one in (stores, embedders)]
        with closing(stores.build(settings, given[0])) as made:
            made.clear()
            vectors = embedders.build({}, given[1])
            # A memory adds what its store lacks.
            Memory(journal, database=backend.identity, store=made, embedder=vectors, parse=backend.parse)
            typer.echo(f"{store}: {made.count()} queries of {memory}")


@app.command()
def verify(
    memory: MemoryOption,
    dsn: Dsn = None,
    embedded: Embedded = None,
    dialect: Dialect = None,
    pairs: Annotated[int, typer.Option(help="Interleaved pairs of default and served plan, at most.", min=3)] = 5,
    timeout_ms: Annotated[float, typer.Option(help="What the default may take.")] = 60_000,
    withdrawn: Annotated[
        bool, typer.Option("--withdrawn", help="Also what was withdrawn: served again if it pays.")
    ] = False,
    from_: Annotated[
        str | None, typer.Option("--from", metavar="DATABASE", help="Take what is served on another database.")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Measure served plans again, in pairs, and withdraw those that do not pay or whose result differs.

    With --from, what another database serves is measured on this one, and what pays is served here: after an upgrade of the
    server, or from a copy of the data. `trellis sql status --json` names databases.
    """
    from trellis.exploring.verifying import verify as verify_plan
    from trellis.measuring.config import MeasureConfig
    from trellis.memory.drift import note_catalog

    config = MeasureConfig(pairs=pairs, min_pairs=3, timeout_ms=timeout_ms)
    rows = []
    with _journal(memory) as journal, _database(dsn, embedded, None, dialect=dialect) as backend:
        note_catalog(journal, backend.catalog())
        source = backend.identity if from_ is None else _known_database(journal, from_)
        actions = ("serve", "withdraw") if withdrawn else ("serve",)
        for key, decision in journal.served(source).items():
            entry = journal.query(key)
            if decision.action in actions and entry is not None:
                now, reason = verify_plan(journal, backend, entry, decision.hints, config=config)
                rows.append({"query": entry.name or key[:12], "now": now, "reason": reason})
    if json:
        echo_json(rows)
    elif rows:
        echo_table([("query", "now", "why"), *((r["query"], r["now"], r["reason"]) for r in rows)])
    else:
        typer.echo(f"nothing is served on {'this database' if from_ is None else source}")


def _known_database(journal: Journal, given: str) -> str:
    known = sorted({decision.database for decision in journal.decisions()})
    if given not in known:
        raise SQLError(
            f"the memory knows no database {given!r}{did_you_mean(given, known)}: {', '.join(known) or 'none'}"
        )
    return given


@contextmanager
def _journal(path: Path) -> Iterator[Journal]:
    from trellis.memory.journal import Journal

    if not path.is_file():
        raise MemoryFileError(path, reason="there is no such file")
    journal = Journal(path)
    try:
        yield journal
    finally:
        journal.close()


def _served(journal: Journal) -> Iterator[tuple[str, QueryEntry, DecisionEntry]]:
    """Yield what is served with a name that is a file's."""
    used: set[str] = set()
    for database in sorted({decision.database for decision in journal.decisions()}):
        for key, decision in journal.served(database).items():
            entry = journal.query(key)
            if decision.action != "serve" or entry is None:
                continue
            name = re.sub(r"[^\w.-]+", "_", entry.name or key[:12])
            while name in used:
                name += f"-{key[-4:]}"
            used.add(name)
            yield name, entry, decision


def _written(entry: QueryEntry, decision: DecisionEntry, dialect: str) -> HintedStatement:
    from trellis.memory.memory import read_entry
    from trellis.plugins import registry
    from trellis.sql.grammar import parse_hints

    component = registry().find("postgres", "database")
    component.check_extra()
    backend: type[DatabaseBackend] = component.record.load_factory()
    return backend.written(read_entry(entry), parse_hints(decision.hints), dialect)


def _heading(name: str, decision: DecisionEntry, statement: HintedStatement) -> str:
    lines = [f"{name}: {decision.reason}", f"hints: {decision.hints}"]
    lines += [f"not asked for: {hint}: {reason}" for hint, reason in statement.untouched.items()]
    return "".join(f"-- {' '.join(line.split())}\n" for line in lines)


def _set_local(statement: HintedStatement) -> str:
    return "".join(f"SET LOCAL {name} = {_literal(value)};\n" for name, value in statement.settings.items())


def _advice(name: str, entry: QueryEntry, decision: DecisionEntry) -> str:
    statement = _written(entry, decision, "pg_plan_advice")
    return f"{_heading(name, decision, statement)}{_set_local(statement)}-- for: {' '.join(entry.sql.split())}\n"


def _hint_table(name: str, entry: QueryEntry, decision: DecisionEntry) -> str:
    """Return a block that adds to the hint table: its column is `query_id` since 1.7, and `norm_query_string` before."""
    statement = _written(entry, decision, "pg_hint_plan")
    hints = statement.sql[len("/*+ ") : statement.sql.index(" */")]
    hints += "".join(f" Set({setting} {value})" for setting, value in statement.settings.items())
    sql = _body(entry.sql)
    return f"""{_heading(name, decision, statement)}DO $trellis$
DECLARE plan json;
BEGIN
  IF EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'hint_plan.hints'::regclass AND attname = 'query_id') THEN
    SET LOCAL compute_query_id = on;
    EXECUTE 'EXPLAIN (VERBOSE, FORMAT JSON) ' || {_literal(sql)} INTO plan;
    EXECUTE 'INSERT INTO hint_plan.hints (query_id, application_name, hints) VALUES ($1, '''', $2)'
      USING (plan -> 0 ->> 'Query Identifier')::bigint, {_literal(hints)};
  ELSE
    EXECUTE 'INSERT INTO hint_plan.hints (norm_query_string, application_name, hints) VALUES ($1, '''', $2)'
      USING {_literal(_normalised(sql))}, {_literal(hints)};
  END IF;
END
$trellis$;
"""


def _normalised(sql: str) -> str:
    """Return a query as pg_hint_plan before 1.7 writes it: `?` for each constant, all else as it is."""
    from sqlglot import tokenize

    parts: list[str] = []
    at = 0
    for token in tokenize(sql, read="postgres"):
        if token.token_type.name in ("NUMBER", "STRING"):
            parts += [sql[at : token.start], "?"]
            at = token.end + 1
    return "".join([*parts, sql[at:]]) + ";"


def _body(sql: str) -> str:
    return sql.rstrip().rstrip(";").rstrip()


def _literal(text: str) -> str:
    escaped = text.replace("'", "''")
    return f"E'{escaped.replace(chr(92), chr(92) * 2)}'" if "\\" in text else f"'{escaped}'"


__all__ = ["app"]

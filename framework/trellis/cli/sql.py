"""`trellis sql`: queries and plan hints, checked, explained and measured on a real database."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from trellis.cli.output import JsonFlag, echo_json, echo_table
from trellis.errors import SQLError
from trellis.types import JSON

if TYPE_CHECKING:
    from trellis.contracts import DatabaseBackend
    from trellis.measuring.measure import VariantResult
    from trellis.sql.files import NamedQuery
    from trellis.sql.hints import PlanHints
    from trellis.sql.plan import Plan
    from trellis.sql.query import Query

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Queries and plan hints on a real database.")

QueryText: TypeAlias = Annotated[
    str, typer.Argument(metavar="QUERY", help="SQL, a file or folder of it, or - for standard input.")
]
Dsn: TypeAlias = Annotated[
    str | None,
    typer.Option("--dsn", envvar="TRELLIS_DSN", help="PostgreSQL: 'postgresql://user@host/db' or 'dbname=… host=…'."),
]
Embedded: TypeAlias = Annotated[
    Path | None, typer.Option("--embedded", help="A folder with a PostgreSQL of its own, made where it is not there.")
]
DuckDB: TypeAlias = Annotated[Path | None, typer.Option("--duckdb", help="A DuckDB file.")]
Hints: TypeAlias = Annotated[
    list[str] | None, typer.Option("--hints", help="Plan hints, e.g. 'HashJoin(a b) Leading((a b))'; may be repeated.")
]
Dialect: TypeAlias = Annotated[
    str | None, typer.Option("--dialect", help="rewrite, pg_hint_plan or pg_plan_advice; found out when left out.")
]


@app.command()
def check(
    query: QueryText,
    dsn: Dsn = None,
    embedded: Embedded = None,
    duckdb: DuckDB = None,
    json: JsonFlag = False,
) -> None:
    """Say how queries are read: blocks, joins, what can be hinted, fingerprint. Exits with 1 if one cannot be run.

    Without a database the queries are read as PostgreSQL's, and no name is looked up.
    """
    with _database(dsn, embedded, duckdb, optional=True) as backend:
        rows = [_checked(named, backend) for named in _queries(query)]
    if json:
        echo_json(rows)
    else:
        for row in rows:
            _echo_checked(row)
    if any("error" in row for row in rows):
        raise typer.Exit(1)


@app.command()
def lint(
    hints: Annotated[str, typer.Argument(help="Plan hints, a file of them, or - for standard input.")],
    query: Annotated[str | None, typer.Option("--query", help="The query they are for, as SQL or a file.")] = None,
    dsn: Dsn = None,
    embedded: Embedded = None,
    duckdb: DuckDB = None,
    json: JsonFlag = False,
) -> None:
    """Say everything that is wrong with plan hints, and how to mend it. Exits with 1 if there is an error."""
    from trellis.sql.lint import lint as lint_text

    text = _text(hints)
    with _database(dsn, embedded, duckdb, optional=True) as backend:
        read = None if query is None else _parse(_one(query), backend)
        findings = lint_text(text, query=read, catalog=None if backend is None else backend.catalog())
    if json:
        echo_json([dataclasses.asdict(finding) for finding in findings])
    else:
        for finding in findings:
            typer.echo(str(finding))
        if not findings:
            typer.echo("nothing is wrong")
    if any(finding.severity == "error" for finding in findings):
        raise typer.Exit(1)


@app.command()
def hint(
    query: QueryText,
    hints: Hints = None,
    dsn: Dsn = None,
    embedded: Embedded = None,
    duckdb: DuckDB = None,
    dialect: Dialect = None,
    json: JsonFlag = False,
) -> None:
    """Show what would be sent for a query under hints, and what of them its plan follows. Nothing is executed."""
    from trellis.sql.compare import compare

    with _database(dsn, embedded, duckdb, dialect=dialect) as backend:
        read, asked = _parse(_one(query), backend), _hints(hints)
        statement = backend.hinted(read, asked)
        verdicts = compare(asked, backend.explain(read, asked), read)
    if json:
        echo_json(
            {
                "sql": statement.sql,
                "settings": dict(statement.settings),
                "untouched": dict(statement.untouched),
                "hints": [_verdict(verdict) for verdict in verdicts],
            }
        )
        return
    for name, value in statement.settings.items():
        typer.echo(f"SET LOCAL {name} = '{value}';")
    typer.echo(f"{statement.sql};")
    _echo_verdicts(verdicts, statement.untouched)


@app.command()
def explain(
    query: QueryText,
    hints: Hints = None,
    dsn: Dsn = None,
    embedded: Embedded = None,
    duckdb: DuckDB = None,
    dialect: Dialect = None,
    analyze: Annotated[bool, typer.Option("--analyze", help="Run the query and measure its plan.")] = False,
    timeout_ms: Annotated[float, typer.Option(help="With --analyze: what it may take.")] = 60_000,
    pev2: Annotated[
        Path | None, typer.Option("--pev2", help="Write the database's own JSON there, for explain.dalibo.com or PEV2.")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Show a query's plan, with hints or without, and what of the hints it follows."""
    from trellis.sql.compare import compare

    limit = timeout_ms if analyze else None
    with _database(dsn, embedded, duckdb, dialect=dialect) as backend:
        read, asked = _parse(_one(query), backend), _hints(hints)
        if pev2 is not None:
            pev2.write_text(backend.explain_json(read, asked, timeout_ms=limit), encoding="utf-8")
        plan = backend.explain(read, asked, timeout_ms=limit)
        untouched = backend.hinted(read, asked).untouched
    verdicts = compare(asked, plan, read)
    if json:
        echo_json({"plan": _plan(plan), "hints": [_verdict(verdict) for verdict in verdicts]})
        return
    _echo_plan(plan)
    _echo_verdicts(verdicts, untouched)
    if pev2 is not None:
        typer.echo(f"\nwritten: {pev2}")


@app.command()
def measure(
    query: QueryText,
    hints: Hints = None,
    random_: Annotated[int, typer.Option("--random", help="So many random valid hints besides.", min=0)] = 0,
    dsn: Dsn = None,
    embedded: Embedded = None,
    duckdb: DuckDB = None,
    dialect: Dialect = None,
    pairs: Annotated[int, typer.Option(help="Interleaved pairs of default and variant, at most.", min=1)] = 5,
    timeout_ms: Annotated[float, typer.Option(help="What the default may take.")] = 60_000,
    factor: Annotated[float, typer.Option(help="A variant may take so many times the best median so far.")] = 1.5,
    seed: Annotated[int, typer.Option(help="Of random hints, orders and intervals.")] = 0,
    json: JsonFlag = False,
) -> None:
    """Measure queries under hints against their default plans, in interleaved pairs, results compared."""
    from random import Random

    from trellis.measuring.config import MeasureConfig
    from trellis.measuring.measure import measure as measure_query
    from trellis.sql.random_hints import random_hints

    config = MeasureConfig(
        pairs=pairs, min_pairs=min(3, pairs), timeout_ms=timeout_ms, factor=factor, seed=seed, analyze=False
    )
    documents: list[JSON] = []
    with _database(dsn, embedded, duckdb, dialect=dialect) as backend:
        given = {text: _hints([text]) for text in hints or ()}
        for named in _queries(query):
            read = _parse(named, backend)
            rng = Random(seed)
            drawn = (random_hints(read, rng, catalog=backend.catalog()) for _ in range(random_))
            variants = given | {str(one): one for one in drawn if one}
            if not variants:
                raise SQLError(f"{named.name}: there is nothing to measure: give --hints, or --random N on a join")
            measured = measure_query(backend, read, variants, config)
            rows = {"default": measured.default, **measured.variants}
            documents.append(
                {
                    "query": named.name,
                    "fingerprint": read.fingerprint,
                    "rounds": measured.rounds,
                    "lost_rounds": measured.lost_rounds,
                    "best": measured.best,
                    "variants": {name: _measured(row) for name, row in rows.items()},
                }
            )
            if not json:
                _echo_measured(named.name, rows)
    if json:
        echo_json(documents)


@app.command()
def setup(
    role: Annotated[str, typer.Option(help="The role's name.")] = "trellis_reader",
    dsn: Dsn = None,
    embedded: Embedded = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print the statements.")] = False,
) -> None:
    """Make the unprivileged role that queries are run as. The DSN must be an administrator's, this once."""
    with _database(dsn, embedded, None, privileged=True) as backend:
        for statement in backend.setup_role(role, dry_run=dry_run):
            typer.echo(f"{statement};")


@app.command()
def shop(
    out: Annotated[Path, typer.Option(help="A folder for the queries, one file per split.")],
    dsn: Dsn = None,
    embedded: Embedded = None,
    scale: Annotated[float, typer.Option(help="Rows, relative to the default's 0.8 million.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Of rows and queries.")] = 0,
    num_queries: Annotated[int, typer.Option("--queries", help="How many queries in all.", min=1)] = 400,
) -> None:
    """Load a generated shop whose queries planners get wrong, and write its queries: something to try everything on.

    The DSN must be an administrator's, this once.
    """
    from trellis.plugins import build

    with _database(None if embedded else dsn, embedded, None, privileged=True) as backend:
        config = {"scale": scale, "seed": seed, "num_queries": num_queries, "load_dsn": None if embedded else dsn}
        task = build("shop", config, database=backend)
        out.mkdir(parents=True, exist_ok=True)
        for split in ("train", "validation", "test"):
            problems = task.problems(split)
            file = out / f"{split}.sql"
            file.write_text("".join(f"-- {p.id}\n{p.text};\n\n" for p in problems), encoding="utf-8")
            typer.echo(f"{file}: {len(problems)} queries")


@contextmanager
def _database(
    dsn: str | None,
    embedded: Path | None,
    duckdb: Path | None,
    *,
    dialect: str | None = None,
    optional: bool = False,
    privileged: bool = False,
) -> Iterator[Any]:
    """Open the database that the options name; None where none is named and none is needed."""
    from trellis.plugins import build

    asked = {"--dsn": dsn, "--embedded": embedded, "--duckdb": duckdb}
    given = [name for name, value in asked.items() if value is not None]
    if dsn is not None and (embedded or duckdb) and len(given) == 2:
        # The environment's DSN gives way to what stands in the command.
        dsn, given = None, [name for name in given if name != "--dsn"]
    if not given and optional:
        yield None
        return
    if len(given) != 1:
        found = f"{' and '.join(given)} were given" if given else "none was given"
        raise typer.BadParameter(f"name one database, by --dsn, --embedded or --duckdb: {found}")
    more: dict[str, Any] = {} if dialect is None else {"dialect": dialect}
    if privileged and dsn:
        more["allow_privileged"] = True
    if duckdb is not None:
        if dialect is not None:
            raise typer.BadParameter("--dialect is PostgreSQL's: DuckDB knows one way alone")
        backend = build("duckdb", {"path": str(duckdb)})
    else:
        backend = build("postgres", {"dsn": dsn, **more} if dsn else {"directory": str(embedded), **more})
    with closing(backend):
        yield backend


def _text(given: str) -> str:
    """Return what was given, or what stands in the file it names."""
    if given == "-":
        return sys.stdin.read()
    try:
        return Path(given).read_text(encoding="utf-8") if Path(given).is_file() else given
    except (OSError, ValueError):  # a text too long for a file name, or with a NUL in it
        return given


def _queries(given: str) -> list[NamedQuery]:
    from trellis.sql.files import read_queries, split_statements

    try:
        if given.strip() not in ("", "-") and Path(given).exists():
            return read_queries([Path(given)])
    except (OSError, ValueError):
        pass
    found = split_statements(_text(given))
    if not found:
        raise SQLError("there is no statement: give SQL, a file or folder of it, or - for standard input")
    return found


def _one(given: str) -> NamedQuery:
    found = _queries(given)
    if len(found) > 1:
        raise SQLError(f"there are {len(found)} statements: give one")
    return found[0]


def _parse(named: NamedQuery, backend: DatabaseBackend | None) -> Query:
    from trellis.sql.reader import parse_safe

    try:
        if backend is not None:
            read: Query = backend.parse(named.sql)
            return read
        return parse_safe(named.sql)
    except SQLError as error:
        error.add_note(f"in {named.name}, which begins at line {named.line}")
        raise


def _hints(given: Sequence[str] | None) -> PlanHints:
    from trellis.sql.grammar import parse_hints

    return parse_hints("\n".join(_text(text) for text in given or ()))


def _checked(named: NamedQuery, backend: DatabaseBackend | None) -> dict[str, Any]:
    try:
        query = _parse(named, backend)
    except SQLError as error:
        return {"query": named.name, "line": named.line, "error": str(error)}
    return {
        "query": named.name,
        "line": named.line,
        "fingerprint": query.fingerprint,
        "literals": list(query.literals),
        "blocks": [
            {
                "path": block.path,
                "fixed": block.fixed,
                "relations": [
                    {"alias": r.alias, "name": r.name, "kind": r.kind, "hintable": r.hintable} for r in block.relations
                ],
                "joins": [
                    {"aliases": sorted(edge.aliases), "condition": edge.condition}
                    for edge in block.edges
                    if len(edge.aliases) > 1
                ],
                "filters": {alias: list(filters) for alias, filters in block.filters.items()},
            }
            for block in query.blocks
        ],
    }


def _echo_checked(row: Mapping[str, Any]) -> None:
    if "error" in row:
        typer.echo(f"{row['query']} (line {row['line']}): error: {row['error']}")
        return
    typer.echo(f"{row['query']}: fingerprint {row['fingerprint']}, literals: {', '.join(row['literals']) or 'none'}")
    for block in row["blocks"]:
        if not block["relations"]:
            continue
        names = [
            f"{r['alias']} ({r['name'] or r['kind']}{'' if r['hintable'] else ', not hintable'})"
            for r in block["relations"]
        ]
        typer.echo(f"  {block['path']}: {', '.join(names)}")
        if block["fixed"]:
            typer.echo(f"    its join order stays as it is: {block['fixed']}")
        for join in block["joins"]:
            typer.echo(f"    {' - '.join(join['aliases'])}: {join['condition']}")
        for alias, filters in block["filters"].items():
            typer.echo(f"    {alias}: {' AND '.join(filters)}")


def _verdict(verdict: Any) -> dict[str, str]:
    return {"hint": str(verdict.hint), "status": verdict.status, "reason": verdict.reason}


def _echo_verdicts(verdicts: Sequence[Any], untouched: Mapping[str, str]) -> None:
    if verdicts:
        typer.echo("")
        echo_table(
            (v.status, str(v.hint), v.reason + (f" ({untouched[str(v.hint)]})" if str(v.hint) in untouched else ""))
            for v in verdicts
        )


def _plan(plan: Plan) -> dict[str, Any]:
    document = {key: value for key, value in dataclasses.asdict(plan).items() if value not in (None, (), [])}
    return document | {
        key: [_plan(child) for child in getattr(plan, key)] for key in ("children", "subplans") if getattr(plan, key)
    }


def _echo_plan(plan: Plan) -> None:
    rows: list[tuple[str, ...]] = [("node", "reads", "rows expected", "rows", "loops", "ms", "cost")]
    waiting = [(plan, 0, "")]
    while waiting:
        node, depth, mark = waiting.pop()
        reads = " ".join(part for part in (node.relation, node.alias, node.index and f"by {node.index}") if part)
        numbers = (node.rows, node.loops, node.time_ms)
        rows.append(
            (
                "  " * depth
                + mark
                + node.node
                + (f" ({node.join_type})" if node.join_type not in (None, "inner") else ""),
                reads,
                f"{node.est_rows:,.0f}",
                *("" if number is None else f"{number:,.2f}".rstrip("0").rstrip(".") for number in numbers),
                f"{node.cost:,.0f}",
            )
        )
        below = [(child, depth + 1, "") for child in node.children]
        below += [(child, depth + 1, "subplan: ") for child in node.subplans]
        waiting += reversed(below)
    echo_table(rows)


def _measured(result: VariantResult) -> dict[str, Any]:
    return {
        "judgement": result.judgement,
        "median_ms": result.median_ms,
        "latencies_ms": list(result.latencies_ms),
        "speedup": None if result.speedup is None else list(result.speedup),
        "digest": result.digest,
        "hints": [_verdict(verdict) for verdict in result.verdicts],
        "untouched": dict(result.untouched or {}),
        "reason": result.reason,
    }


def _echo_measured(name: str, rows: Mapping[str, VariantResult]) -> None:
    table = [("median ms", "speed-up (95%)", "tree followed", "judgement", name)]
    for variant, result in rows.items():
        speedup = result.speedup
        trees = [v.same_tree for v in result.verdicts if str(v.hint).startswith("Leading")]
        judgement = result.judgement + (f" ({result.reason})" if result.reason else "")
        table.append(
            (
                "" if result.median_ms is None else f"{result.median_ms:.1f}",
                "" if speedup is None else f"{speedup.value:.2f} ({speedup.low:.2f} to {speedup.high:.2f})",
                "" if not trees else "yes" if all(trees) else "no",
                "" if variant == "default" else judgement,
                variant,
            )
        )
    echo_table(table)
    typer.echo("")

"""`trellis sql explore`: find faster plans for a workload, within bounds, and decide which are served."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trellis.cli.output import JsonFlag, echo_json, echo_table
from trellis.cli.sql import Dialect, Dsn, Embedded, _database, _queries

if TYPE_CHECKING:
    from trellis.contracts import DatabaseBackend, Proposer
    from trellis.types import Problem

PORTFOLIO = ("neighbours", "arms", "moves", "random-orders")
"""The proposers that are asked in turn where none is named: none needs a model, and each finds what others miss."""


def explore(
    memory: Annotated[
        Path, typer.Option("--memory", envvar="TRELLIS_MEMORY", help="The journal, made if it is not there.")
    ],
    query: Annotated[
        str | None, typer.Argument(metavar="QUERY", help="SQL, a file or folder of it, or - for standard input.")
    ] = None,
    recorded: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="In QUERY's place: so many queries that took longest in all, by the server's pg_stat_statements.",
        ),
    ] = None,
    dsn: Dsn = None,
    embedded: Embedded = None,
    dialect: Dialect = None,
    iterations: Annotated[int, typer.Option(help="Visits to each query, at most.", min=1)] = 3,
    tried: Annotated[int, typer.Option(help="Plans that run in a visit.", min=1)] = 4,
    seconds: Annotated[float | None, typer.Option(help="Seconds of executions in all.")] = None,
    share: Annotated[
        float | None, typer.Option(help="The same, as a multiple of the time that the workload takes once by default.")
    ] = None,
    proposer: Annotated[
        list[str] | None, typer.Option("--proposer", help="A proposer; may be repeated. Left out: a portfolio.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of everything that is drawn.")] = 0,
    json: JsonFlag = False,
) -> None:
    """Explore queries: propose plans, try them within bounds, verify what is faster, and note what may be served.

    It runs beside the application. Nothing is served that was not measured faster in pairs with an equal result; stop it at
    any time, and go on with the same --memory.
    """
    from trellis.exploring.config import ExploreConfig
    from trellis.exploring.explorer import Explorer
    from trellis.exploring.visit import Explored
    from trellis.exploring.workload import explore_workload
    from trellis.memory.journal import Journal
    from trellis.memory.memory import Memory
    from trellis.plugins import build
    from trellis.types import Problem

    if (query is None) == (recorded is None):
        raise typer.BadParameter("give a QUERY, or --recorded N for what the server has run, and not both")
    if share is not None and share <= 2:
        raise typer.BadParameter("--share must be above 2: every default is run twice before anything else is tried")
    config = ExploreConfig(tried=tried, seconds=seconds, share=share, seed=seed)
    problems = [] if query is None else [Problem(named.name, named.sql) for named in _queries(query)]
    with _database(dsn, embedded, None, dialect=dialect) as backend, closing(Journal(memory)) as journal:
        if recorded is not None:
            problems = _recorded(backend, recorded, seed)
        store = build("sqlite", {"path": str(memory.with_name(memory.name + ".vectors"))})
        with closing(store):
            embedder = build("sql-features", database=backend)
            known = Memory(journal, database=backend.identity, store=store, embedder=embedder, parse=backend.parse)
            explorer = Explorer(
                backend, memory=known, proposer=_proposer(proposer or PORTFOLIO, backend), config=config
            )

            def show(place: int, one: Explored) -> None:
                if one.decision is not None and one.decision.action != "keep default" and not json:
                    typer.echo(f"{problems[place].id}: {one.decision.action}: {one.decision.reason}")
                elif one.skipped and not json:
                    typer.echo(f"{problems[place].id}: left alone: {one.skipped}")

            documents: list[dict[str, Any]] = []
            for iteration in explore_workload(explorer, problems, iterations=iterations, patience=2, on_query=show):
                metrics = {
                    **iteration.metrics(),
                    "executions": explorer.spent.executions,
                    "exploring_s": explorer.spent.seconds,
                }
                documents.append({"iteration": iteration.number, **metrics, "stopped": iteration.stopped})
                if not json:
                    _echo(documents[-1])
    if json:
        echo_json(documents)
    else:
        typer.echo(f"kept in {memory}; serve from it with trellis.sql.connect(dsn, memory='{memory}')")


def _recorded(backend: DatabaseBackend, limit: int, seed: int) -> list[Problem]:
    from trellis.plugins import build

    task = build("recorded", {"limit": limit, "seed": seed, "skip_unusable": True}, database=backend)
    return [problem for split in ("train", "validation", "test") for problem in task.problems(split)]


def _proposer(names: tuple[str, ...] | list[str], backend: DatabaseBackend) -> Proposer:
    from trellis.plugins import build

    made = {name: build(name) for name in names}
    proposer: Proposer = next(iter(made.values())) if len(made) == 1 else build("portfolio", proposers=made)
    return proposer


def _echo(row: dict[str, Any]) -> None:
    echo_table(
        [
            ("iteration", "queries", "served", "by default", "served", "geometric mean", "executions", "exploring"),
            (
                str(row["iteration"]),
                f"{row['queries']:.0f}",
                f"{row['served']:.0f}",
                f"{row['default_s']:.2f} s",
                f"{row['served_s']:.2f} s",
                f"{row.get('speedup', 1.0):.2f}x",
                str(row["executions"]),
                f"{row['exploring_s']:.1f} s" + (f", ended after {row['stopped']}" if row["stopped"] else ""),
            ),
        ]
    )

"""The workloads: the generated shop, or a folder of real tables and queries; each on a PostgreSQL started here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg
from data import load_folder
from sefrqo.suite import EXPLORED, HELD_OUT, NEW, UNSEEN, Sizes

from trellis import DatabaseBackend, Problem, build
from trellis.errors import SQLError
from trellis.sql.files import read_queries
from trellis_workload.config import GeneratorConfig
from trellis_workload.database import load
from trellis_workload.generator import generate


@dataclass(frozen=True, slots=True)
class Workload:
    """Queries on a running database.

    Attributes:
        name: Of its results.
        database: The database, as it was installed.
        directory: Its data directory.
        sets: `EXPLORED`, and where there are any `NEW` and `UNSEEN`.
        unusable: Queries left out, and why.
    """

    name: str
    database: DatabaseBackend
    directory: Path
    sets: Mapping[str, Sequence[Problem]]
    unusable: Mapping[str, str]


def shop(seed: int, sizes: Sizes, directory: Path) -> Workload:
    """Load the shop of a seed unless it is there.

    Queries with new constants are those of the splits "test" of templates that are trained on; "validation" is for whoever
    tunes anything.
    """
    database = _server(directory)
    config = GeneratorConfig(seed=seed, scale=sizes.scale, num_queries=sizes.num_queries, held_out=HELD_OUT)
    workload = generate(config)
    load(database.admin_dsn(), workload)
    database.refresh()
    explored, new, unseen = [], [], []
    for query in workload.queries:
        problem = Problem(query.id, query.sql, data={"template": query.template})
        if query.template in HELD_OUT:
            unseen.append(problem)
        elif query.split == "train":
            explored.append(problem)
        elif query.split == "test":
            new.append(problem)
    sets = {EXPLORED: explored, NEW: _spread(new, sizes.new), UNSEEN: _spread(unseen, sizes.held_out)}
    return Workload(f"shop-{seed}", database, directory, sets, {})


def folder(data: Path, seed: int, directory: Path) -> Workload:
    """Load a folder's tables unless they are there, and read its queries: all of them are explored.

    Raises:
        SystemExit: It is not such a folder.
    """
    if not (data / "schema.sql").is_file() or not (data / "queries.sql").is_file():
        raise SystemExit(
            f"{data} holds no schema.sql and queries.sql: see benchmarks/sql/data.py for what a folder has"
        )
    database = _server(directory)
    done = directory.with_name(directory.name + ".loaded")
    if not done.exists():
        load_folder(database.admin_dsn(), data)
        done.touch()
    database.refresh()
    problems, unusable = [], {}
    for query in read_queries([data / "queries.sql"], dialect="postgres"):
        try:
            if len(database.parse(query.sql).relations) > 1:
                problems.append(Problem(query.name, query.sql))
        except SQLError as error:
            unusable[query.name] = str(error)
    return Workload(f"{data.name}-{seed}", database, directory, {EXPLORED: problems}, unusable)


def _server(directory: Path) -> DatabaseBackend:
    directory.parent.mkdir(parents=True, exist_ok=True)
    database: DatabaseBackend = build("postgres", {"directory": str(directory)})
    with psycopg.connect(database.admin_dsn(), autocommit=True) as connection:
        # A benchmark's data is made anew when power fails; autovacuum would change plans in the middle.
        for setting in ("fsync = off", "autovacuum = off"):
            connection.execute(f"ALTER SYSTEM SET {setting}".encode())
        connection.execute("SELECT pg_reload_conf()")
    return database


def _spread(problems: Sequence[Problem], count: int) -> list[Problem]:
    """Return `count` problems, of every template the first ones, as evenly as there are."""
    rank: dict[str, int] = {}
    order = []
    for problem in problems:
        template = str(problem.data["template"])
        rank[template] = rank.get(template, 0) + 1
        order.append((rank[template], problem))
    return [problem for _, problem in sorted(order, key=lambda pair: pair[0])[:count]]

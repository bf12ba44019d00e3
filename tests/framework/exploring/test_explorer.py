"""Exploring on a real PostgreSQL: what is tried, verified, decided and remembered, and what a kill leaves behind."""

import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from random import Random

import psycopg
import pytest

from trellis import build
from trellis.contracts import Proposal, Proposer
from trellis.errors import DatabaseError
from trellis.exploring.config import ExploreConfig
from trellis.exploring.explorer import Explorer
from trellis.exploring.workload import explore_workload
from trellis.memory.journal import Journal, query_key
from trellis.memory.memory import Memory
from trellis.memory.serving import worth
from trellis.sql import PlanHints, parse_hints, random_hints
from trellis.types import Problem

# The planner takes x = 1 and y = 1 for independent; they are one, so it expects a hundredth of the rows that come.
SLOW = "SELECT count(*) FROM a, b, c WHERE a.id = b.a AND b.id = c.b AND a.x = 1 AND a.y = 1 AND c.z = 3"


class Given(Proposer):
    def __init__(self, *texts):
        self.hints = [parse_hints(text) for text in texts]
        self.learned = []

    def propose(self, situation, n, *, seed=0):
        known = {tried.hints for tried in situation.tried}
        return [Proposal(hints, "given") for hints in self.hints if hints not in known][:n]

    def learn(self, tried, queries, *, seed=0):
        self.learned.append({key: len(list_) for key, list_ in tried.items()})
        return {"seen": float(len(tried))}


class Dice(Proposer):
    def propose(self, situation, n, *, seed=0):
        rng = Random(seed)
        drawn = [random_hints(situation.query, rng, methods=False, scans=False) for _ in range(n)]
        return [Proposal(hints, "dice") for hints in dict.fromkeys(drawn)]


class Mixed(Proposer):
    """Plans enough for several visits."""

    def propose(self, situation, n, *, seed=0):
        off = [
            f"Set(enable_{name} off)" for name in ("hashjoin", "mergejoin", "nestloop", "seqscan", "sort", "material")
        ]
        texts = off + [" ".join(sorted((a, b))) for a in off for b in off if a < b]
        Random(seed).shuffle(texts)
        return [Proposal(hints, "switches") for hints in map(parse_hints, texts)][:n]


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return str(tmp_path_factory.mktemp("explored") / "data")


@pytest.fixture(scope="module")
def database(directory):
    backend = build("postgres", {"directory": directory})
    with psycopg.connect(backend.admin_dsn(), autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("SELECT pg_reload_conf()")
        for table, rows, columns in (
            ("a", 2000, "i % 10 AS x, i % 10 AS y"),
            ("b", 20000, "i % 2000 AS a"),
            ("c", 40000, "i % 20000 AS b, i % 50 AS z"),
        ):
            connection.execute(f"CREATE TABLE {table} AS SELECT i AS id, {columns} FROM generate_series(1, {rows}) i")
        connection.execute("ANALYZE")
    yield backend
    backend.close()


@pytest.fixture
def memory(database, tmp_path):
    journal = Journal(tmp_path / "journal.sqlite")
    yield Memory(journal, database=database.identity)
    journal.close()


NESTED = "Set(enable_hashjoin off) Set(enable_mergejoin off)"
HASHED = "Set(enable_hashjoin on) Set(enable_nestloop off) Set(enable_mergejoin off)"
PROBLEM = Problem("slow", SLOW)


def test_what_is_much_slower_is_stopped_and_never_served(database, memory):
    explorer = Explorer(database, memory=memory, proposer=Given(NESTED))
    found = explorer.explore(PROBLEM)
    assert found.tried == 1
    assert found.best_ms == found.default_ms
    (measured,) = memory.journal.measurements()
    assert measured.judgement == "timed out"
    assert re.fullmatch(r"stopped after \d+ ms, the default takes \d+ ms", measured.reason)
    assert worth(measured, explorer.config.serving)
    assert [d.action for d in memory.journal.decisions()] == ["keep default"]


def test_why_a_try_failed_is_kept(database, memory, monkeypatch):
    execute = database.execute

    def failing(query, hints=PlanHints(), *, timeout_ms):  # noqa: B008
        if hints:
            raise DatabaseError("out of memory")
        return execute(query, hints, timeout_ms=timeout_ms)

    monkeypatch.setattr(database, "execute", failing)
    Explorer(database, memory=memory, proposer=Given(NESTED)).explore(PROBLEM)
    (measured,) = memory.journal.measurements()
    assert (measured.judgement, measured.speedup, measured.reason) == ("failed", 0.0, "out of memory")


@pytest.fixture
def slow_by_default(database):
    """A default that is bad for a reason that no statistics show."""
    with psycopg.connect(database.admin_dsn(), autocommit=True) as connection:
        connection.execute("ALTER ROLE trellis_reader SET enable_hashjoin = off")
        connection.execute("ALTER ROLE trellis_reader SET enable_mergejoin = off")
    backend = build("postgres", {"directory": str(database.server.directory)})
    yield backend
    backend.close()
    with psycopg.connect(database.admin_dsn(), autocommit=True) as connection:
        connection.execute("ALTER ROLE trellis_reader RESET ALL")
        connection.execute("ALTER ROLE trellis_reader SET default_transaction_read_only = on")
    # A connection that it made meanwhile would keep the role's settings.
    database._session.close()


def test_what_is_faster_is_verified_and_decided(slow_by_default, memory):
    found = Explorer(slow_by_default, memory=memory, proposer=Given(HASHED)).explore(PROBLEM)
    assert found.decision.action == "serve"
    assert "with an equal result" in found.decision.reason
    assert found.best_ms < found.default_ms
    (served,) = memory.journal.served(slow_by_default.identity).values()
    measured = next(m for m in memory.journal.measurements() if m.id == served.measurement)
    assert measured.pairs >= 3
    assert measured.low > 1


def test_a_plan_that_has_run_does_not_run_again(database, memory):
    explorer = Explorer(database, memory=memory, proposer=Mixed(), config=ExploreConfig(tried=3))
    tried = [explorer.explore(PROBLEM, seed=seed).tried for seed in range(8)]
    shapes = set()
    query = database.parse(SLOW)
    for measured in memory.journal.measurements():
        shape = database.explain(query, parse_hints(measured.hints)).shape()
        assert shape not in shapes
        shapes.add(shape)
    assert sum(tried) == len(shapes) > 1


def test_every_execution_is_in_the_journal(database, memory):
    explorer = Explorer(database, memory=memory, proposer=Dice())
    explorer.explore(PROBLEM)
    assert memory.journal.counts()["execution"] == explorer.spent.executions


def test_bounds_end_the_workload(database, memory):
    config = ExploreConfig(executions=6)
    explorer = Explorer(database, memory=memory, proposer=Dice(), config=config)
    problems = [Problem(str(z), SLOW.replace("c.z = 3", f"c.z = {z}")) for z in range(4)]
    (iteration,) = explore_workload(explorer, problems, iterations=5, patience=9)
    assert "executions" in iteration.stopped
    assert 0 < len(iteration.explored) < 4


def test_it_ends_when_nothing_changes_and_the_proposer_has_learned(database, memory):
    proposer = Given(NESTED)
    explorer = Explorer(database, memory=memory, proposer=proposer)
    iterations = list(explore_workload(explorer, [PROBLEM], iterations=9, patience=2))
    assert [iteration.quiet for iteration in iterations] == [1, 2]
    assert proposer.learned == [{query_key(database.parse(SLOW)): 1}] * 2
    assert iterations[-1].learned == {"seen": 1.0}


def test_a_default_that_takes_too_long_is_left_alone(database, memory):
    config = ExploreConfig(default_timeout_ms=1)
    found = Explorer(database, memory=memory, proposer=Dice(), config=config).explore(PROBLEM)
    assert "default_timeout_ms" in found.skipped
    assert found.tried == 0


# The default runs twice, the plan is tried, and verified by two warm-ups and three pairs or more: 3 is before, 6 and 9 amid.
@pytest.mark.parametrize("executions", [1, 3, 6, 9])
def test_killed_at_any_point_nothing_is_lost_or_served_unverified(slow_by_default, directory, tmp_path, executions):
    script = textwrap.dedent(f"""
        import sys
        sys.path.insert(0, {os.path.dirname(__file__)!r})
        from test_explorer import *
        backend = build("postgres", {{"directory": {directory!r}}})
        memory = Memory(Journal({str(tmp_path / "journal.sqlite")!r}), database=backend.identity)
        explorer = Explorer(backend, memory=memory, proposer=Given(HASHED))
        note = explorer._note
        def noted(*args, **words):
            note(*args, **words)
            if explorer.spent.executions == {executions}:
                os.kill(os.getpid(), signal.SIGKILL)
        explorer._note = noted
        explorer.explore(PROBLEM)
    """)
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    journal = Journal(tmp_path / "journal.sqlite")
    assert journal.counts()["execution"] == executions
    assert journal.served(slow_by_default.identity) == {}, "verification had not ended"
    memory = Memory(journal, database=slow_by_default.identity)
    gone_on = Explorer(slow_by_default, memory=memory, proposer=Given(HASHED)).explore(PROBLEM)
    assert gone_on.decision.action == "serve"
    assert not worth(journal.measurements()[-1], ExploreConfig().serving)
    journal.close()


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("SELECT 1 / (count(*) - count(*)) FROM a, b WHERE a.id = b.a", "by default it fails: .*division by zero"),
        ("SELECT now(), count(*) FROM a, b WHERE a.id = b.a", "two executions of it give different results"),
    ],
)
def test_why_a_query_cannot_be_explored_is_said(database, memory, sql, why):
    found = Explorer(database, memory=memory, proposer=Mixed()).explore(Problem("odd", sql))
    assert re.search(why, found.skipped)
    assert found.tried == 0


def test_a_server_that_dies_ends_the_visit_and_keeps_what_ran(database, memory):
    explorer = Explorer(database, memory=memory, proposer=Dice())
    explorer.explore(PROBLEM)
    before = memory.journal.counts()["execution"]
    os.kill(database.server.pid, signal.SIGKILL)
    time.sleep(0.2)
    with pytest.raises(Exception, match="connect"):
        explorer.explore(PROBLEM, seed=1)
    database.server.start()
    assert memory.journal.counts()["execution"] == before
    assert explorer.explore(PROBLEM, seed=2).default_ms > 0


def test_a_task_prompts_for_a_query_as_a_proposer_is_prompted_while_exploring(database, memory, tmp_path):
    """A nested loop in the default plan looks rows up one by one: its estimates say nothing of the table's conditions."""
    with psycopg.connect(database.admin_dsn(), autocommit=True) as connection:
        connection.execute("CREATE TABLE looked_up AS SELECT i AS id, i % 2000 AS a FROM generate_series(1, 40000) i")
        connection.execute("CREATE INDEX ON looked_up (a)")
        connection.execute("ANALYZE looked_up")
    database.refresh()
    try:
        sql = "SELECT count(*) FROM a, looked_up l WHERE a.id = l.a AND a.id < 5"
        (tmp_path / "one.sql").write_text(f"-- one\n{sql};\n")
        prompt = build("compact", {"neighbours": 0})
        task = build("queries", {"paths": [str(tmp_path / "one.sql")]}, database=database, prompt=prompt)
        (problem,) = [one for split in ("train", "validation", "test") for one in task.problems(split)]
        explorer = Explorer(database, memory=memory, proposer=Dice())
        exploring = prompt.build(problem, explorer.situation(problem, database.parse(sql)))
        assert "Nested Loop" in [node.node for node in database.explain(database.parse(sql)).walk()]
        assert task.start(problem).prompt == exploring
        # Nothing is asked of `looked_up` alone, so all of it is left.
        assert " looked_up 0" in exploring
    finally:
        with psycopg.connect(database.admin_dsn(), autocommit=True) as connection:
            connection.execute("DROP TABLE looked_up")
        database.refresh()


def test_what_was_served_on_other_sizes_is_tried_again_before_anything_new(slow_by_default, memory):
    explorer = Explorer(slow_by_default, memory=memory, proposer=Given(HASHED))
    explorer.explore(PROBLEM)
    assert [d.action for d in memory.journal.decisions()] == ["serve"]
    with psycopg.connect(slow_by_default.admin_dsn(), autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS TABLE c")
        connection.execute("INSERT INTO c SELECT id, b, z FROM kept, generate_series(1, 2)")
        connection.execute("ANALYZE c")
        try:
            (iteration,) = explore_workload(explorer, [PROBLEM], iterations=1, patience=1)
            (found,) = iteration.explored
            assert (found.tried, found.verified, found.skipped) == (1, 1, "")
            first, again = memory.journal.measurements()
            assert first.hints == again.hints == str(parse_hints(HASHED))
            assert first.judgement == again.judgement == "faster"
            assert first.ground != again.ground
            assert memory.journal.served(slow_by_default.identity)[found.key].action == "serve"
        finally:
            connection.execute("TRUNCATE c")
            connection.execute("INSERT INTO c TABLE kept")
            connection.execute("DROP TABLE kept")
            connection.execute("ANALYZE c")


def test_data_that_change_amid_a_visit_are_no_wrong_result(database, memory):
    explorer = Explorer(
        database, memory=memory, proposer=Given("Set(enable_hashjoin off)"), config=ExploreConfig(factor=50)
    )
    problem = Problem("changing", SLOW.replace("c.z = 3", "c.z = 1"))
    explorer.measure_default(problem)
    with psycopg.connect(database.admin_dsn(), autocommit=True) as connection:
        connection.execute("INSERT INTO c SELECT id, b, z FROM c WHERE z = 1")
        try:
            assert explorer.explore(problem).tried == 1
        finally:
            connection.execute("DELETE FROM c x USING c y WHERE x.id = y.id AND x.ctid > y.ctid")
    assert [m.judgement for m in memory.journal.measurements()] != ["wrong result"]
    assert explorer.measure_default(problem) is not None


def test_queries_of_which_nothing_is_known_are_visited_first(database, memory):
    problems = [Problem(str(z), SLOW.replace("c.z = 3", f"c.z = {z}")) for z in range(4)]
    Explorer(database, memory=memory, proposer=Given(NESTED)).explore(problems[0])
    Explorer(database, memory=memory, proposer=Given(NESTED)).explore(problems[2])
    explorer = Explorer(database, memory=memory, proposer=Given(NESTED))
    visited = []
    (iteration,) = explore_workload(
        explorer, problems, iterations=1, patience=9, on_query=lambda place, _: visited.append(place)
    )
    assert list(iteration.places) == visited == [1, 3, 0, 2]

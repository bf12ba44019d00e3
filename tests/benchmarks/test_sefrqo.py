"""The suite's committed tables are those of its committed measurements; its measures and its table of plans are right."""

import json
import math
import sys
from pathlib import Path

import pytest

from trellis import Execution, Problem, Tried
from trellis.contracts.database import NO_HINTS, DatabaseBackend, HintedStatement
from trellis.errors import DatabaseError
from trellis.exploring.config import ExploreConfig
from trellis.exploring.explorer import Explorer
from trellis.memory.journal import Journal
from trellis.memory.memory import Memory
from trellis.sql import Catalog, Plan, parse_hints
from trellis.sql.reader import parse_query

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.append(str(BENCHMARKS))

from sefrqo import measures, replayed, report, suite, truth  # noqa: E402

RESULTS = sorted((BENCHMARKS / "sefrqo" / "results").glob("*.json"))


def test_the_tables_are_written_from_the_results(tmp_path):
    target = report.write_report(BENCHMARKS / "sefrqo" / "results", tmp_path / "RESULTS.md")
    assert target.read_text(encoding="utf-8") == (BENCHMARKS / "sefrqo" / "RESULTS.md").read_text(encoding="utf-8")


def test_every_method_has_a_number_for_every_query():
    assert RESULTS
    for path in RESULTS:
        cell = json.loads(path.read_text(encoding="utf-8"))
        for name, sets in cell["methods"].items():
            for set_, row in sets.items():
                if set_ == "took_s":
                    continue
                count = len(cell["workload"]["sets"][set_]["ids"])
                assert {len(column) for column in row.values()} == {count}, (path.name, name, set_)
                assert {len(visits) for visits in row["served"]} == {len(suite.KS)}
                assert all(speedup > 0 for visits in row["served"] for speedup in visits)


def test_every_result_was_the_defaults():
    for path in RESULTS:
        assert json.loads(path.read_text(encoding="utf-8")).get("table", {"wrong": 0})["wrong"] == 0


def test_a_mean_of_speed_ups_is_geometric():
    assert measures.geometric_mean([0.5, 2.0, 8.0]) == pytest.approx(2.0)


def test_a_ratio_of_means_compares_the_same_queries():
    value, low, high = measures.mean_ratio([2.0, 4.0, 8.0], [1.0, 2.0, 4.0])
    assert (value, low, high) == pytest.approx((2.0, 2.0, 2.0))
    value, low, high = measures.mean_ratio([1.0, 4.0] * 20, [1.0] * 40)
    assert value == pytest.approx(2.0)
    # The logarithms are 0 and log 4, so their mean over 40 queries has a standard error of log 4 / 2 / sqrt 40.
    error = math.log(4) / 2 / math.sqrt(40)
    assert math.log(high / low) == pytest.approx(2 * 1.96 * error, rel=0.15)


def test_queries_under_several_seeds_are_drawn_as_one():
    ours, ones = [1.0, 4.0] * 20, [1.0] * 40
    _, low, high = measures.mean_ratio(ours, ones, clusters=[0, 1] * 20)
    assert (low, high) == pytest.approx((1.0, 4.0))


def test_a_total_counts_long_queries_for_more():
    value, low, high = measures.sum_ratio([100.0, 900.0], [1.0, 9.0])
    assert value == pytest.approx(1000 / 200)
    assert (low, high) == pytest.approx((1.0, 9.0))


def test_what_is_slower_is_counted_beyond_a_factor():
    speedups = [2.0, 1.0, 1 / 1.04, 1 / 1.1, 1 / 3]
    assert measures.share_slower(speedups, 1.05) == pytest.approx(2 / 5)
    assert measures.share_slower(speedups, 1.2) == pytest.approx(1 / 5)
    assert measures.slowest(speedups) == pytest.approx(3)
    assert measures.slowest([1.5, 2.0]) == 1.0


@pytest.mark.parametrize(
    ("budget_s", "speedups", "more"),
    [
        (0.5, [1.0, 1.0], True),
        (1.0, [2.0, 1.0], True),
        (3.5, [2.0, 3.0], True),
        (4.0, [4.0, 3.0], True),
        (8.0, [4.0, 5.0], False),
    ],
)
def test_a_budget_is_spent_visit_after_visit(budget_s, speedups, more):
    served, seconds = [[2.0, 4.0], [3.0, 5.0]], [[1.0, 1.0], [2.0, 4.0]]
    assert measures.at_budget(served, seconds, budget_s) == (speedups, more)


def test_methods_that_read_a_record_come_after_the_one_that_makes_it():
    names = list(suite.METHODS)
    for name, method in suite.METHODS.items():
        if method.record:
            assert names.index(method.record) <= names.index(name)
            assert suite.METHODS[method.record].record == method.record


SQL = "SELECT count(*) FROM a, b, c WHERE a.id = b.a AND b.id = c.b"
FAST, SAME, SLOW, REFUSED = (
    parse_hints(f"Set(enable_{name} off)") for name in ("seqscan", "sort", "hashjoin", "memoize")
)
ALSO_FAST = parse_hints("Set(enable_material off)")


class Scripted(DatabaseBackend):
    """A database on which every plan takes a known time, longer and longer as the machine slows down."""

    dialect = "postgres"
    identity = "scripted"
    plans = {NO_HINTS: "default", SAME: "default", FAST: "fast", ALSO_FAST: "fast", SLOW: "slow", REFUSED: "refused"}
    takes_ms = {"default": 100.0, "fast": 20.0, "slow": 900.0}

    def __init__(self):
        self.ran = []
        self.slow_down = 1.0

    def catalog(self):
        return Catalog({})

    def refresh(self):
        pass

    def parse(self, sql):
        return parse_query(sql)

    def statement(self, query, hints):
        return HintedStatement(query.sql)

    def explain(self, query, hints=NO_HINTS, *, timeout_ms=None):
        return Plan(self.plans[hints])

    def explain_json(self, query, hints=NO_HINTS, *, timeout_ms=None):
        raise NotImplementedError

    def execute(self, query, hints=NO_HINTS, *, timeout_ms):
        plan = self.plans[hints]
        self.ran.append(plan)
        if plan == "refused":
            raise DatabaseError("refused")
        latency_ms = self.takes_ms[plan] * self.slow_down
        if latency_ms > timeout_ms:
            return Execution(timeout_ms, timed_out=True)
        return Execution(latency_ms, num_rows=1, digest="digest")

    def alone(self):
        from contextlib import nullcontext

        return nullcontext()

    def close(self):
        pass


@pytest.fixture
def database():
    return Scripted()


@pytest.fixture
def table(tmp_path, database):
    opened = truth.Truth(tmp_path / "truth.sqlite", database)
    yield opened
    opened.close()


def test_hints_with_one_plan_are_run_once(table, database):
    query = database.parse(SQL)
    assert table.ran(query, FAST, timeout_ms=1000).latency_ms == 20
    pairs = table.pairs(query, FAST, truth.DECIDING)
    assert pairs == [(100.0, 20.0)] * truth.PAIRS
    ran = len(database.ran)
    assert table.ran(query, ALSO_FAST, timeout_ms=1000).latency_ms == 20
    assert table.pairs(query, ALSO_FAST, truth.DECIDING) == pairs
    assert table.ratio(query, ALSO_FAST, purpose=truth.DECIDING, slowest=4) == 5
    assert len(database.ran) == ran


def test_the_defaults_own_plan_is_the_default(table, database):
    query = database.parse(SQL)
    assert table.known(query, SAME) is None
    assert table.ratio(query, SAME, purpose=truth.DECIDING, slowest=4) == 1


def test_a_plan_that_was_stopped_is_run_again_for_longer_alone(table, database):
    query = database.parse(SQL)
    assert table.ran(query, SLOW, timeout_ms=300).timed_out
    ran = len(database.ran)
    assert table.ran(query, SLOW, timeout_ms=200) == Execution(200, timed_out=True)
    assert len(database.ran) == ran
    assert table.ran(query, SLOW, timeout_ms=1000).latency_ms == 900
    assert table.ran(query, SLOW, timeout_ms=500) == Execution(500, timed_out=True)
    assert len(database.ran) == ran + 1
    assert table.ratio(query, SLOW, purpose=truth.DECIDING, slowest=4) == 1 / 4
    assert table.ratio(query, SLOW, purpose=truth.DECIDING, slowest=20) == pytest.approx(1 / 9)


def test_pairs_that_decide_and_pairs_that_judge_are_others(table, database):
    query = database.parse(SQL)
    table.pairs(query, FAST, truth.DECIDING)
    ran = len(database.ran)
    table.pairs(query, FAST, truth.JUDGING)
    assert len(database.ran) == ran + 2 * (truth.PAIRS + 1)


def test_a_table_that_is_opened_again_runs_nothing(tmp_path, database):
    query = database.parse(SQL)

    def asked():
        table = truth.Truth(tmp_path / "truth.sqlite", database)
        found = (
            table.default(query).latency_ms,
            table.ran(query, FAST, timeout_ms=1000),
            table.ran(query, SLOW, timeout_ms=300),
            table.ran(query, REFUSED, timeout_ms=300),
            table.pairs(query, FAST, truth.DECIDING),
            table.best(query),
            table.counts(),
        )
        table.close()
        return found

    first = asked()
    ran = len(database.ran)
    assert asked() == first
    assert len(database.ran) == ran
    assert first[3] is None
    assert first[5] == FAST


def test_what_is_replayed_is_relative_to_the_default_of_the_same_round(table, database):
    query = database.parse(SQL)
    assert table.default(query).latency_ms == 100
    table.ran(query, FAST, timeout_ms=1000)
    database.slow_down = 3.0
    database_ = replayed.Replayed(table)
    latencies = [database_.execute(query, FAST, timeout_ms=1000).latency_ms for _ in range(2 + truth.PAIRS)]
    assert latencies == pytest.approx([20.0] * len(latencies))
    assert database_.execute(query, timeout_ms=1000).latency_ms == 100
    assert database_.execute(query, FAST, timeout_ms=10).timed_out
    with pytest.raises(DatabaseError):
        database_.execute(query, REFUSED, timeout_ms=1000)


class Says:
    """A proposer with one answer."""

    def __init__(self, *hints):
        self.hints = hints

    def propose(self, situation, n, *, seed=0):
        from trellis import Proposal

        tried = {one.hints for one in situation.tried}
        return [Proposal(hints, "says: so") for hints in self.hints if hints not in tried][:n]


def test_production_explores_the_table_as_it_would_the_database(tmp_path, table, database):
    served = []
    for name in ("one", "other"):
        database_ = replayed.Replayed(table)
        journal = Journal(tmp_path / f"{name}.sqlite")
        memory = Memory(journal, database=database_.identity, parse=database_.parse)
        explorer = Explorer(database_, memory=memory, proposer=Says(SLOW, FAST), config=ExploreConfig(tried=2))
        explored = explorer.explore(Problem("q", SQL))
        served.append((explored.decision.hints, explorer.spent.executions, round(explorer.spent.seconds, 6)))
        ran = len(database.ran)
        journal.close()
    # The second method learns what the first did, at the same cost, and nothing runs again.
    assert served[0] == served[1]
    assert parse_hints(served[0][0]) == FAST
    assert len(database.ran) == ran


def test_a_try_that_never_ended_is_remembered_as_one(tmp_path, table):
    database_ = replayed.Replayed(table)
    journal = Journal(tmp_path / "memory.sqlite")
    memory = Memory(journal, database=database_.identity, parse=database_.parse)
    Explorer(database_, memory=memory, proposer=Says(SLOW), config=ExploreConfig(tried=1)).explore(Problem("q", SQL))
    (tried,) = memory.tried(database_.parse(SQL))
    assert isinstance(tried, Tried)
    assert tried.judgement == "timed out"
    journal.close()

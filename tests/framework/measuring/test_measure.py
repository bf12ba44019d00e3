"""The measuring protocol, on a database whose latencies are written down: what decides, what is thrown away, what is said."""

from collections import defaultdict
from contextlib import contextmanager

import pytest

from trellis.contracts import DatabaseBackend, Execution, HintedStatement
from trellis.errors import ConnectionLostError, DatabaseError, HintError
from trellis.measuring.config import MeasureConfig
from trellis.measuring.measure import measure
from trellis.sql import Catalog, Join, JoinMethod, Leading, Plan, PlanHints, Query, Switch

QUERY = Query("SELECT 1", "postgres", (), "0" * 32, (), tree=None, reading=None)
DEFAULT = PlanHints()
FAST = PlanHints(switches=(Switch("enable_hashjoin", False),))
SLOW = PlanHints(switches=(Switch("enable_mergejoin", False),))
SAME = PlanHints(switches=(Switch("enable_sort", False),))


class Scripted(DatabaseBackend):
    """Latencies by hints, one after another and then the last for ever; an exception among them is raised."""

    def __init__(self, **latencies):
        names = {"default": DEFAULT, "fast": FAST, "slow": SLOW, "same": SAME}
        self.latencies = {names[name]: list(values) for name, values in latencies.items()}
        self.digests = defaultdict(lambda: "rows")
        self.calls = []
        self.down = 0
        self.depth = 0

    identity = "scripted"

    def catalog(self):
        return Catalog()

    def refresh(self):
        pass

    def parse(self, sql):
        return QUERY

    def hinted(self, query, hints=DEFAULT):
        if any(hint.name == "enable_memoize" for hint in hints.switches):
            raise HintError(str(hints), reason="it does not fit")
        return HintedStatement(query.sql)

    def statement(self, query, hints):
        return HintedStatement(query.sql)

    def explain(self, query, hints=DEFAULT, *, timeout_ms=None):
        if self.down:
            self.down -= 1
            raise ConnectionLostError("the server is down")
        return Plan(
            "Sort" if hints == SAME or not hints else f"Plan of {hints}", rows=None if timeout_ms is None else 7
        )

    def explain_json(self, query, hints=DEFAULT, *, timeout_ms=None):
        return "[]"

    def execute(self, query, hints=DEFAULT, *, timeout_ms):
        assert self.depth == 1, "timed without being alone"
        self.calls.append((hints, timeout_ms))
        script = self.latencies[hints]
        latency = script.pop(0) if len(script) > 1 else script[0]
        if isinstance(latency, Exception):
            raise latency
        if latency > timeout_ms:
            return Execution(timeout_ms, timed_out=True)
        return Execution(float(latency), num_rows=1, digest=self.digests[hints])

    @contextmanager
    def alone(self):
        self.depth += 1
        yield
        self.depth -= 1

    def close(self):
        pass

    def count(self, hints):
        return sum(asked == hints for asked, _ in self.calls)


def test_a_plan_twice_as_fast_is_found_after_three_pairs():
    backend = Scripted(default=[100], fast=[50])
    found = measure(backend, QUERY, {"fast": FAST})
    assert found.variants["fast"].judgement == "faster"
    assert found.variants["fast"].speedup == (2.0, 2.0, 2.0)
    assert found.best == "fast"
    assert found.rounds == 3
    assert backend.count(FAST) == 4, "three pairs and a warm-up"


def test_an_interval_that_does_not_decide_takes_all_rounds():
    backend = Scripted(default=[100], fast=[999, 101, 99, 100, 98, 102])
    found = measure(backend, QUERY, {"fast": FAST}, MeasureConfig(factor=20))
    assert found.variants["fast"].judgement == "undecided"
    assert found.rounds == 5
    assert found.best is None


def test_what_is_faster_by_less_than_the_margin_is_not_called_faster():
    found = measure(Scripted(default=[105], fast=[100]), QUERY, {"fast": FAST})
    assert found.variants["fast"].judgement == "undecided"


def test_a_warm_up_is_not_counted():
    found = measure(Scripted(default=[5000, 100], fast=[4000, 50]), QUERY, {"fast": FAST})
    assert found.default.latencies_ms == (100.0, 100.0, 100.0)
    assert found.variants["fast"].latencies_ms == (50.0, 50.0, 50.0)


def test_the_best_variant_survives_an_execution_that_a_busy_machine_made_slow():
    backend = Scripted(default=[100], fast=[2, 2, 2, 30, 2])
    found = measure(backend, QUERY, {"fast": FAST}, MeasureConfig(factor=1.5, floor_ms=1))
    assert found.variants["fast"].judgement == "faster"


def test_a_variant_is_stopped_at_the_factor_times_the_best_so_far():
    backend = Scripted(default=[100], fast=[50], slow=[140, 80])
    found = measure(backend, QUERY, {"fast": FAST, "slow": SLOW}, MeasureConfig(factor=1.5, floor_ms=1))
    assert found.variants["slow"].judgement == "timed out"
    limits = [timeout for hints, timeout in backend.calls if hints == SLOW]
    assert limits[0] == 150, "the default's warm-up is the first bound"
    assert limits[-1] == 75, "then the best median"


def test_no_time_out_is_shorter_than_the_floor():
    backend = Scripted(default=[1], fast=[15])
    found = measure(backend, QUERY, {"fast": FAST}, MeasureConfig(floor_ms=20))
    assert found.variants["fast"].judgement == "slower"
    assert {timeout for hints, timeout in backend.calls if hints == FAST} == {20}


def test_a_default_that_times_out_is_not_run_again_and_leaves_variants_unverified():
    backend = Scripted(default=[5000], fast=[50])
    found = measure(backend, QUERY, {"fast": FAST}, MeasureConfig(timeout_ms=1000))
    assert backend.count(DEFAULT) == 1
    assert found.variants["fast"].judgement == "unverified"
    assert found.variants["fast"].speedup.value == 20
    assert found.best is None


def test_another_result_is_told_and_the_variant_not_run_again():
    backend = Scripted(default=[100], fast=[50])
    backend.digests[FAST] = "other rows"
    found = measure(backend, QUERY, {"fast": FAST})
    assert found.variants["fast"].judgement == "wrong result"
    assert backend.count(FAST) == 1


def test_a_default_without_one_result_cannot_be_measured():
    backend = Scripted(default=[100], fast=[50])
    results = iter("abcd")
    backend.digests = type("Changing", (dict,), {"__missing__": lambda self, key: (key and "rows") or next(results)})()
    with pytest.raises(DatabaseError, match="LIMIT without ORDER BY"):
        measure(backend, QUERY, {"fast": FAST})


def test_the_defaults_own_plan_is_not_run_twice():
    backend = Scripted(default=[100], same=[100])
    found = measure(backend, QUERY, {"same": SAME})
    assert found.variants["same"].judgement == "same plan"
    assert backend.count(SAME) == 0
    assert found.default.median_ms == 100


def test_a_variant_that_fails_does_not_stop_the_others():
    backend = Scripted(default=[100], fast=[50], slow=[DatabaseError("out of memory")])
    found = measure(backend, QUERY, {"slow": SLOW, "fast": FAST})
    assert (found.variants["slow"].judgement, found.variants["slow"].reason) == ("failed", "out of memory")
    assert found.variants["fast"].judgement == "faster"


def test_hints_that_do_not_fit_are_told_before_anything_runs():
    backend = Scripted(default=[100])
    with pytest.raises(HintError):
        measure(backend, QUERY, {"bad": PlanHints(switches=(Switch("enable_memoize", False),))})
    assert backend.calls == []


def test_a_round_that_loses_the_server_is_thrown_away_whole():
    lost = ConnectionLostError("the server closed the connection")
    backend = Scripted(default=[100, 100, 900, 100], fast=[50, 50, lost, 999, 50])
    found = measure(backend, QUERY, {"fast": FAST}, MeasureConfig(seed=1, pairs=4, min_pairs=4, factor=30))
    assert found.lost_rounds == 1
    assert 999.0 not in found.variants["fast"].latencies_ms, "after a restart the caches are cold: a new warm-up"
    assert found.variants["fast"].latencies_ms == (50.0, 50.0, 50.0, 50.0)
    assert found.variants["fast"].judgement == "faster"


def test_a_server_is_waited_for_and_not_longer_than_asked():
    backend = Scripted(default=[100, ConnectionLostError("gone"), 100], fast=[50])
    original = backend.execute

    def execute(query, hints=DEFAULT, *, timeout_ms):
        try:
            return original(query, hints, timeout_ms=timeout_ms)
        except ConnectionLostError:
            backend.down = 3
            raise

    backend.execute = execute
    assert measure(backend, QUERY, {"fast": FAST}).lost_rounds == 1

    backend = Scripted(default=[ConnectionLostError("gone")])
    backend.explain = lambda *_, **__: (_ for _ in ()).throw(ConnectionLostError("gone"))
    with pytest.raises(ConnectionLostError):
        measure(backend, QUERY, {"fast": FAST}, MeasureConfig(patience_s=0.2))


def test_every_execution_is_told():
    told = []
    measure(Scripted(default=[100], fast=[50]), QUERY, {"fast": FAST}, on_execution=lambda name, _: told.append(name))
    assert sorted(told) == ["default"] * 4 + ["fast"] * 4


def test_the_plans_are_measured_afterwards_if_asked():
    found = measure(Scripted(default=[100], fast=[50]), QUERY, {"fast": FAST}, MeasureConfig(analyze=True))
    assert found.default.plan.rows == found.variants["fast"].plan.rows == 7


def test_the_order_within_rounds_is_drawn():
    backend = Scripted(default=[100], fast=[99])
    measure(backend, QUERY, {"fast": FAST}, MeasureConfig(pairs=40, min_pairs=40))
    first = [backend.calls[i][0] for i in range(2, len(backend.calls), 2)]
    assert 10 < sum(hints == FAST for hints in first) < 30


def test_a_variant_named_default_is_refused():
    with pytest.raises(ValueError, match="another"):
        measure(Scripted(default=[1]), QUERY, {"default": FAST})


def test_verdicts_come_with_the_plan():
    hints = PlanHints(leading=(Leading(Join("a", "b")),))
    backend = Scripted(default=[100])
    backend.latencies[hints] = [50]
    backend.explain = lambda query, hints=DEFAULT, **_: (
        Plan("Hash Join", join=JoinMethod.HASH, children=(Plan("Seq Scan", alias="a"), Plan("Seq Scan", alias="b")))
        if hints
        else Plan("Result")
    )
    (verdict,) = measure(backend, QUERY, {"hints": hints}).variants["hints"].verdicts
    assert verdict.status == "honoured"

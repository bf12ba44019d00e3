"""The measuring protocol on a real server: results, restarts, two databases at once, nobody else on the same one."""

import os
import signal
import threading
import time
from random import Random

import psycopg
import pytest

from trellis import build
from trellis.measuring.config import MeasureConfig
from trellis.measuring.measure import measure
from trellis.run.measured import Job, measure_everywhere
from trellis.sql import parse_hints, random_hints

JOIN = "SELECT count(*), sum(b.id) FROM a, b, c WHERE a.id = b.a AND b.id = c.b AND a.x = 3"


def fill(dsn):
    with psycopg.connect(dsn, autocommit=True) as connection:
        for table, rows, link in (("a", 300, "x"), ("b", 3000, "a"), ("c", 6000, "b")):
            modulus = {"x": 10, "a": 300, "b": 3000}[link]
            connection.execute(
                f"CREATE TABLE {table} AS SELECT i AS id, i % {modulus} AS {link} FROM generate_series(1, {rows}) i"
            )
        connection.execute("ANALYZE")


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return str(tmp_path_factory.mktemp("measured") / "data")


@pytest.fixture(scope="module")
def backend(directory):
    backend = build("postgres", {"directory": directory, "database": "one"})
    fill(backend.admin_dsn())
    yield backend
    backend.close()


def variants(backend, query, count=4):
    return {str(k): random_hints(query, Random(k), catalog=backend.catalog()) for k in range(count)}


def test_every_variant_has_the_defaults_result_and_tree(backend):
    query = backend.parse(JOIN)
    found = measure(backend, query, variants(backend, query), MeasureConfig(analyze=True, factor=1000))
    for variant in found.variants.values():
        assert variant.judgement in ("faster", "slower", "undecided", "same plan")
        assert variant.digest in (found.default.digest, None)
        assert variant.verdicts[-1].same_tree
        assert variant.plan.rows == 1
    assert found.default.plan.blocks > 0


def test_a_server_killed_in_the_middle_is_waited_for_and_its_round_thrown_away(backend):
    query = backend.parse(JOIN)
    told = []
    restarted = threading.Event()

    def bring_back():
        time.sleep(0.3)
        backend.server.start()
        restarted.set()

    def kill(name, execution):
        told.append(name)
        if len(told) == 6:
            os.kill(backend.server.pid, signal.SIGKILL)
            threading.Thread(target=bring_back).start()

    config = MeasureConfig(pairs=4, min_pairs=4, factor=1000, skip_same_plan=False)
    hints = parse_hints("Leading(((c b) a))")
    found = measure(backend, query, {"hints": hints}, config, on_execution=kill)
    assert restarted.wait(10)
    assert found.lost_rounds >= 1
    assert found.rounds == 4
    assert len(found.default.latencies_ms) == len(found.variants["hints"].latencies_ms) == 4
    assert found.variants["hints"].digest == found.default.digest


def test_nobody_is_timed_beside_another(backend, directory):
    other = build("postgres", {"directory": directory, "database": "one"})
    entered = threading.Event()

    def enter():
        with other.alone():
            entered.set()

    try:
        with backend.alone(), backend.alone():
            thread = threading.Thread(target=enter)
            thread.start()
            assert not entered.wait(0.3)
        assert entered.wait(10)
        thread.join()
    finally:
        other.close()


def test_databases_are_spread_and_each_ones_jobs_stay_together(backend, directory):
    two = {"directory": directory, "database": "two"}
    second = build("postgres", two)
    fill(second.admin_dsn())
    hints = {"hints": parse_hints("Leading(((c b) a))")}
    config = MeasureConfig(pairs=1, min_pairs=1, factor=1000)
    one = {"directory": directory, "database": "one"}
    jobs = [Job("postgres", database, JOIN, hints, config) for database in (one, two, one)]
    executor = build("processes", {"workers": 2})
    try:
        found = dict(measure_everywhere(jobs, executor=executor))
        assert sorted(found) == [0, 1, 2]
        assert len({measured.default.digest for measured in found.values()}) == 1
        with pytest.raises(Exception, match="no alias z") as caught:
            list(measure_everywhere([Job("postgres", one, JOIN, {"z": parse_hints("SeqScan(z)")})], executor=executor))
        assert "while measuring job 0" in "".join(caught.value.__notes__)
    finally:
        executor.close()
        second.close()


def test_recorded_queries_need_the_extension(backend):
    from trellis.errors import CapabilityError

    with pytest.raises(CapabilityError, match="shared_preload_libraries"):
        backend.recorded()


def test_examples_of_a_column_are_literals_that_it_holds(backend):
    values = {int(value.strip("'")) for value in backend.examples("a", "x")}
    assert values == set(range(10))
    assert backend.examples("nowhere", "x") == ()

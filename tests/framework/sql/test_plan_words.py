"""A plan in words."""

from dataclasses import replace

from trellis.sql import JoinMethod, Plan, ScanMethod
from trellis.sql.plan_words import joined_words, plan_words
from trellis.sql.reader import parse_query

QUERY = parse_query("SELECT 1 FROM a x, b y WHERE x.i = y.i")
NAMES = {"x": "t2", "y": "t1"}


def scan(alias, rows):
    return Plan("Seq Scan", scan=ScanMethod.SEQ, alias=alias, est_rows=rows)


PLAN = Plan("Hash Join", join=JoinMethod.HASH, est_rows=17, cost=200.0, children=(scan("x", 70), scan("y", 3)))


def words(plan, template="q"):
    return plan_words(plan, QUERY, default=replace(PLAN, cost=100.0), names=NAMES, template=template)


def test_a_join_is_said_everywhere_and_under_its_template():
    everywhere = ["HashJoin", "HashJoin rows 2", "HashJoin outer 3", "HashJoin inner 0", "HashJoin cost 2"]
    assert words(PLAN) == [*everywhere, *(f"q {word}" for word in everywhere), "q HashJoin t1 t2"]
    assert joined_words("q", ["t2", "t1"]) == ["q t1 t2"]


def test_another_template_shares_the_words_that_mean_the_same_everywhere():
    shared = set(words(PLAN)) & set(words(PLAN, template="p"))
    assert shared == {word for word in words(PLAN) if not word.startswith("q ")}


def test_costs_beyond_all_measure_are_alike():
    assert words(replace(PLAN, cost=1e30)) == words(replace(PLAN, cost=1e300))

"""The kit itself under test: a plugin with one fault fails the one check that is about it, a right one fails none."""

from pathlib import Path

import faulty_databases
import faulty_embedders
import faulty_executors
import faulty_optimizers
import faulty_policies
import faulty_prompts
import faulty_proposers
import faulty_records
import faulty_rewards
import faulty_searches
import faulty_stores
import faulty_tasks
import pytest
from faults import CASES, CHOICES, LEARNED, LEGAL, ORACLE, PARSE, TRAINABLE, register

from trellis import Need
from trellis.testing import check_component, checks
from trellis.testing.checks import ALL
from trellis.testing.material import Counts, Dice, Successor, Table
from trellis.testing.material.tiny import Tiny
from trellis_duckdb.backend import DuckDB

FAULTY = (
    faulty_records,
    faulty_tasks,
    faulty_policies,
    faulty_rewards,
    faulty_optimizers,
    faulty_searches,
    faulty_databases,
    faulty_executors,
    faulty_stores,
    faulty_proposers,
    faulty_embedders,
    faulty_prompts,
)

RIGHT = {
    "successor": register(Successor, "task", capabilities=LEGAL | ORACLE | PARSE),
    "table": register(Table, "policy", capabilities=CHOICES),
    "tiny": register(Tiny, "policy", capabilities=TRAINABLE),
    "counts": register(Counts, "reward", capabilities=LEARNED),
    "length": register(faulty_rewards.Length, "reward"),
    "head": register(faulty_rewards.Head, "reward", capabilities=LEARNED, needs=faulty_rewards.POLICY),
    "supervised": register(faulty_optimizers.Supervised, "optimizer", capabilities=faulty_optimizers.PROCESS),
    "pairs": register(faulty_searches.Pairs, "search", capabilities=faulty_searches.SAMPLING),
    "duckdb": register(DuckDB, "database", capabilities=faulty_databases.SIDES),
    "dice": register(Dice, "proposer"),
    "ranked": register(faulty_proposers.Ranked, "proposer"),
    "learner": register(faulty_proposers.Learner, "proposer", capabilities=faulty_proposers.LEARNS),
    "letters": register(faulty_embedders.Letters, "embedder"),
    "polite": register(faulty_prompts.Polite, "prompt"),
    "inline": register(faulty_executors.Inline, "executor"),
    "threads": register(faulty_executors.Threads, "executor", capabilities=faulty_executors.TIMEOUT),
    "shelf": register(faulty_stores.Shelf, "store", capabilities=faulty_stores.EXACT | faulty_stores.PERSISTENT),
}


def failures(component, **settings):
    return {result.id: result.message for result in check_component(component, **settings) if result.passed is False}


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_component_fails_no_check(name):
    assert failures(RIGHT[name]) == {}


@pytest.mark.parametrize("name", CASES)
def test_a_fault_fails_the_one_check_that_is_about_it(name):
    component, config, check = CASES[name]
    found = failures(component, config=config)
    assert list(found) == [check], found


def test_an_entry_point_that_imports_torch_is_found_out(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "faulty_distribution"))
    found = failures(faulty_records.heavy())
    assert list(found) == ["entry-point-is-light"]
    assert "imports torch" in found["entry-point-is-light"]


def test_every_check_can_fail():
    by_constructing = {"can-be-made", "entry-point-is-light"}
    assert {check.id for check in ALL} - {check for _, _, check in CASES.values()} == by_constructing


def test_a_component_that_cannot_be_made_is_found_out():
    component = register(faulty_records.HiddenArgument, "task", needs={"absent": Need("task")})
    assert "TypeError" in failures(component)["can-be-made"]


def test_a_failure_says_what_is_wrong_and_where_to_look():
    component, config, check = CASES["OverlappingSplits"]
    message = failures(component, config=config)[check]
    assert "is in split 'test' and in split 'train'" in message
    assert "Give each split a range of its own" in message


@pytest.mark.parametrize("check", ALL, ids=[check.id for check in ALL])
def test_every_check_has_a_reason_and_a_hint(check):
    assert check.why.endswith(".")
    assert check.hint.endswith(".")
    assert len(check.why) <= 120


def test_ids_are_unique():
    ids = [check.id for check in ALL]
    assert len(set(ids)) == len(ids)


def test_kinds_without_checks_of_their_own_get_the_universal_ones():
    assert checks("stage") == tuple(check for check in ALL if check.kind is None)

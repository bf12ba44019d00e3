"""The pytest front end, run by a pytest of its own."""

import os
import re
import subprocess
import sys

import pytest

from trellis.testing import checks
from trellis.testing.suites import TaskSuite

HEAD = """
from dataclasses import replace
from trellis import Component
from trellis.plugins import RegisteredComponent
from trellis.testing.material import Successor
from trellis.testing.suites import PolicySuite, TaskSuite

class Leaky(Successor):
    def problems(self, split):
        leaked = replace(super().problems("train")[0], id="leaked")
        return [*super().problems(split), *([leaked] if split == "test" else [])]

def component(cls):
    capabilities = frozenset({"traces", "step-oracle", "parse"})
    path = f"{cls.__module__}:{cls.__name__}"
    record = Component("successor", "x", cls.Config, path, capabilities=capabilities)
    return RegisteredComponent("task", "kit", record, "kit", "1.0")
"""


@pytest.fixture
def outcome(tmp_path):
    def run(body):
        (tmp_path / "test_mine.py").write_text(HEAD + body)
        command = [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", str(tmp_path)]
        environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
        return done.stdout

    return run


def counts(output):
    return {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|skipped|xfailed|error)", output)}


def test_every_check_is_a_test_of_its_own(outcome):
    output = outcome("class TestMine(TaskSuite):\n    component = component(Successor)\n    config = {'size': 9}\n")
    found = counts(output)
    assert "failed" not in found, output
    assert found["passed"] + found["skipped"] == len(checks("task"))
    assert "TestMine::test_conforms[splits-are-disjoint]" in output


def test_a_fault_fails_one_test_and_says_why(outcome):
    output = outcome("class TestMine(TaskSuite):\n    component = component(Leaky)\n")
    assert counts(output)["failed"] == 1, output
    assert "A problem that is trained on must not be tested on." in output
    assert "Give each split a range of its own" in output


def test_an_expected_failure_is_an_xfail_and_a_wrong_one_fails(outcome):
    output = outcome(
        "class TestMine(TaskSuite):\n    component = component(Leaky)\n"
        "    expected_failures = {'splits-are-disjoint': 'issue 12', 'answer-takes-any-text': 'issue 13'}\n"
    )
    assert counts(output)["xfailed"] == 1, output
    assert counts(output)["failed"] == 1, output
    assert "take it out of expected_failures" in output


def test_a_component_of_another_kind_is_refused(outcome):
    output = outcome("class TestMine(PolicySuite):\n    component = component(Successor)\n")
    assert "is a task, TestMine checks a policy" in output
    assert set(counts(output)) == {"failed"}


@pytest.mark.parametrize("name", ["test_conforms", "pytest_generate_tests"])
def test_a_subclass_cannot_drop_the_checks(name):
    with pytest.raises(TypeError, match=f"redefines '{name}'"):
        type("TestMine", (TaskSuite,), {name: None})

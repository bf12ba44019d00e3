"""The checks as pytest suites: one class per kind, every check a test of its own.

    from trellis.testing.suites import TaskSuite

    class TestParity(TaskSuite):
        component = "my/parity"
        config = {"size": 20}

The only module of the kit that imports pytest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from trellis.component import Kind
from trellis.testing.check import Check, Subject
from trellis.testing.run import checks, find, run_check, validate_expected
from trellis.types import JSON

if TYPE_CHECKING:
    from trellis.plugins import RegisteredComponent

__all__ = [
    "ComponentSuite",
    "DatabaseSuite",
    "EmbedderSuite",
    "ExecutorSuite",
    "PolicyOptimizerSuite",
    "PolicySuite",
    "PromptBuilderSuite",
    "ProposerSuite",
    "RewardModelSuite",
    "SearchSuite",
    "StoreSuite",
    "TaskSuite",
]


class ComponentSuite:
    """The checks of every kind; the base of the suites.

    Attributes:
        component: The component's id, or what the registry knows of it.
        config: Values that differ from the defaults; small sizes make the suite quick.
        needs: Functions that make a fresh collaborator, by the name of the need; for what the kit's own material does not do.
        expected_failures: Ids of checks that are known to fail, and why. One that passes fails the suite.
    """

    kind: ClassVar[Kind | None] = None
    component: ClassVar[str | RegisteredComponent]
    config: ClassVar[Mapping[str, JSON]] = {}
    needs: ClassVar[Mapping[str, Callable[[], Any]]] = {}
    expected_failures: ClassVar[Mapping[str, str]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Refuse a subclass that leaves checks out silently."""
        super().__init_subclass__(**kwargs)
        for name in ("test_conforms", "pytest_generate_tests"):
            if name in vars(cls):
                raise TypeError(
                    f"{cls.__name__} redefines '{name}', so its checks would not run. Name a check that is known to "
                    "fail in `expected_failures`, with the reason, and give tests of your own another name."
                )

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Make a test of each check."""
        if metafunc.function.__name__ == "test_conforms":
            found = checks(self.kind)
            validate_expected(self.expected_failures, found)
            metafunc.parametrize("check", found, ids=[check.id for check in found])

    def test_conforms(self, check: Check) -> None:
        """Run one check."""
        component = find(self.component)
        if self.kind not in (None, component.kind):
            pytest.fail(f"'{component.id}' is a {component.kind}, {type(self).__name__} checks a {self.kind}")
        expected = self.expected_failures.get(check.id)
        result = run_check(check, Subject(component, self.config, self.needs), expected)
        if result.passed is None:
            (pytest.xfail if expected else pytest.skip)(result.message)
        if not result.passed:
            pytest.fail(f"{check.id}: {result.message}\nWhy: {result.why}", pytrace=False)


class TaskSuite(ComponentSuite):
    """The checks of a task."""

    kind = "task"


class PolicySuite(ComponentSuite):
    """The checks of a policy."""

    kind = "policy"


class RewardModelSuite(ComponentSuite):
    """The checks of a reward."""

    kind = "reward"


class PolicyOptimizerSuite(ComponentSuite):
    """The checks of an optimizer."""

    kind = "optimizer"


class SearchSuite(ComponentSuite):
    """The checks of a search."""

    kind = "search"


class EmbedderSuite(ComponentSuite):
    """The checks of an embedder."""

    kind = "embedder"


class PromptBuilderSuite(ComponentSuite):
    """The checks of a prompt builder."""

    kind = "prompt"


class DatabaseSuite(ComponentSuite):
    """The checks of a database backend."""

    kind = "database"


class ExecutorSuite(ComponentSuite):
    """The checks of an executor."""

    kind = "executor"


class StoreSuite(ComponentSuite):
    """The checks of a store; it must be empty, and is cleared."""

    kind = "store"


class ProposerSuite(ComponentSuite):
    """The checks of a proposer."""

    kind = "proposer"

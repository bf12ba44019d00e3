"""Running checks: the core behind `trellis plugins check` and the pytest suites. Knows nothing of pytest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from trellis.component import Kind
from trellis.errors import TrellisError, did_you_mean
from trellis.testing.check import Check, CheckFailed, CheckResult, CheckSkipped, Subject
from trellis.testing.checks import ALL
from trellis.types import JSON

if TYPE_CHECKING:
    from trellis.plugins import RegisteredComponent


def checks(kind: Kind | None) -> tuple[Check, ...]:
    """Return the checks of a kind, those of every kind first; None returns only the latter."""
    return tuple(check for check in ALL if check.kind in (None, kind))


def check_component(
    component: str | RegisteredComponent,
    *,
    config: Mapping[str, JSON] | None = None,
    needs: Mapping[str, Callable[[], Any]] | None = None,
    expected_failures: Mapping[str, str] | None = None,
) -> list[CheckResult]:
    """Run every check that applies to a component.

    Args:
        component: Its id, or what the registry knows of it.
        config: Values that differ from the defaults, as small as possible: the checks build the component many times.
        needs: Functions that make a fresh collaborator, by the name of the need; for what the kit's own material does not do.
        expected_failures: Ids of checks that are known to fail, and why. One that passes is a failure.

    Raises:
        UnknownComponentError: No component has that id.
        TrellisError: `expected_failures` names no check.
    """
    subject = Subject(find(component), config or {}, needs or {})
    found, expected = checks(subject.component.kind), expected_failures or {}
    validate_expected(expected, found)
    return [run_check(check, subject, expected.get(check.id)) for check in found]


def run_check(check: Check, subject: Subject, expected_failure: str | None = None) -> CheckResult:
    """Run one check; `expected_failure` is the reason why it is known to fail, if it is."""
    lacking = sorted(check.requires - subject.component.record.capabilities)
    if lacking:
        return CheckResult(check.id, None, f"only with {', '.join(lacking)}, which it does not declare", check.why)
    try:
        check.function(subject)
    except CheckSkipped as skipped:
        return CheckResult(check.id, None, str(skipped), check.why)
    except Exception as error:
        if expected_failure is not None:
            return CheckResult(check.id, None, f"fails as expected: {expected_failure}", check.why)
        what = str(error) if isinstance(error, CheckFailed) else f"it raised {type(error).__name__}: {error}"
        return CheckResult(check.id, False, f"{what}\n{check.hint}".rstrip(), check.why)
    if expected_failure is not None:
        mend = f"passes, although it is expected to fail ({expected_failure}): take it out of expected_failures"
        return CheckResult(check.id, False, mend, check.why)
    return CheckResult(check.id, True, "", check.why)


def find(component: str | RegisteredComponent) -> RegisteredComponent:
    """Return what the registry knows of an id; anything else is returned as it is."""
    if not isinstance(component, str):
        return component
    from trellis.plugins import registry

    return registry().find(component)


def validate_expected(expected_failures: Mapping[str, str], found: tuple[Check, ...]) -> None:
    """Raise a `TrellisError` if an expected failure names no check."""
    names = [check.id for check in found]
    for name in expected_failures:
        if name not in names:
            raise TrellisError(f"expected_failures: no check is named '{name}'{did_you_mean(name, names)}")

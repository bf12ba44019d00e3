import subprocess
import sys
from pathlib import Path

import faulty_records
import faulty_tasks
import pytest
from faults import TRACES, register

from trellis.errors import TrellisError
from trellis.plugins import registry
from trellis.testing import check_component
from trellis.testing.material import Counts, Successor


@pytest.fixture
def faulty():
    return register(faulty_tasks.OverlappingSplits, "task", capabilities=TRACES)


@pytest.fixture
def registry_with_heavy(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "faulty_distribution"))
    registry.cache_clear()
    yield
    registry.cache_clear()


def by_id(results):
    return {result.id: result for result in results}


@pytest.mark.usefixtures("registry_with_heavy")
def test_a_component_is_found_by_its_id():
    results = by_id(check_component("heavy/successor"))
    assert results["splits-are-disjoint"].passed is True
    assert results["entry-point-is-light"].passed is False


def test_an_expected_failure_is_no_failure(faulty):
    results = by_id(check_component(faulty, expected_failures={"splits-are-disjoint": "issue 12"}))
    assert results["splits-are-disjoint"].passed is None
    assert "issue 12" in results["splits-are-disjoint"].message


def test_an_expected_failure_that_passes_is_a_failure():
    component = register(Successor, "task", capabilities=TRACES)
    results = by_id(check_component(component, expected_failures={"splits-are-disjoint": "issue 12"}))
    assert results["splits-are-disjoint"].passed is False
    assert "take it out of expected_failures" in results["splits-are-disjoint"].message


def test_an_expected_failure_of_a_misspelt_check_is_an_error(faulty):
    with pytest.raises(TrellisError, match="did you mean 'splits-are-disjoint'"):
        check_component(faulty, expected_failures={"splits-are-disjiont": "issue 12"})


def test_a_capability_that_is_not_declared_skips_its_checks():
    results = by_id(check_component(register(Counts, "reward")))
    assert results["reset-forgets-everything"].passed is None
    assert "learned" in results["reset-forgets-everything"].message
    assert results["capabilities-match-the-class"].passed is False


def test_a_required_field_without_a_value_skips_what_needs_the_component():
    results = by_id(check_component(register(faulty_records.BareField, "task", capabilities=TRACES)))
    assert results["can-be-made"].passed is None
    assert "path" in results["can-be-made"].message


def test_an_invalid_config_fails_the_checks_that_build():
    results = by_id(check_component(register(Successor, "task", capabilities=TRACES), config={"size": "many"}))
    assert results["can-be-made"].passed is False
    assert "size" in results["can-be-made"].message


def test_the_core_imports_neither_pytest_nor_torch():
    program = (
        "import sys; from trellis.testing import check_component; import trellis.testing.material;"
        "print(sorted({'pytest', 'torch', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

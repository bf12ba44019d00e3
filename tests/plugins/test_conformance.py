"""Every component of this distribution passes the conformance kit."""

import pytest

from trellis.plugins import registry
from trellis.testing import check_component

FEW_PROBLEMS = {"train_size": 60, "validation_size": 20, "test_size": 20}

CONFIGS: dict[str, dict[str, object]] = {
    "beam/beam": {"width": 2},
    "core/processes": {"workers": 2},
    "grpo/grpo": {"steps": 3},
    "reasoning/arithmetic": FEW_PROBLEMS,
    "reasoning/countdown": FEW_PROBLEMS,
    "reasoning/equation": FEW_PROBLEMS,
    "reasoning/units": FEW_PROBLEMS,
    "sft/sft": {"steps": 3},
    "transformers/transformers": {
        "init": {"model_type": "gpt2", "n_layer": 1, "n_embd": 32, "n_head": 2, "n_positions": 256}
    },
}
"""Small sizes, for quick checks; a component that is not here takes its defaults."""

EXPECTED_FAILURES: dict[str, dict[str, str]] = {}
"""By component: the checks known to fail, and why."""

COMPONENTS = sorted(
    component.id for component in registry().components().values() if component.distribution == "trellis"
)


@pytest.mark.parametrize("component", COMPONENTS)
def test_it_passes_the_kit(component):
    results = check_component(
        component, config=CONFIGS.get(component), expected_failures=EXPECTED_FAILURES.get(component)
    )
    assert {result.id: result.message for result in results if result.passed is False} == {}


def test_configs_are_of_components_that_exist():
    assert CONFIGS.keys() | EXPECTED_FAILURES.keys() <= set(COMPONENTS)

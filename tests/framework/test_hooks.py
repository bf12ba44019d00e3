"""The hooks and the examples in their docstrings."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from trellis.component import KINDS
from trellis.contracts import CONTRACTS
from trellis.hooks import HOOKS, TrellisSpecs
from trellis.plugins import Registry, discover


def example(hook: str) -> str:
    """Return the Python block of a hook's docstring."""
    block: str
    (block,) = re.findall(r"```python\n(.*?)```", inspect.getdoc(getattr(TrellisSpecs, hook)) or "", re.DOTALL)
    return block


@pytest.fixture
def load(tmp_path):
    """Load an example as a local plugin."""

    def load(hook: str) -> Registry:
        file = Path(tmp_path / "example.py")
        file.write_text(example(hook), encoding="utf-8")
        return discover(local_plugins=[file])

    return load


def test_every_kind_has_a_hook_and_every_hook_a_specification():
    assert set(HOOKS.values()) == set(KINDS)
    assert {name for name in vars(TrellisSpecs) if name.startswith("trellis_")} == set(HOOKS)


@pytest.mark.parametrize(("hook", "kind"), HOOKS.items())
def test_the_example_of_a_hook_is_a_plugin(hook, kind, load):
    found = load(hook)
    assert "example" not in {failure.plugin for failure in found.failures}, found.failures
    assert [component.kind for component in found.by_id.values() if component.plugin == "example"] == [kind]


@pytest.mark.parametrize(("hook", "kind"), [item for item in HOOKS.items() if "{__name__}" in example(item[0])])
def test_the_class_in_the_example_implements_its_contract_and_can_be_built(hook, kind, load):
    (component,) = [each for each in load(hook).by_id.values() if each.plugin == "example"]
    collaborators = {name: object() for name in component.record.needs}
    assert isinstance(component.build({}, collaborators), CONTRACTS[kind])

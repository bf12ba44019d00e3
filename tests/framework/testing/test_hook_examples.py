"""The example in each hook's docstring is a plugin that the kit passes."""

import importlib
import inspect
import textwrap

import pytest

from trellis.hooks import HOOKS, TrellisSpecs
from trellis.plugins import RegisteredComponent
from trellis.testing import check_component

CONFIGS = {"trellis_policy_optimizers": {"steps": 3, "scale": 0.01}}
CLASSES_ELSEWHERE = {"trellis_retrieval_stores", "trellis_database_backends", "trellis_executors"}
"""Their examples name a class in a module of the reader's, so only their records can be looked at."""


def example(hook):
    docstring = inspect.getdoc(getattr(TrellisSpecs, hook))
    return textwrap.dedent(docstring.split("```python\n")[1].split("```")[0])


@pytest.fixture(params=HOOKS)
def hook(request):
    return request.param


@pytest.fixture
def component(hook, tmp_path, monkeypatch):
    module = f"example_of_{hook}"
    (tmp_path / f"{module}.py").write_text(example(hook))
    monkeypatch.syspath_prepend(str(tmp_path))
    (record,) = getattr(importlib.import_module(module), hook)()
    return RegisteredComponent(HOOKS[hook], "example", record, "example", "1.0")


def test_the_example_passes_the_kit(hook, component):
    results = check_component(component, config=CONFIGS.get(hook))
    failed = {result.id: result.message for result in results if result.passed is False}
    if hook in CLASSES_ELSEWHERE:
        failed = {check: message for check, message in failed.items() if "ModuleNotFoundError" not in message}
    assert failed == {}

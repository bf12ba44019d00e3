"""The pipelines that ship can be built from: every name, setting and need in them is one that is there."""

from pathlib import Path

import pytest

from trellis import load_pipeline

PIPELINES = sorted((Path(__file__).parents[1] / "pipelines").glob("*.yaml"))


@pytest.mark.parametrize("path", PIPELINES, ids=lambda path: path.stem)
def test_it_checks(path):
    assert load_pipeline(path).stages

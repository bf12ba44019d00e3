"""`docs/pipelines.md` tells the truth: its pipeline is right, and its broken one gives the messages printed there."""

import re
from pathlib import Path

import pytest

from trellis.errors import SpecError
from trellis.spec import load_pipeline
from trellis.spec.models import ComponentModel, PipelineModel, StageModel

GUIDE = (Path(__file__).parents[3] / "docs" / "pipelines.md").read_text(encoding="utf-8")
RIGHT, WRONG = re.findall(r"```yaml\n(version.*?)```", GUIDE, flags=re.DOTALL)
MESSAGES = re.search(r"\$ trellis check broken.yaml\n(.*?)```", GUIDE, flags=re.DOTALL)[1]


@pytest.fixture(autouse=True)
def _in_an_empty_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_its_pipeline_is_right():
    Path("first.yaml").write_text(RIGHT, encoding="utf-8")
    assert load_pipeline("first.yaml").name == "first"


def test_its_broken_pipeline_gives_the_messages_printed():
    Path("broken.yaml").write_text(WRONG, encoding="utf-8")
    with pytest.raises(SpecError) as raised:
        load_pipeline("broken.yaml")
    assert _without_lists(f"{raised.value}\n") == _without_lists(MESSAGES)


def _without_lists(messages):
    """Cut the lists of valid names, which grow with every plugin."""
    return re.sub(r"(?<=Valid: ).*", "…", messages)


@pytest.mark.parametrize("model", [PipelineModel, ComponentModel, StageModel])
def test_it_explains_every_key(model):
    for name, field in model.model_fields.items():
        assert f"`{field.alias or name}`" in GUIDE

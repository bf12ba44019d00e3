"""docs/results.md says what a run leaves behind, and nothing is missing from it."""

import json
import re
from pathlib import Path

import jsonschema
import pytest

from trellis.run.results import PolicyRow, Results, RewardRow, Row, StageResults, results_schema

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")


def table(heading):
    """Return the rows under a heading: the names in each row's first cell, and its other cells."""
    part = re.split(r"^#+ ", PAGE.split(f"# {heading}\n", 1)[1], flags=re.M)[0]
    rows = [line.strip("|").split(" | ") for line in part.splitlines() if line.startswith("| `")]
    return {re.findall(r"`([^`]+)`", cells[0])[0]: cells[1:] for cells in rows}


@pytest.mark.parametrize("model", [Row, StageResults, PolicyRow, RewardRow])
def test_every_field_is_described_in_its_own_words(model):
    described = table("results.json")
    for name in model.model_fields:
        assert f"`{name}`" in PAGE.split("## metrics.jsonl")[0]
        assert name in described or model in (PolicyRow, RewardRow)


def test_the_example_matches_the_schema_and_shows_every_field():
    example = json.loads(re.search(r"```json\n(.*?)```", PAGE, flags=re.S)[1])
    jsonschema.validate(example, results_schema())
    assert set(Row.model_fields) == set(example["stages"]["test"]["rows"][0])
    Results.model_validate_json(json.dumps(example))


def test_every_event_and_its_fields_are_described(undisturbed, read_lines):
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "framework/trellis/run").glob("*.py"))
    described = table("events.jsonl")
    assert set(described) == set(re.findall(r'\.event\("([a-z-]+)"', source))
    for line in read_lines(undisturbed.path / "events.jsonl"):
        fields = re.findall(r"`([a-z]+)`", described[line["event"]][0])
        assert set(fields) == set(line) - {"time", "event"}


def test_every_file_of_a_run_is_described(undisturbed):
    described = {name.split("/")[0] for name in table("What a run leaves behind")}
    assert {path.name for path in undisturbed.path.iterdir()} == described


def test_the_pipeline_a_run_wrote_does_the_same_again(undisturbed, numbers, tmp_path):
    from trellis import load_pipeline, run_pipeline

    again = run_pipeline(load_pipeline(undisturbed.path / "resolved.yaml"), out=tmp_path / "again")
    assert numbers(again.path) == numbers(undisturbed.path)


def test_the_example_in_python_runs(undisturbed):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.S)
    names = {"DIR": undisturbed.path}
    exec(code, names)
    assert names["best"] in undisturbed.results.stages["test"].rows

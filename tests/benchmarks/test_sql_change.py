"""The page about change is that of its committed measurements, and says nothing of what was not measured."""

import importlib.util
import json
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "sql" / "change.py"


def script():
    spec = importlib.util.spec_from_file_location("sql_change", SCRIPT)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def test_the_page_is_written_from_the_results():
    change = script()
    result = json.loads(change.RESULT.read_text(encoding="utf-8"))
    assert change.report(result) == change.REPORT.read_text(encoding="utf-8")


def test_every_look_was_taken_after_every_change():
    change = script()
    steps = json.loads(change.RESULT.read_text(encoding="utf-8"))["changes"]
    assert len(steps) >= 7
    for step in steps:
        assert tuple(step["looks"]) == change.LOOKS
        assert step["served_before"] == step["withdrawn"] + step["kept"]

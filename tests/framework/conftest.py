"""One undisturbed run of the small pipeline that all tests share, and what is compared of two runs."""

import json
from pathlib import Path

import pytest
from safetensors import safe_open

SMALL = Path(__file__).parent / "run" / "data" / "small.yaml"


@pytest.fixture(scope="session")
def small():
    """The file of a pipeline with every stage, at its smallest."""
    return SMALL


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """A finished run of it; tests that change anything work on a copy."""
    from trellis import load_pipeline, run_pipeline

    return run_pipeline(load_pipeline(SMALL), out=tmp_path_factory.mktemp("runs") / "undisturbed")


@pytest.fixture(scope="session")
def read_lines():
    return lambda path: [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="session")
def numbers(read_lines):
    """Everything a run computed, but for seconds: all of it is equal for a run that was resumed."""

    def of(path):
        files = {
            str(file.relative_to(path)): _content(file)
            for folder in ("checkpoints", "rollouts", "stages")
            for file in sorted((path / folder).rglob("*"))
            if file.is_file()
        }
        results = json.loads((path / "results.json").read_text(encoding="utf-8"))
        metrics = read_lines(path / "metrics.jsonl")
        return {"results": _without_seconds(results), "metrics": _without_seconds(metrics), **files}

    return of


def _content(file):
    if file.suffix == ".safetensors":
        with safe_open(file, framework="np") as opened:
            return opened.metadata(), {key: opened.get_tensor(key).tobytes() for key in opened.keys()}  # noqa: SIM118
    if file.suffix == ".json":
        return _without_seconds(json.loads(file.read_bytes()))
    return file.read_bytes()


def _without_seconds(value):
    if isinstance(value, dict):
        return {key: _without_seconds(item) for key, item in value.items() if key != "seconds"}
    return [_without_seconds(item) for item in value] if isinstance(value, list) else value

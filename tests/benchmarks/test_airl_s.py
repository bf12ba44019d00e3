"""The suite's committed tables are those of its committed measurements, and its sizes and tasks are ones that can be made."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from trellis import build

SUITE = Path(__file__).parents[2] / "benchmarks" / "airl_s"


def module(name):
    spec = importlib.util.spec_from_file_location(f"airl_s_{name}", SUITE / f"{name}.py")
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = loaded
    spec.loader.exec_module(loaded)
    return loaded


def test_the_tables_are_written_from_the_results(tmp_path):
    target = module("report").write_report(SUITE / "results", tmp_path / "RESULTS.md")
    assert target.read_text(encoding="utf-8") == (SUITE / "RESULTS.md").read_text(encoding="utf-8")


def test_every_row_has_an_outcome_for_every_problem():
    files = sorted((SUITE / "results").glob("*.json"))
    assert files
    for file in files:
        for part in json.loads(file.read_text(encoding="utf-8")).values():
            for row in part["rows"]:
                if "correct" in row:
                    assert row["accuracy"] == pytest.approx(row["correct"].count("1") / len(row["correct"])), file.name


@pytest.mark.parametrize("name", [*module("suite").TASKS, *module("suite").REGIMES])
def test_every_task_is_spelt_in_whole_words(name):
    """A character that is no token of its own would be written byte by byte."""
    suite = module("suite")
    bench = (suite.TASKS | suite.REGIMES)[name]
    few = {"train_size": 20, "validation_size": 2, "test_size": 2}
    task = build(bench.use, {**bench.config, **few})
    tokenizer = {"words": list(bench.words), "numbers": bench.numbers}
    init = {"model_type": "gpt2", "n_layer": 1, "n_embd": 16, "n_head": 2, "n_positions": 256}
    policy = build("transformers", {"init": init, "tokenizer": tokenizer, "device": "cpu"})
    traces = task.traces("train")
    assert max(trace.num_tokens for trace in policy.log_probs(traces)) <= bench.max_tokens

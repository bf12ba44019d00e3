"""`pipelines/airl_s_hf.yaml` on directories of real architectures, from supervised fine-tuning to search."""

import json
import os
import signal
from pathlib import Path

import pytest
from safetensors.torch import load_file

from trellis import load_pipeline, run_pipeline
from trellis.run.directory import RunDirectory

PIPELINE = Path(__file__).parents[1] / "pipelines" / "airl_s_hf.yaml"
SMALL = [
    "components.task.with={numbers: 3, train_size: 60, validation_size: 8, test_size: 8}",
    # The policy of a few steps solves nothing: its experts are the traces.
    "components.reward.with.experts=traces",
    "components.policy.with.lora={r: 4, alpha: 8}",
    "components.policy.with.dtype=float32",
    "components.policy.with.cpu_threads=1",
    # Far below a batch: parts, accumulated.
    "components.policy.with.batch_tokens=2000",
    "components.sft.with.steps=6",
    "components.sft.with.batch_size=8",
    "components.sft.with.learning_rate=1e-2",
    "components.grpo.with.steps=4",
    "components.grpo.with.problems_per_step=3",
    "components.grpo.with.group_size=4",
    "components.grpo.with.max_tokens=24",
    "components.grpo.with.process_from=2",
    "components.majority.with.n=2",
    "components.best-of-n.with.n=2",
    "components.beam.with={width: 2, expand: 2}",
    "stages.2.with={steps: 4, fits: 1}",
    "stages.3.with={problems: 4, weights: [warm-up, joint], budget: {tokens: 128}, max_tokens: 24}",
]


def loaded(directory, *overrides):
    return load_pipeline(
        PIPELINE, overrides=[f"components.policy.with.model={directory}", *SMALL, *overrides], device="cpu"
    )


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def numbers(run) -> list[dict]:
    """What a run measured, without how long it took."""
    timed = ("seconds", "_per_second", "time")
    kept = [
        {k: v for k, v in line.items() if not any(word in k for word in timed)}
        for line in lines(run.path / "metrics.jsonl")
    ]
    assert kept
    return kept


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["qwen2", "llama"])
def test_it_runs_from_fine_tuning_to_search_and_goes_on_where_it_was_stopped(
    kind, model_directory, tmp_path, monkeypatch
):
    whole = run_pipeline(loaded(model_directory(kind)), out=tmp_path / "whole")
    metrics = lines(whole.path / "metrics.jsonl")
    by_stage = {s: [m for m in metrics if m["stage"] == s] for s in ("warm-up", "joint", "fit")}
    assert by_stage["warm-up"][-1]["loss"] < by_stage["warm-up"][0]["loss"]
    assert all(m["reward/skipped"] == 0 for m in by_stage["joint"])
    assert all("process_reward" in m for m in by_stage["joint"][2:])
    assert by_stage["joint"][0]["kl"] == pytest.approx(0, abs=1e-6)
    assert by_stage["fit"]
    rows = whole.results.stages["test"].rows
    assert {row.search for row in rows} == {"greedy", "majority", "best-of-n", "beam"}
    saved = sorted(whole.path.glob("checkpoints/**/*.safetensors"))
    assert any(path.name == "adapter_model.safetensors" for path in saved)
    assert not any(path.name.startswith("model") for path in saved), "the model itself is in no checkpoint"
    for path in saved:
        names = [name for name in load_file(path) if name.startswith(("net.", "reference."))]
        assert all("lora_" in name or "head" in name for name in names)

    original, count = RunDirectory.metrics, []

    def interrupted(self, *args):
        original(self, *args)
        count.append(args)
        if len(count) == 8:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(RunDirectory, "metrics", interrupted)
        stopped = run_pipeline(loaded(model_directory(kind)), out=tmp_path / "stopped")
    assert stopped.interrupted
    resumed = run_pipeline(loaded(model_directory(kind)), out=tmp_path / "stopped", resume=True)
    assert not resumed.interrupted
    assert numbers(resumed) == numbers(whole)
    assert [row.accuracy for row in resumed.results.stages["test"].rows] == [row.accuracy for row in rows]

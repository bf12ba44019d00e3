"""The stage `train` and its watch, in whole runs."""

from pathlib import Path

import pytest
from rich.console import Console

from trellis import run_pipeline
from trellis.errors import CollapseError, RunDirectoryError
from trellis.run.directory import RunDirectory
from trellis.spec import Pipeline

DATA = Path(__file__).parent / "data"


def pipeline(overrides=(), **settings):
    return Pipeline.from_dict(
        {
            "version": 1,
            "name": "collapsing",
            "plugins": [str(DATA / "collapsing.py")],
            "components": {
                "task": {"use": "arithmetic", "with": {"length": 1, "max_number": 4, "modulus": 3, "train_size": 4}},
                "policy": {
                    "use": "transformers",
                    "with": {"init": {"model_type": "gpt2", "n_layer": 1, "n_embd": 8, "n_head": 1, "n_positions": 64}},
                },
                "bad": {"use": "collapsing"},
            },
            "stages": [
                {
                    "name": "joint",
                    "run": "train",
                    "with": {"checkpoint_every": 100, "thresholds": {"window": 3}, **settings},
                    "needs": {"optimizer": "bad", "policy": "policy", "task": "task"},
                }
            ],
        },
        overrides=["components.task.with.validation_size=0", "components.task.with.test_size=2", *overrides],
    )


def warnings(path, read_lines):
    lines = read_lines(path / "events.jsonl")
    return [(line["stage"], line["step"], line["kind"]) for line in lines if line["event"] == "warning"]


def test_a_collapse_is_an_event_and_a_line_and_the_run_goes_on(tmp_path, capsys, read_lines):
    run = run_pipeline(pipeline(), out=tmp_path / "run", console=Console(width=500))
    assert not run.interrupted
    assert warnings(run.path, read_lines) == [("joint", 7, "entropy-collapse")]
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning: ")]
    assert line.startswith("warning: joint, step 7: entropy is 0.001 nats per token, and was 1 at first,")
    assert "lower `components.bad.with.learning_rate` (now 0.1)" in line


def test_nobody_watches_where_it_is_off(tmp_path, read_lines):
    run = run_pipeline(pipeline(watch="off"), out=tmp_path / "run")
    assert warnings(run.path, read_lines) == []


def test_stop_saves_the_step_and_ends_the_run_which_goes_on_as_one_that_only_warned(tmp_path, numbers, read_lines):
    out = tmp_path / "run"
    with pytest.raises(
        CollapseError, match="training was stopped after step 7, as `watch: stop` asks: entropy is"
    ) as caught:
        run_pipeline(pipeline(watch="stop"), out=out)
    assert (caught.value.stage_step, caught.value.detectors) == (7, ("entropy-collapse",))
    progress = RunDirectory(out).progress()
    assert (progress.stage, progress.step, progress.stopped) == ("joint", 7, True)
    resumed = run_pipeline(pipeline(watch="stop"), out=out, resume=True)
    assert not resumed.interrupted
    assert not RunDirectory(out).progress().stopped
    assert warnings(out, read_lines) == [("joint", 7, "entropy-collapse")]
    assert [line["step"] for line in read_lines(out / "metrics.jsonl")] == list(range(1, 13))
    undisturbed = run_pipeline(pipeline(watch="warn"), out=tmp_path / "undisturbed")
    assert numbers(out) == numbers(undisturbed.path)


def test_a_stopped_run_may_be_resumed_with_other_settings_but_no_other_parts(tmp_path, read_lines):
    out = tmp_path / "run"
    with pytest.raises(CollapseError):
        run_pipeline(pipeline(watch="stop"), out=out)
    renamed = pipeline(watch="stop")
    other = Pipeline.from_dict({**renamed._filled, "name": "other"})
    with pytest.raises(RunDirectoryError, match="the pipeline differs from"):
        run_pipeline(other, out=out, resume=True)
    mended = pipeline(["components.bad.with.learning_rate=100.0"], watch="warn")
    run_pipeline(mended, out=out, resume=True)
    assert [line["entropy"] for line in read_lines(out / "metrics.jsonl")][-5:] == [1.0] * 5
    (changed,) = [line for line in read_lines(out / "events.jsonl") if line["event"] == "changed"]
    assert changed["changes"] == [
        "components.bad.with.learning_rate: 0.1 then, 100.0 now",
        'stages.joint.with.watch: "stop" then, "warn" now',
    ]
    assert (out / "resolved.yaml").read_text(encoding="utf-8") == mended.to_yaml()
    with pytest.raises(RunDirectoryError, match="the pipeline differs from"):
        run_pipeline(pipeline(), out=out, resume=True)


def test_what_is_found_at_the_last_step_stops_nothing(tmp_path, read_lines):
    run = run_pipeline(pipeline(["components.bad.with.steps=7"], watch="stop"), out=tmp_path / "run")
    assert not run.interrupted
    assert warnings(run.path, read_lines) == [("joint", 7, "entropy-collapse")]

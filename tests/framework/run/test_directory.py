import json
from datetime import datetime

import pytest
import torch

from trellis import State
from trellis.errors import RunDirectoryError
from trellis.run.directory import Progress, RunDirectory
from trellis.run.results import Results, Row, StageResults
from trellis.types import Outcome, Problem, Rollout, Trajectory

ROW = Row(
    policy="p",
    search="s",
    reward=None,
    aggregate=None,
    accuracy=0.5,
    ci95=(0.1, 0.9),
    problems=2,
    tokens_per_problem=1.0,
    seconds=1.0,
)


def rollout(prompt):
    return Rollout(Trajectory(Problem(prompt, prompt), prompt), Outcome(False, 0.0))


def test_to_reopen_a_run_removes_all_that_came_after_its_last_checkpoint(tmp_path, read_lines):
    directory = RunDirectory(tmp_path)
    directory.create(resolved="", plugins={})
    for stage, step in (("a", 1), ("b", 1), ("b", 2), ("c", 1)):
        directory.metrics(stage, step, {})
        directory.add_rollouts(stage, step, [rollout(f"{stage}{step}")])
    for name in ("a", "b.step-1", "b.step-2", ".b.step-3.tmp"):
        (tmp_path / "checkpoints" / name).mkdir()
    directory.write_results(Results(stages={name: StageResults(rows=(ROW, ROW)) for name in "abc"}))
    directory.write_progress(Progress(["a"], "b", 1, "b.step-1", rows={"rows": 1}))
    directory.reopen(resolved="")
    assert [(line["stage"], line["step"]) for line in read_lines(tmp_path / "metrics.jsonl")] == [("a", 1), ("b", 1)]
    assert [r.trajectory.prompt for stage in "abc" for r in directory.rollouts(stage)] == ["a1", "b1"]
    assert {name: len(stage.rows) for name, stage in directory.results().stages.items()} == {"a": 2, "b": 1}
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"a", "b.step-1"}


class Box:
    """Saves a word."""

    def __init__(self, word):
        self.word = word

    def save(self, directory):
        assert list(directory.iterdir()) == []
        (directory / "word.json").write_text(json.dumps(self.word))


def test_a_checkpoint_holds_components_and_the_stage_s_state(tmp_path):
    directory = RunDirectory(tmp_path)
    directory.create(resolved="", plugins={})
    # Views and tensors that share memory are what optimizers hold.
    tensor = torch.arange(12.0).reshape(3, 4)
    state = State({"whole": tensor, "turned": tensor.T, "one": tensor[1]}, {"done": 3, "best": [1, 0.1 + 0.2]})
    for word in ("old", "new"):
        directory.save_checkpoint("a.step-1", components={"box": Box(word)}, state=state)
    loaded = directory.load_state("a.step-1")
    assert loaded.values == {"done": 3, "best": [1, 0.1 + 0.2]}
    assert all(torch.equal(loaded.tensors[name], state.tensors[name]) for name in state.tensors)
    assert (directory.component_checkpoint(["a.step-1"], "box") / "word.json").read_text() == '"new"'
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"a.step-1"}


def test_a_component_s_checkpoint_is_that_of_the_last_stage_that_saved_it(tmp_path):
    directory = RunDirectory(tmp_path)
    directory.create(resolved="", plugins={})
    for stage, components in (("a", {"box": Box("a")}), ("b", {"box": Box("b")}), ("c", {})):
        directory.save_checkpoint(stage, components=components, state=State())
    found = [directory.component_checkpoint(stages, "box") for stages in (["a"], ["a", "b"], ["a", "b", "c"], ["c"])]
    assert found == [tmp_path / "checkpoints" / "a" / "box", *[tmp_path / "checkpoints" / "b" / "box"] * 2, None]


def test_events_have_a_time_and_an_order(tmp_path, read_lines):
    directory = RunDirectory(tmp_path)
    directory.create(resolved="", plugins={})
    directory.event("started", seed=3)
    directory.event("finished")
    first, second = read_lines(tmp_path / "events.jsonl")
    assert (first["event"], first["seed"], second["event"]) == ("started", 3, "finished")
    times = [datetime.fromisoformat(line["time"]) for line in (first, second)]
    assert times == sorted(times)
    assert all(time.utcoffset().total_seconds() == 0 for time in times)


def test_a_run_s_providers_are_written(undisturbed):
    plugins = json.loads((undisturbed.path / "plugins.json").read_text())
    assert plugins["components.policy"]["component"] == "transformers/transformers"
    assert plugins["stages.fit"] == {"component": "core/fit-reward", "distribution": "trellis", "version": "0.1.0"}
    assert len(plugins) == 11


def test_the_pipeline_that_is_written_is_the_one_that_ran(undisturbed):
    from trellis import load_pipeline

    assert load_pipeline(undisturbed.path / "resolved.yaml") == undisturbed.pipeline


@pytest.mark.parametrize("entry", ["notes.txt", "state.json"])
def test_a_directory_with_something_in_it_is_not_begun_in(entry, tmp_path):
    (tmp_path / entry).touch()
    with pytest.raises(RunDirectoryError, match="or choose another --out") as caught:
        RunDirectory(tmp_path).check_unused()
    assert caught.value.path == tmp_path


def test_an_empty_or_missing_directory_is_fine(tmp_path):
    RunDirectory(tmp_path).check_unused()
    RunDirectory(tmp_path / "a" / "b").check_unused()
